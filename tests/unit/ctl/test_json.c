/* Messages as JSON: the names and shapes that the manual promises, by the protos themselves. */
#include "json.h"

#include <CUnit/CUnit.h>
#include <string.h>

#include "spawnd/v1/events.pb-c.h"
#include "spawnd/v1/processes.pb-c.h"

static char web_text[] = "web", tier_text[] = "tier", front_text[] = "front", removed_text[] = "removed";

static void check(const ProtobufCMessage *message, const char *name, const char *expected)
{
	struct json_object *object = json_of_message(message), *value = NULL;

	CU_ASSERT_TRUE(json_object_object_get_ex(object, name, &value));
	CU_ASSERT_STRING_EQUAL(json_object_to_json_string_ext(value, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE), expected);
	json_object_put(object);
}

void test_process_record(void)
{
	Spawnd__V1__Process process = SPAWND__V1__PROCESS__INIT;
	Spawnd__V1__Process__LabelsEntry label = SPAWND__V1__PROCESS__LABELS_ENTRY__INIT, *labels[] = {&label};
	ProtobufCBinaryData argv[] = {{2, (uint8_t *)"sh"}, {1, (uint8_t *)"\xff"}};

	process.id = UINT64_MAX;
	process.name = web_text;
	process.state = SPAWND__V1__PROCESS_STATE__PROCESS_STATE_RUNNING;
	process.transport = SPAWND__V1__TRANSPORT__TRANSPORT_DIRECT;
	process.started_at_ns = 1700000000000000001;
	process.uptime_ms = 1250;
	process.cpu_us = 1500000;
	process.argv = argv;
	process.n_argv = 2;
	label.key = tier_text;
	label.value = front_text;
	process.labels = labels;
	process.n_labels = 1;
	check(&process.base, "id", "18446744073709551615");
	check(&process.base, "name", "\"web\"");
	check(&process.base, "state", "\"running\"");
	check(&process.base, "transport", "\"direct\"");
	check(&process.base, "started_at", "\"2023-11-14T22:13:20.000000001Z\"");
	check(&process.base, "uptime", "1.25");
	check(&process.base, "cpu_seconds", "1.5");
	check(&process.base, "argv", "[\"sh\",\"\xef\xbf\xbd\"]");
	check(&process.base, "labels", "{\"tier\":\"front\"}");
	check(&process.base, "exit", "null");
}

void test_exit_record(void)
{
	Spawnd__V1__ExitRecord record = SPAWND__V1__EXIT_RECORD__INIT;
	Spawnd__V1__SlotTotal total = SPAWND__V1__SLOT_TOTAL__INIT, *totals[] = {&total};
	Spawnd__V1__ErrorDetail error = SPAWND__V1__ERROR_DETAIL__INIT;

	record._signal_case = SPAWND__V1__EXIT_RECORD___SIGNAL_SIGNAL;
	record.signal = 9;
	record.reason = SPAWND__V1__EXIT_REASON__EXIT_REASON_CAPTURE_LIMIT;
	total.slot = 1;
	total.bytes = 70000;
	record.output = totals;
	record.n_output = 1;
	check(&record.base, "code", "null");
	check(&record.base, "signal", "9");
	check(&record.base, "core", "false");
	check(&record.base, "reason", "\"capture_limit\"");
	check(&record.base, "error", "null");
	check(&record.base, "output", "[{\"slot\":1,\"bytes\":70000,\"retained_from\":0,\"complete\":false}]");
	error.errnum = 2;
	record.error = &error;
	record._signal_case = SPAWND__V1__EXIT_RECORD___SIGNAL__NOT_SET;
	check(&record.base, "signal", "null");
	check(&error.base, "errno", "2");
}

void test_oneof_members_are_left_out(void)
{
	Spawnd__V1__Event event = SPAWND__V1__EVENT__INIT;
	struct json_object *object;

	event.type = removed_text;
	object = json_of_message(&event.base);
	CU_ASSERT_FALSE(json_object_object_get_ex(object, "exited", NULL));
	CU_ASSERT_TRUE(json_object_object_get_ex(object, "type", NULL));
	json_object_put(object);
}
