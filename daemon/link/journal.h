/*
 * The journal: facts that outlive the engine, in one preallocated, sealed memfd that keeper, launcher and engine map
 * shared. A slot belongs to one process object from the intent to spawn until the object is removed.
 *
 *   who        writes
 *   engine     owner, facts, state FREE -> INTENT (before the plan leaves), EXITED -> FREE (after the object is gone)
 *   kernel     pids[slot] in the launcher's clone (CLONE_PARENT_SETTID): "cloned but not recorded" cannot exist
 *   launcher   started_at_ns, before the clone
 *   child      launch_stage, launch_error, when a step before exec failed
 *   keeper     signals; exit_*, then state INTENT -> EXITED; before the pid is reaped, so no pid is ever signalled after reuse
 */
#pragma once

#include <stdatomic.h>
#include <stdint.h>
#include <sys/resource.h>

#define JOURNAL_MAGIC 0x73706a31u /* "spj1" */
#define JOURNAL_VERSION 1
#define JOURNAL_SLOTS 16384u

enum journal_state {
	JOURNAL_FREE = 0,
	JOURNAL_INTENT = 1, /* may be cloned, may run */
	JOURNAL_EXITED = 2, /* the exit record is complete */
};

/* Where a launch failed; stored by the child in its slot. */
enum launch_stage {
	LAUNCH_OK = 0,
	LAUNCH_PLAN, /* the launcher could not take the plan */
	LAUNCH_CLONE,
	LAUNCH_CGROUP,
	LAUNCH_SETSID,
	LAUNCH_TTY,
	LAUNCH_RLIMIT,
	LAUNCH_NICE,
	LAUNCH_GROUPS,
	LAUNCH_GID,
	LAUNCH_UID,
	LAUNCH_NO_NEW_PRIVS,
	LAUNCH_CWD,
	LAUNCH_FILE, /* opening a FILE slot; launch_detail is the slot */
	LAUNCH_DUP,  /* putting a descriptor in place; launch_detail is the slot */
	LAUNCH_EXEC,
};

struct journal_slot {
	_Atomic uint32_t state; /* enum journal_state */
	int32_t launch_stage;
	int32_t launch_error;
	int32_t launch_detail;
	_Atomic uint64_t owner; /* id of the process object */
	/* exit record, by the keeper */
	int32_t exit_code;    /* si_code: CLD_EXITED, CLD_KILLED, CLD_DUMPED */
	int32_t exit_status;  /* si_status: exit code or signal */
	int64_t exited_at_ns; /* CLOCK_REALTIME, never before started_at_ns */
	struct rusage exit_usage;
	int64_t started_at_ns; /* CLOCK_REALTIME; by the launcher */
	/* facts, by the engine */
	int64_t deadline_boot_ns; /* of timeout_ms; 0: none */
	uint32_t spec;            /* reference into the store of specs; 0: none */
	uint32_t reserved;
};

struct journal {
	uint32_t magic;
	uint32_t version;
	uint32_t slots;
	uint32_t slot_size;
	_Atomic uint64_t next_id; /* ids are never reused while the keeper lives */
	_Atomic uint64_t spawned;
	_Atomic uint64_t event_seq; /* of the last event */
	uint64_t state_version;     /* of what the engine that serves leaves; link/state.h */
	_Atomic uint64_t signals;   /* orders to signal that the keeper has carried out */
	uint64_t reserved[9];
	_Atomic int32_t pids[JOURNAL_SLOTS]; /* 0: never cloned */
	struct journal_slot slot[JOURNAL_SLOTS];
};

/* Makes an empty, preallocated, sealed journal. Returns a descriptor or -errno. */
int journal_make(void);

/* Maps one. NULL with errno set when fd is not a journal of this version. */
struct journal *journal_map(int fd);
void journal_unmap(struct journal *journal);
