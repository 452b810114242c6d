/* See usage.h. The files of /proc are made by the kernel as they are read: this never waits for a disk. */
#include "service/usage.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/sys.h"

/* Reads one small file whole, as a string. */
static ssize_t read_file(const char *path, char *text, size_t size)
{
	int opened = sys_open(path, O_RDONLY, 0);
	_cleanup_fd_ int fd = opened < 0 ? -1 : opened;
	ssize_t length;

	if (fd < 0)
		return -1;
	length = sys_read(fd, text, size - 1);
	if (length >= 0)
		text[length] = '\0';
	return length;
}

void usage_read(pid_t pid, uint64_t *cpu_us_out, uint64_t *memory_bytes_out)
{
	char path[64], text[1024], *after;
	uint64_t user = 0, system = 0, pages = 0, ticks = (uint64_t)sysconf(_SC_CLK_TCK);

	*cpu_us_out = *memory_bytes_out = 0;
	if (pid <= 0)
		return;
	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	/* the name of the program may contain anything, ')' too: count from its end */
	if (read_file(path, text, sizeof(text)) > 0 && (after = strrchr(text, ')')) &&
		sscanf(after + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %" SCNu64 " %" SCNu64, &user, &system) == 2)
		*cpu_us_out = (user + system) * 1000000 / ticks;
	snprintf(path, sizeof(path), "/proc/%d/statm", (int)pid);
	if (read_file(path, text, sizeof(text)) > 0 && sscanf(text, "%*u %" SCNu64, &pages) == 1)
		*memory_bytes_out = pages * (uint64_t)sysconf(_SC_PAGESIZE);
}
