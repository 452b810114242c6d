#include <CUnit/CUnit.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/fdpass.h"
#include "base/mem.h"
#include "base/sys.h"

static int pair[2];

static void send_text(const char *text, const int *fds, size_t count)
{
	struct iovec iov = {.iov_base = (void *)text, .iov_len = strlen(text)};

	CU_ASSERT_EQUAL(fdpass_send(pair[0], &iov, 1, fds, count), (ssize_t)strlen(text));
}

void test_descriptors_arrive_close_on_exec_and_open(void)
{
	int sent[FDPASS_MAX], got[FDPASS_MAX], pipes[2];
	char text[8];
	size_t count;

	CU_ASSERT_EQUAL(sys_socketpair(SOCK_SEQPACKET, pair), 0);
	CU_ASSERT_EQUAL(sys_pipe(pipes, 0), 0);
	for (size_t i = 0; i < FDPASS_MAX; i++)
		sent[i] = pipes[1];
	send_text("hi", sent, FDPASS_MAX);
	CU_ASSERT_EQUAL(fdpass_receive(pair[1], text, sizeof(text), got, &count), 2);
	CU_ASSERT_EQUAL(count, FDPASS_MAX);
	CU_ASSERT_EQUAL(fcntl(got[0], F_GETFD), FD_CLOEXEC);
	CU_ASSERT_EQUAL(write(got[FDPASS_MAX - 1], "x", 1), 1);
	for (size_t i = 0; i < count; i++)
		close(got[i]);
	for (int i = 0; i < 2; i++) {
		close(pipes[i]);
		close(pair[i]);
	}
}

void test_an_oversized_record_closes_its_descriptors(void)
{
	int got[FDPASS_MAX], pipes[2];
	size_t count;
	char byte;

	CU_ASSERT_EQUAL(sys_socketpair(SOCK_SEQPACKET, pair), 0);
	CU_ASSERT_EQUAL(sys_pipe(pipes, O_NONBLOCK), 0);
	send_text("longer", &pipes[1], 1);
	close(pipes[1]);
	CU_ASSERT_EQUAL(fdpass_receive(pair[1], &byte, 1, got, &count), -EMSGSIZE);
	CU_ASSERT_EQUAL(count, 0);
	CU_ASSERT_EQUAL(read(pipes[0], &byte, 1), 0);
	close(pipes[0]);
	close(pair[0]);
	close(pair[1]);
}

void test_a_full_table_is_told_and_nothing_leaks(void)
{
	int got[FDPASS_MAX], pipes[2], highest;
	struct rlimit limit, low;
	size_t count;
	char byte;

	CU_ASSERT_EQUAL(sys_socketpair(SOCK_SEQPACKET, pair), 0);
	CU_ASSERT_EQUAL(sys_pipe(pipes, O_NONBLOCK), 0);
	send_text("x", (int[]){pipes[1], pipes[1]}, 2);
	close(pipes[1]);
	highest = dup(pipes[0]);
	close(highest);
	getrlimit(RLIMIT_NOFILE, &limit);
	low = limit;
	low.rlim_cur = (rlim_t)highest + 1;
	setrlimit(RLIMIT_NOFILE, &low);
	CU_ASSERT_EQUAL(fdpass_receive(pair[1], &byte, 1, got, &count), -EMFILE);
	setrlimit(RLIMIT_NOFILE, &limit);
	CU_ASSERT_EQUAL(count, 0);
	CU_ASSERT_EQUAL(read(pipes[0], &byte, 1), 0);
	close(pipes[0]);
	close(pair[0]);
	close(pair[1]);
}
