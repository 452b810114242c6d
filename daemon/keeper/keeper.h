/*
 * The keeper: parent of every child from its birth, the only one that reaps and the only one that signals; it keeps
 * descriptors and the journal for an engine that may die at any moment. It never reads a byte that a client sent.
 */
#pragma once

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/types.h>

#include "base/loop.h"
#include "link/journal.h"
#include "link/link.h"
#include "link/store.h"
#include "spawnd/runtime/v1/keeper.pb.h"

typedef spawnd_runtime_v1_KeeperNotice notice_message;
typedef spawnd_runtime_v1_KeeperOrder order_message;

#define PATIENCE_US 10000000 /* with an engine that should end, begin or answer */
#define KEEPER_LAUNCHERS 64  /* those that dead engines left behind, still blocked, are among them */

/* Our programs, opened: whatever becomes of the files, those that work together are started again. -1: not opened yet. */
struct images {
	int engine, launcher;
};

struct keeper {
	struct loop *loop;
	struct journal *journal;
	int journal_fd; /* borrowed from the store */
	struct store store;
	char **engine_argv;
	struct images images;
	struct images before; /* of the engine before, until this one serves */

	/* the engine */
	pid_t engine; /* 0: none runs */
	struct link link;
	struct loop_fd *watch;
	struct loop_timer *restart;
	struct loop_timer *patience; /* with an engine that should have ended */
	unsigned engine_starts;
	unsigned failures;         /* in the present window of the budget */
	int64_t window_started_ns; /* CLOCK_BOOTTIME */
	int64_t engine_started_ns; /* the same */
	bool doorbells_lost;

	struct keeper_candidate {
		pid_t pid; /* 0: none */
		bool able; /* it said so: the engine is told to leave */
		bool ended;
		struct images images;
		struct link link;
		struct loop_fd *watch;
		struct loop_timer *patience;
	} candidate;

	struct keeper_launcher {
		pid_t pid; /* 0: none */
		uint32_t index;
		unsigned engine_start; /* which engine it belongs to */
	} launchers[KEEPER_LAUNCHERS];
	struct loop_defer *reap_more;
	struct rlimit nofile; /* from before we raised ours: what children get */
	char oom_score[16];   /* the same */

	bool ready; /* an engine said so, once */
	bool background;
	int status_fd; /* tells whoever waits for a daemon in the background; -1 */
	bool ending;
	int exit_status;
	int64_t terminated_ns; /* when SIGTERM came first; 0 */
};

/* reap.c */
void reap_all(void *keeper);

/* orders.c: takes at most `most` orders. 0, or -EPIPE when the engine hung up. */
int orders_receive(struct keeper *keeper, unsigned most);
void orders_kill(pid_t pid);                       /* a program of ours; 0: none */
bool orders_kill_launchers(struct keeper *keeper); /* whether there still are any */
/*
 * Signals the process of a slot, or its group, while its owner is this one and its exit record is not there: so never a pid
 * that was reaped. 0 or -errno.
 */
int orders_signal_slot(struct journal *journal, uint32_t slot, uint64_t owner, int signal, bool group);

/* engine_life.c */
void engine_start(void *keeper);
void engine_take(struct keeper *keeper, pid_t pid); /* it is the engine, keeper::link its link: welcomes it */
void engine_exited(struct keeper *keeper, int code, int status);
void engine_notify(struct keeper *keeper, const notice_message *notice, const int *fd /* borrowed; NULL: none */);
void engine_doorbell(struct keeper *keeper, uint32_t slot);
void engine_terminate(void *keeper); /* SIGTERM, SIGINT */
void engine_reload(void *keeper);    /* SIGHUP */
void engine_give_up(void *keeper);   /* it does not end by itself, or does not begin */
void engine_ready(struct keeper *keeper, bool is_ready);

/* upgrade.c */
void upgrade_begin(struct keeper *keeper, struct images images /* takes */);
bool upgrade_exited(struct keeper *keeper, const siginfo_t *info); /* whether it was the candidate */
void upgrade_adopt(struct keeper *keeper);                         /* the candidate is the engine */
bool upgrade_undo(struct keeper *keeper);                          /* that engine never served: whether there is one before it */
void upgrade_keep(struct keeper *keeper);                          /* it serves */
void upgrade_drop(struct keeper *keeper);                          /* no candidate any more */

/* start.c: programs of ours, with descriptors from LINK_FD on. Their pid or -errno. */
pid_t start_program(const char *name, int *image, char *const *argv, const int *fds, size_t count);
/* An engine, on a new link. */
pid_t start_engine(struct keeper *keeper, int *image, struct link *link_out);
void start_images_close(struct images *images);
