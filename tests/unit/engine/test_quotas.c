/* The lines `quota`: who has how much of what. */
#include <CUnit/CUnit.h>
#include <string.h>

#include "base/mem.h"
#include "engine/limits.h"

#define ALICE 1001u
#define BOB 1002u

static const struct quota_limits defaults = {.of = {10, 20, 30, 40, 50}};

static void read_good(struct limits *limits, const char *line)
{
	struct err err = {0};

	CU_ASSERT_EQUAL(limits_read(limits, line, &err), 0);
	CU_ASSERT_STRING_EQUAL(err.message, "");
}

static uint64_t limit_of(const struct limits *limits, uid_t uid, bool master, enum quota quota)
{
	struct quota_limits out;

	limits_of(limits, &defaults, uid, master, &out);
	return out.of[quota];
}

void test_without_lines_others_have_the_default_and_masters_everything(void)
{
	struct limits limits = {0};

	for (enum quota quota = 0; quota < QUOTA_COUNT; quota++) {
		CU_ASSERT_EQUAL(limit_of(&limits, ALICE, false, quota), defaults.of[quota]);
		CU_ASSERT_EQUAL(limit_of(&limits, 0, true, quota), QUOTA_UNLIMITED);
	}
}

void test_a_users_own_line_comes_before_that_of_others(void)
{
	struct limits limits = {0};

	read_good(&limits, "uid:1001 processes=3 memory=64M");
	read_good(&limits, "others processes=7, connections=2");
	CU_ASSERT_EQUAL(limit_of(&limits, ALICE, false, QUOTA_PROCESSES), 3);
	CU_ASSERT_EQUAL(limit_of(&limits, ALICE, false, QUOTA_MEMORY), UINT64_C(64) << 20);
	CU_ASSERT_EQUAL(limit_of(&limits, ALICE, false, QUOTA_CONNECTIONS), 2);
	CU_ASSERT_EQUAL(limit_of(&limits, ALICE, false, QUOTA_LOG_BYTES), 30);
	CU_ASSERT_EQUAL(limit_of(&limits, BOB, false, QUOTA_PROCESSES), 7);
	CU_ASSERT_EQUAL(limit_of(&limits, BOB, false, QUOTA_MEMORY), 50);
	CU_ASSERT_EQUAL(limit_of(&limits, 0, true, QUOTA_PROCESSES), QUOTA_UNLIMITED);
	read_good(&limits, "uid:1001 processes=unlimited");
	read_good(&limits, "uid:0 processes=5");
	CU_ASSERT_EQUAL(limit_of(&limits, ALICE, false, QUOTA_PROCESSES), QUOTA_UNLIMITED);
	CU_ASSERT_EQUAL(limit_of(&limits, 0, true, QUOTA_PROCESSES), 5);
	limits_finish(&limits);
	CU_ASSERT_EQUAL(limits.count, 0);
}

void test_numbers_have_units(void)
{
	static const struct {
		const char *line;
		uint64_t value;
	} good[] = {{"others log-bytes=0", 0}, {"others log-bytes=12", 12}, {"others log-bytes=1K", 1024},
		{"others log-bytes=3G", UINT64_C(3) << 30}, {"others log-bytes=2T", UINT64_C(2) << 40}};

	for (size_t i = 0; i < array_size(good); i++) {
		struct limits limits = {0};

		read_good(&limits, good[i].line);
		CU_ASSERT_EQUAL(limit_of(&limits, ALICE, false, QUOTA_LOG_BYTES), good[i].value);
		limits_finish(&limits);
	}
}

void test_lines_without_sense(void)
{
	static const struct {
		const char *line, *why;
	} bad[] = {
		{"", " is neither uid:NUMBER nor others"},
		{"alice processes=1", "alice is neither uid:NUMBER nor others"},
		{"gid:5 processes=1", "gid:5 is neither uid:NUMBER nor others"},
		{"uid: processes=1", "uid: is neither uid:NUMBER nor others"},
		{"uid:-1 processes=1", "uid:-1 is neither uid:NUMBER nor others"},
		{"uid:4294967295 processes=1", "uid:4294967295 is neither uid:NUMBER nor others"},
		{"uid:12x processes=1", "uid:12x is neither uid:NUMBER nor others"},
		{"uid:5", "names no quota"},
		{"others threads=5", "threads is none of the quotas processes, descriptors, log-bytes, connections, memory"},
		{"others processes", "processes has no number"},
		{"others processes=", "processes= has no number"},
		{"others processes=-5", "processes=-5 has no number"},
		{"others memory=5X", "memory=5X has no number"},
		{"others memory=5MB", "memory=5MB has no number"},
		{"others memory=99999999999999999999", "memory=99999999999999999999 has no number"},
		{"others memory=99999999T", "memory=99999999T has no number"},
	};

	for (size_t i = 0; i < array_size(bad); i++) {
		struct limits limits = {0};
		struct err err = {0};

		CU_ASSERT_TRUE(limits_read(&limits, bad[i].line, &err) < 0);
		CU_ASSERT_STRING_EQUAL(err.message, bad[i].why);
		limits_finish(&limits);
	}
}

void test_the_default_is_a_part_of_what_there_is(void)
{
	struct quota_limits out;

	limits_default(20000, 7500, &out);
	CU_ASSERT_EQUAL(out.of[QUOTA_DESCRIPTORS], 5000);
	CU_ASSERT_EQUAL(out.of[QUOTA_CONNECTIONS], 1875);
	for (enum quota quota = 0; quota < QUOTA_COUNT; quota++)
		CU_ASSERT_TRUE(out.of[quota] > 0 && out.of[quota] != QUOTA_UNLIMITED);
}
