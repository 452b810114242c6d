/* Words in braces, and the spec of one worker. */
#include <CUnit/CUnit.h>
#include <errno.h>
#include <string.h>

#include "base/buf.h"
#include "pool/template.h"

static const unsigned ports[] = {8080, 0};

static bool becomes(const char *text, const char *expected)
{
	struct buf out = {0};
	bool same;

	template_expand((const uint8_t *)text, strlen(text), ports, 2, &out);
	same = out.length == strlen(expected) && (!out.length || memcmp(out.bytes, expected, out.length) == 0);
	buf_finish(&out);
	return same;
}

void test_words_in_braces(void)
{
	CU_ASSERT_TRUE(becomes("--fd={fd} --port={port}", "--fd=3 --port=8080"));
	CU_ASSERT_TRUE(becomes("{fd:1}{port:1}", "40"));
	CU_ASSERT_TRUE(becomes("fd://{fd:0}", "fd://3"));
}

void test_other_braces_stay(void)
{
	static const char *const texts[] = {"", "{", "{}", "{fd", "{fd:", "{fd:}", "{fd:2}", "{fd:1x}", "{fds}", "{port:99}", "${HOME}"};

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		CU_ASSERT_TRUE(becomes(texts[i], texts[i]));
}

void test_a_worker_is_told_its_sockets_and_who_it_is(void)
{
	ProtobufCBinaryData argv[] = {{4, (uint8_t *)"true"}, {4, (uint8_t *)"{fd}"}};
	Spawnd__V1__ProcessSpec message = SPAWND__V1__PROCESS_SPEC__INIT;
	Spawnd__V1__ListenerSpec listener = SPAWND__V1__LISTENER_SPEC__INIT, *listeners[] = {&listener};
	Spawnd__V1__PoolSpec pool = SPAWND__V1__POOL_SPEC__INIT;
	struct template_worker worker = {.index = 7, .generation = 1, .ports = ports};
	char *env[] = {(char *)"LISTEN_PID=1", (char *)"A=b", NULL};
	struct spec_context context = {.env = env};
	struct spec *template, *spec;
	struct err err;

	message.argv = argv;
	message.n_argv = 2;
	pool.name = (char *)"web";
	pool.template_ = &message;
	pool.listeners = listeners;
	pool.n_listeners = 1;
	listener.name = (char *)"http";
	CU_ASSERT_EQUAL_FATAL(template_check(&pool, &err), 0);
	CU_ASSERT_EQUAL_FATAL(spec_compile(&message, &context, SPEC_START, &template, &err), 0);
	CU_ASSERT_EQUAL_FATAL(template_compile(&pool, template, &worker, &spec, &err), 0);
	CU_ASSERT_STRING_EQUAL(spec->argv[1], "3");
	CU_ASSERT_EQUAL(spec->slot_count, 4);
	CU_ASSERT_EQUAL(spec->slots[3].kind, SLOT_FD);
	CU_ASSERT_EQUAL(spec->message->listen_fds, 1);
	for (size_t i = 0; spec->env[i]; i++) {
		CU_ASSERT_NOT_EQUAL(strncmp(spec->env[i], "LISTEN_PID", 10), 0); /* the child writes it */
		if (strncmp(spec->env[i], "LISTEN_FDNAMES", 14) == 0)
			CU_ASSERT_STRING_EQUAL(spec->env[i], "LISTEN_FDNAMES=http");
		if (strncmp(spec->env[i], "SPAWND_WORKER", 13) == 0)
			CU_ASSERT_STRING_EQUAL(spec->env[i], "SPAWND_WORKER=7");
	}
	spec_unref(spec);
	spec_unref(template);
}

void test_what_a_template_may_not_say(void)
{
	Spawnd__V1__ProcessSpec message = SPAWND__V1__PROCESS_SPEC__INIT;
	Spawnd__V1__Stdio stdio = SPAWND__V1__STDIO__INIT, *list[] = {&stdio};
	Spawnd__V1__PoolSpec pool = SPAWND__V1__POOL_SPEC__INIT;
	struct err err = {0};

	CU_ASSERT_EQUAL(template_check(&pool, &err), -EINVAL);
	CU_ASSERT_STRING_EQUAL(err.field, "spec.template");
	pool.template_ = &message;
	message.stdio = list;
	message.n_stdio = 1;
	stdio.slot = 3;
	CU_ASSERT_EQUAL(template_check(&pool, &err), -EINVAL);
	CU_ASSERT_STRING_EQUAL(err.field, "spec.template.stdio[0]");
	stdio.slot = 1;
	stdio.kind = SPAWND__V1__STDIO__KIND__KIND_FD;
	CU_ASSERT_EQUAL(template_check(&pool, &err), -EINVAL);
	message.n_stdio = 0;
	message.name = (char *)"x";
	CU_ASSERT_EQUAL(template_check(&pool, &err), -EINVAL);
	CU_ASSERT_STRING_EQUAL(err.field, "spec.template.name");
}
