/*
 * Everything a child started, and how it is reached. Chosen once for all children of a daemon:
 *
 *   cgroup   a directory of cgroup v2 per child, joined at birth: nothing escapes, SIGKILL is cgroup.kill
 *   freezer  the same in the v1 freezer hierarchy
 *   sweep    /proc by parentage, session and the inherited SPAWND_ID: signals only what it can attribute, and something
 *            that left the session twice over and cleaned its environment may escape
 *
 * SPAWND_TREE=cgroup|freezer|sweep in the daemon's environment forces one; what is not there falls to the next.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "process/host.h"

struct trees;
struct tree_dir;

/* One child's tree. Embedded; tree_enter fills it. */
struct tree {
	struct trees *trees;
	struct tree_dir *dir; /* NULL: swept */
	uint64_t id;
	pid_t pid;        /* of the child: its session and group too; 0 until it is launched */
	bool tracked;     /* by a directory, now or until it was found empty */
	bool reaped;      /* the child has ended: its pid is nobody's any more */
	bool empty;       /* and nobody was left */
	unsigned stopped; /* strikes that have its directory frozen */
};

/* One process of a tree. `start` tells it from another that has its pid later. */
struct tree_member {
	pid_t pid;
	uint64_t start; /* clock ticks since boot; 0: not known */
};

struct tree_members {
	struct tree_member *items;
	size_t count, room;
};

/* ---- tree.c ---- */

struct trees *trees_create(const struct process_host *host);
void trees_destroy(struct trees *trees); /* NULL is fine; removes what is empty */
const char *trees_method(const struct trees *trees);

/* Prepares for a child about to start; with `tracked` false it is swept. */
void tree_enter(struct trees *trees, struct tree *tree, uint64_t id, bool tracked);
/* The same for one that an earlier engine had in the directory of this number (0: none). */
void tree_restore(struct trees *trees, struct tree *tree, uint64_t id, unsigned number, pid_t pid);
/* The number of its directory; 0: none. */
unsigned tree_number(const struct tree *tree);
/* What a plan needs: a descriptor, ours until tree_launched, of a v2 directory or of a file to write "0" into; -1: neither. */
int tree_open(struct tree *tree, bool *is_directory_out);
void tree_launched(struct tree *tree);
/* The launcher could not put it there: swept from now on, unless the directory had vanished and can be made anew. */
void tree_refused(struct tree *tree);
/* The child has ended: its directory goes back when nobody is in it. */
void tree_trim(struct tree *tree);
/* The object goes. Members that live on keep their directory. */
void tree_leave(struct tree *tree);
const char *tree_method(const struct tree *tree);
/* Whether the answer about this tree can have left out nobody. */
bool tree_is_complete(const struct tree *tree);
/* "SPAWND_ID=...": what every child inherits. */
void tree_env(const struct tree *tree, char *text, size_t size);

/* Processes of the tree now, zombies left out; group: only those in the child's own group. Appended to members. */
void tree_list(struct tree *tree, bool group, struct tree_members *members);
size_t tree_count(struct tree *tree);              /* how many tree_list would tell, by a look of its own */
bool tree_is_empty(struct tree *tree, bool group); /* never before the child itself has ended */
/* OOM kills in the child's directory since it entered; 0 where that cannot be told. */
uint64_t tree_oom_kills(const struct tree *tree);

void tree_members_add(struct tree_members *members, struct tree_member member);
void tree_members_sort(struct tree_members *members);
bool tree_members_has(const struct tree_members *members, pid_t pid); /* sorted ones */
void tree_members_finish(struct tree_members *members);

/* ---- tree_strike.c ---- */

struct strike;

struct strike_result {
	const struct tree_members *struck;  /* that the signal was sent to; sorted */
	const struct tree_members *refused; /* that it could not be sent to; sorted */
	int error;                          /* of the first of those; 0 */
};

typedef void (*strike_fn)(void *arg, const struct strike_result *result);

/*
 * Sends a signal to everything in the tree (or in the child's group of it), again until nobody new is found. `done` comes
 * exactly once, perhaps before this returns, unless strike_destroy comes first. *strike_out is NULL again before either.
 */
void tree_strike(struct tree *tree, int signal, bool group, struct strike **strike_out, strike_fn done, void *arg);
void strike_destroy(struct strike *strike); /* NULL is fine; replies under way are ignored */
