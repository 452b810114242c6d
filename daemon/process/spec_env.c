/*
 * The environment of a child: that of the session or none, without what is unset, with what is set. The order of the
 * session is kept; a name that is set again keeps its place. SPAWND_ID is the daemon's and is left out; so are the names that
 * tell a child of its channel when it has one.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <uthash.h>

#include "base/mem.h"
#include "process/spec_parts.h"

#define CHANNEL_VARIABLES 2
#define CHANNEL_TEXT 64

/* One variable, found by its name. */
struct variable {
	size_t name_length;
	ProtobufCBinaryData entry; /* borrowed; no data: it is unset */
	UT_hash_handle hh;         /* by name; the order of the hash is that of adding */
};

struct environment {
	struct variable *table, *block;
	size_t used;
};

/* Makes an entry the one of its name. */
static void put(struct environment *environment, const uint8_t *bytes, size_t length, size_t name_length)
{
	struct variable *variable;

	HASH_FIND(hh, environment->table, bytes, name_length, variable);
	if (!variable) {
		variable = &environment->block[environment->used++];
		variable->name_length = name_length;
		HASH_ADD_KEYPTR(hh, environment->table, bytes, name_length, variable);
	}
	variable->entry = (ProtobufCBinaryData){.len = length, .data = (uint8_t *)bytes};
}

static void put_session(struct environment *environment, char *const *session)
{
	for (; session && *session; session++) {
		const char *equals = strchr(*session, '=');

		if (equals && equals != *session)
			put(environment, (const uint8_t *)*session, strlen(*session), (size_t)(equals - *session));
	}
}

/* "NAME=value", every one of them. */
static int put_set(struct environment *environment, const Spawnd__V1__Environment *request, struct err *err)
{
	char field[64];

	for (size_t i = 0; i < request->n_set; i++) {
		const ProtobufCBinaryData *entry = &request->set[i];
		const uint8_t *equals = entry->len ? memchr(entry->data, '=', entry->len) : NULL;
		int done;

		if (!equals || equals == entry->data || memchr(entry->data, 0, entry->len)) {
			snprintf(field, sizeof(field), "spec.env.set[%zu]", i);
			done = spec_check_bytes(entry, field, err);
			if (done == 0)
				done = err_invalid(err, field, equals ? "the name is empty" : "must be NAME=value");
			return done;
		}
		put(environment, entry->data, entry->len, (size_t)(equals - entry->data));
	}
	return 0;
}

/* "NAME", every one of them. What is set as well is contradictory. */
static int check_unset(const Spawnd__V1__Environment *request, struct err *err)
{
	char field[64];

	for (size_t i = 0; i < request->n_unset; i++) {
		const ProtobufCBinaryData *name = &request->unset[i];
		int done;

		if (name->len && !memchr(name->data, 0, name->len) && !memchr(name->data, '=', name->len))
			continue;
		snprintf(field, sizeof(field), "spec.env.unset[%zu]", i);
		done = spec_check_bytes(name, field, err);
		return done < 0 ? done : err_invalid(err, field, "must be a NAME");
	}
	return 0;
}

static void unset(struct environment *environment, const uint8_t *name, size_t length)
{
	struct variable *variable;

	HASH_FIND(hh, environment->table, name, length, variable);
	if (variable)
		HASH_DEL(environment->table, variable);
}

/* How many entries there can be at most. */
static size_t count_entries(const Spawnd__V1__Environment *request, char *const *session)
{
	size_t count = request ? request->n_set : 0;

	while (session && *session++)
		count++;
	return count;
}

static int collect(struct environment *environment, const Spawnd__V1__Environment *request, char *const *session, struct err *err)
{
	int done = 0;

	put_session(environment, session);
	if (request) {
		done = check_unset(request, err);
		for (size_t i = 0; done == 0 && i < request->n_unset; i++)
			unset(environment, request->unset[i].data, request->unset[i].len);
		if (done == 0)
			done = put_set(environment, request, err);
	}
	unset(environment, (const uint8_t *)SPEC_ENV_ID, sizeof(SPEC_ENV_ID) - 1);
	return done;
}

/* Where the child finds its channel: Node's names, or our own. `texts` must outlive the table. */
static void put_channel(struct environment *environment, const struct spec *spec, char texts[CHANNEL_VARIABLES][CHANNEL_TEXT])
{
	static const char *const names[] = {
		"NODE_CHANNEL_FD", "NODE_CHANNEL_SERIALIZATION_MODE", "SPAWND_CHANNEL_FD", "SPAWND_CHANNEL_VERSION"};
	const struct slot_spec *slot = spec_channel_slot(spec);
	bool native = spec->message->serialization == SPAWND__V1__SERIALIZATION__SERIALIZATION_NATIVE;

	if (!slot)
		return;
	for (size_t i = 0; i < array_size(names); i++)
		unset(environment, (const uint8_t *)names[i], strlen(names[i]));
	snprintf(texts[0], CHANNEL_TEXT, "%s=%u", native ? "SPAWND_CHANNEL_FD" : "NODE_CHANNEL_FD", slot->slot);
	if (native)
		snprintf(texts[1], CHANNEL_TEXT, "SPAWND_CHANNEL_VERSION=1");
	else
		snprintf(texts[1], CHANNEL_TEXT, "NODE_CHANNEL_SERIALIZATION_MODE=%s",
			spec->message->serialization == SPAWND__V1__SERIALIZATION__SERIALIZATION_ADVANCED ? "advanced" : "json");
	for (size_t i = 0; i < CHANNEL_VARIABLES; i++)
		put(environment, (const uint8_t *)texts[i], strlen(texts[i]), (size_t)(strchr(texts[i], '=') - texts[i]));
}

/* How many descriptors there are to accept from, as systemd tells it; the pid is the child's to write. `text` must outlive the table. */
static void put_listen_fds(struct environment *environment, const struct spec *spec, char text[CHANNEL_TEXT])
{
	static const char *const names[] = {"LISTEN_FDS", "LISTEN_PID"};

	if (!spec->message->listen_fds)
		return;
	for (size_t i = 0; i < array_size(names); i++)
		unset(environment, (const uint8_t *)names[i], strlen(names[i]));
	snprintf(text, CHANNEL_TEXT, "LISTEN_FDS=%u", spec->message->listen_fds);
	put(environment, (const uint8_t *)text, strlen(text), strlen("LISTEN_FDS"));
}

/* The list in the order of the table. */
static char **list_of(const struct environment *environment)
{
	size_t count = HASH_COUNT(environment->table), i = 0;
	ProtobufCBinaryData *items = malloc((count + 1) * sizeof(*items));
	char **list;

	if (!items)
		return NULL;
	for (struct variable *variable = environment->table; variable; variable = variable->hh.next)
		items[i++] = variable->entry;
	list = spec_pack_list(items, count);
	free(items);
	return list;
}

int spec_build_env(const Spawnd__V1__Environment *request, char *const *session, struct spec *spec, struct err *err)
{
	struct environment environment = {0};
	char texts[CHANNEL_VARIABLES][CHANNEL_TEXT], listen_fds[CHANNEL_TEXT];
	int done;

	if (request && request->origin != SPAWND__V1__ENVIRONMENT__ORIGIN__ORIGIN_SESSION) {
		if (request->origin != SPAWND__V1__ENVIRONMENT__ORIGIN__ORIGIN_EMPTY)
			return err_invalid(err, "spec.env.origin", "%d is unknown", (int)request->origin);
		session = NULL;
	}
	environment.block = calloc(count_entries(request, session) + CHANNEL_VARIABLES + 2, sizeof(*environment.block));
	if (!environment.block)
		return err_errno(err, ENOMEM, "malloc", NULL);
	done = collect(&environment, request, session, err);
	if (done == 0) {
		put_channel(&environment, spec, texts);
		put_listen_fds(&environment, spec, listen_fds);
		spec->env = list_of(&environment);
		if (!spec->env)
			done = err_errno(err, ENOMEM, "malloc", NULL);
	}
	HASH_CLEAR(hh, environment.table);
	free(environment.block);
	return done;
}

const char *spec_env_value(char *const *env, const char *name)
{
	size_t length = strlen(name);

	for (; *env; env++)
		if (strncmp(*env, name, length) == 0 && (*env)[length] == '=')
			return *env + length + 1;
	return NULL;
}
