/* Wait: answers when the process has exited, or closed. */
#include <inttypes.h>

#include "base/loop.h"
#include "base/mem.h"
#include "service/convert.h"
#include "service/internal.h"
#include "service/rights.h"

#define TIMEOUT_MAX_MS (UINT64_C(10) * 365 * 24 * 3600 * 1000)

struct wait {
	struct call *call;
	struct child *child;
	struct loop_timer *timer; /* NULL: for ever */
	bool closed;              /* until then, not only until it exited */
};

static void destroy(struct wait *wait)
{
	child_unobserve(wait->child, wait);
	loop_timer_destroy(wait->timer);
	free(wait);
}

static void reply(struct call *call, struct child *child)
{
	Spawnd__V1__Process *process = convert_process(child, 0);

	call_reply(call, &process->base);
	convert_process_free(process);
}

static void answer(struct wait *wait)
{
	reply(wait->call, wait->child);
	destroy(wait);
}

static void on_failed(void *context, struct child *child, const struct err *err)
{
	answer(context);
}

static void on_exited(void *context, struct child *child)
{
	struct wait *wait = context;

	if (!wait->closed)
		answer(wait);
}

static void on_closed(void *context, struct child *child)
{
	answer(context);
}

static void fail(struct wait *wait, const struct err *err)
{
	call_fail(wait->call, err);
	destroy(wait);
}

static void on_removed(void *context, struct child *child)
{
	struct err err;

	err_set(&err, STATUS_ABORTED, "process %" PRIu64 " was removed", child_id(child));
	fail(context, &err);
}

static void on_timeout(void *arg)
{
	struct wait *wait = arg;
	struct err err;

	err_set(&err, STATUS_DEADLINE_EXCEEDED, "process %" PRIu64 " has not %s", child_id(wait->child),
		wait->closed ? "closed" : "exited");
	fail(wait, &err);
}

static void on_end(struct call *call)
{
	destroy(call_context(call));
}

int handle_wait(struct call *call, const ProtobufCMessage *message, struct err *err)
{
	static const struct child_observer observer = {
		.on_failed = on_failed, .on_exited = on_exited, .on_closed = on_closed, .on_removed = on_removed};
	static const struct call_ops ops = {.on_end = on_end};
	const Spawnd__V1__WaitRequest *request = (const Spawnd__V1__WaitRequest *)message;
	struct service *service = service_get();
	struct wait *wait;
	struct child *child;
	int done = rights_find(call, request->process, &child, err);

	if (done < 0)
		return done;
	if (request->timeout_ms > TIMEOUT_MAX_MS)
		return err_invalid(err, "timeout_ms", "is above ten years");
	if (child_state(child) == CHILD_FAILED || child_is_closed(child) || (!request->closed && child_state(child) == CHILD_EXITED)) {
		reply(call, child);
		return 0;
	}
	wait = mem_alloc(sizeof(*wait));
	wait->call = call;
	wait->child = child;
	wait->closed = request->closed;
	child_observe(child, &observer, wait);
	if (request->timeout_ms) {
		wait->timer = loop_timer_create(service->config.loop, on_timeout, wait);
		loop_timer_set(wait->timer, request->timeout_ms * 1000);
	}
	call_set_ops(call, &ops, wait);
	return 0;
}
