/*
 * Reaching a daemon, and starting one when there is none. Starters of one socket take turns at a lock beside it, and look
 * again once they have it: so many clients at once start one daemon. The daemon's own lock is the last word in any case.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/paths.h"
#include "base/sys.h"
#include "internal.h"

#define IDLE_EXIT "10m"
#define ENV_MAX 64

extern char **environ;

/* A connected socket or -errno. */
static int try_connect(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	_cleanup_fd_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	memcpy(address.sun_path, path, strlen(path) + 1);
	while (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
		if (errno != EINTR)
			return -errno;
	}
	return fd_steal(&fd);
}

/* The directory of the socket: made for this user alone when it is not there. */
static int make_directory(const char *path, struct spawnd_error *error)
{
	char directory[PATHS_SOCKET_MAX + 1];
	struct err err;

	paths_dir(path, directory, sizeof(directory));
	if (mkdir(directory, 0700) < 0 && errno != EEXIST)
		return error_errno(error, SPAWND_UNAVAILABLE, errno, "mkdir", directory);
	if (paths_check_dir(directory, 0, &err) < 0) {
		error_of_err(error, &err);
		return -1;
	}
	return 0;
}

/* Waits for its turn to start a daemon. A descriptor that holds the lock, or -1. */
static int take_lock(const char *path, struct spawnd_error *error)
{
	char lock[PATHS_SOCKET_MAX + 16];
	_cleanup_fd_ int fd = -1;

	snprintf(lock, sizeof(lock), "%s.start", path);
	fd = open(lock, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return error_errno(error, SPAWND_UNAVAILABLE, errno, "open", lock);
	while (flock(fd, LOCK_EX) < 0) {
		if (errno != EINTR)
			return error_errno(error, SPAWND_UNAVAILABLE, errno, "flock", lock);
	}
	return fd_steal(&fd);
}

/* The program to start: SPAWND_DAEMON, one beside us, or the one PATH has. */
static void find_daemon(char path[PATH_MAX])
{
	const char *named = getenv("SPAWND_DAEMON");
	ssize_t length;
	char *slash;

	snprintf(path, PATH_MAX, "%s", named && *named ? named : "spawnd");
	if (named && *named)
		return;
	length = readlink("/proc/self/exe", path, PATH_MAX - sizeof("/spawnd"));
	path[length > 0 ? length : 0] = 0;
	slash = strrchr(path, '/');
	if (slash)
		strcpy(slash, "/spawnd");
	if (!slash || access(path, X_OK) < 0)
		strcpy(path, "spawnd");
}

/* What a daemon gets of our environment: nothing that its children should not see. */
static void reduce_env(char *env[ENV_MAX])
{
	static const char *const kept[] = {"HOME=", "PATH=", "USER=", "XDG_", "TMPDIR=", "SPAWND_"};
	size_t count = 0;

	for (char **at = environ; *at && count < ENV_MAX - 1; at++) {
		for (size_t i = 0; i < array_size(kept); i++) {
			if (strncmp(*at, kept[i], strlen(kept[i])) == 0) {
				env[count++] = *at;
				break;
			}
		}
	}
	env[count] = NULL;
}

/* Reads what the starting daemon said, for the error. */
static void read_text(int fd, char *text, size_t size)
{
	size_t length = 0;
	ssize_t got;

	while ((got = sys_read(fd, text + length, size - 1 - length)) > 0)
		length += (size_t)got;
	while (length && text[length - 1] == '\n')
		length--;
	text[length] = 0;
}

/* Becomes the daemon. */
static _Noreturn void become_daemon(const char *program, const char *socket_path, int log_fd)
{
	char *argv[] = {(char *)"spawnd", (char *)"--socket", (char *)socket_path, (char *)"--idle-exit", (char *)IDLE_EXIT, NULL};
	char *env[ENV_MAX];
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	reduce_env(env);
	setsid();
	if (chdir("/") < 0 || null < 0)
		_exit(127);
	dup2(null, STDIN_FILENO);
	dup2(null, STDOUT_FILENO);
	dup2(log_fd, STDERR_FILENO);
	execvpe(program, argv, env);
	dprintf(STDERR_FILENO, "%s: %s\n", program, strerror(errno));
	_exit(127);
}

/* Starts a daemon and waits until it is ready: the process we start ends then. */
static int start_daemon(const char *path, struct spawnd_error *error)
{
	char program[PATH_MAX], text[400], absolute[PATH_MAX];
	int log_fds[2], status;
	pid_t pid;

	find_daemon(program);
	if (path[0] == '/')
		snprintf(absolute, sizeof(absolute), "%s", path);
	else if (!getcwd(absolute, sizeof(absolute)) || strlen(absolute) + strlen(path) + 2 > sizeof(absolute))
		return error_errno(error, SPAWND_UNAVAILABLE, ENAMETOOLONG, "getcwd", NULL);
	else
		snprintf(absolute + strlen(absolute), sizeof(absolute) - strlen(absolute), "/%s", path);
	if (sys_pipe(log_fds, 0) < 0)
		return error_errno(error, SPAWND_UNAVAILABLE, errno, "pipe", NULL);
	pid = fork();
	if (pid == 0)
		become_daemon(program, absolute, log_fds[1]);
	close(log_fds[1]);
	if (pid < 0) {
		close(log_fds[0]);
		return error_errno(error, SPAWND_UNAVAILABLE, errno, "fork", NULL);
	}
	read_text(log_fds[0], text, sizeof(text));
	close(log_fds[0]);
	while (waitpid(pid, &status, 0) < 0) {
		if (errno != EINTR)
			return error_errno(error, SPAWND_UNAVAILABLE, errno, "waitpid", NULL);
	}
	if (!WIFEXITED(status) || WEXITSTATUS(status))
		return error_set(error, SPAWND_UNAVAILABLE, "no daemon runs at %s and none could be started: %s", path, text);
	return 0;
}

int autostart_connect(const char *path, unsigned flags, struct spawnd_error *error)
{
	_cleanup_fd_ int lock = -1;
	int fd = try_connect(path);

	if (fd >= 0)
		return fd;
	if ((fd != -ENOENT && fd != -ECONNREFUSED) || (flags & SPAWND_NO_AUTOSTART))
		return error_errno(error, SPAWND_UNAVAILABLE, -fd, "connect", path);
	if (make_directory(path, error) < 0)
		return -1;
	lock = take_lock(path, error);
	if (lock < 0)
		return -1;
	fd = try_connect(path);
	if (fd >= 0)
		return fd;
	if (start_daemon(path, error) < 0)
		return -1;
	fd = try_connect(path);
	return fd >= 0 ? fd : error_errno(error, SPAWND_UNAVAILABLE, -fd, "connect", path);
}
