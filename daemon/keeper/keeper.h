/*
 * The keeper: parent of every child from its birth, the only one that reaps and the only one that signals; it keeps
 * descriptors and the journal for an engine that may die at any moment. It never reads a byte that a client sent.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/types.h>

#include "keeper/store.h"
#include "link/journal.h"
#include "link/link.h"

#define KEEPER_LAUNCHERS 8

struct loop;
struct loop_fd;
struct loop_timer;
struct loop_defer;

struct keeper {
	struct loop *loop;
	struct journal *journal;
	int journal_fd; /* borrowed from the store */
	struct store store;
	char **engine_argv;

	/* the engine */
	pid_t engine; /* 0: none runs */
	struct link link;
	struct loop_fd *watch;
	struct loop_timer *restart;
	unsigned engine_starts;
	unsigned failures;         /* in the present window of the budget */
	int64_t window_started_ns; /* CLOCK_BOOTTIME */
	bool doorbells_lost;

	pid_t launchers[KEEPER_LAUNCHERS]; /* 0: none */
	struct rlimit nofile;              /* from before we raised ours: what children get */
	char oom_score[16];                /* the same */

	bool ready;    /* an engine said so, once */
	int status_fd; /* tells whoever waits for a daemon in the background; -1 */
	bool ending;
	int exit_status;
	int64_t terminated_ns; /* when SIGTERM came first; 0 */
};

/* reap.c */
void reap_all(struct keeper *keeper);

/* orders.c: 0, or -errno when the engine's link is broken. */
int orders_receive(struct keeper *keeper);

/* engine_life.c */
void engine_start(struct keeper *keeper);
void engine_exited(struct keeper *keeper, int code, int status);
void engine_notify(struct keeper *keeper, const void *notice, const int *fds, size_t count);
void engine_doorbell(struct keeper *keeper, uint32_t slot);
void engine_terminate(struct keeper *keeper);

/* start.c: starts a program of ours with descriptors from LINK_FD on. Its pid or -errno. */
pid_t start_program(const char *name, char *const *argv, const int *fds, size_t count);
/* Resets what this process inherited of dispositions and mask, so that nothing of it reaches a child. */
void start_reset_signals(void);

/* background.c */
void background_enter(struct keeper *keeper);
void background_ready(struct keeper *keeper, bool is_ready);
void notify_service_manager(const char *state);
