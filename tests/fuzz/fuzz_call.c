/* A peer with one unary and one streaming method, fed with anything. */
#include <stdint.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "base/loop.h"
#include "base/mem.h"
#include "base/sys.h"
#include "rpc/call.h"
#include "rpc/peer.h"
#include "spawnd/v1/admin.pb-c.h"
#include "spawnd/v1/processes.pb-c.h"

static bool gone;

static int handle_unary(struct call *call, const ProtobufCMessage *request, struct err *err)
{
	Spawnd__V1__PingReply reply = SPAWND__V1__PING_REPLY__INIT;

	call_reply(call, &reply.base);
	return 0;
}

static int on_message(struct call *call, const ProtobufCMessage *message, struct err *err)
{
	const Spawnd__V1__SpawnRequest *request = (const Spawnd__V1__SpawnRequest *)message;

	if (request->message_case == SPAWND__V1__SPAWN_REQUEST__MESSAGE_START)
		return err_invalid(err, "start", "comes once");
	call_send(call, &request->base, NULL, 0);
	return 0;
}

static int handle_stream(struct call *call, const ProtobufCMessage *message, struct err *err)
{
	static const struct call_ops ops = {.on_message = on_message};

	call_set_ops(call, &ops, NULL);
	return 0;
}

static int authorize(void *context, struct peer *peer, const struct method *method, struct err *err)
{
	return 0;
}

static void on_gone(void *context, struct peer *peer)
{
	gone = true;
}

static void stop(void *arg)
{
	loop_stop(arg);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct method methods[] = {
		{"spawnd.v1.Admin", "Ping", &spawnd__v1__hello_request__descriptor, &spawnd__v1__ping_reply__descriptor, false, RIGHT_NONE,
			handle_unary},
		{"spawnd.v1.Processes", "Spawn", &spawnd__v1__spawn_request__descriptor, &spawnd__v1__process_event__descriptor, true,
			RIGHT_NONE, handle_stream},
	};
	static const struct peer_observer observer = {authorize, on_gone};
	struct loop *loop = loop_create();
	struct peer_server server = {.loop = loop, .methods = {methods, array_size(methods)}, .observer = &observer, .stall_ms = 1000};
	struct loop_timer *timer = loop_timer_create(loop, stop, loop);
	int fds[2];

	log_set_level(LOG_ERROR);
	gone = false;
	if (sys_socketpair(SOCK_STREAM, fds) < 0 || !peer_create(&server, fds[0]))
		abort();
	if (size && write(fds[1], data, size) < 0)
		abort();
	shutdown(fds[1], SHUT_WR);
	for (int i = 0; i < 1000 && !gone; i++) {
		loop_timer_set(timer, 0);
		loop_run(loop);
	}
	if (!gone)
		abort();
	loop_timer_set(timer, 0);
	loop_run(loop);
	loop_timer_destroy(timer);
	close(fds[1]);
	loop_destroy(loop);
	return 0;
}
