/* The log of one output slot: retention, what capture leaves, and the memory it costs. */
#include "process/outlog.h"

#include <errno.h>
#include <unistd.h>

#include "base/failpoint.h"
#include "base/log.h"
#include "base/mem.h"
#include "process/record.h"
#include "process/ring.h"

/* The content of a RECORD_OUTPUT. */
struct frozen {
	uint64_t base;
	uint32_t slot, reserved;
	uint8_t bytes[];
};

#define FREEZE_COPY_MAX (64u * 1024) /* beyond it, the pages of the ring stay as they are */

uint32_t outlog_record_slot(const void *record)
{
	return ((const struct frozen *)record)->slot;
}

void outlog_init(struct outlog *log, const struct output_slot *slot)
{
	log->retain = slot->retain;
	log->policy = slot->capture_policy;
	log->limit = UINT64_MAX;
	log->head_cut = slot->capture_limit && slot->capture_policy == CAPTURE_CUT_HEAD;
	if (log->head_cut)
		log->retain = slot->capture_limit;
	else if (slot->capture_limit)
		log->limit = slot->capture_limit;
	if (log->retain > OUTLOG_RING_MAX)
		log->retain = OUTLOG_RING_MAX;
}

/* Keeps the account of bytes in memory true. */
static void charge(struct outlog *log, const struct outlog_owner *owner, size_t bytes)
{
	owner->stats->buffered += bytes - log->charged;
	log->charged = bytes;
}

/* Gives the ring up: its memory and what the keeper has of it. */
static void drop_ring(struct outlog *log, const struct outlog_owner *owner)
{
	if (!log->ring)
		return;
	if (log->ring->control)
		owner->host->store_drop(owner->host->context, STORE_RING, owner->owner, owner->slot);
	owner->stats->reserved -= log->ring->size;
	ring_destroy(log->ring);
	log->ring = NULL;
}

void outlog_finish(struct outlog *log, const struct outlog_owner *owner)
{
	drop_ring(log, owner);
	charge(log, owner, 0);
	if (log->record)
		ledger_free(owner->host->ledger, log->record);
	else
		free(log->frozen);
	log->record = NULL;
	log->frozen = NULL;
}

void outlog_recover(struct outlog *log, const struct outlog_owner *owner, int ring, void *record, uint64_t passed)
{
	struct frozen *frozen = record;
	int done = ring >= 0 ? ring_recover(ring, &log->ring) : -ENOENT;

	if (done == 0) {
		log->end = log->ring->end;
		owner->stats->reserved += log->ring->size;
		charge(log, owner, (size_t)(log->ring->end - ring_from(log->ring)));
		ledger_free(owner->host->ledger, record); /* it was being made from the ring */
		return;
	}
	if (done != -ENOENT)
		log_(LOG_ERROR, "process %llu: the ring of slot %u cannot be read: %s", (unsigned long long)owner->owner, owner->slot,
			err_name(-done));
	log->base = log->end = passed;
	if (!record)
		return;
	log->record = record;
	log->frozen = frozen->bytes;
	log->base = frozen->base;
	log->end = frozen->base + ledger_size(record) - sizeof(*frozen);
	charge(log, owner, (size_t)(log->end - log->base));
}

/* A quarter of the machine's memory, unless the owner of the stats said otherwise. */
static uint64_t budget_of(struct output_stats *stats)
{
	long pages, page;

	if (stats->budget)
		return stats->budget;
	pages = sysconf(_SC_PHYS_PAGES);
	page = sysconf(_SC_PAGESIZE);
	stats->budget = pages > 0 && page > 0 ? (uint64_t)pages * (uint64_t)page / 4 : UINT64_C(1) << 30;
	return stats->budget;
}

size_t outlog_ring_size(const struct outlog *log)
{
	return log->retain > OUTLOG_RING_MIN ? log->retain : OUTLOG_RING_MIN;
}

/* As large as retention asks for; the smallest when all rings together are large already. */
static size_t ring_size(const struct outlog *log, struct output_stats *stats)
{
	size_t size = outlog_ring_size(log);

	return stats->reserved + size > budget_of(stats) ? OUTLOG_RING_MIN : size;
}

/* A ring that survives this process, when there is a descriptor to spare and the keeper takes a copy. */
static int open_kept(struct outlog *log, const struct outlog_owner *owner, size_t size)
{
	const struct process_host *host = owner->host;
	struct err err;
	int done;

	if (!host->fds_free(host->context))
		return -EMFILE;
	done = ring_create(size, log->end, owner->slot, &log->ring);
	if (done < 0)
		return done;
	done = host->store_put(host->context, STORE_RING, owner->owner, owner->slot, &log->ring->fd, 1, &err);
	if (done < 0)
		log_(LOG_WARNING, "process %llu: output of slot %u would not survive the engine: %s", (unsigned long long)owner->owner,
			owner->slot, err.message);
	return 0;
}

int outlog_open(struct outlog *log, const struct outlog_owner *owner)
{
	size_t size = ring_size(log, owner->stats);
	int done;

	if (log->ring)
		return 0;
	done = open_kept(log, owner, size);
	if (done < 0) {
		log_(LOG_WARNING, "process %llu: output of slot %u is kept in plain memory: %s", (unsigned long long)owner->owner,
			owner->slot, err_name(-done));
		done = ring_create_plain(size, log->end, &log->ring);
	}
	if (done < 0 && size > OUTLOG_RING_MIN)
		done = ring_create_plain(OUTLOG_RING_MIN, log->end, &log->ring);
	if (done < 0)
		return done;
	owner->stats->reserved += log->ring->size;
	return 0;
}

size_t outlog_room(const struct outlog *log, uint64_t spare)
{
	uint64_t from = outlog_from(log), used;

	if (!log->ring)
		return OUTLOG_RING_MIN;
	if (spare < from)
		spare = from;
	used = spare < log->end ? log->end - spare : 0;
	return log->ring->size - (size_t)used;
}

ssize_t outlog_put(struct outlog *log, const struct outlog_owner *owner, int fd, bool splice, size_t size)
{
	struct ring *ring = log->ring;
	ssize_t moved = splice && ring->control ? ring_splice(ring, fd, size) : ring_read(ring, fd, size);

	log->end = ring->end;
	charge(log, owner, (size_t)(ring->end - ring_from(ring)));
	return moved;
}

uint64_t outlog_from(const struct outlog *log)
{
	return log->ring ? ring_from(log->ring) : log->base;
}

uint64_t outlog_retained(const struct outlog *log)
{
	uint64_t from = outlog_from(log), kept = log->end > log->retain ? log->end - log->retain : 0;

	return kept > from ? kept : from;
}

size_t outlog_span(const struct outlog *log, uint64_t offset, size_t size, struct iovec iov[2])
{
	if (log->ring)
		return ring_span(log->ring, offset, size, iov);
	iov[0] = (struct iovec){.iov_base = log->frozen + (offset - log->base), .iov_len = size};
	return 1;
}

void outlog_skip(struct outlog *log, uint64_t bytes)
{
	log->end += bytes;
	log->base = log->end;
}

/* Copies out of the ring, which may hold the bytes in two pieces. */
static void copy_out(const struct ring *ring, uint64_t from, size_t size, uint8_t *bytes)
{
	struct iovec iov[2];
	size_t pieces = ring_span(ring, from, size, iov), at = 0;

	for (size_t i = 0; i < pieces; i++) {
		memcpy(bytes + at, iov[i].iov_base, iov[i].iov_len);
		at += iov[i].iov_len;
	}
}

/* Brings the last bytes of the ring where they outlive it, and this engine if there is room. */
static void freeze_bytes(struct outlog *log, const struct outlog_owner *owner, uint64_t from, size_t size)
{
	struct err err;
	struct frozen *frozen = ledger_write(owner->host->ledger, RECORD_OUTPUT, owner->owner, sizeof(struct frozen) + size, &err);

	log->record = frozen;
	log->frozen = frozen ? frozen->bytes : mem_alloc(size);
	copy_out(log->ring, from, size, log->frozen);
	if (!frozen)
		return;
	frozen->base = from;
	frozen->slot = owner->slot;
	failpoint("output-freezing");
	ledger_commit(frozen);
	failpoint("output-frozen");
}

void outlog_freeze(struct outlog *log, const struct outlog_owner *owner, uint64_t from)
{
	size_t size;

	if (!log->ring)
		return;
	if (from < ring_from(log->ring))
		from = ring_from(log->ring);
	size = (size_t)(log->end - from);
	if (size > FREEZE_COPY_MAX) {
		ring_close(log->ring); /* the keeper has it still */
		return;
	}
	if (size)
		freeze_bytes(log, owner, from, size);
	log->base = from;
	drop_ring(log, owner);
	charge(log, owner, size);
}
