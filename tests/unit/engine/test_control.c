/* Accepting: who, how many, and what happens without descriptors. */
#include <CUnit/CUnit.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/loop.h"
#include "engine/control.h"
#include "engine/instance.h"

#define CLIENTS 8

static struct world {
	struct loop *loop;
	struct loop_timer *guard;
	struct control *control;
	char dir[64], path[96];
	int socket;
	int clients[CLIENTS];
	bool allow_foreign_ns;
	struct grants grants;
	unsigned gone, refused;
	size_t count;
} world;

static void on_gone(void *context, struct peer *peer)
{
	world.gone++;
}

static void on_count(void *context, size_t clients)
{
	world.count = clients;
}

static void on_refused(void *context, uid_t uid, pid_t pid, const struct method *method, const char *why)
{
	world.refused++;
}

static void on_guard(void *arg)
{
	loop_stop(world.loop);
}

static void run_ms(unsigned ms)
{
	loop_timer_set(world.guard, (uint64_t)ms * 1000);
	loop_run(world.loop);
}

static void open_world(size_t clients_max)
{
	struct control_config config = {
		.clients_max = clients_max,
		.access = {geteuid(), "/proc", &world.allow_foreign_ns, &world.grants},
		.stall_ms = 1000,
		.on_gone = on_gone,
		.on_count = on_count,
		.on_refused = on_refused,
	};
	struct err err;

	memset(&world, 0, sizeof(world));
	strcpy(world.dir, "/tmp/spawnd-control-XXXXXX");
	CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(world.dir));
	snprintf(world.path, sizeof(world.path), "%s/s", world.dir);
	world.socket = instance_listen(world.path, &err);
	CU_ASSERT_FATAL(world.socket >= 0);
	world.loop = loop_create();
	world.guard = loop_timer_create(world.loop, on_guard, NULL);
	config.loop = world.loop;
	config.socket = world.socket;
	world.control = control_create(&config);
}

static void close_world(void)
{
	control_close_all(world.control, "the test ends");
	run_ms(1);
	control_destroy(world.control);
	loop_timer_destroy(world.guard);
	loop_destroy(world.loop);
	close(world.socket);
	instance_remove(world.path);
	rmdir(world.dir);
}

static int connect_one(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	strcpy(address.sun_path, world.path);
	CU_ASSERT_EQUAL(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

void test_clients_come_and_go(void)
{
	open_world(CLIENTS);
	for (int i = 0; i < CLIENTS; i++)
		world.clients[i] = connect_one();
	run_ms(5);
	CU_ASSERT_EQUAL(control_clients(world.control), CLIENTS);
	CU_ASSERT_TRUE(control_is_flushed(world.control));
	CU_ASSERT_TRUE(control_memory(world.control) > 0);
	for (int i = 0; i < CLIENTS; i++)
		close(world.clients[i]);
	run_ms(5);
	CU_ASSERT_EQUAL(control_clients(world.control), 0);
	CU_ASSERT_EQUAL(world.gone, CLIENTS);
	CU_ASSERT_EQUAL(world.count, 0);
	CU_ASSERT_EQUAL(world.refused, 0);
	close_world();
}

void test_too_many_wait_until_one_leaves(void)
{
	open_world(3);
	for (int i = 0; i < 5; i++)
		world.clients[i] = connect_one();
	run_ms(5);
	CU_ASSERT_EQUAL(control_clients(world.control), 3);
	close(world.clients[0]);
	run_ms(5);
	CU_ASSERT_EQUAL(control_clients(world.control), 3);
	CU_ASSERT_EQUAL(world.gone, 1);
	close(world.clients[1]);
	close(world.clients[2]);
	run_ms(5);
	CU_ASSERT_EQUAL(control_clients(world.control), 2);
	close(world.clients[3]);
	close(world.clients[4]);
	close_world();
}

void test_without_descriptors_accepting_pauses_and_goes_on(void)
{
	struct rlimit before, small;
	int lowest;

	open_world(CLIENTS);
	world.clients[0] = connect_one();
	run_ms(5);
	world.clients[1] = connect_one();
	getrlimit(RLIMIT_NOFILE, &before);
	lowest = dup(world.socket);
	close(lowest);
	small = (struct rlimit){.rlim_cur = (rlim_t)lowest, .rlim_max = before.rlim_max};
	CU_ASSERT_EQUAL(setrlimit(RLIMIT_NOFILE, &small), 0);
	run_ms(20);
	CU_ASSERT_EQUAL(control_clients(world.control), 1);
	setrlimit(RLIMIT_NOFILE, &before);
	run_ms(150);
	CU_ASSERT_EQUAL(control_clients(world.control), 2);
	close(world.clients[0]);
	close(world.clients[1]);
	close_world();
}

void test_after_stop_nobody_is_accepted(void)
{
	open_world(CLIENTS);
	control_stop(world.control);
	world.clients[0] = connect_one();
	run_ms(5);
	CU_ASSERT_EQUAL(control_clients(world.control), 0);
	close(world.clients[0]);
	close_world();
}

void test_an_unknown_peer_may_nothing(void)
{
	open_world(CLIENTS);
	CU_ASSERT_FALSE(control_may(world.control, NULL, RIGHT_OBSERVE));
	CU_ASSERT_TRUE(control_no_new_privs(world.control, NULL));
	close_world();
}
