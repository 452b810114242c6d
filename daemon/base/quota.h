/*
 * What each user holds of what all users share. Whoever makes something for a user checks first; what is there is counted in
 * a charge that is embedded in it, and leaves the account with it. Counting never fails, so what exists is always counted, also
 * when a limit was lowered meanwhile or the thing was taken over from an earlier process.
 *
 * A charge that was not begun, or begun without quotas, is of nobody: nothing is counted and everything is allowed.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"

enum quota { QUOTA_PROCESSES, QUOTA_DESCRIPTORS, QUOTA_LOG_BYTES, QUOTA_CONNECTIONS, QUOTA_MEMORY, QUOTA_COUNT };

#define QUOTA_UNLIMITED UINT64_MAX

struct quota_limits {
	uint64_t of[QUOTA_COUNT];
};

struct quotas;
struct quota_user;

/* The limits of a user; asked for when the user comes up, and again by quotas_refresh. */
typedef void (*quota_limits_fn)(void *context, uid_t uid, struct quota_limits *limits_out);

struct quotas *quotas_create(quota_limits_fn limits, void *context);
void quotas_destroy(struct quotas *quotas); /* NULL is fine; every charge has ended */
void quotas_refresh(struct quotas *quotas);
/* May this user have so much more? As charge_check. */
int quotas_check(struct quotas *quotas, uid_t uid, enum quota quota, uint64_t amount, struct err *err);

/* What one thing counts as. Embedded; zeroed. */
struct charge {
	struct quota_user *user; /* NULL: nobody counts */
	uint64_t of[QUOTA_COUNT];
};

void charge_begin(struct charge *charge, struct quotas *quotas /* may be NULL */, uid_t uid);
void charge_end(struct charge *charge); /* it counts nothing any more; may be ended again */

/* May the thing count as `amount`? 0, or negative with RESOURCE_EXHAUSTED naming the quota, the user and the limit. */
int charge_check(const struct charge *charge, enum quota quota, uint64_t amount, struct err *err);
void charge_set(struct charge *charge, enum quota quota, uint64_t amount);
/* How much more the user of the charge may have; 0 also when it has too much. */
uint64_t charge_left(const struct charge *charge, enum quota quota);
/* Whether the user has more than it may. 0, or as charge_check. */
int charge_over(const struct charge *charge, enum quota quota, struct err *err);

/* ---- facts ---- */

const char *quota_name(enum quota quota);                              /* "log-bytes" */
bool quota_of(const char *name, size_t length, enum quota *quota_out); /* false: there is none of that name */
uid_t quota_uid(const struct quota_user *user);
uint64_t quota_used(const struct quota_user *user, enum quota quota);
uint64_t quota_limit(const struct quota_user *user, enum quota quota);
/* The users that hold something, in no order. NULL: the first. */
const struct quota_user *quotas_next(const struct quotas *quotas, const struct quota_user *after);
