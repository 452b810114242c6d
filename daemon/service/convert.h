/* Between the words of the process room and those of the protocol. */
#pragma once

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "channel/channel.h"
#include "process/child.h"
#include "spawnd/v1/processes.pb-c.h"

#define CONVERT_SIGNAL_MAX 64

/* The process a request names: 0, or INVALID_ARGUMENT ("process" is missing) or NOT_FOUND. */
int convert_ref(struct children *children, const Spawnd__V1__ProcessRef *ref, struct child **child_out, struct err *err);

Spawnd__V1__ProcessState convert_state(enum child_state state);
/* KILL_SCOPE_UNSPECIFIED becomes `standard`. */
enum kill_scope convert_scope(Spawnd__V1__KillScope scope, enum kill_scope standard);
int convert_signal(int32_t signal, bool zero_allowed, const char *field, struct err *err);

/* A size for the terminal of this spec: INVALID_ARGUMENT when it has none, or when the size is none. */
int convert_window(const struct spec *spec, const Spawnd__V1__WindowSize *window, const char *field, struct err *err);

/* CANCELLED, as a Cancel has it: the code is Node's ABORT_ERR. Returns -ECANCELED. */
int convert_cancelled(struct err *err);
/* Why a process that is CHILD_FAILED never ran, from its record. */
void convert_failure(const struct child *child, struct err *err);

/* argv as executed, the words borrowed from the child; the caller frees the array. */
ProtobufCBinaryData *convert_argv(const struct child *child, size_t *count_out);
/* An error as its detail; the words are borrowed. */
void convert_error(const struct err *err, Spawnd__V1__ErrorDetail *detail_out);
/* How a channel ended; detail is memory for the error, if there is one. */
void convert_ending(const struct channel_ending *ending, Spawnd__V1__Disconnected *out, Spawnd__V1__ErrorDetail *detail);
void convert_drop_spawnargs(Spawnd__V1__ErrorDetail *error);

/* What of a Process is wanted beyond its record. */
enum { CONVERT_USAGE = 1, CONVERT_SPEC = 2 };

/* A Process, partly borrowed from the child: send it in this turn of the loop, and free it with convert_process_free. */
Spawnd__V1__Process *convert_process(const struct child *child, unsigned what);
void convert_process_free(Spawnd__V1__Process *process);
