/* spawnd: the keeper. Becomes a daemon and gives its arguments on to the engine, which checks them. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/background.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/notify.h"
#include "base/signals.h"
#include "base/sys.h"
#include "keeper/keeper.h"

#define OOM_PROTECTED "-900"
#define EXIT_USAGE 2

static const char usage[] = "usage: spawnd [--foreground] [--socket PATH] [--state-dir DIR] [--config FILE] [--log-level LEVEL]\n"
			    "              [--idle-exit DURATION] [--allow-foreign-ns]\n"
			    "       spawnd --version | --help\n";

/* Whether the first `length` bytes of a word name an option whose value is a path. */
static bool is_path_option(const char *word, size_t length)
{
	static const char *const names[] = {"--socket", "--state-dir", "--config"};
	bool is = false;

	for (size_t i = 0; i < array_size(names); i++)
		is |= strlen(names[i]) == length && strncmp(word, names[i], length) == 0;
	return is;
}

/* An argument as the engine gets it: paths are absolute, since the directory may be / later. */
static char *give_on(const char *word, bool is_path)
{
	const char *equals = strncmp(word, "--", 2) == 0 ? strchr(word, '=') : NULL, *value = equals ? equals + 1 : word;
	_cleanup_free_ char *here = is_path && *value && *value != '/' ? realpath(".", NULL) : NULL;

	return here ? mem_printf("%.*s%s/%s", (int)(value - word), word, here, value) : mem_strdup(word);
}

/* Takes our own options out of argv; what is left goes to the engine. True: stay in the foreground. */
static bool parse(int argc, char **argv, struct keeper *keeper)
{
	bool foreground = false;
	int count = 0;

	keeper->engine_argv = mem_alloc(((size_t)argc + 1) * sizeof(char *));
	keeper->engine_argv[count++] = mem_strdup("spawnd-engine");
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "--version") == 0) {
			fputs(argv[i][2] == 'h' ? usage : "spawnd " SPAWND_VERSION "\n", stdout);
			exit(fflush(stdout) == 0 ? EXIT_SUCCESS : EXIT_FAILURE);
		}
		if (strcmp(argv[i], "--foreground") == 0)
			foreground = true;
		else if (strchr(argv[i], '='))
			keeper->engine_argv[count++] = give_on(argv[i], is_path_option(argv[i], strcspn(argv[i], "=")));
		else
			keeper->engine_argv[count++] = give_on(argv[i], is_path_option(argv[i - 1], strlen(argv[i - 1])));
	}
	return foreground;
}

/* Nothing of where we were started shall reach a child by accident. */
static void clean_inheritance(void)
{
	int fd;

	do
		fd = open("/dev/null", O_RDWR);
	while (fd >= 0 && fd <= STDERR_FILENO);
	close_range(STDERR_FILENO + 1, ~0u, 0);
	signals_reset();
	signal(SIGPIPE, SIG_IGN);
}

/* Remembers the OOM score that children get and lowers ours, where that is permitted. */
static void protect_from_oom(struct keeper *keeper)
{
	_cleanup_fd_ int fd = sys_open("/proc/self/oom_score_adj", O_RDWR, 0);

	if (fd < 0 || sys_read(fd, keeper->oom_score, sizeof(keeper->oom_score) - 1) <= 0)
		strcpy(keeper->oom_score, "0");
	keeper->oom_score[strcspn(keeper->oom_score, "\n")] = 0;
	if (sys_write(fd, OOM_PROTECTED, strlen(OOM_PROTECTED)) < 0)
		log_(LOG_DEBUG, "protection from the OOM killer is not permitted");
}

/* The journal, in the store from the start, so that the first engine finds it where every later one does. */
static int open_journal(struct keeper *keeper)
{
	keeper->journal_fd = journal_make();
	if (keeper->journal_fd < 0)
		return keeper->journal_fd;
	keeper->journal = journal_map(keeper->journal_fd);
	if (!keeper->journal)
		return -errno;
	store_put(&keeper->store, 0, STORE_JOURNAL, 0, keeper->journal_fd);
	return 0;
}

/* Runs until the end is ordered. */
static int run(struct keeper *keeper)
{
	keeper->restart = loop_timer_create(keeper->loop, engine_start, keeper);
	keeper->patience = loop_timer_create(keeper->loop, engine_give_up, keeper);
	keeper->reap_more = loop_defer_create(keeper->loop, reap_all, keeper);
	loop_signal_create(keeper->loop, SIGCHLD, reap_all, keeper);
	loop_signal_create(keeper->loop, SIGTERM, engine_terminate, keeper);
	loop_signal_create(keeper->loop, SIGINT, engine_terminate, keeper);
	loop_signal_create(keeper->loop, SIGQUIT, engine_terminate, keeper);
	loop_signal_create(keeper->loop, SIGHUP, engine_reload, keeper);
	signals_ignore_stray();
	engine_start(keeper);
	if (loop_run(keeper->loop) < 0)
		keeper->exit_status = EXIT_FAILURE;
	orders_kill(keeper->engine);
	upgrade_drop(keeper);
	if (!keeper->ready && keeper->exit_status == EXIT_USAGE)
		fputs(usage, stderr);
	engine_ready(keeper, false);
	store_finish(&keeper->store);
	return keeper->exit_status;
}

int main(int argc, char **argv)
{
	struct keeper keeper = {.status_fd = -1, .link = {.fd = -1}, .images = {-1, -1}, .before = {-1, -1}, .candidate.images = {-1, -1}};
	int done;

	log_set_name("spawnd");
	clean_inheritance();
	if (!parse(argc, argv, &keeper)) {
		keeper.status_fd = background_enter();
		keeper.background = true;
	} else if (!isatty(STDIN_FILENO)) {
		setsid(); /* in a terminal ^C must still reach us */
	}
	notify_take();
	getrlimit(RLIMIT_NOFILE, &keeper.nofile);
	fd_raise_limit();
	protect_from_oom(&keeper);
	if (prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) < 0)
		log_(LOG_WARNING, "orphans of children will not be reaped: %s", strerror(errno));
	store_init(&keeper.store);
	done = keeper.background && keeper.status_fd < 0 ? keeper.status_fd : open_journal(&keeper);
	keeper.loop = loop_create();
	if (done < 0 || !keeper.loop) {
		log_(LOG_ERROR, "the daemon cannot start: %s", strerror(done < 0 ? -done : errno));
		return EXIT_FAILURE;
	}
	return run(&keeper);
}
