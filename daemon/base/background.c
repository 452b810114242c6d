/* See background.h. */
#include "base/background.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/sys.h"

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

int background_enter(void)
{
	int status[2], messages[2];
	pid_t pid = sys_pipe(status, 0) < 0 || sys_pipe(messages, 0) < 0 ? -1 : fork();

	if (pid < 0)
		return -errno;
	sys_close(status[pid > 0]);
	sys_close(messages[pid > 0]);
	if (pid > 0)
		wait_in_front(status[0], messages[0]);
	setsid();
	if (chdir("/") < 0)
		log_(LOG_WARNING, "chdir /: %s", strerror(errno));
	silence(STDIN_FILENO, STDOUT_FILENO);
	dup2(messages[1], STDERR_FILENO);
	sys_close(messages[1]);
	return status[1];
}

void background_tell(int *fd, unsigned char status)
{
	if (*fd < 0)
		return;
	log_flush();
	if (sys_write(*fd, &status, 1) < 0)
		log_(LOG_INFO, "whoever started the daemon did not wait for it");
	fd_close(fd);
	silence(STDERR_FILENO, STDERR_FILENO);
}
