/* See failpoint.h. */
#include "base/failpoint.h"

#ifdef SPAWND_FAILPOINTS

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/sys.h"

/* Each process has numbers of its own. */
static long draw(long from)
{
	static bool seeded;

	if (!seeded)
		srandom((unsigned)(clock_boot_ns() ^ getpid()));
	seeded = true;
	return random() % from;
}

/* What the file says; false: it is not armed. */
static bool read_file(const char *path, char word[16], long *number_out)
{
	_cleanup_fd_ int fd = sys_open(path, O_RDONLY, 0);
	char text[64] = "";

	*number_out = 0;
	return fd >= 0 && sys_read(fd, text, sizeof(text) - 1) > 0 && sscanf(text, "%15s %ld", word, number_out) >= 1;
}

int failpoint(const char *name)
{
	const char *dir = getenv("SPAWND_FAILPOINTS");
	char path[PATH_MAX], word[16];
	long number;

	if (!dir || snprintf(path, sizeof(path), "%s/%s", dir, name) >= (int)sizeof(path) || !read_file(path, word, &number))
		return 0;
	if (strcmp(word, "delay") != 0 && number > 1 && draw(number))
		return 0;
	if (unlink(path) < 0)
		return 0;
	if (strcmp(word, "kill") == 0)
		raise(SIGKILL);
	if (strcmp(word, "delay") == 0)
		poll(NULL, 0, (int)number);
	return strcmp(word, "error") == 0 ? -EIO : 0;
}

#endif
