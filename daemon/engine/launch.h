/*
 * Plans to launchers. Waiting plans stand in one queue; a launcher has LAUNCH_WINDOW of them at a time, so that one that is
 * blocked (a FIFO, a dead mount) holds up nobody but itself: after a second it is left alone and another takes over.
 *
 * A launcher that dies loses nothing: a plan whose pid stands in the journal was launched, any other is given to the next
 * launcher, once.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "engine/plan.h"
#include "process/host.h"

#define LAUNCHERS_MAX 8u
#define LAUNCHERS_USER 6u /* that one user may block: what is left is for others */
#define LAUNCH_WINDOW 1u
#define LAUNCH_CROWD 2u /* more plans than this wait: another launcher is worth it */

struct launch;
struct loop;

/* What launching needs of its engine. */
struct launch_host {
	unsigned crew;     /* launchers for a crowd: one more than there are cores, so that none waits for our answer */
	unsigned stuck_ms; /* a launcher that is silent for so long is left alone; 1000 */
	unsigned rest_ms;  /* after so long without a plan there is one launcher again; 30000 */
	int (*start)(void *context, uint32_t index);  /* ask for a launcher; launch_on_started answers. 0 or -errno */
	int32_t (*pid)(void *context, uint32_t slot); /* that the journal has */
	struct journal_slot *(*slot)(void *context, uint32_t slot);
};

struct launch *launch_create(struct loop *loop, const struct launch_host *host, void *context);
void launch_destroy(struct launch *launch); /* NULL is fine; no callback comes any more */

struct launch_plan {
	uint64_t owner;
	uid_t user; /* who asked: has LAUNCHERS_USER launchers at most at a time */
	uint32_t slot;
	struct packed_plan packed; /* taken, also on error */
	const int *fds;            /* borrowed; open until `done` */
	size_t fd_count;           /* at most FDPASS_MAX - 1 */
};

/* Sends a plan, or queues it. `done` comes exactly once, later, unless an error is returned. */
int launch_submit(struct launch *launch, const struct launch_plan *plan, host_launched_fn done, void *arg, struct err *err);

void launch_on_started(struct launch *launch, uint32_t index, int32_t pid, int error, int fd /* takes */);
void launch_on_exited(struct launch *launch, uint32_t index, int32_t pid, int status);

unsigned launch_count(const struct launch *launch); /* launchers that live */
size_t launch_waiting(const struct launch *launch); /* plans not answered yet */
