/* The options of run and exec: one row each, the setter above its row's kind. */
#include "run_options.h"

#include <string.h>

#include "base/mem.h"
#include "environment.h"

void words_add(struct words *words, const char *text)
{
	words->word = mem_realloc(words->word, (words->count + 1) * sizeof(*words->word));
	words->word[words->count++] = mem_strdup(text);
}

void words_clear(struct words *words)
{
	for (size_t i = 0; i < words->count; i++)
		free(words->word[i]);
	free(words->word);
	*words = (struct words){0};
}

/* A setter that stores the text. */
#define SET_TEXT(field)                                                                                                                    \
	static bool set_##field(void *target, const char *value, struct why *why)                                                          \
	{                                                                                                                                  \
		((struct run_options *)target)->field = value;                                                                             \
		return true;                                                                                                               \
	}

/* A setter that stores true. */
#define SET_FLAG(field)                                                                                                                    \
	static bool set_##field(void *target, const char *value, struct why *why)                                                          \
	{                                                                                                                                  \
		((struct run_options *)target)->field = true;                                                                              \
		return true;                                                                                                               \
	}

/* A setter of a struct maybe by a parser of value.h. */
#define SET_MAYBE(field, type, parse)                                                                                                      \
	static bool set_##field(void *target, const char *value, struct why *why)                                                          \
	{                                                                                                                                  \
		struct maybe *maybe = &((struct run_options *)target)->field;                                                              \
		type number;                                                                                                               \
                                                                                                                                           \
		if (!parse(value, &number, why))                                                                                           \
			return false;                                                                                                      \
		*maybe = (struct maybe){.set = true, .value = (uint64_t)number};                                                           \
		return true;                                                                                                               \
	}

SET_TEXT(name)
SET_TEXT(cwd)
SET_TEXT(argv0)
SET_TEXT(log_file)
SET_FLAG(background)
SET_FLAG(tty)
SET_FLAG(clear_env)
SET_FLAG(persist)
SET_FLAG(no_tree)
SET_FLAG(no_new_privs)
SET_MAYBE(grace_ms, uint64_t, value_duration_ms)
SET_MAYBE(drain_timeout_ms, uint64_t, value_duration_ms)
SET_MAYBE(max_buffer, uint64_t, value_size)
SET_MAYBE(retain, uint64_t, value_size)
SET_MAYBE(window, uint64_t, value_size)
SET_MAYBE(uid, uint32_t, value_uid)
SET_MAYBE(gid, uint32_t, value_gid)
SET_MAYBE(umask, uint32_t, value_umask)

static bool nice_value(const char *text, int64_t *out, struct why *why)
{
	return value_number(text, -20, 19, out, why);
}

SET_MAYBE(nice, int64_t, nice_value)

static bool set_label(void *target, const char *value, struct why *why)
{
	size_t length;

	if (!value_assignment(value, &length, why))
		return false;
	words_add(&((struct run_options *)target)->labels, value);
	return true;
}

static bool set_env(void *target, const char *value, struct why *why)
{
	return environment_add(&((struct run_options *)target)->env, value, why);
}

static bool set_env_file(void *target, const char *value, struct why *why)
{
	words_add(&((struct run_options *)target)->env_files, value);
	return true;
}

static bool set_shell(void *target, const char *value, struct why *why)
{
	struct run_options *options = target;

	options->use_shell = true;
	options->shell = value;
	return true;
}

static bool set_stdio(void *target, const char *value, struct why *why)
{
	struct run_options *options = target;
	struct stdio_value slot;

	if (!value_stdio(value, &slot, why))
		return false;
	for (size_t i = 0; i < options->stdio_count; i++)
		if (options->stdio[i].slot == slot.slot) {
			free(slot.path);
			snprintf(why->text, sizeof(why->text), "slot %u is given twice", slot.slot);
			return false;
		}
	options->stdio = mem_realloc(options->stdio, (options->stdio_count + 1) * sizeof(*options->stdio));
	options->stdio[options->stdio_count++] = slot;
	return true;
}

static bool set_rlimit(void *target, const char *value, struct why *why)
{
	struct run_options *options = target;
	struct rlimit_value limit;

	if (!value_rlimit(value, &limit, why))
		return false;
	options->rlimits = mem_realloc(options->rlimits, (options->rlimit_count + 1) * sizeof(*options->rlimits));
	options->rlimits[options->rlimit_count++] = limit;
	return true;
}

static bool set_timeout(void *target, const char *value, struct why *why)
{
	return value_duration_ms(value, &((struct run_options *)target)->timeout_ms, why);
}

static bool set_kill_signal(void *target, const char *value, struct why *why)
{
	int *signal = &((struct run_options *)target)->kill_signal;

	if (!value_signal(value, signal, why))
		return false;
	if (*signal == 0)
		snprintf(why->text, sizeof(why->text), "not a signal that ends anything");
	return *signal != 0;
}

static bool set_log_max(void *target, const char *value, struct why *why)
{
	return value_size(value, &((struct run_options *)target)->log_max, why);
}

static bool set_log_keep(void *target, const char *value, struct why *why)
{
	int64_t number;

	if (!value_number(value, 0, 10000, &number, why))
		return false;
	((struct run_options *)target)->log_keep = (uint32_t)number;
	return true;
}

/* The index of value among words (NULL at the end), from 1 on; 0 with a reason when it is none of them. */
static int choose(const char *value, const char *const *known, struct why *why)
{
	int length = snprintf(why->text, sizeof(why->text), "not one of");

	for (int i = 0; known[i]; i++) {
		if (strcmp(value, known[i]) == 0)
			return i + 1;
		length += snprintf(why->text + length, sizeof(why->text) - (size_t)length, "%s %s", i ? "," : "", known[i]);
	}
	return 0;
}

static bool set_on_disconnect(void *target, const char *value, struct why *why)
{
	static const char *const known[] = {"stop", "hangup", "keep", NULL};

	return (((struct run_options *)target)->on_disconnect = (enum run_disconnect)choose(value, known, why));
}

static bool set_on_shutdown(void *target, const char *value, struct why *why)
{
	static const char *const known[] = {"stop", "keep", NULL};

	return (((struct run_options *)target)->on_shutdown = (enum run_shutdown)choose(value, known, why));
}

static bool set_reader(void *target, const char *value, struct why *why)
{
	static const char *const known[] = {"block", "drop", NULL};

	return (((struct run_options *)target)->reader = (enum run_reader)choose(value, known, why));
}

static bool set_transport(void *target, const char *value, struct why *why)
{
	static const char *const known[] = {"kept", "direct", "handover", NULL};

	return (((struct run_options *)target)->transport = (enum run_transport)choose(value, known, why));
}

static bool set_detached(void *target, const char *value, struct why *why)
{
	struct run_options *options = target;

	options->on_disconnect = RUN_DISCONNECT_KEEP;
	options->on_shutdown = RUN_SHUTDOWN_KEEP;
	return true;
}

static bool set_serialization(void *target, const char *value, struct why *why)
{
	static const char *const known[] = {"json", "native", NULL};

	if (strcmp(value, "advanced") == 0) {
		snprintf(why->text, sizeof(why->text), "what V8 serializes is no line of JSON: advanced is for clients in JavaScript");
		return false;
	}
	return (((struct run_options *)target)->serialization = (enum run_serialization)choose(value, known, why));
}

static bool set_own_stdout(void *target, const char *value, struct why *why)
{
	((struct run_options *)target)->own_stdout = true;
	return true;
}

static bool set_keep_open(void *target, const char *value, struct why *why)
{
	((struct run_options *)target)->keep_open = true;
	return true;
}

/* What run and exec take, fork takes too. */
#define RUN_ROWS                                                                                                                           \
	{"background", 'd', NULL, "print the id and return", set_background}, {"tty", 't', NULL, "a terminal of its own", set_tty},        \
		{"name", 0, "NAME", "a name, to be used instead of the id", set_name},                                                     \
		{"label", 0, "K=V", "a label; may be repeated", set_label}, {"cwd", 0, "DIR", "where it runs (default: here)", set_cwd},   \
		{"env", 0, "K=V", "a variable of its environment; may be repeated", set_env},                                              \
		{"env-file", 0, "FILE", "variables, one K=V a line; may be repeated; --env wins", set_env_file},                           \
		{"clear-env", 0, NULL, "nothing of our environment", set_clear_env},                                                       \
		{"argv0", 0, "NAME", "what it finds as its own name", set_argv0},                                                          \
		{"shell", 0, "[=PATH]", "have a shell run the arguments, joined by spaces", set_shell},                                    \
		{"stdio", 0, "N=KIND", "pipe, null, inherit, fd:N, file:PATH[,append|read|truncate], pty, same:N, none", set_stdio},       \
		{"timeout", 0, "D", "end it after this long; the status is then 124", set_timeout},                                        \
		{"kill-signal", 0, "S", "signal that ends it (default TERM)", set_kill_signal},                                            \
		{"grace", 0, "D", "from that signal to KILL (default 10s)", set_grace_ms},                                                 \
		{"persist", 0, NULL, "with -d and --name: start again with the daemon, until rm", set_persist},                            \
		{"no-tree", 0, NULL, "do not track what it starts", set_no_tree},                                                          \
		{"drain-timeout", 0, "D", "how long others may hold its pipes once it has exited (default 5s)", set_drain_timeout_ms},     \
		{"max-buffer", 0, "B", "kill it when a slot has written more", set_max_buffer},                                            \
		{"uid", 0, "U", "run as this user, with its groups", set_uid},                                                             \
		{"gid", 0, "G", "run as this group instead of the user's own", set_gid},                                                   \
		{"umask", 0, "M", "octal mask for files it creates", set_umask}, {"nice", 0, "N", "-20 to 19", set_nice},                  \
		{"rlimit", 0, "NAME=SOFT[:HARD]", "a resource limit; may be repeated", set_rlimit},                                        \
		{"no-new-privs", 0, NULL, "no gain of rights by exec", set_no_new_privs},                                                  \
		{"detached", 0, NULL, "--on-disconnect keep --on-shutdown keep", set_detached},                                            \
		{"on-disconnect", 0, "stop|hangup|keep", "when we go", set_on_disconnect},                                                 \
		{"on-shutdown", 0, "stop|keep", "when the daemon ends", set_on_shutdown},                                                  \
		{"log-file", 0, "FILE", "write its output there too", set_log_file},                                                       \
		{"log-max", 0, "B", "rotate the log file beyond this size", set_log_max},                                                  \
		{"log-keep", 0, "N", "rotated files to keep", set_log_keep},                                                               \
		{"retain", 0, "B", "what is kept of each output slot (default 256K)", set_retain},                                         \
		{"reader", 0, "block|drop", "when we do not keep up", set_reader},                                                         \
		{"transport", 0, "kept|direct|handover", "the way its output takes", set_transport},                                       \
		{"window", 0, "B", "bytes of a slot under way to us at most (default 1M)", set_window},

const struct option_row run_option_rows[] = {RUN_ROWS{.name = NULL}};

const struct option_row fork_option_rows[] = {
	RUN_ROWS{"serialization", 0, "json|native", "what the channel speaks", set_serialization},
	{"stdout", 0, NULL, "its own stdout goes to ours, not to stderr", set_own_stdout},
	{"keep-open", 0, NULL, "leave the channel open at the end of our input", set_keep_open},
	{.name = NULL},
};

void run_options_clear(struct run_options *options)
{
	words_clear(&options->labels);
	words_clear(&options->env);
	words_clear(&options->env_files);
	for (size_t i = 0; i < options->stdio_count; i++)
		free(options->stdio[i].path);
	free(options->stdio);
	free(options->rlimits);
	*options = (struct run_options){0};
}
