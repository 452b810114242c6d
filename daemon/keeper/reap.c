/*
 * THE wait. A dead child is looked at without reaping it, so that its pid cannot be given to another; its exit record is
 * completed in the journal; only then it is reaped and the engine told. So every status has one owner for ever, and no
 * signal ever hits a pid that was reused.
 */
#include "base/clock.h"
#include "base/log.h"
#include "base/sys.h"
#include "keeper/keeper.h"
#include "spawnd/runtime/v1/keeper.pb.h"

#define NO_SLOT JOURNAL_SLOTS

/* The slot of a living child. */
static uint32_t find_slot(const struct journal *journal, pid_t pid)
{
	for (uint32_t slot = 0; slot < JOURNAL_SLOTS; slot++) {
		if (atomic_load_explicit(&journal->pids[slot], memory_order_relaxed) == pid &&
			atomic_load(&journal->slot[slot].state) == JOURNAL_INTENT)
			return slot;
	}
	return NO_SLOT;
}

/* Completes the exit record; the state says so last. */
static void record_exit(struct journal_slot *slot, const siginfo_t *info, const struct rusage *usage)
{
	slot->exit_code = info->si_code;
	slot->exit_status = info->si_status;
	slot->exit_usage = *usage;
	slot->exited_at_ns = clock_real_ns();
	atomic_store(&slot->state, JOURNAL_EXITED);
}

/* A launcher died: the engine will want another. */
static void launcher_exited(struct keeper *keeper, uint32_t index, const siginfo_t *info)
{
	spawnd_runtime_v1_KeeperNotice notice = spawnd_runtime_v1_KeeperNotice_init_zero;

	keeper->launchers[index] = 0;
	if (!keeper->ending)
		log_(LOG_WARNING, "launcher %u ended with %d", index, info->si_status);
	notice.which_notice = spawnd_runtime_v1_KeeperNotice_launcher_exited_tag;
	notice.notice.launcher_exited.index = index;
	notice.notice.launcher_exited.pid = info->si_pid;
	notice.notice.launcher_exited.status = info->si_status;
	engine_notify(keeper, &notice, NULL, 0);
}

/* Tells whoever it concerns, after the reaping. Adopted orphans concern nobody. */
static void tell(struct keeper *keeper, uint32_t slot, const siginfo_t *info)
{
	if (slot != NO_SLOT) {
		engine_doorbell(keeper, slot);
		return;
	}
	if (info->si_pid == keeper->engine) {
		engine_exited(keeper, info->si_code, info->si_status);
		return;
	}
	for (uint32_t i = 0; i < KEEPER_LAUNCHERS; i++) {
		if (keeper->launchers[i] == info->si_pid)
			launcher_exited(keeper, i, info);
	}
}

void reap_all(struct keeper *keeper)
{
	struct rusage usage;
	siginfo_t info, reaped;

	while (sys_waitid(P_ALL, 0, &info, WNOWAIT, &usage) == 0) {
		uint32_t slot = find_slot(keeper->journal, info.si_pid);

		if (slot != NO_SLOT)
			record_exit(&keeper->journal->slot[slot], &info, &usage);
		sys_waitid(P_PID, (id_t)info.si_pid, &reaped, 0, NULL);
		tell(keeper, slot, &info);
	}
}
