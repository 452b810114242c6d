/* The orderly end, step by step: begun -> children gone -> clients have read -> over. */
#include "engine/shutdown.h"

#include "base/log.h"
#include "base/loop.h"
#include "base/mem.h"
#include "engine/control.h"
#include "engine/engine.h"
#include "pool/pool.h"
#include "process/child.h"

#define LINGER_MS 2000u /* clients have so long to read what is theirs */
#define LINGER_LOOK_MS 5u
#define DRAIN_MS 6000u /* so long after the last process ended, output that nobody takes is given up */
#define DRAIN_LOOK_MS 50u

struct shutdown {
	struct engine *engine;
	struct loop_defer *begin;
	struct loop_timer *drain; /* while processes end */
	struct loop_timer *linger;
	bool begun, keep, stopping, over;
	unsigned drained_ms, lingered_ms;
};

/* Nothing is left to wait for. */
static void end(struct shutdown *shutdown)
{
	if (shutdown->over)
		return;
	shutdown->over = true;
	loop_stop(shutdown->engine->loop);
}

/* Clients that have read all, or had their time. */
static void on_linger(void *arg)
{
	struct shutdown *shutdown = arg;

	if (shutdown->over)
		return;
	shutdown->lingered_ms += LINGER_LOOK_MS;
	if (!control_is_flushed(shutdown->engine->control) && shutdown->lingered_ms < LINGER_MS)
		loop_timer_set(shutdown->linger, LINGER_LOOK_MS * 1000);
	else
		end(shutdown);
}

static void on_children_gone(void *arg)
{
	struct shutdown *shutdown = arg;

	loop_timer_cancel(shutdown->drain);
	if (!shutdown->over && !loop_timer_pending(shutdown->linger))
		loop_timer_set(shutdown->linger, LINGER_LOOK_MS * 1000);
}

/* Whether a process that is to end has not ended yet. */
static bool is_waited_for(struct shutdown *shutdown)
{
	struct children *children = shutdown->engine->children;
	struct child *child;

	for (child = children_next(children, 0); child; child = children_next(children, child_id(child)))
		if (child_state(child) < CHILD_EXITED &&
			child_spec(child)->message->on_shutdown == SPAWND__V1__ON_SHUTDOWN__ON_SHUTDOWN_STOP)
			return true;
	return false;
}

/* A client that takes no output must not hold up the end. */
static void on_drain(void *arg)
{
	struct shutdown *shutdown = arg;

	shutdown->drained_ms = is_waited_for(shutdown) ? 0 : shutdown->drained_ms + DRAIN_LOOK_MS;
	if (shutdown->drained_ms < DRAIN_MS) {
		loop_timer_set(shutdown->drain, DRAIN_LOOK_MS * 1000);
		return;
	}
	log_(LOG_WARNING, "shutdown: output that nobody takes is given up");
	end(shutdown);
}

static void on_begin(void *arg)
{
	struct shutdown *shutdown = arg;

	if (shutdown->stopping) {
		log_(LOG_WARNING, "shutdown: asked again, ends at once");
		end(shutdown);
		return;
	}
	shutdown->stopping = true;
	control_stop(shutdown->engine->control);
	pools_quiesce(shutdown->engine->pools);
	loop_timer_set(shutdown->drain, DRAIN_LOOK_MS * 1000);
	children_shutdown(shutdown->engine->children, shutdown->keep, on_children_gone, shutdown);
}

struct shutdown *shutdown_create(struct engine *engine)
{
	struct shutdown *shutdown = mem_alloc(sizeof(*shutdown));

	shutdown->engine = engine;
	shutdown->begin = loop_defer_create(engine->loop, on_begin, shutdown);
	shutdown->drain = loop_timer_create(engine->loop, on_drain, shutdown);
	shutdown->linger = loop_timer_create(engine->loop, on_linger, shutdown);
	return shutdown;
}

void shutdown_destroy(struct shutdown *shutdown)
{
	if (!shutdown)
		return;
	loop_defer_destroy(shutdown->begin);
	loop_timer_destroy(shutdown->drain);
	loop_timer_destroy(shutdown->linger);
	free(shutdown);
}

void shutdown_begin(struct shutdown *shutdown, bool keep, const char *why)
{
	if (!shutdown->begun) {
		log_(LOG_INFO, "shutdown: %s", why);
		shutdown->keep = keep;
	}
	shutdown->begun = true;
	loop_defer_trigger(shutdown->begin);
}

bool shutdown_begun(const struct shutdown *shutdown)
{
	return shutdown->begun;
}
