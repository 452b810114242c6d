/*
 * What the configuration file gives to users that are neither the daemon's own nor root:
 *
 *   grant = uid:1001 observe attach       roles, of a user or of the members of a group
 *   grant = gid:50 spawn
 *   run-as = uid:1001 uid:33 gid:33       other ids that its processes may have
 *
 * Lines add up. A role is for all objects of the daemon, whosever they are; what a client made itself is its own in any case.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/err.h"
#include "rpc/method.h"

#define RIGHTS_ALL (RIGHT_OBSERVE | RIGHT_ATTACH | RIGHT_SIGNAL | RIGHT_SPAWN | RIGHT_ADMIN)

/* "uid:1001" or "gid:50". */
struct identity {
	bool group;
	id_t id;
};

struct grant {
	struct identity to;
	unsigned rights;
};

struct run_as {
	struct identity who, as;
};

/* Zeroed: nothing is granted. */
struct grants {
	struct grant *grants;
	size_t grant_count;
	struct run_as *run_as;
	size_t run_as_count;
};

/* The ids of a client. */
struct client_ids {
	uid_t uid;
	gid_t gid;
	gid_t *groups; /* supplementary ones */
	size_t group_count;
};

/* One line of the file, what stands behind `=`. 0, or -EINVAL with a sentence in *err. */
int grants_read_grant(struct grants *grants, const char *value, struct err *err);
int grants_read_run_as(struct grants *grants, const char *value, struct err *err);
void grants_finish(struct grants *grants);

/* Whether anybody but the daemon's own user and root may connect. */
bool grants_any(const struct grants *grants);
/* Bits of enum right. */
unsigned grants_rights(const struct grants *grants, const struct client_ids *client);
bool grants_run_as(const struct grants *grants, const struct client_ids *client, struct identity as);
/* Whether the client is in the group. */
bool client_has_group(const struct client_ids *client, gid_t gid);
