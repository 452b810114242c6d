/*
 * Signal, Stop and Remove. An act goes on whoever leaves; those who sent the same idempotency key meanwhile wait for the one answer.
 */
#include "service/kill.h"

#include <errno.h>
#include <signal.h>
#include <sys/queue.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "service/acts.h"
#include "service/convert.h"
#include "service/internal.h"
#include "service/rights.h"

/* A call that waits for the answer. */
struct waiter {
	TAILQ_ENTRY(waiter) link; /* act::waiters */
	struct act *act;
	struct call *call;
};

struct act {
	struct act *next, **back; /* service::acts */
	struct service *service;
	TAILQ_HEAD(, waiter) waiters;
	struct act_name name; /* its key is owned */
	uint64_t process;
	bool ended_is_fine; /* a process that has ended is an answer, not an error */
	bool removes;       /* the process is to be forgotten then */
};

static void destroy(struct act *act)
{
	struct waiter *waiter;

	while ((waiter = TAILQ_FIRST(&act->waiters))) {
		TAILQ_REMOVE(&act->waiters, waiter, link);
		free(waiter);
	}
	*act->back = act->next;
	if (act->next)
		act->next->back = act->back;
	free((char *)act->name.key);
	free(act);
}

void kill_forget_all(struct service *service)
{
	while (service->acts) {
		struct child *child = children_find(service->config.children, service->acts->process);

		if (child)
			child_forget(child, service->acts);
		destroy(service->acts);
	}
}

static void on_end(struct call *call)
{
	struct waiter *waiter = call_context(call);

	TAILQ_REMOVE(&waiter->act->waiters, waiter, link);
	free(waiter);
}

static void add_waiter(struct act *act, struct call *call)
{
	static const struct call_ops ops = {.on_end = on_end};
	struct waiter *waiter = mem_alloc(sizeof(*waiter));

	waiter->act = act;
	waiter->call = call;
	TAILQ_INSERT_TAIL(&act->waiters, waiter, link);
	call_set_ops(call, &ops, waiter);
}

/* The act of this request: *act_out is new and wants to be carried out, or NULL: the request is being answered. */
static int begin(struct call *call, const char *key, const ProtobufCMessage *request, struct child *child, const struct act_intent *intent,
	struct act **act_out, struct err *err)
{
	struct service *service = service_get();
	struct act_name name = {.uid = peer_uid(call_peer(call)), .key = key, .method = call_method(call)->name};
	struct known_act known = {0};
	struct act *act;
	int done;

	*act_out = NULL;
	if (*key)
		name.digest = keys_digest(request);
	done = keys_find(service->keys, &name, clock_boot_ns(), &known, err);
	if (done < 0)
		return done;
	if (done && known.pending) {
		add_waiter(known.pending, call);
		return 0;
	}
	if (done) {
		acts_replay(call, &known);
		return 0;
	}
	act = *act_out = mem_alloc(sizeof(*act));
	act->service = service;
	TAILQ_INIT(&act->waiters);
	act->name = name;
	act->name.key = mem_strdup(key);
	act->process = child_id(child);
	act->next = service->acts;
	act->back = &service->acts;
	if (act->next)
		act->next->back = &act->next;
	service->acts = act;
	known.pending = act;
	if (intent)
		known.intent = *intent;
	keys_put(service->keys, &act->name, clock_boot_ns(), &known);
	add_waiter(act, call);
	return 0;
}

/* Answers all who wait, and remembers. */
static void succeed(struct act *act, struct child *child, const struct kill_result *result)
{
	Spawnd__V1__KillReply reply = SPAWND__V1__KILL_REPLY__INIT;
	struct waiter *waiter;

	reply.n_ended = result->ended_count;
	reply.ended = (int32_t *)result->ended;
	reply.n_survived = result->survived_count;
	reply.survived = (int32_t *)result->survived;
	reply.method = (char *)(result->method ? result->method : "signal");
	reply.complete = result->complete;
	reply.exit = child_exit_record(child);
	acts_remember(&act->name, &reply.base);
	TAILQ_FOREACH(waiter, &act->waiters, link)
	call_reply(waiter->call, &reply.base);
	if (reply.exit)
		spawnd__v1__exit_record__free_unpacked(reply.exit, NULL);
}

/* Fails all who wait; the same request may be tried again. */
static void refuse(struct act *act, const struct err *err)
{
	struct waiter *waiter;

	keys_forget(act->service->keys, &act->name);
	TAILQ_FOREACH(waiter, &act->waiters, link)
	call_fail(waiter->call, err);
}

/* Forgets what has ended, and that it is to start again with the daemon. */
static int remove_child(struct child *child, struct err *err)
{
	int done = child_may_remove(child, err);

	if (done == 0 && child_spec(child)->message->persist)
		done = persist_remove(service_get()->persist, child_name(child), err);
	return done == 0 || done == -ENOENT ? child_remove(child, err) : done;
}

/* Nothing of it can be left, or what survived SIGKILL is told by the refusal. */
static void remove_killed(struct act *act, struct child *child)
{
	Spawnd__V1__RemoveReply reply = SPAWND__V1__REMOVE_REPLY__INIT;
	struct waiter *waiter;
	struct err err;

	if (remove_child(child, &err) < 0) {
		refuse(act, &err);
		return;
	}
	acts_remember(&act->name, &reply.base);
	TAILQ_FOREACH(waiter, &act->waiters, link)
	call_reply(waiter->call, &reply.base);
}

static void on_killed(void *context, struct child *child, const struct kill_result *result)
{
	static const struct kill_result nothing_left = {.complete = true};
	struct act *act = context;

	if (act->removes)
		remove_killed(act, child);
	else if (result->err && act->ended_is_fine && result->err->status == STATUS_NOT_FOUND)
		succeed(act, child, &nothing_left);
	else if (result->err)
		refuse(act, result->err);
	else
		succeed(act, child, result);
	destroy(act);
}

int handle_signal(struct call *call, const ProtobufCMessage *message, struct err *err)
{
	const Spawnd__V1__SignalRequest *request = (const Spawnd__V1__SignalRequest *)message;
	struct act_intent intent;
	struct child *child;
	struct act *act = NULL;
	int done = convert_signal(request->signal, true, "signal", err);

	if (done == 0)
		done = rights_find(call, request->process, &child, err);
	if (done == 0)
		intent = acts_intent(child, convert_scope(request->scope, KILL_CHILD) != KILL_TREE);
	if (done == 0)
		done = begin(call, request->idempotency_key, message, child, &intent, &act, err);
	if (done < 0 || !act)
		return done;
	act->ended_is_fine = request->signal == 0;
	child_signal(child, request->signal, convert_scope(request->scope, KILL_CHILD), on_killed, act);
	return 0;
}

int handle_stop(struct call *call, const ProtobufCMessage *message, struct err *err)
{
	const Spawnd__V1__StopRequest *request = (const Spawnd__V1__StopRequest *)message;
	const struct spec *spec;
	enum kill_scope scope;
	struct child *child;
	struct act *act = NULL;
	int done = request->signal ? convert_signal(request->signal, false, "signal", err) : 0;

	if (done == 0)
		done = rights_find(call, request->process, &child, err);
	if (done == 0)
		done = begin(call, request->idempotency_key, message, child, NULL, &act, err);
	if (done < 0 || !act)
		return done;
	act->ended_is_fine = true;
	spec = child_spec(child);
	scope = convert_scope(request->scope, convert_scope(spec->message->kill_scope, KILL_TREE));
	child_stop(child, request->signal ? request->signal : spec->kill_signal,
		request->_grace_ms_case ? request->grace_ms : spec->message->grace_ms, scope, CHILD_REASON_STOPPED, "stop", on_killed, act);
	return 0;
}

/* One that is persisted and could not be started: the daemon's own user may take it away. */
static int remove_persisted(struct call *call, const Spawnd__V1__ProcessRef *ref, const struct err *err)
{
	uid_t uid = peer_uid(call_peer(call));

	if (err->status != STATUS_NOT_FOUND || !ref || ref->ref_case != SPAWND__V1__PROCESS_REF__REF_NAME || (uid != 0 && uid != geteuid()))
		return -ENOENT;
	return persist_remove(service_get()->persist, ref->name, NULL);
}

/* Forgets it as it is. */
static int remove_ended(struct call *call, const Spawnd__V1__RemoveRequest *request, struct err *err)
{
	Spawnd__V1__RemoveReply reply = SPAWND__V1__REMOVE_REPLY__INIT;
	struct act_intent intent;
	struct act_name name;
	struct child *child;
	int done = acts_begin(call, request->idempotency_key, &request->base, &name, err);

	if (done != 0)
		return done < 0 ? done : 0;
	done = rights_find(call, request->process, &child, err);
	if (done < 0 && remove_persisted(call, request->process, err) == 0) {
		acts_reply(call, &name, &reply.base);
		return 0;
	}
	if (done < 0)
		return done;
	intent = acts_intent(child, true);
	acts_intend(&name, &intent);
	done = remove_child(child, err);
	if (done == 0)
		acts_reply(call, &name, &reply.base);
	else
		keys_forget(service_get()->keys, &name);
	return done;
}

int handle_remove(struct call *call, const ProtobufCMessage *message, struct err *err)
{
	const Spawnd__V1__RemoveRequest *request = (const Spawnd__V1__RemoveRequest *)message;
	struct act_intent intent;
	struct act_name name;
	struct child *child;
	struct act *act = NULL;
	struct err other;
	int done;

	if (!request->force)
		return remove_ended(call, request, err);
	done = rights_find(call, request->process, &child, err);
	if (done < 0) /* unless it is this very act that removed it */
		return acts_begin(call, request->idempotency_key, message, &name, &other) == 1 ? 0 : done;
	intent = acts_intent(child, false);
	done = begin(call, request->idempotency_key, message, child, &intent, &act, err);
	if (done < 0 || !act)
		return done;
	act->removes = true;
	child_stop(child, SIGKILL, 0, KILL_TREE, CHILD_REASON_STOPPED, "remove", on_killed, act);
	return 0;
}
