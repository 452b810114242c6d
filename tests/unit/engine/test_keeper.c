/* The link to the keeper, with a keeper that the test plays at the other end; and what recovery makes of its store. */
#include <CUnit/CUnit.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/loop.h"
#include "base/mem.h"
#include "base/sys.h"
#include "engine/keeper.h"
#include "engine/recover.h"
#include "spawnd/runtime/v1/keeper.pb.h"

static struct world {
	struct loop *loop;
	struct keeper *keeper;
	struct link other; /* the keeper's end */
	struct loop_timer *guard;
	unsigned exited, rescans, terminated, reloads, lost, launchers;
	uint32_t slot;
	int launcher_error;
	unsigned offers, upgraded;
	int offered; /* descriptors of the last */
	bool refuses;
	char why[64];
	int signalled; /* how often */
	int error;
} world;

static void on_exited(void *context, uint32_t slot)
{
	world.exited++;
	world.slot = slot;
}

static void on_rescan(void *context)
{
	world.rescans++;
}

static void on_launcher_started(void *context, uint32_t index, int32_t pid, int error, int fd)
{
	world.launchers++;
	world.launcher_error = error;
	fd_close(&fd);
}

static void on_launcher_exited(void *context, uint32_t index, int32_t pid, int status)
{
}

static void on_terminate(void *context)
{
	world.terminated++;
}

static void on_reload(void *context)
{
	world.reloads++;
}

static int on_offer(void *context, int journal, int ledger, struct err *err)
{
	world.offers++;
	world.offered = (journal >= 0) + (ledger >= 0);
	return world.refuses ? err_set(err, STATUS_FAILED_PRECONDITION, "not from there") : 0;
}

static void on_upgraded(void *context, int32_t pid, const char *version, const char *why)
{
	world.upgraded++;
	snprintf(world.why, sizeof(world.why), "%s", why ? why : version);
	loop_stop(world.loop);
}

static void on_lost(void *context)
{
	world.lost++;
	loop_stop(world.loop);
}

static const struct keeper_observer observer = {
	.on_exited = on_exited,
	.on_rescan = on_rescan,
	.on_launcher_started = on_launcher_started,
	.on_launcher_exited = on_launcher_exited,
	.on_terminate = on_terminate,
	.on_reload = on_reload,
	.on_offer = on_offer,
	.on_upgraded = on_upgraded,
	.on_lost = on_lost,
};

static void on_guard(void *arg)
{
	loop_stop(world.loop);
}

static void on_signalled(void *arg, int error)
{
	world.signalled++;
	world.error = error;
}

static void run(void)
{
	loop_timer_set(world.guard, 2000);
	loop_run(world.loop);
}

static void notify(spawnd_runtime_v1_KeeperNotice notice, const int *fd)
{
	CU_ASSERT_EQUAL(link_send(&world.other, spawnd_runtime_v1_KeeperNotice_fields, &notice, fd, fd ? 1 : 0), 0);
}

static void welcome(uint32_t stored, uint32_t restarts)
{
	notify((spawnd_runtime_v1_KeeperNotice){.which_notice = spawnd_runtime_v1_KeeperNotice_welcome_tag,
		       .notice.welcome = {.stored = stored, .engine_restarts = restarts, .keeper_pid = 4711}},
		NULL);
}

static void hand_back(enum store_kind kind, uint64_t owner, uint32_t index, int fd)
{
	notify((spawnd_runtime_v1_KeeperNotice){.which_notice = spawnd_runtime_v1_KeeperNotice_stored_tag,
		       .notice.stored = {.kind = kind, .owner = owner, .index = index}},
		&fd);
}

/* What the keeper gets next: its tag, or 0 when there is nothing. */
static int take_order(spawnd_runtime_v1_KeeperOrder *order)
{
	int fds[FDPASS_MAX];
	size_t count = 0;

	*order = (spawnd_runtime_v1_KeeperOrder)spawnd_runtime_v1_KeeperOrder_init_zero;
	if (link_receive(&world.other, spawnd_runtime_v1_KeeperOrder_fields, order, fds, &count) != 1)
		return 0;
	for (size_t i = 0; i < count; i++)
		sys_close(fds[i]);
	return order->which_order;
}

static void open_world(void)
{
	int fds[2];

	memset(&world, 0, sizeof(world));
	CU_ASSERT_EQUAL_FATAL(sys_socketpair(SOCK_SEQPACKET, fds), 0);
	world.loop = loop_create();
	world.guard = loop_timer_create(world.loop, on_guard, NULL);
	link_init(&world.other, fds[1]);
	world.keeper = keeper_create(world.loop, fds[0], &observer, NULL);
}

/* With the welcome behind it and nothing stored. */
static void open_started(void)
{
	struct stored_list list;
	struct err err;

	open_world();
	welcome(0, 0);
	CU_ASSERT_EQUAL(keeper_welcome(world.keeper, &list, &err), 0);
	stored_list_finish(&list);
	keeper_start(world.keeper);
}

static void close_world(void)
{
	keeper_destroy(world.keeper);
	link_finish(&world.other);
	loop_timer_destroy(world.guard);
	loop_destroy(world.loop);
}

void test_the_welcome_brings_what_was_stored(void)
{
	struct stored_list list;
	struct own_fds own;
	struct err err;

	open_world();
	welcome(3, 2);
	hand_back(STORE_LOCK, 0, 0, STDERR_FILENO);
	notify((spawnd_runtime_v1_KeeperNotice){.which_notice = spawnd_runtime_v1_KeeperNotice_exited_tag}, NULL);
	hand_back(STORE_STDIO, 9, 1, STDERR_FILENO);
	hand_back(STORE_JOURNAL, 0, 0, STDERR_FILENO);
	CU_ASSERT_EQUAL(keeper_welcome(world.keeper, &list, &err), 0);
	CU_ASSERT_EQUAL(list.count, 3);
	CU_ASSERT_EQUAL(keeper_pid(world.keeper), 4711);
	CU_ASSERT_EQUAL(keeper_restarts(world.keeper), 2);
	CU_ASSERT_EQUAL(keeper_stored(world.keeper), 3);
	recover_own_fds(&list, &own);
	CU_ASSERT_TRUE(own.lock >= 0 && own.journal >= 0 && own.socket == -1);
	fd_close(&own.lock);
	fd_close(&own.journal);
	stored_list_finish(&list);
	close_world();
}

void test_a_keeper_that_is_gone_gives_no_welcome(void)
{
	struct stored_list list;
	struct err err = {0};

	open_world();
	welcome(1, 0);
	link_finish(&world.other);
	CU_ASSERT_TRUE(keeper_welcome(world.keeper, &list, &err) < 0);
	CU_ASSERT_EQUAL(err.status, STATUS_UNAVAILABLE);
	world.other.fd = -1;
	close_world();
}

void test_a_request_to_end_during_the_welcome_is_kept(void)
{
	struct stored_list list;
	struct err err;

	open_world();
	welcome(1, 0);
	notify((spawnd_runtime_v1_KeeperNotice){.which_notice = spawnd_runtime_v1_KeeperNotice_terminate_tag}, NULL);
	hand_back(STORE_LOCK, 0, 0, STDERR_FILENO);
	CU_ASSERT_EQUAL(keeper_welcome(world.keeper, &list, &err), 0);
	stored_list_finish(&list);
	CU_ASSERT_EQUAL(world.terminated, 0);
	keeper_start(world.keeper);
	CU_ASSERT_EQUAL(world.terminated, 1);
	close_world();
}

void test_notices_reach_the_observer(void)
{
	open_started();
	notify((spawnd_runtime_v1_KeeperNotice){.which_notice = spawnd_runtime_v1_KeeperNotice_exited_tag, .notice.exited.slot = 77}, NULL);
	notify((spawnd_runtime_v1_KeeperNotice){.which_notice = spawnd_runtime_v1_KeeperNotice_rescan_tag}, NULL);
	notify((spawnd_runtime_v1_KeeperNotice){.which_notice = spawnd_runtime_v1_KeeperNotice_terminate_tag}, NULL);
	notify((spawnd_runtime_v1_KeeperNotice){.which_notice = spawnd_runtime_v1_KeeperNotice_reload_tag}, NULL);
	notify((spawnd_runtime_v1_KeeperNotice){.which_notice = spawnd_runtime_v1_KeeperNotice_launcher_started_tag}, NULL);
	run();
	CU_ASSERT_EQUAL(world.exited, 1);
	CU_ASSERT_EQUAL(world.slot, 77);
	CU_ASSERT_EQUAL(world.rescans, 1);
	CU_ASSERT_EQUAL(world.terminated, 1);
	CU_ASSERT_EQUAL(world.reloads, 1);
	CU_ASSERT_EQUAL(world.launchers, 1);
	CU_ASSERT_EQUAL(world.launcher_error, EPROTO); /* no socket came along */
	close_world();
}

void test_a_signal_is_answered_by_its_ticket(void)
{
	spawnd_runtime_v1_KeeperOrder order;

	open_started();
	keeper_signal(world.keeper, 5, 50, 15, true, on_signalled, NULL);
	CU_ASSERT_EQUAL(take_order(&order), spawnd_runtime_v1_KeeperOrder_signal_tag);
	CU_ASSERT_EQUAL(order.order.signal.slot, 5);
	CU_ASSERT_EQUAL(order.order.signal.owner, 50);
	CU_ASSERT_EQUAL(order.order.signal.signal, 15);
	CU_ASSERT_TRUE(order.order.signal.group);
	CU_ASSERT_NOT_EQUAL(order.order.signal.ticket, 0);
	notify((spawnd_runtime_v1_KeeperNotice){.which_notice = spawnd_runtime_v1_KeeperNotice_signal_done_tag,
		       .notice.signal_done = {.ticket = order.order.signal.ticket, .error = ESRCH}},
		NULL);
	run();
	CU_ASSERT_EQUAL(world.signalled, 1);
	CU_ASSERT_EQUAL(world.error, ESRCH);
	keeper_signal(world.keeper, 5, 50, 15, true, NULL, NULL);
	CU_ASSERT_EQUAL(take_order(&order), spawnd_runtime_v1_KeeperOrder_signal_tag);
	CU_ASSERT_EQUAL(order.order.signal.ticket, 0);
	close_world();
}

void test_a_lost_keeper_answers_every_ticket(void)
{
	open_started();
	keeper_signal(world.keeper, 5, 50, 15, false, on_signalled, NULL);
	link_finish(&world.other);
	run();
	CU_ASSERT_EQUAL(world.lost, 1);
	keeper_signal(world.keeper, 5, 50, 15, false, on_signalled, NULL);
	CU_ASSERT_TRUE(world.signalled <= 1);
	run();
	CU_ASSERT_EQUAL(world.signalled, 2);
	CU_ASSERT_EQUAL(world.error, EPIPE);
	CU_ASSERT_EQUAL(world.lost, 1);
	world.other.fd = -1;
	close_world();
}

void test_the_store_is_counted(void)
{
	spawnd_runtime_v1_KeeperOrder order;
	int fds[2] = {STDERR_FILENO, STDERR_FILENO};
	struct err err;

	open_started();
	CU_ASSERT_EQUAL(keeper_store_put(world.keeper, STORE_STDIO, 9, 0, fds, 2, &err), 0);
	CU_ASSERT_EQUAL(keeper_store_put(world.keeper, STORE_STDIO, 9, 1, fds, 2, &err), 0);
	CU_ASSERT_EQUAL(keeper_store_put(world.keeper, STORE_RING, 9, 1, fds, 1, &err), 0);
	CU_ASSERT_EQUAL(keeper_stored(world.keeper), 4);
	CU_ASSERT_EQUAL(take_order(&order), spawnd_runtime_v1_KeeperOrder_put_tag);
	CU_ASSERT_EQUAL(order.order.put.owner, 9);
	keeper_store_drop(world.keeper, STORE_STDIO, 9, 7); /* there is none */
	CU_ASSERT_EQUAL(keeper_stored(world.keeper), 4);
	keeper_store_drop(world.keeper, STORE_STDIO, 9, 2);
	CU_ASSERT_EQUAL(keeper_stored(world.keeper), 3);
	keeper_store_drop(world.keeper, STORE_ANY, 9, 0);
	CU_ASSERT_EQUAL(keeper_stored(world.keeper), 0);
	close_world();
}

/* What is forgotten goes with the next order; all of an owner takes the place of its parts. */
void test_what_is_forgotten_goes_with_the_next_order(void)
{
	spawnd_runtime_v1_KeeperOrder order;
	int fds[2] = {STDERR_FILENO, STDERR_FILENO};
	struct err err;

	open_started();
	CU_ASSERT_EQUAL(keeper_store_put(world.keeper, STORE_STDIO, 9, 0, fds, 2, &err), 0);
	CU_ASSERT_EQUAL(take_order(&order), spawnd_runtime_v1_KeeperOrder_put_tag);
	keeper_store_forget(world.keeper, STORE_STDIO, 9, 1);
	keeper_store_forget(world.keeper, STORE_STDIO, 9, 7); /* there is none */
	keeper_store_forget(world.keeper, STORE_ANY, 9, 0);
	CU_ASSERT_EQUAL(keeper_stored(world.keeper), 0);
	CU_ASSERT_EQUAL(take_order(&order), 0);
	CU_ASSERT_EQUAL(keeper_store_put(world.keeper, STORE_STDIO, 9, 0, fds, 1, &err), 0);
	CU_ASSERT_EQUAL_FATAL(take_order(&order), spawnd_runtime_v1_KeeperOrder_put_tag);
	CU_ASSERT_EQUAL_FATAL(order.dropped_count, 1);
	CU_ASSERT_EQUAL(order.dropped[0].owner, 9);
	CU_ASSERT_TRUE(order.dropped[0].all_indexes);
	CU_ASSERT_EQUAL(take_order(&order), 0);
	CU_ASSERT_EQUAL(keeper_stored(world.keeper), 1);
	close_world();
}

/* More than one order holds: the first are sent when it is full, the rest by the timer. */
void test_what_is_forgotten_goes_by_itself(void)
{
	spawnd_runtime_v1_KeeperOrder order;
	int fd = STDERR_FILENO;
	unsigned dropped = 0, most;
	struct err err;

	open_started();
	for (uint64_t owner = 1; owner <= 40; owner++) {
		CU_ASSERT_EQUAL(keeper_store_put(world.keeper, STORE_STDIO, owner, 0, &fd, 1, &err), 0);
		CU_ASSERT_EQUAL(take_order(&order), spawnd_runtime_v1_KeeperOrder_put_tag);
	}
	for (uint64_t owner = 1; owner <= 40; owner++)
		keeper_store_forget(world.keeper, STORE_STDIO, owner, 0);
	CU_ASSERT_EQUAL_FATAL(take_order(&order), spawnd_runtime_v1_KeeperOrder_nothing_tag);
	dropped = most = order.dropped_count;
	for (unsigned i = 0; i < 100 && dropped < 40; i++) {
		run();
		while (take_order(&order) == spawnd_runtime_v1_KeeperOrder_nothing_tag)
			dropped += order.dropped_count;
	}
	CU_ASSERT_EQUAL(dropped, 40);
	CU_ASSERT_TRUE(most < 40);
	close_world();
}

void test_a_full_store_is_refused(void)
{
	struct rlimit limit, small;
	int fd = STDERR_FILENO;
	struct err err;

	getrlimit(RLIMIT_NOFILE, &limit);
	small = (struct rlimit){.rlim_cur = limit.rlim_cur, .rlim_max = limit.rlim_max};
	open_started();
	CU_ASSERT_EQUAL(keeper_store_limit(world.keeper), (size_t)small.rlim_max - 128);
	for (size_t i = 0; i < keeper_store_limit(world.keeper) && i < 20000; i++) {
		spawnd_runtime_v1_KeeperOrder order;

		if (keeper_store_put(world.keeper, STORE_STDIO, i + 1, 0, &fd, 1, &err) < 0)
			CU_FAIL_FATAL("the store is not full yet");
		take_order(&order);
	}
	if (keeper_store_limit(world.keeper) <= 20000) {
		CU_ASSERT_TRUE(keeper_store_put(world.keeper, STORE_STDIO, 1, 1, &fd, 1, &err) < 0);
		CU_ASSERT_EQUAL(err.status, STATUS_RESOURCE_EXHAUSTED);
	}
	close_world();
}

/* More orders than the socket takes wait, and arrive in order. */
void test_orders_wait_for_room(void)
{
	spawnd_runtime_v1_KeeperOrder order;
	unsigned sent = 5000, taken = 0, idle = 0;

	open_started();
	for (unsigned i = 0; i < sent; i++)
		keeper_signal(world.keeper, i, 1, 15, false, NULL, NULL);
	while (taken < sent && idle < 1000) {
		unsigned before = taken;

		while (take_order(&order)) {
			CU_ASSERT_EQUAL(order.order.signal.slot, taken);
			taken++;
		}
		run();
		idle = taken == before ? idle + 1 : 0;
	}
	CU_ASSERT_EQUAL(taken, sent);
	close_world();
}

static void offer(uint32_t version)
{
	spawnd_runtime_v1_KeeperNotice notice = {.which_notice = spawnd_runtime_v1_KeeperNotice_offer_tag, .notice.offer.link = version};
	int fds[2] = {sys_memfd("journal", 0), sys_memfd("ledger", 0)};

	CU_ASSERT_EQUAL(link_send(&world.other, spawnd_runtime_v1_KeeperNotice_fields, &notice, fds, 2), 0);
	sys_close(fds[0]);
	sys_close(fds[1]);
}

void test_a_candidate_says_that_it_can_and_waits_for_its_turn(void)
{
	spawnd_runtime_v1_KeeperOrder order;
	struct stored_list list;
	struct err err = {0};

	open_world();
	offer(LINK_VERSION);
	welcome(0, 3);
	CU_ASSERT_EQUAL(keeper_welcome(world.keeper, &list, &err), 0);
	CU_ASSERT_EQUAL(world.offers, 1);
	CU_ASSERT_EQUAL(world.offered, 2);
	CU_ASSERT_EQUAL(take_order(&order), spawnd_runtime_v1_KeeperOrder_able_tag);
	CU_ASSERT_STRING_EQUAL(order.order.able.version, SPAWND_VERSION);
	stored_list_finish(&list);
	close_world();
}

void test_a_candidate_that_cannot_says_why(void)
{
	spawnd_runtime_v1_KeeperOrder order;
	struct stored_list list;
	struct err err = {0};

	open_world();
	world.refuses = true;
	offer(LINK_VERSION);
	CU_ASSERT_TRUE(keeper_welcome(world.keeper, &list, &err) < 0);
	CU_ASSERT_STRING_EQUAL(err.message, "not from there");
	keeper_shut_down(world.keeper, 1, err.message);
	CU_ASSERT_EQUAL(take_order(&order), spawnd_runtime_v1_KeeperOrder_shut_down_tag);
	CU_ASSERT_STRING_EQUAL(order.order.shut_down.why, "not from there");
	offer(LINK_VERSION + 1);
	CU_ASSERT_TRUE(keeper_welcome(world.keeper, &list, &err) < 0);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "version"));
	CU_ASSERT_EQUAL(world.offers, 1);
	close_world();
}

void test_the_outcome_of_an_upgrade_is_told(void)
{
	spawnd_runtime_v1_KeeperNotice notice = {.which_notice = spawnd_runtime_v1_KeeperNotice_upgraded_tag};
	spawnd_runtime_v1_KeeperOrder order;

	open_started();
	CU_ASSERT_EQUAL(keeper_upgrade(world.keeper, NULL, 0), 0);
	CU_ASSERT_EQUAL(take_order(&order), spawnd_runtime_v1_KeeperOrder_upgrade_tag);
	strcpy(notice.notice.upgraded.why, "it does not like us");
	notify(notice, NULL);
	run();
	CU_ASSERT_STRING_EQUAL(world.why, "it does not like us");
	notice.notice.upgraded = (spawnd_runtime_v1_Upgraded){.able = true, .pid = 12, .version = "2.0"};
	notify(notice, NULL);
	run();
	CU_ASSERT_STRING_EQUAL(world.why, "2.0");
	CU_ASSERT_EQUAL(world.upgraded, 2);
	close_world();
}
