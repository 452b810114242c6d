/* Arguments and configuration file. One table says what there is; both ways of saying it go through it. */
#include "engine/options.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"

const char options_usage[] =
	"usage: spawnd [--foreground] [--socket PATH] [--state-dir DIR] [--config FILE] [--log-level error|warning|info|debug]\n"
	"              [--idle-exit DURATION] [--allow-foreign-ns]\n"
	"       spawnd --version | --help\n";

#define DURATION_MAX_MS (UINT64_C(100) * 366 * 24 * 3600 * 1000)

enum {
	KEY_SOCKET,
	KEY_STATE_DIR,
	KEY_CONFIG,
	KEY_LOG_LEVEL,
	KEY_IDLE_EXIT,
	KEY_ALLOW_FOREIGN_NS,
	KEY_GRANT,
	KEY_RUN_AS,
	KEY_QUOTA,
	KEY_FOREGROUND,
	KEY_VERSION,
	KEY_HELP,
	KEY_COUNT
};

static const struct key {
	const char *name;
	bool value;       /* takes one; else it is a switch */
	bool in_file;     /* may stand in the configuration file */
	bool no_argument; /* may stand nowhere else */
} keys[KEY_COUNT] = {
	[KEY_SOCKET] = {"socket", true, true, false},
	[KEY_STATE_DIR] = {"state-dir", true, true, false},
	[KEY_CONFIG] = {"config", true, false, false},
	[KEY_LOG_LEVEL] = {"log-level", true, true, false},
	[KEY_IDLE_EXIT] = {"idle-exit", true, true, false},
	[KEY_ALLOW_FOREIGN_NS] = {"allow-foreign-ns", false, true, false},
	[KEY_GRANT] = {"grant", true, true, true},
	[KEY_RUN_AS] = {"run-as", true, true, true},
	[KEY_QUOTA] = {"quota", true, true, true},
	[KEY_FOREGROUND] = {"foreground", false, false, false},
	[KEY_VERSION] = {"version", false, false, false},
	[KEY_HELP] = {"help", false, false, false},
};

/* Milliseconds of a unit at the start of text; *length_out its length. 0: not a unit. */
static uint64_t unit_ms(const char *text, size_t *length_out)
{
	static const struct {
		const char *name;
		uint64_t ms;
	} units[] = {{"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {"d", 86400000}};

	for (size_t i = 0; i < array_size(units); i++) {
		*length_out = strlen(units[i].name);
		if (strncmp(text, units[i].name, *length_out) == 0)
			return units[i].ms;
	}
	*length_out = 0;
	return *text == '\0' ? 1000 : 0;
}

/* Adds one `NUMBER[.FRACTION][UNIT]`. Returns what follows it, or NULL. */
static const char *add_part(const char *text, uint64_t *ms)
{
	uint64_t whole = 0, fraction = 0, scale = 1, unit;
	size_t length;

	if (!isdigit((unsigned char)*text))
		return NULL;
	for (; isdigit((unsigned char)*text); text++) {
		whole = whole * 10 + (uint64_t)(*text - '0');
		if (whole > DURATION_MAX_MS)
			return NULL;
	}
	if (*text == '.') {
		for (text++; isdigit((unsigned char)*text); text++) {
			if (scale >= 1000000)
				continue;
			fraction = fraction * 10 + (uint64_t)(*text - '0');
			scale *= 10;
		}
	}
	unit = unit_ms(text, &length);
	if (!unit)
		return NULL;
	*ms += whole * unit + fraction * unit / scale;
	return *ms > DURATION_MAX_MS ? NULL : text + length;
}

bool options_duration(const char *text, uint64_t *ms_out)
{
	uint64_t ms = 0;

	do {
		text = add_part(text, &ms);
		if (!text)
			return false;
	} while (*text);
	*ms_out = ms;
	return true;
}

/* An absolute copy of a path: the daemon's directory is / later. */
static int set_path(char **slot, const char *name, const char *value, struct err *err)
{
	_cleanup_free_ char *here = NULL;

	if (!*value)
		return err_set(err, STATUS_INVALID_ARGUMENT, "%s: the path is empty", name);
	if (*value != '/') {
		here = realpath(".", NULL);
		if (!here)
			return err_errno(err, errno, "getcwd", NULL);
	}
	free(*slot);
	*slot = here ? mem_printf("%s/%s", here, value) : mem_strdup(value);
	return 0;
}

static int set_bool(bool *slot, const char *name, const char *value, struct err *err)
{
	if (!value || strcmp(value, "true") == 0)
		*slot = true;
	else if (strcmp(value, "false") == 0)
		*slot = false;
	else
		return err_set(err, STATUS_INVALID_ARGUMENT, "%s: %s is neither true nor false", name, value);
	return 0;
}

/* A line about other users. */
static int read_users(struct options *options, int key, const char *value, struct err *err)
{
	if (key == KEY_QUOTA)
		return limits_read(&options->limits, value, err);
	return key == KEY_GRANT ? grants_read_grant(&options->grants, value, err) : grants_read_run_as(&options->grants, value, err);
}

/* The same; what is wrong with it is told behind its key. */
static int set_users(struct options *options, int key, const char *value, struct err *err)
{
	int done = read_users(options, key, value, err);
	char *text;

	if (done == 0 || !err)
		return done;
	text = mem_strdup(err->message);
	err_set(err, STATUS_INVALID_ARGUMENT, "%s: %.250s", keys[key].name, text);
	free(text);
	return done;
}

/* Sets what key number `key` stands for. */
static int set(struct options *options, int key, const char *value, struct err *err)
{
	const char *name = keys[key].name;

	switch (key) {
	case KEY_SOCKET:
		return set_path(&options->socket, name, value, err);
	case KEY_STATE_DIR:
		return set_path(&options->state_dir, name, value, err);
	case KEY_CONFIG:
		return set_path(&options->config, name, value, err);
	case KEY_LOG_LEVEL:
		if (!log_level_of(value, &options->log_level))
			return err_set(err, STATUS_INVALID_ARGUMENT, "%s: %.80s is none of error, warning, info, debug", name, value);
		return 0;
	case KEY_IDLE_EXIT:
		if (!options_duration(value, &options->idle_exit_ms))
			return err_set(err, STATUS_INVALID_ARGUMENT, "%s: %.80s is not a duration (10m, 30s, 500ms)", name, value);
		return 0;
	case KEY_ALLOW_FOREIGN_NS:
		return set_bool(&options->allow_foreign_ns, name, value, err);
	case KEY_GRANT:
	case KEY_RUN_AS:
	case KEY_QUOTA:
		return set_users(options, key, value, err);
	case KEY_FOREGROUND:
		return set_bool(&options->foreground, name, value, err);
	case KEY_VERSION:
		return set_bool(&options->version, name, value, err);
	default:
		return set_bool(&options->help, name, value, err);
	}
}

/* The number of the key with this name, or -1. */
static int find_key(const char *name, size_t length)
{
	for (int key = 0; key < KEY_COUNT; key++)
		if (strlen(keys[key].name) == length && strncmp(keys[key].name, name, length) == 0)
			return key;
	return -1;
}

/* One argument, with its value in it or after it. Advances *at over a value. */
static int read_argument(struct options *options, int argc, char *const *argv, int *at, bool given[KEY_COUNT], struct err *err)
{
	const char *word = argv[*at], *equals = strchr(word, '='), *value = equals ? equals + 1 : NULL;
	int key = -1;

	if (strncmp(word, "--", 2) == 0)
		key = find_key(word + 2, equals ? (size_t)(equals - word) - 2 : strlen(word + 2));
	if (key < 0 || keys[key].no_argument)
		return err_set(err, STATUS_INVALID_ARGUMENT, "unknown argument %.200s", word);
	if (keys[key].value && !value) {
		if (*at + 1 >= argc)
			return err_set(err, STATUS_INVALID_ARGUMENT, "%s needs a value", word);
		value = argv[++*at];
	} else if (!keys[key].value && value) {
		return err_set(err, STATUS_INVALID_ARGUMENT, "--%s takes no value", keys[key].name);
	}
	given[key] = true;
	return set(options, key, value, err);
}

/* Cuts white space off both ends, in place. */
static char *trim(char *text)
{
	char *end = text + strlen(text);

	while (end > text && isspace((unsigned char)end[-1]))
		*--end = '\0';
	while (isspace((unsigned char)*text))
		text++;
	return text;
}

/* One line of the file; what the arguments gave stays. */
static int read_line(struct options *options, char *line, const bool given[KEY_COUNT], struct err *err)
{
	char *text = trim(line), *equals = strchr(text, '='), *name, *value;
	struct options ignored = {0};
	int key, done;

	if (!*text || *text == '#')
		return 0;
	if (!equals)
		return err_set(err, STATUS_INVALID_ARGUMENT, "no `key = value`: %.200s", text);
	*equals = '\0';
	name = trim(text);
	value = trim(equals + 1);
	key = find_key(name, strlen(name));
	if (key < 0 || !keys[key].in_file)
		return err_set(err, STATUS_INVALID_ARGUMENT, "unknown key %.200s", name);
	done = set(given[key] ? &ignored : options, key, value, err);
	options_finish(&ignored);
	return done;
}

/* The file, line by line; errors name file and line. */
static int read_file(struct options *options, const bool given[KEY_COUNT], struct err *err)
{
	FILE *file = fopen(options->config, "re");
	char *line = NULL, *text;
	size_t size = 0;
	unsigned number = 0;
	int done = 0;

	if (!file)
		return err_errno(err, errno, "open", options->config);
	while (done == 0 && getline(&line, &size, file) >= 0) {
		number++;
		done = read_line(options, line, given, err);
	}
	if (done < 0 && err) {
		text = mem_strdup(err->message);
		err_set(err, STATUS_INVALID_ARGUMENT, "%.200s:%u: %.250s", options->config, number, text);
		free(text);
	}
	free(line);
	fclose(file);
	return done;
}

int options_read(struct options *options_out, int argc, char *const *argv, struct err *err)
{
	struct options options = {.log_level = LOG_INFO};
	bool given[KEY_COUNT] = {false};
	int done = 0;

	for (int at = 1; at < argc && done == 0; at++)
		done = read_argument(&options, argc, argv, &at, given, err);
	if (done == 0 && options.config)
		done = read_file(&options, given, err);
	if (done < 0) {
		options_finish(&options);
		return done;
	}
	*options_out = options;
	return 0;
}

void options_finish(struct options *options)
{
	free(options->socket);
	free(options->state_dir);
	free(options->config);
	grants_finish(&options->grants);
	limits_finish(&options->limits);
	*options = (struct options){0};
}
