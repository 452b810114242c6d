/* What must be refused before it is unpacked, and by which name. */
#include <CUnit/CUnit.h>
#include <errno.h>

#include "base/mem.h"
#include "rpc/check.h"
#include "spawnd/v1/processes.pb-c.h"

static const struct {
	const char *what;
	const char *bytes;
	size_t size;
	const char *field; /* NULL: it is fine */
} cases[] = {
	{"empty", "", 0, NULL},
	{"a spec with argv", "\x0a\x06\x0a\x04\x1a\x02ls", 8, NULL},
	{"bytes may hold anything", "\x0a\x06\x0a\x04\x1a\x02\xff\x00", 8, NULL},
	{"a name with NUL",
		"\x0a\x06\x0a\x04\x0a\x02"
		"a\x00",
		8, "spec.name"},
	{"a name that is not UTF-8", "\x0a\x05\x0a\x03\x0a\x01\xff", 7, "spec.name"},
	{"an overlong slash", "\x0a\x06\x0a\x04\x0a\x02\xc0\xaf", 8, "spec.name"},
	{"a surrogate", "\x0a\x07\x0a\x05\x0a\x03\xed\xa0\x80", 9, "spec.name"},
	{"an unknown field", "\x0a\x05\x0a\x03\xf8\x3f\x01", 7, "spec"},
	{"an unknown field at the top", "\xf8\x3f\x01", 3, "spawnd.v1.SpawnRequest"},
	{"an unknown enum value", "\x0a\x07\x0a\x05\xd0\x01\x63\x0a\x00", 9, "spec.transport"},
	{"an enum value of a repeated message", "\x0a\x0a\x0a\x08\x4a\x02\x10\x01\x4a\x02\x10\x63", 12, "spec.stdio[1].kind"},
	{"a varint where bytes belong", "\x0a\x04\x0a\x02\x18\x01", 6, "spec.argv[0]"},
	{"a length beyond the end", "\x0a\x04\x0a\x7f\x1a\x00", 6, "spec"},
	{"a cut varint", "\x0a\x05\x0a\x03\xd0\x01\xff", 7, "spec.transport"},
	{"a cut tag", "\xff", 1, "spawnd.v1.SpawnRequest"},
	{"packed numbers", "\x0a\x06\x0a\x04\x6a\x02\x01\x02", 8, NULL},
	{"packed numbers, cut", "\x0a\x05\x0a\x03\x6a\x01\xff", 7, "spec.groups[0]"},
	{"a control message", "\x12\x04\x1a\x02\x08\x0f", 6, NULL},
	{"a control message with a bad scope", "\x12\x06\x1a\x04\x08\x0f\x10\x09", 8, "control.signal.scope"},
};

void test_each_case_names_its_field(void)
{
	for (size_t i = 0; i < array_size(cases); i++) {
		struct err err = {.field = ""};
		int done = check_message(&spawnd__v1__spawn_request__descriptor, (const uint8_t *)cases[i].bytes, cases[i].size, &err);

		CU_ASSERT_EQUAL(done, cases[i].field ? -EINVAL : 0);
		if (strcmp(err.field, cases[i].field ? cases[i].field : "") != 0)
			CU_FAIL(cases[i].what);
	}
}

void test_unknown_fields_are_told_by_message_and_number(void)
{
	struct err err = {.field = ""};

	CU_ASSERT_EQUAL(
		check_message(&spawnd__v1__spawn_request__descriptor, (const uint8_t *)"\x0a\x05\x0a\x03\xf8\x3f\x01", 7, &err), -EINVAL);
	CU_ASSERT_EQUAL(err.status, STATUS_INVALID_ARGUMENT);
	CU_ASSERT_STRING_EQUAL(err.message, "spec: unknown field 1023 in spawnd.v1.ProcessSpec");
}

/* `count` elements of argv, each `length` bytes long. */
static int check_argv(size_t count, uint8_t length)
{
	size_t inner = count * (2 + (size_t)length), size = 0;
	_cleanup_free_ uint8_t *bytes = mem_alloc(inner + 16);
	struct err err = {.field = ""};
	int done;

	bytes[size++] = 0x0a;
	for (size_t left = inner; left || size == 1; left >>= 7)
		bytes[size++] = (uint8_t)((left & 0x7f) | (left > 0x7f ? 0x80 : 0));
	for (size_t i = 0; i < count; i++) {
		bytes[size++] = 0x1a;
		bytes[size++] = length;
		size += length;
	}
	done = check_message(&spawnd__v1__spawn_start__descriptor, bytes, size, &err);
	CU_ASSERT(!done || strncmp(err.field, "spec.argv[", 10) == 0);
	return done;
}

void test_many_small_elements_are_bounded(void)
{
	CU_ASSERT_EQUAL(check_argv(300000, 8), 0); /* more than the kernel would take */
	CU_ASSERT_EQUAL(check_argv(1500000, 0), -EINVAL);
}
