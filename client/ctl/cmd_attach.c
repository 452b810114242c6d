/* attach and write: a process that somebody else started. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "client.h"
#include "relay.h"
#include "tty.h"

#define CHUNK (256u << 10)

struct attach_options {
	bool eof, no_stdin;
};

static bool set_eof(void *target, const char *value, struct why *why)
{
	((struct attach_options *)target)->eof = true;
	return true;
}

static bool set_no_stdin(void *target, const char *value, struct why *why)
{
	((struct attach_options *)target)->no_stdin = true;
	return true;
}

static const struct option_row attach_rows[] = {
	{"eof", 0, NULL, "close its input at the end of ours", set_eof},
	{"no-stdin", 0, NULL, "output only", set_no_stdin},
	{.name = NULL},
};

static const struct option_row write_rows[] = {
	{"eof", 0, NULL, "close its input at the end of ours", set_eof},
	{.name = NULL},
};

/* The kind of slot 0 of a process. */
static Spawnd__V1__Stdio__Kind input_kind(const Spawnd__V1__Process *process)
{
	for (size_t i = 0; process->spec && i < process->spec->n_stdio; i++)
		if (process->spec->stdio[i]->slot == 0)
			return process->spec->stdio[i]->kind;
	return SPAWND__V1__STDIO__KIND__KIND_UNSPECIFIED;
}

static bool takes_input(const Spawnd__V1__Process *process)
{
	Spawnd__V1__Stdio__Kind kind = input_kind(process);

	return kind == SPAWND__V1__STDIO__KIND__KIND_PIPE || kind == SPAWND__V1__STDIO__KIND__KIND_PTY;
}

/* Tells a person why typing will do nothing. Where nobody watches, stderr is the child's alone. */
static void explain(const struct ctl *ctl, const char *id, const Spawnd__V1__Process *process)
{
	if (!isatty(STDIN_FILENO) || !isatty(STDERR_FILENO))
		return;
	if (process->exit)
		ctl_error(ctl, "%s: it has ended; 'spawnctl logs %s' shows what it wrote", id, id);
	else
		ctl_error(ctl, "%s: its stdin is no pipe or terminal: what you type does not reach it", id);
}

/* Our input goes to it where it can take any; with a terminal ours becomes raw, and ^P ^Q leaves. */
static void take_input(struct relay *relay, const struct spawnd_info *info, const struct attach_options *options)
{
	if (options->no_stdin || info->message->exit || !takes_input(info->message))
		return;
	relay_take_input(relay, STDIN_FILENO, 0, options->eof);
	if (input_kind(info->message) == SPAWND__V1__STDIO__KIND__KIND_PTY && isatty(STDIN_FILENO)) {
		relay_take_signals(relay);
		relay_take_terminal(relay, STDIN_FILENO);
		relay->may_detach = true;
	}
}

static int join(struct ctl *ctl, const char *id, const struct attach_options *options)
{
	struct spawnd_ref ref = client_ref(id);
	struct spawnd_info *info;
	struct relay relay;
	unsigned rows, columns;
	int status;

	relay_init(&relay, ctl);
	if (spawnd_get(ctl->client, ref, &info, &relay.error) < 0) {
		client_error(ctl, id, &relay.error);
		return EXIT_OWN_FAILURE;
	}
	relay.leave_running = true;
	take_input(&relay, info, options);
	if (!options->no_stdin && relay.source < 0)
		explain(ctl, id, info->message);
	spawnd_info_free(info);
	relay.process = spawnd_attach(ctl->client, ref, SPAWND_READER_DEFAULT, 0, false, NULL, 0, &relay_handlers, &relay, &relay.error);
	if (relay.process) {
		spawnd_process_manual(relay.process);
		if (relay.terminal && tty_size(STDIN_FILENO, &rows, &columns))
			spawnd_process_resize(relay.process, rows, columns);
		status = relay_run(&relay);
	} else {
		client_error(ctl, id, &relay.error);
		status = EXIT_OWN_FAILURE;
	}
	relay_finish(&relay);
	return status;
}

static int attach_run(struct ctl *ctl, int argc, char **argv)
{
	struct attach_options options = {0};
	int first, status;

	ctl->failure = EXIT_OWN_FAILURE;
	if (!ctl_parse(ctl, &options, argc, argv, true, 1, 1, &first))
		return first;
	status = client_open(ctl);
	return status == EXIT_DONE ? join(ctl, argv[first], &options) : status;
}

const struct command command_attach = {"attach", "ID", "join a running process", attach_rows, attach_run};

/* Whether it could take what we write, even if that is nothing. false: told. */
static bool check_input(struct ctl *ctl, const char *id)
{
	struct spawnd_info *info;
	struct spawnd_error error;
	bool good;

	if (spawnd_get(ctl->client, client_ref(id), &info, &error) < 0) {
		client_error(ctl, id, &error);
		return false;
	}
	good = !info->message->exit && takes_input(info->message);
	if (info->message->exit)
		ctl_error(ctl, "%s: it has ended", id);
	else if (!good)
		ctl_error(ctl, "%s: its stdin is no pipe or terminal; --stdio 0=pipe makes it one", id);
	spawnd_info_free(info);
	return good;
}

/* Our input, piece by piece, each with the kernel before the next is read. */
static int pass(struct ctl *ctl, const char *id, bool eof)
{
	_cleanup_free_ char *bytes = mem_alloc(CHUNK);
	struct spawnd_ref ref = client_ref(id);
	struct spawnd_error error;
	ssize_t got = 0;
	bool written = true;

	if (!check_input(ctl, id))
		return EXIT_FAILED;
	do {
		got = read(STDIN_FILENO, bytes, CHUNK);
		if (got > 0)
			written = spawnd_write(ctl->client, ref, 0, bytes, (size_t)got, false, &error) == 0;
	} while (written && (got > 0 || (got < 0 && errno == EINTR)));
	if (written && got < 0) {
		ctl_error(ctl, "stdin: %s", strerror(errno));
		return EXIT_FAILED;
	}
	if (written && eof)
		written = spawnd_close_stdin(ctl->client, ref, 0, &error) == 0;
	if (written)
		return EXIT_DONE;
	client_error(ctl, id, &error);
	return EXIT_FAILED;
}

static int write_run(struct ctl *ctl, int argc, char **argv)
{
	struct attach_options options = {0};
	int first, status;

	if (!ctl_parse(ctl, &options, argc, argv, true, 1, 1, &first))
		return first;
	status = client_open(ctl);
	return status == EXIT_DONE ? pass(ctl, argv[first], options.eof) : status;
}

const struct command command_write = {"write", "ID", "our input to the input of a process", write_rows, write_run};
