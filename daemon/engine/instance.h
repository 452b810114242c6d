/*
 * One daemon per socket path. The lock PATH.lock says who serves; it is an flock, so it ends with whoever holds the
 * descriptor (the keeper, which keeps a duplicate over restarts of the engine).
 */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "base/err.h"

#define INSTANCE_BACKLOG 511

/* Makes the directory of the socket when it is missing (0700) and checks that it can be trusted; `own`: that it is ours alone. */
int instance_prepare(const char *path, bool own, struct err *err);

/* Takes the lock for the daemon whose keeper is `pid`. A descriptor, or negative: ALREADY_EXISTS names who serves the path. */
int instance_lock(const char *path, pid_t pid, struct err *err);

/* With the lock held: replaces a stale socket and listens, mode 0600. A descriptor (O_NONBLOCK), or negative. */
int instance_listen(const char *path, struct err *err);

/* Removes socket and lock file; call it while the lock is held. */
/*
 * Lets everybody connect (others; who then decides is access.h), or nobody but this user: the socket has mode 0666 or 0600,
 * its directory, when it is our own, 0711 or 0700. A directory that somebody else chose stays as it is; that others cannot
 * reach the socket through it is told. 0 or negative.
 */
int instance_open(const char *path, bool own, bool others, struct err *err);
void instance_remove(const char *path);
