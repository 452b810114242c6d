/* ps and inspect: the records of processes. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "client.h"
#include "format.h"
#include "json.h"
#include "run_options.h"
#include "tty.h"

struct ps_options {
	bool all;
	struct words filters;
};

static bool set_all(void *target, const char *value, struct why *why)
{
	((struct ps_options *)target)->all = true;
	return true;
}

/* The value of a filter for `key`; NULL: it is for another one. */
static const char *filter_value(const char *filter, const char *key)
{
	size_t length = strlen(key);

	return strncmp(filter, key, length) == 0 && filter[length] == '=' ? filter + length + 1 : NULL;
}

static bool has_ended(const char *state)
{
	return strcmp(state, "exited") == 0 || strcmp(state, "failed") == 0;
}

static bool check_state(const char *state, struct why *why)
{
	const ProtobufCEnumDescriptor *states = &spawnd__v1__process_state__descriptor;
	int length = snprintf(why->text, sizeof(why->text), "not one of");

	for (unsigned i = 0; i < states->n_values; i++) {
		_cleanup_free_ char *word = json_enum_word(states, states->values[i].value);

		if (word && strcmp(word, state) == 0)
			return true;
		if (word)
			length += snprintf(why->text + length, sizeof(why->text) - (size_t)length, " %s", word);
	}
	return false;
}

static bool check_filter(const char *filter, struct why *why)
{
	const char *state = filter_value(filter, "state"), *number = filter_value(filter, "id");
	int64_t parsed;
	size_t length;

	if (!value_assignment(filter, &length, why))
		return false;
	if (!number)
		number = filter_value(filter, "pid");
	if (number)
		return value_number(number, 1, INT64_MAX, &parsed, why);
	return !state || check_state(state, why);
}

static bool set_filter(void *target, const char *value, struct why *why)
{
	struct ps_options *options = target;
	const char *state = filter_value(value, "state");

	if (!check_filter(value, why))
		return false;
	if (state && has_ended(state))
		options->all = true;
	words_add(&options->filters, value);
	return true;
}

static const struct option_row ps_rows[] = {
	{"all", 'a', NULL, "ended ones too", set_all},
	{"filter", 0, "K=V", "id, name, pid, state, label=K[=V]; any other K is a label; all must match", set_filter},
	{.name = NULL},
};

static bool has_label(const Spawnd__V1__Process *process, const char *assignment)
{
	const char *sign = strchr(assignment, '=');
	size_t length = sign ? (size_t)(sign - assignment) : strlen(assignment);

	for (size_t i = 0; i < process->n_labels; i++) {
		const char *key = process->labels[i]->key;

		if (strlen(key) == length && memcmp(key, assignment, length) == 0)
			return !sign || strcmp(process->labels[i]->value, sign + 1) == 0;
	}
	return false;
}

/* "running"; "" for a state of a newer daemon. The caller frees it. */
static char *state_word(const Spawnd__V1__Process *process)
{
	char *word = json_enum_word(&spawnd__v1__process_state__descriptor, (int)process->state);

	return word ? word : mem_strdup("");
}

static bool matches(const Spawnd__V1__Process *process, const char *filter)
{
	_cleanup_free_ char *state = state_word(process);
	const char *value;

	if ((value = filter_value(filter, "id")))
		return process->id == strtoull(value, NULL, 10);
	if ((value = filter_value(filter, "pid")))
		return process->pid == strtoll(value, NULL, 10);
	if ((value = filter_value(filter, "name")))
		return strcmp(process->name, value) == 0;
	if ((value = filter_value(filter, "state")))
		return strcmp(state, value) == 0;
	value = filter_value(filter, "label");
	return has_label(process, value ? value : filter);
}

/* "exited 3", "signaled TERM": how it ended, for the STATE column. The caller frees it. */
static char *state_text(const Spawnd__V1__Process *process)
{
	_cleanup_free_ char *state = state_word(process);

	if (!process->exit || process->exit->reason == SPAWND__V1__EXIT_REASON__EXIT_REASON_SPAWN_FAILED)
		return mem_steal(&state);
	if (process->exit->_code_case)
		return mem_printf("%s %d", state, process->exit->code);
	if (process->exit->_signal_case)
		return mem_printf("%s %s", state, value_signal_name(process->exit->signal));
	return mem_steal(&state);
}

/* What was executed, for the COMMAND column. The caller frees it. */
static char *command_text(const Spawnd__V1__Process *process)
{
	_cleanup_free_ const char **words = mem_alloc(process->n_argv * sizeof(*words) + 1);
	_cleanup_free_ size_t *lengths = mem_alloc(process->n_argv * sizeof(*lengths) + 1);

	for (size_t i = 0; i < process->n_argv; i++) {
		words[i] = (const char *)process->argv[i].data;
		lengths[i] = process->argv[i].len;
	}
	return format_command(words, lengths, process->n_argv);
}

static void add_row(struct table *table, const Spawnd__V1__Process *process)
{
	_cleanup_free_ char *state = state_text(process), *command = command_text(process);
	bool live = !process->exit;
	char text[FORMAT_MAX];

	snprintf(text, sizeof(text), "%llu", (unsigned long long)process->id);
	table_add(table, text);
	table_add(table, process->name[0] ? process->name : "-");
	snprintf(text, sizeof(text), "%d", (int)process->pid);
	table_add(table, process->pid ? text : "-");
	table_add(table, state);
	table_add(table, live ? format_duration(process->uptime_ms, text) : "-");
	snprintf(text, sizeof(text), "%u", process->restarts);
	table_add(table, text);
	snprintf(text, sizeof(text), "%.2fs", (double)process->cpu_us / 1e6);
	table_add(table, live ? text : "-");
	table_add(table, live ? format_size(process->memory_bytes, text) : "-");
	table_add(table, command);
}

/* Takes one page of the list: rows or lines. */
static void take_page(struct ctl *ctl, const struct ps_options *options, const Spawnd__V1__ListReply *page, struct table *table)
{
	for (size_t i = 0; i < page->n_processes; i++) {
		const Spawnd__V1__Process *process = page->processes[i];
		bool wanted = true;

		for (size_t k = 0; wanted && k < options->filters.count; k++)
			wanted = matches(process, options->filters.word[k]);
		if (wanted && ctl->json)
			json_print(json_of_message(&process->base));
		else if (wanted)
			add_row(table, process);
	}
}

static int list(struct ctl *ctl, const struct ps_options *options)
{
	static const char *const titles[] = {"ID", "NAME", "PID", "STATE", "UPTIME", "RESTARTS", "CPU", "MEMORY", "COMMAND", NULL};
	Spawnd__V1__ListRequest request = SPAWND__V1__LIST_REQUEST__INIT;
	struct table *table = table_create(titles);
	unsigned rows, columns = 0;
	int status = EXIT_DONE;

	request.all = options->all;
	request.usage = true;
	do {
		ProtobufCMessage *reply;

		if (!client_call(ctl, NULL, PROCESSES, "List", &request.base, &spawnd__v1__list_reply__descriptor, &reply)) {
			status = EXIT_FAILED;
			break;
		}
		take_page(ctl, options, (const Spawnd__V1__ListReply *)reply, table);
		request.after_id = ((const Spawnd__V1__ListReply *)reply)->next_after_id;
		protobuf_c_message_free_unpacked(reply, NULL);
	} while (request.after_id);
	if (isatty(STDOUT_FILENO))
		tty_size(STDOUT_FILENO, &rows, &columns);
	if (!ctl->json && status == EXIT_DONE)
		table_print(table, stdout, columns);
	table_destroy(table);
	return status;
}

static int ps(struct ctl *ctl, int argc, char **argv)
{
	struct ps_options options = {0};
	int first, status;

	if (ctl_parse(ctl, &options, argc, argv, true, 0, 0, &first)) {
		status = client_open(ctl);
		if (status == EXIT_DONE)
			status = list(ctl, &options);
	} else {
		status = first;
	}
	words_clear(&options.filters);
	return status;
}

const struct command command_ps = {"ps", "", "list processes", ps_rows, ps};

static int inspect(struct ctl *ctl, int argc, char **argv)
{
	Spawnd__V1__GetRequest request = SPAWND__V1__GET_REQUEST__INIT;
	int first, status;

	if (!ctl_parse(ctl, NULL, argc, argv, true, 1, -1, &first))
		return first;
	status = client_open(ctl);
	if (status != EXIT_DONE)
		return status;
	for (int i = first; i < argc; i++) {
		Spawnd__V1__ProcessRef process = ref_message(client_ref(argv[i]));
		ProtobufCMessage *reply;

		request.process = &process;
		if (!client_call(ctl, argv[i], PROCESSES, "Get", &request.base, &spawnd__v1__process__descriptor, &reply)) {
			status = EXIT_FAILED;
			continue;
		}
		if (ctl->json)
			json_print(json_of_message(reply));
		else
			json_print_pretty(json_of_message(reply));
		protobuf_c_message_free_unpacked(reply, NULL);
	}
	return status;
}

const struct command command_inspect = {"inspect", "ID...", "the full record of a process, its spec included", NULL, inspect};
