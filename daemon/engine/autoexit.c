/* A look now and then: often enough that the end comes at most an eighth of the time late, or half a minute. */
#include "engine/autoexit.h"

#include "base/clock.h"
#include "base/loop.h"
#include "base/mem.h"

#define LOOK_MIN_MS 20u
#define LOOK_MAX_MS 30000u

struct autoexit {
	const struct autoexit_host *host;
	void *context;
	struct loop_timer *timer;
	uint64_t after_ms;
	int64_t since_ns;
};

/* The next look. */
static void schedule(struct autoexit *autoexit)
{
	uint64_t look_ms = autoexit->after_ms / 8;

	if (look_ms < LOOK_MIN_MS)
		look_ms = LOOK_MIN_MS;
	if (look_ms > LOOK_MAX_MS)
		look_ms = LOOK_MAX_MS;
	loop_timer_set(autoexit->timer, look_ms * 1000);
}

static void on_look(void *arg)
{
	struct autoexit *autoexit = arg;
	int64_t now = clock_boot_ns();

	if (autoexit->host->busy(autoexit->context))
		autoexit->since_ns = now;
	if ((uint64_t)(now - autoexit->since_ns) / 1000000 >= autoexit->after_ms)
		autoexit->host->on_idle(autoexit->context);
	else
		schedule(autoexit);
}

struct autoexit *autoexit_create(struct loop *loop, const struct autoexit_host *host, void *context)
{
	struct autoexit *autoexit = mem_alloc(sizeof(*autoexit));

	autoexit->host = host;
	autoexit->context = context;
	autoexit->timer = loop_timer_create(loop, on_look, autoexit);
	return autoexit;
}

void autoexit_destroy(struct autoexit *autoexit)
{
	if (!autoexit)
		return;
	loop_timer_destroy(autoexit->timer);
	free(autoexit);
}

void autoexit_set(struct autoexit *autoexit, uint64_t after_ms)
{
	autoexit->after_ms = after_ms;
	autoexit->since_ns = clock_boot_ns();
	if (after_ms)
		schedule(autoexit);
	else
		loop_timer_cancel(autoexit->timer);
}

void autoexit_touch(struct autoexit *autoexit)
{
	autoexit->since_ns = clock_boot_ns();
}
