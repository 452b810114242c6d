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

/* Stays in front: shows the log until the status comes. Never returns. */
static _Noreturn void wait_in_front(int status_fd, int log_fd)
{
	struct pollfd pollfds[] = {{.fd = log_fd, .events = POLLIN}, {.fd = status_fd, .events = POLLIN}};
	unsigned char status = 1;
	char text[4096];

	for (;;) {
		ssize_t size;

		poll(pollfds, 2, -1);
		if (pollfds[0].revents) {
			size = sys_read(log_fd, text, sizeof(text));
			if (size > 0)
				sys_write(STDERR_FILENO, text, (size_t)size);
			else
				pollfds[0].fd = -1;
		} else if (pollfds[1].revents) {
			sys_read(status_fd, &status, 1);
			_exit(status);
		}
	}
}

void background_enter(struct keeper *keeper)
{
	int status[2], messages[2], null;

	if (sys_pipe(status, 0) < 0 || sys_pipe(messages, 0) < 0)
		exit(EXIT_FAILURE);
	switch (fork()) {
	case -1:
		log_(LOG_ERROR, "fork: %s", strerror(errno));
		exit(EXIT_FAILURE);
	case 0:
		break;
	default:
		close(status[1]);
		close(messages[1]);
		wait_in_front(status[0], messages[0]);
	}
	close(status[0]);
	close(messages[0]);
	keeper->status_fd = status[1];
	setsid();
	if (chdir("/") < 0)
		log_(LOG_WARNING, "chdir /: %s", strerror(errno));
	null = sys_open("/dev/null", O_RDWR, 0);
	if (null >= 0) {
		dup2(null, STDIN_FILENO);
		dup2(null, STDOUT_FILENO);
		fd_close(&null);
	}
	dup2(messages[1], STDERR_FILENO);
	close(messages[1]);
}

void background_ready(struct keeper *keeper, bool is_ready)
{
	unsigned char status = is_ready ? 0 : (unsigned char)keeper->exit_status;
	int null;

	if (is_ready)
		notify_service_manager("READY=1");
	keeper->ready |= is_ready;
	if (keeper->status_fd < 0)
		return;
	if (sys_write(keeper->status_fd, &status, 1) < 0)
		log_(LOG_INFO, "whoever started the daemon did not wait for it");
	fd_close(&keeper->status_fd);
	null = sys_open("/dev/null", O_RDWR, 0);
	if (null >= 0) {
		dup2(null, STDERR_FILENO);
		fd_close(&null);
	}
}

void notify_service_manager(const char *state)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	const char *path = getenv("NOTIFY_SOCKET");
	size_t length = path ? strlen(path) : 0;
	_cleanup_fd_ int fd = -1;

	if (!length || length >= sizeof(address.sun_path))
		return;
	memcpy(address.sun_path, path, length);
	if (path[0] == '@')
		address.sun_path[0] = 0;
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || sendto(fd, state, strlen(state), MSG_NOSIGNAL, (struct sockaddr *)&address,
			      (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length)) < 0)
		log_(LOG_WARNING, "NOTIFY_SOCKET: %s", strerror(errno));
}
