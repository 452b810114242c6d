/* See session.h. Contexts are shared by content: ten thousand connections of one shell have one environment. */
#include "service/session.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <uthash.h>

#include "base/loop.h"
#include "base/mem.h"
#include "base/quota.h"

#define HELD_PRUNE 64u

/* What a client's children get; immutable, but for what was compiled with it. */
struct context {
	UT_hash_handle hh; /* sessions::contexts, by packed */
	unsigned refs;
	uint8_t *packed;
	size_t packed_size;
	Spawnd__V1__ClientContext *message; /* without env, which is below */
	char *cwd;
	char **env; /* one block */
	struct spec_recent recent;
};

/* Identifies a session across connections. */
struct key {
	uid_t uid;
	uint8_t length; /* 0: it has no key and is not in the hash */
	uint8_t bytes[SESSION_KEY_MAX];
};

struct session {
	UT_hash_handle hh; /* sessions::keyed, by key */
	struct sessions *sessions;
	struct key key;
	uint64_t id;
	struct context *context; /* NULL: it told none */
	struct charge charge;
	unsigned connections;
	struct peer *peer;        /* the last of them; NULL: none */
	struct loop_timer *timer; /* runs while there is no connection; NULL: never lost one */
	uint64_t *held;           /* processes of lost streams */
	size_t held_count;
};

/* How many hold a process. */
struct hold {
	UT_hash_handle hh; /* sessions::holds, by process */
	uint64_t process;
	unsigned count;
};

struct sessions {
	struct loop *loop;
	struct quotas *quotas;
	session_lost_fn lost;
	void *lost_context;
	struct session *keyed;
	struct session *nameless; /* of clients without a key that an earlier engine had; NULL: none, or no more */
	struct context *contexts;
	struct hold *holds;
	uint64_t last_id;
	size_t count;
};

/* ---- holds ---- */

static struct hold *find_hold(struct sessions *sessions, uint64_t process)
{
	struct hold *hold;

	HASH_FIND(hh, sessions->holds, &process, sizeof(process), hold);
	return hold;
}

void hold_take(struct sessions *sessions, uint64_t process)
{
	struct hold *hold = find_hold(sessions, process);

	if (!hold) {
		hold = mem_alloc(sizeof(*hold));
		hold->process = process;
		HASH_ADD(hh, sessions->holds, process, sizeof(hold->process), hold);
	}
	hold->count++;
}

/* One hold fewer; true when it was the last. */
static bool drop_hold(struct sessions *sessions, uint64_t process)
{
	struct hold *hold = find_hold(sessions, process);

	if (!hold || --hold->count > 0)
		return false;
	HASH_DEL(sessions->holds, hold);
	free(hold);
	return true;
}

bool hold_release(struct sessions *sessions, uint64_t process)
{
	return drop_hold(sessions, process);
}

void hold_forget(struct sessions *sessions, uint64_t process)
{
	struct hold *hold = find_hold(sessions, process);

	if (!hold)
		return;
	HASH_DEL(sessions->holds, hold);
	free(hold);
}

/* Forgets held processes that are gone. */
static void prune_held(struct sessions *sessions, struct session *session)
{
	size_t kept = 0;

	for (size_t i = 0; i < session->held_count; i++)
		if (find_hold(sessions, session->held[i]))
			session->held[kept++] = session->held[i];
	session->held_count = kept;
}

static void add_held(struct session *session, uint64_t process)
{
	session->held = mem_realloc(session->held, (session->held_count + 1) * sizeof(*session->held));
	session->held[session->held_count++] = process;
}

void hold_lose(struct sessions *sessions, struct session *session, uint64_t process)
{
	if (session && session->key.length) {
		if (session->held_count >= HELD_PRUNE && (session->held_count & (session->held_count - 1)) == 0)
			prune_held(sessions, session);
		add_held(session, process);
		return;
	}
	if (drop_hold(sessions, process))
		sessions->lost(sessions->lost_context, process);
}

/* ---- contexts ---- */

static void context_unref(struct sessions *sessions, struct context *context)
{
	if (!context || --context->refs > 0)
		return;
	HASH_DEL(sessions->contexts, context);
	spec_recent_finish(&context->recent);
	spawnd__v1__client_context__free_unpacked(context->message, NULL);
	free(context->packed);
	free(context->cwd);
	free(context->env);
	free(context);
}

/* A NULL-terminated list in one block. */
static char **pack_env(const ProtobufCBinaryData *items, size_t count)
{
	size_t size = (count + 1) * sizeof(char *);
	char **list, *text;

	for (size_t i = 0; i < count; i++)
		size += items[i].len + 1;
	list = mem_alloc(size);
	text = (char *)(list + count + 1);
	for (size_t i = 0; i < count; i++) {
		list[i] = text;
		if (items[i].len)
			memcpy(text, items[i].data, items[i].len);
		text += items[i].len + 1;
	}
	return list;
}

/* The context of this content: a known one, or a new one. */
static struct context *context_of(struct sessions *sessions, const Spawnd__V1__ClientContext *message)
{
	size_t size = spawnd__v1__client_context__get_packed_size(message);
	uint8_t *packed = mem_alloc(size + 1);
	Spawnd__V1__ClientContext without_env = *message;
	struct context *context;
	size_t small;
	_cleanup_free_ uint8_t *rest = NULL;

	spawnd__v1__client_context__pack(message, packed);
	HASH_FIND(hh, sessions->contexts, packed, size, context);
	if (context) {
		free(packed);
		context->refs++;
		return context;
	}
	context = mem_alloc(sizeof(*context));
	context->refs = 1;
	context->packed = packed;
	context->packed_size = size;
	context->env = pack_env(message->env, message->n_env);
	if (message->cwd.len)
		context->cwd = mem_strndup((const char *)message->cwd.data, message->cwd.len);
	without_env.n_env = 0;
	small = spawnd__v1__client_context__get_packed_size(&without_env);
	rest = mem_alloc(small + 1);
	spawnd__v1__client_context__pack(&without_env, rest);
	context->message = spawnd__v1__client_context__unpack(NULL, small, rest);
	HASH_ADD_KEYPTR(hh, sessions->contexts, context->packed, context->packed_size, context);
	return context;
}

static int check_bytes(const ProtobufCBinaryData *bytes, const char *field, struct err *err)
{
	if (bytes->len && memchr(bytes->data, 0, bytes->len))
		return err_invalid(err, field, "must not contain NUL");
	return 0;
}

/* What cannot be checked by the proto. Entries of env without '=' are let through: some shells have such. */
static int check_hello(const Spawnd__V1__HelloRequest *hello, struct err *err)
{
	const Spawnd__V1__ClientContext *context = hello->context;
	char field[48];

	if (hello->session_key.len > SESSION_KEY_MAX)
		return err_invalid(err, "session_key", "has %zu bytes, at most %u are allowed", hello->session_key.len, SESSION_KEY_MAX);
	if (!context)
		return 0;
	if (context->cwd.len && context->cwd.data[0] != '/')
		return err_invalid(err, "context.cwd", "must be absolute");
	if (check_bytes(&context->cwd, "context.cwd", err) < 0)
		return -EINVAL;
	for (size_t i = 0; i < context->n_env; i++) {
		snprintf(field, sizeof(field), "context.env[%zu]", i);
		if (check_bytes(&context->env[i], field, err) < 0)
			return -EINVAL;
	}
	if (context->_umask_case && context->umask > 0777)
		return err_invalid(err, "context.umask", "is above 0777");
	return 0;
}

void session_fill_context(const struct session *session, struct spec_context *out)
{
	struct context *context = session ? session->context : NULL;

	if (!context)
		return;
	out->recent = &context->recent;
	out->cwd = context->cwd;
	out->env = context->env;
	out->has_umask = context->message->_umask_case != 0;
	out->umask = context->message->umask;
	out->rlimits = context->message->rlimits;
	out->rlimit_count = context->message->n_rlimits;
}

/* ---- sessions ---- */

struct sessions *sessions_create(struct loop *loop, struct quotas *quotas, session_lost_fn lost, void *context)
{
	struct sessions *sessions = mem_alloc(sizeof(*sessions));

	sessions->loop = loop;
	sessions->quotas = quotas;
	sessions->lost = lost;
	sessions->lost_context = context;
	return sessions;
}

static void destroy(struct session *session)
{
	struct sessions *sessions = session->sessions;

	if (session->key.length)
		HASH_DEL(sessions->keyed, session);
	if (session == sessions->nameless)
		sessions->nameless = NULL;
	loop_timer_destroy(session->timer);
	context_unref(sessions, session->context);
	charge_end(&session->charge);
	free(session->held);
	free(session);
	sessions->count--;
}

void sessions_destroy(struct sessions *sessions)
{
	struct session *session, *next;
	struct hold *hold, *next_hold;

	if (!sessions)
		return;
	HASH_ITER(hh, sessions->keyed, session, next)
	destroy(session);
	if (sessions->nameless)
		destroy(sessions->nameless);
	HASH_ITER(hh, sessions->holds, hold, next_hold)
	{
		HASH_DEL(sessions->holds, hold);
		free(hold);
	}
	free(sessions);
}

/* The client did not come back: what it held is lost. */
static void on_not_back(void *arg)
{
	struct session *session = arg;
	struct sessions *sessions = session->sessions;
	_cleanup_free_ uint64_t *held = mem_steal(&session->held);
	size_t count = session->held_count;

	session->held_count = 0;
	destroy(session);
	for (size_t i = 0; i < count; i++)
		hold_lose(sessions, NULL, held[i]);
}

static struct session *make(struct sessions *sessions, const struct key *key)
{
	struct session *session = mem_alloc(sizeof(*session));

	session->sessions = sessions;
	memcpy(&session->key, key, sizeof(*key)); /* hashed as a whole, padding too */
	session->id = ++sessions->last_id;
	charge_begin(&session->charge, sessions->quotas, key->uid);
	charge_set(&session->charge, QUOTA_MEMORY, sizeof(*session));
	sessions->count++;
	if (key->length)
		HASH_ADD(hh, sessions->keyed, key, sizeof(session->key), session);
	return session;
}

/* The session of this key; NULL without one. *key_out is filled for make. */
static struct session *find(struct sessions *sessions, uid_t uid, const uint8_t *bytes, size_t size, struct key *key_out)
{
	struct session *session = NULL;

	memset(key_out, 0, sizeof(*key_out));
	key_out->uid = uid;
	key_out->length = (uint8_t)size;
	if (!size)
		return NULL;
	memcpy(key_out->bytes, bytes, size);
	HASH_FIND(hh, sessions->keyed, key_out, sizeof(*key_out), session);
	return session;
}

struct peer *session_find(struct sessions *sessions, uid_t uid, const uint8_t *key, size_t size)
{
	struct session *session;
	struct key wanted;

	if (size > SESSION_KEY_MAX)
		return NULL;
	session = find(sessions, uid, key, size, &wanted);
	return session ? session->peer : NULL;
}

int session_open(struct sessions *sessions, uid_t uid, const Spawnd__V1__HelloRequest *hello, struct session **session_out,
	bool *resumed_out, struct err *err)
{
	struct session *session;
	struct context *old;
	struct key key;
	size_t size = hello->context ? spawnd__v1__client_context__get_packed_size(hello->context) : 0;
	int done = check_hello(hello, err);

	if (done == 0)
		done = quotas_check(sessions->quotas, uid, QUOTA_MEMORY, sizeof(*session) + size, err);
	if (done < 0)
		return done;
	session = find(sessions, uid, hello->session_key.data, hello->session_key.len, &key);
	*resumed_out = session != NULL;
	if (!session)
		session = make(sessions, &key);
	old = session->context;
	session->context = hello->context ? context_of(sessions, hello->context) : NULL;
	context_unref(sessions, old);
	charge_set(&session->charge, QUOTA_MEMORY, sizeof(*session) + size);
	session->connections++;
	if (session->timer)
		loop_timer_cancel(session->timer);
	*session_out = session;
	return 0;
}

struct peer *session_move(struct session *session, struct peer *peer)
{
	struct peer *before = session->peer;

	session->peer = peer;
	return before;
}

void session_leave(struct sessions *sessions, struct session *session)
{
	if (--session->connections > 0)
		return;
	session->peer = NULL;
	if (!session->key.length) {
		destroy(session);
		return;
	}
	if (!session->timer)
		session->timer = loop_timer_create(sessions->loop, on_not_back, session);
	loop_timer_set(session->timer, SESSION_RETURN_US);
}

const uint8_t *session_key(const struct session *session, size_t *size_out)
{
	*size_out = session ? session->key.length : 0;
	return session ? session->key.bytes : NULL;
}

void hold_recover(struct sessions *sessions, uid_t uid, const uint8_t *bytes, size_t size, uint64_t process)
{
	struct session *session;
	struct key key;

	hold_take(sessions, process);
	session = find(sessions, uid, bytes, size, &key);
	if (!size)
		session = sessions->nameless;
	if (!session)
		session = make(sessions, &key);
	if (!size)
		sessions->nameless = session;
	if (!session->timer)
		session->timer = loop_timer_create(sessions->loop, on_not_back, session);
	loop_timer_set(session->timer, SESSION_RECOVER_US);
	add_held(session, process);
}

uint64_t session_id(const struct session *session)
{
	return session->id;
}

size_t sessions_count(const struct sessions *sessions)
{
	return sessions->count;
}

size_t sessions_contexts(const struct sessions *sessions)
{
	return HASH_COUNT(sessions->contexts);
}
