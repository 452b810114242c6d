/*
 * What is remembered of a pool beyond this engine: one record in the ledger, which is its owner's id. Its template is a
 * RECORD_SPEC, its sockets are with the keeper, its workers are processes whose origin says which place they have.
 */
#pragma once

#include <stdatomic.h>
#include <stdint.h>

#include "process/record.h"
#include "spawnd/v1/pools.pb-c.h"

#define POOL_WORKERS_MAX 512u

enum pool_flags { POOL_STOPPED = 1 };

struct pool_record {
	uint64_t spec; /* owner of its RECORD_SPEC */
	uint32_t uid;
	uint32_t message_size;
	_Atomic uint32_t size, flags;
	_Atomic uint32_t restarts[POOL_WORKERS_MAX];
	char key[RECORD_KEY_MAX + 1]; /* of the act that made it; "": none */
	uint8_t message[];            /* PoolSpec without its template */
};

/* Writes and commits the record. NULL with *err. */
struct pool_record *pool_record_write(struct ledger *ledger, uint64_t id, uid_t uid, const char *key, const Spawnd__V1__PoolSpec *message,
	struct spec *template, struct err *err);
/* The spec of a record, which is the caller's to free. NULL: it cannot be read. */
Spawnd__V1__PoolSpec *pool_record_read(const void *bytes);

/* Which place of which pool a process has, in its origin. */
void pool_record_mark(struct record_origin *origin, uint64_t pool, uint32_t index, uint32_t generation);
bool pool_record_is_worker(const struct record_origin *origin, uint64_t *pool_out, uint32_t *index_out, uint32_t *generation_out);
