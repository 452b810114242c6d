/*
 * What commands write to stdout and stderr themselves, waiting until it is taken. Failures are remembered: a command goes on or
 * stops by out_error, and main.c tells them once, at the end.
 */
#pragma once

#include <stddef.h>

#include "ctl.h"

/* Makes stdio's stdout one that remembers why it failed. Once, before anything is printed. */
void out_open(void);
/* All of it to fd, past stdio. false: that failed, now or before. */
bool out_write(int fd, const void *bytes, size_t size);
/* The first failure as errno; 0: there was none. */
int out_error(void);
/* Waits until fd (-1: none) is ready for events. false: nobody reads our stdout any more, or poll failed. */
bool out_wait(int fd, short events);
/* Flushes stdout. The status to end with: `status`, or that of a failure, which is told unless it is a reader that has gone. */
int out_finish(const struct ctl *ctl, int status);
