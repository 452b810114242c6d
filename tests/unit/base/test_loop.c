#include <CUnit/CUnit.h>
#include <signal.h>
#include <unistd.h>

#include "base/loop.h"
#include "base/mem.h"
#include "base/sys.h"

struct probe {
	struct loop *loop;
	struct loop_fd *watch;
	struct loop_timer *timer;
	struct loop_defer *defer;
	int fds[2];
	int calls;
	int order[8];
};

static void stop_on_read(void *arg, unsigned events)
{
	struct probe *probe = arg;
	char byte;

	CU_ASSERT_EQUAL(events, LOOP_READ);
	CU_ASSERT_EQUAL(read(probe->fds[0], &byte, 1), 1);
	probe->calls++;
	loop_fd_destroy(probe->watch);
	probe->watch = NULL;
	loop_stop(probe->loop);
}

static void write_byte(void *arg)
{
	struct probe *probe = arg;

	CU_ASSERT_EQUAL(write(probe->fds[1], "x", 1), 1);
}

void test_a_watch_may_destroy_itself(void)
{
	struct probe probe = {.loop = loop_create()};

	CU_ASSERT_EQUAL(sys_pipe(probe.fds, 0), 0);
	probe.watch = loop_fd_create(probe.loop, probe.fds[0], LOOP_READ, stop_on_read, &probe);
	probe.timer = loop_timer_create(probe.loop, write_byte, &probe);
	loop_timer_set(probe.timer, 1000);
	CU_ASSERT(loop_timer_pending(probe.timer));
	CU_ASSERT_EQUAL(loop_run(probe.loop), 0);
	CU_ASSERT_EQUAL(probe.calls, 1);
	CU_ASSERT_FALSE(loop_timer_pending(probe.timer));
	loop_timer_destroy(probe.timer);
	close(probe.fds[0]);
	close(probe.fds[1]);
	loop_destroy(probe.loop);
}

static void trigger_again(void *arg)
{
	struct probe *probe = arg;

	if (++probe->calls == 3)
		loop_stop(probe->loop);
	else
		loop_defer_trigger(probe->defer);
}

void test_a_deferred_call_that_triggers_itself_runs_once_per_pass(void)
{
	struct probe probe = {.loop = loop_create()};
	uint64_t passes = 0;

	probe.defer = loop_defer_create(probe.loop, trigger_again, &probe);
	loop_defer_trigger(probe.defer);
	loop_defer_trigger(probe.defer);
	CU_ASSERT_EQUAL(loop_run(probe.loop), 0);
	CU_ASSERT_EQUAL(probe.calls, 3);
	for (int i = 0; i < LOOP_BUCKETS; i++)
		passes += loop_histogram(probe.loop)[i];
	CU_ASSERT_EQUAL(passes, 3);
	loop_defer_trigger(probe.defer);
	loop_defer_destroy(probe.defer);
	loop_destroy(probe.loop);
}

static void stop_late(void *arg)
{
	struct probe *probe = arg;

	probe->order[0] = probe->calls;
	loop_stop(probe->loop);
}

/* Another that triggers itself for ever would keep it waiting: it does not wait for long. */
static void trigger_for_ever(void *arg)
{
	struct probe *probe = arg;

	probe->calls++;
	loop_defer_trigger(probe->defer);
}

void test_what_is_late_comes_after_what_was_deferred_meanwhile(void)
{
	struct probe probe = {.loop = loop_create()};
	struct loop_defer *late = loop_defer_create_late(probe.loop, stop_late, &probe);
	struct loop_defer *other;

	probe.defer = loop_defer_create(probe.loop, write_byte, &probe);
	other = loop_defer_create(probe.loop, trigger_again, &probe);
	CU_ASSERT_EQUAL(sys_pipe(probe.fds, 0), 0);
	loop_defer_trigger(late);
	loop_defer_trigger(other);
	CU_ASSERT_EQUAL(loop_run(probe.loop), 0);
	CU_ASSERT_EQUAL(probe.order[0], 1);
	CU_ASSERT_EQUAL(read(probe.fds[0], &(char){0}, 1), 1);
	loop_defer_destroy(probe.defer);
	probe.defer = loop_defer_create(probe.loop, trigger_for_ever, &probe);
	probe.calls = 0;
	loop_defer_trigger(late);
	loop_defer_trigger(probe.defer);
	CU_ASSERT_EQUAL(loop_run(probe.loop), 0);
	CU_ASSERT(probe.order[0] > 1 && probe.order[0] < 10);
	loop_defer_destroy(probe.defer);
	loop_defer_destroy(other);
	loop_defer_destroy(late);
	close(probe.fds[0]);
	close(probe.fds[1]);
	loop_destroy(probe.loop);
}

static void stop_loop(void *arg)
{
	struct probe *probe = arg;

	probe->calls++;
	loop_stop(probe->loop);
}

static void raise_signal(void *arg)
{
	raise(SIGUSR1);
}

void test_signals_arrive_on_the_loop(void)
{
	struct probe probe = {.loop = loop_create()};
	struct loop_signal *watch = loop_signal_create(probe.loop, SIGUSR1, stop_loop, &probe);
	struct loop_timer *timer = loop_timer_create(probe.loop, raise_signal, NULL);

	loop_timer_set(timer, 0);
	CU_ASSERT_EQUAL(loop_run(probe.loop), 0);
	CU_ASSERT_EQUAL(probe.calls, 1);
	loop_timer_destroy(timer);
	loop_signal_destroy(watch);
	loop_destroy(probe.loop);
}

static void note_call(void *arg)
{
	struct probe *probe = arg;

	probe->calls++;
}

struct numbered {
	struct loop_timer *timer;
	struct probe *probe;
	int number;
};

static void note_number(void *arg)
{
	struct numbered *numbered = arg;
	struct probe *probe = numbered->probe;

	probe->order[probe->calls++] = numbered->number;
	if (probe->calls == 5)
		loop_stop(probe->loop);
}

void test_timers_run_in_the_order_they_are_due(void)
{
	static const unsigned due_us[7] = {450000, 50000, 350000, 150000, 250000, 100000, 400000}; /* apart, for slow machines */
	struct probe probe = {.loop = loop_create()};
	struct numbered numbered[7];

	for (int i = 0; i < 7; i++) {
		numbered[i] =
			(struct numbered){.timer = loop_timer_create(probe.loop, note_number, &numbered[i]), .probe = &probe, .number = i};
		loop_timer_set(numbered[i].timer, due_us[i]);
	}
	loop_timer_cancel(numbered[3].timer);
	loop_timer_set(numbered[1].timer, 500000);
	loop_timer_destroy(numbered[2].timer);
	CU_ASSERT_EQUAL(loop_run(probe.loop), 0);
	for (int i = 0; i < 5; i++)
		CU_ASSERT_EQUAL(probe.order[i], ((int[]){5, 4, 6, 0, 1})[i]);
	for (int i = 0; i < 7; i++)
		if (i != 2)
			loop_timer_destroy(numbered[i].timer);
	loop_destroy(probe.loop);
}

static void cancel_other(void *arg)
{
	struct probe *probe = arg;

	loop_timer_destroy(probe->timer);
	probe->timer = NULL;
}

void test_a_timer_may_take_away_another_that_is_due(void)
{
	struct probe probe = {.loop = loop_create()};
	struct loop_timer *first = loop_timer_create(probe.loop, cancel_other, &probe);
	struct loop_timer *last = loop_timer_create(probe.loop, stop_loop, &probe);

	probe.timer = loop_timer_create(probe.loop, note_call, &probe);
	loop_timer_set(first, 0);
	loop_timer_set(probe.timer, 1);
	loop_timer_set(last, 5000);
	CU_ASSERT_EQUAL(loop_run(probe.loop), 0);
	CU_ASSERT_EQUAL(probe.calls, 1);
	loop_timer_destroy(first);
	loop_timer_destroy(last);
	loop_destroy(probe.loop);
}

void test_a_timer_of_an_age_is_no_timer_of_now(void)
{
	struct probe probe = {.loop = loop_create()};
	struct loop_timer *never = loop_timer_create(probe.loop, note_call, &probe);
	struct loop_timer *soon = loop_timer_create(probe.loop, stop_loop, &probe);

	loop_timer_set(never, UINT64_MAX);
	loop_timer_set(soon, 1000);
	CU_ASSERT_EQUAL(loop_run(probe.loop), 0);
	CU_ASSERT_EQUAL(probe.calls, 1);
	CU_ASSERT(loop_timer_pending(never));
	loop_timer_destroy(never);
	loop_timer_destroy(soon);
	loop_destroy(probe.loop);
}
