#include <CUnit/CUnit.h>
#include <string.h>

#include "base/buf.h"

void test_bytes_come_out_in_order(void)
{
	struct buf buf = {0};
	unsigned in = 0, out = 0;

	for (int round = 0; round < 2000; round++) {
		for (int i = 0; i < round % 37; i++) {
			uint8_t byte = (uint8_t)in++;

			buf_append(&buf, &byte, 1);
		}
		for (int i = 0; i < round % 31 && buf.length; i++) {
			CU_ASSERT_EQUAL(buf.bytes[0], (uint8_t)out);
			out++;
			buf_consume(&buf, 1);
		}
	}
	CU_ASSERT_EQUAL(buf.length, in - out);
	buf_finish(&buf);
	CU_ASSERT_PTR_NULL(buf.block);
}

void test_reserve_does_not_count_until_committed(void)
{
	struct buf buf = {0};

	memcpy(buf_reserve(&buf, 3), "abc", 3);
	CU_ASSERT_EQUAL(buf.length, 0);
	buf_commit(&buf, 3);
	CU_ASSERT_EQUAL(buf.length, 3);
	CU_ASSERT_EQUAL(memcmp(buf.bytes, "abc", 3), 0);
	buf_finish(&buf);
}

void test_trim_gives_back_only_an_empty_large_one(void)
{
	struct buf buf = {0};

	buf_commit(&buf, (buf_reserve(&buf, 100000), 1));
	buf_trim(&buf, 4096);
	CU_ASSERT_PTR_NOT_NULL(buf.block);
	buf_consume(&buf, 1);
	buf_trim(&buf, 1 << 20);
	CU_ASSERT_PTR_NOT_NULL(buf.block);
	buf_trim(&buf, 4096);
	CU_ASSERT_PTR_NULL(buf.block);
}
