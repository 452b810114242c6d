/*
 * Another engine, while there is always one that serves: it is started beside it, is shown what there is, and says whether
 * it can go on from there. Only then the one that serves is told to leave. An engine that was taken and ends before it
 * serves is replaced by the program from before.
 *
 *   NONE --upgrade_begin--> offered --it cannot, is silent, ends--> NONE
 *                           offered --it can--> able --the engine ended--> it is the engine
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/mem.h"
#include "keeper/keeper.h"

void upgrade_drop(struct keeper *keeper)
{
	struct keeper_candidate *candidate = &keeper->candidate;

	if (keeper->engine != candidate->pid && !candidate->ended)
		orders_kill(candidate->pid);
	loop_fd_destroy(mem_steal(&candidate->watch));
	loop_timer_destroy(mem_steal(&candidate->patience));
	if (candidate->pid)
		link_finish(&candidate->link);
	start_images_close(&candidate->images);
	candidate->pid = 0;
	candidate->able = candidate->ended = false;
}

/* The outcome, for the engine that asked. */
static void tell(struct keeper *keeper, const char *version, const char *why)
{
	notice_message notice = {.which_notice = spawnd_runtime_v1_KeeperNotice_upgraded_tag};
	spawnd_runtime_v1_Upgraded *upgraded = &notice.notice.upgraded;

	*upgraded = (spawnd_runtime_v1_Upgraded){.able = keeper->candidate.able, .pid = keeper->candidate.pid};
	snprintf(upgraded->version, sizeof(upgraded->version), "%s", version);
	snprintf(upgraded->why, sizeof(upgraded->why), "%s", why);
	engine_notify(keeper, &notice, NULL);
}

static void refuse(struct keeper *keeper, const char *why)
{
	log_(LOG_WARNING, "no upgrade: %s", why);
	upgrade_drop(keeper);
	tell(keeper, "", why);
}

static void on_silence(void *arg)
{
	refuse(arg, "it did not answer in ten seconds");
}

/* It has what it needs; the engine leaves, or is made to. */
static void accept_it(struct keeper *keeper, const char *version)
{
	keeper->candidate.able = true;
	loop_timer_cancel(keeper->candidate.patience);
	loop_timer_set(keeper->patience, PATIENCE_US);
	tell(keeper, version, "");
}

/* Its answer. When it hung up instead, its end tells more. */
static void on_answer(void *arg, unsigned events)
{
	struct keeper *keeper = arg;
	order_message order;
	int fds[FDPASS_MAX];
	size_t count;
	int done = link_receive(&keeper->candidate.link, spawnd_runtime_v1_KeeperOrder_fields, &order, fds, &count);

	if (done == 0)
		return;
	loop_fd_destroy(mem_steal(&keeper->candidate.watch));
	if (done == 1 && order.which_order == spawnd_runtime_v1_KeeperOrder_able_tag)
		accept_it(keeper, order.order.able.version);
	else if (done == 1 && order.which_order == spawnd_runtime_v1_KeeperOrder_shut_down_tag)
		refuse(keeper, order.order.shut_down.why);
	else if (done != -EPIPE)
		refuse(keeper, "it gave no answer that is known");
	for (size_t i = 0; done == 1 && i < count; i++)
		fd_close(&fds[i]);
}

void upgrade_begin(struct keeper *keeper, struct images images)
{
	notice_message offer = {.which_notice = spawnd_runtime_v1_KeeperNotice_offer_tag, .notice.offer.link = LINK_VERSION};
	int fds[2] = {keeper->journal_fd, store_find(&keeper->store, 0, STORE_LEDGER)};
	struct keeper_candidate *candidate = &keeper->candidate;
	int pid;

	upgrade_drop(keeper);                          /* of an engine that died */
	if (images.engine >= 0 && images.launcher < 0) /* the same launchers */
		images.launcher = fcntl(keeper->images.launcher, F_DUPFD_CLOEXEC, 0);
	pid = start_engine(keeper, &images.engine, &candidate->link);
	candidate->images = images;
	if (pid < 0) {
		refuse(keeper, err_name(-pid));
		return;
	}
	candidate->pid = pid;
	candidate->patience = loop_timer_create(keeper->loop, on_silence, keeper);
	loop_timer_set(candidate->patience, PATIENCE_US);
	candidate->watch = loop_fd_create(keeper->loop, candidate->link.fd, LOOP_READ, on_answer, keeper);
	link_send(&candidate->link, spawnd_runtime_v1_KeeperNotice_fields, &offer, fds, fds[1] < 0 ? 1 : 2);
}

bool upgrade_exited(struct keeper *keeper, const siginfo_t *info)
{
	char why[64];

	if (!info->si_pid || info->si_pid != keeper->candidate.pid)
		return false;
	keeper->candidate.ended = true;
	if (keeper->candidate.watch)
		on_answer(keeper, LOOP_READ); /* what it said before */
	snprintf(why, sizeof(why), "it ended with %s %d", info->si_code == CLD_EXITED ? "status" : "signal", info->si_status);
	if (keeper->candidate.able)
		upgrade_drop(keeper); /* the engine leaves all the same, and is started again */
	else if (keeper->candidate.pid)
		refuse(keeper, why);
	return true;
}

void upgrade_adopt(struct keeper *keeper)
{
	struct keeper_candidate *candidate = &keeper->candidate;

	log_(LOG_INFO, "the engine is replaced by pid %d", (int)candidate->pid);
	keeper->before = keeper->images;
	keeper->images = candidate->images;
	candidate->images = (struct images){-1, -1};
	link_init(&keeper->link, fd_steal(&candidate->link.fd));
	engine_take(keeper, candidate->pid);
	upgrade_drop(keeper);
	loop_timer_set(keeper->patience, PATIENCE_US);
}

bool upgrade_undo(struct keeper *keeper)
{
	if (keeper->before.engine < 0)
		return false;
	log_(LOG_ERROR, "the new engine ended before it served: the program from before goes on");
	start_images_close(&keeper->images);
	keeper->images = keeper->before;
	keeper->before = (struct images){-1, -1};
	return true;
}

void upgrade_keep(struct keeper *keeper)
{
	if (keeper->before.engine >= 0)
		loop_timer_cancel(keeper->patience);
	start_images_close(&keeper->before);
}
