/*
 * The child object: a program from its plan until it is removed. `exited` and `closed` are two facts that join here.
 *
 *             launch failed
 *   STARTING ---------------------------------------------> FAILED
 *      | launched          stop, timeout, cancel
 *      v                   (signal, grace, KILL)
 *   RUNNING ----------------------------------> STOPPING
 *      |  exited                                    | exited
 *      +--------------------> EXITED <--------------+
 *
 * Observers are told in Node's order: spawned (or failed), output through readers, exited, closed. A child that FAILED is
 * gone after on_failed (Node: a failed spawn has no process): on_removed follows at once.
 *
 * Ended children are kept: without a name ten minutes, the last 1,000 of each uid; with a name until they are removed, and
 * the name is not free until then. No spawn fails because of them: when the journal or the ledger is full the oldest go,
 * those with a name last. One whose tree still lives is kept meanwhile.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "process/host.h"
#include "process/reader.h"
#include "process/record.h"
#include "process/spec.h"

enum child_state { CHILD_STARTING, CHILD_RUNNING, CHILD_STOPPING, CHILD_EXITED, CHILD_FAILED };

enum child_reason {
	CHILD_REASON_EXITED = 1, /* numbers of ExitReason in common.proto */
	CHILD_REASON_SIGNALED,
	CHILD_REASON_TIMEOUT,
	CHILD_REASON_OOM,
	CHILD_REASON_STOPPED,
	CHILD_REASON_CAPTURE_LIMIT,
	CHILD_REASON_SPAWN_FAILED,
	CHILD_REASON_UNKNOWN,
};

struct child;
struct children; /* the registry: ids, names, retention */

/* Several observers may watch one child. Any callback may be NULL. An observer may remove itself inside a callback. */
struct child_observer {
	void (*on_spawned)(void *context, struct child *child);
	void (*on_failed)(void *context, struct child *child, const struct err *err);
	void (*on_exited)(void *context, struct child *child);
	void (*on_closed)(void *context, struct child *child); /* after exited and the last pipe, or drain_timeout */
	void (*on_stdin_room)(
		void *context, struct child *child, uint32_t slot, uint64_t written); /* bytes went to the kernel: `written` in all */
	void (*on_stdin_closed)(void *context, struct child *child, uint32_t slot);   /* the child closed its end */
	void (*on_gap)(void *context, struct child *child, uint32_t slot, uint64_t offset,
		uint64_t bytes);                                   /* bytes left the log that a reader had not read */
	void (*on_drain_over)(void *context, struct child *child); /* drain_timeout has passed: what is still open is given up */
	/* Its log file cannot be written any more (a positive errno: bytes go missing in it), or is written again (0). */
	void (*on_log_file)(void *context, struct child *child, int error);
	void (*on_stopping)(void *context, struct child *child, const char *why);
	void (*on_removed)(void *context, struct child *child); /* the memory goes after this */
};

/* ---- registry (children.c) ---- */

struct children *children_create(const struct process_host *host, struct err *err);
const struct process_host *children_host(const struct children *children);
void children_destroy(struct children *children);
/* Called for every child, present and future: the source of the Events service. One only. */
void children_observe(struct children *children, const struct child_observer *observer, void *context);
struct child *children_find(struct children *children, uint64_t id);
struct child *children_find_name(struct children *children, const char *name);
/* In ascending order of id: the first with an id above `after`, or NULL. */
struct child *children_next(struct children *children, uint64_t after);
size_t children_running(const struct children *children);
size_t children_kept(const struct children *children);
uint64_t children_output_bytes(const struct children *children);   /* ever read from children */
uint64_t children_buffered_bytes(const struct children *children); /* rings and stdin queues now */
uint64_t children_log_lost(const struct children *children);       /* bytes that log files could not take */
/* Children whose log file cannot be written now; *first_out is one of them. */
size_t children_log_failing(const struct children *children, const struct child **first_out);
const char *children_tree_method(const struct children *children); /* "cgroup", "freezer", "sweep" */
/* Stops every child whose on_shutdown is STOP (or none with keep); done is called when none of them is left. */
void children_shutdown(struct children *children, bool keep, void (*done)(void *context), void *context);

/* ---- life ---- */

/*
 * Starts a process for origin->uid: opens its stdio, journal, store, record, plan to a launcher. `fds` are the client's
 * descriptors for the FD slots, in ascending order of slot (taken whatever happens). on_spawned or on_failed follows, later.
 * 0 and *child_out, or negative with *err: then there is no child (ALREADY_EXISTS for its name, RESOURCE_EXHAUSTED...).
 */
int child_create(struct children *children, struct spec *spec, const struct record_origin *origin, int *fds, size_t fd_count,
	struct child **child_out, struct err *err);

/* ---- after an engine that died (child_recover.c) ---- */

/* A descriptor that the keeper had for a child. */
struct recovered_fd {
	enum store_kind kind;
	uint32_t index;
	int fd; /* taken by child_recover, or left to its owner */
};

/* What is left of a child that was launched. */
struct recovered {
	struct record *record;
	struct spec *spec;
	pid_t pid;
	struct recovered_fd *fds;
	size_t fd_count;
	void **outputs; /* RECORD_OUTPUT; those that are used are NULL afterwards */
	size_t output_count;
};

/*
 * Makes the child again, as its record, its slot of the journal and its descriptors tell. Nobody is told on_spawned;
 * children_on_exit follows for one that has ended. Reading begins with children_resume.
 */
struct child *child_recover(struct children *children, const struct recovered *recovered);
void children_resume(struct children *children);
/* The stream that is the process has its readers: slots that it does not read, or only later, wait for nobody any more. */
void child_client_is_back(struct child *child);
/* How the child came to be: for who remembers acts and sessions. */
void child_origin(const struct child *child, struct record_origin *origin_out);
/* Whether a stream was the process when the engine died. */
bool child_was_held(const struct child *child);
/* Remembers whether one is. */
void child_set_held(struct child *child, bool held);
/* Forgets an ended child: on_removed, then the memory. FAILED_PRECONDITION while it, or anything that it started, lives. */
int child_remove(struct child *child, struct err *err);
int child_may_remove(struct child *child, struct err *err); /* whether child_remove would */
/* From on_removed on: "" when child_remove was called; "age", "count": it was kept long enough; "room": for a new one. */
const char *child_removed_why(const struct child *child);

void child_observe(struct child *child, const struct child_observer *observer, void *context);
void child_unobserve(struct child *child, void *context);

/* The keeper has the exit record of this child's journal slot (doorbell). */
void children_on_exit(struct children *children, uint32_t journal_slot);

/* ---- acts ---- */

/* Bytes for a slot the child reads. Queued up to CHILD_STDIN_MAX: returns bytes taken (may be 0), or -EPIPE when closed, -EBADF: no such
 * slot. */
#define CHILD_STDIN_MAX (1u << 20)
ssize_t child_write(struct child *child, uint32_t slot, const void *bytes, size_t size);
/* Bytes of a slot that child_write took ever, and how many of them the kernel has. false: no such slot. */
bool child_input_total(const struct child *child, uint32_t slot, uint64_t *taken_out, uint64_t *kernel_out);
/* After what is queued. A terminal gets its end-of-file character instead, if it reads by lines. */
int child_close_stdin(struct child *child, uint32_t slot, struct err *err);
int child_resize(struct child *child, unsigned rows, unsigned columns, struct err *err);

enum kill_scope { KILL_CHILD = 1, KILL_GROUP, KILL_TREE };

struct kill_result {
	const pid_t *ended, *survived;
	size_t ended_count, survived_count;
	const char *method; /* "signal", "cgroup", "freezer", "sweep" */
	bool complete;
	const struct err *err; /* not NULL: nothing was signalled, this is why (NOT_FOUND when it has ended) */
};

typedef void (*child_killed_fn)(void *context, struct child *child, const struct kill_result *result);

/* Sends a signal. `done` (may be NULL) comes exactly once, perhaps before this returns; the child may have ended by then. */
void child_signal(struct child *child, int signal, enum kill_scope scope, child_killed_fn done, void *context);

/*
 * The ladder: signal, grace, SIGKILL to the same scope. Any state accepts it; a second call shortens the grace of the first.
 * `reason` goes into the exit record if the child ends by it. done as above, when all are gone or counted as survivors.
 */
void child_stop(struct child *child, int signal, uint64_t grace_ms, enum kill_scope scope, enum child_reason reason, const char *why,
	child_killed_fn done, void *context);
/* Forgets callbacks of this context: its client has gone. */
void child_forget(struct child *child, void *context);

/* ---- facts ---- */

uint64_t child_id(const struct child *child);
const char *child_name(const struct child *child); /* "" when it has none */
const struct spec *child_spec(const struct child *child);
enum child_state child_state(const struct child *child);
bool child_is_closed(const struct child *child);
/* Whether something that it started may live on, as far as is known without looking; of one that has ended. */
bool child_left_something(const struct child *child);
bool child_drain_timed_out(const struct child *child);
pid_t child_pid(const struct child *child); /* 0 when it never ran */
uid_t child_owner(const struct child *child);
int64_t child_started_at_ns(const struct child *child);
unsigned child_reader_count(const struct child *child);
const char *child_tree_method(const struct child *child);
Spawnd__V1__Transport child_transport(const struct child *child);
/* Packs the exit record into a message the caller frees with its free_unpacked function. NULL before the end. */
Spawnd__V1__ExitRecord *child_exit_record(const struct child *child);
/* Totals of each output slot, in ascending order; returns their number, fills at most `size`. */
struct slot_total {
	uint32_t slot;
	uint64_t bytes, retained_from;
	bool complete;
};
size_t child_totals(const struct child *child, struct slot_total *totals, size_t size);
/*
 * Its log file: NULL when it has none or an engine before this one closed it; why the last bytes could not be written to it (a
 * positive errno, or 0: they could), and how many are missing in it in all.
 */
const char *child_log_file(const struct child *child, int *error_out, uint64_t *lost_out);
/* Bytes capture cut from a slot: false when none. */
bool child_cut(const struct child *child, uint32_t slot, uint64_t *offset_out, uint64_t *bytes_out);
/* Our ends of the pipes (blocking ones), for HANDOVER: given away once, right after on_spawned. Returns their number. */
size_t child_hand_over(struct child *child, uint32_t *slots_out, int *fds_out, size_t size);

/*
 * What there is of the message channel, by STORE_CHANNEL_*, -1 for what is not there: given away once, right after
 * child_create (then it is the socket alone, which is stored already) or child_recover. False: nothing. The child is not
 * closed before child_channel_ended.
 */
bool child_take_channel(struct child *child, int fds_out[STORE_CHANNEL_COUNT]);
void child_channel_ended(struct child *child);

/*
 * on_disconnect: the last stream that holds the child (Spawn or Run) has gone. Does what the spec (or
 * child_set_on_disconnect) says, of a child that has ended to what it left behind.
 */
void child_disconnected(struct child *child);
void child_set_on_disconnect(struct child *child, Spawnd__V1__OnDisconnect what);
