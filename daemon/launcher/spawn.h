/* THE clone. */
#pragma once

#include <sys/resource.h>

#include "launcher/plan.h"
#include "link/journal.h"

struct launched {
	int32_t pid; /* 0: there is no child */
	enum launch_stage stage;
	int error;
	int detail;
};

/* Writes a failed step where it is looked for. Called in the child too. */
void spawn_record(struct journal_slot *slot, struct launched *launched, enum launch_stage stage, int error, int detail);

/*
 * Starts a plan as a child of this process's parent (CLONE_PARENT): its pid is in journal->pids before it runs. Blocks until
 * the program runs or a step failed. nofile: the limit children get unless their plan says otherwise.
 */
struct launched spawn_run(struct journal *journal, struct launch_plan *plan, struct rlimit nofile);
