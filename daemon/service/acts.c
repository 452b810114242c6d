/* See acts.h. */
#include "service/acts.h"

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

void acts_reply(struct call *call, const struct act_name *name, const ProtobufCMessage *reply)
{
	acts_remember(name, reply);
	call_reply(call, reply);
}
