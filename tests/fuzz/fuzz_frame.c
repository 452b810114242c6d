/* A connection fed with anything, cut anywhere: it must not crash, leak, or hold more than its bounds. */
#include <stdint.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/sys.h"
#include "wire/conn.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	size_t cut = size ? data[0] % size : 0;
	struct conn *conn;
	int fds[2];

	if (sys_socketpair(SOCK_STREAM, fds) < 0)
		abort();
	conn = conn_create(fds[0]);
	for (int part = 0; part < 2; part++) {
		struct frame frame;
		size_t length = part ? size - cut : cut;

		if (length && write(fds[1], data + (part ? cut : 0), length) < 0)
			break;
		if (part)
			shutdown(fds[1], SHUT_WR);
		while (conn_read(conn) == 0) {
			bool any = false;

			while (conn_next(conn, &frame)) {
				any = true;
				if (!frame.oversized && frame.header.length > FRAME_LENGTH_MAX)
					abort();
			}
			if (!any)
				break;
		}
		if (conn_memory(conn) > (16u << 20))
			abort();
	}
	conn_destroy(conn);
	close(fds[1]);
	return 0;
}
