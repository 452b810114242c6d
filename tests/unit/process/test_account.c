/* What processes count as for their user, from the start to the end. */
#include "base/quota.h"
#include "process/child_fixture.h"

static struct fixture fixture;
static struct quotas *quotas;
static struct quota_limits allowed;

static void limits(void *context, uid_t uid, struct quota_limits *out)
{
	*out = allowed;
}

static void open_limited(enum quota quota, uint64_t limit)
{
	for (enum quota each = 0; each < QUOTA_COUNT; each++)
		allowed.of[each] = QUOTA_UNLIMITED;
	allowed.of[quota] = limit;
	fixture_init(&fixture);
	fixture.host.quotas = quotas = quotas_create(limits, NULL);
}

static void close_limited(void)
{
	fixture_finish(&fixture);
	CU_ASSERT_PTR_NULL(quotas_next(quotas, NULL));
	quotas_destroy(quotas);
}

static uint64_t used(enum quota quota)
{
	const struct quota_user *user = quotas_next(quotas, NULL);

	return user ? quota_used(user, quota) : 0;
}

static struct child *create(const char *script, const char *name, struct err *err)
{
	struct request request = {0};

	request_init(&request, script);
	request.spec.name = (char *)name;
	return create_child(&fixture, &request, SPEC_SPAWN, err);
}

/* Kills a child and waits until it is closed; nobody follows it then. */
static void end(struct child *child)
{
	fixture.history[0] = 0;
	child_signal(child, SIGKILL, KILL_CHILD, NULL, NULL);
	run_until(&fixture, "closed");
	child_unobserve(child, &fixture);
}

void test_processes_count_until_they_exit(void)
{
	struct child *first, *second;
	struct err err;

	open_limited(QUOTA_PROCESSES, 2);
	first = create("read x", "", NULL);
	run_until(&fixture, "spawned");
	second = create("read x", "kept", NULL);
	CU_ASSERT_EQUAL(used(QUOTA_PROCESSES), 2);
	CU_ASSERT_PTR_NULL(create("read x", "", &err));
	CU_ASSERT_EQUAL(err.status, STATUS_RESOURCE_EXHAUSTED);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "quota processes of uid"));
	CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "is 2: 2 in use, 1 more asked for"));
	CU_ASSERT_EQUAL(fixture.slots_taken, 2);
	end(first);
	CU_ASSERT_EQUAL(used(QUOTA_PROCESSES), 1);
	fixture.history[0] = 0;
	first = create("read x", "", NULL);
	CU_ASSERT_PTR_NOT_NULL_FATAL(first);
	run_until(&fixture, "spawned");
	end(second); /* has a name, and so stays */
	CU_ASSERT_EQUAL(used(QUOTA_PROCESSES), 2);
	fixture.history[0] = 0;
	second = create("read x", "", NULL); /* but makes room */
	CU_ASSERT_PTR_NOT_NULL_FATAL(second);
	CU_ASSERT_PTR_NULL(children_find_name(fixture.children, "kept"));
	run_until(&fixture, "spawned");
	CU_ASSERT_EQUAL(used(QUOTA_PROCESSES), 2);
	CU_ASSERT_PTR_NULL(create("read x", "", &err));
	end(second);
	CU_ASSERT_EQUAL(used(QUOTA_PROCESSES), 1);
	fixture.history[0] = 0;
	end(first);
	close_limited();
}

void test_descriptors_count_by_the_spec_until_the_process_is_closed(void)
{
	struct child *child;
	struct err err;
	uint64_t one;

	open_limited(QUOTA_DESCRIPTORS, 0);
	CU_ASSERT_PTR_NULL(create("read x", "", &err));
	CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "quota descriptors"));
	CU_ASSERT_EQUAL(fixture.stored, 0);
	allowed.of[QUOTA_DESCRIPTORS] = 100;
	child = create("read x", "", NULL);
	one = used(QUOTA_DESCRIPTORS);
	CU_ASSERT(one >= 6 && one <= 8);
	run_until(&fixture, "spawned");
	CU_ASSERT_EQUAL(used(QUOTA_DESCRIPTORS), one);
	end(child);
	CU_ASSERT_EQUAL(used(QUOTA_DESCRIPTORS), 0);
	close_limited();
}

void test_logs_count_whole_while_open_and_as_what_is_kept_after(void)
{
	struct child *child;
	struct err err;

	open_limited(QUOTA_LOG_BYTES, 700 << 10);
	child = create("echo hello; read x", "", NULL);
	run_until(&fixture, "spawned");
	CU_ASSERT_EQUAL(used(QUOTA_LOG_BYTES), 512 << 10);
	CU_ASSERT_PTR_NULL(create("read x", "", &err));
	CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "quota log-bytes of uid"));
	end(child);
	CU_ASSERT(used(QUOTA_LOG_BYTES) <= 6);
	CU_ASSERT_PTR_NOT_NULL(create("read x", "", NULL));
	children_shutdown(fixture.children, false, stop_loop, fixture.loop);
	loop_run(fixture.loop);
	close_limited();
}

void test_what_has_ended_goes_before_a_new_process_is_refused(void)
{
	struct child *first, *second;
	uint64_t id;

	open_limited(QUOTA_LOG_BYTES, 700 << 10);
	first = create("head -c 250000 /dev/zero; head -c 250000 /dev/zero >&2; exec true", "", NULL);
	id = child_id(first);
	run_until(&fixture, "closed");
	CU_ASSERT_EQUAL(used(QUOTA_LOG_BYTES), 500000);
	fixture.history[0] = 0;
	CU_ASSERT_PTR_NULL(create("read x", "", NULL)); /* somebody follows it */
	child_unobserve(first, &fixture);
	second = create("read x", "", NULL);
	CU_ASSERT_PTR_NOT_NULL_FATAL(second);
	CU_ASSERT_PTR_NULL(children_find(fixture.children, id));
	CU_ASSERT_EQUAL(used(QUOTA_LOG_BYTES), 512 << 10);
	run_until(&fixture, "spawned");
	end(second);
	close_limited();
}

void test_less_waits_for_a_child_whose_user_has_no_memory_left(void)
{
	static uint8_t bytes[CHILD_STDIN_MAX];
	struct child *child;
	uint64_t before;
	ssize_t taken = 0, done;

	open_limited(QUOTA_MEMORY, CHILD_STDIN_MAX);
	child = create("read x; exec sleep 1000", "", NULL);
	run_until(&fixture, "spawned");
	before = used(QUOTA_MEMORY);
	CU_ASSERT(before > 0 && before < 16384);
	while ((done = child_write(child, 0, bytes, sizeof(bytes))) > 0)
		taken += done;
	CU_ASSERT_EQUAL(done, 0);
	CU_ASSERT(taken >= 64 << 10 && taken <= (64 + 64) << 10); /* the pipe's own bytes too */
	CU_ASSERT(used(QUOTA_MEMORY) > before);
	end(child);
	CU_ASSERT_EQUAL(used(QUOTA_MEMORY), before);
	close_limited();
}

void test_a_spec_counts_as_memory(void)
{
	struct request request = {0};
	struct err err;

	open_limited(QUOTA_MEMORY, 64 << 10);
	request_init(&request, "true");
	request.argv[3] = (ProtobufCBinaryData){.len = 128 << 10, .data = mem_alloc(128 << 10)};
	memset(request.argv[3].data, 'x', request.argv[3].len);
	request.spec.n_argv = 4;
	CU_ASSERT_PTR_NULL(create_child(&fixture, &request, SPEC_SPAWN, &err));
	CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "quota memory of uid"));
	free(request.argv[3].data);
	close_limited();
}
