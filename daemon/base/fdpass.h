/* THE place where descriptors are sent and received (SCM_RIGHTS), for records and for streams. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/uio.h>

#define FDPASS_MAX 253 /* the kernel's limit for one message */

/*
 * Sends bytes with `count` descriptors (borrowed) on their first byte. Never blocks, never raises SIGPIPE.
 * Returns bytes taken by the kernel (a SOCK_SEQPACKET record goes whole or not at all) or -errno.
 */
ssize_t fdpass_send(int socket, const struct iovec *iov, size_t iov_count, const int *fds, size_t count);

/*
 * Receives up to `size` bytes and up to FDPASS_MAX descriptors, close-on-exec, into fds; the caller takes them.
 * Never blocks. Returns bytes, 0 at end of file, or -errno; -EMFILE when descriptors were lost because this process may
 * not open more (those that arrived have been closed, the bytes are gone too; for a stream that ends the connection);
 * -EMSGSIZE when a record was longer than `size`.
 */
ssize_t fdpass_receive(int socket, void *bytes, size_t size, int fds[FDPASS_MAX], size_t *count_out);

/*
 * Looks at up to `size` bytes without taking them, and duplicates up to `max` (at most FDPASS_MAX) descriptors that the last
 * message seen carries; *cut_out: there are more, or this process may not open them. Bytes, 0 at end of file, or -errno.
 */
ssize_t fdpass_peek(int socket, void *bytes, size_t size, int *fds, size_t max, size_t *count_out, bool *cut_out);
