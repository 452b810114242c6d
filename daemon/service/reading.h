/* How a client wants to read output: from its request, checked against the slots of the process, to a plan. */
#pragma once

#include "service/outflow.h"
#include "spawnd/v1/processes.pb-c.h"

struct stream_start;

/* Each returns 0, or -EINVAL with *err naming the field. */

/* Whether a process of this spec can be read so; reader may be NULL. */
int reading_check(const struct spec *spec, const Spawnd__V1__Reader *reader, struct err *err);
/* The same, into the beginning of a stream; `standard` is the policy of those that name none. */
int reading_fill(struct stream_start *start, const Spawnd__V1__Reader *reader, enum reader_policy standard, struct err *err);

/* Whether the first credit of a stream, which may be NULL, names no slot. */
int reading_window(const Spawnd__V1__Grant *window, const char *field, struct err *err);
int reading_slots(
	struct outflow_plan *plan, const struct spec *spec, const uint32_t *slots, size_t count, const char *field, struct err *err);
int reading_from(struct outflow_plan *plan, const struct spec *spec, Spawnd__V1__SlotOffset *const *from, size_t count, struct err *err);
