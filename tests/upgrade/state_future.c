/* The state version of an engine that is to come: it cannot go on from what this one leaves. */
#include "link/state.h"

const struct state_version state_version = {.program = "3.0.0", .own = 1000, .oldest = 999};
