/*
 * Calls of one answer. Each is written once, asynchronously; its blocking twin sends it and waits for the answer.
 * This file has what they share; the calls themselves stand in unary.c.
 */
#include "call.h"
#include "base/clock.h"
#include "base/mem.h"

/* Frees a call that has no stream any more. */
static void destroy(struct spawnd_call *call)
{
	if (call->abandon)
		call->abandon(call);
	else
		free(call);
}

void spawnd_call_free(struct spawnd_call *call)
{
	if (!call)
		return;
	if (call->abandon) {
		call->abandon(call);
		return;
	}
	stream_forget(call->stream);
	free(call);
}

void call_on_forgotten(void *context)
{
	struct spawnd_call *call = context;

	call->stream = NULL;
	if (call->waiter) {
		call->waiter->done = true;
		call->waiter->failed = true;
		error_set(&call->waiter->error, SPAWND_CANCELLED, "the connection was closed");
	}
	destroy(call);
}

/* Decodes the answer and hands it on. */
static void on_end(void *context, const struct spawnd_error *error, const uint8_t *bytes, size_t size)
{
	struct spawnd_call *call = context;
	ProtobufCMessage *reply = NULL;
	struct spawnd_error broken;

	if (!error) {
		reply = protobuf_c_message_unpack(call->type, NULL, size, bytes);
		if (!reply) {
			error_set(&broken, SPAWND_INTERNAL, "the daemon's answer cannot be decoded");
			error = &broken;
		}
	}
	call->deliver(call, reply, error);
	free(call);
}

/* A Wait goes on for what is left of its time; one whose time is up still gets to know it by an answer. */
static void wait_again(void *context, const uint8_t *first, size_t size)
{
	const struct spawnd_call *call = context;
	Spawnd__V1__WaitRequest *request = spawnd__v1__wait_request__unpack(NULL, size, first);
	int64_t left = call->deadline_ns - clock_boot_ns();

	request->timeout_ms = left > 0 ? (uint64_t)(left + 999999) / 1000000 : 1;
	stream_again(call->stream, &request->base);
	spawnd__v1__wait_request__free_unpacked(request, NULL);
}

struct spawnd_call *call_open(struct spawnd *client, const char *service, const char *method, const ProtobufCMessage *request,
	const int *fds, size_t fd_count, const struct spawnd_call *like, struct spawnd_error *error)
{
	static const struct stream_observer plain = {.on_end = on_end, .on_forgotten = call_on_forgotten},
					    timed = {.on_end = on_end, .on_forgotten = call_on_forgotten, .on_resume = wait_again};
	struct spawnd_call *call = mem_dup(like, sizeof(*like));

	call->stream = stream_open_unary(client, service, method, request, fds, fd_count, call->deadline_ns ? &timed : &plain, call, error);
	if (!call->stream)
		free(mem_steal(&call));
	return call;
}

/* ---- kinds of answers ---- */

void call_deliver_done(struct spawnd_call *call, ProtobufCMessage *reply, const struct spawnd_error *error)
{
	if (reply)
		protobuf_c_message_free_unpacked(reply, NULL);
	call->fn.done(call->context, error);
}

void call_deliver_info(struct spawnd_call *call, ProtobufCMessage *reply, const struct spawnd_error *error)
{
	call->fn.info(call->context, reply ? info_create((Spawnd__V1__Process *)reply) : NULL, error);
}

void call_deliver_kill(struct spawnd_call *call, ProtobufCMessage *message, const struct spawnd_error *error)
{
	const Spawnd__V1__KillReply *reply = (const Spawnd__V1__KillReply *)message;
	struct spawnd_kill kill;

	if (!reply) {
		call->fn.kill(call->context, NULL, error);
		return;
	}
	kill_of_message(reply, &kill);
	call->fn.kill(call->context, &kill, NULL);
	protobuf_c_message_free_unpacked(message, NULL);
}

static void deliver_message(struct spawnd_call *call, ProtobufCMessage *reply, const struct spawnd_error *error)
{
	call->fn.message(call->context, reply, error);
}

/* ---- waiting for them ---- */

/* Notes that the answer is there. */
static struct answer *finish(void *context, const struct spawnd_error *error)
{
	struct answer *answer = context;

	answer->done = true;
	answer->failed = error != NULL;
	if (error)
		answer->error = *error;
	return answer;
}

void answer_done(void *context, const struct spawnd_error *error)
{
	finish(context, error);
}

void answer_info(void *context, struct spawnd_info *info, const struct spawnd_error *error)
{
	finish(context, error)->info = info;
}

void answer_kill(void *context, struct spawnd_kill *kill, const struct spawnd_error *error)
{
	struct answer *answer = finish(context, error);

	if (kill)
		answer->kill = *kill;
}

void answer_result(void *context, struct spawnd_result *result, const struct spawnd_error *error)
{
	struct answer *answer = finish(context, error);

	if (result)
		answer->result = *result;
}

static void answer_message(void *context, ProtobufCMessage *reply, const struct spawnd_error *error)
{
	finish(context, error)->message = reply;
}

int call_wait(struct spawnd *client, struct spawnd_call *call, struct answer *answer, struct spawnd_error *error)
{
	struct spawnd_error why;

	if (!call)
		return -1;
	call->waiter = answer;
	while (!answer->done) {
		if (spawnd_wait_event(client, -1, &why) < 0 && !answer->done) {
			spawnd_call_free(call);
			return error_copy(error, &why);
		}
	}
	return answer->failed ? error_copy(error, &answer->error) : 0;
}

int unary_call(struct spawnd *client, const char *service, const char *method, const ProtobufCMessage *request,
	const ProtobufCMessageDescriptor *reply, ProtobufCMessage **reply_out, struct spawnd_error *error)
{
	struct answer answer = {.done = false};
	const struct spawnd_call like = {.type = reply, .deliver = deliver_message, .fn.message = answer_message, .context = &answer};

	if (client_may_block(client, error) < 0 ||
		call_wait(client, call_open(client, service, method, request, NULL, 0, &like, error), &answer, error) < 0)
		return -1;
	*reply_out = answer.message;
	return 0;
}
