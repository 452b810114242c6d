/* Fake system calls: what is not about processes is passed on to the kernel unless it was told to fail. */
#include "fake_sys.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/sys.h"

#define FAILURES_MAX 16
#define CALLS_MAX 32
#define PROCESSES_MAX 256
#define PIDFDS_MAX 64

static struct failure {
	const char *call;
	int errnum;
	unsigned skip, times;
} failures[FAILURES_MAX];

static struct call_count {
	const char *call;
	unsigned count;
} calls[CALLS_MAX];

static struct process {
	pid_t pid, group; /* pid 0: a free entry */
	unsigned died;    /* order of deaths; 0: alive */
	int code, status;
	struct rusage usage;
} processes[PROCESSES_MAX];

static struct pidfd {
	int fd;
	pid_t pid;
} pidfds[PIDFDS_MAX];

static unsigned deaths;
static size_t short_bytes;
static struct fake_signal last_signal;

void fake_reset(void)
{
	memset(failures, 0, sizeof(failures));
	memset(calls, 0, sizeof(calls));
	memset(processes, 0, sizeof(processes));
	memset(pidfds, 0, sizeof(pidfds));
	deaths = 0;
	short_bytes = 0;
	last_signal = (struct fake_signal){0};
}

void fake_fail(const char *call, int errnum, unsigned skip, unsigned times)
{
	for (size_t i = 0; i < FAILURES_MAX; i++) {
		if (failures[i].times)
			continue;
		failures[i] = (struct failure){.call = call, .errnum = errnum, .skip = skip, .times = times};
		return;
	}
}

void fake_short(size_t bytes)
{
	short_bytes = bytes;
}

unsigned fake_calls(const char *call)
{
	for (size_t i = 0; i < CALLS_MAX && calls[i].call; i++)
		if (strcmp(calls[i].call, call) == 0)
			return calls[i].count;
	return 0;
}

/* Counts a call. 0, or the -errno it was told to fail with. */
static int enter(const char *call)
{
	for (size_t i = 0; i < CALLS_MAX; i++) {
		if (calls[i].call && strcmp(calls[i].call, call) != 0)
			continue;
		calls[i].call = call;
		calls[i].count++;
		break;
	}
	for (size_t i = 0; i < FAILURES_MAX; i++) {
		if (!failures[i].times || strcmp(failures[i].call, call) != 0)
			continue;
		if (failures[i].skip) {
			failures[i].skip--;
			continue;
		}
		failures[i].times--;
		return -failures[i].errnum;
	}
	return 0;
}

/* Enters the call, and passes it on when it was not told to fail. */
#define PASS(name, call)                                                                                                                   \
	__extension__({                                                                                                                    \
		__typeof__(call) result_ = (__typeof__(call))enter(name);                                                                  \
		if (result_ == 0) {                                                                                                        \
			do                                                                                                                 \
				result_ = (call);                                                                                          \
			while (result_ < 0 && errno == EINTR);                                                                             \
			if (result_ < 0)                                                                                                   \
				result_ = (__typeof__(call))-errno;                                                                        \
		}                                                                                                                          \
		result_;                                                                                                                   \
	})

/* As much of a size as may be moved at once. */
static size_t cut(size_t size)
{
	return short_bytes && size > short_bytes ? short_bytes : size;
}

ssize_t sys_read(int fd, void *bytes, size_t size)
{
	return PASS("read", read(fd, bytes, cut(size)));
}

ssize_t sys_write(int fd, const void *bytes, size_t size)
{
	return PASS("write", write(fd, bytes, cut(size)));
}

ssize_t sys_writev(int fd, const struct iovec *iov, int count)
{
	if (short_bytes && count > 0)
		return PASS("writev", write(fd, iov->iov_base, cut(iov->iov_len)));
	return PASS("writev", writev(fd, iov, count));
}

ssize_t sys_pread(int fd, void *bytes, size_t size, off_t offset)
{
	return PASS("pread", pread(fd, bytes, cut(size), offset));
}

ssize_t sys_splice(int from, off_t *from_offset, int to, off_t *to_offset, size_t size, unsigned flags)
{
	return PASS("splice", splice(from, from_offset, to, to_offset, cut(size), flags));
}

off_t sys_lseek(int fd, off_t offset, int whence)
{
	return PASS("lseek", lseek(fd, offset, whence));
}

int sys_open(const char *path, int flags, mode_t mode)
{
	return PASS("open", open(path, flags | O_CLOEXEC, mode));
}

int sys_openat(int dir, const char *path, int flags, mode_t mode)
{
	return PASS("openat", openat(dir, path, flags | O_CLOEXEC, mode));
}

int sys_close(int fd)
{
	for (size_t i = 0; i < PIDFDS_MAX; i++)
		if (pidfds[i].pid && pidfds[i].fd == fd)
			pidfds[i].pid = 0;
	return PASS("close", close(fd));
}

int sys_pipe(int fds[2], int flags)
{
	return PASS("pipe", pipe2(fds, flags | O_CLOEXEC));
}

int sys_socketpair(int type, int fds[2])
{
	return PASS("socketpair", socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, fds));
}

int sys_accept(int socket, int flags)
{
	return PASS("accept", accept4(socket, NULL, NULL, flags | SOCK_CLOEXEC));
}

ssize_t sys_sendmsg(int socket, const struct msghdr *message, int flags)
{
	return PASS("sendmsg", sendmsg(socket, message, flags));
}

ssize_t sys_recvmsg(int socket, struct msghdr *message, int flags)
{
	return PASS("recvmsg", recvmsg(socket, message, flags));
}

int sys_memfd(const char *name, unsigned flags)
{
	return PASS("memfd", memfd_create(name, flags | MFD_CLOEXEC));
}

ssize_t sys_pwrite(int fd, const void *bytes, size_t size, off_t offset)
{
	return PASS("pwrite", pwrite(fd, bytes, size, offset));
}

ssize_t sys_sendfile(int to, int from, size_t size)
{
	return PASS("sendfile", sendfile(to, from, NULL, short_bytes && size > short_bytes ? short_bytes : size));
}

int sys_ftruncate(int fd, off_t size)
{
	return PASS("ftruncate", ftruncate(fd, size));
}

int sys_fallocate(int fd, int mode, off_t offset, off_t size)
{
	return PASS("fallocate", fallocate(fd, mode, offset, size));
}

int sys_rename(const char *from, const char *to)
{
	return PASS("rename", rename(from, to));
}

int sys_mkdir(const char *path, mode_t mode)
{
	return PASS("mkdir", mkdir(path, mode));
}

int sys_rmdir(const char *path)
{
	return PASS("rmdir", rmdir(path));
}

static struct process *find_process(pid_t pid)
{
	for (size_t i = 0; pid > 0 && i < PROCESSES_MAX; i++)
		if (processes[i].pid == pid)
			return &processes[i];
	return NULL;
}

void fake_process(pid_t pid, pid_t group)
{
	for (size_t i = 0; i < PROCESSES_MAX; i++) {
		if (processes[i].pid)
			continue;
		processes[i] = (struct process){.pid = pid, .group = group};
		return;
	}
}

void fake_exit(pid_t pid, int code, int status, const struct rusage *usage)
{
	struct process *process = find_process(pid);

	if (!process)
		return;
	process->died = ++deaths;
	process->code = code;
	process->status = status;
	if (usage)
		process->usage = *usage;
}

bool fake_exists(pid_t pid)
{
	return find_process(pid) != NULL;
}

struct fake_signal fake_last_signal(void)
{
	return last_signal;
}

/* Writes a signal down. */
static int send_signal(pid_t pid, int signal)
{
	last_signal.pid = pid;
	last_signal.signal = signal;
	last_signal.count++;
	return 0;
}

int sys_kill(pid_t pid, int signal)
{
	int done = enter("kill");

	if (done < 0)
		return done;
	for (size_t i = 0; i < PROCESSES_MAX; i++)
		if (processes[i].pid && (pid > 0 ? processes[i].pid == pid : processes[i].group == -pid))
			return send_signal(pid, signal);
	return -ESRCH;
}

int sys_pidfd_open(pid_t pid)
{
	int done = enter("pidfd_open");

	if (done < 0)
		return done;
	if (!find_process(pid))
		return -ESRCH;
	for (size_t i = 0; i < PIDFDS_MAX; i++) {
		if (pidfds[i].pid)
			continue;
		pidfds[i].fd = open("/dev/null", O_RDWR | O_CLOEXEC);
		pidfds[i].pid = pid;
		return pidfds[i].fd;
	}
	return -EMFILE;
}

int sys_pidfd_getfd(int pidfd, int fd)
{
	return PASS("pidfd_getfd", fcntl(fd, F_DUPFD_CLOEXEC, 0));
}

int sys_pidfd_send_signal(int pidfd, int signal)
{
	int done = enter("pidfd_send_signal");

	if (done < 0)
		return done;
	for (size_t i = 0; i < PIDFDS_MAX; i++)
		if (pidfds[i].pid && pidfds[i].fd == pidfd)
			return find_process(pidfds[i].pid) ? send_signal(pidfds[i].pid, signal) : -ESRCH;
	return -EBADF;
}

int sys_waitid(idtype_t type, id_t id, siginfo_t *info, int options, struct rusage *usage)
{
	struct process *first = NULL;
	bool any = false;
	int done = enter("waitid");

	if (done < 0)
		return done;
	for (size_t i = 0; i < PROCESSES_MAX; i++) {
		struct process *process = &processes[i];

		if (!process->pid || (type == P_PID && process->pid != (pid_t)id))
			continue;
		any = true;
		if (process->died && (!first || process->died < first->died))
			first = process;
	}
	if (!first)
		return any ? -EAGAIN : -ECHILD;
	info->si_pid = first->pid;
	info->si_code = first->code;
	info->si_status = first->status;
	if (usage)
		*usage = first->usage;
	if (!(options & WNOWAIT))
		first->pid = 0;
	return 0;
}
