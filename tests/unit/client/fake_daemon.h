/* The daemon's end of a socketpair, played by the test: it sees whole frames and says what it likes. */
#pragma once

#include <CUnit/CUnit.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"
#include "internal.h"
#include "spawnd/v1/admin.pb-c.h"
#include "spawnd/v1/events.pb-c.h"
#include "ttrpc.pb-c.h"

struct fake {
	struct spawnd *client;
	struct conn *conn; /* the daemon's end */
	struct frame frame;
};

/* A client without Hello, and its daemon. */
static inline struct fake fake_create(void)
{
	struct fake fake = {.client = mem_alloc(sizeof(*fake.client))};
	int fds[2];

	CU_ASSERT_FATAL(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
	fake.client->conn = conn_create(fds[0]);
	fake.client->fd = fds[0];
	fake.client->socket = mem_strdup("/fake");
	fake.client->next_id = 1;
	fake.conn = conn_create(fds[1]);
	return fake;
}

static inline void fake_destroy(struct fake *fake)
{
	spawnd_close(fake->client);
	conn_destroy(fake->conn);
}

/* The next frame the client sent, into fake->frame; NULL when there is none now. */
static inline struct frame *fake_next(struct fake *fake)
{
	if (conn_next(fake->conn, &fake->frame))
		return &fake->frame;
	conn_read(fake->conn);
	return conn_next(fake->conn, &fake->frame) ? &fake->frame : NULL;
}

/* Takes the frame that opens a stream: its Request, and its first message into *first_out, which the caller unpacks. */
static inline uint32_t fake_opened(struct fake *fake, const char *method, struct frame *first_out)
{
	struct frame *frame = fake_next(fake);
	Ttrpc__Request *request;
	uint32_t id;

	CU_ASSERT_FATAL(frame && frame->header.type == FRAME_REQUEST && frame->header.flags == FRAME_REMOTE_OPEN);
	id = frame->header.stream_id;
	request = ttrpc__request__unpack(NULL, frame->header.length, frame->payload);
	CU_ASSERT_FATAL(request != NULL);
	CU_ASSERT_STRING_EQUAL(request->method, method);
	ttrpc__request__free_unpacked(request, NULL);
	frame = fake_next(fake);
	CU_ASSERT_FATAL(frame && frame->header.type == FRAME_DATA && frame->header.stream_id == id);
	if (first_out)
		*first_out = *frame;
	return id;
}

/* Takes a unary request. */
static inline uint32_t fake_asked(struct fake *fake, const char *method)
{
	struct frame *frame = fake_next(fake);
	Ttrpc__Request *request;
	uint32_t id;

	CU_ASSERT_FATAL(frame && frame->header.type == FRAME_REQUEST && frame->header.flags == 0);
	id = frame->header.stream_id;
	request = ttrpc__request__unpack(NULL, frame->header.length, frame->payload);
	CU_ASSERT_FATAL(request != NULL);
	CU_ASSERT_STRING_EQUAL(request->method, method);
	ttrpc__request__free_unpacked(request, NULL);
	return id;
}

static inline void fake_send_fds(struct fake *fake, uint32_t id, const ProtobufCMessage *message, const int *fds, size_t count)
{
	struct frame_header header = {.stream_id = id, .type = FRAME_DATA};
	_cleanup_free_ uint8_t *bytes = mem_alloc(protobuf_c_message_get_packed_size(message));
	struct iovec iov = {.iov_base = bytes, .iov_len = protobuf_c_message_pack(message, bytes)};

	header.length = (uint32_t)iov.iov_len;
	conn_put(fake->conn, &header, &iov, 1, fds, count);
	CU_ASSERT(conn_flush(fake->conn) >= 0);
}

static inline void fake_send(struct fake *fake, uint32_t id, const ProtobufCMessage *message)
{
	fake_send_fds(fake, id, message, NULL, 0);
}

/* Bytes as they are, in a frame of any type. */
static inline void fake_send_raw(struct fake *fake, uint32_t id, unsigned type, unsigned flags, const void *bytes, size_t size)
{
	struct frame_header header = {.length = (uint32_t)size, .stream_id = id, .type = (uint8_t)type, .flags = (uint8_t)flags};
	struct iovec iov = {.iov_base = (void *)bytes, .iov_len = size};

	conn_put(fake->conn, &header, &iov, 1, NULL, 0);
	conn_flush(fake->conn);
}

/* The stream ended well. */
static inline void fake_end(struct fake *fake, uint32_t id)
{
	fake_send_raw(fake, id, FRAME_DATA, FRAME_REMOTE_CLOSED | FRAME_NO_DATA, "", 0);
}

/* A Response: a status, or code 0 and a payload. */
static inline void fake_respond(struct fake *fake, uint32_t id, int code, const char *text, const ProtobufCMessage *payload)
{
	Ttrpc__Response response = TTRPC__RESPONSE__INIT;
	Ttrpc__Status status = TTRPC__STATUS__INIT;
	_cleanup_free_ uint8_t *inner = NULL, *bytes = NULL;

	if (code) {
		status.code = code;
		status.message = (char *)text;
		response.status = &status;
	}
	if (payload) {
		inner = mem_alloc(protobuf_c_message_get_packed_size(payload));
		response.payload.len = protobuf_c_message_pack(payload, inner);
		response.payload.data = inner;
	}
	bytes = mem_alloc(ttrpc__response__get_packed_size(&response));
	fake_send_raw(fake, id, FRAME_RESPONSE, 0, bytes, ttrpc__response__pack(&response, bytes));
}

/* ---- events of a process ---- */

static inline void fake_spawned(struct fake *fake, uint32_t id, const int *fds, size_t count)
{
	Spawnd__V1__ProcessEvent event = SPAWND__V1__PROCESS_EVENT__INIT;
	Spawnd__V1__Spawned spawned = SPAWND__V1__SPAWNED__INIT;
	Spawnd__V1__HandedFd handed[] = {SPAWND__V1__HANDED_FD__INIT, SPAWND__V1__HANDED_FD__INIT};
	Spawnd__V1__HandedFd *list[] = {&handed[0], &handed[1]};

	event.event_case = SPAWND__V1__PROCESS_EVENT__EVENT_SPAWNED;
	event.spawned = &spawned;
	spawned.id = 7;
	spawned.pid = 1234;
	handed[1].slot = 1;
	spawned.handed = list;
	spawned.n_handed = count;
	fake_send_fds(fake, id, &event.base, fds, count);
}

static inline void fake_output(struct fake *fake, uint32_t id, uint32_t slot, uint64_t offset, const void *bytes, size_t size)
{
	Spawnd__V1__ProcessEvent event = SPAWND__V1__PROCESS_EVENT__INIT;
	Spawnd__V1__Output output = SPAWND__V1__OUTPUT__INIT;

	event.event_case = SPAWND__V1__PROCESS_EVENT__EVENT_OUTPUT;
	event.output = &output;
	output.slot = slot;
	output.offset = offset;
	output.time_ns = 1;
	output.data = (ProtobufCBinaryData){.len = size, .data = (uint8_t *)bytes};
	fake_send(fake, id, &event.base);
}

static inline void fake_exited(struct fake *fake, uint32_t id, int code)
{
	Spawnd__V1__ProcessEvent event = SPAWND__V1__PROCESS_EVENT__INIT;
	Spawnd__V1__Exited exited = SPAWND__V1__EXITED__INIT;
	Spawnd__V1__ExitRecord record = SPAWND__V1__EXIT_RECORD__INIT;

	event.event_case = SPAWND__V1__PROCESS_EVENT__EVENT_EXITED;
	event.exited = &exited;
	exited.exit = &record;
	record._code_case = SPAWND__V1__EXIT_RECORD___CODE_CODE;
	record.code = code;
	record.reason = SPAWND__V1__EXIT_REASON__EXIT_REASON_EXITED;
	fake_send(fake, id, &event.base);
}

static inline void fake_stdin_grant(struct fake *fake, uint32_t id, uint64_t bytes)
{
	Spawnd__V1__ProcessEvent event = SPAWND__V1__PROCESS_EVENT__INIT;
	Spawnd__V1__Grant grant = SPAWND__V1__GRANT__INIT;

	event.event_case = SPAWND__V1__PROCESS_EVENT__EVENT_STDIN_GRANT;
	event.stdin_grant = &grant;
	grant.bytes = bytes;
	fake_send(fake, id, &event.base);
}

/* The control message in a frame of Spawn; the caller frees the request. */
static inline Spawnd__V1__SpawnRequest *fake_control(const struct frame *frame)
{
	Spawnd__V1__SpawnRequest *request = spawnd__v1__spawn_request__unpack(NULL, frame->header.length, frame->payload);

	CU_ASSERT_FATAL(request && request->message_case == SPAWND__V1__SPAWN_REQUEST__MESSAGE_CONTROL);
	return request;
}
