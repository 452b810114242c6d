/* What is told of a child. Looks, changes nothing. */
#include <signal.h>

#include "base/mem.h"
#include "process/child_parts.h"

uint64_t child_id(const struct child *child)
{
	return child->id;
}

const char *child_name(const struct child *child)
{
	return child->spec->message->name;
}

const struct spec *child_spec(const struct child *child)
{
	return child->spec;
}

enum child_state child_state(const struct child *child)
{
	return child->state;
}

bool child_is_closed(const struct child *child)
{
	return child->closed;
}

bool child_left_something(const struct child *child)
{
	return !child->tree.empty;
}

bool child_drain_timed_out(const struct child *child)
{
	return child->drain_timed_out;
}

const char *child_removed_why(const struct child *child)
{
	return child->removed_why ? child->removed_why : "";
}

pid_t child_pid(const struct child *child)
{
	return child->pid;
}

uid_t child_owner(const struct child *child)
{
	return child->owner;
}

int64_t child_started_at_ns(const struct child *child)
{
	return child->started_at_ns;
}

unsigned child_reader_count(const struct child *child)
{
	return output_reader_count(child->output);
}

const char *child_tree_method(const struct child *child)
{
	return tree_method(&child->tree);
}

struct output *child_output(struct child *child)
{
	return child->output;
}

Spawnd__V1__Transport child_transport(const struct child *child)
{
	struct output_total total;

	if (child->spec->message->transport != SPAWND__V1__TRANSPORT__TRANSPORT_DIRECT)
		return child->spec->message->transport;
	for (size_t i = 0; output_total(child->output, i, &total); i++)
		if (total.direct)
			return SPAWND__V1__TRANSPORT__TRANSPORT_DIRECT;
	return SPAWND__V1__TRANSPORT__TRANSPORT_KEPT;
}

size_t child_totals(const struct child *child, struct slot_total *totals, size_t size)
{
	struct output_total total;
	size_t count = output_count(child->output);

	for (size_t i = 0; i < count && i < size && output_total(child->output, i, &total); i++)
		totals[i] = (struct slot_total){
			.slot = total.slot, .bytes = total.bytes, .retained_from = total.retained_from, .complete = total.complete};
	return count;
}

const char *child_log_file(const struct child *child, int *error_out, uint64_t *lost_out)
{
	const struct record_filing *filing = &child->record->filing;

	*error_out = (int)atomic_load(&filing->error);
	*lost_out = atomic_load(&filing->lost);
	return child->logfile ? logfile_path(child->logfile) : NULL;
}

bool child_cut(const struct child *child, uint32_t slot, uint64_t *offset_out, uint64_t *bytes_out)
{
	struct output_total total;

	for (size_t i = 0; output_total(child->output, i, &total); i++) {
		if (total.slot != slot || !total.cut_bytes)
			continue;
		*offset_out = total.cut_offset;
		*bytes_out = total.cut_bytes;
		return true;
	}
	return false;
}

static uint64_t microseconds(struct timeval time)
{
	return (uint64_t)time.tv_sec * 1000000 + (uint64_t)time.tv_usec;
}

static Spawnd__V1__Rusage *usage_message(const struct rusage *usage)
{
	Spawnd__V1__Rusage *message = mem_alloc(sizeof(*message));

	spawnd__v1__rusage__init(message);
	message->user_us = microseconds(usage->ru_utime);
	message->system_us = microseconds(usage->ru_stime);
	message->max_rss_bytes = (uint64_t)usage->ru_maxrss * 1024;
	message->minor_faults = (uint64_t)usage->ru_minflt;
	message->major_faults = (uint64_t)usage->ru_majflt;
	message->voluntary_switches = (uint64_t)usage->ru_nvcsw;
	message->involuntary_switches = (uint64_t)usage->ru_nivcsw;
	return message;
}

/* Why there never was a process, in Node's shape. */
static Spawnd__V1__ErrorDetail *error_message(const struct child *child)
{
	const struct err *err = child->failure;
	Spawnd__V1__ErrorDetail *message = mem_alloc(sizeof(*message));
	char **argv = child->spec->argv;

	spawnd__v1__error_detail__init(message);
	message->errnum = err->errnum;
	message->code = mem_strdup(err->code);
	message->syscall = mem_strdup(err->syscall);
	message->field = mem_strdup(err->field);
	message->path.len = strlen(err->path);
	message->path.data = mem_dup(err->path, message->path.len + 1);
	while (argv[message->n_spawnargs + 1])
		message->n_spawnargs++;
	message->spawnargs = mem_alloc((message->n_spawnargs + 1) * sizeof(*message->spawnargs));
	for (size_t i = 0; i < message->n_spawnargs; i++) {
		message->spawnargs[i].len = strlen(argv[i + 1]);
		message->spawnargs[i].data = mem_dup(argv[i + 1], message->spawnargs[i].len + 1);
	}
	return message;
}

static void put_totals(const struct child *child, Spawnd__V1__ExitRecord *record)
{
	struct output_total total;

	record->output = mem_alloc((output_count(child->output) + 1) * sizeof(Spawnd__V1__SlotTotal *));
	for (size_t i = 0; output_total(child->output, i, &total); i++) {
		Spawnd__V1__SlotTotal *message = mem_alloc(sizeof(*message));

		spawnd__v1__slot_total__init(message);
		message->slot = total.slot;
		message->bytes = total.bytes;
		message->retained_from = total.retained_from;
		message->complete = total.complete;
		record->output[record->n_output++] = message;
	}
}

Spawnd__V1__ExitRecord *child_exit_record(const struct child *child)
{
	Spawnd__V1__ExitRecord *record;

	if (!child->end && !child->failure)
		return NULL;
	record = mem_alloc(sizeof(*record));
	spawnd__v1__exit_record__init(record);
	record->reason = (Spawnd__V1__ExitReason)child->reason;
	if (child->failure) {
		record->error = error_message(child);
		return record;
	}
	record->exited_at_ns = child->end->at_ns;
	record->rusage = usage_message(&child->end->usage);
	put_totals(child, record);
	if (!child->end->known)
		return record;
	if (child->end->code == CLD_EXITED) {
		record->_code_case = SPAWND__V1__EXIT_RECORD___CODE_CODE;
		record->code = child->end->status;
		return record;
	}
	record->_signal_case = SPAWND__V1__EXIT_RECORD___SIGNAL_SIGNAL;
	record->signal = child->end->status;
	record->core = child->end->code == CLD_DUMPED;
	return record;
}
