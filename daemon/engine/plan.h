/* Packs a plan of the process room for the link to a launcher. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct plan;

/* One record for the link. */
struct packed_plan {
	uint8_t *record;
	size_t size;
	int memfd; /* -1, or the whole plan, which did not fit a record: goes along as the last descriptor */
};

/* 0 and what packed_plan_finish frees, or negative with *err: -E2BIG over PLAN_MAX. */
int plan_pack(const struct plan *plan, struct packed_plan *packed_out, struct err *err);
void packed_plan_finish(struct packed_plan *packed);

#define PLAN_MAX (8u << 20)
