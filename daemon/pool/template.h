/* From the template of a pool to the spec of one worker. Pure. */
#pragma once

#include "base/buf.h"
#include "base/err.h"
#include "process/spec.h"
#include "spawnd/v1/pools.pb-c.h"

#define TEMPLATE_FIRST_FD 3u

/* Which worker it is to be. */
struct template_worker {
	uint64_t pool;
	uint32_t index, generation;
	const unsigned *ports; /* of the listeners; 0: a unix socket */
};

/* What a template may not say, beyond what spec_compile refuses. 0, or -EINVAL with *err. */
int template_check(const Spawnd__V1__PoolSpec *pool, struct err *err);
/* The spec, which is the caller's to unref. Its slots from TEMPLATE_FIRST_FD on are the listeners. 0, or negative with *err. */
int template_compile(const Spawnd__V1__PoolSpec *pool, const struct spec *template, const struct template_worker *worker,
	struct spec **spec_out, struct err *err);
/* The text with {fd}, {fd:N}, {port}, {port:N} replaced; anything else in braces stays. Appends to `out`. */
void template_expand(const uint8_t *text, size_t size, const unsigned *ports, size_t count, struct buf *out);
