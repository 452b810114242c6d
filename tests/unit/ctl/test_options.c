/* Options: forms that are taken, and that nothing unknown slips through. */
#include "options.h"

#include <CUnit/CUnit.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

struct target {
	bool quiet;
	int64_t number;
	const char *shell;
};

static bool set_quiet(void *target, const char *value, struct why *why)
{
	((struct target *)target)->quiet = true;
	return true;
}

static bool set_number(void *target, const char *value, struct why *why)
{
	return value_number(value, 0, 100, &((struct target *)target)->number, why);
}

static bool set_shell(void *target, const char *value, struct why *why)
{
	((struct target *)target)->shell = value ? value : "default";
	return true;
}

static const struct option_row rows[] = {
	{"quiet", 'q', NULL, "", set_quiet},
	{"number", 'n', "N", "", set_number},
	{"shell", 0, "[=PATH]", "", set_shell},
	{.name = NULL},
};

/* The words of the last line parsed, as options_parse left them. */
static char text[256];
static char *words[16];

/* Parses a line of words, with stderr out of the way. */
static int parse(struct target *target, bool anywhere, const char *line)
{
	const struct option_row *const tables[] = {rows, NULL};
	int argc = 0, saved = dup(2), null = open("/dev/null", O_WRONLY | O_CLOEXEC), first;
	char *rest = text;

	*target = (struct target){.number = -1};
	snprintf(text, sizeof(text), "%s", line);
	while ((words[argc] = strsep(&rest, " ")))
		argc++;
	dup2(null, 2);
	first = options_parse("test", tables, target, argc, words, anywhere);
	dup2(saved, 2);
	close(saved);
	close(null);
	return first;
}

void test_long_and_letters(void)
{
	struct target target;

	CU_ASSERT_EQUAL(parse(&target, false, "test --number=4 -q --shell word"), 4);
	CU_ASSERT(target.quiet && target.number == 4);
	CU_ASSERT_STRING_EQUAL(target.shell, "default");
	CU_ASSERT_EQUAL(parse(&target, false, "test -qn 5 --shell=/bin/sh"), 4);
	CU_ASSERT(target.quiet && target.number == 5);
	CU_ASSERT_STRING_EQUAL(target.shell, "/bin/sh");
	CU_ASSERT_EQUAL(parse(&target, false, "test -n7"), 2);
	CU_ASSERT_EQUAL(target.number, 7);
}

void test_arguments(void)
{
	struct target target;

	CU_ASSERT_EQUAL(parse(&target, true, "test a -q b -- -n"), 3);
	CU_ASSERT_STRING_EQUAL(words[3], "a");
	CU_ASSERT_STRING_EQUAL(words[4], "b");
	CU_ASSERT_STRING_EQUAL(words[5], "-n");
	CU_ASSERT_TRUE(target.quiet);
	CU_ASSERT_EQUAL(parse(&target, false, "test a -q"), 1);
	CU_ASSERT_FALSE(target.quiet);
	CU_ASSERT_EQUAL(parse(&target, true, "test -"), 1);
}

void test_refusals(void)
{
	struct target target;

	CU_ASSERT_EQUAL(parse(&target, false, "test --num=4"), -1);
	CU_ASSERT_EQUAL(parse(&target, false, "test --restart always"), -1);
	CU_ASSERT_EQUAL(parse(&target, false, "test --quiet=yes"), -1);
	CU_ASSERT_EQUAL(parse(&target, false, "test --number"), -1);
	CU_ASSERT_EQUAL(parse(&target, false, "test --number 101"), -1);
	CU_ASSERT_EQUAL(parse(&target, false, "test -x"), -1);
}
