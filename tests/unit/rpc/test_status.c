/* What a client reads of an error. */
#include <CUnit/CUnit.h>
#include <errno.h>

#include "base/mem.h"
#include "rpc/status.h"
#include "spawnd/v1/common.pb-c.h"
#include "ttrpc.pb-c.h"

static Ttrpc__Response *response;
static Spawnd__V1__ErrorDetail *detail; /* NULL: none came */

static void pack(struct err *err, char *const *argv)
{
	struct buf bytes = {0};

	status_pack(err, argv, &bytes);
	response = ttrpc__response__unpack(NULL, bytes.length, bytes.bytes);
	CU_ASSERT_PTR_NOT_NULL_FATAL(response);
	detail = NULL;
	if (response->status->n_details) {
		const Ttrpc__Any *any = response->status->details[0];

		CU_ASSERT_STRING_EQUAL(any->type_url, "type.googleapis.com/spawnd.v1.ErrorDetail");
		detail = spawnd__v1__error_detail__unpack(NULL, any->value.len, any->value.data);
	}
	buf_finish(&bytes);
}

static void finish(void)
{
	ttrpc__response__free_unpacked(response, NULL);
	if (detail)
		spawnd__v1__error_detail__free_unpacked(detail, NULL);
}

void test_a_failed_spawn_has_the_shape_of_node(void)
{
	char *argv[] = {(char *)"foo", (char *)"-a", (char *)"", (char *)"\xff", NULL};
	struct err err;

	err_errno(&err, ENOENT, "spawn foo", "foo");
	pack(&err, argv);
	CU_ASSERT_EQUAL(response->status->code, STATUS_NOT_FOUND);
	CU_ASSERT_STRING_EQUAL(response->status->message, "spawn foo ENOENT");
	CU_ASSERT_PTR_NOT_NULL_FATAL(detail);
	CU_ASSERT_EQUAL(detail->errnum, ENOENT);
	CU_ASSERT_STRING_EQUAL(detail->code, "ENOENT");
	CU_ASSERT_STRING_EQUAL(detail->syscall, "spawn foo");
	CU_ASSERT(detail->path.len == 3 && memcmp(detail->path.data, "foo", 3) == 0);
	CU_ASSERT_EQUAL_FATAL(detail->n_spawnargs, 3);
	CU_ASSERT(detail->spawnargs[0].len == 2 && detail->spawnargs[1].len == 0 && detail->spawnargs[2].data[0] == 0xff);
	finish();
}

void test_a_field_is_named_and_a_plain_status_is_plain(void)
{
	struct err err;

	err_invalid(&err, "spec.stdio[3].file.path", "is empty");
	pack(&err, NULL);
	CU_ASSERT_EQUAL(response->status->code, STATUS_INVALID_ARGUMENT);
	CU_ASSERT_STRING_EQUAL(response->status->message, "spec.stdio[3].file.path: is empty");
	CU_ASSERT_PTR_NOT_NULL_FATAL(detail);
	CU_ASSERT_STRING_EQUAL(detail->field, "spec.stdio[3].file.path");
	finish();
	err_set(&err, STATUS_UNIMPLEMENTED, "no method");
	pack(&err, NULL);
	CU_ASSERT_PTR_NULL(detail);
	finish();
}

void test_texts_are_made_valid_and_arguments_are_bounded(void)
{
	static char word[1000];
	char **argv = mem_alloc(3000 * sizeof(*argv));
	struct err err;

	memset(word, 'w', sizeof(word) - 1);
	for (size_t i = 0; i < 2999; i++)
		argv[i] = word;
	err_errno(&err, EACCES, "spawn \xff\xfe", "\xff\xfe");
	pack(&err, argv);
	CU_ASSERT_STRING_EQUAL(response->status->message, "spawn ?? EACCES");
	CU_ASSERT_PTR_NOT_NULL_FATAL(detail);
	CU_ASSERT_STRING_EQUAL(detail->syscall, "spawn ??");
	CU_ASSERT(detail->path.len == 2 && detail->path.data[0] == 0xff);
	CU_ASSERT_EQUAL(detail->n_spawnargs, (256u << 10) / 999);
	finish();
	free(argv);
}
