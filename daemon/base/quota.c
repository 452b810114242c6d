/* See quota.h. Users stand in a hash for as long as a charge is theirs. */
#include "base/quota.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>
#include <uthash.h>

#include "base/mem.h"

struct quota_user {
	UT_hash_handle hh; /* quotas::users, by uid */
	struct quotas *quotas;
	uid_t uid;
	unsigned charges;
	uint64_t used[QUOTA_COUNT];
	struct quota_limits limits;
};

struct quotas {
	struct quota_user *users;
	quota_limits_fn limits;
	void *context;
};

static const char *const names[QUOTA_COUNT] = {
	[QUOTA_PROCESSES] = "processes",
	[QUOTA_DESCRIPTORS] = "descriptors",
	[QUOTA_LOG_BYTES] = "log-bytes",
	[QUOTA_CONNECTIONS] = "connections",
	[QUOTA_MEMORY] = "memory",
};

struct quotas *quotas_create(quota_limits_fn limits, void *context)
{
	struct quotas *quotas = mem_alloc(sizeof(*quotas));

	quotas->limits = limits;
	quotas->context = context;
	return quotas;
}

void quotas_destroy(struct quotas *quotas)
{
	if (!quotas)
		return;
	assert(!quotas->users);
	free(quotas);
}

void quotas_refresh(struct quotas *quotas)
{
	for (struct quota_user *user = quotas->users; user; user = user->hh.next)
		quotas->limits(quotas->context, user->uid, &user->limits);
}

int quotas_check(struct quotas *quotas, uid_t uid, enum quota quota, uint64_t amount, struct err *err)
{
	struct charge charge = {0};
	int done;

	charge_begin(&charge, quotas, uid);
	done = charge_check(&charge, quota, amount, err);
	charge_end(&charge);
	return done;
}

/* ---- charges ---- */

void charge_begin(struct charge *charge, struct quotas *quotas, uid_t uid)
{
	struct quota_user *user;

	*charge = (struct charge){0};
	if (!quotas)
		return;
	HASH_FIND(hh, quotas->users, &uid, sizeof(uid), user);
	if (!user) {
		user = mem_alloc(sizeof(*user));
		user->quotas = quotas;
		user->uid = uid;
		quotas->limits(quotas->context, uid, &user->limits);
		HASH_ADD(hh, quotas->users, uid, sizeof(user->uid), user);
	}
	user->charges++;
	charge->user = user;
}

void charge_end(struct charge *charge)
{
	struct quota_user *user = charge->user;

	if (!user)
		return;
	for (enum quota quota = 0; quota < QUOTA_COUNT; quota++)
		charge_set(charge, quota, 0);
	charge->user = NULL;
	if (--user->charges > 0)
		return;
	HASH_DEL(user->quotas->users, user);
	free(user);
}

static int refuse(const struct quota_user *user, enum quota quota, uint64_t more, struct err *err)
{
	return err_set(err, STATUS_RESOURCE_EXHAUSTED, "quota %s of uid %u is %" PRIu64 ": %" PRIu64 " in use, %" PRIu64 " more asked for",
		names[quota], (unsigned)user->uid, user->limits.of[quota], user->used[quota], more);
}

int charge_check(const struct charge *charge, enum quota quota, uint64_t amount, struct err *err)
{
	uint64_t more = amount > charge->of[quota] ? amount - charge->of[quota] : 0;

	return more <= charge_left(charge, quota) ? 0 : refuse(charge->user, quota, more, err);
}

void charge_set(struct charge *charge, enum quota quota, uint64_t amount)
{
	struct quota_user *user = charge->user;

	if (!user)
		return;
	assert(user->used[quota] >= charge->of[quota]);
	user->used[quota] += amount - charge->of[quota];
	charge->of[quota] = amount;
}

uint64_t charge_left(const struct charge *charge, enum quota quota)
{
	const struct quota_user *user = charge->user;

	if (!user)
		return QUOTA_UNLIMITED;
	return user->used[quota] < user->limits.of[quota] ? user->limits.of[quota] - user->used[quota] : 0;
}

int charge_over(const struct charge *charge, enum quota quota, struct err *err)
{
	const struct quota_user *user = charge->user;

	return user && user->used[quota] > user->limits.of[quota] ? refuse(user, quota, 0, err) : 0;
}

/* ---- facts ---- */

const char *quota_name(enum quota quota)
{
	return names[quota];
}

bool quota_of(const char *name, size_t length, enum quota *quota_out)
{
	for (enum quota quota = 0; quota < QUOTA_COUNT; quota++) {
		if (strlen(names[quota]) != length || strncmp(names[quota], name, length) != 0)
			continue;
		*quota_out = quota;
		return true;
	}
	return false;
}

uid_t quota_uid(const struct quota_user *user)
{
	return user->uid;
}

uint64_t quota_used(const struct quota_user *user, enum quota quota)
{
	return user->used[quota];
}

uint64_t quota_limit(const struct quota_user *user, enum quota quota)
{
	return user->limits.of[quota];
}

const struct quota_user *quotas_next(const struct quotas *quotas, const struct quota_user *after)
{
	if (!quotas)
		return NULL;
	return after ? after->hh.next : quotas->users;
}
