/* A child's channel fed with anything, cut anywhere, descriptors on any piece: no crash, no leak, parts that add up. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fdpass.h"
#include "base/sys.h"
#include "spawnd_runtime.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Takes all messages there are. Returns whether more may come. */
static int drain(struct spawnd_channel *channel)
{
	struct spawnd_channel_message message;
	uint64_t expected = 0;
	int received;

	while ((received = spawnd_channel_receive(channel, &message)) == SPAWND_CHANNEL_MESSAGE || received == SPAWND_CHANNEL_PART) {
		if (message.offset + message.length > message.size || message.fd_count > SPAWND_CHANNEL_FDS)
			abort();
		if (expected && message.offset && message.offset != expected)
			abort();
		expected = message.offset + message.length;
		if (strlen(message.content_type) > SPAWND_CHANNEL_CONTENT_TYPE)
			abort();
		for (unsigned i = 0; i < message.fd_count; i++)
			if (close(message.fds[i]) < 0)
				abort();
	}
	return received == SPAWND_CHANNEL_NOTHING;
}

/* The first byte says where the rest is cut and how many descriptors come with each piece. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static unsigned char memory[SPAWND_CHANNEL_MEMORY_MIN];
	struct spawnd_channel channel;
	size_t cut;
	int fds[2], copies[20], more = 1;

	if (size < 3)
		return 0;
	if (sys_socketpair(SOCK_STREAM, fds) < 0 || spawnd_channel_open(&channel, fds[0], memory, sizeof(memory)) < 0)
		abort();
	for (size_t i = 0; i < sizeof(copies) / sizeof(*copies); i++)
		copies[i] = fds[1];
	cut = 1 + data[0] % (size - 2);
	for (int part = 0; part < 2 && more; part++) {
		size_t from = part ? 1 + cut : 1, to = part ? size : 1 + cut;
		struct iovec iov = {.iov_base = (void *)(data + from), .iov_len = to - from};

		if (to > from && fdpass_send(fds[1], &iov, 1, copies, part ? data[0] >> 5 : data[0] % 20) < 0)
			abort();
		more = drain(&channel);
	}
	shutdown(fds[1], SHUT_WR);
	drain(&channel);
	spawnd_channel_close(&channel);
	close(fds[1]);
	return 0;
}
