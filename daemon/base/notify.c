/* See notify.h. */
#include "base/notify.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/fd.h"
#include "base/log.h"

static struct sockaddr_un manager;
static socklen_t manager_size; /* 0: there is none */

void notify_take(void)
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

void notify_tell(const char *state)
{
	_cleanup_fd_ int fd = -1;

	if (!manager_size)
		return;
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || sendto(fd, state, strlen(state), MSG_NOSIGNAL | MSG_DONTWAIT, (struct sockaddr *)&manager, manager_size) < 0)
		log_(LOG_WARNING, "NOTIFY_SOCKET: %s", strerror(errno));
}
