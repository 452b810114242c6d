/* Connections over a socket pair: every way a frame can be cut, and what goes with it. */
#include <CUnit/CUnit.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/sys.h"
#include "fake_sys.h"
#include "wire/conn.h"

static struct conn *conn;
static int far_end;

static void open_pair(int buffer)
{
	int fds[2];

	CU_ASSERT_EQUAL(sys_socketpair(SOCK_STREAM, fds), 0);
	if (buffer)
		setsockopt(fds[0], SOL_SOCKET, SO_SNDBUF, &buffer, sizeof(buffer));
	conn = conn_create(fds[0]);
	far_end = fds[1];
}

static void close_pair(void)
{
	conn_destroy(conn);
	close(far_end);
}

/* A whole frame in bytes. */
static size_t make_frame(uint8_t *bytes, uint32_t stream, const char *text)
{
	struct frame_header header = {
		.length = (uint32_t)strlen(text), .stream_id = stream, .type = FRAME_DATA, .flags = FRAME_REMOTE_CLOSED};

	frame_encode(&header, bytes);
	memcpy(bytes + FRAME_HEADER_SIZE, text, header.length);
	return FRAME_HEADER_SIZE + header.length;
}

static void send_bytes(const void *bytes, size_t size)
{
	CU_ASSERT_EQUAL(write(far_end, bytes, size), (ssize_t)size);
}

static void send_with_fd(const void *bytes, size_t size, int fd)
{
	struct iovec iov = {.iov_base = (void *)bytes, .iov_len = size};

	CU_ASSERT_EQUAL(fdpass_send(far_end, &iov, 1, &fd, 1), (ssize_t)size);
}

void test_headers_go_both_ways(void)
{
	struct frame_header in = {.length = 0x00123456, .stream_id = 0xfedcba98, .type = 3, .flags = 5}, out;
	uint8_t bytes[FRAME_HEADER_SIZE], expected[] = {0x00, 0x12, 0x34, 0x56, 0xfe, 0xdc, 0xba, 0x98, 3, 5};

	frame_encode(&in, bytes);
	CU_ASSERT_EQUAL(memcmp(bytes, expected, sizeof(expected)), 0);
	frame_decode(bytes, &out);
	CU_ASSERT(out.length == in.length && out.stream_id == in.stream_id && out.type == 3 && out.flags == 5);
}

void test_frames_cut_at_every_byte(void)
{
	uint8_t bytes[128];
	size_t size = make_frame(bytes, 7, "first");
	struct frame frame;

	size += make_frame(bytes + size, 9, "");
	size += make_frame(bytes + size, 11, "third");
	for (size_t cut = 0; cut <= size; cut++) {
		size_t got = 0;

		open_pair(0);
		for (int part = 0; part < 2; part++) {
			if (part ? size - cut : cut)
				send_bytes(bytes + (part ? cut : 0), part ? size - cut : cut);
			CU_ASSERT_EQUAL(conn_read(conn), 0);
			while (conn_next(conn, &frame)) {
				static const char *const texts[] = {"first", "", "third"};

				CU_ASSERT_EQUAL(frame.header.stream_id, 7 + 2 * got);
				CU_ASSERT_EQUAL(frame.header.length, strlen(texts[got]));
				CU_ASSERT_EQUAL(memcmp(frame.payload, texts[got], frame.header.length), 0);
				got++;
			}
		}
		CU_ASSERT_EQUAL(got, 3);
		close_pair();
	}
}

void test_the_end_of_the_stream_is_told_apart(void)
{
	uint8_t bytes[64];
	size_t size = make_frame(bytes, 1, "x");
	struct frame frame;

	open_pair(0);
	send_bytes(bytes, size);
	shutdown(far_end, SHUT_WR);
	CU_ASSERT_EQUAL(conn_read(conn), 0);
	CU_ASSERT_TRUE(conn_next(conn, &frame));
	CU_ASSERT_EQUAL(conn_read(conn), CONN_E_CLOSED);
	close_pair();
	open_pair(0);
	send_bytes(bytes, size - 1);
	shutdown(far_end, SHUT_WR);
	conn_read(conn);
	CU_ASSERT_FALSE(conn_next(conn, &frame));
	CU_ASSERT_EQUAL(conn_read(conn), CONN_E_TRUNCATED);
	close_pair();
}

void test_oversized_frames_are_skipped_and_garbage_is_not(void)
{
	static uint8_t block[65536];
	struct frame_header header = {.length = FRAME_LENGTH_MAX + 1, .stream_id = 5, .type = FRAME_REQUEST};
	uint8_t bytes[64];
	struct frame frame;
	size_t left = header.length;

	open_pair(0);
	frame_encode(&header, bytes);
	send_bytes(bytes, FRAME_HEADER_SIZE);
	CU_ASSERT_EQUAL(conn_read(conn), 0);
	CU_ASSERT_TRUE(conn_next(conn, &frame));
	CU_ASSERT_TRUE(frame.oversized);
	CU_ASSERT_EQUAL(frame.header.stream_id, 5);
	while (left) {
		size_t size = left < sizeof(block) ? left : sizeof(block);

		send_bytes(block, size);
		CU_ASSERT_EQUAL(conn_read(conn), 0);
		CU_ASSERT_FALSE(conn_next(conn, &frame));
		CU_ASSERT(conn_memory(conn) < 2 * sizeof(block) + 4096);
		left -= size;
	}
	send_bytes(bytes, make_frame(bytes, 7, "after"));
	CU_ASSERT_EQUAL(conn_read(conn), 0);
	CU_ASSERT_TRUE(conn_next(conn, &frame));
	CU_ASSERT_EQUAL(frame.header.stream_id, 7);
	header.length = FRAME_SKIP_MAX + 1;
	frame_encode(&header, bytes);
	send_bytes(bytes, FRAME_HEADER_SIZE);
	CU_ASSERT_EQUAL(conn_read(conn), CONN_E_GARBAGE);
	close_pair();
}

void test_descriptors_belong_to_the_frame_they_came_with(void)
{
	uint8_t bytes[128];
	size_t first = make_frame(bytes, 1, "plain"), second = make_frame(bytes + first, 3, "with");
	struct frame frame;
	char byte;
	int pipes[2];

	open_pair(0);
	CU_ASSERT_EQUAL(sys_pipe(pipes, O_NONBLOCK), 0);
	send_bytes(bytes, first);
	send_with_fd(bytes + first, 1, pipes[1]);
	send_bytes(bytes + first + 1, second - 1);
	close(pipes[1]);
	for (int i = 0; i < 3; i++)
		CU_ASSERT_EQUAL(conn_read(conn), 0);
	CU_ASSERT_TRUE(conn_next(conn, &frame));
	CU_ASSERT_EQUAL(frame.fd_count, 0);
	CU_ASSERT_TRUE(conn_next(conn, &frame));
	CU_ASSERT_EQUAL_FATAL(frame.fd_count, 1);
	CU_ASSERT_EQUAL(write(frame.fds[0], "x", 1), 1);
	CU_ASSERT_EQUAL(read(pipes[0], &byte, 1), 1);
	CU_ASSERT_FALSE(conn_next(conn, &frame));
	CU_ASSERT_EQUAL(read(pipes[0], &byte, 1), 0); /* nobody took it: closed */
	close(pipes[0]);
	close_pair();
}

void test_descriptors_in_the_middle_of_a_frame_are_closed(void)
{
	uint8_t bytes[64];
	size_t size = make_frame(bytes, 1, "text");
	struct frame frame;
	char byte;
	int pipes[2];

	open_pair(0);
	CU_ASSERT_EQUAL(sys_pipe(pipes, O_NONBLOCK), 0);
	send_bytes(bytes, FRAME_HEADER_SIZE);
	CU_ASSERT_EQUAL(conn_read(conn), 0);
	send_with_fd(bytes + FRAME_HEADER_SIZE, size - FRAME_HEADER_SIZE, pipes[1]);
	close(pipes[1]);
	CU_ASSERT_EQUAL(conn_read(conn), 0);
	CU_ASSERT_TRUE(conn_next(conn, &frame));
	CU_ASSERT_EQUAL(frame.fd_count, 0);
	CU_ASSERT_EQUAL(read(pipes[0], &byte, 1), 0);
	close(pipes[0]);
	close_pair();
}

/* Reads the far end until it has `size` bytes, flushing this one. */
static void drain(uint8_t *bytes, size_t size)
{
	size_t got = 0;

	while (got < size) {
		ssize_t done = recv(far_end, bytes + got, size - got, MSG_DONTWAIT);

		CU_ASSERT(conn_flush(conn) >= 0);
		if (done > 0)
			got += (size_t)done;
	}
}

void test_bytes_and_pipes_keep_their_order_through_a_small_socket(void)
{
	enum { BLOCK = 60000, ROUNDS = 12 };
	static uint8_t block[BLOCK], got[ROUNDS * (2 * (BLOCK + FRAME_HEADER_SIZE) + 5)];
	struct frame_header header = {.type = FRAME_DATA}, seen;
	struct iovec iov = {.iov_base = block, .iov_len = BLOCK};
	int pipes[2];
	size_t at = 0;

	open_pair(4096);
	CU_ASSERT_EQUAL(sys_pipe(pipes, 0), 0);
	for (int i = 0; i < ROUNDS; i++) {
		int rest[2];

		memset(block, 'a' + i, BLOCK);
		header.stream_id = (uint32_t)i;
		header.length = BLOCK;
		CU_ASSERT_EQUAL(conn_put(conn, &header, &iov, 1, NULL, 0), 0);
		CU_ASSERT_EQUAL(sys_pipe(rest, 0), 0);
		memset(block, 'A' + i, BLOCK);
		CU_ASSERT_EQUAL(write(rest[1], block, BLOCK), BLOCK);
		header.length = BLOCK + 5;
		CU_ASSERT_EQUAL(conn_put_pipe(conn, &header, "head:", 5, rest[0], BLOCK), 0);
		close(rest[0]);
		close(rest[1]);
	}
	CU_ASSERT(conn_pending(conn) > 0);
	drain(got, sizeof(got));
	CU_ASSERT_EQUAL(conn_pending(conn), 0);
	for (int i = 0; i < ROUNDS; i++) {
		frame_decode(got + at, &seen);
		CU_ASSERT(seen.stream_id == (uint32_t)i && seen.length == BLOCK);
		CU_ASSERT(got[at + FRAME_HEADER_SIZE] == 'a' + i && got[at + FRAME_HEADER_SIZE + BLOCK - 1] == 'a' + i);
		at += FRAME_HEADER_SIZE + BLOCK;
		frame_decode(got + at, &seen);
		CU_ASSERT(seen.length == BLOCK + 5);
		CU_ASSERT_EQUAL(memcmp(got + at + FRAME_HEADER_SIZE, "head:", 5), 0);
		CU_ASSERT(got[at + FRAME_HEADER_SIZE + 5] == 'A' + i && got[at + FRAME_HEADER_SIZE + 4 + BLOCK] == 'A' + i);
		at += FRAME_HEADER_SIZE + BLOCK + 5;
	}
	close(pipes[0]);
	close(pipes[1]);
	close_pair();
}

void test_a_pipe_that_lacks_its_bytes_ends_the_connection(void)
{
	struct frame_header header = {.type = FRAME_DATA, .length = 10};
	int pipes[2];

	open_pair(0);
	CU_ASSERT_EQUAL(sys_pipe(pipes, 0), 0);
	CU_ASSERT_EQUAL(write(pipes[1], "12345", 5), 5);
	CU_ASSERT_EQUAL(conn_put_pipe(conn, &header, NULL, 0, pipes[0], 10), 0);
	CU_ASSERT_EQUAL(conn_flush(conn), -EPROTO);
	close(pipes[0]);
	close(pipes[1]);
	close_pair();
}

void test_corked_frames_leave_together_with_their_descriptors(void)
{
	struct frame_header header = {.type = FRAME_DATA, .length = 1};
	struct iovec iov = {.iov_base = (void *)"x", .iov_len = 1};
	int pipes[2], fds[FDPASS_MAX];
	uint8_t bytes[64];
	size_t count;

	open_pair(0);
	CU_ASSERT_EQUAL(sys_pipe(pipes, 0), 0);
	conn_cork(conn);
	conn_put(conn, &header, &iov, 1, NULL, 0);
	conn_put(conn, &header, &iov, 1, &pipes[1], 1);
	CU_ASSERT_EQUAL(recv(far_end, bytes, sizeof(bytes), MSG_DONTWAIT), -1);
	conn_uncork(conn);
	CU_ASSERT_EQUAL(fdpass_receive(far_end, bytes, sizeof(bytes), fds, &count), 22);
	CU_ASSERT_EQUAL_FATAL(count, 1);
	close(fds[0]);
	close(pipes[0]);
	close(pipes[1]);
	close_pair();
}

void test_a_frame_with_descriptors_is_alone_in_its_message(void)
{
	struct frame_header header = {.type = FRAME_DATA, .length = 1};
	struct iovec iov = {.iov_base = (void *)"x", .iov_len = 1};
	struct frame frame;
	struct conn *sender;
	int pipes[2];

	open_pair(0);
	CU_ASSERT_EQUAL(sys_pipe(pipes, 0), 0);
	sender = conn_create(dup(far_end));
	conn_cork(sender);
	for (uint32_t i = 0; i < 5; i++) {
		header.stream_id = i;
		conn_put(sender, &header, &iov, 1, &pipes[0], i == 1 || i == 2);
	}
	conn_uncork(sender);
	for (int i = 0; i < 3; i++)
		CU_ASSERT_EQUAL(conn_read(conn), 0);
	for (uint32_t i = 0; i < 5; i++) {
		CU_ASSERT_TRUE(conn_next(conn, &frame));
		CU_ASSERT_EQUAL(frame.header.stream_id, i);
		CU_ASSERT_EQUAL(frame.fd_count, i == 1 || i == 2);
	}
	conn_destroy(sender);
	close(pipes[0]);
	close(pipes[1]);
	close_pair();
}

void test_garbage_behind_a_good_frame_is_seen_at_once(void)
{
	struct frame_header header = {.length = FRAME_SKIP_MAX + 1, .stream_id = 3, .type = FRAME_REQUEST};
	uint8_t bytes[64];
	size_t size = make_frame(bytes, 1, "good");
	struct frame frame;

	open_pair(0);
	frame_encode(&header, bytes + size);
	send_bytes(bytes, size + FRAME_HEADER_SIZE);
	CU_ASSERT_EQUAL(conn_read(conn), CONN_E_GARBAGE);
	CU_ASSERT_TRUE(conn_next(conn, &frame));
	CU_ASSERT_EQUAL(frame.header.stream_id, 1);
	CU_ASSERT_FALSE(conn_next(conn, &frame));
	CU_ASSERT_EQUAL(conn_read(conn), CONN_E_GARBAGE);
	close_pair();
}

/* Puts one frame of 5 + 60000 bytes whose payload is in `pipe_fd`, and looks at what comes out. */
static void put_and_check(int pipe_fd)
{
	enum { SIZE = 60000 };
	static uint8_t got[FRAME_HEADER_SIZE + 5 + SIZE];
	struct frame_header header = {.type = FRAME_DATA, .length = 5 + SIZE};

	CU_ASSERT_EQUAL(conn_put_pipe(conn, &header, "head:", 5, pipe_fd, SIZE), 0);
	CU_ASSERT_EQUAL(conn_error(conn), 0);
	drain(got, sizeof(got));
	CU_ASSERT_EQUAL(conn_pending(conn), 0);
	CU_ASSERT_EQUAL(conn_sent(conn), sizeof(got));
	CU_ASSERT_EQUAL(memcmp(got + FRAME_HEADER_SIZE, "head:", 5), 0);
	for (size_t i = FRAME_HEADER_SIZE + 5; i < sizeof(got); i++)
		if (got[i] != 'p')
			CU_FAIL("payload");
}

static void fill(int fd)
{
	uint8_t block[60000];

	memset(block, 'p', sizeof(block));
	CU_ASSERT_EQUAL(write(fd, block, sizeof(block)), (ssize_t)sizeof(block));
}

void test_what_cannot_be_spliced_is_read(void)
{
	for (int corked = 0; corked < 2; corked++) {
		int pipes[2];

		open_pair(4096);
		CU_ASSERT_EQUAL(sys_pipe(pipes, 0), 0);
		fill(pipes[1]);
		if (corked)
			conn_cork(conn);
		fake_fail("splice", EINVAL, 0, 1);
		put_and_check(pipes[0]);
		if (corked)
			conn_uncork(conn);
		close(pipes[0]);
		close(pipes[1]);
		close_pair();
		fake_reset();
	}
}

void test_without_descriptors_a_waiting_pipe_is_read_into_memory(void)
{
	struct rlimit old, none;
	int pipes[2];

	open_pair(4096);
	CU_ASSERT_EQUAL(sys_pipe(pipes, 0), 0);
	fill(pipes[1]);
	getrlimit(RLIMIT_NOFILE, &old);
	none = old;
	none.rlim_cur = 3;
	setrlimit(RLIMIT_NOFILE, &none);
	put_and_check(pipes[0]);
	setrlimit(RLIMIT_NOFILE, &old);
	close(pipes[0]);
	close(pipes[1]);
	close_pair();
}

void test_a_shortage_of_the_kernel_is_told_and_survived(void)
{
	static const int shortages[] = {ENOBUFS, ENOMEM, ETOOMANYREFS};

	for (size_t i = 0; i < array_size(shortages); i++) {
		struct frame_header header = {.type = FRAME_DATA, .length = 1};
		struct iovec iov = {.iov_base = (void *)"x", .iov_len = 1};
		uint8_t got[FRAME_HEADER_SIZE + 1];

		open_pair(0);
		fake_fail("sendmsg", shortages[i], 0, 2);
		conn_put(conn, &header, &iov, 1, NULL, 0);
		CU_ASSERT_TRUE(conn_is_starved(conn));
		CU_ASSERT_EQUAL(conn_flush(conn), 1);
		CU_ASSERT_EQUAL(conn_flush(conn), 0);
		CU_ASSERT_FALSE(conn_is_starved(conn));
		drain(got, sizeof(got));
		close_pair();
		fake_reset();
	}
}

void test_a_dead_socket_is_told_and_swallows_the_rest(void)
{
	struct frame_header header = {.type = FRAME_DATA, .length = 1};
	struct iovec iov = {.iov_base = (void *)"x", .iov_len = 1};

	open_pair(0);
	shutdown(far_end, SHUT_RD);
	CU_ASSERT_EQUAL(conn_put(conn, &header, &iov, 1, NULL, 0), 0);
	CU_ASSERT_EQUAL(conn_error(conn), -EPIPE);
	CU_ASSERT_EQUAL(conn_put(conn, &header, &iov, 1, NULL, 0), 0);
	CU_ASSERT_EQUAL(conn_flush(conn), -EPIPE);
	header.length = FRAME_LENGTH_MAX + 1;
	CU_ASSERT_EQUAL(conn_put(conn, &header, &iov, 1, NULL, 0), -EMSGSIZE);
	close_pair();
}

void test_frames_survive_the_shortest_writes_and_reads(void)
{
	struct frame_header header = {.type = FRAME_DATA, .length = 4000};
	static uint8_t block[4000], got[20 * (4000 + FRAME_HEADER_SIZE)];
	struct iovec iov = {.iov_base = block, .iov_len = sizeof(block)};
	int pipes[2];

	open_pair(2048);
	CU_ASSERT_EQUAL(sys_pipe(pipes, 0), 0);
	fake_short(7);
	for (uint32_t i = 0; i < 20; i += 2) {
		memset(block, (int)i, sizeof(block));
		header.stream_id = i;
		conn_put(conn, &header, &iov, 1, NULL, 0);
		memset(block, (int)i + 1, sizeof(block));
		CU_ASSERT_EQUAL(write(pipes[1], block, sizeof(block)), (ssize_t)sizeof(block));
		header.stream_id = i + 1;
		conn_put_pipe(conn, &header, NULL, 0, pipes[0], sizeof(block));
		drain(got + i * (4000 + FRAME_HEADER_SIZE), 2 * (4000 + FRAME_HEADER_SIZE));
	}
	for (uint32_t i = 0; i < 20; i++) {
		const uint8_t *frame = got + i * (4000 + FRAME_HEADER_SIZE);

		frame_decode(frame, &header);
		CU_ASSERT(header.stream_id == i && header.length == 4000);
		CU_ASSERT(frame[FRAME_HEADER_SIZE] == i && frame[FRAME_HEADER_SIZE + 3999] == i);
	}
	close(pipes[0]);
	close(pipes[1]);
	close_pair();
	fake_reset();
}
