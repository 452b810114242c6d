/*
 * A connection in a libevent loop. Needs libevent; libspawnd itself does not.
 *
 *	struct spawnd_watch watch;
 *	spawnd_watch_start(&watch, base, client, on_lost, context);
 *	... spawnd_spawn(client, ...); spawnd_watch_update(&watch); ...
 *	event_base_dispatch(base);
 *	spawnd_watch_stop(&watch);
 *	spawnd_close(client);
 *
 * Callbacks of the client run in the loop's thread. Nothing here blocks.
 */
#ifndef SPAWND_LIBEVENT_H
#define SPAWND_LIBEVENT_H

#include <event2/event.h>
#include <poll.h>
#include <spawnd.h>

/* The caller's memory, until the callback it was stopped in has returned to the loop. */
struct spawnd_watch {
	struct spawnd *client;
	struct event *event; /* NULL: stopped */
	short events;
	unsigned changes; /* of the file behind the descriptor, as it is registered */
	void (*lost)(void *context, const struct spawnd_error *error);
	void *context;
};

/* Watches what the connection needs now. To be called after calls that send or block outside of the client's callbacks. */
static inline void spawnd_watch_update(struct spawnd_watch *watch)
{
	short events = (short)(EV_READ | EV_PERSIST | ((spawnd_events(watch->client) & POLLOUT) ? EV_WRITE : 0));

	if (!watch->event || (events == watch->events && watch->changes == spawnd_fd_changes(watch->client)))
		return;
	event_del(watch->event);
	event_assign(watch->event, event_get_base(watch->event), spawnd_fd(watch->client), events, event_get_callback(watch->event), watch);
	event_add(watch->event, NULL);
	watch->events = events;
	watch->changes = spawnd_fd_changes(watch->client);
}

/* Stops watching; allowed inside callbacks, and before spawnd_close. All zero is fine. */
static inline void spawnd_watch_stop(struct spawnd_watch *watch)
{
	if (watch->event)
		event_free(watch->event);
	watch->event = NULL;
}

/* The loop's callback. */
static inline void spawnd_watch_ready(evutil_socket_t fd, short what, void *arg)
{
	struct spawnd_watch *watch = (struct spawnd_watch *)arg;
	struct spawnd_error error;
	int done = spawnd_dispatch(watch->client, &error);

	(void)fd;
	(void)what;
	if (!watch->event)
		return;
	if (done == 0) {
		spawnd_watch_update(watch);
		return;
	}
	spawnd_watch_stop(watch);
	if (watch->lost)
		watch->lost(watch->context, &error);
}

/* Starts watching. `lost` (may be NULL) is called when the connection is gone; spawnd_close is then still to be called. 0 or -1. */
static inline int spawnd_watch_start(struct spawnd_watch *watch, struct event_base *base, struct spawnd *client,
	void (*lost)(void *context, const struct spawnd_error *error), void *context)
{
	watch->client = client;
	watch->lost = lost;
	watch->context = context;
	watch->events = EV_READ | EV_PERSIST;
	watch->changes = spawnd_fd_changes(client);
	watch->event = event_new(base, spawnd_fd(client), watch->events, spawnd_watch_ready, watch);
	if (!watch->event || event_add(watch->event, NULL) < 0) {
		spawnd_watch_stop(watch);
		return -1;
	}
	spawnd_watch_update(watch);
	return 0;
}

#endif
