/* The streams that are a process, Spawn and Attach, and Start, which has none. */
#include <inttypes.h>

#include "base/mem.h"
#include "service/convert.h"
#include "service/launch.h"
#include "service/reading.h"
#include "service/rights.h"
#include "service/stream.h"

int handle_spawn(struct call *call, const ProtobufCMessage *message, struct err *err)
{
	const Spawnd__V1__SpawnRequest *request = (const Spawnd__V1__SpawnRequest *)message;
	struct launch_request launch = {.call = call, .use = SPEC_SPAWN};
	struct stream_start start = {.kind = STREAM_SPAWN};
	int done;

	if (request->message_case != SPAWND__V1__SPAWN_REQUEST__MESSAGE_START)
		return err_invalid(err, "start", "must be the first message");
	launch.spec = request->start->spec;
	launch.key = request->start->idempotency_key;
	launch.reader = request->start->reader;
	launch.resume = request->start->resume;
	done = launch_process(&launch, &start.child, &start.joined, err);
	if (done)
		return done < 0 ? done : 0;
	start.plan.from = OUTFLOW_ZERO;
	done = reading_fill(&start, request->start->reader, READER_BLOCK, err);
	if (done == 0)
		done = reading_from(&start.plan, child_spec(start.child), request->start->from, request->start->n_from, err);
	if (done < 0) {
		outflow_plan_finish(&start.plan);
		return done;
	}
	stream_create(call, &start);
	return 0;
}

int handle_attach(struct call *call, const ProtobufCMessage *message, struct err *err)
{
	const Spawnd__V1__AttachRequest *request = (const Spawnd__V1__AttachRequest *)message;
	const Spawnd__V1__AttachStart *attach = request->start;
	struct stream_start start = {.kind = STREAM_ATTACH, .joined = true};
	int done;

	if (request->message_case != SPAWND__V1__ATTACH_REQUEST__MESSAGE_START)
		return err_invalid(err, "start", "must be the first message");
	done = rights_find(call, attach->process, &start.child, err);
	if (done < 0)
		return done;
	done = reading_fill(&start, attach->reader, READER_DROP, err);
	if (done == 0)
		done = reading_from(&start.plan, child_spec(start.child), attach->from, attach->n_from, err);
	if (done == 0 && start.plan.policy == READER_BLOCK)
		done = rights_need(call, start.child, RIGHT_SIGNAL, "Attach with a blocking reader", err);
	if (done < 0) {
		outflow_plan_finish(&start.plan);
		return done;
	}
	start.plan.from = attach->from_retained ? OUTFLOW_RETAINED : OUTFLOW_NEXT;
	stream_create(call, &start);
	return 0;
}

/* ---- Start ---- */

/* Answers when it is known whether the process runs. */
struct starting {
	struct call *call;
	struct child *child;
};

static void starting_end(struct starting *starting)
{
	child_unobserve(starting->child, starting);
	free(starting);
}

static void on_spawned(void *context, struct child *child)
{
	struct starting *starting = context;
	Spawnd__V1__Process *process = convert_process(child, 0);

	call_reply(starting->call, &process->base);
	convert_process_free(process);
	starting_end(starting);
}

static void on_failed(void *context, struct child *child, const struct err *err)
{
	struct starting *starting = context;

	call_fail_spawn(starting->call, err, child_spec(child)->argv);
	starting_end(starting);
}

static void on_removed(void *context, struct child *child)
{
	struct starting *starting = context;
	struct err err;

	err_set(&err, STATUS_ABORTED, "process %" PRIu64 " was removed", child_id(child));
	call_fail(starting->call, &err);
	starting_end(starting);
}

static void on_end(struct call *call)
{
	starting_end(call_context(call));
}

int handle_start(struct call *call, const ProtobufCMessage *message, struct err *err)
{
	static const struct child_observer observer = {.on_spawned = on_spawned, .on_failed = on_failed, .on_removed = on_removed};
	static const struct call_ops ops = {.on_end = on_end};
	const Spawnd__V1__StartRequest *request = (const Spawnd__V1__StartRequest *)message;
	struct launch_request launch = {.call = call, .spec = request->spec, .use = SPEC_START, .key = request->idempotency_key};
	struct starting *starting;
	struct child *child;
	bool joined;
	int done = launch_process(&launch, &child, &joined, err);

	if (done)
		return done < 0 ? done : 0;
	starting = mem_alloc(sizeof(*starting));
	starting->call = call;
	starting->child = child;
	child_observe(child, &observer, starting);
	call_set_ops(call, &ops, starting);
	if (child_state(child) == CHILD_FAILED) {
		convert_failure(child, err);
		on_failed(starting, child, err);
	} else if (child_state(child) != CHILD_STARTING) {
		on_spawned(starting, child);
	}
	return 0;
}
