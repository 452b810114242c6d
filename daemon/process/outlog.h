/*
 * The log of one output slot: bytes by offset, in a ring that is made at the first byte. It knows what is kept and what
 * capture cuts; it never overwrites more than outlog_room was told to spare. When the slot has ended, outlog_freeze brings
 * what is worth keeping into memory without a descriptor.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "process/host.h"
#include "process/pump.h"

#define OUTLOG_RING_MIN (64u * 1024)
#define OUTLOG_RING_MAX (UINT64_C(1) << 30)

struct ring;

/* Embedded; zeroed and outlog_init-ed. */
struct outlog {
	struct ring *ring; /* NULL: no byte came yet, or frozen, or the bytes took another way */
	uint8_t *frozen;   /* bytes [base, end), once frozen into memory without a descriptor */
	void *record;      /* that they are in; NULL: in memory of this engine only */
	uint64_t base;     /* oldest offset there, while there is no ring */
	uint64_t end;      /* of what is in the log */
	uint64_t retain;
	uint64_t limit; /* of capture; UINT64_MAX: none */
	uint64_t cut;   /* bytes read beyond the limit and thrown away */
	size_t charged; /* in stats->buffered */
	enum capture_policy policy;
	bool head_cut; /* capture keeps the last bytes: retain is its limit */
};

/* Whose log it is: what outlog needs to make and to give up a ring. */
struct outlog_owner {
	const struct process_host *host;
	struct output_stats *stats;
	uint64_t owner;
	uint32_t slot;
};

/* The slot that a RECORD_OUTPUT is of. */
uint32_t outlog_record_slot(const void *record);

void outlog_init(struct outlog *log, const struct output_slot *slot);
void outlog_finish(struct outlog *log, const struct outlog_owner *owner);

/* What an engine before this one left of a log: its ring (taken), or else its record (may be NULL) and where it ended. */
void outlog_recover(struct outlog *log, const struct outlog_owner *owner, int ring, void *record, uint64_t passed);

/* Bytes that its ring is meant to have. */
size_t outlog_ring_size(const struct outlog *log);
/* Makes the ring if there is none. 0 or -errno. */
int outlog_open(struct outlog *log, const struct outlog_owner *owner);
/* Bytes that may be put without overwriting anything at or after `spare`. */
size_t outlog_room(const struct outlog *log, uint64_t spare);
/* Puts at most `size` bytes of fd; `splice`: fd is a pipe. Bytes, 0 at its end, or -errno. The log is open. */
ssize_t outlog_put(struct outlog *log, const struct outlog_owner *owner, int fd, bool splice, size_t size);

uint64_t outlog_from(const struct outlog *log);     /* oldest offset that is there */
uint64_t outlog_retained(const struct outlog *log); /* oldest offset that is kept for readers to come */
/* Where the bytes are, all of them there: number of pieces, 1 or 2. */
size_t outlog_span(const struct outlog *log, uint64_t offset, size_t size, struct iovec iov[2]);

/* Passes bytes that never were in the log: the log begins behind them. Only without a ring. */
void outlog_skip(struct outlog *log, uint64_t bytes);
/* Nothing more comes: keeps [from, end) without a descriptor. Pieces told before are invalid. */
void outlog_freeze(struct outlog *log, const struct outlog_owner *owner, uint64_t from);
