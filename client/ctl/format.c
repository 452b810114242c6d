/* What people read: durations, sizes, times, tables. */
#include "format.h"

#include <inttypes.h>
#include <string.h>
#include <time.h>

#include "base/mem.h"

#define GAP 2 /* between columns */
#define LAST_COLUMN_MIN 12
#define REPLACEMENT "\xef\xbf\xbd" /* U+FFFD */

const char *format_duration(uint64_t ms, char out[FORMAT_MAX])
{
	uint64_t seconds = ms / 1000;

	if (seconds < 60)
		snprintf(out, FORMAT_MAX, "%" PRIu64 "s", seconds);
	else if (seconds < 3600)
		snprintf(out, FORMAT_MAX, "%" PRIu64 "m%02" PRIu64 "s", seconds / 60, seconds % 60);
	else if (seconds < 86400)
		snprintf(out, FORMAT_MAX, "%" PRIu64 "h%02" PRIu64 "m", seconds / 3600, seconds / 60 % 60);
	else
		snprintf(out, FORMAT_MAX, "%" PRIu64 "d%02" PRIu64 "h", seconds / 86400, seconds / 3600 % 24);
	return out;
}

const char *format_size(uint64_t bytes, char out[FORMAT_MAX])
{
	static const char units[] = "BKMGTPE";
	double number = (double)bytes;
	size_t unit = 0;

	while (number >= 1024 && units[unit + 1]) {
		number /= 1024;
		unit++;
	}
	snprintf(out, FORMAT_MAX, unit > 0 && number < 10 ? "%.1f%c" : "%.0f%c", number, units[unit]);
	return out;
}

const char *format_time(int64_t ns, char out[FORMAT_MAX])
{
	int64_t fraction = ns % 1000000000;
	time_t seconds = (time_t)(ns / 1000000000);
	struct tm tm;
	size_t length;

	if (fraction < 0) {
		fraction += 1000000000;
		seconds--;
	}
	gmtime_r(&seconds, &tm);
	length = strftime(out, FORMAT_MAX, "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(out + length, FORMAT_MAX - length, ".%09" PRId64 "Z", fraction);
	return out;
}

/* How many bytes of well-formed UTF-8 stand at p; 0 when none do. */
static size_t utf8_length(const unsigned char *p, size_t left)
{
	size_t length;
	uint32_t code;

	if (p[0] < 0x80)
		return 1;
	if (p[0] >= 0xc2 && p[0] <= 0xdf)
		length = 2;
	else if ((p[0] & 0xf0) == 0xe0)
		length = 3;
	else if (p[0] >= 0xf0 && p[0] <= 0xf4)
		length = 4;
	else
		return 0;
	if (length > left)
		return 0;
	code = p[0] & (0x7fu >> length);
	for (size_t i = 1; i < length; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return 0;
		code = code << 6 | (p[i] & 0x3fu);
	}
	if ((length == 3 && code < 0x800) || (length == 4 && (code < 0x10000 || code > 0x10ffff)) || (code >= 0xd800 && code <= 0xdfff))
		return 0;
	return length;
}

char *format_utf8(const void *bytes, size_t size, size_t *length_out)
{
	const unsigned char *from = bytes;
	char *text = mem_alloc(size * 3 + 1), *to = text;

	while (size > 0) {
		size_t length = utf8_length(from, size);

		if (length > 0) {
			memcpy(to, from, length);
			to += length;
		} else {
			memcpy(to, REPLACEMENT, 3);
			to += 3;
			length = 1;
		}
		from += length;
		size -= length;
	}
	if (length_out)
		*length_out = (size_t)(to - text);
	return text;
}

char *format_line(const void *bytes, size_t size)
{
	size_t length;
	char *text = format_utf8(bytes, size, &length);

	for (size_t i = 0; i < length; i++) {
		unsigned char c = (unsigned char)text[i];

		if (c == '\n' || c == '\t' || c == '\r')
			text[i] = ' ';
		else if (c < 0x20 || c == 0x7f)
			text[i] = '?';
		else if (c == 0xc2 && (unsigned char)text[i + 1] < 0xa0) /* C1 controls */
			memcpy(text + i, "??", 2);
	}
	return text;
}

/* Whether a shell would take the word as it stands. */
static bool is_plain_word(const char *word, size_t length)
{
	static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_@%+=:,./-";

	for (size_t i = 0; i < length; i++)
		if ((unsigned char)word[i] < 0x80 && (word[i] == '\0' || !strchr(plain, word[i])))
			return false;
	return length > 0;
}

char *format_command(const char *const *words, const size_t *lengths, size_t count)
{
	char *text = NULL;
	size_t size = 0;
	FILE *stream = open_memstream(&text, &size);

	if (!stream)
		return mem_strdup("");
	for (size_t i = 0; i < count; i++) {
		if (i > 0)
			fputc(' ', stream);
		if (is_plain_word(words[i], lengths[i])) {
			fwrite(words[i], 1, lengths[i], stream);
			continue;
		}
		fputc('\'', stream);
		for (size_t k = 0; k < lengths[i]; k++)
			if (words[i][k] == '\'')
				fputs("'\\''", stream);
			else
				fputc(words[i][k], stream);
		fputc('\'', stream);
	}
	fclose(stream);
	return text;
}

struct table {
	size_t columns;
	size_t count, room; /* cells, titles included */
	char **cells;
};

struct table *table_create(const char *const *titles)
{
	struct table *table = mem_alloc(sizeof(*table));

	while (titles[table->columns])
		table->columns++;
	for (size_t i = 0; i < table->columns; i++)
		table_add(table, titles[i]);
	return table;
}

void table_destroy(struct table *table)
{
	if (!table)
		return;
	for (size_t i = 0; i < table->count; i++)
		free(table->cells[i]);
	free(table->cells);
	free(table);
}

void table_add(struct table *table, const char *text)
{
	if (table->count == table->room) {
		table->room = table->room ? table->room * 2 : 64;
		table->cells = mem_realloc(table->cells, table->room * sizeof(*table->cells));
	}
	table->cells[table->count++] = format_line(text, strlen(text));
}

/* Code points of UTF-8 text: columns, as far as a table cares. */
static size_t text_width(const char *text)
{
	size_t width = 0;

	for (; *text; text++)
		width += ((unsigned char)*text & 0xc0) != 0x80;
	return width;
}

/* Writes at most `width` code points of text. */
static void print_cut(FILE *stream, const char *text, size_t width)
{
	const char *end = text;

	while (*end && (width > 0 || ((unsigned char)*end & 0xc0) == 0x80)) {
		width -= ((unsigned char)*end & 0xc0) != 0x80;
		end++;
	}
	fwrite(text, 1, (size_t)(end - text), stream);
}

/* What every column but the last needs. Returns the place where the last one begins. */
static size_t measure(const struct table *table, size_t *widths)
{
	size_t start = 0;

	for (size_t i = 0; i < table->count; i++) {
		size_t cell = text_width(table->cells[i]);

		if (cell > widths[i % table->columns])
			widths[i % table->columns] = cell;
	}
	for (size_t i = 0; i + 1 < table->columns; i++)
		start += widths[i] + GAP;
	return start;
}

/* Takes from the widest columns until the last one begins at `start`, or all are as narrow as their titles. */
static size_t narrow(const struct table *table, size_t *widths, size_t start, size_t limit)
{
	while (start > limit) {
		size_t widest = table->columns;

		for (size_t i = 0; i + 1 < table->columns; i++)
			if (widths[i] > text_width(table->cells[i]) && (widest == table->columns || widths[i] > widths[widest]))
				widest = i;
		if (widest == table->columns)
			break;
		widths[widest]--;
		start--;
	}
	return start;
}

/* A cell of a column that is not the last. */
static void print_cell(FILE *stream, const char *text, size_t width)
{
	size_t own = text_width(text);

	if (own <= width) {
		fprintf(stream, "%s%*s", text, (int)(width - own + GAP), "");
		return;
	}
	print_cut(stream, text, width - 1);
	fprintf(stream, "%s%*s", MB_CUR_MAX > 1 ? "\xe2\x80\xa6" : "+", GAP, "");
}

void table_print(const struct table *table, FILE *stream, size_t width)
{
	_cleanup_free_ size_t *widths = mem_alloc(table->columns * sizeof(*widths));
	size_t start = measure(table, widths);

	if (width)
		start = narrow(table, widths, start, width > LAST_COLUMN_MIN ? width - LAST_COLUMN_MIN : 0);
	for (size_t i = 0; i < table->count; i++) {
		size_t column = i % table->columns;

		if (column + 1 < table->columns) {
			print_cell(stream, table->cells[i], widths[column]);
			continue;
		}
		if (!width)
			fputs(table->cells[i], stream);
		else if (width > start)
			print_cut(stream, table->cells[i], width - start);
		fputc('\n', stream);
	}
}
