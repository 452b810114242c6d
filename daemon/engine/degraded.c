/* The probes. Each one says in a sentence what will not work, or work less well, and why. */
#include "engine/degraded.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/sys.h"

#define FEW_FDS 4096u
#define PROTECTED_SCORE (-500)

void degraded_add(struct degraded *degraded, const char *format, ...)
{
	char text[256];
	va_list args;

	if (degraded->count == DEGRADED_MAX)
		return;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	degraded->items[degraded->count++] = mem_strdup(text);
}

/* A number that a file of /proc holds; `otherwise` when it cannot be read. */
static long read_number(const char *path, long otherwise)
{
	FILE *file = fopen(path, "re");
	long number;

	if (!file)
		return otherwise;
	if (fscanf(file, "%ld", &number) != 1)
		number = otherwise;
	fclose(file);
	return number;
}

/* Whether CAP_SYS_PTRACE is in effect. */
static bool may_ptrace(void)
{
	FILE *file = fopen("/proc/self/status", "re");
	unsigned long long capabilities = 0;
	char line[256];

	if (!file)
		return false;
	while (fgets(line, sizeof(line), file))
		if (sscanf(line, "CapEff: %llx", &capabilities) == 1)
			break;
	fclose(file);
	return capabilities >> 19 & 1;
}

static void probe_pidfd_getfd(struct degraded *degraded)
{
	_cleanup_fd_ int pidfd = sys_pidfd_open(getpid());
	_cleanup_fd_ int copy = -1;

	if (pidfd < 0) {
		degraded_add(degraded, "no pidfd_open (%s): clients are known by pid only", err_name(-pidfd));
		return;
	}
	copy = sys_pidfd_getfd(pidfd, pidfd);
	if (copy < 0)
		degraded_add(degraded, "no pidfd_getfd (%s): descriptors named by number are reopened through /proc", err_name(-copy));
}

void degraded_probe(struct degraded *degraded, pid_t keeper, const char *tree_method, unsigned fds_limit)
{
	char path[64];

	if (access("/proc/self/status", R_OK) < 0)
		degraded_add(degraded, "no /proc: namespaces of clients are not compared, no descriptors by number, no sweep");
	probe_pidfd_getfd(degraded);
	if (read_number("/proc/sys/kernel/yama/ptrace_scope", 0) > 0 && !may_ptrace())
		degraded_add(degraded, "Yama's ptrace_scope: descriptors of clients cannot be taken by number");
	snprintf(path, sizeof(path), "/proc/%d/oom_score_adj", (int)keeper);
	if (read_number(path, 0) > PROTECTED_SCORE)
		degraded_add(degraded, "the keeper is not protected from the OOM killer (lowering oom_score_adj needs CAP_SYS_RESOURCE)");
	if (strcmp(tree_method, "freezer") == 0)
		degraded_add(degraded, "no writable cgroup v2: trees are killed by the v1 freezer");
	else if (strcmp(tree_method, "cgroup") != 0)
		degraded_add(degraded, "no writable cgroup: trees are killed by a sweep, which can miss what hides");
	if (fds_limit < FEW_FDS)
		degraded_add(degraded, "RLIMIT_NOFILE is %u: about %u processes with pipes at a time", fds_limit, fds_limit / 4);
}

void degraded_finish(struct degraded *degraded)
{
	for (size_t i = 0; i < degraded->count; i++)
		free(degraded->items[i]);
	degraded->count = 0;
}
