/* See acts.h. */
#include "service/acts.h"

#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "service/internal.h"

void acts_replay(struct call *call, const struct known_act *known)
{
	ProtobufCMessage *reply = protobuf_c_message_unpack(call_method(call)->reply, NULL, known->reply_size, known->reply);
	struct err err;

	if (reply) {
		call_reply(call, reply);
		protobuf_c_message_free_unpacked(reply, NULL);
	} else {
		err_set(&err, STATUS_RESOURCE_EXHAUSTED, "no memory to answer again");
		call_fail(call, &err);
	}
}

int acts_begin(struct call *call, const char *key, const ProtobufCMessage *request, struct act_name *name_out, struct err *err)
{
	struct known_act known;
	int done;

	*name_out = (struct act_name){.uid = peer_uid(call_peer(call)), .key = key, .method = call_method(call)->name};
	if (*key)
		name_out->digest = keys_digest(request);
	done = keys_find(service_get()->keys, name_out, clock_boot_ns(), &known, err);
	if (done == 1)
		acts_replay(call, &known);
	return done;
}

void acts_remember(const struct act_name *name, const ProtobufCMessage *reply)
{
	size_t size;
	_cleanup_free_ uint8_t *packed = NULL;
	struct known_act known = {0};

	if (!*name->key)
		return;
	size = protobuf_c_message_get_packed_size(reply);
	packed = mem_alloc(size + 1);
	protobuf_c_message_pack(reply, packed);
	known.reply = packed;
	known.reply_size = size;
	keys_put(service_get()->keys, name, clock_boot_ns(), &known);
}

struct act_intent acts_intent(const struct child *child, bool at_once)
{
	const struct process_host *host = children_host(service_get()->config.children);

	return (struct act_intent){
		.process = child_id(child),
		.signals = host->signals(host->context),
		.exact = at_once && child_state(child) != CHILD_STARTING,
	};
}

void acts_intend(const struct act_name *name, const struct act_intent *intent)
{
	struct known_act known = {.intent = *intent};

	if (*name->key)
		keys_put(service_get()->keys, name, clock_boot_ns(), &known);
}

/* The answer to a Signal that reached the child and nobody else. */
static void pack_signalled(struct child *child, uint8_t **reply_out, size_t *size_out)
{
	Spawnd__V1__KillReply reply = SPAWND__V1__KILL_REPLY__INIT;
	int32_t pid = child_pid(child);

	reply.n_ended = 1;
	reply.ended = &pid;
	reply.method = (char *)"signal";
	reply.complete = true;
	reply.exit = child_exit_record(child);
	*size_out = spawnd__v1__kill_reply__get_packed_size(&reply);
	*reply_out = mem_alloc(*size_out);
	spawnd__v1__kill_reply__pack(&reply, *reply_out);
	if (reply.exit)
		spawnd__v1__exit_record__free_unpacked(reply.exit, NULL);
}

enum act_outcome acts_settle(void *children, const char *method, const struct act_intent *intent, uint8_t **reply_out, size_t *size_out)
{
	const struct process_host *host = children_host(children);
	struct child *child = children_find(children, intent->process);

	if (strcmp(method, "Remove") == 0) {
		*reply_out = mem_alloc(1); /* RemoveReply is empty */
		*size_out = 0;
		return child ? ACT_NEVER : ACT_DONE;
	}
	if (host->signals(host->context) <= intent->signals)
		return ACT_NEVER;
	if (!child || !intent->exact)
		return ACT_UNKNOWN;
	pack_signalled(child, reply_out, size_out);
	return ACT_DONE;
}

void acts_reply(struct call *call, const struct act_name *name, const ProtobufCMessage *reply)
{
	acts_remember(name, reply);
	call_reply(call, reply);
}
