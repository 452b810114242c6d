/*
 * The orderly end: no new processes and clients, what on_shutdown says for those that run, then what clients still have to
 * read, then the keeper's order, then out.
 */
#pragma once

#include <stdbool.h>

struct engine;
struct shutdown;

struct shutdown *shutdown_create(struct engine *engine);
void shutdown_destroy(struct shutdown *shutdown); /* NULL is fine */

/* Begins, at the end of this turn of the loop; `keep`: leave every process alone. A second call ends it at once. */
void shutdown_begin(struct shutdown *shutdown, bool keep, const char *why);
bool shutdown_begun(const struct shutdown *shutdown);
