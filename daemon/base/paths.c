/* Where a daemon is found. The rule stands in the header; only paths_check_dir looks at the file system. */
#include "base/paths.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* A variable of the environment that is set and not empty, or NULL. */
static const char *variable(const char *name)
{
	const char *value = getenv(name);

	return value && *value ? value : NULL;
}

int paths_check_length(const char *path, struct err *err)
{
	size_t length = strlen(path);

	if (length == 0)
		return err_set(err, STATUS_INVALID_ARGUMENT, "the path of the socket is empty");
	if (length <= PATHS_SOCKET_MAX)
		return 0;
	return err_set(err, STATUS_INVALID_ARGUMENT, "%.200s: the path of a socket may have %d bytes, this one has %zu", path,
		PATHS_SOCKET_MAX, length);
}

int paths_socket(char *out, size_t size, struct err *err)
{
	char path[PATH_MAX * 2];
	const char *given = variable("SPAWND_SOCKET"), *runtime = variable("XDG_RUNTIME_DIR"), *temporary = variable("TMPDIR");
	int done;

	if (given)
		snprintf(path, sizeof(path), "%s", given);
	else if (runtime)
		snprintf(path, sizeof(path), "%s/spawnd/spawnd.sock", runtime);
	else if (geteuid() == 0)
		snprintf(path, sizeof(path), "/run/spawnd/spawnd.sock");
	else
		snprintf(path, sizeof(path), "%s/spawnd-%u/spawnd.sock", temporary ? temporary : "/tmp", (unsigned)geteuid());
	done = paths_check_length(path, err);
	if (done < 0)
		return done;
	if (strlen(path) >= size)
		return err_set(err, STATUS_INVALID_ARGUMENT, "no room for the path %s", path);
	strcpy(out, path);
	return 0;
}

int paths_check_dir(const char *dir, int own, struct err *err)
{
	struct stat status;

	if (lstat(dir, &status) < 0)
		return err_errno(err, errno, "lstat", dir);
	if (own && S_ISLNK(status.st_mode))
		return err_set(err, STATUS_PERMISSION_DENIED, "%s is a symbolic link; refused for a socket", dir);
	if (S_ISLNK(status.st_mode) && stat(dir, &status) < 0)
		return err_errno(err, errno, "stat", dir);
	if (!S_ISDIR(status.st_mode))
		return err_errno(err, ENOTDIR, "stat", dir);
	if (status.st_uid != geteuid() && (own || status.st_uid != 0))
		return err_set(err, STATUS_PERMISSION_DENIED, "%s belongs to uid %u, not to uid %u; refused for a socket", dir,
			(unsigned)status.st_uid, (unsigned)geteuid());
	if (own && (status.st_mode & 066))
		return err_set(err, STATUS_PERMISSION_DENIED, "%s has mode %04o, must be 0700 or 0711; refused for a socket", dir,
			(unsigned)(status.st_mode & 07777));
	if ((status.st_mode & 022) && !(status.st_mode & S_ISVTX))
		return err_set(err, STATUS_PERMISSION_DENIED, "%s can be written by others (mode %04o); refused for a socket", dir,
			(unsigned)(status.st_mode & 07777));
	return 0;
}

void paths_dir(const char *path, char *out, size_t size)
{
	const char *slash = strrchr(path, '/');

	if (!slash)
		snprintf(out, size, ".");
	else if (slash == path)
		snprintf(out, size, "/");
	else
		snprintf(out, size, "%.*s", (int)(slash - path), path);
}

bool paths_program(const char *dir, const char *name, char path[PATH_MAX])
{
	static const char *const places[] = {"", "/../libexec/spawnd"};

	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++)
		if (snprintf(path, PATH_MAX, "%s%s/%s", dir, places[i], name) < PATH_MAX && access(path, X_OK) == 0)
			return true;
	return false;
}
