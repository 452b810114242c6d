/* THE wait, over fake processes. */
#include "keeper/world.h"

#include <errno.h>
#include <signal.h>

void test_an_exit_is_recorded_reaped_and_told_in_this_order(void)
{
	struct rusage usage = {.ru_maxrss = 1234, .ru_utime = {.tv_sec = 2, .tv_usec = 3}};
	struct journal_slot *slot;
	notice_message notice;

	open_world();
	slot = &keeper.journal->slot[9];
	run_in(9, 5001, 70);
	reap_all(&keeper);
	CU_ASSERT_EQUAL(take_notice(&notice), 0);
	fake_exit(5001, CLD_EXITED, 3, &usage);
	reap_all(&keeper);
	CU_ASSERT_EQUAL(slot->state, JOURNAL_EXITED);
	CU_ASSERT_EQUAL(slot->exit_code, CLD_EXITED);
	CU_ASSERT_EQUAL(slot->exit_status, 3);
	CU_ASSERT_EQUAL(slot->exit_usage.ru_maxrss, 1234);
	CU_ASSERT_EQUAL(slot->exit_usage.ru_utime.tv_usec, 3);
	CU_ASSERT_TRUE(slot->exited_at_ns > 0);
	CU_ASSERT_EQUAL(slot->owner, 70);
	CU_ASSERT_FALSE(fake_exists(5001));
	CU_ASSERT_EQUAL(take_notice(&notice), spawnd_runtime_v1_KeeperNotice_exited_tag);
	CU_ASSERT_EQUAL(notice.notice.exited.slot, 9);
	CU_ASSERT_EQUAL(take_notice(&notice), 0);
	close_world();
}

void test_an_end_never_precedes_its_beginning(void)
{
	struct journal_slot *slot;

	open_world();
	slot = &keeper.journal->slot[9];
	run_in(9, 5001, 70);
	slot->started_at_ns = INT64_MAX; /* the clock was set back since */
	fake_exit(5001, CLD_EXITED, 0, &(struct rusage){0});
	reap_all(&keeper);
	CU_ASSERT_EQUAL(slot->exited_at_ns, INT64_MAX);
	close_world();
}

void test_a_reused_pid_belongs_to_the_slot_that_waits_for_it(void)
{
	notice_message notice;

	open_world();
	run_in(3, 5001, 70);
	fake_exit(5001, CLD_EXITED, 1, NULL);
	reap_all(&keeper);
	run_in(8, 5001, 71);
	fake_exit(5001, CLD_KILLED, SIGKILL, NULL);
	reap_all(&keeper);
	CU_ASSERT_EQUAL(keeper.journal->slot[3].exit_status, 1);
	CU_ASSERT_EQUAL(keeper.journal->slot[8].exit_status, SIGKILL);
	CU_ASSERT_EQUAL(keeper.journal->slot[8].exit_code, CLD_KILLED);
	CU_ASSERT_EQUAL(take_notice(&notice), spawnd_runtime_v1_KeeperNotice_exited_tag);
	CU_ASSERT_EQUAL(notice.notice.exited.slot, 3);
	CU_ASSERT_EQUAL(take_notice(&notice), spawnd_runtime_v1_KeeperNotice_exited_tag);
	CU_ASSERT_EQUAL(notice.notice.exited.slot, 8);
	close_world();
}

void test_an_adopted_orphan_is_reaped_in_silence(void)
{
	notice_message notice;

	open_world();
	run_in(0, 5001, 70);
	fake_process(6000, 6000);
	fake_exit(6000, CLD_EXITED, 0, NULL);
	reap_all(&keeper);
	CU_ASSERT_FALSE(fake_exists(6000));
	CU_ASSERT_EQUAL(keeper.journal->slot[0].state, JOURNAL_INTENT);
	CU_ASSERT_EQUAL(take_notice(&notice), 0);
	close_world();
}

void test_a_free_slot_never_matches(void)
{
	notice_message notice;

	open_world();
	run_in(4, 5001, 70);
	keeper.journal->slot[4].state = JOURNAL_FREE;
	fake_exit(5001, CLD_EXITED, 0, NULL);
	reap_all(&keeper);
	CU_ASSERT_EQUAL(keeper.journal->slot[4].state, JOURNAL_FREE);
	CU_ASSERT_EQUAL(take_notice(&notice), 0);
	close_world();
}

void test_a_record_stands_although_reaping_fails(void)
{
	notice_message notice;

	open_world();
	run_in(4, 5001, 70);
	fake_exit(5001, CLD_EXITED, 6, NULL);
	fake_fail("waitid", ECHILD, 1, 2); /* the one that reaps, and the look after it */
	reap_all(&keeper);
	CU_ASSERT_EQUAL(keeper.journal->slot[4].exit_status, 6);
	CU_ASSERT_EQUAL(take_notice(&notice), spawnd_runtime_v1_KeeperNotice_exited_tag);
	reap_all(&keeper); /* now as one that belongs to nobody */
	CU_ASSERT_FALSE(fake_exists(5001));
	CU_ASSERT_EQUAL(keeper.journal->slot[4].exit_status, 6);
	CU_ASSERT_EQUAL(take_notice(&notice), 0);
	close_world();
}

void test_a_launcher_is_told_to_its_own_engine_only(void)
{
	notice_message notice;

	open_world();
	fake_process(5100, 5100);
	fake_process(5200, 5200);
	keeper.launchers[0] = (struct keeper_launcher){.pid = 5100, .index = 2, .engine_start = 1};
	keeper.launchers[1] = (struct keeper_launcher){.pid = 5200, .index = 2, .engine_start = 0};
	fake_exit(5200, CLD_EXITED, 0, NULL);
	reap_all(&keeper);
	CU_ASSERT_EQUAL(take_notice(&notice), 0);
	CU_ASSERT_EQUAL(keeper.launchers[1].pid, 0);
	fake_exit(5100, CLD_KILLED, SIGKILL, NULL);
	reap_all(&keeper);
	CU_ASSERT_EQUAL(take_notice(&notice), spawnd_runtime_v1_KeeperNotice_launcher_exited_tag);
	CU_ASSERT_EQUAL(notice.notice.launcher_exited.index, 2);
	CU_ASSERT_EQUAL(notice.notice.launcher_exited.pid, 5100);
	close_world();
}

void test_doorbells_that_do_not_fit_are_one_rescan(void)
{
	notice_message notice;
	unsigned exited = 0;

	open_world();
	for (uint32_t i = 0; i < 3000; i++)
		engine_doorbell(&keeper, i);
	CU_ASSERT_TRUE(keeper.doorbells_lost);
	CU_ASSERT_TRUE(keeper.link.queued <= 1024);
	while (take_notice(&notice) == spawnd_runtime_v1_KeeperNotice_exited_tag) {
		exited++;
		link_flush(&keeper.link);
	}
	CU_ASSERT_TRUE(exited >= 1024 && exited < 3000);
	close_world();
}

void test_the_end_of_a_running_engine_is_not_the_end_of_the_keeper(void)
{
	open_world();
	run_in(1, 5001, 70);
	fake_exit(4000, CLD_KILLED, SIGSEGV, NULL);
	reap_all(&keeper);
	CU_ASSERT_EQUAL(keeper.engine, 0);
	CU_ASSERT_PTR_NULL(keeper.watch);
	CU_ASSERT_TRUE(loop_timer_pending(keeper.restart));
	CU_ASSERT_FALSE(keeper.ending);
	fake_exit(5001, CLD_EXITED, 4, NULL); /* while no engine is there */
	reap_all(&keeper);
	CU_ASSERT_EQUAL(keeper.journal->slot[1].exit_status, 4);
	close_world();
}

void test_an_engine_that_never_was_ready_gives_its_status(void)
{
	open_world();
	keeper.ready = false;
	fake_exit(4000, CLD_EXITED, 2, NULL);
	reap_all(&keeper);
	CU_ASSERT_TRUE(keeper.ending);
	CU_ASSERT_EQUAL(keeper.exit_status, 2);
	CU_ASSERT_FALSE(loop_timer_pending(keeper.restart));
	close_world();
}
