/* Where a daemon is found: one rule for the daemon and for every client in C. */
#pragma once

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

#define PATHS_SOCKET_MAX 107 /* bytes of a path that sockaddr_un takes */

/*
 * The socket to use when nobody named one: SPAWND_SOCKET; else for uid 0 without XDG_RUNTIME_DIR the system's,
 * /run/spawnd/spawnd.sock; else $XDG_RUNTIME_DIR/spawnd/spawnd.sock; else spawnd-UID/spawnd.sock in the temporary
 * directory. Touches no file. 0, or -EINVAL when the path is too long (told with its length).
 */
int paths_socket(char *out, size_t size, struct err *err);

/* 0, or -EINVAL when path does not fit a socket address; the message names its length. */
int paths_check_length(const char *path, struct err *err);

/*
 * Whether a socket in dir can be trusted: a real directory (no symbolic link) of this user or of root, that nobody else
 * can write to unless it is sticky. With `own` it must be this user's and let others at most pass (0711). 0 or negative.
 */
int paths_check_dir(const char *dir, int own, struct err *err);

/* Whether a program of ours is in dir, or where it is installed when spawnd is in dir; its path. */
bool paths_program(const char *dir, const char *name, char path[PATH_MAX]);

/* The directory part of path into out ("." when it has none). */
void paths_dir(const char *path, char *out, size_t size);
