/* Trees: the choice of the method, and what does not depend on it. */
#include "process/tree.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "process/spec_parts.h"
#include "process/tree_parts.h"

#define SNAPSHOT_FRESH_NS 20000000 /* a look at /proc that is good enough for asking who is left */

static const char *const way_names[] = {[TREE_CGROUP] = "cgroup", [TREE_FREEZER] = "freezer", [TREE_SWEEP] = "sweep"};

/* The best way that works, from the one that is asked for on. */
static void choose(struct trees *trees)
{
	const char *forced = getenv("SPAWND_TREE");
	int way = TREE_CGROUP;

	for (int i = TREE_CGROUP; forced && i <= TREE_SWEEP; i++)
		if (strcmp(forced, way_names[i]) == 0)
			way = i;
	for (; way < TREE_SWEEP; way++) {
		int done = tree_base_open(trees, (enum tree_way)way);

		if (done == 0)
			break;
		log_(LOG_DEBUG, "trees: no %s here: %s", way_names[way], err_name(-done));
	}
	trees->way = (enum tree_way)way;
	log_(LOG_INFO, "trees: by %s%s%s", way_names[way], trees->base >= 0 ? " in " : "", trees->base >= 0 ? trees->base_path : "");
}

struct trees *trees_create(const struct process_host *host)
{
	struct trees *trees = mem_alloc(sizeof(*trees));

	trees->host = host;
	trees->base = -1;
	trees->keeper = host->keeper;
	TAILQ_INIT(&trees->pool);
	TAILQ_INIT(&trees->lingering);
	snprintf(trees->instance, sizeof(trees->instance), "%d.%llu", (int)trees->keeper, (unsigned long long)proc_start(trees->keeper));
	choose(trees);
	return trees;
}

void trees_destroy(struct trees *trees)
{
	if (!trees)
		return;
	tree_base_close(trees);
	snapshot_destroy(trees->snapshot);
	free(trees);
}

const char *trees_method(const struct trees *trees)
{
	return way_names[trees->way];
}

void tree_enter(struct trees *trees, struct tree *tree, uint64_t id, bool tracked)
{
	*tree = (struct tree){.trees = trees, .id = id};
	if (!tracked || trees->way == TREE_SWEEP)
		return;
	tree->dir = tree_dir_take(trees);
	tree->tracked = tree->dir != NULL;
	if (tree->dir && trees->has_memory)
		tree->dir->oom_kills = tree_dir_oom_kills(trees, tree->dir);
}

void tree_restore(struct trees *trees, struct tree *tree, uint64_t id, unsigned number, pid_t pid)
{
	*tree = (struct tree){.trees = trees, .id = id, .pid = pid};
	tree->dir = number ? tree_dir_find(trees, number) : NULL;
	tree->tracked = tree->dir != NULL;
}

unsigned tree_number(const struct tree *tree)
{
	return tree->dir ? tree->dir->number : 0;
}

/* Swept from now on. */
static void give_up_dir(struct tree *tree)
{
	tree_leave(tree);
	tree->tracked = false;
}

int tree_open(struct tree *tree, bool *is_directory_out)
{
	int fd;

	*is_directory_out = tree->trees->way == TREE_CGROUP;
	if (!tree->dir)
		return -1;
	fd = tree_dir_plan_fd(tree->trees, tree->dir);
	if (fd == -ENOENT && tree_dir_make(tree->trees, tree->dir) == 0)
		fd = tree_dir_plan_fd(tree->trees, tree->dir);
	if (fd < 0)
		give_up_dir(tree);
	return fd < 0 ? -1 : fd;
}

void tree_launched(struct tree *tree)
{
	if (tree->dir)
		tree_dir_rest(tree->trees, tree->dir);
}

void tree_refused(struct tree *tree)
{
	if (tree->dir && !tree_dir_close(tree->trees, tree->dir))
		give_up_dir(tree);
}

void tree_trim(struct tree *tree)
{
	if (!tree->dir || !tree->reaped || !tree_dir_is_empty(tree->trees, tree->dir))
		return;
	tree->empty = true;
	tree_leave(tree);
}

void tree_leave(struct tree *tree)
{
	if (!tree->dir)
		return;
	if (tree->stopped)
		tree_dir_freeze(tree->trees, tree->dir, false);
	tree_dir_put(tree->trees, mem_steal(&tree->dir), tree->empty);
}

const char *tree_method(const struct tree *tree)
{
	return way_names[tree->tracked ? tree->trees->way : TREE_SWEEP];
}

bool tree_is_complete(const struct tree *tree)
{
	return tree->tracked;
}

void tree_env(const struct tree *tree, char *text, size_t size)
{
	snprintf(text, size, SPEC_ENV_ID "=%s-%llu", tree->trees->instance, (unsigned long long)tree->id);
}

void tree_list(struct tree *tree, bool group, struct tree_members *members)
{
	if (tree->empty)
		return;
	if (tree->dir && !group)
		tree_dir_list(tree->trees, tree->dir, members);
	else if (tree->pid)
		tree_sweep(tree, group, clock_boot_ns() - SNAPSHOT_FRESH_NS, members);
}

size_t tree_count(struct tree *tree)
{
	struct tree_members members = {0};
	size_t count;

	if (tree->empty)
		return 0;
	if (tree->dir)
		tree_dir_list(tree->trees, tree->dir, &members);
	else if (tree->pid)
		tree_sweep(tree, false, clock_boot_ns(), &members);
	count = members.count;
	tree_members_finish(&members);
	return count;
}

bool tree_is_empty(struct tree *tree, bool group)
{
	struct tree_members members = {0};
	bool empty;

	if (!tree->reaped || tree->empty)
		return tree->reaped;
	if (tree->dir && !group)
		return tree_dir_is_empty(tree->trees, tree->dir);
	tree_list(tree, group, &members);
	empty = members.count == 0;
	tree_members_finish(&members);
	return empty;
}

uint64_t tree_oom_kills(const struct tree *tree)
{
	return tree->dir && tree->trees->has_memory ? tree_dir_oom_kills(tree->trees, tree->dir) - tree->dir->oom_kills : 0;
}

static int compare_members(const void *a, const void *b)
{
	const struct tree_member *left = a, *right = b;

	return left->pid < right->pid ? -1 : left->pid > right->pid;
}

void tree_members_sort(struct tree_members *members)
{
	if (members->count)
		qsort(members->items, members->count, sizeof(*members->items), compare_members);
}

bool tree_members_has(const struct tree_members *members, pid_t pid)
{
	struct tree_member key = {.pid = pid};

	return members->count && bsearch(&key, members->items, members->count, sizeof(key), compare_members);
}

void tree_members_add(struct tree_members *members, struct tree_member member)
{
	if (members->count == members->room) {
		members->room = members->room ? members->room * 2 : 8;
		members->items = mem_realloc(members->items, members->room * sizeof(*members->items));
	}
	members->items[members->count++] = member;
}

void tree_members_finish(struct tree_members *members)
{
	free(members->items);
	*members = (struct tree_members){0};
}
