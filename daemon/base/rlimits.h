/* The resources of setrlimit(2) by the names of prlimit(1): "nofile", "core", ... */
#pragma once

#include <stddef.h>

#define RLIMITS 16u

/* The n-th name, below RLIMITS, and its RLIMIT_*. */
const char *rlimits_name(size_t n, int *resource_out);
/* The RLIMIT_* of "nofile" or "RLIMIT_NOFILE", in any case of letters; -1: there is none of this name. */
int rlimits_of(const char *name);
/* The other way round; NULL: none that has a name here. */
const char *rlimits_name_of(int resource);
