/*
 * The clone, vfork-style: the child borrows our memory and we sleep until it runs its program, so the cost does not depend
 * on anybody's size. It runs on a stack of its own: on ours it would overwrite the frames we return to.
 *
 * A child is born inside its cgroup where clone3 can do that. clone3 has no wrapper in the C library, hence the few lines of
 * assembly; elsewhere, and where it is forbidden (ENOSYS, EPERM under seccomp, threaded cgroups), the child joins by itself.
 */
#include "launcher/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "launcher/child.h"

#define STACK_SIZE 65536
#define FLAGS (CLONE_VM | CLONE_VFORK | CLONE_PARENT | CLONE_PARENT_SETTID)

static char stack[STACK_SIZE] __attribute__((aligned(16)));

/* clone3 whose child calls entry(job) on its own stack and never comes back here. Returns pid or -errno. */
static long clone3_call(struct clone_args *args, int (*entry)(void *), void *job)
{
#if defined(__x86_64__)
	register long (*child_entry)(void *) __asm__("r8") = (long (*)(void *))(void *)entry;
	register void *child_job __asm__("r9") = job;
	long result;

	__asm__ volatile("syscall\n\t"
			 "test %%rax, %%rax\n\t"
			 "jnz 1f\n\t"
			 "xor %%ebp, %%ebp\n\t"
			 "mov %%r9, %%rdi\n\t"
			 "call *%%r8\n\t"
			 "hlt\n"
			 "1:"
			 : "=a"(result)
			 : "a"(SYS_clone3), "D"(args), "S"(sizeof(*args)), "r"(child_entry), "r"(child_job)
			 : "rcx", "r11", "memory");
	return result;
#elif defined(__aarch64__)
	register long x0 __asm__("x0") = (long)args;
	register long x1 __asm__("x1") = sizeof(*args);
	register long x8 __asm__("x8") = SYS_clone3;
	register void *x10 __asm__("x10") = (void *)entry;
	register void *x11 __asm__("x11") = job;

	__asm__ volatile("svc #0\n\t"
			 "cbnz x0, 1f\n\t"
			 "mov x29, xzr\n\t"
			 "mov x0, x11\n\t"
			 "blr x10\n\t"
			 "brk #0\n"
			 "1:"
			 : "+r"(x0)
			 : "r"(x1), "r"(x8), "r"(x10), "r"(x11)
			 : "memory");
	return x0;
#else
	(void)args;
	(void)entry;
	(void)job;
	return -ENOSYS;
#endif
}

/* Born in the cgroup. */
static long clone_into(int cgroup, _Atomic int32_t *pid, struct child_job *job)
{
	struct clone_args args = {
		.flags = FLAGS | CLONE_INTO_CGROUP,
		.parent_tid = (uint64_t)(uintptr_t)pid,
		.stack = (uint64_t)(uintptr_t)stack,
		.stack_size = sizeof(stack),
		.cgroup = (uint64_t)cgroup,
	};

	return clone3_call(&args, child_run, job);
}

/* Born where we are; joins through `job->cgroup_procs` when that is set. */
static long clone_plain(_Atomic int32_t *pid, struct child_job *job)
{
	long done = clone(child_run, stack + sizeof(stack), FLAGS | SIGCHLD, job, pid);

	return done < 0 ? -errno : done;
}

/* Out of processes or memory: that would be so by any road. */
static bool is_exhausted(long result)
{
	return result == -EAGAIN || result == -ENOMEM;
}

void spawn_record(struct journal_slot *slot, struct launched *launched, enum launch_stage stage, int error, int detail)
{
	slot->launch_error = launched->error = error;
	slot->launch_detail = launched->detail = detail;
	slot->launch_stage = launched->stage = stage;
}

struct launched spawn_run(struct journal *journal, struct launch_plan *plan, struct rlimit nofile)
{
	struct journal_slot *slot = &journal->slot[plan->journal_slot];
	_Atomic int32_t *pid = &journal->pids[plan->journal_slot];
	struct launched launched = {0};
	struct child_job job = {.plan = plan, .slot = slot, .launched = &launched, .join = {plan->cgroup_procs, -1}, .nofile = nofile};
	_cleanup_fd_ int procs = -1;
	long result = -ENOSYS;

	spawn_record(slot, &launched, LAUNCH_OK, 0, 0);
	slot->started_at_ns = clock_real_ns();
	if (plan->cgroup >= 0)
		result = clone_into(plan->cgroup, pid, &job);
	if (result < 0 && !is_exhausted(result)) {
		if (plan->cgroup >= 0) {
			/* What hinders clone3 may not hinder the child; and if it does, the child's errno says more. */
			job.join[1] = procs = openat(plan->cgroup, "cgroup.procs", O_WRONLY | O_CLOEXEC);
			if (procs < 0) {
				spawn_record(slot, &launched, LAUNCH_CGROUP, errno, 0);
				return launched;
			}
		}
		result = clone_plain(pid, &job);
	}
	if (result < 0)
		spawn_record(slot, &launched, LAUNCH_CLONE, (int)-result, 0);
	else
		launched.pid = (int32_t)result;
	return launched;
}
