/*
 * The loop on libevent 2: the only file that includes it. One pass = wait, callbacks, then what was deferred. Handles are
 * allocated, so that struct event stays in here; destroying one inside a callback is safe because nothing of it is touched
 * after its callback was entered.
 *
 * Timers stand in a heap of our own before one timerfd, which is set only for a timer that is due earlier than it already
 * wakes us: most timers are moved or cancelled long before, and cost no system call. Signals come through a signalfd.
 */
#include "base/loop.h"

#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <signal.h>
#include <sys/queue.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/mem.h"
#include "base/sys.h"

#define TIMER_MAX_US (INT64_MAX / 4000) /* what is later never comes */
#define NOT_PENDING SIZE_MAX

#define LATE_PASSES 4u /* what is late waits for the turns of others at most this long */

TAILQ_HEAD(defer_list, loop_defer);

struct loop {
	struct event_base *base;
	struct defer_list deferred, late;
	struct loop_timer **timers; /* a heap: the first is due first */
	size_t timer_count, timer_room;
	int timer_fd;
	int64_t wakes_ns; /* when timer_fd does; INT64_MAX: never */
	struct event timer_event;
	TAILQ_HEAD(, loop_signal) signals;
	int signal_fd; /* -1 until a signal is watched */
	struct event signal_event;
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
	struct loop *loop;
	int64_t due_ns; /* CLOCK_BOOTTIME */
	size_t place;   /* in loop::timers, or NOT_PENDING */
	loop_fn fn;
	void *arg;
};

struct loop_signal {
	TAILQ_ENTRY(loop_signal) link; /* loop::signals */
	struct loop *loop;
	int signal;
	loop_fn fn;
	void *arg;
};

struct loop_defer {
	TAILQ_ENTRY(loop_defer) link; /* in list */
	struct loop *loop;
	struct defer_list *list; /* loop::deferred or loop::late */
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

static void on_timers(evutil_socket_t fd, short what, void *arg);

struct loop *loop_create(void)
{
	struct event_config *config = event_config_new();
	struct loop *loop = mem_alloc(sizeof(*loop));

	TAILQ_INIT(&loop->deferred);
	TAILQ_INIT(&loop->late);
	TAILQ_INIT(&loop->signals);
	loop->signal_fd = -1;
	loop->wakes_ns = INT64_MAX;
	loop->timer_fd = timerfd_create(CLOCK_BOOTTIME, TFD_NONBLOCK | TFD_CLOEXEC);
	if (config) {
		event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK);
		loop->base = event_base_new_with_config(config);
		event_config_free(config);
	}
	if (!loop->base || loop->timer_fd < 0) {
		loop_destroy(loop);
		return NULL;
	}
	event_assign(&loop->timer_event, loop->base, loop->timer_fd, EV_READ | EV_PERSIST, on_timers, loop);
	event_add(&loop->timer_event, NULL);
	return loop;
}

void loop_destroy(struct loop *loop)
{
	if (!loop)
		return;
	if (loop->base)
		event_base_free(loop->base);
	fd_close(&loop->timer_fd);
	fd_close(&loop->signal_fd);
	free(loop->timers);
	free(loop);
}

/* Runs what was triggered in this pass or before; what is triggered meanwhile has its turn in the next one. */
static void run_list(struct loop *loop, struct defer_list *list, uint64_t pass)
{
	struct loop_defer *defer;

	while ((defer = TAILQ_FIRST(list)) && defer->pass <= pass) {
		TAILQ_REMOVE(list, defer, link);
		defer->pending = false;
		enter_callback(loop);
		defer->fn(defer->arg);
	}
}

static void run_deferred(struct loop *loop)
{
	uint64_t pass = loop->pass++;
	const struct loop_defer *last;

	run_list(loop, &loop->deferred, pass);
	last = TAILQ_FIRST(&loop->late);
	if (last && (TAILQ_EMPTY(&loop->deferred) || pass - last->pass >= LATE_PASSES))
		run_list(loop, &loop->late, pass);
}

/* Has the timerfd wake us in time for the first timer; when it wakes us earlier, nothing is changed. */
static void set_timer_fd(struct loop *loop)
{
	int64_t due_ns = loop->timer_count ? loop->timers[0]->due_ns : INT64_MAX;
	struct itimerspec at = {.it_value = {.tv_sec = due_ns / 1000000000, .tv_nsec = due_ns % 1000000000}};

	if (due_ns >= loop->wakes_ns)
		return;
	timerfd_settime(loop->timer_fd, TFD_TIMER_ABSTIME, &at, NULL);
	loop->wakes_ns = due_ns;
}

int loop_run(struct loop *loop)
{
	loop->stopped = false;
	while (!loop->stopped) {
		int flags = EVLOOP_ONCE | EVLOOP_NO_EXIT_ON_EMPTY;

		if (!TAILQ_EMPTY(&loop->deferred) || !TAILQ_EMPTY(&loop->late))
			flags |= EVLOOP_NONBLOCK;
		set_timer_fd(loop);
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

/* ---- timers ---- */

static void put_timer(struct loop *loop, struct loop_timer *timer, size_t place)
{
	loop->timers[place] = timer;
	timer->place = place;
}

/* Moves a timer to where it belongs, from a place that is free. */
static void settle_timer(struct loop *loop, struct loop_timer *timer, size_t place)
{
	for (; place > 0 && loop->timers[(place - 1) / 2]->due_ns > timer->due_ns; place = (place - 1) / 2)
		put_timer(loop, loop->timers[(place - 1) / 2], place);
	for (;;) {
		size_t next = 2 * place + 1;

		if (next + 1 < loop->timer_count && loop->timers[next + 1]->due_ns < loop->timers[next]->due_ns)
			next++;
		if (next >= loop->timer_count || loop->timers[next]->due_ns >= timer->due_ns)
			break;
		put_timer(loop, loop->timers[next], place);
		place = next;
	}
	put_timer(loop, timer, place);
}

/* The timerfd woke us: whatever is due now. */
static void on_timers(evutil_socket_t fd, short what, void *arg)
{
	struct loop *loop = arg;
	int64_t now = clock_boot_ns();
	uint64_t expirations;

	sys_read(fd, &expirations, sizeof(expirations));
	loop->wakes_ns = INT64_MAX;
	while (loop->timer_count && loop->timers[0]->due_ns <= now) {
		struct loop_timer *timer = loop->timers[0];

		loop_timer_cancel(timer);
		enter_callback(loop);
		timer->fn(timer->arg);
	}
}

struct loop_timer *loop_timer_create(struct loop *loop, loop_fn fn, void *arg)
{
	struct loop_timer *timer = mem_alloc(sizeof(*timer));

	timer->loop = loop;
	timer->fn = fn;
	timer->arg = arg;
	timer->place = NOT_PENDING;
	return timer;
}

void loop_timer_set(struct loop_timer *timer, uint64_t after_us)
{
	struct loop *loop = timer->loop;

	timer->due_ns = clock_boot_ns() + (after_us < TIMER_MAX_US ? (int64_t)after_us : TIMER_MAX_US) * 1000;
	if (timer->place == NOT_PENDING) {
		if (loop->timer_count == loop->timer_room) {
			loop->timer_room = loop->timer_room ? loop->timer_room * 2 : 16;
			loop->timers = mem_realloc(loop->timers, loop->timer_room * sizeof(struct loop_timer *));
		}
		timer->place = loop->timer_count++;
	}
	settle_timer(loop, timer, timer->place);
}

void loop_timer_cancel(struct loop_timer *timer)
{
	struct loop *loop = timer->loop;
	size_t place = timer->place;
	struct loop_timer *last;

	if (place == NOT_PENDING)
		return;
	timer->place = NOT_PENDING;
	last = loop->timers[--loop->timer_count];
	if (last != timer)
		settle_timer(loop, last, place);
}

bool loop_timer_pending(const struct loop_timer *timer)
{
	return timer->place != NOT_PENDING;
}

void loop_timer_destroy(struct loop_timer *timer)
{
	if (!timer)
		return;
	loop_timer_cancel(timer);
	free(timer);
}

/* ---- signals ---- */

static void tell_signal(struct loop *loop, int signal)
{
	struct loop_signal *watch;

	TAILQ_FOREACH(watch, &loop->signals, link)
	if (watch->signal == signal)
		break;
	if (!watch)
		return;
	enter_callback(loop);
	watch->fn(watch->arg);
}

/* Signals that came: each kind once, however often it came. */
static void on_signals(evutil_socket_t fd, short what, void *arg)
{
	struct signalfd_siginfo infos[8];
	ssize_t got = sys_read(fd, infos, sizeof(infos));

	for (size_t i = 0; got > 0 && i < (size_t)got / sizeof(*infos); i++)
		tell_signal(arg, (int)infos[i].ssi_signo);
}

/* Blocks what is watched, so that it waits for the signalfd. */
static void set_signal_fd(struct loop *loop)
{
	struct loop_signal *watch;
	sigset_t watched;

	sigemptyset(&watched);
	TAILQ_FOREACH(watch, &loop->signals, link)
	sigaddset(&watched, watch->signal);
	sigprocmask(SIG_BLOCK, &watched, NULL);
	if (loop->signal_fd >= 0) {
		signalfd(loop->signal_fd, &watched, 0);
		return;
	}
	loop->signal_fd = signalfd(-1, &watched, SFD_NONBLOCK | SFD_CLOEXEC);
	event_assign(&loop->signal_event, loop->base, loop->signal_fd, EV_READ | EV_PERSIST, on_signals, loop);
	event_add(&loop->signal_event, NULL);
}

struct loop_signal *loop_signal_create(struct loop *loop, int signal, loop_fn fn, void *arg)
{
	struct loop_signal *watch = mem_alloc(sizeof(*watch));

	watch->loop = loop;
	watch->signal = signal;
	watch->fn = fn;
	watch->arg = arg;
	TAILQ_INSERT_TAIL(&loop->signals, watch, link);
	set_signal_fd(loop);
	return watch;
}

void loop_signal_destroy(struct loop_signal *watch)
{
	sigset_t was;

	if (!watch)
		return;
	sigemptyset(&was);
	sigaddset(&was, watch->signal);
	TAILQ_REMOVE(&watch->loop->signals, watch, link);
	set_signal_fd(watch->loop);
	sigprocmask(SIG_UNBLOCK, &was, NULL);
	free(watch);
}

/* ---- deferred calls ---- */

static struct loop_defer *create_defer(struct loop *loop, struct defer_list *list, loop_fn fn, void *arg)
{
	struct loop_defer *defer = mem_alloc(sizeof(*defer));

	defer->loop = loop;
	defer->list = list;
	defer->fn = fn;
	defer->arg = arg;
	return defer;
}

struct loop_defer *loop_defer_create(struct loop *loop, loop_fn fn, void *arg)
{
	return create_defer(loop, &loop->deferred, fn, arg);
}

struct loop_defer *loop_defer_create_late(struct loop *loop, loop_fn fn, void *arg)
{
	return create_defer(loop, &loop->late, fn, arg);
}

void loop_defer_trigger(struct loop_defer *defer)
{
	if (defer->pending)
		return;
	defer->pending = true;
	defer->pass = defer->loop->pass;
	TAILQ_INSERT_TAIL(defer->list, defer, link);
}

void loop_defer_destroy(struct loop_defer *defer)
{
	if (!defer)
		return;
	if (defer->pending)
		TAILQ_REMOVE(defer->list, defer, link);
	free(defer);
}
