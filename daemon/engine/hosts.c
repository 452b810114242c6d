/*
 * What the rooms below ask of the engine: the process room its journal, store, launchers and signals (process/host.h), the
 * services what only the engine knows (service/service.h).
 */
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "engine/control.h"
#include "engine/engine.h"
#include "engine/fds.h"
#include "engine/keeper.h"
#include "engine/launch.h"
#include "engine/plan.h"
#include "engine/shutdown.h"
#include "engine/slots.h"
#include "engine/upgrade.h"
#include "process/child.h"
#include "process/plan.h"
#include "process/spec.h"
#include "service/service.h"

#define FDS_OF_ONE (4u * FDPASS_MAX) /* the most that one process takes */

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

	slots_release(engine->slots, slot, owner);
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

static void host_store_forget(void *context, enum store_kind kind, uint64_t owner, uint32_t index)
{
	struct engine *engine = context;

	keeper_store_forget(engine->keeper, kind, owner, index);
}

static int host_launch(void *context, const struct plan *plan, host_launched_fn done, void *arg, struct err *err)
{
	struct engine *engine = context;
	struct packed_plan packed;
	int result;

	if (plan->fd_count >= FDPASS_MAX) {
		err_set(err, STATUS_RESOURCE_EXHAUSTED, "a process starts with at most %d descriptors, this one has %zu", FDPASS_MAX - 1,
			plan->fd_count);
		return -EMFILE;
	}
	result = plan_pack(plan, &packed, err);
	if (result < 0)
		return result;
	result = launch_submit(engine->launch,
		&(struct launch_plan){
			.owner = plan->owner,
			.user = plan->user,
			.slot = plan->journal_slot,
			.packed = packed,
			.fds = plan->fds,
			.fd_count = plan->fd_count,
		},
		done, arg, err);
	if (result == 0)
		slots_count_spawn(engine->slots);
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

static uint64_t host_signals(void *context)
{
	struct engine *engine = context;

	return slots_signals(engine->slots) + keeper_signals(engine->keeper);
}

/* Counting costs a look at /proc: while many are left, not every time. */
static unsigned host_fds_free(void *context)
{
	struct engine *engine = context;
	unsigned used;

	if (engine->fds_looks) {
		engine->fds_looks--;
		return engine->fds_left;
	}
	used = fds_open() + fds_reserve(engine->fds_limit);
	engine->fds_left = used < engine->fds_limit ? engine->fds_limit - used : 0;
	engine->fds_looks = engine->fds_left / 2 / FDS_OF_ONE;
	return engine->fds_left;
}

void engine_fill_process_host(struct engine *engine)
{
	engine->process_host = (struct process_host){
		.loop = engine->loop,
		.ledger = engine->ledger,
		.quotas = engine->quotas,
		.keeper = getppid(),
		.context = engine,
		.next_id = host_next_id,
		.slot_take = host_slot_take,
		.slot = host_slot,
		.slot_release = host_slot_release,
		.store_put = host_store_put,
		.store_drop = host_store_drop,
		.store_forget = host_store_forget,
		.launch = host_launch,
		.signal = host_signal,
		.signal_pidfd = host_signal_pidfd,
		.signals = host_signals,
		.fds_free = host_fds_free,
	};
}

/* Resident memory of a process; 0 when it cannot be told. */
static uint64_t read_rss(pid_t pid)
{
	unsigned long long pages = 0;
	char path[64];
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/statm", (int)pid);
	file = fopen(path, "re");
	if (!file)
		return 0;
	if (fscanf(file, "%*u %llu", &pages) != 1)
		pages = 0;
	fclose(file);
	return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

/* The sentences of degraded, those that change last. */
static size_t list_degraded(struct engine *engine, const char **items)
{
	static char log_files[512];
	size_t count = 0, failing;
	const struct child *first;
	const char *path;
	uint64_t lost;
	int error;

	for (; count < engine->degraded.count; count++)
		items[count] = engine->degraded.items[count];
	failing = children_log_failing(engine->children, &first);
	if (!failing)
		return count;
	path = child_log_file(first, &error, &lost);
	snprintf(log_files, sizeof(log_files), "log files of %zu processes cannot be written, one of them %.256s: %s", failing, path,
		err_name(error));
	items[count++] = log_files;
	return count;
}

static void host_facts(void *context, struct service_facts *facts_out)
{
	static const char *degraded[DEGRADED_MAX + 1];
	struct engine *engine = context;

	facts_out->socket = engine->socket_path;
	facts_out->log = engine->log_path;
	facts_out->keeper_pid = keeper_pid(engine->keeper);
	facts_out->engine_pid = getpid();
	facts_out->engine_restarts = keeper_restarts(engine->keeper);
	facts_out->launchers = launch_count(engine->launch);
	facts_out->clients = control_clients(engine->control);
	facts_out->client_bytes = control_memory(engine->control);
	facts_out->rss_bytes = read_rss(getpid());
	facts_out->keeper_rss_bytes = read_rss(keeper_pid(engine->keeper));
	facts_out->fds = fds_open();
	facts_out->fds_limit = engine->fds_limit;
	facts_out->degraded = degraded;
	facts_out->degraded_count = list_degraded(engine, degraded);
	facts_out->uptime_ms = (uint64_t)(clock_boot_ns() - engine->started_ns) / 1000000;
}

static void host_shutdown(void *context, bool keep)
{
	struct engine *engine = context;

	shutdown_begin(engine->shutdown, keep, keep ? "a client asked; processes are left running" : "a client asked");
}

static void host_set_log_level(void *context, enum log_level level)
{
	log_set_level(level);
}

static int host_upgrade(void *context, const char *path, service_upgraded_fn done, void *arg, struct err *err)
{
	struct engine *engine = context;

	return upgrade_begin(engine->upgrade, path, done, arg, err);
}

static bool host_no_new_privs(void *context, const struct peer *peer)
{
	struct engine *engine = context;

	return control_no_new_privs(engine->control, peer);
}

static bool host_may(void *context, const struct peer *peer, enum right right)
{
	struct engine *engine = context;

	return control_may(engine->control, peer, right);
}

static bool host_is_master(void *context, const struct peer *peer)
{
	struct engine *engine = context;

	return control_is_master(engine->control, peer);
}

/* A daemon that cannot change ids starts everything with its own. */
static int host_run_as(void *context, const struct peer *peer, const struct spec *spec, struct err *err)
{
	struct engine *engine = context;
	struct client_ids ids = {.uid = spec->uid, .gid = spec->gid, .groups = spec->groups, .group_count = spec->group_count};

	if (!spec->set_ids) {
		ids.uid = geteuid();
		ids.gid = ACCESS_GID_ANY;
	}
	if (spec->set_nice && control_nice(engine->control, peer, spec->nice, err) < 0)
		return -EPERM;
	return control_run_as(engine->control, peer, &ids, err);
}

const struct service_host engine_service_host = {
	.facts = host_facts,
	.shutdown = host_shutdown,
	.set_log_level = host_set_log_level,
	.upgrade = host_upgrade,
	.no_new_privs = host_no_new_privs,
	.may = host_may,
	.is_master = host_is_master,
	.run_as = host_run_as,
};
