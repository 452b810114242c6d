/*
 * What came on a channel and is not dealt with yet: bytes in a ring that survives this process, descriptors beside it.
 *
 *   socket --splice--> kept pipe --splice--> ring
 *
 * Each step moves bytes in one call, and what it moves them into is the keeper's too: no instant loses or doubles any. A
 * splice would drop descriptors, so they are taken first, by a look (MSG_PEEK) at the very bytes that are moved next.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/types.h>

#include "process/ring.h"

#define INBOX_SIZE (512u << 10)
#define INBOX_FDS 16u /* of one message, and of messages that wait */

/* Descriptors that came with one message: it starts in [start, end). */
struct parcel {
	TAILQ_ENTRY(parcel) entry; /* inbox::parcels, until a message claims it */
	uint64_t start, end;
	bool cut; /* there were more, which are lost */
	size_t count;
	int fds[]; /* owned */
};

struct inbox {
	struct ring *ring;
	int pipe[2];       /* owned */
	uint64_t released; /* bytes before it may be overwritten */
	TAILQ_HEAD(, parcel) parcels;
};

enum { INBOX_E_FULL = 1 };

int inbox_create(struct inbox *inbox); /* 0 or -errno */
/* Takes the descriptors, also when it fails. `released`: bytes that were dealt with. 0 or -errno. */
int inbox_recover(struct inbox *inbox, int ring_fd, int read_fd, int write_fd, uint64_t released);
void inbox_finish(struct inbox *inbox);

/*
 * Moves what is there, once. 0: something came (*end_out: or it was the end of file); INBOX_E_FULL; -EAGAIN; -errno.
 */
int inbox_fill(struct inbox *inbox, int socket, bool *end_out);
void inbox_release(struct inbox *inbox, uint64_t until);

static inline uint64_t inbox_end(const struct inbox *inbox)
{
	return inbox->ring->end;
}

/*
 * [from, from + size) in one piece: in place, or copied into `scratch` (of at least size bytes) where the ring goes round.
 */
const uint8_t *inbox_view(const struct inbox *inbox, uint64_t from, size_t size, uint8_t *scratch);

/* The descriptors of the message that starts there, which become the caller's, or NULL. */
struct parcel *inbox_claim(struct inbox *inbox, uint64_t start);
/* Whether descriptors came before `until` that nothing claimed. */
bool inbox_has_unclaimed(const struct inbox *inbox, uint64_t until);
void parcel_destroy(struct parcel *parcel); /* NULL is fine; closes what was not taken */
