/* What descriptors are. A file on a channel of Node aborts Node, so nothing goes there that was not looked at. */
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "base/fd.h"
#include "base/mem.h"
#include "channel/channel_parts.h"

static int option(int fd, int name)
{
	int value = 0;
	socklen_t size = sizeof(value);

	return getsockopt(fd, SOL_SOCKET, name, &value, &size) < 0 ? -1 : value;
}

static bool is_internet(int domain)
{
	return domain == AF_INET || domain == AF_INET6;
}

enum handle_kind handle_kind_of(int fd)
{
	int type = option(fd, SO_TYPE), domain = option(fd, SO_DOMAIN);

	if (type == SOCK_STREAM && (is_internet(domain) || domain == AF_UNIX))
		return option(fd, SO_ACCEPTCONN) > 0 ? HANDLE_SERVER : HANDLE_SOCKET;
	if (type == SOCK_DGRAM && is_internet(domain))
		return HANDLE_DATAGRAM;
	return HANDLE_OTHER;
}

static const char *kind_name(enum handle_kind kind)
{
	static const char *const names[] = {
		[HANDLE_FIND] = "nothing",
		[HANDLE_SERVER] = "a listening socket",
		[HANDLE_SOCKET] = "a connected stream socket",
		[HANDLE_DATAGRAM] = "a UDP socket",
		[HANDLE_NATIVE] = "a socket",
		[HANDLE_OTHER] = "no socket that Node takes",
	};

	return names[kind];
}

int handle_check(struct channel_handle *handle, bool node, struct err *err)
{
	enum handle_kind found = handle_kind_of(handle->fd);
	bool fits = handle->kind == HANDLE_FIND || handle->kind == found || (handle->kind == HANDLE_NATIVE && found != HANDLE_OTHER) ||
		    (handle->kind == HANDLE_OTHER && !node);
	int done = 0;

	if (!fits || (node && found == HANDLE_OTHER)) {
		err_invalid(err, "message.handles", "the descriptor is %s", kind_name(found));
		return -EINVAL;
	}
	if (handle->kind == HANDLE_FIND)
		handle->kind = found;
	if (node)
		done = fd_set_nonblock(handle->fd, true);
	return done < 0 ? err_errno(err, -done, "fcntl", NULL) : 0;
}

const char *handle_node_type(const struct channel_handle *handle)
{
	switch (handle->kind) {
	case HANDLE_SERVER:
		return "net.Server";
	case HANDLE_SOCKET:
		return "net.Socket";
	case HANDLE_DATAGRAM:
		return "dgram.Socket";
	case HANDLE_FIND:
	case HANDLE_NATIVE:
	case HANDLE_OTHER:
		break;
	}
	return handle_kind_of(handle->fd) == HANDLE_DATAGRAM ? "dgram.Native" : "net.Native";
}

const char *handle_dgram_type(const struct channel_handle *handle)
{
	if (handle->kind != HANDLE_DATAGRAM)
		return NULL;
	return option(handle->fd, SO_DOMAIN) == AF_INET6 ? "udp6" : "udp4";
}

void handles_close(struct channel_handle **handles, size_t *count)
{
	for (size_t i = 0; i < *count; i++)
		fd_close(&(*handles)[i].fd);
	free(mem_steal(handles));
	*count = 0;
}
