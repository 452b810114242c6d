/* See events.h. */
#include "service/events.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/queue.h>

#include "base/clock.h"
#include "base/mem.h"
#include "service/convert.h"
#include "service/internal.h"
#include "service/reading.h"
#include "service/rights.h"
#include "spawnd/v1/events.pb-c.h"

#define ARGV_BYTES_MAX 4096u /* of a command in an event; the rest is left out */

#define EVENT(name) SPAWND__V1__EVENT__EVENT_##name

/* A kind of event: the field it is in, and its name. */
static const struct {
	Spawnd__V1__Event__EventCase event_case;
	const char *name;
} types[] = {
	{EVENT(AUDIT), "audit"}, /* AUDIT_BIT */
	{EVENT(SPAWNED), "spawned"},
	{EVENT(EXITED), "exited"},
	{EVENT(CLOSED), "closed"},
	{EVENT(OUTPUT_GAP), "output_gap"},
	{EVENT(SPAWN_FAILED), "spawn_failed"},
	{EVENT(REMOVED), "removed"},
	{EVENT(STOPPING), "stopping"},
	{EVENT(GAP), "gap"},
	{EVENT(LOG_FAILED), "log_failed"},
	{EVENT(LOG_RECOVERED), "log_recovered"},
	{EVENT(MESSAGE), "message"},
	{EVENT(DISCONNECTED), "disconnected"},
};

struct event {
	uint64_t process;
	uid_t owner;   /* of the process */
	unsigned type; /* bit of types */
	size_t size;
	uint8_t *packed; /* owned */
};

struct subscriber {
	TAILQ_ENTRY(subscriber) link; /* events::subscribers */
	struct events *events;
	struct call *call;
	uint64_t next;    /* seq to look at */
	uint64_t process; /* 0: all */
	unsigned wanted;  /* bits of types */
	bool own_only;    /* sees events of its own processes alone */
	bool announce;    /* where it begins is still to be told */
};

struct events {
	struct event ring[EVENTS_KEPT]; /* seq is at (seq - 1) % EVENTS_KEPT */
	uint64_t last;
	uint64_t lost;              /* events up to here went with an earlier engine */
	_Atomic uint64_t *kept_seq; /* NULL: nobody remembers */
	TAILQ_HEAD(, subscriber) subscribers;
};

struct events *events_create(_Atomic uint64_t *kept_seq)
{
	struct events *events = mem_alloc(sizeof(*events));

	events->kept_seq = kept_seq;
	events->last = events->lost = kept_seq ? atomic_load(kept_seq) : 0;
	TAILQ_INIT(&events->subscribers);
	return events;
}

void events_destroy(struct events *events)
{
	if (!events)
		return;
	for (size_t i = 0; i < EVENTS_KEPT; i++)
		free(events->ring[i].packed);
	free(events);
}

uint64_t events_last(const struct events *events)
{
	return events->last;
}

static unsigned type_index(Spawnd__V1__Event__EventCase event_case)
{
	unsigned i = 0;

	while (types[i].event_case != event_case)
		i++;
	return i;
}

/* Numbers, packs and keeps an event about a process of `owner`, and has the subscribers look. */
static void add(struct events *events, uid_t owner, Spawnd__V1__Event *message)
{
	unsigned type = type_index(message->event_case);
	struct event *event = &events->ring[events->last % EVENTS_KEPT];
	struct subscriber *subscriber;

	message->seq = ++events->last;
	if (events->kept_seq)
		atomic_store(events->kept_seq, events->last);
	message->time_ns = clock_real_ns();
	message->type = (char *)types[type].name;
	free(event->packed);
	event->process = message->process;
	event->owner = owner;
	event->type = 1u << type;
	event->size = spawnd__v1__event__get_packed_size(message);
	event->packed = mem_alloc(event->size);
	spawnd__v1__event__pack(message, event->packed);
	TAILQ_FOREACH(subscriber, &events->subscribers, link)
	call_want_send(subscriber->call);
}

void events_spawned(struct events *events, struct child *child)
{
	Spawnd__V1__Event message = SPAWND__V1__EVENT__INIT;
	Spawnd__V1__SpawnedEvent spawned = SPAWND__V1__SPAWNED_EVENT__INIT;
	_cleanup_free_ ProtobufCBinaryData *argv = NULL;
	size_t bytes = 0;

	message.process = child_id(child);
	message.event_case = EVENT(SPAWNED);
	message.spawned = &spawned;
	spawned.pid = child_pid(child);
	spawned.name = (char *)child_name(child);
	spawned.argv = argv = convert_argv(child, &spawned.n_argv);
	for (size_t i = 0; i < spawned.n_argv; i++) {
		if (bytes + argv[i].len > ARGV_BYTES_MAX) {
			argv[i].len = ARGV_BYTES_MAX - bytes;
			spawned.n_argv = i + (argv[i].len > 0);
			break;
		}
		bytes += argv[i].len;
	}
	add(events, child_owner(child), &message);
}

/* The events that are an exit record. */
static void add_record(struct events *events, struct child *child, Spawnd__V1__Event__EventCase event_case)
{
	Spawnd__V1__Event message = SPAWND__V1__EVENT__INIT;
	Spawnd__V1__ExitRecord *record = child_exit_record(child);

	if (!record)
		return;
	if (record->error && record->error->n_spawnargs)
		convert_drop_spawnargs(record->error);
	message.process = child_id(child);
	message.event_case = event_case;
	message.exited = record;
	add(events, child_owner(child), &message);
	spawnd__v1__exit_record__free_unpacked(record, NULL);
}

void events_failed(struct events *events, struct child *child)
{
	add_record(events, child, EVENT(SPAWN_FAILED));
}

void events_exited(struct events *events, struct child *child)
{
	add_record(events, child, EVENT(EXITED));
}

void events_closed(struct events *events, struct child *child)
{
	add_record(events, child, EVENT(CLOSED));
}

void events_stopping(struct events *events, struct child *child, const char *why)
{
	Spawnd__V1__Event message = SPAWND__V1__EVENT__INIT;
	Spawnd__V1__StoppingEvent stopping = SPAWND__V1__STOPPING_EVENT__INIT;

	message.process = child_id(child);
	message.event_case = EVENT(STOPPING);
	message.stopping = &stopping;
	stopping.why = (char *)why;
	add(events, child_owner(child), &message);
}

void events_gap(struct events *events, struct child *child, uint32_t slot, uint64_t offset, uint64_t bytes)
{
	Spawnd__V1__Event message = SPAWND__V1__EVENT__INIT;
	Spawnd__V1__OutputGapEvent gap = SPAWND__V1__OUTPUT_GAP_EVENT__INIT;

	message.process = child_id(child);
	message.event_case = EVENT(OUTPUT_GAP);
	message.output_gap = &gap;
	gap.slot = slot;
	gap.offset = offset;
	gap.bytes = bytes;
	add(events, child_owner(child), &message);
}

void events_log_file(struct events *events, struct child *child, int error)
{
	Spawnd__V1__Event message = SPAWND__V1__EVENT__INIT;
	Spawnd__V1__LogFileEvent log_file = SPAWND__V1__LOG_FILE_EVENT__INIT;
	int now;

	log_file.path.data = (uint8_t *)child_log_file(child, &now, &log_file.lost_bytes);
	log_file.path.len = log_file.path.data ? strlen((char *)log_file.path.data) : 0;
	log_file.code = (char *)(error ? err_name(error) : "");
	message.process = child_id(child);
	message.event_case = error ? EVENT(LOG_FAILED) : EVENT(LOG_RECOVERED);
	message.log_failed = &log_file;
	add(events, child_owner(child), &message);
}

void events_messages(struct events *events, struct child *child, uint64_t last, uint64_t count)
{
	Spawnd__V1__Event message = SPAWND__V1__EVENT__INIT;
	Spawnd__V1__MessageEvent messages = SPAWND__V1__MESSAGE_EVENT__INIT;

	message.process = child_id(child);
	message.event_case = EVENT(MESSAGE);
	message.message = &messages;
	messages.id = last;
	messages.messages = count;
	add(events, child_owner(child), &message);
}

void events_disconnected(struct events *events, struct child *child, const struct channel_ending *ending)
{
	Spawnd__V1__Event message = SPAWND__V1__EVENT__INIT;
	Spawnd__V1__Disconnected disconnected = SPAWND__V1__DISCONNECTED__INIT;
	Spawnd__V1__ErrorDetail detail;

	message.process = child_id(child);
	message.event_case = EVENT(DISCONNECTED);
	message.disconnected = &disconnected;
	convert_ending(ending, &disconnected, &detail);
	add(events, child_owner(child), &message);
}

void events_removed(struct events *events, struct child *child)
{
	Spawnd__V1__Event message = SPAWND__V1__EVENT__INIT;
	Spawnd__V1__RemovedEvent removed = SPAWND__V1__REMOVED_EVENT__INIT;

	message.process = child_id(child);
	message.event_case = EVENT(REMOVED);
	message.removed = &removed;
	removed.why = (char *)child_removed_why(child);
	add(events, child_owner(child), &message);
}

void events_audit(struct events *events, const struct audit *audit, const char *why, unsigned untold)
{
	Spawnd__V1__Event message = SPAWND__V1__EVENT__INIT;
	Spawnd__V1__AuditEvent event = SPAWND__V1__AUDIT_EVENT__INIT;

	message.process = audit->process;
	message.event_case = EVENT(AUDIT);
	message.audit = &event;
	event.uid = audit->uid;
	event.pid = audit->pid;
	event.method = (char *)audit->method;
	event.why = (char *)(why ? why : "");
	event.refused = why != NULL;
	event.untold = untold;
	add(events, audit->uid, &message);
}

/* ---- subscribers ---- */

/* Tells what fell out of the ring before this subscriber read it. */
static void send_gap(struct subscriber *subscriber, uint64_t first, uint64_t last)
{
	Spawnd__V1__Event message = SPAWND__V1__EVENT__INIT;
	Spawnd__V1__EventGap gap = SPAWND__V1__EVENT_GAP__INIT;

	message.seq = last;
	message.time_ns = clock_real_ns();
	message.type = (char *)"gap";
	message.event_case = EVENT(GAP);
	message.gap = &gap;
	gap.first = first;
	gap.last = last;
	call_send(subscriber->call, &message.base, NULL, 0);
}

/* Tells where it begins. */
static void send_subscribed(struct subscriber *subscriber)
{
	Spawnd__V1__Event message = SPAWND__V1__EVENT__INIT;

	subscriber->announce = false;
	message.seq = subscriber->next - 1;
	message.time_ns = clock_real_ns();
	message.type = (char *)"subscribed";
	call_send(subscriber->call, &message.base, NULL, 0);
}

static bool is_wanted(const struct subscriber *subscriber, const struct event *event)
{
	if (subscriber->own_only && event->owner != peer_uid(call_peer(subscriber->call)))
		return false;
	return (event->type & subscriber->wanted) && (!subscriber->process || subscriber->process == event->process);
}

static bool on_sendable(struct call *call)
{
	struct subscriber *subscriber = call_context(call);
	struct events *events = subscriber->events;
	uint64_t oldest = events->last - events->lost >= EVENTS_KEPT ? events->last - EVENTS_KEPT + 1 : events->lost + 1;
	const struct event *event = NULL;
	struct iovec iov;

	if (call_credit(call) == 0)
		return false;
	if (subscriber->announce) {
		send_subscribed(subscriber);
		return true;
	}
	if (subscriber->next < oldest) {
		send_gap(subscriber, subscriber->next, oldest - 1);
		subscriber->next = oldest;
		return true;
	}
	while (!event && subscriber->next <= events->last) {
		event = &events->ring[(subscriber->next++ - 1) % EVENTS_KEPT];
		if (!is_wanted(subscriber, event))
			event = NULL;
	}
	if (!event)
		return false;
	iov = (struct iovec){.iov_base = event->packed, .iov_len = event->size};
	call_send_bulk(call, &iov, 1, 0);
	return true;
}

static void destroy(struct subscriber *subscriber)
{
	TAILQ_REMOVE(&subscriber->events->subscribers, subscriber, link);
	free(subscriber);
}

static void on_end(struct call *call)
{
	destroy(call_context(call));
}

static int on_message(struct call *call, const ProtobufCMessage *message, struct err *err)
{
	const Spawnd__V1__SubscribeRequest *request = (const Spawnd__V1__SubscribeRequest *)message;

	switch (request->message_case) {
	case SPAWND__V1__SUBSCRIBE_REQUEST__MESSAGE_GRANT:
		if (request->grant->_slot_case)
			return err_invalid(err, "grant.slot", "events have no slots");
		call_grant(call, request->grant->bytes, request->grant->messages);
		return 0;
	case SPAWND__V1__SUBSCRIBE_REQUEST__MESSAGE_CANCEL:
		return convert_cancelled(err);
	case SPAWND__V1__SUBSCRIBE_REQUEST__MESSAGE_START:
	case SPAWND__V1__SUBSCRIBE_REQUEST__MESSAGE__NOT_SET:
	default:
		return err_invalid(err, "message", "only grant or cancel may follow start");
	}
}

static const struct call_ops ops = {.on_message = on_message, .on_sendable = on_sendable, .on_end = on_end};

#define AUDIT_BIT 1u

/* The set of types a subscriber asks for. Those of audit have numbers of their own and cannot be among others. */
static int read_types(const Spawnd__V1__SubscribeStart *start, unsigned *wanted_out, struct err *err)
{
	*wanted_out = start->n_types ? 0 : ~AUDIT_BIT;
	for (size_t i = 0; i < start->n_types; i++) {
		size_t type = 0;
		char field[32];

		while (type < array_size(types) && strcmp(types[type].name, start->types[i]) != 0)
			type++;
		if (type == array_size(types)) {
			snprintf(field, sizeof(field), "types[%zu]", i);
			return err_invalid(err, field, "there are no events \"%.64s\"", start->types[i]);
		}
		*wanted_out |= 1u << type;
	}
	if ((*wanted_out & AUDIT_BIT) && *wanted_out != AUDIT_BIT)
		return err_invalid(err, "types", "audit is asked for alone: its events are numbered by themselves");
	return 0;
}

/* A process by id need not exist any more: its events may. */
static int read_process(struct service *service, const Spawnd__V1__ProcessRef *ref, uint64_t *process_out, struct err *err)
{
	struct child *child;
	int done;

	*process_out = 0;
	if (!ref)
		return 0;
	if (ref->ref_case == SPAWND__V1__PROCESS_REF__REF_ID && ref->id) {
		*process_out = ref->id;
		return 0;
	}
	done = convert_ref(service->config.children, ref, &child, err);
	if (done == 0)
		*process_out = child_id(child);
	return done;
}

/* The number of the first event that a subscriber gets to see, as far as it is kept. */
static int find_first(const struct events *events, uint64_t since, uint64_t *first_out, struct err *err)
{
	*first_out = since ? since : events->last + 1;
	if (*first_out <= events->last + 1)
		return 0;
	if (!events->kept_seq) { /* it counts by an engine before this one, of which nothing is left */
		*first_out = 1;
		return 0;
	}
	err_set(err, STATUS_OUT_OF_RANGE, "start.since_seq: the last event so far has the number %" PRIu64, events->last);
	snprintf(err->field, sizeof(err->field), "start.since_seq");
	return -ERANGE;
}

int handle_subscribe(struct call *call, const ProtobufCMessage *message, struct err *err)
{
	const Spawnd__V1__SubscribeRequest *request = (const Spawnd__V1__SubscribeRequest *)message;
	const Spawnd__V1__SubscribeStart *start = request->start;
	struct service *service = service_get();
	struct subscriber *subscriber;
	uint64_t process, first;
	struct events *events;
	unsigned wanted;

	if (request->message_case != SPAWND__V1__SUBSCRIBE_REQUEST__MESSAGE_START)
		return err_invalid(err, "start", "must be the first message");
	if (reading_window(start->window, "window", err) < 0)
		return -EINVAL;
	if (read_types(start, &wanted, err) < 0)
		return -EINVAL;
	if (read_process(service, start->process, &process, err) < 0)
		return -ENOENT;
	if (wanted == AUDIT_BIT && !rights_has(call, NULL, RIGHT_ADMIN))
		return rights_refuse(call, RIGHT_ADMIN, "Subscribe to audit", err);
	events = wanted == AUDIT_BIT ? service->audits : service->events;
	if (find_first(events, start->since_seq, &first, err) < 0)
		return -ERANGE;
	subscriber = mem_alloc(sizeof(*subscriber));
	subscriber->events = events;
	subscriber->call = call;
	subscriber->next = first;
	subscriber->process = process;
	subscriber->wanted = wanted;
	subscriber->announce = start->announce;
	subscriber->own_only = !rights_has(call, NULL, RIGHT_OBSERVE);
	TAILQ_INSERT_TAIL(&events->subscribers, subscriber, link);
	if (start->window)
		call_window(call, start->window->bytes, start->window->messages);
	call_set_ops(call, &ops, subscriber);
	call_want_send(call);
	return 0;
}
