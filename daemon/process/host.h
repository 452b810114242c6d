/*
 * What the process room needs from the rest of the daemon. engine fills it; unit tests fill it with fakes.
 * The order that loses nothing: take a journal slot, store the descriptors, launch.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "link/journal.h"
#include "link/link.h"
#include "spawnd/runtime/v1/launcher.pb.h"

struct loop;
struct plan;
struct quotas;

typedef void (*host_launched_fn)(void *arg, int32_t pid, enum launch_stage stage, int error, int detail);
typedef void (*host_signalled_fn)(void *arg, int error /* 0 or positive errno; ESRCH: reaped already */);

struct process_host {
	struct loop *loop;
	struct ledger *ledger; /* what is remembered beyond this engine */
	struct quotas *quotas; /* what users may have; NULL: everything */
	pid_t keeper;          /* parent of the launched, and of what they leave behind */
	void *context;         /* first argument of everything below */

	uint64_t (*next_id)(void *context);

	/* A journal slot for this owner, state INTENT. -ENOSPC with *err RESOURCE_EXHAUSTED when the journal is full. */
	int (*slot_take)(void *context, uint64_t owner, uint32_t *slot_out, struct err *err);
	struct journal_slot *(*slot)(void *context, uint32_t slot);
	void (*slot_release)(void *context, uint32_t slot, uint64_t owner);

	/* Duplicates of the descriptors go to the keeper. RESOURCE_EXHAUSTED when its table would be full. */
	int (*store_put)(
		void *context, enum store_kind kind, uint64_t owner, uint32_t first_index, const int *fds, size_t count, struct err *err);
	void (*store_drop)(void *context, enum store_kind kind, uint64_t owner, uint32_t index);   /* STORE_ANY: all of the owner */
	void (*store_forget)(void *context, enum store_kind kind, uint64_t owner, uint32_t index); /* some milliseconds later */

	/*
	 * Sends a plan to a launcher with its descriptors (borrowed until `done`). `done` comes exactly once, later, unless an error
	 * is returned.
	 * -EAGAIN with RESOURCE_EXHAUSTED when no launcher can take it.
	 */
	int (*launch)(void *context, const struct plan *plan, host_launched_fn done, void *arg, struct err *err);

	/* Signals the child of a slot, or its group. `done` may be NULL; else it comes exactly once, later. */
	void (*signal)(void *context, uint32_t slot, uint64_t owner, int signal, int group, host_signalled_fn done, void *arg);
	/* Signals any process by pidfd (borrowed). */
	void (*signal_pidfd)(void *context, int pidfd, int signal, host_signalled_fn done, void *arg);

	/*
	 * How many signals were asked for by both so far; of those an earlier engine asked for, how many were sent. They are sent in
	 * order: when an engine noted this number, and a later one finds a larger one at its beginning, what came next was sent.
	 */
	uint64_t (*signals)(void *context);

	/* Descriptors this process may still open without touching the reserve. */
	unsigned (*fds_free)(void *context);
};
