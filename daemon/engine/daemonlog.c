/* See daemonlog.h. The directory may be one where others can make files too, so what is there already is looked at. */
#include "engine/daemonlog.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/sys.h"

#define FLAGS (O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY)

void daemonlog_path(const char *socket_path, char path[DAEMONLOG_PATH_MAX])
{
	snprintf(path, DAEMONLOG_PATH_MAX, "%s.log", socket_path);
}

/* Opens what is there, or a new file; its facts come with it. */
static int open_file(const char *path, struct stat *facts_out, struct err *err)
{
	_cleanup_fd_ int fd = sys_open(path, FLAGS, 0600);

	if (fd < 0)
		return err_errno(err, -fd, "open", path);
	if (fstat(fd, facts_out) < 0)
		return err_errno(err, errno, "fstat", path);
	if (!S_ISREG(facts_out->st_mode) || facts_out->st_uid != geteuid() || facts_out->st_nlink != 1)
		return err_set(err, STATUS_PERMISSION_DENIED, "%s is not a file of this user alone", path);
	return fd_steal(&fd);
}

int daemonlog_open(const char *path, struct err *err)
{
	char older[DAEMONLOG_PATH_MAX + 2];
	struct stat facts;
	int fd = open_file(path, &facts, err);
	int done;

	if (fd < 0 || facts.st_size <= DAEMONLOG_MAX)
		return fd;
	fd_close(&fd);
	snprintf(older, sizeof(older), "%s.1", path);
	done = sys_rename(path, older);
	if (done < 0)
		return err_errno(err, -done, "rename", path);
	return open_file(path, &facts, err);
}
