/*
 * Sessions and holds.
 *
 * A session is what Hello opened: who the client is to its children (its context), and, with a session key, something that
 * outlives a lost connection for two seconds. Without Hello a client has none.
 *
 * A hold keeps a process from its on_disconnect: every Spawn or Run stream has one, and a session with a key takes over those
 * of its lost streams. on_disconnect is due when the last hold is lost.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "process/spec.h"
#include "spawnd/v1/admin.pb-c.h"

#define SESSION_KEY_MAX 64u
#define SESSION_RETURN_US 2000000u
#define SESSION_RECOVER_US 10000000u /* after an engine that died */

struct loop;
struct peer;
struct quotas;
struct session;
struct sessions;

/* Told when the last hold of a process was lost. */
typedef void (*session_lost_fn)(void *context, uint64_t process);

/* quotas: what a session holds is its user's memory; NULL: nobody counts. */
struct sessions *sessions_create(struct loop *loop, struct quotas *quotas, session_lost_fn lost, void *context);
void sessions_destroy(struct sessions *sessions); /* NULL is fine; nothing is lost by it */

/* Opens the session of a connection, or joins the one of its key. 0, or negative with *err. */
int session_open(struct sessions *sessions, uid_t uid, const Spawnd__V1__HelloRequest *hello, struct session **session_out,
	bool *resumed_out, struct err *err);
/* The connection it is on now; returns the one it was on, if that is still there: the client has given it up. */
struct peer *session_move(struct session *session, struct peer *peer);
/* The connection that the session of this key is on, or NULL. */
struct peer *session_find(struct sessions *sessions, uid_t uid, const uint8_t *key, size_t size);
/* A connection of this session is gone. */
void session_leave(struct sessions *sessions, struct session *session);
uint64_t session_id(const struct session *session);
/* The key it has, *size_out 0 without one. Valid while the session is. session may be NULL. */
const uint8_t *session_key(const struct session *session, size_t *size_out);

/* Fills the session's part of a spec's context; session NULL: the defaults. Valid while the session is. */
void session_fill_context(const struct session *session, struct spec_context *context);

size_t sessions_count(const struct sessions *sessions);
size_t sessions_contexts(const struct sessions *sessions); /* different ones */

void hold_take(struct sessions *sessions, uint64_t process);
/* The holder is done with the process, which nobody need be told. True: it was the last. */
bool hold_release(struct sessions *sessions, uint64_t process);
/* The holder has vanished: its session (may be NULL) holds on if it can. */
void hold_lose(struct sessions *sessions, struct session *session, uint64_t process);
/*
 * An engine before this one had a stream that was the process: the hold is lost SESSION_RECOVER_US from now, unless the
 * session of this key (size 0: none) comes back, or another stream takes one.
 */
void hold_recover(struct sessions *sessions, uid_t uid, const uint8_t *key, size_t key_size, uint64_t process);
/* The process is gone. */
void hold_forget(struct sessions *sessions, uint64_t process);
