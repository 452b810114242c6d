/* Shares of the descriptors, counting them, and what is told as degraded. */
#include <CUnit/CUnit.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "engine/degraded.h"
#include "engine/fds.h"

void test_the_count_follows_what_is_opened(void)
{
	unsigned before = fds_open();
	int fds[50];

	for (int i = 0; i < 50; i++)
		fds[i] = open("/dev/null", O_RDONLY);
	CU_ASSERT_EQUAL(fds_open(), before + 50);
	for (int i = 0; i < 50; i++)
		close(fds[i]);
	CU_ASSERT_EQUAL(fds_open(), before);
}

void test_children_and_clients_leave_each_other_room(void)
{
	static const unsigned limits[] = {64, 256, 1024, 20000, 1048576};

	for (unsigned i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
		unsigned limit = limits[i];

		CU_ASSERT_TRUE(fds_clients_max(limit) >= 1);
		CU_ASSERT_TRUE(2 * fds_clients_max(limit) <= limit - limit / 4);
		CU_ASSERT_TRUE(fds_reserve(limit) <= limit / 2);
		CU_ASSERT_TRUE(limit < 256 || fds_reserve(limit) >= 128);
	}
}

/* Whether a sentence with `part` is told for this way of ending trees and this limit. */
static int is_told(const char *part, const char *tree_method, unsigned limit)
{
	struct degraded degraded = {0};
	int told = 0;

	degraded_probe(&degraded, getpid(), tree_method, limit);
	for (size_t i = 0; i < degraded.count; i++)
		told |= strstr(degraded.items[i], part) != NULL;
	degraded_finish(&degraded);
	return told;
}

void test_what_is_missing_is_told(void)
{
	CU_ASSERT_TRUE(is_told("freezer", "freezer", 20000));
	CU_ASSERT_TRUE(is_told("sweep", "sweep", 20000));
	CU_ASSERT_FALSE(is_told("trees", "cgroup", 20000));
	CU_ASSERT_TRUE(is_told("RLIMIT_NOFILE is 256", "cgroup", 256));
	CU_ASSERT_FALSE(is_told("RLIMIT_NOFILE", "cgroup", 20000));
}

void test_a_long_list_is_cut(void)
{
	struct degraded degraded = {0};

	for (unsigned i = 0; i < 100; i++)
		degraded_add(&degraded, "reason %u", i);
	CU_ASSERT_EQUAL(degraded.count, DEGRADED_MAX);
	degraded_finish(&degraded);
}
