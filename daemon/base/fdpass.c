/* Descriptors over Unix sockets. Control messages are built and taken apart here and nowhere else. */
#include "base/fdpass.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "base/sys.h"

ssize_t fdpass_send(int socket, const struct iovec *iov, size_t iov_count, const int *fds, size_t count)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int) * FDPASS_MAX)];
		struct cmsghdr align;
	} control;
	struct msghdr message = {.msg_iov = (struct iovec *)iov, .msg_iovlen = iov_count};
	struct cmsghdr *header;

	if (count > FDPASS_MAX)
		return -EINVAL;
	if (count) {
		message.msg_control = control.bytes;
		message.msg_controllen = CMSG_SPACE(sizeof(int) * count);
		memset(control.bytes, 0, message.msg_controllen);
		header = CMSG_FIRSTHDR(&message);
		header->cmsg_level = SOL_SOCKET;
		header->cmsg_type = SCM_RIGHTS;
		header->cmsg_len = CMSG_LEN(sizeof(int) * count);
		memcpy(CMSG_DATA(header), fds, sizeof(int) * count);
	}
	return sys_sendmsg(socket, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* Collects the descriptors of a received message. */
static size_t take_fds(struct msghdr *message, int fds[FDPASS_MAX])
{
	size_t count = 0;

	for (struct cmsghdr *header = CMSG_FIRSTHDR(message); header; header = CMSG_NXTHDR(message, header)) {
		if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t i = 0; CMSG_LEN(sizeof(int) * (i + 1)) <= header->cmsg_len && count < FDPASS_MAX; i++)
			memcpy(&fds[count++], CMSG_DATA(header) + sizeof(int) * i, sizeof(int));
	}
	return count;
}

ssize_t fdpass_receive(int socket, void *bytes, size_t size, int fds[FDPASS_MAX], size_t *count_out)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int) * FDPASS_MAX)];
		struct cmsghdr align;
	} control;
	struct iovec iov = {.iov_base = bytes, .iov_len = size};
	struct msghdr message = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control.bytes,
		.msg_controllen = sizeof(control.bytes),
	};
	ssize_t got = sys_recvmsg(socket, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	size_t count;

	*count_out = 0;
	if (got < 0)
		return got;
	count = take_fds(&message, fds);
	if (message.msg_flags & (MSG_CTRUNC | MSG_TRUNC)) {
		for (size_t i = 0; i < count; i++)
			sys_close(fds[i]);
		return message.msg_flags & MSG_CTRUNC ? -EMFILE : -EMSGSIZE;
	}
	*count_out = count;
	return got;
}

ssize_t fdpass_peek(int socket, void *bytes, size_t size, int *fds, size_t max, size_t *count_out, bool *cut_out)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int) * FDPASS_MAX)];
		struct cmsghdr align;
	} control;
	struct iovec iov = {.iov_base = bytes, .iov_len = size};
	struct msghdr message = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control.bytes,
		.msg_controllen = CMSG_SPACE(sizeof(int) * max),
	};
	ssize_t seen = sys_recvmsg(socket, &message, MSG_DONTWAIT | MSG_PEEK | MSG_CMSG_CLOEXEC);

	*count_out = 0;
	*cut_out = false;
	if (seen < 0)
		return seen;
	*count_out = take_fds(&message, fds);
	*cut_out = message.msg_flags & MSG_CTRUNC;
	return seen;
}
