/* Run: a command to its end, its output collected. Input is sent as far as it is granted, output granted as it is taken. */
#include "base/mem.h"
#include "call.h"

struct run {
	struct spawnd_call call; /* first: it is freed as one */
	const uint8_t *input;
	size_t input_left;
	uint64_t room; /* of input, granted */
	struct buf out, err;
	struct spawnd_result result;
	uint64_t taken_bytes;
	uint32_t taken_messages;
};

/* Sends input as far as it is granted; with the last byte the end. */
static void feed(struct run *run)
{
	uint8_t prefix[STDIN_PREFIX_MAX];

	while (run->input_left && run->room) {
		size_t piece = run->input_left < STDIN_CHUNK ? run->input_left : STDIN_CHUNK;

		if (piece > run->room)
			piece = (size_t)run->room;
		stream_send_data(
			run->call.stream, prefix, stdin_encode(prefix, true, 0, piece == run->input_left, piece), run->input, piece);
		run->input += piece;
		run->input_left -= piece;
		run->room -= piece;
	}
}

/* Gives credit back, some messages at a time. */
static void grant(struct run *run, size_t bytes)
{
	Spawnd__V1__RunRequest request = SPAWND__V1__RUN_REQUEST__INIT;
	Spawnd__V1__ProcessControl control = SPAWND__V1__PROCESS_CONTROL__INIT;
	Spawnd__V1__Grant message = SPAWND__V1__GRANT__INIT;

	run->taken_bytes += bytes;
	if (++run->taken_messages < READER_WINDOW_MESSAGES / 4 && run->taken_bytes < READER_WINDOW / 4)
		return;
	request.message_case = SPAWND__V1__RUN_REQUEST__MESSAGE_CONTROL;
	request.control = &control;
	control.control_case = SPAWND__V1__PROCESS_CONTROL__CONTROL_GRANT;
	control.grant = &message;
	message.bytes = run->taken_bytes;
	message.messages = run->taken_messages;
	stream_send(run->call.stream, &request.base);
	run->taken_bytes = 0;
	run->taken_messages = 0;
}

static void take_output(struct run *run, uint32_t slot, const uint8_t *data, size_t size)
{
	if (size && (slot == 1 || slot == 2))
		buf_append(slot == 1 ? &run->out : &run->err, data, size);
	grant(run, size);
}

static void take_result(struct run *run, const Spawnd__V1__RunResult *result)
{
	run->result.id = result->id;
	exit_of_message(result->exit, &run->result.exit);
	for (size_t i = 0; i < result->n_cut; i++) {
		if (result->cut[i]->slot == 1)
			run->result.out_cut = result->cut[i]->bytes;
		else if (result->cut[i]->slot == 2)
			run->result.err_cut = result->cut[i]->bytes;
	}
}

static void take_reply(struct run *run, const Spawnd__V1__RunReply *reply)
{
	switch (reply->reply_case) {
	case SPAWND__V1__RUN_REPLY__REPLY_SPAWNED:
		run->result.id = reply->spawned->id;
		break;
	case SPAWND__V1__RUN_REPLY__REPLY_OUTPUT:
		take_output(run, reply->output->slot, reply->output->data.data, reply->output->data.len);
		return;
	case SPAWND__V1__RUN_REPLY__REPLY_STDIN_GRANT:
		run->room += reply->stdin_grant->bytes;
		feed(run);
		break;
	case SPAWND__V1__RUN_REPLY__REPLY_RESULT:
		take_result(run, reply->result);
		break;
	default:
		break;
	}
	grant(run, 0);
}

static void on_end(void *context, const struct spawnd_error *error, const uint8_t *reply, size_t size);

static void on_message(void *context, const uint8_t *bytes, size_t size, int *fds, size_t fd_count)
{
	struct run *run = context;
	Spawnd__V1__RunReply *reply;
	struct spawnd_error error;
	const uint8_t *data;
	uint64_t offset;
	uint32_t slot;
	size_t length;

	if (output_peek(bytes, size, &slot, &offset, &data, &length)) {
		take_output(run, slot, data, length);
		return;
	}
	reply = spawnd__v1__run_reply__unpack(NULL, size, bytes);
	if (!reply) {
		error_set(&error, SPAWND_INTERNAL, "an event of the daemon cannot be decoded");
		stream_forget(run->call.stream);
		on_end(run, &error, NULL, 0);
		return;
	}
	take_reply(run, reply);
	spawnd__v1__run_reply__free_unpacked(reply, NULL);
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

static void destroy(struct run *run)
{
	buf_finish(&run->out);
	buf_finish(&run->err);
	free(run);
}

static void on_end(void *context, const struct spawnd_error *error, const uint8_t *reply, size_t size)
{
	struct run *run = context;

	if (error) {
		run->call.fn.result(run->call.context, NULL, error);
	} else {
		run->result.out = take_text(&run->out, &run->result.out_size);
		run->result.err = take_text(&run->err, &run->result.err_size);
		run->call.fn.result(run->call.context, &run->result, NULL);
	}
	destroy(run);
}

/* Nobody waits for it any more. */
static void abandon(struct spawnd_call *call)
{
	Spawnd__V1__RunRequest request = SPAWND__V1__RUN_REQUEST__INIT;
	Spawnd__V1__ProcessControl control = SPAWND__V1__PROCESS_CONTROL__INIT;
	Spawnd__V1__Cancel cancel = SPAWND__V1__CANCEL__INIT;

	if (call->stream) {
		request.message_case = SPAWND__V1__RUN_REQUEST__MESSAGE_CONTROL;
		request.control = &control;
		control.control_case = SPAWND__V1__PROCESS_CONTROL__CONTROL_CANCEL;
		control.cancel = &cancel;
		stream_send(call->stream, &request.base);
		stream_forget(call->stream);
	}
	destroy(container_of(call, struct run, call));
}

struct spawnd_call *spawnd_run_async(struct spawnd *client, const struct spawnd_spec *spec, const void *input, size_t input_size,
	spawnd_result_fn done, void *context, struct spawnd_error *error)
{
	static const struct stream_observer observer = {.on_message = on_message, .on_end = on_end, .on_forgotten = call_on_forgotten};
	Spawnd__V1__RunRequest request = SPAWND__V1__RUN_REQUEST__INIT;
	Spawnd__V1__RunStart start = SPAWND__V1__RUN_START__INIT;
	struct run *run = mem_alloc(sizeof(*run));

	run->call = (struct spawnd_call){.abandon = abandon, .fn.result = done, .context = context};
	run->input = input;
	run->input_left = input ? input_size : 0;
	run->room = STDIN_WINDOW;
	start.spec = (Spawnd__V1__ProcessSpec *)&spec->message;
	if (input) {
		start._input_case = SPAWND__V1__RUN_START___INPUT_INPUT;
		start.input_follows = input_size > 0;
	}
	request.message_case = SPAWND__V1__RUN_REQUEST__MESSAGE_START;
	request.start = &start;
	run->call.stream = stream_open(client, SERVICE_PROCESSES, "Run", &request.base, spec->fds, spec->fd_count, &observer, run, error);
	if (!run->call.stream) {
		destroy(run);
		return NULL;
	}
	feed(run);
	return &run->call;
}

int spawnd_run(struct spawnd *client, const struct spawnd_spec *spec, const void *input, size_t input_size,
	struct spawnd_result *result_out, struct spawnd_error *error)
{
	struct answer answer = {.done = false};

	if (client_may_block(client, error) < 0 ||
		call_wait(client, spawnd_run_async(client, spec, input, input_size, answer_result, &answer, error), &answer, error) < 0)
		return -1;
	*result_out = answer.result;
	return 0;
}

void spawnd_result_clear(struct spawnd_result *result)
{
	free(result->out);
	free(result->err);
	*result = (struct spawnd_result){0};
}
