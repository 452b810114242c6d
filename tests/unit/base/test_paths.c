/* Where a daemon is found, and whether the directory can be trusted. */
#include <CUnit/CUnit.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/paths.h"

/* The socket's path with these variables (NULL: unset). */
static const char *socket_with(const char *given, const char *runtime, const char *temporary)
{
	static char path[PATHS_SOCKET_MAX + 1];
	static struct err err;

	unsetenv("SPAWND_SOCKET");
	unsetenv("XDG_RUNTIME_DIR");
	unsetenv("TMPDIR");
	if (given)
		setenv("SPAWND_SOCKET", given, 1);
	if (runtime)
		setenv("XDG_RUNTIME_DIR", runtime, 1);
	if (temporary)
		setenv("TMPDIR", temporary, 1);
	return paths_socket(path, sizeof(path), &err) == 0 ? path : err.message;
}

void test_the_order_of_places(void)
{
	char expected[64];

	CU_ASSERT_STRING_EQUAL(socket_with("/a/b", "/run/user/7", NULL), "/a/b");
	CU_ASSERT_STRING_EQUAL(socket_with("", "/run/user/7", NULL), "/run/user/7/spawnd/spawnd.sock");
	snprintf(expected, sizeof(expected), "/t/spawnd-%u/spawnd.sock", (unsigned)geteuid());
	CU_ASSERT_STRING_EQUAL(socket_with(NULL, NULL, "/t"), geteuid() == 0 ? "/run/spawnd/spawnd.sock" : expected);
}

void test_a_long_path_is_refused_with_its_length(void)
{
	char path[PATHS_SOCKET_MAX + 2];

	memset(path, 'x', sizeof(path));
	path[0] = '/';
	path[PATHS_SOCKET_MAX + 1] = '\0';
	CU_ASSERT_PTR_NOT_NULL(strstr(socket_with(path, NULL, NULL), "this one has 108"));
	path[PATHS_SOCKET_MAX] = '\0';
	CU_ASSERT_STRING_EQUAL(socket_with(path, NULL, NULL), path);
}

void test_the_directory_of_a_path(void)
{
	char dir[64];

	paths_dir("/a/b/c", dir, sizeof(dir));
	CU_ASSERT_STRING_EQUAL(dir, "/a/b");
	paths_dir("/c", dir, sizeof(dir));
	CU_ASSERT_STRING_EQUAL(dir, "/");
	paths_dir("c", dir, sizeof(dir));
	CU_ASSERT_STRING_EQUAL(dir, ".");
}

void test_directories_that_can_be_trusted(void)
{
	char dir[] = "/tmp/spawnd-paths-XXXXXX", link[64];
	struct err err;

	CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(dir));
	snprintf(link, sizeof(link), "%s/link", dir);
	CU_ASSERT_EQUAL(paths_check_dir(dir, 1, &err), 0);
	CU_ASSERT_EQUAL(symlink(dir, link), 0);
	CU_ASSERT_TRUE(paths_check_dir(link, 1, &err) < 0);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "symbolic link"));
	CU_ASSERT_EQUAL(paths_check_dir(link, 0, &err), 0);
	chmod(dir, 0750);
	CU_ASSERT_TRUE(paths_check_dir(dir, 1, &err) < 0);
	CU_ASSERT_EQUAL(paths_check_dir(dir, 0, &err), 0);
	chmod(dir, 0777);
	CU_ASSERT_TRUE(paths_check_dir(dir, 0, &err) < 0);
	CU_ASSERT_EQUAL(paths_check_dir("/nonexistent", 0, &err), -ENOENT);
	CU_ASSERT_EQUAL(paths_check_dir("/dev/null", 0, &err), -ENOTDIR);
	unlink(link);
	rmdir(dir);
}
