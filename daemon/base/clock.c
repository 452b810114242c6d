/* The two clocks. */
#include "base/clock.h"

#include <time.h>

/* Reads one clock in nanoseconds. */
static int64_t read_clock(clockid_t id)
{
	struct timespec now;

	clock_gettime(id, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

int64_t clock_boot_ns(void)
{
	return read_clock(CLOCK_BOOTTIME);
}

int64_t clock_real_ns(void)
{
	return read_clock(CLOCK_REALTIME);
}
