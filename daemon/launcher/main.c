/*
 * spawnd-launcher: takes plans, clones, answers. It holds few descriptors, because a clone copies the table, and it may block:
 * in vfork, in a dead mount, in the group database. Its parent is the keeper, which thereby becomes the parent of every child.
 *
 * usage: spawnd-launcher SOFT HARD OOM_SCORE_ADJ   limits and score that children get; started by the keeper only
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/sys.h"
#include "launcher/plan.h"
#include "launcher/spawn.h"
#include "link/link.h"
#include "spawnd/runtime/v1/launcher.pb.h"

#define PLAN_MAX (8u << 20)

/* What came in one record, before anybody looked into it. */
struct record {
	uint8_t bytes[LINK_RECORD_MAX];
	size_t size;
	int fds[FDPASS_MAX];
	size_t fd_count;
};

/* Blocks until a record came. 1, or -EPIPE at the end. A record that could not be received is gone: its sender is told nothing. */
static int receive(int fd, struct record *record)
{
	for (;;) {
		struct pollfd pollfd = {.fd = fd, .events = POLLIN};
		ssize_t got = fdpass_receive(fd, record->bytes, sizeof(record->bytes), record->fds, &record->fd_count);

		if (got > 0) {
			record->size = (size_t)got;
			return 1;
		}
		if (got == 0 || got == -ECONNRESET)
			return -EPIPE;
		if (got != -EAGAIN)
			log_(LOG_ERROR, "a plan was lost: %s", err_name((int)-got));
		poll(&pollfd, 1, -1);
	}
}

/* The whole plan of a stand-in: reads the memfd that came last. NULL when it cannot be had. */
static uint8_t *read_memfd(struct record *record, size_t *size_out)
{
	int fd = record->fds[record->fd_count - 1];
	struct stat status;
	uint8_t *bytes;
	size_t size, got = 0;

	if (fstat(fd, &status) < 0 || status.st_size <= 0 || status.st_size > PLAN_MAX)
		return NULL;
	size = (size_t)status.st_size;
	bytes = malloc(size);
	while (bytes && got < size) {
		ssize_t done = sys_pread(fd, bytes + got, size - got, (off_t)got);

		if (done <= 0) {
			free(bytes);
			return NULL;
		}
		got += (size_t)done;
	}
	*size_out = size;
	return bytes;
}

/* Decodes a record, or what its memfd holds when it is a stand-in. */
static int decode(struct launch_plan *plan, struct record *record)
{
	int done = plan_decode(plan, record->bytes, record->size, record->fds, record->fd_count);
	uint64_t owner = plan->owner;
	uint32_t slot = plan->journal_slot;
	_cleanup_free_ uint8_t *whole = NULL;
	size_t size;

	if (!done || plan->argc || !record->fd_count)
		return done;
	whole = read_memfd(record, &size);
	if (!whole)
		return -EPROTO;
	plan_finish(plan);
	done = plan_decode(plan, whole, size, record->fds, record->fd_count - 1);
	plan->owner = owner;
	plan->journal_slot = slot;
	return done;
}

/* Sends the answer, waiting for room if it must. */
static int answer(struct link *link, const struct launch_plan *plan, const struct launched *launched)
{
	spawnd_runtime_v1_Launched message = {
		.owner = plan->owner,
		.journal_slot = plan->journal_slot,
		.pid = launched->pid,
		.stage = launched->stage,
		.error = launched->error,
	};
	int done = link_send(link, spawnd_runtime_v1_Launched_fields, &message, NULL, 0);

	while (!done && (done = link_flush(link)) == 1) {
		struct pollfd pollfd = {.fd = link->fd, .events = POLLOUT};

		poll(&pollfd, 1, -1);
		done = 0;
	}
	return done;
}

/* One plan, start to end. */
static int serve(struct link *link, struct journal *journal, struct record *record, struct rlimit nofile)
{
	struct launched launched = {.stage = LAUNCH_PLAN};
	struct launch_plan plan;
	int done = decode(&plan, record);

	if (!done && plan.journal_slot < JOURNAL_SLOTS)
		launched = spawn_run(journal, &plan, nofile);
	else
		launched.error = done ? -done : EINVAL;
	for (size_t i = 0; i < record->fd_count; i++)
		sys_close(record->fds[i]);
	done = answer(link, &plan, &launched);
	plan_finish(&plan);
	return done;
}

/* Children are not protected from the OOM killer as the keeper is: they get the score from before. */
static void restore_oom_score(const char *score)
{
	_cleanup_fd_ int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

	if (fd >= 0 && write(fd, score, strlen(score)) < 0)
		log_(LOG_WARNING, "oom_score_adj cannot be set to %s", score);
}

int main(int argc, char **argv)
{
	static struct record record;
	struct rlimit nofile;
	struct journal *journal;
	struct link link;

	log_set_name("spawnd-launcher");
	if (argc != 4) {
		fprintf(stderr, "spawnd-launcher is started by spawnd\n");
		return 2;
	}
	nofile = (struct rlimit){.rlim_cur = strtoull(argv[1], NULL, 10), .rlim_max = strtoull(argv[2], NULL, 10)};
	restore_oom_score(argv[3]);
	journal = journal_map(LINK_JOURNAL_FD);
	if (!journal) {
		log_(LOG_ERROR, "the journal cannot be mapped: %s", err_name(errno));
		return 1;
	}
	link_init(&link, LINK_FD);
	while (receive(link.fd, &record) == 1) {
		if (serve(&link, journal, &record, nofile) < 0)
			break;
	}
	return 0;
}
