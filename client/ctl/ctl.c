/* What the commands of spawnctl share: their options, their errors. */
#include "ctl.h"

#include <stdarg.h>
#include <stdio.h>

static void print_command_help(const struct command *command)
{
	printf("Usage: spawnctl %s %s%s\n\n%s\n", command->name, command->options ? "[OPTIONS] " : "", command->arguments,
		command->summary);
	if (command->options) {
		printf("\nOptions:\n");
		options_print_help(command->options, stdout);
	}
}

bool ctl_parse(const struct ctl *ctl, void *target, int argc, char **argv, bool anywhere, int minimum, int maximum, int *first_out)
{
	static const struct option_row none[] = {{.name = NULL}};
	const struct option_row *const tables[] = {ctl->command->options ? ctl->command->options : none, NULL};
	int first = options_parse(ctl->command->name, tables, target, argc, argv, anywhere);

	if (first == OPTIONS_HELP) {
		print_command_help(ctl->command);
		*first_out = EXIT_DONE;
		return false;
	}
	*first_out = EXIT_USAGE;
	if (first < 0)
		return false;
	if (argc - first < minimum) {
		ctl_usage(ctl, "usage: spawnctl %s %s", ctl->command->name, ctl->command->arguments);
		return false;
	}
	if (maximum >= 0 && argc - first > maximum) {
		ctl_usage(ctl, "too many arguments: %s", argv[first + maximum]);
		return false;
	}
	*first_out = first;
	return true;
}

/* One line on stderr, in one write, so that it does not mix with a child's. */
__attribute__((format(printf, 2, 0))) static void print_error(const struct ctl *ctl, const char *format, va_list arguments)
{
	char text[4096];
	int length = snprintf(text, sizeof(text), "spawnctl: %s: ", ctl->command->name);

	vsnprintf(text + length, sizeof(text) - (size_t)length, format, arguments);
	fprintf(stderr, "%s\n", text);
}

void ctl_error(const struct ctl *ctl, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	print_error(ctl, format, arguments);
	va_end(arguments);
}

int ctl_usage(const struct ctl *ctl, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	print_error(ctl, format, arguments);
	va_end(arguments);
	fprintf(stderr, "Try 'spawnctl %s --help'.\n", ctl->command->name);
	return EXIT_USAGE;
}
