/* An error as google.rpc.Status with one spawnd.v1.ErrorDetail, packed into a ttrpc Response. */
#pragma once

#include "base/buf.h"
#include "base/err.h"

/* Appends the packed Response to *out; texts of *err are made valid UTF-8. argv (may be NULL): its words after the first go along as
 * spawnargs. */
void status_pack(struct err *err, char *const *argv, struct buf *out);
