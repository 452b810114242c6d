/*
 * The file that a child's output goes to besides its log: bytes of all slots in the order of reading, rotated by rename
 * (PATH -> PATH.1 -> ... PATH.N). Keeps in memory where each slot's bytes went, so that a reader behind the ring is served
 * from the files. What cannot be written, because the disk is full or a file that is full cannot be rotated, is missing from
 * the file only: logged once, counted, tried again with the next bytes.
 *
 * A file that another renames, replaces or deletes (logrotate) is noticed within a second of output: a new one is begun at
 * PATH. One that another truncates is written on from its new end.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "base/err.h"

#define LOGFILE_KEEP_MAX 1000u

struct logfile;
struct record;

struct logfile_spec {
	const char *path;
	uint64_t max_bytes;    /* of one file, never exceeded by us; 0: never rotated */
	uint32_t keep;         /* rotated files; at most LOGFILE_KEEP_MAX */
	struct record *record; /* where is noted what the file has, for the next engine; NULL: nowhere */
	uid_t uid;             /* in whose name files are opened, made and renamed, when it is not our own */
	gid_t gid;
};

/* Opens (creates, 0600) the file. NULL with *err when it cannot be, or is not a regular file. */
struct logfile *logfile_create(const struct logfile_spec *spec, struct err *err);
void logfile_destroy(struct logfile *logfile); /* NULL is fine */

/* Appends bytes of a slot that begin at `offset` of that slot. What is not written is counted and missing from the file. */
void logfile_write(struct logfile *logfile, uint32_t slot, uint64_t offset, int64_t time_ns, const struct iovec *iov, size_t iov_count);

/* Offset of a slot up to which an engine before this one wrote, or gave up. */
uint64_t logfile_filed(const struct logfile *logfile, uint32_t slot);
/* How many of these bytes, which come next, it had written when it died; once. */
size_t logfile_found(struct logfile *logfile, uint32_t slot, const struct iovec *iov, size_t iov_count);

/*
 * Reads bytes of a slot at `offset`: returns how many (at most size), 0 when none of them are in the files; then
 * *next_out is the first offset after it that is (UINT64_MAX: none).
 */
size_t logfile_read(
	struct logfile *logfile, uint32_t slot, uint64_t offset, void *bytes, size_t size, int64_t *time_out, uint64_t *next_out);
/* The first offset that was read at or after a time; false: none that the files have. */
bool logfile_find_time(const struct logfile *logfile, uint32_t slot, int64_t since_ns, uint64_t *offset_out);
/* The oldest offset from which the files have every byte of the slot up to the last one written. */
uint64_t logfile_from(const struct logfile *logfile, uint32_t slot);
uint64_t logfile_lost(const struct logfile *logfile); /* bytes that could not be written */
/* What hinders writing now: a positive errno; 0: nothing does. */
int logfile_error(const struct logfile *logfile);
const char *logfile_path(const struct logfile *logfile);

/* Nothing more is written: the descriptor is closed. Readers open the files again. */
void logfile_end(struct logfile *logfile);
/* Nobody reads for now: what was opened for readers is closed. */
void logfile_rest(struct logfile *logfile);
