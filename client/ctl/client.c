/* The daemon as the commands see it. */
#include "client.h"

#include <errno.h>
#include <string.h>

#include "base/mem.h"
#include "out.h"

int client_open(struct ctl *ctl)
{
	unsigned flags = (ctl->autostart ? 0 : SPAWND_NO_AUTOSTART) | (ctl->once ? SPAWND_NO_RECONNECT : 0);
	struct spawnd_error error;

	if (spawnd_connect(ctl->socket, flags, &ctl->client, &error) == 0)
		return EXIT_DONE;
	client_error(ctl, NULL, &error);
	return EXIT_NO_DAEMON;
}

void client_close(struct ctl *ctl)
{
	spawnd_close(ctl->client);
	ctl->client = NULL;
}

bool client_wait(struct ctl *ctl, struct spawnd_error *error)
{
	return out_wait(spawnd_fd(ctl->client), spawnd_events(ctl->client)) && spawnd_wait_event(ctl->client, 0, error) >= 0 &&
	       !out_error();
}

struct spawnd_ref client_ref(const char *text)
{
	char *end;
	uint64_t id;

	if (*text != '\0' && text[strspn(text, "0123456789")] == '\0') {
		errno = 0;
		id = strtoull(text, &end, 10);
		if (errno == 0 && id > 0)
			return (struct spawnd_ref){.id = id};
	}
	return (struct spawnd_ref){.name = text};
}

/* What the kernel's word means for a process; "" where it speaks for itself. */
static const char *hint_of(const struct spawnd_error *error)
{
	if (strcmp(error->code, "ESRCH") == 0)
		return ": it has ended";
	if (strcmp(error->code, "EPIPE") == 0)
		return ": it does not read any more";
	return "";
}

void client_error(const struct ctl *ctl, const char *about, const struct spawnd_error *error)
{
	if (about)
		ctl_error(ctl, "%s: %s%s", about, error->message, hint_of(error));
	else
		ctl_error(ctl, "%s%s", error->message, hint_of(error));
}

bool client_call(struct ctl *ctl, const char *about, const char *service, const char *method, const ProtobufCMessage *request,
	const ProtobufCMessageDescriptor *type, ProtobufCMessage **reply_out)
{
	struct spawnd_error error;

	if (unary_call(ctl->client, service, method, request, type, reply_out, &error) == 0)
		return true;
	client_error(ctl, about, &error);
	return false;
}

/* By the name of the errno of a failed spawn, as a shell would choose. */
static int status_of_code(const char *code)
{
	static const char *const not_executable[] = {
		"EACCES", "ENOEXEC", "EPERM", "EISDIR", "ENOTDIR", "ELOOP", "E2BIG", "ETXTBSY", "ELIBBAD", "ENAMETOOLONG", "EINVAL"};

	if (strcmp(code, "ENOENT") == 0)
		return EXIT_NOT_FOUND;
	for (size_t i = 0; i < array_size(not_executable); i++)
		if (strcmp(code, not_executable[i]) == 0)
			return EXIT_NOT_EXECUTABLE;
	return EXIT_OWN_FAILURE;
}

int client_status_of_error(const struct spawnd_error *error)
{
	if (error->status == SPAWND_INVALID_ARGUMENT && !error->code[0])
		return EXIT_USAGE;
	return strncmp(error->syscall, "spawn ", 6) == 0 ? status_of_code(error->code) : EXIT_OWN_FAILURE;
}

int client_status(int code, int signal, enum spawnd_reason reason)
{
	if (reason == SPAWND_TIMED_OUT)
		return EXIT_TIMED_OUT;
	if (code >= 0)
		return code & 0xff;
	return signal > 0 ? EXIT_SIGNAL + signal : EXIT_OWN_FAILURE;
}

int client_status_of_exit(const Spawnd__V1__ExitRecord *record)
{
	if (!record)
		return EXIT_OWN_FAILURE;
	if (record->reason == SPAWND__V1__EXIT_REASON__EXIT_REASON_SPAWN_FAILED)
		return record->error ? status_of_code(record->error->code) : EXIT_OWN_FAILURE;
	return client_status(
		record->_code_case ? record->code : -1, record->_signal_case ? record->signal : -1, (enum spawnd_reason)record->reason);
}
