/* Arguments, configuration file, durations. */
#include <CUnit/CUnit.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "engine/options.h"

/* Reads the words, NULL at the end, behind a program's name. */
static int read_words(struct options *options, struct err *err, const char *const *words)
{
	char *argv[16] = {(char *)"spawnd-engine"};
	int argc = 1;

	for (; words[argc - 1] && argc < 16; argc++)
		argv[argc] = (char *)words[argc - 1];
	memset(err, 0, sizeof(*err));
	return options_read(options, argc, argv, err);
}

#define WORDS(...) ((const char *const[]){__VA_ARGS__ __VA_OPT__(, ) NULL})

/* A file with this text; its name is valid until the next call. */
static char *write_file(const char *text)
{
	static char path[] = "/tmp/spawnd-options-XXXXXX";
	int fd;

	strcpy(path + sizeof(path) - 7, "XXXXXX");
	fd = mkstemp(path);
	CU_ASSERT_FATAL(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
	close(fd);
	return path;
}

void test_durations(void)
{
	static const struct {
		const char *text;
		uint64_t ms;
	} good[] = {{"0", 0}, {"10m", 600000}, {"30s", 30000}, {"500ms", 500}, {"2", 2000}, {"1.5", 1500}, {"1m30s", 90000},
		{"2h", 7200000}, {"1d", 86400000}, {"0.25s", 250}};
	static const char *const bad[] = {"", "m", "10x", "-1", "1 m", "99999999999999999999", "1e3", "ms", "1..5"};
	uint64_t ms;

	for (size_t i = 0; i < array_size(good); i++) {
		CU_ASSERT_TRUE(options_duration(good[i].text, &ms));
		CU_ASSERT_EQUAL(ms, good[i].ms);
	}
	for (size_t i = 0; i < array_size(bad); i++)
		CU_ASSERT_FALSE(options_duration(bad[i], &ms));
}

void test_nothing_said(void)
{
	struct options options;
	struct err err;

	CU_ASSERT_EQUAL(read_words(&options, &err, WORDS()), 0);
	CU_ASSERT_PTR_NULL(options.socket);
	CU_ASSERT_EQUAL(options.idle_exit_ms, 0);
	CU_ASSERT_EQUAL(options.log_level, LOG_INFO);
	CU_ASSERT_FALSE(options.allow_foreign_ns);
	options_finish(&options);
}

void test_arguments(void)
{
	struct options options;
	struct err err;

	CU_ASSERT_EQUAL(read_words(&options, &err,
				WORDS("--foreground", "--socket", "/x/s", "--state-dir=/y", "--log-level", "debug", "--idle-exit=10m",
					"--allow-foreign-ns")),
		0);
	CU_ASSERT_STRING_EQUAL(options.socket, "/x/s");
	CU_ASSERT_STRING_EQUAL(options.state_dir, "/y");
	CU_ASSERT_EQUAL(options.log_level, LOG_DEBUG);
	CU_ASSERT_EQUAL(options.idle_exit_ms, 600000);
	CU_ASSERT_TRUE(options.allow_foreign_ns);
	CU_ASSERT_TRUE(options.foreground);
	options_finish(&options);
}

void test_a_relative_socket_is_made_absolute(void)
{
	struct options options;
	struct err err;

	CU_ASSERT_EQUAL(read_words(&options, &err, WORDS("--socket", "s")), 0);
	CU_ASSERT_EQUAL(options.socket[0], '/');
	options_finish(&options);
}

void test_bad_arguments_are_named(void)
{
	struct options options;
	struct err err;

	CU_ASSERT_TRUE(read_words(&options, &err, WORDS("--nonsense")) < 0);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "--nonsense"));
	CU_ASSERT_TRUE(read_words(&options, &err, WORDS("word")) < 0);
	CU_ASSERT_TRUE(read_words(&options, &err, WORDS("--socket")) < 0);
	CU_ASSERT_TRUE(read_words(&options, &err, WORDS("--socket=")) < 0);
	CU_ASSERT_TRUE(read_words(&options, &err, WORDS("--log-level", "loud")) < 0);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "loud"));
	CU_ASSERT_TRUE(read_words(&options, &err, WORDS("--idle-exit", "soon")) < 0);
	CU_ASSERT_TRUE(read_words(&options, &err, WORDS("--foreground=yes")) < 0);
}

void test_the_file_fills_what_arguments_left_open(void)
{
	char *path = write_file("# a comment\n\n  socket = /from/file \nlog-level=warning\nidle-exit = 30s\nallow-foreign-ns = true\n");
	struct options options;
	struct err err;

	CU_ASSERT_EQUAL(read_words(&options, &err, WORDS("--config", path, "--log-level", "debug")), 0);
	CU_ASSERT_STRING_EQUAL(options.socket, "/from/file");
	CU_ASSERT_EQUAL(options.log_level, LOG_DEBUG);
	CU_ASSERT_EQUAL(options.idle_exit_ms, 30000);
	CU_ASSERT_TRUE(options.allow_foreign_ns);
	options_finish(&options);
	unlink(path);
}

/* Reads a file that must be refused; the message names `part`. */
static void refuse_file(const char *text, const char *part)
{
	char *path = write_file(text);
	struct options options;
	struct err err;

	CU_ASSERT_TRUE(read_words(&options, &err, WORDS("--config", path)) < 0);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.message, part));
	unlink(path);
}

void test_errors_of_the_file_name_the_line(void)
{
	struct options options;
	struct err err;

	refuse_file("log-level = info\ncolour = red\n", ":2: unknown key colour");
	refuse_file("\n\nlog-level = loud\n", ":3: ");
	refuse_file("socket\n", ":1: ");
	refuse_file("config = /other\n", ":1: unknown key config");
	CU_ASSERT_TRUE(read_words(&options, &err, WORDS("--config", "/nonexistent/file")) < 0);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.path, "/nonexistent/file"));
}

void test_lines_about_others_add_up(void)
{
	char *path = write_file("grant = uid:1001 observe, signal\ngrant = gid:50 spawn\nrun-as = uid:1001 uid:33 gid:33\n");
	struct options options;
	struct err err;

	CU_ASSERT_EQUAL(read_words(&options, &err, WORDS("--config", path)), 0);
	CU_ASSERT_EQUAL(options.grants.grant_count, 2);
	CU_ASSERT_EQUAL(options.grants.grants[0].rights, RIGHT_OBSERVE | RIGHT_SIGNAL);
	CU_ASSERT_TRUE(options.grants.grants[1].to.group);
	CU_ASSERT_EQUAL(options.grants.run_as_count, 2);
	options_finish(&options);
	unlink(path);
	refuse_file("grant = uid:1 boss\n", ":1: grant: boss is none of the roles");
	refuse_file("run-as = uid:1 2\n", ":1: run-as: 2 is neither");
	CU_ASSERT_TRUE(read_words(&options, &err, WORDS("--grant", "uid:1 admin")) < 0);
}
