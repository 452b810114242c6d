/*
 * One channel: its socket on the loop, and its end. The end is decided anywhere and told from the loop, when nobody is in the
 * middle of something: to the readers, to the registry's observer, to the child.
 */
#include "channel/channel.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>

#include "base/log.h"
#include "base/loop.h"
#include "base/mem.h"
#include "channel/channel_parts.h"

#define TELL_EVERY_US 100000u

void channel_watch(struct channel *channel)
{
	unsigned wanted = 0;

	if (!channel->watch)
		return;
	if (!channel->ends && incoming_wants(channel))
		wanted |= LOOP_READ;
	if (!channel->ends && outgoing_wants(channel))
		wanted |= LOOP_WRITE;
	if (wanted != channel->watched)
		loop_fd_set(channel->watch, wanted);
	channel->watched = wanted;
}

static void on_socket(void *arg, unsigned events)
{
	struct channel *channel = arg;

	if ((events & LOOP_WRITE) && !channel->ends)
		outgoing_flush(channel);
	if ((events & LOOP_READ) && !channel->ends)
		incoming_read(channel);
	channel_watch(channel);
}

/* ---- the end ---- */

void channel_end(struct channel *channel, enum channel_reason reason, const struct err *err)
{
	if (channel->ends)
		return;
	channel->ends = true;
	channel->in_ended = true;
	channel->ending.reason = reason == CHANNEL_ENDED_CHILD && channel->out_ending ? CHANNEL_ENDED_CLIENT : reason;
	if (err)
		channel->ending.err = *err;
	TAILQ_INSERT_TAIL(&channel->channels->ending, channel, ending_entry);
	loop_defer_trigger(channel->channels->defer);
	channel_watch(channel);
}

void channel_fail(struct channel *channel, int error, const char *format, ...)
{
	char text[sizeof(((struct err *)NULL)->message)];
	struct err err;
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	err_errno(&err, error, "channel", NULL);
	snprintf(err.message, sizeof(err.message), "%s", text);
	log_(LOG_INFO, "process %" PRIu64 ": its channel ends: %s", channel->id, text);
	channel_end(channel, CHANNEL_ENDED_ERROR, &err);
}

/* What the readers have not read yet stays, here and with the keeper. */
static void close_channel(struct channel *channel)
{
	const struct process_host *host = channel->channels->host;

	loop_fd_destroy(channel->watch);
	channel->watch = NULL;
	if (channel->outbox.control)
		atomic_store(&channel->outbox.control->ended, (uint32_t)channel->ending.reason);
	outgoing_finish(channel);
	fd_close(&channel->fd);
	host->store_drop(host->context, STORE_CHANNEL, channel->id, STORE_CHANNEL_SOCKET);
	channel->channels->open--;
	channel->channels->engine_lost += channel->ending.reason == CHANNEL_ENDED_ENGINE_LOST;
}

void channel_empty(struct channel *channel)
{
	const struct process_host *host = channel->channels->host;

	if (!channel->ended || !channel->outbox.control)
		return;
	channel->taken_id = outbox_committed(&channel->outbox).id;
	outbox_finish(&channel->outbox);
	inbox_finish(&channel->inbox);
	for (uint32_t index = STORE_CHANNEL_OUT; index < STORE_CHANNEL_COUNT; index++)
		host->store_drop(host->context, STORE_CHANNEL, channel->id, index);
}

static void tell_end(struct channel *channel)
{
	struct channels *channels = channel->channels;
	struct channel_reader *reader, *next;
	struct child *child = channel->child;

	close_channel(channel);
	channel->ended = true;
	if (TAILQ_EMPTY(&channel->letters))
		channel_empty(channel);
	log_(LOG_DEBUG, "process %" PRIu64 ": its channel has ended, reason %d", channel->id, (int)channel->ending.reason);
	for (reader = TAILQ_FIRST(&channel->readers); reader; reader = next) {
		next = TAILQ_NEXT(reader, entry);
		reader->observer->on_ready(reader->context);
	}
	if (channels->observer)
		channels->observer->on_disconnected(channels->context, child, &channel->ending);
	child_channel_ended(child);
}

static void on_defer(void *arg)
{
	struct channels *channels = arg;
	struct channel *channel;

	while ((channel = TAILQ_FIRST(&channels->ending))) {
		TAILQ_REMOVE(&channels->ending, channel, ending_entry);
		tell_end(channel);
	}
}

/* ---- the child ---- */

static void destroy(struct channel *channel)
{
	struct channels *channels = channel->channels;

	if (channel->ends && !channel->ended)
		TAILQ_REMOVE(&channels->ending, channel, ending_entry);
	if (!channel->ended)
		close_channel(channel);
	channel->ended = true;
	child_unobserve(channel->child, channel);
	incoming_finish(channel);
	channel_empty(channel);
	outbox_finish(&channel->outbox);
	HASH_DEL(channels->table, channel);
	free(channel);
}

/* The other side is closed unless somebody else holds it: what is there is read in any case. */
static void on_exited(void *context, struct child *child)
{
	struct channel *channel = context;

	if (!channel->ends)
		incoming_read(channel);
	channel_watch(channel);
}

/* Nobody is waited for any more; what the child said is still read, as long as there is someone to read it. */
static void on_drain_over(void *context, struct child *child)
{
	struct channel *channel = context;

	if (channel->ends)
		return;
	channel->given_up = true;
	incoming_read(channel);
	if (!channel->ends && !incoming_reader(channel))
		channel_end(channel, CHANNEL_ENDED_GIVEN_UP, NULL);
	channel_watch(channel);
}

static void on_removed(void *context, struct child *child)
{
	destroy(context);
}

static const struct child_observer observer = {.on_exited = on_exited, .on_drain_over = on_drain_over, .on_removed = on_removed};

/* ---- telling that messages came ---- */

static void on_teller(void *arg)
{
	struct channels *channels = arg;
	bool told = false;

	for (struct channel *channel = channels->table, *next; channel; channel = next) {
		uint64_t count = channel->untold;

		next = channel->hh.next;
		channel->untold = 0;
		told = told || count;
		if (count && channels->observer)
			channels->observer->on_messages(channels->context, channel->child, channel->messages, count);
	}
	if (told)
		loop_timer_set(channels->teller, TELL_EVERY_US);
}

void channel_note_message(struct channel *channel)
{
	channel->untold++;
	if (!loop_timer_pending(channel->channels->teller))
		loop_timer_set(channel->channels->teller, 0);
}

/* ---- registry ---- */

struct channels *channels_create(const struct process_host *host)
{
	struct channels *channels = mem_alloc(sizeof(*channels));

	channels->host = host;
	channels->defer = loop_defer_create(host->loop, on_defer, channels);
	channels->teller = loop_timer_create(host->loop, on_teller, channels);
	TAILQ_INIT(&channels->ending);
	return channels;
}

void channels_observe(struct channels *channels, const struct channels_observer *tell, void *context)
{
	channels->observer = tell;
	channels->context = context;
}

void channels_destroy(struct channels *channels)
{
	if (!channels)
		return;
	while (channels->table)
		destroy(channels->table);
	loop_defer_destroy(channels->defer);
	loop_timer_destroy(channels->teller);
	free(channels);
}

static struct channel *add_channel(struct channels *channels, struct child *child, int fd)
{
	static const struct format *const formats[] = {
		[CHANNEL_JSON] = &format_json, [CHANNEL_ADVANCED] = &format_advanced, [CHANNEL_NATIVE] = &format_native};
	struct channel *channel = mem_alloc(sizeof(*channel));

	channel->channels = channels;
	channel->child = child;
	channel->id = child_id(child);
	channel->format = (enum channel_format)child_spec(child)->message->serialization;
	channel->ops = formats[channel->format];
	channel->fd = fd;
	incoming_init(channel);
	outgoing_init(channel);
	HASH_ADD(hh, channels->table, id, sizeof(channel->id), channel);
	channels->open++;
	child_observe(child, &observer, channel);
	if (fd >= 0)
		channel->watch = loop_fd_create(channels->host->loop, fd, 0, on_socket, channel);
	return channel;
}

/* Makes what stands behind the socket, and gives the keeper its part. 0 or negative with *err. */
static int create_boxes(struct channel *channel, struct err *err)
{
	const struct process_host *host = channel->channels->host;
	int fds[3], done = outbox_create(&channel->outbox);

	if (done == 0)
		done = inbox_create(&channel->inbox);
	if (done < 0)
		return err_errno(err, -done, "memfd_create", NULL);
	fds[0] = channel->outbox.fd;
	fds[1] = channel->inbox.ring->fd;
	done = host->store_put(host->context, STORE_CHANNEL, channel->id, STORE_CHANNEL_OUT, fds, 2, err);
	if (done == 0)
		done = host->store_put(host->context, STORE_CHANNEL, channel->id, STORE_CHANNEL_PIPE, channel->inbox.pipe, 2, err);
	return done;
}

struct channel *channels_find(const struct channels *channels, const struct child *child)
{
	uint64_t id = child_id(child);
	struct channel *channel;

	HASH_FIND(hh, channels->table, &id, sizeof(id), channel);
	return channel;
}

void channel_stats(const struct channel *channel, struct channel_stats *stats_out)
{
	*stats_out = (struct channel_stats){
		.sent = channel->sent,
		.received = channel->messages,
		.bytes = channel->waiting,
		.fds = channel->going_fds + channel->held_fds,
	};
	if (channel->inbox.ring)
		stats_out->bytes += inbox_end(&channel->inbox) - channel->inbox.released;
}

void channels_stats(const struct channels *channels, struct channels_stats *stats_out)
{
	struct channel_stats each;

	*stats_out = (struct channels_stats){
		.channels = channels->open, .sent = channels->sent, .received = channels->received, .engine_lost = channels->engine_lost};
	for (const struct channel *channel = channels->table; channel; channel = channel->hh.next) {
		channel_stats(channel, &each);
		stats_out->bytes += each.bytes;
		stats_out->fds += each.fds;
	}
}

/* ---- opening ---- */

/* What an engine that was lost has left. 0, or negative: it does not add up, a message was half moved. */
static int recover_boxes(struct channel *channel, int fds[STORE_CHANNEL_COUNT])
{
	struct outbox_in from;
	int done = outbox_recover(&channel->outbox, fd_steal(&fds[STORE_CHANNEL_OUT]));

	if (done < 0)
		return done;
	from = outbox_in(&channel->outbox);
	done = inbox_recover(&channel->inbox, fd_steal(&fds[STORE_CHANNEL_IN]), fd_steal(&fds[STORE_CHANNEL_PIPE]),
		fd_steal(&fds[STORE_CHANNEL_PIPE + 1]), from.done);
	if (done < 0)
		return done;
	incoming_resume(channel, from);
	if (atomic_load(&channel->outbox.control->ended))
		channel_end(channel, (enum channel_reason)atomic_load(&channel->outbox.control->ended), NULL);
	else
		outgoing_resume(channel);
	return 0;
}

/* Whether both boxes were stored: before that nothing was moved. */
static bool has_boxes(const int fds[STORE_CHANNEL_COUNT])
{
	for (size_t i = STORE_CHANNEL_OUT; i < STORE_CHANNEL_COUNT; i++)
		if (fds[i] < 0)
			return false;
	return true;
}

void channels_open(struct channels *channels, struct child *child)
{
	int fds[STORE_CHANNEL_COUNT];
	struct channel *channel;
	struct err err;

	if (!child_take_channel(child, fds))
		return;
	channel = add_channel(channels, child, fd_steal(&fds[STORE_CHANNEL_SOCKET]));
	if (has_boxes(fds)) {
		if (recover_boxes(channel, fds) < 0)
			channel_end(channel, CHANNEL_ENDED_ENGINE_LOST, NULL);
	} else if (channel->fd < 0 || create_boxes(channel, &err) < 0) {
		channel_end(channel, CHANNEL_ENDED_ERROR, channel->fd < 0 ? NULL : &err);
	}
	for (size_t i = 0; i < STORE_CHANNEL_COUNT; i++)
		fd_close(&fds[i]);
	channel_watch(channel);
}

/* ---- facts ---- */

enum channel_format channel_format(const struct channel *channel)
{
	return channel->format;
}

const struct channel_ending *channel_ending(const struct channel *channel)
{
	return channel->ended ? &channel->ending : NULL;
}

uint64_t channel_taken_id(const struct channel *channel)
{
	return channel->outbox.control ? outbox_committed(&channel->outbox).id : channel->taken_id;
}
