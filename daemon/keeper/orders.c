/* What the engine asks for. THE place that signals. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/notify.h"
#include "base/sys.h"
#include "keeper/keeper.h"

#define LAUNCHER_SOCKET_BYTES (4 << 20)

static void signal_done(struct keeper *keeper, uint64_t ticket, int error)
{
	notice_message notice = {.which_notice = spawnd_runtime_v1_KeeperNotice_signal_done_tag};

	atomic_fetch_add(&keeper->journal->signals, 1);
	notice.notice.signal_done = (spawnd_runtime_v1_SignalDone){ticket, error};
	if (ticket)
		engine_notify(keeper, &notice, NULL);
}

int orders_signal_slot(struct journal *journal, uint32_t slot, uint64_t owner, int signal, bool group)
{
	int32_t pid;

	if (slot >= JOURNAL_SLOTS || signal < 0 || signal > SIGRTMAX)
		return -EINVAL;
	pid = atomic_load(&journal->pids[slot]);
	if (atomic_load(&journal->slot[slot].state) != JOURNAL_INTENT || atomic_load(&journal->slot[slot].owner) != owner || pid <= 1)
		return -ESRCH;
	return sys_kill(group ? -pid : pid, signal);
}

void orders_kill(pid_t pid)
{
	if (pid > 0)
		sys_kill(pid, SIGKILL);
}

bool orders_kill_launchers(struct keeper *keeper)
{
	unsigned alive = 0;

	for (struct keeper_launcher *at = keeper->launchers; at < keeper->launchers + KEEPER_LAUNCHERS; at++)
		if (at->pid && ++alive)
			sys_kill(at->pid, SIGKILL);
	return alive > 0;
}

/* A new launcher on a socket pair; the engine gets the other end. */
static void start_launcher(struct keeper *keeper, uint32_t index)
{
	notice_message notice = {.which_notice = spawnd_runtime_v1_KeeperNotice_launcher_started_tag};
	struct keeper_launcher *place = keeper->launchers, *end = place + KEEPER_LAUNCHERS;
	char soft[24], hard[24], name[] = "spawnd-launcher";
	char *argv[] = {name, soft, hard, keeper->oom_score, NULL};
	int pair[2] = {-1, -1}, size = LAUNCHER_SOCKET_BYTES;
	int pid;

	while (place < end && place->pid)
		place++;
	pid = place < end ? sys_socketpair(SOCK_SEQPACKET, pair) : -EAGAIN;
	snprintf(soft, sizeof(soft), "%llu", (unsigned long long)keeper->nofile.rlim_cur);
	snprintf(hard, sizeof(hard), "%llu", (unsigned long long)keeper->nofile.rlim_max);
	if (pid == 0) {
		setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
		pid = start_program(name, &keeper->images.launcher, argv, (int[]){pair[1], keeper->journal_fd}, 2);
	}
	if (pid > 0)
		*place = (struct keeper_launcher){.pid = pid, .index = index, .engine_start = keeper->engine_starts};
	notice.notice.launcher_started = (spawnd_runtime_v1_LauncherStarted){index, pid > 0 ? pid : 0, pid < 0 ? -pid : 0};
	engine_notify(keeper, &notice, pid > 0 ? &pair[0] : NULL);
	fd_close(&pair[0]);
	fd_close(&pair[1]);
}

/* Does one order; takes what it needs of the descriptors and leaves -1. */
static void obey(struct keeper *keeper, const order_message *order, int *fds, size_t count)
{
	const spawnd_runtime_v1_StorePut *put = &order->order.put;
	const spawnd_runtime_v1_SignalSlot *to = &order->order.signal;
	int error;

	for (const spawnd_runtime_v1_StoreDrop *drop = order->dropped; drop < order->dropped + order->dropped_count; drop++)
		store_drop(&keeper->store, drop->owner, drop->kind, drop->index, drop->all_indexes);
	switch (order->which_order) {
	case spawnd_runtime_v1_KeeperOrder_ready_tag:
		engine_ready(keeper, true);
		if (count)
			dup2(fds[0], STDERR_FILENO);
		break;
	case spawnd_runtime_v1_KeeperOrder_put_tag:
		for (size_t i = 0; i < count; i++)
			store_put(&keeper->store, put->owner, put->kind, put->first_index + (uint32_t)i, fd_steal(&fds[i]));
		break;
	case spawnd_runtime_v1_KeeperOrder_nothing_tag:
		break;
	case spawnd_runtime_v1_KeeperOrder_signal_tag:
		error = -orders_signal_slot(keeper->journal, to->slot, to->owner, to->signal, to->group);
		signal_done(keeper, to->ticket, error);
		break;
	case spawnd_runtime_v1_KeeperOrder_signal_pidfd_tag:
		error = count ? -sys_pidfd_send_signal(fds[0], order->order.signal_pidfd.signal) : EBADF;
		signal_done(keeper, order->order.signal_pidfd.ticket, error);
		break;
	case spawnd_runtime_v1_KeeperOrder_start_launcher_tag:
		start_launcher(keeper, order->order.start_launcher.index);
		break;
	case spawnd_runtime_v1_KeeperOrder_shut_down_tag:
		keeper->ending = true;
		keeper->exit_status = order->order.shut_down.exit_status;
		notify_tell("STOPPING=1");
		loop_timer_set(keeper->patience, PATIENCE_US);
		break;
	case spawnd_runtime_v1_KeeperOrder_upgrade_tag:
		upgrade_begin(keeper, (struct images){count > 0 ? fd_steal(&fds[0]) : -1, count > 1 ? fd_steal(&fds[1]) : -1});
		break;
	default:
		log_(LOG_ERROR, "an order that is not known: %d", (int)order->which_order);
	}
}

int orders_receive(struct keeper *keeper, unsigned most)
{
	order_message order;
	int fds[FDPASS_MAX], done = 1;
	size_t count;

	for (unsigned i = 0; i < most && done != 0; i++) {
		done = link_receive(&keeper->link, spawnd_runtime_v1_KeeperOrder_fields, &order, fds, &count);
		if (done == -EPIPE)
			return done;
		if (done < 0)
			log_(LOG_ERROR, "an order was lost: %s", err_name(-done));
		if (done != 1)
			continue;
		obey(keeper, &order, fds, count);
		for (size_t at = 0; at < count; at++)
			fd_close(&fds[at]);
	}
	return 0;
}
