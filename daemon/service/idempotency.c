/* See idempotency.h. Entries stand in a hash by user and key, and in a list by age. */
#include "service/idempotency.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <uthash.h>

#include "base/mem.h"

/* Found by user and key; one block of memory each. */
struct entry {
	UT_hash_handle hh;       /* keys::table, by id */
	TAILQ_ENTRY(entry) link; /* keys::by_age */
	int64_t made_ns;         /* CLOCK_BOOTTIME */
	uint64_t digest;
	uint64_t process;
	void *pending;
	uint8_t *reply; /* owned */
	size_t reply_size;
	const char *method; /* static */
	size_t id_size;
	uint8_t id[]; /* uid, then the key */
};

struct keys {
	struct entry *table;
	TAILQ_HEAD(, entry) by_age; /* oldest first */
	size_t bytes;               /* of replies */
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

static void drop(struct keys *keys, struct entry *entry)
{
	HASH_DEL(keys->table, entry);
	TAILQ_REMOVE(&keys->by_age, entry, link);
	keys->bytes -= entry->reply_size;
	free(entry->reply);
	free(entry);
}

/* Lets go of what is too old, and of the oldest when there is too much. */
static void trim(struct keys *keys, int64_t now_ns)
{
	struct entry *oldest;

	while ((oldest = TAILQ_FIRST(&keys->by_age)) &&
		(now_ns - oldest->made_ns >= KEYS_LIFETIME_NS || HASH_COUNT(keys->table) > KEYS_COUNT_MAX || keys->bytes > KEYS_BYTES_MAX))
		drop(keys, oldest);
}

struct keys *keys_create(void)
{
	struct keys *keys = mem_alloc(sizeof(*keys));

	TAILQ_INIT(&keys->by_age);
	return keys;
}

void keys_destroy(struct keys *keys)
{
	struct entry *entry;

	if (!keys)
		return;
	while ((entry = TAILQ_FIRST(&keys->by_age)))
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
	*known_out = (struct known_act){
		.process = entry->process, .pending = entry->pending, .reply = entry->reply, .reply_size = entry->reply_size};
	return 1;
}

void keys_put(struct keys *keys, const struct act_name *name, int64_t now_ns, const struct known_act *known)
{
	struct entry *entry;
	struct id id;

	if (!is_named(name))
		return;
	keys_forget(keys, name);
	make_id(name, &id);
	entry = mem_alloc(sizeof(*entry) + id.size);
	entry->made_ns = now_ns;
	entry->digest = name->digest;
	entry->method = name->method;
	entry->process = known->process;
	entry->pending = known->pending;
	entry->reply = known->reply ? mem_dup(known->reply, known->reply_size ? known->reply_size : 1) : NULL;
	entry->reply_size = known->reply ? known->reply_size : 0;
	entry->id_size = id.size;
	memcpy(entry->id, id.bytes, id.size);
	HASH_ADD_KEYPTR(hh, keys->table, entry->id, entry->id_size, entry);
	TAILQ_INSERT_TAIL(&keys->by_age, entry, link);
	keys->bytes += entry->reply_size;
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
