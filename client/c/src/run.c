/* Blocking streams: Run, which collects, and Write. */
#include "base/mem.h"
#include "internal.h"

#define CHUNK (256u << 10)
#define WINDOW_MESSAGES 16u

struct running {
	struct stream *stream;
	const uint8_t *input;
	size_t input_left;
	uint64_t room; /* of input, granted */
	struct buf out, err;
	struct spawnd_result result;
	struct spawnd_error error;
	uint64_t taken_bytes;
	uint32_t taken_messages;
	bool failed, done;
};

/* Sends input as far as it is granted; after the last byte the end. */
static void feed(struct running *running)
{
	Spawnd__V1__RunRequest request = SPAWND__V1__RUN_REQUEST__INIT;
	Spawnd__V1__ProcessControl control = SPAWND__V1__PROCESS_CONTROL__INIT;
	Spawnd__V1__StdinData data = SPAWND__V1__STDIN_DATA__INIT;

	request.message_case = SPAWND__V1__RUN_REQUEST__MESSAGE_CONTROL;
	request.control = &control;
	control.control_case = SPAWND__V1__PROCESS_CONTROL__CONTROL_STDIN;
	control.stdin = &data;
	while (running->input_left && running->room) {
		size_t piece = running->input_left < CHUNK ? running->input_left : CHUNK;

		if (piece > running->room)
			piece = (size_t)running->room;
		data.data = (ProtobufCBinaryData){.len = piece, .data = (uint8_t *)running->input};
		running->input += piece;
		running->input_left -= piece;
		running->room -= piece;
		data.eof = !running->input_left;
		stream_send(running->stream, &request.base);
	}
}

/* Gives credit back, some messages at a time. */
static void grant(struct running *running, size_t bytes)
{
	Spawnd__V1__RunRequest request = SPAWND__V1__RUN_REQUEST__INIT;
	Spawnd__V1__ProcessControl control = SPAWND__V1__PROCESS_CONTROL__INIT;
	Spawnd__V1__Grant message = SPAWND__V1__GRANT__INIT;

	running->taken_bytes += bytes;
	if (++running->taken_messages < WINDOW_MESSAGES && running->taken_bytes < CHUNK)
		return;
	request.message_case = SPAWND__V1__RUN_REQUEST__MESSAGE_CONTROL;
	request.control = &control;
	control.control_case = SPAWND__V1__PROCESS_CONTROL__CONTROL_GRANT;
	control.grant = &message;
	message.bytes = running->taken_bytes;
	message.messages = running->taken_messages;
	stream_send(running->stream, &request.base);
	running->taken_bytes = 0;
	running->taken_messages = 0;
}

static void take_result(struct running *running, const Spawnd__V1__RunResult *result)
{
	running->result.id = result->id;
	exit_of_message(result->exit, &running->result.exit);
	for (size_t i = 0; i < result->n_cut; i++) {
		if (result->cut[i]->slot == 1)
			running->result.out_cut = result->cut[i]->bytes;
		else if (result->cut[i]->slot == 2)
			running->result.err_cut = result->cut[i]->bytes;
	}
}

static void on_run_message(void *context, const uint8_t *bytes, size_t size, int *fds, size_t fd_count)
{
	struct running *running = context;
	Spawnd__V1__RunReply *reply;
	const uint8_t *data;
	uint64_t offset;
	uint32_t slot;
	size_t length;

	if (output_peek(bytes, size, &slot, &offset, &data, &length)) {
		if (slot == 1 || slot == 2)
			buf_append(slot == 1 ? &running->out : &running->err, data, length);
		grant(running, length);
		return;
	}
	reply = spawnd__v1__run_reply__unpack(NULL, size, bytes);
	if (!reply)
		return;
	if (reply->reply_case == SPAWND__V1__RUN_REPLY__REPLY_STDIN_GRANT) {
		running->room += reply->stdin_grant->bytes;
		feed(running);
	} else if (reply->reply_case == SPAWND__V1__RUN_REPLY__REPLY_RESULT) {
		take_result(running, reply->result);
	}
	spawnd__v1__run_reply__free_unpacked(reply, NULL);
	grant(running, 0);
}

static void on_run_end(void *context, const struct spawnd_error *error, const uint8_t *reply, size_t size)
{
	struct running *running = context;

	running->stream = NULL;
	running->done = true;
	running->failed = error != NULL;
	if (error)
		running->error = *error;
}

/* Dispatches until the stream has ended. */
static void finish(struct spawnd *client, struct running *running)
{
	while (!running->done) {
		if (spawnd_wait_event(client, -1, &running->error) < 0 && !running->done) {
			stream_forget(running->stream);
			running->done = running->failed = true;
		}
	}
}

/* Bytes with a NUL after them, as the caller's own. */
static char *take_text(struct buf *buf, size_t *size_out)
{
	char *text = mem_alloc(buf->length + 1);

	if (buf->length)
		memcpy(text, buf->bytes, buf->length);
	*size_out = buf->length;
	buf_finish(buf);
	return text;
}

int spawnd_run(struct spawnd *client, const struct spawnd_spec *spec, const void *input, size_t input_size,
	struct spawnd_result *result_out, struct spawnd_error *error)
{
	static const struct stream_observer observer = {.on_message = on_run_message, .on_end = on_run_end};
	Spawnd__V1__RunRequest request = SPAWND__V1__RUN_REQUEST__INIT;
	Spawnd__V1__RunStart start = SPAWND__V1__RUN_START__INIT;
	struct running running = {.input = input, .input_left = input ? input_size : 0, .room = 1u << 20};

	start.spec = (Spawnd__V1__ProcessSpec *)&spec->message;
	if (input) {
		start._input_case = SPAWND__V1__RUN_START___INPUT_INPUT;
		start.input_follows = input_size > 0;
	}
	request.message_case = SPAWND__V1__RUN_REQUEST__MESSAGE_START;
	request.start = &start;
	running.stream =
		stream_open(client, "spawnd.v1.Processes", "Run", &request.base, spec->fds, spec->fd_count, &observer, &running, error);
	if (!running.stream)
		return -1;
	feed(&running);
	finish(client, &running);
	running.result.out = take_text(&running.out, &running.result.out_size);
	running.result.err = take_text(&running.err, &running.result.err_size);
	if (running.failed) {
		spawnd_result_clear(&running.result);
		if (error)
			*error = running.error;
		return -1;
	}
	*result_out = running.result;
	return 0;
}

void spawnd_result_clear(struct spawnd_result *result)
{
	free(result->out);
	free(result->err);
	*result = (struct spawnd_result){0};
}

/* ---- Write ---- */

/* Sends data as far as it is granted; after the last byte the end of messages. */
static void feed_write(struct running *running, unsigned slot, bool eof)
{
	Spawnd__V1__WriteRequest request = SPAWND__V1__WRITE_REQUEST__INIT;
	Spawnd__V1__StdinData data = SPAWND__V1__STDIN_DATA__INIT;
	bool first = running->input_left == 0;

	request.message_case = SPAWND__V1__WRITE_REQUEST__MESSAGE_DATA;
	request.data = &data;
	data.slot = slot;
	while (first || (running->input_left && running->room)) {
		size_t piece = running->input_left < CHUNK ? running->input_left : CHUNK;

		if (piece > running->room)
			piece = (size_t)running->room;
		first = false;
		data.data = (ProtobufCBinaryData){.len = piece, .data = (uint8_t *)running->input};
		running->input += piece;
		running->input_left -= piece;
		running->room -= piece;
		data.eof = eof && !running->input_left;
		stream_send(running->stream, &request.base);
	}
	if (!running->input_left)
		stream_half_close(running->stream);
}

struct writing {
	struct running running;
	unsigned slot;
	bool eof;
};

static void on_write_message(void *context, const uint8_t *bytes, size_t size, int *fds, size_t fd_count)
{
	struct writing *writing = context;
	Spawnd__V1__WriteReply *reply = spawnd__v1__write_reply__unpack(NULL, size, bytes);

	if (reply && reply->grant && writing->running.input_left) {
		writing->running.room += reply->grant->bytes;
		feed_write(&writing->running, writing->slot, writing->eof);
	}
	if (reply)
		spawnd__v1__write_reply__free_unpacked(reply, NULL);
}

int spawnd_write(
	struct spawnd *client, struct spawnd_ref ref, unsigned slot, const void *data, size_t size, bool eof, struct spawnd_error *error)
{
	static const struct stream_observer observer = {.on_message = on_write_message, .on_end = on_run_end};
	Spawnd__V1__WriteRequest request = SPAWND__V1__WRITE_REQUEST__INIT;
	Spawnd__V1__WriteStart start = SPAWND__V1__WRITE_START__INIT;
	Spawnd__V1__ProcessRef process = ref_message(ref);
	struct writing writing = {.running = {.input = data, .input_left = size, .room = 1u << 20}, .slot = slot, .eof = eof};

	start.process = &process;
	start.slot = slot;
	request.message_case = SPAWND__V1__WRITE_REQUEST__MESSAGE_START;
	request.start = &start;
	writing.running.stream = stream_open(client, "spawnd.v1.Processes", "Write", &request.base, NULL, 0, &observer, &writing, error);
	if (!writing.running.stream)
		return -1;
	feed_write(&writing.running, slot, eof);
	finish(client, &writing.running);
	if (writing.running.failed && error)
		*error = writing.running.error;
	return writing.running.failed ? -1 : 0;
}
