/* A plan as the launcher holds it: decoded, NUL-terminated, complete before the clone, so that the child allocates nothing. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/types.h>

struct target {
	int slot;
	int source;       /* a descriptor that came along; -1: none */
	int same_as;      /* a slot put in place before; -1: none */
	const char *path; /* a file to open; NULL: none */
	int open_flags;
	mode_t permissions;
	bool blocking;
};

struct limit {
	int resource;
	struct rlimit value;
};

struct launch_plan {
	uint64_t owner;
	uint32_t journal_slot;
	char **argv, **env;
	const char *cwd;
	const char *file;        /* with a slash: the program itself; else looked up in search_path */
	const char *search_path; /* never NULL */
	char *candidate;         /* room for the longest path a lookup can make */
	struct target *targets;
	size_t target_count;
	int highest_slot;
	bool set_ids, set_groups;
	uid_t uid;
	gid_t gid;
	gid_t *groups;
	size_t group_count;
	mode_t umask;
	bool set_nice;
	int nice;
	struct limit *limits;
	size_t limit_count;
	bool no_new_privs;
	bool listen_pid; /* the last of env is "LISTEN_PID=" and room for a pid */
	int controlling_slot;
	int cgroup;       /* descriptor of the directory to be born in; -1: none */
	int cgroup_procs; /* descriptor to write "0" into; -1: none */
	/* memory behind all of it */
	char *text;
	size_t text_used, text_size;
	size_t argc, envc;
};

/*
 * Decodes `size` bytes of spawnd.runtime.v1.Plan that came with `fds` (borrowed; targets refer to them). Looks up
 * supplementary groups when the plan leaves them to the group database, which may block. 0 or -errno; owner and journal_slot
 * are there either way if the record had them. To be finished either way.
 */
int plan_decode(struct launch_plan *plan, const uint8_t *bytes, size_t size, const int *fds, size_t fd_count);
void plan_finish(struct launch_plan *plan);
