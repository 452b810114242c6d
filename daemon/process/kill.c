/*
 * Signals and the ladder.
 *
 *   WAITING --launched--> SENDING --sent--> GRACE --time is up--> SENDING (SIGKILL) --sent--> SETTLING --gone, or 2 s--> done
 *                             |                \--gone--> done
 *                             \--a plain signal: done; a plain SIGKILL: SETTLING
 *
 * GRACE and SETTLING look whether somebody is left when the child exits, and after that by and by. The last step cannot be
 * skipped: whatever was asked, a ladder ends with SIGKILL and a bounded wait.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/failpoint.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/mem.h"
#include "process/child_parts.h"

#define SETTLE_NS INT64_C(2000000000)
#define LOOK_FIRST_US 1000u
#define LOOK_MAX_US 50000u
#define LOOK_MAX_SWEEP_US 250000u

enum kill_phase { KILL_WAITING, KILL_SENDING, KILL_GRACE, KILL_SETTLING };

struct kill_waiter {
	child_killed_fn done;
	void *context;
};

/* A signal to the child or its group that the keeper has not answered yet. */
struct shot {
	struct child *child; /* pinned */
	struct kill_op *op;  /* NULL: nobody waits for it any more */
};

struct kill_op {
	TAILQ_ENTRY(kill_op) entry; /* child::kills */
	struct child *child;
	bool ladder;
	enum kill_phase phase;
	int signal; /* of this step */
	int error;  /* of the first that refused */
	bool again; /* a step was asked for while another was being sent */
	bool sent;  /* the child itself was signalled */
	bool swept; /* the group was looked for after the child itself had ended */
	bool look;  /* in kills_on_exit: its turn is still to come */
	uint64_t grace_ms;
	enum kill_scope scope;
	int64_t deadline_ns, next_look_ns;
	unsigned look_us;
	struct loop_timer *timer;
	struct strike *strike;
	struct shot *shot;
	struct tree_members struck, refused;
	struct kill_waiter *waiters;
	size_t waiter_count;
};

static void advance(struct kill_op *op);
static void send_step(struct kill_op *op);

static void add_waiter(struct kill_op *op, child_killed_fn done, void *context)
{
	if (!done)
		return;
	op->waiters = mem_realloc(op->waiters, (op->waiter_count + 1) * sizeof(*op->waiters));
	op->waiters[op->waiter_count++] = (struct kill_waiter){.done = done, .context = context};
}

static struct kill_op *create_op(struct child *child, int signal, enum kill_scope scope)
{
	struct kill_op *op = mem_alloc(sizeof(*op));

	op->child = child;
	op->signal = signal;
	op->scope = scope;
	TAILQ_INSERT_TAIL(&child->kills, op, entry);
	return op;
}

/* ---- results ---- */

static void add_once(struct tree_members *members, const struct tree_members *more)
{
	size_t known = members->count;

	for (size_t i = 0; i < more->count; i++) {
		struct tree_members sorted = {.items = members->items, .count = known};

		if (!tree_members_has(&sorted, more->items[i].pid))
			tree_members_add(members, more->items[i]);
	}
	tree_members_sort(members);
}

/* Who of the scope is left now. */
static void list_left(struct kill_op *op, struct tree_members *left)
{
	struct child *child = op->child;

	if (op->scope == KILL_TREE || (op->scope == KILL_GROUP && child_has_exited(child)))
		tree_list(&child->tree, op->scope == KILL_GROUP, left);
	tree_members_sort(left);
	if (child->pid && !child_has_exited(child) && !tree_members_has(left, child->pid))
		tree_members_add(left, (struct tree_member){.pid = child->pid});
	tree_members_sort(left);
}

static bool nobody_left(struct kill_op *op)
{
	struct child *child = op->child;

	if (!child_has_exited(child))
		return false;
	return op->scope == KILL_CHILD || tree_is_empty(&child->tree, op->scope == KILL_GROUP);
}

/* Nothing was signalled: why. ESRCH is Node's word for a process that has ended. */
static void explain(const struct kill_op *op, struct err *err)
{
	err_errno(err, op->error ? op->error : ESRCH, "kill", NULL);
}

static const char *method_of(const struct kill_op *op)
{
	if (op->scope == KILL_TREE)
		return tree_method(&op->child->tree);
	return "signal";
}

/* Pids of members, without those that are left. */
static size_t pids_of(const struct tree_members *members, const struct tree_members *without, pid_t *pids)
{
	size_t count = 0;

	for (size_t i = 0; i < members->count; i++)
		if (!without || !tree_members_has(without, members->items[i].pid))
			pids[count++] = members->items[i].pid;
	return count;
}

/* Answers everybody; the op is out of the child's list. */
static void answer(struct kill_op *op)
{
	struct child *child = op->child;
	bool settled = op->ladder || op->signal == SIGKILL;
	struct tree_members left = {0};
	struct kill_result result = {.method = method_of(op)};
	pid_t *ended, *survived;
	struct err err;

	if (settled)
		list_left(op, &left);
	else
		add_once(&left, &op->refused);
	ended = mem_alloc((op->struck.count + 1) * sizeof(*ended));
	survived = mem_alloc((left.count + 1) * sizeof(*survived));
	result.ended = ended;
	result.ended_count = pids_of(&op->struck, &left, ended);
	result.survived = survived;
	result.survived_count = pids_of(&left, NULL, survived);
	result.complete =
		op->scope == KILL_CHILD || (op->scope == KILL_GROUP && !child_has_exited(child)) || tree_is_complete(&child->tree);
	if (op->scope == KILL_GROUP && op->strike == NULL && child_has_exited(child) && settled)
		result.complete = left.count == 0;
	if (op->struck.count == 0 && !op->sent) {
		explain(op, &err);
		result.err = &err;
	}
	for (size_t i = 0; i < op->waiter_count; i++)
		if (op->waiters[i].done)
			op->waiters[i].done(op->waiters[i].context, child, &result);
	free(ended);
	free(survived);
	tree_members_finish(&left);
}

static void destroy_op(struct kill_op *op)
{
	loop_timer_destroy(op->timer);
	strike_destroy(op->strike);
	if (op->shot)
		op->shot->op = NULL;
	tree_members_finish(&op->struck);
	tree_members_finish(&op->refused);
	free(op->waiters);
	free(op);
}

static void finish(struct kill_op *op, bool forget)
{
	struct child *child = op->child;

	child_pin(child);
	TAILQ_REMOVE(&child->kills, op, entry);
	if (child->ladder == op)
		child->ladder = NULL;
	if (op->timer)
		loop_timer_cancel(op->timer);
	if (!forget)
		answer(op);
	destroy_op(op);
	if (child_has_exited(child))
		child_trim_tree(child);
	child_unpin(child);
}

/* ---- steps ---- */

static void on_timer(void *arg)
{
	advance(arg);
}

/* Looks again at the deadline, or earlier when the child itself has ended and it is the others that are waited for. */
static void wait_more(struct kill_op *op, int64_t now)
{
	unsigned most = op->child->tree.dir && op->scope == KILL_TREE ? LOOK_MAX_US : LOOK_MAX_SWEEP_US;
	int64_t until = op->deadline_ns;

	if (child_has_exited(op->child)) {
		op->look_us = op->look_us ? (op->look_us * 2 < most ? op->look_us * 2 : most) : LOOK_FIRST_US;
		if (now + (int64_t)op->look_us * 1000 < until)
			until = now + (int64_t)op->look_us * 1000;
	}
	if (!op->timer)
		op->timer = loop_timer_create(op->child->children->host->loop, on_timer, op);
	loop_timer_set(op->timer, (uint64_t)(until - now + 999) / 1000);
}

/* Goes on from GRACE or SETTLING. */
static void advance(struct kill_op *op)
{
	int64_t now = clock_boot_ns();

	if (op->phase != KILL_GRACE && op->phase != KILL_SETTLING)
		return;
	if (nobody_left(op)) {
		finish(op, false);
	} else if (now < op->deadline_ns) {
		wait_more(op, now);
	} else if (op->phase == KILL_GRACE) {
		log_(LOG_INFO, "process %llu: still there after its grace", (unsigned long long)op->child->id);
		op->signal = SIGKILL;
		send_step(op);
	} else {
		log_(LOG_WARNING, "process %llu: survivors of SIGKILL", (unsigned long long)op->child->id);
		finish(op, false);
	}
}

/* A step has been sent to all it could be sent to. */
static void step_sent(struct kill_op *op)
{
	bool struck = op->sent || op->struck.count;

	if (op->again) {
		op->again = false;
		send_step(op);
		return;
	}
	if (!op->ladder && (op->signal != SIGKILL || !struck)) {
		finish(op, false);
		return;
	}
	if (op->ladder && !struck && op->signal != SIGKILL && op->refused.count) {
		op->signal = SIGKILL;
		send_step(op);
		return;
	}
	if (op->ladder && !struck && (child_has_exited(op->child) || (op->error && op->error != ESRCH))) {
		finish(op, false);
		return;
	}
	op->phase = op->signal == SIGKILL ? KILL_SETTLING : KILL_GRACE;
	op->look_us = 0;
	if (op->phase == KILL_SETTLING)
		op->deadline_ns = clock_boot_ns() + SETTLE_NS;
	advance(op);
}

static void on_shot(void *arg, int error)
{
	struct shot *shot = arg;
	struct kill_op *op = shot->op;
	struct child *child = shot->child;
	struct tree_members self = {.items = &(struct tree_member){.pid = child->pid}, .count = 1};

	free(shot);
	if (op) {
		op->shot = NULL;
		if (error == 0) {
			op->sent = true;
			add_once(&op->struck, &self);
		} else {
			op->error = op->error ? op->error : error;
			if (error != ESRCH)
				add_once(&op->refused, &self);
		}
		step_sent(op);
	}
	child_unpin(child);
}

/* Through the keeper, which knows whether the pid is still the child's. */
static void shoot_child(struct kill_op *op)
{
	struct child *child = op->child;
	const struct process_host *host = child->children->host;
	struct shot *shot = mem_alloc(sizeof(*shot));

	shot->child = child;
	shot->op = op;
	op->shot = shot;
	child_pin(child);
	failpoint("signal-noted");
	host->signal(host->context, child->journal_slot, child->id, op->signal, op->scope == KILL_GROUP, on_shot, shot);
	failpoint("signal-ordered");
}

static void on_struck(void *arg, const struct strike_result *result)
{
	struct kill_op *op = arg;
	struct child *child = op->child;

	add_once(&op->struck, result->struck);
	add_once(&op->refused, result->refused);
	if (result->error && !op->error)
		op->error = result->error;
	if (op->scope == KILL_TREE && child->pid && !child_has_exited(child) && !tree_members_has(&op->struck, child->pid))
		shoot_child(op);
	else
		step_sent(op);
}

/* Signal 0 to a tree: who is there. */
static void probe_tree(struct kill_op *op)
{
	struct tree_members members = {0};

	tree_list(&op->child->tree, false, &members);
	add_once(&op->struck, &members);
	tree_members_finish(&members);
	step_sent(op);
}

/* The keeper knows the group no more: its members are looked for. */
static void strike_group(struct kill_op *op)
{
	op->swept = true;
	tree_strike(&op->child->tree, op->signal, true, &op->strike, on_struck, op);
}

/* Sends op->signal to op->scope. */
static void send_step(struct kill_op *op)
{
	struct child *child = op->child;

	op->phase = KILL_SENDING;
	if (op->ladder && child->record)
		atomic_store(&child->record->stop_signals, child->children->host->signals(child->children->host->context));
	if (op->signal == SIGKILL) {
		child->killed_by_us = true;
		record_flag(child->record, RECORD_KILLED);
	}
	if (op->timer)
		loop_timer_cancel(op->timer);
	if (op->scope == KILL_TREE && op->signal == 0)
		probe_tree(op);
	else if (op->scope == KILL_TREE)
		tree_strike(&child->tree, op->signal, false, &op->strike, on_struck, op);
	else if (!child_has_exited(child))
		shoot_child(op);
	else if (op->scope == KILL_GROUP && op->signal)
		strike_group(op);
	else
		step_sent(op);
}

/* An earlier engine has sent the signal, perhaps not to all of a tree: nobody gets it twice. */
static void go_on(struct kill_op *op)
{
	op->child->stop_sent = false;
	op->sent = true;
	list_left(op, &op->struck);
	op->phase = KILL_GRACE;
	advance(op);
}

static void begin(struct kill_op *op)
{
	if (op->child->state == CHILD_STARTING)
		op->phase = KILL_WAITING;
	else if (op->ladder && op->child->stop_sent)
		go_on(op);
	else
		send_step(op);
}

/* The first that waits for the launch, or NULL. */
static struct kill_op *find_waiting(struct child *child)
{
	struct kill_op *op;

	TAILQ_FOREACH(op, &child->kills, entry)
	if (op->phase == KILL_WAITING)
		return op;
	return NULL;
}

void kills_on_launched(struct child *child)
{
	struct kill_op *op;

	while ((op = find_waiting(child))) {
		if (op->ladder)
			op->deadline_ns = clock_boot_ns() + (int64_t)op->grace_ms * 1000000;
		send_step(op);
	}
}

/* The first whose turn is still to come, or NULL. */
static struct kill_op *find_to_look(struct child *child)
{
	struct kill_op *op;

	TAILQ_FOREACH(op, &child->kills, entry)
	if (op->look)
		return op;
	return NULL;
}

void kills_on_exit(struct child *child)
{
	struct kill_op *op;

	TAILQ_FOREACH(op, &child->kills, entry)
	op->look = true;
	while ((op = find_to_look(child))) {
		op->look = false;
		advance(op);
	}
}

void kills_finish(struct child *child, bool forget)
{
	struct kill_op *op;

	while ((op = TAILQ_FIRST(&child->kills)))
		finish(op, forget);
}

/* ---- what others ask for ---- */

void child_signal(struct child *child, int signal, enum kill_scope scope, child_killed_fn done, void *context)
{
	struct kill_op *op = create_op(child, signal, scope);

	add_waiter(op, done, context);
	begin(op);
}

/* A second call: the time becomes the shorter of both, the scope the wider; the signal is sent if either is new. */
static void hasten(struct kill_op *op, int signal, uint64_t grace_ms, enum kill_scope scope)
{
	int64_t deadline_ns = clock_boot_ns() + (int64_t)grace_ms * 1000000;
	bool send = scope > op->scope || (signal != op->signal && op->signal != SIGKILL);

	if (scope > op->scope)
		op->scope = scope;
	if (grace_ms < op->grace_ms)
		op->grace_ms = grace_ms;
	if (deadline_ns < op->deadline_ns)
		op->deadline_ns = deadline_ns;
	if (send && op->signal != SIGKILL)
		op->signal = signal;
	if (op->phase == KILL_WAITING)
		return;
	if (op->phase == KILL_SENDING)
		op->again = op->again || send;
	else if (send)
		send_step(op);
	else
		advance(op);
}

/* What the next engine needs to go on with the ladder. */
static void remember(const struct kill_op *op)
{
	struct record *record = op->child->record;

	if (!record)
		return;
	atomic_store(&record->stop_signal, op->signal);
	atomic_store(&record->stop_scope, (int32_t)op->scope);
	atomic_store(&record->stop_reason, (int32_t)op->child->reason);
	atomic_store(&record->stop_deadline_ns, op->deadline_ns);
	if (!record_has(record, RECORD_STOPPING)) {
		snprintf(record->why, sizeof(record->why), "%s", op->child->why ? op->child->why : "");
		atomic_store(&record->stop_signals, RECORD_NOT_SENT);
	}
	record_flag(record, RECORD_STOPPING);
	failpoint("stop-noted");
}

void child_stop(struct child *child, int signal, uint64_t grace_ms, enum kill_scope scope, enum child_reason reason, const char *why,
	child_killed_fn done, void *context)
{
	struct kill_op *op = child->ladder;

	child_pin(child);
	if (!child_has_exited(child) && child->state != CHILD_FAILED && !child->reason) {
		child->reason = reason;
		child->why = why ? mem_strdup(why) : NULL;
	}
	if (op) {
		add_waiter(op, done, context);
		hasten(op, signal, grace_ms, scope);
		if (child->ladder == op) /* it may have found nobody left */
			remember(op);
		child_unpin(child);
		return;
	}
	op = create_op(child, signal, scope);
	op->ladder = true;
	op->grace_ms = grace_ms;
	op->deadline_ns = clock_boot_ns() + (int64_t)grace_ms * 1000000;
	child->ladder = op;
	remember(op);
	add_waiter(op, done, context);
	if (child->state == CHILD_RUNNING) {
		child_set_state(child, CHILD_STOPPING);
		CHILD_TELL(child, on_stopping, why ? why : "");
	}
	if (child->ladder == op && op->phase == KILL_WAITING)
		begin(op);
	child_unpin(child);
}

void child_forget(struct child *child, void *context)
{
	struct kill_op *op;

	TAILQ_FOREACH(op, &child->kills, entry)
	for (size_t i = 0; i < op->waiter_count; i++)
		if (op->waiters[i].context == context)
			op->waiters[i].done = NULL;
}

void child_set_on_disconnect(struct child *child, Spawnd__V1__OnDisconnect what)
{
	if (what != SPAWND__V1__ON_DISCONNECT__ON_DISCONNECT_UNSPECIFIED)
		child->on_disconnect = what;
	if (child->record)
		atomic_store(&child->record->on_disconnect, (uint32_t)child->on_disconnect);
}

void child_disconnected(struct child *child)
{
	const Spawnd__V1__ProcessSpec *message = child->spec->message;

	if (child->state == CHILD_FAILED || child->removed || (child_has_exited(child) && tree_is_empty(&child->tree, false)))
		return;
	if (child->on_disconnect == SPAWND__V1__ON_DISCONNECT__ON_DISCONNECT_STOP)
		child_stop(child, message->kill_signal, message->grace_ms, (enum kill_scope)message->kill_scope, CHILD_REASON_STOPPED,
			"on_disconnect", NULL, NULL);
	else if (child->on_disconnect == SPAWND__V1__ON_DISCONNECT__ON_DISCONNECT_HANGUP)
		child_signal(child, SIGHUP, KILL_GROUP, NULL, NULL);
}
