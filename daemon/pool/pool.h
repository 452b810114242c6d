/*
 * Pools: a number of places, each with a process of one template, and sockets that all of them accept from.
 *
 *   place:  STARTING --ready_after--> READY          any --process ended--> EXITED --back-off--> STARTING
 *              any --scaled away, pool stopped--> DRAINING        EXITED --crash budget used up--> FAILED
 *
 * The pool says how many places there are to be, pool.c makes it so step by step. A place keeps its number, whatever becomes
 * of its processes. Everything a pool is outlives the engine: record, sockets, workers.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/types.h>

#include "base/err.h"
#include "process/child.h"
#include "process/spec.h"
#include "spawnd/v1/pools.pb-c.h"

struct pool;
struct pools;

/* Called in a turn of its own after anything of the pool has changed; the pool may be removed in there. Memory of the caller. */
struct pool_watch {
	void (*on_changed)(void *context, struct pool *pool);
	void (*on_removed)(void *context, struct pool *pool);
	void *context;
	TAILQ_ENTRY(pool_watch) entry;
};

/* ---- registry (pools.c) ---- */

struct pools *pools_create(struct children *children);
void pools_destroy(struct pools *pools); /* NULL is fine; before the children; what is remembered stays */
/* A pool of an earlier engine, of its RECORD_POOL; the template is referred to, the descriptors that are sockets are taken. */
void pools_recover(struct pools *pools, void *record, struct spec *template, struct recovered_fd *fds, size_t count);
/* All children are there again: workers are given to their pools, and what lacks is started. */
void pools_start(struct pools *pools);
/* The daemon ends: nothing is started any more. */
void pools_quiesce(struct pools *pools);
struct pool *pools_find(struct pools *pools, uint64_t id);
struct pool *pools_find_name(struct pools *pools, const char *name);
struct pool *pools_next(struct pools *pools, const struct pool *pool); /* NULL: the first */
size_t pools_count(const struct pools *pools);

/* ---- acts (pool.c) ---- */

/* Checks all of it, opens the sockets, and starts the workers. Nothing is left of one that fails. */
int pool_create(struct pools *pools, const Spawnd__V1__PoolSpec *request, const struct spec_context *context, const char *key,
	struct pool **pool_out, struct err *err);
int pool_scale(struct pool *pool, uint32_t size, struct err *err);
void pool_stop(struct pool *pool);
int pool_remove(struct pool *pool, struct err *err);
/* Has what is made into what is to be, later in this turn, and the watches called. */
void pool_touch(struct pool *pool);
void pool_observe(struct pool *pool, struct pool_watch *watch);
void pool_unobserve(struct pool *pool, struct pool_watch *watch);

/* ---- facts ---- */

uint64_t pool_id(const struct pool *pool);
const char *pool_name(const struct pool *pool);
const char *pool_key(const struct pool *pool); /* of the act that made it, "": none */
uid_t pool_owner(const struct pool *pool);
Spawnd__V1__PoolState pool_state(const struct pool *pool);
/* 1: as many workers are ready as there are to be. 0: not yet. Negative with *err: they do not get ready. */
int pool_settled(const struct pool *pool, struct err *err);
/* The message of a pool; the caller frees it with its free_unpacked function. */
Spawnd__V1__Pool *pool_message(const struct pool *pool);
