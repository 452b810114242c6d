/*
 * See input.h. The child's room counts bytes of a slot, whoever sent them; bytes reach the kernel in the order they entered
 * its queue. So a stream remembers where in that order its own stand (struct range), and what of them the kernel has follows
 * from the one number it is told.
 */
#include "service/input.h"

#include <errno.h>
#include <string.h>
#include <sys/queue.h>
#include <uthash.h>

#include "base/mem.h"
#include "rpc/call.h"

#define RANGES_MAX 32

/* All that was written to one slot of one child. */
struct feed {
	UT_hash_handle hh; /* feeds::table, by key */
	struct {
		uint64_t process;
		uint64_t slot;
	} key;
	uint64_t accepted; /* entered the child's queue */
	uint64_t kernel;   /* left it */
	uint64_t waiting;  /* not in it yet, with all the streams */
};

struct feeds {
	struct feed *table;
};

/* `bytes` of ours, the last of them at `end` of all that entered the queue. */
struct range {
	uint64_t end, bytes;
};

struct input_slot {
	struct input_slot *next; /* input::slots */
	uint32_t slot;
	bool eof;     /* asked for; done once waiting is empty */
	bool ended;   /* done */
	bool late;    /* data followed the end: told when all before it is with the kernel */
	bool closed;  /* the child reads no more */
	bool told;    /* that nothing more is taken */
	bool writing; /* inside child_write */
	struct buf waiting;
	struct range ranges[RANGES_MAX]; /* not yet with the kernel, oldest first */
	unsigned range_count;
};

/* ---- feeds ---- */

struct feeds *feeds_create(void)
{
	return mem_alloc(sizeof(struct feeds));
}

static void drop_feed(struct feeds *feeds, struct feed *feed)
{
	HASH_DEL(feeds->table, feed);
	free(feed);
}

void feeds_destroy(struct feeds *feeds)
{
	struct feed *feed, *next;

	if (!feeds)
		return;
	HASH_ITER(hh, feeds->table, feed, next)
	drop_feed(feeds, feed);
	free(feeds);
}

static struct feed *find_feed(struct feeds *feeds, uint64_t process, uint32_t slot)
{
	struct feed *feed, key = {.key = {.process = process, .slot = slot}};

	HASH_FIND(hh, feeds->table, &key.key, sizeof(key.key), feed);
	return feed;
}

/* What an engine before this one wrote is in the child's own account. */
static struct feed *feed_of(const struct input *input, uint32_t slot)
{
	struct feed *feed = find_feed(input->feeds, child_id(input->child), slot);

	if (feed)
		return feed;
	feed = mem_alloc(sizeof(*feed));
	feed->key.process = child_id(input->child);
	feed->key.slot = slot;
	child_input_total(input->child, slot, &feed->accepted, &feed->kernel);
	HASH_ADD(hh, input->feeds->table, key, sizeof(feed->key), feed);
	return feed;
}

void feeds_forget(struct feeds *feeds, const struct child *child)
{
	const struct spec *spec = child_spec(child);

	for (size_t i = 0; feeds->table && i < spec->slot_count; i++) {
		struct feed *feed = spec_is_input(spec, &spec->slots[i]) ? find_feed(feeds, child_id(child), spec->slots[i].slot) : NULL;

		if (feed)
			drop_feed(feeds, feed);
	}
}

/* ---- counting ---- */

void input_init(struct input *input, struct feeds *feeds, struct call *call, struct child *child, const struct input_observer *observer,
	void *context)
{
	*input = (struct input){
		.feeds = feeds, .call = call, .child = child, .observer = observer, .context = context, .granted = INPUT_WINDOW};
}

void input_finish(struct input *input)
{
	struct input_slot *slot;

	while ((slot = input->slots)) {
		struct feed *feed = find_feed(input->feeds, child_id(input->child), slot->slot);

		input->slots = slot->next;
		if (feed) /* forgotten already when the process is being removed */
			feed->waiting -= slot->waiting.length;
		buf_finish(&slot->waiting);
		free(slot);
	}
}

static struct input_slot *find_slot(const struct input *input, uint32_t number)
{
	struct input_slot *slot = input->slots;

	while (slot && slot->slot != number)
		slot = slot->next;
	return slot;
}

static struct input_slot *slot_of(struct input *input, uint32_t number)
{
	struct input_slot *slot = find_slot(input, number);

	if (slot)
		return slot;
	slot = mem_alloc(sizeof(*slot));
	slot->slot = number;
	slot->next = input->slots;
	input->slots = slot;
	return slot;
}

/* The child's queue took bytes of ours; they end at `end` of all it took. */
static void add_range(struct input_slot *slot, uint64_t end, uint64_t bytes)
{
	struct range *last = slot->range_count ? &slot->ranges[slot->range_count - 1] : NULL;

	/* bytes of others in between, and no room to tell: count ours as the last, which is late but never wrong */
	if (last && (last->end == end - bytes || slot->range_count == RANGES_MAX)) {
		last->end = end;
		last->bytes += bytes;
		return;
	}
	slot->ranges[slot->range_count++] = (struct range){.end = end, .bytes = bytes};
}

/* How many of our bytes the kernel took since we asked last. */
static uint64_t settle(struct input_slot *slot, uint64_t kernel)
{
	uint64_t settled = 0;
	unsigned gone = 0;

	for (unsigned i = 0; i < slot->range_count; i++) {
		struct range *range = &slot->ranges[i];
		uint64_t left = range->end > kernel ? range->end - kernel : 0;

		if (left >= range->bytes)
			break;
		settled += range->bytes - left;
		range->bytes = left;
		if (left)
			break;
		gone++;
	}
	slot->range_count -= gone;
	memmove(slot->ranges, slot->ranges + gone, slot->range_count * sizeof(*slot->ranges));
	return settled;
}

bool input_is_idle(const struct input *input)
{
	for (const struct input_slot *slot = input->slots; slot; slot = slot->next)
		if (slot->eof && !slot->closed)
			return false;
	return input->done == input->received;
}

/* Counts what waits here as memory of the client. 0, or RESOURCE_EXHAUSTED. */
static int hold(const struct input *input, struct err *err)
{
	size_t waiting = 0;

	for (const struct input_slot *slot = input->slots; slot; slot = slot->next)
		waiting += slot->waiting.length;
	return call_hold(input->call, waiting, err);
}

/* Grants again what was used up, and tells when nothing is under way. */
static void tell(struct input *input)
{
	uint64_t due = input->done + INPUT_WINDOW;
	uint64_t room = due > input->granted ? due - input->granted : 0;

	hold(input, NULL);
	if (room >= INPUT_GRANT) {
		input->granted += room;
		input->observer->on_grant(input->context, room);
	}
	if (input->observer->on_idle && input_is_idle(input))
		input->observer->on_idle(input->context);
}

/* Bytes that nobody will read. */
static void lose(struct input *input, uint64_t bytes)
{
	input->done += bytes;
	input->lost += bytes;
}

/* The child's room counts what the kernel took before it tells. */
static void tell_closed(struct input *input, struct input_slot *slot)
{
	uint64_t taken, kernel = 0;

	if (slot->told)
		return;
	slot->told = true;
	child_input_total(input->child, slot->slot, &taken, &kernel);
	input->observer->on_closed(input->context, slot->slot, kernel);
}

/* Throws away what waits and counts it: nobody will read it. */
static void close_slot(struct input *input, struct input_slot *slot)
{
	struct feed *feed = feed_of(input, slot->slot);
	uint64_t lost = slot->waiting.length;

	if (slot->closed)
		return;
	slot->closed = true;
	for (unsigned i = 0; i < slot->range_count; i++)
		lost += slot->ranges[i].bytes;
	slot->range_count = 0;
	feed->waiting -= slot->waiting.length;
	buf_finish(&slot->waiting);
	slot->waiting = (struct buf){0};
	lose(input, lost);
	tell_closed(input, slot);
}

/* ---- writing ---- */

/* Gives the child's queue what waits, then the end of file. The observer is not called but for a closed slot. */
static void write_slot(struct input *input, struct input_slot *slot)
{
	struct feed *feed = feed_of(input, slot->slot);

	if (child_state(input->child) == CHILD_STARTING || slot->writing)
		return;
	slot->writing = true;
	while (!slot->closed && slot->waiting.length) {
		ssize_t taken = child_write(input->child, slot->slot, slot->waiting.bytes, slot->waiting.length);

		if (taken < 0) {
			close_slot(input, slot);
			break;
		}
		if (taken == 0)
			break;
		feed->accepted += (uint64_t)taken;
		feed->waiting -= (uint64_t)taken;
		add_range(slot, feed->accepted, (uint64_t)taken);
		buf_consume(&slot->waiting, (size_t)taken);
	}
	buf_trim(&slot->waiting, 0);
	if (slot->eof && !slot->closed && slot->waiting.length == 0) {
		slot->eof = false;
		slot->ended = true;
		child_close_stdin(input->child, slot->slot, NULL);
	}
	slot->writing = false;
}

/* What the kernel took of this slot by now. */
static void count_slot(struct input *input, struct input_slot *slot)
{
	const struct feed *feed = feed_of(input, slot->slot);
	uint64_t settled = settle(slot, feed->kernel);

	input->done += settled;
	input->kernel += settled;
	if (slot->late && slot->ended && feed->kernel >= feed->accepted)
		tell_closed(input, slot);
}

static int put(struct input *input, struct input_slot *slot, const uint8_t *bytes, size_t size, bool eof, struct err *err)
{
	struct feed *feed = feed_of(input, slot->slot);
	int done;

	input->received += size;
	if (slot->closed) {
		lose(input, size);
	} else if (size && (slot->eof || slot->ended)) {
		lose(input, size);
		slot->late = true;
		count_slot(input, slot);
	} else {
		if (size)
			buf_append(&slot->waiting, bytes, size);
		feed->waiting += size;
		slot->eof = slot->eof || eof;
		write_slot(input, slot);
		count_slot(input, slot);
	}
	done = hold(input, err);
	if (done == 0)
		tell(input);
	return done;
}

uint64_t input_taken(const struct input *input, uint32_t slot)
{
	const struct feed *feed = find_feed(input->feeds, child_id(input->child), slot);
	uint64_t taken = 0, kernel;

	if (feed)
		return feed->accepted;
	child_input_total(input->child, slot, &taken, &kernel);
	return taken;
}

bool input_has_ended(const struct input *input, uint32_t number)
{
	const struct input_slot *slot = find_slot(input, number);

	return slot && (slot->eof || slot->ended);
}

bool input_has_slot(const struct child *child, uint32_t number)
{
	const struct spec *spec = child_spec(child);

	for (size_t i = 0; i < spec->slot_count; i++)
		if (spec->slots[i].slot == number)
			return spec_is_input(spec, &spec->slots[i]);
	return false;
}

/* Leaves out what was received before, which a client sends again after a lost connection. */
static int skip_known(
	struct input *input, const struct input_slot *slot, const Spawnd__V1__StdinData *data, size_t *skip_out, struct err *err)
{
	const struct feed *feed = feed_of(input, slot->slot);
	uint64_t known = feed->accepted + feed->waiting;

	*skip_out = 0;
	if (!data->_offset_case || slot->closed)
		return 0;
	if (data->offset > known)
		return err_invalid(err, "stdin.offset", "%llu leaves a hole: %llu bytes came before", (unsigned long long)data->offset,
			(unsigned long long)known);
	*skip_out = known - data->offset < data->data.len ? (size_t)(known - data->offset) : data->data.len;
	return 0;
}

int input_data(struct input *input, const Spawnd__V1__StdinData *data, struct err *err)
{
	struct input_slot *slot;
	size_t skip;

	if (!input_has_slot(input->child, data->slot))
		return err_invalid(err, "stdin.slot", "the process reads nothing from us at %u", data->slot);
	if (child_transport(input->child) == SPAWND__V1__TRANSPORT__TRANSPORT_HANDOVER)
		return err_set(err, STATUS_FAILED_PRECONDITION, "the client itself has the pipes of process %llu",
			(unsigned long long)child_id(input->child));
	if (input->received + data->data.len > input->granted)
		return err_set(err, STATUS_RESOURCE_EXHAUSTED, "%llu bytes of stdin were granted, more were sent",
			(unsigned long long)input->granted);
	slot = slot_of(input, data->slot);
	if (skip_known(input, slot, data, &skip, err) < 0)
		return -EINVAL;
	input->received += skip;
	input->done += skip;
	return put(input, slot, skip ? data->data.data + skip : data->data.data, data->data.len - skip, data->eof, err);
}

void input_whole(struct input *input, uint32_t slot, const ProtobufCBinaryData *bytes, bool eof, bool again)
{
	struct feed *feed = feed_of(input, slot);
	size_t skip = again && feed->accepted < bytes->len ? (size_t)feed->accepted : again ? bytes->len : 0;

	if (again && feed->waiting)
		return;
	/* as if it had been granted before: the window is for what comes later */
	input->granted += bytes->len - skip;
	put(input, slot_of(input, slot), skip ? bytes->data + skip : bytes->data, bytes->len - skip, eof, NULL);
}

void input_on_spawned(struct input *input)
{
	for (struct input_slot *slot = input->slots; slot; slot = slot->next) {
		write_slot(input, slot);
		count_slot(input, slot);
	}
	tell(input);
}

void input_on_room(struct input *input, uint32_t number, uint64_t written)
{
	struct feed *feed = feed_of(input, number);
	struct input_slot *slot = find_slot(input, number);

	if (written > feed->kernel)
		feed->kernel = written;
	if (!slot || slot->writing)
		return;
	write_slot(input, slot);
	count_slot(input, slot);
	tell(input);
}

void input_on_closed(struct input *input, uint32_t number)
{
	struct input_slot *slot = slot_of(input, number);

	count_slot(input, slot);
	close_slot(input, slot);
	if (!slot->writing)
		tell(input);
}
