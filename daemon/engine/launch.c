/*
 * Launchers and the queue before them. Everything that ends a plan goes through settle(), which runs at the end of the
 * turn: no caller is called back from inside launch_submit.
 *
 *   NONE --start--> STARTING --socket came--> READY --died--> NONE (and again, later each time it dies young)
 */
#include "engine/launch.h"

#include <errno.h>
#include <string.h>
#include <sys/queue.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/mem.h"
#include "base/sys.h"

#define ATTEMPTS_MAX 2u       /* launchers that may die over one plan */
#define START_FAILURES_MAX 3u /* in a row: what waits is refused */
#define YOUNG_NS 1000000000
#define RETRY_FIRST_MS 10u
#define RETRY_MAX_MS 5000u
#define BUSY_RETRY_US 1000

enum launcher_state { LAUNCHER_NONE, LAUNCHER_STARTING, LAUNCHER_READY };

struct pending {
	TAILQ_ENTRY(pending) entry; /* launch::waiting, launcher::flying or launch::settled */
	uint64_t owner;
	uid_t user;
	uint32_t slot;
	unsigned attempts;
	int64_t sent_ns;
	host_launched_fn done;
	void *arg;
	struct outcome {
		int32_t pid;
		enum launch_stage stage;
		int error, detail;
	} outcome;
	struct packed_plan packed;
	size_t fd_count;
	int fds[]; /* the submitter's, open until `done`; the last may be packed.memfd */
};

TAILQ_HEAD(pending_list, pending);

struct launcher {
	struct launch *launch;
	uint32_t index;
	enum launcher_state state;
	int32_t pid;
	int64_t started_ns;
	bool stuck;
	unsigned flying_count;
	struct pending_list flying;
	struct link link;
	struct loop_fd *watch;
};

struct launch {
	struct loop *loop;
	const struct launch_host *host;
	void *context;
	struct launcher launchers[LAUNCHERS_MAX];
	struct pending_list waiting, settled;
	size_t waiting_count, count; /* count: all not answered */
	unsigned start_failures;
	unsigned retry_ms;
	struct loop_timer *tick;  /* looks for silent launchers while plans fly */
	struct loop_timer *rest;  /* ends launchers that a crowd had */
	struct loop_timer *again; /* starts launchers, sends plans that found the socket full */
	struct loop_defer *settle;
};

static void pump(struct launch *launch);

static void destroy_pending(struct pending *pending)
{
	packed_plan_finish(&pending->packed);
	free(pending);
}

static void destroy_list(struct pending_list *list)
{
	struct pending *pending;

	while ((pending = TAILQ_FIRST(list))) {
		TAILQ_REMOVE(list, pending, entry);
		destroy_pending(pending);
	}
}

static unsigned count_state(const struct launch *launch, enum launcher_state state)
{
	unsigned count = 0;

	for (unsigned i = 0; i < LAUNCHERS_MAX; i++)
		count += launch->launchers[i].state == state;
	return count;
}

/* Calls back for every plan that has its outcome; a callback may submit more. */
static void on_settle(void *arg)
{
	struct launch *launch = arg;
	struct pending *pending;

	while ((pending = TAILQ_FIRST(&launch->settled))) {
		TAILQ_REMOVE(&launch->settled, pending, entry);
		launch->count--;
		pending->done(pending->arg, pending->outcome.pid, pending->outcome.stage, pending->outcome.error, pending->outcome.detail);
		destroy_pending(pending);
	}
	if (!launch->count && count_state(launch, LAUNCHER_READY) > 1)
		loop_timer_set(launch->rest, (uint64_t)launch->host->rest_ms * 1000);
}

/* Gives a plan, already out of its list, its outcome. */
static void settle(struct launch *launch, struct pending *pending, int32_t pid, enum launch_stage stage, int error, int detail)
{
	pending->outcome = (struct outcome){.pid = pid, .stage = stage, .error = error, .detail = detail};
	TAILQ_INSERT_TAIL(&launch->settled, pending, entry);
	loop_defer_trigger(launch->settle);
}

static void refuse(struct launch *launch, struct pending *pending)
{
	TAILQ_REMOVE(&launch->waiting, pending, entry);
	launch->waiting_count--;
	settle(launch, pending, 0, LAUNCH_PLAN, EAGAIN, 0);
}

/* Refuses everything that waits. */
static void refuse_waiting(struct launch *launch)
{
	struct pending *pending;

	while ((pending = TAILQ_FIRST(&launch->waiting)))
		refuse(launch, pending);
}

/* Launchers that have plans of this user; with `stuck` those that are blocked over them. */
static unsigned count_of_user(const struct launch *launch, uid_t user, bool stuck)
{
	unsigned count = 0;

	for (unsigned i = 0; i < LAUNCHERS_MAX; i++) {
		const struct launcher *launcher = &launch->launchers[i];
		const struct pending *pending = TAILQ_FIRST(&launcher->flying);

		count += pending && pending->user == user && (launcher->stuck || !stuck);
	}
	return count;
}

static bool has_blocked_its_part(const struct launch *launch, uid_t user)
{
	return count_of_user(launch, user, true) >= LAUNCHERS_USER;
}

/* The first plan that waits and whose user may have one more launcher; NULL: none. */
static struct pending *next_waiting(const struct launch *launch)
{
	struct pending *pending;

	TAILQ_FOREACH(pending, &launch->waiting, entry)
	if (count_of_user(launch, pending->user, false) < LAUNCHERS_USER)
		return pending;
	return NULL;
}

/* Refuses what waits for users that have blocked their part. */
static void refuse_blocked(struct launch *launch)
{
	struct pending *pending, *next;

	for (pending = TAILQ_FIRST(&launch->waiting); pending; pending = next) {
		next = TAILQ_NEXT(pending, entry);
		if (has_blocked_its_part(launch, pending->user))
			refuse(launch, pending);
	}
}

/* Launchers that can be expected to take a plan soon. */
static unsigned count_useful(const struct launch *launch)
{
	unsigned count = count_state(launch, LAUNCHER_STARTING);

	for (unsigned i = 0; i < LAUNCHERS_MAX; i++)
		count += launch->launchers[i].state == LAUNCHER_READY && !launch->launchers[i].stuck;
	return count;
}

/* A launcher did not start, or died young: again later, and later each time. */
static void start_failed(struct launch *launch, uint32_t index, const char *why)
{
	launch->start_failures++;
	log_(LOG_ERROR, "launcher %u: %s; again in %u ms", index, why, launch->retry_ms);
	if (launch->start_failures >= START_FAILURES_MAX && count_useful(launch) == 0)
		refuse_waiting(launch);
	loop_timer_set(launch->again, (uint64_t)launch->retry_ms * 1000);
	launch->retry_ms = launch->retry_ms * 2 < RETRY_MAX_MS ? launch->retry_ms * 2 : RETRY_MAX_MS;
}

/* Asks for one more launcher. */
static void start_one(struct launch *launch)
{
	for (uint32_t index = 0; index < LAUNCHERS_MAX; index++) {
		struct launcher *launcher = &launch->launchers[index];
		int done;

		if (launcher->state != LAUNCHER_NONE)
			continue;
		launcher->state = LAUNCHER_STARTING;
		done = launch->host->start(launch->context, index);
		if (done < 0) {
			launcher->state = LAUNCHER_NONE;
			start_failed(launch, index, err_name(-done));
		}
		return;
	}
}

/* One launcher always; a crew for a crowd; another when all are stuck. */
static void consider_starting(struct launch *launch)
{
	unsigned useful = count_useful(launch);

	if (loop_timer_pending(launch->again) && launch->start_failures)
		return;
	if (useful == 0 || (useful < launch->host->crew && launch->waiting_count > LAUNCH_CROWD))
		start_one(launch);
}

/* The plan of a launcher that died: launched when the kernel wrote its pid, else given away once more. */
static void rescue(struct launch *launch, struct pending *pending)
{
	int32_t pid = launch->host->pid(launch->context, pending->slot);
	const struct journal_slot *slot = launch->host->slot(launch->context, pending->slot);

	if (atomic_load(&slot->owner) != pending->owner) {
		settle(launch, pending, 0, LAUNCH_PLAN, ESRCH, 0); /* it ended so soon that its slot was given back */
	} else if (pid != 0) {
		settle(launch, pending, pid, (enum launch_stage)slot->launch_stage, slot->launch_error, slot->launch_detail);
	} else if (++pending->attempts < ATTEMPTS_MAX) {
		TAILQ_INSERT_HEAD(&launch->waiting, pending, entry);
		launch->waiting_count++;
	} else {
		log_(LOG_ERROR, "process %llu: %u launchers died over its plan", (unsigned long long)pending->owner, pending->attempts);
		settle(launch, pending, 0, LAUNCH_PLAN, EAGAIN, 0);
	}
}

/* Closes one launcher's socket: it ends. */
static void dismiss(struct launcher *launcher)
{
	loop_fd_destroy(launcher->watch);
	launcher->watch = NULL;
	link_finish(&launcher->link);
	launcher->state = LAUNCHER_NONE;
}

/* A launcher is gone. */
static void lose_launcher(struct launcher *launcher)
{
	struct launch *launch = launcher->launch;
	bool young = clock_boot_ns() - launcher->started_ns < YOUNG_NS;
	struct pending *pending;

	log_(LOG_WARNING, "launcher %u: pid %d ended with %u plans", launcher->index, (int)launcher->pid, launcher->flying_count);
	dismiss(launcher);
	launcher->stuck = false;
	launcher->flying_count = 0;
	while ((pending = TAILQ_LAST(&launcher->flying, pending_list))) {
		TAILQ_REMOVE(&launcher->flying, pending, entry);
		rescue(launch, pending);
	}
	if (young)
		start_failed(launch, launcher->index, "it had just been started");
	pump(launch);
}

/* The answer to a plan. */
static void take_answer(struct launcher *launcher, const spawnd_runtime_v1_Launched *launched)
{
	struct launch *launch = launcher->launch;
	struct pending *pending;

	TAILQ_FOREACH(pending, &launcher->flying, entry)
	if (pending->owner == launched->owner && pending->slot == launched->journal_slot)
		break;
	if (!pending) {
		log_(LOG_ERROR, "launcher %u: answered for process %llu, which it was not given", launcher->index,
			(unsigned long long)launched->owner);
		return;
	}
	TAILQ_REMOVE(&launcher->flying, pending, entry);
	launcher->flying_count--;
	launcher->stuck = false;
	launch->start_failures = 0;
	launch->retry_ms = RETRY_FIRST_MS;
	settle(launch, pending, launched->pid, (enum launch_stage)launched->stage, launched->error, launched->detail);
}

/* Takes all answers that are there, as many as are owed. 0, or negative when the launcher is gone. */
static int take_answers(struct launcher *launcher)
{
	do {
		spawnd_runtime_v1_Launched launched = spawnd_runtime_v1_Launched_init_zero;
		int fds[FDPASS_MAX], done;
		size_t count;

		done = link_receive(&launcher->link, spawnd_runtime_v1_Launched_fields, &launched, fds, &count);
		if (done == 0)
			return 0;
		if (done < 0)
			return done;
		for (size_t i = 0; i < count; i++)
			fd_close(&fds[i]);
		take_answer(launcher, &launched);
	} while (launcher->flying_count);
	return 0;
}

static void on_launcher_event(void *arg, unsigned events)
{
	struct launcher *launcher = arg;

	if (take_answers(launcher) < 0)
		lose_launcher(launcher);
	else
		pump(launcher->launch);
}

void launch_on_started(struct launch *launch, uint32_t index, int32_t pid, int error, int fd)
{
	struct launcher *launcher;

	if (index >= LAUNCHERS_MAX || launch->launchers[index].state != LAUNCHER_STARTING) {
		fd_close(&fd);
		return;
	}
	launcher = &launch->launchers[index];
	if (error) {
		fd_close(&fd);
		launcher->state = LAUNCHER_NONE;
		start_failed(launch, index, error == EEXIST ? "its predecessor has not ended yet" : err_name(error));
		return;
	}
	launcher->state = LAUNCHER_READY;
	launcher->pid = pid;
	launcher->started_ns = clock_boot_ns();
	link_init(&launcher->link, fd);
	launcher->watch = loop_fd_create(launch->loop, launcher->link.fd, LOOP_READ, on_launcher_event, launcher);
	log_(LOG_DEBUG, "launcher %u: pid %d is ready", index, (int)pid);
	pump(launch);
}

/* A child that has not reached exec still holds the launcher's socket, so its end of file may be late: this is the other road. */
void launch_on_exited(struct launch *launch, uint32_t index, int32_t pid, int status)
{
	struct launcher *launcher;

	if (index >= LAUNCHERS_MAX)
		return;
	launcher = &launch->launchers[index];
	if (launcher->state != LAUNCHER_READY || launcher->pid != pid)
		return;
	take_answers(launcher);
	lose_launcher(launcher);
}

/* The launcher that takes the next plan, or NULL. */
static struct launcher *free_launcher(struct launch *launch)
{
	for (unsigned i = 0; i < LAUNCHERS_MAX; i++) {
		struct launcher *launcher = &launch->launchers[i];

		if (launcher->state == LAUNCHER_READY && !launcher->stuck && launcher->flying_count < LAUNCH_WINDOW)
			return launcher;
	}
	return NULL;
}

/* Sends a plan that waits. 0: it is on its way or refused; 1: not now; -EPIPE: the launcher is gone. */
static int send_plan(struct launch *launch, struct launcher *launcher, struct pending *pending)
{
	struct iovec iov = {.iov_base = pending->packed.record, .iov_len = pending->packed.size};
	ssize_t sent = fdpass_send(launcher->link.fd, &iov, 1, pending->fds, pending->fd_count);

	if (sent == -EAGAIN || sent == -ENOBUFS || sent == -ENOMEM || sent == -ETOOMANYREFS)
		return 1;
	if (sent == -EPIPE || sent == -ECONNRESET)
		return -EPIPE;
	TAILQ_REMOVE(&launch->waiting, pending, entry);
	launch->waiting_count--;
	if (sent < 0) {
		settle(launch, pending, 0, LAUNCH_PLAN, (int)-sent, 0);
		return 0;
	}
	pending->sent_ns = clock_boot_ns();
	TAILQ_INSERT_TAIL(&launcher->flying, pending, entry);
	launcher->flying_count++;
	if (!loop_timer_pending(launch->tick))
		loop_timer_set(launch->tick, (uint64_t)launch->host->stuck_ms * 100);
	return 0;
}

/* Sends what waits to whoever is free. */
static void pump(struct launch *launch)
{
	struct pending *pending;

	while ((pending = next_waiting(launch))) {
		struct launcher *launcher = free_launcher(launch);
		int done;

		if (!launcher)
			break;
		done = send_plan(launch, launcher, pending);
		if (done == 1) {
			loop_timer_set(launch->again, BUSY_RETRY_US);
			return;
		}
		if (done < 0) {
			lose_launcher(launcher);
			return;
		}
	}
	consider_starting(launch);
}

/* Leaves launchers alone that were silent for too long, and ends when nothing flies. */
static void on_tick(void *arg)
{
	struct launch *launch = arg;
	int64_t now = clock_boot_ns();
	bool flying = false;

	for (unsigned i = 0; i < LAUNCHERS_MAX; i++) {
		struct launcher *launcher = &launch->launchers[i];
		struct pending *oldest = TAILQ_FIRST(&launcher->flying);

		if (!oldest)
			continue;
		flying = true;
		if (launcher->stuck || now - oldest->sent_ns < (int64_t)launch->host->stuck_ms * 1000000)
			continue;
		launcher->stuck = true;
		log_(LOG_WARNING, "launcher %u: blocked over process %llu for %u ms, left alone", launcher->index,
			(unsigned long long)oldest->owner, launch->host->stuck_ms);
	}
	if (flying)
		loop_timer_set(launch->tick, (uint64_t)launch->host->stuck_ms * 100);
	refuse_blocked(launch);
	pump(launch);
	if (count_useful(launch) == 0 && !loop_timer_pending(launch->again))
		refuse_waiting(launch);
}

static void on_rest(void *arg)
{
	struct launch *launch = arg;

	if (launch->count)
		return; /* the last answer sets the timer again */
	for (unsigned i = 1; i < LAUNCHERS_MAX; i++)
		if (launch->launchers[i].state == LAUNCHER_READY)
			dismiss(&launch->launchers[i]);
	consider_starting(launch);
}

static void on_again(void *arg)
{
	pump(arg);
}

struct launch *launch_create(struct loop *loop, const struct launch_host *host, void *context)
{
	struct launch *launch = mem_alloc(sizeof(*launch));

	launch->loop = loop;
	launch->host = host;
	launch->context = context;
	launch->retry_ms = RETRY_FIRST_MS;
	TAILQ_INIT(&launch->waiting);
	TAILQ_INIT(&launch->settled);
	for (uint32_t i = 0; i < LAUNCHERS_MAX; i++) {
		launch->launchers[i].launch = launch;
		launch->launchers[i].index = i;
		TAILQ_INIT(&launch->launchers[i].flying);
	}
	launch->tick = loop_timer_create(loop, on_tick, launch);
	launch->rest = loop_timer_create(loop, on_rest, launch);
	launch->again = loop_timer_create(loop, on_again, launch);
	launch->settle = loop_defer_create(loop, on_settle, launch);
	start_one(launch);
	return launch;
}

void launch_destroy(struct launch *launch)
{
	if (!launch)
		return;
	for (unsigned i = 0; i < LAUNCHERS_MAX; i++) {
		struct launcher *launcher = &launch->launchers[i];

		if (launcher->state == LAUNCHER_READY)
			dismiss(launcher);
		destroy_list(&launcher->flying);
	}
	destroy_list(&launch->waiting);
	destroy_list(&launch->settled);
	loop_defer_destroy(launch->settle);
	loop_timer_destroy(launch->again);
	loop_timer_destroy(launch->rest);
	loop_timer_destroy(launch->tick);
	free(launch);
}

/* May the user's plan wait for a launcher? 0, or -EAGAIN with *err. */
static int check_blocked(const struct launch *launch, uid_t user, struct err *err)
{
	if (has_blocked_its_part(launch, user))
		err_set(err, STATUS_RESOURCE_EXHAUSTED,
			"uid %u has %u launchers blocked, in opening files or in dead mounts, the most it may", (unsigned)user,
			LAUNCHERS_USER);
	else if (count_state(launch, LAUNCHER_READY) == LAUNCHERS_MAX && count_useful(launch) == 0)
		err_set(err, STATUS_RESOURCE_EXHAUSTED, "all %u launchers are blocked, in opening files or in dead mounts", LAUNCHERS_MAX);
	else
		return 0;
	return -EAGAIN;
}

int launch_submit(struct launch *launch, const struct launch_plan *plan, host_launched_fn done, void *arg, struct err *err)
{
	struct packed_plan packed = plan->packed;
	struct pending *pending;

	if (check_blocked(launch, plan->user, err) < 0) {
		packed_plan_finish(&packed);
		return -EAGAIN;
	}
	pending = mem_alloc(sizeof(*pending) + (plan->fd_count + 1) * sizeof(int));
	pending->owner = plan->owner;
	pending->user = plan->user;
	pending->slot = plan->slot;
	pending->done = done;
	pending->arg = arg;
	pending->packed = packed;
	if (plan->fd_count)
		memcpy(pending->fds, plan->fds, plan->fd_count * sizeof(*plan->fds));
	pending->fd_count = plan->fd_count;
	if (pending->packed.memfd >= 0)
		pending->fds[pending->fd_count++] = pending->packed.memfd;
	TAILQ_INSERT_TAIL(&launch->waiting, pending, entry);
	launch->waiting_count++;
	launch->count++;
	pump(launch);
	return 0;
}

unsigned launch_count(const struct launch *launch)
{
	return count_state(launch, LAUNCHER_READY);
}

size_t launch_waiting(const struct launch *launch)
{
	return launch->count;
}
