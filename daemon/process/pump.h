/*
 * The output of one child: every slot it writes is a pump (descriptor -> log), all pumps share one index in order of
 * reading and the readers (reader.h). Made and destroyed by child.c; reading begins with output_start, so that nothing is
 * read before Spawned was told. Everything below is called from, and calls, the loop's thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "process/host.h"

struct child;
struct logfile;
struct output;

/* Counted over all outputs of a registry; owned by whoever creates them. */
struct output_stats {
	uint64_t read;     /* bytes ever read from children */
	uint64_t buffered; /* bytes in rings now */
	uint64_t reserved; /* sizes of those rings: bounded by `budget` */
	uint64_t log_lost; /* bytes that log files could not take */
	uint64_t budget;   /* 0: a quarter of the memory of the machine */
};

/* Always called from the loop, never from inside a function of this header; destroying the output in there is fine. Any may be NULL. */
struct output_observer {
	/* End of file (then it is complete), or given up; readers may still have bytes to take. */
	void (*on_end)(void *context, uint32_t slot, bool complete);
	void (*on_all_ended)(void *context);                                           /* once, after the on_end of the last slot */
	void (*on_capture_kill)(void *context, uint32_t slot);                         /* once per slot: it wrote more than its limit */
	void (*on_gap)(void *context, uint32_t slot, uint64_t offset, uint64_t bytes); /* a reader was told of a gap */
	/* The log file cannot be written any more (a positive errno), or is written again (0). */
	void (*on_log_file)(void *context, int error);
};

enum capture_policy { CAPTURE_CUT_TAIL, CAPTURE_CUT_HEAD, CAPTURE_KILL }; /* numbers of Capture.Policy in processes.proto */

struct output_slot {
	uint32_t slot;
	int fd;                 /* nonblocking; a pipe, a terminal's master or a socket */
	bool pipe;              /* known to be one; else it is looked at */
	bool borrowed;          /* fd belongs to the caller, who keeps it open until on_end of this slot (or output_destroy) */
	uint64_t retain;        /* last bytes kept for readers to come */
	uint64_t capture_limit; /* 0: none */
	enum capture_policy capture_policy;
	bool direct;              /* transport direct: as long as one BLOCK reader, and nobody else, reads this slot */
	struct record_slot *kept; /* what is remembered of it; NULL: nothing */

	/* of a slot that an engine before this one had */
	bool recovered;
	bool waits;   /* its reader is expected back: nothing is read before that, so that nothing it has not read goes */
	int ring;     /* -1: it had none */
	int via[2];   /* pipe in between; -1 */
	void *record; /* RECORD_OUTPUT; NULL */
};

/* `owner`: id of the child, for the store. stats and logfile are borrowed; logfile may be NULL, else it gets every byte of every slot. */
struct output *output_create(const struct process_host *host, struct output_stats *stats, uint64_t owner, struct logfile *logfile,
	const struct output_observer *observer, void *context);
void output_destroy(struct output *output); /* NULL is fine; readers that are left find END */

/* Takes its descriptors, slot->fd unless borrowed; a recovered slot with fd -1 has ended. Before output_start; each slot once. */
void output_add(struct output *output, const struct output_slot *slot);
/* Begins to read. An output without slots has ended: on_all_ended comes. */
void output_start(struct output *output);
/* Slots whose place only a client knows wait for it to come back; now they wait no more. */
void output_stop_waiting(struct output *output);
/* drain_timeout: what is in the pipes now is still read, then every slot that is open ends as not complete. */
void output_give_up(struct output *output);

/* Facts, of slots in ascending order. */
size_t output_count(const struct output *output);
struct output_total {
	uint32_t slot;
	uint64_t bytes; /* read from the child, bytes cut by capture included */
	uint64_t retained_from;
	bool complete; /* end of file was seen */
	bool ended;
	bool direct;         /* transport in use now */
	uint64_t cut_offset; /* what capture cut, if cut_bytes is not 0 */
	uint64_t cut_bytes;
};
bool output_total(const struct output *output, size_t index, struct output_total *total_out);
/* What is held of it: bytes, and rings that a descriptor stands for. */
void output_held(const struct output *output, uint64_t *bytes_out, unsigned *rings_out);
bool output_ended(const struct output *output);
unsigned output_reader_count(const struct output *output);

/* Implemented by child.c, for reader_create: the output of a child. */
struct output *child_output(struct child *child);
