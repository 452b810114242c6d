/* Keys: what they name, how long, how many. */
#include "service/idempotency.h"

#include <CUnit/CUnit.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/ledger.h"
#include "base/mem.h"
#include "spawnd/v1/processes.pb-c.h"

static const struct act_name start = {.uid = 5, .key = "k", .method = "Start", .digest = 7};

void test_a_key_names_what_was_put(void)
{
	struct keys *keys = keys_create(NULL);
	struct known_act known = {.process = 42}, found = {0};
	struct act_name other_user = start;
	struct err err;

	other_user.uid = 6;
	CU_ASSERT_EQUAL(keys_find(keys, &start, 0, &found, &err), 0);
	keys_put(keys, &start, 0, &known);
	CU_ASSERT_EQUAL(keys_find(keys, &start, 1, &found, &err), 1);
	CU_ASSERT_EQUAL(found.process, 42);
	CU_ASSERT_EQUAL(keys_find(keys, &other_user, 1, &found, &err), 0);
	keys_destroy(keys);
}

void test_an_act_without_a_key_is_always_new(void)
{
	struct keys *keys = keys_create(NULL);
	struct act_name nameless = start;
	struct known_act known = {.process = 42}, found;
	struct err err;

	nameless.key = "";
	keys_put(keys, &nameless, 0, &known);
	CU_ASSERT_EQUAL(keys_find(keys, &nameless, 0, &found, &err), 0);
	CU_ASSERT_EQUAL(keys_count(keys), 0);
	keys_destroy(keys);
}

void test_the_same_key_for_another_request_is_refused(void)
{
	struct keys *keys = keys_create(NULL);
	struct known_act known = {.process = 42}, found;
	struct act_name other = start;
	struct err err;

	keys_put(keys, &start, 0, &known);
	other.digest = 8;
	CU_ASSERT_EQUAL(keys_find(keys, &other, 0, &found, &err), -EEXIST);
	CU_ASSERT_EQUAL(err.status, STATUS_ALREADY_EXISTS);
	CU_ASSERT_STRING_EQUAL(err.field, "idempotency_key");
	CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "\"k\""));
	other = start;
	other.method = "Run";
	CU_ASSERT_EQUAL(keys_find(keys, &other, 0, &found, &err), -EEXIST);
	keys_destroy(keys);
}

void test_a_key_that_is_too_long_is_refused(void)
{
	struct keys *keys = keys_create(NULL);
	char text[KEYS_LENGTH_MAX + 2];
	struct act_name name = start;
	struct known_act found;
	struct err err;

	memset(text, 'x', sizeof(text));
	text[KEYS_LENGTH_MAX + 1] = 0;
	name.key = text;
	CU_ASSERT_EQUAL(keys_find(keys, &name, 0, &found, &err), -EINVAL);
	text[KEYS_LENGTH_MAX] = 0;
	CU_ASSERT_EQUAL(keys_find(keys, &name, 0, &found, &err), 0);
	keys_put(keys, &name, 0, &(struct known_act){.process = 1});
	CU_ASSERT_EQUAL(keys_find(keys, &name, 0, &found, &err), 1);
	keys_destroy(keys);
}

void test_replies_are_kept_as_they_were(void)
{
	struct keys *keys = keys_create(NULL);
	struct known_act found;
	uint8_t reply[] = {1, 2, 3};
	struct err err;

	keys_put(keys, &start, 0, &(struct known_act){.pending = keys});
	CU_ASSERT_EQUAL(keys_find(keys, &start, 0, &found, &err), 1);
	CU_ASSERT_PTR_EQUAL(found.pending, keys);
	keys_put(keys, &start, 0, &(struct known_act){.reply = reply, .reply_size = sizeof(reply)});
	reply[0] = 9;
	CU_ASSERT_EQUAL(keys_find(keys, &start, 0, &found, &err), 1);
	CU_ASSERT_PTR_NULL(found.pending);
	CU_ASSERT_EQUAL(found.reply_size, 3);
	CU_ASSERT_EQUAL(found.reply[0], 1);
	CU_ASSERT_EQUAL(keys_count(keys), 1);
	keys_put(keys, &start, 0, &(struct known_act){.reply = reply, .reply_size = 0});
	CU_ASSERT_EQUAL(keys_find(keys, &start, 0, &found, &err), 1);
	CU_ASSERT_PTR_NOT_NULL(found.reply);
	CU_ASSERT_EQUAL(found.reply_size, 0);
	keys_forget(keys, &start);
	CU_ASSERT_EQUAL(keys_find(keys, &start, 0, &found, &err), 0);
	keys_destroy(keys);
}

void test_keys_are_forgotten_after_ten_minutes(void)
{
	struct keys *keys = keys_create(NULL);
	struct known_act found;
	struct err err;

	keys_put(keys, &start, 100, &(struct known_act){.process = 1});
	CU_ASSERT_EQUAL(keys_find(keys, &start, 100 + KEYS_LIFETIME_NS - 1, &found, &err), 1);
	CU_ASSERT_EQUAL(keys_find(keys, &start, 100 + KEYS_LIFETIME_NS, &found, &err), 0);
	CU_ASSERT_EQUAL(keys_count(keys), 0);
	keys_destroy(keys);
}

void test_the_oldest_go_when_there_are_too_many(void)
{
	struct keys *keys = keys_create(NULL);
	struct act_name name = start;
	struct known_act found;
	struct err err;
	char text[32];

	name.key = text;
	for (unsigned i = 0; i <= KEYS_COUNT_MAX; i++) {
		snprintf(text, sizeof(text), "key %u", i);
		keys_put(keys, &name, i, &(struct known_act){.process = i + 1});
	}
	CU_ASSERT_EQUAL(keys_count(keys), KEYS_COUNT_MAX);
	CU_ASSERT_EQUAL(keys_find(keys, &name, KEYS_COUNT_MAX, &found, &err), 1);
	snprintf(text, sizeof(text), "key 0");
	CU_ASSERT_EQUAL(keys_find(keys, &name, KEYS_COUNT_MAX, &found, &err), 0);
	keys_destroy(keys);
}

void test_the_oldest_go_when_replies_are_too_large(void)
{
	static uint8_t large[1 << 20];
	struct keys *keys = keys_create(NULL);
	struct act_name name = start;
	char text[32];

	name.key = text;
	for (unsigned i = 0; i < 40; i++) {
		snprintf(text, sizeof(text), "key %u", i);
		keys_put(keys, &name, i, &(struct known_act){.reply = large, .reply_size = sizeof(large)});
	}
	CU_ASSERT_EQUAL(keys_count(keys), KEYS_BYTES_MAX / sizeof(large));
	keys_destroy(keys);
}

void test_requests_are_told_apart_by_content(void)
{
	Spawnd__V1__SignalRequest one = SPAWND__V1__SIGNAL_REQUEST__INIT, two = SPAWND__V1__SIGNAL_REQUEST__INIT;

	one.signal = 15;
	two.signal = 15;
	CU_ASSERT_EQUAL(keys_digest(&one.base), keys_digest(&two.base));
	two.signal = 9;
	CU_ASSERT_NOT_EQUAL(keys_digest(&one.base), keys_digest(&two.base));
}

static enum act_outcome outcome;

static enum act_outcome settle(void *context, const char *method, const struct act_intent *intent, uint8_t **reply_out, size_t *size_out)
{
	CU_ASSERT_EQUAL(intent->process, 7);
	CU_ASSERT_EQUAL(intent->signals, 40);
	CU_ASSERT_STRING_EQUAL(method, "Signal");
	if (outcome == ACT_DONE) {
		*reply_out = mem_dup("done", 4);
		*size_out = 4;
	}
	return outcome;
}

/* What a later engine finds of an act that was begun, and answered or not; how many acts it knows. */
static int find_later(bool answered, enum act_outcome came, size_t *reply_size_out, size_t *count_out)
{
	const struct act_name name = {.uid = 1, .key = "key", .method = "Signal", .digest = 5};
	const struct known_act known = {.intent = {.process = 7, .signals = 40, .exact = true}};
	const struct known_act answer = {.reply = (const uint8_t *)"answer", .reply_size = 6};
	struct known_act found = {0};
	struct err err = {0};
	int fd, done;
	struct ledger *first = ledger_create(&fd, &err), *second = ledger_open(fd, &err);
	struct keys *before = keys_create(first), *after = keys_create(second);

	keys_put(before, &name, 0, &known);
	if (answered)
		keys_put(before, &name, 0, &answer);
	outcome = came;
	keys_recover(after, settle, NULL);
	done = keys_find(after, &name, 0, &found, &err);
	*reply_size_out = found.reply_size;
	*count_out = keys_count(after);
	keys_destroy(after);
	keys_destroy(before);
	ledger_close(second);
	ledger_close(first);
	return done;
}

void test_an_act_that_was_begun_is_settled_by_the_next_engine(void)
{
	size_t reply_size, count;

	CU_ASSERT_EQUAL(find_later(true, ACT_UNKNOWN, &reply_size, &count), 1);
	CU_ASSERT_EQUAL(reply_size, 6);
	CU_ASSERT_EQUAL(find_later(false, ACT_DONE, &reply_size, &count), 1);
	CU_ASSERT_EQUAL(reply_size, 4);
	CU_ASSERT_EQUAL(find_later(false, ACT_NEVER, &reply_size, &count), 0);
	CU_ASSERT_EQUAL(count, 0);
	CU_ASSERT_EQUAL(find_later(false, ACT_UNKNOWN, &reply_size, &count), -ECANCELED);
	CU_ASSERT_EQUAL(count, 1);
}
