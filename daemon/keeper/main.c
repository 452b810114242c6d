/*
 * spawnd: the keeper. Its options are the engine's, which checks them; here only what concerns this process is looked at.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/log.h"
#include "base/loop.h"
#include "base/mem.h"
#include "base/sys.h"
#include "keeper/keeper.h"
#include "spawnd/runtime/v1/keeper.pb.h"

#define OOM_PROTECTED "-900"

static const char usage[] = "usage: spawnd [--foreground] [--socket PATH] [--state-dir DIR] [--config FILE] [--log-level LEVEL]\n"
			    "              [--idle-exit DURATION] [--allow-foreign-ns]\n"
			    "       spawnd --version | --help\n";

/* Takes our own options out of argv; what is left goes to the engine. True: stay in the foreground. */
static bool parse(int argc, char **argv, struct keeper *keeper)
{
	bool foreground = false;
	int count = 0;

	keeper->engine_argv = mem_alloc(((size_t)argc + 1) * sizeof(char *));
	keeper->engine_argv[count++] = mem_strdup("spawnd-engine");
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--help") == 0) {
			fputs(usage, stdout);
			exit(EXIT_SUCCESS);
		}
		if (strcmp(argv[i], "--version") == 0) {
			puts("spawnd " SPAWND_VERSION);
			exit(EXIT_SUCCESS);
		}
		if (strcmp(argv[i], "--foreground") == 0)
			foreground = true;
		else
			keeper->engine_argv[count++] = argv[i];
	}
	return foreground;
}

/* Remembers the OOM score that children get and lowers ours, where that is permitted. */
static void protect_from_oom(struct keeper *keeper)
{
	_cleanup_fd_ int fd = sys_open("/proc/self/oom_score_adj", O_RDWR, 0);
	ssize_t size = fd >= 0 ? sys_read(fd, keeper->oom_score, sizeof(keeper->oom_score) - 1) : 0;

	keeper->oom_score[size > 0 ? size : 0] = 0;
	keeper->oom_score[strcspn(keeper->oom_score, "\n")] = 0;
	if (!keeper->oom_score[0])
		strcpy(keeper->oom_score, "0");
	if (fd >= 0 && sys_write(fd, OOM_PROTECTED, strlen(OOM_PROTECTED)) < 0)
		log_(LOG_DEBUG, "protection from the OOM killer is not permitted");
}

/* The journal, in the store from the start, so that the first engine finds it where every later one does. */
static int open_journal(struct keeper *keeper)
{
	int fd = journal_make();

	if (fd < 0)
		return fd;
	keeper->journal = journal_map(fd);
	if (!keeper->journal) {
		int error = errno;

		fd_close(&fd);
		return -error;
	}
	keeper->journal_fd = fd;
	store_put(&keeper->store, 0, STORE_JOURNAL, 0, fd);
	return 0;
}

static void on_child(void *arg)
{
	reap_all(arg);
}

static void on_terminate(void *arg)
{
	engine_terminate(arg);
}

static void on_hangup(void *arg)
{
	spawnd_runtime_v1_KeeperNotice notice = spawnd_runtime_v1_KeeperNotice_init_zero;

	notice.which_notice = spawnd_runtime_v1_KeeperNotice_reload_tag;
	engine_notify(arg, &notice, NULL, 0);
}

/* Runs until the end is ordered. */
static int run(struct keeper *keeper)
{
	struct loop_signal *signals[] = {
		loop_signal_create(keeper->loop, SIGCHLD, on_child, keeper),
		loop_signal_create(keeper->loop, SIGTERM, on_terminate, keeper),
		loop_signal_create(keeper->loop, SIGINT, on_terminate, keeper),
		loop_signal_create(keeper->loop, SIGHUP, on_hangup, keeper),
	};
	int done;

	engine_start(keeper);
	done = loop_run(keeper->loop);
	if (!keeper->ready)
		background_ready(keeper, false);
	for (size_t i = 0; i < array_size(signals); i++)
		loop_signal_destroy(signals[i]);
	return done < 0 ? EXIT_FAILURE : keeper->exit_status;
}

int main(int argc, char **argv)
{
	struct keeper keeper = {.status_fd = -1, .link = {.fd = -1}};
	int status, done;

	log_set_name("spawnd");
	start_reset_signals();
	signal(SIGPIPE, SIG_IGN);
	close_range(STDERR_FILENO + 1, ~0u, 0);
	if (!parse(argc, argv, &keeper))
		background_enter(&keeper);
	getrlimit(RLIMIT_NOFILE, &keeper.nofile);
	fd_raise_limit();
	protect_from_oom(&keeper);
	if (prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) < 0)
		log_(LOG_WARNING, "orphans of children will not be reaped: %s", strerror(errno));
	done = open_journal(&keeper);
	keeper.loop = loop_create();
	if (done < 0 || !keeper.loop) {
		log_(LOG_ERROR, "the daemon cannot start: %s", strerror(done < 0 ? -done : errno));
		return EXIT_FAILURE;
	}
	status = run(&keeper);
	loop_timer_destroy(keeper.restart);
	loop_fd_destroy(keeper.watch);
	link_finish(&keeper.link);
	journal_unmap(keeper.journal);
	store_finish(&keeper.store);
	loop_destroy(keeper.loop);
	free(keeper.engine_argv[0]);
	free(keeper.engine_argv);
	return status;
}
