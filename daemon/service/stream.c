/* See stream.h. What differs between the kinds is which messages they have, and what becomes of the process when they end. */
#include "service/stream.h"

#include <errno.h>
#include <inttypes.h>

#include "base/fdpass.h"
#include "base/mem.h"
#include "service/convert.h"
#include "service/run.h"
#include "service/stream_control.h"

static void finish(struct stream *stream);

/* ---- messages ---- */

static void send_event(struct stream *stream, Spawnd__V1__ProcessEvent *event)
{
	call_send(stream->call, &event->base, NULL, 0);
}

/* The pipes themselves, for the client that asked for them. Returns their number; the caller closes them. */
static size_t take_pipes(struct stream *stream, Spawnd__V1__HandedFd *handed, Spawnd__V1__HandedFd **list, int *fds)
{
	uint32_t slots[FDPASS_MAX];
	size_t count = child_hand_over(stream->child, slots, fds, FDPASS_MAX);

	for (size_t i = 0; i < count; i++) {
		spawnd__v1__handed_fd__init(&handed[i]);
		handed[i].slot = slots[i];
		list[i] = &handed[i];
	}
	return count;
}

/* Where a client that resumes goes on with its input; `offsets` has room for every slot. */
static size_t list_taken(const struct stream *stream, Spawnd__V1__SlotOffset *offsets, Spawnd__V1__SlotOffset **list)
{
	const struct spec *spec = child_spec(stream->child);
	size_t count = 0;

	for (size_t i = 0; i < spec->slot_count; i++) {
		uint64_t taken = spec_is_input(spec, &spec->slots[i]) ? input_taken(&stream->input, spec->slots[i].slot) : 0;

		if (!taken)
			continue;
		spawnd__v1__slot_offset__init(&offsets[count]);
		offsets[count].slot = spec->slots[i].slot;
		offsets[count].offset = taken;
		list[count] = &offsets[count];
		count++;
	}
	return count;
}

/* Where the output begins that a reader did not place: it could not come back to it otherwise. */
static size_t list_begins(const struct stream *stream, Spawnd__V1__SlotOffset *offsets, Spawnd__V1__SlotOffset **list)
{
	size_t total = child_totals(stream->child, NULL, 0), count = 0;
	_cleanup_free_ struct slot_total *totals = mem_alloc((total + 1) * sizeof(*totals));

	if (stream->kind != STREAM_ATTACH || stream->no_output || stream->plan.from != OUTFLOW_NEXT)
		return 0;
	child_totals(stream->child, totals, total);
	for (size_t i = 0; i < total; i++) {
		if (outflow_is_placed(&stream->plan, totals[i].slot))
			continue;
		spawnd__v1__slot_offset__init(&offsets[count]);
		offsets[count].slot = totals[i].slot;
		offsets[count].offset = totals[i].bytes;
		list[count] = &offsets[count];
		count++;
	}
	return count;
}

static void fill_channel(const struct stream *stream, Spawnd__V1__Spawned *spawned)
{
	const struct slot_spec *slot = spec_channel_slot(child_spec(stream->child));

	if (!slot)
		return;
	spawned->_channel_case = SPAWND__V1__SPAWNED___CHANNEL_CHANNEL;
	spawned->channel = slot->slot;
	if (stream->receiving.channel)
		spawned->messages_taken = channel_taken_id(stream->receiving.channel);
}

static void send_spawned(struct stream *stream)
{
	size_t slots = child_spec(stream->child)->slot_count + 1;
	_cleanup_free_ Spawnd__V1__SlotOffset *places = mem_alloc(slots * sizeof(*places));
	_cleanup_free_ Spawnd__V1__SlotOffset **begins = mem_alloc(slots * sizeof(Spawnd__V1__SlotOffset *));
	_cleanup_free_ Spawnd__V1__SlotOffset *offsets = mem_alloc(slots * sizeof(*offsets));
	_cleanup_free_ Spawnd__V1__SlotOffset **taken = mem_alloc(slots * sizeof(Spawnd__V1__SlotOffset *));
	Spawnd__V1__ProcessEvent event = SPAWND__V1__PROCESS_EVENT__INIT;
	Spawnd__V1__RunReply reply = SPAWND__V1__RUN_REPLY__INIT;
	Spawnd__V1__Spawned spawned = SPAWND__V1__SPAWNED__INIT;
	Spawnd__V1__HandedFd handed[FDPASS_MAX], *list[FDPASS_MAX];
	int fds[FDPASS_MAX];

	spawned.id = child_id(stream->child);
	spawned.pid = child_pid(stream->child);
	spawned.started_at_ns = child_started_at_ns(stream->child);
	spawned.handed = list;
	fill_channel(stream, &spawned);
	spawned.n_stdin = list_taken(stream, offsets, taken);
	spawned.stdin = taken;
	spawned.n_output = list_begins(stream, places, begins);
	spawned.output = begins;
	if (stream->kind == STREAM_RUN) {
		reply.reply_case = SPAWND__V1__RUN_REPLY__REPLY_SPAWNED;
		reply.spawned = &spawned;
		call_send(stream->call, &reply.base, NULL, 0);
		return;
	}
	if (stream->kind == STREAM_SPAWN && child_transport(stream->child) == SPAWND__V1__TRANSPORT__TRANSPORT_HANDOVER)
		spawned.n_handed = take_pipes(stream, handed, list, fds);
	event.event_case = SPAWND__V1__PROCESS_EVENT__EVENT_SPAWNED;
	event.spawned = &spawned;
	call_send(stream->call, &event.base, fds, spawned.n_handed);
	for (size_t i = 0; i < spawned.n_handed; i++)
		fd_close(&fds[i]);
}

static void send_exited(struct stream *stream)
{
	Spawnd__V1__ProcessEvent event = SPAWND__V1__PROCESS_EVENT__INIT;
	Spawnd__V1__Exited exited = SPAWND__V1__EXITED__INIT;

	if (stream->kind == STREAM_RUN || stream->kind == STREAM_LOGS || stream->exited)
		return;
	stream->exited = true;
	exited.exit = child_exit_record(stream->child);
	event.event_case = SPAWND__V1__PROCESS_EVENT__EVENT_EXITED;
	event.exited = &exited;
	send_event(stream, &event);
	if (exited.exit)
		spawnd__v1__exit_record__free_unpacked(exited.exit, NULL);
}

static void send_closed(struct stream *stream)
{
	Spawnd__V1__ProcessEvent event = SPAWND__V1__PROCESS_EVENT__INIT;
	Spawnd__V1__Closed closed = SPAWND__V1__CLOSED__INIT;

	closed.exit = child_exit_record(stream->child);
	closed.drain_timed_out = child_drain_timed_out(stream->child);
	event.event_case = SPAWND__V1__PROCESS_EVENT__EVENT_CLOSED;
	event.closed = &closed;
	send_event(stream, &event);
	if (closed.exit)
		spawnd__v1__exit_record__free_unpacked(closed.exit, NULL);
}

static void on_grant(void *context, uint64_t bytes)
{
	struct stream *stream = context;
	Spawnd__V1__ProcessEvent event = SPAWND__V1__PROCESS_EVENT__INIT;
	Spawnd__V1__RunReply reply = SPAWND__V1__RUN_REPLY__INIT;
	Spawnd__V1__Grant grant = SPAWND__V1__GRANT__INIT;

	grant.bytes = bytes;
	if (stream->kind == STREAM_RUN) {
		reply.reply_case = SPAWND__V1__RUN_REPLY__REPLY_STDIN_GRANT;
		reply.stdin_grant = &grant;
		call_send(stream->call, &reply.base, NULL, 0);
		return;
	}
	event.event_case = SPAWND__V1__PROCESS_EVENT__EVENT_STDIN_GRANT;
	event.stdin_grant = &grant;
	send_event(stream, &event);
}

static void on_input_closed(void *context, uint32_t slot, uint64_t written)
{
	struct stream *stream = context;
	Spawnd__V1__ProcessEvent event = SPAWND__V1__PROCESS_EVENT__INIT;
	Spawnd__V1__StdinClosed closed = SPAWND__V1__STDIN_CLOSED__INIT;

	if (stream->kind != STREAM_SPAWN && stream->kind != STREAM_ATTACH)
		return;
	closed.slot = slot;
	closed.written = written;
	event.event_case = SPAWND__V1__PROCESS_EVENT__EVENT_STDIN_CLOSED;
	event.stdin_closed = &closed;
	send_event(stream, &event);
}

static void on_message_grant(void *context, const Spawnd__V1__Grant *grant)
{
	struct stream *stream = context;
	Spawnd__V1__ProcessEvent event = SPAWND__V1__PROCESS_EVENT__INIT;

	event.event_case = SPAWND__V1__PROCESS_EVENT__EVENT_MESSAGE_GRANT;
	event.message_grant = (Spawnd__V1__Grant *)grant;
	send_event(stream, &event);
}

static void on_message_result(void *context, const Spawnd__V1__MessageResult *result)
{
	struct stream *stream = context;
	Spawnd__V1__ProcessEvent event = SPAWND__V1__PROCESS_EVENT__INIT;

	event.event_case = SPAWND__V1__PROCESS_EVENT__EVENT_MESSAGE_RESULT;
	event.message_result = (Spawnd__V1__MessageResult *)result;
	send_event(stream, &event);
}

static const struct sending_observer sending_observer = {.on_grant = on_message_grant, .on_result = on_message_result};

static const struct input_observer input_observer = {.on_grant = on_grant, .on_closed = on_input_closed};

/* ---- end ---- */

static bool holds(const struct stream *stream)
{
	return stream->kind == STREAM_SPAWN || stream->kind == STREAM_RUN;
}

static void destroy(struct stream *stream)
{
	child_unobserve(stream->child, stream);
	receiving_finish(&stream->receiving);
	sending_finish(&stream->sending);
	outflow_finish(&stream->outflow);
	outflow_plan_finish(&stream->plan);
	input_finish(&stream->input);
	free(stream->late_slots);
	free(stream);
}

/* The process needs nobody's hold any more. */
static void release(struct stream *stream)
{
	if (holds(stream) && hold_release(stream->service->sessions, child_id(stream->child)))
		child_set_held(stream->child, false);
}

/* Ends the call with what belongs to the end of this kind. */
static void finish(struct stream *stream)
{
	struct peer *peer = call_peer(stream->call);
	/* the end of a client ends pipes too, and so perhaps the process before we hear of the client */
	bool untold = holds(stream) && child_left_something(stream->child) && peer_has_hung_up(peer);

	if (stream->kind == STREAM_RUN) {
		run_send_result(stream->call, stream->child);
	} else if (stream->kind != STREAM_LOGS) {
		send_exited(stream);
		send_closed(stream);
	}
	call_finish(stream->call);
	if (untold)
		hold_lose(stream->service->sessions, peer_session(peer), child_id(stream->child));
	else
		release(stream);
	destroy(stream);
}

/* The next slot that Run sends at its end. False: there is none left. */
static bool begin_late(struct stream *stream)
{
	struct outflow_plan plan = {.policy = READER_DROP, .from = OUTFLOW_RETAINED};
	uint64_t offset, bytes;

	if (stream->late_next >= stream->late_count)
		return false;
	plan.slots = mem_dup(&stream->late_slots[stream->late_next++], sizeof(*plan.slots));
	plan.slot_count = 1;
	if (child_cut(stream->child, plan.slots[0], &offset, &bytes)) {
		plan.at = mem_alloc(sizeof(*plan.at));
		plan.at[0].slot = plan.slots[0];
		plan.at[0].bytes = offset + bytes;
		plan.at_count = 1;
	}
	outflow_begin(&stream->outflow, &plan);
	return true;
}

/* Ends the stream if it has told everything. True when it did: the stream is gone. */
static bool finish_if_done(struct stream *stream)
{
	if (!stream->outflow.done || !stream->receiving.done || (stream->kind != STREAM_LOGS && !stream->closed))
		return false;
	if (begin_late(stream))
		return false;
	finish(stream);
	return true;
}

/* One frame: a message and a piece of output by turns, if there are both. */
static bool send_next(struct stream *stream)
{
	bool messages = stream->messages_turn;

	stream->messages_turn = !messages;
	if (messages)
		return receiving_send(&stream->receiving) || outflow_send(&stream->outflow);
	return outflow_send(&stream->outflow) || receiving_send(&stream->receiving);
}

static bool on_sendable(struct call *call)
{
	struct stream *stream = call_context(call);

	if (send_next(stream))
		return true;
	finish_if_done(stream);
	return false;
}

/* ---- life of the child ---- */

/* The process runs, or ran: everything but the end can be told. */
static void begin(struct stream *stream)
{
	stream->begun = true;
	if (stream->kind != STREAM_LOGS)
		send_spawned(stream);
	if (stream->no_output || child_transport(stream->child) == SPAWND__V1__TRANSPORT__TRANSPORT_HANDOVER)
		stream->outflow.done = true;
	else
		outflow_begin(&stream->outflow, &stream->plan);
	if (holds(stream))
		child_client_is_back(stream->child);
	receiving_begin(&stream->receiving);
	input_on_spawned(&stream->input);
}

static void on_spawned(void *context, struct child *child)
{
	struct stream *stream = context;

	if (!stream->begun)
		begin(stream);
}

/* It never ran: that is how the call ends. */
static void fail(struct stream *stream, const struct err *err)
{
	if (stream->kind == STREAM_LOGS)
		call_finish(stream->call);
	else
		call_fail_spawn(stream->call, err, child_spec(stream->child)->argv);
	release(stream);
	destroy(stream);
}

static void on_failed(void *context, struct child *child, const struct err *err)
{
	fail(context, err);
}

static void on_exited(void *context, struct child *child)
{
	send_exited(context);
}

static void on_closed(void *context, struct child *child)
{
	struct stream *stream = context;

	stream->closed = true;
	if (!finish_if_done(stream))
		call_want_send(stream->call);
}

static void on_stdin_room(void *context, struct child *child, uint32_t slot, uint64_t written)
{
	struct stream *stream = context;

	input_on_room(&stream->input, slot, written);
}

static void on_stdin_closed(void *context, struct child *child, uint32_t slot)
{
	struct stream *stream = context;

	input_on_closed(&stream->input, slot);
}

static void on_removed(void *context, struct child *child)
{
	struct stream *stream = context;
	struct err err;

	err_set(&err, STATUS_ABORTED, "process %" PRIu64 " was removed", child_id(child));
	call_fail(stream->call, &err);
	destroy(stream);
}

static const struct child_observer observer = {
	.on_spawned = on_spawned,
	.on_failed = on_failed,
	.on_exited = on_exited,
	.on_closed = on_closed,
	.on_stdin_room = on_stdin_room,
	.on_stdin_closed = on_stdin_closed,
	.on_removed = on_removed,
};

/* ---- the call ---- */

static int on_message(struct call *call, const ProtobufCMessage *message, struct err *err)
{
	struct stream *stream = call_context(call);
	int done = stream_message(stream, message, err);

	stream->at_fault = done < 0;
	return done;
}

/* The client is gone, or broke the rules, or cancelled. */
static void on_end(struct call *call)
{
	struct stream *stream = call_context(call);
	struct sessions *sessions = stream->service->sessions;
	uint64_t process = child_id(stream->child);

	if (stream->cancelled)
		release(stream);
	else if (holds(stream) && stream->service->ending)
		hold_release(sessions, process);
	else if (holds(stream))
		hold_lose(sessions, stream->at_fault ? NULL : peer_session(call_peer(call)), process);
	destroy(stream);
}

static const struct call_ops ops = {.on_message = on_message, .on_sendable = on_sendable, .on_end = on_end};

/* A process that has been there for a while: all that happened is told at once. */
static void catch_up(struct stream *stream, const struct stream_start *start)
{
	enum child_state state = child_state(stream->child);
	struct err err;

	if (state == CHILD_FAILED) {
		convert_failure(stream->child, &err);
		fail(stream, &err);
		return;
	}
	if (state != CHILD_STARTING)
		begin(stream);
	if (start->input)
		input_whole(&stream->input, 0, start->input, start->input_ends, start->joined);
	/* of a process that is history the output comes first, as it did when it lived */
	stream->closed = child_is_closed(stream->child);
	if (state == CHILD_EXITED && !stream->closed)
		send_exited(stream);
	finish_if_done(stream);
}

/* The first credit. */
static void open_windows(struct stream *stream, const struct stream_start *start)
{
	if (start->slot_window) {
		call_window_messages(stream->call, start->window ? start->window->messages : 0);
		outflow_grant_each(&stream->outflow, start->slot_window);
	} else if (start->window) {
		call_window(stream->call, start->window->bytes, start->window->messages);
	}
}

/* The messages of the process, if it is one that has them and this a stream for them. */
static void open_channel(struct stream *stream, const struct stream_start *start)
{
	bool has = stream->kind == STREAM_SPAWN || stream->kind == STREAM_ATTACH;
	struct channel *channel = has ? channels_find(stream->service->channels, stream->child) : NULL;
	uint64_t window = start->slot_window ? start->slot_window : start->window ? start->window->bytes : 0;

	receiving_init(&stream->receiving, stream->call, channel, &start->wants, window);
	sending_init(&stream->sending, stream->call, channel, stream->kind == STREAM_SPAWN, &sending_observer, stream);
}

void stream_create(struct call *call, struct stream_start *start)
{
	struct stream *stream = mem_alloc(sizeof(*stream));

	stream->service = service_get();
	stream->call = call;
	stream->child = start->child;
	stream->kind = start->kind;
	stream->no_output = start->no_output;
	stream->plan = start->plan;
	stream->plan.tell_gaps = start->kind != STREAM_RUN;
	stream->late_slots = start->late_slots;
	stream->late_count = start->late_count;
	outflow_init(&stream->outflow, call, stream->child);
	input_init(&stream->input, stream->service->feeds, call, stream->child, &input_observer, stream);
	open_channel(stream, start);
	open_windows(stream, start);
	if (holds(stream)) {
		hold_take(stream->service->sessions, child_id(stream->child));
		child_set_held(stream->child, true);
	}
	child_observe(stream->child, &observer, stream);
	call_set_ops(call, &ops, stream);
	catch_up(stream, start);
}
