/*
 * Where a child's bytes flow: descriptor -> ring (kept), or descriptor -> pipe of our own -> the one reader (direct). First
 * bytes go at once; a stream that stays busy is read every PAUSE_US, so that chunks get large. A reader that blocks stops
 * its pump, and with it, at last, the child. Nobody is called from here: what there is to tell waits for output.c.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>

#include "base/clock.h"
#include "base/failpoint.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/sys.h"
#include "process/logfile.h"
#include "process/output_parts.h"
#include "process/record.h"
#include "process/ring.h"

#define PAUSE_US 75u
#define RETRY_US 10000u /* no memory for a ring, or another holds what is in a pipe */
#define BUSY_NS 200000  /* bytes that follow each other so soon are a busy stream */
#define LARGE (32u * 1024)
#define PIPE_GROWN (256 * 1024)
#define READ_MAX (128u * 1024) /* at a time into the ring: stays in the cache until it is written out */

static uint8_t scratch[64 * 1024]; /* bytes to throw away */

/* The log's view of whose it is. */
static struct outlog_owner owner_of(const struct pump *pump)
{
	const struct output *output = pump->output;

	return (struct outlog_owner){.host = output->host, .stats = output->stats, .owner = output->owner, .slot = pump->slot};
}

/* ---- the pipe in between ---- */

/* Makes pump->via. 0 or -errno. */
static int via_open(struct pump *pump)
{
	const struct process_host *host = pump->output->host;
	int fds[2], done;
	struct err err;

	if (pump->via)
		return 0;
	if (host->fds_free(host->context) < 2)
		return -EMFILE;
	done = sys_pipe(fds, O_NONBLOCK);
	if (done < 0)
		return done;
	pump->via = mem_alloc(sizeof(*pump->via));
	pump->via->fds[0] = fds[0];
	pump->via->fds[1] = fds[1];
	if (pump->grown)
		fcntl(fds[0], F_SETPIPE_SZ, PIPE_GROWN);
	done = host->store_put(host->context, STORE_PIPE, pump->output->owner, 2 * pump->slot, fds, 2, &err);
	if (done < 0)
		log_(LOG_WARNING, "process %llu: bytes on their way from slot %u would not survive the engine: %s",
			(unsigned long long)pump->output->owner, pump->slot, err.message);
	return 0;
}

static void via_close(struct pump *pump)
{
	const struct process_host *host = pump->output->host;

	if (!pump->via)
		return;
	host->store_drop(host->context, STORE_PIPE, pump->output->owner, 2 * pump->slot);
	host->store_drop(host->context, STORE_PIPE, pump->output->owner, 2 * pump->slot + 1);
	fd_close(&pump->via->fds[0]);
	fd_close(&pump->via->fds[1]);
	free(pump->via);
	pump->via = NULL;
}

/* Bytes that are in a pipe, socket or terminal now. */
static size_t bytes_in(int fd)
{
	int bytes = 0;

	return ioctl(fd, FIONREAD, &bytes) == 0 && bytes > 0 ? (size_t)bytes : 0;
}

/* 1: there is something to read; 0: the end of file; -EAGAIN: neither. */
static int peek(int fd)
{
	struct pollfd poll_fd = {.fd = fd, .events = POLLIN};

	if (poll(&poll_fd, 1, 0) <= 0)
		return -EAGAIN;
	return poll_fd.revents & POLLIN ? 1 : 0;
}

/* ---- states ---- */

static void watch(struct pump *pump, bool on)
{
	if (pump->watch)
		loop_fd_set(pump->watch, on ? LOOP_READ : 0);
}

/* Goes on in the next pass of the loop. */
static void go_hot(struct pump *pump)
{
	pump->state = PUMP_HOT;
	loop_defer_trigger(pump->output->defer);
}

static void go_watching(struct pump *pump)
{
	pump->state = PUMP_WATCHING;
	watch(pump, true);
}

static void on_timer(void *arg);

/* Looks again after a while. */
static void go_paused(struct pump *pump, uint64_t after_us)
{
	struct output *output = pump->output;

	pump->state = PUMP_PAUSED;
	watch(pump, false);
	if (output->pausing)
		return;
	if (!output->timer)
		output->timer = loop_timer_create(output->host->loop, on_timer, output);
	output->pausing = true;
	loop_timer_set(output->timer, after_us);
}

/* Remembers where a slot without a ring is. */
static void note_passed(struct pump *pump)
{
	if (pump->kept && !pump->log.ring)
		atomic_store(&pump->kept->passed, pump->log.end);
}

/* No more bytes come from the child; what waits in the pipe in between is still moved. */
static void end_pump(struct pump *pump, bool complete)
{
	struct output *output = pump->output;

	loop_fd_destroy(pump->watch);
	pump->watch = NULL;
	if (!pump->borrowed)
		fd_close(&pump->fd);
	pump->fd = -1;
	pump->ended = 1;
	pump->complete = complete;
	pump->tell_end = 1;
	note_passed(pump);
	if (pump->kept)
		atomic_fetch_or(&pump->kept->flags, RECORD_SLOT_ENDED | (complete ? RECORD_SLOT_COMPLETE : 0u));
	output->open--;
	if (!pump->via || !pump->via->length)
		via_close(pump);
	if (pump->via && !pump->direct)
		go_hot(pump);
	else
		pump->state = PUMP_ENDED;
	readers_notify(output, pump_index(pump));
	loop_defer_trigger(output->defer);
}

/* Was given up and all that had been there is read: the end, complete if the file has ended too. */
static bool spent(struct pump *pump)
{
	if (pump->left)
		return false;
	end_pump(pump, peek(pump->fd) == 0);
	return true;
}

/* What a descriptor said instead of bytes. */
static void on_no_bytes(struct pump *pump, ssize_t said)
{
	switch (said) {
	case 0:
	case -EIO: /* a terminal whose last slave was closed */
	case -ECONNRESET:
		end_pump(pump, true);
		break;
	case -EAGAIN:
		if (pump->left != UINT64_MAX)
			end_pump(pump, false);
		else
			go_watching(pump);
		break;
	case -ENOBUFS:
		pump->state = PUMP_BLOCKED;
		break;
	case -ENOMEM:
	case -ENOSPC:
	case -EBUSY:
		go_paused(pump, RETRY_US);
		break;
	default:
		log_(LOG_ERROR, "process %llu: slot %u cannot be read: %s", (unsigned long long)pump->output->owner, pump->slot,
			err_name((int)-said));
		end_pump(pump, false);
	}
}

/* ---- reading ---- */

/* Bytes left the child's descriptor: the account. */
static void count_read(struct pump *pump, size_t bytes)
{
	pump->output->stats->read += bytes;
	if (pump->left != UINT64_MAX)
		pump->left -= bytes;
}

/* A pipe that is read by large pieces gets room for more of them. */
static void grow_if_large(struct pump *pump, size_t bytes)
{
	if (pump->grown || bytes < LARGE)
		return;
	pump->grown = 1;
	if (pump->pipe)
		fcntl(pump->fd, F_SETPIPE_SZ, PIPE_GROWN);
	if (pump->via)
		fcntl(pump->via->fds[0], F_SETPIPE_SZ, PIPE_GROWN);
}

/* Bytes came into the log at `offset`: into the file with them, and tell the readers. */
static void on_logged(struct pump *pump, uint64_t offset, size_t bytes, int64_t time_ns)
{
	struct output *output = pump->output;
	struct iovec iov[2];

	if (output->logfile) {
		size_t pieces = outlog_span(&pump->log, offset, bytes, iov);
		uint64_t lost = logfile_lost(output->logfile);

		logfile_write(output->logfile, pump->slot, offset, time_ns, iov, pieces);
		output->stats->log_lost += logfile_lost(output->logfile) - lost;
		if (logfile_error(output->logfile) != output->log_error)
			loop_defer_trigger(output->defer);
	}
	readers_notify(output, pump_index(pump));
}

/* Room in the ring; as a negative errno when there is none. */
static ssize_t room_for(struct pump *pump)
{
	size_t room = outlog_room(&pump->log, readers_floor(pump->output, pump_index(pump)));

	return room ? (ssize_t)room : -ENOBUFS;
}

/* Pipe in between -> ring. */
static ssize_t move_via(struct pump *pump)
{
	struct outlog_owner owner = owner_of(pump);
	struct via *via = pump->via;
	uint64_t offset = pump->log.end;
	ssize_t moved = outlog_open(&pump->log, &owner);

	if (moved == 0 && bytes_in(via->fds[0]) > via->length)
		return -EBUSY;
	if (moved == 0)
		moved = room_for(pump);
	if (moved > 0)
		moved = outlog_put(&pump->log, &owner, via->fds[0], true, (uint64_t)moved < via->length ? (size_t)moved : via->length);
	if (moved == 0 || moved == -EAGAIN) { /* somebody took what was ours: count it as read */
		log_(LOG_ERROR, "process %llu: %llu bytes of slot %u were lost on their way", (unsigned long long)pump->output->owner,
			(unsigned long long)via->length, pump->slot);
		via->length = 0;
		return 0;
	}
	if (moved < 0)
		return moved;
	via->length -= (uint64_t)moved;
	on_logged(pump, offset, (size_t)moved, via->time_ns);
	return moved;
}

/* Child's descriptor -> ring, at most *size_io; *size_io becomes what was asked for. */
static ssize_t read_kept(struct pump *pump, size_t *size_io, int64_t now)
{
	struct outlog_owner owner = owner_of(pump);
	uint64_t offset = pump_total(pump);
	size_t size;
	ssize_t moved = pump->log.ring ? 1 : peek(pump->fd);

	if (moved <= 0)
		return moved;
	moved = outlog_open(&pump->log, &owner);
	if (moved == 0)
		moved = room_for(pump);
	if (moved < 0)
		return moved;
	size = ring_straight(pump->log.ring);
	if (size > (size_t)moved)
		size = (size_t)moved;
	if (size > *size_io)
		size = *size_io;
	*size_io = size;
	if (!pump->pipe && !pump->copies && pump->log.ring->control && via_open(pump) == 0) {
		moved = sys_splice(pump->fd, NULL, pump->via->fds[1], NULL, size, SPLICE_F_NONBLOCK | SPLICE_F_MOVE);
		if (moved > 0) {
			pump->via->length = (uint64_t)moved;
			pump->via->time_ns = now;
		} else if (moved == -EINVAL) {
			pump->copies = 1;
			via_close(pump);
		}
	}
	if (!pump->via)
		moved = outlog_put(&pump->log, &owner, pump->fd, pump->pipe, size);
	if (moved <= 0)
		return moved;
	count_read(pump, (size_t)moved);
	outindex_add(pump->output, pump_index(pump), offset, (size_t)moved, now);
	if (pump->via)
		move_via(pump);
	else
		on_logged(pump, offset, (size_t)moved, now);
	return moved;
}

/* What capture leaves out is read all the same: the child must not hang. */
static ssize_t read_away(struct pump *pump, size_t size)
{
	ssize_t moved = sys_read(pump->fd, scratch, size < sizeof(scratch) ? size : sizeof(scratch));

	if (moved <= 0)
		return moved;
	count_read(pump, (size_t)moved);
	pump->log.cut += (uint64_t)moved;
	if (pump->kept)
		atomic_store(&pump->kept->cut, pump->log.cut);
	if (pump->log.policy == CAPTURE_KILL && !pump->killed) {
		pump->killed = pump->tell_kill = 1;
		loop_defer_trigger(pump->output->defer);
	}
	return moved;
}

void pump_read(struct pump *pump)
{
	uint64_t total = pump_total(pump);
	size_t size = READ_MAX;
	int64_t now = clock_real_ns();
	ssize_t moved;
	bool waits; /* in the pipe in between */

	if (pump->via && pump->via->length) {
		moved = move_via(pump);
		if (moved < 0)
			on_no_bytes(pump, moved);
		else
			go_hot(pump);
		return;
	}
	if (pump->ended || pump->pipe || pump->copies)
		via_close(pump);
	if (pump->ended) {
		pump->state = PUMP_ENDED;
		loop_defer_trigger(pump->output->defer);
		return;
	}
	if (size > pump->left)
		size = pump->left;
	if (total < pump->log.limit && size > pump->log.limit - total)
		size = pump->log.limit - total;
	moved = total < pump->log.limit ? read_kept(pump, &size, now) : read_away(pump, size);
	if (moved <= 0) {
		on_no_bytes(pump, moved);
		return;
	}
	if (spent(pump))
		return;
	grow_if_large(pump, (size_t)moved);
	waits = pump->via && pump->via->length;
	if (!waits && moved < (ssize_t)LARGE && (size_t)moved < size && now - pump->read_ns < BUSY_NS)
		go_paused(pump, PAUSE_US);
	else if (waits || pump->state != PUMP_WATCHING)
		go_hot(pump);
	pump->read_ns = now;
}

/* A direct slot has bytes: its reader takes them from here itself. */
static void offer_direct(struct pump *pump)
{
	if (!pump->readers) {
		pump_demote(pump, true);
		return;
	}
	if (pump->state == PUMP_READABLE)
		watch(pump, false);
	pump->state = PUMP_READABLE;
	readers_notify(pump->output, pump_index(pump));
}

static void on_readable(void *arg, unsigned events)
{
	struct pump *pump = arg;

	if (pump->direct)
		offer_direct(pump);
	else if (pump->state == PUMP_WATCHING || pump->state == PUMP_HOT)
		pump_read(pump);
	else
		watch(pump, false);
}

/* The pause is over: all that were paused are read, in ascending order of slot. */
static void on_timer(void *arg)
{
	struct output *output = arg;

	output->pausing = false;
	for (size_t i = 0; i < output->pump_count; i++) {
		struct pump *pump = &output->pumps[i];

		if (pump->state != PUMP_PAUSED)
			continue;
		if (pump->direct)
			offer_direct(pump);
		else
			pump_read(pump);
	}
}

/* ---- for readers ---- */

uint64_t pump_retained(const struct pump *pump)
{
	uint64_t retained = outlog_retained(&pump->log), filed;

	if (!pump->output->logfile)
		return retained;
	filed = logfile_from(pump->output->logfile, pump->slot);
	return filed < retained ? filed : retained;
}

void pump_kick(struct pump *pump)
{
	size_t room, enough;

	if (pump->state != PUMP_BLOCKED)
		return;
	room = outlog_room(&pump->log, readers_floor(pump->output, pump_index(pump)));
	enough = pump->log.ring->size / 4;
	if (room >= (enough < READ_MAX ? enough : READ_MAX))
		go_hot(pump);
}

/* A pipe that still holds bytes of a chunk that was taken belongs to whoever moves them: we go on with another. */
static void leave_owed(struct pump *pump)
{
	if (pump->via && bytes_in(pump->via->fds[0]))
		via_close(pump);
}

int pump_direct_next(struct pump *pump, size_t limit)
{
	int64_t now;
	uint64_t total = pump_total(pump), size = limit;
	ssize_t moved;

	if (pump->via && pump->via->length)
		return 1;
	if (pump->state != PUMP_READABLE || pump->ended)
		return 0;
	leave_owed(pump);
	if (total >= pump->log.limit || via_open(pump) < 0) {
		pump_demote(pump, false);
		return 0;
	}
	if (size > pump->left)
		size = pump->left;
	if (size > pump->log.limit - total)
		size = pump->log.limit - total;
	moved = sys_splice(pump->fd, NULL, pump->via->fds[1], NULL, size, SPLICE_F_NONBLOCK | SPLICE_F_MOVE);
	failpoint("direct-moved");
	if (moved == -EINVAL) {
		pump_demote(pump, false);
		return 0;
	}
	if (moved <= 0) {
		on_no_bytes(pump, moved);
		return 0;
	}
	now = clock_real_ns();
	pump->via->length = (uint64_t)moved;
	pump->via->time_ns = now;
	count_read(pump, (size_t)moved);
	if (!spent(pump)) {
		grow_if_large(pump, (size_t)moved);
		if (moved < (ssize_t)LARGE && (uint64_t)moved < size && now - pump->read_ns < BUSY_NS)
			go_paused(pump, PAUSE_US);
	}
	pump->read_ns = now;
	return 1;
}

void pump_direct_take(struct pump *pump, size_t length)
{
	struct via *via = pump->via;

	via->holder = NULL;
	via->length -= length;
	outlog_skip(&pump->log, length);
	failpoint("direct-taken");
	note_passed(pump);
	if (via->length)
		return;
	if (via->leave)
		pump_demote(pump, false);
	else if (pump->ended)
		via_close(pump);
}

void pump_demote(struct pump *pump, bool now)
{
	struct via *via = pump->via;
	size_t there;

	if (!pump->direct)
		return;
	if (via && via->length && via->holder && !now) {
		via->leave = true;
		return;
	}
	pump->direct = 0;
	if (via && via->length) {
		there = bytes_in(via->fds[0]);
		if (now && there < via->length) {
			outlog_skip(&pump->log, via->length - there);
			note_passed(pump);
			via->length = there;
		}
		via->holder = NULL;
		outindex_add(pump->output, pump_index(pump), pump->log.end, via->length, via->time_ns);
	} else {
		via_close(pump);
	}
	if (pump->state != PUMP_NEW && (!pump->ended || pump->via))
		go_hot(pump);
}

void pump_unpinned(struct pump *pump)
{
	if (pump->ended && !pump->frozen)
		loop_defer_trigger(pump->output->defer);
}

void pump_freeze(struct pump *pump)
{
	struct outlog_owner owner = owner_of(pump);
	uint64_t from = outlog_retained(&pump->log), lowest = readers_lowest(pump->output, pump_index(pump));

	if (pump->state != PUMP_ENDED || pump->frozen || pump->pins || pump->via)
		return;
	pump->frozen = 1;
	if (pump->kept)
		atomic_store(&pump->kept->passed, pump->log.end);
	outlog_freeze(&pump->log, &owner, lowest < from ? lowest : from);
}

/* What came into the ring, and into the file in part or not at all, when the engine died. */
static void file_rest(struct pump *pump)
{
	struct logfile *logfile = pump->output->logfile;
	uint64_t filed = logfile_filed(logfile, pump->slot), from = outlog_from(&pump->log);
	struct iovec iov[2];
	size_t pieces;

	if (filed >= pump->log.end)
		return;
	if (filed < from)
		filed = from;
	pieces = outlog_span(&pump->log, filed, (size_t)(pump->log.end - filed), iov);
	filed += logfile_found(logfile, pump->slot, iov, pieces);
	if (filed == pump->log.end)
		return;
	pieces = outlog_span(&pump->log, filed, (size_t)(pump->log.end - filed), iov);
	logfile_write(logfile, pump->slot, filed, clock_real_ns(), iov, pieces);
}

void pump_recover(struct pump *pump, const struct output_slot *slot)
{
	struct outlog_owner owner = owner_of(pump);
	uint32_t flags = pump->kept ? atomic_load(&pump->kept->flags) : 0;

	outlog_recover(&pump->log, &owner, slot->ring, slot->record, pump->kept ? atomic_load(&pump->kept->passed) : 0);
	pump->log.cut = pump->kept ? atomic_load(&pump->kept->cut) : 0;
	pump->indexed_from = pump->log.end;
	if (pump->output->logfile)
		file_rest(pump);
	pump->ended = slot->fd < 0;
	pump->complete = pump->ended && (flags & RECORD_SLOT_COMPLETE || !(flags & RECORD_SLOT_ENDED));
	pump->waits = slot->waits;
	pump->unsure = pump->direct && !pump->log.ring && !(flags & RECORD_SLOT_ENDED && bytes_in(slot->via[0]) == 0);
	pump->direct = 0;
	if (slot->via[0] >= 0) {
		pump->via = mem_alloc(sizeof(*pump->via));
		pump->via->fds[0] = slot->via[0];
		pump->via->fds[1] = slot->via[1];
		pump->via->length = bytes_in(slot->via[0]);
		pump->via->time_ns = clock_real_ns();
	}
	if (pump->ended && !(pump->via && pump->via->length))
		pump->state = PUMP_ENDED;
}

void pump_claim(struct pump *pump, uint64_t offset)
{
	uint64_t off = offset > pump->log.end ? offset - pump->log.end : pump->log.end - offset;

	if (pump->unsure && off <= 2 * CHUNK_MAX)
		pump->log.base = pump->log.end = pump->indexed_from = offset;
	pump->waits = pump->unsure = 0;
	note_passed(pump);
	if (pump->via && pump->via->length)
		outindex_add(pump->output, pump_index(pump), pump->log.end, pump->via->length, pump->via->time_ns);
	if (pump->output->started)
		pump_start(pump);
}

void pump_start(struct pump *pump)
{
	if (pump->waits || pump->unsure || pump->state == PUMP_ENDED)
		return;
	if (pump->via && pump->via->length) {
		if (!pump->ended)
			pump->watch = loop_fd_create(pump->output->host->loop, pump->fd, 0, on_readable, pump);
		go_hot(pump);
		return;
	}
	if (pump->ended) {
		via_close(pump);
		pump->state = PUMP_ENDED;
		return;
	}
	pump->watch = loop_fd_create(pump->output->host->loop, pump->fd, LOOP_READ, on_readable, pump);
	pump->state = PUMP_WATCHING;
}

void pump_give_up(struct pump *pump)
{
	if (pump->ended || pump->left != UINT64_MAX)
		return;
	if (!pump->readers)
		pump_demote(pump, true);
	pump->left = bytes_in(pump->fd);
	spent(pump);
}

void pump_finish(struct pump *pump)
{
	struct outlog_owner owner = owner_of(pump);

	loop_fd_destroy(pump->watch);
	if (!pump->borrowed)
		fd_close(&pump->fd);
	via_close(pump);
	outlog_finish(&pump->log, &owner);
}
