/* The launcher's loop. */
#pragma once

#include <sys/resource.h>

#include "link/journal.h"

/* Serves the link (taken) until its other end is closed. nofile: the limit children get unless their plan says otherwise. */
void serve(int link_fd, struct journal *journal, struct rlimit nofile);
