/* pool: processes of one template that share sockets. */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "client.h"
#include "cmd_run.h"
#include "format.h"
#include "json.h"
#include "spawnd/v1/pools.pb-c.h"
#include "spec.h"

#define POOLS "spawnd.v1.Pools"
#define WORKERS_MAX 512

/* The options of run come first: their functions take this for theirs. */
struct pool_options {
	struct run_options run;
	uint32_t size; /* 0: auto */
	struct words listen;
	struct maybe ready_after_ms;
};

static bool set_size(void *target, const char *value, struct why *why)
{
	int64_t size = 0;

	if (strcmp(value, "auto") != 0 && !value_number(value, 1, WORKERS_MAX, &size, why))
		return false;
	((struct pool_options *)target)->size = (uint32_t)size;
	return true;
}

static bool set_listen(void *target, const char *value, struct why *why)
{
	words_add(&((struct pool_options *)target)->listen, value);
	return true;
}

static bool set_policy(void *target, const char *value, struct why *why)
{
	if (strcmp(value, "shared") == 0)
		return true;
	snprintf(why->text, sizeof(why->text), "must be shared");
	return false;
}

static bool set_ready_after(void *target, const char *value, struct why *why)
{
	struct maybe *maybe = &((struct pool_options *)target)->ready_after_ms;

	maybe->set = true;
	return value_duration_ms(value, &maybe->value, why);
}

static const struct option_row start_rows[] = {
	{"number", 'n', "N|auto", "how many workers (default: as many as there are cores)", set_size},
	{"listen", 0, "ADDRESS", "tcp://HOST:PORT, unix:/PATH or udp://HOST:PORT; may be repeated", set_listen},
	{"policy", 0, "POLICY", "shared: all workers accept from one socket", set_policy},
	{"ready-after", 0, "D", "a worker that has run for so long is ready (default 250ms)", set_ready_after},
	{.name = NULL},
};

static void print_pool(const struct ctl *ctl, const Spawnd__V1__Pool *pool)
{
	static const char *const titles[] = {"INDEX", "PID", "GENERATION", "STATE", "RESTARTS", NULL};
	_cleanup_free_ char *state = json_enum_word(&spawnd__v1__pool_state__descriptor, (int)pool->state);
	struct table *table;
	char text[FORMAT_MAX];

	if (ctl->json) {
		json_print(json_of_message(&pool->base));
		return;
	}
	printf("%s: %s, %u workers\n", pool->name, state ? state : "", pool->size);
	for (size_t i = 0; i < pool->n_listeners; i++)
		printf("listens on %s\n", pool->listeners[i]->address);
	if (pool->why[0])
		printf("%s\n", pool->why);
	table = table_create(titles);
	for (size_t i = 0; i < pool->n_workers; i++) {
		const Spawnd__V1__Worker *worker = pool->workers[i];
		_cleanup_free_ char *word = json_enum_word(&spawnd__v1__worker_state__descriptor, (int)worker->state);

		snprintf(text, sizeof(text), "%u", worker->index);
		table_add(table, text);
		snprintf(text, sizeof(text), "%d", (int)worker->pid);
		table_add(table, worker->pid ? text : "-");
		snprintf(text, sizeof(text), "%u", worker->generation);
		table_add(table, text);
		table_add(table, word ? word : "");
		snprintf(text, sizeof(text), "%u", worker->restarts);
		table_add(table, text);
	}
	table_print(table, stdout, 0);
	table_destroy(table);
}

/* A call that answers with a pool; prints it where that is the answer. */
static int call_pool(struct ctl *ctl, const char *about, const char *method, const ProtobufCMessage *request, bool print)
{
	ProtobufCMessage *reply;

	if (!client_call(ctl, about, POOLS, method, request, &spawnd__v1__pool__descriptor, &reply))
		return EXIT_FAILED;
	if (print || ctl->json)
		print_pool(ctl, (const Spawnd__V1__Pool *)reply);
	protobuf_c_message_free_unpacked(reply, NULL);
	return EXIT_DONE;
}

static Spawnd__V1__PoolRef ref_of(const char *text)
{
	struct spawnd_ref ref = client_ref(text);
	Spawnd__V1__PoolRef message = SPAWND__V1__POOL_REF__INIT;

	if (ref.name) {
		message.ref_case = SPAWND__V1__POOL_REF__REF_NAME;
		message.name = (char *)ref.name;
	} else {
		message.ref_case = SPAWND__V1__POOL_REF__REF_ID;
		message.id = ref.id;
	}
	return message;
}

/* ---- start ---- */

static int create(struct ctl *ctl, const struct pool_options *options, const char *name, struct spawnd_spec *template)
{
	Spawnd__V1__CreatePoolRequest request = SPAWND__V1__CREATE_POOL_REQUEST__INIT;
	Spawnd__V1__PoolSpec spec = SPAWND__V1__POOL_SPEC__INIT;
	_cleanup_free_ Spawnd__V1__ListenerSpec *listeners = mem_alloc((options->listen.count + 1) * sizeof(*listeners));
	_cleanup_free_ Spawnd__V1__ListenerSpec **list = mem_alloc((options->listen.count + 1) * sizeof(*list));
	char key[CLIENT_KEY_SIZE];
	int status = client_open(ctl);

	if (status != EXIT_DONE)
		return status;
	for (size_t i = 0; i < options->listen.count; i++) {
		spawnd__v1__listener_spec__init(&listeners[i]);
		listeners[i].address = options->listen.word[i];
		list[i] = &listeners[i];
	}
	spec.name = (char *)name;
	spec.template_ = &template->message;
	spec.size = options->size;
	spec.listeners = list;
	spec.n_listeners = options->listen.count;
	spec._ready_after_ms_case = options->ready_after_ms.set ? SPAWND__V1__POOL_SPEC___READY_AFTER_MS_READY_AFTER_MS : 0;
	spec.ready_after_ms = options->ready_after_ms.value;
	request.spec = &spec;
	request.wait = true;
	client_key(ctl->client, key);
	request.idempotency_key = key;
	return call_pool(ctl, name, "Create", &request.base, false);
}

/* Of pool start, from argv[0] = "start" on. */
static int start(struct ctl *ctl, int argc, char **argv)
{
	const struct option_row *const tables[] = {start_rows, run_option_rows, NULL};
	struct pool_options options = {0};
	struct spawnd_spec *template = NULL;
	const char *name;
	int first = options_parse("pool start", tables, &options, argc, argv, false), status = EXIT_USAGE;

	if (first == OPTIONS_HELP) {
		printf("Usage: spawnctl pool start --name NAME [OPTION...] [--] COMMAND [ARGUMENT...]\n\n");
		options_print_help(start_rows, stdout);
		options_print_help(run_option_rows, stdout);
		status = EXIT_DONE;
	} else if (first >= 0 && first >= argc) {
		status = ctl_usage(ctl, "start needs a command");
	} else if (first >= 0 && !options.run.name) {
		status = ctl_usage(ctl, "start needs --name");
	} else if (first >= 0) {
		name = options.run.name;
		options.run.name = NULL;
		template = spec_build(ctl, &options.run, (const char *const *)argv + first, NULL);
		status = template ? create(ctl, &options, name, template) : EXIT_FAILED;
	}
	spawnd_spec_free(template);
	words_clear(&options.listen);
	run_options_clear(&options.run);
	return status;
}

/* ---- the others ---- */

static int list(struct ctl *ctl, const char *unused, const char *unused_value)
{
	static const char *const titles[] = {"ID", "NAME", "STATE", "SIZE", "LISTENS", NULL};
	Spawnd__V1__ListPoolsRequest request = SPAWND__V1__LIST_POOLS_REQUEST__INIT;
	const Spawnd__V1__ListPoolsReply *answer;
	ProtobufCMessage *reply;
	struct table *table;
	char text[FORMAT_MAX];

	if (!client_call(ctl, NULL, POOLS, "List", &request.base, &spawnd__v1__list_pools_reply__descriptor, &reply))
		return EXIT_FAILED;
	answer = (const Spawnd__V1__ListPoolsReply *)reply;
	table = table_create(titles);
	for (size_t i = 0; i < answer->n_pools; i++) {
		const Spawnd__V1__Pool *pool = answer->pools[i];
		_cleanup_free_ char *state = json_enum_word(&spawnd__v1__pool_state__descriptor, (int)pool->state);

		if (ctl->json) {
			json_print(json_of_message(&pool->base));
			continue;
		}
		snprintf(text, sizeof(text), "%llu", (unsigned long long)pool->id);
		table_add(table, text);
		table_add(table, pool->name);
		table_add(table, state ? state : "");
		snprintf(text, sizeof(text), "%u", pool->size);
		table_add(table, text);
		table_add(table, pool->n_listeners ? pool->listeners[0]->address : "-");
	}
	if (!ctl->json)
		table_print(table, stdout, 0);
	table_destroy(table);
	protobuf_c_message_free_unpacked(reply, NULL);
	return EXIT_DONE;
}

static int status_of(struct ctl *ctl, const char *name, const char *unused)
{
	Spawnd__V1__GetPoolRequest request = SPAWND__V1__GET_POOL_REQUEST__INIT;
	Spawnd__V1__PoolRef ref = ref_of(name);

	request.pool = &ref;
	return call_pool(ctl, name, "Get", &request.base, true);
}

static int scale(struct ctl *ctl, const char *name, const char *value)
{
	Spawnd__V1__ScalePoolRequest request = SPAWND__V1__SCALE_POOL_REQUEST__INIT;
	Spawnd__V1__PoolRef ref = ref_of(name);
	char key[CLIENT_KEY_SIZE];
	struct why why;
	int64_t size;

	if (!value_number(value, 1, WORKERS_MAX, &size, &why))
		return ctl_usage(ctl, "invalid value '%s': %s", value, why.text);
	client_key(ctl->client, key);
	request.pool = &ref;
	request.size = (uint32_t)size;
	request.wait = true;
	request.idempotency_key = key;
	return call_pool(ctl, name, "Scale", &request.base, false);
}

static int stop(struct ctl *ctl, const char *name, const char *unused)
{
	Spawnd__V1__StopPoolRequest request = SPAWND__V1__STOP_POOL_REQUEST__INIT;
	Spawnd__V1__PoolRef ref = ref_of(name);
	char key[CLIENT_KEY_SIZE];

	client_key(ctl->client, key);
	request.pool = &ref;
	request.idempotency_key = key;
	return call_pool(ctl, name, "Stop", &request.base, false);
}

static int rm(struct ctl *ctl, const char *name, const char *unused)
{
	Spawnd__V1__RemovePoolRequest request = SPAWND__V1__REMOVE_POOL_REQUEST__INIT;
	Spawnd__V1__PoolRef ref = ref_of(name);
	ProtobufCMessage *reply;
	char key[CLIENT_KEY_SIZE];

	client_key(ctl->client, key);
	request.pool = &ref;
	request.idempotency_key = key;
	if (!client_call(ctl, name, POOLS, "Remove", &request.base, &spawnd__v1__remove_pool_reply__descriptor, &reply))
		return EXIT_FAILED;
	protobuf_c_message_free_unpacked(reply, NULL);
	return EXIT_DONE;
}

static const struct {
	const char *name;
	int arguments;
	int (*run)(struct ctl *ctl, const char *name, const char *value);
} verbs[] = {
	{"ls", 0, list},
	{"status", 1, status_of},
	{"scale", 2, scale},
	{"stop", 1, stop},
	{"rm", 1, rm},
};

static int run_verb(struct ctl *ctl, size_t verb, int argc, char **argv)
{
	int status;

	if (argc - 1 != verbs[verb].arguments)
		return ctl_usage(ctl, "%s takes %d arguments", verbs[verb].name, verbs[verb].arguments);
	status = client_open(ctl);
	return status == EXIT_DONE ? verbs[verb].run(ctl, argc > 1 ? argv[1] : NULL, argc > 2 ? argv[2] : NULL) : status;
}

static int pool_run(struct ctl *ctl, int argc, char **argv)
{
	int first;

	if (argc > 1 && strcmp(argv[1], "start") == 0)
		return start(ctl, argc - 1, argv + 1);
	if (!ctl_parse(ctl, NULL, argc, argv, true, 1, -1, &first))
		return first;
	for (size_t i = 0; i < array_size(verbs); i++)
		if (strcmp(verbs[i].name, argv[first]) == 0)
			return run_verb(ctl, i, argc - first, argv + first);
	return ctl_usage(ctl, "unknown: %s", argv[first]);
}

static const struct option_row no_rows[] = {{.name = NULL}};

const struct command command_pool = {"pool", "start|ls|status|scale|stop|rm [ARGUMENT...]",
	"processes that share sockets (pool start --help tells more)", no_rows, pool_run};
