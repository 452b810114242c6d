/* A plan packed for the link, read back as a launcher reads it. */
#include <CUnit/CUnit.h>
#include <errno.h>
#include <fcntl.h>
#include <pb_decode.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "engine/plan.h"
#include "link/link.h"
#include "process/plan.h"
#include "process/spec.h"
#include "spawnd/runtime/v1/launcher.pb.h"

/* The strings of one field, joined by blanks. */
struct text {
	char bytes[256];
	size_t count;
};

static bool decode_text(pb_istream_t *stream, const pb_field_t *field, void **arg)
{
	struct text *text = *arg;
	char bytes[256] = "";
	size_t length = stream->bytes_left, used;

	if (length >= sizeof(bytes) || !pb_read(stream, (pb_byte_t *)bytes, length))
		return length >= sizeof(bytes) && pb_read(stream, NULL, length);
	used = strlen(text->bytes);
	snprintf(text->bytes + used, sizeof(text->bytes) - used, "%s%s", text->count++ ? " " : "", bytes);
	return true;
}

struct fds {
	spawnd_runtime_v1_PlanFd items[4];
	size_t count;
};

static bool decode_fd(pb_istream_t *stream, const pb_field_t *field, void **arg)
{
	struct fds *fds = *arg;

	return fds->count < 4 && pb_decode(stream, spawnd_runtime_v1_PlanFd_fields, &fds->items[fds->count++]);
}

static struct text argv, env, file, cwd;
static struct fds fds;

static bool unpack(const uint8_t *bytes, size_t size, spawnd_runtime_v1_Plan *message)
{
	pb_istream_t stream = pb_istream_from_buffer(bytes, size);

	memset(&argv, 0, sizeof(argv));
	memset(&env, 0, sizeof(env));
	memset(&file, 0, sizeof(file));
	memset(&cwd, 0, sizeof(cwd));
	memset(&fds, 0, sizeof(fds));
	*message = (spawnd_runtime_v1_Plan){
		.argv = {.funcs.decode = decode_text, .arg = &argv},
		.env = {.funcs.decode = decode_text, .arg = &env},
		.file = {.funcs.decode = decode_text, .arg = &file},
		.cwd = {.funcs.decode = decode_text, .arg = &cwd},
		.fds = {.funcs.decode = decode_fd, .arg = &fds},
	};
	return pb_decode(&stream, spawnd_runtime_v1_Plan_fields, message);
}

static char word_a[] = "a", word_b[] = "b c", variable[] = "X=1", program[] = "prog", directory[] = "/dir";

static struct spec spec_of(char **arguments, char **environment)
{
	return (struct spec){
		.argv = arguments,
		.env = environment,
		.file = program,
		.search_path = "/bin",
		.cwd = directory,
		.umask = 027,
		.set_nice = true,
		.nice = -3,
	};
}

void test_a_plan_is_packed_whole(void)
{
	char *arguments[] = {word_a, word_b, NULL}, *environment[] = {variable, NULL};
	struct spec spec = spec_of(arguments, environment);
	const char *const extra[] = {"SPAWND_ID=7", NULL};
	struct plan_fd slots[] = {
		{.slot = 0, .attached = 0, .same_as = -1},
		{.slot = 2, .attached = -1, .same_as = 1},
	};
	struct plan plan = {.owner = 7,
		.journal_slot = 9,
		.spec = &spec,
		.extra_env = extra,
		.slots = slots,
		.slot_count = 2,
		.controlling_slot = -1,
		.cgroup = 1,
		.cgroup_procs = -1};
	spawnd_runtime_v1_Plan message;
	struct packed_plan packed;
	struct err err;

	CU_ASSERT_EQUAL(plan_pack(&plan, &packed, &err), 0);
	CU_ASSERT_EQUAL(packed.memfd, -1);
	CU_ASSERT_TRUE(unpack(packed.record, packed.size, &message));
	CU_ASSERT_EQUAL(message.owner, 7);
	CU_ASSERT_EQUAL(message.journal_slot, 9);
	CU_ASSERT_STRING_EQUAL(argv.bytes, "a b c");
	CU_ASSERT_EQUAL(argv.count, 2);
	CU_ASSERT_STRING_EQUAL(env.bytes, "X=1 SPAWND_ID=7");
	CU_ASSERT_STRING_EQUAL(file.bytes, "prog");
	CU_ASSERT_STRING_EQUAL(cwd.bytes, "/dir");
	CU_ASSERT_EQUAL(message.umask, 027);
	CU_ASSERT_EQUAL(message.nice, -3);
	CU_ASSERT_EQUAL(message.controlling_slot, -1);
	CU_ASSERT_EQUAL(message.cgroup, 1);
	CU_ASSERT_EQUAL(fds.count, 2);
	CU_ASSERT_EQUAL(fds.items[0].attached, 0);
	CU_ASSERT_EQUAL(fds.items[1].slot, 2);
	CU_ASSERT_EQUAL(fds.items[1].same_as, 1);
	packed_plan_finish(&packed);
	free(spec.plan);
}

/* An environment variable of `size` bytes. */
static char *big_variable(size_t size)
{
	char *text = mem_alloc(size + 1);

	memset(text, 'x', size);
	text[1] = '=';
	return text;
}

void test_a_long_plan_goes_into_a_memfd(void)
{
	_cleanup_free_ char *big = big_variable(100000);
	_cleanup_free_ uint8_t *whole = NULL;
	char *arguments[] = {word_a, NULL}, *environment[] = {big, NULL};
	struct spec spec = spec_of(arguments, environment);
	struct plan plan = {.owner = 7, .journal_slot = 9, .spec = &spec, .controlling_slot = -1, .cgroup = -1, .cgroup_procs = -1};
	spawnd_runtime_v1_Plan message;
	struct packed_plan packed;
	struct stat status;
	struct err err;

	CU_ASSERT_EQUAL(plan_pack(&plan, &packed, &err), 0);
	CU_ASSERT_TRUE(packed.memfd >= 0);
	CU_ASSERT_TRUE(packed.size < 100);
	CU_ASSERT_TRUE(unpack(packed.record, packed.size, &message));
	CU_ASSERT_EQUAL(message.owner, 7);
	CU_ASSERT_EQUAL(message.journal_slot, 9);
	CU_ASSERT_EQUAL(argv.count, 0);
	CU_ASSERT_EQUAL(fstat(packed.memfd, &status), 0);
	CU_ASSERT_TRUE(status.st_size > 100000);
	whole = mem_alloc((size_t)status.st_size);
	CU_ASSERT_EQUAL(read(packed.memfd, whole, (size_t)status.st_size), status.st_size);
	CU_ASSERT_TRUE(unpack(whole, (size_t)status.st_size, &message));
	CU_ASSERT_STRING_EQUAL(argv.bytes, "a");
	packed_plan_finish(&packed);
}

void test_a_monster_is_refused_in_the_words_of_node(void)
{
	_cleanup_free_ char *big = big_variable(PLAN_MAX);
	char *arguments[] = {word_a, NULL}, *environment[] = {big, NULL};
	struct spec spec = spec_of(arguments, environment);
	struct plan plan = {.spec = &spec};
	struct packed_plan packed;
	struct err err;

	CU_ASSERT_EQUAL(plan_pack(&plan, &packed, &err), -E2BIG);
	CU_ASSERT_STRING_EQUAL(err.code, "E2BIG");
	CU_ASSERT_EQUAL(strncmp(err.syscall, "spawn ", 6), 0);
}
