/* The error object: filled where a failure is born, carried unchanged to whoever asked. */
#include "base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* A bare errno for a status, for callers that only look at the return value. */
static int errno_of(enum status status)
{
	switch (status) {
	case STATUS_OK:
		return EINVAL;
	case STATUS_CANCELLED:
		return ECANCELED;
	case STATUS_INVALID_ARGUMENT:
	case STATUS_OUT_OF_RANGE:
		return EINVAL;
	case STATUS_DEADLINE_EXCEEDED:
		return ETIMEDOUT;
	case STATUS_NOT_FOUND:
		return ENOENT;
	case STATUS_ALREADY_EXISTS:
		return EEXIST;
	case STATUS_PERMISSION_DENIED:
		return EPERM;
	case STATUS_RESOURCE_EXHAUSTED:
		return EAGAIN;
	case STATUS_FAILED_PRECONDITION:
		return EBUSY;
	case STATUS_UNIMPLEMENTED:
		return ENOSYS;
	case STATUS_UNAVAILABLE:
		return ECONNREFUSED;
	case STATUS_UNKNOWN:
	case STATUS_ABORTED:
	case STATUS_INTERNAL:
	case STATUS_DATA_LOSS:
		return EIO;
	}
	return EIO;
}

int err_set(struct err *err, enum status status, const char *format, ...)
{
	va_list args;

	if (err) {
		memset(err, 0, sizeof(*err));
		err->status = status;
		va_start(args, format);
		vsnprintf(err->message, sizeof(err->message), format, args);
		va_end(args);
	}
	return -errno_of(status);
}

int err_invalid(struct err *err, const char *field, const char *format, ...)
{
	char sentence[384];
	va_list args;

	if (err) {
		va_start(args, format);
		vsnprintf(sentence, sizeof(sentence), format, args);
		va_end(args);
		err_set(err, STATUS_INVALID_ARGUMENT, "%.120s: %s", field, sentence);
		snprintf(err->field, sizeof(err->field), "%s", field);
	}
	return -EINVAL;
}

int err_errno(struct err *err, int errnum, const char *syscall, const char *path)
{
	if (err) {
		bool bare = path && !strchr(syscall, ' ');

		err_set(err, err_status_of(errnum), "%.*s%s%.400s %s", bare ? 60 : 400, syscall, bare ? " " : "", bare ? path : "",
			err_name(errnum));
		err->errnum = errnum;
		snprintf(err->code, sizeof(err->code), "%s", err_name(errnum));
		snprintf(err->syscall, sizeof(err->syscall), "%s", syscall);
		if (path)
			snprintf(err->path, sizeof(err->path), "%s", path);
	}
	return -errnum;
}

enum status err_status_of(int errnum)
{
	switch (errnum) {
	case 0:
		return STATUS_OK;
	case ENOENT:
	case ESRCH:
	case ENOTDIR:
		return STATUS_NOT_FOUND;
	case EACCES:
	case EPERM:
	case EROFS:
		return STATUS_PERMISSION_DENIED;
	case EEXIST:
		return STATUS_ALREADY_EXISTS;
	case EAGAIN:
	case EMFILE:
	case ENFILE:
	case ENOMEM:
	case ENOSPC:
	case EDQUOT:
	case ENOBUFS:
		return STATUS_RESOURCE_EXHAUSTED;
	case EINVAL:
	case E2BIG:
	case ENAMETOOLONG:
	case EBADF:
		return STATUS_INVALID_ARGUMENT;
	case ENOEXEC:
	case EISDIR:
	case ELOOP:
	case ETXTBSY:
	case ELIBBAD:
	case EBUSY:
		return STATUS_FAILED_PRECONDITION;
	case ETIMEDOUT:
		return STATUS_DEADLINE_EXCEEDED;
	case ECANCELED:
		return STATUS_CANCELLED;
	case ENOSYS:
	case EOPNOTSUPP:
		return STATUS_UNIMPLEMENTED;
	case ECONNREFUSED:
	case ECONNRESET:
	case EPIPE:
		return STATUS_UNAVAILABLE;
	default:
		return STATUS_UNKNOWN;
	}
}

const char *err_name(int errnum)
{
	static char unnamed[16];
	const char *name = strerrorname_np(errnum);

	if (name)
		return name;
	snprintf(unnamed, sizeof(unnamed), "E%d", errnum);
	return unnamed;
}
