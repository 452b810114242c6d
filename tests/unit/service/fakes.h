/*
 * Calls, peers and children that do what a test says: linked in place of the rooms rpc and process, which are not pulled then.
 * What a stream sent stands in the call, decoded, as one line per message.
 */
#pragma once

#include <CUnit/CUnit.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/loop.h"
#include "base/mem.h"
#include "pool/pool.h"
#include "process/child.h"
#include "rpc/call.h"
#include "rpc/peer.h"
#include "service/internal.h"
#include "spawnd/v1/events.pb-c.h"

/* ---- rpc ---- */

struct peer {
	void *session;
	bool fd_passing;
};

struct call {
	struct peer *peer;
	const struct method *method;
	const struct call_ops *ops;
	void *context;
	size_t held;       /* by the handler */
	size_t held_max;   /* 0: as much as it likes */
	uint64_t bytes;    /* credit */
	unsigned messages; /* credit */
	bool wants_send;
	bool ended;
	enum status status; /* how it ended */
	struct err err;
	char log[8192]; /* what was sent */
	uint8_t reply[65536];
	size_t reply_size;
};

static inline void fake_log(struct call *call, const char *format, ...) __attribute__((format(printf, 2, 3)));

static inline void fake_log(struct call *call, const char *format, ...)
{
	size_t length = strlen(call->log);
	va_list args;

	va_start(args, format);
	vsnprintf(call->log + length, sizeof(call->log) - length, format, args);
	va_end(args);
}

/* One line for one message of a stream of processes or events. */
static inline void fake_log_message(struct call *call, const ProtobufCMessage *message)
{
	const Spawnd__V1__ProcessEvent *event = (const Spawnd__V1__ProcessEvent *)message;
	const Spawnd__V1__RunReply *run = (const Spawnd__V1__RunReply *)message;
	const Spawnd__V1__Event *happened = (const Spawnd__V1__Event *)message;
	const Spawnd__V1__WriteReply *write = (const Spawnd__V1__WriteReply *)message;

	if (message->descriptor == &spawnd__v1__process_event__descriptor) {
		const ProtobufCFieldDescriptor *field = protobuf_c_message_descriptor_get_field(message->descriptor, event->event_case);

		fake_log(call, "%s", field->name);
		if (event->event_case == SPAWND__V1__PROCESS_EVENT__EVENT_OUTPUT_GAP)
			fake_log(call, " %u@%" PRIu64 "+%" PRIu64, event->output_gap->slot, event->output_gap->offset,
				event->output_gap->bytes);
		if (event->event_case == SPAWND__V1__PROCESS_EVENT__EVENT_STDIN_GRANT)
			fake_log(call, " %" PRIu64, event->stdin_grant->bytes);
		if (event->event_case == SPAWND__V1__PROCESS_EVENT__EVENT_MESSAGE)
			fake_log(call, " %" PRIu64 "@%" PRIu64 " %.*s%s", event->message->id, event->message->offset,
				(int)event->message->data.len, event->message->data.data, event->message->more ? "..." : "");
		if (event->event_case == SPAWND__V1__PROCESS_EVENT__EVENT_DISCONNECTED)
			fake_log(call, " %d", (int)event->disconnected->reason);
		if (event->event_case == SPAWND__V1__PROCESS_EVENT__EVENT_OUTPUT)
			fake_log(call, " %u@%" PRIu64 " %.*s", event->output->slot, event->output->offset, (int)event->output->data.len,
				event->output->data.data);
		fake_log(call, "\n");
	} else if (message->descriptor == &spawnd__v1__run_reply__descriptor) {
		const ProtobufCFieldDescriptor *field = protobuf_c_message_descriptor_get_field(message->descriptor, run->reply_case);

		fake_log(call, "%s", field->name);
		if (run->reply_case == SPAWND__V1__RUN_REPLY__REPLY_RESULT)
			for (size_t i = 0; i < run->result->n_cut; i++)
				fake_log(call, " cut %u@%" PRIu64 "+%" PRIu64, run->result->cut[i]->slot, run->result->cut[i]->offset,
					run->result->cut[i]->bytes);
		fake_log(call, "\n");
	} else if (message->descriptor == &spawnd__v1__event__descriptor) {
		if (happened->event_case == SPAWND__V1__EVENT__EVENT_GAP)
			fake_log(call, "gap %" PRIu64 "-%" PRIu64 "\n", happened->gap->first, happened->gap->last);
		else
			fake_log(call, "%" PRIu64 " %s %" PRIu64 "\n", happened->seq, happened->type, happened->process);
	} else if (message->descriptor == &spawnd__v1__write_reply__descriptor) {
		fake_log(call, "written %" PRIu64 "%s\n", write->written, write->grant ? " grant" : "");
	} else {
		fake_log(call, "%s\n", message->descriptor->short_name);
	}
}

struct peer *call_peer(const struct call *call)
{
	return call->peer;
}

const struct method *call_method(const struct call *call)
{
	return call->method;
}

void call_set_ops(struct call *call, const struct call_ops *ops, void *context)
{
	call->ops = ops;
	call->context = context;
}

void *call_context(const struct call *call)
{
	return call->context;
}

static inline void fake_end(struct call *call, enum status status)
{
	CU_ASSERT_FALSE(call->ended);
	call->ended = true;
	call->status = status;
}

void call_reply(struct call *call, const ProtobufCMessage *reply)
{
	call->reply_size = protobuf_c_message_pack(reply, call->reply);
	fake_log_message(call, reply);
	fake_end(call, STATUS_OK);
}

void call_finish(struct call *call)
{
	fake_log(call, "end\n");
	fake_end(call, STATUS_OK);
}

void call_fail_packed(struct call *call, const uint8_t *response, size_t size)
{
	fake_end(call, STATUS_UNKNOWN);
}

void call_fail(struct call *call, const struct err *err)
{
	call->err = *err;
	fake_end(call, err->status);
}

void call_fail_spawn(struct call *call, const struct err *err, char *const *argv)
{
	call_fail(call, err);
}

void call_send(struct call *call, const ProtobufCMessage *message, const int *fds, size_t count)
{
	CU_ASSERT_FALSE(call->ended);
	fake_log_message(call, message);
	if (count)
		fake_log(call, "with %zu descriptors\n", count);
	if (call->messages)
		call->messages--;
}

size_t call_credit(const struct call *call)
{
	return call->messages ? call->bytes : 0;
}

bool call_has_messages(const struct call *call)
{
	return call->messages > 0;
}

void call_send_bulk(struct call *call, const struct iovec *iov, size_t iov_count, size_t charged)
{
	uint8_t packed[65536];
	size_t size = 0;
	ProtobufCMessage *message;

	for (size_t i = 0; i < iov_count; i++) {
		memcpy(packed + size, iov[i].iov_base, iov[i].iov_len);
		size += iov[i].iov_len;
	}
	message = protobuf_c_message_unpack(call->method->reply, NULL, size, packed);
	CU_ASSERT_PTR_NOT_NULL_FATAL(message);
	CU_ASSERT(charged <= call->bytes);
	call->bytes -= charged;
	call_send(call, message, NULL, 0);
	protobuf_c_message_free_unpacked(message, NULL);
}

void call_send_bulk_fds(struct call *call, const struct iovec *iov, size_t iov_count, size_t bytes, const int *fds, size_t count)
{
	call_send_bulk(call, iov, iov_count, bytes);
}

void call_send_bulk_pipe(struct call *call, const void *prefix, size_t prefix_size, int pipe_fd, size_t payload, size_t charged)
{
	fake_log(call, "pipe %zu\n", payload);
	call->bytes -= charged;
}

void call_want_send(struct call *call)
{
	call->wants_send = true;
}

void call_window(struct call *call, uint64_t bytes, uint32_t messages)
{
	call->bytes = bytes;
	call->messages = messages;
}

void call_window_messages(struct call *call, uint32_t messages)
{
	call->bytes = 0;
	call->messages = messages ? messages : 64;
}

void call_grant(struct call *call, uint64_t bytes, uint32_t messages)
{
	call->bytes += bytes;
	call->messages += messages;
	call->wants_send = true;
}

int call_take_fd(struct call *call, uint32_t index, const char *field, int *fd_out, struct err *err)
{
	return err_invalid(err, field, "no descriptors in tests");
}

int call_fetch_fd(struct call *call, int32_t number, const char *field, int *fd_out, struct err *err)
{
	return err_invalid(err, field, "no descriptors in tests");
}

int call_hold(struct call *call, size_t bytes, struct err *err)
{
	bool more = bytes > call->held;

	call->held = bytes;
	return more && call->held_max && bytes > call->held_max ? err_set(err, STATUS_RESOURCE_EXHAUSTED, "too much is held") : 0;
}

int call_take_connection(struct call *call, struct peer *other, const char *field, int *fd_out, struct err *err)
{
	return err_invalid(err, field, "no descriptors in tests");
}

uid_t peer_uid(const struct peer *peer)
{
	return 1;
}

gid_t peer_gid(const struct peer *peer)
{
	return 1;
}

pid_t peer_pid(const struct peer *peer)
{
	return 1;
}

void peer_set_session(struct peer *peer, void *session)
{
	peer->session = session;
}

void peer_close(struct peer *peer, const char *why)
{
}

void *peer_session(const struct peer *peer)
{
	return peer->session;
}

void peer_set_fd_passing(struct peer *peer, bool can)
{
	peer->fd_passing = can;
}

bool peer_fd_passing(const struct peer *peer)
{
	return peer->fd_passing;
}

/* Lets a call send as long as it wants to. */
static inline void fake_pump(struct call *call)
{
	while (call->wants_send && !call->ended) {
		call->wants_send = false;
		while (!call->ended && call->ops->on_sendable(call))
			;
	}
}

/* The connection of a call is gone. */
static inline void fake_vanish(struct call *call)
{
	call->ended = true;
	call->ops->on_end(call);
}

/* ---- process ---- */

#define FAKE_OBSERVERS 8
#define FAKE_LOG 4096

struct child {
	uint64_t id;
	struct spec *spec;
	enum child_state state;
	bool closed, handed;
	bool held, born_held;
	bool anothers;            /* uid 2 owns it */
	char output[3][FAKE_LOG]; /* of slots 0, 1, 2 */
	uint64_t retained[3], cut[3];
	bool ended[3];
	char input[FAKE_LOG];
	size_t input_room; /* bytes child_write takes */
	uint64_t input_size;
	bool input_closed, input_ended;
	struct {
		const struct child_observer *observer;
		void *context;
	} observers[FAKE_OBSERVERS];
	struct reader *readers[FAKE_OBSERVERS];
	char acts[1024]; /* what was done to it */
	child_killed_fn killed;
	void *killed_context;
	struct err failure;
	struct channel *channel;
};

/* A channel that says what a test puts into it, and notes what is sent. */
struct channel {
	const char *coming[8]; /* messages; a NULL ends them */
	size_t next, taken;
	struct channel_reader *reader;
	struct channel_sender *sender;
	char sent[1024];
	bool disconnected;
	struct channel_ending ending; /* with a reason: it has ended */
};

struct children {
	struct child *list[8];
	size_t count;
	const struct child_observer *observer;
	void *context;
};

struct reader {
	struct child *child;
	enum reader_policy policy;
	const struct reader_observer *observer;
	void *context;
	bool reads[3];
	uint64_t at[3];
	size_t limit[3];
};

#define FAKE_TELL(child_, callback, ...)                                                                                                   \
	do {                                                                                                                               \
		for (size_t fake_i = 0; fake_i < FAKE_OBSERVERS; fake_i++)                                                                 \
			if ((child_)->observers[fake_i].observer && (child_)->observers[fake_i].observer->callback)                        \
				(child_)->observers[fake_i].observer->callback((child_)->observers[fake_i].context, ##__VA_ARGS__);        \
	} while (0)

static inline void fake_act(struct child *child, const char *format, ...) __attribute__((format(printf, 2, 3)));

static inline void fake_act(struct child *child, const char *format, ...)
{
	size_t length = strlen(child->acts);
	va_list args;

	va_start(args, format);
	vsnprintf(child->acts + length, sizeof(child->acts) - length, format, args);
	va_end(args);
}

void children_observe(struct children *children, const struct child_observer *observer, void *context)
{
	children->observer = observer;
	children->context = context;
}

/* What was signalled so far, as the host tells it. */
static uint64_t fake_signals;

static inline uint64_t fake_count_signals(void *context)
{
	return fake_signals;
}

const struct process_host *children_host(const struct children *children)
{
	static const struct process_host host = {.signals = fake_count_signals};

	return &host;
}

struct child *children_find(struct children *children, uint64_t id)
{
	for (size_t i = 0; i < children->count; i++)
		if (children->list[i]->id == id)
			return children->list[i];
	return NULL;
}

struct child *children_find_name(struct children *children, const char *name)
{
	for (size_t i = 0; i < children->count; i++)
		if (strcmp(child_name(children->list[i]), name) == 0)
			return children->list[i];
	return NULL;
}

struct child *children_next(struct children *children, uint64_t after)
{
	for (size_t i = 0; i < children->count; i++)
		if (children->list[i]->id > after)
			return children->list[i];
	return NULL;
}

size_t children_running(const struct children *children)
{
	return children->count;
}

size_t children_kept(const struct children *children)
{
	return 0;
}

uint64_t children_output_bytes(const struct children *children)
{
	return 0;
}

uint64_t children_buffered_bytes(const struct children *children)
{
	return 0;
}

void child_origin(const struct child *child, struct record_origin *origin_out)
{
	*origin_out = (struct record_origin){0};
}

void child_client_is_back(struct child *child)
{
}

bool child_was_held(const struct child *child)
{
	return child->held;
}

void child_set_held(struct child *child, bool held)
{
	child->held = held;
}

bool child_input_total(const struct child *child, uint32_t slot, uint64_t *taken_out, uint64_t *kernel_out)
{
	*taken_out = *kernel_out = child->input_size;
	return true;
}

const char *children_tree_method(const struct children *children)
{
	return "cgroup";
}

int child_create(struct children *children, struct spec *spec, const struct record_origin *origin, int *fds, size_t fd_count,
	struct child **child_out, struct err *err)
{
	struct child *child = mem_alloc(sizeof(*child));

	child->id = children->count + 1;
	child->spec = spec_ref(spec);
	child->held = child->born_held = origin->held;
	child->input_room = FAKE_LOG;
	children->list[children->count++] = child;
	*child_out = child;
	return 0;
}

int child_may_remove(struct child *child, struct err *err)
{
	return 0;
}

int child_remove(struct child *child, struct err *err)
{
	return 0;
}

void child_observe(struct child *child, const struct child_observer *observer, void *context)
{
	size_t i = 0;

	while (child->observers[i].observer)
		i++;
	child->observers[i].observer = observer;
	child->observers[i].context = context;
}

void child_unobserve(struct child *child, void *context)
{
	for (size_t i = 0; i < FAKE_OBSERVERS; i++)
		if (child->observers[i].context == context)
			child->observers[i].observer = NULL, child->observers[i].context = NULL;
}

ssize_t child_write(struct child *child, uint32_t slot, const void *bytes, size_t size)
{
	size_t taken = size < child->input_room ? size : child->input_room;

	if (child->input_closed || child->input_ended)
		return -EPIPE;
	if (child->input_size + taken < FAKE_LOG)
		memcpy(child->input + child->input_size, bytes, taken);
	child->input_size += taken;
	child->input_room -= taken;
	return (ssize_t)taken;
}

int child_close_stdin(struct child *child, uint32_t slot, struct err *err)
{
	child->input_ended = true;
	return 0;
}

int child_resize(struct child *child, unsigned rows, unsigned columns, struct err *err)
{
	return 0;
}

void child_signal(struct child *child, int signal, enum kill_scope scope, child_killed_fn done, void *context)
{
	fake_act(child, "signal %d scope %d\n", signal, (int)scope);
	child->killed = done;
	child->killed_context = context;
}

void child_stop(struct child *child, int signal, uint64_t grace_ms, enum kill_scope scope, enum child_reason reason, const char *why,
	child_killed_fn done, void *context)
{
	fake_act(child, "stop %d grace %" PRIu64 " scope %d %s\n", signal, grace_ms, (int)scope, why);
	child->killed = done;
	child->killed_context = context;
}

void child_forget(struct child *child, void *context)
{
	if (child->killed_context == context)
		child->killed = NULL;
}

uint64_t child_id(const struct child *child)
{
	return child->id;
}

const char *child_name(const struct child *child)
{
	return child->spec->message->name;
}

const struct spec *child_spec(const struct child *child)
{
	return child->spec;
}

enum child_state child_state(const struct child *child)
{
	return child->state;
}

bool child_is_closed(const struct child *child)
{
	return child->closed;
}

bool child_drain_timed_out(const struct child *child)
{
	return false;
}

pid_t child_pid(const struct child *child)
{
	return 1000;
}

uid_t child_owner(const struct child *child)
{
	return child->anothers ? 2 : 1;
}

int64_t child_started_at_ns(const struct child *child)
{
	return 1000000000;
}

unsigned child_reader_count(const struct child *child)
{
	return 0;
}

const char *child_tree_method(const struct child *child)
{
	return "cgroup";
}

Spawnd__V1__Transport child_transport(const struct child *child)
{
	return child->spec->message->transport;
}

uint64_t children_log_lost(const struct children *children)
{
	return 0;
}

size_t children_log_failing(const struct children *children, const struct child **first_out)
{
	*first_out = NULL;
	return 0;
}

bool child_left_something(const struct child *child)
{
	return false;
}

bool peer_has_hung_up(const struct peer *peer)
{
	return false;
}

const char *child_removed_why(const struct child *child)
{
	return "";
}

const char *child_log_file(const struct child *child, int *error_out, uint64_t *lost_out)
{
	*error_out = 0;
	*lost_out = 0;
	return NULL;
}

Spawnd__V1__ExitRecord *child_exit_record(const struct child *child)
{
	Spawnd__V1__ExitRecord *record;

	if (child->state < CHILD_EXITED)
		return NULL;
	record = mem_alloc(sizeof(*record));
	spawnd__v1__exit_record__init(record);
	if (child->state == CHILD_FAILED) {
		record->reason = SPAWND__V1__EXIT_REASON__EXIT_REASON_SPAWN_FAILED;
		record->error = mem_alloc(sizeof(*record->error));
		spawnd__v1__error_detail__init(record->error);
		record->error->errnum = child->failure.errnum;
		record->error->code = mem_strdup(child->failure.code);
		record->error->syscall = mem_strdup(child->failure.syscall);
		record->error->n_spawnargs = 1;
		record->error->spawnargs = mem_alloc(sizeof(ProtobufCBinaryData));
		record->error->spawnargs[0] = (ProtobufCBinaryData){.len = 1, .data = mem_dup("x", 1)};
	} else {
		record->reason = SPAWND__V1__EXIT_REASON__EXIT_REASON_EXITED;
		record->_code_case = SPAWND__V1__EXIT_RECORD___CODE_CODE;
		record->code = 3;
		record->exited_at_ns = 3000000000;
	}
	return record;
}

size_t child_totals(const struct child *child, struct slot_total *totals, size_t size)
{
	for (size_t i = 0; i < 2 && i < size; i++)
		totals[i] = (struct slot_total){.slot = (uint32_t)i + 1,
			.bytes = strlen(child->output[i + 1]),
			.retained_from = child->retained[i + 1],
			.complete = child->ended[i + 1]};
	return 2;
}

bool child_cut(const struct child *child, uint32_t slot, uint64_t *offset_out, uint64_t *bytes_out)
{
	*offset_out = 0;
	*bytes_out = slot < 3 ? child->cut[slot] : 0;
	return *bytes_out > 0;
}

size_t child_hand_over(struct child *child, uint32_t *slots_out, int *fds_out, size_t size)
{
	return 0;
}

void child_disconnected(struct child *child)
{
	fake_act(child, "disconnected\n");
}

void child_set_on_disconnect(struct child *child, Spawnd__V1__OnDisconnect what)
{
}

struct reader *reader_create(struct child *child, enum reader_policy policy, const uint32_t *slots, size_t slot_count,
	const struct reader_observer *observer, void *context)
{
	struct reader *reader = mem_alloc(sizeof(*reader));
	size_t free_at = 0;

	*reader = (struct reader){.child = child, .policy = policy, .observer = observer, .context = context};
	for (size_t slot = 1; slot < 3; slot++) {
		reader->limit[slot] = SIZE_MAX;
		reader->reads[slot] = slot_count == 0;
		reader->at[slot] = strlen(child->output[slot]);
	}
	for (size_t i = 0; i < slot_count; i++)
		reader->reads[slots[i]] = true;
	while (child->readers[free_at])
		free_at++;
	child->readers[free_at] = reader;
	return reader;
}

void reader_destroy(struct reader *reader)
{
	if (!reader)
		return;
	for (size_t i = 0; i < FAKE_OBSERVERS; i++)
		if (reader->child->readers[i] == reader)
			reader->child->readers[i] = NULL;
	free(reader);
}

bool reader_seek(struct reader *reader, uint32_t slot, uint64_t offset)
{
	if (slot > 2 || !reader->reads[slot])
		return false;
	reader->at[slot] = offset;
	return true;
}

void reader_seek_retained(struct reader *reader)
{
	for (size_t slot = 1; slot < 3; slot++)
		reader->at[slot] = reader->child->retained[slot];
}

void reader_seek_time(struct reader *reader, int64_t since_ns)
{
	reader_seek_retained(reader);
}

void reader_limit(struct reader *reader, uint32_t slot, size_t limit)
{
	reader->limit[slot] = limit;
}

enum reader_result reader_next(struct reader *reader, size_t most, struct chunk *chunk_out)
{
	bool all_ended = true;

	for (uint32_t slot = 1; slot < 3; slot++) {
		struct child *child = reader->child;
		uint64_t end = strlen(child->output[slot]);
		size_t limit = reader->limit[slot] < most ? reader->limit[slot] : most;

		if (!reader->reads[slot])
			continue;
		if (reader->at[slot] < end && limit == 0) {
			all_ended = false;
			continue;
		}
		if (reader->at[slot] < child->retained[slot]) {
			*chunk_out =
				(struct chunk){.slot = slot, .offset = reader->at[slot], .gap = child->retained[slot] - reader->at[slot]};
			return READER_GAP;
		}
		if (reader->at[slot] < end) {
			size_t length = end - reader->at[slot] < limit ? (size_t)(end - reader->at[slot]) : limit;

			*chunk_out =
				(struct chunk){.slot = slot, .offset = reader->at[slot], .length = length, .time_ns = 5, .iov_count = 2};
			chunk_out->iov[0] = (struct iovec){child->output[slot] + reader->at[slot], length / 2};
			chunk_out->iov[1] = (struct iovec){child->output[slot] + reader->at[slot] + length / 2, length - length / 2};
			return READER_DATA;
		}
		all_ended = all_ended && child->ended[slot];
	}
	return all_ended ? READER_END : READER_NOTHING;
}

void reader_take(struct reader *reader, const struct chunk *chunk)
{
	reader->at[chunk->slot] += chunk->length + chunk->gap;
}

/* ---- what happens ---- */

static inline void fake_spawned(struct child *child)
{
	child->state = CHILD_RUNNING;
	FAKE_TELL(child, on_spawned, child);
}

static inline void fake_write(struct child *child, unsigned slot, const char *text)
{
	strcat(child->output[slot], text);
	for (size_t i = 0; i < FAKE_OBSERVERS; i++)
		if (child->readers[i])
			child->readers[i]->observer->on_ready(child->readers[i]->context, child->readers[i]);
}

static inline void fake_exited(struct child *child)
{
	child->state = CHILD_EXITED;
	FAKE_TELL(child, on_exited, child);
}

static inline void fake_closed(struct child *child)
{
	child->ended[1] = child->ended[2] = child->closed = true;
	FAKE_TELL(child, on_closed, child);
}

/* ---- a service over them ---- */

#define FAKE_FORBIDDEN_UID 4242u

struct fake {
	struct loop *loop;
	struct children children;
	struct service *service;
	struct pools *pools;
	struct peer peer;
	service_upgraded_fn upgraded; /* of the upgrade under way */
	void *upgraded_arg;
	char upgraded_to[64];
	bool is_other;  /* neither root nor the daemon's own user */
	unsigned lacks; /* bits of enum right that the client has not, but over its own */
};

static inline void fake_facts(void *context, struct service_facts *facts_out)
{
	facts_out->socket = "/s";
	facts_out->log = "";
}

static inline void fake_shutdown(void *context, bool keep)
{
}

static inline void fake_set_log_level(void *context, enum log_level level)
{
}

static inline int fake_upgrade(void *context, const char *path, service_upgraded_fn done, void *arg, struct err *err)
{
	struct fake *fake = context;

	if (fake->upgraded)
		return err_set(err, STATUS_FAILED_PRECONDITION, "an upgrade is under way");
	fake->upgraded = done;
	fake->upgraded_arg = arg;
	snprintf(fake->upgraded_to, sizeof(fake->upgraded_to), "%s", path);
	return 0;
}

static inline bool fake_no_new_privs(void *context, const struct peer *peer)
{
	return false;
}

static inline bool fake_may(void *context, const struct peer *peer, enum right right)
{
	struct fake *fake = context;

	return !(fake->lacks & right);
}

static inline bool fake_is_master(void *context, const struct peer *peer)
{
	struct fake *fake = context;

	return !fake->is_other;
}

static inline int fake_run_as(void *context, const struct peer *peer, const struct spec *spec, struct err *err)
{
	return spec->uid == FAKE_FORBIDDEN_UID ? err_set(err, STATUS_PERMISSION_DENIED, "not as this one") : 0;
}

static const struct service_host fake_host = {
	.facts = fake_facts,
	.shutdown = fake_shutdown,
	.set_log_level = fake_set_log_level,
	.upgrade = fake_upgrade,
	.no_new_privs = fake_no_new_privs,
	.may = fake_may,
	.is_master = fake_is_master,
	.run_as = fake_run_as,
};

static inline void fake_begin(struct fake *fake)
{
	struct service_config config = {.host = &fake_host, .context = fake};

	memset(fake, 0, sizeof(*fake));
	fake->loop = config.loop = loop_create();
	config.children = &fake->children;
	config.pools = fake->pools = pools_create(config.children);
	fake->service = service_create(&config, NULL);
}

static inline void fake_end_all(struct fake *fake)
{
	service_peer_gone(fake->service, &fake->peer);
	service_destroy(fake->service);
	pools_destroy(fake->pools);
	for (size_t i = 0; i < fake->children.count; i++) {
		struct child *child = fake->children.list[i];

		for (size_t at = 0; at < FAKE_OBSERVERS; at++) {
			CU_ASSERT_PTR_NULL(child->observers[at].observer);
			CU_ASSERT_PTR_NULL(child->readers[at]);
		}
		spec_unref(child->spec);
		free(child);
	}
	loop_destroy(fake->loop);
}

/* Gives a method its first message; of those of one name the first of the table. Returns what the handler did; *err is the call's. */
static inline int fake_call(struct fake *fake, struct call *call, const char *name, const void *message)
{
	struct method_table table = service_methods(fake->service);
	int done;

	*call = (struct call){.peer = &fake->peer, .bytes = 1 << 20, .messages = 64};
	for (size_t i = 0; i < table.count && !call->method; i++)
		if (strcmp(table.methods[i].name, name) == 0)
			call->method = &table.methods[i];
	CU_ASSERT_PTR_NOT_NULL_FATAL(call->method);
	done = call->method->handle(call, message, &call->err);
	if (done < 0)
		call->ended = true;
	else if (!call->ended)
		fake_pump(call);
	return done;
}

/* A later message; as in rpc, a failure ends the call. */
static inline int fake_say(struct call *call, const void *message)
{
	int done = call->ops->on_message(call, message, &call->err);

	if (done < 0) {
		call->ended = true;
		call->status = call->err.status;
		if (call->ops->on_end)
			call->ops->on_end(call);
	} else if (!call->ended) {
		fake_pump(call);
	}
	return done;
}

/* ---- channel ---- */

struct channels *channels_create(const struct process_host *host)
{
	return NULL;
}

void channels_observe(struct channels *channels, const struct channels_observer *observer, void *context)
{
}

void channels_destroy(struct channels *channels)
{
}

void channels_open(struct channels *channels, struct child *child)
{
}

void channels_stats(const struct channels *channels, struct channels_stats *stats_out)
{
	*stats_out = (struct channels_stats){0};
}

void channel_stats(const struct channel *channel, struct channel_stats *stats_out)
{
	*stats_out = (struct channel_stats){0};
}

struct channel *channels_find(const struct channels *channels, const struct child *child)
{
	return child->channel;
}

void channel_add_sender(struct channel *channel, struct channel_sender *sender, const struct channel_sender_observer *observer,
	void *context, bool numbered)
{
	*sender = (struct channel_sender){.channel = channel, .observer = observer, .context = context};
	channel->sender = sender;
}

void channel_remove_sender(struct channel_sender *sender)
{
	if (sender->channel)
		sender->channel->sender = NULL;
	sender->channel = NULL;
}

int channel_send(struct channel_sender *sender, const struct channel_piece *piece, struct err *err)
{
	size_t length = strlen(sender->channel->sent);

	snprintf(sender->channel->sent + length, sizeof(sender->channel->sent) - length, "%" PRIu64 " %.*s%s\n", piece->id,
		(int)piece->length, (const char *)piece->data, piece->more ? "..." : "");
	return 0;
}

void channel_disconnect(struct channel *channel, void (*done)(void *context), void *context)
{
	channel->disconnected = true;
	if (done)
		done(context);
}

void channel_forget(struct channel *channel, void *context)
{
}

void channel_add_reader(struct channel *channel, struct channel_reader *reader, const struct channel_reader_observer *observer,
	void *context, const struct channel_wants *wants)
{
	*reader = (struct channel_reader){.channel = channel, .observer = observer, .context = context, .wants = *wants};
	channel->reader = reader;
}

void channel_had(struct channel_reader *reader, uint64_t id, uint64_t offset)
{
}

void channel_remove_reader(struct channel_reader *reader)
{
	if (reader->channel)
		reader->channel->reader = NULL;
	reader->channel = NULL;
}

enum channel_next channel_next(struct channel_reader *reader, size_t limit, struct channel_incoming *incoming_out)
{
	struct channel *channel = reader->channel;
	const char *text = reader->wants.reads ? channel->coming[channel->next] : NULL;
	size_t left = text ? strlen(text) - channel->taken : 0;

	if (!text)
		return channel->ending.reason ? CHANNEL_NEXT_ENDED : CHANNEL_NEXT_NOTHING;
	if (!limit)
		return CHANNEL_NEXT_NOTHING;
	*incoming_out = (struct channel_incoming){
		.id = channel->next + 1,
		.offset = channel->taken,
		.size = strlen(text),
		.more = limit < left,
		.content_type = "",
		.iov = {{.iov_base = (void *)(text + channel->taken), .iov_len = limit < left ? limit : left}},
		.iov_count = 1,
		.length = limit < left ? limit : left,
	};
	return CHANNEL_NEXT_PIECE;
}

void channel_take(struct channel_reader *reader, const struct channel_incoming *incoming)
{
	struct channel *channel = reader->channel;

	channel->taken = incoming->more ? channel->taken + incoming->length : 0;
	channel->next += !incoming->more;
}

const struct channel_ending *channel_ending(const struct channel *channel)
{
	return channel->ending.reason ? &channel->ending : NULL;
}

uint64_t channel_taken_id(const struct channel *channel)
{
	return 0;
}
