/* A peer with a scripted client: calls, credit, fairness, what goes wrong. */
#include "rpc/harness.h"
#include "spawnd/v1/events.pb-c.h"

static struct call *held;
static unsigned ended, half_closed, sends[4];

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

static int handle_close(struct call *call, const ProtobufCMessage *request, struct err *err)
{
	peer_close(call_peer(call), "the test says so");
	return err_set(err, STATUS_ABORTED, "too late");
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
	{"t", "Ping", &spawnd__v1__ping_request__descriptor, &spawnd__v1__ping_reply__descriptor, false, false, RIGHT_NONE, handle_ping},
	{"t", "Hold", &spawnd__v1__version_request__descriptor, &spawnd__v1__version_reply__descriptor, false, false, RIGHT_NONE,
		handle_version},
	{"t", "Fail", &spawnd__v1__metrics_request__descriptor, &spawnd__v1__metrics_reply__descriptor, false, false, RIGHT_NONE,
		handle_metrics},
	{"t", "Close", &spawnd__v1__metrics_request__descriptor, &spawnd__v1__metrics_reply__descriptor, false, false, RIGHT_NONE,
		handle_close},
	{"t", "Subscribe", &spawnd__v1__subscribe_request__descriptor, &spawnd__v1__event__descriptor, true, false, RIGHT_NONE,
		handle_subscribe},
};

static void open_peer_of_this(void)
{
	ended = half_closed = 0;
	memset(sends, 0, sizeof(sends));
	open_peer(methods, array_size(methods));
}

/* ---- what the client says ---- */

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

/* ---- tests ---- */

void test_unary_calls_answer_and_fail(void)
{
	Spawnd__V1__PingRequest ping = SPAWND__V1__PING_REQUEST__INIT;

	open_peer_of_this();
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
	open_peer_of_this();
	send_request(1, 0, "Hold", NULL, 1);
	CU_ASSERT_EQUAL(next_status(1), STATUS_DEADLINE_EXCEEDED);
	CU_ASSERT_EQUAL(ended, 1);
	close_peer();
}

void test_a_lost_connection_ends_every_call_once(void)
{
	open_peer_of_this();
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
		open_peer_of_this();
		send_request(1, 0, "Ping", NULL, 0);
		send_request(wrong[i], 0, "Ping", NULL, 0);
		settle();
		CU_ASSERT_EQUAL(gone, 1);
		close_peer();
	}
}

void test_credit_is_kept_in_bytes_and_in_messages(void)
{
	open_peer_of_this();
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
	open_peer_of_this();
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

	open_peer_of_this();
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
	open_peer_of_this();
	send_frame(9, FRAME_DATA, 0, "x", 1);
	send_frame(9, (enum frame_type)77, 0, "x", 1);
	send_request(11, 0, "Ping", NULL, 0);
	CU_ASSERT_EQUAL(next_status(11), 0);
	close_peer();
}

/* The first message of a stream, to be sent in one form or another. */
static size_t pack_start(uint8_t *bytes)
{
	Spawnd__V1__SubscribeRequest request = SPAWND__V1__SUBSCRIBE_REQUEST__INIT;
	Spawnd__V1__SubscribeStart start = SPAWND__V1__SUBSCRIBE_START__INIT;

	request.message_case = SPAWND__V1__SUBSCRIBE_REQUEST__MESSAGE_START;
	request.start = &start;
	return spawnd__v1__subscribe_request__pack(&request, bytes);
}

static void send_start_in_request(uint32_t stream, unsigned flags)
{
	Spawnd__V1__SubscribeRequest request = SPAWND__V1__SUBSCRIBE_REQUEST__INIT;
	Spawnd__V1__SubscribeStart start = SPAWND__V1__SUBSCRIBE_START__INIT;

	request.message_case = SPAWND__V1__SUBSCRIBE_REQUEST__MESSAGE_START;
	request.start = &start;
	send_request(stream, flags, "Subscribe", &request.base, 0);
	settle();
}

void test_a_first_message_may_come_in_any_lawful_form(void)
{
	uint8_t bytes[64];

	open_peer_of_this();
	send_start_in_request(1, FRAME_REMOTE_OPEN);
	CU_ASSERT_EQUAL(sends[0], 56);
	CU_ASSERT_EQUAL(half_closed, 0);
	send_start_in_request(3, FRAME_REMOTE_CLOSED);
	CU_ASSERT_EQUAL(sends[0], 112);
	CU_ASSERT_EQUAL(half_closed, 1);
	send_request(5, FRAME_REMOTE_OPEN, "Subscribe", NULL, 0);
	send_frame(5, FRAME_DATA, FRAME_REMOTE_CLOSED, bytes, pack_start(bytes));
	settle();
	CU_ASSERT_EQUAL(sends[0], 168);
	CU_ASSERT_EQUAL(half_closed, 2);
	close_peer();
	CU_ASSERT_EQUAL(ended, 3);
}

void test_an_empty_message_is_a_message(void)
{
	open_peer_of_this();
	send_request(1, FRAME_REMOTE_CLOSED, "Subscribe", NULL, 0);
	CU_ASSERT_EQUAL(next_status(1), STATUS_INVALID_ARGUMENT);
	send_request(3, FRAME_REMOTE_OPEN, "Subscribe", NULL, 0);
	send_frame(3, FRAME_DATA, 0, NULL, 0);
	CU_ASSERT_EQUAL(next_status(3), STATUS_INVALID_ARGUMENT);
	close_peer();
}

void test_data_for_a_unary_call_is_refused_but_not_its_end(void)
{
	open_peer_of_this();
	send_request(1, FRAME_REMOTE_OPEN, "Hold", NULL, 0);
	send_frame(1, FRAME_DATA, FRAME_REMOTE_CLOSED | FRAME_NO_DATA, NULL, 0);
	CU_ASSERT_EQUAL(next_status(1), -1);
	send_frame(1, FRAME_DATA, 0, "x", 1);
	CU_ASSERT_EQUAL(next_status(1), STATUS_INVALID_ARGUMENT);
	CU_ASSERT_EQUAL(ended, 1);
	close_peer();
}

void test_a_deadline_that_has_passed_is_kept(void)
{
	open_peer_of_this();
	send_request(1, 0, "Ping", NULL, -5);
	CU_ASSERT_EQUAL(next_status(1), STATUS_DEADLINE_EXCEEDED);
	close_peer();
}

void test_closing_inside_a_handler_ends_everything_once(void)
{
	open_peer_of_this();
	send_request(1, 0, "Hold", NULL, 0);
	send_request(3, 0, "Close", NULL, 0);
	send_request(5, 0, "Ping", NULL, 0);
	settle();
	CU_ASSERT_EQUAL(gone, 1);
	CU_ASSERT_EQUAL(ended, 1);
	close_peer();
}

void test_a_reply_may_come_later(void)
{
	Spawnd__V1__VersionReply reply = SPAWND__V1__VERSION_REPLY__INIT;

	open_peer_of_this();
	send_request(1, 0, "Hold", NULL, 1000000000);
	settle();
	CU_ASSERT_PTR_NOT_NULL_FATAL(held);
	call_reply(held, &reply.base);
	CU_ASSERT_EQUAL(next_status(1), 0);
	close_peer();
	CU_ASSERT_EQUAL(ended, 0);
}

void test_the_envelope_is_read_with_care(void)
{
	static const struct {
		const char *bytes;
		size_t size;
		int status;
	} cases[] = {
		{"\x0a\x01t\x12\x04Ping", 9, STATUS_OK},
		{"\x12\x04Ping\x0a\x01t", 9, STATUS_OK},
		{"\x0a\x01t\x12\x04Ping\x2a\x04\x0a\x02\xff\xff", 15, STATUS_OK},                     /* metadata */
		{"\x0a\x01t\x12\x04Ping\x30\x07\x39\x31\x32\x33\x34\x35\x36\x37\x38", 20, STATUS_OK}, /* of a later version */
		{"\x0a\x01t\x12\x05Ping\x00", 10, STATUS_UNIMPLEMENTED},
		{"\x0a\x01t\x12\x03Pin", 8, STATUS_UNIMPLEMENTED},
		{"", 0, STATUS_UNIMPLEMENTED},
		{"\x0a\x02t", 3, STATUS_INVALID_ARGUMENT},
		{"\x0a\x01t\x12\x04Ping\x18\x01", 11, STATUS_OK}, /* another wire type is another field */
		{"\x0a\x01t\x12\x04Ping\x20\xff", 11, STATUS_INVALID_ARGUMENT},
		{"\x0b\x0c", 2, STATUS_INVALID_ARGUMENT},
	};

	open_peer_of_this();
	for (uint32_t i = 0; i < array_size(cases); i++) {
		send_frame(2 * i + 1, FRAME_REQUEST, 0, cases[i].bytes, cases[i].size);
		CU_ASSERT_EQUAL(next_status(2 * i + 1), cases[i].status);
	}
	close_peer();
}
