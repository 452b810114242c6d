/*
 * What the configuration file lets users have:
 *
 *   quota = uid:1001 processes=100 memory=64M
 *   quota = others connections=20           every user that has no number of its own, but root and the daemon's own
 *
 * Lines add up, and the last one that names a quota holds. A number may end in K, M, G or T (1024 each); "unlimited" is one
 * too. What no line names is a quarter of what there is for other users, and nothing for root and the daemon's own.
 */
#pragma once

#include <stddef.h>
#include <sys/types.h>

#include "base/err.h"
#include "base/quota.h"

/* One user's, or (everybody) that of all others. */
struct limit {
	bool everybody;
	uid_t uid;
	enum quota quota;
	uint64_t value;
};

/* Zeroed: nothing is named. */
struct limits {
	struct limit *items;
	size_t count;
};

/* One line of the file, what stands behind `=`. 0, or -EINVAL with a sentence in *err. */
int limits_read(struct limits *limits, const char *value, struct err *err);
void limits_finish(struct limits *limits);

/* What there is of each for other users by default: of descriptors, of connections, and of what the machine has. */
void limits_default(unsigned fds_limit, unsigned clients_max, struct quota_limits *out);
/* The limits of a user; `master`: it is root or the daemon's own. */
void limits_of(const struct limits *limits, const struct quota_limits *others, uid_t uid, bool master, struct quota_limits *out);
