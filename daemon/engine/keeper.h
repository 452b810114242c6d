/*
 * The engine's end of the link to the keeper: orders with tickets, doorbells, what the store holds. Never blocks, but for
 * keeper_welcome at start.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "link/link.h"

struct keeper;
struct loop;

typedef void (*keeper_signalled_fn)(void *arg, int error);

/* What the keeper tells. None may be NULL. */
struct keeper_observer {
	void (*on_exited)(void *context, uint32_t slot); /* this journal slot has its exit record */
	void (*on_rescan)(void *context);                /* look at every slot */
	void (*on_launcher_started)(void *context, uint32_t index, int32_t pid, int error, int fd /* takes; -1 with an error */);
	void (*on_launcher_exited)(void *context, uint32_t index, int32_t pid, int status);
	void (*on_terminate)(void *context);
	void (*on_reload)(void *context);
	/* Another engine serves still: can this one go on from there? 0, or negative with *err. fds are borrowed; no ledger: -1. */
	int (*on_offer)(void *context, int journal, int ledger, struct err *err);
	/* The outcome of keeper_upgrade. why: NULL, then this engine is to leave; else it goes on. */
	void (*on_upgraded)(void *context, int32_t pid, const char *version, const char *why);
	void (*on_lost)(void *context); /* the keeper is gone; the last thing that happens */
};

/* A descriptor of the store, handed back at start. */
struct stored {
	enum store_kind kind;
	uint64_t owner;
	uint32_t index;
	int fd; /* owned by the list */
};

struct stored_list {
	struct stored *items;
	size_t count;
};

struct keeper *keeper_create(struct loop *loop, int fd /* takes */, const struct keeper_observer *observer, void *context);
void keeper_destroy(struct keeper *keeper); /* NULL is fine */

/*
 * Waits, at most ten seconds, for the keeper's welcome and all it stored; of an engine that is a candidate first for the end of
 * the one that serves, at most thirty. 0 and the list (the caller's), or negative.
 */
int keeper_welcome(struct keeper *keeper, struct stored_list *list_out, struct err *err);
void stored_list_finish(struct stored_list *list);

/* From now on notices are told to the observer. */
void keeper_start(struct keeper *keeper);

int32_t keeper_pid(const struct keeper *keeper);
bool keeper_in_background(const struct keeper *keeper);
unsigned keeper_restarts(const struct keeper *keeper); /* of the engine */
size_t keeper_stored(const struct keeper *keeper);     /* descriptors in the store */
size_t keeper_store_limit(const struct keeper *keeper);

void keeper_ready(struct keeper *keeper, int log_fd /* borrowed; -1: none */);
int keeper_store_put(
	struct keeper *keeper, enum store_kind kind, uint64_t owner, uint32_t first_index, const int *fds, size_t count, struct err *err);
void keeper_store_drop(struct keeper *keeper, enum store_kind kind, uint64_t owner, uint32_t index); /* STORE_ANY: all of owner */
/* The same with the next order, or FORGET_US later: for what nobody waits for. */
void keeper_store_forget(struct keeper *keeper, enum store_kind kind, uint64_t owner, uint32_t index);
void keeper_signal(struct keeper *keeper, uint32_t slot, uint64_t owner, int signal, bool group, keeper_signalled_fn done, void *arg);
/* How many of both were ordered. What this engine's socket took the keeper carries out, also when this engine dies. */
uint64_t keeper_signals(const struct keeper *keeper);
void keeper_signal_pidfd(struct keeper *keeper, int pidfd, int signal, keeper_signalled_fn done, void *arg);
int keeper_start_launcher(struct keeper *keeper, uint32_t index); /* 0 or -errno; the answer comes to the observer */

/* Offers everything to another engine. fds: its program, then that of its launchers; borrowed. 0 or -errno. */
int keeper_upgrade(struct keeper *keeper, const int *fds, size_t count);

/* The engine ends for good, and the keeper after it. why: NULL, or what went wrong. Waits at most a second for the order to leave. */
void keeper_shut_down(struct keeper *keeper, int exit_status, const char *why);
/* Sends what waits, for at most a second. */
void keeper_flush(struct keeper *keeper);
