/* The parts of trees, for tree*.c alone. */
#pragma once

#include <sys/queue.h>

#include "process/tree.h"

enum tree_way { TREE_CGROUP, TREE_FREEZER, TREE_SWEEP };

struct tree_dir {
	TAILQ_ENTRY(tree_dir) entry; /* trees::pool or trees::lingering; in neither while a tree has it */
	uint64_t oom_kills;          /* when its tree entered */
	unsigned number;             /* its name in the base */
	int plan_fd;                 /* what plans get: the directory of v2, the list of members of v1; -1 */
	int events_fd;               /* cgroup.events of v2; -1 */
	bool kept;                   /* these descriptors stay open, among trees::kept */
	bool spent;                  /* cgroup.kill was written: some kernels kill whoever is cloned into it later, too */
};

TAILQ_HEAD(tree_dirs, tree_dir);

struct snapshot;

struct trees {
	const struct process_host *host;
	enum tree_way way;
	int base; /* directory in the hierarchy; -1: sweep */
	char base_path[256];
	unsigned last_number;
	struct tree_dirs pool, lingering;
	size_t pool_count;
	unsigned kept;   /* directories whose descriptors stay open for whoever has them next */
	bool has_memory; /* memory.events is in every directory */
	bool has_kill;   /* cgroup.kill too */
	char instance[48];
	pid_t keeper; /* orphans become its children */
	struct snapshot *snapshot;
};

/* ---- tree_dir.c: directories of either hierarchy ---- */

/* Finds a writable place for `way` and makes the base there. 0 or -errno. */
int tree_base_open(struct trees *trees, enum tree_way way);
void tree_base_close(struct trees *trees);
struct tree_dir *tree_dir_take(struct trees *trees);                  /* NULL: none to be had */
struct tree_dir *tree_dir_find(struct trees *trees, unsigned number); /* takes one that lingers; NULL: there is none */
int tree_dir_make(struct trees *trees, const struct tree_dir *dir);   /* once more, if it has vanished */
void tree_dir_put(struct trees *trees, struct tree_dir *dir, bool empty /* known to be */);
/* What a plan gets of it: a descriptor that stays open until tree_dir_rest, or -errno. */
int tree_dir_plan_fd(struct trees *trees, struct tree_dir *dir);
/* The plan was carried out. */
void tree_dir_rest(struct trees *trees, struct tree_dir *dir);
/* Closes what is open. True when that had been open since an earlier plan: the directory may have vanished since. */
bool tree_dir_close(struct trees *trees, struct tree_dir *dir);
bool tree_dir_is_empty(struct trees *trees, struct tree_dir *dir);
void tree_dir_list(struct trees *trees, const struct tree_dir *dir, struct tree_members *members);
int tree_dir_write(struct trees *trees, const struct tree_dir *dir, const char *file, const char *text); /* 0 or -errno */
uint64_t tree_dir_oom_kills(struct trees *trees, const struct tree_dir *dir);
/* Stops everybody in there, or lets them go on. */
void tree_dir_freeze(struct trees *trees, const struct tree_dir *dir, bool on);
bool tree_dir_is_frozen(struct trees *trees, const struct tree_dir *dir);

/* Whether the process that has this pid now is in there. */
bool tree_dir_has(struct trees *trees, const struct tree_dir *dir, pid_t pid);

/* ---- tree_sweep.c: /proc ---- */

/* By a look at /proc that began at or after since_ns (CLOCK_BOOTTIME). */
void tree_sweep(struct tree *tree, bool group, int64_t since_ns, struct tree_members *members);
void snapshot_destroy(struct snapshot *snapshot);
/* Start of a process in ticks; 0 when there is none, or it is a zombie. */
uint64_t proc_start(pid_t pid);
