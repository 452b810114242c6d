/* run and exec: a process of ours, in the foreground or left in the background. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "client.h"
#include "cmd_run.h"
#include "json.h"
#include "relay.h"
#include "run_options.h"
#include "spec.h"

/* Prints what run -d prints. */
static int print_started(struct ctl *ctl, uint64_t id)
{
	Spawnd__V1__GetRequest request = SPAWND__V1__GET_REQUEST__INIT;
	Spawnd__V1__ProcessRef process = ref_message((struct spawnd_ref){.id = id});
	ProtobufCMessage *reply;

	if (!ctl->json) {
		printf("%llu\n", (unsigned long long)id);
		return EXIT_DONE;
	}
	request.process = &process;
	if (!client_call(ctl, NULL, PROCESSES, "Get", &request.base, &spawnd__v1__process__descriptor, &reply))
		return EXIT_OWN_FAILURE;
	json_print(json_of_message(reply));
	protobuf_c_message_free_unpacked(reply, NULL);
	return EXIT_DONE;
}

struct launch {
	bool spawned, ended;
	uint64_t id;
	struct spawnd_error error;
};

static void launch_on_spawned(void *context, struct spawnd_process *process, const unsigned *slots, const int *fds, size_t fd_count)
{
	struct launch *launch = context;

	launch->spawned = true;
	launch->id = spawnd_process_id(process);
	for (size_t i = 0; i < fd_count; i++)
		close(fds[i]);
}

static void launch_on_ended(void *context, struct spawnd_process *process, const struct spawnd_error *error)
{
	struct launch *launch = context;

	launch->ended = true;
	if (error)
		launch->error = *error;
}

/* Descriptors of ours can only be sent along with Spawn: opens its stream, and leaves it once the process runs. */
static int start_with_descriptors(struct ctl *ctl, const struct run_options *options, struct spawnd_spec *spec, uint64_t *id_out)
{
	static const struct spawnd_handlers handlers = {.spawned = launch_on_spawned, .ended = launch_on_ended};
	struct launch launch = {0};
	struct spawnd_process *process;
	struct spawnd_error error;

	if (!options->on_disconnect)
		spawnd_spec_set_on_disconnect(spec, SPAWND_DISCONNECT_KEEP);
	process = spawnd_spawn(ctl->client, spec, SPAWND_NO_OUTPUT, 0, &handlers, &launch, &error);
	while (process && !launch.spawned && !launch.ended && spawnd_wait_event(ctl->client, -1, &error) >= 0)
		;
	*id_out = launch.id;
	spawnd_process_free(process);
	if (launch.spawned)
		return EXIT_DONE;
	if (launch.ended)
		error = launch.error;
	client_error(ctl, NULL, &error);
	return client_status_of_error(&error);
}

int run_background(struct ctl *ctl, const struct run_options *options, struct spawnd_spec *spec)
{
	struct spawnd_info *info;
	struct spawnd_error error;
	uint64_t id;
	int status;

	for (size_t i = 0; i < options->stdio_count; i++) {
		if (options->stdio[i].kind != STDIO_FD && options->stdio[i].kind != STDIO_INHERIT)
			continue;
		status = start_with_descriptors(ctl, options, spec, &id);
		return status == EXIT_DONE ? print_started(ctl, id) : status;
	}
	if (spawnd_start(ctl->client, spec, NULL, &info, &error) < 0) {
		client_error(ctl, NULL, &error);
		return client_status_of_error(&error);
	}
	id = spawnd_info_id(info);
	spawnd_info_free(info);
	return print_started(ctl, id);
}

int run_foreground(struct ctl *ctl, const struct run_options *options, const struct spawnd_spec *spec, struct letters *letters)
{
	const struct stdio_value *input = spec_slot(options, 0);
	struct relay relay;
	int status;

	relay_init(&relay, ctl);
	if (letters)
		letters_attach(&relay, letters);
	relay.leave_running = options->on_disconnect == RUN_DISCONNECT_KEEP;
	if (options->drain_timeout_ms.set)
		relay.drain_ms = (int64_t)options->drain_timeout_ms.value;
	relay_take_signals(&relay);
	if (letters || spec_slot_is_ours(options, 0))
		relay_take_input(&relay, STDIN_FILENO, 0, true);
	if (options->tty || (input && input->kind == STDIO_PTY))
		relay_take_terminal(&relay, STDIN_FILENO);
	relay.process = spawnd_spawn(ctl->client, spec, options->reader == RUN_READER_DROP ? SPAWND_DROP : SPAWND_BLOCK,
		options->window.value, &relay_handlers, &relay, &relay.error);
	if (relay.process) {
		spawnd_process_manual(relay.process);
		spawnd_process_pieces(relay.process);
		status = relay_run(&relay);
	} else {
		client_error(ctl, NULL, &relay.error);
		status = EXIT_OWN_FAILURE;
	}
	relay_finish(&relay);
	return status;
}

static int run_spec(struct ctl *ctl, const struct run_options *options, const char *const *argv, const char *line)
{
	struct spawnd_spec *spec = spec_build(ctl, options, argv, line);
	int status;

	if (!spec)
		return EXIT_OWN_FAILURE;
	status = client_open(ctl);
	if (status == EXIT_DONE)
		status = options->background ? run_background(ctl, options, spec) : run_foreground(ctl, options, spec, NULL);
	spawnd_spec_free(spec);
	return status;
}

static int run(struct ctl *ctl, int argc, char **argv)
{
	struct run_options options = {0};
	int first, status;

	ctl->failure = EXIT_OWN_FAILURE;
	if (ctl_parse(ctl, &options, argc, argv, false, 1, -1, &first))
		status = run_spec(ctl, &options, (const char *const *)argv + first, NULL);
	else
		status = first;
	run_options_clear(&options);
	return status;
}

static int exec_line(struct ctl *ctl, int argc, char **argv)
{
	struct run_options options = {0};
	int first, status;

	ctl->failure = EXIT_OWN_FAILURE;
	if (ctl_parse(ctl, &options, argc, argv, false, 1, 1, &first))
		status = run_spec(ctl, &options, NULL, argv[first]);
	else
		status = first;
	run_options_clear(&options);
	return status;
}

const struct command command_run = {"run", "[--] PROGRAM [ARGUMENT...]", "run a program", run_option_rows, run};
const struct command command_exec = {"exec", "'SHELL LINE'", "run a line of shell", run_option_rows, exec_line};
