/* events: what happens in the daemon, one JSON object per line, the event's own fields beside its number, time and type. */
#include <stdio.h>
#include <string.h>

#include "client.h"
#include "json.h"
#include "out.h"
#include "spawnd/v1/events.pb-c.h"

#define WINDOW 64u

struct events {
	struct stream *stream;
	uint64_t next; /* number of the event to come; 0: not told yet */
	uint32_t taken;
	bool ended, failed;
	struct spawnd_error error;
};

struct events_options {
	uint64_t since;
};

static bool set_since(void *target, const char *value, struct why *why)
{
	int64_t number;

	if (!value_number(value, 0, INT64_MAX, &number, why))
		return false;
	((struct events_options *)target)->since = number > 0 ? (uint64_t)number : 1;
	return true;
}

static const struct option_row events_rows[] = {
	{"since", 0, "SEQ", "start with this one, 0 with the first, as far as they are kept (default: what comes)", set_since},
	{.name = NULL},
};

/* Puts the fields of the event's own message beside the common ones. */
static struct json_object *flatten(const Spawnd__V1__Event *event)
{
	struct json_object *all = json_of_message(&event->base), *flat = json_object_new_object(), *own = NULL;

	json_object_object_foreach(all, name, value)
	{
		if (json_object_is_type(value, json_type_object))
			own = value;
		else
			json_object_object_add(flat, name, json_object_get(value));
	}
	if (own) {
		json_object_object_foreach(own, field, part)
		{
			json_object_object_add(flat, field, json_object_get(part));
		}
	}
	json_object_put(all);
	return flat;
}

static void send_grant(struct events *events)
{
	Spawnd__V1__SubscribeRequest request = SPAWND__V1__SUBSCRIBE_REQUEST__INIT;
	Spawnd__V1__Grant grant = SPAWND__V1__GRANT__INIT;

	grant.messages = events->taken;
	grant.bytes = 1 << 20;
	request.message_case = SPAWND__V1__SUBSCRIBE_REQUEST__MESSAGE_GRANT;
	request.grant = &grant;
	events->taken = 0;
	stream_send(events->stream, &request.base);
}

static void on_message(void *context, const uint8_t *bytes, size_t size, int *fds, size_t fd_count)
{
	struct events *events = context;
	Spawnd__V1__Event *event = spawnd__v1__event__unpack(NULL, size, bytes);

	if (event) {
		events->next = event->seq + 1;
		if (strcmp(event->type, "subscribed") != 0)
			json_print(flatten(event));
		spawnd__v1__event__free_unpacked(event, NULL);
	}
	if (++events->taken >= WINDOW / 4)
		send_grant(events);
}

static void on_end(void *context, const struct spawnd_error *error, const uint8_t *reply, size_t size)
{
	struct events *events = context;

	events->ended = true;
	events->failed = error;
	if (error)
		events->error = *error;
}

static enum stream_fate on_lost(void *context)
{
	return STREAM_RESUMED;
}

static void on_resume(void *context, const uint8_t *first, size_t size)
{
	struct events *events = context;

	events->taken = 0;
	subscribe_again(events->stream, first, size, events->next);
}

static int follow(struct ctl *ctl, const struct events_options *options)
{
	static const struct stream_observer observer = {
		.on_message = on_message, .on_end = on_end, .on_lost = on_lost, .on_resume = on_resume};
	Spawnd__V1__SubscribeRequest request = SPAWND__V1__SUBSCRIBE_REQUEST__INIT;
	Spawnd__V1__SubscribeStart start = SPAWND__V1__SUBSCRIBE_START__INIT;
	struct events events = {0};

	start.since_seq = options->since;
	start.announce = true;
	request.message_case = SPAWND__V1__SUBSCRIBE_REQUEST__MESSAGE_START;
	request.start = &start;
	events.stream =
		stream_open(ctl->client, "spawnd.v1.Events", "Subscribe", &request.base, NULL, 0, &observer, &events, &events.error);
	events.ended = events.failed = !events.stream;
	while (!events.ended && (client_wait(ctl, NULL) || !out_error()))
		;
	if (events.failed)
		client_error(ctl, NULL, &events.error);
	return events.failed ? EXIT_FAILED : EXIT_DONE;
}

static int run(struct ctl *ctl, int argc, char **argv)
{
	struct events_options options = {0};
	int first, status;

	if (!ctl_parse(ctl, &options, argc, argv, true, 0, 0, &first))
		return first;
	status = client_open(ctl);
	return status == EXIT_DONE ? follow(ctl, &options) : status;
}

const struct command command_events = {"events", "", "what happens, one JSON object per line", events_rows, run};
