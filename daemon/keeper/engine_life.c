/*
 * The life of the engine: started at once, started again when it dies (first at once, then later each time, at most
 * BUDGET times in a window; beyond that once a minute, while children run on). A new one is handed everything.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/mem.h"
#include "base/sys.h"
#include "keeper/keeper.h"
#include "spawnd/runtime/v1/keeper.pb.h"

#define BUDGET 20
#define WINDOW_NS (300 * INT64_C(1000000000))
#define DELAY_FIRST_US 100000
#define DELAY_MAX_US 10000000
#define DELAY_SPENT_US 60000000
#define DOORBELLS_QUEUED_MAX 1024
#define PATIENCE_NS (2 * INT64_C(1000000000)) /* a second SIGTERM after that long is meant */

/* Watches the link for what it needs now. */
static void update_watch(struct keeper *keeper)
{
	loop_fd_set(keeper->watch, LOOP_READ | (keeper->link.queued ? LOOP_WRITE : 0u));
}

/* The engine hung up; its end comes through reap.c. */
static void drop_link(struct keeper *keeper)
{
	loop_fd_destroy(mem_steal(&keeper->watch));
	link_finish(&keeper->link);
}

void engine_notify(struct keeper *keeper, const void *notice, const int *fds, size_t count)
{
	int done;

	if (!keeper->watch)
		return;
	done = link_send(&keeper->link, spawnd_runtime_v1_KeeperNotice_fields, notice, fds, count);
	if (done < 0)
		log_(LOG_DEBUG, "the engine could not be told: %s", err_name(-done));
	update_watch(keeper);
}

void engine_doorbell(struct keeper *keeper, uint32_t slot)
{
	spawnd_runtime_v1_KeeperNotice notice = spawnd_runtime_v1_KeeperNotice_init_zero;

	if (keeper->link.queued >= DOORBELLS_QUEUED_MAX) {
		keeper->doorbells_lost = true;
		return;
	}
	notice.which_notice = spawnd_runtime_v1_KeeperNotice_exited_tag;
	notice.notice.exited.slot = slot;
	engine_notify(keeper, &notice, NULL, 0);
}

/* Sends what waited; doorbells that did not fit are made good by one look at everything. */
static void flush(struct keeper *keeper)
{
	spawnd_runtime_v1_KeeperNotice notice = spawnd_runtime_v1_KeeperNotice_init_zero;

	if (link_flush(&keeper->link) != 0 || !keeper->doorbells_lost)
		return;
	keeper->doorbells_lost = false;
	notice.which_notice = spawnd_runtime_v1_KeeperNotice_rescan_tag;
	engine_notify(keeper, &notice, NULL, 0);
}

static void on_link(void *arg, unsigned events)
{
	struct keeper *keeper = arg;

	if (events & LOOP_WRITE)
		flush(keeper);
	if ((events & LOOP_READ) && orders_receive(keeper) < 0) {
		drop_link(keeper);
		return;
	}
	if (keeper->watch)
		update_watch(keeper);
}

/* Hands one stored descriptor to a new engine. */
static void hand_over(void *arg, const struct stored *stored)
{
	spawnd_runtime_v1_KeeperNotice notice = spawnd_runtime_v1_KeeperNotice_init_zero;

	notice.which_notice = spawnd_runtime_v1_KeeperNotice_stored_tag;
	notice.notice.stored.kind = stored->kind;
	notice.notice.stored.owner = stored->owner;
	notice.notice.stored.index = stored->index;
	engine_notify(arg, &notice, &stored->fd, 1);
}

static void welcome(struct keeper *keeper)
{
	spawnd_runtime_v1_KeeperNotice notice = spawnd_runtime_v1_KeeperNotice_init_zero;

	notice.which_notice = spawnd_runtime_v1_KeeperNotice_welcome_tag;
	notice.notice.welcome.stored = (uint32_t)keeper->store.count;
	notice.notice.welcome.engine_restarts = keeper->engine_starts - 1;
	notice.notice.welcome.keeper_pid = getpid();
	engine_notify(keeper, &notice, NULL, 0);
	store_each(&keeper->store, hand_over, keeper);
}

/* How long to wait before the next try. */
static uint64_t delay_us(struct keeper *keeper)
{
	int64_t now = clock_boot_ns();
	uint64_t delay = DELAY_FIRST_US;

	if (now - keeper->window_started_ns > WINDOW_NS) {
		keeper->window_started_ns = now;
		keeper->failures = 0;
	}
	if (++keeper->failures == 1)
		return 0;
	if (keeper->failures > BUDGET) {
		log_(LOG_ERROR, "the engine died %u times in five minutes; children run on, it is tried once a minute", keeper->failures);
		return DELAY_SPENT_US;
	}
	for (unsigned i = 2; i < keeper->failures && delay < DELAY_MAX_US; i++)
		delay *= 2;
	return delay < DELAY_MAX_US ? delay : DELAY_MAX_US;
}

static void on_restart(void *arg)
{
	engine_start(arg);
}

/* Tries again after the delay that is due. */
static void schedule(struct keeper *keeper)
{
	if (!keeper->restart)
		keeper->restart = loop_timer_create(keeper->loop, on_restart, keeper);
	loop_timer_set(keeper->restart, delay_us(keeper));
}

void engine_start(struct keeper *keeper)
{
	int pair[2];
	int pid = sys_socketpair(SOCK_SEQPACKET, pair);

	if (pid == 0) {
		pid = start_program("spawnd-engine", keeper->engine_argv, &pair[1], 1);
		fd_close(&pair[1]);
		if (pid < 0)
			fd_close(&pair[0]);
	}
	if (pid < 0) {
		log_(LOG_ERROR, "the engine cannot be started: %s", err_name(-pid));
		schedule(keeper);
		return;
	}
	keeper->engine = pid;
	keeper->engine_starts++;
	keeper->doorbells_lost = false;
	link_init(&keeper->link, pair[0]);
	keeper->watch = loop_fd_create(keeper->loop, keeper->link.fd, LOOP_READ, on_link, keeper);
	welcome(keeper);
}

void engine_exited(struct keeper *keeper, int code, int status)
{
	if (keeper->watch) {
		orders_receive(keeper);
		drop_link(keeper);
	}
	keeper->engine = 0;
	if (!keeper->ready && !keeper->ending) {
		keeper->ending = true;
		keeper->exit_status = code == CLD_EXITED && status ? status : EXIT_FAILURE;
	}
	if (keeper->ending) {
		loop_stop(keeper->loop);
		return;
	}
	log_(LOG_ERROR, "the engine ended with %s %d", code == CLD_EXITED ? "status" : "signal", status);
	schedule(keeper);
}

void engine_terminate(struct keeper *keeper)
{
	spawnd_runtime_v1_KeeperNotice notice = spawnd_runtime_v1_KeeperNotice_init_zero;
	int64_t now = clock_boot_ns();

	notify_service_manager("STOPPING=1");
	if (!keeper->engine) {
		loop_stop(keeper->loop);
		return;
	}
	if (!keeper->terminated_ns) {
		keeper->terminated_ns = now;
		notice.which_notice = spawnd_runtime_v1_KeeperNotice_terminate_tag;
		engine_notify(keeper, &notice, NULL, 0);
	} else if (now - keeper->terminated_ns > PATIENCE_NS) {
		log_(LOG_WARNING, "told to end once more: the engine is ended, processes are left running");
		keeper->ending = true;
		keeper->exit_status = EXIT_FAILURE;
		sys_kill(keeper->engine, SIGKILL);
	}
}
