/* The registry: names, order, what is kept, the end of all; and many at once. */
#include "process/child_fixture.h"

static struct fixture fixture;

static struct child *create_named(const char *name, struct err *err)
{
	struct request request = {0};

	request_init(&request, "read x");
	request.spec.name = (char *)name;
	return create_child(&fixture, &request, SPEC_SPAWN, err);
}

void test_a_name_is_free_when_its_process_was_removed(void)
{
	struct err err;
	struct child *child;

	fixture_init(&fixture);
	child = create_named("web", NULL);
	CU_ASSERT_PTR_EQUAL(children_find_name(fixture.children, "web"), child);
	CU_ASSERT_PTR_NULL(create_named("web", &err));
	CU_ASSERT_EQUAL(err.status, STATUS_ALREADY_EXISTS);
	CU_ASSERT_EQUAL(child_remove(child, &err), -EBUSY);
	run_until(&fixture, "spawned");
	child_signal(child, SIGKILL, KILL_CHILD, NULL, NULL);
	run_until(&fixture, "closed");
	CU_ASSERT_PTR_NULL(create_named("web", &err));
	CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "rm"));
	CU_ASSERT_EQUAL(child_remove(child, NULL), 0);
	fixture.history[0] = 0;
	child = create_named("web", NULL);
	CU_ASSERT_PTR_NOT_NULL_FATAL(child);
	child_stop(child, SIGTERM, 1000, KILL_TREE, CHILD_REASON_STOPPED, NULL, NULL, NULL);
	run_until(&fixture, "closed");
	fixture_finish(&fixture);
}

static bool all_closed(struct fixture *at)
{
	return children_running(at->children) == 0;
}

static void run_until_none_runs(void)
{
	fixture.condition = all_closed;
	loop_timer_set(fixture.deadline, DEADLINE_US);
	if (!all_closed(&fixture))
		loop_run(fixture.loop);
	loop_timer_cancel(fixture.deadline);
	fixture.condition = NULL;
}

void test_children_are_in_order_and_shut_down_together(void)
{
	uint64_t at = 0, count = 0;
	struct child *child;

	fixture_init(&fixture);
	for (int i = 0; i < 40; i++)
		start_child(&fixture, "read x");
	CU_ASSERT_EQUAL(children_running(fixture.children), 40);
	while ((child = children_next(fixture.children, at))) {
		CU_ASSERT(child_id(child) > at);
		at = child_id(child);
		count++;
	}
	CU_ASSERT_EQUAL(count, 40);
	children_shutdown(fixture.children, false, stop_loop, fixture.loop);
	loop_timer_set(fixture.deadline, DEADLINE_US);
	loop_run(fixture.loop);
	loop_timer_cancel(fixture.deadline);
	CU_ASSERT_EQUAL(children_running(fixture.children), 0);
	CU_ASSERT_EQUAL(fixture.stored, 0);
	fixture_finish(&fixture);
}

void test_shutdown_takes_what_the_ended_left_behind(void)
{
	struct child *child;
	pid_t pid;

	fixture_init(&fixture);
	child = start_child(&fixture, "sleep 100 </dev/null >/dev/null 2>&1 & echo $!");
	read_output(&fixture, child);
	run_until(&fixture, "closed");
	on_output(&fixture, fixture.reader);
	pid = (pid_t)atoi(fixture.output);
	CU_ASSERT_EQUAL(kill(pid, 0), 0);
	children_shutdown(fixture.children, false, stop_loop, fixture.loop);
	loop_run(fixture.loop);
	sys_waitid(P_PID, (id_t)pid, &(siginfo_t){0}, 0, NULL);
	CU_ASSERT(kill(pid, 0) < 0 && errno == ESRCH);
	fixture_finish(&fixture);
}

void test_shutdown_keeps_what_is_to_be_kept(void)
{
	struct child *child;

	fixture_init(&fixture);
	child = start_child(&fixture, "read x");
	run_until(&fixture, "spawned");
	children_shutdown(fixture.children, true, stop_loop, fixture.loop);
	loop_run(fixture.loop);
	CU_ASSERT_EQUAL(child_state(child), CHILD_RUNNING);
	child_signal(child, SIGKILL, KILL_TREE, NULL, NULL);
	run_until(&fixture, "closed");
	fixture_finish(&fixture);
}

void test_a_full_journal_forgets_the_oldest_that_ended(void)
{
	struct request request = {0};
	struct err err;

	fixture_init(&fixture);
	fixture.slots_max = 2;
	start_child(&fixture, "true");
	run_until(&fixture, "closed");
	start_child(&fixture, "read x");
	CU_ASSERT_PTR_NOT_NULL(children_find(fixture.children, 1));
	request_init(&request, "read x");
	CU_ASSERT_PTR_NOT_NULL(create_child(&fixture, &request, SPEC_SPAWN, &err));
	CU_ASSERT_PTR_NULL(children_find(fixture.children, 1));
	CU_ASSERT_PTR_NULL(create_child(&fixture, &request, SPEC_SPAWN, &err));
	CU_ASSERT_EQUAL(err.status, STATUS_RESOURCE_EXHAUSTED);
	children_shutdown(fixture.children, false, stop_loop, fixture.loop);
	loop_run(fixture.loop);
	fixture_finish(&fixture);
}

static struct child *end_named(const char *name)
{
	struct child *child = create_named(name, NULL);

	fixture.history[0] = 0;
	child_stop(child, SIGKILL, 0, KILL_TREE, CHILD_REASON_STOPPED, NULL, NULL, NULL);
	run_until(&fixture, "closed");
	return child;
}

static void note_why(void *context, struct child *child)
{
	*(const char **)context = child_removed_why(child);
}

void test_a_full_journal_forgets_those_with_a_name_last(void)
{
	static const struct child_observer observer = {.on_removed = note_why};
	const char *why = NULL;
	struct err err;

	fixture_init(&fixture);
	fixture.slots_max = 3;
	children_observe(fixture.children, &observer, &why);
	end_named("first");
	end_named("second");
	start_child(&fixture, "true");
	fixture.history[0] = 0;
	run_until(&fixture, "closed");
	CU_ASSERT_PTR_NOT_NULL(create_named("third", &err));
	CU_ASSERT_PTR_NOT_NULL(children_find_name(fixture.children, "first"));
	CU_ASSERT_PTR_NOT_NULL_FATAL(why);
	CU_ASSERT_STRING_EQUAL(why, "room");
	CU_ASSERT_PTR_NOT_NULL(create_named("fourth", &err));
	CU_ASSERT_PTR_NULL(children_find_name(fixture.children, "first"));
	CU_ASSERT_PTR_NOT_NULL(create_named("first", &err));
	CU_ASSERT_PTR_NULL(children_find_name(fixture.children, "second"));
	CU_ASSERT_PTR_NULL(create_named("fifth", &err));
	CU_ASSERT_EQUAL(err.status, STATUS_RESOURCE_EXHAUSTED);
	children_shutdown(fixture.children, false, stop_loop, fixture.loop);
	loop_run(fixture.loop);
	fixture_finish(&fixture);
}

void test_what_left_living_processes_is_not_removed(void)
{
	struct child *child;
	struct err err;

	fixture_init(&fixture);
	child = start_child(&fixture, "sleep 100 </dev/null >/dev/null 2>&1 & sleep 100 </dev/null >/dev/null 2>&1 &");
	run_until(&fixture, "closed");
	CU_ASSERT_EQUAL(child_remove(child, &err), -EBUSY);
	CU_ASSERT_EQUAL(err.status, STATUS_FAILED_PRECONDITION);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "2 that it started live on"));
	children_shutdown(fixture.children, false, stop_loop, fixture.loop);
	loop_run(fixture.loop);
	CU_ASSERT_EQUAL(child_remove(child, &err), 0);
	fixture_finish(&fixture);
}

struct remover {
	struct child *child;
	unsigned calls;
};

static void remove_at_close(void *context, struct child *child)
{
	struct remover *remover = context;

	remover->calls++;
	child_unobserve(child, context);
	CU_ASSERT_EQUAL(child_remove(child, NULL), 0);
}

void test_observers_may_leave_and_remove_while_told(void)
{
	static const struct child_observer observer = {.on_closed = remove_at_close};
	struct remover first = {0}, second = {0};
	struct child *child;

	fixture_init(&fixture);
	child = start_child(&fixture, "true");
	child_observe(child, &observer, &first);
	child_observe(child, &observer, &second);
	run_until(&fixture, "removed");
	CU_ASSERT_EQUAL(first.calls, 1);
	CU_ASSERT_EQUAL(second.calls, 1);
	run_turn(&fixture);
	CU_ASSERT_EQUAL(children_kept(fixture.children), 0);
	CU_ASSERT_EQUAL(fixture.slots_taken, 0);
	fixture_finish(&fixture);
}

void test_thousands_come_and_go(void)
{
	fixture_init(&fixture);
	fixture.slots_max = 64;
	for (int round = 0; round < 40; round++) {
		for (int i = 0; i < 16; i++) {
			struct request request = {0};

			request_init(&request, "exit 0");
			CU_ASSERT_PTR_NOT_NULL(create_child(&fixture, &request, SPEC_START, NULL));
		}
		run_until_none_runs();
		fixture.history[0] = 0;
	}
	CU_ASSERT_EQUAL(fixture.last_id, 640);
	fixture_finish(&fixture);
}

/* The id of a process of this user that has ended and that nobody follows. */
static uint64_t end_one_of(uid_t uid)
{
	struct spec_context context = test_context;
	struct request request = {0};
	struct child *child;
	struct spec *spec;

	request_init(&request, "exit 0");
	CU_ASSERT_EQUAL_FATAL(spec_compile(&request.spec, &context, SPEC_START, &spec, NULL), 0);
	CU_ASSERT_EQUAL_FATAL(child_create(fixture.children, spec, &(struct record_origin){.uid = uid}, NULL, 0, &child, NULL), 0);
	spec_unref(spec);
	fixture.history[0] = 0;
	child_observe(child, &note_observer, &fixture);
	run_until(&fixture, "closed");
	child_unobserve(child, &fixture);
	return child_id(child);
}

void test_a_full_journal_forgets_those_of_the_user_with_most(void)
{
	uint64_t first;

	fixture_init(&fixture);
	fixture.slots_max = 5;
	first = end_one_of(1);
	for (int i = 0; i < 20; i++)
		end_one_of(2);
	CU_ASSERT_PTR_NOT_NULL(children_find(fixture.children, first));
	CU_ASSERT_EQUAL(children_kept(fixture.children), 5);
	fixture_finish(&fixture);
}
