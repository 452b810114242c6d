/* See pool_record.h. */
#include "pool/pool_record.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define METHOD "spawnd.pool" /* no client's: those are names of methods */

struct pool_record *pool_record_write(struct ledger *ledger, uint64_t id, uid_t uid, const char *key, const Spawnd__V1__PoolSpec *message,
	struct spec *template, struct err *err)
{
	Spawnd__V1__PoolSpec bare = *message;
	uint64_t number = record_write_spec(ledger, template, err);
	struct pool_record *record;
	size_t size;

	if (!number)
		return NULL;
	bare.template_ = NULL;
	size = spawnd__v1__pool_spec__get_packed_size(&bare);
	record = ledger_write(ledger, RECORD_POOL, id, sizeof(*record) + size, err);
	if (!record)
		return NULL;
	record->spec = number;
	record->uid = uid;
	snprintf(record->key, sizeof(record->key), "%s", key);
	record->message_size = (uint32_t)size;
	atomic_store(&record->size, message->size);
	spawnd__v1__pool_spec__pack(&bare, record->message);
	ledger_commit(record);
	return record;
}

Spawnd__V1__PoolSpec *pool_record_read(const void *bytes)
{
	const struct pool_record *record = bytes;

	if (ledger_size(bytes) < sizeof(*record) || ledger_size(bytes) - sizeof(*record) != record->message_size)
		return NULL;
	return spawnd__v1__pool_spec__unpack(NULL, record->message_size, record->message);
}

void pool_record_mark(struct record_origin *origin, uint64_t pool, uint32_t index, uint32_t generation)
{
	snprintf(origin->method, sizeof(origin->method), METHOD);
	snprintf(origin->key, sizeof(origin->key), "%" PRIu64 "/%u/%u", pool, index, generation);
}

bool pool_record_is_worker(const struct record_origin *origin, uint64_t *pool_out, uint32_t *index_out, uint32_t *generation_out)
{
	return strcmp(origin->method, METHOD) == 0 && sscanf(origin->key, "%" SCNu64 "/%u/%u", pool_out, index_out, generation_out) == 3;
}
