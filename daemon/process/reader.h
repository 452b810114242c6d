/*
 * A reader of a child's output: any number at once, each with its place in every slot it reads. Pull: the room tells that
 * there is something (on_ready), the owner takes chunks as its client's credit allows. A BLOCK reader holds the child back,
 * at last, when it does not take; a DROP reader loses the oldest and gets a gap.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

struct child;
struct reader;

enum reader_policy { READER_BLOCK, READER_DROP };

struct reader_observer {
	/* There is something to take, after a reader_next that said READER_NOTHING. Never called from inside reader_next or reader_take. */
	void (*on_ready)(void *context, struct reader *reader);
	/* Spawned, Exited, Closed, StdinClosed, stdin room: lifecycle comes through child_observer, not here. */
};

enum reader_result { READER_NOTHING, READER_DATA, READER_PIPE, READER_GAP, READER_END };

struct chunk {
	uint32_t slot;
	uint64_t offset;
	int64_t time_ns; /* when its first byte was read */
	size_t length;   /* DATA, PIPE: bytes; at most the limit asked for and 256 KiB */
	/* DATA: where they are, until reader_take; of a DROP reader only until control returns to the loop */
	struct iovec iov[2];
	size_t iov_count;
	/*
	 * PIPE: they are in this pipe (borrowed): move exactly `length` of them out, then reader_take. Whoever takes before all
	 * are out must hold a duplicate of the pipe and move the rest by it. What is not taken when the reader is destroyed and
	 * still in the pipe goes back to the log.
	 */
	int pipe_fd;  /* -1: not PIPE */
	uint64_t gap; /* GAP: bytes that this reader lost at offset */
};

/* slots: NULL and 0 for all output slots. Starts at the next byte to come; see reader_seek. */
struct reader *reader_create(struct child *child, enum reader_policy policy, const uint32_t *slots, size_t slot_count,
	const struct reader_observer *observer, void *context);
void reader_destroy(struct reader *reader); /* NULL is fine */

/* Places the reader. An offset beyond the end waits for it; one before what is kept becomes a gap. false: no such output slot. */
bool reader_seek(struct reader *reader, uint32_t slot, uint64_t offset);
void reader_seek_retained(struct reader *reader);               /* every slot to the oldest byte kept */
void reader_seek_time(struct reader *reader, int64_t since_ns); /* every slot to the first byte read at or after */

/* Chunks of this slot have at most that many bytes from now on, and with 0 its bytes stay where they are. At first: no limit. */
void reader_limit(struct reader *reader, uint32_t slot, size_t limit);

/*
 * Looks at the next chunk of at most `limit` bytes, in the order of reading across slots where it can be told and none is
 * held back. END: every slot has ended and been taken. The chunk is not consumed until reader_take; whoever asks for the next
 * has passed it on. Until then a BLOCK reader holds the log, so that bytes which are only in this engine survive it.
 */
enum reader_result reader_next(struct reader *reader, size_t limit, struct chunk *chunk_out);
void reader_take(struct reader *reader, const struct chunk *chunk);
