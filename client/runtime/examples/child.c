/* A child that sends back all it gets, descriptors too, whatever the size: messages larger than its memory go through it in parts. */
#include <errno.h>
#include <poll.h>
#include <spawnd_runtime.h>
#include <stdio.h>
#include <unistd.h>

static int send_part(struct spawnd_channel *channel, const struct spawnd_channel_message *message)
{
	const char *data = message->data;
	size_t left = message->length;
	int begun = message->offset ? 0 : -EAGAIN;

	while (begun == -EAGAIN) {
		spawnd_channel_wait(channel, POLLOUT, -1);
		begun = spawnd_channel_begin(channel, message->content_type, message->size, message->fds, message->fd_count);
	}
	if (begun < 0)
		return begun;
	while (left) {
		long wrote = spawnd_channel_write(channel, data, left);

		if (wrote == -EAGAIN) {
			spawnd_channel_wait(channel, POLLOUT, -1);
			continue;
		}
		if (wrote < 0)
			return (int)wrote;
		data += wrote;
		left -= (size_t)wrote;
	}
	return 0;
}

static int send_back(struct spawnd_channel *channel, const struct spawnd_channel_message *message, int received)
{
	int result;

	if (received == SPAWND_CHANNEL_PART)
		result = send_part(channel, message);
	else
		result = spawnd_channel_send_wait(
			channel, message->content_type, message->data, message->length, message->fds, message->fd_count);
	for (unsigned i = 0; i < message->fd_count; i++)
		close(message->fds[i]);
	return result;
}

int main(void)
{
	static unsigned char memory[65536];
	struct spawnd_channel channel;
	struct spawnd_channel_message message;
	int result = spawnd_channel_attach(&channel, memory, sizeof(memory));

	while (result >= 0 && result != SPAWND_CHANNEL_END) {
		result = spawnd_channel_receive_wait(&channel, &message, -1);
		if (result == SPAWND_CHANNEL_MESSAGE || result == SPAWND_CHANNEL_PART)
			result = send_back(&channel, &message, result);
	}
	if (result < 0)
		fprintf(stderr, "child: %s\n", spawnd_channel_error(&channel));
	spawnd_channel_close(&channel);
	return result < 0;
}
