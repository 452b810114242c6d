/*
 * The log. A line is written whole when stderr is ready for it (poll, then one write of at most PIPE_BUF bytes, which a
 * ready pipe takes without blocking); until then lines wait in a ring, and what does not fit is counted and told.
 */
#include "base/log.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define WAITING_MAX 65536

static const char *program = "spawnd";
static enum log_level threshold = LOG_INFO;
static char waiting[WAITING_MAX];
static size_t waiting_length;
static unsigned long dropped;

static const char *const level_names[] = {
	[LOG_ERROR] = "error",
	[LOG_WARNING] = "warning",
	[LOG_INFO] = "info",
	[LOG_DEBUG] = "debug",
};

void log_set_name(const char *name)
{
	program = name;
}

void log_set_level(enum log_level level)
{
	threshold = level;
}

enum log_level log_level(void)
{
	return threshold;
}

bool log_level_of(const char *name, enum log_level *level_out)
{
	for (size_t i = 0; i < sizeof(level_names) / sizeof(level_names[0]); i++) {
		if (strcmp(name, level_names[i]) == 0) {
			*level_out = (enum log_level)i;
			return true;
		}
	}
	return false;
}

/* Whether stderr takes PIPE_BUF bytes without blocking. */
static bool stderr_ready(void)
{
	struct pollfd pollfd = {.fd = STDERR_FILENO, .events = POLLOUT};

	return poll(&pollfd, 1, 0) == 1 && (pollfd.revents & POLLOUT);
}

/* Writes the first line that waits; false when stderr takes nothing now. A stderr that is gone swallows the line. */
static bool write_first(void)
{
	const char *end = memchr(waiting, '\n', waiting_length);
	size_t length = end ? (size_t)(end - waiting) + 1 : waiting_length;
	ssize_t done;

	if (!stderr_ready())
		return false;
	done = write(STDERR_FILENO, waiting, length);
	if (done < 0 && (errno == EAGAIN || errno == EINTR))
		return false;
	if (done > 0 && (size_t)done < length)
		length = (size_t)done;
	waiting_length -= length;
	memmove(waiting, waiting + length, waiting_length);
	return true;
}

void log_flush(void)
{
	while (waiting_length && write_first())
		;
}

/* Queues one line, or counts it as dropped. */
static void enqueue(const char *line, size_t length)
{
	if (waiting_length + length > WAITING_MAX) {
		dropped++;
		return;
	}
	memcpy(waiting + waiting_length, line, length);
	waiting_length += length;
}

/* Formats one line with time, program and level. */
static size_t format_line(char *line, size_t size, enum log_level level, const char *format, va_list args)
	__attribute__((format(printf, 4, 0)));

static size_t format_line(char *line, size_t size, enum log_level level, const char *format, va_list args)
{
	struct timespec now;
	struct tm utc;
	size_t length;
	int text;

	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &utc);
	length = strftime(line, size, "%Y-%m-%dT%H:%M:%S", &utc);
	length += (size_t)snprintf(
		line + length, size - length, ".%06ldZ %s[%d] %s: ", now.tv_nsec / 1000, program, (int)getpid(), level_names[level]);
	text = vsnprintf(line + length, size - length - 1, format, args);
	length += text < 0 ? 0 : (size_t)text < size - length - 1 ? (size_t)text : size - length - 2;
	line[length++] = '\n';
	return length;
}

/* Formats with a variable list, for lines of our own. */
static size_t format_own(char *line, size_t size, enum log_level level, const char *format, ...) __attribute__((format(printf, 4, 5)));

static size_t format_own(char *line, size_t size, enum log_level level, const char *format, ...)
{
	va_list args;
	size_t length;

	va_start(args, format);
	length = format_line(line, size, level, format, args);
	va_end(args);
	return length;
}

void log_(enum log_level level, const char *format, ...)
{
	char line[1024];
	int saved = errno;
	va_list args;

	_Static_assert(sizeof(line) <= PIPE_BUF, "a line must be one atomic write");
	if (level > threshold)
		return;
	log_flush();
	if (dropped && waiting_length + 2 * sizeof(line) <= WAITING_MAX) {
		enqueue(line, format_own(line, sizeof(line), LOG_WARNING, "%lu lines of this log were dropped", dropped));
		dropped = 0;
	}
	va_start(args, format);
	enqueue(line, format_line(line, sizeof(line), level, format, args));
	va_end(args);
	log_flush();
	errno = saved;
}
