/* What output.c, pump.c, outindex.c and reader.c share: the inside of an output. For these files alone. */
#pragma once

#include <sys/queue.h>

#include "base/loop.h"
#include "process/outlog.h"
#include "process/pump.h"
#include "process/reader.h"

#define CHUNK_MAX (256u * 1024)

/*
 *   WATCHING --readable--> (read) --small, and soon after the last--> PAUSED --timer--> (read)
 *       ^                     |  \--nothing there--> WATCHING
 *       |                     |--a BLOCK reader's unread bytes fill the ring--> BLOCKED --taken--> HOT
 *       |                     |--large, while not watched--> HOT --next pass--> (read)
 *       |                     `--end of file, given up--> ENDED
 *   READABLE: direct, and the reader has been told; it reads by itself in reader_next
 */
enum pump_state { PUMP_NEW, PUMP_WATCHING, PUMP_PAUSED, PUMP_HOT, PUMP_BLOCKED, PUMP_READABLE, PUMP_ENDED };

/*
 * A pipe of our own between the child's descriptor and what comes next: the socket of the one reader (direct), or the ring
 * where the descriptor is no pipe (splice needs one).
 */
struct via {
	int fds[2];
	uint64_t length;             /* bytes in it that are not taken */
	int64_t time_ns;             /* when they were read */
	const struct reader *holder; /* was told of them and has not taken them */
	bool leave;                  /* become kept as soon as they are taken */
};

/* One slot. */
struct pump {
	struct output *output;
	struct loop_fd *watch;
	struct via *via;
	struct outlog log;
	struct record_slot *kept;       /* NULL: nothing is remembered */
	uint64_t indexed_from;          /* bytes before it have no entry in the index any more */
	uint64_t left;                  /* given up: bytes that are still read; UINT64_MAX: not given up */
	int64_t read_ns;                /* when bytes came last */
	uint64_t gap_offset, gap_bytes; /* to tell the observer */
	uint32_t slot;
	int fd;
	unsigned pins;    /* chunks of the log that readers hold */
	unsigned readers; /* that read this slot */
	unsigned state : 4;
	unsigned borrowed : 1;
	unsigned pipe : 1;   /* fd is a pipe */
	unsigned copies : 1; /* fd cannot be spliced */
	unsigned direct : 1;
	unsigned grown : 1;
	unsigned complete : 1;
	unsigned tell_end : 1;
	unsigned tell_kill : 1;
	unsigned killed : 1;
	unsigned frozen : 1;
	unsigned ended : 1;  /* fd is read no more */
	unsigned waits : 1;  /* recovered: nothing is read before its reader is back */
	unsigned unsure : 1; /* recovered, direct: that reader says where its bytes are */
};

/* One burst of reading. */
struct outindex_entry {
	int64_t time_ns;
	uint64_t offset;
	uint32_t length;
	uint32_t pump;
};

/* Bursts of all slots in order of reading: a ring of entries with running numbers from `first`. */
struct outindex {
	struct outindex_entry *entries;
	uint32_t head, count, capacity;
	uint32_t generation; /* changes when entries were renumbered */
	uint64_t first;
	int64_t floor_ns; /* time of the last entry that was dropped while its bytes were still there */
};

struct output {
	const struct process_host *host;
	struct output_stats *stats;
	uint64_t owner;
	struct logfile *logfile;
	const struct output_observer *observer;
	void *context;
	struct pump *pumps; /* ascending by slot; does not move once started */
	size_t pump_count;
	size_t open; /* pumps that have not ended */
	struct outindex index;
	TAILQ_HEAD(, reader) readers;
	TAILQ_HEAD(, reader) ready; /* to be called */
	unsigned reader_count, block_count;
	struct loop_defer *defer;
	struct loop_timer *timer; /* made when first needed */
	int log_error;            /* of the log file, as its observer was told */
	bool started, pausing, told_all;
	bool calling, destroyed; /* destroyed inside a callback: the memory goes after it */
};

struct place {
	uint64_t offset;
	uint64_t safe; /* bytes before it have left this engine; what lies between is taken, but not gone */
	size_t limit;  /* bytes of a chunk; 0: held back */
	bool reads;
};

struct reader {
	TAILQ_ENTRY(reader) link;       /* output::readers */
	TAILQ_ENTRY(reader) ready_link; /* output::ready */
	struct output *output;          /* NULL: it is gone */
	const struct reader_observer *observer;
	void *context;
	enum reader_policy policy;
	bool waiting; /* was told NOTHING */
	bool ready;   /* is in output::ready */
	int pinned;   /* index of the pump whose log the last chunk is in, or -1 */
	uint32_t generation;
	uint64_t cursor;       /* entries before it are done */
	uint8_t *file_buffer;  /* made when it first reads the file */
	struct place places[]; /* one for each pump */
};

/* ---- outindex.c ---- */

void outindex_add(struct output *output, size_t pump, uint64_t offset, size_t length, int64_t time_ns);
/* Nothing more comes: gives memory back that is not needed. */
void outindex_trim(struct output *output);
void outindex_finish(struct outindex *index);
static inline struct outindex_entry *outindex_at(const struct outindex *index, uint64_t number)
{
	return &index->entries[(index->head + (number - index->first)) & (index->capacity - 1)];
}
/* The first entry of this pump at or after the time: its offset; false: there is none. */
bool outindex_find_time(const struct outindex *index, size_t pump, int64_t since_ns, uint64_t *offset_out);

/* ---- pump.c ---- */

void pump_start(struct pump *pump);
/* One step of a kept slot, in whatever state it is. */
void pump_read(struct pump *pump);
void pump_give_up(struct pump *pump);
/* Brings what is kept of a slot that has ended into memory without a descriptor. */
void pump_freeze(struct pump *pump);
void pump_finish(struct pump *pump);

static inline size_t pump_index(const struct pump *pump)
{
	return (size_t)(pump - pump->output->pumps);
}
/* Offset of the next byte to be read from the child. */
static inline uint64_t pump_total(const struct pump *pump)
{
	return pump->log.end + (pump->via ? pump->via->length : 0);
}
/* The oldest offset a reader can have, from the files if there are any. */
uint64_t pump_retained(const struct pump *pump);
/* Readers have moved on: reads again if that made room. */
void pump_kick(struct pump *pump);
/* Direct: bytes for the one reader, at most `limit`. 1: pump->via has them; 0: nothing there. */
int pump_direct_next(struct pump *pump, size_t limit);
void pump_direct_take(struct pump *pump, size_t length);
/* Direct no more: as soon as no chunk is out, the log takes over. `now`: whoever held one is gone. */
void pump_demote(struct pump *pump, bool now);
/* The reader it waits for is here, and has all before this offset. */
void pump_claim(struct pump *pump, uint64_t offset);
/* Takes over what an engine before this one had. */
void pump_recover(struct pump *pump, const struct output_slot *slot);
/* The last chunk was given back: what has ended may be frozen. */
void pump_unpinned(struct pump *pump);

/* ---- reader.c ---- */

/* The lowest offset of this slot that a reader still holds the child for; UINT64_MAX: none. */
uint64_t readers_floor(const struct output *output, size_t pump);
/* The lowest unread offset of any reader. */
uint64_t readers_lowest(const struct output *output, size_t pump);
/* Readers that wait for this slot are put into output::ready. */
void readers_notify(struct output *output, size_t pump);
/* The output goes. */
void readers_orphan(struct output *output);
