/*
 * A request becomes an immutable spec: checked, with defaults filled in, and shared: a thousand children of one request
 * have one spec. What a client may send is bounded by its frames, so what grows with it is allocated softly.
 */
#include "process/spec.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>
#include <uthash.h>

#include "base/ledger.h"
#include "base/mem.h"
#include "base/rlimits.h"
#include "process/spec_parts.h"

#define DEFAULT_SHELL "/bin/sh"
#define DEFAULT_UMASK 022u
#define DEFAULT_GRACE_MS 10000u
#define DEFAULT_DRAIN_MS 5000u
#define DEFAULT_RETAIN (256u << 10)
#define RECENT_MAX (64u << 10) /* larger requests are compiled anew */

/* A spec with what finds it again. */
struct shared_spec {
	struct spec spec; /* first: spec_unref gets here by its address */
	uint8_t *packed;  /* message, for comparing */
	size_t packed_size;
	uint64_t digest;
	UT_hash_handle hh; /* shared_specs, by digest */
};

static struct shared_spec *shared_specs;

char *spec_text(const ProtobufCBinaryData *bytes)
{
	return mem_strndup(bytes->len ? (const char *)bytes->data : "", bytes->len);
}

char **spec_pack_list(const ProtobufCBinaryData *items, size_t count)
{
	size_t size = (count + 1) * sizeof(char *);
	char **list, *text;

	for (size_t i = 0; i < count; i++)
		size += items[i].len + 1;
	list = malloc(size);
	if (!list)
		return NULL;
	text = (char *)(list + count + 1);
	for (size_t i = 0; i < count; i++) {
		list[i] = text;
		if (items[i].len)
			memcpy(text, items[i].data, items[i].len);
		text[items[i].len] = 0;
		text += items[i].len + 1;
	}
	list[count] = NULL;
	return list;
}

static int no_memory(struct err *err)
{
	return err_errno(err, ENOMEM, "malloc", NULL);
}

/* A copy of the message that is ours to fill in. NULL when there is no memory. */
static Spawnd__V1__ProcessSpec *copy_message(const Spawnd__V1__ProcessSpec *request)
{
	size_t size = spawnd__v1__process_spec__get_packed_size(request);
	uint8_t *packed = malloc(size ? size : 1);
	Spawnd__V1__ProcessSpec *copy = NULL;

	if (packed) {
		spawnd__v1__process_spec__pack(request, packed);
		copy = spawnd__v1__process_spec__unpack(NULL, size, packed);
		free(packed);
	}
	return copy;
}

static void set_bytes(ProtobufCBinaryData *bytes, const char *text)
{
	free(bytes->data);
	bytes->len = strlen(text);
	bytes->data = mem_dup(text, bytes->len + 1);
}

/* The program and what it is called with. */
static int build_argv(struct spec *spec, struct err *err)
{
	Spawnd__V1__ProcessSpec *message = spec->message;
	ProtobufCBinaryData shell[3];

	if (message->shell_command.len == 0) {
		spec->file = spec_text(&message->argv[0]);
		if (message->argv0.len) {
			ProtobufCBinaryData program = message->argv[0];

			message->argv[0] = message->argv0;
			spec->argv = spec_pack_list(message->argv, message->n_argv);
			message->argv[0] = program;
		} else {
			spec->argv = spec_pack_list(message->argv, message->n_argv);
		}
		return spec->argv ? 0 : no_memory(err);
	}
	if (message->shell.len == 0)
		set_bytes(&message->shell, DEFAULT_SHELL);
	spec->file = spec_text(&message->shell);
	shell[0] = message->argv0.len ? message->argv0 : message->shell;
	shell[1] = (ProtobufCBinaryData){.len = 2, .data = (uint8_t *)"-c"};
	shell[2] = message->shell_command;
	spec->argv = spec_pack_list(shell, array_size(shell));
	return spec->argv ? 0 : no_memory(err);
}

/* PATH of the child's environment, else the system's (Node: never the daemon's own). */
static const char *search_path_of(const struct spec *spec)
{
	static char system_path[256];
	const char *path = spec_env_value(spec->env, "PATH");

	if (path)
		return path;
	if (!system_path[0] && confstr(_CS_PATH, system_path, sizeof(system_path)) == 0)
		snprintf(system_path, sizeof(system_path), "/usr/local/bin:/bin:/usr/bin");
	return system_path;
}

/*
 * Who the child is: as asked, else as the client when the daemon can become it. As Node, uid alone leaves the client's gid.
 * Without a change of ids nothing is set, so that a daemon without rights can do it.
 */
static void build_ids(struct spec *spec, const struct spec_context *context)
{
	Spawnd__V1__ProcessSpec *message = spec->message;
	bool root = context->daemon_uid == 0;

	spec->uid = message->_uid_case ? message->uid : root ? context->uid : context->daemon_uid;
	spec->gid = message->_gid_case ? message->gid : context->gid;
	if (root)
		spec->set_ids = spec->uid != 0 || spec->gid != 0;
	else
		spec->set_ids = spec->uid != context->daemon_uid || (message->_gid_case && message->gid != context->gid);
	if (spec->set_ids || message->_uid_case) {
		message->_uid_case = SPAWND__V1__PROCESS_SPEC___UID_UID;
		message->uid = spec->uid;
	}
	if (spec->set_ids || message->_gid_case) {
		message->_gid_case = SPAWND__V1__PROCESS_SPEC___GID_GID;
		message->gid = spec->gid;
	}
	spec->group_count = message->n_groups;
	spec->set_groups = message->n_groups > 0;
	if (message->n_groups)
		spec->groups = mem_dup(message->groups, message->n_groups * sizeof(gid_t));
}

/* Adds a limit, or replaces the one of the same resource. */
static void put_rlimit(struct spec *spec, struct rlimit_spec limit)
{
	for (size_t i = 0; i < spec->rlimit_count; i++) {
		if (spec->rlimits[i].resource == limit.resource) {
			spec->rlimits[i] = limit;
			return;
		}
	}
	spec->rlimits[spec->rlimit_count++] = limit;
}

/* The hard limit that this process may give at most. Asked for once: nobody raises it. */
static uint64_t own_hard_limit(int resource)
{
	static uint64_t limits[RLIM_NLIMITS];
	static bool known[RLIM_NLIMITS];
	struct rlimit limit;

	if (!known[resource] && getrlimit((__rlimit_resource_t)resource, &limit) == 0) {
		limits[resource] = limit.rlim_max;
		known[resource] = true;
	}
	return known[resource] ? limits[resource] : UINT64_MAX;
}

/*
 * Limits of the session, then those of the request. The session's are a default, so they are lowered to what this process
 * may give; the request's are an order, and what cannot be done fails the spawn.
 */
static void build_rlimits(struct spec *spec, const struct spec_context *context)
{
	Spawnd__V1__ProcessSpec *message = spec->message;

	spec->rlimits = mem_alloc((context->rlimit_count + message->n_rlimits + 1) * sizeof(*spec->rlimits));
	for (size_t i = 0; i < context->rlimit_count; i++) {
		struct rlimit_spec limit = {
			.resource = rlimits_of(context->rlimits[i]->name),
			.soft = context->rlimits[i]->soft,
			.hard = context->rlimits[i]->hard,
		};
		uint64_t most;

		if (limit.resource < 0)
			continue;
		most = own_hard_limit(limit.resource);
		if (limit.hard > most)
			limit.hard = most;
		if (limit.soft > limit.hard)
			limit.soft = limit.hard;
		put_rlimit(spec, limit);
	}
	for (size_t i = 0; i < message->n_rlimits; i++)
		put_rlimit(spec, (struct rlimit_spec){
					 .resource = rlimits_of(message->rlimits[i]->name),
					 .soft = message->rlimits[i]->soft,
					 .hard = message->rlimits[i]->hard,
				 });
}

/* Fills in what the request left to the daemon, but for stdio. */
static void fill_defaults(Spawnd__V1__ProcessSpec *message, const struct spec_context *context, enum spec_use use)
{
	if (message->cwd.len == 0)
		set_bytes(&message->cwd, context->cwd ? context->cwd : "/");
	if (!message->_umask_case) {
		message->_umask_case = SPAWND__V1__PROCESS_SPEC___UMASK_UMASK;
		message->umask = context->has_umask ? context->umask & 0777u : DEFAULT_UMASK;
	}
	if (!message->_grace_ms_case) {
		message->_grace_ms_case = SPAWND__V1__PROCESS_SPEC___GRACE_MS_GRACE_MS;
		message->grace_ms = DEFAULT_GRACE_MS;
	}
	if (!message->_drain_timeout_ms_case) {
		message->_drain_timeout_ms_case = SPAWND__V1__PROCESS_SPEC___DRAIN_TIMEOUT_MS_DRAIN_TIMEOUT_MS;
		message->drain_timeout_ms = DEFAULT_DRAIN_MS;
	}
	if (!message->_retain_bytes_case) {
		message->_retain_bytes_case = SPAWND__V1__PROCESS_SPEC___RETAIN_BYTES_RETAIN_BYTES;
		message->retain_bytes = DEFAULT_RETAIN;
	}
	if (message->kill_signal == 0)
		message->kill_signal = SIGTERM;
	if (message->kill_scope == SPAWND__V1__KILL_SCOPE__KILL_SCOPE_UNSPECIFIED)
		message->kill_scope = SPAWND__V1__KILL_SCOPE__KILL_SCOPE_TREE;
	if (message->transport == SPAWND__V1__TRANSPORT__TRANSPORT_UNSPECIFIED)
		message->transport = SPAWND__V1__TRANSPORT__TRANSPORT_KEPT;
	if (message->on_disconnect == SPAWND__V1__ON_DISCONNECT__ON_DISCONNECT_UNSPECIFIED)
		message->on_disconnect =
			use == SPEC_START ? SPAWND__V1__ON_DISCONNECT__ON_DISCONNECT_KEEP : SPAWND__V1__ON_DISCONNECT__ON_DISCONNECT_STOP;
	if (message->on_shutdown == SPAWND__V1__ON_SHUTDOWN__ON_SHUTDOWN_UNSPECIFIED)
		message->on_shutdown = SPAWND__V1__ON_SHUTDOWN__ON_SHUTDOWN_STOP;
	message->no_new_privs = message->no_new_privs || context->no_new_privs;
}

/* Everything of a spec but its message. */
static int build(
	struct spec *spec, const Spawnd__V1__ProcessSpec *request, const struct spec_context *context, enum spec_use use, struct err *err)
{
	int done;

	spec->use = use;
	fill_defaults(spec->message, context, use);
	done = build_argv(spec, err);
	if (done == 0)
		done = spec_build_stdio(spec, use, err);
	if (done == 0)
		done = spec_build_env(request->env, context->env, spec, err);
	if (done < 0)
		return done;
	build_ids(spec, context);
	build_rlimits(spec, context);
	spec->search_path = search_path_of(spec);
	spec->cwd = spec_text(&spec->message->cwd);
	spec->umask = spec->message->umask;
	spec->set_nice = spec->message->_nice_case != 0;
	spec->nice = spec->message->nice;
	spec->no_new_privs = spec->message->no_new_privs;
	spec->kill_signal = spec->message->kill_signal;
	return 0;
}

static void destroy(struct shared_spec *shared)
{
	struct spec *spec = &shared->spec;

	if (spec->record)
		ledger_free(spec->ledger, spec->record);
	if (spec->message)
		spawnd__v1__process_spec__free_unpacked(spec->message, NULL);
	for (size_t i = 0; i < spec->slot_count; i++)
		free((char *)spec->slots[i].path);
	free(spec->slots);
	free(spec->argv);
	free(spec->env);
	free(spec->file);
	free(spec->cwd);
	free(spec->groups);
	free(spec->rlimits);
	free(spec->plan);
	free(shared->packed);
	free(shared);
}

/* FNV-1a, continued over more bytes. */
static uint64_t digest_bytes(uint64_t digest, const void *bytes, size_t size)
{
	const uint8_t *at = bytes;

	for (size_t i = 0; i < size; i++)
		digest = (digest ^ at[i]) * UINT64_C(0x100000001b3);
	return digest;
}

static bool same_list(char *const *a, char *const *b)
{
	for (; *a && *b; a++, b++)
		if (strcmp(*a, *b) != 0)
			return false;
	return !*a && !*b;
}

/* Field by field: between them there may be padding. */
static bool same_rlimits(const struct spec *a, const struct spec *b)
{
	for (size_t i = 0; i < a->rlimit_count && i < b->rlimit_count; i++) {
		if (a->rlimits[i].resource != b->rlimits[i].resource || a->rlimits[i].soft != b->rlimits[i].soft ||
			a->rlimits[i].hard != b->rlimits[i].hard)
			return false;
	}
	return a->rlimit_count == b->rlimit_count;
}

/* Whether two specs are one: message, and what came from the session. */
static bool same_spec(const struct shared_spec *a, const struct shared_spec *b)
{
	return a->packed_size == b->packed_size && memcmp(a->packed, b->packed, a->packed_size) == 0 &&
	       same_list(a->spec.env, b->spec.env) && a->spec.set_ids == b->spec.set_ids && a->spec.uid == b->spec.uid &&
	       a->spec.gid == b->spec.gid && same_rlimits(&a->spec, &b->spec);
}

/* The spec of this content: an older one when there is, else this. -ENOMEM. */
static int share(struct shared_spec *shared, struct spec **spec_out, struct err *err)
{
	struct shared_spec *older;

	shared->packed_size = spawnd__v1__process_spec__get_packed_size(shared->spec.message);
	shared->packed = malloc(shared->packed_size);
	if (!shared->packed)
		return no_memory(err);
	spawnd__v1__process_spec__pack(shared->spec.message, shared->packed);
	shared->digest = digest_bytes(UINT64_C(0xcbf29ce484222325), shared->packed, shared->packed_size);
	for (char **entry = shared->spec.env; *entry; entry++)
		shared->digest = digest_bytes(shared->digest, *entry, strlen(*entry) + 1);
	HASH_FIND(hh, shared_specs, &shared->digest, sizeof(shared->digest), older);
	if (older && same_spec(older, shared)) {
		destroy(shared);
		*spec_out = spec_ref(&older->spec);
		return 0;
	}
	if (!older)
		HASH_ADD(hh, shared_specs, digest, sizeof(shared->digest), shared);
	*spec_out = &shared->spec;
	return 0;
}

static int compile(const Spawnd__V1__ProcessSpec *request, const struct spec_context *context, enum spec_use use, struct spec **spec_out,
	struct err *err)
{
	struct shared_spec *shared;
	int done = spec_check(request, use, err);

	if (done < 0)
		return done;
	shared = mem_alloc(sizeof(*shared));
	shared->spec.refs = 1;
	shared->spec.message = copy_message(request);
	if (!shared->spec.message)
		done = no_memory(err);
	else
		done = build(&shared->spec, request, context, use, err);
	if (done == 0)
		done = share(shared, spec_out, err);
	if (done < 0)
		destroy(shared);
	return done;
}

static bool is_recent(const struct spec_recent *recent, const struct spec_recent *asked)
{
	return recent->spec && recent->size == asked->size && memcmp(recent->request, asked->request, asked->size) == 0 &&
	       recent->use == asked->use && recent->uid == asked->uid && recent->gid == asked->gid &&
	       recent->no_new_privs == asked->no_new_privs;
}

void spec_recent_finish(struct spec_recent *recent)
{
	spec_unref(recent->spec);
	free(recent->request);
	*recent = (struct spec_recent){0};
}

int spec_compile(const Spawnd__V1__ProcessSpec *request, const struct spec_context *context, enum spec_use use, struct spec **spec_out,
	struct err *err)
{
	struct spec_recent asked = {.use = use, .uid = context->uid, .gid = context->gid, .no_new_privs = context->no_new_privs};
	int done;

	asked.size = context->recent ? spawnd__v1__process_spec__get_packed_size(request) : SIZE_MAX;
	if (asked.size > RECENT_MAX)
		return compile(request, context, use, spec_out, err);
	asked.request = mem_alloc(asked.size + 1);
	spawnd__v1__process_spec__pack(request, asked.request);
	if (is_recent(context->recent, &asked)) {
		free(asked.request);
		*spec_out = spec_ref(context->recent->spec);
		return 0;
	}
	done = compile(request, context, use, spec_out, err);
	if (done < 0) {
		free(asked.request);
		return done;
	}
	spec_recent_finish(context->recent);
	asked.spec = spec_ref(*spec_out);
	*context->recent = asked;
	return 0;
}

struct spec *spec_ref(struct spec *spec)
{
	spec->refs++;
	return spec;
}

void spec_unref(struct spec *spec)
{
	struct shared_spec *shared = (struct shared_spec *)spec, *known;

	if (!spec)
		return;
	assert(spec->refs > 0);
	if (--spec->refs > 0)
		return;
	HASH_FIND(hh, shared_specs, &shared->digest, sizeof(shared->digest), known);
	if (known == shared)
		HASH_DEL(shared_specs, shared);
	destroy(shared);
}

void spec_syscall(const struct spec *spec, char *text, size_t size)
{
	snprintf(text, size, "spawn %s", spec->file);
}
