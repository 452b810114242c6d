/*
 * The launcher's loop over a real link. A forked process is the launcher, so that this one, its parent, gets the children as
 * the keeper would.
 */
#include <CUnit/CUnit.h>
#include <errno.h>
#include <fcntl.h>
#include <pb_encode.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/sys.h"
#include "launcher/serve.h"
#include "link/link.h"
#include "spawnd/runtime/v1/launcher.pb.h"

typedef spawnd_runtime_v1_Plan plan_message;
typedef spawnd_runtime_v1_PlanFd fd_message;
typedef spawnd_runtime_v1_Launched answer_message;

static struct journal *journal;
static struct link to_launcher;
static pid_t launcher;

/* What a test wants to run; turned into a Plan by the callbacks. */
static struct wish {
	const char *const *argv;
	const char *const *env;
	size_t argument_size; /* one more argument of this size, when not 0 */
	const fd_message *fds;
	size_t fd_count;
} wish;

static bool encode_strings(pb_ostream_t *stream, const pb_field_t *field, void *const *arg)
{
	for (const char *const *at = *arg; at && *at; at++)
		if (!pb_encode_tag_for_field(stream, field) || !pb_encode_string(stream, (const pb_byte_t *)*at, strlen(*at)))
			return false;
	return true;
}

static bool encode_argv(pb_ostream_t *stream, const pb_field_t *field, void *const *arg)
{
	_cleanup_free_ char *big = mem_alloc(wish.argument_size + 1);

	memset(big, 'x', wish.argument_size);
	if (!encode_strings(stream, field, (void *const *)&wish.argv))
		return false;
	for (size_t left = wish.argument_size; left > 0;) {
		size_t part = left < 100000 ? left : 100000;

		if (!pb_encode_tag_for_field(stream, field) || !pb_encode_string(stream, (const pb_byte_t *)big, part))
			return false;
		left -= part;
	}
	return true;
}

static bool encode_one(pb_ostream_t *stream, const pb_field_t *field, void *const *arg)
{
	return encode_strings(stream, field, &(void *){(const char *[]){*arg, NULL}});
}

static bool encode_fds(pb_ostream_t *stream, const pb_field_t *field, void *const *arg)
{
	for (size_t i = 0; i < wish.fd_count; i++)
		if (!pb_encode_tag_for_field(stream, field) || !pb_encode_submessage(stream, spawnd_runtime_v1_PlanFd_fields, &wish.fds[i]))
			return false;
	return true;
}

/* A plan of `argv`, looked up in the usual places. */
static plan_message plan_of(const char *const *argv)
{
	static const char *const env[] = {"PATH=/bin:/usr/bin", "MARK=set", NULL};

	wish = (struct wish){.argv = argv, .env = env};
	return (plan_message){
		.owner = 77,
		.journal_slot = 5,
		.argv = {.funcs.encode = encode_argv},
		.env = {.funcs.encode = encode_strings, .arg = (void *)(uintptr_t)wish.env},
		.file = {.funcs.encode = encode_one, .arg = (void *)(uintptr_t)argv[0]},
		.search_path = {.funcs.encode = encode_one, .arg = (void *)(uintptr_t) "/bin:/usr/bin"},
		.cwd = {.funcs.encode = encode_one, .arg = (void *)(uintptr_t) "/"},
		.fds = {.funcs.encode = encode_fds},
		.umask = 022,
		.controlling_slot = -1,
		.cgroup = -1,
		.cgroup_procs = -1,
	};
}

/* A slot that expects the plan of owner 77. */
static void expect_in(uint32_t slot)
{
	memset(&journal->slot[slot], 0, sizeof(journal->slot[slot]));
	journal->pids[slot] = 0;
	journal->slot[slot].owner = 77;
	journal->slot[slot].state = JOURNAL_INTENT;
}

static void start_launcher(void)
{
	int pair[2];

	if (!journal)
		journal = journal_map(journal_make());
	CU_ASSERT_EQUAL_FATAL(sys_socketpair(SOCK_SEQPACKET, pair), 0);
	fflush(stdout);
	launcher = fork();
	if (launcher == 0) {
		sys_close(pair[0]);
		for (int number = 1; number < NSIG; number++) /* as the keeper and main do */
			signal(number, number == SIGPIPE ? SIG_IGN : SIG_DFL);
		serve(pair[1], journal, (struct rlimit){.rlim_cur = 512, .rlim_max = 1000});
		_exit(0);
	}
	sys_close(pair[1]);
	link_init(&to_launcher, pair[0]);
	expect_in(5);
}

static void stop_launcher(void)
{
	int status;

	link_finish(&to_launcher);
	CU_ASSERT_EQUAL(waitpid(launcher, &status, 0), launcher);
	CU_ASSERT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/* The next answer. */
static answer_message take_answer(void)
{
	answer_message answer = spawnd_runtime_v1_Launched_init_zero;
	struct pollfd pollfd = {.fd = to_launcher.fd, .events = POLLIN};
	int fds[FDPASS_MAX];
	size_t count;

	CU_ASSERT_EQUAL_FATAL(poll(&pollfd, 1, 30000), 1);
	CU_ASSERT_EQUAL(link_receive(&to_launcher, spawnd_runtime_v1_Launched_fields, &answer, fds, &count), 1);
	return answer;
}

/* Sends a plan, in a memfd when it does not fit a record, and waits for its answer. */
static answer_message launch(const plan_message *plan, const int *fds, size_t count)
{
	plan_message stand_in = {.owner = plan->owner, .journal_slot = plan->journal_slot};
	int all[FDPASS_MAX];
	size_t size;
	uint8_t *bytes;
	pb_ostream_t stream;

	CU_ASSERT_TRUE_FATAL(pb_get_encoded_size(&size, spawnd_runtime_v1_Plan_fields, plan));
	if (size <= LINK_RECORD_MAX) {
		CU_ASSERT_EQUAL(link_send(&to_launcher, spawnd_runtime_v1_Plan_fields, plan, fds, count), 0);
		return take_answer();
	}
	bytes = mem_alloc(size);
	stream = pb_ostream_from_buffer(bytes, size);
	CU_ASSERT_TRUE(pb_encode(&stream, spawnd_runtime_v1_Plan_fields, plan));
	for (size_t i = 0; i < count; i++)
		all[i] = fds[i];
	all[count] = sys_memfd("plan", 0);
	CU_ASSERT_EQUAL(sys_write(all[count], bytes, size), (ssize_t)size);
	CU_ASSERT_EQUAL(link_send(&to_launcher, spawnd_runtime_v1_Plan_fields, &stand_in, all, count + 1), 0);
	sys_close(all[count]);
	free(bytes);
	return take_answer();
}

/* The wait status of the child in an answer, which must be ours. */
static int status_of(answer_message answer)
{
	int status = -1;

	CU_ASSERT_EQUAL(answer.owner, 77);
	CU_ASSERT_EQUAL(answer.pid, journal->pids[answer.journal_slot]);
	CU_ASSERT_TRUE_FATAL(answer.pid > 0);
	CU_ASSERT_EQUAL(waitpid(answer.pid, &status, 0), answer.pid);
	return status;
}

/* Everything a plan's program writes to stdout. */
static const char *output_of(plan_message *plan)
{
	static char text[65536];
	fd_message out = {.slot = 1, .attached = 0, .same_as = -1};
	size_t length = 0;
	ssize_t got;
	int pipe[2];

	wish.fds = &out;
	wish.fd_count = 1;
	CU_ASSERT_EQUAL(sys_pipe(pipe, 0), 0);
	status_of(launch(plan, &pipe[1], 1));
	sys_close(pipe[1]);
	while (length < sizeof(text) - 1 && (got = sys_read(pipe[0], text + length, sizeof(text) - 1 - length)) > 0)
		length += (size_t)got;
	text[length] = '\0';
	sys_close(pipe[0]);
	return text;
}

void test_a_plan_becomes_a_child_of_the_launchers_parent(void)
{
	plan_message plan = plan_of((const char *[]){"sh", "-c", "exit 42", NULL});
	answer_message answer;
	int status;

	start_launcher();
	answer = launch(&plan, NULL, 0);
	CU_ASSERT_EQUAL(answer.stage, LAUNCH_OK);
	status = status_of(answer);
	CU_ASSERT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 42);
	stop_launcher();
}

void test_environment_limits_and_directory_are_those_of_the_plan(void)
{
	plan_message plan =
		plan_of((const char *[]){"sh", "-c", "echo $MARK $(pwd) $(umask) $(ulimit -Sn) $(ulimit -Hn) $0 $1", "zero", "one", NULL});

	start_launcher();
	CU_ASSERT_STRING_EQUAL(output_of(&plan), "set / 0022 512 1000 zero one\n");
	stop_launcher();
}

void test_a_plan_of_megabytes_comes_in_a_memfd(void)
{
	plan_message plan =
		plan_of((const char *[]){"sh", "-c", "shift; for a; do n=$((n + ${#a})); done; echo $n", "zero", "first", NULL});

	start_launcher();
	wish.argument_size = 1500000;
	CU_ASSERT_STRING_EQUAL(output_of(&plan), "1500000\n");
	expect_in(5);
	plan = plan_of((const char *[]){"true", NULL});
	wish.argument_size = 7000000; /* three quarters of the kernel's own limit of 6 MiB, and more */
	{
		answer_message answer = launch(&plan, NULL, 0);

		CU_ASSERT_EQUAL(answer.stage, LAUNCH_EXEC);
		CU_ASSERT_EQUAL(answer.error, E2BIG);
		status_of(answer);
	}
	stop_launcher();
}

void test_a_search_path_of_colons_costs_no_memory(void)
{
	_cleanup_free_ char *path = mem_alloc(3000001);
	plan_message plan = plan_of((const char *[]){"no-such-program-anywhere", NULL});
	answer_message answer;

	memset(path, ':', 3000000);
	plan.search_path.arg = path;
	start_launcher();
	answer = launch(&plan, NULL, 0);
	CU_ASSERT_EQUAL(answer.stage, LAUNCH_EXEC);
	CU_ASSERT_EQUAL(answer.error, ENOENT);
	status_of(answer);
	stop_launcher();
}

void test_failures_are_answered_and_written_down(void)
{
	plan_message plan = plan_of((const char *[]){"true", NULL});
	fd_message file = {.slot = 3, .attached = -1, .same_as = -1, .open_flags = O_RDONLY};
	answer_message answer;

	file.path = (pb_callback_t){.funcs.encode = encode_one, .arg = (void *)(uintptr_t) "/nonexistent/file"};
	wish.fds = &file;
	wish.fd_count = 1;
	start_launcher();
	answer = launch(&plan, NULL, 0);
	status_of(answer);
	CU_ASSERT_EQUAL(answer.stage, LAUNCH_FILE);
	CU_ASSERT_EQUAL(answer.error, ENOENT);
	CU_ASSERT_EQUAL(answer.detail, 3);
	CU_ASSERT_EQUAL(journal->slot[5].launch_stage, LAUNCH_FILE);
	CU_ASSERT_EQUAL(journal->slot[5].launch_detail, 3);
	expect_in(5);
	wish.fds = &(fd_message){.slot = 1, .attached = 4, .same_as = -1}; /* which did not come */
	answer = launch(&plan, NULL, 0);
	CU_ASSERT_EQUAL(answer.stage, LAUNCH_PLAN);
	CU_ASSERT_EQUAL(answer.error, EBADF);
	CU_ASSERT_EQUAL(answer.pid, 0);
	CU_ASSERT_EQUAL(journal->slot[5].launch_stage, LAUNCH_PLAN);
	stop_launcher();
}

void test_a_slot_that_expects_no_plan_stays_as_it_is(void)
{
	plan_message plan = plan_of((const char *[]){"true", NULL});
	answer_message answer;

	start_launcher();
	journal->slot[5].owner = 78;
	answer = launch(&plan, NULL, 0);
	CU_ASSERT_EQUAL(answer.stage, LAUNCH_PLAN);
	CU_ASSERT_EQUAL(answer.pid, 0);
	CU_ASSERT_EQUAL(journal->pids[5], 0);
	CU_ASSERT_EQUAL(journal->slot[5].launch_stage, LAUNCH_OK);
	plan.journal_slot = JOURNAL_SLOTS;
	CU_ASSERT_EQUAL(launch(&plan, NULL, 0).stage, LAUNCH_PLAN);
	stop_launcher();
}

void test_a_slot_shown_twice_is_one_and_nonblocking_can_be_taken_off(void)
{
	plan_message plan = plan_of((const char *[]){"sh", "-c", "echo a; echo b >&2; echo c >&7; grep flags /proc/self/fdinfo/7", NULL});
	fd_message fds[] = {
		{.slot = 1, .attached = 0, .same_as = -1, .blocking = true},
		{.slot = 2, .attached = -1, .same_as = 1},
		{.slot = 7, .attached = -1, .same_as = 2},
	};
	char text[200] = "";
	int pipe[2];
	size_t length = 0;
	ssize_t got;

	start_launcher();
	wish.fds = fds;
	wish.fd_count = 3;
	CU_ASSERT_EQUAL(sys_pipe(pipe, O_NONBLOCK), 0);
	fcntl(pipe[0], F_SETFL, 0);
	status_of(launch(&plan, &pipe[1], 1));
	sys_close(pipe[1]);
	while ((got = sys_read(pipe[0], text + length, sizeof(text) - 1 - length)) > 0)
		length += (size_t)got;
	CU_ASSERT_STRING_EQUAL(text, "a\nb\nc\nflags:\t01\n");
	sys_close(pipe[0]);
	stop_launcher();
}

void test_groups_of_a_user_come_from_the_group_database(void)
{
	plan_message plan = plan_of((const char *[]){"sh", "-c", "id -u; id -g; id -G", NULL});

	if (getuid() != 0)
		return;
	start_launcher();
	plan.set_ids = true;
	plan.uid = 65534;
	plan.gid = 65534;
	CU_ASSERT_STRING_EQUAL(output_of(&plan), "65534\n65534\n65534\n");
	expect_in(5);
	plan.uid = 54321; /* nobody */
	CU_ASSERT_STRING_EQUAL(output_of(&plan), "54321\n65534\n65534\n");
	stop_launcher();
}

void test_signals_are_as_in_a_fresh_process(void)
{
	plan_message plan = plan_of((const char *[]){"grep", "-E", "^Sig(Blk|Ign)", "/proc/self/status", NULL});

	start_launcher();
	CU_ASSERT_STRING_EQUAL(output_of(&plan), "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n");
	stop_launcher();
}

void test_many_plans_leave_nothing_open(void)
{
	plan_message plan = plan_of((const char *[]){"/bin/true", NULL});
	char path[64];
	struct stat before, after;

	start_launcher();
	snprintf(path, sizeof(path), "/proc/%d/fd", (int)launcher);
	status_of(launch(&plan, NULL, 0));
	CU_ASSERT_EQUAL(stat(path, &before), 0);
	for (int i = 0; i < 50; i++) {
		int fds[20];

		for (size_t at = 0; at < array_size(fds); at++)
			fds[at] = STDERR_FILENO;
		expect_in(5);
		CU_ASSERT_EQUAL(status_of(launch(&plan, fds, array_size(fds))), 0);
	}
	status_of(launch(&plan, NULL, 0)); /* it answers before it closes, but does both before the next */
	CU_ASSERT_EQUAL(stat(path, &after), 0);
	CU_ASSERT_EQUAL(before.st_size, after.st_size);
	stop_launcher();
}
