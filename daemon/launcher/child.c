/*
 * The steps of a child, in an order that matters: what needs the launcher's rights before the ids are given up, what must
 * be seen with the child's eyes (files, directory, program) after. System calls are made directly: the C library's setuid
 * family would talk to threads that do not exist here.
 */
#include "launcher/child.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/close_range.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Writes down which step failed and ends. */
static _Noreturn void give_up(struct child_job *job, enum launch_stage stage, int detail)
{
	spawn_record(job->slot, job->launched, stage, errno, detail);
	_exit(127);
}

static void set_limit(struct child_job *job, int resource, struct rlimit value)
{
	if (prlimit(0, (enum __rlimit_resource)resource, &value, NULL) < 0)
		give_up(job, LAUNCH_RLIMIT, resource);
}

/* All limits but the number of descriptors, which are still to be moved about: that one is only raised now. */
static void set_limits(struct child_job *job)
{
	for (size_t i = 0; i < job->plan->limit_count; i++) {
		struct limit *limit = &job->plan->limits[i];
		struct rlimit now;

		if (limit->resource != RLIMIT_NOFILE) {
			set_limit(job, limit->resource, limit->value);
			continue;
		}
		job->nofile = limit->value;
		if (prlimit(0, RLIMIT_NOFILE, NULL, &now) == 0 && limit->value.rlim_max > now.rlim_max)
			set_limit(job, RLIMIT_NOFILE, (struct rlimit){now.rlim_cur, limit->value.rlim_max});
	}
}

static void set_ids(struct child_job *job)
{
	struct launch_plan *plan = job->plan;

	if ((plan->set_ids || plan->set_groups) && syscall(SYS_setgroups, plan->group_count, plan->groups) < 0)
		give_up(job, LAUNCH_GROUPS, 0);
	if (!plan->set_ids)
		return;
	if (syscall(SYS_setresgid, plan->gid, plan->gid, plan->gid) < 0)
		give_up(job, LAUNCH_GID, 0);
	if (syscall(SYS_setresuid, plan->uid, plan->uid, plan->uid) < 0)
		give_up(job, LAUNCH_UID, 0);
}

/* A descriptor above all slots, so that putting one in place cannot overwrite another. The old one closes itself at exec. */
static int move_up(struct child_job *job, int fd, int slot)
{
	int moved;

	if (fd > job->plan->highest_slot)
		return fd;
	moved = fcntl(fd, F_DUPFD_CLOEXEC, job->plan->highest_slot + 1);
	if (moved < 0)
		give_up(job, LAUNCH_DUP, slot);
	return moved;
}

/* Opens files and moves every source out of the way. */
static void collect_sources(struct child_job *job)
{
	for (size_t i = 0; i < job->plan->target_count; i++) {
		struct target *target = &job->plan->targets[i];

		if (target->source >= 0)
			target->source = move_up(job, target->source, target->slot);
	}
	for (size_t i = 0; i < job->plan->target_count; i++) {
		struct target *target = &job->plan->targets[i];
		int fd;

		if (!target->path)
			continue;
		fd = open(target->path, target->open_flags | O_CLOEXEC | O_NOCTTY, target->permissions);
		if (fd < 0)
			give_up(job, LAUNCH_FILE, target->slot);
		target->source = move_up(job, fd, target->slot);
	}
}

/* Puts every descriptor where the program expects it; all others, wherever they came from, close themselves at exec. */
static void place_descriptors(struct child_job *job)
{
	syscall(SYS_close_range, 0, ~0u, CLOSE_RANGE_CLOEXEC); /* since Linux 5.11; what the launcher opened is marked anyway */
	collect_sources(job);
	for (size_t i = 0; i < job->plan->target_count; i++) {
		struct target *target = &job->plan->targets[i];
		int source = target->source >= 0 ? target->source : target->same_as;

		if (dup2(source, target->slot) < 0)
			give_up(job, LAUNCH_DUP, target->slot);
		if (target->blocking) {
			int flags = fcntl(target->slot, F_GETFL);

			if (flags < 0 || ((flags & O_NONBLOCK) && fcntl(target->slot, F_SETFL, flags & ~O_NONBLOCK) < 0))
				give_up(job, LAUNCH_DUP, target->slot);
		}
	}
}

/* The path of the program under the part of the search path at `part`, which ends at the next colon. */
static const char *compose(const struct launch_plan *plan, const char *part, size_t length)
{
	char *end = mempcpy(plan->candidate, length ? part : ".", length ? length : 1);

	*end++ = '/';
	memcpy(end, plan->file, strlen(plan->file) + 1);
	return plan->candidate;
}

/* Its own pid, which only the child knows, in decimal where LISTEN_PID_ENTRY has room for it. */
static void write_listen_pid(const struct launch_plan *plan)
{
	char *end = plan->env[plan->envc - 1] + sizeof("LISTEN_PID=") - 1, digits[16];
	size_t count = 0;

	for (unsigned long pid = (unsigned long)syscall(SYS_getpid); pid; pid /= 10)
		digits[count++] = (char)('0' + pid % 10);
	while (count)
		*end++ = digits[--count];
	*end = 0;
}

/* execvp's rules, but what is no program is never given to a shell. */
static _Noreturn void execute(struct child_job *job)
{
	struct launch_plan *plan = job->plan;
	const char *part = plan->search_path;
	bool denied = false;

	if (strchr(plan->file, '/') || !plan->file[0] || strlen(plan->file) > NAME_MAX) {
		execve(plan->file, plan->argv, plan->env);
		give_up(job, LAUNCH_EXEC, 0);
	}
	for (;;) {
		size_t length = strcspn(part, ":");

		execve(compose(plan, part, length), plan->argv, plan->env);
		if (errno == EACCES)
			denied = true;
		else if (errno != ENOENT && errno != ENOTDIR && errno != ESTALE && errno != ENODEV && errno != ETIMEDOUT)
			break;
		part += length;
		if (!*part++) {
			errno = denied ? EACCES : errno;
			break;
		}
	}
	give_up(job, LAUNCH_EXEC, 0);
}

int child_run(void *arg)
{
	static const struct sigaction normal = {.sa_handler = SIG_DFL};
	struct child_job *job = arg;
	struct launch_plan *plan = job->plan;

	for (size_t i = 0; i < 2; i++)
		if (job->join[i] >= 0 && write(job->join[i], "0", 1) != 1)
			give_up(job, LAUNCH_CGROUP, 0);
	sigaction(SIGPIPE, &normal, NULL);
	if (setsid() < 0)
		give_up(job, LAUNCH_SETSID, 0);
	set_limits(job);
	if (plan->set_nice && setpriority(PRIO_PROCESS, 0, plan->nice) < 0)
		give_up(job, LAUNCH_NICE, 0);
	set_ids(job);
	umask(plan->umask);
	if (plan->no_new_privs && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		give_up(job, LAUNCH_NO_NEW_PRIVS, 0);
	if (plan->cwd && chdir(plan->cwd) < 0)
		give_up(job, LAUNCH_CWD, 0);
	place_descriptors(job);
	if (plan->controlling_slot >= 0 && ioctl(plan->controlling_slot, TIOCSCTTY, 0) < 0)
		give_up(job, LAUNCH_TTY, plan->controlling_slot);
	set_limit(job, RLIMIT_NOFILE, job->nofile);
	if (plan->listen_pid)
		write_listen_pid(plan);
	execute(job);
}
