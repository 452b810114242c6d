/* The channel that spawnd named in the environment. */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "internal.h"

#define FD_VARIABLE "SPAWND_CHANNEL_FD"
#define VERSION_VARIABLE "SPAWND_CHANNEL_VERSION"
#define VERSION "1"

/* The number that `text` is, or -1. */
static int parse_fd(const char *text)
{
	char *end;
	long number;

	if (*text < '0' || *text > '9')
		return -1;
	errno = 0;
	number = strtol(text, &end, 10);
	return *end || errno || number > INT_MAX ? -1 : (int)number;
}

/* What the environment says: a descriptor, or -errno. */
static int find(struct spawnd_channel *channel)
{
	const char *text = getenv(FD_VARIABLE);
	const char *version = getenv(VERSION_VARIABLE);
	int fd;

	if (!text)
		return spawnd_rt_fail(channel, -ENOENT, FD_VARIABLE " is not set: spawnd gave this process no channel");
	if (!version || strcmp(version, VERSION) != 0)
		return spawnd_rt_fail(
			channel, -EPROTONOSUPPORT, VERSION_VARIABLE "=%.40s: this library speaks " VERSION, version ? version : "");
	fd = parse_fd(text);
	if (fd < 0)
		return spawnd_rt_fail(channel, -EINVAL, FD_VARIABLE "=%.40s: not a descriptor", text);
	return fd;
}

int spawnd_channel_attach(struct spawnd_channel *channel, void *memory, size_t size)
{
	int fd;

	memset(channel, 0, sizeof(*channel));
	fd = find(channel);
	unsetenv(FD_VARIABLE);
	unsetenv(VERSION_VARIABLE);
	return fd < 0 ? fd : spawnd_channel_open(channel, fd, memory, size);
}
