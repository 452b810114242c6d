/*
 * An output without a child: a fake host that counts what is stored, pipes fed with bytes that can be told from their
 * offset, and sinks that check every byte they take.
 */
#pragma once

#include <CUnit/CUnit.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/ledger.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/mem.h"
#include "base/sys.h"
#include "process/logfile.h"
#include "process/pump.h"
#include "process/reader.h"

#define SLOTS 4

struct child {
	struct output *output;
};

struct fixture {
	struct ledger *ledger;
	int ledger_fd;
	struct loop *loop;
	struct loop_defer *stop;
	struct process_host host;
	struct output_stats stats;
	struct child child;
	unsigned fds_free;
	int rings, pipes; /* stored now */
	uint64_t retain, capture_limit;
	enum capture_policy capture_policy;
	bool direct;
	struct logfile *logfile;
	int writers[SLOTS];
	uint64_t written[SLOTS];
	int ends[SLOTS], kills[SLOTS], all_ended;
	uint64_t gap_bytes;
	bool destroy_at_end;
};

struct sink {
	struct fixture *fixture;
	struct reader *reader;
	uint64_t at[SLOTS];
	uint64_t taken[SLOTS], lost[SLOTS];
	size_t limit;
	unsigned ready, pieces, from_pipe;
	bool auto_take, ended;
	int64_t last_ns;
	char order[256];
};

static inline struct output *fixture_output(struct child *child)
{
	return child->output;
}

struct output *child_output(struct child *child)
{
	return fixture_output(child);
}

static inline uint8_t byte_at(uint32_t slot, uint64_t offset)
{
	uint64_t x = (offset + 1) * UINT64_C(0x9e3779b97f4a7c15) + slot * 77u;

	return (uint8_t)(x >> 56 ^ x >> 24);
}

static inline int fake_put(
	void *context, enum store_kind kind, uint64_t owner, uint32_t index, const int *fds, size_t count, struct err *err)
{
	struct fixture *fixture = context;

	for (size_t i = 0; i < count; i++)
		CU_ASSERT_FATAL(fcntl(fds[i], F_GETFD) >= 0);
	fixture->rings += kind == STORE_RING ? (int)count : 0;
	fixture->pipes += kind == STORE_PIPE ? (int)count : 0;
	return 0;
}

static inline void fake_drop(void *context, enum store_kind kind, uint64_t owner, uint32_t index)
{
	struct fixture *fixture = context;

	fixture->rings -= kind == STORE_RING;
	fixture->pipes -= kind == STORE_PIPE;
}

static inline unsigned fake_fds_free(void *context)
{
	return ((struct fixture *)context)->fds_free;
}

static inline void stop_turn(void *arg)
{
	loop_stop(((struct fixture *)arg)->loop);
}

/* One pass of the loop, without waiting. */
static inline void turn(struct fixture *fixture)
{
	loop_defer_trigger(fixture->stop);
	loop_run(fixture->loop);
}

/* Passes until the condition holds; a test that hangs fails instead. */
#define turn_until(fixture, condition)                                                                                                     \
	do {                                                                                                                               \
		int64_t turn_limit_ = clock_boot_ns() + INT64_C(20000000000);                                                              \
		while (!(condition) && clock_boot_ns() < turn_limit_)                                                                      \
			turn(fixture);                                                                                                     \
		CU_ASSERT_FATAL(condition);                                                                                                \
	} while (0)

static inline void fixture_on_end(void *context, uint32_t slot, bool complete)
{
	((struct fixture *)context)->ends[slot]++;
}

static inline void fixture_on_kill(void *context, uint32_t slot)
{
	((struct fixture *)context)->kills[slot]++;
}

static inline void fixture_on_gap(void *context, uint32_t slot, uint64_t offset, uint64_t bytes)
{
	((struct fixture *)context)->gap_bytes += bytes;
}

static inline void fixture_on_all_ended(void *context)
{
	struct fixture *fixture = context;

	fixture->all_ended++;
	if (!fixture->destroy_at_end)
		return;
	output_destroy(fixture->child.output);
	fixture->child.output = NULL;
}

static inline struct fixture fixture_make(void)
{
	struct fixture fixture = {.loop = loop_create(), .fds_free = 1000, .retain = 256 * 1024, .writers = {-1, -1, -1, -1}};

	fixture.ledger = ledger_create(&fixture.ledger_fd, NULL);

	signal(SIGPIPE, SIG_IGN);
	log_set_level(LOG_ERROR);
	fixture.host = (struct process_host){
		.loop = fixture.loop, .ledger = fixture.ledger, .store_put = fake_put, .store_drop = fake_drop, .fds_free = fake_fds_free};
	return fixture;
}

static const struct output_observer fixture_observer = {
	.on_end = fixture_on_end, .on_all_ended = fixture_on_all_ended, .on_capture_kill = fixture_on_kill, .on_gap = fixture_on_gap};

/* Makes the output; slots are added by fixture_slot. */
static inline void fixture_open(struct fixture *fixture)
{
	fixture->host.context = fixture;
	fixture->stop = loop_defer_create(fixture->loop, stop_turn, fixture);
	fixture->child.output = output_create(&fixture->host, &fixture->stats, 7, fixture->logfile, &fixture_observer, fixture);
}

/* Adds a slot that reads `fd` (taken), whose other end is `writer`. */
static inline void fixture_slot_fd(struct fixture *fixture, uint32_t slot, int fd, int writer)
{
	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
	fcntl(writer, F_SETFL, fcntl(writer, F_GETFL) | O_NONBLOCK);
	fixture->writers[slot] = writer;
	output_add(fixture->child.output, &(struct output_slot){.slot = slot,
						  .ring = -1,
						  .via = {-1, -1},
						  .fd = fd,
						  .retain = fixture->retain,
						  .capture_limit = fixture->capture_limit,
						  .capture_policy = fixture->capture_policy,
						  .direct = fixture->direct});
}

static inline void fixture_slot(struct fixture *fixture, uint32_t slot)
{
	int fds[2];

	CU_ASSERT_EQUAL_FATAL(sys_pipe(fds, 0), 0);
	fixture_slot_fd(fixture, slot, fds[0], fds[1]);
}

/* Writes up to `size` bytes of the slot's pattern; returns how many went. */
static inline size_t feed(struct fixture *fixture, uint32_t slot, size_t size)
{
	uint8_t *bytes = mem_alloc(size);
	ssize_t done;

	for (size_t i = 0; i < size; i++)
		bytes[i] = byte_at(slot, fixture->written[slot] + i);
	done = write(fixture->writers[slot], bytes, size);
	free(bytes);
	if (done > 0)
		fixture->written[slot] += (uint64_t)done;
	return done > 0 ? (size_t)done : 0;
}

/* Writes all of it, turning the loop where the pipe is full. */
static inline void feed_all(struct fixture *fixture, uint32_t slot, size_t size)
{
	while (size) {
		size_t done = feed(fixture, slot, size > 65536 ? 65536 : size);

		size -= done;
		turn(fixture);
	}
}

static inline struct output_total total_of(const struct fixture *fixture, uint32_t slot)
{
	struct output_total total = {0};

	for (size_t i = 0; output_total(fixture->child.output, i, &total); i++)
		if (total.slot == slot)
			return total;
	CU_FAIL_FATAL("no such slot");
	return total;
}

/* All that was written so far has been read. */
#define turn_until_read(fixture, slot) turn_until(fixture, total_of(fixture, slot).bytes == (fixture)->written[slot])

static inline void hang_up(struct fixture *fixture, uint32_t slot)
{
	close(fixture->writers[slot]);
	fixture->writers[slot] = -1;
}

static inline void fixture_close(struct fixture *fixture)
{
	output_destroy(fixture->child.output);
	logfile_destroy(fixture->logfile);
	for (uint32_t i = 0; i < SLOTS; i++)
		if (fixture->writers[i] >= 0)
			close(fixture->writers[i]);
	CU_ASSERT_EQUAL(fixture->rings, 0);
	CU_ASSERT_EQUAL(fixture->pipes, 0);
	CU_ASSERT_EQUAL(fixture->stats.buffered, 0);
	CU_ASSERT_EQUAL(fixture->stats.reserved, 0);
	loop_defer_destroy(fixture->stop);
	ledger_close(fixture->ledger);
	close(fixture->ledger_fd);
	loop_destroy(fixture->loop);
}

/* ---- sinks ---- */

static inline void check_bytes(const struct chunk *chunk, const uint8_t *bytes, size_t size, uint64_t at)
{
	size_t wrong = 0;

	for (size_t i = 0; i < size; i++)
		wrong += bytes[i] != byte_at(chunk->slot, chunk->offset + at + i);
	CU_ASSERT_EQUAL(wrong, 0);
}

static inline void check_chunk(struct sink *sink, const struct chunk *chunk)
{
	uint8_t *bytes;
	size_t got = 0;
	ssize_t done = 1;

	for (size_t i = 0; i < chunk->iov_count; i++) {
		check_bytes(chunk, chunk->iov[i].iov_base, chunk->iov[i].iov_len, got);
		got += chunk->iov[i].iov_len;
	}
	if (chunk->pipe_fd >= 0) {
		bytes = mem_alloc(chunk->length);
		while (got < chunk->length && done > 0) {
			done = read(chunk->pipe_fd, bytes + got, chunk->length - got);
			got += done > 0 ? (size_t)done : 0;
		}
		check_bytes(chunk, bytes, got, 0);
		free(bytes);
		sink->from_pipe++;
	}
	CU_ASSERT_EQUAL(got, chunk->length);
	CU_ASSERT(chunk->length <= sink->limit);
	CU_ASSERT(chunk->time_ns > 0);
}

/* Takes one chunk; false: nothing more now. */
static inline bool take_one(struct sink *sink)
{
	struct chunk chunk;
	enum reader_result result = reader_next(sink->reader, sink->limit, &chunk);
	size_t used = strlen(sink->order);

	if (result == READER_END)
		sink->ended = true;
	if (result == READER_END || result == READER_NOTHING)
		return false;
	CU_ASSERT_EQUAL(chunk.offset, sink->at[chunk.slot]);
	if (result == READER_GAP) {
		CU_ASSERT_FATAL(chunk.gap > 0);
		sink->lost[chunk.slot] += chunk.gap;
		sink->at[chunk.slot] += chunk.gap;
	} else {
		CU_ASSERT_FATAL(chunk.length > 0);
		check_chunk(sink, &chunk);
		sink->taken[chunk.slot] += chunk.length;
		sink->at[chunk.slot] += chunk.length;
		sink->last_ns = chunk.time_ns;
		sink->pieces++;
		if (used + 1 < sizeof(sink->order))
			sink->order[used] = (char)('0' + chunk.slot);
	}
	reader_take(sink->reader, &chunk);
	return true;
}

static inline void take_all(struct sink *sink)
{
	while (take_one(sink))
		;
}

static inline void sink_on_ready(void *context, struct reader *reader)
{
	struct sink *sink = context;

	sink->ready++;
	if (sink->auto_take)
		take_all(sink);
}

static const struct reader_observer sink_observer = {.on_ready = sink_on_ready};

/* Opens a reader that, with auto_take, has said that it waits. */
static inline void sink_open(struct sink *sink, struct fixture *fixture, enum reader_policy policy, bool auto_take)
{
	memset(sink, 0, sizeof(*sink));
	sink->fixture = fixture;
	sink->limit = 256 * 1024;
	sink->auto_take = auto_take;
	sink->reader = reader_create(&fixture->child, policy, NULL, 0, &sink_observer, sink);
	for (size_t i = 0; i < output_count(fixture->child.output); i++) {
		struct output_total total;

		output_total(fixture->child.output, i, &total);
		sink->at[total.slot] = total.bytes;
	}
	if (auto_take)
		take_all(sink);
}

static inline void sink_seek_retained(struct sink *sink)
{
	for (size_t i = 0; i < output_count(sink->fixture->child.output); i++) {
		struct output_total total;

		output_total(sink->fixture->child.output, i, &total);
		sink->at[total.slot] = total.retained_from;
	}
	reader_seek_retained(sink->reader);
}
