/*
 * The loop on libevent 2: the only file that includes it. One pass = wait, callbacks, then what was deferred. Timers are
 * precise (timerfd). Handles are allocated, so that struct event stays in here; destroying one inside a callback is safe
 * because nothing of it is touched after its callback was entered.
 */
#include "base/loop.h"

#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <sys/queue.h>

#include "base/clock.h"
#include "base/mem.h"

struct loop {
	struct event_base *base;
	TAILQ_HEAD(, loop_defer) deferred;
	uint64_t pass;
	int64_t pass_started_ns; /* 0: no callback has run in this pass */
	bool stopped;
	uint64_t histogram[LOOP_BUCKETS];
};

struct loop_fd {
	struct event event;
	struct loop *loop;
	int fd;
	unsigned events;
	loop_fd_fn fn;
	void *arg;
};

struct loop_timer {
	struct event event;
	struct loop *loop;
	loop_fn fn;
	void *arg;
};

struct loop_signal {
	struct event event;
	struct loop *loop;
	loop_fn fn;
	void *arg;
};

struct loop_defer {
	TAILQ_ENTRY(loop_defer) link; /* loop::deferred */
	struct loop *loop;
	bool pending;
	uint64_t pass; /* in which it was triggered */
	loop_fn fn;
	void *arg;
};

/* Notes when the first callback of a pass began. */
static void enter_callback(struct loop *loop)
{
	if (!loop->pass_started_ns)
		loop->pass_started_ns = clock_boot_ns();
}

/* Counts the pass that ends in its bucket. */
static void count_pass(struct loop *loop)
{
	uint64_t us;
	size_t bucket = 0;

	if (!loop->pass_started_ns)
		return;
	us = (uint64_t)(clock_boot_ns() - loop->pass_started_ns) / 1000;
	while (bucket < LOOP_BUCKETS - 1 && us > (uint64_t)1 << bucket)
		bucket++;
	loop->histogram[bucket]++;
	loop->pass_started_ns = 0;
}

struct loop *loop_create(void)
{
	struct event_config *config = event_config_new();
	struct loop *loop = mem_alloc(sizeof(*loop));

	TAILQ_INIT(&loop->deferred);
	if (config) {
		event_config_set_flag(config, EVENT_BASE_FLAG_PRECISE_TIMER);
		event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK);
		loop->base = event_base_new_with_config(config);
		event_config_free(config);
	}
	if (!loop->base) {
		free(loop);
		return NULL;
	}
	return loop;
}

void loop_destroy(struct loop *loop)
{
	if (!loop)
		return;
	event_base_free(loop->base);
	free(loop);
}

/* Runs what was deferred before now; what is triggered meanwhile has its turn in the next pass. */
static void run_deferred(struct loop *loop)
{
	uint64_t pass = loop->pass++;
	struct loop_defer *defer;

	while ((defer = TAILQ_FIRST(&loop->deferred)) && defer->pass <= pass) {
		TAILQ_REMOVE(&loop->deferred, defer, link);
		defer->pending = false;
		enter_callback(loop);
		defer->fn(defer->arg);
	}
}

int loop_run(struct loop *loop)
{
	loop->stopped = false;
	while (!loop->stopped) {
		int flags = EVLOOP_ONCE | EVLOOP_NO_EXIT_ON_EMPTY;

		if (!TAILQ_EMPTY(&loop->deferred))
			flags |= EVLOOP_NONBLOCK;
		if (event_base_loop(loop->base, flags) < 0)
			return -errno;
		run_deferred(loop);
		count_pass(loop);
	}
	return 0;
}

void loop_stop(struct loop *loop)
{
	loop->stopped = true;
	event_base_loopbreak(loop->base);
}

const uint64_t *loop_histogram(const struct loop *loop)
{
	return loop->histogram;
}

/* libevent's view of a watched descriptor. */
static void on_fd(evutil_socket_t fd, short what, void *arg)
{
	struct loop_fd *watch = arg;
	unsigned events = ((what & EV_READ) ? LOOP_READ : 0u) | ((what & EV_WRITE) ? LOOP_WRITE : 0u);

	enter_callback(watch->loop);
	watch->fn(watch->arg, events);
}

struct loop_fd *loop_fd_create(struct loop *loop, int fd, unsigned events, loop_fd_fn fn, void *arg)
{
	struct loop_fd *watch = mem_alloc(sizeof(*watch));

	watch->loop = loop;
	watch->fd = fd;
	watch->fn = fn;
	watch->arg = arg;
	loop_fd_set(watch, events);
	return watch;
}

void loop_fd_set(struct loop_fd *watch, unsigned events)
{
	short what = EV_PERSIST;

	if (watch->events == events)
		return;
	if (watch->events)
		event_del(&watch->event);
	watch->events = events;
	if (!events)
		return;
	if (events & LOOP_READ)
		what |= EV_READ;
	if (events & LOOP_WRITE)
		what |= EV_WRITE;
	event_assign(&watch->event, watch->loop->base, watch->fd, what, on_fd, watch);
	event_add(&watch->event, NULL);
}

void loop_fd_destroy(struct loop_fd *watch)
{
	if (!watch)
		return;
	if (watch->events)
		event_del(&watch->event);
	free(watch);
}

/* libevent's view of a timer that ran out. */
static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct loop_timer *timer = arg;

	enter_callback(timer->loop);
	timer->fn(timer->arg);
}

struct loop_timer *loop_timer_create(struct loop *loop, loop_fn fn, void *arg)
{
	struct loop_timer *timer = mem_alloc(sizeof(*timer));

	timer->loop = loop;
	timer->fn = fn;
	timer->arg = arg;
	evtimer_assign(&timer->event, loop->base, on_timer, timer);
	return timer;
}

void loop_timer_set(struct loop_timer *timer, uint64_t after_us)
{
	struct timeval after = {.tv_sec = (time_t)(after_us / 1000000), .tv_usec = (suseconds_t)(after_us % 1000000)};

	event_add(&timer->event, &after);
}

void loop_timer_cancel(struct loop_timer *timer)
{
	event_del(&timer->event);
}

bool loop_timer_pending(const struct loop_timer *timer)
{
	return event_pending(&timer->event, EV_TIMEOUT, NULL);
}

void loop_timer_destroy(struct loop_timer *timer)
{
	if (!timer)
		return;
	event_del(&timer->event);
	free(timer);
}

/* libevent's view of a signal that came. */
static void on_signal(evutil_socket_t fd, short what, void *arg)
{
	struct loop_signal *watch = arg;

	enter_callback(watch->loop);
	watch->fn(watch->arg);
}

struct loop_signal *loop_signal_create(struct loop *loop, int signal, loop_fn fn, void *arg)
{
	struct loop_signal *watch = mem_alloc(sizeof(*watch));

	watch->loop = loop;
	watch->fn = fn;
	watch->arg = arg;
	evsignal_assign(&watch->event, loop->base, signal, on_signal, watch);
	event_add(&watch->event, NULL);
	return watch;
}

void loop_signal_destroy(struct loop_signal *watch)
{
	if (!watch)
		return;
	event_del(&watch->event);
	free(watch);
}

struct loop_defer *loop_defer_create(struct loop *loop, loop_fn fn, void *arg)
{
	struct loop_defer *defer = mem_alloc(sizeof(*defer));

	defer->loop = loop;
	defer->fn = fn;
	defer->arg = arg;
	return defer;
}

void loop_defer_trigger(struct loop_defer *defer)
{
	if (defer->pending)
		return;
	defer->pending = true;
	defer->pass = defer->loop->pass;
	TAILQ_INSERT_TAIL(&defer->loop->deferred, defer, link);
}

void loop_defer_destroy(struct loop_defer *defer)
{
	if (!defer)
		return;
	if (defer->pending)
		TAILQ_REMOVE(&defer->loop->deferred, defer, link);
	free(defer);
}
