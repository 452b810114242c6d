/* The queue before the launchers, with launchers that the test plays itself at the other end of a socket. */
#include <CUnit/CUnit.h>
#include <errno.h>
#include <pb_decode.h>
#include <pb_encode.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/loop.h"
#include "base/mem.h"
#include "base/sys.h"
#include "engine/fds.h"
#include "engine/launch.h"

#define SLOTS 64
#define STUCK_MS 50
#define REST_MS 60
#define CREW 3u

struct answer {
	unsigned calls;
	int32_t pid;
	enum launch_stage stage;
	int error, detail;
};

/* The engine around the queue, and the launchers' ends of their sockets. */
static struct world {
	struct loop *loop;
	struct launch *launch;
	unsigned starts;
	bool started[LAUNCHERS_MAX];
	int start_error;
	int32_t pids[SLOTS];
	struct journal_slot slots[SLOTS];
	struct answer answers[SLOTS];
	struct link launchers[LAUNCHERS_MAX];
	struct loop_timer *guard;
} world;

static int fake_start(void *context, uint32_t index)
{
	world.starts++;
	world.started[index] = true;
	return world.start_error;
}

static int32_t fake_pid(void *context, uint32_t slot)
{
	return world.pids[slot];
}

static struct journal_slot *fake_slot(void *context, uint32_t slot)
{
	return &world.slots[slot];
}

static const struct launch_host host = {
	.crew = CREW, .stuck_ms = STUCK_MS, .rest_ms = REST_MS, .start = fake_start, .pid = fake_pid, .slot = fake_slot};

static void on_launched(void *arg, int32_t pid, enum launch_stage stage, int error, int detail)
{
	struct answer *answer = arg;

	*answer = (struct answer){.calls = answer->calls + 1, .pid = pid, .stage = stage, .error = error, .detail = detail};
}

static void on_guard(void *arg)
{
	loop_stop(world.loop);
}

static void open_world(void)
{
	memset(&world, 0, sizeof(world));
	for (unsigned i = 0; i < LAUNCHERS_MAX; i++)
		world.launchers[i].fd = -1;
	world.loop = loop_create();
	world.guard = loop_timer_create(world.loop, on_guard, NULL);
	world.launch = launch_create(world.loop, &host, NULL);
}

static void close_world(void)
{
	launch_destroy(world.launch);
	for (unsigned i = 0; i < LAUNCHERS_MAX; i++)
		if (world.launchers[i].fd >= 0)
			link_finish(&world.launchers[i]);
	loop_timer_destroy(world.guard);
	loop_destroy(world.loop);
}

/* Lets the loop run for so long. */
static void run_ms(unsigned ms)
{
	loop_timer_set(world.guard, (uint64_t)ms * 1000 + 1);
	loop_run(world.loop);
}

/* The launcher of this number comes up. */
static void come_up(uint32_t index)
{
	int fds[2];

	CU_ASSERT_EQUAL_FATAL(sys_socketpair(SOCK_SEQPACKET, fds), 0);
	link_init(&world.launchers[index], fds[1]);
	world.started[index] = false;
	launch_on_started(world.launch, index, 1000 + (int32_t)index, 0, fds[0]);
}

/* Its process ends: the socket closes, or is held open by a child and only the keeper tells. */
static void go_down(uint32_t index, bool told)
{
	if (told)
		launch_on_exited(world.launch, index, 1000 + (int32_t)index, 9);
	link_finish(&world.launchers[index]);
	run_ms(1);
}

/* A plan of a user for slot (and owner 100 + slot), with `count` descriptors. */
static int submit_of(uid_t user, uint32_t slot, const int *fds, size_t count)
{
	uint8_t record[64];
	spawnd_runtime_v1_Plan plan = {.owner = 100 + slot, .journal_slot = slot};
	pb_ostream_t stream = pb_ostream_from_buffer(record, sizeof(record));
	struct err err;

	atomic_store(&world.slots[slot].owner, 100 + slot);
	pb_encode(&stream, spawnd_runtime_v1_Plan_fields, &plan);
	return launch_submit(world.launch,
		&(struct launch_plan){
			.owner = 100 + slot,
			.user = user,
			.slot = slot,
			.packed = {.record = mem_dup(record, stream.bytes_written), .size = stream.bytes_written, .memfd = -1},
			.fds = fds,
			.fd_count = count,
		},
		on_launched, &world.answers[slot], &err);
}

static int submit(uint32_t slot, const int *fds, size_t count)
{
	return submit_of(1, slot, fds, count);
}

/* The slot of the plan that the launcher of this number got, or -1 when it got none. Closes descriptors, counting them. */
static int take_plan(uint32_t index, size_t *fd_count)
{
	spawnd_runtime_v1_Plan plan = spawnd_runtime_v1_Plan_init_zero;
	int fds[FDPASS_MAX];
	size_t count = 0;

	if (link_receive(&world.launchers[index], spawnd_runtime_v1_Plan_fields, &plan, fds, &count) != 1)
		return -1;
	for (size_t i = 0; i < count; i++)
		sys_close(fds[i]);
	if (fd_count)
		*fd_count = count;
	return (int)plan.journal_slot;
}

static void answer_plan(uint32_t index, uint32_t slot, int32_t pid, int stage, int error)
{
	spawnd_runtime_v1_Launched launched = {
		.owner = 100 + slot, .journal_slot = slot, .pid = pid, .stage = stage, .error = error, .detail = 5};

	CU_ASSERT_EQUAL(link_send(&world.launchers[index], spawnd_runtime_v1_Launched_fields, &launched, NULL, 0), 0);
	run_ms(1);
}

void test_a_plan_goes_and_its_answer_comes(void)
{
	int fds[2];
	size_t count;

	open_world();
	CU_ASSERT_EQUAL(world.starts, 1);
	come_up(0);
	CU_ASSERT_EQUAL(sys_pipe(fds, 0), 0);
	CU_ASSERT_EQUAL(submit(3, fds, 2), 0);
	CU_ASSERT_EQUAL(take_plan(0, &count), 3);
	CU_ASSERT_EQUAL(count, 2);
	CU_ASSERT_EQUAL(world.answers[3].calls, 0);
	answer_plan(0, 3, 4711, LAUNCH_FILE, ENOENT);
	CU_ASSERT_EQUAL(world.answers[3].calls, 1);
	CU_ASSERT_EQUAL(world.answers[3].pid, 4711);
	CU_ASSERT_EQUAL(world.answers[3].stage, LAUNCH_FILE);
	CU_ASSERT_EQUAL(world.answers[3].error, ENOENT);
	CU_ASSERT_EQUAL(world.answers[3].detail, 5);
	CU_ASSERT_EQUAL(launch_waiting(world.launch), 0);
	sys_close(fds[0]);
	sys_close(fds[1]);
	close_world();
}

void test_plans_wait_for_the_first_launcher_in_order(void)
{
	open_world();
	for (uint32_t slot = 0; slot < 3; slot++)
		CU_ASSERT_EQUAL(submit(slot, NULL, 0), 0);
	come_up(0);
	for (uint32_t slot = 0; slot < 3; slot++) {
		CU_ASSERT_EQUAL(take_plan(0, NULL), (int)slot);
		answer_plan(0, slot, 50 + (int32_t)slot, 0, 0);
		CU_ASSERT_EQUAL(world.answers[slot].pid, 50 + (int32_t)slot);
	}
	CU_ASSERT_EQUAL(launch_waiting(world.launch), 0);
	close_world();
}

void test_a_crowd_gets_more_launchers_until_it_is_gone(void)
{
	open_world();
	come_up(0);
	for (uint32_t slot = 0; slot < LAUNCH_CROWD + LAUNCH_WINDOW; slot++)
		submit(slot, NULL, 0);
	CU_ASSERT_EQUAL(world.starts, 1);
	submit(LAUNCH_CROWD + LAUNCH_WINDOW, NULL, 0);
	CU_ASSERT_EQUAL(world.starts, 2);
	for (uint32_t slot = 20; slot < 40; slot++)
		submit(slot, NULL, 0);
	CU_ASSERT_EQUAL(world.starts, CREW);
	for (uint32_t i = 1; i < CREW; i++)
		come_up(i);
	CU_ASSERT_EQUAL(launch_count(world.launch), CREW);
	while (launch_waiting(world.launch)) {
		for (uint32_t i = 0; i < CREW; i++) {
			int slot = take_plan(i, NULL);

			if (slot >= 0)
				answer_plan(i, (uint32_t)slot, 500 + slot, 0, 0);
		}
	}
	CU_ASSERT_EQUAL(world.answers[39].pid, 539);
	run_ms(REST_MS + 20);
	CU_ASSERT_EQUAL(launch_count(world.launch), 1);
	submit(1, NULL, 0);
	CU_ASSERT_EQUAL(take_plan(0, NULL), 1);
	close_world();
}

/* Died before the clone: nothing stands in the journal. */
void test_a_plan_outlives_its_launcher(void)
{
	open_world();
	come_up(0);
	submit(1, NULL, 0);
	CU_ASSERT_EQUAL(take_plan(0, NULL), 1);
	go_down(0, false);
	CU_ASSERT_EQUAL(world.answers[1].calls, 0);
	run_ms(20);
	CU_ASSERT_TRUE(world.started[0]);
	come_up(0);
	CU_ASSERT_EQUAL(take_plan(0, NULL), 1);
	answer_plan(0, 1, 77, 0, 0);
	CU_ASSERT_EQUAL(world.answers[1].pid, 77);
	CU_ASSERT_EQUAL(world.answers[1].calls, 1);
	close_world();
}

/* Died after the clone, before it could answer: the kernel wrote the pid. */
void test_a_cloned_child_is_adopted(void)
{
	open_world();
	come_up(0);
	submit(1, NULL, 0);
	take_plan(0, NULL);
	world.pids[1] = 4711;
	world.slots[1].launch_stage = LAUNCH_EXEC;
	world.slots[1].launch_error = ENOENT;
	go_down(0, true);
	CU_ASSERT_EQUAL(world.answers[1].calls, 1);
	CU_ASSERT_EQUAL(world.answers[1].pid, 4711);
	CU_ASSERT_EQUAL(world.answers[1].stage, LAUNCH_EXEC);
	CU_ASSERT_EQUAL(world.answers[1].error, ENOENT);
	close_world();
}

/* Its exit was told and its slot given back before anybody noticed that the launcher is gone. */
void test_a_slot_given_back_is_not_launched_again(void)
{
	open_world();
	come_up(0);
	submit(1, NULL, 0);
	take_plan(0, NULL);
	atomic_store(&world.slots[1].owner, 0);
	go_down(0, true);
	CU_ASSERT_EQUAL(world.answers[1].calls, 1);
	CU_ASSERT_EQUAL(world.answers[1].pid, 0);
	CU_ASSERT_EQUAL(world.answers[1].error, ESRCH);
	close_world();
}

/* Answered, then died, before the engine read the answer. */
void test_the_last_answer_of_a_launcher_counts(void)
{
	spawnd_runtime_v1_Launched launched = {.owner = 101, .journal_slot = 1, .pid = 88};

	open_world();
	come_up(0);
	submit(1, NULL, 0);
	take_plan(0, NULL);
	link_send(&world.launchers[0], spawnd_runtime_v1_Launched_fields, &launched, NULL, 0);
	go_down(0, true);
	CU_ASSERT_EQUAL(world.answers[1].calls, 1);
	CU_ASSERT_EQUAL(world.answers[1].pid, 88);
	close_world();
}

void test_a_plan_that_kills_launchers_is_refused(void)
{
	open_world();
	submit(1, NULL, 0);
	for (unsigned i = 0; i < 2; i++) {
		come_up(0);
		CU_ASSERT_EQUAL(take_plan(0, NULL), 1);
		go_down(0, false);
		run_ms(30);
	}
	CU_ASSERT_EQUAL(world.answers[1].calls, 1);
	CU_ASSERT_EQUAL(world.answers[1].pid, 0);
	CU_ASSERT_EQUAL(world.answers[1].stage, LAUNCH_PLAN);
	CU_ASSERT_EQUAL(world.answers[1].error, EAGAIN);
	close_world();
}

void test_a_blocked_launcher_holds_up_nobody_else(void)
{
	open_world();
	come_up(0);
	submit(1, NULL, 0);
	submit(2, NULL, 0);
	CU_ASSERT_EQUAL(take_plan(0, NULL), 1);
	run_ms(STUCK_MS + 30);
	CU_ASSERT_TRUE(world.started[1]);
	come_up(1);
	CU_ASSERT_EQUAL(take_plan(1, NULL), 2);
	answer_plan(1, 2, 22, 0, 0);
	CU_ASSERT_EQUAL(world.answers[2].pid, 22);
	CU_ASSERT_EQUAL(world.answers[1].calls, 0);
	answer_plan(0, 1, 11, 0, 0);
	CU_ASSERT_EQUAL(world.answers[1].pid, 11);
	submit(3, NULL, 0);
	CU_ASSERT_EQUAL(take_plan(0, NULL), 3);
	close_world();
}

void test_all_launchers_blocked_is_an_error(void)
{
	open_world();
	for (uint32_t i = 0; i < LAUNCHERS_MAX; i++) {
		CU_ASSERT_TRUE(world.started[i]);
		come_up(i);
		submit_of(i % 2, i, NULL, 0);
		CU_ASSERT_EQUAL(take_plan(i, NULL), (int)i);
		run_ms(STUCK_MS + 25);
	}
	CU_ASSERT_EQUAL(submit(30, NULL, 0), -EAGAIN);
	CU_ASSERT_EQUAL(world.answers[30].calls, 0);
	answer_plan(4, 4, 44, 0, 0);
	CU_ASSERT_EQUAL(submit(30, NULL, 0), 0);
	CU_ASSERT_EQUAL(take_plan(4, NULL), 30);
	close_world();
}

void test_a_user_blocks_its_part_of_the_launchers_and_others_have_the_rest(void)
{
	open_world();
	for (uint32_t i = 0; i < LAUNCHERS_USER; i++) {
		come_up(i);
		submit(i, NULL, 0);
		CU_ASSERT_EQUAL(take_plan(i, NULL), (int)i);
		if (i + 1 == LAUNCHERS_USER) {
			submit(20, NULL, 0);
			CU_ASSERT_EQUAL(world.answers[20].calls, 0); /* it is not known yet that they are blocked */
		}
		run_ms(STUCK_MS + 25);
	}
	CU_ASSERT_EQUAL(world.answers[20].calls, 1);
	CU_ASSERT_EQUAL(world.answers[20].error, EAGAIN);
	CU_ASSERT_EQUAL(submit(30, NULL, 0), -EAGAIN);
	CU_ASSERT_TRUE(world.started[LAUNCHERS_USER]);
	come_up(LAUNCHERS_USER);
	CU_ASSERT_EQUAL(submit_of(2, 31, NULL, 0), 0);
	CU_ASSERT_EQUAL(take_plan(LAUNCHERS_USER, NULL), 31);
	answer_plan(LAUNCHERS_USER, 31, 77, 0, 0);
	CU_ASSERT_EQUAL(world.answers[31].pid, 77);
	answer_plan(4, 4, 44, 0, 0);
	CU_ASSERT_EQUAL(submit(30, NULL, 0), 0);
	close_world();
}

void test_no_launcher_can_be_started(void)
{
	open_world();
	submit(1, NULL, 0);
	for (unsigned i = 0; i < 3; i++) {
		CU_ASSERT_TRUE(world.started[0]);
		world.started[0] = false;
		launch_on_started(world.launch, 0, 0, EAGAIN, -1);
		run_ms(100);
	}
	CU_ASSERT_EQUAL(world.answers[1].calls, 1);
	CU_ASSERT_EQUAL(world.answers[1].error, EAGAIN);
	CU_ASSERT_TRUE(world.started[0]);
	come_up(0);
	submit(2, NULL, 0);
	CU_ASSERT_EQUAL(take_plan(0, NULL), 2);
	close_world();
}

void test_an_answer_nobody_waits_for_is_ignored(void)
{
	open_world();
	come_up(0);
	answer_plan(0, 9, 99, 0, 0);
	submit(1, NULL, 0);
	take_plan(0, NULL);
	answer_plan(0, 1, 11, 0, 0);
	answer_plan(0, 1, 11, 0, 0);
	CU_ASSERT_EQUAL(world.answers[1].calls, 1);
	close_world();
}

void test_no_descriptor_is_left(void)
{
	unsigned before = fds_open();
	int fds[2];

	open_world();
	CU_ASSERT_EQUAL(sys_pipe(fds, 0), 0);
	for (uint32_t slot = 0; slot < 20; slot++)
		submit(slot, fds, 2);
	come_up(0);
	take_plan(0, NULL);
	go_down(0, false);
	run_ms(20);
	come_up(0);
	take_plan(0, NULL);
	answer_plan(0, 0, 1, 0, 0);
	close_world();
	sys_close(fds[0]);
	sys_close(fds[1]);
	CU_ASSERT_EQUAL(fds_open(), before);
}
