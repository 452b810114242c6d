/*
 * The output of a child as a whole: its slots, and the one place that calls readers and observers, after the callbacks of a
 * pass, so that nobody is called from inside what they called.
 */
#include <sys/stat.h>

#include "base/log.h"
#include "base/mem.h"
#include "process/logfile.h"
#include "process/output_parts.h"

/* Calls readers; false: the output is gone. */
static bool call_readers(struct output *output)
{
	struct reader *reader;

	while ((reader = TAILQ_FIRST(&output->ready))) {
		TAILQ_REMOVE(&output->ready, reader, ready_link);
		reader->ready = false;
		reader->waiting = false;
		reader->observer->on_ready(reader->context, reader);
		if (output->destroyed)
			return false;
	}
	return true;
}

/* Tells what one slot has to tell; false: the output is gone. */
static bool tell_slot(struct output *output, struct pump *pump)
{
	const struct output_observer *observer = output->observer;
	uint64_t bytes = pump->gap_bytes;

	pump->gap_bytes = 0;
	if (bytes && observer->on_gap)
		observer->on_gap(output->context, pump->slot, pump->gap_offset, bytes);
	if (output->destroyed)
		return false;
	if (pump->tell_kill) {
		pump->tell_kill = 0;
		if (observer->on_capture_kill)
			observer->on_capture_kill(output->context, pump->slot);
	}
	if (output->destroyed)
		return false;
	if (pump->tell_end) {
		pump->tell_end = 0;
		if (observer->on_end)
			observer->on_end(output->context, pump->slot, pump->complete);
	}
	return !output->destroyed;
}

/* Tells what became of the log file; false: the output is gone. */
static bool tell_log_file(struct output *output)
{
	int error = output->logfile ? logfile_error(output->logfile) : 0;

	if (error == output->log_error)
		return true;
	output->log_error = error;
	if (output->observer->on_log_file)
		output->observer->on_log_file(output->context, error);
	return !output->destroyed;
}

/* The one place that calls observers: readers first, so that the end of a slot is not told before its last bytes. */
static void call_observers(struct output *output)
{
	if (!call_readers(output) || !tell_log_file(output))
		return;
	for (size_t i = 0; i < output->pump_count; i++)
		if (!tell_slot(output, &output->pumps[i]))
			return;
	for (size_t i = 0; i < output->pump_count; i++)
		pump_freeze(&output->pumps[i]);
	if (output->started && !output->open && !output->told_all) {
		output->told_all = true;
		outindex_trim(output);
		if (output->observer->on_all_ended)
			output->observer->on_all_ended(output->context);
	}
}

static void on_defer(void *arg)
{
	struct output *output = arg;

	for (size_t i = 0; i < output->pump_count; i++)
		if (output->pumps[i].state == PUMP_HOT)
			pump_read(&output->pumps[i]);
	output->calling = true;
	call_observers(output);
	output->calling = false;
	if (output->destroyed)
		free(output);
}

struct output *output_create(const struct process_host *host, struct output_stats *stats, uint64_t owner, struct logfile *logfile,
	const struct output_observer *observer, void *context)
{
	struct output *output = mem_alloc(sizeof(*output));

	output->host = host;
	output->stats = stats;
	output->owner = owner;
	output->logfile = logfile;
	output->observer = observer;
	output->context = context;
	TAILQ_INIT(&output->readers);
	TAILQ_INIT(&output->ready);
	output->defer = loop_defer_create(host->loop, on_defer, output);
	return output;
}

void output_destroy(struct output *output)
{
	if (!output)
		return;
	readers_orphan(output);
	for (size_t i = 0; i < output->pump_count; i++)
		pump_finish(&output->pumps[i]);
	loop_timer_destroy(output->timer);
	loop_defer_destroy(output->defer);
	outindex_finish(&output->index);
	free(output->pumps);
	output->destroyed = true;
	if (!output->calling)
		free(output);
}

void output_add(struct output *output, const struct output_slot *slot)
{
	size_t at = output->pump_count++;
	struct stat facts;
	struct pump *pump;

	output->pumps = mem_realloc(output->pumps, output->pump_count * sizeof(*output->pumps));
	for (; at && output->pumps[at - 1].slot > slot->slot; at--)
		output->pumps[at] = output->pumps[at - 1];
	pump = &output->pumps[at];
	memset(pump, 0, sizeof(*pump));
	pump->output = output;
	pump->slot = slot->slot;
	pump->fd = slot->fd;
	pump->left = UINT64_MAX;
	pump->borrowed = slot->borrowed;
	pump->pipe = slot->pipe || (slot->fd >= 0 && fstat(slot->fd, &facts) == 0 && S_ISFIFO(facts.st_mode));
	pump->direct = slot->direct && !output->logfile && (!slot->capture_limit || slot->capture_policy != CAPTURE_CUT_HEAD);
	outlog_init(&pump->log, slot);
	pump->kept = slot->kept;
	output->open += slot->fd >= 0;
	if (slot->recovered)
		pump_recover(pump, slot);
}

void output_start(struct output *output)
{
	output->started = true;
	for (size_t i = 0; i < output->pump_count; i++)
		pump_start(&output->pumps[i]);
	loop_defer_trigger(output->defer);
}

void output_stop_waiting(struct output *output)
{
	for (size_t i = 0; i < output->pump_count; i++) {
		struct pump *pump = &output->pumps[i];

		if (pump->unsure)
			log_(LOG_WARNING, "process %llu: nobody said where slot %u was read to; its offsets may be off by one frame",
				(unsigned long long)output->owner, pump->slot);
		if (pump->waits || pump->unsure)
			pump_claim(pump, pump->log.end);
	}
}

void output_give_up(struct output *output)
{
	for (size_t i = 0; i < output->pump_count; i++)
		pump_give_up(&output->pumps[i]);
}

/* ---- facts ---- */

size_t output_count(const struct output *output)
{
	return output->pump_count;
}

bool output_total(const struct output *output, size_t index, struct output_total *total_out)
{
	const struct pump *pump;

	if (index >= output->pump_count)
		return false;
	pump = &output->pumps[index];
	*total_out = (struct output_total){
		.slot = pump->slot,
		.bytes = pump_total(pump) + pump->log.cut,
		.retained_from = pump_retained(pump),
		.complete = pump->complete,
		.ended = pump->ended,
		.direct = pump->direct,
		.cut_offset = pump_total(pump),
		.cut_bytes = pump->log.cut,
	};
	if (pump->log.head_cut && total_out->bytes > pump->log.retain) {
		total_out->cut_offset = 0;
		total_out->cut_bytes = total_out->bytes - pump->log.retain;
	}
	return true;
}

void output_held(const struct output *output, uint64_t *bytes_out, unsigned *rings_out)
{
	*bytes_out = 0;
	*rings_out = 0;
	for (size_t i = 0; i < output->pump_count; i++) {
		*bytes_out += output->pumps[i].log.charged;
		*rings_out += output->pumps[i].log.ring != NULL;
	}
}

bool output_ended(const struct output *output)
{
	return output->started && !output->open;
}

unsigned output_reader_count(const struct output *output)
{
	return output->reader_count;
}
