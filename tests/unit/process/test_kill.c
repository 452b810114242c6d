/* Signals, scopes and the ladder, with real processes. */
#include "process/child_fixture.h"

static struct fixture fixture;

static struct child *start_and_wait(const char *script)
{
	struct child *child;

	fixture_init(&fixture);
	child = start_child(&fixture, script);
	read_output(&fixture, child);
	run_until(&fixture, "line");
	return child;
}

static Spawnd__V1__ExitReason reason_of(const struct child *child)
{
	Spawnd__V1__ExitRecord *record = child_exit_record(child);
	Spawnd__V1__ExitReason reason = record->reason;

	spawnd__v1__exit_record__free_unpacked(record, NULL);
	return reason;
}

void test_a_signal_to_the_child_alone(void)
{
	struct child *child = start_and_wait("echo; exec sleep 100");

	child_signal(child, 0, KILL_CHILD, on_killed, &fixture);
	run_until(&fixture, "killed");
	CU_ASSERT(fixture.killed.error == 0 && fixture.killed.ended_count == 1 && fixture.killed.complete);
	CU_ASSERT_STRING_EQUAL(fixture.killed.method, "signal");
	child_signal(child, SIGTERM, KILL_CHILD, on_killed, &fixture);
	run_until(&fixture, "closed");
	CU_ASSERT_EQUAL(fixture.killed.calls, 2);
	CU_ASSERT_EQUAL(reason_of(child), SPAWND__V1__EXIT_REASON__EXIT_REASON_SIGNALED);
	child_signal(child, SIGTERM, KILL_CHILD, on_killed, &fixture);
	CU_ASSERT_EQUAL(fixture.killed.calls, 3);
	CU_ASSERT_EQUAL(fixture.killed.error, ESRCH);
	child_signal(child, 0, KILL_TREE, on_killed, &fixture);
	CU_ASSERT_EQUAL(fixture.killed.error, ESRCH);
	fixture_finish(&fixture);
}

void test_sigkill_answers_when_it_is_gone(void)
{
	struct child *child = start_and_wait("echo; exec sleep 100");

	child_signal(child, SIGKILL, KILL_CHILD, on_killed, &fixture);
	run_until(&fixture, "killed");
	CU_ASSERT_PTR_NOT_NULL(strstr(fixture.history, "exited"));
	CU_ASSERT(fixture.killed.ended_count == 1 && fixture.killed.survived_count == 0);
	fixture_finish(&fixture);
}

void test_the_ladder_ends_what_ignores_its_signal(void)
{
	struct child *child = start_and_wait("trap '' TERM; echo; sleep 100 & wait; wait; wait");

	child_stop(child, SIGTERM, 30, KILL_GROUP, CHILD_REASON_STOPPED, "test", on_killed, &fixture);
	CU_ASSERT_EQUAL(child_state(child), CHILD_STOPPING);
	run_until(&fixture, "killed");
	CU_ASSERT_EQUAL(fixture.killed.survived_count, 0);
	CU_ASSERT_EQUAL(fixture.killed.ended[0], child_pid(child));
	CU_ASSERT_EQUAL(reason_of(child), SPAWND__V1__EXIT_REASON__EXIT_REASON_STOPPED);
	fixture_finish(&fixture);
}

void test_a_second_stop_shortens_the_first(void)
{
	struct child *child = start_and_wait("trap '' TERM; echo; while :; do sleep 100; done");

	child_stop(child, SIGTERM, 3600000, KILL_CHILD, CHILD_REASON_STOPPED, "first", on_killed, &fixture);
	child_stop(child, SIGTERM, 0, KILL_TREE, CHILD_REASON_TIMEOUT, "second", on_killed, &fixture);
	run_until(&fixture, "killed");
	CU_ASSERT_EQUAL(fixture.killed.calls, 2);
	CU_ASSERT_EQUAL(reason_of(child), SPAWND__V1__EXIT_REASON__EXIT_REASON_STOPPED);
	run_until(&fixture, "closed");
	fixture_finish(&fixture);
}

void test_a_stop_before_the_launch_waits_for_it(void)
{
	struct child *child;

	fixture_init(&fixture);
	fixture.hold = true;
	child = start_child(&fixture, "sleep 100");
	child_stop(child, SIGTERM, 5000, KILL_TREE, CHILD_REASON_STOPPED, "early", on_killed, &fixture);
	run_turn(&fixture);
	CU_ASSERT_EQUAL(fixture.killed.calls, 0);
	fixture_release(&fixture);
	run_until(&fixture, "closed");
	run_until(&fixture, "killed"); /* when the tree was found empty, which may be later */
	CU_ASSERT_EQUAL(fixture.killed.calls, 1);
	CU_ASSERT_PTR_NOT_NULL(strstr(fixture.history, "spawned stopping"));
	fixture_finish(&fixture);
}

void test_who_is_forgotten_is_not_called(void)
{
	struct child *child = start_and_wait("echo; exec sleep 100");

	child_stop(child, SIGTERM, 1000, KILL_CHILD, CHILD_REASON_STOPPED, "x", on_killed, &fixture);
	child_forget(child, &fixture);
	run_until(&fixture, "closed");
	CU_ASSERT_EQUAL(fixture.killed.calls, 0);
	fixture_finish(&fixture);
}
