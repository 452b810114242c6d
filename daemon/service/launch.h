/* From a request to a process: what Spawn, Run and Start have in common. */
#pragma once

#include <stdbool.h>

#include "process/child.h"
#include "rpc/call.h"
#include "service/internal.h"

struct launch_request {
	struct call *call;
	const Spawnd__V1__ProcessSpec *spec; /* may be NULL: refused */
	enum spec_use use;
	const char *key;
	bool resume;                      /* it must be known already */
	const Spawnd__V1__Reader *reader; /* checked too; may be NULL */
};

/* Who asks, and what its session told; valid while the session is. */
struct spec_context launch_context(struct call *call);

/*
 * The process of this request: a new one, or (*joined_out) the one its idempotency key started. 0; or negative with *err:
 * then nothing was started; or 1: what the key started never ran, and the call was ended by the same failure.
 */
int launch_process(const struct launch_request *request, struct child **child_out, bool *joined_out, struct err *err);
