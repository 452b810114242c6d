/* One daemon per path: lock and socket. */
#include <CUnit/CUnit.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/sys.h"
#include "engine/instance.h"

static char dir[64], path[96];

static void make_dir(void)
{
	snprintf(dir, sizeof(dir), "/tmp/spawnd-instance-XXXXXX");
	CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/s", dir);
}

static void remove_dir(void)
{
	instance_remove(path);
	rmdir(dir);
}

void test_a_second_daemon_is_refused_and_told_who_serves(void)
{
	_cleanup_fd_ int first = -1;
	struct err err;

	make_dir();
	first = instance_lock(path, 4711, &err);
	CU_ASSERT_TRUE(first >= 0);
	CU_ASSERT_TRUE(instance_lock(path, 4712, &err) < 0);
	CU_ASSERT_EQUAL(err.status, STATUS_ALREADY_EXISTS);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "another spawnd (pid 4711) serves"));
	fd_close(&first);
	first = instance_lock(path, 4712, &err);
	CU_ASSERT_TRUE(first >= 0);
	remove_dir();
}

/* The keeper's duplicate keeps the lock when an engine ends. */
void test_a_duplicate_keeps_the_lock(void)
{
	_cleanup_fd_ int first = -1, copy = -1;
	struct err err;

	make_dir();
	first = instance_lock(path, 1, &err);
	copy = dup(first);
	fd_close(&first);
	CU_ASSERT_TRUE(instance_lock(path, 2, &err) < 0);
	remove_dir();
}

/* A lock on a file that was removed meanwhile is nobody's. */
void test_a_removed_lock_file_does_not_count(void)
{
	_cleanup_fd_ int first = -1, second = -1, third = -1;
	struct err err;

	make_dir();
	first = instance_lock(path, 1, &err);
	instance_remove(path);
	second = instance_lock(path, 2, &err);
	CU_ASSERT_TRUE(second >= 0);
	third = instance_lock(path, 3, &err);
	CU_ASSERT_TRUE(third < 0);
	remove_dir();
}

void test_the_socket_is_private(void)
{
	_cleanup_fd_ int fd = -1;
	struct stat status;
	struct err err;

	make_dir();
	fd = instance_listen(path, &err);
	CU_ASSERT_TRUE(fd >= 0);
	CU_ASSERT_EQUAL(lstat(path, &status), 0);
	CU_ASSERT_TRUE(S_ISSOCK(status.st_mode));
	CU_ASSERT_EQUAL(status.st_mode & 07777, 0600);
	remove_dir();
}

void test_a_stale_socket_is_replaced_and_a_served_one_is_not(void)
{
	_cleanup_fd_ int fd = -1, other = -1;
	struct err err;

	make_dir();
	fd = instance_listen(path, &err);
	other = instance_listen(path, &err);
	CU_ASSERT_TRUE(other < 0);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "another program serves"));
	fd_close(&fd);
	other = instance_listen(path, &err);
	CU_ASSERT_TRUE(other >= 0);
	remove_dir();
}

void test_what_is_no_socket_is_left_alone(void)
{
	struct stat status;
	struct err err;
	FILE *file;

	make_dir();
	file = fopen(path, "w");
	fclose(file);
	CU_ASSERT_TRUE(instance_listen(path, &err) < 0);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "not a socket"));
	CU_ASSERT_EQUAL(lstat(path, &status), 0);
	remove_dir();
}

void test_the_directory_is_made_private(void)
{
	char inner[128], directory[112];
	struct stat status;
	struct err err;

	make_dir();
	snprintf(directory, sizeof(directory), "%s/d", dir);
	snprintf(inner, sizeof(inner), "%s/s", directory);
	CU_ASSERT_EQUAL(instance_prepare(inner, true, &err), 0);
	CU_ASSERT_EQUAL(lstat(directory, &status), 0);
	CU_ASSERT_EQUAL(status.st_mode & 07777, 0700);
	CU_ASSERT_EQUAL(instance_prepare(inner, true, &err), 0);
	chmod(directory, 0755);
	CU_ASSERT_TRUE(instance_prepare(inner, true, &err) < 0);
	CU_ASSERT_EQUAL(instance_prepare(inner, false, &err), 0);
	rmdir(directory);
	CU_ASSERT_TRUE(instance_prepare("/nonexistent/dir/s", false, &err) < 0);
	remove_dir();
}
