/*
 * What a launcher is asked to do, as the process room says it; engine/plan.c packs it (proto: Plan). Everything is borrowed
 * and must live until host.launch returns, the descriptors until its answer.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct spec;

/* One descriptor of the child. Exactly one of attached, same_as and path says what it is. */
struct plan_fd {
	uint32_t slot;
	int attached;     /* index into plan.fds, or -1 */
	int same_as;      /* a slot put in place before, or -1 */
	const char *path; /* a file the child opens itself, or NULL */
	int open_flags;
	uint32_t permissions;
	bool blocking; /* clear O_NONBLOCK */
};

struct plan {
	uint64_t owner;
	uid_t user; /* who asked */
	uint32_t journal_slot;
	struct spec *spec;            /* argv, env, file, search_path, cwd, ids, umask, nice, rlimits, no_new_privs */
	const char *const *extra_env; /* more "NAME=value" after those of spec, NULL-terminated; or NULL */
	bool listen_pid;              /* the last of them is LISTEN_PID_ENTRY */
	const struct plan_fd *slots;  /* in the order they are put in place */
	size_t slot_count;
	const int *fds; /* descriptors that go along */
	size_t fd_count;
	int controlling_slot; /* a slot that is a terminal, or -1 */
	int cgroup;           /* index into fds of the cgroup v2 directory to be born in, or -1 */
	int cgroup_procs;     /* index into fds of a file to write "0" into, or -1 */
};
