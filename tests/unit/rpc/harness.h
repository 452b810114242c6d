/* A peer on a loop with a scripted client at the other end of a socket pair. The test gives the methods. */
#pragma once

#include <CUnit/CUnit.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/loop.h"
#include "base/mem.h"
#include "base/sys.h"
#include "rpc/call.h"
#include "rpc/peer.h"
#include "spawnd/v1/admin.pb-c.h"
#include "ttrpc.pb-c.h"
#include "wire/conn.h"

static struct loop *loop;
static struct peer *peer;
static struct peer_server server;
static struct conn *client;
static unsigned gone;
static int forbidden;

static int authorize(void *context, struct peer *who, const struct method *method, struct err *err)
{
	return forbidden ? err_set(err, STATUS_PERMISSION_DENIED, "forbidden") : 0;
}

static void on_gone(void *context, struct peer *who)
{
	gone++;
	peer = NULL;
}

/* Both ends are taken. */
static inline void open_peer_with(const struct method *methods, size_t count, int fd, int client_fd, struct quotas *quotas)
{
	static const struct peer_observer observer = {authorize, on_gone};

	gone = 0;
	forbidden = 0;
	loop = loop_create();
	server = (struct peer_server){.loop = loop, .methods = {methods, count}, .observer = &observer, .stall_ms = 60000};
	server.quotas = quotas;
	peer = peer_create(&server, fd);
	client = conn_create(client_fd);
}

static inline void open_peer_on(const struct method *methods, size_t count, int fd, int client_fd)
{
	open_peer_with(methods, count, fd, client_fd, NULL);
}

static inline void open_peer(const struct method *methods, size_t count)
{
	int fds[2];

	CU_ASSERT_EQUAL(sys_socketpair(SOCK_STREAM, fds), 0);
	open_peer_on(methods, count, fds[0], fds[1]);
}

static void stop(void *arg)
{
	loop_stop(loop);
}

/* Lets the loop work for a while of its own clock. */
static inline void run_for(uint64_t us)
{
	struct loop_timer *timer = loop_timer_create(loop, stop, NULL);

	loop_timer_set(timer, us);
	loop_run(loop);
	loop_timer_destroy(timer);
}

/* Lets the loop work until it has nothing left to do at once. */
static inline void settle(void)
{
	for (int i = 0; i < 20; i++)
		run_for(0);
}

static inline void close_peer(void)
{
	conn_destroy(client);
	settle();
	CU_ASSERT_EQUAL(gone, 1);
	loop_destroy(loop);
}

static inline void send_frame(uint32_t stream, enum frame_type type, unsigned flags, const void *bytes, size_t size)
{
	struct frame_header header = {.length = (uint32_t)size, .stream_id = stream, .type = (uint8_t)type, .flags = (uint8_t)flags};
	struct iovec iov = {.iov_base = (void *)bytes, .iov_len = size};

	conn_put(client, &header, &iov, 1, NULL, 0);
	conn_flush(client);
}

static inline void send_request(uint32_t stream, unsigned flags, const char *method, const ProtobufCMessage *payload, int64_t timeout_ns)
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

static inline void send_data(uint32_t stream, const ProtobufCMessage *message)
{
	uint8_t bytes[256];

	send_frame(stream, FRAME_DATA, 0, bytes, protobuf_c_message_pack(message, bytes));
}

/* Status code of the next frame, which must be a Response on this stream; -1 when there is none. */
static inline int next_status(uint32_t stream)
{
	Ttrpc__Response *response;
	struct frame frame;
	int code = -1;

	settle();
	conn_flush(client);
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
