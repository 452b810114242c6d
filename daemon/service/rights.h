/*
 * Rights on one object. A role is for all objects; without it a client may observe, attach to and signal what it made itself.
 * Every refusal is audited here, and whatever changes something.
 */
#pragma once

#include <stdbool.h>

#include "base/err.h"
#include "process/child.h"
#include "rpc/call.h"
#include "rpc/method.h"
#include "spawnd/v1/processes.pb-c.h"

struct spec;

/* The process a request names, if the client may do to it what the method does. 0, or NOT_FOUND, PERMISSION_DENIED... */
int rights_find(struct call *call, const Spawnd__V1__ProcessRef *ref, struct child **child_out, struct err *err);

/* May the client do such things to this process, or (child NULL) to every one? */
bool rights_has(const struct call *call, const struct child *child, enum right right);
/* The same as 0 or PERMISSION_DENIED; `what` says what it would have been. */
int rights_need(const struct call *call, const struct child *child, enum right right, const char *what, struct err *err);

/* Is the client root or the daemon's own user? 0 or PERMISSION_DENIED: for what no role gives. */
int rights_need_master(const struct call *call, const char *what, struct err *err);

/* PERMISSION_DENIED, because the client lacks a right over all objects. */
int rights_refuse(const struct call *call, enum right right, const char *what, struct err *err);

/* May the client start a process with the ids and the niceness of this spec? */
int rights_run_as(const struct call *call, const struct spec *spec, struct err *err);
