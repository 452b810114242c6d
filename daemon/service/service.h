/*
 * What clients can ask for: every service of spawnd.v1 on top of the process room. The engine makes one, hands its table of
 * methods to the connections, and answers what only the engine knows.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/log.h"
#include "rpc/method.h"

struct children;
struct loop;
struct peer;
struct pools;
struct quotas;
struct service;
struct spec;

/* Facts of the daemon as a whole, for Stats and Metrics. Strings are borrowed until the end of this turn of the loop. */
struct service_facts {
	const char *socket;
	const char *log; /* path; "": stderr */
	pid_t keeper_pid, engine_pid;
	unsigned engine_restarts;
	unsigned launchers;
	size_t clients;
	size_t client_bytes; /* held for clients by rpc and wire */
	uint64_t rss_bytes, keeper_rss_bytes;
	unsigned fds, fds_limit;
	const char *const *degraded;
	size_t degraded_count;
	uint64_t uptime_ms;
};

/* The outcome of an upgrade: err is NULL and this engine leaves, or it goes on. */
typedef void (*service_upgraded_fn)(void *arg, int32_t pid, const char *version, const struct err *err);

/* What services ask of the engine. None may be NULL. */
struct service_host {
	void (*facts)(void *context, struct service_facts *facts_out); /* facts_out is zeroed before */
	/* Begins the orderly end, at the end of this turn; the answer to the client is sent already. */
	void (*shutdown)(void *context, bool keep);
	void (*set_log_level)(void *context, enum log_level level);
	/* Another engine, of the program at path ("": what is installed), takes over. `done` comes once, later, unless an error is
	 * returned. */
	int (*upgrade)(void *context, const char *path, service_upgraded_fn done, void *arg, struct err *err);
	/* Has this client no_new_privs? Then its children have it too. */
	bool (*no_new_privs)(void *context, const struct peer *peer);
	/* May this client do such things to any object? */
	bool (*may)(void *context, const struct peer *peer, enum right right);
	/* Is the client root or the daemon's own user? */
	bool (*is_master)(void *context, const struct peer *peer);
	/* May a process of this client have the ids and the niceness of this spec? 0, or negative with PERMISSION_DENIED in *err. */
	int (*run_as)(void *context, const struct peer *peer, const struct spec *spec, struct err *err);
};

struct service_config {
	struct ledger *ledger;       /* acts are remembered there; NULL: by this engine only */
	_Atomic uint64_t *event_seq; /* outlives the engine; NULL: events begin at 1 */
	const char *state_dir;       /* NULL: nothing can be persisted */
	struct loop *loop;
	struct quotas *quotas;     /* what users have and may have; NULL: nobody counts */
	struct children *children; /* service observes it (children_observe) until it is destroyed */
	struct pools *pools;
	const struct service_host *host;
	void *context; /* first argument of the host's functions */
};

/*
 * One at a time: handlers of methods have no context of their own. Destroy it after the last peer and before the children. NULL with
 * *err when the state directory cannot be used.
 */
struct service *service_create(const struct service_config *config, struct err *err);
/* Starts what is persisted: once, by the first engine of a daemon. */
void service_start_persisted(struct service *service);
void service_destroy(struct service *service); /* NULL is fine */

struct method_table service_methods(const struct service *service);

/* From peer_observer.on_gone: the session of this connection has lost it. Every peer must be told. */
void service_peer_gone(struct service *service, struct peer *peer);

/*
 * The daemon ends: connections that are closed from now on are closed by us, so that nobody's on_disconnect is due. To be
 * called before the clients are closed.
 */
void service_ending(struct service *service);

/* A client was refused something before a handler was asked: told in the log and as an event. pid 0: unknown. */
void service_refused(struct service *service, uid_t uid, pid_t pid, const char *method, const char *why);
