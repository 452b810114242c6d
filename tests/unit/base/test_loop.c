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
