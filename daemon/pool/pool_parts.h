/* The inside of pools, for the files of this room. */
#pragma once

#include "base/loop.h"
#include "pool/listener.h"
#include "pool/pool.h"
#include "pool/pool_record.h"

/* One process of a place; the place may have another one already while this one drains. */
struct worker {
	TAILQ_ENTRY(worker) entry; /* pool::workers */
	struct pool *pool;
	struct child *child;
	struct loop_timer *ready; /* while STARTING */
	uint32_t index, generation;
	Spawnd__V1__WorkerState state; /* STARTING, READY, DRAINING */
};

struct place {
	struct pool *pool;
	struct worker *worker;      /* NULL: none, or none but draining ones */
	struct loop_timer *backoff; /* while EXITED; NULL until the first time */
	unsigned bad;               /* ends in a row that came too early */
	bool failed;                /* nothing is started here any more */
};

struct pool {
	TAILQ_ENTRY(pool) entry; /* pools::all, ascending by id */
	struct pools *pools;
	uint64_t id;
	struct pool_record *record;
	Spawnd__V1__PoolSpec *spec; /* without its template */
	struct spec *template;
	struct listener *listeners;
	struct place places[POOL_WORKERS_MAX];
	TAILQ_HEAD(, worker) workers;
	TAILQ_HEAD(, pool_watch) watches;
	struct loop_defer *step;
	int64_t *crashes; /* CLOCK_BOOTTIME of the last crash_budget ones, in a ring */
	uint64_t crash_count;
	unsigned early;      /* ends before ready since the last worker that got ready */
	struct err *failure; /* how the last worker ended that did not get ready */
	bool failed, removed;
};

struct pools {
	struct children *children;
	const struct process_host *host;
	TAILQ_HEAD(pool_list, pool) all;
	size_t count;
	bool started, quiet;
};

/* ---- pools.c ---- */

void pools_add(struct pool *pool);
void pools_drop(struct pool *pool);

/* ---- pool.c ---- */

struct pool *pool_make(struct pools *pools, uint64_t id, struct pool_record *record, Spawnd__V1__PoolSpec *spec /* taken */,
	struct spec *template /* a reference, taken */, struct listener *listeners /* taken */);
void pool_free(struct pool *pool);
/* A worker's process has ended. */
void pool_on_ended(struct pool *pool, uint32_t index, bool was_ready, bool was_bad, bool drained, const struct err *why);
void pool_on_ready(struct pool *pool, uint32_t index);

/* ---- worker.c ---- */

/* 0, or negative with *err. */
int worker_start(struct pool *pool, uint32_t index, struct err *err);
/* A process of an earlier engine. */
void worker_adopt(struct pool *pool, uint32_t index, uint32_t generation, struct child *child);
/* Ends it, with its grace; it is not the worker of its place any more. */
void worker_drain(struct worker *worker, const char *why);
void worker_free(struct worker *worker);
