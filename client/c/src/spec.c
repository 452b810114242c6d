/* The spec: a ProcessSpec that owns its memory. Lists grow by one; the daemon checks the values. */
#include <string.h>

#include "base/mem.h"
#include "internal.h"

/* Copies text into a bytes field. */
static void set_bytes(ProtobufCBinaryData *field, const char *text)
{
	free(field->data);
	field->len = text ? strlen(text) : 0;
	field->data = text ? (uint8_t *)mem_strdup(text) : NULL;
}

/* Copies text (NULL: none) into a string field, whose default is a constant that must not be freed. */
static void set_string(char **field, const char *text)
{
	if (*field != (char *)protobuf_c_empty_string)
		free(*field);
	*field = text ? mem_strdup(text) : (char *)protobuf_c_empty_string;
}

/* Appends to a repeated bytes field. */
static void add_bytes(ProtobufCBinaryData **list, size_t *count, const char *text)
{
	*list = mem_realloc(*list, (*count + 1) * sizeof(**list));
	(*list)[*count] = (ProtobufCBinaryData){0};
	set_bytes(&(*list)[(*count)++], text);
}

/* Appends a pointer to a repeated message field. */
static void add_pointer(void *list_slot, size_t *count, void *message)
{
	void **list;

	memcpy(&list, list_slot, sizeof(list));
	list = mem_realloc(list, (*count + 1) * sizeof(*list));
	list[(*count)++] = message;
	memcpy(list_slot, &list, sizeof(list));
}

static struct spawnd_spec *create(void)
{
	struct spawnd_spec *spec = mem_alloc(sizeof(*spec));

	spawnd__v1__process_spec__init(&spec->message);
	return spec;
}

struct spawnd_spec *spawnd_spec_create(const char *const *argv)
{
	struct spawnd_spec *spec = create();

	for (; argv && *argv; argv++)
		add_bytes(&spec->message.argv, &spec->message.n_argv, *argv);
	return spec;
}

struct spawnd_spec *spawnd_spec_create_shell(const char *line, const char *shell)
{
	struct spawnd_spec *spec = create();

	set_bytes(&spec->message.shell_command, line);
	set_bytes(&spec->message.shell, shell);
	return spec;
}

/* Frees what was allocated here, by the generated code's own rules: it never was anything but unpacked-like memory. */
void spawnd_spec_free(struct spawnd_spec *spec)
{
	Spawnd__V1__ProcessSpec *message;

	if (!spec)
		return;
	message = mem_dup(&spec->message, sizeof(spec->message));
	spawnd__v1__process_spec__free_unpacked(message, NULL);
	free(spec->fds);
	free(spec);
}

void spawnd_spec_set_name(struct spawnd_spec *spec, const char *name)
{
	set_string(&spec->message.name, name);
}

void spawnd_spec_add_label(struct spawnd_spec *spec, const char *key, const char *value)
{
	Spawnd__V1__ProcessSpec__LabelsEntry *entry = mem_alloc(sizeof(*entry));

	spawnd__v1__process_spec__labels_entry__init(entry);
	set_string(&entry->key, key);
	set_string(&entry->value, value);
	add_pointer(&spec->message.labels, &spec->message.n_labels, entry);
}

void spawnd_spec_set_argv0(struct spawnd_spec *spec, const char *argv0)
{
	set_bytes(&spec->message.argv0, argv0);
}

void spawnd_spec_set_cwd(struct spawnd_spec *spec, const char *cwd)
{
	set_bytes(&spec->message.cwd, cwd);
}

/* The environment message, made when it is first needed. */
static Spawnd__V1__Environment *environment(struct spawnd_spec *spec)
{
	if (!spec->message.env) {
		spec->message.env = mem_alloc(sizeof(*spec->message.env));
		spawnd__v1__environment__init(spec->message.env);
	}
	return spec->message.env;
}

void spawnd_spec_clear_env(struct spawnd_spec *spec)
{
	environment(spec)->origin = SPAWND__V1__ENVIRONMENT__ORIGIN__ORIGIN_EMPTY;
}

void spawnd_spec_set_env(struct spawnd_spec *spec, const char *assignment)
{
	Spawnd__V1__Environment *env = environment(spec);

	add_bytes(&env->set, &env->n_set, assignment);
}

void spawnd_spec_unset_env(struct spawnd_spec *spec, const char *name)
{
	Spawnd__V1__Environment *env = environment(spec);

	add_bytes(&env->unset, &env->n_unset, name);
}

/* The message of a slot, made when it is first named. */
static Spawnd__V1__Stdio *slot_message(struct spawnd_spec *spec, unsigned slot)
{
	Spawnd__V1__Stdio *stdio;

	for (size_t i = 0; i < spec->message.n_stdio; i++) {
		if (spec->message.stdio[i]->slot == slot)
			return spec->message.stdio[i];
	}
	stdio = mem_alloc(sizeof(*stdio));
	spawnd__v1__stdio__init(stdio);
	stdio->slot = slot;
	add_pointer(&spec->message.stdio, &spec->message.n_stdio, stdio);
	return stdio;
}

void spawnd_spec_set_stdio(struct spawnd_spec *spec, unsigned slot, enum spawnd_stdio kind)
{
	slot_message(spec, slot)->kind = (Spawnd__V1__Stdio__Kind)kind;
}

void spawnd_spec_set_channel(struct spawnd_spec *spec, unsigned slot, enum spawnd_serialization serialization)
{
	slot_message(spec, slot)->kind = SPAWND__V1__STDIO__KIND__KIND_CHANNEL;
	spec->message.serialization = (Spawnd__V1__Serialization)serialization;
}

void spawnd_spec_set_pipe(struct spawnd_spec *spec, unsigned slot, enum spawnd_direction direction)
{
	Spawnd__V1__Stdio *stdio = slot_message(spec, slot);

	stdio->kind = SPAWND__V1__STDIO__KIND__KIND_PIPE;
	stdio->direction = (Spawnd__V1__Stdio__Direction)direction;
}

void spawnd_spec_set_file(struct spawnd_spec *spec, unsigned slot, const char *path, enum spawnd_file_mode mode, int permissions)
{
	Spawnd__V1__Stdio *stdio = slot_message(spec, slot);

	stdio->kind = SPAWND__V1__STDIO__KIND__KIND_FILE;
	if (!stdio->file) {
		stdio->file = mem_alloc(sizeof(*stdio->file));
		spawnd__v1__file_spec__init(stdio->file);
	}
	set_bytes(&stdio->file->path, path);
	stdio->file->mode = (Spawnd__V1__FileSpec__Mode)mode;
	if (permissions >= 0) {
		stdio->file->_permissions_case = SPAWND__V1__FILE_SPEC___PERMISSIONS_PERMISSIONS;
		stdio->file->permissions = (uint32_t)permissions;
	}
}

void spawnd_spec_set_fd(struct spawnd_spec *spec, unsigned slot, int fd)
{
	Spawnd__V1__Stdio *stdio = slot_message(spec, slot);

	stdio->kind = SPAWND__V1__STDIO__KIND__KIND_FD;
	if (!stdio->fd) {
		stdio->fd = mem_alloc(sizeof(*stdio->fd));
		spawnd__v1__fd_spec__init(stdio->fd);
	}
	stdio->fd->fd_case = SPAWND__V1__FD_SPEC__FD_ATTACHED;
	stdio->fd->attached = (uint32_t)spec->fd_count;
	spec->fds = mem_realloc(spec->fds, (spec->fd_count + 1) * sizeof(int));
	spec->fds[spec->fd_count++] = fd;
}

void spawnd_spec_set_same(struct spawnd_spec *spec, unsigned slot, unsigned as)
{
	Spawnd__V1__Stdio *stdio = slot_message(spec, slot);

	stdio->kind = SPAWND__V1__STDIO__KIND__KIND_SAME;
	stdio->same_as = as;
}

void spawnd_spec_set_capture(struct spawnd_spec *spec, unsigned slot, uint64_t limit, enum spawnd_capture policy)
{
	Spawnd__V1__Stdio *stdio = slot_message(spec, slot);

	if (!stdio->capture) {
		stdio->capture = mem_alloc(sizeof(*stdio->capture));
		spawnd__v1__capture__init(stdio->capture);
	}
	stdio->capture->limit = limit;
	stdio->capture->policy = (Spawnd__V1__Capture__Policy)policy;
}

void spawnd_spec_set_window(struct spawnd_spec *spec, unsigned rows, unsigned columns)
{
	if (!spec->message.window) {
		spec->message.window = mem_alloc(sizeof(*spec->message.window));
		spawnd__v1__window_size__init(spec->message.window);
	}
	spec->message.window->rows = rows;
	spec->message.window->columns = columns;
}

void spawnd_spec_set_uid(struct spawnd_spec *spec, uid_t uid)
{
	spec->message._uid_case = SPAWND__V1__PROCESS_SPEC___UID_UID;
	spec->message.uid = uid;
}

void spawnd_spec_set_gid(struct spawnd_spec *spec, gid_t gid)
{
	spec->message._gid_case = SPAWND__V1__PROCESS_SPEC___GID_GID;
	spec->message.gid = gid;
}

void spawnd_spec_set_groups(struct spawnd_spec *spec, const gid_t *groups, size_t count)
{
	free(spec->message.groups);
	spec->message.groups = mem_dup(groups, count * sizeof(*groups));
	spec->message.n_groups = count;
}

void spawnd_spec_set_umask(struct spawnd_spec *spec, mode_t mask)
{
	spec->message._umask_case = SPAWND__V1__PROCESS_SPEC___UMASK_UMASK;
	spec->message.umask = mask;
}

void spawnd_spec_set_nice(struct spawnd_spec *spec, int nice)
{
	spec->message._nice_case = SPAWND__V1__PROCESS_SPEC___NICE_NICE;
	spec->message.nice = nice;
}

void spawnd_spec_add_rlimit(struct spawnd_spec *spec, const char *name, uint64_t soft, uint64_t hard)
{
	Spawnd__V1__Rlimit *limit = mem_alloc(sizeof(*limit));

	spawnd__v1__rlimit__init(limit);
	set_string(&limit->name, name);
	limit->soft = soft;
	limit->hard = hard;
	add_pointer(&spec->message.rlimits, &spec->message.n_rlimits, limit);
}

void spawnd_spec_set_no_new_privs(struct spawnd_spec *spec, bool on)
{
	spec->message.no_new_privs = on;
}

void spawnd_spec_set_timeout(struct spawnd_spec *spec, uint64_t timeout_ms)
{
	spec->message.timeout_ms = timeout_ms;
}

void spawnd_spec_set_kill_signal(struct spawnd_spec *spec, int signal)
{
	spec->message.kill_signal = signal;
}

void spawnd_spec_set_kill_scope(struct spawnd_spec *spec, enum spawnd_scope scope)
{
	spec->message.kill_scope = (Spawnd__V1__KillScope)scope;
}

void spawnd_spec_set_persist(struct spawnd_spec *spec, bool on)
{
	spec->message.persist = on;
}

void spawnd_spec_set_no_tree(struct spawnd_spec *spec, bool on)
{
	spec->message.no_tree = on;
}

void spawnd_spec_set_grace(struct spawnd_spec *spec, uint64_t grace_ms)
{
	spec->message._grace_ms_case = SPAWND__V1__PROCESS_SPEC___GRACE_MS_GRACE_MS;
	spec->message.grace_ms = grace_ms;
}

void spawnd_spec_set_drain_timeout(struct spawnd_spec *spec, uint64_t drain_timeout_ms)
{
	spec->message._drain_timeout_ms_case = SPAWND__V1__PROCESS_SPEC___DRAIN_TIMEOUT_MS_DRAIN_TIMEOUT_MS;
	spec->message.drain_timeout_ms = drain_timeout_ms;
}

void spawnd_spec_set_retain(struct spawnd_spec *spec, uint64_t bytes)
{
	spec->message._retain_bytes_case = SPAWND__V1__PROCESS_SPEC___RETAIN_BYTES_RETAIN_BYTES;
	spec->message.retain_bytes = bytes;
}

void spawnd_spec_set_log_file(struct spawnd_spec *spec, const char *path, uint64_t max_bytes, unsigned keep)
{
	if (!spec->message.log_file) {
		spec->message.log_file = mem_alloc(sizeof(*spec->message.log_file));
		spawnd__v1__log_file__init(spec->message.log_file);
	}
	set_bytes(&spec->message.log_file->path, path);
	spec->message.log_file->max_bytes = max_bytes;
	spec->message.log_file->keep = keep;
}

void spawnd_spec_set_transport(struct spawnd_spec *spec, enum spawnd_transport transport)
{
	spec->message.transport = (Spawnd__V1__Transport)transport;
}

void spawnd_spec_set_on_disconnect(struct spawnd_spec *spec, enum spawnd_on_disconnect what)
{
	spec->message.on_disconnect = (Spawnd__V1__OnDisconnect)what;
}

void spawnd_spec_set_on_shutdown(struct spawnd_spec *spec, enum spawnd_on_shutdown what)
{
	spec->message.on_shutdown = (Spawnd__V1__OnShutdown)what;
}
