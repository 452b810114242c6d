/*
 * The stream to a process: Spawn, Attach and Logs are three ways in, and speak alike afterwards. Credit is given back in
 * portions, a quarter of the window or a quarter of the messages at a time; Spawn and Attach have a window for each slot, so
 * that one whose bytes nobody takes does not stop the others.
 *
 * A stream of Spawn cannot be left without ending the process or the connection. One that its owner has freed is therefore
 * kept, and reads on without telling anybody, so that the child is never held up by a reader that is not there.
 *
 * On a new connection the call is said again: a Spawn with its key, which names the same process. Output goes on behind what
 * was handed out (marks), input behind what Spawned says was taken (kept), messages behind the last that came (wanted); what
 * was told once is not told again.
 */
#include <sys/queue.h>

#include "base/mem.h"
#include "internal.h"

#define UNSAID_MAX (64u << 10) /* bytes of messages that the daemon keeps although they have come */

enum way { WAY_SPAWN, WAY_ATTACH, WAY_LOGS };

/* The account of one slot. */
struct taken {
	unsigned slot;
	uint64_t bytes; /* to be granted again */
	uint64_t held;  /* manual: not taken yet */
	uint64_t debt;  /* of held: came on a connection before, whose credit is gone */
};

/* A control that was said while there was no connection. */
struct later {
	STAILQ_ENTRY(later) link; /* spawnd_process::later */
	size_t size;
	uint8_t packed[]; /* a ProcessControl */
};

struct spawnd_process {
	struct stream *stream; /* NULL: it has ended */
	enum way way;
	struct spawnd_handlers handlers;
	void *context;
	uint64_t id;
	pid_t pid;
	struct marks marks;
	struct kept_input kept;
	STAILQ_HEAD(, later) later;
	uint64_t window;     /* of each slot; WAY_LOGS: of all together */
	struct taken *taken; /* by slot; owned */
	size_t taken_count;
	uint64_t stdin_room;
	struct postbox postbox;
	struct letterbox letterbox;
	uint64_t wanted, wanted_offset;   /* the next byte of the next message */
	uint64_t unsaid;                  /* bytes of messages that came since the daemon was told */
	bool *freed;                      /* told when it goes inside a callback */
	uint32_t taken_messages;          /* to be granted again, as are the bytes of each slot */
	unsigned channel;                 /* its slot */
	bool nameless;                    /* SPAWN: has no key, and cannot be said again */
	bool resuming;                    /* it was said again, and Spawned has not come yet */
	bool spawned, exited, closed;     /* told */
	bool cancelled;                   /* told */
	bool manual;                      /* the owner says what it has taken */
	bool stdin_blocked;               /* write took less than it was given */
	bool keeps;                       /* the daemon keeps messages until it is told */
	bool pieces;                      /* messages come as they arrive */
	bool disconnecting, disconnected; /* our side is to end, once nothing waits; it was told */
	bool abandoned;                   /* its owner has freed it */
};

/* ---- saying ---- */

/* Keeps for the next connection what must not be lost. */
static void say_later(struct spawnd_process *process, const Spawnd__V1__ProcessControl *control)
{
	size_t size = spawnd__v1__process_control__get_packed_size(control);
	struct later *later;

	if (control->control_case != SPAWND__V1__PROCESS_CONTROL__CONTROL_SIGNAL &&
		control->control_case != SPAWND__V1__PROCESS_CONTROL__CONTROL_RESIZE)
		return;
	later = mem_alloc(sizeof(*later) + size);
	later->size = spawnd__v1__process_control__pack(control, later->packed);
	STAILQ_INSERT_TAIL(&process->later, later, link);
}

/* Wraps a control message as this stream's way wants it. */
static void send_control(struct spawnd_process *process, Spawnd__V1__ProcessControl *control)
{
	Spawnd__V1__SpawnRequest spawn = SPAWND__V1__SPAWN_REQUEST__INIT;
	Spawnd__V1__AttachRequest attach = SPAWND__V1__ATTACH_REQUEST__INIT;

	if (!process->stream)
		return;
	if (!stream_is_live(process->stream)) {
		say_later(process, control);
		return;
	}
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
	if (process->keeps) {
		grant.message = process->wanted;
		grant.message_offset = process->wanted_offset;
		process->unsaid = 0;
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
	if ((taken && taken->bytes >= process->window / 4) || process->unsaid >= UNSAID_MAX ||
		process->taken_messages >= READER_WINDOW_MESSAGES / 4)
		send_grant(process, taken);
}

void spawnd_process_manual(struct spawnd_process *process)
{
	process->manual = true;
}

void spawnd_process_taken(struct spawnd_process *process, unsigned slot, size_t size)
{
	struct taken *taken = taken_of(process, slot);
	uint64_t old;

	if (size > taken->held)
		size = (size_t)taken->held;
	old = taken->debt < size ? taken->debt : size;
	taken->debt -= old;
	taken->bytes += size - old;
	taken->held -= size;
	grant_if_due(process, taken);
}

/* Sends bytes for a slot, or its end. offset: STDIN_NEXT, or where they belong. */
static void send_stdin(struct spawnd_process *process, unsigned slot, uint64_t offset, const void *data, size_t size, bool eof)
{
	uint8_t prefix[STDIN_PREFIX_MAX];
	size_t prefix_size = stdin_encode(prefix, true, slot, offset, eof, size);

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
		send_stdin(process, slot, STDIN_NEXT, (const uint8_t *)data + taken, piece, false);
		kept_data(&process->kept, slot, (const uint8_t *)data + taken, piece);
		taken += piece;
		process->stdin_room -= piece;
	}
	process->stdin_blocked = taken < size;
	return (ssize_t)taken;
}

void spawnd_process_close_stdin(struct spawnd_process *process, unsigned slot)
{
	if (!process->stream || process->way == WAY_LOGS)
		return;
	kept_eof(&process->kept, slot);
	if (!process->resuming)
		send_stdin(process, slot, STDIN_NEXT, NULL, 0, true);
}

uint64_t spawnd_process_send(struct spawnd_process *process, const struct spawnd_outgoing *message)
{
	if (!process->stream || process->way == WAY_LOGS)
		return 0;
	return postbox_put(&process->postbox, process->stream, message);
}

size_t spawnd_process_unsent(const struct spawnd_process *process)
{
	return process->postbox.waiting;
}

void spawnd_process_pieces(struct spawnd_process *process)
{
	process->pieces = true;
}

void spawnd_process_disconnect(struct spawnd_process *process)
{
	Spawnd__V1__ProcessControl control = SPAWND__V1__PROCESS_CONTROL__INIT;
	Spawnd__V1__DisconnectCommand command = SPAWND__V1__DISCONNECT_COMMAND__INIT;

	process->disconnecting = true;
	/* what waits here goes first */
	if (process->postbox.next || process->postbox.held)
		return;
	control.control_case = SPAWND__V1__PROCESS_CONTROL__CONTROL_DISCONNECT;
	control.disconnect = &command;
	send_control(process, &control);
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

	process->cancelled = true;
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

/* Tells that it runs, once. Descriptors of another time would close themselves. */
static void tell_spawned(struct spawnd_process *process, const Spawnd__V1__Spawned *spawned, int *fds, size_t fd_count)
{
	unsigned slots[FDPASS_MAX];
	int taken[FDPASS_MAX];
	size_t count = spawned->n_handed < fd_count ? spawned->n_handed : fd_count;

	process->spawned = true;
	process->id = spawned->id;
	process->pid = spawned->pid;
	for (size_t i = 0; i < spawned->n_output; i++)
		marks_set(&process->marks, spawned->output[i]->slot, spawned->output[i]->offset);
	stream_confirm(process->stream);
	process->channel = spawned->channel;
	if (!process->handlers.spawned)
		return;
	for (size_t i = 0; i < count; i++) {
		slots[i] = spawned->handed[i]->slot;
		taken[i] = fd_steal(&fds[i]);
	}
	process->handlers.spawned(process->context, process, slots, taken, count);
}

/* Sends again what was not taken, and the ends. */
static void send_kept(struct spawnd_process *process)
{
	for (size_t i = 0; i < process->kept.count; i++) {
		const struct kept_slot *slot = &process->kept.slots[i];

		for (size_t at = 0; at < slot->bytes.length; at += STDIN_CHUNK) {
			size_t piece = slot->bytes.length - at < STDIN_CHUNK ? slot->bytes.length - at : STDIN_CHUNK;

			send_stdin(process, slot->slot, slot->base + at, slot->bytes.bytes + at, piece, false);
		}
		if (slot->eof && !slot->closed)
			send_stdin(process, slot->slot, STDIN_NEXT, NULL, 0, true);
	}
}

static void end_early(struct spawnd_process *process, const struct spawnd_error *error);

/* Sends again the messages that are not sure to get there. False: the process was freed meanwhile. */
static bool resume_messages(struct spawnd_process *process, uint64_t taken)
{
	const bool *freed = process->freed;
	bool waited = process->postbox.waiting > 0;
	uint64_t sent;

	while ((sent = postbox_resume(&process->postbox, process->stream, taken))) {
		if (process->handlers.sent)
			process->handlers.sent(process->context, process, sent, NULL);
		if (*freed)
			return false;
	}
	if (process->disconnecting)
		spawnd_process_disconnect(process);
	if (waited && !process->postbox.next && process->handlers.sendable)
		process->handlers.sendable(process->context, process);
	return !*freed;
}

/* The process is there again. False: this stream cannot go on, and has ended. */
static bool resume(struct spawnd_process *process, const Spawnd__V1__Spawned *spawned)
{
	struct spawnd_error error;

	process->resuming = false;
	if (process->spawned && spawned->id != process->id) {
		error_set(&error, SPAWND_DATA_LOSS, "process %llu is gone", (unsigned long long)process->id);
	} else if (kept_resume(&process->kept, spawned, &error) == 0) {
		send_kept(process);
		process->stdin_room = process->kept.sent < STDIN_WINDOW ? STDIN_WINDOW - process->kept.sent : 0;
		return resume_messages(process, spawned->messages_taken);
	}
	end_early(process, &error);
	return false;
}

static void tell_writable(struct spawnd_process *process)
{
	if (process->stdin_blocked && process->stdin_room && process->handlers.writable)
		process->handlers.writable(process->context, process);
}

static void on_spawned(struct spawnd_process *process, const Spawnd__V1__Spawned *spawned, int *fds, size_t fd_count)
{
	bool *freed = process->freed;

	if (!process->resuming)
		kept_place(&process->kept, spawned);
	else if (!resume(process, spawned))
		return;
	if (!process->spawned)
		tell_spawned(process, spawned, fds, fd_count);
	if (!*freed && process->stream)
		tell_writable(process);
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

/* Counts output as taken, if the caller does not do that, and hands it on; not what it has already. */
static void on_output(struct spawnd_process *process, unsigned slot, uint64_t offset, const uint8_t *data, size_t size)
{
	struct taken *taken = taken_of(process, slot);
	size_t known = marks_take(&process->marks, slot, offset, size), fresh = size - known;

	if (process->manual) {
		taken->held += fresh;
		taken->bytes += known;
	} else {
		taken->bytes += size;
	}
	if (process->handlers.output && (fresh || !size))
		process->handlers.output(process->context, process, slot, offset + known, data + known, fresh);
}

static void on_gap(struct spawnd_process *process, const Spawnd__V1__OutputGap *gap)
{
	marks_set(&process->marks, gap->slot, gap->offset + gap->bytes);
	if (process->handlers.gap)
		process->handlers.gap(process->context, process, gap->slot, gap->offset, gap->bytes);
}

static void on_stdin_grant(struct spawnd_process *process, uint64_t bytes)
{
	process->stdin_room += bytes;
	kept_granted(&process->kept, bytes);
	tell_writable(process);
}

static void on_stdin_closed(struct spawnd_process *process, unsigned slot)
{
	if (kept_closed(&process->kept, slot) && process->handlers.stdin_closed)
		process->handlers.stdin_closed(process->context, process, slot);
}

/* Exited and Closed come once, whatever was told on a connection before. */
static void on_exited(struct spawnd_process *process, const Spawnd__V1__Exited *exited)
{
	if (process->exited)
		return;
	process->exited = true;
	on_exit_record(process, exited->exit, false, process->handlers.exited);
}

static void on_closed(struct spawnd_process *process, const Spawnd__V1__Closed *closed)
{
	if (process->closed)
		return;
	process->closed = true;
	on_exit_record(process, closed->exit, closed->drain_timed_out, process->handlers.closed);
}

static void on_channel_message(struct spawnd_process *process, const Spawnd__V1__ChannelMessage *piece, int *fds, size_t fd_count)
{
	struct taken *taken = taken_of(process, process->channel);
	struct spawnd_message message;
	struct letterbox letter;

	if (process->manual && process->pieces)
		taken->held += piece->data.len;
	else
		taken->bytes += piece->data.len;
	process->wanted = piece->id + !piece->more;
	process->wanted_offset = piece->more ? piece->offset + piece->data.len : 0;
	process->unsaid += piece->n_handles ? UNSAID_MAX : piece->data.len;
	if (!piece->offset)
		letterbox_finish(&process->letterbox);
	if (!letterbox_add(&process->letterbox, piece, fds, fd_count, process->pieces, &message))
		return;
	if (!process->handlers.message) {
		letterbox_finish(&process->letterbox);
		return;
	}
	/* the process may be freed in there, the message not */
	letter = process->letterbox;
	process->letterbox = (struct letterbox){.fd_count = 0};
	message.fds = letter.fds;
	process->handlers.message(process->context, process, &message);
	letterbox_told(&letter);
}

static void on_message_grant(struct spawnd_process *process, const Spawnd__V1__Grant *grant)
{
	if (!process->stream || !postbox_grant(&process->postbox, process->stream, grant))
		return;
	if (process->disconnecting)
		spawnd_process_disconnect(process);
	if (process->handlers.sendable)
		process->handlers.sendable(process->context, process);
}

static void on_message_result(struct spawnd_process *process, const Spawnd__V1__MessageResult *result)
{
	struct spawnd_error error;
	bool failed = error_of_result(result, &error);

	postbox_result(&process->postbox, result->id, failed);
	if (process->handlers.sent)
		process->handlers.sent(process->context, process, result->id, failed ? &error : NULL);
}

static void on_disconnected(struct spawnd_process *process, const Spawnd__V1__Disconnected *disconnected)
{
	struct spawnd_error error;
	bool failed = disconnected->reason > SPAWND__V1__DISCONNECTED__REASON__REASON_CLIENT;

	if (process->disconnected)
		return;
	process->disconnected = true;
	if (failed)
		error_set(&error, SPAWND_DATA_LOSS, "%s",
			disconnected->why[0] ? disconnected->why
			: disconnected->reason == SPAWND__V1__DISCONNECTED__REASON__REASON_ENGINE_LOST
				? "a message was half moved when the daemon failed"
				: "someone else still held the channel");
	if (process->handlers.disconnected)
		process->handlers.disconnected(process->context, process, failed ? &error : NULL);
}

static void on_event(struct spawnd_process *process, const Spawnd__V1__ProcessEvent *event, int *fds, size_t fd_count)
{
	switch (event->event_case) {
	case SPAWND__V1__PROCESS_EVENT__EVENT_SPAWNED:
		on_spawned(process, event->spawned, fds, fd_count);
		break;
	case SPAWND__V1__PROCESS_EVENT__EVENT_OUTPUT_GAP:
		on_gap(process, event->output_gap);
		break;
	case SPAWND__V1__PROCESS_EVENT__EVENT_EXITED:
		on_exited(process, event->exited);
		break;
	case SPAWND__V1__PROCESS_EVENT__EVENT_CLOSED:
		on_closed(process, event->closed);
		break;
	case SPAWND__V1__PROCESS_EVENT__EVENT_STDIN_GRANT:
		on_stdin_grant(process, event->stdin_grant->bytes);
		break;
	case SPAWND__V1__PROCESS_EVENT__EVENT_STDIN_CLOSED:
		on_stdin_closed(process, event->stdin_closed->slot);
		break;
	case SPAWND__V1__PROCESS_EVENT__EVENT_OUTPUT:
		on_output(process, event->output->slot, event->output->offset, event->output->data.data, event->output->data.len);
		break;
	case SPAWND__V1__PROCESS_EVENT__EVENT_MESSAGE:
		on_channel_message(process, event->message, fds, fd_count);
		break;
	case SPAWND__V1__PROCESS_EVENT__EVENT_MESSAGE_GRANT:
		on_message_grant(process, event->message_grant);
		break;
	case SPAWND__V1__PROCESS_EVENT__EVENT_MESSAGE_RESULT:
		on_message_result(process, event->message_result);
		break;
	case SPAWND__V1__PROCESS_EVENT__EVENT_DISCONNECTED:
		on_disconnected(process, event->disconnected);
		break;
	default:
		break;
	}
}

static void forget_later(struct spawnd_process *process)
{
	struct later *later;

	while ((later = STAILQ_FIRST(&process->later))) {
		STAILQ_REMOVE_HEAD(&process->later, link);
		free(later);
	}
}

static void destroy(struct spawnd_process *process)
{
	if (process->freed)
		*process->freed = true;
	forget_later(process);
	marks_finish(&process->marks);
	kept_finish(&process->kept);
	postbox_finish(&process->postbox);
	letterbox_finish(&process->letterbox);
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

/* Ends a stream from our side. */
static void end_early(struct spawnd_process *process, const struct spawnd_error *error)
{
	stream_forget(process->stream);
	on_end(process, error, NULL, 0);
}

static void on_message(void *context, const uint8_t *bytes, size_t size, int *fds, size_t fd_count)
{
	struct spawnd_process *process = context;
	Spawnd__V1__ProcessEvent *event;
	struct spawnd_error error;
	const uint8_t *data;
	uint64_t offset;
	uint32_t slot;
	size_t length;
	bool freed = false, is_message = false, is_output = output_peek(bytes, size, 0, &slot, &offset, &data, &length);

	process->freed = &freed;
	if (is_output) {
		on_output(process, slot, offset, data, length);
	} else {
		event = spawnd__v1__process_event__unpack(NULL, size, bytes);
		if (event) {
			is_message = event->event_case == SPAWND__V1__PROCESS_EVENT__EVENT_MESSAGE;
			on_event(process, event, fds, fd_count);
			spawnd__v1__process_event__free_unpacked(event, NULL);
		} else {
			error_set(&error, SPAWND_INTERNAL, "an event of the daemon cannot be decoded");
			end_early(process, &error);
		}
	}
	if (freed)
		return;
	process->freed = NULL;
	process->taken_messages++;
	if (is_message)
		slot = process->channel;
	grant_if_due(process, is_output || is_message ? taken_of(process, slot) : NULL);
}

/* The connection is lost; what of an Output came is ours, and the rest will follow from there. */
static void on_part(void *context, const uint8_t *bytes, size_t size, size_t missing)
{
	struct spawnd_process *process = context;
	const uint8_t *data;
	uint64_t offset;
	uint32_t slot;
	size_t length;
	bool freed = false;

	if (!output_peek(bytes, size, missing, &slot, &offset, &data, &length) || !length)
		return;
	process->freed = &freed;
	on_output(process, slot, offset, data, length);
	if (!freed)
		process->freed = NULL;
}

/* ---- a new connection ---- */

static enum stream_fate on_lost(void *context)
{
	struct spawnd_process *process = context;

	postbox_hold(&process->postbox);
	if (process->closed)
		return STREAM_DONE;
	return process->nameless ? STREAM_LOST : STREAM_RESUMED;
}

/* The credit of a new stream is whole, but for what its reader still holds. */
static void renew_credit(struct spawnd_process *process)
{
	for (size_t i = 0; i < process->taken_count; i++) {
		process->taken[i].bytes = 0;
		process->taken[i].debt = process->taken[i].held;
	}
	process->taken_messages = 0;
	process->unsaid = 0;
	process->stdin_room = process->way == WAY_LOGS ? STDIN_WINDOW : 0;
	process->resuming = process->way != WAY_LOGS;
}

/* Which message a reader wants next. */
static void place_messages(const struct spawnd_process *process, Spawnd__V1__Reader *reader)
{
	reader->message = process->wanted;
	reader->message_offset = process->wanted_offset;
}

static void spawn_again(struct spawnd_process *process, Spawnd__V1__SpawnRequest *request)
{
	Spawnd__V1__SpawnStart *start = request->start;
	_cleanup_free_ Spawnd__V1__SlotOffset **from = marks_messages(&process->marks);

	start->from = from;
	start->n_from = process->marks.count;
	start->resume = process->spawned;
	place_messages(process, start->reader);
	stream_again(process->stream, &request->base);
	start->from = NULL;
	start->n_from = 0;
}

static void attach_again(struct spawnd_process *process, Spawnd__V1__AttachRequest *request)
{
	Spawnd__V1__AttachStart again = *request->start;
	Spawnd__V1__AttachRequest wrapper = *request;
	Spawnd__V1__ProcessRef ref = ref_message((struct spawnd_ref){.id = process->id});
	_cleanup_free_ Spawnd__V1__SlotOffset **from = marks_messages(&process->marks);

	again.from = from;
	again.n_from = process->marks.count;
	if (process->id)
		again.process = &ref;
	if (again.reader)
		place_messages(process, again.reader);
	wrapper.start = &again;
	stream_again(process->stream, &wrapper.base);
}

static void logs_again(struct spawnd_process *process, Spawnd__V1__LogsRequest *request)
{
	Spawnd__V1__LogsStart again = *request->start;
	Spawnd__V1__LogsRequest wrapper = *request;
	_cleanup_free_ Spawnd__V1__SlotOffset **from = marks_messages(&process->marks);

	again.from = from;
	again.n_from = process->marks.count;
	wrapper.start = &again;
	stream_again(process->stream, &wrapper.base);
}

/* Says the first message again, which says where to go on. */
static void say_again(struct spawnd_process *process, const uint8_t *first, size_t size)
{
	static const ProtobufCMessageDescriptor *const types[] = {
		[WAY_SPAWN] = &spawnd__v1__spawn_request__descriptor,
		[WAY_ATTACH] = &spawnd__v1__attach_request__descriptor,
		[WAY_LOGS] = &spawnd__v1__logs_request__descriptor,
	};
	ProtobufCMessage *message = protobuf_c_message_unpack(types[process->way], NULL, size, first);

	if (process->way == WAY_SPAWN)
		spawn_again(process, (Spawnd__V1__SpawnRequest *)message);
	else if (process->way == WAY_ATTACH)
		attach_again(process, (Spawnd__V1__AttachRequest *)message);
	else
		logs_again(process, (Spawnd__V1__LogsRequest *)message);
	protobuf_c_message_free_unpacked(message, NULL);
}

/* What was said while nobody could hear it. */
static void say_now(struct spawnd_process *process)
{
	for (struct later *later = STAILQ_FIRST(&process->later); later; later = STAILQ_NEXT(later, link)) {
		Spawnd__V1__ProcessControl *control = spawnd__v1__process_control__unpack(NULL, later->size, later->packed);

		send_control(process, control);
		spawnd__v1__process_control__free_unpacked(control, NULL);
	}
	forget_later(process);
	if (process->cancelled)
		spawnd_process_cancel(process);
}

static void on_resume(void *context, const uint8_t *first, size_t size)
{
	struct spawnd_process *process = context;

	renew_credit(process);
	say_again(process, first, size);
	say_now(process);
}

static void on_forgotten(void *context)
{
	struct spawnd_process *process = context;

	process->stream = NULL;
	if (process->abandoned)
		destroy(process);
}

static const struct stream_observer observer = {
	.on_message = on_message,
	.on_end = on_end,
	.on_forgotten = on_forgotten,
	.on_part = on_part,
	.on_lost = on_lost,
	.on_resume = on_resume,
};

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
	process->kept.placed = way == WAY_SPAWN;
	process->kept.off = !client_returns(client);
	STAILQ_INIT(&process->later);
	process->keeps = way != WAY_LOGS && client_returns(client);
	postbox_init(&process->postbox, true, way == WAY_SPAWN && client_returns(client));
	process->stream = stream_open(client, SERVICE_PROCESSES, method, first, fds, fd_count, &observer, process, error);
	if (!process->stream)
		free(mem_steal(&process));
	return process;
}

/* Fills a Reader that the caller's memory holds. */
static void fill_reader(const struct spawnd *client, Spawnd__V1__Reader *message, enum spawnd_reader reader, uint64_t window)
{
	spawnd__v1__reader__init(message);
	message->none = reader == SPAWND_NO_OUTPUT;
	if (!message->none)
		message->policy = (Spawnd__V1__Reader__Policy)reader;
	message->slot_window = window ? window : READER_WINDOW;
	message->keep_messages = client_returns(client);
}

struct spawnd_process *spawnd_spawn(struct spawnd *client, const struct spawnd_spec *spec, enum spawnd_reader reader, uint64_t window,
	const struct spawnd_handlers *handlers, void *context, struct spawnd_error *error)
{
	Spawnd__V1__SpawnRequest request = SPAWND__V1__SPAWN_REQUEST__INIT;
	Spawnd__V1__SpawnStart start = SPAWND__V1__SPAWN_START__INIT;
	Spawnd__V1__Reader reader_message;
	struct spawnd_process *process;
	char key[CLIENT_KEY_SIZE];

	if (client_check_spec(client, spec, error) < 0)
		return NULL;
	client_key(client, key);
	start.idempotency_key = key;
	fill_reader(client, &reader_message, reader, window);
	start.spec = (Spawnd__V1__ProcessSpec *)&spec->message;
	start.reader = &reader_message;
	request.message_case = SPAWND__V1__SPAWN_REQUEST__MESSAGE_START;
	request.start = &start;
	process = open_stream(client, WAY_SPAWN, "Spawn", &request.base, spec->fds, spec->fd_count, window, handlers, context, error);
	if (process)
		process->nameless = !key[0];
	return process;
}

/* Notes where the caller wants slots to begin. */
static struct spawnd_process *mark(struct spawnd_process *process, const struct spawnd_offset *from, size_t count)
{
	for (size_t i = 0; process && i < count; i++)
		marks_set(&process->marks, from[i].slot, from[i].offset);
	return process;
}

struct spawnd_process *spawnd_attach(struct spawnd *client, struct spawnd_ref ref, enum spawnd_reader reader, uint64_t window,
	bool retained, const struct spawnd_offset *from, size_t from_count, const struct spawnd_handlers *handlers, void *context,
	struct spawnd_error *error)
{
	Spawnd__V1__AttachRequest request = SPAWND__V1__ATTACH_REQUEST__INIT;
	Spawnd__V1__AttachStart start = SPAWND__V1__ATTACH_START__INIT;
	Spawnd__V1__ProcessRef process = ref_message(ref);
	const struct marks marks = {.list = (struct spawnd_offset *)from, .count = from_count};
	_cleanup_free_ Spawnd__V1__SlotOffset **list = marks_messages(&marks);
	Spawnd__V1__Reader reader_message;

	fill_reader(client, &reader_message, reader, window);
	start.process = &process;
	start.reader = &reader_message;
	start.from = list;
	start.n_from = from_count;
	start.from_retained = retained;
	request.message_case = SPAWND__V1__ATTACH_REQUEST__MESSAGE_START;
	request.start = &start;
	return mark(open_stream(client, WAY_ATTACH, "Attach", &request.base, NULL, 0, window, handlers, context, error), from, from_count);
}

struct spawnd_process *spawnd_attach_channel(
	struct spawnd *client, struct spawnd_ref ref, const struct spawnd_handlers *handlers, void *context, struct spawnd_error *error)
{
	Spawnd__V1__AttachRequest request = SPAWND__V1__ATTACH_REQUEST__INIT;
	Spawnd__V1__AttachStart start = SPAWND__V1__ATTACH_START__INIT;
	Spawnd__V1__ProcessRef process = ref_message(ref);
	Spawnd__V1__Reader reader = SPAWND__V1__READER__INIT;

	reader.none = true;
	reader.messages = SPAWND__V1__READER__MESSAGES__MESSAGES_READ;
	reader.keep_messages = client_returns(client);
	start.process = &process;
	start.reader = &reader;
	request.message_case = SPAWND__V1__ATTACH_REQUEST__MESSAGE_START;
	request.start = &start;
	return open_stream(client, WAY_ATTACH, "Attach", &request.base, NULL, 0, 0, handlers, context, error);
}

struct spawnd_process *spawnd_logs(struct spawnd *client, struct spawnd_ref ref, const struct spawnd_logs_options *options,
	const struct spawnd_handlers *handlers, void *context, struct spawnd_error *error)
{
	Spawnd__V1__LogsRequest request = SPAWND__V1__LOGS_REQUEST__INIT;
	Spawnd__V1__LogsStart start = SPAWND__V1__LOGS_START__INIT;
	Spawnd__V1__ProcessRef process = ref_message(ref);
	const struct marks marks = {.list = (struct spawnd_offset *)options->from, .count = options->from_count};
	_cleanup_free_ Spawnd__V1__SlotOffset **list = marks_messages(&marks);

	start.process = &process;
	start.slots = (uint32_t *)options->slots;
	start.n_slots = options->slot_count;
	start.since_ns = options->since_ns;
	start.from = list;
	start.n_from = options->from_count;
	start.follow = options->follow;
	request.message_case = SPAWND__V1__LOGS_REQUEST__MESSAGE_START;
	request.start = &start;
	return mark(open_stream(client, WAY_LOGS, "Logs", &request.base, NULL, 0, 0, handlers, context, error), options->from,
		options->from_count);
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
