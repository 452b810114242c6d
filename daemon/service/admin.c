/* The daemon itself: Hello, Ping, Version, SetLogLevel, Shutdown. Its numbers are in stats.c. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "service/internal.h"
#include "spawnd/v1/admin.pb-c.h"

#define PROTOCOL_VERSION 1u
#define PING_MAX (64u << 10)
#define FD_PASSING "fd_passing"

int handle_hello(struct call *call, const ProtobufCMessage *message, struct err *err)
{
	static char *features[] = {(char *)FD_PASSING};
	const Spawnd__V1__HelloRequest *request = (const Spawnd__V1__HelloRequest *)message;
	Spawnd__V1__HelloReply reply = SPAWND__V1__HELLO_REPLY__INIT;
	struct peer *peer = call_peer(call);
	struct peer *before;
	struct session *session;
	bool resumed;
	int done;

	if (request->version != PROTOCOL_VERSION)
		return err_set(err, STATUS_FAILED_PRECONDITION, "the client speaks version %u of the protocol, this daemon version %u",
			request->version, PROTOCOL_VERSION);
	if (peer_session(peer))
		return err_set(err, STATUS_FAILED_PRECONDITION, "this connection has said Hello already");
	done = session_open(service_get()->sessions, peer_uid(peer), request, &session, &resumed, err);
	if (done < 0)
		return done;
	peer_set_session(peer, session);
	/* what it sent and was not read yet comes again: it must not come twice */
	before = session_move(session, peer);
	if (before)
		peer_close(before, "its session goes on with another connection");
	for (size_t i = 0; i < request->n_features; i++)
		if (strcmp(request->features[i], FD_PASSING) == 0)
			peer_set_fd_passing(peer, true);
	reply.server = (char *)"spawnd " SPAWND_VERSION;
	reply.version = PROTOCOL_VERSION;
	reply.n_features = sizeof(features) / sizeof(features[0]);
	reply.features = features;
	reply.session = session_id(session);
	reply.resumed = resumed;
	call_reply(call, &reply.base);
	return 0;
}

int handle_ping(struct call *call, const ProtobufCMessage *message, struct err *err)
{
	const Spawnd__V1__PingRequest *request = (const Spawnd__V1__PingRequest *)message;
	Spawnd__V1__PingReply reply = SPAWND__V1__PING_REPLY__INIT;

	if (request->payload.len > PING_MAX)
		return err_invalid(err, "payload", "has %zu bytes, at most %u are allowed", request->payload.len, PING_MAX);
	reply.payload = request->payload;
	call_reply(call, &reply.base);
	return 0;
}

int handle_version(struct call *call, const ProtobufCMessage *message, struct err *err)
{
	Spawnd__V1__VersionReply reply = SPAWND__V1__VERSION_REPLY__INIT;

	reply.version = (char *)SPAWND_VERSION;
	reply.protocol = PROTOCOL_VERSION;
	call_reply(call, &reply.base);
	return 0;
}

int handle_set_log_level(struct call *call, const ProtobufCMessage *message, struct err *err)
{
	const Spawnd__V1__SetLogLevelRequest *request = (const Spawnd__V1__SetLogLevelRequest *)message;
	Spawnd__V1__SetLogLevelReply reply = SPAWND__V1__SET_LOG_LEVEL_REPLY__INIT;
	struct service *service = service_get();
	enum log_level level;

	if (!log_level_of(request->level, &level))
		return err_invalid(err, "level", "\"%.32s\" is none of error, warning, info, debug", request->level);
	audit_allowed(call, 0);
	service->config.host->set_log_level(service->config.context, level);
	call_reply(call, &reply.base);
	return 0;
}

int handle_shutdown(struct call *call, const ProtobufCMessage *message, struct err *err)
{
	const Spawnd__V1__ShutdownRequest *request = (const Spawnd__V1__ShutdownRequest *)message;
	Spawnd__V1__ShutdownReply reply = SPAWND__V1__SHUTDOWN_REPLY__INIT;
	struct service *service = service_get();

	log_(LOG_INFO, "shutdown: asked for by uid %u, pid %d%s", (unsigned)peer_uid(call_peer(call)), (int)peer_pid(call_peer(call)),
		request->keep ? ", processes are kept" : "");
	audit_allowed(call, 0);
	call_reply(call, &reply.base);
	service_ending(service);
	service->config.host->shutdown(service->config.context, request->keep);
	return 0;
}
