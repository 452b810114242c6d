/*
 * The clone and the steps of a child, for real. A forked process plays the launcher, so that this one, its parent, becomes
 * the parent of the child just as the keeper does.
 */
#include <CUnit/CUnit.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/sys.h"
#include "launcher/spawn.h"

static struct journal *journal;
static struct rlimit nofile = {.rlim_cur = 1000, .rlim_max = 1000};

static char *no_env[] = {(char *)"PATH=/bin:/usr/bin", NULL};

/* A plan for argv whose program is argv[0] itself, stdout into `out`. */
static struct launch_plan plan_of(char **argv, struct target *targets, size_t count)
{
	static char candidate[PATH_MAX];

	return (struct launch_plan){
		.owner = 1,
		.argv = argv,
		.env = no_env,
		.cwd = "/",
		.file = argv[0],
		.search_path = "",
		.candidate = candidate,
		.targets = targets,
		.target_count = count,
		.highest_slot = 2,
		.umask = 022,
		.controlling_slot = -1,
		.cgroup = -1,
		.cgroup_procs = -1,
	};
}

/* Runs a plan; the wait status of the child, or -1 when there was none. */
static int run(struct launch_plan *plan, struct launched *launched_out)
{
	struct launched *shared;
	int fd = sys_memfd("launched", 0), status = -1;
	pid_t launcher;

	sys_ftruncate(fd, 4096);
	shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (!journal)
		journal = journal_map(journal_make());
	journal->pids[plan->journal_slot] = 0;
	fflush(stdout);
	launcher = fork();
	if (launcher == 0) {
		*shared = spawn_run(journal, plan, nofile);
		_exit(0);
	}
	CU_ASSERT_EQUAL(waitpid(launcher, NULL, 0), launcher);
	*launched_out = *shared;
	munmap(shared, 4096);
	CU_ASSERT_EQUAL(launched_out->pid, journal->pids[plan->journal_slot]);
	if (launched_out->pid)
		CU_ASSERT_EQUAL(waitpid(launched_out->pid, &status, 0), launched_out->pid);
	return status;
}

/* Runs `sh -c script` with stdout in a pipe; its output. */
static const char *output_of(struct launch_plan *plan)
{
	static char text[4096];
	struct launched launched;
	int fds[2];
	ssize_t size;

	CU_ASSERT_EQUAL(sys_pipe(fds, 0), 0);
	plan->targets[0] = (struct target){.slot = 1, .source = fds[1], .same_as = -1};
	run(plan, &launched);
	close(fds[1]);
	CU_ASSERT_EQUAL(launched.stage, LAUNCH_OK);
	size = read(fds[0], text, sizeof(text) - 1);
	text[size > 0 ? size : 0] = 0;
	close(fds[0]);
	return text;
}

void test_status_and_signal_reach_the_parent(void)
{
	struct launch_plan seven = plan_of((char *[]){(char *)"/bin/sh", (char *)"-c", (char *)"exit 7", NULL}, NULL, 0);
	struct launch_plan killed = plan_of((char *[]){(char *)"/bin/sh", (char *)"-c", (char *)"kill -9 $$", NULL}, NULL, 0);
	struct launched launched;
	int status = run(&seven, &launched);

	CU_ASSERT(WIFEXITED(status) && WEXITSTATUS(status) == 7);
	CU_ASSERT_EQUAL(launched.stage, LAUNCH_OK);
	status = run(&killed, &launched);
	CU_ASSERT(WIFSIGNALED(status) && WTERMSIG(status) == 9);
}

void test_the_time_of_start_is_taken_before_the_clone(void)
{
	struct launch_plan plan = plan_of((char *[]){(char *)"/bin/true", NULL}, NULL, 0);
	struct launched launched;
	int64_t before = clock_real_ns();

	if (journal)
		journal->slot[plan.journal_slot].started_at_ns = 0;
	run(&plan, &launched);
	CU_ASSERT(journal->slot[plan.journal_slot].started_at_ns >= before);
	CU_ASSERT(journal->slot[plan.journal_slot].started_at_ns <= clock_real_ns());
}

/* A launch that fails at a stage with an errno. */
static void expect_failure(struct launch_plan *plan, enum launch_stage stage, int error)
{
	struct launched launched;
	int status = run(plan, &launched);

	CU_ASSERT_EQUAL(launched.stage, stage);
	CU_ASSERT_EQUAL(launched.error, error);
	CU_ASSERT_EQUAL(journal->slot[plan->journal_slot].launch_stage, (int)stage);
	CU_ASSERT(WIFEXITED(status) && WEXITSTATUS(status) == 127);
}

void test_failures_name_their_stage(void)
{
	char path[] = "/tmp/spawnd-test-XXXXXX";
	int fd = mkstemp(path);
	struct launch_plan plan = plan_of((char *[]){(char *)"/nonexistent", NULL}, NULL, 0);
	struct target file = {.slot = 1, .source = -1, .same_as = -1, .path = "/nonexistent/x", .open_flags = O_WRONLY | O_CREAT};

	expect_failure(&plan, LAUNCH_EXEC, ENOENT);
	plan.file = path;
	expect_failure(&plan, LAUNCH_EXEC, EACCES);
	fchmod(fd, 0755);
	CU_ASSERT_EQUAL(write(fd, "no program", 10), 10);
	close(fd);
	expect_failure(&plan, LAUNCH_EXEC, ENOEXEC);
	unlink(path);
	plan.file = "/bin/true";
	plan.cwd = "/nonexistent";
	expect_failure(&plan, LAUNCH_CWD, ENOENT);
	plan.cwd = "/";
	plan.targets = &file;
	plan.target_count = 1;
	expect_failure(&plan, LAUNCH_FILE, ENOENT);
	plan.target_count = 0;
	plan.controlling_slot = 0;
	expect_failure(&plan, LAUNCH_TTY, ENOTTY);
}

void test_a_name_without_slash_is_looked_up(void)
{
	static char long_name[NAME_MAX + 2];
	struct launch_plan plan = plan_of((char *[]){(char *)"true", NULL}, NULL, 0);
	struct launched launched;

	plan.search_path = "/nonexistent:/etc/passwd:/etc:/bin";
	CU_ASSERT_EQUAL(run(&plan, &launched), 0);
	plan.search_path = "/nonexistent:";
	expect_failure(&plan, LAUNCH_EXEC, ENOENT);
	plan.cwd = "/bin";
	CU_ASSERT_EQUAL(run(&plan, &launched), 0);
	plan.cwd = "/";
	plan.search_path = "/etc:/nonexistent";
	plan.file = "passwd";
	expect_failure(&plan, LAUNCH_EXEC, EACCES);
	plan.file = "";
	expect_failure(&plan, LAUNCH_EXEC, ENOENT);
	memset(long_name, 'x', sizeof(long_name) - 1);
	plan.file = long_name;
	expect_failure(&plan, LAUNCH_EXEC, ENAMETOOLONG);
}

void test_descriptors_change_places_and_no_other_is_left(void)
{
	struct target targets[4];
	struct launch_plan plan = plan_of((char *[]){(char *)"/bin/sh", (char *)"-c",
						  (char *)"echo one; echo two >&2; exec >&4; n=0; while [ $n -lt 1000 ]; do "
							  "[ -e /proc/$$/fd/$n ] && list=\"$list$n \"; n=$((n + 1)); done; echo \"$list\"",
						  NULL},
		targets, 4);
	struct launched launched;
	char first[32] = "", second[32] = "", list[64] = "";
	int out[2], err[2], names[2];

	/* stderr's source stands where stdout must go, and the other way round */
	CU_ASSERT_EQUAL(sys_pipe(out, 0) + sys_pipe(err, 0) + sys_pipe(names, 0), 0);
	targets[0] = (struct target){.slot = 1, .source = out[1], .same_as = -1};
	targets[1] = (struct target){.slot = 2, .source = err[1], .same_as = -1};
	targets[2] = (struct target){.slot = 4, .source = names[1], .same_as = -1};
	targets[3] = (struct target){.slot = 0, .source = -1, .same_as = -1, .path = "/dev/null", .open_flags = O_RDONLY};
	plan.highest_slot = 200;
	run(&plan, &launched);
	CU_ASSERT_EQUAL(launched.stage, LAUNCH_OK);
	close(out[1]);
	close(err[1]);
	close(names[1]);
	CU_ASSERT(read(out[0], first, sizeof(first) - 1) > 0);
	CU_ASSERT(read(err[0], second, sizeof(second) - 1) > 0);
	CU_ASSERT(read(names[0], list, sizeof(list) - 1) > 0);
	CU_ASSERT_STRING_EQUAL(first, "one\n");
	CU_ASSERT_STRING_EQUAL(second, "two\n");
	CU_ASSERT_STRING_EQUAL(list, "0 1 2 4 \n");
	close(out[0]);
	close(err[0]);
	close(names[0]);
}

void test_identity_limits_and_the_rest(void)
{
	struct target target;
	struct launch_plan plan = plan_of(
		(char *[]){(char *)"/bin/sh", (char *)"-c",
			(char *)"id -u; id -g; id -G; umask; ulimit -n; ulimit -c; nice; grep NoNewPrivs /proc/self/status | cut -f2; "
				"[ $$ = $(ps -o sid= -p $$) ] && echo leader",
			NULL},
		&target, 1);
	gid_t groups[] = {7, 9};
	struct limit limits[] = {
		{.resource = RLIMIT_CORE, .value = {0, 0}},
		{.resource = RLIMIT_NOFILE, .value = {100, 200}},
	};

	plan.set_ids = plan.set_groups = plan.no_new_privs = plan.set_nice = true;
	plan.uid = plan.gid = 65534;
	plan.groups = groups;
	plan.group_count = 2;
	plan.umask = 0177;
	plan.nice = 3;
	plan.limits = limits;
	plan.limit_count = 2;
	CU_ASSERT_STRING_EQUAL(output_of(&plan), "65534\n65534\n65534 7 9\n0177\n100\n0\n3\n1\nleader\n");
}

void test_a_limit_that_is_asked_for_must_be_had(void)
{
	struct launch_plan plan = plan_of((char *[]){(char *)"/bin/true", NULL}, NULL, 0);
	struct limit impossible = {.resource = RLIMIT_NOFILE, .value = {5, 1ull << 62}};

	plan.limits = &impossible;
	plan.limit_count = 1;
	expect_failure(&plan, LAUNCH_RLIMIT, EPERM);
}

void test_a_child_is_born_in_its_cgroup(void)
{
	const char *roots[] = {"/sys/fs/cgroup/unified", "/sys/fs/cgroup"};
	struct target target;
	struct launch_plan plan =
		plan_of((char *[]){(char *)"/bin/sh", (char *)"-c", (char *)"grep ^0:: /proc/self/cgroup", NULL}, &target, 1);
	char dir[128] = "";

	for (size_t i = 0; i < array_size(roots) && plan.cgroup < 0; i++) {
		snprintf(dir, sizeof(dir), "%s/spawnd-unit-%d", roots[i], (int)getpid());
		if (mkdir(dir, 0755) == 0)
			plan.cgroup = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	}
	if (plan.cgroup < 0)
		return; /* a machine without a writable hierarchy; the sweep is tested elsewhere */
	CU_ASSERT_PTR_NOT_NULL(strstr(output_of(&plan), "/spawnd-unit-"));
	close(plan.cgroup);
	CU_ASSERT_EQUAL(rmdir(dir), 0);
}
