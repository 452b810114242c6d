/*
 * The stream to a process: Spawn, Attach and Logs are three ways in, and speak alike afterwards. Credit is given back in
 * portions, a quarter of the window or a quarter of the messages at a time; Spawn and Attach have a window for each slot, so
 * that one whose bytes nobody takes does not stop the others.
 *
 * A stream of Spawn cannot be left without ending the process or the connection. One that its owner has freed is therefore
 * kept, and reads on without telling anybody, so that the child is never held up by a reader that is not there.
 */
#include "base/mem.h"
#include "internal.h"

enum way { WAY_SPAWN, WAY_ATTACH, WAY_LOGS };

/* The account of one slot. */
struct taken {
	unsigned slot;
	uint64_t bytes; /* to be granted again */
	uint64_t held;  /* manual: not taken yet */
};

struct spawnd_process {
	struct stream *stream; /* NULL: it has ended */
	enum way way;
	struct spawnd_handlers handlers;
	void *context;
	uint64_t id;
	pid_t pid;
	uint64_t window; /* of each slot; WAY_LOGS: of all together */
	bool manual;
	struct taken *taken; /* by slot; owned */
	size_t taken_count;
	uint32_t taken_messages; /* to be granted again, as are the bytes of each slot */
	uint64_t stdin_room;
	bool stdin_blocked; /* write took less than it was given */
	bool abandoned;     /* its owner has freed it */
	bool *freed;        /* told when it goes inside a callback */
};

/* ---- saying ---- */

/* Wraps a control message as this stream's way wants it. */
static void send_control(struct spawnd_process *process, Spawnd__V1__ProcessControl *control)
{
	Spawnd__V1__SpawnRequest spawn = SPAWND__V1__SPAWN_REQUEST__INIT;
	Spawnd__V1__AttachRequest attach = SPAWND__V1__ATTACH_REQUEST__INIT;

	if (!process->stream)
		return;
	if (process->way == WAY_SPAWN) {
		spawn.message_case = SPAWND__V1__SPAWN_REQUEST__MESSAGE_CONTROL;
		spawn.control = control;
		stream_send(process->stream, &spawn.base);
	} else if (process->way == WAY_ATTACH) {
		attach.message_case = SPAWND__V1__ATTACH_REQUEST__MESSAGE_CONTROL;
		attach.control = control;
		stream_send(process->stream, &attach.base);
	}
}

static struct taken *taken_of(struct spawnd_process *process, unsigned slot)
{
	if (process->way == WAY_LOGS)
		slot = 0;
	for (size_t i = 0; i < process->taken_count; i++)
		if (process->taken[i].slot == slot)
			return &process->taken[i];
	process->taken = mem_realloc(process->taken, (process->taken_count + 1) * sizeof(*process->taken));
	process->taken[process->taken_count] = (struct taken){.slot = slot};
	return &process->taken[process->taken_count++];
}

/* Grants what was taken of a slot, and all messages; taken NULL: these alone. */
static void send_grant(struct spawnd_process *process, struct taken *taken)
{
	Spawnd__V1__ProcessControl control = SPAWND__V1__PROCESS_CONTROL__INIT;
	Spawnd__V1__LogsRequest logs = SPAWND__V1__LOGS_REQUEST__INIT;
	Spawnd__V1__Grant grant = SPAWND__V1__GRANT__INIT;

	grant.messages = process->taken_messages;
	process->taken_messages = 0;
	if (taken) {
		grant.bytes = taken->bytes;
		taken->bytes = 0;
	}
	if (taken && process->way != WAY_LOGS) {
		grant._slot_case = SPAWND__V1__GRANT___SLOT_SLOT;
		grant.slot = taken->slot;
	}
	if (process->way == WAY_LOGS) {
		logs.message_case = SPAWND__V1__LOGS_REQUEST__MESSAGE_GRANT;
		logs.grant = &grant;
		if (process->stream)
			stream_send(process->stream, &logs.base);
		return;
	}
	control.control_case = SPAWND__V1__PROCESS_CONTROL__CONTROL_GRANT;
	control.grant = &grant;
	send_control(process, &control);
}

/* Grants again if there is enough of it. taken may be NULL. */
static void grant_if_due(struct spawnd_process *process, struct taken *taken)
{
	if ((taken && taken->bytes >= process->window / 4) || process->taken_messages >= READER_WINDOW_MESSAGES / 4)
		send_grant(process, taken);
}

void spawnd_process_manual(struct spawnd_process *process)
{
	process->manual = true;
}

void spawnd_process_taken(struct spawnd_process *process, unsigned slot, size_t size)
{
	struct taken *taken = taken_of(process, slot);

	taken->bytes += size;
	taken->held -= taken->held < size ? taken->held : size;
	grant_if_due(process, taken);
}

/* Sends bytes for a slot, or its end. */
static void send_stdin(struct spawnd_process *process, unsigned slot, const void *data, size_t size, bool eof)
{
	uint8_t prefix[STDIN_PREFIX_MAX];
	size_t prefix_size = stdin_encode(prefix, true, slot, eof, size);

	stream_send_data(process->stream, prefix, prefix_size, data, size);
}

ssize_t spawnd_process_write(struct spawnd_process *process, unsigned slot, const void *data, size_t size)
{
	size_t taken = 0;

	if (!process->stream || process->way == WAY_LOGS)
		return -1;
	while (taken < size && process->stdin_room) {
		size_t piece = size - taken < STDIN_CHUNK ? size - taken : STDIN_CHUNK;

		if (piece > process->stdin_room)
			piece = (size_t)process->stdin_room;
		send_stdin(process, slot, (const uint8_t *)data + taken, piece, false);
		taken += piece;
		process->stdin_room -= piece;
	}
	process->stdin_blocked = taken < size;
	return (ssize_t)taken;
}

void spawnd_process_close_stdin(struct spawnd_process *process, unsigned slot)
{
	if (process->stream && process->way != WAY_LOGS)
		send_stdin(process, slot, NULL, 0, true);
}

void spawnd_process_signal(struct spawnd_process *process, int signal, enum spawnd_scope scope)
{
	Spawnd__V1__ProcessControl control = SPAWND__V1__PROCESS_CONTROL__INIT;
	Spawnd__V1__SignalCommand command = SPAWND__V1__SIGNAL_COMMAND__INIT;

	control.control_case = SPAWND__V1__PROCESS_CONTROL__CONTROL_SIGNAL;
	control.signal = &command;
	command.signal = signal;
	command.scope = (Spawnd__V1__KillScope)scope;
	send_control(process, &control);
}

void spawnd_process_resize(struct spawnd_process *process, unsigned rows, unsigned columns)
{
	Spawnd__V1__ProcessControl control = SPAWND__V1__PROCESS_CONTROL__INIT;
	Spawnd__V1__WindowSize window = SPAWND__V1__WINDOW_SIZE__INIT;

	control.control_case = SPAWND__V1__PROCESS_CONTROL__CONTROL_RESIZE;
	control.resize = &window;
	window.rows = rows;
	window.columns = columns;
	send_control(process, &control);
}

void spawnd_process_cancel(struct spawnd_process *process)
{
	Spawnd__V1__ProcessControl control = SPAWND__V1__PROCESS_CONTROL__INIT;
	Spawnd__V1__LogsRequest logs = SPAWND__V1__LOGS_REQUEST__INIT;
	Spawnd__V1__Cancel cancel = SPAWND__V1__CANCEL__INIT;

	if (process->way == WAY_LOGS) {
		logs.message_case = SPAWND__V1__LOGS_REQUEST__MESSAGE_CANCEL;
		logs.cancel = &cancel;
		if (process->stream)
			stream_send(process->stream, &logs.base);
		return;
	}
	control.control_case = SPAWND__V1__PROCESS_CONTROL__CONTROL_CANCEL;
	control.cancel = &cancel;
	send_control(process, &control);
}

/* ---- hearing ---- */

static void on_spawned(struct spawnd_process *process, const Spawnd__V1__Spawned *spawned, int *fds, size_t fd_count)
{
	unsigned slots[FDPASS_MAX];
	int taken[FDPASS_MAX];
	size_t count = spawned->n_handed < fd_count ? spawned->n_handed : fd_count;

	process->id = spawned->id;
	process->pid = spawned->pid;
	if (!process->handlers.spawned)
		return;
	for (size_t i = 0; i < count; i++) {
		slots[i] = spawned->handed[i]->slot;
		taken[i] = fd_steal(&fds[i]);
	}
	process->handlers.spawned(process->context, process, slots, taken, count);
}

static void on_exit_record(struct spawnd_process *process, const Spawnd__V1__ExitRecord *record, bool drain_timed_out,
	void (*handler)(void *, struct spawnd_process *, const struct spawnd_exit *))
{
	struct spawnd_exit how;

	exit_of_message(record, &how);
	how.drain_timed_out = drain_timed_out;
	if (handler)
		handler(process->context, process, &how);
}

/* Counts output as taken, if the caller does not do that, and hands it on. */
static void on_output(struct spawnd_process *process, unsigned slot, uint64_t offset, const void *data, size_t size)
{
	struct taken *taken = taken_of(process, slot);

	if (process->manual)
		taken->held += size;
	else
		taken->bytes += size;
	if (process->handlers.output)
		process->handlers.output(process->context, process, slot, offset, data, size);
}

static void on_event(struct spawnd_process *process, const Spawnd__V1__ProcessEvent *event, int *fds, size_t fd_count)
{
	switch (event->event_case) {
	case SPAWND__V1__PROCESS_EVENT__EVENT_SPAWNED:
		on_spawned(process, event->spawned, fds, fd_count);
		break;
	case SPAWND__V1__PROCESS_EVENT__EVENT_OUTPUT_GAP:
		if (process->handlers.gap)
			process->handlers.gap(
				process->context, process, event->output_gap->slot, event->output_gap->offset, event->output_gap->bytes);
		break;
	case SPAWND__V1__PROCESS_EVENT__EVENT_EXITED:
		on_exit_record(process, event->exited->exit, false, process->handlers.exited);
		break;
	case SPAWND__V1__PROCESS_EVENT__EVENT_CLOSED:
		on_exit_record(process, event->closed->exit, event->closed->drain_timed_out, process->handlers.closed);
		break;
	case SPAWND__V1__PROCESS_EVENT__EVENT_STDIN_GRANT:
		process->stdin_room += event->stdin_grant->bytes;
		if (process->stdin_blocked && process->handlers.writable)
			process->handlers.writable(process->context, process);
		break;
	case SPAWND__V1__PROCESS_EVENT__EVENT_STDIN_CLOSED:
		if (process->handlers.stdin_closed)
			process->handlers.stdin_closed(process->context, process, event->stdin_closed->slot);
		break;
	case SPAWND__V1__PROCESS_EVENT__EVENT_OUTPUT:
		on_output(process, event->output->slot, event->output->offset, event->output->data.data, event->output->data.len);
		break;
	default:
		break;
	}
}

static void destroy(struct spawnd_process *process)
{
	free(process->taken);
	free(process);
}

static void on_end(void *context, const struct spawnd_error *error, const uint8_t *reply, size_t size)
{
	struct spawnd_process *process = context;

	process->stream = NULL;
	if (process->abandoned)
		destroy(process);
	else if (process->handlers.ended)
		process->handlers.ended(process->context, process, error);
}

/* Ends a stream that speaks another language. */
static void give_up(struct spawnd_process *process)
{
	struct spawnd_error error;

	error_set(&error, SPAWND_INTERNAL, "an event of the daemon cannot be decoded");
	stream_forget(process->stream);
	on_end(process, &error, NULL, 0);
}

static void on_message(void *context, const uint8_t *bytes, size_t size, int *fds, size_t fd_count)
{
	struct spawnd_process *process = context;
	Spawnd__V1__ProcessEvent *event;
	const uint8_t *data;
	uint64_t offset;
	uint32_t slot;
	size_t length;
	bool freed = false, is_output = output_peek(bytes, size, &slot, &offset, &data, &length);

	process->freed = &freed;
	if (is_output) {
		on_output(process, slot, offset, data, length);
	} else {
		event = spawnd__v1__process_event__unpack(NULL, size, bytes);
		if (!event) {
			process->freed = NULL;
			give_up(process);
			return;
		}
		on_event(process, event, fds, fd_count);
		spawnd__v1__process_event__free_unpacked(event, NULL);
	}
	if (freed)
		return;
	process->freed = NULL;
	process->taken_messages++;
	grant_if_due(process, is_output ? taken_of(process, slot) : NULL);
}

static void on_forgotten(void *context)
{
	struct spawnd_process *process = context;

	process->stream = NULL;
	if (process->freed && process->abandoned)
		*process->freed = true;
	if (process->abandoned)
		destroy(process);
}

static const struct stream_observer observer = {.on_message = on_message, .on_end = on_end, .on_forgotten = on_forgotten};

/* ---- opening ---- */

/* Opens a stream; its object, or NULL. */
static struct spawnd_process *open_stream(struct spawnd *client, enum way way, const char *method, const ProtobufCMessage *first,
	const int *fds, size_t fd_count, uint64_t window, const struct spawnd_handlers *handlers, void *context, struct spawnd_error *error)
{
	struct spawnd_process *process = mem_alloc(sizeof(*process));

	process->way = way;
	process->handlers = *handlers;
	process->context = context;
	process->window = window ? window : READER_WINDOW;
	process->stdin_room = STDIN_WINDOW;
	process->stream = stream_open(client, SERVICE_PROCESSES, method, first, fds, fd_count, &observer, process, error);
	if (!process->stream)
		free(mem_steal(&process));
	return process;
}

/* Fills a Reader that the caller's memory holds. */
static void fill_reader(Spawnd__V1__Reader *message, enum spawnd_reader reader, uint64_t window)
{
	spawnd__v1__reader__init(message);
	message->none = reader == SPAWND_NO_OUTPUT;
	if (!message->none)
		message->policy = (Spawnd__V1__Reader__Policy)reader;
	message->slot_window = window ? window : READER_WINDOW;
}

struct spawnd_process *spawnd_spawn(struct spawnd *client, const struct spawnd_spec *spec, enum spawnd_reader reader, uint64_t window,
	const struct spawnd_handlers *handlers, void *context, struct spawnd_error *error)
{
	Spawnd__V1__SpawnRequest request = SPAWND__V1__SPAWN_REQUEST__INIT;
	Spawnd__V1__SpawnStart start = SPAWND__V1__SPAWN_START__INIT;
	Spawnd__V1__Reader reader_message;

	fill_reader(&reader_message, reader, window);
	start.spec = (Spawnd__V1__ProcessSpec *)&spec->message;
	start.reader = &reader_message;
	request.message_case = SPAWND__V1__SPAWN_REQUEST__MESSAGE_START;
	request.start = &start;
	return open_stream(client, WAY_SPAWN, "Spawn", &request.base, spec->fds, spec->fd_count, window, handlers, context, error);
}

/* SlotOffset messages for a list; the caller frees *list_out and *messages_out. */
static void offset_messages(
	const struct spawnd_offset *from, size_t count, Spawnd__V1__SlotOffset **messages_out, Spawnd__V1__SlotOffset ***list_out)
{
	*messages_out = mem_alloc(count * sizeof(**messages_out));
	*list_out = mem_alloc(count * sizeof(**list_out));
	for (size_t i = 0; i < count; i++) {
		spawnd__v1__slot_offset__init(&(*messages_out)[i]);
		(*messages_out)[i].slot = from[i].slot;
		(*messages_out)[i].offset = from[i].offset;
		(*list_out)[i] = &(*messages_out)[i];
	}
}

struct spawnd_process *spawnd_attach(struct spawnd *client, struct spawnd_ref ref, enum spawnd_reader reader, uint64_t window,
	bool retained, const struct spawnd_offset *from, size_t from_count, const struct spawnd_handlers *handlers, void *context,
	struct spawnd_error *error)
{
	Spawnd__V1__AttachRequest request = SPAWND__V1__ATTACH_REQUEST__INIT;
	Spawnd__V1__AttachStart start = SPAWND__V1__ATTACH_START__INIT;
	Spawnd__V1__ProcessRef process = ref_message(ref);
	_cleanup_free_ Spawnd__V1__SlotOffset *offsets = NULL, **list = NULL;
	Spawnd__V1__Reader reader_message;

	fill_reader(&reader_message, reader, window);
	offset_messages(from, from_count, &offsets, &list);
	start.process = &process;
	start.reader = &reader_message;
	start.from = list;
	start.n_from = from_count;
	start.from_retained = retained;
	request.message_case = SPAWND__V1__ATTACH_REQUEST__MESSAGE_START;
	request.start = &start;
	return open_stream(client, WAY_ATTACH, "Attach", &request.base, NULL, 0, window, handlers, context, error);
}

struct spawnd_process *spawnd_logs(struct spawnd *client, struct spawnd_ref ref, const struct spawnd_logs_options *options,
	const struct spawnd_handlers *handlers, void *context, struct spawnd_error *error)
{
	Spawnd__V1__LogsRequest request = SPAWND__V1__LOGS_REQUEST__INIT;
	Spawnd__V1__LogsStart start = SPAWND__V1__LOGS_START__INIT;
	Spawnd__V1__ProcessRef process = ref_message(ref);
	_cleanup_free_ Spawnd__V1__SlotOffset *offsets = NULL, **list = NULL;

	offset_messages(options->from, options->from_count, &offsets, &list);
	start.process = &process;
	start.slots = (uint32_t *)options->slots;
	start.n_slots = options->slot_count;
	start.since_ns = options->since_ns;
	start.from = list;
	start.n_from = options->from_count;
	start.follow = options->follow;
	request.message_case = SPAWND__V1__LOGS_REQUEST__MESSAGE_START;
	request.start = &start;
	return open_stream(client, WAY_LOGS, "Logs", &request.base, NULL, 0, 0, handlers, context, error);
}

/* Reads on for nobody: what was held is given back, what comes is taken. */
static void abandon(struct spawnd_process *process)
{
	process->abandoned = true;
	process->handlers = (struct spawnd_handlers){0};
	process->manual = false;
	for (size_t i = 0; i < process->taken_count; i++) {
		struct taken *taken = &process->taken[i];

		taken->bytes += taken->held;
		taken->held = 0;
		grant_if_due(process, taken);
	}
}

void spawnd_process_free(struct spawnd_process *process)
{
	if (!process)
		return;
	if (process->stream && process->way == WAY_SPAWN) {
		abandon(process);
		return;
	}
	if (process->freed)
		*process->freed = true;
	if (process->stream) {
		spawnd_process_cancel(process);
		stream_forget(process->stream);
	}
	destroy(process);
}

uint64_t spawnd_process_id(const struct spawnd_process *process)
{
	return process->id;
}

pid_t spawnd_process_pid(const struct spawnd_process *process)
{
	return process->pid;
}
