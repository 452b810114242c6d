/*
 * Who asked what of which object: everything that changes something, and every refusal, as an event "audit" and in the log.
 * What the daemon's own user does is logged at debug level only. A user who is refused again and again is told of AUDIT_BURST
 * times a second; the rest is counted and told with the next that is.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define AUDIT_BURST 10u

struct call;
struct refusals;
struct service;

struct audit {
	uid_t uid;
	pid_t pid; /* 0: unknown */
	const char *method;
	uint64_t process; /* 0: about no process, or none that is known */
};

struct refusals *refusals_create(void);
void refusals_destroy(struct refusals *refusals); /* NULL is fine */

void audit_refused(struct service *service, const struct audit *audit, const char *why);
/* The client of this call was allowed to do it. Nothing is told of methods that only look. */
void audit_allowed(const struct call *call, uint64_t process);
