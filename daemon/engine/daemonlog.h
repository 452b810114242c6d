/*
 * Where the log of a daemon in the background goes: SOCKET.log beside the socket, which stays when the daemon ends. A file that
 * has grown beyond DAEMONLOG_MAX becomes SOCKET.log.1 when a daemon starts.
 */
#pragma once

#include "base/err.h"
#include "base/paths.h"

#define DAEMONLOG_MAX (1 << 20)                       /* bytes */
#define DAEMONLOG_PATH_MAX (PATHS_SOCKET_MAX + 1 + 8) /* bytes of a path of ours, the NUL included */

void daemonlog_path(const char *socket_path, char path[DAEMONLOG_PATH_MAX]);
/* Opens the file for appending, mode 0600. A descriptor, or negative: it is not a file, or not ours alone. Call it while the lock is held.
 */
int daemonlog_open(const char *path, struct err *err);
