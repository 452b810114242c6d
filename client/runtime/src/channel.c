/* A channel as a whole: opened on a socket, waited for, closed. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "internal.h"

int spawnd_rt_fail(struct spawnd_channel *channel, int error, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(channel->error, sizeof(channel->error), format, arguments);
	va_end(arguments);
	return error;
}

const char *spawnd_channel_error(const struct spawnd_channel *channel)
{
	return channel->error;
}

int spawnd_channel_fd(const struct spawnd_channel *channel)
{
	return channel->open ? channel->fd : -1;
}

/* Refuses what is no AF_UNIX stream socket. */
static int check_socket(struct spawnd_channel *channel, int fd)
{
	int domain, type;
	socklen_t size = sizeof(int);

	if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) < 0 || getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) < 0) {
		if (errno == EBADF)
			return spawnd_rt_fail(channel, -EBADF, "channel descriptor %d: not open", fd);
		return spawnd_rt_fail(channel, -EINVAL, "channel descriptor %d: not a socket", fd);
	}
	if (domain != AF_UNIX || type != SOCK_STREAM)
		return spawnd_rt_fail(channel, -EINVAL, "channel descriptor %d: not a Unix stream socket", fd);
	return 0;
}

static int set_flags(struct spawnd_channel *channel, int fd)
{
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) < 0) {
		int error = -errno;

		return spawnd_rt_fail(channel, error, "channel descriptor %d: %s", fd, strerror(-error));
	}
	return 0;
}

int spawnd_channel_open(struct spawnd_channel *channel, int fd, void *memory, size_t size)
{
	int error;

	memset(channel, 0, sizeof(*channel));
	if (size < SPAWND_CHANNEL_MEMORY_MIN)
		return spawnd_rt_fail(channel, -EINVAL, "memory of %zu bytes: at least %d are needed", size, SPAWND_CHANNEL_MEMORY_MIN);
	error = check_socket(channel, fd);
	if (error < 0)
		return error;
	error = set_flags(channel, fd);
	if (error < 0)
		return error;
	channel->fd = fd;
	channel->memory = memory;
	channel->memory_size = size;
	channel->open = true;
	return 0;
}

int spawnd_channel_wait(struct spawnd_channel *channel, short events, int timeout_ms)
{
	struct pollfd pollfd = {.fd = channel->fd, .events = events};
	int ready;

	if (!channel->open)
		return spawnd_rt_fail(channel, -ENOTCONN, "the channel is closed");
	ready = poll(&pollfd, 1, timeout_ms);
	if (ready < 0) {
		int error = -errno;

		return spawnd_rt_fail(channel, error, "waiting for the channel: %s", strerror(-error));
	}
	return ready;
}

void spawnd_channel_close(struct spawnd_channel *channel)
{
	if (!channel->open)
		return;
	channel->open = false;
	close(channel->fd);
	spawnd_rt_fds_close(&channel->announced);
	for (unsigned i = 0; i < channel->arrived_count; i++)
		spawnd_rt_fds_close(&channel->arrived[i]);
	channel->arrived_count = 0;
}
