/*
 * What an engine leaves for the next: the records of the ledger, the rings, the memfds of inputs, and their names in the store.
 * `own` is raised with every change of any of it; `oldest` is the oldest that this program can go on from.
 */
#pragma once

#include <stdint.h>

struct state_version {
	const char *program; /* the version that people know */
	uint64_t own, oldest;
};

extern const struct state_version state_version;
