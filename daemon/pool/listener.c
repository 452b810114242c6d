/* See listener.h. */
#include "pool/listener.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/sys.h"

#define BACKLOG 511

int listener_check(struct listener *listener, const Spawnd__V1__ListenerSpec *spec, size_t index, struct err *err)
{
	char field[64];

	*listener = (struct listener){.fd = -1};
	snprintf(field, sizeof(field), "spec.listeners[%zu].policy", index);
	if (spec->policy < 0 || spec->policy > SPAWND__V1__POLICY__POLICY_SHARED)
		return err_invalid(err, field, "%d is unknown", (int)spec->policy);
	snprintf(field, sizeof(field), "spec.listeners[%zu].backlog", index);
	if (spec->backlog > INT_MAX)
		return err_invalid(err, field, "is above %d", INT_MAX);
	snprintf(field, sizeof(field), "spec.listeners[%zu].mode", index);
	if (spec->_mode_case && spec->mode > 0777)
		return err_invalid(err, field, "is above 0777");
	snprintf(field, sizeof(field), "spec.listeners[%zu].name", index);
	if (strlen(spec->name) > 255 || strchr(spec->name, ':'))
		return err_invalid(err, field, "has a colon or more than 255 bytes");
	snprintf(field, sizeof(field), "spec.listeners[%zu].address", index);
	return address_parse(spec->address, field, &listener->address, err);
}

/* bind() of an address that may be longer than the kernel takes: then by way of its directory. 0 or -errno. */
static int bind_path(int fd, const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	const char *name = strrchr(path, '/') + 1;
	char directory[PATH_MAX];
	_cleanup_fd_ int dir = -1;

	if (strlen(path) < sizeof(address.sun_path)) {
		strcpy(address.sun_path, path);
		return bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ? -errno : 0;
	}
	snprintf(directory, sizeof(directory), "%.*s", (int)(name - path), path);
	dir = sys_open(directory, O_PATH | O_DIRECTORY, 0);
	if (dir < 0)
		return dir;
	if (snprintf(address.sun_path, sizeof(address.sun_path), "/proc/self/fd/%d/%s", dir, name) >= (int)sizeof(address.sun_path))
		return -ENAMETOOLONG;
	return bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ? -errno : 0;
}

/* Whether a path is that of a socket whose server is gone. */
static bool is_stale(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct stat facts;
	_cleanup_fd_ int fd = -1;

	if (lstat(path, &facts) < 0 || !S_ISSOCK(facts.st_mode) || strlen(path) >= sizeof(address.sun_path))
		return false;
	strcpy(address.sun_path, path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	return fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0 && errno == ECONNREFUSED;
}

/* 0 or -errno. */
static int bind_unix(int fd, const char *path)
{
	int done = bind_path(fd, path);

	if (done != -EADDRINUSE || !is_stale(path))
		return done;
	return unlink(path) < 0 ? -errno : bind_path(fd, path);
}

static int bind_inet(int fd, const struct address *address, const Spawnd__V1__ListenerSpec *spec)
{
	int yes = 1, only = spec->ipv6_only && !address->any;

	if (address->type == SOCK_STREAM && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes)) < 0)
		return -errno;
	if (address->family == AF_INET6 && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &only, sizeof(only)) < 0)
		return -errno;
	return bind(fd, (const struct sockaddr *)&address->socket, address->size) < 0 ? -errno : 0;
}

/* On a machine without IPv6 any address is one of IPv4. */
static void fall_back(struct address *address)
{
	struct sockaddr_in6 in6;

	memcpy(&in6, &address->socket, sizeof(in6));
	*(struct sockaddr_in *)&address->socket = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = in6.sin6_port};
	address->family = AF_INET;
	address->size = sizeof(struct sockaddr_in);
}

/* A bound socket or -errno. */
static int open_bound(struct address *address, const Spawnd__V1__ListenerSpec *spec)
{
	_cleanup_fd_ int fd = socket(address->family, address->type | SOCK_CLOEXEC, 0); /* blocking, as systemd gives them */
	int done = fd < 0 ? -errno : 0;

	if (done == 0)
		done = address->family == AF_UNIX ? bind_unix(fd, address->path) : bind_inet(fd, address, spec);
	if (address->any && address->family == AF_INET6 && (done == -EAFNOSUPPORT || done == -EADDRNOTAVAIL)) {
		fall_back(address);
		return open_bound(address, spec);
	}
	return done < 0 ? done : fd_steal(&fd);
}

int listener_open(struct listener *listener, const Spawnd__V1__ListenerSpec *spec, struct err *err)
{
	struct address *address = &listener->address;
	int done = 0;

	listener->fd = open_bound(address, spec);
	if (listener->fd < 0) {
		done = listener->fd;
		listener->fd = -1;
		return err_errno(err, -done, "bind", spec->address);
	}
	if (address->type == SOCK_STREAM && listen(listener->fd, spec->backlog ? (int)spec->backlog : BACKLOG) < 0)
		done = err_errno(err, errno, "listen", spec->address);
	else if (address->family == AF_UNIX && spec->_mode_case && chmod(address->path, spec->mode) < 0)
		done = err_errno(err, errno, "chmod", address->path);
	if (done < 0)
		listener_remove(listener);
	return done;
}

void listener_remove(struct listener *listener)
{
	if (listener->fd >= 0 && listener->address.family == AF_UNIX)
		unlink(listener->address.path);
	fd_close(&listener->fd);
}
