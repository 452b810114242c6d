/* Unary requests that change something: each once per idempotency key, however often it is sent. */
#pragma once

#include "process/child.h"
#include "rpc/call.h"
#include "service/idempotency.h"

/*
 * 0 and *name_out: go on, and end with acts_reply. 1: it was done before, and its answer was sent again. Negative with *err:
 * refused.
 */
int acts_begin(struct call *call, const char *key, const ProtobufCMessage *request, struct act_name *name_out, struct err *err);
/* What is noted before an act that signals, or removes, its child; at_once: the next signal that is sent is all of it. */
struct act_intent acts_intent(const struct child *child, bool at_once);
/* Notes that an act is begun; its answer replaces that, keys_forget undoes it. */
void acts_intend(const struct act_name *name, const struct act_intent *intent);
/* keys_settle_fn, of the children (its context). */
enum act_outcome acts_settle(void *children, const char *method, const struct act_intent *intent, uint8_t **reply_out, size_t *size_out);
/* Answers, and remembers the answer. */
void acts_reply(struct call *call, const struct act_name *name, const ProtobufCMessage *reply);
/* The answer of known->reply once more. */
void acts_replay(struct call *call, const struct known_act *known);
/* Remembers an answer under its name. */
void acts_remember(const struct act_name *name, const ProtobufCMessage *reply);
