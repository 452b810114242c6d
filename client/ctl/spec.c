/* From the options of run to what libspawnd starts: every default that spawnctl has, and the daemon has not, is here. */
#include "spec.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/mem.h"
#include "environment.h"
#include "tty.h"

const struct stdio_value *spec_slot(const struct run_options *options, uint32_t slot)
{
	for (size_t i = 0; i < options->stdio_count; i++)
		if (options->stdio[i].slot == slot)
			return &options->stdio[i];
	return NULL;
}

bool spec_slot_is_ours(const struct run_options *options, uint32_t slot)
{
	const struct stdio_value *value = spec_slot(options, slot);

	if (value)
		return value->kind == STDIO_PIPE || value->kind == STDIO_PTY;
	if (slot == 0 && options->background)
		return options->tty;
	return slot <= 2;
}

/* A path as the daemon wants it: absolute. The caller frees it. NULL: told, there is no directory that it could start in. */
static char *absolute(const struct ctl *ctl, const char *option, const char *path)
{
	char here[PATH_MAX];

	if (path[0] == '/')
		return mem_strdup(path);
	if (!getcwd(here, sizeof(here))) {
		ctl_error(ctl, "%s %s: getcwd %s: the current directory is gone", option, path, err_name(errno));
		return NULL;
	}
	return mem_printf("%s/%s", here, path);
}

static void set_names(struct spawnd_spec *spec, const struct run_options *options)
{
	if (options->name)
		spawnd_spec_set_name(spec, options->name);
	for (size_t i = 0; i < options->labels.count; i++) {
		const char *sign = strchr(options->labels.word[i], '=');
		_cleanup_free_ char *key = mem_strndup(options->labels.word[i], (size_t)(sign - options->labels.word[i]));

		spawnd_spec_add_label(spec, key, sign + 1);
	}
}

static bool set_places(const struct ctl *ctl, struct spawnd_spec *spec, const struct run_options *options)
{
	_cleanup_free_ char *cwd = NULL, *log_file = NULL;

	if (options->cwd) {
		cwd = absolute(ctl, "--cwd", options->cwd);
		if (!cwd)
			return false;
		spawnd_spec_set_cwd(spec, cwd);
	}
	if (options->log_file) {
		log_file = absolute(ctl, "--log-file", options->log_file);
		if (!log_file)
			return false;
		spawnd_spec_set_log_file(spec, log_file, options->log_max, options->log_keep);
	}
	return true;
}

/* What is said on the command line itself wins over files, whatever the order. */
static bool set_environment(const struct ctl *ctl, struct spawnd_spec *spec, const struct run_options *options)
{
	struct words variables = {0};
	bool good = true;

	if (options->clear_env)
		spawnd_spec_clear_env(spec);
	for (size_t i = 0; good && i < options->env_files.count; i++)
		good = environment_read(ctl, options->env_files.word[i], &variables);
	for (size_t i = 0; i < variables.count; i++)
		spawnd_spec_set_env(spec, variables.word[i]);
	words_clear(&variables);
	for (size_t i = 0; i < options->env.count; i++)
		spawnd_spec_set_env(spec, options->env.word[i]);
	return good;
}

/* A user brings its own group along, as systemd's User= does: the daemon alone would leave ours, which may be root's. */
static bool set_user(const struct ctl *ctl, struct spawnd_spec *spec, uid_t uid, bool with_group)
{
	const struct passwd *user;

	spawnd_spec_set_uid(spec, uid);
	if (!with_group || uid == geteuid())
		return true;
	user = getpwuid(uid);
	if (!user) {
		ctl_error(ctl, "--uid %u: the user database has no such user, and so no group; name one with --gid", (unsigned)uid);
		return false;
	}
	spawnd_spec_set_gid(spec, user->pw_gid);
	return true;
}

static bool set_rights(const struct ctl *ctl, struct spawnd_spec *spec, const struct run_options *options)
{
	if (options->uid.set && !set_user(ctl, spec, (uid_t)options->uid.value, !options->gid.set))
		return false;
	if (options->gid.set)
		spawnd_spec_set_gid(spec, (gid_t)options->gid.value);
	if (options->umask.set)
		spawnd_spec_set_umask(spec, (mode_t)options->umask.value);
	if (options->nice.set)
		spawnd_spec_set_nice(spec, (int)(int64_t)options->nice.value);
	for (size_t i = 0; i < options->rlimit_count; i++)
		spawnd_spec_add_rlimit(spec, options->rlimits[i].name, options->rlimits[i].soft, options->rlimits[i].hard);
	if (options->no_new_privs)
		spawnd_spec_set_no_new_privs(spec, true);
	return true;
}

static void set_life(struct spawnd_spec *spec, const struct run_options *options)
{
	spawnd_spec_set_timeout(spec, options->timeout_ms);
	if (options->kill_signal)
		spawnd_spec_set_kill_signal(spec, options->kill_signal);
	if (options->persist)
		spawnd_spec_set_persist(spec, true);
	if (options->no_tree)
		spawnd_spec_set_no_tree(spec, true);
	if (options->grace_ms.set)
		spawnd_spec_set_grace(spec, options->grace_ms.value);
	if (options->drain_timeout_ms.set)
		spawnd_spec_set_drain_timeout(spec, options->drain_timeout_ms.value);
	if (options->retain.set)
		spawnd_spec_set_retain(spec, options->retain.value);
	if (options->on_disconnect)
		spawnd_spec_set_on_disconnect(spec, (enum spawnd_on_disconnect)options->on_disconnect);
	if (options->on_shutdown)
		spawnd_spec_set_on_shutdown(spec, (enum spawnd_on_shutdown)options->on_shutdown);
	if (options->transport)
		spawnd_spec_set_transport(spec, (enum spawnd_transport)options->transport);
	else if (!options->background && !options->tty)
		spawnd_spec_set_transport(spec, SPAWND_DIRECT);
}

/* One --stdio. */
static bool set_slot(const struct ctl *ctl, struct spawnd_spec *spec, const struct stdio_value *value)
{
	static const enum spawnd_file_mode modes[] = {
		[STDIO_MODE_DEFAULT] = SPAWND_FILE_DEFAULT,
		[STDIO_MODE_READ] = SPAWND_READ,
		[STDIO_MODE_TRUNCATE] = SPAWND_TRUNCATE,
		[STDIO_MODE_APPEND] = SPAWND_APPEND,
		[STDIO_MODE_READ_WRITE] = SPAWND_READ_WRITE,
	};

	switch (value->kind) {
	case STDIO_PIPE:
		spawnd_spec_set_stdio(spec, value->slot, SPAWND_PIPE);
		break;
	case STDIO_NULL:
		spawnd_spec_set_stdio(spec, value->slot, SPAWND_NULL);
		break;
	case STDIO_PTY:
		spawnd_spec_set_stdio(spec, value->slot, SPAWND_PTY);
		break;
	case STDIO_NONE:
		spawnd_spec_set_stdio(spec, value->slot, SPAWND_NONE);
		break;
	case STDIO_FILE:
		spawnd_spec_set_file(spec, value->slot, value->path, modes[value->mode], -1);
		break;
	case STDIO_SAME:
		spawnd_spec_set_same(spec, value->slot, value->same);
		break;
	case STDIO_INHERIT:
	case STDIO_FD:
		if (fcntl(value->fd, F_GETFD) < 0) {
			ctl_error(ctl, "--stdio %u: descriptor %d: %s", value->slot, value->fd, strerror(errno));
			return false;
		}
		spawnd_spec_set_fd(spec, value->slot, value->fd);
		break;
	}
	return true;
}

static bool set_stdio(const struct ctl *ctl, struct spawnd_spec *spec, const struct run_options *options)
{
	unsigned rows, columns;
	bool pty = options->tty;

	for (size_t i = 0; i < options->stdio_count; i++) {
		pty = pty || options->stdio[i].kind == STDIO_PTY;
		if (!set_slot(ctl, spec, &options->stdio[i]))
			return false;
	}
	for (uint32_t slot = 0; slot <= 2; slot++)
		if (options->tty && !spec_slot(options, slot))
			spawnd_spec_set_stdio(spec, slot, SPAWND_PTY);
	if (options->background && !options->tty && !spec_slot(options, 0))
		spawnd_spec_set_stdio(spec, 0, SPAWND_NULL);
	if (pty && (tty_size(STDIN_FILENO, &rows, &columns) || tty_size(STDOUT_FILENO, &rows, &columns)))
		spawnd_spec_set_window(spec, rows, columns);
	return true;
}

/* --max-buffer holds for every output slot of ours; a terminal is one of them, its lowest above 0. */
static void set_capture(struct spawnd_spec *spec, const struct run_options *options)
{
	bool terminal_done = false;

	if (!options->max_buffer.set)
		return;
	for (uint32_t slot = 1; slot < 256; slot++) {
		const struct stdio_value *value = spec_slot(options, slot);
		bool terminal = value ? value->kind == STDIO_PTY : options->tty && slot <= 2;

		if (!spec_slot_is_ours(options, slot) || (terminal && terminal_done))
			continue;
		spawnd_spec_set_capture(spec, slot, options->max_buffer.value, SPAWND_KILL);
		terminal_done = terminal_done || terminal;
	}
}

/* "a b c", as Node joins a command and its arguments for a shell. The caller frees it. */
static char *join(const char *const *argv)
{
	char *text = NULL;
	size_t size;
	FILE *stream = open_memstream(&text, &size);

	if (!stream)
		return mem_strdup("");
	for (size_t i = 0; argv[i]; i++)
		fprintf(stream, "%s%s", i ? " " : "", argv[i]);
	fclose(stream);
	return text;
}

struct spawnd_spec *spec_build(const struct ctl *ctl, const struct run_options *options, const char *const *argv, const char *line)
{
	struct spawnd_spec *spec;

	if (options->background && options->on_disconnect && options->on_disconnect != RUN_DISCONNECT_KEEP) {
		ctl_error(ctl, "--on-disconnect: nobody holds what runs in the background (-d): only keep goes with it");
		return NULL;
	}
	if (options->use_shell && argv) {
		_cleanup_free_ char *joined = join(argv);

		spec = spawnd_spec_create_shell(joined, options->shell);
	} else if (argv) {
		spec = spawnd_spec_create(argv);
	} else {
		spec = spawnd_spec_create_shell(line, options->shell);
	}
	set_names(spec, options);
	if (options->argv0)
		spawnd_spec_set_argv0(spec, options->argv0);
	set_life(spec, options);
	if (!set_places(ctl, spec, options) || !set_environment(ctl, spec, options) || !set_rights(ctl, spec, options) ||
		!set_stdio(ctl, spec, options)) {
		spawnd_spec_free(spec);
		return NULL;
	}
	set_capture(spec, options);
	return spec;
}
