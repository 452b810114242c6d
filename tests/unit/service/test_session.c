/* Sessions come back, or what they held is lost. */
#include "service/session.h"

#include <CUnit/CUnit.h>
#include <errno.h>
#include <string.h>

#include "base/loop.h"
#include "base/mem.h"

static struct loop *loop;
static struct sessions *sessions;
static uint64_t lost[16];
static size_t lost_count;

static void on_lost(void *context, uint64_t process)
{
	lost[lost_count++] = process;
	loop_stop(loop);
}

static void begin(void)
{
	loop = loop_create();
	sessions = sessions_create(loop, NULL, on_lost, NULL);
	lost_count = 0;
}

static void end(void)
{
	sessions_destroy(sessions);
	loop_destroy(loop);
}

static Spawnd__V1__HelloRequest hello_of(const char *key)
{
	Spawnd__V1__HelloRequest hello = SPAWND__V1__HELLO_REQUEST__INIT;

	hello.session_key = (ProtobufCBinaryData){.len = strlen(key), .data = (uint8_t *)key};
	return hello;
}

static struct session *open_session(const char *key, bool resumed)
{
	Spawnd__V1__HelloRequest hello = hello_of(key);
	struct session *session = NULL;
	bool was = !resumed;
	struct err err;

	CU_ASSERT_EQUAL(session_open(sessions, 1, &hello, &session, &was, &err), 0);
	CU_ASSERT_EQUAL(was, resumed);
	return session;
}

void test_without_a_session_on_disconnect_is_due_at_once(void)
{
	begin();
	hold_take(sessions, 7);
	hold_lose(sessions, NULL, 7);
	CU_ASSERT_EQUAL(lost_count, 1);
	CU_ASSERT_EQUAL(lost[0], 7);
	end();
}

void test_a_session_without_a_key_holds_nothing(void)
{
	struct session *session;

	begin();
	session = open_session("", false);
	hold_take(sessions, 7);
	hold_lose(sessions, session, 7);
	CU_ASSERT_EQUAL(lost_count, 1);
	session_leave(sessions, session);
	CU_ASSERT_EQUAL(sessions_count(sessions), 0);
	end();
}

void test_the_last_hold_counts(void)
{
	begin();
	hold_take(sessions, 7);
	hold_take(sessions, 7);
	hold_lose(sessions, NULL, 7);
	CU_ASSERT_EQUAL(lost_count, 0);
	hold_lose(sessions, NULL, 7);
	CU_ASSERT_EQUAL(lost_count, 1);
	hold_take(sessions, 8);
	hold_release(sessions, 8);
	hold_take(sessions, 9);
	hold_forget(sessions, 9);
	hold_lose(sessions, NULL, 9);
	CU_ASSERT_EQUAL(lost_count, 1);
	end();
}

void test_a_session_that_does_not_come_back_loses_after_two_seconds(void)
{
	struct session *session;

	begin();
	session = open_session("key", false);
	hold_take(sessions, 7);
	hold_lose(sessions, session, 7);
	session_leave(sessions, session);
	CU_ASSERT_EQUAL(lost_count, 0);
	loop_run(loop);
	CU_ASSERT_EQUAL(lost_count, 1);
	CU_ASSERT_EQUAL(sessions_count(sessions), 0);
	end();
}

static void stop_loop(void *arg)
{
	loop_stop(loop);
}

void test_a_session_that_comes_back_goes_on_holding(void)
{
	struct session *session, *again;
	struct loop_timer *timer;
	uint64_t id;

	begin();
	session = open_session("key", false);
	id = session_id(session);
	hold_take(sessions, 7);
	hold_lose(sessions, session, 7);
	session_leave(sessions, session);
	again = open_session("key", true);
	CU_ASSERT_PTR_EQUAL(again, session);
	CU_ASSERT_EQUAL(session_id(again), id);
	timer = loop_timer_create(loop, stop_loop, NULL);
	loop_timer_set(timer, SESSION_RETURN_US + 200000);
	loop_run(loop);
	CU_ASSERT_EQUAL(lost_count, 0);
	session_leave(sessions, again);
	loop_run(loop);
	CU_ASSERT_EQUAL(lost_count, 1);
	loop_timer_destroy(timer);
	end();
}

void test_sessions_are_their_users(void)
{
	Spawnd__V1__HelloRequest hello = hello_of("key");
	struct session *mine = NULL, *other = NULL;
	struct err err;
	bool resumed;

	begin();
	CU_ASSERT_EQUAL(session_open(sessions, 1, &hello, &mine, &resumed, &err), 0);
	CU_ASSERT_EQUAL(session_open(sessions, 2, &hello, &other, &resumed, &err), 0);
	CU_ASSERT_FALSE(resumed);
	CU_ASSERT_PTR_NOT_EQUAL(mine, other);
	end();
}

void test_many_lost_streams_of_one_session(void)
{
	struct session *session;

	begin();
	session = open_session("key", false);
	for (uint64_t i = 1; i <= 5000; i++) {
		hold_take(sessions, i);
		hold_lose(sessions, session, i);
		hold_forget(sessions, i);
	}
	hold_take(sessions, 9999);
	hold_lose(sessions, session, 9999);
	session_leave(sessions, session);
	loop_run(loop);
	CU_ASSERT_EQUAL(lost_count, 1);
	CU_ASSERT_EQUAL(lost[0], 9999);
	end();
}

void test_contexts_are_checked_and_shared(void)
{
	Spawnd__V1__HelloRequest hello = SPAWND__V1__HELLO_REQUEST__INIT;
	Spawnd__V1__ClientContext context = SPAWND__V1__CLIENT_CONTEXT__INIT;
	ProtobufCBinaryData env[] = {{.len = 3, .data = (uint8_t *)"A=1"}, {.len = 3, .data = (uint8_t *)"B=2"}};
	struct session *one, *two;
	struct spec_context out = {0};
	struct err err;
	bool resumed;

	begin();
	hello.context = &context;
	context.cwd = (ProtobufCBinaryData){.len = 3, .data = (uint8_t *)"a/b"};
	CU_ASSERT_EQUAL(session_open(sessions, 1, &hello, &one, &resumed, &err), -EINVAL);
	CU_ASSERT_STRING_EQUAL(err.field, "context.cwd");
	context.cwd.data = (uint8_t *)"/\0b";
	CU_ASSERT_EQUAL(session_open(sessions, 1, &hello, &one, &resumed, &err), -EINVAL);
	context.cwd.data = (uint8_t *)"/ab";
	context.env = env;
	context.n_env = 2;
	env[1].data = (uint8_t *)"B\0=";
	CU_ASSERT_EQUAL(session_open(sessions, 1, &hello, &one, &resumed, &err), -EINVAL);
	CU_ASSERT_STRING_EQUAL(err.field, "context.env[1]");
	env[1].data = (uint8_t *)"B=2";
	context._umask_case = SPAWND__V1__CLIENT_CONTEXT___UMASK_UMASK;
	context.umask = 01000;
	CU_ASSERT_EQUAL(session_open(sessions, 1, &hello, &one, &resumed, &err), -EINVAL);
	context.umask = 027;
	CU_ASSERT_EQUAL(session_open(sessions, 1, &hello, &one, &resumed, &err), 0);
	CU_ASSERT_EQUAL(session_open(sessions, 1, &hello, &two, &resumed, &err), 0);
	CU_ASSERT_EQUAL(sessions_contexts(sessions), 1);
	session_fill_context(one, &out);
	CU_ASSERT_STRING_EQUAL(out.cwd, "/ab");
	CU_ASSERT_STRING_EQUAL(out.env[0], "A=1");
	CU_ASSERT_STRING_EQUAL(out.env[1], "B=2");
	CU_ASSERT_PTR_NULL(out.env[2]);
	CU_ASSERT_TRUE(out.has_umask);
	CU_ASSERT_EQUAL(out.umask, 027);
	session_leave(sessions, one);
	session_leave(sessions, two);
	CU_ASSERT_EQUAL(sessions_contexts(sessions), 0);
	end();
}

void test_a_key_of_a_session_has_a_limit(void)
{
	Spawnd__V1__HelloRequest hello = SPAWND__V1__HELLO_REQUEST__INIT;
	uint8_t key[SESSION_KEY_MAX + 1] = {0};
	struct session *session;
	struct err err;
	bool resumed;

	begin();
	hello.session_key = (ProtobufCBinaryData){.len = sizeof(key), .data = key};
	CU_ASSERT_EQUAL(session_open(sessions, 1, &hello, &session, &resumed, &err), -EINVAL);
	CU_ASSERT_STRING_EQUAL(err.field, "session_key");
	hello.session_key.len = SESSION_KEY_MAX;
	CU_ASSERT_EQUAL(session_open(sessions, 1, &hello, &session, &resumed, &err), 0);
	end();
}
