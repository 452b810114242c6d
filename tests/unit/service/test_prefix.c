/* The hand-packed prefix is what protobuf-c packs. */
#include "service/prefix.h"

#include <CUnit/CUnit.h>
#include <string.h>

#include "base/mem.h"
#include "spawnd/v1/processes.pb-c.h"

/* Packs the same output as a ProcessEvent or a RunReply, and compares. */
static void compare(uint32_t slot, uint64_t offset, int64_t time_ns, size_t payload)
{
	Spawnd__V1__Output output = SPAWND__V1__OUTPUT__INIT;
	Spawnd__V1__ProcessEvent event = SPAWND__V1__PROCESS_EVENT__INIT;
	Spawnd__V1__RunReply reply = SPAWND__V1__RUN_REPLY__INIT;
	_cleanup_free_ uint8_t *data = mem_alloc(payload), *packed = mem_alloc(payload + 64), *by_hand = mem_alloc(payload + 64);
	uint8_t prefix[PREFIX_MAX];
	size_t size, length;

	memset(data, 'x', payload);
	output.slot = slot;
	output.offset = offset;
	output.time_ns = time_ns;
	output.data = (ProtobufCBinaryData){.len = payload, .data = data};
	event.event_case = SPAWND__V1__PROCESS_EVENT__EVENT_OUTPUT;
	event.output = &output;
	reply.reply_case = SPAWND__V1__RUN_REPLY__REPLY_OUTPUT;
	reply.output = &output;

	size = prefix_output(prefix, slot, offset, time_ns, payload);
	CU_ASSERT(size <= PREFIX_MAX);
	memcpy(by_hand, prefix, size);
	memcpy(by_hand + size, data, payload);
	length = spawnd__v1__process_event__pack(&event, packed);
	CU_ASSERT_EQUAL(length, size + payload);
	CU_ASSERT_EQUAL(memcmp(packed, by_hand, length), 0);
	length = spawnd__v1__run_reply__pack(&reply, packed);
	CU_ASSERT_EQUAL(length, size + payload);
	CU_ASSERT_EQUAL(memcmp(packed, by_hand, length), 0);
}

void test_prefix_is_what_protobuf_packs(void)
{
	static const uint64_t offsets[] = {0, 1, 127, 128, 16383, 16384, UINT32_MAX, UINT64_C(1) << 56, UINT64_MAX};
	static const int64_t times[] = {0, 1, INT64_C(1732450000123456789), INT64_MAX, -1};
	static const size_t payloads[] = {1, 99, 100, 127, 128, 16000, 16383, 16384, 65536, 262144};
	static const uint32_t slots[] = {0, 1, 2, 127, 128, 255};

	for (size_t o = 0; o < array_size(offsets); o++)
		for (size_t t = 0; t < array_size(times); t++)
			for (size_t p = 0; p < array_size(payloads); p++)
				for (size_t s = 0; s < array_size(slots); s++)
					compare(slots[s], offsets[o], times[t], payloads[p]);
}
