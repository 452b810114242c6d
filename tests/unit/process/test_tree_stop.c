/* Stops of what a child left behind: its members are signalled one by one. */
#include <sys/wait.h>

#include "process/child_fixture.h"

static struct fixture fixture;

/* Between two looks of the first stop the last of the tree goes: the second is what notices. */
void test_a_second_stop_may_find_nobody_left(void)
{
	struct child *child;
	pid_t left;

	fixture_init(&fixture);
	child = start_child(&fixture, "trap '' TERM; sleep 1000 & echo $!");
	read_output(&fixture, child);
	run_until(&fixture, "line");
	left = (pid_t)strtol(fixture.output, NULL, 10);
	run_until(&fixture, "exited");
	child_stop(child, SIGTERM, 3600000, KILL_TREE, CHILD_REASON_STOPPED, "first", on_killed, &fixture);
	run_turn(&fixture);
	CU_ASSERT_EQUAL(fixture.killed.calls, 0);
	CU_ASSERT_EQUAL_FATAL(kill(left, SIGKILL), 0);
	CU_ASSERT_EQUAL(waitid(P_PID, (id_t)left, &(siginfo_t){0}, WEXITED | WNOWAIT), 0);
	child_stop(child, SIGTERM, 3600000, KILL_TREE, CHILD_REASON_STOPPED, "second", on_killed, &fixture);
	run_until(&fixture, "killed");
	CU_ASSERT_EQUAL(fixture.killed.calls, 2);
	fixture_finish(&fixture);
}
