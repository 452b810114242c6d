/* The end of a daemon that nobody needs. */
#include <CUnit/CUnit.h>

#include "base/loop.h"
#include "engine/autoexit.h"

static struct {
	struct loop *loop;
	bool busy;
	unsigned looks, ends;
} world;

static bool is_busy(void *context)
{
	world.looks++;
	if (world.looks == 5)
		world.busy = false;
	return world.busy;
}

static void on_idle(void *context)
{
	world.ends++;
	loop_stop(world.loop);
}

static const struct autoexit_host host = {.busy = is_busy, .on_idle = on_idle};

static void on_guard(void *arg)
{
	loop_stop(world.loop);
}

/* How often the end came within 100 ms, when it is set to `after_ms`. */
static unsigned ends_after(uint64_t after_ms, bool busy)
{
	struct autoexit *autoexit;
	struct loop_timer *guard;

	world.loop = loop_create();
	world.busy = busy;
	world.looks = 0;
	world.ends = 0;
	guard = loop_timer_create(world.loop, on_guard, NULL);
	loop_timer_set(guard, 300000);
	autoexit = autoexit_create(world.loop, &host, NULL);
	autoexit_set(autoexit, after_ms);
	loop_run(world.loop);
	autoexit_destroy(autoexit);
	loop_timer_destroy(guard);
	loop_destroy(world.loop);
	return world.ends;
}

void test_it_ends_when_idle(void)
{
	CU_ASSERT_EQUAL(ends_after(1, false), 1);
}

void test_zero_is_never(void)
{
	CU_ASSERT_EQUAL(ends_after(0, false), 0);
	CU_ASSERT_EQUAL(world.looks, 0);
}

void test_the_time_begins_when_it_is_no_longer_busy(void)
{
	CU_ASSERT_EQUAL(ends_after(1, true), 1);
	CU_ASSERT_TRUE(world.looks >= 5);
}
