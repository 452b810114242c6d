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
