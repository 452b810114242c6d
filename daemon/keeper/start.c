/* THE fork of our own programs: the engine and the launchers, each in a session of its own. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/paths.h"
#include "base/signals.h"
#include "keeper/keeper.h"

/* The path of a program of ours: beside our own binary, else where it was installed. */
static void program_path(const char *name, char path[PATH_MAX])
{
	char self[PATH_MAX] = "", dir[PATH_MAX];

	if (readlink("/proc/self/exe", self, sizeof(self) - 1) > 0) {
		paths_dir(self, dir, sizeof(dir));
		if (snprintf(path, PATH_MAX, "%s/%s", dir, name) < PATH_MAX && access(path, X_OK) == 0)
			return;
		if (snprintf(path, PATH_MAX, "%s/../libexec/spawnd/%s", dir, name) < PATH_MAX && access(path, X_OK) == 0)
			return;
	}
	snprintf(path, PATH_MAX, "%s/%s", SPAWND_LIBEXECDIR, name);
}

/* Puts descriptors (at most two) at LINK_FD and after; every other one closes itself. */
static bool place(const int *fds, size_t count)
{
	int moved[2];
	bool ok = true;

	for (size_t i = 0; i < count; i++)
		moved[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, LINK_FD + 2);
	for (size_t i = 0; i < count && ok; i++)
		ok = dup2(moved[i], LINK_FD + (int)i) >= 0;
	return ok;
}

pid_t start_program(const char *name, char *const *argv, const int *fds, size_t count)
{
	char path[PATH_MAX];
	sigset_t all, before;
	pid_t pid;

	program_path(name, path);
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, &before);
	pid = fork();
	if (pid == 0) {
		signals_reset();
		setsid();
		if (place(fds, count))
			execv(path, argv);
		log_(LOG_ERROR, "%s cannot be started: %s", path, strerror(errno));
		_exit(127);
	}
	if (pid < 0)
		pid = -errno;
	sigprocmask(SIG_SETMASK, &before, NULL);
	return pid;
}
