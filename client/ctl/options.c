/* Options of a command line, by tables. */
#include "options.h"

#include <string.h>

#include "base/mem.h"

struct parser {
	const char *command;
	const struct option_row *const *tables;
	void *target;
	int argc;
	char **argv;
	int next; /* argument not looked at yet */
};

/* Prints a usage error. Returns false, for `return usage(...)`. */
static bool usage(const struct parser *parser, const char *text, const char *what)
{
	const char *command = parser->command ? parser->command : "", *gap = parser->command ? " " : "";

	fprintf(stderr, "spawnctl: %s%s%s: %s\n", command, parser->command ? ": " : "", text, what);
	fprintf(stderr, "Try 'spawnctl %s%s--help'.\n", command, gap);
	return false;
}

static const struct option_row *find(const struct parser *parser, const char *name, size_t length, char letter)
{
	for (const struct option_row *const *table = parser->tables; *table; table++)
		for (const struct option_row *row = *table; row->name; row++)
			if (letter ? row->letter == letter : strlen(row->name) == length && memcmp(row->name, name, length) == 0)
				return row;
	return NULL;
}

/* Gives a row its value: joined, or the next argument where the row needs one. `shown` is the option as typed. */
static bool apply(struct parser *parser, const struct option_row *row, const char *shown, const char *joined)
{
	struct why why = {""};

	if (joined && !row->argument)
		return usage(parser, "option takes no value", shown);
	if (!joined && row->argument && row->argument[0] != '[') {
		if (parser->next >= parser->argc)
			return usage(parser, "option needs a value", shown);
		joined = parser->argv[parser->next++];
	}
	if (!row->set(parser->target, joined, &why)) {
		_cleanup_free_ char *what = mem_printf("invalid value '%s' for %s", joined ? joined : "", shown);

		return usage(parser, what, why.text);
	}
	return true;
}

static bool parse_long(struct parser *parser, const char *argument)
{
	const char *sign = strchr(argument, '=');
	size_t length = sign ? (size_t)(sign - argument) : strlen(argument);
	_cleanup_free_ char *shown = mem_strndup(argument, length);
	const struct option_row *row = find(parser, argument + 2, length - 2, 0);

	if (!row)
		return usage(parser, "unknown option", shown);
	return apply(parser, row, shown, sign ? sign + 1 : NULL);
}

/* Letters may be joined: -dt, -n5. */
static bool parse_letters(struct parser *parser, const char *argument)
{
	for (const char *p = argument + 1; *p; p++) {
		char shown[3] = {'-', *p, '\0'};
		const struct option_row *row = find(parser, NULL, 0, *p);
		bool takes = row && row->argument && row->argument[0] != '[';

		if (!row)
			return usage(parser, "unknown option", shown);
		if (!apply(parser, row, shown, takes && p[1] ? p + 1 : NULL))
			return false;
		if (takes)
			break;
	}
	return true;
}

int options_parse(const char *command, const struct option_row *const *tables, void *target, int argc, char **argv, bool anywhere)
{
	struct parser parser = {.command = command, .tables = tables, .target = target, .argc = argc, .argv = argv, .next = 1};
	_cleanup_free_ char **arguments = mem_alloc((size_t)argc * sizeof(*arguments) + 1);
	int count = 0, first;

	while (parser.next < argc) {
		char *argument = argv[parser.next];

		if (argument[0] != '-' || argument[1] == '\0') {
			if (!anywhere)
				break;
			arguments[count++] = argument;
			parser.next++;
			continue;
		}
		parser.next++;
		if (strcmp(argument, "--") == 0)
			break;
		if (strcmp(argument, "--help") == 0)
			return OPTIONS_HELP;
		if (argument[1] == '-' ? !parse_long(&parser, argument) : !parse_letters(&parser, argument))
			return -1;
	}
	first = parser.next - count;
	memcpy(argv + first, arguments, (size_t)count * sizeof(*arguments));
	return first;
}

void options_print_help(const struct option_row *table, FILE *stream)
{
	for (; table->name; table++) {
		const char *argument = table->argument ? table->argument : "";
		char left[80];

		snprintf(left, sizeof(left), "%s%c%s--%s%s%s", table->letter ? "-" : "  ", table->letter ? table->letter : ' ',
			table->letter ? ", " : " ", table->name, *argument && *argument != '[' ? " " : "", argument);
		fprintf(stream, "  %-32s %s\n", left, table->help);
	}
}
