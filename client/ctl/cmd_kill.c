/* kill, stop, rm and wait: what is done to processes one after the other. */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "client.h"
#include "json.h"

struct kill_options {
	int signal;
	enum spawnd_scope scope;
	bool grace_set;
	uint64_t grace_ms;
};

static bool set_signal(void *target, const char *value, struct why *why)
{
	return value_signal(value, &((struct kill_options *)target)->signal, why);
}

static bool set_group(void *target, const char *value, struct why *why)
{
	((struct kill_options *)target)->scope = SPAWND_GROUP;
	return true;
}

static bool set_tree(void *target, const char *value, struct why *why)
{
	((struct kill_options *)target)->scope = SPAWND_TREE;
	return true;
}

static bool set_grace(void *target, const char *value, struct why *why)
{
	struct kill_options *options = target;

	options->grace_set = true;
	return value_duration_ms(value, &options->grace_ms, why);
}

static const struct option_row kill_rows[] = {
	{"signal", 's', "SIG", "the signal (default TERM); -9, -HUP are fine too", set_signal},
	{"group", 0, NULL, "to its process group", set_group},
	{"tree", 0, NULL, "to all that it started", set_tree},
	{.name = NULL},
};

static const struct option_row stop_rows[] = {
	{"grace", 0, "D", "from the first signal to KILL (default: the spec's)", set_grace},
	{.name = NULL},
};

/* Prints what a kill did. survivors: whether they are a failure. */
static int report(const struct ctl *ctl, const char *about, const Spawnd__V1__KillReply *reply, bool survivors)
{
	struct json_object *object;

	if (ctl->json) {
		object = json_object_new_object();
		json_object_object_add(object, "process", json_of_bytes(about, strlen(about)));
		json_add_message(object, &reply->base);
		json_print(object);
	}
	if (!survivors || reply->n_survived == 0)
		return EXIT_DONE;
	for (size_t i = 0; i < reply->n_survived; i++)
		ctl_error(ctl, "%s: pid %d survived", about, (int)reply->survived[i]);
	return EXIT_FAILED;
}

/* One call that answers with a KillReply. */
static int call_kill(struct ctl *ctl, const char *about, const char *method, const ProtobufCMessage *request, bool survivors)
{
	ProtobufCMessage *reply;
	int status;

	if (!client_call(ctl, about, PROCESSES, method, request, &spawnd__v1__kill_reply__descriptor, &reply))
		return EXIT_FAILED;
	status = report(ctl, about, (const Spawnd__V1__KillReply *)reply, survivors);
	protobuf_c_message_free_unpacked(reply, NULL);
	return status;
}

/* "-9", "-HUP": a signal, or a number that is none and shall be refused as one. */
static bool is_signal_option(const char *argument)
{
	struct why why;
	int signal;

	if (argument[0] != '-' || argument[1] == '\0' || strcmp(argument, "-s") == 0)
		return false;
	return isdigit((unsigned char)argument[1]) || value_signal(argument + 1, &signal, &why);
}

/* Turns -9 and -HUP into -s 9 and -s HUP: kill(1) takes them. The caller frees the array. */
static char **expand_signals(int *argc, char **argv)
{
	char **expanded = mem_alloc(((size_t)*argc * 2 + 1) * sizeof(*expanded));
	bool options = true, value = true; /* this argument is the command, or what an option is given */
	int count = 0;

	for (int i = 0; i < *argc; i++) {
		options = options && strcmp(argv[i], "--") != 0;
		if (options && !value && is_signal_option(argv[i])) {
			expanded[count++] = (char *)"-s";
			expanded[count++] = argv[i] + 1;
			continue;
		}
		value = !value && (strcmp(argv[i], "-s") == 0 || strcmp(argv[i], "--signal") == 0);
		expanded[count++] = argv[i];
	}
	*argc = count;
	return expanded;
}

static int kill_all(struct ctl *ctl, const struct kill_options *options, int count, char **ids)
{
	Spawnd__V1__SignalRequest request = SPAWND__V1__SIGNAL_REQUEST__INIT;
	char key[CLIENT_KEY_SIZE];
	int status = client_open(ctl);

	if (status != EXIT_DONE)
		return status;
	for (int i = 0; i < count; i++) {
		Spawnd__V1__ProcessRef process = ref_message(client_ref(ids[i]));

		request.process = &process;
		request.signal = options->signal;
		request.scope = (Spawnd__V1__KillScope)options->scope;
		client_key(ctl->client, key);
		request.idempotency_key = key;
		if (call_kill(ctl, ids[i], "Signal", &request.base, false) != EXIT_DONE)
			status = EXIT_FAILED;
	}
	return status;
}

static int kill_run(struct ctl *ctl, int argc, char **argv)
{
	struct kill_options options = {.signal = 15};
	_cleanup_free_ char **expanded = expand_signals(&argc, argv);
	int first;

	if (!ctl_parse(ctl, &options, argc, expanded, true, 1, -1, &first))
		return first;
	return kill_all(ctl, &options, argc - first, expanded + first);
}

const struct command command_kill = {"kill", "ID...", "send a signal", kill_rows, kill_run};

static int stop_run(struct ctl *ctl, int argc, char **argv)
{
	Spawnd__V1__StopRequest request = SPAWND__V1__STOP_REQUEST__INIT;
	struct kill_options options = {0};
	char key[CLIENT_KEY_SIZE];
	int first, status;

	if (!ctl_parse(ctl, &options, argc, argv, true, 1, -1, &first))
		return first;
	status = client_open(ctl);
	if (status != EXIT_DONE)
		return status;
	if (options.grace_set) {
		request._grace_ms_case = SPAWND__V1__STOP_REQUEST___GRACE_MS_GRACE_MS;
		request.grace_ms = options.grace_ms;
	}
	for (int i = first; i < argc; i++) {
		Spawnd__V1__ProcessRef process = ref_message(client_ref(argv[i]));

		request.process = &process;
		client_key(ctl->client, key);
		request.idempotency_key = key;
		if (call_kill(ctl, argv[i], "Stop", &request.base, true) != EXIT_DONE)
			status = EXIT_FAILED;
	}
	return status;
}

const struct command command_stop = {"stop", "ID...", "signal, grace, KILL: nothing of the tree is left", stop_rows, stop_run};

static bool set_force(void *target, const char *value, struct why *why)
{
	*(bool *)target = true;
	return true;
}

static const struct option_row rm_rows[] = {
	{"force", 'f', NULL, "kill it and all that it started first", set_force},
	{.name = NULL},
};

/* Forgets one process, named as typed. */
static int rm_one(struct ctl *ctl, const char *word, bool force)
{
	Spawnd__V1__RemoveRequest request = SPAWND__V1__REMOVE_REQUEST__INIT;
	Spawnd__V1__ProcessRef process = ref_message(client_ref(word));
	char key[CLIENT_KEY_SIZE];
	ProtobufCMessage *reply;
	struct json_object *object;

	client_key(ctl->client, key);
	request.process = &process;
	request.idempotency_key = key;
	request.force = force;
	if (!client_call(ctl, word, PROCESSES, "Remove", &request.base, &spawnd__v1__remove_reply__descriptor, &reply))
		return EXIT_FAILED;
	protobuf_c_message_free_unpacked(reply, NULL);
	if (ctl->json) {
		object = json_object_new_object();
		json_object_object_add(object, "removed", json_of_bytes(word, strlen(word)));
		json_print(object);
	}
	return EXIT_DONE;
}

static int rm_run(struct ctl *ctl, int argc, char **argv)
{
	bool force = false;
	int first, status;

	if (!ctl_parse(ctl, &force, argc, argv, true, 1, -1, &first))
		return first;
	status = client_open(ctl);
	for (int i = first; i < argc && ctl->client; i++)
		if (rm_one(ctl, argv[i], force) != EXIT_DONE)
			status = EXIT_FAILED;
	return status;
}

const struct command command_rm = {"rm", "ID...", "forget ended processes and their output", rm_rows, rm_run};

static int wait_run(struct ctl *ctl, int argc, char **argv)
{
	struct spawnd_error error;
	int first, status;

	ctl->failure = EXIT_OWN_FAILURE;
	if (!ctl_parse(ctl, NULL, argc, argv, true, 1, -1, &first))
		return first;
	status = client_open(ctl);
	for (int i = first; i < argc && ctl->client; i++) {
		struct spawnd_info *info;

		if (spawnd_wait(ctl->client, client_ref(argv[i]), false, 0, &info, &error) < 0) {
			client_error(ctl, argv[i], &error);
			status = EXIT_OWN_FAILURE;
			continue;
		}
		status = client_status_of_exit(info->message->exit);
		if (ctl->json)
			json_print(json_of_message(&info->message->base));
		spawnd_info_free(info);
	}
	return status;
}

const struct command command_wait = {"wait", "ID...", "wait until each has ended; the status is that of the last", NULL, wait_run};
