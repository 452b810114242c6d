/* Rights, with a /proc of the test's own making. */
#include <CUnit/CUnit.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/sys.h"
#include "engine/access.h"

static const struct method spawn = {.service = "spawnd.v1.Processes", .name = "Spawn", .right = RIGHT_SPAWN};
static const struct method list = {.service = "spawnd.v1.Processes", .name = "List", .right = RIGHT_OBSERVE};

static const struct method get = {.service = "spawnd.v1.Processes", .name = "Get", .right = RIGHT_OBSERVE, .own = true};
static const struct method ping = {.service = "spawnd.v1.Admin", .name = "Ping", .right = RIGHT_NONE};

static char proc[64];
static bool foreign_is_fine;
static struct grants grants;
static struct access_rules rules = {.own = 1000, .proc = proc, .allow_foreign_ns = &foreign_is_fine, .grants = &grants};

static void put_file(const char *process, const char *name, const char *text)
{
	char path[256];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s/%s", proc, process, name);
	file = fopen(path, "w");
	CU_ASSERT_PTR_NOT_NULL_FATAL(file);
	fputs(text, file);
	fclose(file);
}

/* A process in the made /proc, with the numbers of its three namespaces. */
static void put_process(const char *process, int mnt, int pid, int user, int no_new_privs)
{
	const char *const names[] = {"mnt", "pid", "user"};
	const int numbers[] = {mnt, pid, user};
	char path[256], text[64];

	snprintf(path, sizeof(path), "%s/%s", proc, process);
	mkdir(path, 0700);
	snprintf(path, sizeof(path), "%s/%s/ns", proc, process);
	mkdir(path, 0700);
	for (size_t i = 0; i < 3; i++) {
		snprintf(path, sizeof(path), "%s/%s/ns/%s", proc, process, names[i]);
		snprintf(text, sizeof(text), "%s:[%d]", names[i], numbers[i]);
		unlink(path);
		CU_ASSERT_EQUAL(symlink(text, path), 0);
	}
	snprintf(text, sizeof(text), "Name:\tx\nNoNewPrivs:\t%d\n", no_new_privs);
	put_file(process, "status", text);
}

static void make_proc(void)
{
	snprintf(proc, sizeof(proc), "/tmp/spawnd-proc-XXXXXX");
	CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(proc));
	put_process("self", 1, 2, 3, 0);
}

static void remove_proc(void)
{
	char command[128];

	snprintf(command, sizeof(command), "rm -rf '%s'", proc);
	CU_ASSERT_EQUAL(system(command), 0);
}

static struct access_client client_of(pid_t pid, uid_t uid)
{
	return (struct access_client){.ids = {.uid = uid, .gid = uid}, .pid = pid, .pidfd = -1};
}

static bool may_connect(uid_t uid)
{
	struct access_client client = client_of(50, uid);

	return access_may_connect(&rules, &client);
}

/* Replaces what is granted. */
static void grant(const char *first, const char *second)
{
	struct err err;

	grants_finish(&grants);
	if (first)
		CU_ASSERT_EQUAL(grants_read_grant(&grants, first, &err), 0);
	if (second)
		CU_ASSERT_EQUAL(grants_read_run_as(&grants, second, &err), 0);
}

void test_own_user_and_root_may_connect(void)
{
	CU_ASSERT_TRUE(may_connect(1000));
	CU_ASSERT_TRUE(may_connect(0));
	CU_ASSERT_FALSE(may_connect(1001));
}

void test_each_role_is_that_right_and_no_other(void)
{
	static const char *const lines[] = {"uid:1001 observe", "uid:1001 attach", "uid:1001 signal", "uid:1001 spawn"};
	struct access_client client = client_of(50, 1001);

	for (unsigned i = 0; i < 4; i++) {
		grant(lines[i], NULL);
		CU_ASSERT_TRUE(may_connect(1001));
		CU_ASSERT_FALSE(may_connect(1002));
		for (unsigned right = RIGHT_OBSERVE; right <= RIGHT_ADMIN; right <<= 1)
			CU_ASSERT_EQUAL(access_may(&rules, &client, (enum right)right), right == 1u << i);
	}
	grant("uid:1001 admin", NULL);
	for (unsigned right = RIGHT_OBSERVE; right <= RIGHT_ADMIN; right <<= 1)
		CU_ASSERT_TRUE(access_may(&rules, &client, (enum right)right));
	grant(NULL, NULL);
	CU_ASSERT_FALSE(access_may(&rules, &client, RIGHT_OBSERVE));
}

void test_a_group_counts_with_the_supplementary_ones(void)
{
	gid_t groups[] = {7, 50};
	struct access_client client = client_of(50, 1001);

	grant("gid:50 observe", NULL);
	CU_ASSERT_FALSE(access_may_connect(&rules, &client));
	client.ids.gid = 50;
	CU_ASSERT_TRUE(access_may_connect(&rules, &client));
	client.ids.gid = 1;
	client.ids.groups = groups;
	client.ids.group_count = 2;
	CU_ASSERT_TRUE(access_may_connect(&rules, &client));
	grant(NULL, NULL);
}

void test_methods_by_role(void)
{
	struct access_client client = client_of(50, 1001);
	struct err err;

	make_proc();
	put_process("50", 1, 2, 3, 0);
	CU_ASSERT_TRUE(access_authorize(&rules, &client, &ping, &err) < 0); /* no role at all */
	grant("uid:1001 spawn", NULL);
	CU_ASSERT_EQUAL(access_authorize(&rules, &client, &ping, &err), 0);
	CU_ASSERT_EQUAL(access_authorize(&rules, &client, &spawn, &err), 0);
	CU_ASSERT_EQUAL(access_authorize(&rules, &client, &get, &err), 0); /* of its own: the handler decides */
	CU_ASSERT_TRUE(access_authorize(&rules, &client, &list, &err) < 0);
	CU_ASSERT_EQUAL(err.status, STATUS_PERMISSION_DENIED);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "uid 1001 has not the role observe"));
	grant(NULL, NULL);
	remove_proc();
}

void test_ids_of_its_processes(void)
{
	gid_t groups[] = {7, 8}, wrong[] = {7, 9};
	struct access_client client = client_of(50, 1001), root = client_of(50, 0);
	struct client_ids ids = {.uid = 1001, .gid = 1001};
	struct err err;

	client.ids.groups = groups;
	client.ids.group_count = 2;
	CU_ASSERT_EQUAL(access_run_as(&rules, &client, &ids, &err), 0);
	ids.gid = 8;
	ids.groups = groups;
	ids.group_count = 2;
	CU_ASSERT_EQUAL(access_run_as(&rules, &client, &ids, &err), 0);
	ids.groups = wrong;
	CU_ASSERT_TRUE(access_run_as(&rules, &client, &ids, &err) < 0);
	CU_ASSERT_STRING_EQUAL(err.field, "spec.groups[1]");
	ids.groups = NULL;
	ids.group_count = 0;
	ids.gid = 33;
	CU_ASSERT_TRUE(access_run_as(&rules, &client, &ids, &err) < 0);
	CU_ASSERT_STRING_EQUAL(err.field, "spec.gid");
	ids.uid = 33;
	CU_ASSERT_TRUE(access_run_as(&rules, &client, &ids, &err) < 0);
	CU_ASSERT_STRING_EQUAL(err.field, "spec.uid");
	CU_ASSERT_EQUAL(access_run_as(&rules, &root, &ids, &err), 0);
	grant(NULL, "uid:1001 uid:33");
	CU_ASSERT_TRUE(access_run_as(&rules, &client, &ids, &err) < 0);
	CU_ASSERT_STRING_EQUAL(err.field, "spec.gid");
	ids.gid = ACCESS_GID_ANY;
	CU_ASSERT_EQUAL(access_run_as(&rules, &client, &ids, &err), 0);
	ids.gid = 33;
	grant(NULL, "gid:8 uid:33 gid:33");
	CU_ASSERT_EQUAL(access_run_as(&rules, &client, &ids, &err), 0);
	ids.uid = 0;
	CU_ASSERT_TRUE(access_run_as(&rules, &client, &ids, &err) < 0);
	grant(NULL, NULL);
}

void test_lines_that_say_nothing_sensible(void)
{
	static const char *const bad[] = {"", "1001 observe", "uid:1001", "uid: observe", "uid:x observe", "uid:1001 root",
		"uid:4294967295 admin", "uid:-1 admin", "gid:", "uid:12x observe"};
	struct grants none = {0};
	struct err err;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		CU_ASSERT_TRUE(grants_read_grant(&none, bad[i], &err) < 0);
	CU_ASSERT_TRUE(grants_read_run_as(&none, "uid:1", &err) < 0);
	CU_ASSERT_TRUE(grants_read_run_as(&none, "uid:1 observe", &err) < 0);
	CU_ASSERT_FALSE(grants_any(&none));
	grants_finish(&none);
}

void test_a_client_of_our_namespaces_may_spawn(void)
{
	struct access_client client = client_of(50, 1000);
	struct err err;

	make_proc();
	put_process("50", 1, 2, 3, 0);
	CU_ASSERT_EQUAL(access_authorize(&rules, &client, &spawn, &err), 0);
	CU_ASSERT_FALSE(access_no_new_privs(&rules, &client));
	remove_proc();
}

void test_each_foreign_namespace_is_named(void)
{
	static const char *const words[] = {"mount namespace", "pid namespace", "user namespace"};

	make_proc();
	for (int i = 0; i < 3; i++) {
		struct access_client client = client_of(50, 1000);
		struct err err = {0};

		put_process("50", i == 0 ? 9 : 1, i == 1 ? 9 : 2, i == 2 ? 9 : 3, 0);
		CU_ASSERT_TRUE(access_authorize(&rules, &client, &spawn, &err) < 0);
		CU_ASSERT_EQUAL(err.status, STATUS_PERMISSION_DENIED);
		CU_ASSERT_PTR_NOT_NULL(strstr(err.message, words[i]));
		CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "--allow-foreign-ns"));
		CU_ASSERT_TRUE(access_authorize(&rules, &client, &list, &err) < 0);
		CU_ASSERT_EQUAL(access_authorize(&rules, &client, &ping, &err), 0);
		foreign_is_fine = true;
		CU_ASSERT_EQUAL(access_authorize(&rules, &client, &spawn, &err), 0);
		foreign_is_fine = false;
	}
	remove_proc();
}

void test_a_client_without_a_pid_here_is_foreign(void)
{
	struct access_client client = client_of(0, 0);
	struct err err;

	make_proc();
	CU_ASSERT_TRUE(access_authorize(&rules, &client, &spawn, &err) < 0);
	remove_proc();
}

void test_a_client_nobody_can_look_at_may_start_nothing(void)
{
	struct access_client client = client_of(51, 1000);
	struct err err;

	make_proc();
	CU_ASSERT_EQUAL(access_authorize(&rules, &client, &list, &err), 0);
	CU_ASSERT_TRUE(access_authorize(&rules, &client, &spawn, &err) < 0);
	CU_ASSERT_TRUE(access_no_new_privs(&rules, &client));
	remove_proc();
}

void test_without_proc_nothing_is_compared(void)
{
	struct access_rules blind = rules;
	struct access_client client = client_of(51, 1000);
	struct err err;

	blind.proc = "/nonexistent";
	CU_ASSERT_EQUAL(access_authorize(&blind, &client, &spawn, &err), 0);
	CU_ASSERT_FALSE(access_no_new_privs(&blind, &client));
}

void test_no_new_privs_is_seen(void)
{
	struct access_client client = client_of(50, 1000);

	make_proc();
	put_process("50", 1, 2, 3, 1);
	CU_ASSERT_TRUE(access_no_new_privs(&rules, &client));
	remove_proc();
}

void test_facts_are_looked_up_once(void)
{
	struct access_client client = client_of(50, 1000);
	struct err err;

	make_proc();
	put_process("50", 1, 2, 3, 0);
	CU_ASSERT_EQUAL(access_authorize(&rules, &client, &spawn, &err), 0);
	put_process("50", 9, 9, 9, 1);
	CU_ASSERT_EQUAL(access_authorize(&rules, &client, &spawn, &err), 0);
	CU_ASSERT_FALSE(access_no_new_privs(&rules, &client));
	remove_proc();
}

/* Its pid may be somebody else's by now. */
void test_a_client_that_has_ended_is_refused(void)
{
	struct access_client client;
	struct err err;
	char name[24];
	pid_t pid = fork();
	siginfo_t info;

	if (pid == 0)
		_exit(0);
	make_proc();
	snprintf(name, sizeof(name), "%d", (int)pid);
	put_process(name, 1, 2, 3, 0);
	client = client_of(pid, 1000);
	client.pidfd = sys_pidfd_open(pid);
	CU_ASSERT_TRUE(client.pidfd >= 0);
	waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT);
	CU_ASSERT_TRUE(access_authorize(&rules, &client, &spawn, &err) < 0);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "has ended"));
	CU_ASSERT_TRUE(access_no_new_privs(&rules, &client));
	waitpid(pid, NULL, 0);
	sys_close(client.pidfd);
	remove_proc();
}
