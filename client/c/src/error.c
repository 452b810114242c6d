/* Errors of libspawnd: from a status of the daemon, from the system, from its own checks. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "internal.h"
#include "spawnd/v1/common.pb-c.h"
#include "ttrpc.pb-c.h"

int error_set(struct spawnd_error *error, enum spawnd_status status, const char *format, ...)
{
	va_list args;

	if (!error)
		return -1;
	memset(error, 0, sizeof(*error));
	error->status = status;
	va_start(args, format);
	vsnprintf(error->message, sizeof(error->message), format, args);
	va_end(args);
	return -1;
}

int error_errno(struct spawnd_error *error, enum spawnd_status status, int errnum, const char *syscall, const char *path)
{
	error_set(error, status, "%s%s%.400s: %s", syscall, path ? " " : "", path ? path : "", strerror(errnum));
	if (!error)
		return -1;
	error->errnum = errnum;
	snprintf(error->code, sizeof(error->code), "%s", err_name(errnum));
	snprintf(error->syscall, sizeof(error->syscall), "%s", syscall);
	if (path)
		snprintf(error->path, sizeof(error->path), "%s", path);
	return -1;
}

int error_field(struct spawnd_error *error, const char *field, int errnum, const char *syscall, const char *what)
{
	error_set(error, (enum spawnd_status)err_status_of(errnum), "%s: %s %s: %s", field, syscall, err_name(errnum), what);
	if (!error)
		return -1;
	error->errnum = errnum;
	snprintf(error->code, sizeof(error->code), "%s", err_name(errnum));
	snprintf(error->syscall, sizeof(error->syscall), "%s", syscall);
	snprintf(error->field, sizeof(error->field), "%s", field);
	return -1;
}

int error_copy(struct spawnd_error *error, const struct spawnd_error *from)
{
	if (error)
		*error = *from;
	return -1;
}

int error_of_err(struct spawnd_error *error, const struct err *err)
{
	if (!error)
		return -1;
	memset(error, 0, sizeof(*error));
	error->status = (enum spawnd_status)err->status;
	error->errnum = err->errnum;
	snprintf(error->code, sizeof(error->code), "%s", err->code);
	snprintf(error->syscall, sizeof(error->syscall), "%s", err->syscall);
	snprintf(error->path, sizeof(error->path), "%s", err->path);
	snprintf(error->field, sizeof(error->field), "%s", err->field);
	snprintf(error->message, sizeof(error->message), "%s", err->message);
	return -1;
}

/* Copies what the one detail says. */
static void copy_detail(struct spawnd_error *error, const Ttrpc__Any *any)
{
	Spawnd__V1__ErrorDetail *detail;
	size_t size;

	if (strcmp(any->type_url, "type.googleapis.com/spawnd.v1.ErrorDetail") != 0)
		return;
	detail = spawnd__v1__error_detail__unpack(NULL, any->value.len, any->value.data);
	if (!detail)
		return;
	error->errnum = detail->errnum;
	snprintf(error->code, sizeof(error->code), "%s", detail->code);
	snprintf(error->syscall, sizeof(error->syscall), "%s", detail->syscall);
	snprintf(error->field, sizeof(error->field), "%s", detail->field);
	size = detail->path.len < sizeof(error->path) - 1 ? detail->path.len : sizeof(error->path) - 1;
	if (size)
		memcpy(error->path, detail->path.data, size);
	error->path[size] = 0;
	spawnd__v1__error_detail__free_unpacked(detail, NULL);
}

bool error_of_status(const struct Ttrpc__Status *status, struct spawnd_error *error)
{
	if (!status || !status->code)
		return false;
	error_set(error, (enum spawnd_status)status->code, "%s", status->message);
	if (status->n_details)
		copy_detail(error, status->details[0]);
	return true;
}
