/*
 * Puts the engine together, in the order of what depends on what: link, journal, instance, launchers, processes, services,
 * socket. Then it serves. Failures before that are told on stderr and to the keeper, which ends with the same status.
 */
#include "engine/engine.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/failpoint.h"
#include "base/ledger.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/mem.h"
#include "base/signals.h"
#include "engine/autoexit.h"
#include "engine/control.h"
#include "engine/fds.h"
#include "engine/instance.h"
#include "engine/keeper.h"
#include "engine/launch.h"
#include "engine/recover.h"
#include "engine/shutdown.h"
#include "engine/slots.h"
#include "engine/upgrade.h"
#include "pool/pool.h"
#include "process/child.h"
#include "service/service.h"

#define STALL_MS 60000u
#define LAUNCHER_STUCK_MS 1000u
#define LAUNCHER_REST_MS 30000u
#define CREW_MAX 4u
#define EXIT_USAGE 2
#define EXIT_KEEPER_LOST EX_SOFTWARE

/* A slot has its exit record: to whom it belongs. */
static void on_exited(void *context, uint32_t slot)
{
	struct engine *engine = context;

	if (slot >= JOURNAL_SLOTS || atomic_load(&slots_get(engine->slots, slot)->state) != JOURNAL_EXITED)
		return; /* a doorbell that a rescan overtook */
	if (!slots_on_exit(engine->slots, slot))
		children_on_exit(engine->children, slot);
}

static void on_rescan(void *context)
{
	struct engine *engine = context;

	for (uint32_t slot = slots_next_used(engine->slots, 0); slot < JOURNAL_SLOTS; slot = slots_next_used(engine->slots, slot + 1))
		if (atomic_load(&slots_get(engine->slots, slot)->state) == JOURNAL_EXITED)
			on_exited(engine, slot);
}

static void on_launcher_started(void *context, uint32_t index, int32_t pid, int error, int fd)
{
	struct engine *engine = context;

	launch_on_started(engine->launch, index, pid, error, fd);
}

static void on_launcher_exited(void *context, uint32_t index, int32_t pid, int status)
{
	struct engine *engine = context;

	launch_on_exited(engine->launch, index, pid, status);
}

static void on_terminate(void *context)
{
	struct engine *engine = context;

	shutdown_begin(engine->shutdown, false, "the keeper was asked to end");
}

/* Lets others reach the socket when anything is granted to them. That they may not is no reason not to serve. */
static void open_to_others(struct engine *engine)
{
	struct err err;

	if (instance_open(engine->socket_path, engine->own_dir, grants_any(&engine->options.grants), &err) < 0)
		log_(LOG_WARNING, "socket: %s", err.message);
}

/* The options again; what can change while running does. */
static void on_reload(void *context)
{
	struct engine *engine = context;
	struct options options;
	struct err err;

	if (options_read(&options, engine->argc, engine->argv, &err) < 0) {
		log_(LOG_ERROR, "configuration: %s; nothing was changed", err.message);
		return;
	}
	log_set_level(options.log_level);
	engine->options.allow_foreign_ns = options.allow_foreign_ns;
	grants_finish(&engine->options.grants);
	engine->options.grants = options.grants;
	options.grants = (struct grants){0};
	limits_finish(&engine->options.limits);
	engine->options.limits = options.limits;
	options.limits = (struct limits){0};
	quotas_refresh(engine->quotas);
	open_to_others(engine);
	if (engine->options.idle_exit_ms != options.idle_exit_ms)
		autoexit_set(engine->autoexit, options.idle_exit_ms);
	engine->options.idle_exit_ms = options.idle_exit_ms;
	log_(LOG_INFO, "configuration: read again");
	options_finish(&options);
}

static int on_offer(void *context, int journal, int ledger, struct err *err)
{
	return upgrade_check(journal, ledger, err);
}

static void on_upgraded(void *context, int32_t pid, const char *version, const char *why)
{
	struct engine *engine = context;

	upgrade_on_answer(engine->upgrade, pid, version, why);
}

/* Nobody is left who reaps and signals: children run on, but nothing can be promised about them any more. */
static void on_keeper_lost(void *context)
{
	struct engine *engine = context;

	log_(LOG_ERROR, "the keeper is gone: its children run on unmanaged, and so this daemon ends");
	engine->exit_status = EXIT_KEEPER_LOST;
	loop_stop(engine->loop);
}

static const struct keeper_observer keeper_observer = {
	.on_exited = on_exited,
	.on_rescan = on_rescan,
	.on_launcher_started = on_launcher_started,
	.on_launcher_exited = on_launcher_exited,
	.on_terminate = on_terminate,
	.on_reload = on_reload,
	.on_offer = on_offer,
	.on_upgraded = on_upgraded,
	.on_lost = on_keeper_lost,
};

static int launch_start(void *context, uint32_t index)
{
	struct engine *engine = context;

	return keeper_start_launcher(engine->keeper, index);
}

static int32_t launch_pid(void *context, uint32_t slot)
{
	struct engine *engine = context;

	return slots_pid(engine->slots, slot);
}

static struct journal_slot *launch_slot(void *context, uint32_t slot)
{
	struct engine *engine = context;

	return slots_get(engine->slots, slot);
}

static struct launch_host launch_host = {
	.stuck_ms = LAUNCHER_STUCK_MS,
	.rest_ms = LAUNCHER_REST_MS,
	.start = launch_start,
	.pid = launch_pid,
	.slot = launch_slot,
};

/* One more launcher than cores, within reason. */
static unsigned crew_size(void)
{
	long cores = sysconf(_SC_NPROCESSORS_ONLN);

	return cores < 1 ? 2 : cores + 1 < CREW_MAX ? (unsigned)cores + 1 : CREW_MAX;
}

static bool is_busy(void *context)
{
	struct engine *engine = context;

	return control_clients(engine->control) > 0 || children_running(engine->children) > 0 || pools_count(engine->pools) > 0;
}

static void on_idle(void *context)
{
	struct engine *engine = context;

	shutdown_begin(engine->shutdown, true, "no clients and no processes for the time of --idle-exit");
}

static const struct autoexit_host autoexit_host = {.busy = is_busy, .on_idle = on_idle};

static void on_client_gone(void *context, struct peer *peer)
{
	struct engine *engine = context;

	service_peer_gone(engine->service, peer);
}

static void on_client_count(void *context, size_t clients)
{
	struct engine *engine = context;

	autoexit_touch(engine->autoexit);
}

static void on_client_refused(void *context, uid_t uid, pid_t pid, const struct method *method, const char *why)
{
	struct engine *engine = context;

	service_refused(engine->service, uid, pid, method ? method->name : "connect", why);
}

/* Path, lock and socket: the keeper's, when an earlier engine had them, else new ones. */
static int claim_instance(struct engine *engine, const struct own_fds *own, struct err *err)
{
	const char *named = engine->options.socket;
	bool given = named || (getenv("SPAWND_SOCKET") && *getenv("SPAWND_SOCKET"));
	int done;

	engine->lock_fd = own->lock;
	engine->socket_fd = own->socket;
	done = named ? paths_check_length(named, err) : paths_socket(engine->socket_path, sizeof(engine->socket_path), err);
	if (done < 0)
		return done;
	if (named)
		strcpy(engine->socket_path, named);
	engine->own_dir = !given;
	if (engine->lock_fd < 0) {
		done = instance_prepare(engine->socket_path, !given, err);
		if (done < 0)
			return done;
		engine->lock_fd = instance_lock(engine->socket_path, keeper_pid(engine->keeper), err);
		if (engine->lock_fd < 0)
			return engine->lock_fd;
		done = keeper_store_put(engine->keeper, STORE_LOCK, 0, 0, &engine->lock_fd, 1, err);
		if (done < 0)
			return done;
	}
	if (engine->socket_fd < 0) {
		engine->socket_fd = instance_listen(engine->socket_path, err);
		if (engine->socket_fd < 0)
			return engine->socket_fd;
		return keeper_store_put(engine->keeper, STORE_SOCKET, 0, 0, &engine->socket_fd, 1, err);
	}
	return 0;
}

/*
 * The log file of a daemon in the background; a daemon without one serves all the same. Who waits in front sees the start, so
 * it becomes stderr, the keeper's too, when we serve.
 */
static void open_log(struct engine *engine)
{
	struct err err;

	if (!keeper_in_background(engine->keeper))
		return;
	daemonlog_path(engine->socket_path, engine->log_path);
	engine->log_fd = daemonlog_open(engine->log_path, &err);
	if (engine->log_fd >= 0)
		return;
	engine->log_fd = -1;
	engine->log_path[0] = 0;
	log_(LOG_WARNING, "there will be no log: %s", err.message);
}

static void switch_log(struct engine *engine)
{
	if (engine->log_fd < 0)
		return;
	log_flush();
	dup2(engine->log_fd, STDERR_FILENO);
	fd_close(&engine->log_fd);
}

/* The ledger of an earlier engine, or a new one. 0, or negative with *err. */
static int open_ledger(struct engine *engine, int fd, struct err *err)
{
	_cleanup_fd_ int copy = -1;

	engine->ledger = fd >= 0 ? ledger_open(fd, err) : ledger_create(&copy, err);
	if (!engine->ledger)
		return -EINVAL;
	return copy >= 0 ? keeper_store_put(engine->keeper, STORE_LEDGER, 0, 0, &copy, 1, err) : 0;
}

/* Takes what the keeper has and claims the instance. The list is the caller's, in any case. */
static int take_over(struct engine *engine, struct stored_list *list, struct err *err)
{
	struct own_fds own;
	int done = keeper_welcome(engine->keeper, list, err);

	if (done < 0)
		return done;
	recover_own_fds(list, &own);
	if (own.journal < 0)
		err_set(err, STATUS_INTERNAL, "the keeper has no journal");
	else
		engine->slots = slots_create(own.journal, keeper_restarts(engine->keeper) == 0, err);
	fd_close(&own.journal); /* it is mapped */
	if (engine->slots) {
		done = open_ledger(engine, own.ledger, err);
		if (done == 0)
			done = claim_instance(engine, &own, err);
		if (done == 0)
			open_log(engine);
		return done;
	}
	fd_close(&own.ledger);
	fd_close(&own.lock);
	fd_close(&own.socket);
	return -EINVAL;
}

static void limits_of_user(void *context, uid_t uid, struct quota_limits *out)
{
	const struct engine *engine = context;

	limits_of(&engine->options.limits, &engine->limits_others, uid, uid == 0 || uid == geteuid(), out);
}

/* Everything that stands on the journal and the socket. */
static int build(struct engine *engine, struct stored_list *list, struct err *err)
{
	struct recovery recovery = {.keeper = engine->keeper, .slots = engine->slots, .ledger = engine->ledger, .list = list};
	struct control_config control = {
		.loop = engine->loop,
		.socket = engine->socket_fd,
		.clients_max = fds_clients_max(engine->fds_limit),
		.access = {geteuid(), "/proc", &engine->options.allow_foreign_ns, &engine->options.grants},
		.stall_ms = STALL_MS,
		.on_gone = on_client_gone,
		.on_count = on_client_count,
		.on_refused = on_client_refused,
		.context = engine,
	};
	struct service_config service = {
		.loop = engine->loop, .state_dir = engine->options.state_dir, .host = &engine_service_host, .context = engine};

	engine->shutdown = shutdown_create(engine);
	engine->upgrade = upgrade_create(engine);
	launch_host.crew = crew_size();
	engine->launch = launch_create(engine->loop, &launch_host, engine);
	limits_default(engine->fds_limit, fds_clients_max(engine->fds_limit), &engine->limits_others);
	control.quotas = service.quotas = engine->quotas = quotas_create(limits_of_user, engine);
	engine_fill_process_host(engine);
	engine->children = children_create(&engine->process_host, err);
	if (!engine->children)
		return -EINVAL;
	recovery.children = service.children = engine->children;
	recovery.pools = service.pools = engine->pools = pools_create(engine->children);
	recover_children(&recovery);
	failpoint("recover-made");
	service.ledger = engine->ledger;
	service.event_seq = slots_event_seq(engine->slots);
	engine->service = service_create(&service, err);
	if (!engine->service && keeper_restarts(engine->keeper)) { /* what runs comes first */
		log_(LOG_ERROR, "%s; nothing can be persisted", err->message);
		service.state_dir = NULL;
		engine->service = service_create(&service, err);
	}
	if (!engine->service)
		return -EINVAL;
	control.methods = service_methods(engine->service);
	engine->autoexit = autoexit_create(engine->loop, &autoexit_host, engine);
	engine->control = control_create(&control);
	degraded_probe(&engine->degraded, keeper_pid(engine->keeper), children_tree_method(engine->children), engine->fds_limit);
	return 0;
}

/* Serves until the loop is stopped. */
static void serve(struct engine *engine)
{
	open_to_others(engine);
	keeper_start(engine->keeper);
	pools_start(engine->pools);
	children_resume(engine->children);
	failpoint("recover-resumed");
	autoexit_set(engine->autoexit, engine->options.idle_exit_ms);
	on_rescan(engine); /* what ended while no engine was there */
	slots_settle(engine->slots);
	if (keeper_restarts(engine->keeper) == 0)
		service_start_persisted(engine->service);
	keeper_ready(engine->keeper, engine->log_fd);
	switch_log(engine);
	log_(LOG_INFO, "serving %s (keeper %d, restarts %u, %u descriptors)", engine->socket_path, (int)keeper_pid(engine->keeper),
		keeper_restarts(engine->keeper), engine->fds_limit);
	for (size_t i = 0; i < engine->degraded.count; i++)
		log_(LOG_INFO, "degraded: %s", engine->degraded.items[i]);
	loop_run(engine->loop);
}

static void stop_loop(void *arg)
{
	loop_stop(arg);
}

/* Lets what was put off to the end of the turn happen. */
static void finish_turn(struct loop *loop)
{
	struct loop_defer *last = loop_defer_create(loop, stop_loop, loop);

	loop_defer_trigger(last);
	loop_run(loop);
	loop_defer_destroy(last);
}

/* Takes everything down, in reverse order. */
static void tear_down(struct engine *engine)
{
	if (engine->autoexit)
		autoexit_set(engine->autoexit, 0); /* it looks at the clients */
	control_destroy(engine->control);
	finish_turn(engine->loop);
	service_destroy(engine->service);
	pools_destroy(engine->pools);
	children_destroy(engine->children);
	quotas_destroy(engine->quotas);
	launch_destroy(engine->launch);
	autoexit_destroy(engine->autoexit);
	shutdown_destroy(engine->shutdown);
	upgrade_destroy(engine->upgrade);
	ledger_close(engine->ledger);
	slots_destroy(engine->slots);
	degraded_finish(&engine->degraded);
	fd_close(&engine->socket_fd);
	fd_close(&engine->lock_fd);
	fd_close(&engine->log_fd);
	options_finish(&engine->options);
}

/* Says why nothing came of it, and has the keeper end with the same status. */
static int give_up(struct engine *engine, const struct err *err, int status)
{
	log_flush();
	fprintf(stderr, "spawnd: %s\n", err->message);
	if (engine->keeper)
		keeper_shut_down(engine->keeper, status, err->message);
	return status;
}

/* The whole life, with the link and the loop there. */
static int live(struct engine *engine)
{
	struct stored_list list = {0};
	struct err err = {0};
	int done;

	if (options_read(&engine->options, engine->argc, engine->argv, &err) < 0)
		return give_up(engine, &err, EXIT_USAGE);
	log_set_level(engine->options.log_level);
	done = take_over(engine, &list, &err);
	if (done == 0)
		done = build(engine, &list, &err);
	stored_list_finish(&list);
	if (done < 0)
		return give_up(engine, &err, EXIT_FAILURE);
	serve(engine);
	if (engine->exit_status != EXIT_KEEPER_LOST) {
		service_ending(engine->service);
		control_close_all(engine->control, "the daemon ends");
		instance_remove(engine->socket_path);
		keeper_shut_down(engine->keeper, EXIT_SUCCESS, NULL);
	}
	return engine->exit_status;
}

int engine_run(int argc, char *const *argv, int link_fd)
{
	struct engine engine = {.argc = argc, .argv = argv, .socket_fd = -1, .lock_fd = -1, .log_fd = -1, .started_ns = clock_boot_ns()};
	struct err err = {0};
	int status;

	signals_ignore_stray(); /* what is meant for the daemon goes to the keeper */
	log_set_name("spawnd");
	engine.fds_limit = fd_raise_limit();
	engine.loop = loop_create();
	if (!engine.loop) {
		err_errno(&err, EMFILE, "epoll_create", NULL);
		fd_close(&link_fd);
		return give_up(&engine, &err, EXIT_FAILURE);
	}
	engine.keeper = keeper_create(engine.loop, link_fd, &keeper_observer, &engine);
	status = live(&engine);
	tear_down(&engine);
	keeper_destroy(engine.keeper);
	loop_destroy(engine.loop);
	return status;
}
