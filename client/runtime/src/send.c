/*
 * Sending. One record is under way at a time:
 *
 *   idle --send--> head, then the caller's bytes (unsent) --> idle
 *   idle --begin--> head, then to_write bytes by write ------> idle
 *
 * Descriptors go with the first byte of the head, in the first system call, or the record has not begun.
 */
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include "internal.h"

static size_t head_left(const struct spawnd_channel *channel)
{
	return channel->head_size - channel->head_sent;
}

bool spawnd_channel_unsent(const struct spawnd_channel *channel)
{
	return channel->open && (head_left(channel) || channel->unsent_size);
}

static int fail_send(struct spawnd_channel *channel, int error)
{
	if (error == -EAGAIN)
		return spawnd_rt_fail(channel, error, "the channel takes nothing at the moment");
	if (error == -EPIPE) {
		channel->sending_ended = true;
		channel->head_sent = channel->head_size = channel->unsent_size = 0;
		channel->to_write = 0;
		return spawnd_rt_fail(channel, error, "nobody receives on the other side");
	}
	return spawnd_rt_fail(channel, error, "sending: %s", strerror(-error));
}

/* Sends what is left of the head, and data behind it. Returns how many bytes of data went, or -errno; at most one system call. */
static ssize_t push(struct spawnd_channel *channel, const void *data, size_t size, const int *fds, unsigned fd_count)
{
	size_t head = head_left(channel);
	struct iovec iov[2] = {
		{.iov_base = channel->head + channel->head_sent, .iov_len = head},
		{.iov_base = (void *)data, .iov_len = size < LONG_MAX - head ? size : LONG_MAX - head},
	};
	ssize_t sent = spawnd_rt_socket_send(channel->fd, head ? iov : iov + 1, head ? 2 : 1, fds, fd_count);

	if (sent < 0)
		return sent;
	if ((size_t)sent < head) {
		channel->head_sent += (size_t)sent;
		return 0;
	}
	channel->head_sent = channel->head_size = 0;
	return sent - (ssize_t)head;
}

/* Checks what is to be sent and makes its head; the channel is idle before. */
static int prepare(struct spawnd_channel *channel, const char *content_type, uint64_t size, unsigned fd_count)
{
	int head;

	if (!channel->open)
		return spawnd_rt_fail(channel, -ENOTCONN, "the channel is closed");
	if (channel->sending_ended)
		return spawnd_rt_fail(channel, -EPIPE, "sending has ended");
	if (spawnd_channel_unsent(channel) || channel->to_write)
		return spawnd_rt_fail(channel, -EBUSY, "the message before is not sent out");
	if (fd_count > SPAWND_CHANNEL_FDS)
		return spawnd_rt_fail(channel, -EINVAL, "%u descriptors: a message has at most %d", fd_count, SPAWND_CHANNEL_FDS);
	if (strlen(content_type) > SPAWND_CHANNEL_CONTENT_TYPE)
		return spawnd_rt_fail(channel, -EINVAL, "a content type has at most %d bytes", SPAWND_CHANNEL_CONTENT_TYPE);
	head = spawnd_rt_record_encode(channel->head, sizeof(channel->head), content_type, fd_count, size);
	if (head < 0)
		return spawnd_rt_fail(channel, head, "%llu bytes are too many for a message", (unsigned long long)size);
	channel->head_sent = 0;
	channel->head_size = (size_t)head;
	return 0;
}

/* Sends the first bytes of a record that was prepared; when none go, it is as if it had not been prepared. */
static ssize_t start(struct spawnd_channel *channel, const void *data, size_t size, const int *fds, unsigned fd_count)
{
	ssize_t sent = push(channel, data, size, fds, fd_count);

	if (sent < 0) {
		channel->head_size = 0;
		return fail_send(channel, (int)sent);
	}
	return sent;
}

int spawnd_channel_send(
	struct spawnd_channel *channel, const char *content_type, const void *data, size_t size, const int *fds, unsigned fd_count)
{
	int error = prepare(channel, content_type ? content_type : "", size, fd_count);
	const unsigned char *bytes = data ? data : (const unsigned char *)"";
	ssize_t sent;

	if (error < 0)
		return error;
	sent = start(channel, bytes, size, fds, fd_count);
	if (sent < 0)
		return (int)sent;
	channel->unsent = bytes + sent;
	channel->unsent_size = size - (size_t)sent;
	return spawnd_channel_unsent(channel);
}

int spawnd_channel_flush(struct spawnd_channel *channel)
{
	if (!channel->open)
		return spawnd_rt_fail(channel, -ENOTCONN, "the channel is closed");
	while (spawnd_channel_unsent(channel)) {
		ssize_t sent = push(channel, channel->unsent, channel->unsent_size, NULL, 0);

		if (sent == -EAGAIN)
			return 1;
		if (sent < 0)
			return fail_send(channel, (int)sent);
		if (sent) {
			channel->unsent += sent;
			channel->unsent_size -= (size_t)sent;
		}
	}
	return 0;
}

/* Blocks until nothing is unsent. */
static int flush_wait(struct spawnd_channel *channel)
{
	int more;

	while ((more = spawnd_channel_flush(channel)) > 0) {
		int ready = spawnd_channel_wait(channel, POLLOUT, -1);

		if (ready < 0 && ready != -EINTR)
			return ready;
	}
	return more;
}

int spawnd_channel_send_wait(
	struct spawnd_channel *channel, const char *content_type, const void *data, size_t size, const int *fds, unsigned fd_count)
{
	int result = flush_wait(channel);

	while (result == 0) {
		int ready;

		result = spawnd_channel_send(channel, content_type, data, size, fds, fd_count);
		if (result != -EAGAIN)
			return result > 0 ? flush_wait(channel) : result;
		ready = spawnd_channel_wait(channel, POLLOUT, -1);
		result = ready < 0 && ready != -EINTR ? ready : 0;
	}
	return result;
}

int spawnd_channel_begin(struct spawnd_channel *channel, const char *content_type, uint64_t size, const int *fds, unsigned fd_count)
{
	int error = prepare(channel, content_type ? content_type : "", size, fd_count);
	ssize_t sent;

	if (error < 0)
		return error;
	sent = start(channel, NULL, 0, fds, fd_count);
	if (sent < 0)
		return (int)sent;
	channel->to_write = size;
	return 0;
}

long spawnd_channel_write(struct spawnd_channel *channel, const void *data, size_t size)
{
	ssize_t sent;

	if (!channel->open)
		return spawnd_rt_fail(channel, -ENOTCONN, "the channel is closed");
	if (size > channel->to_write)
		return spawnd_rt_fail(channel, -EMSGSIZE, "%zu bytes: %llu are left of the message that was begun", size,
			(unsigned long long)channel->to_write);
	if (size == 0)
		return 0;
	do {
		sent = push(channel, data, size, NULL, 0);
	} while (sent == 0);
	if (sent < 0)
		return fail_send(channel, (int)sent);
	channel->to_write -= (uint64_t)sent;
	return sent;
}

int spawnd_channel_end(struct spawnd_channel *channel)
{
	if (!channel->open)
		return spawnd_rt_fail(channel, -ENOTCONN, "the channel is closed");
	if (spawnd_channel_unsent(channel) || channel->to_write)
		return spawnd_rt_fail(channel, -EBUSY, "a message is sent in part");
	channel->sending_ended = true;
	if (shutdown(channel->fd, SHUT_WR) < 0 && errno != ENOTCONN) {
		int error = -errno;

		return spawnd_rt_fail(channel, error, "shutdown: %s", strerror(-error));
	}
	return 0;
}
