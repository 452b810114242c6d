/* The descriptors of one child: our ends, its ends, and where each goes. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "process/plan.h"

struct spec;

/* One end that stays with us. A slot that is both read and written has two, of one file. */
struct stdio_end {
	uint32_t slot;
	int fd;      /* owned */
	bool output; /* we read it; else we write it */
	bool second; /* shares its file with the output end: needs no place of its own in the keeper's store */
	bool terminal;
	bool socket;
};

struct stdio {
	struct stdio_end *ours; /* ascending by slot */
	size_t our_count;
	int *theirs; /* owned; go along with the plan */
	size_t their_count;
	struct plan_fd *slots; /* in the order they are put in place */
	size_t slot_count;
	int controlling_slot; /* or -1 */
	int channel;          /* our end of the message channel, owned; -1: none */
};

/*
 * Opens what the spec asks for. client_fds (taken whatever happens) are those of the FD slots in ascending order. Refuses
 * before anything is opened when fewer than needed of `fds_free` descriptors are left. 0, or negative with *err, then
 * nothing is open.
 */
int stdio_open(const struct spec *spec, int *client_fds, size_t client_count, unsigned fds_free, struct stdio *stdio_out, struct err *err);
/* The child's ends, once it has them (or never will), and the plan's list. */
void stdio_close_theirs(struct stdio *stdio);
void stdio_finish(struct stdio *stdio);

/* Sets the size of a terminal by its master. 0 or -errno. */
int stdio_resize(int master, unsigned rows, unsigned columns);
