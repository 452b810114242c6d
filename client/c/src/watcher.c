/* Watching the events of the daemon. A watcher that is too slow loses events and is told which: the daemon never waits. */
#include <string.h>

#include "base/mem.h"
#include "internal.h"
#include "spawnd/v1/events.pb-c.h"

struct spawnd_watcher {
	struct stream *stream; /* NULL: it has ended */
	struct spawnd_watch_handlers handlers;
	void *context;
	uint64_t next;  /* number of the event to come; 0: not told yet */
	uint32_t taken; /* messages to be granted again */
	bool *freed;    /* told when it is freed inside a callback */
};

/* Lets the daemon send as many messages more. */
static void send_grant(struct spawnd_watcher *watcher, uint32_t messages)
{
	Spawnd__V1__SubscribeRequest request = SPAWND__V1__SUBSCRIBE_REQUEST__INIT;
	Spawnd__V1__Grant grant = SPAWND__V1__GRANT__INIT;

	grant.messages = messages;
	request.message_case = SPAWND__V1__SUBSCRIBE_REQUEST__MESSAGE_GRANT;
	request.grant = &grant;
	stream_send(watcher->stream, &request.base);
}

static void send_cancel(struct spawnd_watcher *watcher)
{
	Spawnd__V1__SubscribeRequest request = SPAWND__V1__SUBSCRIBE_REQUEST__INIT;
	Spawnd__V1__Cancel cancel = SPAWND__V1__CANCEL__INIT;

	request.message_case = SPAWND__V1__SUBSCRIBE_REQUEST__MESSAGE_CANCEL;
	request.cancel = &cancel;
	stream_send(watcher->stream, &request.base);
}

/* The fields that only some types have. exit_out is filled when there is one. */
static void fill_event(const Spawnd__V1__Event *message, struct spawnd_event *event, struct spawnd_exit *exit_out)
{
	const Spawnd__V1__ExitRecord *record = NULL;

	switch (message->event_case) {
	case SPAWND__V1__EVENT__EVENT_SPAWNED:
		event->pid = message->spawned->pid;
		event->name = message->spawned->name;
		break;
	case SPAWND__V1__EVENT__EVENT_EXITED:
		record = message->exited;
		break;
	case SPAWND__V1__EVENT__EVENT_CLOSED:
		record = message->closed;
		break;
	case SPAWND__V1__EVENT__EVENT_SPAWN_FAILED:
		record = message->spawn_failed;
		break;
	case SPAWND__V1__EVENT__EVENT_OUTPUT_GAP:
		event->slot = message->output_gap->slot;
		event->offset = message->output_gap->offset;
		event->bytes = message->output_gap->bytes;
		break;
	case SPAWND__V1__EVENT__EVENT_STOPPING:
		event->why = message->stopping->why;
		break;
	case SPAWND__V1__EVENT__EVENT_GAP:
		event->first = message->gap->first;
		event->last = message->gap->last;
		break;
	case SPAWND__V1__EVENT__EVENT_AUDIT:
		event->uid = message->audit->uid;
		event->pid = message->audit->pid;
		event->method = message->audit->method;
		event->why = message->audit->why;
		break;
	case SPAWND__V1__EVENT__EVENT_MESSAGE:
		event->last = message->message->id;
		event->first = message->message->id - message->message->messages + 1;
		break;
	case SPAWND__V1__EVENT__EVENT_DISCONNECTED:
		event->why = message->disconnected->why;
		break;
	default:
		break;
	}
	if (!record)
		return;
	exit_of_message(record, exit_out);
	event->exit = exit_out;
}

static void on_end(void *context, const struct spawnd_error *error, const uint8_t *reply, size_t size)
{
	struct spawnd_watcher *watcher = context;

	watcher->stream = NULL;
	if (watcher->handlers.ended)
		watcher->handlers.ended(watcher->context, watcher, error);
}

static void on_message(void *context, const uint8_t *bytes, size_t size, int *fds, size_t fd_count)
{
	struct spawnd_watcher *watcher = context;
	Spawnd__V1__Event *message = spawnd__v1__event__unpack(NULL, size, bytes);
	struct spawnd_event event;
	struct spawnd_error error;
	struct spawnd_exit how;
	bool freed = false;

	if (!message) {
		error_set(&error, SPAWND_INTERNAL, "an event of the daemon cannot be decoded");
		stream_forget(watcher->stream);
		on_end(watcher, &error, NULL, 0);
		return;
	}
	watcher->next = message->seq + 1;
	if (strcmp(message->type, "subscribed") == 0) {
		spawnd__v1__event__free_unpacked(message, NULL);
		return;
	}
	event = (struct spawnd_event){.seq = message->seq, .time_ns = message->time_ns, .type = message->type, .process = message->process};
	fill_event(message, &event, &how);
	watcher->freed = &freed;
	if (watcher->handlers.event)
		watcher->handlers.event(watcher->context, watcher, &event);
	spawnd__v1__event__free_unpacked(message, NULL);
	if (freed)
		return;
	watcher->freed = NULL;
	if (++watcher->taken < READER_WINDOW_MESSAGES / 4 || !watcher->stream)
		return;
	send_grant(watcher, watcher->taken);
	watcher->taken = 0;
}

static void on_forgotten(void *context)
{
	struct spawnd_watcher *watcher = context;

	watcher->stream = NULL;
}

void subscribe_again(struct stream *stream, const uint8_t *first, size_t size, uint64_t since)
{
	Spawnd__V1__SubscribeRequest *request = spawnd__v1__subscribe_request__unpack(NULL, size, first);

	if (since)
		request->start->since_seq = since;
	stream_again(stream, &request->base);
	spawnd__v1__subscribe_request__free_unpacked(request, NULL);
}

static enum stream_fate on_lost(void *context)
{
	return STREAM_RESUMED;
}

static void on_resume(void *context, const uint8_t *first, size_t size)
{
	struct spawnd_watcher *watcher = context;

	watcher->taken = 0;
	subscribe_again(watcher->stream, first, size, watcher->next);
}

struct spawnd_watcher *spawnd_subscribe(struct spawnd *client, const struct spawnd_watch_options *options,
	const struct spawnd_watch_handlers *handlers, void *context, struct spawnd_error *error)
{
	static const struct stream_observer observer = {
		.on_message = on_message, .on_end = on_end, .on_forgotten = on_forgotten, .on_lost = on_lost, .on_resume = on_resume};
	Spawnd__V1__SubscribeRequest request = SPAWND__V1__SUBSCRIBE_REQUEST__INIT;
	Spawnd__V1__SubscribeStart start = SPAWND__V1__SUBSCRIBE_START__INIT;
	Spawnd__V1__ProcessRef process = ref_message(options->process);
	struct spawnd_watcher *watcher = mem_alloc(sizeof(*watcher));

	watcher->handlers = *handlers;
	watcher->context = context;
	start.since_seq = options->since_seq;
	start.announce = true;
	start.types = (char **)options->types;
	start.n_types = options->types ? options->type_count : 0;
	if (options->process.id || options->process.name)
		start.process = &process;
	request.message_case = SPAWND__V1__SUBSCRIBE_REQUEST__MESSAGE_START;
	request.start = &start;
	watcher->stream = stream_open(client, SERVICE_EVENTS, "Subscribe", &request.base, NULL, 0, &observer, watcher, error);
	if (!watcher->stream)
		free(mem_steal(&watcher));
	return watcher;
}

void spawnd_watcher_free(struct spawnd_watcher *watcher)
{
	if (!watcher)
		return;
	if (watcher->freed)
		*watcher->freed = true;
	if (watcher->stream) {
		send_cancel(watcher);
		stream_forget(watcher->stream);
	}
	free(watcher);
}
