/* The log file of a daemon in the background: appended to, rotated by size, and never somebody else's. */
#include <CUnit/CUnit.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "engine/daemonlog.h"

static char dir[64], path[DAEMONLOG_PATH_MAX], older[DAEMONLOG_PATH_MAX + 2];
static struct err err;

static void begin(void)
{
	char socket_path[80];

	snprintf(dir, sizeof(dir), "/tmp/spawnd-log-XXXXXX");
	CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(dir));
	snprintf(socket_path, sizeof(socket_path), "%s/s", dir);
	daemonlog_path(socket_path, path);
	snprintf(older, sizeof(older), "%s.1", path);
}

static void end(void)
{
	unlink(path);
	unlink(older);
	CU_ASSERT_EQUAL(rmdir(dir), 0);
}

/* Opens, writes a word, closes; the size of the file then. */
static off_t write_word(void)
{
	struct stat facts = {0};
	int fd = daemonlog_open(path, &err);

	CU_ASSERT_FATAL(fd >= 0);
	CU_ASSERT_EQUAL(fcntl(fd, F_GETFD), FD_CLOEXEC);
	CU_ASSERT_EQUAL(write(fd, "word\n", 5), 5);
	CU_ASSERT_EQUAL(fstat(fd, &facts), 0);
	CU_ASSERT_EQUAL(facts.st_mode & 0777, 0600);
	fd_close(&fd);
	return facts.st_size;
}

void test_it_is_appended_to(void)
{
	begin();
	CU_ASSERT_EQUAL(write_word(), 5);
	CU_ASSERT_EQUAL(write_word(), 10);
	CU_ASSERT_EQUAL(access(older, F_OK), -1);
	end();
}

void test_what_is_too_large_becomes_the_older_one(void)
{
	begin();
	write_word();
	CU_ASSERT_EQUAL(truncate(path, DAEMONLOG_MAX), 0);
	CU_ASSERT_EQUAL(write_word(), DAEMONLOG_MAX + 5);
	CU_ASSERT_EQUAL(write_word(), 5);
	CU_ASSERT_EQUAL(access(older, F_OK), 0);
	end();
}

void test_what_is_no_file_of_ours_is_refused(void)
{
	char other[80];

	begin();
	CU_ASSERT_EQUAL(mkfifo(path, 0600), 0);
	CU_ASSERT(daemonlog_open(path, &err) < 0);
	unlink(path);
	snprintf(other, sizeof(other), "%s/other", dir);
	CU_ASSERT_EQUAL(symlink(other, path), 0);
	CU_ASSERT(daemonlog_open(path, &err) < 0);
	CU_ASSERT_EQUAL(access(other, F_OK), -1);
	unlink(path);
	write_word();
	CU_ASSERT_EQUAL(link(path, other), 0);
	CU_ASSERT(daemonlog_open(path, &err) < 0);
	CU_ASSERT_EQUAL(err.status, STATUS_PERMISSION_DENIED);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.message, path));
	unlink(other);
	end();
}
