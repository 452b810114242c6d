/* Bytes and descriptors over the socket. Control messages are built and taken apart here only. */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "internal.h"

union control {
	char bytes[CMSG_SPACE(sizeof(int) * SPAWND_CHANNEL_FDS)];
	struct cmsghdr align;
};

static void put_fds(struct msghdr *message, union control *control, const int *fds, unsigned count)
{
	struct cmsghdr *header;

	memset(control, 0, sizeof(*control));
	message->msg_control = control->bytes;
	message->msg_controllen = CMSG_SPACE(sizeof(int) * count);
	header = CMSG_FIRSTHDR(message);
	header->cmsg_level = SOL_SOCKET;
	header->cmsg_type = SCM_RIGHTS;
	header->cmsg_len = CMSG_LEN(sizeof(int) * count);
	memcpy(CMSG_DATA(header), fds, sizeof(int) * count);
}

ssize_t spawnd_rt_socket_send(int socket, struct iovec *iov, size_t iov_count, const int *fds, unsigned fd_count)
{
	struct msghdr message = {.msg_iov = iov, .msg_iovlen = iov_count};
	union control control;
	ssize_t sent;

	if (fd_count)
		put_fds(&message, &control, fds, fd_count);
	do {
		sent = sendmsg(socket, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
	} while (sent < 0 && errno == EINTR);
	if (sent >= 0)
		return sent;
	return errno == ECONNRESET ? -EPIPE : -errno;
}

static void take_fds(struct msghdr *message, struct spawnd_channel_fds *fds)
{
	for (struct cmsghdr *header = CMSG_FIRSTHDR(message); header; header = CMSG_NXTHDR(message, header)) {
		if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t i = 0; CMSG_LEN(sizeof(int) * (i + 1)) <= header->cmsg_len && fds->count < SPAWND_CHANNEL_FDS; i++)
			memcpy(&fds->fds[fds->count++], CMSG_DATA(header) + sizeof(int) * i, sizeof(int));
	}
}

ssize_t spawnd_rt_socket_receive(int socket, void *bytes, size_t size, struct spawnd_channel_fds *fds_out)
{
	struct iovec iov = {.iov_base = bytes, .iov_len = size};
	union control control;
	struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof(control.bytes)};
	ssize_t got;
	bool too_many;

	fds_out->count = 0;
	fds_out->lost = false;
	do {
		got = recvmsg(socket, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	} while (got < 0 && errno == EINTR);
	if (got < 0)
		return errno == ECONNRESET ? 0 : -errno;
	take_fds(&message, fds_out);
	if (!(message.msg_flags & MSG_CTRUNC))
		return got;
	too_many = fds_out->count == SPAWND_CHANNEL_FDS;
	spawnd_rt_fds_close(fds_out);
	fds_out->lost = true;
	return too_many ? -EPROTO : got;
}

void spawnd_rt_fds_close(struct spawnd_channel_fds *fds)
{
	while (fds->count)
		close(fds->fds[--fds->count]);
}
