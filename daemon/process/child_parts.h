/* The inside of children, for child*.c, kill.c and stdin.c alone. */
#pragma once

#include <sys/queue.h>
#include <sys/resource.h>
#include <uthash.h>

#include "base/buf.h"
#include "base/quota.h"
#include "process/child.h"
#include "process/logfile.h"
#include "process/pump.h"
#include "process/stdio.h"
#include "process/tree.h"

struct kill_op;

/* An observer of one child. */
struct watcher {
	TAILQ_ENTRY(watcher) entry;            /* child::watchers */
	const struct child_observer *observer; /* NULL: it has left, while others were told */
	void *context;
};

/* A slot that we write. */
struct input {
	TAILQ_ENTRY(input) entry;      /* children::told */
	TAILQ_ENTRY(input) gone_entry; /* children::gone */
	struct child *child;
	struct loop_fd *watch; /* NULL: closed, gone, or none needed yet */
	int64_t gone_ns;       /* CLOCK_BOOTTIME */
	struct buf queue;      /* of what has no spool */
	struct record_slot *kept;
	uint64_t written; /* bytes with the kernel: of a spool, the file offset of its description */
	uint64_t spooled; /* bytes ever put into the spool: its size */
	uint64_t freed;   /* bytes of the spool whose pages were given back */
	uint32_t slot;
	int fd;    /* -1: closed */
	int spool; /* memfd of what waits, which survives the engine; -1: none yet, or none can be */
	bool terminal, socket;
	bool plain;  /* has no spool: a terminal, or there was none to be had */
	bool second; /* its file is in the store under the output slot */
	bool ending; /* close when the queue is empty */
	bool telling;
	bool tell_closed;
	bool gone;    /* nobody reads it: is in children::gone */
	uint8_t last; /* byte that was written */
};

/* How it ended. */
struct child_end {
	int code, status; /* CLD_*, exit code or signal */
	int64_t at_ns;
	struct rusage usage;
	bool known; /* false: the status is lost */
};

struct child {
	struct children *children;
	struct spec *spec;
	struct record *record; /* NULL when it was removed */
	struct output *output;
	struct logfile *logfile;
	struct input *inputs;
	size_t input_count;
	struct stdio stdio;               /* until it is launched; HANDOVER: our ends until they are handed over */
	int channel[STORE_CHANNEL_COUNT]; /* owned, until they are taken */
	struct tree tree;
	struct child_end *end;
	struct err *failure;
	struct charge charge;
	uint64_t input_waiting;   /* bytes, in all slots we write */
	struct loop_timer *timer; /* timeout_ms, then drain_timeout_ms */
	char *why;                /* it was stopped */
	const char *removed_why;
	TAILQ_HEAD(watcher_list, watcher) watchers;
	TAILQ_HEAD(, kill_op) kills;
	struct kill_op *ladder;         /* one of kills, or NULL */
	TAILQ_ENTRY(child) entry;       /* children::all, then children::dead */
	TAILQ_ENTRY(child) ended;       /* children::ended or children::named */
	TAILQ_ENTRY(child) owner_ended; /* owner::ended */
	UT_hash_handle by_id, by_name;
	uint64_t id;
	int64_t started_at_ns;
	int64_t ended_boot_ns; /* when it began to be kept */
	uint32_t journal_slot;
	uid_t owner;
	pid_t pid;
	unsigned pins;    /* callbacks of others that will come */
	unsigned telling; /* observers are being called */
	enum child_state state;
	enum child_reason reason; /* 0: it ends by itself */
	Spawnd__V1__OnDisconnect on_disconnect;
	int log_error; /* of its log file: a positive errno */
	bool recovered, exit_waits, output_done, has_channel /* it is open */, gave_up, closed, drain_timed_out, removed, killed_by_us,
		stop_sent /* by an earlier engine */, kept, shutdown_waits;
};

/* Ended children of one uid. */
struct owner {
	uid_t uid;
	size_t count;
	TAILQ_HEAD(, child) ended;
	UT_hash_handle hh;
};

struct children {
	const struct process_host *host;
	struct trees *trees;
	struct output_stats stats;
	const struct child_observer *observer;
	void *context;
	TAILQ_HEAD(, child) all; /* ascending by id */
	TAILQ_HEAD(, child) dead;
	TAILQ_HEAD(ended_list, child) ended; /* and closed, oldest first: those without a name */
	struct ended_list named;             /* and those with one */
	TAILQ_HEAD(, input) told;            /* inputs whose observers hear of what was written */
	TAILQ_HEAD(, input) gone;            /* inputs that nobody reads, oldest first */
	struct loop_timer *gone_timer;
	struct child *by_id, *by_name;
	struct owner *owners;
	struct loop_defer *defer;
	struct loop_timer *retention;
	size_t running, kept;
	size_t log_failing;   /* children whose log file cannot be written */
	uint64_t stdin_bytes; /* queued */
	void (*shut_down)(void *context);
	void *shut_down_context;
	size_t shut_down_waits;
	struct loop_timer *not_back; /* clients of an earlier engine have that long */
	struct child *by_slot[JOURNAL_SLOTS];
};

/*
 * Calls one callback of the observer of all children, then those of the child's own. The child stays in memory; an
 * observer may leave, or remove the child.
 */
#define CHILD_TELL(child, callback, ...)                                                                                                   \
	do {                                                                                                                               \
		struct watcher *last_ = child_begin_telling(child), *at_;                                                                  \
		const struct child_observer *all_ = (child)->children->observer;                                                           \
		if (all_ && all_->callback)                                                                                                \
			all_->callback((child)->children->context, child, ##__VA_ARGS__);                                                  \
		for (at_ = last_ ? TAILQ_FIRST(&(child)->watchers) : NULL; at_; at_ = at_ == last_ ? NULL : TAILQ_NEXT(at_, entry))        \
			if (at_->observer && at_->observer->callback)                                                                      \
				at_->observer->callback(at_->context, child, ##__VA_ARGS__);                                               \
		child_end_telling(child);                                                                                                  \
	} while (0)

/* ---- children.c ---- */

struct watcher *child_begin_telling(struct child *child); /* the last watcher to be told, or NULL */
void child_end_telling(struct child *child);
void child_pin(struct child *child);
void child_unpin(struct child *child); /* may be the last that keeps a removed child in memory */
/* Enters a child under id and name. */
void children_add(struct children *children, struct child *child);
/* It has ended and is closed: from now on it is kept, for a while or until it is removed. */
void children_keep(struct child *child);
/* Makes room: forgets one that has ended, those without a name first. false: there is none. */
bool children_evict(struct children *children);
/* Forgets the oldest unnamed one of a user that has ended and that nobody follows; false: there is none. */
bool children_forget_oldest(struct children *children, uid_t uid);
bool children_forget_named(struct children *children, uid_t uid); /* the same of those with a name */
/* Out of every table; the memory goes when nobody needs it. */
void children_drop(struct child *child);
void children_shutdown_step(struct children *children);

/* ---- child.c ---- */

/* Forgets one that has ended, whatever is left of it; `why` as child_removed_why tells it, static. */
void child_drop(struct child *child, const char *why);
void child_set_state(struct child *child, enum child_state state);
bool child_has_exited(const struct child *child);
void child_free(struct child *child);
/* Everything of a child but its streams; the record is taken. */
struct child *child_make(struct children *children, uint64_t id, struct spec *spec, struct record *record);
void child_set_timer(struct child *child, uint64_t ms); /* timeout, or drain */
const struct slot_spec *child_find_slot(const struct spec *spec, uint32_t slot);
/* Gives the directory of its tree back when it has ended and left nobody in it. */
void child_trim_tree(struct child *child);
int child_open_logfile(struct child *child, struct err *err);
extern const struct output_observer child_output_observer;

/* ---- account.c ---- */

/* It begins to count, if its user's quotas allow it; the record is there. 0, or negative with RESOURCE_EXHAUSTED. */
int account_open(struct child *child, struct err *err);
void account_recover(struct child *child); /* the same for one that is there in any case */
void account_exited(struct child *child);
void account_closed(struct child *child);
/* So many bytes more, or less, wait for the child to read them. */
void account_input(struct child *child, int64_t more);
size_t account_input_max(const struct child *child); /* that may wait in one slot */

/* ---- stdin.c ---- */

void inputs_create(struct child *child); /* takes the input ends of child->stdio */
/* One input more, of `count` at most. */
struct input *input_add(struct child *child, uint32_t slot, int fd /* takes */, size_t count);
void input_recover(struct input *input, int spool /* takes; -1: none */);
void inputs_start(struct child *child); /* spawned: what is queued leaves */
void inputs_close(struct child *child); /* the child has ended */
void inputs_destroy(struct child *child);
void inputs_tell(struct children *children);
/* Inputs that nobody has read for long enough are closed; from children::gone_timer. */
void inputs_lose_gone(struct children *children);

/* ---- kill.c ---- */

void kills_on_launched(struct child *child);
void kills_on_exit(struct child *child);
void kills_finish(struct child *child, bool forget); /* answers all; with `forget` nobody */
