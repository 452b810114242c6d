/* Our descriptors as the place for output: never blocking, and never at the cost of those who share them. */
#include "sink.h"

#include <CUnit/CUnit.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static char bytes[1 << 17];

/* Writes until nothing goes any more; what went. */
static size_t fill(struct sink *sink)
{
	size_t total = 0;
	ssize_t written;

	while ((written = sink_write(sink, bytes, sizeof(bytes))) > 0)
		total += (size_t)written;
	CU_ASSERT_EQUAL(written, 0);
	return total;
}

void test_a_full_pipe_does_not_block(void)
{
	struct sink sink;
	int fds[2];

	CU_ASSERT_FATAL(pipe2(fds, O_CLOEXEC) == 0);
	sink_open(&sink, fds[1]);
	CU_ASSERT_EQUAL(sink.kind, SINK_NONBLOCK);
	CU_ASSERT_EQUAL(fill(&sink), (size_t)fcntl(fds[1], F_GETPIPE_SZ));
	CU_ASSERT_FALSE(fcntl(fds[1], F_GETFL) & O_NONBLOCK);
	sink_close(&sink);
	close(fds[0]);
	close(fds[1]);
}

void test_a_full_socket_does_not_block(void)
{
	struct sink sink;
	int fds[2];

	CU_ASSERT_FATAL(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
	sink_open(&sink, fds[1]);
	CU_ASSERT(fill(&sink) > 0);
	CU_ASSERT_FALSE(fcntl(fds[1], F_GETFL) & O_NONBLOCK);
	close(fds[0]);
	CU_ASSERT_EQUAL(sink_write(&sink, bytes, 1), -EPIPE);
	sink_close(&sink);
	close(fds[1]);
}

void test_small_pieces_where_nothing_else_is_possible(void)
{
	struct sink sink;
	int fds[2];

	CU_ASSERT_FATAL(pipe2(fds, O_CLOEXEC) == 0);
	sink = (struct sink){.fd = fds[1], .own = -1, .kind = SINK_SMALL};
	CU_ASSERT_EQUAL(fill(&sink), (size_t)fcntl(fds[1], F_GETPIPE_SZ));
	close(fds[0]);
	close(fds[1]);
}

void test_a_pipe_without_reader(void)
{
	struct sink sink;
	int fds[2];

	signal(SIGPIPE, SIG_IGN);
	CU_ASSERT_FATAL(pipe2(fds, O_CLOEXEC) == 0);
	sink_open(&sink, fds[1]);
	close(fds[0]);
	CU_ASSERT_EQUAL(sink_write(&sink, bytes, 1), -EPIPE);
	sink_close(&sink);
	close(fds[1]);
}

void test_files_keep_their_offset(void)
{
	char path[] = "/tmp/spawnd-sink-XXXXXX";
	int fd = mkstemp(path);
	struct sink sink;

	CU_ASSERT_FATAL(fd >= 0);
	unlink(path);
	CU_ASSERT_EQUAL(write(fd, "abc", 3), 3);
	sink_open(&sink, fd);
	CU_ASSERT_EQUAL(sink.kind, SINK_PLAIN);
	CU_ASSERT_EQUAL(sink_write(&sink, "def", 3), 3);
	CU_ASSERT_EQUAL(lseek(fd, 0, SEEK_CUR), 6);
	sink_close(&sink);
	close(fd);
}

void test_sources(void)
{
	int fds[2], own;
	char byte;

	CU_ASSERT_FATAL(pipe2(fds, O_CLOEXEC) == 0);
	CU_ASSERT(source_open(fds[0], &own) == own && own >= 0);
	CU_ASSERT(read(own, &byte, 1) < 0 && errno == EAGAIN);
	CU_ASSERT_FALSE(fcntl(fds[0], F_GETFL) & O_NONBLOCK);
	close(own);
	close(fds[0]);
	close(fds[1]);
	fds[0] = open("/dev/null", O_RDONLY | O_CLOEXEC);
	CU_ASSERT(source_open(fds[0], &own) == fds[0] && own == -1);
	close(fds[0]);
}
