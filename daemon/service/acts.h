/* Unary requests that change something: each once per idempotency key, however often it is sent. */
#pragma once

#include "rpc/call.h"
#include "service/idempotency.h"

/*
 * 0 and *name_out: go on, and end with acts_reply. 1: it was done before, and its answer was sent again. Negative with *err:
 * refused.
 */
int acts_begin(struct call *call, const char *key, const ProtobufCMessage *request, struct act_name *name_out, struct err *err);
/* Answers, and remembers the answer. */
void acts_reply(struct call *call, const struct act_name *name, const ProtobufCMessage *reply);
/* The answer of known->reply once more. */
void acts_replay(struct call *call, const struct known_act *known);
/* Remembers an answer under its name. */
void acts_remember(const struct act_name *name, const ProtobufCMessage *reply);
