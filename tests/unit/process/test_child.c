/* The life of one child: started, its stdio, exited, closed, removed; and what goes wrong. */
#include "process/child_fixture.h"

#define KIND(name) SPAWND__V1__STDIO__KIND__KIND_##name

static struct fixture fixture;

void test_a_child_lives_in_nodes_order(void)
{
	Spawnd__V1__ExitRecord *record;
	struct child *child;

	fixture_init(&fixture);
	child = start_child(&fixture, "echo out; exit 7");
	CU_ASSERT_EQUAL(child_state(child), CHILD_STARTING);
	CU_ASSERT_TRUE(child_was_held(child)); /* remembered before it can be cloned */
	CU_ASSERT_EQUAL(children_running(fixture.children), 1);
	read_output(&fixture, child);
	run_until(&fixture, "closed");
	CU_ASSERT_STRING_EQUAL(fixture.history + strlen(fixture.history) - 7, "closed ");
	CU_ASSERT(strstr(fixture.history, "spawned") < strstr(fixture.history, "exited"));
	on_output(&fixture, fixture.reader);
	CU_ASSERT_NSTRING_EQUAL(fixture.output, "out\n", 4);
	record = child_exit_record(child);
	CU_ASSERT_EQUAL(record->code, 7);
	CU_ASSERT_EQUAL(record->reason, SPAWND__V1__EXIT_REASON__EXIT_REASON_EXITED);
	CU_ASSERT_EQUAL(record->n_output, 2);
	CU_ASSERT(record->output[0]->bytes == 4 && record->output[0]->complete);
	spawnd__v1__exit_record__free_unpacked(record, NULL);
	CU_ASSERT_EQUAL(fixture.stored, 0);
	CU_ASSERT_EQUAL(children_running(fixture.children), 0);
	CU_ASSERT_EQUAL(children_kept(fixture.children), 1);
	CU_ASSERT_EQUAL(child_remove(child, NULL), 0);
	CU_ASSERT_PTR_NULL(children_find(fixture.children, 1));
	CU_ASSERT_EQUAL(fixture.slots_taken, 0);
	fixture_finish(&fixture);
}

void test_stdin_is_queued_and_told(void)
{
	struct child *child;

	fixture_init(&fixture);
	child = start_child(&fixture, "cat");
	CU_ASSERT_EQUAL(child_write(child, 0, "before\n", 7), 7);
	CU_ASSERT_EQUAL(child_write(child, 1, "x", 1), -EBADF);
	run_until(&fixture, "spawned");
	read_output(&fixture, child);
	run_until(&fixture, "line");
	CU_ASSERT_EQUAL(fixture.written, 7);
	CU_ASSERT_EQUAL(child_close_stdin(child, 0, NULL), 0);
	CU_ASSERT_EQUAL(child_write(child, 0, "x", 1), -EPIPE);
	run_until(&fixture, "closed");
	CU_ASSERT_PTR_NULL(strstr(fixture.history, "stdin_end"));
	fixture_finish(&fixture);
}

void test_a_full_stdin_takes_no_more_than_its_queue(void)
{
	static char block[64 << 10];
	size_t taken = 0;
	ssize_t done;
	struct child *child;

	fixture_init(&fixture);
	child = start_child(&fixture, "read x; exit 0");
	run_until(&fixture, "spawned");
	while ((done = child_write(child, 0, block, sizeof(block))) > 0)
		taken += (size_t)done;
	CU_ASSERT(done == 0 && taken >= CHILD_STDIN_MAX && taken <= CHILD_STDIN_MAX + (64 << 10));
	CU_ASSERT(children_buffered_bytes(fixture.children) >= CHILD_STDIN_MAX);
	child_signal(child, SIGKILL, KILL_CHILD, NULL, NULL);
	run_until(&fixture, "stdin_end");
	CU_ASSERT_EQUAL(child_write(child, 0, "x", 1), -EPIPE);
	CU_ASSERT(children_buffered_bytes(fixture.children) == 0);
	run_until(&fixture, "closed");
	fixture_finish(&fixture);
}

void test_a_child_that_closes_its_stdin_is_told(void)
{
	struct child *child;

	fixture_init(&fixture);
	child = start_child(&fixture, "exec 0<&-; echo; sleep 100");
	read_output(&fixture, child);
	run_until(&fixture, "line");
	CU_ASSERT_EQUAL(child_write(child, 0, "x", 1), -EPIPE);
	run_until(&fixture, "stdin_end");
	child_signal(child, SIGKILL, KILL_TREE, NULL, NULL);
	run_until(&fixture, "closed");
	fixture_finish(&fixture);
}

void test_a_failed_spawn_is_node_shaped_and_leaves_nothing(void)
{
	struct child *child;

	fixture_init(&fixture);
	fixture.fail_stage = LAUNCH_EXEC;
	fixture.fail_error = ENOENT;
	child = start_child(&fixture, "true");
	child_signal(child, SIGTERM, KILL_CHILD, on_killed, &fixture);
	run_until(&fixture, "removed");
	CU_ASSERT_STRING_EQUAL(fixture.history, "failed killed removed ");
	CU_ASSERT_EQUAL(fixture.killed.error, ESRCH);
	CU_ASSERT_EQUAL(fixture.failure.status, STATUS_NOT_FOUND);
	CU_ASSERT_STRING_EQUAL(fixture.failure.message, "spawn /bin/sh ENOENT");
	CU_ASSERT_STRING_EQUAL(fixture.failure.syscall, "spawn /bin/sh");
	CU_ASSERT_STRING_EQUAL(fixture.failure.code, "ENOENT");
	CU_ASSERT_STRING_EQUAL(fixture.failure.path, "/bin/sh");
	CU_ASSERT_EQUAL(children_kept(fixture.children) + children_running(fixture.children), 0);
	CU_ASSERT_EQUAL(fixture.slots_taken, 0);
	fixture.fail_stage = LAUNCH_CLONE;
	fixture.fail_error = EAGAIN;
	fixture.history[0] = 0;
	start_child(&fixture, "true");
	run_until(&fixture, "removed");
	CU_ASSERT_EQUAL(fixture.failure.status, STATUS_RESOURCE_EXHAUSTED);
	fixture_finish(&fixture);
}

void test_a_launch_that_is_refused_undoes_everything(void)
{
	struct request request = {0};
	struct err err;

	fixture_init(&fixture);
	request_init(&request, "true");
	fixture.refuse_launch = EAGAIN;
	CU_ASSERT_PTR_NULL(create_child(&fixture, &request, SPEC_SPAWN, &err));
	CU_ASSERT_EQUAL(err.status, STATUS_RESOURCE_EXHAUSTED);
	fixture.refuse_launch = 0;
	fixture.fds_free = 2;
	CU_ASSERT_PTR_NULL(create_child(&fixture, &request, SPEC_SPAWN, &err));
	CU_ASSERT_STRING_EQUAL(err.code, "EMFILE");
	CU_ASSERT_EQUAL(fixture.slots_taken, 0);
	CU_ASSERT_EQUAL(children_running(fixture.children), 0);
	fixture_finish(&fixture);
}

void test_a_refused_cgroup_is_done_without(void)
{
	struct child *child;

	fixture_init(&fixture);
	if (strcmp(children_tree_method(fixture.children), "cgroup") == 0) {
		fixture.fail_cgroup = EACCES;
		child = start_child(&fixture, "exit 3");
		run_until(&fixture, "closed");
		CU_ASSERT_EQUAL(fixture.launches, 2);
		CU_ASSERT_EQUAL(fixture.slots_taken, 1);
		CU_ASSERT_STRING_EQUAL(child_tree_method(child), "sweep");
	}
	fixture_finish(&fixture);
}

void test_an_exit_before_the_launchers_answer_waits(void)
{
	fixture_init(&fixture);
	fixture.hold = true;
	start_child(&fixture, "exit 0");
	while (fixture.slots[0].pid)
		run_turn(&fixture);
	CU_ASSERT_STRING_EQUAL(fixture.history, "");
	fixture_release(&fixture);
	run_until(&fixture, "closed");
	CU_ASSERT_STRING_EQUAL(fixture.history, "spawned exited closed ");
	fixture_finish(&fixture);
}

void test_a_held_pipe_is_given_up(void)
{
	struct request request = {0};
	struct slot_total totals[2];
	struct child *child;

	fixture_init(&fixture);
	request_init(&request, "sleep 100 & echo; exit 0");
	request.spec._drain_timeout_ms_case = SPAWND__V1__PROCESS_SPEC___DRAIN_TIMEOUT_MS_DRAIN_TIMEOUT_MS;
	request.spec.drain_timeout_ms = 20;
	child = create_child(&fixture, &request, SPEC_SPAWN, NULL);
	run_until(&fixture, "closed");
	CU_ASSERT_TRUE(child_drain_timed_out(child));
	CU_ASSERT_EQUAL(child_totals(child, totals, 2), 2);
	CU_ASSERT(totals[0].bytes == 1 && !totals[0].complete);
	child_signal(child, SIGKILL, KILL_TREE, on_killed, &fixture);
	run_until(&fixture, "killed");
	CU_ASSERT_EQUAL(fixture.killed.ended_count, 1);
	fixture_finish(&fixture);
}

void test_a_timeout_climbs_the_ladder(void)
{
	struct request request = {0};
	Spawnd__V1__ExitRecord *record;
	struct child *child;

	fixture_init(&fixture);
	request_init(&request, "trap '' TERM; sleep 100 & wait; wait");
	request.spec.timeout_ms = 50;
	request.spec._grace_ms_case = SPAWND__V1__PROCESS_SPEC___GRACE_MS_GRACE_MS;
	request.spec.grace_ms = 50;
	child = create_child(&fixture, &request, SPEC_SPAWN, NULL);
	run_until(&fixture, "closed");
	record = child_exit_record(child);
	CU_ASSERT_EQUAL(record->reason, SPAWND__V1__EXIT_REASON__EXIT_REASON_TIMEOUT);
	CU_ASSERT_EQUAL(record->signal, SIGKILL);
	spawnd__v1__exit_record__free_unpacked(record, NULL);
	CU_ASSERT_STRING_EQUAL(fixture.history, "spawned stopping exited closed ");
	fixture_finish(&fixture);
}

void test_capture_kills_when_it_says_so(void)
{
	struct request request = {0};
	Spawnd__V1__ExitRecord *record;
	Spawnd__V1__Capture capture;
	struct child *child;
	uint64_t offset, bytes;

	fixture_init(&fixture);
	request_init(&request, "echo 0123456789; sleep 100");
	spawnd__v1__capture__init(&capture);
	capture.limit = 4;
	capture.policy = SPAWND__V1__CAPTURE__POLICY__POLICY_KILL;
	request_slot(&request, 1, KIND(PIPE))->capture = &capture;
	child = create_child(&fixture, &request, SPEC_SPAWN, NULL);
	run_until(&fixture, "closed");
	record = child_exit_record(child);
	CU_ASSERT_EQUAL(record->reason, SPAWND__V1__EXIT_REASON__EXIT_REASON_CAPTURE_LIMIT);
	spawnd__v1__exit_record__free_unpacked(record, NULL);
	CU_ASSERT_TRUE(child_cut(child, 1, &offset, &bytes));
	CU_ASSERT(offset == 4 && bytes == 7);
	fixture_finish(&fixture);
}

void test_a_terminal_echoes_resizes_and_ends(void)
{
	struct request request = {0};
	struct err err;
	struct child *child;

	fixture_init(&fixture);
	request_init(&request, "read x; stty size; cat; exit 4");
	request_slot(&request, 0, KIND(PTY));
	request_slot(&request, 1, KIND(PTY));
	request_slot(&request, 2, KIND(PTY));
	child = create_child(&fixture, &request, SPEC_SPAWN, NULL);
	run_until(&fixture, "spawned");
	CU_ASSERT_EQUAL(child_resize(child, 33, 99, NULL), 0);
	CU_ASSERT_EQUAL(child_resize(child, 0, 99, &err), -EINVAL);
	read_output(&fixture, child);
	CU_ASSERT_EQUAL(child_write(child, 0, "go\npart", 7), 7);
	CU_ASSERT_EQUAL(child_close_stdin(child, 0, NULL), 0);
	run_until(&fixture, "closed");
	on_output(&fixture, fixture.reader);
	fixture.output[fixture.output_length] = 0;
	CU_ASSERT_PTR_NOT_NULL(strstr(fixture.output, "33 99"));
	CU_ASSERT_PTR_NOT_NULL(strstr(fixture.output, "part"));
	CU_ASSERT_EQUAL(child_resize(child, 33, 99, &err), -EBADF);
	fixture_finish(&fixture);
}

void test_a_closed_stdin_is_noticed_without_a_write(void)
{
	struct child *child;

	fixture_init(&fixture);
	child = start_child(&fixture, "exec <&-; exec sleep 100");
	run_until(&fixture, "stdin_end");
	CU_ASSERT_EQUAL(child_state(child), CHILD_RUNNING);
	CU_ASSERT_EQUAL(child_write(child, 0, "x", 1), -EPIPE);
	child_signal(child, SIGKILL, KILL_CHILD, NULL, NULL);
	run_until(&fixture, "closed");
	fixture_finish(&fixture);
}

void test_the_stdin_of_an_exiting_child_is_not_told(void)
{
	fixture_init(&fixture);
	start_child(&fixture, "exit 0");
	run_until(&fixture, "closed");
	CU_ASSERT_PTR_NULL(strstr(fixture.history, "stdin_end"));
	fixture_finish(&fixture);
}

void test_handed_over_pipes_are_the_clients(void)
{
	struct request request = {0};
	uint32_t slots[4];
	int fds[4];
	char text[4];
	struct child *child;

	fixture_init(&fixture);
	request_init(&request, "echo hi");
	request.spec.transport = SPAWND__V1__TRANSPORT__TRANSPORT_HANDOVER;
	child = create_child(&fixture, &request, SPEC_SPAWN, NULL);
	run_until(&fixture, "spawned");
	CU_ASSERT_EQUAL(child_hand_over(child, slots, fds, 4), 3);
	CU_ASSERT(slots[0] == 0 && slots[1] == 1 && slots[2] == 2);
	CU_ASSERT_EQUAL(child_hand_over(child, slots, fds, 4), 0);
	CU_ASSERT_EQUAL(read(fds[1], text, 3), 3);
	CU_ASSERT_EQUAL(child_write(child, 0, "x", 1), -EBADF);
	run_until(&fixture, "closed");
	for (int i = 0; i < 3; i++)
		close(fds[i]);
	fixture_finish(&fixture);
}

/* A child of which it is known that it got as far as to run. */
static struct child *start_sleeper(void)
{
	struct child *child = start_child(&fixture, "echo; exec sleep 100");

	fixture.history[0] = 0;
	fixture.output_length = 0;
	read_output(&fixture, child);
	run_until(&fixture, "line");
	return child;
}

void test_on_disconnect_does_what_was_said(void)
{
	struct child *child;

	fixture_init(&fixture);
	child = start_sleeper();
	child_set_on_disconnect(child, SPAWND__V1__ON_DISCONNECT__ON_DISCONNECT_KEEP);
	child_disconnected(child);
	CU_ASSERT_EQUAL(child_state(child), CHILD_RUNNING);
	child_set_on_disconnect(child, SPAWND__V1__ON_DISCONNECT__ON_DISCONNECT_HANGUP);
	child_disconnected(child);
	run_until(&fixture, "closed");
	reader_destroy(fixture.reader);
	child = start_sleeper();
	child_disconnected(child);
	run_until(&fixture, "closed");
	CU_ASSERT_PTR_NOT_NULL(strstr(fixture.history, "stopping"));
	fixture_finish(&fixture);
}
