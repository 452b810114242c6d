/* Who may do what to whose processes, and what is told of it. */
#include "service/fakes.h"

static struct fake fake;
static Spawnd__V1__ProcessRef ref;

static struct child *start(uint32_t uid)
{
	Spawnd__V1__StartRequest request = SPAWND__V1__START_REQUEST__INIT;
	Spawnd__V1__ProcessSpec spec = SPAWND__V1__PROCESS_SPEC__INIT;
	ProtobufCBinaryData argv[] = {{.len = 4, .data = (uint8_t *)"prog"}};
	struct call call;

	spec.argv = argv;
	spec.n_argv = 1;
	if (uid) {
		spec._uid_case = SPAWND__V1__PROCESS_SPEC___UID_UID;
		spec.uid = uid;
	}
	request.spec = &spec;
	request.idempotency_key = (char *)"";
	if (fake_call(&fake, &call, "Start", &request) < 0) {
		CU_ASSERT_EQUAL(call.err.status, STATUS_PERMISSION_DENIED);
		return NULL;
	}
	fake_spawned(fake.children.list[fake.children.count - 1]);
	return fake.children.list[fake.children.count - 1];
}

static Spawnd__V1__ProcessRef *ref_of(const struct child *child)
{
	spawnd__v1__process_ref__init(&ref);
	ref.ref_case = SPAWND__V1__PROCESS_REF__REF_ID;
	ref.id = child->id;
	return &ref;
}

static int get(const struct child *child)
{
	Spawnd__V1__GetRequest request = SPAWND__V1__GET_REQUEST__INIT;
	struct call call;

	request.process = ref_of(child);
	return fake_call(&fake, &call, "Get", &request);
}

static int resize(const struct child *child)
{
	Spawnd__V1__ResizeRequest request = SPAWND__V1__RESIZE_REQUEST__INIT;
	struct call call;

	request.process = ref_of(child);
	fake_call(&fake, &call, "Resize", &request);
	return call.err.status == STATUS_PERMISSION_DENIED ? -EPERM : 0;
}

static int keep(const struct child *child)
{
	Spawnd__V1__SetOnDisconnectRequest request = SPAWND__V1__SET_ON_DISCONNECT_REQUEST__INIT;
	struct call call;

	request.process = ref_of(child);
	request.on_disconnect = SPAWND__V1__ON_DISCONNECT__ON_DISCONNECT_KEEP;
	request.idempotency_key = (char *)"";
	return fake_call(&fake, &call, "SetOnDisconnect", &request);
}

static size_t listed(void)
{
	Spawnd__V1__ListRequest request = SPAWND__V1__LIST_REQUEST__INIT;
	Spawnd__V1__ListReply *reply;
	struct call call;
	size_t count;

	request.name = (char *)"";
	CU_ASSERT_EQUAL(fake_call(&fake, &call, "List", &request), 0);
	reply = spawnd__v1__list_reply__unpack(NULL, call.reply_size, call.reply);
	CU_ASSERT_PTR_NOT_NULL_FATAL(reply);
	count = reply->n_processes;
	spawnd__v1__list_reply__free_unpacked(reply, NULL);
	return count;
}

static struct call *subscribe(struct call *call, const char *type)
{
	Spawnd__V1__SubscribeRequest request = SPAWND__V1__SUBSCRIBE_REQUEST__INIT;
	Spawnd__V1__SubscribeStart begin = SPAWND__V1__SUBSCRIBE_START__INIT;
	char *types[] = {(char *)type};

	begin.since_seq = 1;
	begin.types = types;
	begin.n_types = type ? 1 : 0;
	request.message_case = SPAWND__V1__SUBSCRIBE_REQUEST__MESSAGE_START;
	request.start = &begin;
	fake_call(&fake, call, "Subscribe", &request);
	return call;
}

void test_a_role_is_for_all_processes_and_ownership_for_ones_own(void)
{
	struct child *own, *others;

	fake_begin(&fake);
	own = start(0);
	others = start(0);
	others->anothers = true;
	fake.lacks = RIGHT_OBSERVE;
	CU_ASSERT_EQUAL(get(own), 0);
	CU_ASSERT_EQUAL(get(others), -EPERM);
	CU_ASSERT_EQUAL(resize(others), 0);
	CU_ASSERT_EQUAL(keep(others), 0);
	fake.lacks = RIGHT_ATTACH;
	CU_ASSERT_EQUAL(get(others), 0);
	CU_ASSERT_EQUAL(resize(own), 0);
	CU_ASSERT_EQUAL(resize(others), -EPERM);
	CU_ASSERT_EQUAL(keep(others), 0);
	fake.lacks = RIGHT_SIGNAL;
	CU_ASSERT_EQUAL(resize(others), 0);
	CU_ASSERT_EQUAL(keep(own), 0);
	CU_ASSERT_EQUAL(keep(others), -EPERM);
	fake_end_all(&fake);
}

void test_list_shows_what_may_be_observed(void)
{
	fake_begin(&fake);
	start(0);
	start(0)->anothers = true;
	CU_ASSERT_EQUAL(listed(), 2);
	fake.lacks = RIGHT_OBSERVE;
	CU_ASSERT_EQUAL(listed(), 1);
	fake_end_all(&fake);
}

void test_events_of_ones_own_processes(void)
{
	struct child *own, *others;
	struct call call, all;

	fake_begin(&fake);
	own = start(0);
	others = start(0);
	others->anothers = true;
	fake.children.observer->on_spawned(fake.children.context, own);
	fake.children.observer->on_spawned(fake.children.context, others);
	subscribe(&all, NULL);
	CU_ASSERT_PTR_NOT_NULL(strstr(all.log, "spawned 2\n"));
	fake.lacks = RIGHT_OBSERVE;
	subscribe(&call, NULL);
	CU_ASSERT_PTR_NOT_NULL(strstr(call.log, "spawned 1\n"));
	CU_ASSERT_PTR_NULL(strstr(call.log, "spawned 2\n"));
	fake_vanish(&call);
	fake_vanish(&all);
	fake_end_all(&fake);
}

void test_audit_is_for_admins_who_ask_for_it(void)
{
	struct child *others;
	struct call call;

	fake_begin(&fake);
	others = start(0);
	others->anothers = true;
	CU_ASSERT_EQUAL(get(others), 0);
	CU_ASSERT_EQUAL(keep(others), 0);
	subscribe(&call, NULL);
	CU_ASSERT_PTR_NULL(strstr(call.log, "audit"));
	fake_vanish(&call);
	subscribe(&call, "audit");
	CU_ASSERT_STRING_EQUAL(call.log, "1 audit 1\n2 audit 1\n");
	fake_vanish(&call);
	fake.lacks = RIGHT_ADMIN;
	subscribe(&call, "audit");
	CU_ASSERT_EQUAL(call.err.status, STATUS_PERMISSION_DENIED);
	CU_ASSERT_EQUAL(fake.service->refused_total, 1);
	fake_end_all(&fake);
}

void test_ids_are_asked_for_before_anything_is_started(void)
{
	fake_begin(&fake);
	CU_ASSERT_PTR_NULL(start(FAKE_FORBIDDEN_UID));
	CU_ASSERT_EQUAL(fake.children.count, 0);
	CU_ASSERT_EQUAL(fake.service->refused_total, 1);
	fake_end_all(&fake);
}

void test_a_flood_of_refusals_is_counted_and_told_in_part(void)
{
	struct call call;

	fake_begin(&fake);
	for (unsigned i = 0; i < 100 * AUDIT_BURST; i++)
		service_refused(fake.service, 7, 8, "Get", "no role");
	CU_ASSERT_EQUAL(fake.service->refused_total, 100 * AUDIT_BURST);
	CU_ASSERT_TRUE(events_last(fake.service->audits) <= 20 * AUDIT_BURST);
	service_refused(fake.service, 9, 8, "Get", "another one is told");
	subscribe(&call, "audit");
	CU_ASSERT_PTR_NOT_NULL(strstr(call.log, "audit 0\n"));
	fake_vanish(&call);
	fake_end_all(&fake);
}
