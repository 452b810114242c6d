/* Messages with data are encoded and looked at by hand: byte for byte what the generated code does. */
#include <CUnit/CUnit.h>
#include <string.h>

#include "base/mem.h"
#include "internal.h"

/* What protobuf-c makes of the same StdinData. */
static size_t pack(uint8_t *bytes, bool control, uint32_t slot, bool eof, const uint8_t *data, size_t size)
{
	Spawnd__V1__SpawnRequest spawn = SPAWND__V1__SPAWN_REQUEST__INIT;
	Spawnd__V1__WriteRequest write = SPAWND__V1__WRITE_REQUEST__INIT;
	Spawnd__V1__ProcessControl message = SPAWND__V1__PROCESS_CONTROL__INIT;
	Spawnd__V1__StdinData stdin_data = SPAWND__V1__STDIN_DATA__INIT;

	stdin_data.slot = slot;
	stdin_data.eof = eof;
	stdin_data.data = (ProtobufCBinaryData){.len = size, .data = (uint8_t *)data};
	message.control_case = SPAWND__V1__PROCESS_CONTROL__CONTROL_STDIN;
	message.stdin = &stdin_data;
	spawn.message_case = SPAWND__V1__SPAWN_REQUEST__MESSAGE_CONTROL;
	spawn.control = &message;
	write.message_case = SPAWND__V1__WRITE_REQUEST__MESSAGE_DATA;
	write.data = &stdin_data;
	return control ? spawnd__v1__spawn_request__pack(&spawn, bytes) : spawnd__v1__write_request__pack(&write, bytes);
}

void test_stdin_is_encoded_as_generated_code_does(void)
{
	static const size_t sizes[] = {0, 1, 127, 128, 16383, 16384, STDIN_CHUNK};
	static const uint32_t slots[] = {0, 1, 127, 128, 255};
	_cleanup_free_ uint8_t *data = mem_alloc(STDIN_CHUNK), *expected = mem_alloc(STDIN_CHUNK + 100);

	memset(data, 'x', STDIN_CHUNK);
	for (unsigned i = 0; i < array_size(sizes) * array_size(slots) * 4; i++) {
		size_t size = sizes[i / 4 / array_size(slots)];
		uint32_t slot = slots[i / 4 % array_size(slots)];
		uint8_t prefix[STDIN_PREFIX_MAX];
		size_t length = stdin_encode(prefix, i & 1, slot, STDIN_NEXT, i & 2, size);

		CU_ASSERT_EQUAL_FATAL(pack(expected, i & 1, slot, i & 2, data, size), length + size);
		CU_ASSERT(memcmp(expected, prefix, length) == 0);
		CU_ASSERT(memcmp(expected + length, data, size) == 0);
	}
}

void test_output_is_looked_at_in_place(void)
{
	Spawnd__V1__ProcessEvent event = SPAWND__V1__PROCESS_EVENT__INIT;
	Spawnd__V1__Output output = SPAWND__V1__OUTPUT__INIT;
	uint8_t bytes[256];
	const uint8_t *data;
	uint64_t offset;
	uint32_t slot;
	size_t size, length;

	event.event_case = SPAWND__V1__PROCESS_EVENT__EVENT_OUTPUT;
	event.output = &output;
	output.slot = 2;
	output.offset = UINT64_MAX - 1;
	output.time_ns = 1;
	output.data = (ProtobufCBinaryData){.len = 5, .data = (uint8_t *)"hello"};
	length = spawnd__v1__process_event__pack(&event, bytes);
	CU_ASSERT(output_peek(bytes, length, 0, &slot, &offset, &data, &size));
	CU_ASSERT_EQUAL(slot, 2);
	CU_ASSERT_EQUAL(offset, UINT64_MAX - 1);
	CU_ASSERT(size == 5 && memcmp(data, "hello", 5) == 0);
	for (size_t i = 0; i < length; i++) {
		_cleanup_free_ uint8_t *copy = mem_dup(bytes, i);

		CU_ASSERT_FALSE(output_peek(copy, i, 0, &slot, &offset, &data, &size));
	}
}

/* Whatever comes is looked at within its bounds. */
void test_output_of_a_hostile_daemon(void)
{
	static const uint8_t cases[][8] = {
		{0x12, 0x06, 0x7a, 0xff, 0xff, 0xff, 0xff, 0x7f}, /* data longer than the message */
		{0x12, 0x06, 0x08, 0xff, 0xff, 0xff, 0xff, 0xff}, /* a number without an end */
		{0x12, 0x06, 0x08, 0x01, 0x7a, 0x01, 'x', 0x7a},  /* a tag without a value */
		{0x12, 0x7f, 0x08, 0x01, 0x7a, 0x01, 'x', 0x00},  /* longer than it is */
		{0x0a, 0x06, 0x08, 0x01, 0x10, 0x02, 0x18, 0x03}, /* another event */
	};
	const uint8_t *data;
	uint64_t offset;
	uint32_t slot;
	size_t size;

	for (size_t i = 0; i < array_size(cases); i++) {
		_cleanup_free_ uint8_t *copy = mem_dup(cases[i], sizeof(cases[i]));

		CU_ASSERT_FALSE(output_peek(copy, sizeof(cases[i]), 0, &slot, &offset, &data, &size));
	}
}

void test_exit_records(void)
{
	Spawnd__V1__ExitRecord record = SPAWND__V1__EXIT_RECORD__INIT;
	Spawnd__V1__SlotTotal totals[SPAWND_TOTALS + 4], *list[SPAWND_TOTALS + 4];
	struct spawnd_exit how;

	exit_of_message(NULL, &how);
	CU_ASSERT(how.code == -1 && how.signal == -1 && how.reason == SPAWND_REASON_UNKNOWN);
	for (unsigned i = 0; i < array_size(list); i++) {
		spawnd__v1__slot_total__init(&totals[i]);
		totals[i].slot = i;
		list[i] = &totals[i];
	}
	record._signal_case = SPAWND__V1__EXIT_RECORD___SIGNAL_SIGNAL;
	record.signal = 9;
	record.reason = SPAWND__V1__EXIT_REASON__EXIT_REASON_STOPPED;
	record.output = list;
	record.n_output = array_size(list);
	exit_of_message(&record, &how);
	CU_ASSERT(how.code == -1 && how.signal == 9 && how.reason == SPAWND_STOPPED);
	CU_ASSERT(how.total_count == SPAWND_TOTALS + 4 && how.totals[SPAWND_TOTALS - 1].slot == SPAWND_TOTALS - 1);
}
