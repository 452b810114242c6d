/*
 * Output of a child into one of our own descriptors. O_NONBLOCK belongs to the open file description, which our parent and
 * siblings share: setting it would break them. Pipes and terminals are opened once more through /proc instead; sockets have
 * MSG_DONTWAIT; files and /dev/null never block; what is left is written after poll in pieces that fit a pipe with room.
 */
#include "sink.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"

/* Another description of a pipe or terminal, not blocking; -1 when there is none to be had. */
static int reopen(int fd, int flags, mode_t type)
{
	char path[64];

	if (!S_ISFIFO(type) && !(S_ISCHR(type) && isatty(fd)))
		return -1;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return open(path, flags | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
}

void sink_open(struct sink *sink, int fd)
{
	struct stat status = {0};

	*sink = (struct sink){.fd = fd, .own = -1, .kind = SINK_PLAIN};
	if (fstat(fd, &status) < 0)
		return;
	if (S_ISSOCK(status.st_mode)) {
		sink->kind = SINK_SOCKET;
		return;
	}
	if (!S_ISFIFO(status.st_mode) && !(S_ISCHR(status.st_mode) && isatty(fd)))
		return;
	sink->kind = SINK_SMALL;
	sink->own = reopen(fd, O_WRONLY, status.st_mode);
	if (sink->own >= 0) {
		sink->fd = sink->own;
		sink->kind = SINK_NONBLOCK;
	}
}

void sink_close(struct sink *sink)
{
	fd_close(&sink->own);
	sink->fd = -1;
}

ssize_t sink_write(struct sink *sink, const void *bytes, size_t size)
{
	ssize_t written;

	if (sink->kind == SINK_SMALL) {
		struct pollfd room = {.fd = sink->fd, .events = POLLOUT};

		if (poll(&room, 1, 0) == 0)
			return 0;
		if (size > PIPE_BUF)
			size = PIPE_BUF;
	}
	do {
		if (sink->kind == SINK_SOCKET)
			written = send(sink->fd, bytes, size, MSG_DONTWAIT | MSG_NOSIGNAL);
		else
			written = write(sink->fd, bytes, size);
	} while (written < 0 && errno == EINTR);
	if (written >= 0)
		return written;
	return errno == EAGAIN ? 0 : -errno;
}

int source_open(int fd, int *own_out)
{
	struct stat status = {0};

	*own_out = -1;
	if (fstat(fd, &status) == 0)
		*own_out = reopen(fd, O_RDONLY, status.st_mode);
	return *own_out >= 0 ? *own_out : fd;
}
