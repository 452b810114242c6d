/*
 * Readers: each has its place in every slot it reads, and a cursor in the index that tells which slot comes next. What it
 * finds: bytes behind the ring (from the files, or a gap), bytes older than the index, bytes by the index, then what a
 * direct slot has.
 */
#include "process/reader.h"

#include "base/mem.h"
#include "process/logfile.h"
#include "process/output_parts.h"

#define FILE_CHUNK (64u * 1024)

/* ---- for the pumps ---- */

uint64_t readers_floor(const struct output *output, size_t pump)
{
	const struct reader *reader;
	uint64_t floor = UINT64_MAX;

	if (!output->block_count)
		return floor;
	TAILQ_FOREACH(reader, &output->readers, link)
	if (reader->policy == READER_BLOCK && reader->places[pump].reads && reader->places[pump].safe < floor)
		floor = reader->places[pump].safe;
	return floor;
}

uint64_t readers_lowest(const struct output *output, size_t pump)
{
	const struct reader *reader;
	uint64_t lowest = UINT64_MAX;

	TAILQ_FOREACH(reader, &output->readers, link)
	if (reader->places[pump].reads && reader->places[pump].safe < lowest)
		lowest = reader->places[pump].safe;
	return lowest;
}

/* Will be called from the loop, if it was told that there is nothing. */
static void make_ready(struct reader *reader)
{
	if (!reader->waiting || reader->ready)
		return;
	reader->ready = true;
	TAILQ_INSERT_TAIL(&reader->output->ready, reader, ready_link);
	loop_defer_trigger(reader->output->defer);
}

void readers_notify(struct output *output, size_t pump)
{
	struct reader *reader;

	TAILQ_FOREACH(reader, &output->readers, link)
	if (reader->places[pump].reads)
		make_ready(reader);
}

void readers_orphan(struct output *output)
{
	struct reader *reader;

	while ((reader = TAILQ_FIRST(&output->readers))) {
		TAILQ_REMOVE(&output->readers, reader, link);
		reader->output = NULL;
		reader->ready = false;
	}
	TAILQ_INIT(&output->ready);
}

/* ---- life ---- */

/* Whether a list of slots (empty: all) has this one. */
static bool is_listed(uint32_t slot, const uint32_t *slots, size_t slot_count)
{
	for (size_t i = 0; i < slot_count; i++)
		if (slots[i] == slot)
			return true;
	return slot_count == 0;
}

struct reader *reader_create(struct child *child, enum reader_policy policy, const uint32_t *slots, size_t slot_count,
	const struct reader_observer *observer, void *context)
{
	struct output *output = child_output(child);
	struct reader *reader = mem_alloc(sizeof(*reader) + output->pump_count * sizeof(reader->places[0]));

	reader->output = output;
	reader->policy = policy;
	reader->observer = observer;
	reader->context = context;
	reader->pinned = -1;
	reader->generation = output->index.generation;
	reader->cursor = output->index.first + (output->index.count ? output->index.count - 1 : 0);
	TAILQ_INSERT_TAIL(&output->readers, reader, link);
	output->reader_count++;
	output->block_count += policy == READER_BLOCK;
	for (size_t i = 0; i < output->pump_count; i++) {
		struct pump *pump = &output->pumps[i];

		reader->places[i].reads = is_listed(pump->slot, slots, slot_count);
		reader->places[i].offset = reader->places[i].safe = pump_total(pump);
		reader->places[i].limit = SIZE_MAX;
		pump->readers += reader->places[i].reads;
		if (pump->readers != 1 || (reader->places[i].reads && policy != READER_BLOCK))
			pump_demote(pump, false);
	}
	return reader;
}

/* The last chunk is looked at no more. */
static void unpin(struct reader *reader)
{
	struct pump *pump;

	if (reader->pinned < 0)
		return;
	pump = &reader->output->pumps[reader->pinned];
	reader->pinned = -1;
	pump->pins--;
	pump_unpinned(pump);
}

void reader_destroy(struct reader *reader)
{
	struct output *output;

	if (!reader)
		return;
	output = reader->output;
	if (output) {
		unpin(reader);
		TAILQ_REMOVE(&output->readers, reader, link);
		if (reader->ready)
			TAILQ_REMOVE(&output->ready, reader, ready_link);
		output->reader_count--;
		output->block_count -= reader->policy == READER_BLOCK;
		if (output->reader_count == 0 && output->logfile)
			logfile_rest(output->logfile);
		for (size_t i = 0; i < output->pump_count; i++) {
			struct pump *pump = &output->pumps[i];

			if (!reader->places[i].reads)
				continue;
			pump->readers--;
			pump_demote(pump, !pump->readers || (pump->via && pump->via->holder == reader));
			pump_kick(pump);
		}
	}
	free(reader->file_buffer);
	free(reader);
}

/* ---- places ---- */

/* Puts the reader at an offset of one slot. */
static void place(struct reader *reader, size_t index, uint64_t offset)
{
	struct output *output = reader->output;
	struct pump *pump = &output->pumps[index];

	if ((pump->waits || pump->unsure) && reader->policy == READER_BLOCK)
		pump_claim(pump, offset);
	if (offset != pump->log.end)
		pump_demote(pump, false);
	unpin(reader);
	reader->places[index].offset = reader->places[index].safe = offset;
	reader->cursor = output->index.first;
	pump_kick(pump);
	make_ready(reader);
}

bool reader_seek(struct reader *reader, uint32_t slot, uint64_t offset)
{
	struct output *output = reader->output;

	for (size_t i = 0; output && i < output->pump_count; i++) {
		if (output->pumps[i].slot != slot || !reader->places[i].reads)
			continue;
		place(reader, i, offset);
		return true;
	}
	return false;
}

void reader_seek_retained(struct reader *reader)
{
	struct output *output = reader->output;

	for (size_t i = 0; output && i < output->pump_count; i++)
		if (reader->places[i].reads)
			place(reader, i, pump_retained(&output->pumps[i]));
}

/* The first offset of a slot that was read at or after a time. */
static uint64_t offset_since(const struct output *output, size_t index, int64_t since_ns)
{
	const struct pump *pump = &output->pumps[index];
	uint64_t retained = outlog_retained(&pump->log), offset;

	if (output->logfile && logfile_find_time(output->logfile, pump->slot, since_ns, &offset) && offset < retained)
		return offset;
	if (pump->indexed_from > retained && since_ns <= output->index.floor_ns)
		return retained;
	if (!outindex_find_time(&output->index, index, since_ns, &offset))
		return pump_total(pump);
	return offset > retained ? offset : retained;
}

void reader_seek_time(struct reader *reader, int64_t since_ns)
{
	struct output *output = reader->output;

	for (size_t i = 0; output && i < output->pump_count; i++)
		if (reader->places[i].reads)
			place(reader, i, offset_since(output, i, since_ns));
}

void reader_limit(struct reader *reader, uint32_t slot, size_t limit)
{
	struct output *output = reader->output;

	for (size_t i = 0; output && i < output->pump_count; i++)
		if (output->pumps[i].slot == slot)
			reader->places[i].limit = limit;
}

/* ---- taking ---- */

/* Whether bytes of a slot may be taken now. */
static bool may_take(const struct place *at)
{
	return at->reads && at->limit;
}

static size_t smaller(size_t a, size_t b)
{
	return a < b ? a : b;
}

/* Fills a chunk with bytes of the log. */
static enum reader_result log_chunk(struct reader *reader, size_t index, uint64_t stop, int64_t time_ns, size_t limit, struct chunk *chunk)
{
	struct pump *pump = &reader->output->pumps[index];
	uint64_t offset = reader->places[index].offset;

	if (stop > pump->log.end)
		stop = pump->log.end;
	*chunk = (struct chunk){.slot = pump->slot, .offset = offset, .time_ns = time_ns, .pipe_fd = -1};
	chunk->length = stop - offset < limit ? (size_t)(stop - offset) : limit;
	chunk->iov_count = outlog_span(&pump->log, offset, chunk->length, chunk->iov);
	reader->pinned = (int)index;
	pump->pins++;
	return READER_DATA;
}

/* What a slot has behind the ring: bytes from the files, or a gap up to what is there. */
static enum reader_result behind_chunk(struct reader *reader, size_t index, size_t limit, struct chunk *chunk)
{
	struct output *output = reader->output;
	struct pump *pump = &output->pumps[index];
	uint64_t offset = reader->places[index].offset, next = UINT64_MAX, from = outlog_from(&pump->log);

	*chunk = (struct chunk){.slot = pump->slot, .offset = offset, .pipe_fd = -1};
	if (output->logfile) {
		if (!reader->file_buffer)
			reader->file_buffer = mem_alloc(FILE_CHUNK);
		chunk->length = logfile_read(output->logfile, pump->slot, offset, reader->file_buffer,
			limit < FILE_CHUNK ? limit : FILE_CHUNK, &chunk->time_ns, &next);
	}
	if (chunk->length) {
		chunk->iov[0] = (struct iovec){.iov_base = reader->file_buffer, .iov_len = chunk->length};
		chunk->iov_count = 1;
		return READER_DATA;
	}
	chunk->gap = (next < from ? next : from) - offset;
	return READER_GAP;
}

/* What is older than the index. */
static enum reader_result old_chunk(struct reader *reader, size_t limit, struct chunk *chunk)
{
	struct output *output = reader->output;

	for (size_t i = 0; i < output->pump_count; i++) {
		const struct pump *pump = &output->pumps[i];
		const struct place *at = &reader->places[i];

		if (!may_take(at))
			continue;
		if (at->offset < outlog_from(&pump->log))
			return behind_chunk(reader, i, smaller(limit, at->limit), chunk);
		if (at->offset < pump->indexed_from && at->offset < pump->log.end)
			return log_chunk(reader, i, pump->indexed_from, output->index.floor_ns, smaller(limit, at->limit), chunk);
	}
	return READER_NOTHING;
}

/* How far the bytes of an entry go on in the entries behind it, for this reader. */
static uint64_t extend(const struct reader *reader, uint64_t number, uint64_t wanted)
{
	const struct outindex *index = &reader->output->index;
	const struct outindex_entry *entry = outindex_at(index, number);
	uint32_t pump = entry->pump;
	uint64_t stop = entry->offset + entry->length;

	while (++number < index->first + index->count && stop < wanted) {
		entry = outindex_at(index, number);
		if (entry->pump == pump && entry->offset == stop)
			stop += entry->length;
		else if (may_take(&reader->places[entry->pump]))
			break;
	}
	return stop;
}

/* What comes next by the index. */
static enum reader_result indexed_chunk(struct reader *reader, size_t limit, struct chunk *chunk)
{
	struct output *output = reader->output;
	const struct outindex *index = &output->index;
	uint64_t end = index->first + index->count;
	bool done = true; /* all entries up to here are */

	if (reader->generation != index->generation || reader->cursor < index->first)
		reader->cursor = index->first;
	reader->generation = index->generation;
	for (uint64_t number = reader->cursor; number < end; number++) {
		const struct outindex_entry *entry = outindex_at(index, number);
		const struct place *at = &reader->places[entry->pump];
		uint64_t stop = entry->offset + entry->length;
		size_t most = smaller(limit, at->limit);

		if (may_take(at) && at->offset < stop && at->offset < output->pumps[entry->pump].log.end)
			return log_chunk(reader, entry->pump, extend(reader, number, at->offset + most), entry->time_ns, most, chunk);
		done = done && (!at->reads || at->offset >= stop);
		if (done && number + 1 < end) /* the last one may still grow */
			reader->cursor = number + 1;
	}
	return READER_NOTHING;
}

/* What a direct slot has in its pipe, or can be read into it now. */
static enum reader_result direct_chunk(struct reader *reader, size_t limit, struct chunk *chunk)
{
	struct output *output = reader->output;

	for (size_t i = 0; i < output->pump_count; i++) {
		struct pump *pump = &output->pumps[i];
		size_t most = smaller(limit, reader->places[i].limit);

		if (!pump->direct || !may_take(&reader->places[i]) || (pump->via && pump->via->holder && pump->via->holder != reader))
			continue;
		if (pump_direct_next(pump, most) == 0)
			continue;
		pump->via->holder = reader;
		*chunk = (struct chunk){.slot = pump->slot, .offset = pump->log.end, .time_ns = pump->via->time_ns};
		chunk->length = pump->via->length < most ? (size_t)pump->via->length : most;
		chunk->pipe_fd = pump->via->fds[0];
		return READER_PIPE;
	}
	return READER_NOTHING;
}

/* Whether every slot has ended and was taken. */
static bool is_done(const struct reader *reader)
{
	const struct output *output = reader->output;

	for (size_t i = 0; i < output->pump_count; i++)
		if (reader->places[i].reads && (!output->pumps[i].ended || reader->places[i].offset < pump_total(&output->pumps[i])))
			return false;
	return true;
}

/* Whoever asks for more has passed on what it took: the log may let go of it. */
static void settle(struct reader *reader)
{
	for (size_t i = 0; i < reader->output->pump_count; i++) {
		struct place *at = &reader->places[i];

		if (at->safe == at->offset)
			continue;
		at->safe = at->offset;
		pump_kick(&reader->output->pumps[i]);
	}
}

enum reader_result reader_next(struct reader *reader, size_t limit, struct chunk *chunk_out)
{
	enum reader_result result = READER_NOTHING;

	*chunk_out = (struct chunk){.pipe_fd = -1};
	if (!reader->output)
		return READER_END;
	unpin(reader);
	settle(reader);
	if (limit > CHUNK_MAX)
		limit = CHUNK_MAX;
	if (limit)
		result = old_chunk(reader, limit, chunk_out);
	if (limit && result == READER_NOTHING)
		result = indexed_chunk(reader, limit, chunk_out);
	if (limit && result == READER_NOTHING)
		result = direct_chunk(reader, limit, chunk_out);
	if (result != READER_NOTHING)
		return result;
	if (is_done(reader))
		return READER_END;
	reader->waiting = true;
	return READER_NOTHING;
}

/* A reader lost bytes: the observer of the output is told, of several gaps in one. */
static void note_gap(struct pump *pump, const struct chunk *chunk)
{
	if (!pump->gap_bytes)
		pump->gap_offset = chunk->offset;
	pump->gap_bytes += chunk->gap;
	loop_defer_trigger(pump->output->defer);
}

void reader_take(struct reader *reader, const struct chunk *chunk)
{
	struct output *output = reader->output;
	struct pump *pump = NULL;
	struct place *at;

	for (size_t i = 0; output && i < output->pump_count && !pump; i++)
		if (output->pumps[i].slot == chunk->slot)
			pump = &output->pumps[i];
	if (!pump)
		return;
	unpin(reader);
	at = &reader->places[pump_index(pump)];
	if (at->offset == chunk->offset)
		at->offset += chunk->gap ? chunk->gap : chunk->length;
	if (chunk->gap)
		note_gap(pump, chunk);
	if (chunk->pipe_fd >= 0 && pump->via && pump->via->holder == reader)
		pump_direct_take(pump, chunk->length);
	pump_kick(pump);
}
