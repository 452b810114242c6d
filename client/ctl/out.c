/* See out.h. */
#include "out.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"

static int failure, failed_fd;

static bool fail(int fd, int errnum)
{
	if (!failure) {
		failure = errnum;
		failed_fd = fd;
	}
	return false;
}

/* A descriptor that somebody else made non-blocking is waited for. */
static void wait_for_room(int fd)
{
	struct pollfd polled = {.fd = fd, .events = POLLOUT};

	poll(&polled, 1, -1);
}

bool out_write(int fd, const void *bytes, size_t size)
{
	const char *at = bytes;

	while (size > 0 && !failure) {
		ssize_t written = write(fd, at, size);

		if (written >= 0) {
			at += written;
			size -= (size_t)written;
		} else if (errno == EAGAIN) {
			wait_for_room(fd);
		} else if (errno != EINTR) {
			return fail(fd, errno);
		}
	}
	return !failure;
}

/* stdio's way to stdout; it wants 0 for a failure. */
static ssize_t write_stdout(void *cookie, const char *bytes, size_t size)
{
	return out_write(STDOUT_FILENO, bytes, size) ? (ssize_t)size : 0;
}

void out_open(void)
{
	FILE *stream = fopencookie(NULL, "w", (cookie_io_functions_t){.write = write_stdout});

	if (stream)
		stdout = stream;
}

int out_error(void)
{
	return failure;
}

bool out_wait(int fd, short events)
{
	struct pollfd polled[] = {{.fd = fd, .events = events}, {.fd = STDOUT_FILENO}};

	while (!failure) {
		if (poll(polled, array_size(polled), -1) < 0) {
			if (errno != EINTR)
				return false;
		} else if (polled[1].revents & (POLLERR | POLLHUP)) {
			fail(STDOUT_FILENO, EPIPE);
		} else {
			return true;
		}
	}
	return false;
}

int out_finish(const struct ctl *ctl, int status)
{
	const char *command = ctl->command ? ctl->command->name : "";

	fflush(stdout);
	if (!failure)
		return status;
	if (failure == EPIPE)
		return EXIT_SIGNAL + SIGPIPE;
	fprintf(stderr, "spawnctl: %s%s%s: %s\n", command, *command ? ": " : "", failed_fd == STDERR_FILENO ? "stderr" : "stdout",
		strerror(failure));
	return ctl->failure;
}
