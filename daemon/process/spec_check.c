/* What a request may not say. Looks at the request alone; slots are checked where they are built (spec_stdio.c). */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/resource.h>

#include "base/mem.h"
#include "base/rlimits.h"
#include "process/spec_parts.h"

#define NAME_MAX_BYTES 128u
#define LABELS_MAX 64u
#define LABEL_KEY_MAX 128u
#define LABEL_VALUE_MAX 1024u
#define GROUPS_MAX 65536u
#define SIGNAL_MAX 64
#define RETAIN_MAX (UINT64_C(1) << 30)
#define ROTATED_MAX 1000u

int spec_check_bytes(const ProtobufCBinaryData *bytes, const char *field, struct err *err)
{
	const uint8_t *nul = bytes->len ? memchr(bytes->data, 0, bytes->len) : NULL;

	if (nul)
		return err_invalid(err, field, "must not contain NUL (byte %zu)", (size_t)(nul - bytes->data));
	return 0;
}

int spec_check_name(const char *name, const char *field, struct err *err)
{
	size_t length = strlen(name);

	if (length == 0)
		return 0;
	if (length > NAME_MAX_BYTES)
		return err_invalid(err, field, "has %zu bytes, at most %u are allowed", length, NAME_MAX_BYTES);
	for (const char *at = name; *at; at++)
		if (!strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.@:-", *at))
			return err_invalid(err, field, "may contain letters, digits and _.@:- only");
	if (strspn(name, "0123456789") == length)
		return err_invalid(err, field, "must not consist of digits alone: that is an id");
	return 0;
}

/* Whether text is UTF-8, in the shortest form, without surrogates. */
static bool is_utf8(const char *text)
{
	const uint8_t *at = (const uint8_t *)text;

	while (*at) {
		unsigned more = *at < 0x80                  ? 0
				: *at >= 0xc2 && *at < 0xe0 ? 1
				: (*at & 0xf0) == 0xe0      ? 2
				: *at >= 0xf0 && *at < 0xf5 ? 3
							    : 4;

		if (more == 4)
			return false;
		if ((*at == 0xe0 && at[1] < 0xa0) || (*at == 0xed && at[1] > 0x9f) || (*at == 0xf0 && at[1] < 0x90) ||
			(*at == 0xf4 && at[1] > 0x8f))
			return false;
		for (at++; more > 0; more--, at++)
			if ((*at & 0xc0) != 0x80)
				return false;
	}
	return true;
}

static int check_labels(const Spawnd__V1__ProcessSpec *request, struct err *err)
{
	char field[64];

	if (request->n_labels > LABELS_MAX)
		return err_invalid(err, "spec.labels", "has %zu entries, at most %u are allowed", request->n_labels, LABELS_MAX);
	for (size_t i = 0; i < request->n_labels; i++) {
		const Spawnd__V1__ProcessSpec__LabelsEntry *label = request->labels[i];

		snprintf(field, sizeof(field), "spec.labels[\"%.32s\"]", is_utf8(label->key) ? label->key : "?");
		if (!label->key[0])
			return err_invalid(err, field, "a label needs a name");
		if (strlen(label->key) > LABEL_KEY_MAX)
			return err_invalid(err, field, "the name has more than %u bytes", LABEL_KEY_MAX);
		if (strlen(label->value) > LABEL_VALUE_MAX)
			return err_invalid(err, field, "the value has more than %u bytes", LABEL_VALUE_MAX);
		if (!is_utf8(label->key) || !is_utf8(label->value))
			return err_invalid(err, field, "must be UTF-8");
		for (size_t j = 0; j < i; j++)
			if (strcmp(request->labels[j]->key, label->key) == 0)
				return err_invalid(err, field, "is given twice");
	}
	return 0;
}

static int check_program(const Spawnd__V1__ProcessSpec *request, struct err *err)
{
	char field[64];
	int done = 0;

	if (request->n_argv && request->shell_command.len)
		return err_invalid(err, "spec.shell_command", "excludes spec.argv");
	if (!request->n_argv && !request->shell_command.len)
		return err_invalid(err, "spec.argv", "a program is needed, here or in spec.shell_command");
	if (request->shell.len && !request->shell_command.len)
		return err_invalid(err, "spec.shell", "needs spec.shell_command");
	if (request->n_argv && request->argv[0].len == 0)
		return err_invalid(err, "spec.argv[0]", "must not be empty");
	for (size_t i = 0; done == 0 && i < request->n_argv; i++) {
		if (!request->argv[i].len || !memchr(request->argv[i].data, 0, request->argv[i].len))
			continue;
		snprintf(field, sizeof(field), "spec.argv[%zu]", i);
		done = spec_check_bytes(&request->argv[i], field, err);
	}
	if (done == 0)
		done = spec_check_bytes(&request->shell_command, "spec.shell_command", err);
	if (done == 0)
		done = spec_check_bytes(&request->shell, "spec.shell", err);
	if (done == 0)
		done = spec_check_bytes(&request->argv0, "spec.argv0", err);
	if (done == 0)
		done = spec_check_bytes(&request->cwd, "spec.cwd", err);
	if (done == 0 && request->cwd.len && request->cwd.data[0] != '/')
		done = err_invalid(err, "spec.cwd", "must be absolute");
	return done;
}

static int check_rlimits(const Spawnd__V1__ProcessSpec *request, struct err *err)
{
	char field[64];

	for (size_t i = 0; i < request->n_rlimits; i++) {
		const Spawnd__V1__Rlimit *limit = request->rlimits[i];
		int resource = rlimits_of(limit->name);

		if (resource < 0) {
			snprintf(field, sizeof(field), "spec.rlimits[%zu].name", i);
			return err_invalid(err, field, "no limit has this name; see prlimit(1)");
		}
		snprintf(field, sizeof(field), "spec.rlimits[%zu]", i);
		if (limit->soft > limit->hard)
			return err_invalid(err, field, "soft is above hard");
		for (size_t j = 0; j < i; j++)
			if (rlimits_of(request->rlimits[j]->name) == resource)
				return err_invalid(err, field, "limits the same as spec.rlimits[%zu]", j);
	}
	return 0;
}

static int check_ids(const Spawnd__V1__ProcessSpec *request, struct err *err)
{
	if (request->_uid_case && request->uid == UINT32_MAX)
		return err_invalid(err, "spec.uid", "4294967295 is nobody's");
	if (request->_gid_case && request->gid == UINT32_MAX)
		return err_invalid(err, "spec.gid", "4294967295 is nobody's");
	if (request->n_groups > GROUPS_MAX)
		return err_invalid(err, "spec.groups", "has %zu entries, at most %u are allowed", request->n_groups, GROUPS_MAX);
	for (size_t i = 0; i < request->n_groups; i++)
		if (request->groups[i] == UINT32_MAX)
			return err_invalid(err, "spec.groups", "4294967295 is nobody's");
	if (request->_umask_case && request->umask > 0777)
		return err_invalid(err, "spec.umask", "is above 0777");
	if (request->_nice_case && (request->nice < -20 || request->nice > 19))
		return err_invalid(err, "spec.nice", "must be -20 to 19");
	return check_rlimits(request, err);
}

static int check_duration(uint64_t ms, const char *field, struct err *err)
{
	if (ms > SPEC_DURATION_MAX_MS)
		return err_invalid(err, field, "is more than ten years");
	return 0;
}

static int check_enum(int value, int last, const char *field, struct err *err)
{
	if (value < 0 || value > last)
		return err_invalid(err, field, "%d is unknown", value);
	return 0;
}

static int check_end(const Spawnd__V1__ProcessSpec *request, struct err *err)
{
	int done = check_duration(request->timeout_ms, "spec.timeout_ms", err);

	if (done == 0 && request->_grace_ms_case)
		done = check_duration(request->grace_ms, "spec.grace_ms", err);
	if (done == 0 && request->_drain_timeout_ms_case)
		done = check_duration(request->drain_timeout_ms, "spec.drain_timeout_ms", err);
	if (done == 0 && (request->kill_signal < 0 || request->kill_signal > SIGNAL_MAX))
		done = err_invalid(err, "spec.kill_signal", "must be 1 to %d", SIGNAL_MAX);
	if (done == 0)
		done = check_enum((int)request->kill_scope, SPAWND__V1__KILL_SCOPE__KILL_SCOPE_TREE, "spec.kill_scope", err);
	if (done == 0)
		done = check_enum((int)request->transport, SPAWND__V1__TRANSPORT__TRANSPORT_HANDOVER, "spec.transport", err);
	if (done == 0)
		done = check_enum((int)request->on_disconnect, SPAWND__V1__ON_DISCONNECT__ON_DISCONNECT_KEEP, "spec.on_disconnect", err);
	if (done == 0)
		done = check_enum((int)request->on_shutdown, SPAWND__V1__ON_SHUTDOWN__ON_SHUTDOWN_KEEP, "spec.on_shutdown", err);
	if (done == 0 && request->_retain_bytes_case && request->retain_bytes > RETAIN_MAX)
		done = err_invalid(err, "spec.retain_bytes", "is more than 1 GiB");
	return done;
}

/* What is started by the daemon itself needs nothing of a client. */
static int check_persist(const Spawnd__V1__ProcessSpec *request, enum spec_use use, struct err *err)
{
	if (!request->persist)
		return 0;
	if (use != SPEC_START)
		return err_invalid(err, "spec.persist", "is for Start: a stream belongs to its client");
	if (!request->name[0])
		return err_invalid(err, "spec.persist", "needs spec.name");
	if (request->name[0] == '.')
		return err_invalid(err, "spec.persist", "needs a name that does not begin with a dot");
	for (size_t i = 0; i < request->n_stdio; i++)
		if (request->stdio[i]->kind == SPAWND__V1__STDIO__KIND__KIND_FD)
			return err_invalid(err, "spec.persist", "excludes descriptors of a client (slot %u)", request->stdio[i]->slot);
	return 0;
}

static int check_log_file(const Spawnd__V1__LogFile *file, struct err *err)
{
	int done;

	if (!file)
		return 0;
	done = spec_check_bytes(&file->path, "spec.log_file.path", err);
	if (done == 0 && (file->path.len == 0 || file->path.data[0] != '/'))
		done = err_invalid(err, "spec.log_file.path", "must be absolute");
	if (done == 0 && file->keep > ROTATED_MAX)
		done = err_invalid(err, "spec.log_file.keep", "is more than %u", ROTATED_MAX);
	if (done == 0 && file->keep && !file->max_bytes)
		done = err_invalid(err, "spec.log_file.keep", "needs spec.log_file.max_bytes");
	return done;
}

static int check_listen_fds(const Spawnd__V1__ProcessSpec *request, struct err *err)
{
	if (request->listen_fds > request->n_stdio)
		return err_invalid(err, "spec.listen_fds", "is more than there are slots in spec.stdio");
	for (uint32_t slot = 3; slot < 3 + request->listen_fds; slot++) {
		size_t at = 0;

		while (at < request->n_stdio && request->stdio[at]->slot != slot)
			at++;
		if (at == request->n_stdio || request->stdio[at]->kind != SPAWND__V1__STDIO__KIND__KIND_FD)
			return err_invalid(err, "spec.listen_fds", "slot %u is not of KIND_FD", slot);
	}
	return 0;
}

int spec_check(const Spawnd__V1__ProcessSpec *request, enum spec_use use, struct err *err)
{
	int done;

	if (!request)
		return err_invalid(err, "spec", "is missing");
	done = spec_check_name(request->name, "spec.name", err);
	if (done == 0)
		done = check_labels(request, err);
	if (done == 0)
		done = check_program(request, err);
	if (done == 0)
		done = check_ids(request, err);
	if (done == 0)
		done = check_end(request, err);
	if (done == 0)
		done = check_log_file(request->log_file, err);
	if (done == 0)
		done = check_persist(request, use, err);
	if (done == 0)
		done = check_listen_fds(request, err);
	return done;
}
