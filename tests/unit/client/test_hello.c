/* What a client tells of itself when it has no directory. */
#include "internal.h"

#include <CUnit/CUnit.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "spawnd/v1/admin.pb-c.h"

static void fail(void *context, struct spawnd_info *info, const struct spawnd_error *error)
{
	CU_FAIL("a call that was not sent was answered");
}

/* A client that never was connected: what is refused here needs no daemon. */
static struct spawnd *make_client(unsigned flags)
{
	struct spawnd *client = mem_alloc(sizeof(*client));

	client->flags = flags;
	client->fd = -1;
	CU_ASSERT_EQUAL_FATAL(hello_prepare(client, NULL), 0);
	return client;
}

static void check_refused(struct spawnd *client, const struct spawnd_spec *spec)
{
	static const struct spawnd_handlers none = {.ended = NULL};
	struct spawnd_error error = {.status = SPAWND_OK};

	CU_ASSERT_PTR_NULL(spawnd_spawn(client, spec, SPAWND_BLOCK, 0, &none, NULL, &error));
	CU_ASSERT_STRING_EQUAL(error.field, "spec.cwd");
	CU_ASSERT_STRING_EQUAL(error.code, "ENOENT");
	CU_ASSERT_STRING_EQUAL(error.syscall, "getcwd");
	CU_ASSERT(error.errnum == ENOENT && error.status == SPAWND_NOT_FOUND);
	CU_ASSERT_PTR_NULL(spawnd_start_async(client, spec, NULL, fail, NULL, NULL));
	CU_ASSERT_PTR_NULL(spawnd_run_async(client, spec, NULL, 0, NULL, NULL, NULL));
}

void test_without_a_directory_nothing_inherits_one(void)
{
	static const char *const argv[] = {"true", NULL};
	struct spawnd_spec *spec = spawnd_spec_create(argv);
	char directory[] = "/tmp/spawnd-test-XXXXXX", *before = getcwd(NULL, 0);
	struct spawnd *client;

	CU_ASSERT_FATAL(before && mkdtemp(directory) && chdir(directory) == 0 && rmdir(directory) == 0);
	client = make_client(0);
	check_refused(client, spec);
	spawnd_spec_set_cwd(spec, "/");
	CU_ASSERT_EQUAL(client_check_spec(client, spec, NULL), 0);
	spawnd_close(client);
	spawnd_spec_free(spec);

	spec = spawnd_spec_create(argv);
	client = make_client(SPAWND_NO_CONTEXT);
	CU_ASSERT_EQUAL(client_check_spec(client, spec, NULL), 0);
	spawnd_close(client);
	CU_ASSERT_EQUAL(chdir(before), 0);
	client = make_client(0);
	CU_ASSERT_EQUAL(client_check_spec(client, spec, NULL), 0);
	spawnd_close(client);
	spawnd_spec_free(spec);
	free(before);
}
