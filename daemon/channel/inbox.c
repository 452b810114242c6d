/* See inbox.h. */
#include "channel/inbox.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "base/fd.h"
#include "base/fdpass.h"
#include "base/mem.h"
#include "base/sys.h"

#define LOOK (64u << 10) /* bytes that are moved at once */

static void init(struct inbox *inbox)
{
	*inbox = (struct inbox){.pipe = {-1, -1}};
	TAILQ_INIT(&inbox->parcels);
}

int inbox_create(struct inbox *inbox)
{
	int done;

	init(inbox);
	done = sys_pipe(inbox->pipe, O_NONBLOCK);
	if (done == 0)
		done = ring_create(INBOX_SIZE, 0, 0, &inbox->ring);
	if (done < 0)
		inbox_finish(inbox);
	return done;
}

int inbox_recover(struct inbox *inbox, int ring_fd, int read_fd, int write_fd, uint64_t released)
{
	int done;

	init(inbox);
	inbox->pipe[0] = read_fd;
	inbox->pipe[1] = write_fd;
	inbox->released = released;
	done = ring_recover(ring_fd, &inbox->ring);
	if (done == 0 && (released > inbox->ring->end || inbox->ring->end - released > inbox->ring->size))
		done = -EBADMSG;
	if (done < 0)
		inbox_finish(inbox);
	return done;
}

void parcel_destroy(struct parcel *parcel)
{
	for (size_t i = 0; parcel && i < parcel->count; i++)
		fd_close(&parcel->fds[i]);
	free(parcel);
}

void inbox_finish(struct inbox *inbox)
{
	struct parcel *parcel;

	while ((parcel = TAILQ_FIRST(&inbox->parcels))) {
		TAILQ_REMOVE(&inbox->parcels, parcel, entry);
		parcel_destroy(parcel);
	}
	ring_destroy(inbox->ring);
	inbox->ring = NULL;
	fd_close(&inbox->pipe[0]);
	fd_close(&inbox->pipe[1]);
}

void inbox_release(struct inbox *inbox, uint64_t until)
{
	inbox->released = until;
}

static size_t room(const struct inbox *inbox)
{
	return inbox->ring->size - (size_t)(inbox->ring->end - inbox->released);
}

/* What is in the pipe goes into the ring, which has room for it. 0 or -errno. */
static int drain_pipe(struct inbox *inbox)
{
	ssize_t moved;

	do {
		if (!room(inbox))
			return 0;
		moved = ring_splice(inbox->ring, inbox->pipe[0], room(inbox));
	} while (moved > 0);
	return moved == -EAGAIN || moved == 0 ? 0 : (int)moved;
}

/* Exactly `size` bytes, which were seen there: from the socket through the pipe into the ring. 0 or -errno. */
static int move(struct inbox *inbox, int socket, size_t size)
{
	while (size) {
		ssize_t moved = sys_splice(socket, NULL, inbox->pipe[1], NULL, size, SPLICE_F_NONBLOCK);
		int done;

		if (moved <= 0)
			return moved < 0 ? (int)moved : -EIO;
		size -= (size_t)moved;
		done = drain_pipe(inbox);
		if (done < 0)
			return done;
	}
	return 0;
}

static void keep_fds(struct inbox *inbox, uint64_t start, uint64_t end, const int *fds, size_t count, bool cut)
{
	struct parcel *parcel;

	if (!count && !cut)
		return;
	parcel = mem_alloc(sizeof(*parcel) + count * sizeof(*fds));
	*parcel = (struct parcel){.start = start, .end = end, .cut = cut, .count = count};
	if (count)
		memcpy(parcel->fds, fds, count * sizeof(*fds));
	TAILQ_INSERT_TAIL(&inbox->parcels, parcel, entry);
}

int inbox_fill(struct inbox *inbox, int socket, bool *end_out)
{
	static uint8_t seen[LOOK];
	uint64_t start;
	int fds[INBOX_FDS], done;
	size_t limit, count;
	ssize_t there;
	bool cut;

	*end_out = false;
	done = drain_pipe(inbox);
	if (done < 0)
		return done;
	start = inbox->ring->end;
	limit = room(inbox) < LOOK ? room(inbox) : LOOK;
	if (!limit)
		return INBOX_E_FULL;
	there = fdpass_peek(socket, seen, limit, fds, INBOX_FDS, &count, &cut);
	if (there < 0)
		return (int)there;
	*end_out = there == 0;
	keep_fds(inbox, start, start + (uint64_t)there, fds, count, cut);
	return move(inbox, socket, (size_t)there);
}

const uint8_t *inbox_view(const struct inbox *inbox, uint64_t from, size_t size, uint8_t *scratch)
{
	struct iovec iov[2];
	size_t count = ring_span(inbox->ring, from, size, iov), used = 0;

	if (count == 1)
		return iov[0].iov_base;
	for (size_t i = 0; i < count; i++) {
		memcpy(scratch + used, iov[i].iov_base, iov[i].iov_len);
		used += iov[i].iov_len;
	}
	return scratch;
}

struct parcel *inbox_claim(struct inbox *inbox, uint64_t start)
{
	struct parcel *parcel;

	TAILQ_FOREACH(parcel, &inbox->parcels, entry)
	if (parcel->start <= start && start < parcel->end) {
		TAILQ_REMOVE(&inbox->parcels, parcel, entry);
		return parcel;
	}
	return NULL;
}

bool inbox_has_unclaimed(const struct inbox *inbox, uint64_t until)
{
	const struct parcel *first = TAILQ_FIRST(&inbox->parcels);

	return first && first->end <= until;
}
