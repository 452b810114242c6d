/* What the process room asks of the engine: journal, store, launchers, signals. Each is one line of the contract in host.h. */
#include <errno.h>
#include <string.h>

#include "base/fd.h"
#include "engine/engine.h"
#include "engine/fds.h"
#include "engine/keeper.h"
#include "engine/launch.h"
#include "engine/plan.h"
#include "engine/shutdown.h"
#include "engine/slots.h"
#include "process/plan.h"

static uint64_t host_next_id(void *context)
{
	struct engine *engine = context;

	return slots_next_id(engine->slots);
}

static int host_slot_take(void *context, uint64_t owner, uint32_t *slot_out, struct err *err)
{
	struct engine *engine = context;

	if (shutdown_begun(engine->shutdown))
		return err_set(err, STATUS_UNAVAILABLE, "the daemon is shutting down");
	return slots_take(engine->slots, owner, slot_out, err);
}

static struct journal_slot *host_slot(void *context, uint32_t slot)
{
	struct engine *engine = context;

	return slots_get(engine->slots, slot);
}

static void host_slot_release(void *context, uint32_t slot, uint64_t owner)
{
	struct engine *engine = context;

	if (slots_release(engine->slots, slot, owner))
		keeper_release_slot(engine->keeper, slot, owner);
}

static int host_store_put(
	void *context, enum store_kind kind, uint64_t owner, uint32_t first_index, const int *fds, size_t count, struct err *err)
{
	struct engine *engine = context;

	return keeper_store_put(engine->keeper, kind, owner, first_index, fds, count, err);
}

static void host_store_drop(void *context, enum store_kind kind, uint64_t owner, uint32_t index)
{
	struct engine *engine = context;

	keeper_store_drop(engine->keeper, kind, owner, index);
}

/* Packs the plan and queues it; one that did not fit a record has its memfd as the last descriptor. */
static int host_launch(void *context, const struct plan *plan, host_launched_fn done, void *arg, struct err *err)
{
	struct engine *engine = context;
	struct packed_plan packed;
	int fds[FDPASS_MAX], result;
	size_t count = plan->fd_count;

	if (count >= FDPASS_MAX) {
		err_set(err, STATUS_RESOURCE_EXHAUSTED, "a process starts with at most %d descriptors, this one has %zu", FDPASS_MAX - 1,
			count);
		return -EMFILE;
	}
	result = plan_pack(plan, &packed, err);
	if (result < 0)
		return result;
	if (count)
		memcpy(fds, plan->fds, count * sizeof(*fds));
	if (packed.memfd >= 0)
		fds[count++] = packed.memfd;
	result = launch_submit(engine->launch, plan->owner, plan->journal_slot, packed.record, packed.size, fds, count, done, arg, err);
	fd_close(&packed.memfd);
	return result;
}

static void host_signal(void *context, uint32_t slot, uint64_t owner, int signal, int group, host_signalled_fn done, void *arg)
{
	struct engine *engine = context;

	keeper_signal(engine->keeper, slot, owner, signal, group != 0, done, arg);
}

static void host_signal_pidfd(void *context, int pidfd, int signal, host_signalled_fn done, void *arg)
{
	struct engine *engine = context;

	keeper_signal_pidfd(engine->keeper, pidfd, signal, done, arg);
}

static unsigned host_fds_free(void *context)
{
	struct engine *engine = context;
	unsigned used = fds_open() + fds_reserve(engine->fds_limit);

	return used < engine->fds_limit ? engine->fds_limit - used : 0;
}

void engine_fill_process_host(struct engine *engine)
{
	engine->process_host = (struct process_host){
		.loop = engine->loop,
		.context = engine,
		.next_id = host_next_id,
		.slot_take = host_slot_take,
		.slot = host_slot,
		.slot_release = host_slot_release,
		.store_put = host_store_put,
		.store_drop = host_store_drop,
		.launch = host_launch,
		.signal = host_signal,
		.signal_pidfd = host_signal_pidfd,
		.fds_free = host_fds_free,
	};
}
