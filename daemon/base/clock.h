/* Clocks, in nanoseconds. Deadlines are CLOCK_BOOTTIME, what people see is CLOCK_REALTIME. */
#pragma once

#include <stdint.h>

int64_t clock_boot_ns(void);
int64_t clock_real_ns(void);
