/*
 * Who may do what. Connecting is for the daemon's own user and for root, who may do everything, and for whom the
 * configuration grants a role. A client that the kernel shows in another mount, pid or user namespace would have its paths,
 * pids and ids understood in ours, so it may do nothing unless the daemon was told to allow that; one whose namespaces cannot
 * be seen may do everything but start something.
 *
 * Rights are about all objects. That a client may observe, attach to and signal what it made itself is decided where the
 * object is known (service/rights.c): of a method with `own`, this room says no only to who may not connect.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/err.h"
#include "engine/grants.h"
#include "rpc/method.h"

#define ACCESS_GID_ANY ((gid_t)-1)

/* What decides. All is borrowed, and may change while running. */
struct access_rules {
	uid_t own;        /* the daemon's user */
	const char *proc; /* "/proc" but in tests */
	const bool *allow_foreign_ns;
	const struct grants *grants;
};

enum namespaces { NAMESPACES_UNKNOWN, NAMESPACES_SAME, NAMESPACES_FOREIGN };

/* What the kernel said of a client; what /proc says is looked up once, when it is needed first. */
struct access_client {
	struct client_ids ids;
	pid_t pid; /* 0: it has no pid in our namespace */
	int pidfd; /* borrowed; -1 when there is none */
	bool looked_up;
	bool no_new_privs;
	enum namespaces namespaces;
	char why[200]; /* when they are not the same, or nobody can tell */
};

/* Asks the kernel who connected (SO_PEERCRED, SO_PEERGROUPS). 0, or -errno. access_finish frees what it holds. */
int access_read(struct access_client *client, int socket);
void access_finish(struct access_client *client);

/* May such a client connect? */
bool access_may_connect(const struct access_rules *rules, const struct access_client *client);

/* Is it root or the daemon's own user? */
bool access_is_master(const struct access_rules *rules, const struct access_client *client);

/* May this client do such things to any object? */
bool access_may(const struct access_rules *rules, const struct access_client *client, enum right right);

/* May this client call this method? 0, or negative with PERMISSION_DENIED. */
int access_authorize(const struct access_rules *rules, struct access_client *client, const struct method *method, struct err *err);

/* Whether the children of this client must have no_new_privs; true when nobody can tell. */
bool access_no_new_privs(const struct access_rules *rules, struct access_client *client);

/*
 * May this client's process have these ids? Its own uid, gid and groups; anything for root; else what run-as grants. Without
 * `groups` it gets those of the user in the group database; with ACCESS_GID_ANY the daemon's own gid. 0, or negative with PERMISSION_DENIED
 * naming the field.
 */
int access_run_as(const struct access_rules *rules, const struct access_client *client, const struct client_ids *ids, struct err *err);

/* May its process be given this niceness? Below 0 only by root and the daemon's own user, whom the kernel judges. */
int access_nice(const struct access_rules *rules, const struct access_client *client, int nice, struct err *err);
