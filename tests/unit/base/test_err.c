#include <CUnit/CUnit.h>
#include <errno.h>
#include <string.h>

#include "base/err.h"

void test_errno_takes_the_shape_of_node(void)
{
	struct err err;

	CU_ASSERT_EQUAL(err_errno(&err, ENOENT, "spawn foo", "foo"), -ENOENT);
	CU_ASSERT_STRING_EQUAL(err.message, "spawn foo ENOENT");
	CU_ASSERT_STRING_EQUAL(err.code, "ENOENT");
	CU_ASSERT_STRING_EQUAL(err.syscall, "spawn foo");
	CU_ASSERT_STRING_EQUAL(err.path, "foo");
	CU_ASSERT_EQUAL(err.errnum, ENOENT);
	CU_ASSERT_EQUAL(err.status, STATUS_NOT_FOUND);
	err_errno(&err, EACCES, "open", "/some/file");
	CU_ASSERT_STRING_EQUAL(err.message, "open /some/file EACCES");
	err_errno(&err, ENOMEM, "mmap", NULL);
	CU_ASSERT_STRING_EQUAL(err.message, "mmap ENOMEM");
}

void test_invalid_names_the_field(void)
{
	struct err err;

	CU_ASSERT_EQUAL(err_invalid(&err, "spec.argv[1]", "contains a NUL byte"), -EINVAL);
	CU_ASSERT_STRING_EQUAL(err.message, "spec.argv[1]: contains a NUL byte");
	CU_ASSERT_STRING_EQUAL(err.field, "spec.argv[1]");
	CU_ASSERT_EQUAL(err.status, STATUS_INVALID_ARGUMENT);
}

void test_every_failure_is_negative(void)
{
	for (int status = STATUS_CANCELLED; status <= STATUS_DATA_LOSS; status++)
		CU_ASSERT(err_set(NULL, (enum status)status, "x") < 0);
}

void test_long_texts_are_cut_not_overrun(void)
{
	char text[8192];
	struct err err;

	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = 0;
	err_errno(&err, E2BIG, text, text);
	CU_ASSERT(strlen(err.syscall) < sizeof(err.syscall));
	CU_ASSERT_EQUAL(strlen(err.path), sizeof(err.path) - 1);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "E2BIG"));
}

void test_names_of_unknown_numbers(void)
{
	CU_ASSERT_STRING_EQUAL(err_name(ENOEXEC), "ENOEXEC");
	CU_ASSERT_STRING_EQUAL(err_name(9999), "E9999");
}
