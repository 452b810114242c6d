/* logs: what is kept of a process's output, and what comes. Our own blocked descriptors are the back-pressure. */
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "client.h"
#include "json.h"
#include "out.h"

struct logs_options {
	bool follow;
	const char *since;
	unsigned slot; /* 0: all */
};

static bool set_follow(void *target, const char *value, struct why *why)
{
	((struct logs_options *)target)->follow = true;
	return true;
}

static bool set_since(void *target, const char *value, struct why *why)
{
	uint64_t offset;
	uint32_t slot;
	int64_t ns;

	((struct logs_options *)target)->since = value;
	return value_slot_offset(value, &slot, &offset) || value_time_ns(value, clock_real_ns(), &ns, why);
}

static bool set_stream(void *target, const char *value, struct why *why)
{
	unsigned *slot = &((struct logs_options *)target)->slot;

	*slot = strcmp(value, "stdout") == 0 ? 1 : strcmp(value, "stderr") == 0 ? 2 : 0;
	if (*slot == 0)
		snprintf(why->text, sizeof(why->text), "not stdout or stderr");
	return *slot != 0;
}

static const struct option_row logs_rows[] = {
	{"follow", 'f', NULL, "go on with what comes, until the process has closed", set_follow},
	{"since", 0, "TIME|SLOT:OFFSET", "start there: RFC 3339, @SECONDS, a duration ago; or a byte of a slot", set_since},
	{"stream", 0, "stdout|stderr", "only this one", set_stream},
	{.name = NULL},
};

struct logs {
	struct ctl *ctl;
	bool ended, failed;
	struct spawnd_error error;
};

static void on_output(void *context, struct spawnd_process *process, unsigned slot, uint64_t offset, const void *data, size_t size)
{
	struct logs *logs = context;
	struct json_object *object;

	if (!logs->ctl->json) {
		out_write(slot == 2 ? STDERR_FILENO : STDOUT_FILENO, data, size);
		return;
	}
	object = json_object_new_object();
	json_object_object_add(object, "slot", json_object_new_uint64(slot));
	json_object_object_add(object, "offset", json_object_new_uint64(offset));
	json_object_object_add(object, "bytes", json_object_new_uint64(size));
	json_object_object_add(object, "data", json_of_bytes(data, size));
	json_print(object);
}

static void on_gap(void *context, struct spawnd_process *process, unsigned slot, uint64_t offset, uint64_t size)
{
	struct logs *logs = context;

	ctl_error(logs->ctl, "slot %u: %llu bytes at offset %llu are not kept any more", slot, (unsigned long long)size,
		(unsigned long long)offset);
}

static void on_ended(void *context, struct spawnd_process *process, const struct spawnd_error *error)
{
	struct logs *logs = context;

	logs->ended = true;
	logs->failed = error;
	if (error)
		logs->error = *error;
}

static int show(struct ctl *ctl, const char *id, const struct logs_options *options)
{
	static const struct spawnd_handlers handlers = {.output = on_output, .gap = on_gap, .ended = on_ended};
	struct spawnd_logs_options request = {.follow = options->follow};
	struct logs logs = {.ctl = ctl};
	struct spawnd_process *process;
	struct spawnd_offset from;
	struct why why;
	uint32_t slot;

	if (options->slot) {
		request.slots = &options->slot;
		request.slot_count = 1;
	}
	if (options->since && value_slot_offset(options->since, &slot, &from.offset)) {
		from.slot = slot;
		request.from = &from;
		request.from_count = 1;
	} else if (options->since) {
		value_time_ns(options->since, clock_real_ns(), &request.since_ns, &why);
	}
	process = spawnd_logs(ctl->client, client_ref(id), &request, &handlers, &logs, &logs.error);
	logs.failed = !process;
	while (process && !logs.ended && !out_error())
		if (!client_wait(ctl, &logs.error) && !logs.ended && !out_error())
			logs.ended = logs.failed = true;
	spawnd_process_free(process);
	if (!logs.failed)
		return EXIT_DONE;
	client_error(ctl, id, &logs.error);
	return EXIT_FAILED;
}

static int run(struct ctl *ctl, int argc, char **argv)
{
	struct logs_options options = {0};
	int first, status;

	if (!ctl_parse(ctl, &options, argc, argv, true, 1, 1, &first))
		return first;
	status = client_open(ctl);
	return status == EXIT_DONE ? show(ctl, argv[first], &options) : status;
}

const struct command command_logs = {"logs", "ID", "output that was kept", logs_rows, run};
