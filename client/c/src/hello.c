/* Opening the session: what this process has, its children shall have. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/rlimits.h"
#include "internal.h"
#include "spawnd/v1/admin.pb-c.h"

#define PROTOCOL 1
#define KEY_SIZE 16

extern char **environ;

struct context {
	Spawnd__V1__ClientContext message;
	char cwd[PATH_MAX];
	ProtobufCBinaryData *env;
	Spawnd__V1__Rlimit rlimits[RLIMITS], *rlimit_list[RLIMITS];
};

/* The umask, as the kernel tells it since Linux 4.7. umask(2) can only be read by changing it for every thread. */
static bool read_umask(uint32_t *mask_out)
{
	FILE *file = fopen("/proc/self/status", "re");
	char line[256];
	bool found = false;

	if (!file)
		return false;
	while (!found && fgets(line, sizeof(line), file))
		found = sscanf(line, "Umask: %o", mask_out) == 1;
	fclose(file);
	return found;
}

static void fill_rlimits(struct context *context)
{
	for (size_t i = 0; i < RLIMITS; i++) {
		struct rlimit limit;
		int resource;
		const char *name = rlimits_name(i, &resource);

		if (getrlimit((__rlimit_resource_t)resource, &limit) < 0)
			continue;
		spawnd__v1__rlimit__init(&context->rlimits[i]);
		context->rlimits[i].name = (char *)name;
		context->rlimits[i].soft = limit.rlim_cur;
		context->rlimits[i].hard = limit.rlim_max;
		context->rlimit_list[context->message.n_rlimits++] = &context->rlimits[i];
	}
	context->message.rlimits = context->rlimit_list;
}

/* Only entries that are assignments: anything else would be refused. */
static void fill_env(struct context *context)
{
	size_t count = 0;

	for (char **at = environ; at && *at; at++)
		count++;
	context->env = mem_alloc(count * sizeof(*context->env));
	for (char **at = environ; at && *at; at++) {
		const char *sign = strchr(*at, '=');

		if (sign && sign != *at)
			context->env[context->message.n_env++] = (ProtobufCBinaryData){.len = strlen(*at), .data = (uint8_t *)*at};
	}
	context->message.env = context->env;
}

/* The directory that children inherit. 0, or the errno of a process that has none: removed, or outside of its root. */
static int fill_cwd(struct context *context)
{
	if (!getcwd(context->cwd, sizeof(context->cwd)))
		return errno;
	if (context->cwd[0] != '/')
		return ENOENT;
	context->message.cwd = (ProtobufCBinaryData){.len = strlen(context->cwd), .data = (uint8_t *)context->cwd};
	return 0;
}

static void fill_context(struct context *context)
{
	spawnd__v1__client_context__init(&context->message);
	if (read_umask(&context->message.umask))
		context->message._umask_case = SPAWND__V1__CLIENT_CONTEXT___UMASK_UMASK;
	fill_env(context);
	fill_rlimits(context);
}

int hello_prepare(struct spawnd *client, struct spawnd_error *error)
{
	Spawnd__V1__HelloRequest request = SPAWND__V1__HELLO_REQUEST__INIT;
	struct context context = {.env = NULL};
	char *features[] = {(char *)"fd_passing"};
	uint8_t key[KEY_SIZE];

	request.client = (char *)"libspawnd " SPAWND_VERSION;
	request.version = PROTOCOL;
	request.features = features;
	request.n_features = 1;
	if (getrandom(key, sizeof(key), 0) == (ssize_t)sizeof(key))
		request.session_key = (ProtobufCBinaryData){.len = sizeof(key), .data = key};
	if (!(client->flags & SPAWND_NO_CONTEXT)) {
		fill_context(&context);
		client->cwd_errno = fill_cwd(&context);
		request.context = &context.message;
	}
	client->hello = mem_alloc(spawnd__v1__hello_request__get_packed_size(&request));
	client->hello_size = spawnd__v1__hello_request__pack(&request, client->hello);
	free(context.env);
	if (client->hello_size > FRAME_LENGTH_MAX - 4096)
		return error_set(error, SPAWND_RESOURCE_EXHAUSTED, "the environment of this process is over the limit of 4 MiB");
	return 0;
}

static void on_end(void *context, const struct spawnd_error *error, const uint8_t *reply, size_t size)
{
	struct spawnd *client = context;

	if (!error) {
		reconnect_done(client);
	} else if (!client->lost) {
		error_copy(&client->why, error);
		client_fail(client);
	}
}

static enum stream_fate on_lost(void *context)
{
	return STREAM_DROPPED;
}

void hello_say(struct spawnd *client)
{
	static const struct stream_observer observer = {.on_end = on_end, .on_lost = on_lost};

	stream_open_packed(client, SERVICE_ADMIN, "Hello", client->hello, client->hello_size, &observer, client);
}
