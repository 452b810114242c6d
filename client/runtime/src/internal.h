/* What the files of the channel share. Names start with spawnd_rt_: the library is linked into programs of others. */
#pragma once

#include <sys/types.h>
#include <sys/uio.h>

#include "record.h"
#include "spawnd_runtime.h"

/* Keeps the text of an error; returns `error`. */
int spawnd_rt_fail(struct spawnd_channel *channel, int error, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* ---- socket.c: THE place where descriptors cross the socket; neither blocks ---- */

/* Sends bytes with descriptors on the first. Bytes taken or -errno. */
ssize_t spawnd_rt_socket_send(int socket, struct iovec *iov, size_t iov_count, const int *fds, unsigned fd_count);

/*
 * Receives bytes and what descriptors come with them; `lost` when this process may not open more. Bytes, 0 at the end, -EPROTO
 * when they are more than SPAWND_CHANNEL_FDS (closed), or -errno.
 */
ssize_t spawnd_rt_socket_receive(int socket, void *bytes, size_t size, struct spawnd_channel_fds *fds_out);

/* Closes them. */
void spawnd_rt_fds_close(struct spawnd_channel_fds *fds);
