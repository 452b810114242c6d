/* See service.h. What happens to every process is heard here once, and told to the tables that follow it. */
#include "service/service.h"

#include <assert.h>

#include "base/buf.h"
#include "base/mem.h"
#include "rpc/status.h"
#include "service/acts.h"
#include "service/internal.h"
#include "service/kill.h"
#include "service/rights.h"

static struct service *current;

struct service *service_get(void)
{
	return current;
}

static void on_spawned(void *context, struct child *child)
{
	struct service *service = context;

	service->spawned_total++;
	events_spawned(service->events, child);
}

/* A failed spawn leaves no process: whoever says its key again is told the same. */
static void remember_failure(struct service *service, struct child *child, const struct err *err)
{
	struct record_origin origin;
	struct act_name name = {.key = origin.key, .method = origin.method};
	struct known_act known = {.failed = true};
	struct err told = *err;
	struct buf response = {0};

	child_origin(child, &origin);
	if (!*origin.key)
		return;
	name.uid = origin.uid;
	name.digest = origin.digest;
	status_pack(&told, child_spec(child)->argv, &response);
	known.reply = response.bytes;
	known.reply_size = response.length;
	keys_put(service->keys, &name, origin.made_ns, &known);
	buf_finish(&response);
}

static void on_failed(void *context, struct child *child, const struct err *err)
{
	struct service *service = context;
	struct record_origin origin;

	child_origin(child, &origin);
	if (child_spec(child)->message->persist && origin.method[0])
		persist_remove(service->persist, child_name(child), NULL);
	else if (child_spec(child)->message->persist) /* we started it ourselves: another time it may go well */
		log_(LOG_ERROR, "specs/%s is not started: %s", child_name(child), err->message);
	events_failed(service->events, child);
	remember_failure(service, child, err);
}

static void on_exited(void *context, struct child *child)
{
	struct service *service = context;

	events_exited(service->events, child);
}

static void on_closed(void *context, struct child *child)
{
	struct service *service = context;

	events_closed(service->events, child);
}

static void on_gap(void *context, struct child *child, uint32_t slot, uint64_t offset, uint64_t bytes)
{
	struct service *service = context;

	events_gap(service->events, child, slot, offset, bytes);
}

static void on_log_file(void *context, struct child *child, int error)
{
	struct service *service = context;

	events_log_file(service->events, child, error);
}

static void on_stopping(void *context, struct child *child, const char *why)
{
	struct service *service = context;

	events_stopping(service->events, child, why);
}

static void on_removed(void *context, struct child *child)
{
	struct service *service = context;

	events_removed(service->events, child);
	hold_forget(service->sessions, child_id(child));
	feeds_forget(service->feeds, child);
}

static const struct child_observer observer = {
	.on_spawned = on_spawned,
	.on_failed = on_failed,
	.on_exited = on_exited,
	.on_closed = on_closed,
	.on_gap = on_gap,
	.on_log_file = on_log_file,
	.on_stopping = on_stopping,
	.on_removed = on_removed,
};

static void on_messages(void *context, struct child *child, uint64_t last, uint64_t count)
{
	struct service *service = context;

	events_messages(service->events, child, last, count);
}

static void on_disconnected(void *context, struct child *child, const struct channel_ending *ending)
{
	struct service *service = context;

	events_disconnected(service->events, child, ending);
}

static const struct channels_observer channels_observer = {.on_messages = on_messages, .on_disconnected = on_disconnected};

/* The last that held a process has vanished, and did not come back. */
static void on_lost(void *context, uint64_t process)
{
	struct service *service = context;
	struct child *child = children_find(service->config.children, process);

	if (child)
		child_set_held(child, false);
	if (child && !service->ending)
		child_disconnected(child);
}

/* What clients of an earlier engine had: their acts, and the processes that were theirs. */
static void recover(struct service *service)
{
	struct children *children = service->config.children;
	struct record_origin origin;

	for (struct child *child = children_next(children, 0); child; child = children_next(children, child_id(child))) {
		struct act_name name = {.key = origin.key, .method = origin.method};
		struct known_act known = {.process = child_id(child)};

		channels_open(service->channels, child);
		child_origin(child, &origin);
		name.uid = origin.uid;
		name.digest = origin.digest;
		keys_put(service->keys, &name, origin.made_ns, &known);
		if (child_was_held(child))
			hold_recover(service->sessions, origin.uid, origin.session, origin.session_size, child_id(child));
	}
	keys_recover(service->keys, acts_settle, children);
}

struct service *service_create(const struct service_config *config, struct err *err)
{
	struct persist *persist = persist_create(config->state_dir, err);
	struct service *service;

	if (!persist)
		return NULL;
	assert(!current);
	service = mem_alloc(sizeof(*service));
	service->persist = persist;
	service->config = *config;
	service->sessions = sessions_create(config->loop, config->quotas, on_lost, service);
	service->keys = keys_create(config->ledger);
	service->feeds = feeds_create();
	service->channels = channels_create(children_host(config->children));
	service->events = events_create(config->event_seq);
	service->audits = events_create(NULL);
	service->refusals = refusals_create();
	children_observe(config->children, &observer, service);
	channels_observe(service->channels, &channels_observer, service);
	recover(service);
	current = service;
	return service;
}

void service_destroy(struct service *service)
{
	static const struct child_observer deaf;

	if (!service)
		return;
	kill_forget_all(service);
	children_observe(service->config.children, &deaf, NULL);
	events_destroy(service->events);
	channels_destroy(service->channels);
	events_destroy(service->audits);
	refusals_destroy(service->refusals);
	feeds_destroy(service->feeds);
	keys_destroy(service->keys);
	sessions_destroy(service->sessions);
	persist_destroy(service->persist);
	free(service);
	current = NULL;
}

void service_start_persisted(struct service *service)
{
	persist_start(service->persist, service);
}

void service_ending(struct service *service)
{
	service->ending = true;
}

void service_peer_gone(struct service *service, struct peer *peer)
{
	struct session *session = peer_session(peer);

	if (!session)
		return;
	peer_set_session(peer, NULL);
	session_leave(service->sessions, session);
}

void service_refused(struct service *service, uid_t uid, pid_t pid, const char *method, const char *why)
{
	audit_refused(service, &(struct audit){.uid = uid, .pid = pid, .method = method}, why);
}
