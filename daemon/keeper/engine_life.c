/*
 * The life of the engine: started at once, started again when it dies (first at once, then later each time, at most
 * BUDGET times in a window; beyond that once a minute, while children run on). A new one is handed everything.
 */
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/background.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/notify.h"
#include "base/sys.h"
#include "keeper/keeper.h"

#define BUDGET 20
#define WINDOW_NS (300 * INT64_C(1000000000))
#define HEALTHY_NS INT64_C(1000000000) /* an engine that lived so long may be started again at once */
#define DELAY_FIRST_US 100000
#define LAUNCHERS_GONE_US 200
#define DELAY_MAX_US 10000000
#define DELAY_SPENT_US 60000000
#define DOORBELLS_QUEUED_MAX 1024
#define ORDERS_PER_TURN 256u
#define AGAIN_NS (2 * INT64_C(1000000000)) /* a second SIGTERM after that long is meant */

/* Watches the link for what it needs now. */
static void update_watch(struct keeper *keeper)
{
	loop_fd_set(keeper->watch, LOOP_READ | (keeper->link.queued || keeper->store.next ? LOOP_WRITE : 0u));
}

/* The engine hung up; its end comes through reap.c, and if it does not come it is made. */
static void drop_link(struct keeper *keeper)
{
	loop_fd_destroy(mem_steal(&keeper->watch));
	link_finish(&keeper->link);
	loop_timer_set(keeper->patience, PATIENCE_US);
}

void engine_notify(struct keeper *keeper, const notice_message *notice, const int *fd)
{
	int done;

	if (!keeper->watch)
		return;
	done = link_send(&keeper->link, spawnd_runtime_v1_KeeperNotice_fields, notice, fd, fd ? 1 : 0);
	if (done < 0)
		log_(LOG_DEBUG, "the engine could not be told: %s", err_name(-done));
	update_watch(keeper);
}

/* A notice without fields. */
static void notify_tag(struct keeper *keeper, pb_size_t tag)
{
	engine_notify(keeper, &(notice_message){.which_notice = tag}, NULL);
}

void engine_doorbell(struct keeper *keeper, uint32_t slot)
{
	notice_message notice = {.which_notice = spawnd_runtime_v1_KeeperNotice_exited_tag, .notice.exited = {slot}};

	if (keeper->link.queued >= DOORBELLS_QUEUED_MAX)
		keeper->doorbells_lost = true;
	else
		engine_notify(keeper, &notice, NULL);
}

/* Hands what is stored to a new engine, as fast as it takes it: in the queue each descriptor would need a duplicate. */
static void hand_over(struct keeper *keeper)
{
	const struct stored *stored;

	while (!keeper->link.queued && (stored = store_next(&keeper->store))) {
		notice_message notice = {
			.which_notice = spawnd_runtime_v1_KeeperNotice_stored_tag,
			.notice.stored = {.kind = stored->kind, .owner = stored->owner, .index = stored->index},
		};

		engine_notify(keeper, &notice, &stored->fd);
	}
}

/* Sends what waited; doorbells that did not fit are made good by one look at everything. */
static void flush_link(struct keeper *keeper)
{
	if (link_flush(&keeper->link) != 0)
		return;
	hand_over(keeper);
	if (!keeper->doorbells_lost || keeper->link.queued)
		return;
	keeper->doorbells_lost = false;
	notify_tag(keeper, spawnd_runtime_v1_KeeperNotice_rescan_tag);
}

static void on_link(void *arg, unsigned events)
{
	struct keeper *keeper = arg;

	if (events & LOOP_WRITE)
		flush_link(keeper);
	if ((events & LOOP_READ) && orders_receive(keeper, ORDERS_PER_TURN) < 0)
		drop_link(keeper);
	else
		update_watch(keeper);
}

void engine_take(struct keeper *keeper, pid_t pid)
{
	notice_message notice = {.which_notice = spawnd_runtime_v1_KeeperNotice_welcome_tag};

	keeper->engine = pid;
	keeper->engine_starts++;
	keeper->engine_started_ns = clock_boot_ns();
	keeper->doorbells_lost = false;
	keeper->watch = loop_fd_create(keeper->loop, keeper->link.fd, LOOP_READ, on_link, keeper);
	notice.notice.welcome = (spawnd_runtime_v1_Welcome){
		.stored = (uint32_t)keeper->store.count,
		.engine_restarts = keeper->engine_starts - 1,
		.keeper_pid = getpid(),
		.background = keeper->background,
	};
	store_rewind(&keeper->store);
	engine_notify(keeper, &notice, NULL);
	if (keeper->terminated_ns)
		notify_tag(keeper, spawnd_runtime_v1_KeeperNotice_terminate_tag);
	hand_over(keeper);
	update_watch(keeper);
}

/* Has the engine started again, after the delay that is due. */
static void schedule(struct keeper *keeper)
{
	int64_t now = clock_boot_ns();
	uint64_t delay = DELAY_FIRST_US;

	if (now - keeper->window_started_ns > WINDOW_NS || (keeper->ready && now - keeper->engine_started_ns > HEALTHY_NS)) {
		keeper->window_started_ns = now;
		keeper->failures = 0;
	}
	for (unsigned i = 1; i < keeper->failures && delay < DELAY_MAX_US; i++)
		delay *= 2;
	if (keeper->failures == 0)
		delay = 0;
	else if (delay > DELAY_MAX_US)
		delay = DELAY_MAX_US;
	if (++keeper->failures > BUDGET) {
		log_(LOG_ERROR, "the engine died %u times in five minutes; children run on, it is tried once a minute", keeper->failures);
		delay = DELAY_SPENT_US;
	}
	loop_timer_set(keeper->restart, delay);
}

void engine_start(void *arg)
{
	struct keeper *keeper = arg;
	int pid;

	/* what a launcher of the dead engine still clones, the new one must know of from the start */
	if (orders_kill_launchers(keeper)) {
		loop_timer_set(keeper->restart, LAUNCHERS_GONE_US);
		return;
	}
	if (keeper->candidate.able) {
		upgrade_adopt(keeper);
		return;
	}
	pid = start_engine(keeper, &keeper->images.engine, &keeper->link);
	if (pid < 0) {
		log_(LOG_ERROR, "the engine cannot be started: %s", err_name(-pid));
		schedule(keeper);
		return;
	}
	engine_take(keeper, pid);
}

void engine_exited(struct keeper *keeper, int code, int status)
{
	if (keeper->watch) {
		orders_receive(keeper, UINT_MAX);
		drop_link(keeper);
	}
	loop_timer_cancel(keeper->patience);
	keeper->engine = 0;
	if (!keeper->ready && !keeper->ending) {
		keeper->ending = true;
		keeper->exit_status = code == CLD_EXITED && status ? status : EXIT_FAILURE;
	}
	if (keeper->ending) {
		loop_stop(keeper->loop);
	} else if (keeper->candidate.able || upgrade_undo(keeper)) {
		engine_start(keeper);
	} else {
		upgrade_drop(keeper);
		log_(LOG_ERROR, "the engine ended with %s %d", code == CLD_EXITED ? "status" : "signal", status);
		schedule(keeper);
	}
}

void engine_reload(void *arg)
{
	notify_tag(arg, spawnd_runtime_v1_KeeperNotice_reload_tag);
}

void engine_give_up(void *arg)
{
	struct keeper *keeper = arg;

	log_(LOG_WARNING, "the engine, pid %d, does not %s: killed", (int)keeper->engine, keeper->before.engine < 0 ? "end" : "begin");
	orders_kill(keeper->engine);
}

void engine_terminate(void *arg)
{
	struct keeper *keeper = arg;
	int64_t now = clock_boot_ns();

	notify_tell("STOPPING=1");
	if (!keeper->engine) {
		loop_stop(keeper->loop);
	} else if (!keeper->terminated_ns) {
		keeper->terminated_ns = now;
		notify_tag(keeper, spawnd_runtime_v1_KeeperNotice_terminate_tag);
	} else if (now - keeper->terminated_ns > AGAIN_NS) {
		log_(LOG_WARNING, "told to end once more: the engine is ended, processes are left running");
		keeper->ending = true;
		keeper->exit_status = EXIT_FAILURE;
		orders_kill(keeper->engine);
	}
}

void engine_ready(struct keeper *keeper, bool is_ready)
{
	if (is_ready && !keeper->ready)
		notify_tell("READY=1");
	keeper->ready |= is_ready;
	if (is_ready)
		upgrade_keep(keeper);
	background_tell(&keeper->status_fd, is_ready ? 0 : (unsigned char)keeper->exit_status);
}
