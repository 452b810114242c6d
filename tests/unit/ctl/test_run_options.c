/* Options of run into a spec: what is asked for is what is sent, and spawnctl's own defaults. */
#include "run_options.h"

#include <CUnit/CUnit.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "client.h"
#include "spec.h"

static char text[1024];
static char *words[64];

/* Parses a line of options; the spec that comes out, for the program `true`. */
static struct spawnd_spec *build(struct run_options *options, const char *line)
{
	static const char *const program[] = {"true", "a b", NULL};
	static const struct command command = {.name = "run"};
	static const struct ctl ctl = {.command = &command};
	const struct option_row *const tables[] = {run_option_rows, NULL};
	char *rest = text;
	int argc = 0;

	*options = (struct run_options){0};
	snprintf(text, sizeof(text), "run %s", line);
	while ((words[argc] = strsep(&rest, " ")))
		argc++;
	CU_ASSERT_EQUAL_FATAL(options_parse("run", tables, options, argc, words, false), argc);
	return spec_build(&ctl, options, program, NULL);
}

static const Spawnd__V1__Stdio *slot(const struct spawnd_spec *spec, unsigned number)
{
	for (size_t i = 0; i < spec->message.n_stdio; i++)
		if (spec->message.stdio[i]->slot == number)
			return spec->message.stdio[i];
	return NULL;
}

void test_plain_values(void)
{
	struct run_options options;
	struct spawnd_spec *spec = build(&options,
		"--name web --label a=1 --label b=x=y --timeout 1.5 --grace 0 --kill-signal INT --no-tree "
		"--uid 7 --gid 8 --umask 27 --nice -5 --rlimit nofile=10:20 --no-new-privs --retain 1M --drain-timeout 10ms");
	const Spawnd__V1__ProcessSpec *message = &spec->message;

	CU_ASSERT_STRING_EQUAL(message->name, "web");
	CU_ASSERT_EQUAL(message->n_labels, 2);
	CU_ASSERT_STRING_EQUAL(message->labels[1]->value, "x=y");
	CU_ASSERT_EQUAL(message->timeout_ms, 1500);
	CU_ASSERT(message->_grace_ms_case && message->grace_ms == 0);
	CU_ASSERT_EQUAL(message->kill_signal, 2);
	CU_ASSERT(message->no_tree && message->no_new_privs);
	CU_ASSERT(message->_uid_case && message->uid == 7 && message->gid == 8);
	CU_ASSERT_EQUAL(message->umask, 027);
	CU_ASSERT_EQUAL(message->nice, -5);
	CU_ASSERT(message->rlimits[0]->soft == 10 && message->rlimits[0]->hard == 20);
	CU_ASSERT_EQUAL(message->retain_bytes, 1048576);
	CU_ASSERT_EQUAL(message->drain_timeout_ms, 10);
	CU_ASSERT_EQUAL(message->transport, SPAWND__V1__TRANSPORT__TRANSPORT_DIRECT);
	CU_ASSERT_EQUAL(message->n_stdio, 0);
	spawnd_spec_free(spec);
	run_options_clear(&options);
}

void test_background(void)
{
	struct run_options options;
	struct spawnd_spec *spec = build(&options, "-d --detached --stdio 1=file:out,append");

	CU_ASSERT_EQUAL(slot(spec, 0)->kind, SPAWND__V1__STDIO__KIND__KIND_NULL);
	CU_ASSERT_EQUAL(slot(spec, 1)->file->mode, SPAWND__V1__FILE_SPEC__MODE__MODE_APPEND);
	CU_ASSERT_EQUAL(spec->message.transport, SPAWND__V1__TRANSPORT__TRANSPORT_UNSPECIFIED);
	CU_ASSERT_EQUAL(spec->message.on_disconnect, SPAWND__V1__ON_DISCONNECT__ON_DISCONNECT_KEEP);
	CU_ASSERT_EQUAL(spec->message.on_shutdown, SPAWND__V1__ON_SHUTDOWN__ON_SHUTDOWN_KEEP);
	CU_ASSERT_FALSE(spec_slot_is_ours(&options, 0));
	CU_ASSERT_FALSE(spec_slot_is_ours(&options, 1));
	CU_ASSERT_TRUE(spec_slot_is_ours(&options, 2));
	spawnd_spec_free(spec);
	run_options_clear(&options);
}

void test_a_terminal_is_three_slots_and_one_output(void)
{
	struct run_options options;
	struct spawnd_spec *spec = build(&options, "-t --max-buffer 64K");

	CU_ASSERT_EQUAL(slot(spec, 0)->kind, SPAWND__V1__STDIO__KIND__KIND_PTY);
	CU_ASSERT_EQUAL(slot(spec, 2)->kind, SPAWND__V1__STDIO__KIND__KIND_PTY);
	CU_ASSERT_EQUAL(slot(spec, 1)->capture->limit, 65536);
	CU_ASSERT_EQUAL(slot(spec, 1)->capture->policy, SPAWND__V1__CAPTURE__POLICY__POLICY_KILL);
	CU_ASSERT_PTR_NULL(slot(spec, 2)->capture);
	spawnd_spec_free(spec);
	run_options_clear(&options);
}

void test_descriptors_of_ours_are_sent_along(void)
{
	struct run_options options;
	struct spawnd_spec *spec = build(&options, "--stdio 5=inherit --stdio 4=fd:2 --stdio 1=same:2");

	CU_ASSERT_PTR_NULL(spec); /* 5 is not open here */
	run_options_clear(&options);
	spec = build(&options, "--stdio 2=inherit --stdio 4=fd:1 --stdio 1=same:2");
	CU_ASSERT_EQUAL(spec->fd_count, 2);
	CU_ASSERT(spec->fds[slot(spec, 4)->fd->attached] == 1 && spec->fds[slot(spec, 2)->fd->attached] == 2);
	CU_ASSERT_EQUAL(slot(spec, 1)->same_as, 2);
	spawnd_spec_free(spec);
	run_options_clear(&options);
}

void test_a_shell_gets_the_words_joined(void)
{
	struct run_options options;
	struct spawnd_spec *spec = build(&options, "--shell=/bin/bash");

	CU_ASSERT_EQUAL(spec->message.n_argv, 0);
	CU_ASSERT_NSTRING_EQUAL(spec->message.shell_command.data, "true a b", 8);
	CU_ASSERT_NSTRING_EQUAL(spec->message.shell.data, "/bin/bash", 9);
	spawnd_spec_free(spec);
	run_options_clear(&options);
}

void test_directories_become_absolute(void)
{
	struct run_options options;
	struct spawnd_spec *spec = build(&options, "--cwd sub --log-file x/log --log-max 1K --log-keep 3");

	CU_ASSERT_EQUAL(spec->message.cwd.data[0], '/');
	CU_ASSERT_EQUAL(spec->message.log_file->path.data[0], '/');
	CU_ASSERT(spec->message.log_file->max_bytes == 1024 && spec->message.log_file->keep == 3);
	spawnd_spec_free(spec);
	run_options_clear(&options);
}

void test_options_win_over_files(void)
{
	struct run_options options;
	struct spawnd_spec *spec;
	char path[] = "/tmp/spawnd-env-XXXXXX", line[128];
	int fd = mkstemp(path);

	CU_ASSERT_FATAL(fd >= 0);
	CU_ASSERT_EQUAL(dprintf(fd, "# comment\n\nA=file\nHOME\n"), 23);
	setenv("HOME", "/here", 1);
	snprintf(line, sizeof(line), "--clear-env --env A=last --env-file %s", path);
	spec = build(&options, line);
	CU_ASSERT_EQUAL(spec->message.env->origin, SPAWND__V1__ENVIRONMENT__ORIGIN__ORIGIN_EMPTY);
	CU_ASSERT_EQUAL_FATAL(spec->message.env->n_set, 3);
	CU_ASSERT_NSTRING_EQUAL(spec->message.env->set[1].data, "HOME=/here", 10);
	CU_ASSERT_NSTRING_EQUAL(spec->message.env->set[2].data, "A=last", 6);
	spawnd_spec_free(spec);
	run_options_clear(&options);
	unlink(path);
	close(fd);
}

/* Bytes that the kernel may have put there in any way must not be taken for variables. */
void test_a_file_is_taken_whole_or_not_at_all(void)
{
	static const struct {
		const char *bytes;
		size_t size;
		bool good;
	} files[] = {{"A=1", 3, true}, {"A=1\n=\n", 6, false}, {"A=\0x\n", 6, false}, {"A=1\n\0", 5, false}, {"", 0, true}};
	char path[] = "/tmp/spawnd-env-XXXXXX", line[128];
	int fd = mkstemp(path);

	for (size_t i = 0; i < array_size(files); i++) {
		struct run_options options;
		struct spawnd_spec *spec;

		CU_ASSERT_FATAL(ftruncate(fd, 0) == 0 && pwrite(fd, files[i].bytes, files[i].size, 0) == (ssize_t)files[i].size);
		snprintf(line, sizeof(line), "--env-file %s", path);
		spec = build(&options, line);
		CU_ASSERT_EQUAL(spec != NULL, files[i].good);
		spawnd_spec_free(spec);
		run_options_clear(&options);
	}
	unlink(path);
	close(fd);
}

void test_statuses(void)
{
	struct spawnd_error error = {.syscall = "spawn x", .code = "ENOENT"};

	CU_ASSERT_EQUAL(client_status_of_error(&error), 127);
	strcpy(error.code, "EACCES");
	CU_ASSERT_EQUAL(client_status_of_error(&error), 126);
	strcpy(error.code, "EMFILE");
	CU_ASSERT_EQUAL(client_status_of_error(&error), 125);
	strcpy(error.syscall, "open");
	strcpy(error.code, "ENOENT");
	CU_ASSERT_EQUAL(client_status_of_error(&error), 125);
	CU_ASSERT_EQUAL(client_status(3, -1, SPAWND_EXITED), 3);
	CU_ASSERT_EQUAL(client_status(-1, 9, SPAWND_SIGNALED), 137);
	CU_ASSERT_EQUAL(client_status(-1, 15, SPAWND_TIMED_OUT), 124);
	CU_ASSERT_EQUAL(client_status(-1, -1, SPAWND_REASON_UNKNOWN), 125);
}

void test_references(void)
{
	CU_ASSERT_EQUAL(client_ref("12").id, 12);
	CU_ASSERT_EQUAL(client_ref("web").id, 0);
	CU_ASSERT_STRING_EQUAL(client_ref("12a").name, "12a");
	CU_ASSERT_STRING_EQUAL(client_ref("99999999999999999999").name, "99999999999999999999");
}
