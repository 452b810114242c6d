/*
 * THE wait. A dead child is looked at without reaping it, so that its pid cannot be given to another; its exit record is
 * completed in the journal; only then it is reaped and the engine told. So every status has one owner for ever, and no
 * signal ever hits a pid that was reused.
 */
#include "base/clock.h"
#include "base/sys.h"
#include "keeper/keeper.h"

#define NO_SLOT JOURNAL_SLOTS
#define REAPS_PER_TURN 512u

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

/* Completes the exit record; the state says so last. A clock that was set back does not make an end precede its beginning. */
static void record_exit(struct journal_slot *slot, const siginfo_t *info, const struct rusage *usage)
{
	int64_t now = clock_real_ns();

	slot->exit_code = info->si_code;
	slot->exit_status = info->si_status;
	slot->exit_usage = *usage;
	slot->exited_at_ns = now > slot->started_at_ns ? now : slot->started_at_ns;
	atomic_store_explicit(&slot->state, JOURNAL_EXITED, memory_order_release);
}

/* Tells whoever it concerns, after the reaping: of a launcher the engine that had it. Adopted orphans concern nobody. */
static void tell(struct keeper *keeper, uint32_t slot, const siginfo_t *info)
{
	notice_message notice = {.which_notice = spawnd_runtime_v1_KeeperNotice_launcher_exited_tag};

	if (slot != NO_SLOT)
		engine_doorbell(keeper, slot);
	else if (info->si_pid == keeper->engine)
		engine_exited(keeper, info->si_code, info->si_status);
	else if (upgrade_exited(keeper, info))
		return;
	for (struct keeper_launcher *at = keeper->launchers; at < keeper->launchers + KEEPER_LAUNCHERS; at++) {
		if (at->pid != info->si_pid)
			continue;
		at->pid = 0;
		notice.notice.launcher_exited = (spawnd_runtime_v1_LauncherExited){at->index, info->si_pid, info->si_status};
		if (at->engine_start == keeper->engine_starts)
			engine_notify(keeper, &notice, NULL);
	}
}

void reap_all(void *arg)
{
	struct keeper *keeper = arg;
	struct rusage usage;
	siginfo_t info, reaped;

	for (unsigned count = 0; sys_waitid(P_ALL, 0, &info, WNOWAIT, &usage) == 0; count++) {
		uint32_t slot = find_slot(keeper->journal, info.si_pid);

		if (slot != NO_SLOT)
			record_exit(&keeper->journal->slot[slot], &info, &usage);
		sys_waitid(P_PID, (id_t)info.si_pid, &reaped, 0, NULL);
		tell(keeper, slot, &info);
		if (count == REAPS_PER_TURN) {
			loop_defer_trigger(keeper->reap_more);
			return;
		}
	}
}
