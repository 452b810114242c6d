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

static char proc[64];

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
	return (struct access_client){.uid = uid, .pid = pid, .pidfd = -1};
}

void test_own_user_and_root_may_connect(void)
{
	CU_ASSERT_TRUE(access_may_connect(1000, 1000));
	CU_ASSERT_TRUE(access_may_connect(0, 1000));
	CU_ASSERT_FALSE(access_may_connect(1001, 1000));
	CU_ASSERT_FALSE(access_may_connect(1000, 0));
}

void test_a_client_of_our_namespaces_may_spawn(void)
{
	struct access_client client = client_of(50, 1000);
	struct err err;

	make_proc();
	put_process("50", 1, 2, 3, 0);
	CU_ASSERT_EQUAL(access_authorize(&client, proc, false, &spawn, &err), 0);
	CU_ASSERT_FALSE(access_no_new_privs(&client, proc));
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
		CU_ASSERT_TRUE(access_authorize(&client, proc, false, &spawn, &err) < 0);
		CU_ASSERT_EQUAL(err.status, STATUS_PERMISSION_DENIED);
		CU_ASSERT_PTR_NOT_NULL(strstr(err.message, words[i]));
		CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "--allow-foreign-ns"));
		CU_ASSERT_EQUAL(access_authorize(&client, proc, false, &list, &err), 0);
		CU_ASSERT_EQUAL(access_authorize(&client, proc, true, &spawn, &err), 0);
	}
	remove_proc();
}

void test_a_client_without_a_pid_here_is_foreign(void)
{
	struct access_client client = client_of(0, 0);
	struct err err;

	make_proc();
	CU_ASSERT_TRUE(access_authorize(&client, proc, false, &spawn, &err) < 0);
	remove_proc();
}

void test_a_client_nobody_can_look_at_is_refused(void)
{
	struct access_client client = client_of(51, 1000);
	struct err err;

	make_proc();
	CU_ASSERT_TRUE(access_authorize(&client, proc, false, &spawn, &err) < 0);
	CU_ASSERT_TRUE(access_no_new_privs(&client, proc));
	remove_proc();
}

void test_without_proc_nothing_is_compared(void)
{
	struct access_client client = client_of(51, 1000);
	struct err err;

	CU_ASSERT_EQUAL(access_authorize(&client, "/nonexistent", false, &spawn, &err), 0);
	CU_ASSERT_FALSE(access_no_new_privs(&client, "/nonexistent"));
}

void test_no_new_privs_is_seen(void)
{
	struct access_client client = client_of(50, 1000);

	make_proc();
	put_process("50", 1, 2, 3, 1);
	CU_ASSERT_TRUE(access_no_new_privs(&client, proc));
	remove_proc();
}

void test_facts_are_looked_up_once(void)
{
	struct access_client client = client_of(50, 1000);
	struct err err;

	make_proc();
	put_process("50", 1, 2, 3, 0);
	CU_ASSERT_EQUAL(access_authorize(&client, proc, false, &spawn, &err), 0);
	put_process("50", 9, 9, 9, 1);
	CU_ASSERT_EQUAL(access_authorize(&client, proc, false, &spawn, &err), 0);
	CU_ASSERT_FALSE(access_no_new_privs(&client, proc));
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
	CU_ASSERT_TRUE(access_authorize(&client, proc, false, &spawn, &err) < 0);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "has ended"));
	CU_ASSERT_TRUE(access_no_new_privs(&client, proc));
	waitpid(pid, NULL, 0);
	sys_close(client.pidfd);
	remove_proc();
}
