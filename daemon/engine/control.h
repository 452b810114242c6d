/*
 * The client-facing socket: accepts, checks who it is, makes peers. Pauses when there are too many clients or no
 * descriptors; whoever waits then waits in the kernel's backlog, and those that are connected notice nothing.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/access.h"
#include "rpc/peer.h"

struct control;
struct loop;
struct quotas;

struct control_config {
	struct loop *loop;
	int socket; /* listening, O_NONBLOCK; borrowed */
	struct method_table methods;
	size_t clients_max;
	struct quotas *quotas; /* NULL: none */
	struct access_rules access;
	uint64_t stall_ms;
	void (*on_gone)(void *context, struct peer *peer); /* a client is gone; before its memory goes */
	void (*on_count)(void *context, size_t clients);   /* a client came or went */
	/* Somebody may not connect (method is NULL), for want of a role or beyond a quota, or may not call a method. */
	void (*on_refused)(void *context, uid_t uid, pid_t pid, const struct method *method, const char *why);
	void *context;
};

struct control *control_create(const struct control_config *config);
void control_destroy(struct control *control); /* NULL is fine; closes all clients first */

size_t control_clients(const struct control *control);
bool control_may(struct control *control, const struct peer *peer, enum right right);
/* Is it root or the daemon's own user? */
bool control_is_master(struct control *control, const struct peer *peer);
/* May its processes have these ids? 0, or negative with *err (access_run_as). */
int control_run_as(struct control *control, const struct peer *peer, const struct client_ids *ids, struct err *err);
/* The same of a niceness (access_nice). */
int control_nice(struct control *control, const struct peer *peer, int nice, struct err *err);
bool control_no_new_privs(struct control *control, const struct peer *peer);

/* Accepts no more, for good. */
void control_stop(struct control *control);
void control_close_all(struct control *control, const char *why);
/* Nothing waits any more to be read by a client. */
bool control_is_flushed(const struct control *control);
/* Bytes held for clients in all. */
size_t control_memory(const struct control *control);
