/*
 * Plans in, answers out, one at a time. A plan that was received is answered exactly once, whatever became of it.
 */
#include "launcher/serve.h"

#include <errno.h>
#include <poll.h>
#include <sys/stat.h>

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

/*
 * Blocks until a record came. 1, or negative at the end. A record that could not be received cannot be answered either, so
 * it is an end too: the engine sees that its plan was not launched and gives it to another launcher.
 */
static int receive(int fd, struct record *record)
{
	for (;;) {
		struct pollfd pollfd = {.fd = fd, .events = POLLIN};
		ssize_t got;

		poll(&pollfd, 1, -1);
		got = fdpass_receive(fd, record->bytes, sizeof(record->bytes), record->fds, &record->fd_count);
		if (got > 0) {
			record->size = (size_t)got;
			return 1;
		}
		if (got == 0 || got == -ECONNRESET)
			return -EPIPE;
		if (got != -EAGAIN) {
			log_(LOG_ERROR, "a plan was lost: %s", err_name((int)-got));
			return (int)got;
		}
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
	const uint64_t owner = plan->owner;
	const uint32_t slot = plan->journal_slot;
	_cleanup_free_ uint8_t *whole = NULL;
	size_t size;

	if (!done || plan->argc || plan->file || !record->fd_count)
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
		.detail = launched->detail,
	};
	int done = link_send(link, spawnd_runtime_v1_Launched_fields, &message, NULL, 0);

	while (!done && (done = link_flush(link)) == 1) {
		struct pollfd pollfd = {.fd = link->fd, .events = POLLOUT};

		poll(&pollfd, 1, -1);
		done = 0;
	}
	return done;
}

/* Whether the journal expects this plan: a slot is written by nobody but who it was given to. */
static bool is_expected(struct journal *journal, const struct launch_plan *plan)
{
	if (plan->journal_slot >= JOURNAL_SLOTS)
		return false;
	return atomic_load(&journal->slot[plan->journal_slot].state) == JOURNAL_INTENT &&
	       atomic_load(&journal->slot[plan->journal_slot].owner) == plan->owner;
}

/* One plan, start to end. */
static int serve_record(struct link *link, struct journal *journal, struct record *record, struct rlimit nofile)
{
	struct launched launched = {0};
	struct launch_plan plan;
	int done = decode(&plan, record);

	if (!is_expected(journal, &plan))
		launched = (struct launched){.stage = LAUNCH_PLAN, .error = EINVAL};
	else if (done < 0)
		spawn_record(&journal->slot[plan.journal_slot], &launched, LAUNCH_PLAN, -done, 0);
	else
		launched = spawn_run(journal, &plan, nofile);
	done = answer(link, &plan, &launched);
	for (size_t i = 0; i < record->fd_count; i++)
		sys_close(record->fds[i]);
	plan_finish(&plan);
	return done;
}

void serve(int link_fd, struct journal *journal, struct rlimit nofile)
{
	static struct record record;
	struct link link;

	link_init(&link, link_fd);
	while (receive(link.fd, &record) == 1 && serve_record(&link, journal, &record, nofile) == 0)
		;
	link_finish(&link);
}
