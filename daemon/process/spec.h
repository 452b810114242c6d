/*
 * A request checked and turned into a plan. Pure: no system call here; what needs the client (its descriptors, its session)
 * is handed in. A spec that compiled can be started any number of times.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "spawnd/v1/processes.pb-c.h"

struct ledger;

/* Which method asks: it decides defaults (stdin, on_disconnect, capture). */
enum spec_use { SPEC_SPAWN, SPEC_RUN, SPEC_START };

struct spec;

/* The last request compiled in a context, so that the same one again costs a comparison. Zero-initialised: none. */
struct spec_recent {
	struct spec *spec; /* a reference */
	uint8_t *request;  /* packed */
	size_t size;
	enum spec_use use;
	uid_t uid;
	gid_t gid;
	bool no_new_privs;
};

void spec_recent_finish(struct spec_recent *recent);

/* The caller's part: context of its session and who it is. */
struct spec_context {
	const char *cwd;  /* absolute; NULL: "/" */
	char *const *env; /* "NAME=value", NULL-terminated; NULL: empty */
	bool has_umask;
	mode_t umask;
	Spawnd__V1__Rlimit **rlimits;
	size_t rlimit_count;
	uid_t uid; /* of the client */
	gid_t gid;
	uid_t daemon_uid;
	bool no_new_privs;          /* the client has it */
	struct spec_recent *recent; /* of this cwd, env, umask and rlimits; NULL: none is kept */
};

enum slot_kind { SLOT_NONE, SLOT_PIPE_IN, SLOT_PIPE_OUT, SLOT_PAIR, SLOT_NULL, SLOT_FILE, SLOT_FD, SLOT_PTY, SLOT_SAME, SLOT_CHANNEL };

struct slot_spec {
	uint32_t slot;
	enum slot_kind kind;
	uint32_t same_as;
	const char *path; /* FILE */
	int open_flags;   /* FILE, NULL */
	mode_t permissions;
	bool fd_attached; /* FD: number below counts attached descriptors, else it is the client's own */
	int32_t fd_number;
	const ProtobufCBinaryData *fd_session; /* FD: the key of a session whose connection it is; NULL: it is a number */
	uint64_t capture_limit;                /* 0: none */
	Spawnd__V1__Capture__Policy capture_policy;
};

struct rlimit_spec {
	int resource; /* RLIMIT_* */
	uint64_t soft, hard;
};

/* Compiled and immutable; shared by reference. `message` is what Get returns: the request with defaults filled in. */
struct spec {
	unsigned refs;
	Spawnd__V1__ProcessSpec *message;
	char **argv;             /* as executed, NULL-terminated; argv[0] is what the program sees */
	char *file;              /* program to look up: the shell when there is a shell_command */
	char **env;              /* complete, NULL-terminated */
	const char *search_path; /* PATH of env, or the system's default path */
	char *cwd;
	struct slot_spec *slots; /* ascending by slot, 0, 1 and 2 always among them */
	size_t slot_count;
	bool set_ids;
	uid_t uid;
	gid_t gid;
	bool set_groups;
	gid_t *groups;
	size_t group_count;
	mode_t umask;
	bool set_nice;
	int nice;
	struct rlimit_spec *rlimits;
	size_t rlimit_count;
	bool no_new_privs;
	int kill_signal;
	enum spec_use use;
	uint8_t *plan; /* its part of every plan, packed at the first start; engine/plan.c */
	size_t plan_size;
	struct ledger *ledger; /* where it is remembered, once a process has it; process/record.c */
	void *record;          /* goes with the spec */
};

/* Checks everything, starts nothing. 0, or -EINVAL with *err naming the field (INVALID_ARGUMENT). */
int spec_compile(const Spawnd__V1__ProcessSpec *request, const struct spec_context *context, enum spec_use use, struct spec **spec_out,
	struct err *err);
struct spec *spec_ref(struct spec *spec);
/* Whether a process could have this name ("": it has none); `field` is blamed when not. */
int spec_check_name(const char *name, const char *field, struct err *err);
void spec_unref(struct spec *spec); /* NULL is fine */

/*
 * A terminal is one, however many slots show it: its output is told as that of the lowest PTY slot above 0 (of 0 when there
 * is no other), its input goes to the lowest. NULL: no terminal.
 */
const struct slot_spec *spec_pty_slot(const struct spec *spec, bool output);
bool spec_is_output(const struct spec *spec, const struct slot_spec *slot); /* the child writes it, we read it */
bool spec_is_input(const struct spec *spec, const struct slot_spec *slot);  /* we write it */
/* The message channel; NULL: none. */
const struct slot_spec *spec_channel_slot(const struct spec *spec);

/* "spawn NAME": the syscall of this spec's spawn errors. */
void spec_syscall(const struct spec *spec, char *text, size_t size);
