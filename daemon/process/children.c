/*
 * The registry: children by id, name and journal slot; who is told; how long what has ended is kept. An ended child
 * without a name is kept ten minutes, the last 1,000 of each uid; one with a name until it is removed, and its name is not
 * free until then. When there is no room for a new one the oldest ended ones go: first those without a name. What has left
 * living processes behind is forgotten only when there is nothing else.
 */
#include <assert.h>
#include <errno.h>

#include "base/clock.h"
#include "base/failpoint.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/mem.h"
#include "process/child_parts.h"

#define KEEP_NS (INT64_C(600) * 1000000000)
#define KEEP_COUNT 1000u
#define RETENTION_RETRY_US 10000000 /* everybody who is due is followed */

/* ---- telling, and staying in memory meanwhile ---- */

struct watcher *child_begin_telling(struct child *child)
{
	child_pin(child);
	child->telling++;
	return TAILQ_LAST(&child->watchers, watcher_list);
}

/* Forgets those that left while others were told. */
void child_end_telling(struct child *child)
{
	struct watcher *watcher, *next;

	if (--child->telling == 0) {
		for (watcher = TAILQ_FIRST(&child->watchers); watcher; watcher = next) {
			next = TAILQ_NEXT(watcher, entry);
			if (watcher->observer)
				continue;
			TAILQ_REMOVE(&child->watchers, watcher, entry);
			free(watcher);
		}
	}
	child_unpin(child);
}

void child_observe(struct child *child, const struct child_observer *observer, void *context)
{
	struct watcher *watcher = mem_alloc(sizeof(*watcher));

	watcher->observer = observer;
	watcher->context = context;
	TAILQ_INSERT_TAIL(&child->watchers, watcher, entry);
}

void child_unobserve(struct child *child, void *context)
{
	struct watcher *watcher, *next;

	for (watcher = TAILQ_FIRST(&child->watchers); watcher; watcher = next) {
		next = TAILQ_NEXT(watcher, entry);
		if (watcher->context != context || !watcher->observer)
			continue;
		watcher->observer = NULL;
		if (child->telling)
			continue;
		TAILQ_REMOVE(&child->watchers, watcher, entry);
		free(watcher);
	}
}

void child_pin(struct child *child)
{
	child->pins++;
}

void child_unpin(struct child *child)
{
	assert(child->pins > 0);
	if (--child->pins == 0 && child->removed)
		loop_defer_trigger(child->children->defer);
}

/* At the end of a turn: tells what was written to stdins, frees what is gone. */
static void on_defer(void *arg)
{
	struct children *children = arg;
	struct child *child, *next;

	inputs_tell(children);
	for (child = TAILQ_FIRST(&children->dead); child; child = next) {
		next = TAILQ_NEXT(child, entry);
		if (child->pins)
			continue;
		TAILQ_REMOVE(&children->dead, child, entry);
		child_free(child);
	}
	if (children->shut_down && children->shut_down_waits == 0) {
		void (*shut_down)(void *context) = children->shut_down;

		children->shut_down = NULL;
		shut_down(children->shut_down_context);
	}
}

/* ---- keeping ---- */

/* Whether somebody still follows it: a client that has not been told its end yet must be. */
static bool is_followed(const struct child *child)
{
	const struct watcher *watcher;

	TAILQ_FOREACH(watcher, &child->watchers, entry)
	{
		if (watcher->observer)
			return true;
	}
	return false;
}

/* Whether it may be forgotten without anybody missing it: nobody follows it, and its directory holds no living process. */
static bool is_idle(struct child *child)
{
	return !is_followed(child) && (!child->tree.dir || tree_is_empty(&child->tree, false));
}

static void on_retention(void *arg)
{
	struct children *children = arg;
	int64_t now = clock_boot_ns();
	uint64_t wait_us = RETENTION_RETRY_US;
	struct child *child, *next;

	for (child = TAILQ_FIRST(&children->ended); child; child = next) {
		next = TAILQ_NEXT(child, ended);
		if (child->ended_boot_ns + KEEP_NS > now) {
			wait_us = (uint64_t)(child->ended_boot_ns + KEEP_NS - now) / 1000 + 1000;
			break;
		}
		if (is_idle(child))
			child_drop(child, "age");
	}
	if (!TAILQ_EMPTY(&children->ended))
		loop_timer_set(children->retention, wait_us);
}

/* The oldest of a user that is idle; NULL: none. */
static struct child *oldest_idle_of(const struct owner *owner)
{
	struct child *child;

	TAILQ_FOREACH(child, &owner->ended, owner_ended)
	if (is_idle(child))
		return child;
	return NULL;
}

/* Forgets that one; false: there is none. */
static bool forget_oldest_of(const struct owner *owner, const char *why)
{
	struct child *child = oldest_idle_of(owner);

	if (child)
		child_drop(child, why);
	return child != NULL;
}

static struct owner *find_owner(const struct children *children, uid_t uid)
{
	struct owner *owner;

	HASH_FIND(hh, children->owners, &uid, sizeof(uid), owner);
	return owner;
}

static struct owner *owner_of(struct children *children, uid_t uid)
{
	struct owner *owner = find_owner(children, uid);

	if (owner)
		return owner;
	owner = mem_alloc(sizeof(*owner));
	owner->uid = uid;
	TAILQ_INIT(&owner->ended);
	HASH_ADD(hh, children->owners, uid, sizeof(owner->uid), owner);
	return owner;
}

void children_keep(struct child *child)
{
	struct children *children = child->children;
	struct owner *owner;

	account_closed(child);
	child->ended_boot_ns = clock_boot_ns();
	if (child->record && child->recovered && atomic_load(&child->record->ended_boot_ns))
		child->ended_boot_ns = atomic_load(&child->record->ended_boot_ns);
	else if (child->record)
		atomic_store(&child->record->ended_boot_ns, child->ended_boot_ns);
	child->kept = true;
	if (child_name(child)[0]) {
		TAILQ_INSERT_TAIL(&children->named, child, ended);
		return;
	}
	owner = owner_of(children, child->owner);
	TAILQ_INSERT_TAIL(&children->ended, child, ended);
	TAILQ_INSERT_TAIL(&owner->ended, child, owner_ended);
	if (!loop_timer_pending(children->retention))
		loop_timer_set(children->retention, KEEP_NS / 1000);
	if (++owner->count > KEEP_COUNT)
		forget_oldest_of(owner, "count");
}

/* It is kept no more. */
static void leave_kept(struct child *child)
{
	struct children *children = child->children;
	struct owner *owner;

	if (!child->kept)
		return;
	child->kept = false;
	if (child_name(child)[0]) {
		TAILQ_REMOVE(&children->named, child, ended);
		return;
	}
	owner = owner_of(children, child->owner);
	TAILQ_REMOVE(&children->ended, child, ended);
	TAILQ_REMOVE(&owner->ended, child, owner_ended);
	if (--owner->count > 0)
		return;
	HASH_DEL(children->owners, owner);
	free(owner);
}

/* The oldest of a list that is idle; NULL: none. */
static struct child *oldest_idle(const struct ended_list *list)
{
	struct child *child;

	TAILQ_FOREACH(child, list, ended)
	if (is_idle(child))
		return child;
	return NULL;
}

/* Forgets one for a new one; who gave it a name would else wonder where it is. */
static void make_room(struct child *child)
{
	if (child_name(child)[0])
		log_(LOG_WARNING, "process %llu: %s has ended and is forgotten, there is no room for new ones",
			(unsigned long long)child->id, child_name(child));
	else
		log_(LOG_DEBUG, "process %llu: forgotten early, there is no room for new ones", (unsigned long long)child->id);
	child_drop(child, "room");
}

bool children_forget_named(struct children *children, uid_t uid)
{
	struct child *child;

	TAILQ_FOREACH(child, &children->named, ended)
	{
		if (child->owner != uid || !is_idle(child))
			continue;
		make_room(child);
		return true;
	}
	return false;
}

bool children_forget_oldest(struct children *children, uid_t uid)
{
	struct owner *owner = find_owner(children, uid);

	return owner && forget_oldest_of(owner, "room");
}

/* The user with most that is kept: whoever fills the journal makes room in it. */
static struct owner *find_greatest(const struct children *children)
{
	struct owner *greatest = children->owners;

	for (struct owner *owner = greatest; owner; owner = owner->hh.next)
		if (owner->count > greatest->count)
			greatest = owner;
	return greatest;
}

bool children_evict(struct children *children)
{
	struct owner *owner = find_greatest(children);
	struct child *child = owner ? oldest_idle_of(owner) : NULL;

	if (!child)
		child = oldest_idle(&children->ended);
	if (!child)
		child = oldest_idle(&children->named);
	if (!child) /* a new process comes before news of an old one */
		child = TAILQ_FIRST(&children->ended);
	if (!child)
		child = TAILQ_FIRST(&children->named);
	if (!child)
		return false;
	make_room(child);
	return true;
}

/* ---- tables ---- */

void children_add(struct children *children, struct child *child)
{
	const char *name = child_name(child);

	TAILQ_INSERT_TAIL(&children->all, child, entry);
	HASH_ADD(by_id, children->by_id, id, sizeof(child->id), child);
	if (name[0])
		HASH_ADD_KEYPTR(by_name, children->by_name, name, strlen(name), child);
	children->by_slot[child->journal_slot] = child;
	children->running++;
}

void children_drop(struct child *child)
{
	struct children *children = child->children;
	const struct process_host *host = children->host;

	leave_kept(child);
	charge_end(&child->charge);
	TAILQ_REMOVE(&children->all, child, entry);
	HASH_DELETE(by_id, children->by_id, child);
	if (child_name(child)[0])
		HASH_DELETE(by_name, children->by_name, child);
	children->by_slot[child->journal_slot] = NULL;
	ledger_free(host->ledger, mem_steal(&child->record));
	failpoint("remove-noted");
	host->store_forget(host->context, STORE_ANY, child->id, 0);
	host->slot_release(host->context, child->journal_slot, child->id);
	child->removed = true;
	TAILQ_INSERT_TAIL(&children->dead, child, entry);
	loop_defer_trigger(children->defer);
}

struct child *children_find(struct children *children, uint64_t id)
{
	struct child *child;

	HASH_FIND(by_id, children->by_id, &id, sizeof(id), child);
	return child;
}

struct child *children_find_name(struct children *children, const char *name)
{
	struct child *child;

	HASH_FIND(by_name, children->by_name, name, strlen(name), child);
	return child;
}

struct child *children_next(struct children *children, uint64_t after)
{
	struct child *child = children_find(children, after);

	if (child)
		return TAILQ_NEXT(child, entry);
	TAILQ_FOREACH(child, &children->all, entry)
	if (child->id > after)
		return child;
	return NULL;
}

size_t children_running(const struct children *children)
{
	return children->running;
}

size_t children_kept(const struct children *children)
{
	return children->kept;
}

uint64_t children_output_bytes(const struct children *children)
{
	return children->stats.read;
}

uint64_t children_buffered_bytes(const struct children *children)
{
	return children->stats.buffered + children->stdin_bytes;
}

uint64_t children_log_lost(const struct children *children)
{
	return children->stats.log_lost;
}

size_t children_log_failing(const struct children *children, const struct child **first_out)
{
	const struct child *child = children->log_failing ? TAILQ_FIRST(&children->all) : NULL;

	while (child && !child->log_error)
		child = TAILQ_NEXT(child, entry);
	*first_out = child;
	return children->log_failing;
}

const char *children_tree_method(const struct children *children)
{
	return trees_method(children->trees);
}

void children_observe(struct children *children, const struct child_observer *observer, void *context)
{
	children->observer = observer;
	children->context = context;
}

/* ---- life ---- */

static void on_gone(void *arg)
{
	inputs_lose_gone(arg);
}

struct children *children_create(const struct process_host *host, struct err *err)
{
	struct children *children = mem_alloc(sizeof(*children));

	children->host = host;
	TAILQ_INIT(&children->all);
	TAILQ_INIT(&children->dead);
	TAILQ_INIT(&children->ended);
	TAILQ_INIT(&children->named);
	TAILQ_INIT(&children->told);
	TAILQ_INIT(&children->gone);
	children->gone_timer = loop_timer_create(host->loop, on_gone, children);
	children->defer = loop_defer_create(host->loop, on_defer, children);
	children->retention = loop_timer_create(host->loop, on_retention, children);
	children->trees = trees_create(host);
	return children;
}

const struct process_host *children_host(const struct children *children)
{
	return children->host;
}

void children_destroy(struct children *children)
{
	struct child *child;

	if (!children)
		return;
	children->observer = NULL;
	loop_timer_destroy(children->not_back);
	HASH_CLEAR(by_id, children->by_id);
	HASH_CLEAR(by_name, children->by_name);
	while ((child = TAILQ_FIRST(&children->all))) {
		kills_finish(child, true);
		leave_kept(child);
		TAILQ_REMOVE(&children->all, child, entry);
		child_free(child);
	}
	while ((child = TAILQ_FIRST(&children->dead))) {
		TAILQ_REMOVE(&children->dead, child, entry);
		child_free(child);
	}
	trees_destroy(children->trees);
	loop_timer_destroy(children->retention);
	loop_timer_destroy(children->gone_timer);
	loop_defer_destroy(children->defer);
	free(children);
}

/* ---- the end of all ---- */

void children_shutdown_step(struct children *children)
{
	if (children->shut_down && --children->shut_down_waits == 0)
		loop_defer_trigger(children->defer);
}

/* A ladder is done: its child is gone and only has to be closed, or it survived. */
static void on_stopped(void *context, struct child *child, const struct kill_result *result)
{
	if (child_has_exited(child) && !child->closed)
		child->shutdown_waits = true;
	else
		children_shutdown_step(context);
}

/* Whether a child is to be stopped at the end: it runs, or something that it started does. */
static bool is_to_stop(struct child *child, bool keep)
{
	if (keep || child->state == CHILD_FAILED || child->spec->message->on_shutdown != SPAWND__V1__ON_SHUTDOWN__ON_SHUTDOWN_STOP)
		return false;
	return !tree_is_empty(&child->tree, false);
}

void children_shutdown(struct children *children, bool keep, void (*done)(void *context), void *context)
{
	uint64_t at = 0;
	struct child *child;

	children->shut_down = done;
	children->shut_down_context = context;
	children->shut_down_waits = 1;
	while ((child = children_next(children, at))) {
		const Spawnd__V1__ProcessSpec *message = child->spec->message;

		at = child->id;
		if (!is_to_stop(child, keep))
			continue;
		children->shut_down_waits++;
		child_stop(child, message->kill_signal, message->grace_ms, (enum kill_scope)message->kill_scope, CHILD_REASON_STOPPED,
			"on_shutdown", on_stopped, children);
	}
	children_shutdown_step(children);
}
