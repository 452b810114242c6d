/* The same trees by every method this machine has: grandchildren that left session and group, and those that outlive the child. */
#include "process/child_fixture.h"

#define SETSID_TWICE "setsid sh -c 'setsid sh -c \"echo \\$\\$; exec sleep 100\" & sleep 100' & "

static struct fixture fixture;

/* Begins with this method; false: it is not here. */
static bool begin(const char *method)
{
	int pidfd = sys_pidfd_open(getpid());

	if (pidfd < 0) {
		fprintf(stderr, "no pidfd here (valgrind): not tested\n");
		return false;
	}
	close(pidfd);
	setenv("SPAWND_TREE", method, 1);
	fixture_init(&fixture);
	unsetenv("SPAWND_TREE");
	if (strcmp(children_tree_method(fixture.children), method) == 0)
		return true;
	fprintf(stderr, "no %s here: not tested\n", method);
	fixture_finish(&fixture);
	return false;
}

static pid_t grandchild(void)
{
	return (pid_t)atoi(fixture.output);
}

/* The test process is the subreaper of these trees. */
static void reap_orphans(void)
{
	siginfo_t info = {0};

	while (sys_waitid(P_ALL, 0, &info, 0, NULL) == 0 && info.si_pid)
		info.si_pid = 0;
}

static void kill_whole(const char *method)
{
	struct child *child;

	if (!begin(method))
		return;
	child = start_child(&fixture, SETSID_TWICE "wait");
	read_output(&fixture, child);
	run_until(&fixture, "line");
	CU_ASSERT_EQUAL(kill(grandchild(), 0), 0);
	child_signal(child, SIGKILL, KILL_TREE, on_killed, &fixture);
	run_until(&fixture, "killed");
	CU_ASSERT_STRING_EQUAL(fixture.killed.method, method);
	CU_ASSERT_EQUAL(fixture.killed.complete, strcmp(method, "sweep") != 0);
	CU_ASSERT_EQUAL(fixture.killed.survived_count, 0);
	CU_ASSERT(fixture.killed.ended_count >= 4);
	run_until(&fixture, "closed");
	reap_orphans();
	CU_ASSERT(kill(grandchild(), 0) < 0 && errno == ESRCH);
	fixture_finish(&fixture);
}

void test_a_whole_tree_by_cgroup(void)
{
	kill_whole("cgroup");
}

void test_a_whole_tree_by_freezer(void)
{
	kill_whole("freezer");
}

void test_a_whole_tree_by_sweep(void)
{
	kill_whole("sweep");
}

/* The child is gone, its grandchild is not: TERM reaches it, a ladder too. */
static void kill_left_behind(const char *method)
{
	struct child *child;
	pid_t pid;

	if (!begin(method))
		return;
	child = start_child(&fixture, "setsid sh -c 'trap \"\" TERM; echo $$; while :; do sleep 100; done' & exit 0");
	read_output(&fixture, child);
	run_until(&fixture, "exited");
	run_until(&fixture, "line");
	pid = grandchild();
	child_signal(child, SIGTERM, KILL_TREE, on_killed, &fixture);
	run_until(&fixture, "killed");
	CU_ASSERT(fixture.killed.ended_count >= 1 && fixture.killed.error == 0);
	CU_ASSERT_EQUAL(kill(pid, 0), 0);
	fixture.history[0] = 0;
	child_stop(child, SIGTERM, 20, KILL_TREE, CHILD_REASON_STOPPED, "test", on_killed, &fixture);
	run_until(&fixture, "killed");
	CU_ASSERT_EQUAL(fixture.killed.survived_count, 0);
	reap_orphans();
	CU_ASSERT(kill(pid, 0) < 0 && errno == ESRCH);
	run_until(&fixture, "closed");
	fixture.history[0] = 0;
	child_signal(child, SIGTERM, KILL_TREE, on_killed, &fixture);
	run_until(&fixture, "killed");
	CU_ASSERT_EQUAL(fixture.killed.error, ESRCH);
	fixture_finish(&fixture);
}

void test_what_outlives_the_child_by_cgroup(void)
{
	kill_left_behind("cgroup");
}

void test_what_outlives_the_child_by_freezer(void)
{
	kill_left_behind("freezer");
}

void test_what_outlives_the_child_by_sweep(void)
{
	kill_left_behind("sweep");
}

/* Processes that fork as fast as they can do not get away. */
static void kill_forkers(const char *method)
{
	struct child *child;

	if (!begin(method))
		return;
	child = start_child(&fixture, "f() { while :; do sleep 1 & sleep 0.001; done; }; f & f & echo; wait");
	read_output(&fixture, child);
	run_until(&fixture, "line");
	child_stop(child, SIGTERM, 100, KILL_TREE, CHILD_REASON_STOPPED, "test", on_killed, &fixture);
	run_until(&fixture, "killed");
	CU_ASSERT_EQUAL(fixture.killed.survived_count, 0);
	run_until(&fixture, "closed");
	reap_orphans();
	fixture_finish(&fixture);
}

void test_forkers_by_cgroup(void)
{
	kill_forkers("cgroup");
}

void test_forkers_by_freezer(void)
{
	kill_forkers("freezer");
}

void test_forkers_by_sweep(void)
{
	kill_forkers("sweep");
}

void test_an_untracked_tree_is_swept(void)
{
	struct request request = {0};
	struct child *child;

	if (!begin("cgroup"))
		return;
	request_init(&request, "setsid sleep 100 & echo; wait");
	request.spec.no_tree = true;
	child = create_child(&fixture, &request, SPEC_SPAWN, NULL);
	CU_ASSERT_STRING_EQUAL(child_tree_method(child), "sweep");
	read_output(&fixture, child);
	run_until(&fixture, "line");
	child_signal(child, SIGKILL, KILL_TREE, on_killed, &fixture);
	run_until(&fixture, "killed");
	CU_ASSERT_STRING_EQUAL(fixture.killed.method, "sweep");
	CU_ASSERT(fixture.killed.ended_count >= 2 && fixture.killed.survived_count == 0);
	run_until(&fixture, "closed");
	reap_orphans();
	fixture_finish(&fixture);
}

void test_a_stopped_directory_is_reused_running(void)
{
	if (!begin("cgroup"))
		return;
	for (int i = 0; i < 20; i++) {
		struct child *child = start_child(&fixture, "echo; exec sleep 100");

		run_until(&fixture, "spawned");
		child_signal(child, SIGTERM, KILL_TREE, NULL, NULL);
		run_until(&fixture, "closed");
		fixture.history[0] = 0;
	}
	fixture_finish(&fixture);
}

/* Hundreds of processes in one tree: all told, all gone. */
static void kill_many(const char *method)
{
	struct child *child;

	if (!begin(method))
		return;
	child = start_child(&fixture, "i=0; while [ $i -lt 300 ]; do sleep 100 & i=$((i+1)); done; echo; wait");
	read_output(&fixture, child);
	run_until(&fixture, "line");
	child_stop(child, SIGTERM, 5000, KILL_TREE, CHILD_REASON_STOPPED, "test", on_killed, &fixture);
	run_until(&fixture, "killed");
	CU_ASSERT_EQUAL(fixture.killed.ended_count, 301);
	CU_ASSERT_EQUAL(fixture.killed.survived_count, 0);
	run_until(&fixture, "closed");
	reap_orphans();
	fixture_finish(&fixture);
}

void test_many_by_cgroup(void)
{
	kill_many("cgroup");
}

void test_many_by_freezer(void)
{
	kill_many("freezer");
}

void test_many_by_sweep(void)
{
	kill_many("sweep");
}
