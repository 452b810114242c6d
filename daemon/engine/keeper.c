/*
 * The link to the keeper. Orders leave in the order they were given. The table of the store's names is kept here too, so
 * that it is refused before the keeper would run out of descriptors.
 */
#include "engine/keeper.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <sys/resource.h>
#include <uthash.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/mem.h"
#include "base/sys.h"
#include "link/state.h"
#include "spawnd/runtime/v1/keeper.pb.h"

#define WELCOME_TIMEOUT_MS 10000
#define TURN_TIMEOUT_MS 30000 /* of a candidate, until the engine has left */
#define FAREWELL_TIMEOUT_MS 1000
#define NOTICES_PER_TURN 256
#define FORGET_US 5000
#define KEEPER_FD_RESERVE 128u /* descriptors the keeper needs for itself */

typedef spawnd_runtime_v1_KeeperOrder order_message;
typedef spawnd_runtime_v1_KeeperNotice notice_message;

#define DROPS_MAX array_size(((order_message *)NULL)->dropped)

/* A signal whose outcome somebody waits for. */
struct ticket {
	uint64_t number;
	keeper_signalled_fn done;
	void *arg;
	UT_hash_handle hh; /* keeper::tickets */
};

/* Names in the store of one owner. */
struct holding {
	uint64_t owner;
	size_t count, room;
	struct holding_name {
		uint32_t kind, index;
	} * names;
	UT_hash_handle hh; /* keeper::holdings */
};

struct keeper {
	struct loop *loop;
	struct link link;
	struct loop_fd *watch;
	struct loop_defer *answer; /* tickets that failed at once */
	const struct keeper_observer *observer;
	void *context;
	bool started, lost, terminate_early;
	int32_t pid;
	unsigned restarts;
	bool background;
	uint64_t last_ticket, signals;
	struct ticket *tickets;
	struct holding *holdings;
	size_t stored, store_limit;
	spawnd_runtime_v1_StoreDrop forgotten[DROPS_MAX]; /* still to be dropped; goes with the next order */
	pb_size_t forgotten_count;
	struct loop_timer *forget;
};

/* The most descriptors the keeper may hold for us: it has our limit. */
static size_t limit_of_store(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_max < 2 * KEEPER_FD_RESERVE)
		return KEEPER_FD_RESERVE;
	if (limit.rlim_max > SIZE_MAX / 2)
		return SIZE_MAX / 2;
	return (size_t)limit.rlim_max - KEEPER_FD_RESERVE;
}

/* Answers every ticket: the keeper is gone, no signal will be sent. */
static void fail_tickets(void *arg)
{
	struct keeper *keeper = arg;
	struct ticket *ticket;

	while ((ticket = keeper->tickets)) {
		HASH_DEL(keeper->tickets, ticket);
		ticket->done(ticket->arg, EPIPE);
		free(ticket);
	}
}

/* Writes down that the keeper is gone, and tells it once. */
static void lose(struct keeper *keeper, int error)
{
	if (keeper->lost)
		return;
	keeper->lost = true;
	log_(LOG_ERROR, "keeper %d: the link broke: %s", (int)keeper->pid, err_name(-error));
	if (keeper->watch)
		loop_fd_set(keeper->watch, 0);
	loop_defer_trigger(keeper->answer);
	keeper->observer->on_lost(keeper->context);
}

/* What the socket does not take now waits. 0 or -errno. */
static int transmit(struct keeper *keeper, const order_message *order, const int *fds, size_t count)
{
	int done;

	if (keeper->lost)
		return -EPIPE;
	done = link_send(&keeper->link, spawnd_runtime_v1_KeeperOrder_fields, order, fds, count);
	if (done == -EPIPE || done == -ECONNRESET)
		lose(keeper, done);
	else if (done == 0 && keeper->link.head && keeper->watch)
		loop_fd_set(keeper->watch, LOOP_READ | LOOP_WRITE);
	return done;
}

/* Sends an order, with what was forgotten before it. 0 or -errno. */
static int send_order(struct keeper *keeper, order_message *order, const int *fds, size_t count)
{
	int done;

	order->dropped_count = keeper->forgotten_count;
	memcpy(order->dropped, keeper->forgotten, keeper->forgotten_count * sizeof(*order->dropped));
	done = transmit(keeper, order, fds, count);
	if (done == 0)
		keeper->forgotten_count = 0;
	return done;
}

/* Drops what was forgotten. */
static void send_forgotten(void *arg)
{
	struct keeper *keeper = arg;
	order_message order = {.which_order = spawnd_runtime_v1_KeeperOrder_nothing_tag};

	if (keeper->forgotten_count)
		send_order(keeper, &order, NULL, 0);
	keeper->forgotten_count = 0; /* refused only by a keeper that is gone */
}

struct keeper *keeper_create(struct loop *loop, int fd, const struct keeper_observer *observer, void *context)
{
	struct keeper *keeper = mem_alloc(sizeof(*keeper));

	keeper->loop = loop;
	keeper->observer = observer;
	keeper->context = context;
	keeper->store_limit = limit_of_store();
	keeper->answer = loop_defer_create(loop, fail_tickets, keeper);
	keeper->forget = loop_timer_create(loop, send_forgotten, keeper);
	link_init(&keeper->link, fd);
	return keeper;
}

void keeper_destroy(struct keeper *keeper)
{
	struct ticket *ticket, *next_ticket;
	struct holding *holding, *next_holding;

	if (!keeper)
		return;
	HASH_ITER(hh, keeper->tickets, ticket, next_ticket)
	{
		HASH_DEL(keeper->tickets, ticket);
		free(ticket);
	}
	HASH_ITER(hh, keeper->holdings, holding, next_holding)
	{
		HASH_DEL(keeper->holdings, holding);
		free(holding->names);
		free(holding);
	}
	loop_defer_destroy(keeper->answer);
	loop_timer_destroy(keeper->forget);
	loop_fd_destroy(keeper->watch);
	link_finish(&keeper->link);
	free(keeper);
}

/* Where the name is among those of an owner, or its count when it is not. */
static size_t find_name(const struct holding *holding, uint32_t kind, uint32_t index)
{
	size_t at = 0;

	while (at < holding->count && (holding->names[at].kind != kind || holding->names[at].index != index))
		at++;
	return at;
}

/* Notes a name of the store; one that is there already is replaced by the keeper. */
static void note_name(struct keeper *keeper, uint32_t kind, uint64_t owner, uint32_t index)
{
	struct holding *holding;

	HASH_FIND(hh, keeper->holdings, &owner, sizeof(owner), holding);
	if (!holding) {
		holding = mem_alloc(sizeof(*holding));
		holding->owner = owner;
		HASH_ADD(hh, keeper->holdings, owner, sizeof(holding->owner), holding);
	}
	if (find_name(holding, kind, index) < holding->count)
		return;
	if (holding->count == holding->room) {
		holding->room = holding->room ? holding->room * 2 : 4;
		holding->names = mem_realloc(holding->names, holding->room * sizeof(*holding->names));
	}
	holding->names[holding->count++] = (struct holding_name){.kind = kind, .index = index};
	keeper->stored++;
}

/* Forgets a holding that has no names any more. */
static void trim_holding(struct keeper *keeper, struct holding *holding)
{
	if (holding->count)
		return;
	HASH_DEL(keeper->holdings, holding);
	free(holding->names);
	free(holding);
}

int keeper_store_put(
	struct keeper *keeper, enum store_kind kind, uint64_t owner, uint32_t first_index, const int *fds, size_t count, struct err *err)
{
	order_message order = {
		.which_order = spawnd_runtime_v1_KeeperOrder_put_tag,
		.order.put = {.kind = (uint32_t)kind, .owner = owner, .first_index = first_index},
	};
	int done;

	if (keeper->stored + count > keeper->store_limit) {
		err_set(err, STATUS_RESOURCE_EXHAUSTED, "the keeper holds %zu descriptors and may hold %zu (RLIMIT_NOFILE)", keeper->stored,
			keeper->store_limit);
		return -EMFILE;
	}
	done = send_order(keeper, &order, fds, count);
	if (done < 0)
		return err_errno(err, -done, "sendmsg", NULL);
	for (size_t i = 0; i < count; i++)
		note_name(keeper, (uint32_t)kind, owner, first_index + (uint32_t)i);
	return 0;
}

/* Takes a name, or all of an owner, out of the table. False when it is not there. */
static bool remove_name(struct keeper *keeper, enum store_kind kind, uint64_t owner, uint32_t index)
{
	struct holding *holding;
	size_t at;

	HASH_FIND(hh, keeper->holdings, &owner, sizeof(owner), holding);
	if (!holding)
		return false;
	if (kind == STORE_ANY) {
		keeper->stored -= holding->count;
		holding->count = 0;
	} else {
		at = find_name(holding, (uint32_t)kind, index);
		if (at == holding->count)
			return false;
		holding->names[at] = holding->names[--holding->count];
		keeper->stored--;
	}
	trim_holding(keeper, holding);
	return true;
}

/* Adds one to what is forgotten; all of an owner takes the place of what was dropped of it before. */
static void add_forgotten(struct keeper *keeper, enum store_kind kind, uint64_t owner, uint32_t index)
{
	spawnd_runtime_v1_StoreDrop *forgotten = keeper->forgotten;
	pb_size_t kept = 0;

	for (pb_size_t i = 0; i < keeper->forgotten_count; i++)
		if (kind != STORE_ANY || forgotten[i].owner != owner)
			forgotten[kept++] = forgotten[i];
	keeper->forgotten_count = kept;
	if (kept == DROPS_MAX)
		send_forgotten(keeper);
	forgotten[keeper->forgotten_count++] =
		(spawnd_runtime_v1_StoreDrop){.owner = owner, .kind = (uint32_t)kind, .index = index, .all_indexes = kind == STORE_ANY};
}

void keeper_store_drop(struct keeper *keeper, enum store_kind kind, uint64_t owner, uint32_t index)
{
	if (!remove_name(keeper, kind, owner, index))
		return;
	add_forgotten(keeper, kind, owner, index);
	send_forgotten(keeper);
}

void keeper_store_forget(struct keeper *keeper, enum store_kind kind, uint64_t owner, uint32_t index)
{
	if (!remove_name(keeper, kind, owner, index))
		return;
	add_forgotten(keeper, kind, owner, index);
	if (!loop_timer_pending(keeper->forget))
		loop_timer_set(keeper->forget, FORGET_US);
}

/* A ticket for an outcome that somebody waits for; 0 when nobody does. */
static uint64_t add_ticket(struct keeper *keeper, keeper_signalled_fn done, void *arg)
{
	struct ticket *ticket;

	if (!done)
		return 0;
	ticket = mem_alloc(sizeof(*ticket));
	ticket->number = ++keeper->last_ticket;
	ticket->done = done;
	ticket->arg = arg;
	HASH_ADD(hh, keeper->tickets, number, sizeof(ticket->number), ticket);
	return ticket->number;
}

/* Takes a ticket back from the table: NULL when there is none of this number. */
static struct ticket *take_ticket(struct keeper *keeper, uint64_t number)
{
	struct ticket *ticket;

	HASH_FIND(hh, keeper->tickets, &number, sizeof(number), ticket);
	if (ticket)
		HASH_DEL(keeper->tickets, ticket);
	return ticket;
}

/* Without a keeper every ticket is answered at the end of the turn: fail_tickets. */
static void order_signal(struct keeper *keeper, order_message *order, const int *pidfd)
{
	keeper->signals++;
	if (send_order(keeper, order, pidfd, pidfd ? 1 : 0) < 0)
		loop_defer_trigger(keeper->answer);
}

void keeper_signal(struct keeper *keeper, uint32_t slot, uint64_t owner, int signal, bool group, keeper_signalled_fn done, void *arg)
{
	order_message order = {
		.which_order = spawnd_runtime_v1_KeeperOrder_signal_tag,
		.order.signal = {.slot = slot, .owner = owner, .signal = signal, .group = group},
	};

	order.order.signal.ticket = add_ticket(keeper, done, arg);
	order_signal(keeper, &order, NULL);
}

void keeper_signal_pidfd(struct keeper *keeper, int pidfd, int signal, keeper_signalled_fn done, void *arg)
{
	order_message order = {
		.which_order = spawnd_runtime_v1_KeeperOrder_signal_pidfd_tag,
		.order.signal_pidfd = {.signal = signal},
	};

	order.order.signal_pidfd.ticket = add_ticket(keeper, done, arg);
	order_signal(keeper, &order, &pidfd);
}

uint64_t keeper_signals(const struct keeper *keeper)
{
	return keeper->signals;
}

int keeper_start_launcher(struct keeper *keeper, uint32_t index)
{
	order_message order = {
		.which_order = spawnd_runtime_v1_KeeperOrder_start_launcher_tag,
		.order.start_launcher = {.index = index},
	};

	return send_order(keeper, &order, NULL, 0);
}

void keeper_ready(struct keeper *keeper, int log_fd)
{
	order_message order = {.which_order = spawnd_runtime_v1_KeeperOrder_ready_tag};

	send_order(keeper, &order, &log_fd, log_fd >= 0 ? 1 : 0);
}

int keeper_upgrade(struct keeper *keeper, const int *fds, size_t count)
{
	order_message order = {.which_order = spawnd_runtime_v1_KeeperOrder_upgrade_tag};

	return send_order(keeper, &order, fds, count);
}

void keeper_shut_down(struct keeper *keeper, int exit_status, const char *why)
{
	order_message order = {
		.which_order = spawnd_runtime_v1_KeeperOrder_shut_down_tag,
		.order.shut_down = {.exit_status = exit_status},
	};

	snprintf(order.order.shut_down.why, sizeof(order.order.shut_down.why), "%s", why ? why : "");
	if (send_order(keeper, &order, NULL, 0) == 0)
		keeper_flush(keeper);
}

void keeper_flush(struct keeper *keeper)
{
	int64_t deadline = clock_boot_ns() + (int64_t)FAREWELL_TIMEOUT_MS * 1000000;

	send_forgotten(keeper);
	while (link_flush(&keeper->link) == 1 && clock_boot_ns() < deadline) {
		struct pollfd pollfd = {.fd = keeper->link.fd, .events = POLLOUT};

		poll(&pollfd, 1, 10);
	}
}

/* Closes the descriptors of a notice that nobody took. */
static void close_all(int *fds, size_t count)
{
	for (size_t i = 0; i < count; i++)
		fd_close(&fds[i]);
}

/* One notice to whom it concerns. */
static void deliver(struct keeper *keeper, const notice_message *notice, int *fds, size_t count)
{
	const struct keeper_observer *observer = keeper->observer;
	struct ticket *ticket;

	switch (notice->which_notice) {
	case spawnd_runtime_v1_KeeperNotice_exited_tag:
		observer->on_exited(keeper->context, notice->notice.exited.slot);
		break;
	case spawnd_runtime_v1_KeeperNotice_rescan_tag:
		observer->on_rescan(keeper->context);
		break;
	case spawnd_runtime_v1_KeeperNotice_signal_done_tag:
		ticket = take_ticket(keeper, notice->notice.signal_done.ticket);
		if (!ticket)
			break;
		ticket->done(ticket->arg, notice->notice.signal_done.error);
		free(ticket);
		break;
	case spawnd_runtime_v1_KeeperNotice_launcher_started_tag:
		observer->on_launcher_started(keeper->context, notice->notice.launcher_started.index, notice->notice.launcher_started.pid,
			count ? notice->notice.launcher_started.error : notice->notice.launcher_started.error ?: EPROTO, count ? fd_steal(&fds[0]) : -1);
		break;
	case spawnd_runtime_v1_KeeperNotice_launcher_exited_tag:
		observer->on_launcher_exited(keeper->context, notice->notice.launcher_exited.index, notice->notice.launcher_exited.pid,
			notice->notice.launcher_exited.status);
		break;
	case spawnd_runtime_v1_KeeperNotice_terminate_tag:
		observer->on_terminate(keeper->context);
		break;
	case spawnd_runtime_v1_KeeperNotice_reload_tag:
		observer->on_reload(keeper->context);
		break;
	case spawnd_runtime_v1_KeeperNotice_upgraded_tag:
		observer->on_upgraded(keeper->context, notice->notice.upgraded.pid, notice->notice.upgraded.version,
			notice->notice.upgraded.able ? NULL : notice->notice.upgraded.why);
		break;
	default:
		log_(LOG_WARNING, "keeper %d: notice %d is not for now; ignored", (int)keeper->pid, (int)notice->which_notice);
	}
	close_all(fds, count);
}

/* Sends what waits and takes what came, a bounded number of notices per turn. */
static void on_event(void *arg, unsigned events)
{
	struct keeper *keeper = arg;
	int fds[FDPASS_MAX], done = 0;

	if (events & LOOP_WRITE) {
		done = link_flush(&keeper->link);
		if (done < 0) {
			lose(keeper, done);
			return;
		}
		if (done == 0)
			loop_fd_set(keeper->watch, LOOP_READ);
	}
	for (unsigned i = 0; (events & LOOP_READ) && i < NOTICES_PER_TURN && !keeper->lost; i++) {
		notice_message notice = spawnd_runtime_v1_KeeperNotice_init_zero;
		size_t count;

		done = link_receive(&keeper->link, spawnd_runtime_v1_KeeperNotice_fields, &notice, fds, &count);
		if (done == 0)
			return;
		if (done == -EPIPE) {
			lose(keeper, done);
			return;
		}
		if (done < 0)
			log_(LOG_ERROR, "keeper %d: a notice was lost: %s", (int)keeper->pid, err_name(-done));
		else
			deliver(keeper, &notice, fds, count);
	}
}

/* What another engine has that serves still. 0 when we told that we can go on from it, or negative with *err. */
static int answer_offer(struct keeper *keeper, const notice_message *notice, int *fds, size_t count, struct err *err)
{
	order_message order = {.which_order = spawnd_runtime_v1_KeeperOrder_able_tag};
	uint32_t version = notice->notice.offer.link;
	int done;

	if (version == LINK_VERSION)
		done = keeper->observer->on_offer(keeper->context, count > 0 ? fds[0] : -1, count > 1 ? fds[1] : -1, err);
	else
		done = err_set(err, STATUS_FAILED_PRECONDITION, "the keeper speaks version %u to its engine, this one, %s, version %u",
			version, state_version.program, LINK_VERSION);
	close_all(fds, count);
	if (done < 0)
		return done;
	snprintf(order.order.able.version, sizeof(order.order.able.version), "%s", state_version.program);
	done = transmit(keeper, &order, NULL, 0);
	return done < 0 ? err_errno(err, -done, "sendmsg", NULL) : 0;
}

/* Waits until the link can be read. 0, or negative at the deadline. */
static int wait_readable(struct keeper *keeper, int64_t deadline, struct err *err)
{
	struct pollfd pollfd = {.fd = keeper->link.fd, .events = POLLIN};

	for (;;) {
		int64_t left = deadline - clock_boot_ns();
		int done;

		if (left <= 0)
			return err_set(err, STATUS_DEADLINE_EXCEEDED, "the keeper sent no complete welcome in time");
		done = poll(&pollfd, 1, (int)(left / 1000000) + 1);
		if (done > 0)
			return 0;
		if (done < 0 && errno != EINTR)
			return err_errno(err, errno, "poll", NULL);
	}
}

/* Notices before keeper_start: the welcome, what is stored, and a request to end that must not be lost. */
static void welcome_notice(
	struct keeper *keeper, const notice_message *notice, int *fds, size_t count, struct stored_list *list, size_t *expected)
{
	const spawnd_runtime_v1_Stored *stored = &notice->notice.stored;

	if (notice->which_notice == spawnd_runtime_v1_KeeperNotice_welcome_tag) {
		*expected = notice->notice.welcome.stored;
		keeper->pid = notice->notice.welcome.keeper_pid;
		keeper->restarts = notice->notice.welcome.engine_restarts;
		keeper->background = notice->notice.welcome.background;
		list->items = mem_alloc((*expected + 1) * sizeof(*list->items));
	} else if (notice->which_notice == spawnd_runtime_v1_KeeperNotice_stored_tag && count == 1 && list->count < *expected &&
		   list->items) {
		note_name(keeper, stored->kind, stored->owner, stored->index);
		list->items[list->count++] = (struct stored){
			.kind = (enum store_kind)stored->kind,
			.owner = stored->owner,
			.index = stored->index,
			.fd = fd_steal(&fds[0]),
		};
	} else if (notice->which_notice == spawnd_runtime_v1_KeeperNotice_terminate_tag) {
		keeper->terminate_early = true;
	}
	close_all(fds, count);
}

int keeper_welcome(struct keeper *keeper, struct stored_list *list_out, struct err *err)
{
	int64_t deadline = clock_boot_ns() + (int64_t)WELCOME_TIMEOUT_MS * 1000000;
	struct stored_list list = {0};
	size_t expected = 0;
	int done = 0;

	while (!list.items || list.count < expected) {
		notice_message notice = spawnd_runtime_v1_KeeperNotice_init_zero;
		int fds[FDPASS_MAX];
		size_t count;

		done = wait_readable(keeper, deadline, err);
		if (done < 0)
			break;
		done = link_receive(&keeper->link, spawnd_runtime_v1_KeeperNotice_fields, &notice, fds, &count);
		if (done == -EMFILE && expected)
			expected--; /* one descriptor did not fit; the others matter still */
		else if (done < 0)
			break;
		if (done == 1 && notice.which_notice == spawnd_runtime_v1_KeeperNotice_offer_tag) {
			done = answer_offer(keeper, &notice, fds, count, err);
			if (done < 0)
				return done;
			deadline = clock_boot_ns() + (int64_t)TURN_TIMEOUT_MS * 1000000;
		} else if (done == 1) {
			welcome_notice(keeper, &notice, fds, count, &list, &expected);
		}
	}
	if (done < 0 && (!list.items || list.count < expected)) {
		if (done == -EPIPE)
			err_set(err, STATUS_UNAVAILABLE, "the keeper is gone");
		else if (err && err->status == STATUS_OK)
			err_errno(err, -done, "recvmsg", NULL);
		stored_list_finish(&list);
		return done;
	}
	*list_out = list;
	return 0;
}

void stored_list_finish(struct stored_list *list)
{
	for (size_t i = 0; i < list->count; i++)
		fd_close(&list->items[i].fd);
	free(list->items);
	*list = (struct stored_list){0};
}

void keeper_start(struct keeper *keeper)
{
	keeper->started = true;
	keeper->watch = loop_fd_create(keeper->loop, keeper->link.fd, LOOP_READ | (keeper->link.head ? LOOP_WRITE : 0u), on_event, keeper);
	if (keeper->terminate_early)
		keeper->observer->on_terminate(keeper->context);
}

int32_t keeper_pid(const struct keeper *keeper)
{
	return keeper->pid;
}

bool keeper_in_background(const struct keeper *keeper)
{
	return keeper->background;
}

unsigned keeper_restarts(const struct keeper *keeper)
{
	return keeper->restarts;
}

size_t keeper_stored(const struct keeper *keeper)
{
	return keeper->stored;
}

size_t keeper_store_limit(const struct keeper *keeper)
{
	return keeper->store_limit;
}
