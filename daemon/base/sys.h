/*
 * The seam over the system calls whose failures must be tested: unit tests link tests/fakes/fake_sys.c instead of sys.c.
 * Every function has the meaning of the call it is named after, returns a negative errno instead of -1, and retries EINTR.
 */
#pragma once

#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/wait.h>

ssize_t sys_read(int fd, void *bytes, size_t size);
ssize_t sys_write(int fd, const void *bytes, size_t size);
ssize_t sys_writev(int fd, const struct iovec *iov, int count);
ssize_t sys_pwritev(int fd, const struct iovec *iov, int count, off_t offset);
ssize_t sys_pread(int fd, void *bytes, size_t size, off_t offset);
ssize_t sys_splice(int from, off_t *from_offset, int to, off_t *to_offset, size_t size, unsigned flags);
off_t sys_lseek(int fd, off_t offset, int whence);
int sys_open(const char *path, int flags, mode_t mode); /* O_CLOEXEC is added */
int sys_openat(int dir, const char *path, int flags, mode_t mode);
int sys_close(int fd);
int sys_pipe(int fds[2], int flags);      /* O_CLOEXEC is added */
int sys_socketpair(int type, int fds[2]); /* AF_UNIX, SOCK_CLOEXEC is added */
int sys_accept(int socket, int flags);    /* SOCK_CLOEXEC is added */
ssize_t sys_sendmsg(int socket, const struct msghdr *message, int flags);
ssize_t sys_recvmsg(int socket, struct msghdr *message, int flags);
int sys_memfd(const char *name, unsigned flags); /* MFD_CLOEXEC is added */
int sys_ftruncate(int fd, off_t size);
ssize_t sys_pwrite(int fd, const void *bytes, size_t size, off_t offset);
/* From the file offset of `from` on, which moves with it. */
ssize_t sys_sendfile(int to, int from, size_t size);
int sys_fallocate(int fd, int mode, off_t offset, off_t size);
int sys_rename(const char *from, const char *to);
int sys_mkdir(const char *path, mode_t mode);
int sys_rmdir(const char *path);
int sys_kill(pid_t pid, int signal);
int sys_pidfd_open(pid_t pid);
int sys_pidfd_getfd(int pidfd, int fd);
int sys_pidfd_send_signal(int pidfd, int signal);
/* waitid with WEXITED|WNOHANG and `options`, rusage by the raw call. 0, -ECHILD, or -EAGAIN when nothing has changed. */
int sys_waitid(idtype_t type, id_t id, siginfo_t *info, int options, struct rusage *usage);
