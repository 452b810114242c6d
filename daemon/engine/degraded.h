/* What this machine does not let the daemon do: looked up once at start, told by `daemon status`. */
#pragma once

#include <stddef.h>
#include <sys/types.h>

#define DEGRADED_MAX 16

struct degraded {
	char *items[DEGRADED_MAX]; /* one sentence each */
	size_t count;
};

void degraded_add(struct degraded *degraded, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Looks at /proc, pidfd_getfd, Yama, the keeper's OOM score, the limit of descriptors and how trees can be ended. */
void degraded_probe(struct degraded *degraded, pid_t keeper, const char *tree_method, unsigned fds_limit);
void degraded_finish(struct degraded *degraded);
