/* The ring of events, who reads it, and what is lost to those who do not. */
#include "service/fakes.h"

static struct fake fake;

static struct call *subscribe(struct call *call, uint64_t since, const char *type, uint64_t process)
{
	Spawnd__V1__SubscribeRequest request = SPAWND__V1__SUBSCRIBE_REQUEST__INIT;
	Spawnd__V1__SubscribeStart start = SPAWND__V1__SUBSCRIBE_START__INIT;
	Spawnd__V1__ProcessRef ref = SPAWND__V1__PROCESS_REF__INIT;
	char *types[] = {(char *)type};

	start.since_seq = since;
	start.types = types;
	start.n_types = type ? 1 : 0;
	ref.ref_case = SPAWND__V1__PROCESS_REF__REF_ID;
	ref.id = process;
	start.process = process ? &ref : NULL;
	request.message_case = SPAWND__V1__SUBSCRIBE_REQUEST__MESSAGE_START;
	request.start = &start;
	fake_call(&fake, call, "Subscribe", &request);
	return call;
}

/* Something that needs no process. */
static void happen(unsigned times)
{
	while (times--)
		events_audit(fake.service->audits, &(struct audit){.uid = 1, .pid = 2, .method = "Spawn"}, "why not", 0);
}

static void grant(struct call *call, unsigned messages)
{
	Spawnd__V1__SubscribeRequest request = SPAWND__V1__SUBSCRIBE_REQUEST__INIT;
	Spawnd__V1__Grant more = SPAWND__V1__GRANT__INIT;

	more.messages = messages;
	request.message_case = SPAWND__V1__SUBSCRIBE_REQUEST__MESSAGE_GRANT;
	request.grant = &more;
	fake_say(call, &request);
}

void test_where_a_subscription_begins_is_told_if_asked(void)
{
	Spawnd__V1__SubscribeRequest request = SPAWND__V1__SUBSCRIBE_REQUEST__INIT;
	Spawnd__V1__SubscribeStart start = SPAWND__V1__SUBSCRIBE_START__INIT;
	char *types[] = {(char *)"audit"};
	struct call call, old;

	fake_begin(&fake);
	happen(3);
	start.announce = true;
	start.types = types;
	start.n_types = 1;
	request.message_case = SPAWND__V1__SUBSCRIBE_REQUEST__MESSAGE_START;
	request.start = &start;
	fake_call(&fake, &call, "Subscribe", &request);
	CU_ASSERT_STRING_EQUAL(call.log, "3 subscribed 0\n");
	start.since_seq = 2;
	fake_call(&fake, &old, "Subscribe", &request);
	CU_ASSERT_STRING_EQUAL(old.log, "1 subscribed 0\n2 audit 0\n3 audit 0\n");
	happen(1);
	fake_pump(&call);
	CU_ASSERT_STRING_EQUAL(call.log, "3 subscribed 0\n4 audit 0\n");
	fake_vanish(&call);
	fake_vanish(&old);
	fake_end_all(&fake);
}

void test_events_are_numbered_from_one(void)
{
	struct call old, fresh;

	fake_begin(&fake);
	happen(3);
	CU_ASSERT_EQUAL(events_last(fake.service->audits), 3);
	subscribe(&old, 2, "audit", 0);
	CU_ASSERT_STRING_EQUAL(old.log, "2 audit 0\n3 audit 0\n");
	subscribe(&fresh, 0, "audit", 0);
	CU_ASSERT_STRING_EQUAL(fresh.log, "");
	happen(1);
	fake_pump(&old);
	fake_pump(&fresh);
	CU_ASSERT_STRING_EQUAL(old.log, "2 audit 0\n3 audit 0\n4 audit 0\n");
	CU_ASSERT_STRING_EQUAL(fresh.log, "4 audit 0\n");
	fake_vanish(&old);
	fake_vanish(&fresh);
	happen(1);
	fake_end_all(&fake);
}

void test_filters_of_events(void)
{
	struct call all, one, wrong, of_process;
	struct spec *spec;
	struct child child = {.id = 7, .state = CHILD_RUNNING};
	struct spec_context context = {.uid = 1, .daemon_uid = 1};
	Spawnd__V1__ProcessSpec message = SPAWND__V1__PROCESS_SPEC__INIT;
	ProtobufCBinaryData argv[] = {{.len = 4, .data = (uint8_t *)"prog"}};
	struct err err;

	fake_begin(&fake);
	message.argv = argv;
	message.n_argv = 1;
	CU_ASSERT_EQUAL_FATAL(spec_compile(&message, &context, SPEC_START, &spec, &err), 0);
	child.spec = spec;
	subscribe(&all, 0, NULL, 0);
	subscribe(&one, 0, "exited", 0);
	subscribe(&of_process, 0, NULL, 7);
	fake.children.observer->on_spawned(fake.children.context, &child);
	happen(1);
	child.state = CHILD_EXITED;
	fake.children.observer->on_exited(fake.children.context, &child);
	fake.children.observer->on_closed(fake.children.context, &child);
	fake.children.observer->on_stopping(fake.children.context, &child, "stop");
	fake.children.observer->on_gap(fake.children.context, &child, 1, 2, 3);
	fake.children.observer->on_removed(fake.children.context, &child);
	child.state = CHILD_FAILED;
	fake.children.observer->on_failed(fake.children.context, &child, &err);
	fake_pump(&all);
	fake_pump(&one);
	fake_pump(&of_process);
	CU_ASSERT_STRING_EQUAL(
		all.log, "1 spawned 7\n2 exited 7\n3 closed 7\n4 stopping 7\n5 output_gap 7\n6 removed 7\n7 spawn_failed 7\n");
	CU_ASSERT_STRING_EQUAL(one.log, "2 exited 7\n");
	CU_ASSERT_STRING_EQUAL(
		of_process.log, "1 spawned 7\n2 exited 7\n3 closed 7\n4 stopping 7\n5 output_gap 7\n6 removed 7\n7 spawn_failed 7\n");
	subscribe(&wrong, 0, "nonsense", 0);
	CU_ASSERT_STRING_EQUAL(wrong.err.field, "types[0]");
	fake_vanish(&all);
	fake_vanish(&one);
	fake_vanish(&of_process);
	spec_unref(spec);
	fake_end_all(&fake);
}

void test_without_credit_events_wait_in_the_ring_and_then_are_a_gap(void)
{
	struct call call;

	fake_begin(&fake);
	subscribe(&call, 1, "audit", 0);
	call.messages = 1;
	happen(3);
	fake_pump(&call);
	CU_ASSERT_STRING_EQUAL(call.log, "1 audit 0\n");
	grant(&call, 1);
	CU_ASSERT_STRING_EQUAL(call.log, "1 audit 0\n2 audit 0\n");
	happen(EVENTS_KEPT);
	fake_pump(&call);
	call.log[0] = '\0';
	grant(&call, 2);
	CU_ASSERT_STRING_EQUAL(call.log, "gap 3-3\n4 audit 0\n");
	happen(2 * EVENTS_KEPT);
	call.log[0] = '\0';
	grant(&call, 3);
	CU_ASSERT_STRING_EQUAL(call.log, "gap 5-8195\n8196 audit 0\n8197 audit 0\n");
	fake_vanish(&call);
	fake_end_all(&fake);
}

void test_a_subscriber_that_cancels_or_starts_twice(void)
{
	Spawnd__V1__SubscribeRequest request = SPAWND__V1__SUBSCRIBE_REQUEST__INIT;
	Spawnd__V1__Cancel cancel = SPAWND__V1__CANCEL__INIT;
	struct call call;

	fake_begin(&fake);
	subscribe(&call, 0, NULL, 0);
	request.message_case = SPAWND__V1__SUBSCRIBE_REQUEST__MESSAGE_CANCEL;
	request.cancel = &cancel;
	CU_ASSERT_EQUAL(fake_say(&call, &request), -ECANCELED);
	subscribe(&call, 0, NULL, 0);
	request.message_case = SPAWND__V1__SUBSCRIBE_REQUEST__MESSAGE__NOT_SET;
	CU_ASSERT_EQUAL(fake_say(&call, &request), -EINVAL);
	fake_end_all(&fake);
}
