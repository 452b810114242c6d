/* The registry of pools, and how they come back after an engine that died. */
#include "base/log.h"
#include "base/mem.h"
#include "pool/pool_parts.h"

#include <inttypes.h>
#include <string.h>

struct pools *pools_create(struct children *children)
{
	struct pools *pools = mem_alloc(sizeof(*pools));

	pools->children = children;
	pools->host = children_host(children);
	TAILQ_INIT(&pools->all);
	return pools;
}

void pools_destroy(struct pools *pools)
{
	struct pool *pool;

	if (!pools)
		return;
	while ((pool = TAILQ_FIRST(&pools->all))) {
		pools_drop(pool);
		pool_free(pool);
	}
	free(pools);
}

void pools_add(struct pool *pool)
{
	struct pools *pools = pool->pools;
	struct pool *after = TAILQ_LAST(&pools->all, pool_list);

	while (after && after->id > pool->id)
		after = TAILQ_PREV(after, pool_list, entry);
	if (after)
		TAILQ_INSERT_AFTER(&pools->all, after, pool, entry);
	else
		TAILQ_INSERT_HEAD(&pools->all, pool, entry);
	pools->count++;
}

void pools_drop(struct pool *pool)
{
	TAILQ_REMOVE(&pool->pools->all, pool, entry);
	pool->pools->count--;
}

/* The socket that the keeper had for a listener, taken; -1: none. */
static int take_socket(struct recovered_fd *fds, size_t count, uint32_t index)
{
	for (size_t i = 0; i < count; i++)
		if (fds[i].kind == STORE_LISTENER && fds[i].index == index && fds[i].fd >= 0)
			return fd_steal(&fds[i].fd);
	return -1;
}

void pools_recover(struct pools *pools, void *record, struct spec *template, struct recovered_fd *fds, size_t count)
{
	Spawnd__V1__PoolSpec *spec = pool_record_read(record);
	struct listener *listeners;
	struct err err;

	if (!spec) {
		log_(LOG_ERROR, "the record of pool %" PRIu64 " cannot be read", ledger_owner(record));
		ledger_free(pools->host->ledger, record);
		return;
	}
	listeners = mem_alloc((spec->n_listeners + 1) * sizeof(*listeners));
	for (size_t i = 0; i < spec->n_listeners; i++) {
		listener_check(&listeners[i], spec->listeners[i], i, &err);
		listeners[i].fd = take_socket(fds, count, (uint32_t)i);
	}
	pools_add(pool_make(pools, ledger_owner(record), record, spec, spec_ref(template), listeners));
}

void pools_start(struct pools *pools)
{
	struct child *child;
	struct pool *pool;

	pools->started = true;
	for (child = children_next(pools->children, 0); child; child = children_next(pools->children, child_id(child))) {
		struct record_origin origin;
		uint32_t index, generation;
		uint64_t id;

		child_origin(child, &origin);
		if (child_state(child) >= CHILD_EXITED || !pool_record_is_worker(&origin, &id, &index, &generation))
			continue;
		pool = index < POOL_WORKERS_MAX ? pools_find(pools, id) : NULL;
		if (pool)
			worker_adopt(pool, index, generation, child);
	}
	TAILQ_FOREACH(pool, &pools->all, entry)
	pool_touch(pool);
}

void pools_quiesce(struct pools *pools)
{
	pools->quiet = true;
}

struct pool *pools_find(struct pools *pools, uint64_t id)
{
	struct pool *pool;

	TAILQ_FOREACH(pool, &pools->all, entry)
	if (pool->id == id)
		return pool;
	return NULL;
}

struct pool *pools_find_name(struct pools *pools, const char *name)
{
	struct pool *pool;

	TAILQ_FOREACH(pool, &pools->all, entry)
	if (name[0] && strcmp(pool->spec->name, name) == 0)
		return pool;
	return NULL;
}

struct pool *pools_next(struct pools *pools, const struct pool *pool)
{
	return pool ? TAILQ_NEXT(pool, entry) : TAILQ_FIRST(&pools->all);
}

size_t pools_count(const struct pools *pools)
{
	return pools->count;
}
