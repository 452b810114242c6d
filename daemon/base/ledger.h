/*
 * Records that outlive the process that wrote them: blocks in a memfd that somebody else keeps. A block is FREE, then
 * WRITING while it is filled, then LIVE; whoever maps the memfd next finds every LIVE one whole and takes the others for
 * free. What is stored in a LIVE block must be stored whole by one atomic write. Only one process at a time may have it open
 * for writing.
 *
 * Blocks have sizes of powers of two; a freed one is used again for its size, and a large one gives its pages back.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define LEDGER_BYTES_MAX (UINT64_C(1) << 31)

struct ledger;

/* A new one; *fd_out (the caller's) is for whoever keeps it. NULL with *err. */
struct ledger *ledger_create(int *fd_out, struct err *err);
/* One that an earlier process wrote; takes fd. NULL with *err when it is none, or of another version. */
struct ledger *ledger_open(int fd, struct err *err);
/* Whether ledger_open could read it; touches nothing, so another process may have it open. fd is borrowed. 0, or negative with *err. */
int ledger_check(int fd, struct err *err);
void ledger_close(struct ledger *ledger); /* NULL is fine; the records stay */

/* A block of `size` zeroed bytes that nobody finds yet. NULL with RESOURCE_EXHAUSTED in *err. */
void *ledger_write(struct ledger *ledger, uint32_t kind, uint64_t owner, size_t size, struct err *err);
/* From now on it is found. */
void ledger_commit(void *record);
/* In any state; NULL is fine. */
void ledger_free(struct ledger *ledger, void *record);

uint32_t ledger_kind(const void *record);
uint64_t ledger_owner(const void *record);
size_t ledger_size(const void *record); /* as it was asked for */

/* The LIVE record after `record` (NULL: the first), in no order; NULL: there is none. */
void *ledger_next(struct ledger *ledger, const void *record);
