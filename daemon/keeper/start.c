/* THE fork of our own programs: the engine and the launchers, each in a session of its own. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/paths.h"
#include "base/signals.h"
#include "base/sys.h"
#include "keeper/keeper.h"

/* The path of a program of ours: beside our own binary, else where it was installed. */
static void program_path(const char *name, char path[PATH_MAX])
{
	char self[PATH_MAX] = "", dir[PATH_MAX];

	if (readlink("/proc/self/exe", self, sizeof(self) - 1) > 0) {
		paths_dir(self, dir, sizeof(dir));
		if (paths_program(dir, name, path))
			return;
	}
	snprintf(path, PATH_MAX, "%s/%s", SPAWND_LIBEXECDIR, name);
}

/* Puts descriptors (at most two) at LINK_FD and after, and the image out of their way; every other one closes itself. */
static bool place(int *image, const int *fds, size_t count)
{
	int moved[2];
	bool ok = true;

	*image = fcntl(*image, F_DUPFD_CLOEXEC, LINK_FD + 2);
	for (size_t i = 0; i < count; i++)
		moved[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, LINK_FD + 2);
	for (size_t i = 0; i < count && ok; i++)
		ok = dup2(moved[i], LINK_FD + (int)i) >= 0;
	return ok;
}

/* The interpreter of a script opens it once more: only for one it stays open. */
static void execute(int image, char *const *argv)
{
	fexecve(image, argv, environ);
	if (errno == ENOENT && fcntl(image, F_SETFD, 0) == 0)
		fexecve(image, argv, environ);
}

pid_t start_program(const char *name, int *image, char *const *argv, const int *fds, size_t count)
{
	char path[PATH_MAX];
	sigset_t all, before;
	pid_t pid;

	program_path(name, path);
	if (*image < 0)
		*image = sys_open(path, O_PATH, 0);
	if (*image < 0)
		return *image;
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, &before);
	pid = fork();
	if (pid == 0) {
		signals_reset();
		setsid();
		if (place(image, fds, count))
			execute(*image, argv);
		log_(LOG_ERROR, "%s cannot be started: %s", name, strerror(errno));
		_exit(127);
	}
	if (pid < 0)
		pid = -errno;
	sigprocmask(SIG_SETMASK, &before, NULL);
	return pid;
}

pid_t start_engine(struct keeper *keeper, int *image, struct link *link_out)
{
	int pair[2];
	int pid = sys_socketpair(SOCK_SEQPACKET, pair);

	if (pid < 0)
		return pid;
	pid = start_program("spawnd-engine", image, keeper->engine_argv, &pair[1], 1);
	fd_close(&pair[1]);
	if (pid < 0)
		fd_close(&pair[0]);
	else
		link_init(link_out, pair[0]);
	return pid;
}

void start_images_close(struct images *images)
{
	fd_close(&images->engine);
	fd_close(&images->launcher);
}
