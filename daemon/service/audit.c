/* See audit.h. */
#include "service/audit.h"

#include <stdio.h>
#include <unistd.h>
#include <uthash.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "rpc/call.h"
#include "rpc/peer.h"
#include "service/internal.h"

#define SECOND_NS 1000000000
#define USERS_MAX 1024u /* more than that are counted together: as the user that came first */

/* Refusals of one user. */
struct refusal {
	UT_hash_handle hh; /* refusals::users, by uid */
	uid_t uid;
	unsigned told;   /* since `since_ns` */
	unsigned untold; /* since the last that was told */
	int64_t since_ns;
};

struct refusals {
	struct refusal *users;
};

struct refusals *refusals_create(void)
{
	return mem_alloc(sizeof(struct refusals));
}

void refusals_destroy(struct refusals *refusals)
{
	struct refusal *refusal, *next;

	if (!refusals)
		return;
	HASH_ITER(hh, refusals->users, refusal, next)
	{
		HASH_DEL(refusals->users, refusal);
		free(refusal);
	}
	free(refusals);
}

static struct refusal *refusal_of(struct refusals *refusals, uid_t uid)
{
	struct refusal *refusal;

	HASH_FIND(hh, refusals->users, &uid, sizeof(uid), refusal);
	if (refusal)
		return refusal;
	if (HASH_COUNT(refusals->users) >= USERS_MAX)
		return refusals->users;
	refusal = mem_alloc(sizeof(*refusal));
	refusal->uid = uid;
	HASH_ADD(hh, refusals->users, uid, sizeof(refusal->uid), refusal);
	return refusal;
}

/* Whether one more refusal of this user is told; *untold_out: how many were not, before it. */
static bool is_told(struct refusal *refusal, int64_t now_ns, unsigned *untold_out)
{
	if (now_ns - refusal->since_ns >= SECOND_NS) {
		refusal->since_ns = now_ns;
		refusal->told = 0;
	}
	if (refusal->told >= AUDIT_BURST) {
		refusal->untold++;
		return false;
	}
	refusal->told++;
	*untold_out = refusal->untold;
	refusal->untold = 0;
	return true;
}

void audit_refused(struct service *service, const struct audit *audit, const char *why)
{
	char more[40] = "";
	unsigned untold;

	service->refused_total++;
	if (!is_told(refusal_of(service->refusals, audit->uid), clock_boot_ns(), &untold))
		return;
	if (untold)
		snprintf(more, sizeof(more), " (after %u more)", untold);
	log_(LOG_WARNING, "audit: refused %s to uid %u, pid %d: %s%s", audit->method, (unsigned)audit->uid, (int)audit->pid, why, more);
	events_audit(service->audits, audit, why, untold);
}

void audit_allowed(const struct call *call, uint64_t process)
{
	const struct peer *peer = call_peer(call);
	struct audit audit = {.uid = peer_uid(peer), .pid = peer_pid(peer), .method = call_method(call)->name, .process = process};

	if (!(call_method(call)->right & ~(unsigned)RIGHT_OBSERVE))
		return;
	log_(audit.uid == geteuid() ? LOG_DEBUG : LOG_INFO, "audit: %s by uid %u, pid %d, process %llu", audit.method, (unsigned)audit.uid,
		(int)audit.pid, (unsigned long long)process);
	events_audit(service_get()->audits, &audit, NULL, 0);
}
