/* See template.h. */
#include "pool/template.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/rlimits.h"

#define LISTENERS_MAX 16u

/* "{fd}", "{port:2}": the number it stands for. Its length, 0 when it is none of them. */
static size_t find_word(const uint8_t *text, size_t size, const unsigned *ports, size_t count, unsigned *number_out)
{
	static const char *const words[] = {"{fd", "{port"};

	for (size_t i = 0; i < array_size(words); i++) {
		size_t length = strlen(words[i]), index = 0;

		if (size <= length || memcmp(text, words[i], length) != 0)
			continue;
		if (text[length] == ':') {
			size_t start = ++length;

			while (length < size && length < start + 2 && text[length] >= '0' && text[length] <= '9')
				index = 10 * index + (size_t)(text[length++] - '0');
			if (length == start)
				return 0;
		}
		if (length >= size || text[length] != '}' || index >= count)
			return 0;
		*number_out = i == 0 ? TEMPLATE_FIRST_FD + (unsigned)index : ports[index];
		return length + 1;
	}
	return 0;
}

void template_expand(const uint8_t *text, size_t size, const unsigned *ports, size_t count, struct buf *out)
{
	for (size_t i = 0; i < size;) {
		unsigned number;
		size_t length = text[i] == '{' ? find_word(text + i, size - i, ports, count, &number) : 0;
		char digits[16];

		if (length)
			buf_append(out, digits, (size_t)snprintf(digits, sizeof(digits), "%u", number));
		else
			buf_append(out, text + i, 1);
		i += length ? length : 1;
	}
}

int template_check(const Spawnd__V1__PoolSpec *pool, struct err *err)
{
	char field[64];

	if (!pool->template_)
		return err_invalid(err, "spec.template", "is missing");
	if (pool->template_->name[0])
		return err_invalid(err, "spec.template.name", "workers have no names");
	if (pool->n_listeners > LISTENERS_MAX)
		return err_invalid(err, "spec.listeners", "are more than %u", LISTENERS_MAX);
	if (pool->template_->listen_fds)
		return err_invalid(err, "spec.template.listen_fds", "follows from spec.listeners");
	if (pool->template_->transport == SPAWND__V1__TRANSPORT__TRANSPORT_HANDOVER)
		return err_invalid(err, "spec.template.transport", "there is no client to hand the pipes over to");
	for (size_t i = 0; i < pool->template_->n_stdio; i++) {
		const Spawnd__V1__Stdio *stdio = pool->template_->stdio[i];

		snprintf(field, sizeof(field), "spec.template.stdio[%zu]", i);
		if (stdio->slot >= TEMPLATE_FIRST_FD)
			return err_invalid(err, field, "slots from %u on are the pool's", TEMPLATE_FIRST_FD);
		if (stdio->kind == SPAWND__V1__STDIO__KIND__KIND_FD)
			return err_invalid(err, field, "a descriptor of the client cannot be given to every worker");
	}
	return 0;
}

/* Replaces bytes that belong to a message. */
static void expand(ProtobufCBinaryData *bytes, const unsigned *ports, size_t count)
{
	struct buf out = {0};

	if (!bytes->len || !memchr(bytes->data, '{', bytes->len))
		return;
	template_expand(bytes->data, bytes->len, ports, count, &out);
	free(bytes->data);
	bytes->data = mem_dup(out.bytes, out.length);
	bytes->len = out.length;
	buf_finish(&out);
}

/* The environment entries that may be expanded are copied into a message; one more of ours. */
static void add_env(Spawnd__V1__Environment *env, char *text /* taken */)
{
	env->set = mem_realloc(env->set, (env->n_set + 1) * sizeof(*env->set));
	env->set[env->n_set].data = (uint8_t *)text;
	env->set[env->n_set++].len = strlen(text);
}

static void add_label(Spawnd__V1__ProcessSpec *message, const char *key, char *value /* taken */)
{
	Spawnd__V1__ProcessSpec__LabelsEntry *label = mem_alloc(sizeof(*label));

	spawnd__v1__process_spec__labels_entry__init(label);
	label->key = mem_strdup(key);
	label->value = value;
	message->labels = mem_realloc(message->labels, (message->n_labels + 1) * sizeof(*message->labels));
	message->labels[message->n_labels++] = label;
}

static void add_socket(Spawnd__V1__ProcessSpec *message, uint32_t index)
{
	Spawnd__V1__Stdio *stdio = mem_alloc(sizeof(*stdio));

	spawnd__v1__stdio__init(stdio);
	stdio->slot = TEMPLATE_FIRST_FD + index;
	stdio->kind = SPAWND__V1__STDIO__KIND__KIND_FD;
	stdio->fd = mem_alloc(sizeof(*stdio->fd));
	spawnd__v1__fd_spec__init(stdio->fd);
	stdio->fd->fd_case = SPAWND__V1__FD_SPEC__FD_ATTACHED;
	stdio->fd->attached = index;
	message->stdio = mem_realloc(message->stdio, (message->n_stdio + 1) * sizeof(*message->stdio));
	message->stdio[message->n_stdio++] = stdio;
}

/* LISTEN_FDNAMES=a:b */
static char *names_of(const Spawnd__V1__PoolSpec *pool)
{
	struct buf out = {0};
	char *text;

	buf_append(&out, "LISTEN_FDNAMES=", strlen("LISTEN_FDNAMES="));
	for (size_t i = 0; i < pool->n_listeners; i++) {
		const char *name = pool->listeners[i]->name[0] ? pool->listeners[i]->name : "spawnd";

		if (i)
			buf_append(&out, ":", 1);
		buf_append(&out, name, strlen(name));
	}
	text = mem_strndup((const char *)out.bytes, out.length);
	buf_finish(&out);
	return text;
}

/* A copy of a message that can be changed. NULL: no memory. */
static Spawnd__V1__ProcessSpec *copy(const Spawnd__V1__ProcessSpec *message)
{
	size_t size = spawnd__v1__process_spec__get_packed_size(message);
	_cleanup_free_ uint8_t *packed = malloc(size + 1);

	if (!packed)
		return NULL;
	spawnd__v1__process_spec__pack(message, packed);
	return spawnd__v1__process_spec__unpack(NULL, size, packed);
}

static void fill(Spawnd__V1__ProcessSpec *message, const Spawnd__V1__PoolSpec *pool, const struct template_worker *worker)
{
	if (!message->env) {
		message->env = mem_alloc(sizeof(*message->env));
		spawnd__v1__environment__init(message->env);
	}
	for (size_t i = 0; i < message->n_argv; i++)
		expand(&message->argv[i], worker->ports, pool->n_listeners);
	expand(&message->shell_command, worker->ports, pool->n_listeners);
	for (size_t i = 0; i < message->env->n_set; i++)
		expand(&message->env->set[i], worker->ports, pool->n_listeners);
	add_env(message->env, mem_printf("SPAWND_POOL=%s", pool->name));
	add_env(message->env, mem_printf("SPAWND_WORKER=%u", worker->index));
	add_env(message->env, mem_printf("SPAWND_GENERATION=%u", worker->generation));
	if (pool->n_listeners)
		add_env(message->env, names_of(pool));
	add_label(message, "spawnd.pool", mem_strdup(pool->name));
	add_label(message, "spawnd.worker", mem_printf("%u", worker->index));
	for (uint32_t i = 0; i < pool->n_listeners; i++)
		add_socket(message, i);
	message->listen_fds = (uint32_t)pool->n_listeners;
}

int template_compile(const Spawnd__V1__PoolSpec *pool, const struct spec *template, const struct template_worker *worker,
	struct spec **spec_out, struct err *err)
{
	_cleanup_free_ Spawnd__V1__Rlimit *limits = mem_alloc((template->rlimit_count + 1) * sizeof(*limits));
	_cleanup_free_ Spawnd__V1__Rlimit **list = mem_alloc((template->rlimit_count + 1) * sizeof(*list));
	struct spec_context context = {
		.env = template->env,
		.uid = template->uid,
		.gid = template->gid,
		.daemon_uid = geteuid(),
		.no_new_privs = template->no_new_privs,
	};
	Spawnd__V1__ProcessSpec *message = copy(template->message);
	int done;

	if (!message)
		return err_errno(err, ENOMEM, "malloc", NULL);
	for (size_t i = 0; i < template->rlimit_count; i++) {
		spawnd__v1__rlimit__init(&limits[i]);
		limits[i].name = (char *)rlimits_name_of(template->rlimits[i].resource);
		limits[i].soft = template->rlimits[i].soft;
		limits[i].hard = template->rlimits[i].hard;
		list[i] = &limits[i];
	}
	context.rlimits = list;
	context.rlimit_count = template->rlimit_count;
	fill(message, pool, worker);
	done = spec_compile(message, &context, SPEC_START, spec_out, err);
	spawnd__v1__process_spec__free_unpacked(message, NULL);
	return done;
}
