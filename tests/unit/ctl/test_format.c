/* What people read: tables that align, and nothing that could drive a terminal. */
#include "format.h"

#include <CUnit/CUnit.h>
#include <stdlib.h>
#include <string.h>

void test_duration_words(void)
{
	char text[FORMAT_MAX];

	CU_ASSERT_STRING_EQUAL(format_duration(999, text), "0s");
	CU_ASSERT_STRING_EQUAL(format_duration(59999, text), "59s");
	CU_ASSERT_STRING_EQUAL(format_duration(192000, text), "3m12s");
	CU_ASSERT_STRING_EQUAL(format_duration(7500000, text), "2h05m");
	CU_ASSERT_STRING_EQUAL(format_duration(356400000, text), "4d03h");
}

void test_size_words(void)
{
	char text[FORMAT_MAX];

	CU_ASSERT_STRING_EQUAL(format_size(0, text), "0B");
	CU_ASSERT_STRING_EQUAL(format_size(1023, text), "1023B");
	CU_ASSERT_STRING_EQUAL(format_size(1536, text), "1.5K");
	CU_ASSERT_STRING_EQUAL(format_size(12 << 20, text), "12M");
}

void test_time_words(void)
{
	char text[FORMAT_MAX];

	CU_ASSERT_STRING_EQUAL(format_time(86400000000001, text), "1970-01-02T00:00:00.000000001Z");
	CU_ASSERT_STRING_EQUAL(format_time(-1, text), "1969-12-31T23:59:59.999999999Z");
}

static void check_utf8(const char *bytes, size_t size, const char *expected)
{
	char *text = format_utf8(bytes, size, NULL);

	CU_ASSERT_STRING_EQUAL(text, expected);
	free(text);
}

void test_utf8_replaces_what_is_none(void)
{
	check_utf8("plain", 5, "plain");
	check_utf8("h\xc3\xa4t", 4, "h\xc3\xa4t");
	check_utf8("\xff", 1, "\xef\xbf\xbd");
	check_utf8("a\xc3", 2, "a\xef\xbf\xbd");
	check_utf8("\xc0\xaf", 2, "\xef\xbf\xbd\xef\xbf\xbd");
	check_utf8("\xed\xa0\x80", 3, "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"); /* a surrogate */
	check_utf8("\xf0\x9f\x98\x80", 4, "\xf0\x9f\x98\x80");
	check_utf8("\xe0\x80\x80", 3, "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"); /* overlong */
}

void test_lines_hold_no_controls(void)
{
	char *text = format_line("a\nb\x1b[31m\xc2\x9b", 10);

	CU_ASSERT_STRING_EQUAL(text, "a b?[31m??");
	free(text);
}

void test_commands_are_quoted(void)
{
	const char *words[] = {"sh", "-c", "echo it's", ""};
	size_t lengths[] = {2, 2, 9, 0};
	char *text = format_command(words, lengths, 4);

	CU_ASSERT_STRING_EQUAL(text, "sh -c 'echo it'\\''s' ''");
	free(text);
}

static char *printed(const struct table *table, size_t width)
{
	char *text = NULL;
	size_t size;
	FILE *stream = open_memstream(&text, &size);

	table_print(table, stream, width);
	fclose(stream);
	return text;
}

void test_tables_align(void)
{
	static const char *const titles[] = {"ID", "NAME", "COMMAND", NULL};
	struct table *table = table_create(titles);
	char *text;

	table_add(table, "7");
	table_add(table, "l\xc3\xa4rm");
	table_add(table, "sleep 1");
	text = printed(table, 0);
	CU_ASSERT_STRING_EQUAL(text, "ID  NAME  COMMAND\n7   l\xc3\xa4rm  sleep 1\n");
	free(text);
	text = printed(table, 14);
	CU_ASSERT_STRING_EQUAL(text, "ID  NAME  COMM\n7   l\xc3\xa4rm  slee\n");
	free(text);
	table_destroy(table);
}

void test_tables_fit_a_terminal(void)
{
	static const char *const titles[] = {"ID", "NAME", "STATE", "COMMAND", NULL};
	struct table *table = table_create(titles);
	char *text;

	table_add(table, "7");
	table_add(table, "a-name-of-many-letters");
	table_add(table, "signaled TERM");
	table_add(table, "sleep 1000 seconds");
	text = printed(table, 0);
	CU_ASSERT_PTR_NOT_NULL(strstr(text, "7   a-name-of-many-letters  signaled TERM  sleep 1000 seconds\n"));
	free(text);
	text = printed(table, 44);
	CU_ASSERT_STRING_EQUAL(text, "ID  NAME          STATE         COMMAND\n7   a-name-of-m+  signaled TE+  sleep 1000 s\n");
	free(text);
	text = printed(table, 40);
	CU_ASSERT_STRING_EQUAL(text, "ID  NAME        STATE       COMMAND\n7   a-name-of+  signaled +  sleep 1000 s\n");
	free(text);
	text = printed(table, 10);
	CU_ASSERT_STRING_EQUAL(text, "ID  NAME  STATE  \n7   a-n+  sign+  \n");
	free(text);
	table_destroy(table);
}
