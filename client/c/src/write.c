/* Write: bytes for a process of somebody else's stream, until the kernel has them. */
#include "base/mem.h"
#include "call.h"

struct writing {
	struct spawnd_call call;
	struct answer answer;
	unsigned slot;
	bool eof;
	const uint8_t *data;
	size_t left;
	uint64_t room; /* granted */
};

/* Sends one message of at most `size` bytes. */
static void send_piece(struct writing *writing, size_t size)
{
	uint8_t prefix[STDIN_PREFIX_MAX];
	bool eof = writing->eof && size == writing->left;

	stream_send_data(
		writing->call.stream, prefix, stdin_encode(prefix, false, writing->slot, STDIN_NEXT, eof, size), writing->data, size);
	writing->data += size;
	writing->left -= size;
	writing->room -= size;
}

/* Sends data as far as it is granted; after the last byte the end of messages. */
static void feed(struct writing *writing)
{
	while (writing->left && writing->room) {
		size_t piece = writing->left < STDIN_CHUNK ? writing->left : STDIN_CHUNK;

		send_piece(writing, piece < writing->room ? piece : (size_t)writing->room);
	}
	if (!writing->left)
		stream_half_close(writing->call.stream);
}

static void on_message(void *context, const uint8_t *bytes, size_t size, int *fds, size_t fd_count)
{
	struct writing *writing = context;
	Spawnd__V1__WriteReply *reply = spawnd__v1__write_reply__unpack(NULL, size, bytes);

	if (reply && reply->grant && writing->left) {
		writing->room += reply->grant->bytes;
		feed(writing);
	}
	if (reply)
		spawnd__v1__write_reply__free_unpacked(reply, NULL);
}

static void on_end(void *context, const struct spawnd_error *error, const uint8_t *reply, size_t size)
{
	struct writing *writing = context;

	answer_done(&writing->answer, error);
}

/* It lives on the stack of who waits for it. */
static void abandon(struct spawnd_call *call)
{
	if (call->stream)
		stream_forget(call->stream);
}

int spawnd_write(
	struct spawnd *client, struct spawnd_ref ref, unsigned slot, const void *data, size_t size, bool eof, struct spawnd_error *error)
{
	static const struct stream_observer observer = {.on_message = on_message, .on_end = on_end, .on_forgotten = call_on_forgotten};
	Spawnd__V1__WriteRequest request = SPAWND__V1__WRITE_REQUEST__INIT;
	Spawnd__V1__WriteStart start = SPAWND__V1__WRITE_START__INIT;
	Spawnd__V1__ProcessRef process = ref_message(ref);
	struct writing writing = {.call.abandon = abandon, .slot = slot, .eof = eof, .data = data, .left = size, .room = STDIN_WINDOW};

	start.process = &process;
	start.slot = slot;
	request.message_case = SPAWND__V1__WRITE_REQUEST__MESSAGE_START;
	request.start = &start;
	if (client_may_block(client, error) < 0)
		return -1;
	writing.call.stream = stream_open(client, SERVICE_PROCESSES, "Write", &request.base, NULL, 0, &observer, &writing, error);
	if (!writing.call.stream)
		return -1;
	if (!size)
		send_piece(&writing, 0);
	feed(&writing);
	return call_wait(client, &writing.call, &writing.answer, error);
}
