/*
 * The slots of a spec. What is asked for is checked one by one, then against each other: a slot may stand for another, a
 * terminal is shared, and HANDOVER excludes all that needs the daemon to see the bytes.
 *
 * A terminal has one output, told as that of its lowest slot above 0 (of 0 when there is no other), and one input, its
 * lowest slot.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

#include "base/mem.h"
#include "process/spec_parts.h"

#define RUN_CAPTURE (1u << 20)
#define DEFAULT_PERMISSIONS 0666u
#define DEFAULT_ROWS 24u
#define DEFAULT_COLUMNS 80u
#define WINDOW_MAX 65535u

typedef Spawnd__V1__Stdio stdio_message;

#define KIND(name) SPAWND__V1__STDIO__KIND__KIND_##name
#define DIRECTION(name) SPAWND__V1__STDIO__DIRECTION__DIRECTION_##name
#define MODE(name) SPAWND__V1__FILE_SPEC__MODE__MODE_##name

/* "spec.stdio[INDEX]PART": INVALID_ARGUMENT with this sentence. */
static int invalid(struct err *err, size_t index, const char *part, const char *sentence)
{
	char field[64];

	snprintf(field, sizeof(field), "spec.stdio[%zu]%s", index, part);
	return err_invalid(err, field, "%s", sentence);
}

/* Slots 0, 1 and 2 that nobody named. */
static void add_standard(Spawnd__V1__ProcessSpec *message)
{
	for (uint32_t slot = 0; slot < 3; slot++) {
		size_t i = 0;

		while (i < message->n_stdio && message->stdio[i]->slot != slot)
			i++;
		if (i < message->n_stdio)
			continue;
		message->stdio = mem_realloc(message->stdio, (message->n_stdio + 1) * sizeof(*message->stdio));
		message->stdio[message->n_stdio] = mem_alloc(sizeof(stdio_message));
		spawnd__v1__stdio__init(message->stdio[message->n_stdio]);
		message->stdio[message->n_stdio++]->slot = slot;
	}
}

/* Fields that belong to another kind. */
static int check_fields(const stdio_message *stdio, size_t index, struct err *err)
{
	if ((int)stdio->kind < 0 || stdio->kind > KIND(CHANNEL))
		return invalid(err, index, ".kind", "is unknown");
	if ((int)stdio->direction < 0 || stdio->direction > DIRECTION(BOTH))
		return invalid(err, index, ".direction", "is unknown");
	if (stdio->direction != DIRECTION(UNSPECIFIED) && stdio->kind != KIND(PIPE))
		return invalid(err, index, ".direction", "is for KIND_PIPE");
	if (stdio->file && stdio->kind != KIND(FILE))
		return invalid(err, index, ".file", "is for KIND_FILE");
	if (!stdio->file && stdio->kind == KIND(FILE))
		return invalid(err, index, ".file", "is missing");
	if (stdio->fd && stdio->kind != KIND(FD))
		return invalid(err, index, ".fd", "is for KIND_FD");
	if ((!stdio->fd || !stdio->fd->fd_case) && stdio->kind == KIND(FD))
		return invalid(err, index, ".fd", "is missing");
	if (stdio->same_as && stdio->kind != KIND(SAME))
		return invalid(err, index, ".same_as", "is for KIND_SAME");
	if (stdio->capture && ((int)stdio->capture->policy < 0 || stdio->capture->policy > SPAWND__V1__CAPTURE__POLICY__POLICY_KILL))
		return invalid(err, index, ".capture.policy", "is unknown");
	return 0;
}

/* How a FILE slot is opened; fills in its mode and permissions. */
static int build_file(struct slot_spec *slot, Spawnd__V1__FileSpec *file, size_t index, struct err *err)
{
	static const int flags[] = {
		[MODE(READ)] = O_RDONLY,
		[MODE(TRUNCATE)] = O_WRONLY | O_CREAT | O_TRUNC,
		[MODE(APPEND)] = O_WRONLY | O_CREAT | O_APPEND,
		[MODE(READ_WRITE)] = O_RDWR | O_CREAT,
	};
	char field[64];
	int done;

	if ((int)file->mode < 0 || file->mode > MODE(READ_WRITE))
		return invalid(err, index, ".file.mode", "is unknown");
	if (file->path.len == 0)
		return invalid(err, index, ".file.path", "must not be empty");
	if (file->_permissions_case && file->permissions > 07777)
		return invalid(err, index, ".file.permissions", "is above 07777");
	snprintf(field, sizeof(field), "spec.stdio[%zu].file.path", index);
	done = spec_check_bytes(&file->path, field, err);
	if (done < 0)
		return done;
	if (file->mode == MODE(UNSPECIFIED))
		file->mode = slot->slot == 0 ? MODE(READ) : MODE(TRUNCATE);
	if (!file->_permissions_case && file->mode != MODE(READ)) {
		file->_permissions_case = SPAWND__V1__FILE_SPEC___PERMISSIONS_PERMISSIONS;
		file->permissions = DEFAULT_PERMISSIONS;
	}
	slot->kind = SLOT_FILE;
	slot->path = spec_text(&file->path);
	slot->open_flags = flags[file->mode] | O_NOCTTY;
	slot->permissions = file->_permissions_case ? file->permissions : DEFAULT_PERMISSIONS;
	return 0;
}

static int build_fd(struct slot_spec *slot, const Spawnd__V1__FdSpec *fd, size_t index, struct err *err)
{
	slot->kind = SLOT_FD;
	if (fd->fd_case == SPAWND__V1__FD_SPEC__FD_SESSION) {
		slot->fd_session = &fd->session;
		return fd->session.len ? 0 : invalid(err, index, ".fd.session", "must not be empty");
	}
	slot->fd_attached = fd->fd_case == SPAWND__V1__FD_SPEC__FD_ATTACHED;
	if (slot->fd_attached && fd->attached >= SPEC_SLOTS_MAX)
		return invalid(err, index, ".fd.attached", "is above 250");
	if (!slot->fd_attached && fd->number < 0)
		return invalid(err, index, ".fd.number", "is negative");
	slot->fd_number = slot->fd_attached ? (int32_t)fd->attached : fd->number;
	return 0;
}

static void build_pipe(struct slot_spec *slot, stdio_message *stdio)
{
	if (stdio->direction == DIRECTION(UNSPECIFIED))
		stdio->direction = stdio->slot == 0 ? DIRECTION(IN) : stdio->slot <= 2 ? DIRECTION(OUT) : DIRECTION(BOTH);
	slot->kind = stdio->direction == DIRECTION(IN) ? SLOT_PIPE_IN : stdio->direction == DIRECTION(OUT) ? SLOT_PIPE_OUT : SLOT_PAIR;
}

/* One slot from what was asked for it. */
static int build_slot(struct slot_spec *slot, stdio_message *stdio, size_t index, enum spec_use use, struct err *err)
{
	int done;

	if (stdio->slot >= SPEC_SLOTS_MAX)
		return invalid(err, index, ".slot", "is above 250");
	if (stdio->kind == KIND(UNSPECIFIED))
		stdio->kind = stdio->slot == 0 && use != SPEC_SPAWN && stdio->direction == DIRECTION(UNSPECIFIED) ? KIND(NULL) : KIND(PIPE);
	done = check_fields(stdio, index, err);
	if (done < 0)
		return done;
	slot->slot = stdio->slot;
	switch (stdio->kind) {
	case KIND(PIPE):
		build_pipe(slot, stdio);
		return 0;
	case KIND(NULL):
		slot->kind = SLOT_NULL;
		slot->open_flags = (stdio->slot == 0 ? O_RDONLY : O_RDWR) | O_NOCTTY;
		return 0;
	case KIND(FILE):
		return build_file(slot, stdio->file, index, err);
	case KIND(FD):
		return build_fd(slot, stdio->fd, index, err);
	case KIND(PTY):
		slot->kind = SLOT_PTY;
		return 0;
	case KIND(SAME):
		slot->kind = SLOT_SAME;
		slot->same_as = stdio->same_as;
		return 0;
	case KIND(CHANNEL):
		slot->kind = SLOT_CHANNEL;
		return use == SPEC_RUN ? invalid(err, index, ".kind", "KIND_CHANNEL is not for Run") : 0;
	case KIND(UNSPECIFIED):
	case KIND(NONE):
	default:
		slot->kind = SLOT_NONE;
		return 0;
	}
}

static struct slot_spec *find_slot(const struct spec *spec, uint32_t slot)
{
	for (size_t i = 0; i < spec->slot_count; i++)
		if (spec->slots[i].slot == slot)
			return &spec->slots[i];
	return NULL;
}

static int check_same(const struct spec *spec, struct err *err)
{
	for (size_t i = 0; i < spec->slot_count; i++) {
		const struct slot_spec *target;

		if (spec->slots[i].kind != SLOT_SAME)
			continue;
		target = find_slot(spec, spec->slots[i].same_as);
		if (!target || target->kind == SLOT_NONE)
			return invalid(err, i, ".same_as", "names a slot that is not there");
		if (target->kind == SLOT_SAME)
			return invalid(err, i, ".same_as", "names a slot that is KIND_SAME itself");
	}
	return 0;
}

const struct slot_spec *spec_pty_slot(const struct spec *spec, bool output)
{
	const struct slot_spec *found = NULL;

	for (size_t i = 0; i < spec->slot_count; i++) {
		const struct slot_spec *slot = &spec->slots[i];

		if (slot->kind != SLOT_PTY)
			continue;
		if (!found || (output && found->slot == 0 && slot->slot != 0) || (slot->slot < found->slot && (!output || slot->slot != 0)))
			found = slot;
	}
	return found;
}

bool spec_is_output(const struct spec *spec, const struct slot_spec *slot)
{
	return slot->kind == SLOT_PIPE_OUT || slot->kind == SLOT_PAIR || (slot->kind == SLOT_PTY && spec_pty_slot(spec, true) == slot);
}

bool spec_is_input(const struct spec *spec, const struct slot_spec *slot)
{
	return slot->kind == SLOT_PIPE_IN || slot->kind == SLOT_PAIR || (slot->kind == SLOT_PTY && spec_pty_slot(spec, false) == slot);
}

const struct slot_spec *spec_channel_slot(const struct spec *spec)
{
	for (size_t i = 0; i < spec->slot_count; i++)
		if (spec->slots[i].kind == SLOT_CHANNEL)
			return &spec->slots[i];
	return NULL;
}

static int check_channel(const struct spec *spec, struct err *err)
{
	const struct slot_spec *channel = spec_channel_slot(spec);
	Spawnd__V1__Serialization serialization = spec->message->serialization;

	if ((int)serialization < 0 || serialization > SPAWND__V1__SERIALIZATION__SERIALIZATION_NATIVE)
		return err_invalid(err, "spec.serialization", "%d is unknown", (int)serialization);
	if (!channel && serialization)
		return err_invalid(err, "spec.serialization", "needs a slot of KIND_CHANNEL");
	for (size_t i = 0; i < spec->slot_count; i++)
		if (spec->slots[i].kind == SLOT_CHANNEL && &spec->slots[i] != channel)
			return invalid(err, i, ".kind", "a process has one channel at most");
	return 0;
}

static int check_window(struct spec *spec, struct err *err)
{
	Spawnd__V1__ProcessSpec *message = spec->message;
	bool has_pty = spec_pty_slot(spec, true) != NULL;

	if (!message->window) {
		if (!has_pty)
			return 0;
		message->window = mem_alloc(sizeof(*message->window));
		spawnd__v1__window_size__init(message->window);
		message->window->rows = DEFAULT_ROWS;
		message->window->columns = DEFAULT_COLUMNS;
	}
	if (!has_pty)
		return err_invalid(err, "spec.window", "needs a slot of KIND_PTY");
	if (message->window->rows < 1 || message->window->rows > WINDOW_MAX)
		return err_invalid(err, "spec.window.rows", "must be 1 to %u", WINDOW_MAX);
	if (message->window->columns < 1 || message->window->columns > WINDOW_MAX)
		return err_invalid(err, "spec.window.columns", "must be 1 to %u", WINDOW_MAX);
	return 0;
}

/* Limits on what a slot may write; those of Run when it said nothing. */
static int build_capture(struct spec *spec, enum spec_use use, struct err *err)
{
	Spawnd__V1__ProcessSpec *message = spec->message;

	for (size_t i = 0; i < spec->slot_count; i++) {
		struct slot_spec *slot = &spec->slots[i];
		bool output = spec_is_output(spec, slot);

		if (message->stdio[i]->capture && !output)
			return invalid(err, i, ".capture",
				slot->kind == SLOT_PTY ? "belongs to the lowest slot of the terminal above 0"
						       : "is for slots that we read");
		if (!output)
			continue;
		if (!message->stdio[i]->capture && use == SPEC_RUN) {
			message->stdio[i]->capture = mem_alloc(sizeof(Spawnd__V1__Capture));
			spawnd__v1__capture__init(message->stdio[i]->capture);
		}
		if (!message->stdio[i]->capture)
			continue;
		if (message->stdio[i]->capture->limit == 0 && use == SPEC_RUN)
			message->stdio[i]->capture->limit = RUN_CAPTURE;
		slot->capture_limit = message->stdio[i]->capture->limit;
		slot->capture_policy = message->stdio[i]->capture->policy;
	}
	return 0;
}

/* HANDOVER gives the pipes away: nothing that needs their bytes goes with it. */
static int check_handover(const struct spec *spec, enum spec_use use, struct err *err)
{
	const Spawnd__V1__ProcessSpec *message = spec->message;

	if (message->transport != SPAWND__V1__TRANSPORT__TRANSPORT_HANDOVER)
		return 0;
	if (use != SPEC_SPAWN)
		return err_invalid(err, "spec.transport", "HANDOVER is for Spawn");
	if (message->log_file)
		return err_invalid(err, "spec.log_file", "excludes HANDOVER");
	for (size_t i = 0; i < spec->slot_count; i++) {
		if (message->stdio[i]->capture)
			return invalid(err, i, ".capture", "excludes HANDOVER");
		if (spec->slots[i].kind == SLOT_PTY)
			return invalid(err, i, ".kind", "KIND_PTY excludes HANDOVER");
	}
	return 0;
}

static int compare_slots(const void *a, const void *b)
{
	const struct slot_spec *left = a, *right = b;

	return left->slot < right->slot ? -1 : left->slot > right->slot;
}

int spec_build_stdio(struct spec *spec, enum spec_use use, struct err *err)
{
	Spawnd__V1__ProcessSpec *message = spec->message;
	uint64_t seen[SPEC_SLOTS_MAX / 64 + 1] = {0};
	int done = 0;

	if (message->n_stdio > SPEC_SLOTS_MAX)
		return err_invalid(err, "spec.stdio", "has %zu entries, at most %u are allowed", message->n_stdio, SPEC_SLOTS_MAX);
	add_standard(message);
	if (message->n_stdio > SPEC_SLOTS_MAX)
		return err_invalid(err, "spec.stdio", "names a slot above 250 or one twice");
	spec->slots = mem_alloc(message->n_stdio * sizeof(*spec->slots));
	for (size_t i = 0; done == 0 && i < message->n_stdio; i++) {
		uint32_t slot = message->stdio[i]->slot;

		spec->slot_count = i + 1;
		done = build_slot(&spec->slots[i], message->stdio[i], i, use, err);
		if (done == 0 && (seen[slot / 64] >> (slot % 64) & 1))
			done = invalid(err, i, ".slot", "is named twice");
		else if (done == 0)
			seen[slot / 64] |= UINT64_C(1) << (slot % 64);
	}
	if (done == 0)
		done = check_same(spec, err);
	if (done == 0)
		done = check_channel(spec, err);
	if (done == 0)
		done = check_window(spec, err);
	if (done == 0)
		done = check_handover(spec, use, err);
	if (done == 0)
		done = build_capture(spec, use, err);
	if (done == 0)
		qsort(spec->slots, spec->slot_count, sizeof(*spec->slots), compare_slots);
	return done;
}
