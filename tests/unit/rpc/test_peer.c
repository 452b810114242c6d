/* A peer with a scripted client: calls, credit, fairness, what goes wrong. */
#include <CUnit/CUnit.h>
#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/loop.h"
#include "base/mem.h"
#include "base/sys.h"
#include "rpc/call.h"
#include "rpc/peer.h"
#include "spawnd/v1/admin.pb-c.h"
#include "spawnd/v1/events.pb-c.h"
#include "ttrpc.pb-c.h"
#include "wire/conn.h"

static struct loop *loop;
static struct peer *peer;
static struct conn *client;
static struct call *held;
static unsigned gone, ended, half_closed, sends[4];
static int forbidden;

/* ---- methods ---- */

static int handle_ping(struct call *call, const ProtobufCMessage *request, struct err *err)
{
	Spawnd__V1__PingReply reply = SPAWND__V1__PING_REPLY__INIT;

	reply.payload = ((const Spawnd__V1__PingRequest *)request)->payload;
	call_reply(call, &reply.base);
	return 0;
}

static void on_end(struct call *call)
{
	ended++;
	held = NULL;
}

/* Answers never. */
static int handle_version(struct call *call, const ProtobufCMessage *request, struct err *err)
{
	static const struct call_ops ops = {.on_end = on_end};

	call_set_ops(call, &ops, NULL);
	held = call;
	return 0;
}

static int handle_metrics(struct call *call, const ProtobufCMessage *request, struct err *err)
{
	return err_invalid(err, "why", "never");
}

static int on_message(struct call *call, const ProtobufCMessage *message, struct err *err)
{
	const Spawnd__V1__SubscribeRequest *request = (const Spawnd__V1__SubscribeRequest *)message;

	if (request->message_case == SPAWND__V1__SUBSCRIBE_REQUEST__MESSAGE_GRANT)
		call_grant(call, request->grant->bytes, request->grant->messages);
	else
		return err_set(err, STATUS_CANCELLED, "cancelled");
	return 0;
}

static void on_half_close(struct call *call)
{
	half_closed++;
}

/* Bulk for ever, 1000 bytes of credit a frame. */
static bool on_sendable(struct call *call)
{
	Spawnd__V1__Event event = SPAWND__V1__EVENT__INIT;
	uint8_t bytes[64];
	struct iovec iov = {.iov_base = bytes};

	if (call_credit(call) < 1000)
		return false;
	event.seq = ++sends[(uintptr_t)call_context(call)];
	iov.iov_len = spawnd__v1__event__pack(&event, bytes);
	call_send_bulk(call, &iov, 1, 1000);
	return true;
}

static int handle_subscribe(struct call *call, const ProtobufCMessage *message, struct err *err)
{
	static const struct call_ops ops = {on_message, on_half_close, on_sendable, on_end};
	const Spawnd__V1__SubscribeRequest *request = (const Spawnd__V1__SubscribeRequest *)message;

	if (request->message_case != SPAWND__V1__SUBSCRIBE_REQUEST__MESSAGE_START)
		return err_invalid(err, "start", "must come first");
	call_set_ops(call, &ops, (void *)(uintptr_t)request->start->since_seq);
	if (request->start->window)
		call_window(call, request->start->window->bytes, request->start->window->messages);
	call_want_send(call);
	return 0;
}

static const struct method methods[] = {
	{"t", "Ping", &spawnd__v1__ping_request__descriptor, &spawnd__v1__ping_reply__descriptor, false, RIGHT_NONE, handle_ping},
	{"t", "Hold", &spawnd__v1__version_request__descriptor, &spawnd__v1__version_reply__descriptor, false, RIGHT_NONE, handle_version},
	{"t", "Fail", &spawnd__v1__metrics_request__descriptor, &spawnd__v1__metrics_reply__descriptor, false, RIGHT_NONE, handle_metrics},
	{"t", "Subscribe", &spawnd__v1__subscribe_request__descriptor, &spawnd__v1__event__descriptor, true, RIGHT_NONE, handle_subscribe},
};

static int authorize(void *context, struct peer *who, const struct method *method, struct err *err)
{
	return forbidden ? err_set(err, STATUS_PERMISSION_DENIED, "forbidden") : 0;
}

static void on_gone(void *context, struct peer *who)
{
	gone++;
	peer = NULL;
}

/* ---- harness ---- */

static void open_peer(void)
{
	static const struct peer_observer observer = {authorize, on_gone};
	static struct peer_server server;
	int fds[2];

	gone = ended = half_closed = 0;
	memset(sends, 0, sizeof(sends));
	forbidden = 0;
	loop = loop_create();
	server = (struct peer_server){.loop = loop, .methods = {methods, array_size(methods)}, .observer = &observer, .stall_ms = 60000};
	CU_ASSERT_EQUAL(sys_socketpair(SOCK_STREAM, fds), 0);
	peer = peer_create(&server, fds[0]);
	client = conn_create(fds[1]);
}

static void stop(void *arg)
{
	loop_stop(loop);
}

/* Lets the loop work until it has nothing left to do at once. */
static void settle(void)
{
	struct loop_timer *timer = loop_timer_create(loop, stop, NULL);

	for (int i = 0; i < 20; i++) {
		loop_timer_set(timer, 0);
		loop_run(loop);
	}
	loop_timer_destroy(timer);
}

static void close_peer(void)
{
	conn_destroy(client);
	settle();
	CU_ASSERT_EQUAL(gone, 1);
	loop_destroy(loop);
}

static void send_frame(uint32_t stream, enum frame_type type, unsigned flags, const void *bytes, size_t size)
{
	struct frame_header header = {.length = (uint32_t)size, .stream_id = stream, .type = (uint8_t)type, .flags = (uint8_t)flags};
	struct iovec iov = {.iov_base = (void *)bytes, .iov_len = size};

	conn_put(client, &header, &iov, 1, NULL, 0);
	conn_flush(client);
}

static void send_request(uint32_t stream, unsigned flags, const char *method, const ProtobufCMessage *payload, int64_t timeout_ns)
{
	Ttrpc__Request request = TTRPC__REQUEST__INIT;
	uint8_t bytes[512], inner[256];

	request.service = (char *)"t";
	request.method = (char *)method;
	request.timeout_nano = timeout_ns;
	if (payload)
		request.payload = (ProtobufCBinaryData){.len = protobuf_c_message_pack(payload, inner), .data = inner};
	send_frame(stream, FRAME_REQUEST, flags, bytes, ttrpc__request__pack(&request, bytes));
}

static void send_data(uint32_t stream, const ProtobufCMessage *message)
{
	uint8_t bytes[256];

	send_frame(stream, FRAME_DATA, 0, bytes, protobuf_c_message_pack(message, bytes));
}

static void subscribe(uint32_t stream, unsigned which, uint64_t bytes, uint32_t count)
{
	Spawnd__V1__SubscribeRequest request = SPAWND__V1__SUBSCRIBE_REQUEST__INIT;
	Spawnd__V1__SubscribeStart start = SPAWND__V1__SUBSCRIBE_START__INIT;
	Spawnd__V1__Grant grant = SPAWND__V1__GRANT__INIT;

	grant.bytes = bytes;
	grant.messages = count;
	start.since_seq = which;
	start.window = &grant;
	request.message_case = SPAWND__V1__SUBSCRIBE_REQUEST__MESSAGE_START;
	request.start = &start;
	send_request(stream, FRAME_REMOTE_OPEN, "Subscribe", NULL, 0);
	send_data(stream, &request.base);
}

static void grant(uint32_t stream, uint64_t bytes, uint32_t count)
{
	Spawnd__V1__SubscribeRequest request = SPAWND__V1__SUBSCRIBE_REQUEST__INIT;
	Spawnd__V1__Grant message = SPAWND__V1__GRANT__INIT;

	message.bytes = bytes;
	message.messages = count;
	request.message_case = SPAWND__V1__SUBSCRIBE_REQUEST__MESSAGE_GRANT;
	request.grant = &message;
	send_data(stream, &request.base);
}

/* Status code of the next frame, which must be a Response on this stream; -1 when there is none. */
static int next_status(uint32_t stream)
{
	Ttrpc__Response *response;
	struct frame frame;
	int code = -1;

	settle();
	conn_read(client);
	if (!conn_next(client, &frame) || frame.header.type != FRAME_RESPONSE || frame.header.stream_id != stream)
		return -1;
	response = ttrpc__response__unpack(NULL, frame.header.length, frame.payload);
	if (response) {
		code = response->status ? response->status->code : 0;
		ttrpc__response__free_unpacked(response, NULL);
	}
	return code;
}

/* ---- tests ---- */

void test_unary_calls_answer_and_fail(void)
{
	Spawnd__V1__PingRequest ping = SPAWND__V1__PING_REQUEST__INIT;

	open_peer();
	ping.payload = (ProtobufCBinaryData){.len = 2, .data = (uint8_t *)"hi"};
	send_request(1, 0, "Ping", &ping.base, 0);
	CU_ASSERT_EQUAL(next_status(1), 0);
	send_request(3, 0, "Fail", NULL, 0);
	CU_ASSERT_EQUAL(next_status(3), STATUS_INVALID_ARGUMENT);
	send_request(5, 0, "Nothing", NULL, 0);
	CU_ASSERT_EQUAL(next_status(5), STATUS_UNIMPLEMENTED);
	forbidden = 1;
	send_request(7, 0, "Ping", NULL, 0);
	CU_ASSERT_EQUAL(next_status(7), STATUS_PERMISSION_DENIED);
	close_peer();
}

void test_a_deadline_ends_a_call_and_its_late_answer_is_dropped(void)
{
	open_peer();
	send_request(1, 0, "Hold", NULL, 1);
	CU_ASSERT_EQUAL(next_status(1), STATUS_DEADLINE_EXCEEDED);
	CU_ASSERT_EQUAL(ended, 1);
	close_peer();
}

void test_a_lost_connection_ends_every_call_once(void)
{
	open_peer();
	send_request(1, 0, "Hold", NULL, 0);
	subscribe(3, 0, 1000, 64);
	settle();
	close_peer();
	CU_ASSERT_EQUAL(ended, 2);
}

void test_stream_ids_must_be_odd_and_rise(void)
{
	static const uint32_t wrong[] = {0, 2, 1};

	for (size_t i = 0; i < array_size(wrong); i++) {
		open_peer();
		send_request(1, 0, "Ping", NULL, 0);
		send_request(wrong[i], 0, "Ping", NULL, 0);
		settle();
		CU_ASSERT_EQUAL(gone, 1);
		close_peer();
	}
}

void test_credit_is_kept_in_bytes_and_in_messages(void)
{
	open_peer();
	subscribe(1, 0, 5500, 64);
	settle();
	CU_ASSERT_EQUAL(sends[0], 5);
	grant(1, 500, 0);
	settle();
	CU_ASSERT_EQUAL(sends[0], 6);
	subscribe(3, 1, 1 << 30, 1000);
	settle();
	CU_ASSERT_EQUAL(sends[1], CALL_WINDOW_MESSAGES - CALL_RESERVED_MESSAGES);
	grant(3, 0, 3);
	settle();
	CU_ASSERT_EQUAL(sends[1], CALL_WINDOW_MESSAGES - CALL_RESERVED_MESSAGES + 3);
	close_peer();
}

void test_calls_take_turns_and_one_without_credit_holds_up_nobody(void)
{
	open_peer();
	subscribe(1, 0, 1000, 64);
	subscribe(3, 1, 40000, 64);
	subscribe(5, 2, 40000, 64);
	settle();
	CU_ASSERT_EQUAL(sends[0], 1);
	CU_ASSERT_EQUAL(sends[1], 40);
	CU_ASSERT_EQUAL(sends[2], 40);
	close_peer();
}

void test_half_close_comes_once_and_cancel_ends(void)
{
	Spawnd__V1__SubscribeRequest cancel = SPAWND__V1__SUBSCRIBE_REQUEST__INIT;
	Spawnd__V1__Cancel inner = SPAWND__V1__CANCEL__INIT;

	open_peer();
	send_request(1, FRAME_REMOTE_OPEN, "Subscribe", NULL, 0);
	send_frame(1, FRAME_DATA, FRAME_REMOTE_CLOSED | FRAME_NO_DATA, NULL, 0);
	CU_ASSERT_EQUAL(next_status(1), STATUS_INVALID_ARGUMENT);
	subscribe(3, 0, 1, 64);
	cancel.message_case = SPAWND__V1__SUBSCRIBE_REQUEST__MESSAGE_CANCEL;
	cancel.cancel = &inner;
	send_data(3, &cancel.base);
	CU_ASSERT_EQUAL(next_status(3), STATUS_CANCELLED);
	CU_ASSERT_EQUAL(ended, 1);
	subscribe(5, 0, 1, 64);
	send_frame(5, FRAME_DATA, FRAME_REMOTE_CLOSED | FRAME_NO_DATA, NULL, 0);
	settle();
	CU_ASSERT_EQUAL(half_closed, 1);
	grant(5, 1, 1);
	CU_ASSERT_EQUAL(next_status(5), STATUS_INVALID_ARGUMENT);
	close_peer();
}

void test_late_data_and_unknown_types_are_ignored(void)
{
	open_peer();
	send_frame(9, FRAME_DATA, 0, "x", 1);
	send_frame(9, (enum frame_type)77, 0, "x", 1);
	send_request(11, 0, "Ping", NULL, 0);
	CU_ASSERT_EQUAL(next_status(11), 0);
	close_peer();
}
