/* What people read: durations, sizes, times, tables. Bytes that came from a process never reach the terminal as control characters. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define FORMAT_MAX 48

/* "7s", "3m12s", "2h05m", "4d03h". */
const char *format_duration(uint64_t ms, char out[FORMAT_MAX]);
/* "512B", "1.5K", "12M". */
const char *format_size(uint64_t bytes, char out[FORMAT_MAX]);
/* "2026-01-31T12:00:00.000000000Z". */
const char *format_time(int64_t ns, char out[FORMAT_MAX]);

/* The bytes as UTF-8: what is not becomes U+FFFD. The caller frees it; *length_out may be NULL. */
char *format_utf8(const void *bytes, size_t size, size_t *length_out);
/* The same on one line for a terminal: control characters become spaces or '?'. */
char *format_line(const void *bytes, size_t size);
/* Words of a command line, quoted as a shell would need them. The caller frees it. */
char *format_command(const char *const *words, const size_t *lengths, size_t count);

struct table;

/* A table with these titles, NULL at the end. */
struct table *table_create(const char *const *titles);
void table_destroy(struct table *table); /* NULL is fine */
/* The next cell of the current row, left to right, row by row. Copies. */
void table_add(struct table *table, const char *text);
/*
 * Prints it aligned. With a width (0: none) no line is longer: the widest columns are cut, and marked, until a word of the last
 * one has room, which is cut at the end. Titles are never cut: lines are at least as
 * long as they are together.
 */
void table_print(const struct table *table, FILE *stream, size_t width);
