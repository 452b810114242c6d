/* The store: a hash of owners, each with a short list; and all in one list, for the walk. */
#include "link/store.h"

#include <uthash.h>

#include "base/fd.h"
#include "base/mem.h"
#include "link/link.h"

struct store_owner {
	UT_hash_handle hh; /* store::owners */
	uint64_t owner;
	LIST_HEAD(, stored) list;
};

void store_init(struct store *store)
{
	*store = (struct store){0};
	TAILQ_INIT(&store->all);
}

static struct store_owner *find_owner(const struct store *store, uint64_t owner)
{
	struct store_owner *found;

	HASH_FIND(hh, store->owners, &owner, sizeof(owner), found);
	return found;
}

/* Closes one; a walk goes on with the one after it. */
static void destroy_stored(struct store *store, struct stored *stored)
{
	if (store->next == stored)
		store->next = TAILQ_NEXT(stored, link);
	TAILQ_REMOVE(&store->all, stored, link);
	LIST_REMOVE(stored, same);
	fd_close(&stored->fd);
	free(stored);
	store->count--;
}

void store_put(struct store *store, uint64_t owner, uint32_t kind, uint32_t index, int fd)
{
	struct store_owner *place = find_owner(store, owner);
	struct stored *stored;

	if (!place) {
		place = mem_alloc(sizeof(*place));
		place->owner = owner;
		HASH_ADD(hh, store->owners, owner, sizeof(place->owner), place);
	}
	LIST_FOREACH(stored, &place->list, same)
	if (stored->kind == kind && stored->index == index)
		break;
	if (stored) {
		fd_close(kind == STORE_JOURNAL ? &fd : &stored->fd);
		stored->fd = kind == STORE_JOURNAL ? stored->fd : fd;
		return;
	}
	stored = mem_alloc(sizeof(*stored));
	*stored = (struct stored){.owner = owner, .kind = kind, .index = index, .fd = fd};
	LIST_INSERT_HEAD(&place->list, stored, same);
	TAILQ_INSERT_TAIL(&store->all, stored, link);
	store->count++;
}

void store_drop(struct store *store, uint64_t owner, uint32_t kind, uint32_t index, bool all_indexes)
{
	struct store_owner *place = find_owner(store, owner);
	struct stored *stored, *after;

	if (!place)
		return;
	for (stored = LIST_FIRST(&place->list); stored; stored = after) {
		after = LIST_NEXT(stored, same);
		if (stored->kind != STORE_JOURNAL && (!kind || (stored->kind == kind && (all_indexes || stored->index == index))))
			destroy_stored(store, stored);
	}
	if (LIST_EMPTY(&place->list)) {
		HASH_DELETE(hh, store->owners, place);
		free(place);
	}
}

int store_find(const struct store *store, uint64_t owner, uint32_t kind)
{
	const struct store_owner *place = find_owner(store, owner);
	const struct stored *stored = place ? LIST_FIRST(&place->list) : NULL;

	while (stored && stored->kind != kind)
		stored = LIST_NEXT(stored, same);
	return stored ? stored->fd : -1;
}

void store_rewind(struct store *store)
{
	store->next = TAILQ_FIRST(&store->all);
}

const struct stored *store_next(struct store *store)
{
	const struct stored *stored = store->next;

	if (stored)
		store->next = TAILQ_NEXT(stored, link);
	return stored;
}

void store_finish(struct store *store)
{
	struct store_owner *place, *after;

	while (!TAILQ_EMPTY(&store->all))
		destroy_stored(store, TAILQ_FIRST(&store->all));
	HASH_ITER(hh, store->owners, place, after)
	{
		HASH_DELETE(hh, store->owners, place);
		free(place);
	}
}
