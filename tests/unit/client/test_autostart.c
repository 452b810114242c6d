/*
 * Connecting, and starting a daemon. The daemon is this program itself: started as `spawnd --socket PATH ...` it writes what
 * it found into PATH.log, goes to the background and answers every call with an empty reply.
 */
#include <CUnit/CUnit.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "internal.h"

#define STARTERS 24

extern char **environ;

/* ---- the daemon ---- */

/* One line for each start: pid of the daemon, session leader?, directory, open descriptors, names in the environment. */
static void write_log(const char *socket_path, pid_t daemon)
{
	char path[256], line[2048], cwd[256] = "";
	DIR *directory = opendir("/proc/self/fd");
	int fd, open_fds = -3; /* . and .. and the directory itself */
	size_t length;

	while (directory && readdir(directory))
		open_fds++;
	closedir(directory);
	length = (size_t)snprintf(
		line, sizeof(line), "%d %d %s %d", (int)daemon, getsid(0) == getpid(), getcwd(cwd, sizeof(cwd)) ? cwd : "?", open_fds);
	for (char **at = environ; *at; at++)
		length += (size_t)snprintf(line + length, sizeof(line) - length, " %.*s", (int)strcspn(*at, "="), *at);
	line[length++] = '\n';
	snprintf(path, sizeof(path), "%s.log", socket_path);
	fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0 || write(fd, line, length) < 0)
		_exit(1);
	close(fd);
}

/* Answers calls on one connection until it ends. */
static void answer(int fd)
{
	struct conn *conn = conn_create(fd);
	struct pollfd pollfd = {.fd = fd, .events = POLLIN};
	struct frame frame;

	while (poll(&pollfd, 1, -1) >= 0 && conn_read(conn) == 0) {
		while (conn_next(conn, &frame)) {
			struct frame_header header = {.stream_id = frame.header.stream_id, .type = FRAME_RESPONSE};

			conn_put(conn, &header, NULL, 0, NULL, 0);
		}
	}
	conn_destroy(conn);
}

/* The program when it is started as spawnd. */
__attribute__((constructor)) static void be_spawnd(int argc, char **argv, char **env)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	pid_t daemon;
	int fd, client;

	if (argc < 5 || strcmp(argv[0], "spawnd") != 0 || strcmp(argv[1], "--socket") != 0)
		return;
	if (strcmp(argv[3], "--idle-exit") != 0 || strcmp(argv[4], "10m") != 0)
		_exit(2);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", argv[2]);
	unlink(argv[2]);
	if (bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 || listen(fd, 128) < 0)
		_exit(3);
	daemon = fork();
	if (daemon > 0)
		write_log(argv[2], daemon);
	if (daemon)
		_exit(daemon < 0);
	dup2(STDIN_FILENO, STDERR_FILENO);
	signal(SIGCHLD, SIG_IGN);
	while ((client = accept4(fd, NULL, NULL, SOCK_CLOEXEC)) >= 0) {
		if (fork() == 0) {
			close(fd);
			answer(client);
			_exit(0);
		}
		close(client);
	}
	_exit(0);
}

/* ---- the client ---- */

struct place {
	char directory[64], socket[80], log[96];
};

/* An empty directory, and this program as the daemon. */
static struct place make_place(void)
{
	struct place place;

	snprintf(place.directory, sizeof(place.directory), "/tmp/spawnd-test-XXXXXX");
	CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(place.directory));
	snprintf(place.socket, sizeof(place.socket), "%s/d/spawnd.sock", place.directory);
	snprintf(place.log, sizeof(place.log), "%s.log", place.socket);
	setenv("SPAWND_DAEMON", "/proc/self/exe", 1);
	return place;
}

/* Ends the daemons that were started; returns their number, the last one's line in *line. */
static unsigned end_daemons(const struct place *place, char line[2048])
{
	FILE *file = fopen(place->log, "re");
	unsigned count = 0;

	CU_ASSERT_PTR_NOT_NULL_FATAL(file);
	while (fgets(line, 2048, file)) {
		kill(atoi(line), SIGKILL);
		count++;
	}
	fclose(file);
	return count;
}

static void remove_place(const struct place *place)
{
	static const char *const names[] = {"", ".log", ".start"};
	char path[128];

	for (size_t i = 0; i < array_size(names); i++) {
		snprintf(path, sizeof(path), "%s%s", place->socket, names[i]);
		unlink(path);
	}
	snprintf(path, sizeof(path), "%s/d", place->directory);
	rmdir(path);
	CU_ASSERT_EQUAL(rmdir(place->directory), 0);
}

void test_a_daemon_is_started_with_nothing_of_ours(void)
{
	struct place place = make_place();
	struct spawnd *client = NULL;
	char line[2048], cwd[64], *names;
	int pid, leads, fds, length;
	int leaked = dup(STDERR_FILENO); /* without close-on-exec */
	struct stat status;

	setenv("HOME", "/root", 1);
	setenv("XDG_TEST", "x", 1);
	setenv("SECRET", "x", 1);
	CU_ASSERT_EQUAL_FATAL(spawnd_connect(place.socket, 0, &client, NULL), 0);
	CU_ASSERT_STRING_EQUAL(spawnd_socket(client), place.socket);
	CU_ASSERT_EQUAL(spawnd_ping(client, NULL), 0);
	CU_ASSERT_EQUAL(end_daemons(&place, line), 1);
	CU_ASSERT_EQUAL_FATAL(sscanf(line, "%d %d %63s %d%n", &pid, &leads, cwd, &fds, &length), 4);
	CU_ASSERT_EQUAL(leads, 1);
	CU_ASSERT_STRING_EQUAL(cwd, "/");
	CU_ASSERT_EQUAL(fds, 4); /* 0, 1, 2, and its socket */
	names = line + length;
	for (char *name = strtok(names, " \n"); name; name = strtok(NULL, " \n"))
		CU_ASSERT(strcmp(name, "HOME") == 0 || strcmp(name, "PATH") == 0 || strcmp(name, "USER") == 0 ||
			  strncmp(name, "XDG_", 4) == 0);
	CU_ASSERT(stat(place.socket, &status) == 0);
	spawnd_close(client);
	close(leaked);
	remove_place(&place);
}

/* All of them wait at a pipe and start at once; exactly one daemon may be started. */
void test_many_clients_start_one_daemon(void)
{
	struct place place = make_place();
	int gate[2], status, failed = 0;
	pid_t pids[STARTERS];
	char line[2048], byte;

	CU_ASSERT_FATAL(pipe2(gate, O_CLOEXEC) == 0);
	for (size_t i = 0; i < STARTERS; i++) {
		pids[i] = fork();
		if (pids[i] == 0) {
			struct spawnd *client;

			close(gate[1]);
			if (read(gate[0], &byte, 1) != 0 || spawnd_connect(place.socket, 0, &client, NULL) < 0)
				_exit(1);
			_exit(spawnd_ping(client, NULL) < 0);
		}
	}
	close(gate[0]);
	close(gate[1]);
	for (size_t i = 0; i < STARTERS; i++)
		failed += waitpid(pids[i], &status, 0) != pids[i] || status != 0;
	CU_ASSERT_EQUAL(failed, 0);
	CU_ASSERT_EQUAL(end_daemons(&place, line), 1);
	remove_place(&place);
}

void test_children_that_others_reap(void)
{
	struct place place = make_place();
	struct spawnd *client = NULL;
	char line[2048];

	signal(SIGCHLD, SIG_IGN);
	CU_ASSERT_EQUAL_FATAL(spawnd_connect(place.socket, 0, &client, NULL), 0);
	signal(SIGCHLD, SIG_DFL);
	spawnd_close(client);
	CU_ASSERT_EQUAL(end_daemons(&place, line), 1);
	remove_place(&place);
}

void test_no_daemon_to_reach(void)
{
	struct place place = make_place();
	struct spawnd *client = NULL;
	struct spawnd_error error;
	char script[96], long_path[200];
	FILE *file;

	CU_ASSERT_EQUAL(spawnd_connect(place.socket, SPAWND_NO_AUTOSTART, &client, &error), -1);
	CU_ASSERT(error.status == SPAWND_UNAVAILABLE && error.errnum == ENOENT);
	CU_ASSERT_STRING_EQUAL(error.path, place.socket);

	setenv("SPAWND_DAEMON", "/nonexistent/spawnd", 1);
	CU_ASSERT_EQUAL(spawnd_connect(place.socket, 0, &client, &error), -1);
	CU_ASSERT_EQUAL(error.status, SPAWND_UNAVAILABLE);
	CU_ASSERT_PTR_NOT_NULL(strstr(error.message, "/nonexistent/spawnd"));

	snprintf(script, sizeof(script), "%s/script", place.directory);
	file = fopen(script, "we");
	CU_ASSERT_PTR_NOT_NULL_FATAL(file);
	fputs("#!/bin/sh\necho the disk is full >&2\nexit 1\n", file);
	fclose(file);
	chmod(script, 0700);
	setenv("SPAWND_DAEMON", script, 1);
	CU_ASSERT_EQUAL(spawnd_connect(place.socket, 0, &client, &error), -1);
	CU_ASSERT_EQUAL(error.status, SPAWND_UNAVAILABLE);
	CU_ASSERT_PTR_NOT_NULL(strstr(error.message, "the disk is full"));

	memset(long_path, 'x', sizeof(long_path));
	long_path[0] = '/';
	long_path[sizeof(long_path) - 1] = 0;
	CU_ASSERT_EQUAL(spawnd_connect(long_path, 0, &client, &error), -1);
	CU_ASSERT_EQUAL(error.status, SPAWND_INVALID_ARGUMENT);
	CU_ASSERT_PTR_NOT_NULL(strstr(error.message, "199"));
	unlink(script);
	remove_place(&place);
}

/* Where anybody could put a socket is no place to look for ours. */
void test_the_usual_socket_in_a_directory_of_others(void)
{
	struct place place = make_place();
	struct spawnd *client = NULL;
	struct spawnd_error error;
	char directory[96];

	snprintf(directory, sizeof(directory), "%s/spawnd", place.directory);
	CU_ASSERT_FATAL(mkdir(directory, 0700) == 0 && chmod(directory, 0777) == 0);
	setenv("XDG_RUNTIME_DIR", place.directory, 1);
	unsetenv("SPAWND_SOCKET");
	CU_ASSERT_EQUAL(spawnd_connect(NULL, 0, &client, &error), -1);
	CU_ASSERT_EQUAL(error.status, SPAWND_PERMISSION_DENIED);
	unsetenv("XDG_RUNTIME_DIR");
	rmdir(directory);
	remove_place(&place);
}
