/* The real system calls behind the seam. */
#include "base/sys.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef P_PIDFD
#define P_PIDFD 3
#endif

/* Evaluates the call until it is not interrupted; yields its result, or -errno. */
#define RETRY(call)                                                                                                                        \
	__extension__({                                                                                                                    \
		__typeof__(call) result_;                                                                                                  \
		do                                                                                                                         \
			result_ = (call);                                                                                                  \
		while (result_ < 0 && errno == EINTR);                                                                                     \
		result_ < 0 ? (__typeof__(call))-errno : result_;                                                                          \
	})

ssize_t sys_read(int fd, void *bytes, size_t size)
{
	return RETRY(read(fd, bytes, size));
}

ssize_t sys_write(int fd, const void *bytes, size_t size)
{
	return RETRY(write(fd, bytes, size));
}

ssize_t sys_writev(int fd, const struct iovec *iov, int count)
{
	return RETRY(writev(fd, iov, count));
}

ssize_t sys_pwritev(int fd, const struct iovec *iov, int count, off_t offset)
{
	return RETRY(pwritev(fd, iov, count, offset));
}

ssize_t sys_pread(int fd, void *bytes, size_t size, off_t offset)
{
	return RETRY(pread(fd, bytes, size, offset));
}

ssize_t sys_pwrite(int fd, const void *bytes, size_t size, off_t offset)
{
	return RETRY(pwrite(fd, bytes, size, offset));
}

ssize_t sys_splice(int from, off_t *from_offset, int to, off_t *to_offset, size_t size, unsigned flags)
{
	return RETRY(splice(from, from_offset, to, to_offset, size, flags));
}

ssize_t sys_sendfile(int to, int from, size_t size)
{
	return RETRY(sendfile(to, from, NULL, size));
}

off_t sys_lseek(int fd, off_t offset, int whence)
{
	return RETRY(lseek(fd, offset, whence));
}

int sys_open(const char *path, int flags, mode_t mode)
{
	return RETRY(open(path, flags | O_CLOEXEC, mode));
}

int sys_openat(int dir, const char *path, int flags, mode_t mode)
{
	return RETRY(openat(dir, path, flags | O_CLOEXEC, mode));
}

/* Not retried: on Linux the descriptor is gone whatever close says. */
int sys_close(int fd)
{
	return close(fd) < 0 ? -errno : 0;
}

int sys_pipe(int fds[2], int flags)
{
	return RETRY(pipe2(fds, flags | O_CLOEXEC));
}

int sys_socketpair(int type, int fds[2])
{
	return RETRY(socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, fds));
}

int sys_accept(int socket, int flags)
{
	return RETRY(accept4(socket, NULL, NULL, flags | SOCK_CLOEXEC));
}

ssize_t sys_sendmsg(int socket, const struct msghdr *message, int flags)
{
	return RETRY(sendmsg(socket, message, flags));
}

ssize_t sys_recvmsg(int socket, struct msghdr *message, int flags)
{
	return RETRY(recvmsg(socket, message, flags));
}

int sys_memfd(const char *name, unsigned flags)
{
	return RETRY(memfd_create(name, flags | MFD_CLOEXEC));
}

int sys_ftruncate(int fd, off_t size)
{
	return RETRY(ftruncate(fd, size));
}

int sys_fallocate(int fd, int mode, off_t offset, off_t size)
{
	return RETRY(fallocate(fd, mode, offset, size));
}

int sys_rename(const char *from, const char *to)
{
	return RETRY(rename(from, to));
}

int sys_mkdir(const char *path, mode_t mode)
{
	return RETRY(mkdir(path, mode));
}

int sys_rmdir(const char *path)
{
	return RETRY(rmdir(path));
}

int sys_kill(pid_t pid, int signal)
{
	return RETRY(kill(pid, signal));
}

int sys_pidfd_open(pid_t pid)
{
	return RETRY((int)syscall(SYS_pidfd_open, pid, 0));
}

int sys_pidfd_getfd(int pidfd, int fd)
{
	return RETRY((int)syscall(SYS_pidfd_getfd, pidfd, fd, 0));
}

int sys_pidfd_send_signal(int pidfd, int signal)
{
	return RETRY((int)syscall(SYS_pidfd_send_signal, pidfd, signal, NULL, 0));
}

int sys_waitid(idtype_t type, id_t id, siginfo_t *info, int options, struct rusage *usage)
{
	int done;

	info->si_pid = 0;
	done = RETRY((int)syscall(SYS_waitid, type, id, info, options | WEXITED | WNOHANG, usage));
	if (done < 0)
		return done;
	return info->si_pid ? 0 : -EAGAIN;
}
