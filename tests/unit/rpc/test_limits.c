/* A client that asks for more than it takes, and a kernel that has nothing to give. */
#include "rpc/harness.h"

#include <errno.h>
#include <fcntl.h>

#include "fake_sys.h"
#include "spawnd/v1/events.pb-c.h"

#define MIB (1u << 20)

static unsigned handled, ended;
static int pipe_fds[2];

static void on_end(struct call *call)
{
	ended++;
}

static const struct call_ops hold_ops = {.on_end = on_end};

/* Answers with as many MiB as the request has bytes. */
static int handle_ping(struct call *call, const ProtobufCMessage *request, struct err *err)
{
	Spawnd__V1__PingReply reply = SPAWND__V1__PING_REPLY__INIT;
	size_t size = ((const Spawnd__V1__PingRequest *)request)->payload.len * MIB;
	_cleanup_free_ uint8_t *bytes = mem_alloc(size + 1);

	handled++;
	reply.payload = (ProtobufCBinaryData){.len = size, .data = bytes};
	call_reply(call, &reply.base);
	return 0;
}

static int handle_hold(struct call *call, const ProtobufCMessage *request, struct err *err)
{
	call_set_ops(call, &hold_ops, NULL);
	return 0;
}

/* A stream whose first answer does not fit a frame; it goes on as if it did. */
static int handle_burst(struct call *call, const ProtobufCMessage *request, struct err *err)
{
	Spawnd__V1__PingReply reply = SPAWND__V1__PING_REPLY__INIT;
	_cleanup_free_ uint8_t *bytes = mem_alloc(5 * MIB);

	call_set_ops(call, &hold_ops, NULL);
	reply.payload = (ProtobufCBinaryData){.len = 5 * MIB, .data = bytes};
	call_send(call, &reply.base, NULL, 0);
	call_send(call, &reply.base, NULL, 0);
	call_want_send(call);
	CU_ASSERT_EQUAL(call_credit(call), 0);
	CU_ASSERT_EQUAL(ended, 0);
	return 0;
}

/* One that sends a descriptor when it cannot be kept. */
static int handle_hand_over(struct call *call, const ProtobufCMessage *request, struct err *err)
{
	Spawnd__V1__PingReply reply = SPAWND__V1__PING_REPLY__INIT;
	struct rlimit old, none;

	call_set_ops(call, &hold_ops, NULL);
	getrlimit(RLIMIT_NOFILE, &old);
	none = old;
	none.rlim_cur = 3;
	setrlimit(RLIMIT_NOFILE, &none);
	call_send(call, &reply.base, &pipe_fds[0], 1);
	setrlimit(RLIMIT_NOFILE, &old);
	return 0;
}

/* Announces ten bytes of a pipe that has five. */
static bool send_short(struct call *call)
{
	call_send_bulk_pipe(call, "\x0a\x0a", 2, pipe_fds[0], 10, 10);
	return false;
}

static int handle_short(struct call *call, const ProtobufCMessage *request, struct err *err)
{
	static const struct call_ops ops = {.on_sendable = send_short, .on_end = on_end};

	call_set_ops(call, &ops, NULL);
	call_want_send(call);
	return 0;
}

#define METHOD(name, stream, handle)                                                                                                       \
	{                                                                                                                                  \
		"t", name, &spawnd__v1__ping_request__descriptor, &spawnd__v1__ping_reply__descriptor, stream, false, RIGHT_NONE, handle   \
	}

static void open_limited(void)
{
	static const struct method methods[] = {
		METHOD("Ping", false, handle_ping),
		METHOD("Hold", false, handle_hold),
		METHOD("Burst", true, handle_burst),
		METHOD("HandOver", true, handle_hand_over),
		METHOD("Short", true, handle_short),
	};

	handled = ended = 0;
	fake_reset();
	open_peer(methods, array_size(methods));
	CU_ASSERT_EQUAL(sys_pipe(pipe_fds, 0), 0);
}

static void close_limited(void)
{
	close(pipe_fds[0]);
	close(pipe_fds[1]);
	close_peer();
}

static void ping(uint32_t stream, size_t mib)
{
	Spawnd__V1__PingRequest request = SPAWND__V1__PING_REQUEST__INIT;
	uint8_t bytes[8] = {0};

	request.payload = (ProtobufCBinaryData){.len = mib, .data = bytes};
	send_request(stream, 0, "Ping", &request.base, 0);
}

/* Waits for the next frame and returns its stream. */
static uint32_t next_stream(void)
{
	struct frame frame;

	while (!conn_next(client, &frame)) {
		conn_flush(client);
		settle();
		conn_read(client);
	}
	return frame.header.stream_id;
}

void test_answers_that_nobody_reads_are_not_made(void)
{
	open_limited();
	for (uint32_t i = 0; i < 100; i++)
		ping(2 * i + 1, 1);
	settle();
	CU_ASSERT(handled < 12);
	CU_ASSERT(peer_memory(peer) < 10 * MIB);
	for (uint32_t i = 0; i < 100; i++)
		CU_ASSERT_EQUAL(next_stream(), 2 * i + 1);
	CU_ASSERT_EQUAL(handled, 100);
	ping(201, 0);
	CU_ASSERT_EQUAL(next_status(201), 0);
	close_limited();
}

void test_a_client_that_leaves_a_backlog_behind_is_forgotten(void)
{
	open_limited();
	for (uint32_t i = 0; i < 100; i++)
		ping(2 * i + 1, 1);
	settle();
	close_limited();
	CU_ASSERT(handled < 12);
}

void test_who_holds_up_its_other_streams_is_closed(void)
{
	open_limited();
	server.stall_ms = 1;
	ping(1, 1);
	ping(3, 1);
	while (!gone)
		run_for(1000);
	close_limited();
}

void test_who_stops_with_one_stream_is_waited_for(void)
{
	open_limited();
	server.stall_ms = 1;
	ping(1, 1);
	run_for(20000);
	CU_ASSERT_EQUAL(gone, 0);
	CU_ASSERT_EQUAL(next_stream(), 1);
	run_for(5000);
	CU_ASSERT_EQUAL(gone, 0);
	close_limited();
}

void test_a_shortage_of_the_kernel_is_waited_out(void)
{
	open_limited();
	ping(1, 1);
	fake_fail("sendmsg", ENOBUFS, 0, 3);
	CU_ASSERT_EQUAL(next_stream(), 1);
	close_limited();
	fake_reset();
}

void test_calls_of_a_connection_are_bounded(void)
{
	open_limited();
	for (uint32_t i = 0; i < 16384; i++) {
		send_request(2 * i + 1, 0, "Hold", NULL, 0);
		if (i % 256 == 0)
			settle();
		conn_flush(client);
	}
	while (conn_flush(client) == 1)
		settle();
	settle();
	ping(40001, 0);
	CU_ASSERT_EQUAL(next_status(40001), STATUS_RESOURCE_EXHAUSTED);
	close_limited();
	CU_ASSERT_EQUAL(ended, 16384);
}

void test_what_does_not_fit_a_frame_ends_its_call(void)
{
	open_limited();
	ping(1, 4);
	CU_ASSERT_EQUAL(next_status(1), STATUS_RESOURCE_EXHAUSTED);
	send_request(3, FRAME_REMOTE_CLOSED, "Burst", NULL, 0);
	CU_ASSERT_EQUAL(next_status(3), STATUS_RESOURCE_EXHAUSTED);
	CU_ASSERT_EQUAL(ended, 1);
	ping(5, 0);
	CU_ASSERT_EQUAL(next_status(5), 0);
	close_limited();
	CU_ASSERT_EQUAL(ended, 1);
}

void test_a_descriptor_that_cannot_be_kept_ends_its_call(void)
{
	open_limited();
	send_request(1, FRAME_REMOTE_CLOSED, "HandOver", NULL, 0);
	CU_ASSERT_EQUAL(next_status(1), STATUS_RESOURCE_EXHAUSTED);
	CU_ASSERT_EQUAL(ended, 1);
	ping(3, 0);
	CU_ASSERT_EQUAL(next_status(3), 0);
	close_limited();
}

void test_half_a_frame_ends_the_connection(void)
{
	open_limited();
	CU_ASSERT_EQUAL(write(pipe_fds[1], "12345", 5), 5);
	send_request(1, FRAME_REMOTE_CLOSED, "Short", NULL, 0);
	settle();
	CU_ASSERT_EQUAL(gone, 1);
	CU_ASSERT_EQUAL(ended, 1);
	close_limited();
}

void test_oversized_frames_are_refused_and_passed_over(void)
{
	static uint8_t block[MIB];
	struct frame_header header = {.length = 4 * MIB + 1, .stream_id = 1, .type = FRAME_REQUEST};
	uint8_t head[FRAME_HEADER_SIZE];
	size_t left = header.length;

	open_limited();
	frame_encode(&header, head);
	CU_ASSERT_EQUAL(write(conn_fd(client), head, sizeof(head)), (ssize_t)sizeof(head));
	CU_ASSERT_EQUAL(next_status(1), STATUS_RESOURCE_EXHAUSTED);
	while (left) {
		ssize_t sent = send(conn_fd(client), block, left < MIB ? left : MIB, MSG_DONTWAIT);

		if (sent > 0)
			left -= (size_t)sent;
		settle();
		CU_ASSERT(peer_memory(peer) < MIB);
	}
	ping(3, 0);
	CU_ASSERT_EQUAL(next_status(3), 0);
	send_request(5, 0, "Hold", NULL, 0);
	header = (struct frame_header){.length = 4 * MIB + 1, .stream_id = 5, .type = FRAME_DATA};
	frame_encode(&header, head);
	settle();
	CU_ASSERT_EQUAL(write(conn_fd(client), head, sizeof(head)), (ssize_t)sizeof(head));
	CU_ASSERT_EQUAL(next_status(5), STATUS_RESOURCE_EXHAUSTED);
	CU_ASSERT_EQUAL(ended, 1);
	close_limited();
}
