/*
 * What idempotency keys name. For ten minutes the same key of the same user is the same act: one that started a process
 * names it, any other has its answer kept. Bounded by number and by bytes: where there is too much, the oldest
 * of the user that has most go first, so that nobody makes the keys of others be forgotten.
 */
#pragma once

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"

#define KEYS_LENGTH_MAX 128u
#define KEYS_COUNT_MAX 100000u
#define KEYS_BYTES_MAX (16u << 20)
#define KEYS_LIFETIME_NS (INT64_C(600) * 1000000000)

struct keys;
struct ledger;

/* An act as its client names it. */
struct act_name {
	uid_t uid;
	const char *key; /* "" or NULL: it has no name */
	const char *method;
	uint64_t digest; /* of the request */
};

/* What a later engine must know of an act that this one began and did not answer. */
struct act_intent {
	uint64_t process; /* that it is about; 0: there is no intent */
	uint64_t signals; /* host.signals before it */
	bool exact;       /* one more than that means that it was done, all of it */
};

/* What is known of an act. */
struct known_act {
	uint64_t process; /* it started this one, or 0 */
	void *pending;    /* it is under way; whoever asked first knows what this is */
	const uint8_t *reply;
	size_t reply_size;
	bool failed;              /* the process never ran: reply is the Response that told it */
	struct act_intent intent; /* with pending */
};

/* What came of an act that an earlier engine began. */
enum act_outcome {
	ACT_NEVER,   /* nothing: it may be begun */
	ACT_DONE,    /* the answer is ready, and the taker's */
	ACT_UNKNOWN, /* it must not be begun once more */
};

typedef enum act_outcome (*keys_settle_fn)(
	void *context, const char *method, const struct act_intent *intent, uint8_t **reply_out, size_t *size_out);

/* Answers of acts are remembered in the ledger (borrowed; may be NULL). */
struct keys *keys_create(struct ledger *ledger);
/* Takes up what an earlier engine remembered there; `settle` is asked about each that has an intent and no answer. */
void keys_recover(struct keys *keys, keys_settle_fn settle, void *context);
void keys_destroy(struct keys *keys); /* NULL is fine */

/* A number for the content of a request, to tell two requests of one key apart. */
uint64_t keys_digest(const ProtobufCMessage *request);

/*
 * 1 and *known_out when this act is known; 0 when it is new, or has no name; -EEXIST with ALREADY_EXISTS when the key names
 * another act; -EINVAL when the key is too long; -ECANCELED with ABORTED when nobody knows whether it was done.
 */
int keys_find(struct keys *keys, const struct act_name *name, int64_t now_ns, struct known_act *known_out, struct err *err);

/* Remembers, in place of what was known of it; the reply is copied. Nothing is done for an act without a name. */
void keys_put(struct keys *keys, const struct act_name *name, int64_t now_ns, const struct known_act *known);
void keys_forget(struct keys *keys, const struct act_name *name);

size_t keys_count(const struct keys *keys);
