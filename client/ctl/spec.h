/* From the options of run to what libspawnd starts. */
#pragma once

#include <spawnd.h>

#include "ctl.h"
#include "run_options.h"

/*
 * The spec of these options for a program (argv, NULL-terminated), or for one line of shell when argv is NULL. NULL when
 * something does not fit, which has been told. The caller frees it.
 */
struct spawnd_spec *spec_build(const struct ctl *ctl, const struct run_options *options, const char *const *argv, const char *line);

/* The option for a slot, or NULL. */
const struct stdio_value *spec_slot(const struct run_options *options, uint32_t slot);
/* Whether a slot is a pipe or terminal that we hold the other end of. */
bool spec_slot_is_ours(const struct run_options *options, uint32_t slot);
