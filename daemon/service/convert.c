/* See convert.h. */
#include "service/convert.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "service/internal.h"
#include "service/usage.h"

int convert_ref(struct children *children, const Spawnd__V1__ProcessRef *ref, struct child **child_out, struct err *err)
{
	if (!ref || ref->ref_case == SPAWND__V1__PROCESS_REF__REF__NOT_SET)
		return err_invalid(err, "process", "names no process");
	if (ref->ref_case == SPAWND__V1__PROCESS_REF__REF_ID) {
		*child_out = children_find(children, ref->id);
		return *child_out ? 0 : err_set(err, STATUS_NOT_FOUND, "no process %" PRIu64, ref->id);
	}
	*child_out = *ref->name ? children_find_name(children, ref->name) : NULL;
	return *child_out ? 0 : err_set(err, STATUS_NOT_FOUND, "no process named %.128s", ref->name);
}

Spawnd__V1__ProcessState convert_state(enum child_state state)
{
	static const Spawnd__V1__ProcessState states[] = {
		[CHILD_STARTING] = SPAWND__V1__PROCESS_STATE__PROCESS_STATE_STARTING,
		[CHILD_RUNNING] = SPAWND__V1__PROCESS_STATE__PROCESS_STATE_RUNNING,
		[CHILD_STOPPING] = SPAWND__V1__PROCESS_STATE__PROCESS_STATE_STOPPING,
		[CHILD_EXITED] = SPAWND__V1__PROCESS_STATE__PROCESS_STATE_EXITED,
		[CHILD_FAILED] = SPAWND__V1__PROCESS_STATE__PROCESS_STATE_FAILED,
	};

	return states[state];
}

enum kill_scope convert_scope(Spawnd__V1__KillScope scope, enum kill_scope standard)
{
	switch (scope) {
	case SPAWND__V1__KILL_SCOPE__KILL_SCOPE_CHILD:
		return KILL_CHILD;
	case SPAWND__V1__KILL_SCOPE__KILL_SCOPE_GROUP:
		return KILL_GROUP;
	case SPAWND__V1__KILL_SCOPE__KILL_SCOPE_TREE:
		return KILL_TREE;
	case SPAWND__V1__KILL_SCOPE__KILL_SCOPE_UNSPECIFIED:
	default:
		return standard;
	}
}

int convert_signal(int32_t signal, bool zero_allowed, const char *field, struct err *err)
{
	if (signal < (zero_allowed ? 0 : 1) || signal > CONVERT_SIGNAL_MAX)
		return err_invalid(err, field, "%d is no signal", (int)signal);
	return 0;
}

int convert_window(const struct spec *spec, const Spawnd__V1__WindowSize *window, const char *field, struct err *err)
{
	if (!window)
		return err_invalid(err, field, "is missing");
	if (!spec_pty_slot(spec, true))
		return err_invalid(err, field, "the process has no terminal");
	if (window->rows < 1 || window->rows > 65535 || window->columns < 1 || window->columns > 65535)
		return err_invalid(err, field, "rows and columns must be 1 to 65535");
	return 0;
}

int convert_cancelled(struct err *err)
{
	err_set(err, STATUS_CANCELLED, "The operation was aborted");
	snprintf(err->code, sizeof(err->code), "ABORT_ERR");
	return -ECANCELED;
}

void convert_failure(const struct child *child, struct err *err)
{
	Spawnd__V1__ExitRecord *record = child_exit_record(child);
	const Spawnd__V1__ErrorDetail *error = record ? record->error : NULL;
	char syscall[sizeof(err->syscall)];

	spec_syscall(child_spec(child), syscall, sizeof(syscall));
	if (!error) {
		err_set(err, STATUS_UNKNOWN, "%s failed", syscall);
	} else {
		_cleanup_free_ char *path = error->path.len ? mem_strndup((const char *)error->path.data, error->path.len) : NULL;

		err_errno(err, error->errnum, *error->syscall ? error->syscall : syscall, path);
		if (*error->code)
			snprintf(err->code, sizeof(err->code), "%s", error->code);
		if (err->status == STATUS_OK)
			err->status = STATUS_UNKNOWN;
	}
	if (record)
		spawnd__v1__exit_record__free_unpacked(record, NULL);
}

ProtobufCBinaryData *convert_argv(const struct child *child, size_t *count_out)
{
	char **argv = child_spec(child)->argv;
	ProtobufCBinaryData *words;
	size_t count = 0;

	while (argv[count])
		count++;
	words = mem_alloc((count + 1) * sizeof(*words));
	for (size_t i = 0; i < count; i++)
		words[i] = (ProtobufCBinaryData){.len = strlen(argv[i]), .data = (uint8_t *)argv[i]};
	*count_out = count;
	return words;
}

void convert_drop_spawnargs(Spawnd__V1__ErrorDetail *error)
{
	for (size_t i = 0; i < error->n_spawnargs; i++)
		free(error->spawnargs[i].data);
	free(error->spawnargs);
	error->spawnargs = NULL;
	error->n_spawnargs = 0;
}

/* The labels, words borrowed from the spec. */
static void fill_labels(Spawnd__V1__Process *process, const Spawnd__V1__ProcessSpec *spec)
{
	Spawnd__V1__Process__LabelsEntry *block;

	if (spec->n_labels == 0)
		return;
	block = mem_alloc(spec->n_labels * sizeof(*block));
	process->labels = mem_alloc(spec->n_labels * sizeof(*process->labels));
	process->n_labels = spec->n_labels;
	for (size_t i = 0; i < spec->n_labels; i++) {
		spawnd__v1__process__labels_entry__init(&block[i]);
		block[i].key = spec->labels[i]->key;
		block[i].value = spec->labels[i]->value;
		process->labels[i] = &block[i];
	}
}

static void fill_output(Spawnd__V1__Process *process, const struct child *child)
{
	size_t count = child_totals(child, NULL, 0);
	_cleanup_free_ struct slot_total *totals = mem_alloc((count + 1) * sizeof(*totals));
	Spawnd__V1__SlotTotal *block;

	count = child_totals(child, totals, count);
	if (count == 0)
		return;
	block = mem_alloc(count * sizeof(*block));
	process->output = mem_alloc(count * sizeof(*process->output));
	process->n_output = count;
	for (size_t i = 0; i < count; i++) {
		spawnd__v1__slot_total__init(&block[i]);
		block[i].slot = totals[i].slot;
		block[i].bytes = totals[i].bytes;
		block[i].retained_from = totals[i].retained_from;
		block[i].complete = totals[i].complete;
		process->output[i] = &block[i];
	}
}

static void fill_channel(Spawnd__V1__Process *process, const struct child *child)
{
	const struct slot_spec *slot = spec_channel_slot(child_spec(child));
	const struct channel *channel = slot ? channels_find(service_get()->channels, child) : NULL;
	struct channel_stats stats = {0};

	if (!slot)
		return;
	process->channel = mem_alloc(sizeof(*process->channel));
	spawnd__v1__channel_state__init(process->channel);
	process->channel->slot = slot->slot;
	if (!channel)
		return;
	channel_stats(channel, &stats);
	process->channel->open = !channel_ending(channel);
	process->channel->sent = stats.sent;
	process->channel->received = stats.received;
	process->channel->waiting_bytes = stats.bytes;
	process->channel->waiting_fds = (uint32_t)stats.fds;
}

/* How long it has run, or ran. */
static uint64_t uptime_ms(const Spawnd__V1__Process *process)
{
	int64_t end = process->exit ? process->exit->exited_at_ns : clock_real_ns();

	return process->started_at_ns && end > process->started_at_ns ? (uint64_t)(end - process->started_at_ns) / 1000000 : 0;
}

Spawnd__V1__Process *convert_process(const struct child *child, unsigned what)
{
	Spawnd__V1__Process *process = mem_alloc(sizeof(*process));
	const struct spec *spec = child_spec(child);
	enum child_state state = child_state(child);
	int log_error;

	spawnd__v1__process__init(process);
	process->id = child_id(child);
	process->name = (char *)child_name(child);
	process->pid = child_pid(child);
	process->state = convert_state(state);
	fill_labels(process, spec->message);
	process->argv = convert_argv(child, &process->n_argv);
	process->started_at_ns = child_started_at_ns(child);
	process->transport = child_transport(child);
	process->exit = child_exit_record(child);
	process->uptime_ms = uptime_ms(process);
	process->uid = child_owner(child);
	process->closed = child_is_closed(child);
	child_log_file(child, &log_error, &process->log_lost_bytes);
	if (log_error)
		process->log_error = (char *)err_name(log_error);
	fill_output(process, child);
	fill_channel(process, child);
	process->readers = child_reader_count(child);
	process->tree = (char *)child_tree_method(child);
	if (what & CONVERT_SPEC)
		process->spec = spec->message;
	if ((what & CONVERT_USAGE) && (state == CHILD_RUNNING || state == CHILD_STOPPING))
		usage_read(process->pid, &process->cpu_us, &process->memory_bytes);
	return process;
}

void convert_process_free(Spawnd__V1__Process *process)
{
	if (!process)
		return;
	if (process->labels)
		free(process->labels[0]);
	free(process->labels);
	free(process->channel);
	free(process->argv);
	if (process->output)
		free(process->output[0]);
	free(process->output);
	if (process->exit)
		spawnd__v1__exit_record__free_unpacked(process->exit, NULL);
	free(process);
}

void convert_ending(const struct channel_ending *ending, Spawnd__V1__Disconnected *out, Spawnd__V1__ErrorDetail *detail)
{
	out->reason = (Spawnd__V1__Disconnected__Reason)ending->reason;
	out->why = (char *)ending->err.message;
	if (!ending->err.status)
		return;
	convert_error(&ending->err, detail);
	out->error = detail;
}

void convert_error(const struct err *err, Spawnd__V1__ErrorDetail *detail_out)
{
	spawnd__v1__error_detail__init(detail_out);
	detail_out->errnum = err->errnum;
	detail_out->code = (char *)err->code;
	detail_out->syscall = (char *)err->syscall;
	detail_out->path = (ProtobufCBinaryData){.data = (uint8_t *)err->path, .len = strlen(err->path)};
	detail_out->field = (char *)err->field;
}
