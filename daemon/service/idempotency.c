/* See idempotency.h. Entries stand in a hash by user and key, and in a list by age. */
#include "service/idempotency.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <uthash.h>

#include "base/failpoint.h"
#include "base/mem.h"
#include "process/record.h"

/* The acts of one user. */
struct actor {
	UT_hash_handle hh; /* keys::actors, by uid */
	uid_t uid;
	TAILQ_HEAD(by_age, entry) by_age; /* oldest first */
	size_t count, bytes;              /* bytes of replies */
};

/* Found by user and key; one block of memory each. */
struct entry {
	UT_hash_handle hh;       /* keys::table, by id */
	TAILQ_ENTRY(entry) link; /* actor::by_age */
	struct actor *actor;
	int64_t made_ns; /* CLOCK_BOOTTIME */
	uint64_t digest;
	uint64_t process;
	void *pending;
	struct act_intent intent;
	bool unknown;   /* what came of it */
	bool failed;    /* reply is a Response */
	uint8_t *reply; /* owned */
	size_t reply_size;
	void *record; /* of the reply, in the ledger; NULL: none */
	char method[RECORD_METHOD_MAX];
	size_t id_size;
	uint8_t id[]; /* uid, then the key */
};

struct keys {
	struct ledger *ledger; /* NULL: nothing outlives this engine */
	struct entry *table;
	struct actor *actors;
	size_t bytes; /* of replies */
};

struct id {
	uint8_t bytes[sizeof(uid_t) + KEYS_LENGTH_MAX];
	size_t size;
};

static bool is_named(const struct act_name *name)
{
	return name->key && *name->key;
}

static void make_id(const struct act_name *name, struct id *id)
{
	size_t length = strlen(name->key);

	memcpy(id->bytes, &name->uid, sizeof(name->uid));
	memcpy(id->bytes + sizeof(name->uid), name->key, length);
	id->size = sizeof(name->uid) + length;
}

static struct actor *actor_of(struct keys *keys, uid_t uid)
{
	struct actor *actor;

	HASH_FIND(hh, keys->actors, &uid, sizeof(uid), actor);
	if (actor)
		return actor;
	actor = mem_alloc(sizeof(*actor));
	actor->uid = uid;
	TAILQ_INIT(&actor->by_age);
	HASH_ADD(hh, keys->actors, uid, sizeof(actor->uid), actor);
	return actor;
}

/* Forgets an act, and its user with the last of them. */
static void drop(struct keys *keys, struct entry *entry)
{
	struct actor *actor = entry->actor;

	HASH_DEL(keys->table, entry);
	TAILQ_REMOVE(&actor->by_age, entry, link);
	keys->bytes -= entry->reply_size;
	actor->bytes -= entry->reply_size;
	free(entry->reply);
	ledger_free(keys->ledger, entry->record);
	free(entry);
	if (--actor->count > 0)
		return;
	HASH_DEL(keys->actors, actor);
	free(actor);
}

/* The user with the greatest part of what there is too much of. */
static struct actor *greatest(const struct keys *keys, bool by_bytes)
{
	struct actor *found = keys->actors;

	for (struct actor *actor = found; actor; actor = actor->hh.next)
		if (by_bytes ? actor->bytes > found->bytes : actor->count > found->count)
			found = actor;
	return found;
}

/* Lets go of what is too old, and of the oldest of whoever has most when there is too much. */
static void trim(struct keys *keys, int64_t now_ns)
{
	struct actor *actor, *next;
	struct entry *oldest;
	bool by_bytes;

	HASH_ITER(hh, keys->actors, actor, next)
	{
		size_t left = actor->count; /* the last takes the actor with it */

		while (left-- && now_ns - (oldest = TAILQ_FIRST(&actor->by_age))->made_ns >= KEYS_LIFETIME_NS)
			drop(keys, oldest);
	}
	while ((by_bytes = keys->bytes > KEYS_BYTES_MAX) || HASH_COUNT(keys->table) > KEYS_COUNT_MAX)
		drop(keys, TAILQ_FIRST(&greatest(keys, by_bytes)->by_age));
}

struct keys *keys_create(struct ledger *ledger)
{
	struct keys *keys = mem_alloc(sizeof(*keys));

	keys->ledger = ledger;
	return keys;
}

void keys_destroy(struct keys *keys)
{
	struct entry *entry, *next;

	if (!keys)
		return;
	HASH_ITER(hh, keys->table, entry, next)
	drop(keys, entry);
	free(keys);
}

uint64_t keys_digest(const ProtobufCMessage *request)
{
	size_t size = request ? protobuf_c_message_get_packed_size(request) : 0;
	_cleanup_free_ uint8_t *bytes = mem_alloc(size ? size : 1);
	uint64_t digest = UINT64_C(0xcbf29ce484222325);

	if (request)
		protobuf_c_message_pack(request, bytes);
	for (size_t i = 0; i < size; i++)
		digest = (digest ^ bytes[i]) * UINT64_C(0x100000001b3);
	return digest;
}

static struct entry *find(struct keys *keys, const struct id *id)
{
	struct entry *entry;

	HASH_FIND(hh, keys->table, id->bytes, id->size, entry);
	return entry;
}

int keys_find(struct keys *keys, const struct act_name *name, int64_t now_ns, struct known_act *known_out, struct err *err)
{
	struct entry *entry;
	struct id id;

	if (!is_named(name))
		return 0;
	if (strlen(name->key) > KEYS_LENGTH_MAX)
		return err_invalid(err, "idempotency_key", "has %zu bytes, at most %u are allowed", strlen(name->key), KEYS_LENGTH_MAX);
	trim(keys, now_ns);
	make_id(name, &id);
	entry = find(keys, &id);
	if (!entry)
		return 0;
	if (entry->digest != name->digest || strcmp(entry->method, name->method) != 0) {
		err_set(err, STATUS_ALREADY_EXISTS, "idempotency_key \"%s\" names another request, a %s", name->key, entry->method);
		strcpy(err->field, "idempotency_key");
		return -EEXIST;
	}
	if (entry->unknown) {
		err_set(err, STATUS_ABORTED, "the engine ended while this was under way: whether it was done cannot be known");
		return -ECANCELED;
	}
	*known_out = (struct known_act){
		.process = entry->process,
		.pending = entry->pending,
		.reply = entry->reply,
		.reply_size = entry->reply_size,
		.failed = entry->failed,
	};
	return 1;
}

/* A RECORD_ACT: then the id, then the reply. */
struct stored_act {
	int64_t made_ns;
	uint64_t digest;
	char method[RECORD_METHOD_MAX];
	uint64_t id_size, reply_size;
	struct act_intent intent; /* process 0: the answer is there */
	bool failed;
};

/* Remembers an act beyond this engine; without room it is this engine's only. */
static void store_act(struct keys *keys, struct entry *entry)
{
	struct stored_act *stored;
	struct err err;

	if (!keys->ledger || (!entry->reply && !entry->intent.process))
		return;
	stored = ledger_write(keys->ledger, RECORD_ACT, 0, sizeof(*stored) + entry->id_size + entry->reply_size, &err);
	if (!stored)
		return;
	*stored = (struct stored_act){
		.made_ns = entry->made_ns,
		.digest = entry->digest,
		.id_size = entry->id_size,
		.reply_size = entry->reply_size,
		.intent = entry->intent,
		.failed = entry->failed,
	};
	memcpy(stored->method, entry->method, sizeof(stored->method));
	if (entry->id_size)
		memcpy(stored + 1, entry->id, entry->id_size);
	if (entry->reply_size)
		memcpy((uint8_t *)(stored + 1) + entry->id_size, entry->reply, entry->reply_size);
	failpoint("act-noting");
	ledger_commit(stored);
	failpoint("act-noted");
	entry->record = stored;
}

/* Into the tables. What an earlier engine knew comes in any order. */
static void enter(struct keys *keys, struct entry *entry)
{
	struct entry *before;
	uid_t uid;

	memcpy(&uid, entry->id, sizeof(uid));
	entry->actor = actor_of(keys, uid);
	before = TAILQ_LAST(&entry->actor->by_age, by_age);
	while (before && before->made_ns > entry->made_ns)
		before = TAILQ_PREV(before, by_age, link);
	if (before)
		TAILQ_INSERT_AFTER(&entry->actor->by_age, before, entry, link);
	else
		TAILQ_INSERT_HEAD(&entry->actor->by_age, entry, link);
	HASH_ADD_KEYPTR(hh, keys->table, entry->id, entry->id_size, entry);
	entry->actor->count++;
	entry->actor->bytes += entry->reply_size;
	keys->bytes += entry->reply_size;
}

static struct entry *read_act(struct stored_act *stored)
{
	struct entry *entry = mem_alloc(sizeof(*entry) + stored->id_size);

	entry->made_ns = stored->made_ns;
	entry->digest = stored->digest;
	memcpy(entry->method, stored->method, sizeof(entry->method));
	entry->id_size = stored->id_size;
	memcpy(entry->id, stored + 1, entry->id_size);
	entry->reply_size = stored->reply_size;
	entry->intent = stored->intent;
	entry->failed = stored->failed;
	if (!entry->intent.process)
		entry->reply = mem_dup((uint8_t *)(stored + 1) + entry->id_size, entry->reply_size ? entry->reply_size : 1);
	entry->record = stored;
	return entry;
}

/* An answer is written before its intent goes: of both the answer counts. */
static void take_act(struct keys *keys, struct stored_act *stored)
{
	struct entry *entry = read_act(stored), *same;

	HASH_FIND(hh, keys->table, entry->id, entry->id_size, same);
	if (same && !entry->reply) {
		ledger_free(keys->ledger, entry->record);
		free(entry);
		return;
	}
	if (same)
		drop(keys, same);
	enter(keys, entry);
}

static void settle_act(struct keys *keys, struct entry *entry, keys_settle_fn settle, void *context)
{
	uint8_t *reply = NULL;
	size_t size = 0;
	enum act_outcome outcome = settle(context, entry->method, &entry->intent, &reply, &size);

	if (outcome == ACT_NEVER) {
		drop(keys, entry);
		return;
	}
	entry->unknown = outcome == ACT_UNKNOWN;
	if (outcome == ACT_DONE) {
		entry->reply = reply;
		entry->reply_size = size;
		entry->actor->bytes += size;
		keys->bytes += size;
	}
}

void keys_recover(struct keys *keys, keys_settle_fn settle, void *context)
{
	struct entry *entry, *next;

	for (void *record = keys->ledger ? ledger_next(keys->ledger, NULL) : NULL; record; record = ledger_next(keys->ledger, record))
		if (ledger_kind(record) == RECORD_ACT)
			take_act(keys, record);
	HASH_ITER(hh, keys->table, entry, next)
	{
		if (entry->intent.process && !entry->reply)
			settle_act(keys, entry, settle, context);
	}
}

void keys_put(struct keys *keys, const struct act_name *name, int64_t now_ns, const struct known_act *known)
{
	struct entry *entry, *before;
	struct id id;

	if (!is_named(name))
		return;
	make_id(name, &id);
	before = find(keys, &id);
	entry = mem_alloc(sizeof(*entry) + id.size);
	entry->made_ns = now_ns;
	entry->digest = name->digest;
	snprintf(entry->method, sizeof(entry->method), "%s", name->method);
	entry->process = known->process;
	entry->pending = known->pending;
	entry->intent = known->intent;
	entry->failed = known->failed;
	entry->reply = known->reply ? mem_dup(known->reply, known->reply_size ? known->reply_size : 1) : NULL;
	entry->reply_size = known->reply ? known->reply_size : 0;
	entry->id_size = id.size;
	memcpy(entry->id, id.bytes, id.size);
	store_act(keys, entry);
	if (before)
		drop(keys, before);
	enter(keys, entry);
	trim(keys, now_ns);
}

void keys_forget(struct keys *keys, const struct act_name *name)
{
	struct entry *entry;
	struct id id;

	if (!is_named(name))
		return;
	make_id(name, &id);
	entry = find(keys, &id);
	if (entry)
		drop(keys, entry);
}

size_t keys_count(const struct keys *keys)
{
	return HASH_COUNT(keys->table);
}
