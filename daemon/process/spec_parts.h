/* The parts of spec_compile, for spec*.c alone. Each returns 0, or negative with *err naming the field. */
#pragma once

#include "base/fdpass.h"
#include "process/spec.h"

#define SPEC_SLOTS_MAX (FDPASS_MAX - 2u) /* 251: one message to a launcher has them all, its cgroup and a large plan */
#define SPEC_DURATION_MAX_MS (UINT64_C(10) * 365 * 24 * 3600 * 1000)
#define SPEC_ENV_ID "SPAWND_ID" /* the daemon's own: set in every child, taken from nobody */

/* ---- spec_check.c: what a request may not say ---- */

int spec_check(const Spawnd__V1__ProcessSpec *request, enum spec_use use, struct err *err);
/* Bytes that become a C string: no NUL among them. */
int spec_check_bytes(const ProtobufCBinaryData *bytes, const char *field, struct err *err);

/* ---- spec_env.c ---- */

/* After the slots: a channel is told by the environment. */
int spec_build_env(const Spawnd__V1__Environment *request, char *const *session, struct spec *spec, struct err *err);
/* The value of NAME in a list of "NAME=value", or NULL. */
const char *spec_env_value(char *const *env, const char *name);

/* ---- spec_stdio.c ---- */

/* Fills spec->slots, and the defaults of spec->message->stdio. */
int spec_build_stdio(struct spec *spec, enum spec_use use, struct err *err);

/* ---- spec.c ---- */

/* A NULL-terminated list in one block of memory; NULL when there is no memory for it. */
char **spec_pack_list(const ProtobufCBinaryData *items, size_t count);
char *spec_text(const ProtobufCBinaryData *bytes);
