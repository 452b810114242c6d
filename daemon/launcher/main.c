/*
 * spawnd-launcher: takes plans, clones, answers. It holds few descriptors, because a clone copies the table, and it may block:
 * in vfork, in a dead mount, in the group database. Its parent is the keeper, which thereby becomes the parent of every child.
 *
 * usage: spawnd-launcher SOFT HARD OOM_SCORE_ADJ   limits and score that children get; started by the keeper only
 */
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "launcher/serve.h"
#include "link/link.h"

#define BIG_BYTES (128 << 10) /* memory of larger plans goes back to the kernel */

/* Children are not protected from the OOM killer as the keeper is: they get the score from before. */
static void restore_oom_score(const char *score)
{
	_cleanup_fd_ int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

	if (fd >= 0 && write(fd, score, strlen(score)) < 0)
		log_(LOG_WARNING, "oom_score_adj cannot be set to %s", score);
}

int main(int argc, char **argv)
{
	struct rlimit nofile;
	struct journal *journal;

	log_set_name("spawnd-launcher");
	if (argc != 4) {
		fprintf(stderr, "spawnd-launcher is started by spawnd\n");
		return 2;
	}
	nofile = (struct rlimit){.rlim_cur = strtoull(argv[1], NULL, 10), .rlim_max = strtoull(argv[2], NULL, 10)};
	restore_oom_score(argv[3]);
	prctl(PR_SET_NAME, "spawnd-launcher"); /* we were started by descriptor */
	for (int fd = 0; fd <= LINK_JOURNAL_FD; fd++)
		fd_set_cloexec(fd, true);
	journal = journal_map(LINK_JOURNAL_FD);
	if (!journal) {
		log_(LOG_ERROR, "the journal cannot be mapped: %s", err_name(errno));
		return 1;
	}
	signal(SIGPIPE, SIG_IGN); /* stderr may be a pipe that nobody reads any more; children get the default back */
	mallopt(M_MMAP_THRESHOLD, BIG_BYTES);
	serve(LINK_FD, journal, nofile);
	return 0;
}
