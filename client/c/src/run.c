/*
 * Run: a command to its end, its output collected. Input is sent as far as it is granted, output granted as it is taken. On a
 * new connection it is said again with its key, and goes on behind the output there is and the input that was taken.
 */
#include "base/mem.h"
#include "call.h"

struct run {
	struct spawnd_call call; /* first: it is freed as one */
	const uint8_t *input;
	size_t input_size, input_at; /* the next byte to send */
	uint64_t room;               /* of input, granted */
	bool input_begun;            /* on this connection */
	bool spawned, resuming, ended;
	bool nameless; /* has no key, and cannot be said again */
	struct marks marks;
	struct buf out, err;
	struct spawnd_result result;
	uint64_t taken_bytes;
	uint32_t taken_messages;
};

/* Sends one message of at most `size` bytes; what is first on a connection says where it belongs. */
static void send_piece(struct run *run, size_t size)
{
	uint8_t prefix[STDIN_PREFIX_MAX];
	uint64_t offset = run->input_begun ? STDIN_NEXT : run->input_at;
	size_t prefix_size = stdin_encode(prefix, true, 0, offset, run->input_at + size == run->input_size, size);

	stream_send_data(run->call.stream, prefix, prefix_size, run->input + run->input_at, size);
	run->input_begun = true;
	run->input_at += size;
	run->room -= size;
}

/* Sends input as far as it is granted; with the last byte the end. */
static void feed(struct run *run)
{
	while (run->input_at < run->input_size && run->room) {
		size_t left = run->input_size - run->input_at, piece = left < STDIN_CHUNK ? left : STDIN_CHUNK;

		send_piece(run, piece < run->room ? piece : (size_t)run->room);
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

/* Keeps what is new of it. */
static void take_output(struct run *run, uint32_t slot, uint64_t offset, const uint8_t *data, size_t size)
{
	size_t known = marks_take(&run->marks, slot, offset, size);

	if (size > known && (slot == 1 || slot == 2))
		buf_append(slot == 1 ? &run->out : &run->err, data + known, size - known);
	grant(run, size);
}

/* On a new connection: goes on with the input where it is now. False: nobody knows where that is. */
static bool take_spawned(struct run *run, const Spawnd__V1__Spawned *spawned)
{
	bool known = !run->spawned || spawned->id == run->result.id;

	run->result.id = spawned->id;
	run->spawned = true;
	stream_confirm(run->call.stream);
	if (!run->resuming)
		return true;
	run->resuming = false;
	run->input_at = 0;
	for (size_t i = 0; i < spawned->n_stdin; i++)
		if (spawned->stdin[i]->slot == 0)
			run->input_at = spawned->stdin[i]->offset < run->input_size ? (size_t)spawned->stdin[i]->offset : run->input_size;
	run->room = STDIN_WINDOW;
	if (run->input_at == run->input_size && run->input_size)
		send_piece(run, 0);
	feed(run);
	return known;
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

/* False: another process answers. */
static bool take_reply(struct run *run, const Spawnd__V1__RunReply *reply)
{
	switch (reply->reply_case) {
	case SPAWND__V1__RUN_REPLY__REPLY_SPAWNED:
		if (!take_spawned(run, reply->spawned))
			return false;
		break;
	case SPAWND__V1__RUN_REPLY__REPLY_OUTPUT:
		take_output(run, reply->output->slot, reply->output->offset, reply->output->data.data, reply->output->data.len);
		return true;
	case SPAWND__V1__RUN_REPLY__REPLY_STDIN_GRANT:
		run->room += reply->stdin_grant->bytes;
		feed(run);
		break;
	case SPAWND__V1__RUN_REPLY__REPLY_RESULT:
		take_result(run, reply->result);
		run->ended = true;
		break;
	default:
		break;
	}
	grant(run, 0);
	return true;
}

static void on_end(void *context, const struct spawnd_error *error, const uint8_t *reply, size_t size);

/* Ends it from our side. */
static void end_early(struct run *run, enum spawnd_status status, const char *why)
{
	struct spawnd_error error;

	error_set(&error, status, "%s", why);
	stream_forget(run->call.stream);
	on_end(run, &error, NULL, 0);
}

static void on_message(void *context, const uint8_t *bytes, size_t size, int *fds, size_t fd_count)
{
	struct run *run = context;
	Spawnd__V1__RunReply *reply;
	const uint8_t *data;
	uint64_t offset;
	uint32_t slot;
	size_t length;
	bool same;

	if (output_peek(bytes, size, 0, &slot, &offset, &data, &length)) {
		take_output(run, slot, offset, data, length);
		return;
	}
	reply = spawnd__v1__run_reply__unpack(NULL, size, bytes);
	if (!reply) {
		end_early(run, SPAWND_INTERNAL, "an event of the daemon cannot be decoded");
		return;
	}
	same = take_reply(run, reply);
	spawnd__v1__run_reply__free_unpacked(reply, NULL);
	if (!same)
		end_early(run, SPAWND_DATA_LOSS, "the process is gone");
}

static void on_part(void *context, const uint8_t *bytes, size_t size, size_t missing)
{
	struct run *run = context;
	const uint8_t *data;
	uint64_t offset;
	uint32_t slot;
	size_t length;

	if (output_peek(bytes, size, missing, &slot, &offset, &data, &length) && length)
		take_output(run, slot, offset, data, length);
}

static enum stream_fate on_lost(void *context)
{
	const struct run *run = context;

	if (run->ended)
		return STREAM_DONE;
	return run->nameless ? STREAM_LOST : STREAM_RESUMED;
}

static void on_resume(void *context, const uint8_t *first, size_t size)
{
	struct run *run = context;
	Spawnd__V1__RunRequest *request = spawnd__v1__run_request__unpack(NULL, size, first);
	_cleanup_free_ Spawnd__V1__SlotOffset **from = marks_messages(&run->marks);

	run->taken_bytes = 0;
	run->taken_messages = 0;
	run->room = 0;
	run->input_begun = false;
	run->resuming = true;
	request->start->from = from;
	request->start->n_from = run->marks.count;
	request->start->resume = run->spawned;
	stream_again(run->call.stream, &request->base);
	request->start->from = NULL;
	request->start->n_from = 0;
	spawnd__v1__run_request__free_unpacked(request, NULL);
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
	marks_finish(&run->marks);
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
	static const struct stream_observer observer = {.on_message = on_message,
		.on_end = on_end,
		.on_forgotten = call_on_forgotten,
		.on_part = on_part,
		.on_lost = on_lost,
		.on_resume = on_resume};
	Spawnd__V1__RunRequest request = SPAWND__V1__RUN_REQUEST__INIT;
	Spawnd__V1__RunStart start = SPAWND__V1__RUN_START__INIT;
	struct run *run;
	char key[CLIENT_KEY_SIZE];

	if (client_check_spec(client, spec, error) < 0)
		return NULL;
	run = mem_alloc(sizeof(*run));
	run->call = (struct spawnd_call){.abandon = abandon, .fn.result = done, .context = context};
	run->input = input;
	run->input_size = input ? input_size : 0;
	run->input_begun = true;
	run->room = STDIN_WINDOW;
	client_key(client, key);
	run->nameless = !key[0];
	start.idempotency_key = key;
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
