/*
 * Descriptors of a client, by four roads: it sent them along (SCM_RIGHTS); it named a number, which pidfd_getfd takes;
 * or, where that is forbidden, what /proc/PID/fd names is opened once more; or it is our end of another connection of the
 * client's. A pid is believed only while its pidfd says that the process still lives.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/sys.h"
#include "rpc/internal.h"

#define REOPEN_FLAGS (O_ACCMODE | O_APPEND | O_NONBLOCK)

int call_take_fd(struct call *call, uint32_t index, const char *field, int *fd_out, struct err *err)
{
	struct frame *frame = call->peer->frame;

	if (!frame || index >= frame->fd_count)
		return err_invalid(err, field, "descriptor %u of %zu was not sent along", index, frame ? frame->fd_count : 0);
	if (frame->fds[index] < 0)
		return err_invalid(err, field, "descriptor %u is used twice", index);
	*fd_out = fd_steal(&frame->fds[index]);
	return 0;
}

/* Position and open flags of a client's descriptor. */
static int read_fdinfo(pid_t pid, int32_t number, off_t *position_out, int *flags_out)
{
	char path[64], line[128];
	long long position = -1;
	int flags = -1;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/fdinfo/%d", (int)pid, (int)number);
	file = fopen(path, "re");
	if (!file)
		return -errno;
	while (fgets(line, sizeof(line), file)) {
		sscanf(line, "pos: %lld", &position);
		sscanf(line, "flags: %o", (unsigned *)&flags);
	}
	fclose(file);
	if (position < 0 || flags < 0)
		return -EINVAL;
	*position_out = (off_t)position;
	*flags_out = flags;
	return 0;
}

/* The third road. Sockets and the like cannot be opened again: -ENXIO. */
static int reopen(pid_t pid, int32_t number)
{
	_cleanup_fd_ int fd = -1;
	char path[64];
	off_t position = 0;
	int flags = 0, done = read_fdinfo(pid, number, &position, &flags);
	struct stat status;

	if (done < 0)
		return done;
	snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)pid, (int)number);
	fd = sys_open(path, (flags & REOPEN_FLAGS) | O_NONBLOCK | O_NOCTTY, 0);
	if (fd < 0)
		return fd;
	if (!(flags & O_NONBLOCK))
		fd_set_nonblock(fd, false);
	if (fstat(fd, &status) == 0 && S_ISREG(status.st_mode) && sys_lseek(fd, position, SEEK_SET) < 0)
		return -ESPIPE;
	return fd_steal(&fd);
}

/* Whether the process that connected still lives, so that what /proc said was about it. */
static bool is_alive(const struct peer *peer)
{
	struct pollfd pollfd = {.fd = peer->pidfd, .events = POLLIN};

	return poll(&pollfd, 1, 0) == 0;
}

/*
 * Whether the process that connected may be looked into in its user's name. It may have become a program with other rights
 * since (setuid), whose descriptors are not that user's; the kernel shows such a one as root's in /proc. It would refuse
 * that to the user, but not to us when we are root.
 */
static bool is_its_users(const struct peer *peer)
{
	struct stat status;
	char path[32];

	if (geteuid() != 0 || peer->uid == 0)
		return true;
	snprintf(path, sizeof(path), "/proc/%d/fd", (int)peer->pid);
	return stat(path, &status) == 0 && status.st_uid == peer->uid;
}

static int refuse_foreign(const struct peer *peer, const char *field, struct err *err)
{
	return err_set(err, STATUS_FAILED_PRECONDITION, "%s: pid %d does not let its user look into it", field, (int)peer->pid);
}

/* Tells why a descriptor could not be had: what pidfd_getfd said, and what opening it once more said. */
static int refuse(const struct peer *peer, int32_t number, const char *field, int taken, int opened, struct err *err)
{
	if (!is_alive(peer))
		return err_set(err, STATUS_FAILED_PRECONDITION, "%s: the client has ended", field);
	if (opened == -EBADF || opened == -ENOENT)
		return err_invalid(err, field, "the client has no descriptor %d", (int)number);
	if (opened == -EMFILE || opened == -ENFILE)
		return err_errno(err, -opened, opened == taken ? "pidfd_getfd" : "open", NULL);
	if (opened == taken)
		return err_set(err, STATUS_FAILED_PRECONDITION, "%s: descriptor %d of the client cannot be taken: pidfd_getfd %s", field,
			(int)number, err_name(-taken));
	return err_set(err, STATUS_FAILED_PRECONDITION,
		"%s: descriptor %d of the client cannot be taken: pidfd_getfd %s (%s), opening it again %s", field, (int)number,
		err_name(-taken), taken == -EPERM ? "perhaps forbidden by Yama's ptrace_scope" : "this kernel has none", err_name(-opened));
}

int call_fetch_fd(struct call *call, int32_t number, const char *field, int *fd_out, struct err *err)
{
	const struct peer *peer = call->peer;
	_cleanup_fd_ int opened = -1;
	int fd;

	if (number < 0)
		return err_invalid(err, field, "%d is not a descriptor", (int)number);
	if (peer->pidfd < 0)
		return err_set(err, STATUS_FAILED_PRECONDITION, "%s: the client's process is not known", field);
	if (!is_its_users(peer))
		return refuse_foreign(peer, field, err);
	fd = sys_pidfd_getfd(peer->pidfd, number);
	if (fd >= 0 && !is_its_users(peer)) {
		sys_close(fd);
		return refuse_foreign(peer, field, err);
	}
	if (fd >= 0) {
		*fd_out = fd;
		return 0;
	}
	if (fd != -EPERM && fd != -ENOSYS)
		return refuse(peer, number, field, fd, fd, err);
	opened = reopen(peer->pid, number);
	if (opened < 0 || !is_alive(peer))
		return refuse(peer, number, field, fd, opened, err);
	if (!is_its_users(peer))
		return refuse_foreign(peer, field, err);
	*fd_out = fd_steal(&opened);
	return 0;
}

int call_take_connection(struct call *call, struct peer *other, const char *field, int *fd_out, struct err *err)
{
	if (other == call->peer)
		return err_invalid(err, field, "is the session of this very connection");
	if (other->closed || other->calls || other->handling || conn_pending(other->conn) || conn_unread(other->conn))
		return err_set(err, STATUS_FAILED_PRECONDITION, "%s: something is under way on that connection", field);
	peer_close(other, "its socket is a child's now");
	*fd_out = conn_steal_fd(other->conn);
	fd_set_nonblock(*fd_out, false);
	return 0;
}
