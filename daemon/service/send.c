/* Send and Disconnect: the channel of a process, for whoever may attach. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "base/mem.h"
#include "service/acts.h"
#include "service/convert.h"
#include "service/internal.h"
#include "service/rights.h"
#include "service/sending.h"

/* The channel of a process that is to be there, and that the client may use. */
static int find_channel(
	struct call *call, const Spawnd__V1__ProcessRef *ref, struct child **child_out, struct channel **channel_out, struct err *err)
{
	struct service *service = service_get();
	int done = rights_find(call, ref, child_out, err);

	if (done < 0)
		return done;
	if (!spec_channel_slot(child_spec(*child_out)))
		return err_set(err, STATUS_FAILED_PRECONDITION, "process %" PRIu64 " has no channel", child_id(*child_out));
	*channel_out = channels_find(service->channels, *child_out);
	if (*channel_out && !channel_ending(*channel_out))
		return 0;
	done = err_set(err, STATUS_FAILED_PRECONDITION, "the channel of process %" PRIu64 " is closed", child_id(*child_out));
	snprintf(err->code, sizeof(err->code), "ERR_IPC_CHANNEL_CLOSED");
	return done;
}

/* ---- Send ---- */

struct sender {
	struct call *call;
	struct child *child;
	struct sending sending;
	bool last; /* the client has said everything */
};

static void destroy(struct sender *sender)
{
	child_unobserve(sender->child, sender);
	sending_finish(&sender->sending);
	free(sender);
}

static void on_grant(void *context, const Spawnd__V1__Grant *grant)
{
	struct sender *sender = context;
	Spawnd__V1__SendReply reply = SPAWND__V1__SEND_REPLY__INIT;

	reply.reply_case = SPAWND__V1__SEND_REPLY__REPLY_GRANT;
	reply.grant = (Spawnd__V1__Grant *)grant;
	call_send(sender->call, &reply.base, NULL, 0);
}

static void on_result(void *context, const Spawnd__V1__MessageResult *result)
{
	struct sender *sender = context;
	Spawnd__V1__SendReply reply = SPAWND__V1__SEND_REPLY__INIT;

	reply.reply_case = SPAWND__V1__SEND_REPLY__REPLY_RESULT;
	reply.result = (Spawnd__V1__MessageResult *)result;
	call_send(sender->call, &reply.base, NULL, 0);
}

static void on_idle(void *context)
{
	struct sender *sender = context;

	if (!sender->last)
		return;
	call_finish(sender->call);
	destroy(sender);
}

static const struct sending_observer sending_observer = {.on_grant = on_grant, .on_result = on_result, .on_idle = on_idle};

static void on_removed(void *context, struct child *child)
{
	struct sender *sender = context;
	struct err err;

	err_errno(&err, ESRCH, "send", NULL);
	call_fail(sender->call, &err);
	destroy(sender);
}

static int on_message(struct call *call, const ProtobufCMessage *message, struct err *err)
{
	const Spawnd__V1__SendRequest *request = (const Spawnd__V1__SendRequest *)message;
	struct sender *sender = call_context(call);

	switch (request->message_case) {
	case SPAWND__V1__SEND_REQUEST__MESSAGE_DATA:
		return sending_message(&sender->sending, request->data, err);
	case SPAWND__V1__SEND_REQUEST__MESSAGE_CANCEL:
		return convert_cancelled(err);
	case SPAWND__V1__SEND_REQUEST__MESSAGE_START:
	case SPAWND__V1__SEND_REQUEST__MESSAGE__NOT_SET:
	default:
		return err_invalid(err, "message", "only data or cancel may follow start");
	}
}

static void on_half_close(struct call *call)
{
	struct sender *sender = call_context(call);

	sender->last = true;
	if (sending_is_idle(&sender->sending))
		on_idle(sender);
}

static void on_end(struct call *call)
{
	destroy(call_context(call));
}

int handle_send(struct call *call, const ProtobufCMessage *message, struct err *err)
{
	static const struct call_ops ops = {.on_message = on_message, .on_half_close = on_half_close, .on_end = on_end};
	static const struct child_observer observer = {.on_removed = on_removed};
	const Spawnd__V1__SendRequest *request = (const Spawnd__V1__SendRequest *)message;
	struct channel *channel = NULL;
	struct sender *sender;
	struct child *child;
	int done;

	if (request->message_case != SPAWND__V1__SEND_REQUEST__MESSAGE_START)
		return err_invalid(err, "start", "must be the first message");
	done = find_channel(call, request->start->process, &child, &channel, err);
	if (done < 0)
		return done;
	sender = mem_alloc(sizeof(*sender));
	sender->call = call;
	sender->child = child;
	sending_init(&sender->sending, call, channel, false, &sending_observer, sender);
	child_observe(child, &observer, sender);
	call_set_ops(call, &ops, sender);
	return 0;
}

/* ---- Disconnect ---- */

struct disconnecting {
	struct call *call;
	struct channel *channel;
	struct act_name name; /* its key is owned */
};

static void destroy_disconnecting(struct disconnecting *disconnecting)
{
	free((char *)disconnecting->name.key);
	free(disconnecting);
}

static void on_disconnected(void *context)
{
	struct disconnecting *disconnecting = context;
	Spawnd__V1__DisconnectReply reply = SPAWND__V1__DISCONNECT_REPLY__INIT;

	acts_reply(disconnecting->call, &disconnecting->name, &reply.base);
	destroy_disconnecting(disconnecting);
}

static void on_disconnecting_end(struct call *call)
{
	struct disconnecting *disconnecting = call_context(call);

	channel_forget(disconnecting->channel, disconnecting);
	destroy_disconnecting(disconnecting);
}

int handle_disconnect(struct call *call, const ProtobufCMessage *message, struct err *err)
{
	static const struct call_ops ops = {.on_end = on_disconnecting_end};
	const Spawnd__V1__DisconnectRequest *request = (const Spawnd__V1__DisconnectRequest *)message;
	struct disconnecting *disconnecting;
	struct channel *channel;
	struct act_name name;
	struct child *child;
	int done = acts_begin(call, request->idempotency_key, message, &name, err);

	if (done != 0)
		return done < 0 ? done : 0;
	done = find_channel(call, request->process, &child, &channel, err);
	if (done < 0)
		return done;
	disconnecting = mem_alloc(sizeof(*disconnecting));
	disconnecting->call = call;
	disconnecting->channel = channel;
	disconnecting->name = name;
	disconnecting->name.key = mem_strdup(request->idempotency_key);
	call_set_ops(call, &ops, disconnecting);
	channel_disconnect(channel, on_disconnected, disconnecting);
	return 0;
}
