/* What the engine may ask for, over fake processes. */
#include "keeper/world.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <unistd.h>

/* Sends an order as the engine, and has the keeper do it. */
static int order(order_message message, const int *fds, size_t count)
{
	CU_ASSERT_EQUAL(link_send(&engine, spawnd_runtime_v1_KeeperOrder_fields, &message, fds, count), 0);
	return orders_receive(&keeper, UINT_MAX);
}

/* Orders a signal to a slot. Its outcome, or -1 when no answer came. */
static int signal_slot(uint32_t slot, uint64_t owner, int number, bool group)
{
	notice_message notice;

	order((order_message){.which_order = spawnd_runtime_v1_KeeperOrder_signal_tag,
		      .order.signal = {.ticket = 12, .slot = slot, .owner = owner, .signal = number, .group = group}},
		NULL, 0);
	if (take_notice(&notice) != spawnd_runtime_v1_KeeperNotice_signal_done_tag || notice.notice.signal_done.ticket != 12)
		return -1;
	return notice.notice.signal_done.error;
}

void test_a_signal_reaches_the_owner_of_a_slot(void)
{
	open_world();
	run_in(6, 5001, 70);
	CU_ASSERT_EQUAL(signal_slot(6, 70, SIGTERM, false), 0);
	CU_ASSERT_EQUAL(fake_last_signal().pid, 5001);
	CU_ASSERT_EQUAL(fake_last_signal().signal, SIGTERM);
	CU_ASSERT_EQUAL(signal_slot(6, 70, SIGINT, true), 0);
	CU_ASSERT_EQUAL(fake_last_signal().pid, -5001);
	CU_ASSERT_EQUAL(fake_last_signal().count, 2);
	close_world();
}

void test_nobody_else_is_ever_signalled(void)
{
	open_world();
	run_in(6, 5001, 70);
	CU_ASSERT_EQUAL(signal_slot(6, 71, SIGTERM, false), ESRCH);
	CU_ASSERT_EQUAL(signal_slot(7, 70, SIGTERM, false), ESRCH);
	CU_ASSERT_EQUAL(signal_slot(JOURNAL_SLOTS, 70, SIGTERM, false), EINVAL);
	CU_ASSERT_EQUAL(signal_slot(6, 70, 1000, false), EINVAL);
	CU_ASSERT_EQUAL(signal_slot(6, 70, -1, false), EINVAL);
	keeper.journal->pids[6] = 0; /* not cloned yet: kill(0) would be us */
	CU_ASSERT_EQUAL(signal_slot(6, 70, SIGKILL, true), ESRCH);
	keeper.journal->pids[6] = 1; /* kill(-1) would be everybody */
	CU_ASSERT_EQUAL(signal_slot(6, 70, SIGKILL, true), ESRCH);
	keeper.journal->pids[6] = -1;
	CU_ASSERT_EQUAL(signal_slot(6, 70, SIGKILL, true), ESRCH);
	CU_ASSERT_EQUAL(fake_last_signal().count, 0);
	close_world();
}

void test_a_reaped_pid_is_not_signalled_when_it_is_used_again(void)
{
	notice_message notice;

	open_world();
	run_in(6, 5001, 70);
	fake_exit(5001, CLD_EXITED, 0, NULL);
	reap_all(&keeper);
	CU_ASSERT_EQUAL(take_notice(&notice), spawnd_runtime_v1_KeeperNotice_exited_tag);
	fake_process(5001, 5001); /* somebody else's */
	CU_ASSERT_EQUAL(signal_slot(6, 70, SIGKILL, false), ESRCH);
	CU_ASSERT_EQUAL(fake_last_signal().count, 0);
	close_world();
}

void test_a_failure_of_kill_comes_back(void)
{
	open_world();
	run_in(6, 5001, 70);
	fake_fail("kill", EPERM, 0, 1);
	CU_ASSERT_EQUAL(signal_slot(6, 70, SIGTERM, false), EPERM);
	close_world();
}

void test_without_a_ticket_there_is_no_answer(void)
{
	notice_message notice;

	open_world();
	run_in(6, 5001, 70);
	order((order_message){.which_order = spawnd_runtime_v1_KeeperOrder_signal_tag,
		      .order.signal = {.slot = 6, .owner = 70, .signal = SIGHUP}},
		NULL, 0);
	CU_ASSERT_EQUAL(fake_last_signal().signal, SIGHUP);
	CU_ASSERT_EQUAL(take_notice(&notice), 0);
	close_world();
}

void test_a_pidfd_that_did_not_come_is_an_error(void)
{
	notice_message notice;

	open_world();
	order((order_message){.which_order = spawnd_runtime_v1_KeeperOrder_signal_pidfd_tag,
		      .order.signal_pidfd = {.ticket = 3, .signal = SIGKILL}},
		NULL, 0);
	CU_ASSERT_EQUAL(take_notice(&notice), spawnd_runtime_v1_KeeperNotice_signal_done_tag);
	CU_ASSERT_EQUAL(notice.notice.signal_done.error, EBADF);
	close_world();
}

void test_descriptors_are_kept_and_dropped_by_name(void)
{
	int fds[3] = {STDERR_FILENO, STDERR_FILENO, STDERR_FILENO};

	open_world();
	order((order_message){.which_order = spawnd_runtime_v1_KeeperOrder_put_tag,
		      .order.put = {.kind = STORE_STDIO, .owner = 70, .first_index = 4}},
		fds, 3);
	CU_ASSERT_EQUAL(keeper.store.count, 4);
	order((order_message){.which_order = spawnd_runtime_v1_KeeperOrder_nothing_tag,
		      .dropped_count = 1,
		      .dropped = {{.kind = STORE_STDIO, .owner = 70, .index = 6}}},
		NULL, 0);
	CU_ASSERT_EQUAL(keeper.store.count, 3);
	order((order_message){.which_order = spawnd_runtime_v1_KeeperOrder_nothing_tag,
		      .dropped_count = 1,
		      .dropped = {{.owner = 70, .all_indexes = true}}},
		NULL, 0);
	CU_ASSERT_EQUAL(keeper.store.count, 1);
	close_world();
}

void test_descriptors_that_do_not_fit_cost_one_order_only(void)
{
	notice_message notice;

	open_world();
	run_in(6, 5001, 70);
	fake_fail("recvmsg", EMFILE, 0, 1);
	order((order_message){.which_order = spawnd_runtime_v1_KeeperOrder_signal_tag,
		      .order.signal = {.ticket = 9, .slot = 6, .owner = 70, .signal = SIGTERM}},
		NULL, 0);
	CU_ASSERT_EQUAL(take_notice(&notice), spawnd_runtime_v1_KeeperNotice_signal_done_tag);
	close_world();
}

void test_shut_down_makes_the_next_end_of_the_engine_the_last(void)
{
	open_world();
	order((order_message){.which_order = spawnd_runtime_v1_KeeperOrder_shut_down_tag, .order.shut_down = {.exit_status = 5}}, NULL, 0);
	CU_ASSERT_TRUE(loop_timer_pending(keeper.patience));
	fake_exit(4000, CLD_EXITED, 0, NULL);
	reap_all(&keeper);
	CU_ASSERT_EQUAL(keeper.exit_status, 5);
	CU_ASSERT_FALSE(loop_timer_pending(keeper.restart));
	CU_ASSERT_FALSE(loop_timer_pending(keeper.patience));
	close_world();
}

void test_what_a_dead_engine_still_said_is_done(void)
{
	order_message message = {.which_order = spawnd_runtime_v1_KeeperOrder_put_tag, .order.put = {.kind = STORE_RING, .owner = 70}};
	int fd = STDERR_FILENO;

	open_world();
	for (uint32_t i = 0; i < 100; i++) {
		message.order.put.first_index = i;
		CU_ASSERT_EQUAL(link_send(&engine, spawnd_runtime_v1_KeeperOrder_fields, &message, &fd, 1), 0);
	}
	link_finish(&engine);
	fake_exit(4000, CLD_KILLED, SIGKILL, NULL);
	reap_all(&keeper);
	CU_ASSERT_EQUAL(keeper.store.count, 101);
	close_world();
}

void test_an_engine_that_hung_up_but_lives_is_killed_in_the_end(void)
{
	open_world();
	link_finish(&engine);
	CU_ASSERT_EQUAL(orders_receive(&keeper, UINT_MAX), -EPIPE);
	engine_give_up(&keeper);
	CU_ASSERT_EQUAL(fake_last_signal().pid, 4000);
	CU_ASSERT_EQUAL(fake_last_signal().signal, SIGKILL);
	close_world();
}

void test_terminate_is_told_once_and_insisting_ends_the_engine(void)
{
	notice_message notice;

	open_world();
	engine_terminate(&keeper);
	engine_terminate(&keeper);
	CU_ASSERT_EQUAL(take_notice(&notice), spawnd_runtime_v1_KeeperNotice_terminate_tag);
	CU_ASSERT_EQUAL(take_notice(&notice), 0);
	CU_ASSERT_EQUAL(fake_last_signal().count, 0);
	keeper.terminated_ns -= INT64_C(3000000000);
	engine_terminate(&keeper);
	CU_ASSERT_EQUAL(fake_last_signal().pid, 4000);
	CU_ASSERT_TRUE(keeper.ending);
	engine_reload(&keeper);
	CU_ASSERT_EQUAL(take_notice(&notice), spawnd_runtime_v1_KeeperNotice_reload_tag);
	close_world();
}
