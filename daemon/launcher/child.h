/* What the child does between clone and exec. It shares memory with the launcher: no allocation, no stdio, no lock. */
#pragma once

#include <sys/resource.h>

#include "launcher/plan.h"
#include "launcher/spawn.h"
#include "link/journal.h"

struct child_job {
	struct launch_plan *plan;
	struct journal_slot *slot; /* a failed step is written here, */
	struct launched *launched; /* and here, where nobody reuses it before the launcher has read it */
	int join[2];               /* files of cgroups to join by hand; -1: none */
	struct rlimit nofile;      /* what the child gets unless the plan says otherwise */
};

/* Entry of the child: becomes the program or exits with 127. */
int child_run(void *job);
