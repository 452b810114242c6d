/*
 * Counting descriptors. Since Linux 6.2 the size of /proc/self/fd is their number; before, the directory is read, at most
 * every 100 ms. Without /proc the lowest free number is a lower bound that does.
 */
#include "engine/fds.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdint.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"

#define COUNT_EVERY_NS 100000000

unsigned fds_reserve(unsigned limit)
{
	unsigned reserve = limit / 64 > 128 ? limit / 64 : 128;

	return reserve < limit / 2 ? reserve : limit / 2;
}

/* Three quarters of the descriptors, two for each: at least a quarter is left for children. */
unsigned fds_clients_max(unsigned limit)
{
	unsigned clients = limit / 8 * 3;

	return clients ? clients : 1;
}

/* Reads the directory; 0 when there is none. */
static unsigned count_directory(void)
{
	DIR *directory = opendir("/proc/self/fd");
	unsigned count = 0;

	if (!directory)
		return 0;
	for (struct dirent *entry = readdir(directory); entry; entry = readdir(directory))
		count += entry->d_name[0] != '.';
	closedir(directory);
	return count ? count - 1 : 0; /* without the directory itself */
}

static unsigned lowest_free(void)
{
	int fd = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 0);

	if (fd < 0)
		return UINT32_MAX / 2;
	close(fd);
	return (unsigned)fd;
}

unsigned fds_open(void)
{
	static int64_t counted_ns;
	static unsigned counted;
	struct stat status;
	int64_t now;

	if (stat("/proc/self/fd", &status) == 0 && status.st_size > 0)
		return (unsigned)status.st_size;
	now = clock_boot_ns();
	if (counted_ns && now - counted_ns < COUNT_EVERY_NS)
		return counted;
	counted = count_directory();
	if (!counted)
		counted = lowest_free();
	counted_ns = now;
	return counted;
}
