/* A keeper without a process: its journal, its loop, and a link whose other end the test holds as the engine. */
#pragma once

#include <CUnit/CUnit.h>
#include <string.h>

#include "base/loop.h"
#include "base/sys.h"
#include "fake_sys.h"
#include "keeper/keeper.h"

static struct keeper keeper;
static struct link engine; /* the engine's end */

static void ignore_link(void *arg, unsigned events)
{
}

static void open_world(void)
{
	int pair[2];

	fake_reset();
	memset(&keeper, 0, sizeof(keeper));
	CU_ASSERT_EQUAL_FATAL(sys_socketpair(SOCK_SEQPACKET, pair), 0);
	keeper.status_fd = -1;
	keeper.images = keeper.before = keeper.candidate.images = (struct images){-1, -1};
	keeper.ready = true;
	keeper.loop = loop_create();
	keeper.reap_more = loop_defer_create(keeper.loop, reap_all, &keeper);
	keeper.restart = loop_timer_create(keeper.loop, engine_start, &keeper);
	keeper.patience = loop_timer_create(keeper.loop, engine_give_up, &keeper);
	store_init(&keeper.store);
	keeper.journal_fd = journal_make();
	keeper.journal = journal_map(keeper.journal_fd);
	CU_ASSERT_PTR_NOT_NULL_FATAL(keeper.journal);
	store_put(&keeper.store, 0, STORE_JOURNAL, 0, keeper.journal_fd);
	link_init(&keeper.link, pair[0]);
	keeper.watch = loop_fd_create(keeper.loop, keeper.link.fd, 0, ignore_link, NULL);
	link_init(&engine, pair[1]);
	keeper.engine_starts = 1;
	keeper.engine = 4000;
	fake_process(keeper.engine, keeper.engine);
}

static void close_world(void)
{
	loop_fd_destroy(keeper.watch);
	link_finish(&keeper.link);
	link_finish(&engine);
	loop_timer_destroy(keeper.restart);
	loop_timer_destroy(keeper.patience);
	loop_defer_destroy(keeper.reap_more);
	store_finish(&keeper.store);
	journal_unmap(keeper.journal);
	loop_destroy(keeper.loop);
}

/* A process of owner in a slot, alive. */
static void run_in(uint32_t slot, pid_t pid, uint64_t owner)
{
	fake_process(pid, pid);
	keeper.journal->slot[slot].owner = owner;
	keeper.journal->slot[slot].state = JOURNAL_INTENT;
	keeper.journal->pids[slot] = pid;
}

/* The next notice that the engine gets: its tag, 0 when there is none. Descriptors are closed. */
static int take_notice(notice_message *notice)
{
	int fds[FDPASS_MAX];
	size_t count = 0;

	*notice = (notice_message)spawnd_runtime_v1_KeeperNotice_init_zero;
	if (link_receive(&engine, spawnd_runtime_v1_KeeperNotice_fields, notice, fds, &count) != 1)
		return 0;
	for (size_t i = 0; i < count; i++)
		sys_close(fds[i]);
	return notice->which_notice;
}
