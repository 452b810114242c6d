/* A connection in a libevent loop. Needs libevent; libspawnd itself does not. */
#ifndef SPAWND_LIBEVENT_H
#define SPAWND_LIBEVENT_H

#include <event2/event.h>
#include <spawnd.h>

struct spawnd_watch {
	struct spawnd *client;
	struct event *event;
	short events;
	void (*lost)(void *context, const struct spawnd_error *error);
	void *context;
};

/* Watches what the connection needs now. Call it after calls that send outside of callbacks, too. */
static inline void spawnd_watch_update(struct spawnd_watch *watch)
{
	short events = (short)(EV_READ | EV_PERSIST | ((spawnd_events(watch->client) & 4 /* POLLOUT */) ? EV_WRITE : 0));

	if (events == watch->events)
		return;
	event_del(watch->event);
	event_assign(watch->event, event_get_base(watch->event), spawnd_fd(watch->client), events, event_get_callback(watch->event), watch);
	event_add(watch->event, NULL);
	watch->events = events;
}

static inline void spawnd_watch_ready(evutil_socket_t fd, short what, void *arg)
{
	struct spawnd_watch *watch = (struct spawnd_watch *)arg;
	struct spawnd_error error;

	(void)fd;
	(void)what;
	if (spawnd_dispatch(watch->client, &error) < 0) {
		event_del(watch->event);
		if (watch->lost)
			watch->lost(watch->context, &error);
		return;
	}
	spawnd_watch_update(watch);
}

/* Starts watching; `lost` (may be NULL) is called when the connection is gone. spawnd_watch_stop before spawnd_close. */
static inline int spawnd_watch_start(struct spawnd_watch *watch, struct event_base *base, struct spawnd *client,
	void (*lost)(void *context, const struct spawnd_error *error), void *context)
{
	watch->client = client;
	watch->lost = lost;
	watch->context = context;
	watch->events = EV_READ | EV_PERSIST;
	watch->event = event_new(base, spawnd_fd(client), watch->events, spawnd_watch_ready, watch);
	if (!watch->event || event_add(watch->event, NULL) < 0)
		return -1;
	spawnd_watch_update(watch);
	return 0;
}

static inline void spawnd_watch_stop(struct spawnd_watch *watch)
{
	if (watch->event)
		event_free(watch->event);
	watch->event = NULL;
}

#endif
