/* fork: a process with a message channel; send and disconnect: the channel of any process. */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "client.h"
#include "cmd_run.h"
#include "spec.h"

/* The program that runs a module, by its name; NULL: it is a program itself. */
static const char *interpreter_of(const char *module)
{
	static const char *const endings[][2] = {{".js", "node"}, {".mjs", "node"}, {".cjs", "node"}, {".py", "python3"}};
	size_t length = strlen(module);

	for (size_t i = 0; i < array_size(endings); i++) {
		size_t ending = strlen(endings[i][0]);

		if (length > ending && strcmp(module + length - ending, endings[i][0]) == 0)
			return endings[i][1];
	}
	return NULL;
}

static int fork_spec(struct ctl *ctl, const struct run_options *options, struct spawnd_spec *spec)
{
	struct letters letters = {.own_stdout = options->own_stdout, .keep_open = options->keep_open};
	int status;

	spawnd_spec_set_channel(spec, LETTERS_SLOT, options->serialization == RUN_SERIALIZATION_NATIVE ? SPAWND_NATIVE : SPAWND_JSON);
	if (!spec_slot(options, 0))
		spawnd_spec_set_stdio(spec, 0, SPAWND_NULL);
	status = client_open(ctl);
	if (status == EXIT_DONE)
		status = options->background ? run_background(ctl, options, spec) : run_foreground(ctl, options, spec, &letters);
	letters_finish(&letters);
	return status;
}

static int fork_run(struct ctl *ctl, int argc, char **argv)
{
	struct run_options options = {0};
	_cleanup_free_ const char **words = NULL;
	struct spawnd_spec *spec;
	size_t count = 0;
	int first, status;

	ctl->failure = EXIT_OWN_FAILURE;
	if (!ctl_parse(ctl, &options, argc, argv, false, 1, -1, &first)) {
		run_options_clear(&options);
		return first;
	}
	words = mem_alloc(((size_t)(argc - first) + 2) * sizeof(*words));
	words[0] = interpreter_of(argv[first]);
	count = words[0] ? 1 : 0;
	for (int i = first; i < argc; i++)
		words[count++] = argv[i];
	spec = spec_build(ctl, &options, words, NULL);
	status = spec ? fork_spec(ctl, &options, spec) : EXIT_OWN_FAILURE;
	spawnd_spec_free(spec);
	run_options_clear(&options);
	return status;
}

const struct command command_fork = {
	"fork", "MODULE [ARGUMENT...]", "run a module with a message channel: lines of JSON in and out", fork_option_rows, fork_run};

static const struct option_row no_rows[] = {{.name = NULL}};

static int send_run(struct ctl *ctl, int argc, char **argv)
{
	struct spawnd_outgoing message = {0};
	struct spawnd_error error;
	int first, status;

	if (!ctl_parse(ctl, NULL, argc, argv, true, 2, 2, &first))
		return first;
	status = client_open(ctl);
	if (status != EXIT_DONE)
		return status;
	message.data = argv[first + 1];
	message.size = strlen(argv[first + 1]);
	if (spawnd_send(ctl->client, client_ref(argv[first]), &message, &error) == 0)
		return EXIT_DONE;
	client_error(ctl, argv[first], &error);
	return EXIT_FAILED;
}

const struct command command_send = {"send", "ID JSON", "a message to a process", no_rows, send_run};

static int disconnect_run(struct ctl *ctl, int argc, char **argv)
{
	struct spawnd_error error;
	int first, status;

	if (!ctl_parse(ctl, NULL, argc, argv, true, 1, 1, &first))
		return first;
	status = client_open(ctl);
	if (status != EXIT_DONE)
		return status;
	if (spawnd_disconnect(ctl->client, client_ref(argv[first]), &error) == 0)
		return EXIT_DONE;
	client_error(ctl, argv[first], &error);
	return EXIT_FAILED;
}

const struct command command_disconnect = {"disconnect", "ID", "end our side of a channel", no_rows, disconnect_run};
