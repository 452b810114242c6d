/* What the commands of spawnctl share. A command is a file cmd_NAME.c that ends in its row of the table in main.c. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "options.h"

/* Exit statuses of the manual; 124 to 127 stand in for a child's own. */
enum {
	EXIT_DONE = 0,
	EXIT_FAILED = 1,
	EXIT_USAGE = 2,
	EXIT_NO_DAEMON = 69,
	EXIT_TIMED_OUT = 124,
	EXIT_OWN_FAILURE = 125,
	EXIT_NOT_EXECUTABLE = 126,
	EXIT_NOT_FOUND = 127,
	EXIT_SIGNAL = 128, /* plus its number */
};

struct spawnd;
struct command;

/* One call of spawnctl. */
struct ctl {
	const struct command *command;
	const char *socket; /* NULL: the usual one */
	bool json;
	bool autostart;
	bool once;             /* a lost connection is not made anew */
	int failure;           /* what failures of our own end with: commands whose status is a child's have another */
	struct spawnd *client; /* from ctl_connect on */
};

struct command {
	const char *name;
	const char *arguments; /* "ID..." */
	const char *summary;
	const struct option_row *options;                   /* NULL: none */
	int (*run)(struct ctl *ctl, int argc, char **argv); /* argv[0] is the command; returns the exit status */
};

extern const struct command command_attach, command_daemon, command_disconnect, command_events, command_exec, command_fork, command_inspect,
	command_kill, command_logs, command_metrics, command_pool, command_ps, command_rm, command_run, command_send, command_stop,
	command_wait, command_write;

/*
 * Parses the options of the command (those after arguments too, with `anywhere`) and counts the arguments that are left.
 * true: go on, argv[*first_out] is the first one. false: end with *first_out, all that is to be said is said.
 */
bool ctl_parse(const struct ctl *ctl, void *target, int argc, char **argv, bool anywhere, int minimum, int maximum, int *first_out);

/* "spawnctl: COMMAND: TEXT" on stderr. */
void ctl_error(const struct ctl *ctl, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* A usage error. Returns EXIT_USAGE. */
int ctl_usage(const struct ctl *ctl, const char *format, ...) __attribute__((format(printf, 2, 3)));
