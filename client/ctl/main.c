/* spawnctl: global options, the table of commands, help. What a command does stands in its cmd_NAME.c. */
#include <fcntl.h>
#include <locale.h>
#include <malloc.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "client.h"
#include "ctl.h"
#include "out.h"

#define KEPT_MEMORY (8 << 20)

static const struct command *const commands[] = {
	&command_run,
	&command_exec,
	&command_fork,
	&command_ps,
	&command_inspect,
	&command_logs,
	&command_attach,
	&command_wait,
	&command_write,
	&command_send,
	&command_disconnect,
	&command_kill,
	&command_stop,
	&command_rm,
	&command_pool,
	&command_events,
	&command_metrics,
	&command_daemon,
};

struct globals {
	struct ctl *ctl;
	bool version;
};

static bool set_socket(void *target, const char *value, struct why *why)
{
	((struct globals *)target)->ctl->socket = value;
	return true;
}

static bool set_json(void *target, const char *value, struct why *why)
{
	((struct globals *)target)->ctl->json = true;
	return true;
}

static bool set_no_autostart(void *target, const char *value, struct why *why)
{
	((struct globals *)target)->ctl->autostart = false;
	return true;
}

static bool set_version(void *target, const char *value, struct why *why)
{
	((struct globals *)target)->version = true;
	return true;
}

static const struct option_row global_rows[] = {
	{"socket", 0, "PATH", "the daemon's socket (default: SPAWND_SOCKET, or the user's own)", set_socket},
	{"json", 0, NULL, "print one JSON value per line", set_json},
	{"no-autostart", 0, NULL, "fail with 69 instead of starting a daemon", set_no_autostart},
	{"version", 'V', NULL, "print the version", set_version},
	{.name = NULL},
};

static void print_help(void)
{
	printf("Usage: spawnctl [--socket PATH] [--json] [--no-autostart] COMMAND [ARGUMENT...]\n\n"
	       "Run and control processes that spawnd owns.\n\nCommands:\n");
	for (size_t i = 0; i < array_size(commands); i++)
		printf("  %-10s %s\n", commands[i]->name, commands[i]->summary);
	printf("\nOptions:\n");
	options_print_help(global_rows, stdout);
	printf("\n'spawnctl COMMAND --help' tells about one command.\n");
}

static const struct command *find_command(const char *name)
{
	for (size_t i = 0; i < array_size(commands); i++)
		if (strcmp(commands[i]->name, name) == 0)
			return commands[i];
	return NULL;
}

/*
 * 0, 1 and 2 are open from here on: no descriptor of our own shall pass for one of them. A stdin that was closed is empty, a
 * stdout still cannot be written, and messages have nowhere else to go.
 */
static void open_standard(void)
{
	static const int modes[] = {[STDIN_FILENO] = O_RDONLY, [STDOUT_FILENO] = O_RDONLY, [STDERR_FILENO] = O_RDWR};

	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
		if (fcntl(fd, F_GETFD) < 0)
			open("/dev/null", modes[fd]);
}

static int run_command(struct ctl *ctl, int argc, char **argv)
{
	int status;

	ctl->command = find_command(argv[0]);
	if (!ctl->command) {
		fprintf(stderr, "spawnctl: unknown command: %s\nTry 'spawnctl --help'.\n", argv[0]);
		return EXIT_USAGE;
	}
	status = ctl->command->run(ctl, argc, argv);
	client_close(ctl);
	return out_finish(ctl, status);
}

int main(int argc, char **argv)
{
	const struct option_row *const tables[] = {global_rows, NULL};
	struct ctl ctl = {.autostart = true, .failure = EXIT_FAILED};
	struct globals globals = {.ctl = &ctl};
	int first;

	open_standard();
	out_open();
	mallopt(M_TRIM_THRESHOLD, KEPT_MEMORY); /* frames come and go: their memory need not go to the kernel and back each time */
	mallopt(M_MMAP_THRESHOLD, KEPT_MEMORY);
	setlocale(LC_CTYPE, "");
	signal(SIGPIPE, SIG_IGN);
	first = options_parse(NULL, tables, &globals, argc, argv, false);
	if (first == OPTIONS_HELP) {
		print_help();
		return out_finish(&ctl, EXIT_DONE);
	}
	if (first < 0)
		return EXIT_USAGE;
	if (globals.version) {
		printf("spawnctl %s\n", SPAWND_VERSION);
		return out_finish(&ctl, EXIT_DONE);
	}
	if (first >= argc) {
		fprintf(stderr, "spawnctl: no command\nTry 'spawnctl --help'.\n");
		return EXIT_USAGE;
	}
	return run_command(&ctl, argc - first, argv + first);
}
