/* What users hold: checked before, counted whatever happens, gone with what it was counted for. */
#include <CUnit/CUnit.h>
#include <string.h>

#include "base/quota.h"

#define ALICE 1001u
#define BOB 1002u

static uint64_t alices_memory;

static void limits(void *context, uid_t uid, struct quota_limits *out)
{
	for (enum quota quota = 0; quota < QUOTA_COUNT; quota++)
		out->of[quota] = QUOTA_UNLIMITED;
	if (uid == ALICE)
		out->of[QUOTA_MEMORY] = alices_memory;
}

static struct quotas *open_quotas(void)
{
	alices_memory = 100;
	return quotas_create(limits, NULL);
}

void test_what_is_asked_for_is_checked_against_the_limit(void)
{
	struct quotas *quotas = open_quotas();
	struct charge one, two;
	struct err err = {0};

	charge_begin(&one, quotas, ALICE);
	charge_begin(&two, quotas, ALICE);
	CU_ASSERT_EQUAL(charge_check(&one, QUOTA_MEMORY, 100, &err), 0);
	charge_set(&one, QUOTA_MEMORY, 60);
	CU_ASSERT_EQUAL(charge_left(&two, QUOTA_MEMORY), 40);
	CU_ASSERT_EQUAL(charge_check(&two, QUOTA_MEMORY, 40, &err), 0);
	CU_ASSERT_EQUAL(charge_check(&one, QUOTA_MEMORY, 100, &err), 0); /* 40 more than it has */
	CU_ASSERT_TRUE(charge_check(&two, QUOTA_MEMORY, 41, &err) < 0);
	CU_ASSERT_EQUAL(err.status, STATUS_RESOURCE_EXHAUSTED);
	CU_ASSERT_STRING_EQUAL(err.message, "quota memory of uid 1001 is 100: 60 in use, 41 more asked for");
	CU_ASSERT_TRUE(charge_check(&two, QUOTA_MEMORY, UINT64_MAX, &err) < 0);
	CU_ASSERT_EQUAL(charge_check(&two, QUOTA_PROCESSES, UINT64_MAX, &err), 0);
	charge_end(&one);
	CU_ASSERT_EQUAL(charge_check(&two, QUOTA_MEMORY, 100, &err), 0);
	charge_end(&two);
	charge_end(&two);
	quotas_destroy(quotas);
}

void test_users_are_apart(void)
{
	struct quotas *quotas = open_quotas();
	struct charge alices, bobs;

	charge_begin(&alices, quotas, ALICE);
	charge_begin(&bobs, quotas, BOB);
	charge_set(&alices, QUOTA_MEMORY, 100);
	charge_set(&bobs, QUOTA_MEMORY, 7);
	CU_ASSERT_TRUE(quotas_check(quotas, ALICE, QUOTA_MEMORY, 1, NULL) < 0);
	CU_ASSERT_EQUAL(quotas_check(quotas, BOB, QUOTA_MEMORY, 1000, NULL), 0);
	charge_end(&alices);
	CU_ASSERT_EQUAL(quota_uid(quotas_next(quotas, NULL)), BOB);
	CU_ASSERT_EQUAL(quota_used(quotas_next(quotas, NULL), QUOTA_MEMORY), 7);
	CU_ASSERT_EQUAL(quota_limit(quotas_next(quotas, NULL), QUOTA_MEMORY), QUOTA_UNLIMITED);
	CU_ASSERT_PTR_NULL(quotas_next(quotas, quotas_next(quotas, NULL)));
	charge_end(&bobs);
	CU_ASSERT_PTR_NULL(quotas_next(quotas, NULL));
	quotas_destroy(quotas);
}

void test_what_is_there_is_counted_beyond_the_limit(void)
{
	struct quotas *quotas = open_quotas();
	struct charge charge;
	struct err err = {0};

	charge_begin(&charge, quotas, ALICE);
	charge_set(&charge, QUOTA_MEMORY, 100);
	CU_ASSERT_EQUAL(charge_over(&charge, QUOTA_MEMORY, &err), 0);
	alices_memory = 50;
	quotas_refresh(quotas);
	CU_ASSERT_EQUAL(charge_left(&charge, QUOTA_MEMORY), 0);
	CU_ASSERT_TRUE(charge_over(&charge, QUOTA_MEMORY, &err) < 0);
	CU_ASSERT_STRING_EQUAL(err.message, "quota memory of uid 1001 is 50: 100 in use, 0 more asked for");
	charge_set(&charge, QUOTA_MEMORY, 150);
	CU_ASSERT_EQUAL(quota_used(quotas_next(quotas, NULL), QUOTA_MEMORY), 150);
	CU_ASSERT_EQUAL(charge_check(&charge, QUOTA_MEMORY, 20, &err), 0); /* less is always allowed */
	charge_set(&charge, QUOTA_MEMORY, 20);
	CU_ASSERT_EQUAL(charge_left(&charge, QUOTA_MEMORY), 30);
	charge_end(&charge);
	quotas_destroy(quotas);
}

void test_without_quotas_everything_is_allowed(void)
{
	struct charge charge;

	charge_begin(&charge, NULL, ALICE);
	charge_set(&charge, QUOTA_MEMORY, 5);
	CU_ASSERT_EQUAL(charge_check(&charge, QUOTA_MEMORY, UINT64_MAX, NULL), 0);
	CU_ASSERT_EQUAL(charge_over(&charge, QUOTA_MEMORY, NULL), 0);
	CU_ASSERT_EQUAL(charge_left(&charge, QUOTA_MEMORY), QUOTA_UNLIMITED);
	CU_ASSERT_EQUAL(quotas_check(NULL, ALICE, QUOTA_MEMORY, 1, NULL), 0);
	charge_end(&charge);
	CU_ASSERT_PTR_NULL(quotas_next(NULL, NULL));
}

void test_names_of_quotas(void)
{
	enum quota quota;

	for (enum quota each = 0; each < QUOTA_COUNT; each++) {
		CU_ASSERT_TRUE(quota_of(quota_name(each), strlen(quota_name(each)), &quota));
		CU_ASSERT_EQUAL(quota, each);
	}
	CU_ASSERT_TRUE(quota_of("log-bytes=5", 9, &quota));
	CU_ASSERT_EQUAL(quota, QUOTA_LOG_BYTES);
	CU_ASSERT_FALSE(quota_of("memory", 3, &quota));
	CU_ASSERT_FALSE(quota_of("", 0, &quota));
}
