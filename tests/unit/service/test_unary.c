/* Calls with one answer: Start, Wait, Signal, Stop, Write, List, Get and those of Admin. */
#include "service/convert.h"
#include "service/fakes.h"
#include "spawnd/v1/admin.pb-c.h"

static struct fake fake;

static int start(struct call *call, const char *key, const char *word)
{
	Spawnd__V1__StartRequest request = SPAWND__V1__START_REQUEST__INIT;
	Spawnd__V1__ProcessSpec spec = SPAWND__V1__PROCESS_SPEC__INIT;
	Spawnd__V1__ProcessSpec__LabelsEntry label = SPAWND__V1__PROCESS_SPEC__LABELS_ENTRY__INIT, *labels[] = {&label};
	Spawnd__V1__Stdio stdio = SPAWND__V1__STDIO__INIT, *list[] = {&stdio};
	ProtobufCBinaryData argv[] = {{.len = strlen(word), .data = (uint8_t *)word}};

	label.key = (char *)"word";
	label.value = (char *)word;
	spec.labels = labels;
	spec.n_labels = 1;
	spec.argv = argv;
	spec.n_argv = 1;
	stdio.kind = SPAWND__V1__STDIO__KIND__KIND_PIPE;
	spec.stdio = list;
	spec.n_stdio = 1;
	request.spec = &spec;
	request.idempotency_key = (char *)key;
	return fake_call(&fake, call, "Start", &request);
}

/* A process that runs. */
static struct child *started(const char *word)
{
	struct call call;
	struct child *child;

	CU_ASSERT_EQUAL(start(&call, "", word), 0);
	child = fake.children.list[fake.children.count - 1];
	fake_spawned(child);
	CU_ASSERT_TRUE(call.ended);
	return child;
}

static Spawnd__V1__ProcessRef *ref_of(uint64_t id)
{
	static Spawnd__V1__ProcessRef ref;

	spawnd__v1__process_ref__init(&ref);
	ref.ref_case = SPAWND__V1__PROCESS_REF__REF_ID;
	ref.id = id;
	return &ref;
}

void test_start_answers_when_it_runs(void)
{
	Spawnd__V1__Process *process;
	struct call call, again, other;

	fake_begin(&fake);
	CU_ASSERT_EQUAL(start(&call, "key", "prog"), 0);
	CU_ASSERT_FALSE(call.ended);
	fake_spawned(fake.children.list[0]);
	CU_ASSERT_TRUE_FATAL(call.ended);
	process = spawnd__v1__process__unpack(NULL, call.reply_size, call.reply);
	CU_ASSERT_EQUAL(process->id, 1);
	CU_ASSERT_EQUAL(process->state, SPAWND__V1__PROCESS_STATE__PROCESS_STATE_RUNNING);
	CU_ASSERT_EQUAL(process->n_argv, 1);
	CU_ASSERT_STRING_EQUAL(process->labels[0]->value, "prog");
	CU_ASSERT_PTR_NULL(process->exit);
	spawnd__v1__process__free_unpacked(process, NULL);
	start(&again, "key", "prog");
	CU_ASSERT_TRUE(again.ended);
	CU_ASSERT_EQUAL(fake.children.count, 1);
	CU_ASSERT_EQUAL(start(&other, "key", "another"), -EEXIST);
	CU_ASSERT_EQUAL(other.err.status, STATUS_ALREADY_EXISTS);
	fake_end_all(&fake);
}

void test_a_client_of_start_that_vanishes(void)
{
	struct call call;

	fake_begin(&fake);
	start(&call, "", "prog");
	fake_vanish(&call);
	fake_spawned(fake.children.list[0]);
	CU_ASSERT_STRING_EQUAL(fake.children.list[0]->acts, "");
	fake_end_all(&fake);
}

static int wait_for(struct call *call, uint64_t id, bool closed, uint64_t timeout_ms)
{
	Spawnd__V1__WaitRequest request = SPAWND__V1__WAIT_REQUEST__INIT;

	request.process = ref_of(id);
	request.closed = closed;
	request.timeout_ms = timeout_ms;
	return fake_call(&fake, call, "Wait", &request);
}

void test_wait_for_exited_or_closed(void)
{
	struct call exited, closed, gone, late;
	Spawnd__V1__Process *process;
	struct child *child;

	fake_begin(&fake);
	child = started("prog");
	wait_for(&exited, 1, false, 0);
	wait_for(&closed, 1, true, 0);
	wait_for(&gone, 1, true, 0);
	fake_vanish(&gone);
	fake_exited(child);
	CU_ASSERT_TRUE(exited.ended);
	CU_ASSERT_FALSE(closed.ended);
	fake_closed(child);
	CU_ASSERT_TRUE(closed.ended);
	wait_for(&late, 1, true, 0);
	CU_ASSERT_TRUE_FATAL(late.ended);
	process = spawnd__v1__process__unpack(NULL, late.reply_size, late.reply);
	CU_ASSERT_EQUAL(process->exit->code, 3);
	CU_ASSERT_EQUAL(process->uptime_ms, 2000);
	CU_ASSERT_TRUE(process->closed);
	CU_ASSERT_EQUAL(process->n_output, 2);
	spawnd__v1__process__free_unpacked(process, NULL);
	CU_ASSERT(wait_for(&late, 2, false, 0) < 0);
	CU_ASSERT_EQUAL(late.err.status, STATUS_NOT_FOUND);
	fake_end_all(&fake);
}

static void stop_loop(void *arg)
{
	loop_stop(arg);
}

void test_wait_has_a_timeout(void)
{
	struct loop_timer *timer;
	struct call call;

	fake_begin(&fake);
	started("prog");
	wait_for(&call, 1, false, 1);
	timer = loop_timer_create(fake.loop, stop_loop, fake.loop);
	loop_timer_set(timer, 20000);
	loop_run(fake.loop);
	loop_timer_destroy(timer);
	CU_ASSERT_EQUAL(call.status, STATUS_DEADLINE_EXCEEDED);
	fake_end_all(&fake);
}

static int signal_it(struct call *call, uint64_t id, int signal, const char *key)
{
	Spawnd__V1__SignalRequest request = SPAWND__V1__SIGNAL_REQUEST__INIT;

	request.process = ref_of(id);
	request.signal = signal;
	request.idempotency_key = (char *)key;
	return fake_call(&fake, call, "Signal", &request);
}

static const struct kill_result killed = {.ended = (const pid_t[]){1000}, .ended_count = 1, .method = "signal", .complete = true};

void test_the_same_signal_is_sent_once(void)
{
	struct call one, two, three;
	struct child *child;

	fake_begin(&fake);
	child = started("prog");
	signal_it(&one, 1, 15, "key");
	signal_it(&two, 1, 15, "key");
	CU_ASSERT_STRING_EQUAL(child->acts, "signal 15 scope 1\n");
	child->killed(child->killed_context, child, &killed);
	CU_ASSERT_TRUE(one.ended && two.ended);
	signal_it(&three, 1, 15, "key");
	CU_ASSERT_TRUE(three.ended);
	CU_ASSERT_EQUAL(three.reply_size, one.reply_size);
	CU_ASSERT_EQUAL(memcmp(three.reply, one.reply, one.reply_size), 0);
	CU_ASSERT_STRING_EQUAL(child->acts, "signal 15 scope 1\n");
	fake_end_all(&fake);
}

void test_a_signal_goes_on_without_its_client(void)
{
	struct call call;
	struct child *child;

	fake_begin(&fake);
	child = started("prog");
	signal_it(&call, 1, 15, "");
	fake_vanish(&call);
	child->killed(child->killed_context, child, &killed);
	signal_it(&call, 1, 15, "");
	fake_vanish(&call);
	fake_end_all(&fake); /* with an act under way */
}

void test_signalling_what_has_ended(void)
{
	struct kill_result result = {0};
	struct call call, probe;
	struct child *child;
	struct err err;

	fake_begin(&fake);
	child = started("prog");
	fake_exited(child);
	err_set(&err, STATUS_NOT_FOUND, "process 1 has ended");
	result.err = &err;
	signal_it(&call, 1, 15, "key");
	child->killed(child->killed_context, child, &result);
	CU_ASSERT_EQUAL(call.status, STATUS_NOT_FOUND);
	signal_it(&probe, 1, 0, "");
	child->killed(child->killed_context, child, &result);
	CU_ASSERT_EQUAL(probe.status, STATUS_OK);
	CU_ASSERT(signal_it(&call, 1, 65, "") < 0);
	CU_ASSERT_STRING_EQUAL(call.err.field, "signal");
	fake_end_all(&fake);
}

void test_stop_takes_the_spec_and_what_is_said(void)
{
	Spawnd__V1__StopRequest request = SPAWND__V1__STOP_REQUEST__INIT;
	struct child *child;
	struct call call;

	fake_begin(&fake);
	child = started("prog");
	request.process = ref_of(1);
	fake_call(&fake, &call, "Stop", &request);
	child->killed(child->killed_context, child, &killed);
	CU_ASSERT_TRUE(call.ended);
	request.signal = 2;
	request._grace_ms_case = SPAWND__V1__STOP_REQUEST___GRACE_MS_GRACE_MS;
	request.grace_ms = 0;
	request.scope = SPAWND__V1__KILL_SCOPE__KILL_SCOPE_CHILD;
	fake_call(&fake, &call, "Stop", &request);
	child->killed(child->killed_context, child, &killed);
	CU_ASSERT_STRING_EQUAL(child->acts, "stop 15 grace 10000 scope 3 stop\nstop 2 grace 0 scope 1 stop\n");
	fake_end_all(&fake);
}

/* ---- Write ---- */

static void write_start(struct call *call)
{
	Spawnd__V1__WriteRequest request = SPAWND__V1__WRITE_REQUEST__INIT;
	Spawnd__V1__WriteStart begin = SPAWND__V1__WRITE_START__INIT;

	begin.process = ref_of(1);
	request.message_case = SPAWND__V1__WRITE_REQUEST__MESSAGE_START;
	request.start = &begin;
	CU_ASSERT_EQUAL(fake_call(&fake, call, "Write", &request), 0);
}

static int write_data(struct call *call, const char *text, bool eof)
{
	Spawnd__V1__WriteRequest request = SPAWND__V1__WRITE_REQUEST__INIT;
	Spawnd__V1__StdinData data = SPAWND__V1__STDIN_DATA__INIT;

	data.data = (ProtobufCBinaryData){.len = strlen(text), .data = (uint8_t *)text};
	data.eof = eof;
	request.message_case = SPAWND__V1__WRITE_REQUEST__MESSAGE_DATA;
	request.data = &data;
	return call->ops->on_message(call, &request.base, &call->err);
}

void test_write_answers_when_all_is_with_the_kernel(void)
{
	struct child *child;
	struct call call, other;

	fake_begin(&fake);
	child = started("prog");
	write_start(&call);
	write_start(&other);
	CU_ASSERT_EQUAL(write_data(&call, "abc", false), 0);
	CU_ASSERT_EQUAL(write_data(&other, "12", false), 0);
	CU_ASSERT_EQUAL(write_data(&call, "def", false), 0);
	call.ops->on_half_close(&call);
	other.ops->on_half_close(&other);
	FAKE_TELL(child, on_stdin_room, child, 0, 4);
	CU_ASSERT_FALSE(call.ended);
	CU_ASSERT_FALSE(other.ended);
	FAKE_TELL(child, on_stdin_room, child, 0, 5);
	CU_ASSERT_STRING_EQUAL(other.log, "written 2\nend\n");
	FAKE_TELL(child, on_stdin_room, child, 0, 8);
	CU_ASSERT_STRING_EQUAL(call.log, "written 6\nend\n");
	CU_ASSERT_STRING_EQUAL(child->input, "abc12def");
	CU_ASSERT_FALSE(child->input_ended);
	fake_end_all(&fake);
}

void test_write_with_eof_closes(void)
{
	struct child *child;
	struct call call;

	fake_begin(&fake);
	child = started("prog");
	write_start(&call);
	write_data(&call, "abc", true);
	CU_ASSERT_TRUE(child->input_ended);
	CU_ASSERT_EQUAL(write_data(&call, "more", false), -EINVAL);
	FAKE_TELL(child, on_stdin_room, child, 0, 3);
	CU_ASSERT_STRING_EQUAL(call.log, "written 3\nend\n");
	fake_end_all(&fake);
}

void test_write_to_a_closed_stdin_fails(void)
{
	struct child *child;
	struct call lost, fine;

	fake_begin(&fake);
	child = started("prog");
	write_start(&fine);
	write_start(&lost);
	write_data(&fine, "abc", false);
	FAKE_TELL(child, on_stdin_room, child, 0, 3);
	write_data(&lost, "def", false);
	child->input_closed = true;
	FAKE_TELL(child, on_stdin_closed, child, 0);
	CU_ASSERT_EQUAL(lost.status, STATUS_FAILED_PRECONDITION);
	CU_ASSERT_STRING_EQUAL(lost.err.code, "EPIPE");
	fine.ops->on_half_close(&fine);
	CU_ASSERT_STRING_EQUAL(fine.log, "written 3\nend\n");
	fake_end_all(&fake);
}

/* ---- List, Get, Admin ---- */

void test_list_filters(void)
{
	Spawnd__V1__ListRequest request = SPAWND__V1__LIST_REQUEST__INIT;
	Spawnd__V1__ListRequest__LabelsEntry label = SPAWND__V1__LIST_REQUEST__LABELS_ENTRY__INIT, *labels[] = {&label};
	Spawnd__V1__ListReply *reply;
	struct child *child;
	struct call call;

	fake_begin(&fake);
	started("one");
	child = started("two");
	fake_exited(child);
	fake_call(&fake, &call, "List", &request);
	reply = spawnd__v1__list_reply__unpack(NULL, call.reply_size, call.reply);
	CU_ASSERT_EQUAL(reply->n_processes, 1);
	CU_ASSERT_EQUAL(reply->next_after_id, 0);
	spawnd__v1__list_reply__free_unpacked(reply, NULL);
	request.all = true;
	label.key = (char *)"word";
	label.value = (char *)"two";
	request.labels = labels;
	request.n_labels = 1;
	fake_call(&fake, &call, "List", &request);
	reply = spawnd__v1__list_reply__unpack(NULL, call.reply_size, call.reply);
	CU_ASSERT_EQUAL(reply->n_processes, 1);
	CU_ASSERT_EQUAL(reply->processes[0]->id, 2);
	CU_ASSERT_EQUAL(reply->processes[0]->state, SPAWND__V1__PROCESS_STATE__PROCESS_STATE_EXITED);
	spawnd__v1__list_reply__free_unpacked(reply, NULL);
	fake_end_all(&fake);
}

void test_references(void)
{
	Spawnd__V1__GetRequest request = SPAWND__V1__GET_REQUEST__INIT;
	Spawnd__V1__ProcessRef ref = SPAWND__V1__PROCESS_REF__INIT;
	struct call call;

	fake_begin(&fake);
	CU_ASSERT(fake_call(&fake, &call, "Get", &request) < 0);
	CU_ASSERT_STRING_EQUAL(call.err.field, "process");
	request.process = &ref;
	CU_ASSERT(fake_call(&fake, &call, "Get", &request) < 0);
	CU_ASSERT_STRING_EQUAL(call.err.field, "process");
	ref.ref_case = SPAWND__V1__PROCESS_REF__REF_NAME;
	ref.name = (char *)"x";
	CU_ASSERT(fake_call(&fake, &call, "Get", &request) < 0);
	CU_ASSERT_STRING_EQUAL(call.err.message, "no process named x");
	started("prog");
	fake_call(&fake, &call, "Get", (request.process = ref_of(1), &request));
	CU_ASSERT_TRUE(call.ended);
	fake_end_all(&fake);
}

void test_hello_once_and_of_one_version(void)
{
	Spawnd__V1__HelloRequest request = SPAWND__V1__HELLO_REQUEST__INIT;
	char *features[] = {(char *)"something", (char *)"fd_passing"};
	struct call call;

	fake_begin(&fake);
	request.version = 7;
	CU_ASSERT(fake_call(&fake, &call, "Hello", &request) < 0);
	CU_ASSERT_EQUAL(call.err.status, STATUS_FAILED_PRECONDITION);
	CU_ASSERT_PTR_NOT_NULL(strstr(call.err.message, "7"));
	CU_ASSERT_PTR_NOT_NULL(strstr(call.err.message, "1"));
	request.version = 1;
	request.features = features;
	request.n_features = 2;
	CU_ASSERT_EQUAL(fake_call(&fake, &call, "Hello", &request), 0);
	CU_ASSERT_TRUE(fake.peer.fd_passing);
	CU_ASSERT(fake_call(&fake, &call, "Hello", &request) < 0);
	CU_ASSERT_EQUAL(call.err.status, STATUS_FAILED_PRECONDITION);
	fake_end_all(&fake);
}

void test_metrics_are_open_metrics(void)
{
	Spawnd__V1__MetricsRequest request = SPAWND__V1__METRICS_REQUEST__INIT;
	Spawnd__V1__StatsRequest stats_request = SPAWND__V1__STATS_REQUEST__INIT;
	Spawnd__V1__MetricsReply *reply;
	Spawnd__V1__StatsReply *stats;
	struct call call;

	fake_begin(&fake);
	started("prog");
	fake_call(&fake, &call, "Metrics", &request);
	reply = spawnd__v1__metrics_reply__unpack(NULL, call.reply_size, call.reply);
	CU_ASSERT_PTR_NOT_NULL(strstr(reply->text, "\nspawnd_processes 1\n"));
	CU_ASSERT_PTR_NOT_NULL(strstr(reply->text, "le=\"+Inf\"} "));
	CU_ASSERT_STRING_EQUAL(reply->text + strlen(reply->text) - 6, "# EOF\n");
	spawnd__v1__metrics_reply__free_unpacked(reply, NULL);
	fake_call(&fake, &call, "Stats", &stats_request);
	stats = spawnd__v1__stats_reply__unpack(NULL, call.reply_size, call.reply);
	CU_ASSERT_EQUAL(stats->processes, 1);
	CU_ASSERT_STRING_EQUAL(stats->socket, "/s");
	CU_ASSERT_EQUAL(stats->n_loop_passes, LOOP_BUCKETS);
	spawnd__v1__stats_reply__free_unpacked(stats, NULL);
	fake_end_all(&fake);
}

void test_words_of_both_sides(void)
{
	CU_ASSERT_EQUAL(convert_state(CHILD_STARTING), SPAWND__V1__PROCESS_STATE__PROCESS_STATE_STARTING);
	CU_ASSERT_EQUAL(convert_state(CHILD_RUNNING), SPAWND__V1__PROCESS_STATE__PROCESS_STATE_RUNNING);
	CU_ASSERT_EQUAL(convert_state(CHILD_STOPPING), SPAWND__V1__PROCESS_STATE__PROCESS_STATE_STOPPING);
	CU_ASSERT_EQUAL(convert_state(CHILD_EXITED), SPAWND__V1__PROCESS_STATE__PROCESS_STATE_EXITED);
	CU_ASSERT_EQUAL(convert_state(CHILD_FAILED), SPAWND__V1__PROCESS_STATE__PROCESS_STATE_FAILED);
	CU_ASSERT_EQUAL(convert_scope(SPAWND__V1__KILL_SCOPE__KILL_SCOPE_UNSPECIFIED, KILL_GROUP), KILL_GROUP);
	CU_ASSERT_EQUAL(convert_scope(SPAWND__V1__KILL_SCOPE__KILL_SCOPE_CHILD, KILL_GROUP), KILL_CHILD);
	CU_ASSERT_EQUAL(convert_scope(SPAWND__V1__KILL_SCOPE__KILL_SCOPE_TREE, KILL_GROUP), KILL_TREE);
	CU_ASSERT_EQUAL(convert_signal(0, true, "signal", NULL), 0);
	CU_ASSERT_EQUAL(convert_signal(0, false, "signal", NULL), -EINVAL);
	CU_ASSERT_EQUAL(convert_signal(-1, true, "signal", NULL), -EINVAL);
	CU_ASSERT_EQUAL(convert_signal(64, false, "signal", NULL), 0);
}

static int upgrade(struct call *call, const char *path, size_t length)
{
	Spawnd__V1__UpgradeRequest request = SPAWND__V1__UPGRADE_REQUEST__INIT;

	request.path = (ProtobufCBinaryData){.len = length, .data = (uint8_t *)path};
	request.idempotency_key = (char *)"up";
	return fake_call(&fake, call, "Upgrade", &request);
}

void test_upgrade_answers_when_the_other_engine_has(void)
{
	struct err refused = {.status = STATUS_FAILED_PRECONDITION};
	Spawnd__V1__UpgradeReply *reply;
	struct call call, again;

	fake_begin(&fake);
	CU_ASSERT_TRUE(upgrade(&call, "not/absolute", 12) < 0);
	CU_ASSERT_TRUE(upgrade(&call, "/nul\0byte", 9) < 0);
	fake.is_other = true;
	CU_ASSERT_TRUE(upgrade(&call, "/new/engine", 11) < 0);
	CU_ASSERT_EQUAL(call.err.status, STATUS_PERMISSION_DENIED);
	fake.is_other = false;
	CU_ASSERT_EQUAL(upgrade(&call, "/new/engine", 11), 0);
	CU_ASSERT_STRING_EQUAL(fake.upgraded_to, "/new/engine");
	CU_ASSERT_FALSE(call.ended);
	fake.upgraded(fake.upgraded_arg, 0, NULL, &refused);
	CU_ASSERT_TRUE(call.ended);
	CU_ASSERT_EQUAL(call.status, STATUS_FAILED_PRECONDITION);
	fake.upgraded = NULL;
	CU_ASSERT_EQUAL(upgrade(&call, "/new/engine", 11), 0);
	fake.upgraded(fake.upgraded_arg, 4712, "2.0", NULL);
	CU_ASSERT_TRUE(call.ended);
	CU_ASSERT_EQUAL(upgrade(&again, "/new/engine", 11), 0); /* the same key: not once more */
	reply = spawnd__v1__upgrade_reply__unpack(NULL, again.reply_size, again.reply);
	CU_ASSERT_PTR_NOT_NULL_FATAL(reply);
	CU_ASSERT_EQUAL(reply->engine_pid, 4712);
	CU_ASSERT_STRING_EQUAL(reply->version, "2.0");
	spawnd__v1__upgrade_reply__free_unpacked(reply, NULL);
	fake_end_all(&fake);
}
