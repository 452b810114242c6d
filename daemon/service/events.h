/*
 * What happens, for whoever may observe it: the last EVENTS_KEPT events in a ring, each packed once, and subscribers that read
 * it each from its place as far as their credit goes. One that falls out of the ring is told what it lost.
 */
#pragma once

#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"

#define EVENTS_KEPT 4096u

struct child;
struct audit;
struct channel_ending;
struct events;

/* One of two there are: what happens to processes, and audits. kept_seq: where the number of the last event outlives this engine; NULL:
 * nowhere. */
struct events *events_create(_Atomic uint64_t *kept_seq);
void events_destroy(struct events *events); /* NULL is fine; subscribers are gone before */

uint64_t events_last(const struct events *events); /* seq of the newest; 0: none yet */

void events_spawned(struct events *events, struct child *child);
void events_failed(struct events *events, struct child *child);
void events_exited(struct events *events, struct child *child);
void events_closed(struct events *events, struct child *child);
void events_stopping(struct events *events, struct child *child, const char *why);
void events_gap(struct events *events, struct child *child, uint32_t slot, uint64_t offset, uint64_t bytes);
void events_log_file(struct events *events, struct child *child, int error); /* as child_observer::on_log_file */
void events_messages(struct events *events, struct child *child, uint64_t last, uint64_t count);
void events_disconnected(struct events *events, struct child *child, const struct channel_ending *ending);
void events_removed(struct events *events, struct child *child);
/* why NULL: it was allowed. untold: refusals of that uid before it that are no events. */
void events_audit(struct events *events, const struct audit *audit, const char *why, unsigned untold);
