/*
 * Lock and socket. The lock file may be removed by a daemon that ends, so a lock counts only when the file is still the
 * one of that name: else two daemons could each hold a lock on a file of their own.
 */
#include "engine/instance.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"
#include "base/paths.h"
#include "base/sys.h"

#define LOCK_ATTEMPTS 100

int instance_prepare(const char *path, bool own, struct err *err)
{
	char dir[PATH_MAX];
	int done = paths_check_length(path, err);

	if (done < 0)
		return done;
	paths_dir(path, dir, sizeof(dir));
	done = sys_mkdir(dir, 0700);
	if (done < 0 && done != -EEXIST)
		return err_errno(err, -done, "mkdir", dir);
	return paths_check_dir(dir, own, err);
}

static void lock_path(const char *path, char *out, size_t size)
{
	snprintf(out, size, "%s.lock", path);
}

/* The pid that stands in a lock file; 0 when none can be read. */
static long read_holder(int fd)
{
	char text[32];
	ssize_t length = sys_pread(fd, text, sizeof(text) - 1, 0);

	if (length <= 0)
		return 0;
	text[length] = '\0';
	return strtol(text, NULL, 10);
}

/* Whether the open file is still the one of that name. */
static bool is_named(int fd, const char *path)
{
	struct stat open_file, named;

	return fstat(fd, &open_file) == 0 && lstat(path, &named) == 0 && open_file.st_dev == named.st_dev &&
	       open_file.st_ino == named.st_ino;
}

/* Opens and locks the file once. A descriptor, -EAGAIN to try again, or negative. */
static int try_lock(const char *path, const char *file, struct err *err)
{
	_cleanup_fd_ int fd = sys_open(file, O_RDWR | O_CREAT | O_NOFOLLOW, 0600);
	long holder;

	if (fd < 0)
		return err_errno(err, -fd, "open", file);
	if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		if (errno != EWOULDBLOCK)
			return err_errno(err, errno, "flock", file);
		holder = read_holder(fd);
		if (holder > 0)
			err_set(err, STATUS_ALREADY_EXISTS, "another spawnd (pid %ld) serves %s", holder, path);
		else
			err_set(err, STATUS_ALREADY_EXISTS, "another spawnd serves %s", path);
		return -EEXIST;
	}
	if (!is_named(fd, file))
		return -EAGAIN;
	return fd_steal(&fd);
}

int instance_lock(const char *path, pid_t pid, struct err *err)
{
	char file[PATH_MAX], text[32];
	int fd = -EAGAIN, length;

	lock_path(path, file, sizeof(file));
	for (unsigned i = 0; i < LOCK_ATTEMPTS && fd == -EAGAIN; i++)
		fd = try_lock(path, file, err);
	if (fd == -EAGAIN)
		return err_set(err, STATUS_ABORTED, "%s is replaced again and again", file);
	if (fd < 0)
		return fd;
	length = snprintf(text, sizeof(text), "%ld\n", (long)pid);
	if (sys_ftruncate(fd, 0) < 0 || sys_lseek(fd, 0, SEEK_SET) < 0 || sys_write(fd, text, (size_t)length) < 0) {
		sys_close(fd);
		return err_set(err, STATUS_RESOURCE_EXHAUSTED, "%s cannot be written", file);
	}
	return fd;
}

static struct sockaddr_un address_of(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	memcpy(address.sun_path, path, strlen(path));
	return address;
}

/* Whether somebody listens there. */
static bool is_served(const char *path)
{
	struct sockaddr_un address = address_of(path);
	_cleanup_fd_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return false;
	return connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0 || errno == EAGAIN;
}

/* Takes a socket that nobody serves out of the way. */
static int remove_stale(const char *path, struct err *err)
{
	struct stat status;

	if (lstat(path, &status) < 0)
		return errno == ENOENT ? 0 : err_errno(err, errno, "lstat", path);
	if (!S_ISSOCK(status.st_mode))
		return err_set(err, STATUS_ALREADY_EXISTS, "%s is there and is not a socket", path);
	if (is_served(path))
		return err_set(err, STATUS_ALREADY_EXISTS, "another program serves %s", path);
	if (unlink(path) < 0 && errno != ENOENT)
		return err_errno(err, errno, "unlink", path);
	return 0;
}

int instance_listen(const char *path, struct err *err)
{
	struct sockaddr_un address = address_of(path);
	_cleanup_fd_ int fd = -1;
	mode_t mask;
	int done = remove_stale(path, err);

	if (done < 0)
		return done;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return err_errno(err, errno, "socket", NULL);
	mask = umask(0177);
	done = bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ? -errno : 0;
	umask(mask);
	if (done < 0)
		return err_errno(err, -done, "bind", path);
	if (listen(fd, INSTANCE_BACKLOG) < 0)
		return err_errno(err, errno, "listen", path);
	return fd_steal(&fd);
}

int instance_open(const char *path, bool own, bool others, struct err *err)
{
	char dir[PATH_MAX];
	struct stat status;

	paths_dir(path, dir, sizeof(dir));
	if (chmod(path, others ? 0666 : 0600) < 0)
		return err_errno(err, errno, "chmod", path);
	if (own && chmod(dir, others ? 0711 : 0700) < 0)
		return err_errno(err, errno, "chmod", dir);
	if (others && stat(dir, &status) == 0 && !(status.st_mode & 0001))
		return err_set(err, STATUS_FAILED_PRECONDITION, "there are grants, but others cannot pass %s (mode %04o)", dir,
			(unsigned)(status.st_mode & 07777));
	return 0;
}

void instance_remove(const char *path)
{
	char file[PATH_MAX];

	lock_path(path, file, sizeof(file));
	unlink(path);
	unlink(file);
}
