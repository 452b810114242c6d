/* Streams of processes: order, credit, ends, whoever vanishes when. */
#include "service/fakes.h"

static struct fake fake;

/* A spec of one word. */
static Spawnd__V1__ProcessSpec *spec_of(const char *word)
{
	static Spawnd__V1__ProcessSpec spec;
	static ProtobufCBinaryData argv[1];

	spawnd__v1__process_spec__init(&spec);
	argv[0] = (ProtobufCBinaryData){.len = strlen(word), .data = (uint8_t *)word};
	spec.argv = argv;
	spec.n_argv = 1;
	return &spec;
}

static struct child *spawn_with(struct call *call, Spawnd__V1__Reader *reader, const char *key)
{
	Spawnd__V1__SpawnRequest request = SPAWND__V1__SPAWN_REQUEST__INIT;
	Spawnd__V1__SpawnStart start = SPAWND__V1__SPAWN_START__INIT;

	start.spec = spec_of("prog");
	start.reader = reader;
	start.idempotency_key = (char *)key;
	request.message_case = SPAWND__V1__SPAWN_REQUEST__MESSAGE_START;
	request.start = &start;
	CU_ASSERT_EQUAL(fake_call(&fake, call, "Spawn", &request), 0);
	return fake.children.count ? fake.children.list[fake.children.count - 1] : NULL;
}

static struct child *spawn(struct call *call)
{
	return spawn_with(call, NULL, "");
}

static int say(struct call *call, Spawnd__V1__ProcessControl__ControlCase what, void *content)
{
	Spawnd__V1__SpawnRequest request = SPAWND__V1__SPAWN_REQUEST__INIT;
	Spawnd__V1__ProcessControl control = SPAWND__V1__PROCESS_CONTROL__INIT;

	control.control_case = what;
	control.cancel = content;
	request.message_case = SPAWND__V1__SPAWN_REQUEST__MESSAGE_CONTROL;
	request.control = &control;
	return fake_say(call, &request);
}

/* offset 0: none is said. */
static int say_stdin(struct call *call, uint64_t offset, const char *text, size_t size, bool eof)
{
	Spawnd__V1__StdinData data = SPAWND__V1__STDIN_DATA__INIT;

	if (offset) {
		data._offset_case = SPAWND__V1__STDIN_DATA___OFFSET_OFFSET;
		data.offset = offset;
	}
	data.data = (ProtobufCBinaryData){.len = size, .data = (uint8_t *)text};
	data.eof = eof;
	return say(call, SPAWND__V1__PROCESS_CONTROL__CONTROL_STDIN, &data);
}

static int say_grant(struct call *call, uint64_t bytes, unsigned messages)
{
	Spawnd__V1__Grant grant = SPAWND__V1__GRANT__INIT;

	grant.bytes = bytes;
	grant.messages = messages;
	return say(call, SPAWND__V1__PROCESS_CONTROL__CONTROL_GRANT, &grant);
}

static struct call *attach(struct call *call, uint64_t id, bool from_retained, enum _Spawnd__V1__Reader__Policy policy)
{
	Spawnd__V1__AttachRequest request = SPAWND__V1__ATTACH_REQUEST__INIT;
	Spawnd__V1__AttachStart start = SPAWND__V1__ATTACH_START__INIT;
	Spawnd__V1__ProcessRef ref = SPAWND__V1__PROCESS_REF__INIT;
	Spawnd__V1__Reader reader = SPAWND__V1__READER__INIT;

	ref.ref_case = SPAWND__V1__PROCESS_REF__REF_ID;
	ref.id = id;
	reader.policy = policy;
	start.process = &ref;
	start.reader = &reader;
	start.from_retained = from_retained;
	request.message_case = SPAWND__V1__ATTACH_REQUEST__MESSAGE_START;
	request.start = &start;
	call->status = fake_call(&fake, call, "Attach", &request) < 0 ? call->err.status : call->status;
	return call;
}

void test_the_order_is_spawned_output_exited_closed(void)
{
	struct call call;
	struct child *child;

	fake_begin(&fake);
	child = spawn(&call);
	CU_ASSERT_STRING_EQUAL(call.log, "");
	fake_spawned(child);
	fake_write(child, 1, "hello");
	fake_pump(&call);
	fake_exited(child);
	fake_write(child, 2, "late");
	fake_closed(child);
	CU_ASSERT_FALSE(call.ended);
	fake_pump(&call);
	CU_ASSERT_STRING_EQUAL(call.log, "spawned\noutput 1@0 hello\nexited\noutput 2@0 late\nclosed\nend\n");
	CU_ASSERT_TRUE(call.ended);
	CU_ASSERT_STRING_EQUAL(child->acts, "");
	fake_end_all(&fake);
}

void test_exited_does_not_wait_for_credit_and_closed_waits_for_output(void)
{
	Spawnd__V1__Reader reader = SPAWND__V1__READER__INIT;
	Spawnd__V1__Grant window = SPAWND__V1__GRANT__INIT;
	struct child *child;
	struct call call;

	fake_begin(&fake);
	window.bytes = 3;
	window.messages = 10;
	reader.window = &window;
	child = spawn_with(&call, &reader, "");
	fake_spawned(child);
	fake_write(child, 1, "abcdef");
	fake_pump(&call);
	fake_exited(child);
	fake_closed(child);
	fake_pump(&call);
	CU_ASSERT_STRING_EQUAL(call.log, "spawned\noutput 1@0 abc\nexited\n");
	CU_ASSERT_EQUAL(say_grant(&call, 3, 1), 0);
	CU_ASSERT_STRING_EQUAL(call.log, "spawned\noutput 1@0 abc\nexited\noutput 1@3 def\nclosed\nend\n");
	fake_end_all(&fake);
}

void test_the_end_is_seen_without_credit(void)
{
	Spawnd__V1__Reader reader = SPAWND__V1__READER__INIT;
	Spawnd__V1__Grant window = SPAWND__V1__GRANT__INIT;
	struct child *child;
	struct call call;

	fake_begin(&fake);
	window.bytes = 3;
	window.messages = 10;
	reader.window = &window;
	child = spawn_with(&call, &reader, "");
	fake_spawned(child);
	fake_write(child, 1, "abc");
	fake_pump(&call);
	fake_exited(child);
	fake_closed(child);
	fake_pump(&call);
	CU_ASSERT_STRING_EQUAL(call.log, "spawned\noutput 1@0 abc\nexited\nclosed\nend\n");
	fake_end_all(&fake);
}

static int say_grant_to(struct call *call, uint32_t slot, uint64_t bytes, unsigned messages)
{
	Spawnd__V1__Grant grant = SPAWND__V1__GRANT__INIT;

	grant._slot_case = SPAWND__V1__GRANT___SLOT_SLOT;
	grant.slot = slot;
	grant.bytes = bytes;
	grant.messages = messages;
	return say(call, SPAWND__V1__PROCESS_CONTROL__CONTROL_GRANT, &grant);
}

void test_a_slot_without_credit_of_its_own_is_passed_over(void)
{
	Spawnd__V1__Reader reader = SPAWND__V1__READER__INIT;
	struct child *child;
	struct call call;

	fake_begin(&fake);
	reader.slot_window = 3;
	child = spawn_with(&call, &reader, "");
	fake_spawned(child);
	fake_write(child, 1, "abcdef");
	fake_pump(&call);
	fake_write(child, 2, "xy");
	fake_pump(&call);
	CU_ASSERT_STRING_EQUAL(call.log, "spawned\noutput 1@0 abc\noutput 2@0 xy\n");
	fake_write(child, 2, "zzz");
	fake_pump(&call);
	CU_ASSERT_EQUAL(say_grant_to(&call, 2, 1, 1), 0);
	CU_ASSERT_STRING_EQUAL(call.log, "spawned\noutput 1@0 abc\noutput 2@0 xy\noutput 2@2 z\noutput 2@3 z\n");
	call.log[0] = 0;
	CU_ASSERT_EQUAL(say_grant(&call, 1, 1), 0); /* anybody's */
	CU_ASSERT_STRING_EQUAL(call.log, "output 1@3 d\n");
	CU_ASSERT_EQUAL(say_grant_to(&call, 2, 9, 1), 0);
	fake_exited(child);
	fake_closed(child);
	fake_pump(&call);
	CU_ASSERT_EQUAL(say_grant_to(&call, 1, 9, 1), 0);
	CU_ASSERT_STRING_EQUAL(call.log, "output 1@3 d\noutput 2@4 z\nexited\noutput 1@4 ef\nclosed\nend\n");
	fake_end_all(&fake);
}

void test_a_slot_may_get_credit_beside_that_of_the_stream(void)
{
	Spawnd__V1__Reader reader = SPAWND__V1__READER__INIT;
	Spawnd__V1__Grant window = SPAWND__V1__GRANT__INIT;
	struct child *child;
	struct call call;

	fake_begin(&fake);
	window.bytes = 2;
	window.messages = 10;
	reader.window = &window;
	child = spawn_with(&call, &reader, "");
	fake_spawned(child);
	CU_ASSERT_EQUAL(say_grant_to(&call, 1, 4, 0), 0);
	fake_write(child, 1, "abcdefg");
	fake_write(child, 2, "x");
	fake_pump(&call);
	CU_ASSERT_STRING_EQUAL(call.log, "spawned\noutput 1@0 abcdef\n");
	CU_ASSERT_EQUAL(call.bytes, 0);
	CU_ASSERT(say_grant_to(&call, 7, 1, 0) < 0);
	CU_ASSERT_STRING_EQUAL(call.err.field, "grant.slot");
	fake_end_all(&fake);
}

void test_a_window_of_slots_contradicts_one_of_the_stream(void)
{
	Spawnd__V1__SpawnRequest request = SPAWND__V1__SPAWN_REQUEST__INIT;
	Spawnd__V1__SpawnStart start = SPAWND__V1__SPAWN_START__INIT;
	Spawnd__V1__Reader reader = SPAWND__V1__READER__INIT;
	Spawnd__V1__Grant window = SPAWND__V1__GRANT__INIT;
	struct call call;

	fake_begin(&fake);
	start.spec = spec_of("prog");
	start.reader = &reader;
	reader.window = &window;
	reader.slot_window = window.bytes = 3;
	request.message_case = SPAWND__V1__SPAWN_REQUEST__MESSAGE_START;
	request.start = &start;
	CU_ASSERT(fake_call(&fake, &call, "Spawn", &request) < 0);
	CU_ASSERT_STRING_EQUAL(call.err.field, "reader.slot_window");
	window.bytes = 0;
	window._slot_case = SPAWND__V1__GRANT___SLOT_SLOT;
	CU_ASSERT(fake_call(&fake, &call, "Spawn", &request) < 0);
	CU_ASSERT_STRING_EQUAL(call.err.field, "reader.window.slot");
	CU_ASSERT_EQUAL(fake.children.count, 0);
	fake_end_all(&fake);
}

void test_a_stream_without_output_ends_with_closed(void)
{
	Spawnd__V1__Reader reader = SPAWND__V1__READER__INIT;
	struct child *child;
	struct call call;

	fake_begin(&fake);
	reader.none = true;
	child = spawn_with(&call, &reader, "");
	fake_spawned(child);
	fake_write(child, 1, "abc");
	fake_exited(child);
	fake_closed(child);
	CU_ASSERT_STRING_EQUAL(call.log, "spawned\nexited\nclosed\nend\n");
	fake_end_all(&fake);
}

void test_a_failed_launch_ends_the_call(void)
{
	struct child *child;
	struct call call, late;

	fake_begin(&fake);
	child = spawn(&call);
	err_errno(&child->failure, ENOENT, "spawn prog", "prog");
	child->state = CHILD_FAILED;
	FAKE_TELL(child, on_failed, child, &child->failure);
	CU_ASSERT_TRUE(call.ended);
	CU_ASSERT_EQUAL(call.status, STATUS_NOT_FOUND);
	CU_ASSERT_STRING_EQUAL(call.err.message, "spawn prog ENOENT");
	CU_ASSERT_STRING_EQUAL(call.log, "");
	attach(&late, child->id, true, SPAWND__V1__READER__POLICY__POLICY_DROP);
	CU_ASSERT_EQUAL(late.status, STATUS_NOT_FOUND);
	CU_ASSERT_STRING_EQUAL(late.err.message, "spawn prog ENOENT");
	fake_end_all(&fake);
}

void test_a_lost_client_is_a_disconnect_and_an_attached_one_is_not(void)
{
	struct call call, second;
	struct child *child;

	fake_begin(&fake);
	child = spawn(&call);
	fake_spawned(child);
	attach(&second, child->id, true, SPAWND__V1__READER__POLICY__POLICY_DROP);
	CU_ASSERT_STRING_EQUAL(second.log, "spawned\n");
	fake_vanish(&second);
	CU_ASSERT_STRING_EQUAL(child->acts, "");
	fake_vanish(&call);
	CU_ASSERT_STRING_EQUAL(child->acts, "disconnected\n");
	fake_end_all(&fake);
}

void test_a_client_lost_before_the_launch(void)
{
	struct child *child;
	struct call call;

	fake_begin(&fake);
	child = spawn(&call);
	fake_vanish(&call);
	CU_ASSERT_STRING_EQUAL(child->acts, "disconnected\n");
	fake_spawned(child);
	fake_end_all(&fake);
}

void test_the_end_of_the_daemon_is_no_disconnect(void)
{
	struct child *child;
	struct call call;

	fake_begin(&fake);
	child = spawn(&call);
	fake_spawned(child);
	service_ending(fake.service);
	fake_vanish(&call);
	CU_ASSERT_STRING_EQUAL(child->acts, "");
	fake_end_all(&fake);
}

void test_cancel_kills_and_ends_at_once(void)
{
	Spawnd__V1__Cancel cancel = SPAWND__V1__CANCEL__INIT;
	struct child *child;
	struct call call, second;

	fake_begin(&fake);
	child = spawn(&call);
	fake_spawned(child);
	CU_ASSERT_EQUAL(say(&call, SPAWND__V1__PROCESS_CONTROL__CONTROL_CANCEL, &cancel), -ECANCELED);
	CU_ASSERT_EQUAL(call.status, STATUS_CANCELLED);
	CU_ASSERT_STRING_EQUAL(call.err.code, "ABORT_ERR");
	CU_ASSERT_STRING_EQUAL(child->acts, "stop 15 grace 10000 scope 3 cancel\n");
	attach(&second, child->id, false, SPAWND__V1__READER__POLICY__POLICY_DROP);
	fake_vanish(&second);
	fake_end_all(&fake);
}

void test_signals_on_a_stream(void)
{
	Spawnd__V1__SignalCommand command = SPAWND__V1__SIGNAL_COMMAND__INIT;
	struct child *child;
	struct call call;

	fake_begin(&fake);
	child = spawn(&call);
	fake_spawned(child);
	command.signal = 2;
	command.scope = SPAWND__V1__KILL_SCOPE__KILL_SCOPE_GROUP;
	CU_ASSERT_EQUAL(say(&call, SPAWND__V1__PROCESS_CONTROL__CONTROL_SIGNAL, &command), 0);
	CU_ASSERT_STRING_EQUAL(child->acts, "signal 2 scope 2\n");
	command.signal = 65;
	CU_ASSERT_EQUAL(say(&call, SPAWND__V1__PROCESS_CONTROL__CONTROL_SIGNAL, &command), -EINVAL);
	CU_ASSERT_STRING_EQUAL(call.err.field, "control.signal.signal");
	fake_end_all(&fake);
}

void test_attach_tells_what_is_kept_and_what_is_lost(void)
{
	struct child *child;
	struct call call, second, third;

	fake_begin(&fake);
	child = spawn(&call);
	fake_spawned(child);
	fake_write(child, 1, "0123456789");
	fake_pump(&call);
	fake_exited(child);
	fake_closed(child);
	fake_pump(&call);
	CU_ASSERT_TRUE(call.ended);
	child->retained[1] = 4;
	attach(&second, child->id, true, SPAWND__V1__READER__POLICY__POLICY_DROP);
	CU_ASSERT_STRING_EQUAL(second.log, "spawned\noutput 1@4 456789\nexited\nclosed\nend\n");
	attach(&third, child->id, false, SPAWND__V1__READER__POLICY__POLICY_DROP);
	CU_ASSERT_STRING_EQUAL(third.log, "spawned\nexited\nclosed\nend\n");
	fake_end_all(&fake);
}

void test_a_blocking_reader_needs_the_right_to_signal(void)
{
	struct child *child;
	struct call call, second;

	fake_begin(&fake);
	child = spawn(&call);
	fake_spawned(child);
	fake.lacks = RIGHT_SIGNAL;
	child->anothers = true;
	attach(&second, child->id, false, SPAWND__V1__READER__POLICY__POLICY_BLOCK);
	CU_ASSERT_EQUAL(second.status, STATUS_PERMISSION_DENIED);
	attach(&second, 99, false, SPAWND__V1__READER__POLICY__POLICY_DROP);
	CU_ASSERT_EQUAL(second.status, STATUS_NOT_FOUND);
	CU_ASSERT_STRING_EQUAL(second.err.message, "no process 99");
	fake_vanish(&call);
	fake_end_all(&fake);
}

void test_the_same_key_joins_the_process_from_its_first_byte(void)
{
	struct call call, again;
	struct child *child;

	fake_begin(&fake);
	child = spawn_with(&call, NULL, "key");
	fake_spawned(child);
	fake_write(child, 1, "0123456789");
	fake_pump(&call);
	child->retained[1] = 6;
	spawn_with(&again, NULL, "key");
	CU_ASSERT_EQUAL(fake.children.count, 1);
	CU_ASSERT_STRING_EQUAL(again.log, "spawned\noutput_gap 1@0+6\noutput 1@6 6789\n");
	fake_vanish(&call);
	CU_ASSERT_STRING_EQUAL(child->acts, "");
	fake_vanish(&again);
	CU_ASSERT_STRING_EQUAL(child->acts, "disconnected\n");
	fake_end_all(&fake);
}

void test_a_session_holds_a_process_of_a_lost_connection(void)
{
	Spawnd__V1__HelloRequest hello = SPAWND__V1__HELLO_REQUEST__INIT;
	struct call call, greeting;
	struct child *child;

	fake_begin(&fake);
	hello.version = 1;
	hello.session_key = (ProtobufCBinaryData){.len = 1, .data = (uint8_t *)"k"};
	fake_call(&fake, &greeting, "Hello", &hello);
	child = spawn(&call);
	fake_spawned(child);
	fake_vanish(&call);
	service_peer_gone(fake.service, &fake.peer);
	CU_ASSERT_STRING_EQUAL(child->acts, "");
	fake_end_all(&fake);
}

void test_stdin_goes_through_and_is_granted_again(void)
{
	static char large[700000];
	struct child *child;
	struct call call;

	fake_begin(&fake);
	child = spawn(&call);
	CU_ASSERT_TRUE(child->born_held);
	CU_ASSERT_EQUAL(say_stdin(&call, 0, "early ", 6, false), 0);
	CU_ASSERT_STRING_EQUAL(child->input, "");
	fake_spawned(child);
	CU_ASSERT_EQUAL(say_stdin(&call, 0, "late", 4, true), 0);
	CU_ASSERT_STRING_EQUAL(child->input, "early late");
	CU_ASSERT_TRUE(child->input_ended);
	fake_vanish(&call);

	child = spawn(&call);
	fake_spawned(child);
	child->input_room = 500000;
	CU_ASSERT_EQUAL(say_stdin(&call, 0, large, sizeof(large), false), 0);
	CU_ASSERT_STRING_EQUAL(call.log, "spawned\n");
	CU_ASSERT_EQUAL(child->input_size, 500000);
	child->input_room = 1000000;
	FAKE_TELL(child, on_stdin_room, child, 0, 300000);
	CU_ASSERT_STRING_EQUAL(call.log, "spawned\nstdin_grant 300000\n");
	CU_ASSERT_EQUAL(child->input_size, 700000);
	FAKE_TELL(child, on_stdin_room, child, 0, 700000);
	CU_ASSERT_STRING_EQUAL(call.log, "spawned\nstdin_grant 300000\nstdin_grant 400000\n");
	fake_vanish(&call);
	fake_end_all(&fake);
}

void test_stdin_beyond_the_window_fails_the_call(void)
{
	static char large[(1 << 20) + 1];
	struct child *child;
	struct call call;

	fake_begin(&fake);
	child = spawn(&call);
	fake_spawned(child);
	CU_ASSERT(say_stdin(&call, 0, large, sizeof(large), false) < 0);
	CU_ASSERT_EQUAL(call.status, STATUS_RESOURCE_EXHAUSTED);
	CU_ASSERT_STRING_EQUAL(child->acts, "disconnected\n");
	fake_end_all(&fake);
}

void test_stdin_that_waits_is_memory_of_the_client(void)
{
	struct child *child;
	struct call call;

	fake_begin(&fake);
	child = spawn(&call);
	CU_ASSERT_EQUAL(say_stdin(&call, 0, "early ", 6, false), 0);
	CU_ASSERT_EQUAL(call.held, 6);
	fake_spawned(child);
	CU_ASSERT_EQUAL(call.held, 0);
	fake_vanish(&call);
	fake_end_all(&fake);

	fake_begin(&fake);
	child = spawn(&call);
	call.held_max = 8;
	CU_ASSERT_EQUAL(say_stdin(&call, 0, "early ", 6, false), 0);
	CU_ASSERT(say_stdin(&call, 0, "late", 4, false) < 0);
	CU_ASSERT_EQUAL(call.status, STATUS_RESOURCE_EXHAUSTED);
	fake_spawned(child);
	fake_end_all(&fake);
}

void test_offsets_of_stdin_skip_what_came_and_refuse_holes(void)
{
	struct child *child;
	struct call call;

	fake_begin(&fake);
	child = spawn(&call);
	fake_spawned(child);
	child->input_room = 4;
	CU_ASSERT_EQUAL(say_stdin(&call, 0, "012345", 6, false), 0);
	child->input_room = 100;
	CU_ASSERT_EQUAL(say_stdin(&call, 3, "345678", 6, false), 0);
	CU_ASSERT_STRING_EQUAL(child->input, "012345678");
	CU_ASSERT_EQUAL(say_stdin(&call, 10, "x", 1, false), -EINVAL);
	CU_ASSERT_STRING_EQUAL(call.err.field, "stdin.offset");
	fake_end_all(&fake);
}

void test_stdin_after_its_end_is_thrown_away_and_told(void)
{
	struct child *child;
	struct call call;

	fake_begin(&fake);
	child = spawn(&call);
	fake_spawned(child);
	child->input_room = 4;
	CU_ASSERT_EQUAL(say_stdin(&call, 0, "012345", 6, true), 0);
	CU_ASSERT_EQUAL(say_stdin(&call, 0, "", 0, true), 0);
	CU_ASSERT_STRING_EQUAL(call.log, "spawned\n");
	CU_ASSERT_EQUAL(say_stdin(&call, 0, "late", 4, false), 0); /* while the end still waits */
	CU_ASSERT_EQUAL(say_stdin(&call, 0, "later", 5, true), 0);
	CU_ASSERT_FALSE(child->input_ended);
	child->input_room = 100;
	FAKE_TELL(child, on_stdin_room, child, 0, 4);
	CU_ASSERT_TRUE(child->input_ended);
	CU_ASSERT_STRING_EQUAL(call.log, "spawned\n");
	FAKE_TELL(child, on_stdin_room, child, 0, 6);
	CU_ASSERT_STRING_EQUAL(call.log, "spawned\nstdin_closed\n");
	CU_ASSERT_EQUAL(say_stdin(&call, 0, "latest", 6, false), 0);
	CU_ASSERT_STRING_EQUAL(child->input, "012345");
	FAKE_TELL(child, on_stdin_closed, child, 0);
	CU_ASSERT_STRING_EQUAL(call.log, "spawned\nstdin_closed\n");
	CU_ASSERT_FALSE(call.ended);
	CU_ASSERT_STRING_EQUAL(child->acts, "");
	fake_vanish(&call);
	fake_end_all(&fake);
}

void test_a_closed_stdin_is_told_once_and_costs_nothing(void)
{
	static char large[600000];
	struct child *child;
	struct call call;

	fake_begin(&fake);
	child = spawn(&call);
	fake_spawned(child);
	child->input_closed = true;
	CU_ASSERT_EQUAL(say_stdin(&call, 0, large, sizeof(large), false), 0);
	FAKE_TELL(child, on_stdin_closed, child, 0);
	CU_ASSERT_EQUAL(say_stdin(&call, 0, large, sizeof(large), true), 0);
	CU_ASSERT_STRING_EQUAL(call.log, "spawned\nstdin_closed\nstdin_grant 600000\nstdin_grant 600000\n");
	fake_vanish(&call);
	fake_end_all(&fake);
}

void test_a_removed_process_ends_its_streams(void)
{
	struct child *child;
	struct call call;

	fake_begin(&fake);
	child = spawn(&call);
	fake_spawned(child);
	FAKE_TELL(child, on_removed, child);
	CU_ASSERT_EQUAL(call.status, STATUS_ABORTED);
	fake_end_all(&fake);
}

/* ---- Logs ---- */

static int logs(struct call *call, uint64_t id, bool follow)
{
	Spawnd__V1__LogsRequest request = SPAWND__V1__LOGS_REQUEST__INIT;
	Spawnd__V1__LogsStart start = SPAWND__V1__LOGS_START__INIT;
	Spawnd__V1__ProcessRef ref = SPAWND__V1__PROCESS_REF__INIT;

	ref.ref_case = SPAWND__V1__PROCESS_REF__REF_ID;
	ref.id = id;
	start.process = &ref;
	start.follow = follow;
	request.message_case = SPAWND__V1__LOGS_REQUEST__MESSAGE_START;
	request.start = &start;
	return fake_call(&fake, call, "Logs", &request);
}

void test_logs_are_what_is_kept_now_or_what_comes_too(void)
{
	struct call call, now, follow;
	struct child *child;

	fake_begin(&fake);
	child = spawn(&call);
	fake_spawned(child);
	fake_write(child, 1, "one");
	fake_write(child, 2, "two");
	logs(&now, child->id, false);
	CU_ASSERT_STRING_EQUAL(now.log, "output 1@0 one\noutput 2@0 two\nend\n");
	logs(&follow, child->id, true);
	fake_write(child, 1, "three");
	fake_pump(&follow);
	CU_ASSERT_STRING_EQUAL(follow.log, "output 1@0 one\noutput 2@0 two\noutput 1@3 three\n");
	fake_exited(child);
	fake_closed(child);
	fake_pump(&follow);
	CU_ASSERT_TRUE(follow.ended);
	fake_pump(&call);
	fake_end_all(&fake);
}

void test_logs_of_a_process_without_output_end_at_once(void)
{
	struct call call, now;
	struct child *child;

	fake_begin(&fake);
	child = spawn(&call);
	fake_spawned(child);
	logs(&now, child->id, false);
	CU_ASSERT_STRING_EQUAL(now.log, "end\n");
	fake_vanish(&call);
	fake_end_all(&fake);
}

/* ---- Run ---- */

static struct child *run(struct call *call, const char *input, bool cut_head)
{
	Spawnd__V1__RunRequest request = SPAWND__V1__RUN_REQUEST__INIT;
	Spawnd__V1__RunStart start = SPAWND__V1__RUN_START__INIT;
	Spawnd__V1__Stdio stdio = SPAWND__V1__STDIO__INIT, *list[] = {&stdio};
	Spawnd__V1__Capture capture = SPAWND__V1__CAPTURE__INIT;

	start.spec = spec_of("prog");
	if (cut_head) {
		stdio.slot = 1;
		capture.limit = 4;
		capture.policy = SPAWND__V1__CAPTURE__POLICY__POLICY_CUT_HEAD;
		stdio.capture = &capture;
		start.spec->stdio = list;
		start.spec->n_stdio = 1;
	}
	if (input) {
		start._input_case = SPAWND__V1__RUN_START___INPUT_INPUT;
		start.input = (ProtobufCBinaryData){.len = strlen(input), .data = (uint8_t *)input};
	}
	request.message_case = SPAWND__V1__RUN_REQUEST__MESSAGE_START;
	request.start = &start;
	CU_ASSERT_EQUAL(fake_call(&fake, call, "Run", &request), 0);
	return fake.children.list[fake.children.count - 1];
}

void test_run_writes_its_input_and_ends_with_a_result(void)
{
	struct child *child;
	struct call call;

	fake_begin(&fake);
	child = run(&call, "words", false);
	CU_ASSERT_EQUAL(child->spec->slots[0].kind, SLOT_PIPE_IN);
	fake_spawned(child);
	CU_ASSERT_STRING_EQUAL(child->input, "words");
	CU_ASSERT_TRUE(child->input_ended);
	fake_write(child, 1, "out");
	fake_pump(&call);
	child->cut[1] = 7;
	fake_exited(child);
	fake_closed(child);
	fake_pump(&call);
	/* the bytes of a RunReply's output are those of a ProcessEvent's: the fake shows its name only */
	CU_ASSERT_STRING_EQUAL(call.log, "spawned\noutput\nresult cut 1@0+7\nend\n");
	fake_end_all(&fake);
}

void test_run_without_input_has_none(void)
{
	struct child *child;
	struct call call;

	fake_begin(&fake);
	child = run(&call, NULL, false);
	CU_ASSERT_EQUAL(child->spec->slots[0].kind, SLOT_NULL);
	fake_vanish(&call);
	CU_ASSERT_STRING_EQUAL(child->acts, "disconnected\n");
	fake_end_all(&fake);
}

void test_run_sends_the_last_bytes_at_the_end(void)
{
	struct child *child;
	struct call call;

	fake_begin(&fake);
	child = run(&call, NULL, true);
	fake_spawned(child);
	fake_write(child, 1, "0123456789");
	fake_write(child, 2, "err");
	fake_pump(&call);
	CU_ASSERT_STRING_EQUAL(call.log, "spawned\noutput\n");
	child->retained[1] = child->cut[1] = 6;
	fake_exited(child);
	fake_closed(child);
	fake_pump(&call);
	CU_ASSERT_STRING_EQUAL(call.log, "spawned\noutput\noutput\nresult cut 1@0+6\nend\n");
	CU_ASSERT_EQUAL(call.bytes, (1 << 20) - 3 - 4);
	fake_end_all(&fake);
}
