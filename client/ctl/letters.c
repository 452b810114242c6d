/* See letters.h. */
#include "letters.h"

#include <string.h>
#include <unistd.h>

#include "base/fd.h"

#define UNSENT_MAX (1u << 20)

void letters_attach(struct relay *relay, struct letters *letters)
{
	relay->letters = letters;
}

void letters_finish(struct letters *letters)
{
	buf_finish(&letters->line);
}

int letters_descriptor(const struct relay *relay, unsigned slot)
{
	if (slot == LETTERS_SLOT)
		return STDOUT_FILENO;
	if (slot <= STDOUT_FILENO)
		return relay->letters->own_stdout ? STDOUT_FILENO : STDERR_FILENO;
	return (int)slot;
}

bool letters_are_full(const struct relay *relay)
{
	return spawnd_process_unsent(relay->process) >= UNSENT_MAX;
}

/* A line, perhaps begun by an earlier read. Empty ones are no messages. */
static void send_line(struct relay *relay, const char *bytes, size_t size)
{
	struct buf *line = &relay->letters->line;
	struct spawnd_outgoing message = {.data = bytes, .size = size};

	if (line->length) {
		buf_append(line, bytes, size);
		message.data = line->bytes;
		message.size = line->length;
	}
	if (message.size)
		spawnd_process_send(relay->process, &message);
	buf_consume(line, line->length);
}

void letters_take(struct relay *relay, const char *bytes, size_t size)
{
	const char *end = bytes + size, *newline;
	bool over = size == 0;

	while ((newline = memchr(bytes, '\n', (size_t)(end - bytes)))) {
		send_line(relay, bytes, (size_t)(newline - bytes));
		bytes = newline + 1;
	}
	if (over && relay->letters->line.length)
		send_line(relay, "", 0);
	else
		buf_append(&relay->letters->line, bytes, (size_t)(end - bytes));
	if (over && !relay->letters->keep_open)
		spawnd_process_disconnect(relay->process);
}

void letters_on_message(void *context, struct spawnd_process *process, const struct spawnd_message *message)
{
	struct relay *relay = context;
	struct outlet *outlet = relay_outlet(relay, LETTERS_SLOT);
	size_t written = relay_put(relay, outlet, message->data, message->size);

	if (!message->more)
		relay_put(relay, outlet, "\n", 1);
	if (written > 0)
		spawnd_process_taken(process, LETTERS_SLOT, written);
	for (size_t i = 0; i < message->fd_count; i++)
		fd_close(&message->fds[i]);
	if (message->fd_count + message->lost_fds)
		ctl_error(relay->ctl, "message %llu: %zu descriptors came with it and were closed", (unsigned long long)message->id,
			message->fd_count + message->lost_fds);
}

void letters_on_sent(void *context, struct spawnd_process *process, uint64_t id, const struct spawnd_error *error)
{
	struct relay *relay = context;

	if (!error || (relay->letters->ended && strcmp(error->code, "ERR_IPC_CHANNEL_CLOSED") == 0))
		return;
	ctl_error(relay->ctl, "message %llu: %s", (unsigned long long)id, error->message);
	relay->unsent = true;
}

void letters_on_disconnected(void *context, struct spawnd_process *process, const struct spawnd_error *error)
{
	struct relay *relay = context;

	relay->letters->ended = true;
	relay_input_ended(relay);
	if (error)
		ctl_error(relay->ctl, "the channel: %s", error->message);
}
