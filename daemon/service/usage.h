/* What a running process uses now, from /proc. */
#pragma once

#include <stdint.h>
#include <sys/types.h>

/* Zeroes where there is nothing to read. */
void usage_read(pid_t pid, uint64_t *cpu_us_out, uint64_t *memory_bytes_out);
