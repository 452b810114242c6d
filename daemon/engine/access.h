/*
 * Who may do what. Connecting is for the daemon's own user and for root, and they may do everything, with one exception:
 * a client in another mount, pid or user namespace would have its paths, pids and ids understood in ours, so it may not
 * start anything unless the daemon was told to allow that.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/err.h"
#include "rpc/method.h"

/* What the kernel said of a client; what /proc says is looked up once, when it is needed first. */
struct access_client {
	uid_t uid;
	pid_t pid; /* 0: it has no pid in our namespace */
	int pidfd; /* borrowed; -1 when there is none */
	bool looked_up;
	bool no_new_privs;
	bool same_namespaces;
	char why[200]; /* when they are not the same, or nobody can tell */
};

/* May a process of this uid connect to a daemon that runs as `own`? */
bool access_may_connect(uid_t uid, uid_t own);

/* May this client do such things? false: client->why says why not. `proc` is "/proc" but in tests. */
bool access_may(struct access_client *client, const char *proc, bool allow_foreign_ns, enum right right);

/* May this client call this method? 0, or negative with PERMISSION_DENIED. */
int access_authorize(struct access_client *client, const char *proc, bool allow_foreign_ns, const struct method *method, struct err *err);

/* Whether the children of this client must have no_new_privs; true when nobody can tell. */
bool access_no_new_privs(struct access_client *client, const char *proc);
