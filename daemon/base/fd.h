/*
 * Owned descriptors. A field of type int that owns a descriptor is -1 when it owns nothing. Every header says "takes fd"
 * or "borrows fd".
 */
#pragma once

#include <stdbool.h>

#define _cleanup_(fn) __attribute__((cleanup(fn)))

/* Closes *fd unless it is -1, and makes it -1. errno is kept. */
void fd_close(int *fd);

#define _cleanup_fd_ _cleanup_(fd_close)

/* Gives the descriptor away: returns *fd and makes it -1. */
static inline int fd_steal(int *fd)
{
	int taken = *fd;

	*fd = -1;
	return taken;
}

int fd_set_nonblock(int fd, bool on); /* 0 or -errno */
int fd_set_cloexec(int fd, bool on);  /* 0 or -errno */

/* Raises the soft RLIMIT_NOFILE of this process to the hard one. Returns the limit in force. */
unsigned fd_raise_limit(void);
