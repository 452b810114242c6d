/*
 * A ring of bytes in a memfd. Bytes and their count move in one call: splice writes at the file offset of the memfd's open
 * description, which the kernel keeps and the keeper holds too, so nothing is lost when this process is killed at any
 * instant. A page behind the data says how often the ring went round:
 *
 *   pos == size:  wrapping = lap + 1;  lseek(0);  lap = wrapping
 *
 * and ring_recover finishes a wrap that was cut short. Offsets count all bytes ever put, from `base`. The ring overwrites
 * whatever it is told to; who may still need it is its caller's business. Without a descriptor to spare the same ring lives
 * in plain memory, and does not survive.
 */
#pragma once

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#define RING_MAGIC 0x53504f52u /* "SPOR" */

struct ring_control {
	uint32_t magic;
	uint32_t slot;
	uint64_t size; /* of the data, a multiple of the page size */
	uint64_t base; /* offset of the first byte ever put */
	_Atomic uint64_t lap;
	_Atomic uint64_t wrapping;
};

struct ring {
	int fd; /* owned; -1: plain memory, or the descriptor was given up */
	uint8_t *data;
	size_t size, mapped;
	struct ring_control *control; /* NULL: plain memory */
	uint64_t base, end;
};

/* size is rounded up to pages. 0 or -errno. */
int ring_create(size_t size, uint64_t base, uint32_t slot, struct ring **ring_out);
int ring_create_plain(size_t size, uint64_t base, struct ring **ring_out);
/* Takes fd, also when it fails: -EBADMSG when it is no ring. */
int ring_recover(int fd, struct ring **ring_out);
void ring_destroy(struct ring *ring); /* NULL is fine */
/* Closes the descriptor; the bytes stay readable, none can be put any more. */
void ring_close(struct ring *ring);

/* Moves at most `size` bytes from a pipe, as far as one call takes them. Bytes, 0 at its end, or -errno. */
ssize_t ring_splice(struct ring *ring, int pipe_fd, size_t size);
/* The same from any descriptor by copying: for what cannot be spliced. Not proof against being killed in between. */
ssize_t ring_read(struct ring *ring, int fd, size_t size);

/* The oldest offset that is still there. */
static inline uint64_t ring_from(const struct ring *ring)
{
	return ring->end - ring->base > ring->size ? ring->end - ring->size : ring->base;
}

/* Bytes that one call can put at most: up to the end of the data. */
static inline size_t ring_straight(const struct ring *ring)
{
	return ring->size - (size_t)((ring->end - ring->base) % ring->size);
}

/* Where `size` bytes at offset are, all of them there: returns the number of pieces, 1 or 2. */
size_t ring_span(const struct ring *ring, uint64_t offset, size_t size, struct iovec iov[2]);
