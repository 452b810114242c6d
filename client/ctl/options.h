/*
 * Options of a command line, by tables: long ones with their whole name, letters, values joined by '=' or in the next
 * argument. No abbreviations: a name that is not in the table is an error now and can be given a meaning later.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "value.h"

struct option_row {
	const char *name;     /* "timeout"; NULL ends a table */
	char letter;          /* 't'; 0: none */
	const char *argument; /* what help calls the value; NULL: takes none; "[=PATH]": may be joined only */
	const char *help;
	/* Stores it. value is NULL where none was given. */
	bool (*set)(void *target, const char *value, struct why *why);
};

/*
 * Parses argv[1..], telling each option's row, of the tables given (NULL at the end), its value with `target`. Stops at
 * "--" and, unless `anywhere`, at the first argument that is no option; with `anywhere` arguments are moved behind the
 * options. Returns the index of the first argument, -1 when the error has been printed, or OPTIONS_HELP for --help.
 * command: for errors; NULL for spawnctl itself.
 */
#define OPTIONS_HELP (-2)
int options_parse(const char *command, const struct option_row *const *tables, void *target, int argc, char **argv, bool anywhere);

/* One line per option. */
void options_print_help(const struct option_row *table, FILE *stream);
