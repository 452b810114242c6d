/* All of a child's descriptors, or none. */
#include <dirent.h>
#include <sys/resource.h>
#include <termios.h>

#include "process/child_fixture.h"
#include "process/stdio.h"

#define KIND(name) SPAWND__V1__STDIO__KIND__KIND_##name

static size_t count_fds(void)
{
	DIR *stream = opendir("/proc/self/fd");
	size_t count = 0;

	while (readdir(stream))
		count++;
	closedir(stream);
	return count;
}

static struct spec *compile(struct request *request)
{
	struct spec_context context = {.uid = geteuid(), .daemon_uid = geteuid(), .gid = getegid()};
	struct spec *spec = NULL;

	CU_ASSERT_EQUAL_FATAL(spec_compile(&request->spec, &context, SPEC_SPAWN, &spec, NULL), 0);
	return spec;
}

void test_every_kind_is_opened(void)
{
	struct request request = {0};
	struct stdio stdio;
	size_t before = count_fds();
	Spawnd__V1__FdSpec fd;
	struct spec *spec;
	int client = open("/dev/null", O_RDWR | O_CLOEXEC);
	char byte;

	spawnd__v1__fd_spec__init(&fd);
	fd.fd_case = SPAWND__V1__FD_SPEC__FD_ATTACHED;
	request_init(&request, "true");
	request_slot(&request, 3, KIND(PIPE));
	request_slot(&request, 4, KIND(FD))->fd = &fd;
	request_slot(&request, 2, KIND(SAME))->same_as = 1;
	spec = compile(&request);
	CU_ASSERT_EQUAL_FATAL(stdio_open(spec, &client, 1, 100, &stdio, NULL), 0);
	CU_ASSERT_EQUAL(client, -1);
	CU_ASSERT_EQUAL(stdio.our_count, 4);
	CU_ASSERT_EQUAL(stdio.their_count, 4);
	CU_ASSERT_EQUAL(stdio.slot_count, 5);
	CU_ASSERT_EQUAL(stdio.slots[4].same_as, 1);
	CU_ASSERT(stdio.ours[2].output && !stdio.ours[3].output && stdio.ours[3].second);
	for (size_t i = 0; i < stdio.our_count; i++) {
		CU_ASSERT(fcntl(stdio.ours[i].fd, F_GETFL) & O_NONBLOCK);
		CU_ASSERT(fcntl(stdio.ours[i].fd, F_GETFD) & FD_CLOEXEC);
	}
	CU_ASSERT_FALSE(fcntl(stdio.theirs[0], F_GETFL) & O_NONBLOCK);
	CU_ASSERT_EQUAL(write(stdio.theirs[1], "x", 1), 1);
	CU_ASSERT_EQUAL(read(stdio.ours[1].fd, &byte, 1), 1);
	stdio_finish(&stdio);
	spec_unref(spec);
	CU_ASSERT_EQUAL(count_fds(), before);
}

void test_a_terminal_is_one(void)
{
	struct request request = {0};
	struct stdio stdio;
	struct winsize size;
	struct spec *spec;

	request_init(&request, "true");
	request_slot(&request, 0, KIND(PTY));
	request_slot(&request, 1, KIND(PTY));
	request_slot(&request, 2, KIND(PTY));
	spec = compile(&request);
	CU_ASSERT_EQUAL_FATAL(stdio_open(spec, NULL, 0, 100, &stdio, NULL), 0);
	CU_ASSERT_EQUAL(stdio.their_count, 1);
	CU_ASSERT_EQUAL(stdio.slot_count, 3);
	CU_ASSERT_EQUAL(stdio.controlling_slot, 0);
	CU_ASSERT_EQUAL(stdio.our_count, 2);
	CU_ASSERT(stdio.ours[0].slot == 0 && !stdio.ours[0].output && stdio.ours[1].slot == 1 && stdio.ours[1].output);
	CU_ASSERT_TRUE(isatty(stdio.theirs[0]));
	CU_ASSERT_EQUAL(ioctl(stdio.theirs[0], TIOCGWINSZ, &size), 0);
	CU_ASSERT(size.ws_row == 24 && size.ws_col == 80);
	stdio_finish(&stdio);
	spec_unref(spec);
}

void test_too_few_descriptors_are_told_before_anything_is_opened(void)
{
	struct request request = {0};
	struct stdio stdio;
	struct err err;
	struct spec *spec;

	request_init(&request, "true");
	spec = compile(&request);
	CU_ASSERT_EQUAL(stdio_open(spec, NULL, 0, 3, &stdio, &err), -EMFILE);
	CU_ASSERT_EQUAL(err.status, STATUS_RESOURCE_EXHAUSTED);
	CU_ASSERT_STRING_EQUAL(err.code, "EMFILE");
	spec_unref(spec);
}

void test_emfile_midway_leaves_nothing_open(void)
{
	struct request request = {0};
	struct rlimit limit, small;
	struct stdio stdio;
	struct err err;
	struct spec *spec;
	size_t before = count_fds(), failures = 0;
	int done = -1;

	request_init(&request, "true");
	spec = compile(&request);
	getrlimit(RLIMIT_NOFILE, &limit);
	for (rlim_t more = 0; done < 0; more++) {
		small = limit;
		small.rlim_cur = 3 + more;
		setrlimit(RLIMIT_NOFILE, &small);
		done = stdio_open(spec, NULL, 0, 100, &stdio, &err);
		setrlimit(RLIMIT_NOFILE, &limit);
		if (done == 0)
			break;
		failures++;
		CU_ASSERT_EQUAL(done, -EMFILE);
		CU_ASSERT_EQUAL(err.status, STATUS_RESOURCE_EXHAUSTED);
		CU_ASSERT_STRING_EQUAL(err.message, "spawn /bin/sh EMFILE");
		CU_ASSERT_EQUAL(count_fds(), before);
	}
	CU_ASSERT(failures >= 6);
	stdio_finish(&stdio);
	CU_ASSERT_EQUAL(count_fds(), before);
	spec_unref(spec);
}
