/*
 * The engine: everything that talks, on one loop. engine.c puts the parts together and answers for them to each other;
 * this header is for the files of this room that see several parts at once.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/paths.h"
#include "engine/daemonlog.h"
#include "engine/degraded.h"
#include "engine/options.h"
#include "process/host.h"

struct autoexit;
struct children;
struct control;
struct keeper;
struct launch;
struct pools;
struct loop;
struct quotas;
struct ledger;
struct service;
struct service_host;
struct shutdown;
struct slots;
struct upgrade;

struct engine {
	int argc;
	char *const *argv; /* read again on SIGHUP */
	struct options options;
	char socket_path[PATHS_SOCKET_MAX + 1];
	char log_path[DAEMONLOG_PATH_MAX]; /* "": the log goes to the stderr we were started with */
	bool own_dir;                      /* the directory of the socket is nobody else's business */
	int socket_fd, lock_fd;            /* owned; the keeper has duplicates */
	int log_fd;                        /* owned; until stderr is it; -1 */
	unsigned fds_left, fds_looks;      /* as counted last; how often more that is good enough */
	unsigned fds_limit;
	int64_t started_ns; /* CLOCK_BOOTTIME */
	int exit_status;
	struct loop *loop;
	struct keeper *keeper;
	struct slots *slots;
	struct launch *launch;
	struct ledger *ledger;
	struct quotas *quotas;
	struct quota_limits limits_others; /* of users other than root and the daemon's own, by default */
	struct process_host process_host;
	struct children *children;
	struct pools *pools;
	struct service *service;
	struct control *control;
	struct autoexit *autoexit;
	struct shutdown *shutdown;
	struct upgrade *upgrade;
	struct degraded degraded;
};

/* Serves until it is told to end. link_fd: the link to the keeper (taken). Returns the exit status. */
int engine_run(int argc, char *const *argv, int link_fd);

/* hosts.c: what process and service ask of the engine. */
void engine_fill_process_host(struct engine *engine);
extern const struct service_host engine_service_host; /* its context is the engine */
