#include "pair.h"

#include <stdio.h>

static void set(const char *fd, const char *version)
{
	unsetenv("SPAWND_CHANNEL_FD");
	unsetenv("SPAWND_CHANNEL_VERSION");
	if (fd)
		setenv("SPAWND_CHANNEL_FD", fd, 1);
	if (version)
		setenv("SPAWND_CHANNEL_VERSION", version, 1);
}

static void refuse(const char *fd, const char *version, int error, const char *text)
{
	set(fd, version);
	CU_ASSERT_EQUAL(spawnd_channel_attach(&near, near_memory, sizeof(near_memory)), error);
	CU_ASSERT_PTR_NOT_NULL(strstr(spawnd_channel_error(&near), text));
	CU_ASSERT_PTR_NULL(getenv("SPAWND_CHANNEL_FD"));
	CU_ASSERT_EQUAL(spawnd_channel_fd(&near), -1);
	spawnd_channel_close(&near);
}

void test_the_channel_of_the_environment_is_taken_once(void)
{
	char text[16];
	int fds[2];

	CU_ASSERT_EQUAL(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	snprintf(text, sizeof(text), "%d", fds[0]);
	set(text, "1");
	CU_ASSERT_EQUAL(spawnd_channel_attach(&near, near_memory, sizeof(near_memory)), 0);
	CU_ASSERT_EQUAL(spawnd_channel_fd(&near), fds[0]);
	CU_ASSERT_EQUAL(fcntl(fds[0], F_GETFD), FD_CLOEXEC);
	CU_ASSERT(fcntl(fds[0], F_GETFL) & O_NONBLOCK);
	CU_ASSERT_PTR_NULL(getenv("SPAWND_CHANNEL_FD"));
	CU_ASSERT_PTR_NULL(getenv("SPAWND_CHANNEL_VERSION"));
	CU_ASSERT_EQUAL(spawnd_channel_attach(&far, far_memory, sizeof(far_memory)), -ENOENT);
	spawnd_channel_close(&near);
	close(fds[1]);
}

void test_what_is_no_channel_is_refused_with_its_name(void)
{
	char text[16];
	int fds[2];

	refuse(NULL, NULL, -ENOENT, "not set");
	refuse("3", NULL, -EPROTONOSUPPORT, "SPAWND_CHANNEL_VERSION=:");
	refuse("3", "2", -EPROTONOSUPPORT, "SPAWND_CHANNEL_VERSION=2");
	refuse("", "1", -EINVAL, "SPAWND_CHANNEL_FD=:");
	refuse("-1", "1", -EINVAL, "SPAWND_CHANNEL_FD=-1");
	refuse("3x", "1", -EINVAL, "SPAWND_CHANNEL_FD=3x");
	refuse("99999999999999999999", "1", -EINVAL, "not a descriptor");
	refuse("900", "1", -EBADF, "900: not open");
	CU_ASSERT_EQUAL(pipe(fds), 0);
	snprintf(text, sizeof(text), "%d", fds[0]);
	refuse(text, "1", -EINVAL, "not a socket");
	close(fds[0]);
	close(fds[1]);
	CU_ASSERT_EQUAL(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, fds), 0);
	snprintf(text, sizeof(text), "%d", fds[0]);
	refuse(text, "1", -EINVAL, "not a Unix stream socket");
	close(fds[0]);
	close(fds[1]);
}
