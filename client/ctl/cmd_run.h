/* What run, exec and fork share: a process that is started and then followed, or left. */
#pragma once

#include "ctl.h"
#include "letters.h"
#include "run_options.h"

/* Both return the exit status; the connection is open. letters NULL: the process has no channel. */
int run_foreground(struct ctl *ctl, const struct run_options *options, const struct spawnd_spec *spec, struct letters *letters);
int run_background(struct ctl *ctl, const struct run_options *options, struct spawnd_spec *spec);
