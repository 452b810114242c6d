/* See state.h. In a file of its own, so that a test can link another. */
#include "link/state.h"

const struct state_version state_version = {.program = SPAWND_VERSION, .own = 3, .oldest = 3};
