/*
 * Write: bytes for a process of somebody else's stream, until the kernel has them. Nothing is sent before it is known where in all
 * of the slot it belongs, so that it can go on from there on a new connection.
 */
#include "base/mem.h"
#include "call.h"

struct writing {
	struct spawnd_call call;
	struct answer answer;
	unsigned slot;
	bool eof;
	const uint8_t *data;
	size_t size, at;    /* all of it; the next byte to send */
	uint64_t room;      /* granted */
	bool placed, ready; /* where it begins is known; the daemon waits for it */
	uint64_t begin;     /* place of data[0] in all of the slot */
};

/* Sends one message of at most `size` bytes. */
static void send_piece(struct writing *writing, size_t size)
{
	uint8_t prefix[STDIN_PREFIX_MAX];
	bool eof = writing->eof && writing->at + size == writing->size;

	stream_send_data(writing->call.stream, prefix, stdin_encode(prefix, false, writing->slot, STDIN_NEXT, eof, size),
		writing->data + writing->at, size);
	writing->at += size;
	writing->room -= size;
}

/* Sends data as far as it is granted; after the last byte the end of messages. */
static void feed(struct writing *writing)
{
	while (writing->at < writing->size && writing->room) {
		size_t left = writing->size - writing->at, piece = left < STDIN_CHUNK ? left : STDIN_CHUNK;

		send_piece(writing, piece < writing->room ? piece : (size_t)writing->room);
	}
	if (writing->at == writing->size)
		stream_half_close(writing->call.stream);
}

/* The daemon has taken what stands before `offset`; on a new connection that may be some of ours. */
static void begin(struct writing *writing, uint64_t offset)
{
	if (!writing->placed)
		writing->begin = offset;
	writing->placed = writing->ready = true;
	writing->room = STDIN_WINDOW;
	writing->at = offset - writing->begin < writing->size ? (size_t)(offset - writing->begin) : writing->size;
	if (writing->at == writing->size)
		send_piece(writing, 0);
	feed(writing);
}

static void on_end(void *context, const struct spawnd_error *error, const uint8_t *reply, size_t size)
{
	struct writing *writing = context;

	answer_done(&writing->answer, error);
}

/* What was taken is not any more: nobody knows what the process got. */
static void fail(struct writing *writing)
{
	struct spawnd_error error;

	error_set(&error, SPAWND_DATA_LOSS, "input of slot %u is lost with the connection", writing->slot);
	stream_forget(writing->call.stream);
	on_end(writing, &error, NULL, 0);
}

static void on_message(void *context, const uint8_t *bytes, size_t size, int *fds, size_t fd_count)
{
	struct writing *writing = context;
	Spawnd__V1__WriteReply *reply = spawnd__v1__write_reply__unpack(NULL, size, bytes);
	bool lost = false;

	if (reply && reply->_offset_case && !writing->ready) {
		lost = writing->placed && reply->offset < writing->begin;
		if (!lost)
			begin(writing, reply->offset);
	} else if (reply && reply->grant && writing->at < writing->size) {
		writing->room += reply->grant->bytes;
		feed(writing);
	}
	if (reply)
		spawnd__v1__write_reply__free_unpacked(reply, NULL);
	if (lost)
		fail(writing);
}

static enum stream_fate on_lost(void *context)
{
	return STREAM_RESUMED;
}

static void on_resume(void *context, const uint8_t *first, size_t size)
{
	struct writing *writing = context;
	Spawnd__V1__WriteRequest *request = spawnd__v1__write_request__unpack(NULL, size, first);

	writing->ready = false;
	stream_again(writing->call.stream, &request->base);
	spawnd__v1__write_request__free_unpacked(request, NULL);
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
	static const struct stream_observer observer = {
		.on_message = on_message, .on_end = on_end, .on_forgotten = call_on_forgotten, .on_lost = on_lost, .on_resume = on_resume};
	Spawnd__V1__WriteRequest request = SPAWND__V1__WRITE_REQUEST__INIT;
	Spawnd__V1__WriteStart start = SPAWND__V1__WRITE_START__INIT;
	Spawnd__V1__ProcessRef process = ref_message(ref);
	struct writing writing = {.call.abandon = abandon, .slot = slot, .eof = eof, .data = data, .size = size};

	start.process = &process;
	start.slot = slot;
	start.tell_offset = true;
	request.message_case = SPAWND__V1__WRITE_REQUEST__MESSAGE_START;
	request.start = &start;
	if (client_may_block(client, error) < 0)
		return -1;
	writing.call.stream = stream_open(client, SERVICE_PROCESSES, "Write", &request.base, NULL, 0, &observer, &writing, error);
	if (!writing.call.stream)
		return -1;
	return call_wait(client, &writing.call, &writing.answer, error);
}
