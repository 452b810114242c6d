/*
 * Receiving. The channel's memory is the only buffer: it is read into, heads are taken off its front, and messages point into it.
 *
 *   |  given to the caller  | start ... what was read ... end |  room  |
 *
 * A read ends behind the piece that carried descriptors (the kernel sees to it), so before a read at most those of a head in
 * part are not announced, and after it at most those of one record more.
 */
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <string.h>
#include <time.h>

#include "internal.h"

static size_t buffered(const struct spawnd_channel *channel)
{
	return channel->end - channel->start;
}

/* What was read moves to the front when `needed` bytes from `start` on would not fit. */
static void make_room(struct spawnd_channel *channel, size_t needed)
{
	size_t size = buffered(channel);

	if (size && channel->memory_size - channel->start >= needed)
		return;
	memmove(channel->memory, channel->memory + channel->start, size);
	channel->start = 0;
	channel->end = size;
}

static int fail_receive(struct spawnd_channel *channel, int error, const char *why)
{
	channel->receive_failure = error;
	channel->receive_why = why;
	return spawnd_rt_fail(channel, error, "receiving: %s", why);
}

/* The other side is gone, or will send no more. */
static int end(struct spawnd_channel *channel)
{
	if (buffered(channel) || channel->in_record)
		return fail_receive(channel, -ECONNRESET, "the channel ended inside a message");
	channel->end_told = true;
	return SPAWND_CHANNEL_END;
}

/* Reads once. 1: there are more bytes, 0: none yet, SPAWND_CHANNEL_END, or -errno. */
static int fill(struct spawnd_channel *channel, size_t needed)
{
	bool head_in_part = !channel->in_record && buffered(channel);
	struct spawnd_channel_fds *fds = &channel->arrived[channel->arrived_count];
	ssize_t got;

	if (channel->arrived_count > (head_in_part ? 1 : 0))
		return fail_receive(channel, -EPROTO, "descriptors came that no message announced");
	make_room(channel, needed);
	got = spawnd_rt_socket_receive(channel->fd, channel->memory + channel->end, channel->memory_size - channel->end, fds);
	if (got == -EAGAIN)
		return 0;
	if (got == -EPROTO)
		return fail_receive(channel, -EPROTO, "more than 16 descriptors came at once");
	if (got < 0)
		return fail_receive(channel, (int)got, strerror((int)-got));
	if (fds->count || fds->lost)
		channel->arrived_count++;
	if (got == 0)
		return end(channel);
	channel->end += (size_t)got;
	return 1;
}

/* Pairs a head with the descriptors that came for it. */
static int match_fds(struct spawnd_channel *channel, unsigned announced)
{
	channel->announced.count = 0;
	channel->announced.lost = false;
	if (announced == 0)
		return 0;
	if (channel->arrived_count == 0 || (!channel->arrived[0].lost && channel->arrived[0].count != announced))
		return fail_receive(channel, -EPROTO, "a message came without the descriptors it announces");
	channel->announced = channel->arrived[0];
	channel->arrived[0] = channel->arrived[1];
	channel->arrived_count--;
	return 0;
}

/* Takes the head of the next record. 1: done, 0: not all of it is there yet, SPAWND_CHANNEL_END, or -errno. */
static int take_head(struct spawnd_channel *channel)
{
	struct record_head head;
	const char *why;
	int used, error;

	while ((used = spawnd_rt_record_decode(channel->memory + channel->start, buffered(channel), &head, &why)) == 0) {
		int filled = fill(channel, RECORD_HEAD_MAX);

		if (filled != 1)
			return filled;
	}
	if (used < 0)
		return fail_receive(channel, used, why);
	error = match_fds(channel, head.descriptors);
	if (error < 0)
		return error;
	channel->start += (size_t)used;
	channel->in_record = true;
	channel->record_size = head.data_size;
	channel->record_offset = 0;
	memcpy(channel->content_type, head.content_type, sizeof(head.content_type));
	return 1;
}

/* Gives the next `length` bytes of the record to the caller. */
static int give(struct spawnd_channel *channel, size_t length, struct spawnd_channel_message *out)
{
	bool whole = length == channel->record_size;

	out->content_type = channel->content_type;
	out->size = channel->record_size;
	out->offset = channel->record_offset;
	out->data = channel->memory + channel->start;
	out->length = length;
	out->fd_count = channel->announced.count;
	out->fd_error = channel->announced.lost ? -EMFILE : 0;
	memcpy(out->fds, channel->announced.fds, sizeof(out->fds));
	channel->announced.count = 0;
	channel->start += length;
	channel->record_offset += length;
	channel->in_record = channel->record_offset < channel->record_size;
	return whole ? SPAWND_CHANNEL_MESSAGE : SPAWND_CHANNEL_PART;
}

/* A record that fits waits until it is whole; of a larger one, whatever is there is given. */
static int take_data(struct spawnd_channel *channel, struct spawnd_channel_message *out)
{
	uint64_t left = channel->record_size - channel->record_offset;
	size_t needed = channel->record_size <= channel->memory_size ? (size_t)left : 1;

	while (buffered(channel) < needed) {
		int filled = fill(channel, needed);

		if (filled != 1)
			return filled;
	}
	return give(channel, buffered(channel) < left ? buffered(channel) : (size_t)left, out);
}

int spawnd_channel_receive(struct spawnd_channel *channel, struct spawnd_channel_message *message_out)
{
	if (!channel->open)
		return spawnd_rt_fail(channel, -ENOTCONN, "the channel is closed");
	if (channel->receive_failure)
		return fail_receive(channel, channel->receive_failure, channel->receive_why);
	if (channel->end_told)
		return spawnd_rt_fail(channel, -ENOTCONN, "the other side has ended");
	if (!channel->in_record) {
		int taken = take_head(channel);

		if (taken != 1)
			return taken;
	}
	return take_data(channel, message_out);
}

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int spawnd_channel_receive_wait(struct spawnd_channel *channel, struct spawnd_channel_message *message_out, int timeout_ms)
{
	int64_t deadline = timeout_ms < 0 ? 0 : now_ms() + timeout_ms;
	int result;

	while ((result = spawnd_channel_receive(channel, message_out)) == SPAWND_CHANNEL_NOTHING) {
		int64_t left = timeout_ms < 0 ? -1 : deadline - now_ms();
		int ready;

		if (timeout_ms >= 0 && left <= 0)
			return SPAWND_CHANNEL_NOTHING;
		ready = spawnd_channel_wait(channel, POLLIN, (int)left);
		if (ready < 0 && ready != -EINTR)
			return ready;
	}
	return result;
}
