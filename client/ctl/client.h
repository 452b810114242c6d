/* The daemon as the commands see it: one connection, references as typed, failures as exit statuses. */
#pragma once

#include <spawnd.h>

#include "ctl.h"
#include "internal.h"

/* Connects, starting a daemon where allowed. EXIT_DONE, or EXIT_NO_DAEMON when it has been told. */
int client_open(struct ctl *ctl);
void client_close(struct ctl *ctl);

/* Waits for the daemon, and dispatches. false: the connection is lost (*error), or our output failed (out_error). */
bool client_wait(struct ctl *ctl, struct spawnd_error *error);

/* The process that an argument names: digits are an id, all else a name. Borrows text. */
struct spawnd_ref client_ref(const char *text);

/* A unary call of Processes (or Admin) with messages; the reply is the caller's to free. false when the failure has been told. */
bool client_call(struct ctl *ctl, const char *about, const char *service, const char *method, const ProtobufCMessage *request,
	const ProtobufCMessageDescriptor *type, ProtobufCMessage **reply_out);

/* "spawnctl: COMMAND: ABOUT: MESSAGE"; about may be NULL. */
void client_error(const struct ctl *ctl, const char *about, const struct spawnd_error *error);

/* What spawnctl ends with for a child that could not be started, or whose stream failed. */
int client_status_of_error(const struct spawnd_error *error);
/* What spawnctl ends with for a child that ended. */
int client_status_of_exit(const Spawnd__V1__ExitRecord *record);
int client_status(int code, int signal, enum spawnd_reason reason);

#define PROCESSES "spawnd.v1.Processes"
#define ADMIN "spawnd.v1.Admin"
