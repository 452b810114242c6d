/* What the engine asks for. THE place that signals. */
#include <errno.h>
#include <stdio.h>

#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/sys.h"
#include "keeper/keeper.h"
#include "spawnd/runtime/v1/keeper.pb.h"

#define LAUNCHER_SOCKET_BYTES (4 << 20)

static void signal_done(struct keeper *keeper, uint64_t ticket, int error)
{
	spawnd_runtime_v1_KeeperNotice notice = spawnd_runtime_v1_KeeperNotice_init_zero;

	if (!ticket)
		return;
	notice.which_notice = spawnd_runtime_v1_KeeperNotice_signal_done_tag;
	notice.notice.signal_done.ticket = ticket;
	notice.notice.signal_done.error = error;
	engine_notify(keeper, &notice, NULL, 0);
}

/* Signals the child of a slot while that slot is its own and it was not reaped: after that its pid means nothing. */
static int signal_slot(const struct keeper *keeper, const spawnd_runtime_v1_SignalSlot *order)
{
	const struct journal_slot *slot;
	int32_t pid;

	if (order->slot >= JOURNAL_SLOTS)
		return EINVAL;
	slot = &keeper->journal->slot[order->slot];
	pid = atomic_load(&keeper->journal->pids[order->slot]);
	if (atomic_load(&slot->state) != JOURNAL_INTENT || atomic_load(&slot->owner) != order->owner || pid <= 0)
		return ESRCH;
	return -sys_kill(order->group ? -pid : pid, order->signal);
}

/* A new launcher on a socket pair; the engine gets the other end. */
static void start_launcher(struct keeper *keeper, uint32_t index)
{
	spawnd_runtime_v1_KeeperNotice notice = spawnd_runtime_v1_KeeperNotice_init_zero;
	spawnd_runtime_v1_LauncherStarted *started = &notice.notice.launcher_started;
	char soft[24], hard[24], name[] = "spawnd-launcher";
	char *argv[] = {name, soft, hard, keeper->oom_score, NULL};
	int pair[2] = {-1, -1}, size = LAUNCHER_SOCKET_BYTES;
	int pid = index < KEEPER_LAUNCHERS && !keeper->launchers[index] ? sys_socketpair(SOCK_SEQPACKET, pair) : -EEXIST;

	snprintf(soft, sizeof(soft), "%llu", (unsigned long long)keeper->nofile.rlim_cur);
	snprintf(hard, sizeof(hard), "%llu", (unsigned long long)keeper->nofile.rlim_max);
	if (pid == 0) {
		setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
		pid = start_program(name, argv, (int[]){pair[1], keeper->journal_fd}, 2);
	}
	if (pid > 0)
		keeper->launchers[index] = pid;
	notice.which_notice = spawnd_runtime_v1_KeeperNotice_launcher_started_tag;
	started->index = index;
	started->pid = pid > 0 ? pid : 0;
	started->error = pid < 0 ? -pid : 0;
	engine_notify(keeper, &notice, pair, pid > 0 ? 1 : 0);
	fd_close(&pair[0]);
	fd_close(&pair[1]);
}

/* Does one order; takes what it needs of the descriptors and leaves -1. */
static void obey(struct keeper *keeper, const spawnd_runtime_v1_KeeperOrder *order, int *fds, size_t count)
{
	switch (order->which_order) {
	case spawnd_runtime_v1_KeeperOrder_ready_tag:
		background_ready(keeper, true);
		break;
	case spawnd_runtime_v1_KeeperOrder_put_tag:
		for (size_t i = 0; i < count; i++)
			store_put(&keeper->store, order->order.put.owner, order->order.put.kind, order->order.put.first_index + (uint32_t)i,
				fd_steal(&fds[i]));
		break;
	case spawnd_runtime_v1_KeeperOrder_drop_tag:
		store_drop(&keeper->store, order->order.drop.owner, order->order.drop.kind, order->order.drop.index,
			order->order.drop.all_indexes);
		break;
	case spawnd_runtime_v1_KeeperOrder_signal_tag:
		signal_done(keeper, order->order.signal.ticket, signal_slot(keeper, &order->order.signal));
		break;
	case spawnd_runtime_v1_KeeperOrder_signal_pidfd_tag:
		signal_done(keeper, order->order.signal_pidfd.ticket,
			count ? -sys_pidfd_send_signal(fds[0], order->order.signal_pidfd.signal) : EBADF);
		break;
	case spawnd_runtime_v1_KeeperOrder_start_launcher_tag:
		start_launcher(keeper, order->order.start_launcher.index);
		break;
	case spawnd_runtime_v1_KeeperOrder_shut_down_tag:
		keeper->ending = true;
		keeper->exit_status = order->order.shut_down.exit_status;
		break;
	default:
		log_(LOG_ERROR, "an order that is not known: %d", (int)order->which_order);
	}
}

int orders_receive(struct keeper *keeper)
{
	spawnd_runtime_v1_KeeperOrder order;
	int fds[FDPASS_MAX], done;
	size_t count;

	while ((done = link_receive(&keeper->link, spawnd_runtime_v1_KeeperOrder_fields, &order, fds, &count)) != 0) {
		if (done == -EPIPE)
			return done;
		if (done < 0) {
			log_(LOG_ERROR, "an order was lost: %s", err_name(-done));
			continue;
		}
		obey(keeper, &order, fds, count);
		for (size_t i = 0; i < count; i++)
			fd_close(&fds[i]);
	}
	return 0;
}
