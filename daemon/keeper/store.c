/* The store: a hash of owners, each with a short list. */
#include "keeper/store.h"

#include <stdbool.h>
#include <uthash.h>

#include "base/fd.h"
#include "base/mem.h"

struct store_owner {
	UT_hash_handle hh;
	uint64_t owner;
	struct stored *first;
};

static struct store_owner *find_owner(const struct store *store, uint64_t owner)
{
	struct store_owner *found;

	HASH_FIND(hh, store->owners, &owner, sizeof(owner), found);
	return found;
}

void store_put(struct store *store, uint64_t owner, uint32_t kind, uint32_t index, int fd)
{
	struct store_owner *place;
	struct stored *stored;

	store_drop(store, owner, kind, index, false);
	place = find_owner(store, owner);
	if (!place) {
		place = mem_alloc(sizeof(*place));
		place->owner = owner;
		HASH_ADD(hh, store->owners, owner, sizeof(place->owner), place);
	}
	stored = mem_alloc(sizeof(*stored));
	*stored = (struct stored){.next = place->first, .owner = owner, .kind = kind, .index = index, .fd = fd};
	place->first = stored;
	store->count++;
}

void store_drop(struct store *store, uint64_t owner, uint32_t kind, uint32_t index, int all_indexes)
{
	struct store_owner *place = find_owner(store, owner);
	struct stored **at;

	if (!place)
		return;
	for (at = &place->first; *at;) {
		struct stored *stored = *at;

		if (kind && (stored->kind != kind || (!all_indexes && stored->index != index))) {
			at = &stored->next;
			continue;
		}
		*at = stored->next;
		fd_close(&stored->fd);
		free(stored);
		store->count--;
	}
	if (!place->first) {
		HASH_DELETE(hh, store->owners, place);
		free(place);
	}
}

int store_find(const struct store *store, uint64_t owner, uint32_t kind, uint32_t index)
{
	const struct store_owner *place = find_owner(store, owner);

	for (const struct stored *stored = place ? place->first : NULL; stored; stored = stored->next) {
		if (stored->kind == kind && stored->index == index)
			return stored->fd;
	}
	return -1;
}

void store_each(const struct store *store, void (*fn)(void *arg, const struct stored *stored), void *arg)
{
	for (const struct store_owner *place = store->owners; place; place = place->hh.next) {
		for (const struct stored *stored = place->first; stored; stored = stored->next)
			fn(arg, stored);
	}
}

void store_finish(struct store *store)
{
	while (store->owners)
		store_drop(store, store->owners->owner, 0, 0, true);
}
