/*
 * Packing plans with nanopb: strings and lists are given by callbacks, straight from the spec. What is the spec's is packed
 * once and kept there; what differs between two starts of it follows, which is one message to whoever reads it.
 */
#include "engine/plan.h"

#include <errno.h>
#include <pb_encode.h>
#include <string.h>

#include "base/mem.h"
#include "base/sys.h"
#include "link/link.h"
#include "process/plan.h"
#include "process/spec.h"
#include "spawnd/runtime/v1/launcher.pb.h"

/* Writes one string under the field's number. */
static bool put_text(pb_ostream_t *stream, const pb_field_t *field, const char *text)
{
	return pb_encode_tag_for_field(stream, field) && pb_encode_string(stream, (const pb_byte_t *)text, strlen(text));
}

static bool encode_text(pb_ostream_t *stream, const pb_field_t *field, void *const *arg)
{
	const char *text = *arg;

	return !text || put_text(stream, field, text);
}

static bool put_texts(pb_ostream_t *stream, const pb_field_t *field, const char *const *texts)
{
	for (; texts && *texts; texts++)
		if (!put_text(stream, field, *texts))
			return false;
	return true;
}

static bool encode_texts(pb_ostream_t *stream, const pb_field_t *field, void *const *arg)
{
	return put_texts(stream, field, *arg);
}

static bool encode_fds(pb_ostream_t *stream, const pb_field_t *field, void *const *arg)
{
	const struct plan *plan = *arg;

	for (size_t i = 0; i < plan->slot_count; i++) {
		const struct plan_fd *fd = &plan->slots[i];
		spawnd_runtime_v1_PlanFd message = {
			.slot = fd->slot,
			.attached = fd->attached,
			.same_as = fd->same_as,
			.path = {.funcs.encode = encode_text, .arg = (void *)fd->path},
			.open_flags = fd->open_flags,
			.permissions = fd->permissions,
			.blocking = fd->blocking,
		};

		if (!pb_encode_tag_for_field(stream, field) || !pb_encode_submessage(stream, spawnd_runtime_v1_PlanFd_fields, &message))
			return false;
	}
	return true;
}

static bool encode_groups(pb_ostream_t *stream, const pb_field_t *field, void *const *arg)
{
	const struct spec *spec = *arg;

	for (size_t i = 0; i < spec->group_count; i++)
		if (!pb_encode_tag_for_field(stream, field) || !pb_encode_varint(stream, spec->groups[i]))
			return false;
	return true;
}

static bool encode_rlimits(pb_ostream_t *stream, const pb_field_t *field, void *const *arg)
{
	const struct spec *spec = *arg;

	for (size_t i = 0; i < spec->rlimit_count; i++) {
		spawnd_runtime_v1_PlanRlimit message = {
			.resource = spec->rlimits[i].resource,
			.soft = spec->rlimits[i].soft,
			.hard = spec->rlimits[i].hard,
		};

		if (!pb_encode_tag_for_field(stream, field) || !pb_encode_submessage(stream, spawnd_runtime_v1_PlanRlimit_fields, &message))
			return false;
	}
	return true;
}

/* What every plan of a spec says. */
static spawnd_runtime_v1_Plan message_of_spec(const struct spec *spec)
{
	return (spawnd_runtime_v1_Plan){
		.argv = {.funcs.encode = encode_texts, .arg = spec->argv},
		.env = {.funcs.encode = encode_texts, .arg = spec->env},
		.file = {.funcs.encode = encode_text, .arg = spec->file},
		.search_path = {.funcs.encode = encode_text, .arg = (void *)spec->search_path},
		.cwd = {.funcs.encode = encode_text, .arg = spec->cwd},
		.set_ids = spec->set_ids,
		.uid = spec->uid,
		.gid = spec->gid,
		.set_groups = spec->set_groups,
		.groups = {.funcs.encode = encode_groups, .arg = (void *)spec},
		.umask = spec->umask,
		.set_nice = spec->set_nice,
		.nice = spec->nice,
		.rlimits = {.funcs.encode = encode_rlimits, .arg = (void *)spec},
		.no_new_privs = spec->no_new_privs,
	};
}

/* What this plan says. */
static spawnd_runtime_v1_Plan message_of_start(const struct plan *plan)
{
	return (spawnd_runtime_v1_Plan){
		.owner = plan->owner,
		.journal_slot = plan->journal_slot,
		.env = {.funcs.encode = encode_texts, .arg = (void *)plan->extra_env},
		.fds = {.funcs.encode = encode_fds, .arg = (void *)plan},
		.listen_pid = plan->listen_pid,
		.controlling_slot = plan->controlling_slot,
		.cgroup = plan->cgroup,
		.cgroup_procs = plan->cgroup_procs,
	};
}

/* Packs a message behind `before`, whose bytes may be none, into memory of its own. NULL: it is too large, or no memory. */
static uint8_t *pack(const uint8_t *before, size_t before_size, const spawnd_runtime_v1_Plan *message, size_t *size_out)
{
	pb_ostream_t stream;
	uint8_t *bytes;
	size_t size;

	if (!pb_get_encoded_size(&size, spawnd_runtime_v1_Plan_fields, message) || before_size + size > PLAN_MAX)
		return NULL;
	bytes = malloc(before_size + size + 1);
	if (!bytes)
		return NULL;
	if (before_size)
		memcpy(bytes, before, before_size);
	stream = pb_ostream_from_buffer(bytes + before_size, size);
	if (!pb_encode(&stream, spawnd_runtime_v1_Plan_fields, message)) {
		free(bytes);
		return NULL;
	}
	*size_out = before_size + size;
	return bytes;
}

/* The whole plan: that of the spec, which is packed when it is wanted first and kept if it is small, and that of this start. */
static uint8_t *pack_whole(const struct plan *plan, size_t *size_out)
{
	spawnd_runtime_v1_Plan message = message_of_start(plan);
	struct spec *spec = plan->spec;
	uint8_t *bytes;

	if (!spec->plan) {
		spawnd_runtime_v1_Plan common = message_of_spec(spec);

		spec->plan = pack(NULL, 0, &common, &spec->plan_size);
	}
	if (!spec->plan)
		return NULL;
	bytes = pack(spec->plan, spec->plan_size, &message, size_out);
	if (spec->plan_size > LINK_RECORD_MAX)
		free(mem_steal(&spec->plan));
	return bytes;
}

/* Puts bytes into a memfd, read from its start by whoever gets it. */
static int write_memfd(const uint8_t *bytes, size_t size)
{
	_cleanup_fd_ int fd = sys_memfd("spawnd-plan", 0);
	size_t written = 0;

	if (fd < 0)
		return fd;
	while (written < size) {
		ssize_t done = sys_write(fd, bytes + written, size - written);

		if (done <= 0)
			return done < 0 ? (int)done : -EIO;
		written += (size_t)done;
	}
	if (sys_lseek(fd, 0, SEEK_SET) < 0)
		return -EIO;
	return fd_steal(&fd);
}

int plan_pack(const struct plan *plan, struct packed_plan *packed_out, struct err *err)
{
	spawnd_runtime_v1_Plan stand_in = {.owner = plan->owner, .journal_slot = plan->journal_slot};
	struct packed_plan packed = {.memfd = -1};
	_cleanup_free_ uint8_t *whole = pack_whole(plan, &packed.size);
	char syscall[256];

	if (!whole) {
		spec_syscall(plan->spec, syscall, sizeof(syscall));
		return err_errno(err, E2BIG, syscall, NULL);
	}
	if (packed.size <= LINK_RECORD_MAX) {
		packed.record = mem_steal(&whole);
		*packed_out = packed;
		return 0;
	}
	packed.memfd = write_memfd(whole, packed.size);
	if (packed.memfd < 0)
		return err_errno(err, -packed.memfd, "memfd_create", NULL);
	packed.record = pack(NULL, 0, &stand_in, &packed.size);
	if (!packed.record) {
		fd_close(&packed.memfd);
		return err_errno(err, ENOMEM, "malloc", NULL);
	}
	*packed_out = packed;
	return 0;
}

void packed_plan_finish(struct packed_plan *packed)
{
	free(mem_steal(&packed->record));
	fd_close(&packed->memfd);
}
