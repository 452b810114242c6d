/*
 * Errors. A function returns 0, or a negative errno that its caller forwards unchanged, or a positive condition that its
 * own header names and the caller must handle. Where a client will see the failure the function also fills a struct err,
 * whose shape is Node's (code, syscall, path) and whose status is gRPC's.
 */
#pragma once

#include <limits.h>
#include <stddef.h>

/* google.rpc.Code, by number. */
enum status {
	STATUS_OK = 0,
	STATUS_CANCELLED = 1,
	STATUS_UNKNOWN = 2,
	STATUS_INVALID_ARGUMENT = 3,
	STATUS_DEADLINE_EXCEEDED = 4,
	STATUS_NOT_FOUND = 5,
	STATUS_ALREADY_EXISTS = 6,
	STATUS_PERMISSION_DENIED = 7,
	STATUS_RESOURCE_EXHAUSTED = 8,
	STATUS_FAILED_PRECONDITION = 9,
	STATUS_ABORTED = 10,
	STATUS_OUT_OF_RANGE = 11,
	STATUS_UNIMPLEMENTED = 12,
	STATUS_INTERNAL = 13,
	STATUS_UNAVAILABLE = 14,
	STATUS_DATA_LOSS = 15,
};

/* One failure as its reader will see it. Plain values: copy it freely. */
struct err {
	enum status status;
	int errnum;          /* positive errno, 0 when the kernel was not asked */
	char code[40];       /* "ENOENT", "ABORT_ERR"; empty when there is none */
	char syscall[320];   /* "spawn foo"; empty when there is none */
	char path[PATH_MAX]; /* empty when there is none */
	char field[128];     /* of the request: "spec.argv"; empty when there is none */
	char message[512];   /* one line, for people */
};

/* Fills *err (NULL is fine) with a status and a sentence. Returns a negative errno that stands for the status. */
int err_set(struct err *err, enum status status, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* INVALID_ARGUMENT about one field of the request; the message becomes "FIELD: SENTENCE". Returns -EINVAL. */
int err_invalid(struct err *err, const char *field, const char *format, ...) __attribute__((format(printf, 3, 4)));

/*
 * The kernel said errnum (positive) to syscall, about path (may be NULL). The message is Node's: "SYSCALL CODE", or "SYSCALL PATH
 * CODE" when syscall is a bare name; pass "spawn foo" to get "spawn foo ENOENT".
 * Returns -errnum.
 */
int err_errno(struct err *err, int errnum, const char *syscall, const char *path);

/* The status that a bare errno stands for. */
enum status err_status_of(int errnum);

/* "ENOENT" for ENOENT; "E123" for a number without a name. The string is static or valid until the next call. */
const char *err_name(int errnum);
