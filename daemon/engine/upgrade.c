/* See upgrade.h. */
#include "engine/upgrade.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/ledger.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/mem.h"
#include "base/sys.h"
#include "engine/control.h"
#include "engine/engine.h"
#include "engine/keeper.h"
#include "engine/shutdown.h"
#include "engine/slots.h"

#define LINGER_MS 500u /* clients have so long to read what is theirs */
#define LINGER_LOOK_MS 5u

struct upgrade {
	struct engine *engine;
	struct loop_timer *leave;
	unsigned lingered_ms;
	char *path; /* owned; as asked for */
	service_upgraded_fn done;
	void *arg;
};

struct upgrade *upgrade_create(struct engine *engine)
{
	struct upgrade *upgrade = mem_alloc(sizeof(*upgrade));

	upgrade->engine = engine;
	return upgrade;
}

void upgrade_destroy(struct upgrade *upgrade)
{
	struct err err;

	if (!upgrade)
		return;
	if (upgrade->path) {
		err_set(&err, STATUS_UNAVAILABLE, "the daemon ends");
		upgrade->done(upgrade->arg, 0, NULL, &err);
	}
	loop_timer_destroy(upgrade->leave);
	free(upgrade->path);
	free(upgrade);
}

int upgrade_check(int journal, int ledger, struct err *err)
{
	struct slots *slots = slots_create(journal, false, err);

	if (!slots)
		return -EINVAL;
	slots_destroy(slots);
	return ledger >= 0 ? ledger_check(ledger, err) : 0;
}

/* The engine that a path means, and the directory of what belongs to it. */
static int find_engine(const char *path, char engine[PATH_MAX], char dir[PATH_MAX], struct err *err)
{
	const char *slash = strrchr(path, '/');
	struct stat facts;

	if (strlen(path) >= PATH_MAX)
		return err_errno(err, ENAMETOOLONG, "open", NULL);
	if (stat(path, &facts) < 0)
		return err_errno(err, errno, "open", path);
	if (S_ISDIR(facts.st_mode))
		snprintf(dir, PATH_MAX, "%s", path);
	else
		paths_dir(path, dir, PATH_MAX);
	if (S_ISDIR(facts.st_mode) || strcmp(slash ? slash + 1 : path, "spawnd") == 0) {
		if (!paths_program(dir, "spawnd-engine", engine))
			return err_set(err, STATUS_NOT_FOUND, "there is no spawnd-engine in %.300s", dir);
	} else {
		snprintf(engine, PATH_MAX, "%s", path);
	}
	return access(engine, X_OK) < 0 ? err_errno(err, errno, "execve", engine) : 0;
}

/* Opens the engine and, where they are, its launchers. Their number, or negative with *err. */
static int open_programs(const char *path, int fds[2], struct err *err)
{
	char engine[PATH_MAX], dir[PATH_MAX], launcher[PATH_MAX];
	int done = find_engine(path, engine, dir, err);

	if (done < 0)
		return done;
	fds[0] = sys_open(engine, O_PATH, 0);
	if (fds[0] < 0)
		return err_errno(err, -fds[0], "open", engine);
	if (!paths_program(dir, "spawnd-launcher", launcher))
		return 1;
	fds[1] = sys_open(launcher, O_PATH, 0);
	return fds[1] < 0 ? err_errno(err, -fds[1], "open", launcher) : 2;
}

int upgrade_begin(struct upgrade *upgrade, const char *path, service_upgraded_fn done, void *arg, struct err *err)
{
	int fds[2] = {-1, -1};
	int count = 0, result;

	if (shutdown_begun(upgrade->engine->shutdown))
		return err_set(err, STATUS_UNAVAILABLE, "the daemon is shutting down");
	if (upgrade->path)
		return err_set(err, STATUS_FAILED_PRECONDITION, "an upgrade is under way");
	if (*path)
		count = open_programs(path, fds, err);
	result = count < 0 ? count : keeper_upgrade(upgrade->engine->keeper, fds, (size_t)count);
	if (result < 0 && count >= 0)
		err_errno(err, -result, "sendmsg", NULL);
	fd_close(&fds[0]);
	fd_close(&fds[1]);
	if (result < 0)
		return result;
	log_(LOG_INFO, "upgrade: %s is asked", *path ? path : "what is installed");
	upgrade->path = mem_strdup(path);
	upgrade->done = done;
	upgrade->arg = arg;
	return 0;
}

/* The end of this engine, when its clients have read what is theirs or had their time. */
static void on_leave(void *arg)
{
	struct upgrade *upgrade = arg;

	upgrade->lingered_ms += LINGER_LOOK_MS;
	if (!control_is_flushed(upgrade->engine->control) && upgrade->lingered_ms < LINGER_MS) {
		loop_timer_set(upgrade->leave, LINGER_LOOK_MS * 1000);
		return;
	}
	keeper_flush(upgrade->engine->keeper);
	log_flush();
	_exit(EXIT_SUCCESS);
}

void upgrade_on_answer(struct upgrade *upgrade, int32_t pid, const char *version, const char *why)
{
	struct err err;

	if (!why) {
		log_(LOG_INFO, "upgrade: version %s, pid %d, takes over", version, (int)pid);
		upgrade->done(upgrade->arg, pid, version, NULL);
		control_stop(upgrade->engine->control);
		upgrade->leave = loop_timer_create(upgrade->engine->loop, on_leave, upgrade);
		loop_timer_set(upgrade->leave, 1);
		return;
	}
	err_set(&err, STATUS_FAILED_PRECONDITION, "%.200s cannot take over: %s", *upgrade->path ? upgrade->path : "what is installed", why);
	free(mem_steal(&upgrade->path));
	upgrade->done(upgrade->arg, 0, NULL, &err);
}
