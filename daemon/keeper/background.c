/*
 * Going to the background, and telling whoever waits that the daemon is ready: the process that was started (it stays in
 * front until then, copies what is logged meanwhile, and ends with the daemon's status), and a service manager (sd_notify).
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/sys.h"
#include "keeper/keeper.h"

static struct sockaddr_un manager;
static socklen_t manager_size; /* 0: there is none */

/* Stays in front: shows the log until the status comes. Never returns. */
static _Noreturn void wait_in_front(int status_fd, int log_fd)
{
	struct pollfd pollfds[] = {{.fd = log_fd, .events = POLLIN}, {.fd = status_fd, .events = POLLIN}};
	unsigned char status;
	char text[4096];

	for (;;) {
		poll(pollfds, 2, -1);
		if (pollfds[0].revents) {
			ssize_t size = sys_read(log_fd, text, sizeof(text));

			if (size <= 0 || sys_write(STDERR_FILENO, text, (size_t)size) < 0)
				pollfds[0].fd = -1;
		} else if (pollfds[1].revents) {
			_exit(sys_read(status_fd, &status, 1) == 1 ? status : EXIT_FAILURE);
		}
	}
}

/* Points descriptors of stdio at nothing. */
static void silence(int first, int last)
{
	_cleanup_fd_ int null = sys_open("/dev/null", O_RDWR, 0);

	for (int fd = first; null >= 0 && fd <= last; fd++)
		dup2(null, fd);
}

void background_enter(struct keeper *keeper)
{
	int status[2], messages[2];
	pid_t pid = sys_pipe(status, 0) < 0 || sys_pipe(messages, 0) < 0 ? -1 : fork();

	if (pid < 0) {
		log_(LOG_ERROR, "cannot go into the background: %s", strerror(errno));
		exit(EXIT_FAILURE);
	}
	sys_close(status[pid > 0]);
	sys_close(messages[pid > 0]);
	if (pid > 0)
		wait_in_front(status[0], messages[0]);
	keeper->status_fd = status[1];
	setsid();
	if (chdir("/") < 0)
		log_(LOG_WARNING, "chdir /: %s", strerror(errno));
	silence(STDIN_FILENO, STDOUT_FILENO);
	dup2(messages[1], STDERR_FILENO);
	sys_close(messages[1]);
}

void background_ready(struct keeper *keeper, bool is_ready)
{
	unsigned char status = is_ready ? 0 : (unsigned char)keeper->exit_status;

	if (is_ready)
		notify_service_manager("READY=1");
	keeper->ready |= is_ready;
	if (keeper->status_fd < 0)
		return;
	log_flush();
	if (sys_write(keeper->status_fd, &status, 1) < 0)
		log_(LOG_INFO, "whoever started the daemon did not wait for it");
	fd_close(&keeper->status_fd);
	silence(STDERR_FILENO, STDERR_FILENO);
}

void take_service_manager(void)
{
	const char *path = getenv("NOTIFY_SOCKET");
	size_t length = path ? strlen(path) : 0;

	if (length > 1 && length < sizeof(manager.sun_path)) {
		memcpy(manager.sun_path, path, length);
		if (path[0] == '@')
			manager.sun_path[0] = 0;
		manager.sun_family = AF_UNIX;
		manager_size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length);
	}
	unsetenv("NOTIFY_SOCKET");
}

void notify_service_manager(const char *state)
{
	_cleanup_fd_ int fd = -1;

	if (!manager_size)
		return;
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || sendto(fd, state, strlen(state), MSG_NOSIGNAL | MSG_DONTWAIT, (struct sockaddr *)&manager, manager_size) < 0)
		log_(LOG_WARNING, "NOTIFY_SOCKET: %s", strerror(errno));
}
