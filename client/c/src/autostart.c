/*
 * Reaching a daemon, and starting one when there is none. Starters of one socket take turns at a lock beside it, and look
 * again once they have it: so many clients at once start one daemon. The daemon's own lock is the last word in any case.
 *
 * The program is started by posix_spawn, so that a client of many threads and gigabytes pays no fork, with nothing of this
 * process but what is listed here. It goes to the background, and what we started ends when the daemon is ready.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
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

/*
 * Fills in the address of a socket. A path that is too long for one, as a relative one may be with its directory, goes by that
 * directory: *dir_out is then open until the connection is made. 0 or -errno.
 */
static int fill_address(const char *path, struct sockaddr_un *address, int *dir_out)
{
	const char *slash = strrchr(path, '/');
	_cleanup_free_ char *directory = NULL;

	address->sun_family = AF_UNIX;
	if (strlen(path) < sizeof(address->sun_path)) {
		memcpy(address->sun_path, path, strlen(path) + 1);
		return 0;
	}
	if (!slash || strlen(slash) > sizeof(address->sun_path) - sizeof("/proc/self/fd/2147483647"))
		return -ENAMETOOLONG;
	directory = mem_strndup(path, (size_t)(slash - path) + 1);
	*dir_out = open(directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (*dir_out < 0)
		return -errno;
	snprintf(address->sun_path, sizeof(address->sun_path), "/proc/self/fd/%d%s", *dir_out, slash);
	return 0;
}

/* A connected socket or -errno. flags: of socket(2). */
static int connect_with(const char *path, int flags)
{
	struct sockaddr_un address;
	_cleanup_fd_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | flags, 0), directory = -1;
	int done;

	if (fd < 0)
		return -errno;
	done = fill_address(path, &address, &directory);
	if (done < 0)
		return done;
	while (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
		if (errno != EINTR)
			return -errno;
	}
	return fd_steal(&fd);
}

/* The same, waiting for its turn. */
static int try_connect(const char *path)
{
	return connect_with(path, 0);
}

int autostart_try(const char *path)
{
	return connect_with(path, SOCK_NONBLOCK);
}

/* Nobody to reach, unless it is this process that lacks something. */
static int fail(struct spawnd_error *error, int errnum, const char *syscall, const char *path)
{
	bool exhausted = err_status_of(errnum) == STATUS_RESOURCE_EXHAUSTED;

	return error_errno(error, exhausted ? SPAWND_RESOURCE_EXHAUSTED : SPAWND_UNAVAILABLE, errnum, syscall, path);
}

/* The directory of the socket: made for this user alone when it is not there. */
static int make_directory(const char *path, struct spawnd_error *error)
{
	char directory[PATHS_SOCKET_MAX + 1];
	struct err err;

	paths_dir(path, directory, sizeof(directory));
	if (mkdir(directory, 0700) < 0 && errno != EEXIST)
		return fail(error, errno, "mkdir", directory);
	return paths_check_dir(directory, 0, &err) < 0 ? error_of_err(error, &err) : 0;
}

/* Whether the file is still the one that others open by this path. */
static bool is_same_file(int fd, const char *path)
{
	struct stat open_one, named_one;

	return fstat(fd, &open_one) == 0 && lstat(path, &named_one) == 0 && open_one.st_dev == named_one.st_dev &&
	       open_one.st_ino == named_one.st_ino;
}

/* Waits for its turn to start a daemon. A descriptor that holds the lock, or -1. */
static int take_lock(const char *lock, struct spawnd_error *error)
{
	for (;;) {
		_cleanup_fd_ int fd = open(lock, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

		if (fd < 0)
			return fail(error, errno, "open", lock);
		while (flock(fd, LOCK_EX) < 0) {
			if (errno != EINTR)
				return fail(error, errno, "flock", lock);
		}
		if (is_same_file(fd, lock)) /* who had it before us removed it */
			return fd_steal(&fd);
	}
}

/* The program to start: SPAWND_DAEMON, one beside us, or the one PATH has. */
static void find_daemon(char path[PATH_MAX])
{
	const char *named = getenv("SPAWND_DAEMON");
	ssize_t length;
	char *slash;

	if (named && *named) {
		if (!strchr(named, '/') || !realpath(named, path))
			snprintf(path, PATH_MAX, "%s", named);
		return;
	}
	length = readlink("/proc/self/exe", path, PATH_MAX - sizeof("/spawnd"));
	path[length > 0 ? length : 0] = 0;
	slash = strrchr(path, '/');
	if (slash)
		strcpy(slash, "/spawnd");
	if (!slash || access(path, X_OK) < 0)
		strcpy(path, "spawnd");
}

/* What a daemon gets of our environment: it may live on long after us. */
static void reduce_env(char *env[ENV_MAX])
{
	static const char *const kept[] = {"HOME=", "PATH=", "USER=", "XDG_"};
	size_t count = 0;

	for (char **at = environ; at && *at && count < ENV_MAX - 1; at++) {
		for (size_t i = 0; i < array_size(kept); i++) {
			if (strncmp(*at, kept[i], strlen(kept[i])) == 0) {
				env[count++] = *at;
				break;
			}
		}
	}
	env[count] = NULL;
}

int autostart_absolute(const char *path, char absolute[PATH_MAX], struct spawnd_error *error)
{
	size_t length;

	if (path[0] == '/') {
		snprintf(absolute, PATH_MAX, "%s", path);
		return 0;
	}
	if (!getcwd(absolute, PATH_MAX))
		return fail(error, errno, "getcwd", NULL);
	length = strlen(absolute);
	if (length + strlen(path) + 2 > PATH_MAX)
		return fail(error, ENAMETOOLONG, "getcwd", NULL);
	snprintf(absolute + length, PATH_MAX - length, "/%s", path);
	return 0;
}

/* Starts the program in a session of its own, stderr to `log_fd`. 0 or errno. */
static int spawn(const char *program, const char *socket_path, int log_fd, pid_t *pid_out)
{
	char *argv[] = {(char *)"spawnd", (char *)"--socket", (char *)socket_path, (char *)"--idle-exit", (char *)IDLE_EXIT, NULL};
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attributes;
	char *env[ENV_MAX];
	sigset_t all, none;
	int done;

	reduce_env(env);
	sigfillset(&all);
	sigemptyset(&none);
	posix_spawnattr_init(&attributes);
	posix_spawnattr_setsigdefault(&attributes, &all);
	posix_spawnattr_setsigmask(&attributes, &none);
	posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSID);
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addchdir_np(&actions, "/");
	posix_spawn_file_actions_adddup2(&actions, log_fd, STDERR_FILENO);
	posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDWR, 0);
	posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_RDWR, 0);
	posix_spawn_file_actions_addclosefrom_np(&actions, STDERR_FILENO + 1);
	done = posix_spawnp(pid_out, program, &actions, &attributes, argv, env);
	posix_spawn_file_actions_destroy(&actions);
	posix_spawnattr_destroy(&attributes);
	return done;
}

/* Collects what the starting daemon says, for the error, until it has ended or closed its stderr. */
static void read_text(int fd, pid_t pid, char *text, size_t size)
{
	_cleanup_fd_ int pidfd = sys_pidfd_open(pid);
	struct pollfd pollfds[] = {{.fd = fd, .events = POLLIN}, {.fd = pidfd, .events = POLLIN}};
	char rest[4096];
	size_t length = 0;

	for (;;) {
		bool full = length == size - 1;
		ssize_t got;

		if (poll(pollfds, 2, -1) < 0 && errno != EINTR)
			break;
		if (!pollfds[0].revents && pollfds[1].revents)
			break;
		if (!pollfds[0].revents)
			continue;
		got = sys_read(fd, full ? rest : text + length, full ? sizeof(rest) : size - 1 - length);
		if (got <= 0)
			break;
		length += full ? 0 : (size_t)got;
	}
	while (length && text[length - 1] == '\n')
		length--;
	text[length] = 0;
}

/* Starts a daemon and waits until it is ready: the process we start ends then. */
static int start_daemon(const char *path, struct spawnd_error *error)
{
	char program[PATH_MAX], text[400];
	_cleanup_fd_ int read_end = -1;
	int fds[2], done, status = 0;
	pid_t pid;

	find_daemon(program);
	done = sys_pipe(fds, 0);
	if (done < 0)
		return fail(error, -done, "pipe", NULL);
	read_end = fds[0];
	done = spawn(program, path, fds[1], &pid);
	close(fds[1]);
	if (done)
		return error_set(error, SPAWND_UNAVAILABLE, "no daemon runs at %s and none could be started: spawn %s %s", path, program,
			err_name(done));
	read_text(read_end, pid, text, sizeof(text));
	while (waitpid(pid, &status, 0) < 0) {
		if (errno == ECHILD) /* this program has its children reaped by others: the socket will tell */
			return 0;
		if (errno != EINTR)
			return fail(error, errno, "waitpid", NULL);
	}
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return 0;
	if (!text[0])
		snprintf(text, sizeof(text), "%.300s ended without a word", program);
	return error_set(error, SPAWND_UNAVAILABLE, "no daemon runs at %s and none could be started: %s", path, text);
}

/* It is our turn: is one there now, or else after we started it? */
static int connect_or_start(const char *path, struct spawnd_error *error)
{
	int fd = try_connect(path), started;

	if (fd >= 0)
		return fd;
	started = start_daemon(path, error);
	fd = try_connect(path);
	if (fd >= 0)
		return fd;
	return started < 0 ? -1 : fail(error, -fd, "connect", path);
}

int autostart_connect(const char *path, unsigned flags, struct spawnd_error *error)
{
	char lock[PATHS_SOCKET_MAX + sizeof(".start")];
	_cleanup_fd_ int held = -1;
	int fd = try_connect(path);
	struct err err;

	if (fd >= 0)
		return fd;
	if ((fd != -ENOENT && fd != -ECONNREFUSED) || (flags & SPAWND_NO_AUTOSTART))
		return fail(error, -fd, "connect", path);
	if (paths_check_length(path, &err) < 0)
		return error_of_err(error, &err);
	if (make_directory(path, error) < 0)
		return -1;
	snprintf(lock, sizeof(lock), "%s.start", path);
	held = take_lock(lock, error);
	if (held < 0)
		return -1;
	fd = connect_or_start(path, error);
	unlink(lock); /* while we hold it: whoever waits for it sees that, and makes its own */
	return fd;
}
