#include "../../../client/runtime/src/record.h"

#include <CUnit/CUnit.h>
#include <errno.h>
#include <pb_decode.h>
#include <stdlib.h>
#include <string.h>

#include "spawnd/runtime/v1/channel.pb.h"

static const unsigned char two_fds[] = "\0\0\0\x15\x08\x02\x12\x0atext/plain\x7a\x05hello";
static const unsigned char empty[] = "\0\0\0\x02\x7a\0";

static void expect(const char *type, unsigned descriptors, uint64_t size, const void *bytes, size_t length)
{
	unsigned char out[160];

	CU_ASSERT_EQUAL(spawnd_rt_record_encode(out, sizeof(out), type, descriptors, size), (int)length);
	CU_ASSERT_EQUAL(memcmp(out, bytes, length), 0);
}

void test_heads_are_these_bytes(void)
{
	expect("", 0, 0, empty, 6);
	expect("text/plain", 2, 5, two_fds, sizeof(two_fds) - 1 - 5);
	expect("", 16, 300, "\0\0\x01\x31\x08\x10\x7a\xac\x02", 9);
	expect("a", 0, UINT32_MAX - 9, "\xff\xff\xff\xff\x12\x01\x61\x7a\xf6\xff\xff\xff\x0f", 13);
}

void test_what_no_length_can_say_is_refused(void)
{
	unsigned char out[160];

	CU_ASSERT_EQUAL(spawnd_rt_record_encode(out, sizeof(out), "a", 0, UINT32_MAX - 8), -EMSGSIZE);
	CU_ASSERT_EQUAL(spawnd_rt_record_encode(out, sizeof(out), "", 0, (uint64_t)UINT32_MAX + 1), -EMSGSIZE);
}

static bool count_data(pb_istream_t *stream, const pb_field_t *field, void **argument)
{
	*(size_t *)*argument = stream->bytes_left;
	return pb_read(stream, NULL, stream->bytes_left);
}

void test_the_generated_code_reads_it(void)
{
	spawnd_runtime_v1_ChannelRecord record = spawnd_runtime_v1_ChannelRecord_init_zero;
	pb_istream_t stream = pb_istream_from_buffer(two_fds + RECORD_LENGTH, sizeof(two_fds) - 1 - RECORD_LENGTH);
	size_t size = 0;

	record.data.funcs.decode = count_data;
	record.data.arg = &size;
	CU_ASSERT(pb_decode(&stream, spawnd_runtime_v1_ChannelRecord_fields, &record));
	CU_ASSERT_EQUAL(record.descriptors, 2);
	CU_ASSERT_STRING_EQUAL(record.content_type, "text/plain");
	CU_ASSERT_EQUAL(size, 5);
}

void test_a_head_is_known_from_its_last_byte_on(void)
{
	const size_t head_size = sizeof(two_fds) - 1 - 5;
	struct record_head head;
	const char *why;

	for (size_t size = 0; size < sizeof(two_fds); size++)
		CU_ASSERT_EQUAL(spawnd_rt_record_decode(two_fds, size, &head, &why), size < head_size ? 0 : (int)head_size);
	CU_ASSERT_EQUAL(head.descriptors, 2);
	CU_ASSERT_STRING_EQUAL(head.content_type, "text/plain");
	CU_ASSERT_EQUAL(head.data_size, 5);
}

void test_a_record_may_lack_data_and_have_fields_of_the_future(void)
{
	static const unsigned char no_data[] = "\0\0\0\x02\x08\x03";
	static const unsigned char future[] = "\0\0\0\x0c\x18\x80\x01\x22\x03xyz\x7a\x02ok";
	struct record_head head;
	const char *why;

	CU_ASSERT_EQUAL(spawnd_rt_record_decode(no_data, 6, &head, &why), 6);
	CU_ASSERT_EQUAL(head.descriptors, 3);
	CU_ASSERT_EQUAL(head.data_size, 0);
	CU_ASSERT_EQUAL(spawnd_rt_record_decode(future, sizeof(future) - 1, &head, &why), 14);
	CU_ASSERT_EQUAL(head.data_size, 2);
}

static void refuse(const void *bytes, size_t size, const char *part)
{
	struct record_head head;
	const char *why = "";

	CU_ASSERT_EQUAL(spawnd_rt_record_decode(bytes, size, &head, &why), -EPROTO);
	CU_ASSERT_PTR_NOT_NULL(strstr(why, part));
}

void test_garbage_is_refused_with_its_reason(void)
{
	unsigned char long_type[RECORD_HEAD_MAX] = "\0\0\x01\0\x12\x80\x01";
	unsigned char long_head[RECORD_HEAD_MAX] = "\0\0\x10\0\x22\xff\x1e";

	refuse("\0\0\0\0", 4, "empty");
	refuse("\0\0\0\x02\x08\x11", 6, "more than 16");
	refuse(long_type, sizeof(long_type), "longer than 127");
	refuse("\0\0\0\x05\x12\x01\0\x7a\0", 9, "zero byte");
	refuse("\0\0\0\x05\x7a\x02"
	       "abc",
		9, "does not end with it");
	refuse("\0\0\0\x03\x7a\x02"
	       "a",
		7, "does not end with it");
	refuse("\0\0\0\x03\x78\x01"
	       "a",
		7, "no ChannelRecord");
	refuse("\0\0\0\x02\x0a\0", 6, "no ChannelRecord");
	refuse("\0\0\0\x02\0\0", 6, "no ChannelRecord");
	refuse("\0\0\0\x01\x08", 5, "end-of-stream");
	refuse("\0\0\0\x20\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 17, "overflow");
	refuse("GET / HTTP/1.0\r\n\r\n", 18, "");
	refuse(long_head, sizeof(long_head), "more than 256");
}

void test_no_bytes_lead_astray(void)
{
	unsigned char bytes[RECORD_HEAD_MAX + 8];
	struct record_head head;
	const char *why;

	srand(1);
	for (int round = 0; round < 200000; round++) {
		size_t size = (size_t)rand() % sizeof(bytes);
		int used;

		for (size_t i = 0; i < size; i++)
			bytes[i] = (unsigned char)(i < 3 ? rand() % 2 : rand());
		used = spawnd_rt_record_decode(bytes, size, &head, &why);
		CU_ASSERT_FATAL(used == -EPROTO || (used >= 0 && used <= (int)size && used <= RECORD_HEAD_MAX));
		if (used > 0)
			CU_ASSERT_FATAL(head.descriptors <= SPAWND_CHANNEL_FDS && strlen(head.content_type) <= SPAWND_CHANNEL_CONTENT_TYPE);
	}
}
