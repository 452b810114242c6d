/* Two ends of a channel in one process, or one end and a bare socket that says what no channel would. */
#pragma once

#include <CUnit/CUnit.h>
#include <dirent.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "spawnd_runtime.h"

static unsigned char near_memory[4096], far_memory[4096];
static struct spawnd_channel near, far;
static int bare;

static inline int open_fds(void)
{
	DIR *directory = opendir("/proc/self/fd");
	int count = 0;

	while (readdir(directory))
		count++;
	closedir(directory);
	return count;
}

static inline void open_pair(void)
{
	int fds[2];

	CU_ASSERT_EQUAL_FATAL(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	CU_ASSERT_EQUAL_FATAL(spawnd_channel_open(&near, fds[0], near_memory, sizeof(near_memory)), 0);
	CU_ASSERT_EQUAL_FATAL(spawnd_channel_open(&far, fds[1], far_memory, sizeof(far_memory)), 0);
}

static inline void close_pair(void)
{
	spawnd_channel_close(&near);
	spawnd_channel_close(&far);
}

/* `near` with a plain socket at its other end. */
static inline void open_bare(void)
{
	int fds[2];

	CU_ASSERT_EQUAL_FATAL(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	CU_ASSERT_EQUAL_FATAL(spawnd_channel_open(&near, fds[0], near_memory, sizeof(near_memory)), 0);
	bare = fds[1];
}

static inline void close_bare(void)
{
	spawnd_channel_close(&near);
	close(bare);
}

/* Sends bytes with `count` copies of one descriptor. */
static inline void say(const void *bytes, size_t size, int fd, unsigned count)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int) * 253)];
		struct cmsghdr align;
	} control = {0};
	struct iovec iov = {.iov_base = (void *)bytes, .iov_len = size};
	struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};

	if (count) {
		struct cmsghdr *header = (struct cmsghdr *)control.bytes;

		message.msg_control = control.bytes;
		message.msg_controllen = CMSG_SPACE(sizeof(int) * count);
		header->cmsg_level = SOL_SOCKET;
		header->cmsg_type = SCM_RIGHTS;
		header->cmsg_len = CMSG_LEN(sizeof(int) * count);
		for (unsigned i = 0; i < count; i++)
			memcpy(CMSG_DATA(header) + sizeof(int) * i, &fd, sizeof(int));
	}
	CU_ASSERT_EQUAL(sendmsg(bare, &message, MSG_NOSIGNAL), (ssize_t)size);
}

static inline ino_t inode(int fd)
{
	struct stat status;

	return fstat(fd, &status) == 0 ? status.st_ino : 0;
}

static inline void close_message(struct spawnd_channel_message *message)
{
	for (unsigned i = 0; i < message->fd_count; i++)
		close(message->fds[i]);
}
