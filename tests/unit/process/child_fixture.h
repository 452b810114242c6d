/*
 * Children without keeper and launcher: the fake host forks and execs by itself, answers from the loop as the real one does,
 * and reaps. What it is asked for is counted; launches can be made to fail. The observer writes a history.
 */
#pragma once

#include <CUnit/CUnit.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/queue.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/loop.h"
#include "base/mem.h"
#include "base/sys.h"
#include "process/child.h"
#include "process/plan.h"
#include "process/pump.h"
#include "process/reader.h"

/* Messages of protobuf-c hold texts that are not const; tests fill them with literals. */
#define TEXT(literal) ((char *)(literal))

#define SLOTS 512u
#define DEADLINE_US 20000000

/* An answer that comes from the loop. */
struct answer {
	TAILQ_ENTRY(answer) entry;
	host_launched_fn launched;
	host_signalled_fn signalled;
	void *arg;
	int32_t pid;
	enum launch_stage stage;
	int error, detail;
};

struct fake_slot {
	struct journal_slot journal;
	int32_t pid;
	bool taken;
};

struct fixture {
	struct ledger *ledger;
	int ledger_fd;
	struct loop *loop;
	struct process_host host;
	struct children *children;
	struct loop_defer *answer;
	struct loop_timer *deadline;
	struct loop_signal *sigchld;
	TAILQ_HEAD(, answer) answers;
	uint64_t last_id, signals;
	unsigned fds_free, slots_max, slots_taken;
	int stored;
	enum launch_stage fail_stage;
	int fail_error, fail_detail, refuse_launch, fail_cgroup, launches;
	bool hold; /* answers of launches wait for fixture_release */
	struct fake_slot slots[SLOTS];
	char history[4096];
	const char *until; /* stop the loop when the history ends with this */
	bool (*condition)(struct fixture *fixture);
	struct err failure;
	uint64_t written; /* to stdin */
	struct kill_copy {
		unsigned calls;
		pid_t ended[64], survived[64];
		size_t ended_count, survived_count;
		char method[16];
		bool complete;
		int error;
	} killed;
	struct reader *reader;
	char output[65536];
	size_t output_length;
};

/* Whatever happens is written down by its first letters; stops the loop if that was waited for. */
static inline void note(struct fixture *fixture, const char *what)
{
	size_t length = strlen(fixture->history);

	snprintf(fixture->history + length, sizeof(fixture->history) - length, "%s ", what);
	if (fixture->until && strstr(fixture->history, fixture->until))
		loop_stop(fixture->loop);
	if (fixture->condition && fixture->condition(fixture))
		loop_stop(fixture->loop);
}

static inline void note_spawned(void *context, struct child *child)
{
	note(context, "spawned");
}

static inline void note_failed(void *context, struct child *child, const struct err *err)
{
	struct fixture *fixture = context;

	fixture->failure = *err;
	note(fixture, "failed");
}

static inline void note_exited(void *context, struct child *child)
{
	note(context, "exited");
}

static inline void note_closed(void *context, struct child *child)
{
	note(context, "closed");
}

static inline void note_room(void *context, struct child *child, uint32_t slot, uint64_t written)
{
	struct fixture *fixture = context;

	fixture->written = written;
	note(fixture, "room");
}

static inline void note_stdin_closed(void *context, struct child *child, uint32_t slot)
{
	note(context, "stdin_end");
}

static inline void note_stopping(void *context, struct child *child, const char *why)
{
	note(context, "stopping");
}

static inline void note_removed(void *context, struct child *child)
{
	note(context, "removed");
}

static const struct child_observer note_observer = {
	.on_spawned = note_spawned,
	.on_failed = note_failed,
	.on_exited = note_exited,
	.on_closed = note_closed,
	.on_stdin_room = note_room,
	.on_stdin_closed = note_stdin_closed,
	.on_stopping = note_stopping,
	.on_removed = note_removed,
};

/* ---- the host ---- */

static inline uint64_t fake_next_id(void *context)
{
	struct fixture *fixture = context;

	return ++fixture->last_id;
}

static inline int fake_slot_take(void *context, uint64_t owner, uint32_t *slot_out, struct err *err)
{
	struct fixture *fixture = context;

	for (uint32_t i = 0; i < fixture->slots_max; i++) {
		struct fake_slot *slot = &fixture->slots[i];

		if (slot->taken)
			continue;
		memset(&slot->journal, 0, sizeof(slot->journal));
		slot->taken = true;
		slot->pid = 0;
		slot->journal.owner = owner;
		slot->journal.state = JOURNAL_INTENT;
		fixture->slots_taken++;
		*slot_out = i;
		return 0;
	}
	err_set(err, STATUS_RESOURCE_EXHAUSTED, "full");
	return -ENOSPC;
}

static inline struct journal_slot *fake_slot(void *context, uint32_t slot)
{
	struct fixture *fixture = context;

	return &fixture->slots[slot].journal;
}

static inline void fake_slot_release(void *context, uint32_t slot, uint64_t owner)
{
	struct fixture *fixture = context;

	CU_ASSERT(fixture->slots[slot].taken && fixture->slots[slot].journal.owner == owner);
	fixture->slots[slot].taken = false;
	fixture->slots_taken--;
}

static inline int fake_store_put(
	void *context, enum store_kind kind, uint64_t owner, uint32_t first_index, const int *fds, size_t count, struct err *err)
{
	struct fixture *fixture = context;

	if (kind == STORE_STDIO)
		fixture->stored += (int)count;
	return 0;
}

static inline void fake_store_drop(void *context, enum store_kind kind, uint64_t owner, uint32_t index)
{
	struct fixture *fixture = context;

	if (kind == STORE_STDIO)
		fixture->stored--;
}

static inline unsigned fake_fds_free(void *context)
{
	struct fixture *fixture = context;

	return fixture->fds_free;
}

static inline void on_answers(void *arg)
{
	struct fixture *fixture = arg;
	struct answer *answer;

	while ((answer = TAILQ_FIRST(&fixture->answers)) && !(fixture->hold && answer->launched)) {
		TAILQ_REMOVE(&fixture->answers, answer, entry);
		if (answer->launched)
			answer->launched(answer->arg, answer->pid, answer->stage, answer->error, answer->detail);
		else if (answer->signalled)
			answer->signalled(answer->arg, answer->error);
		free(answer);
	}
}

static inline void answer_later(struct fixture *fixture, struct answer answer)
{
	struct answer *copy = mem_dup(&answer, sizeof(answer));

	TAILQ_INSERT_TAIL(&fixture->answers, copy, entry);
	loop_defer_trigger(fixture->answer);
}

static inline void fixture_release(struct fixture *fixture)
{
	fixture->hold = false;
	loop_defer_trigger(fixture->answer);
}

static inline void fake_signal(void *context, uint32_t slot, uint64_t owner, int signal, int group, host_signalled_fn done, void *arg)
{
	struct fixture *fixture = context;
	struct fake_slot *at = &fixture->slots[slot];
	int error = at->journal.owner != owner || !at->pid ? ESRCH : 0;

	fixture->signals++;

	if (!error && kill(group ? -at->pid : at->pid, signal) < 0)
		error = errno;
	answer_later(fixture, (struct answer){.signalled = done, .arg = arg, .error = error});
}

static inline uint64_t fake_signals(void *context)
{
	return ((struct fixture *)context)->signals;
}

static inline void fake_signal_pidfd(void *context, int pidfd, int signal, host_signalled_fn done, void *arg)
{
	((struct fixture *)context)->signals++;
	answer_later(context, (struct answer){.signalled = done, .arg = arg, .error = -sys_pidfd_send_signal(pidfd, signal)});
}

/* SIGCHLD: the records of all that have ended. */
static inline void on_sigchld(void *arg)
{
	struct fixture *fixture = arg;

	for (uint32_t i = 0; i < SLOTS; i++) {
		struct fake_slot *slot = &fixture->slots[i];
		siginfo_t info = {0};

		if (!slot->pid || sys_waitid(P_PID, (id_t)slot->pid, &info, 0, &slot->journal.exit_usage) < 0)
			continue;
		slot->pid = 0;
		slot->journal.exit_code = info.si_code;
		slot->journal.exit_status = info.si_status;
		slot->journal.exited_at_ns = clock_real_ns();
		slot->journal.state = JOURNAL_EXITED;
		children_on_exit(fixture->children, i);
	}
}

/* In the child: what the launcher's would do, as far as these tests need it. */
static inline void fake_child(const struct plan *plan)
{
	int targets[256], procs = -1, error;
	const struct spec *spec = plan->spec;
	sigset_t none;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	setsid();
	if (plan->cgroup >= 0)
		procs = openat(plan->fds[plan->cgroup], "cgroup.procs", O_WRONLY);
	if (plan->cgroup_procs >= 0)
		procs = plan->fds[plan->cgroup_procs];
	if (procs >= 0 && write(procs, "0", 1) != 1)
		_exit(126);
	for (size_t i = 0; i < plan->slot_count; i++) {
		const struct plan_fd *fd = &plan->slots[i];

		if (fd->attached >= 0)
			targets[i] = fcntl(plan->fds[fd->attached], F_DUPFD_CLOEXEC, 300);
		else if (fd->path)
			targets[i] = fcntl(open(fd->path, fd->open_flags, fd->permissions), F_DUPFD_CLOEXEC, 300);
		else
			for (size_t j = 0; j < i; j++)
				if ((int)plan->slots[j].slot == fd->same_as)
					targets[i] = targets[j];
	}
	for (size_t i = 0; i < plan->slot_count; i++)
		dup2(targets[i], (int)plan->slots[i].slot);
	if (plan->controlling_slot >= 0)
		ioctl(plan->controlling_slot, TIOCSCTTY, 0);
	for (int number = 1; number < NSIG; number++)
		signal(number, SIG_DFL); /* whatever the tests were started with */
	clearenv();
	for (char **entry = spec->env; *entry; entry++)
		putenv(*entry);
	for (const char *const *entry = plan->extra_env; entry && *entry; entry++)
		putenv((char *)*entry);
	execvp(spec->file, spec->argv);
	error = errno;
	_exit(error == ENOENT ? 127 : 125);
}

static inline int fake_launch(void *context, const struct plan *plan, host_launched_fn done, void *arg, struct err *err)
{
	struct fixture *fixture = context;
	struct fake_slot *slot = &fixture->slots[plan->journal_slot];
	struct answer answer = {.launched = done, .arg = arg};

	fixture->launches++;
	CU_ASSERT_EQUAL(slot->journal.owner, plan->owner);
	slot->journal.started_at_ns = clock_real_ns();
	if (fixture->refuse_launch)
		return err_errno(err, fixture->refuse_launch, "sendmsg", NULL);
	if (fixture->fail_cgroup && plan->cgroup >= 0) {
		answer.stage = LAUNCH_CGROUP;
		answer.error = fixture->fail_cgroup;
	} else if (fixture->fail_error) {
		answer.stage = fixture->fail_stage;
		answer.error = fixture->fail_error;
		answer.detail = fixture->fail_detail;
	} else {
		answer.pid = fork();
		if (answer.pid == 0)
			fake_child(plan);
		slot->pid = answer.pid;
	}
	answer_later(fixture, answer);
	return 0;
}

static inline void on_deadline(void *arg)
{
	struct fixture *fixture = arg;

	CU_FAIL("what was waited for did not come");
	fprintf(stderr, "history: %s\n", fixture->history);
	loop_stop(fixture->loop);
}

/* Runs until the history says so (now, or later). */
static inline void run_until(struct fixture *fixture, const char *until)
{
	if (strstr(fixture->history, until))
		return;
	fixture->until = until;
	loop_timer_set(fixture->deadline, DEADLINE_US);
	loop_run(fixture->loop);
	loop_timer_cancel(fixture->deadline);
	fixture->until = NULL;
}

static inline void fixture_init(struct fixture *fixture)
{
	memset(fixture, 0, sizeof(*fixture));
	signal(SIGPIPE, SIG_IGN);
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	TAILQ_INIT(&fixture->answers);
	fixture->fds_free = 1000;
	fixture->slots_max = SLOTS;
	fixture->loop = loop_create();
	fixture->sigchld = loop_signal_create(fixture->loop, SIGCHLD, on_sigchld, fixture);
	fixture->answer = loop_defer_create(fixture->loop, on_answers, fixture);
	fixture->deadline = loop_timer_create(fixture->loop, on_deadline, fixture);
	fixture->ledger = ledger_create(&fixture->ledger_fd, NULL);
	fixture->host = (struct process_host){
		.loop = fixture->loop,
		.ledger = fixture->ledger,
		.keeper = getpid(),
		.context = fixture,
		.next_id = fake_next_id,
		.slot_take = fake_slot_take,
		.slot = fake_slot,
		.slot_release = fake_slot_release,
		.store_put = fake_store_put,
		.store_drop = fake_store_drop,
		.store_forget = fake_store_drop,
		.launch = fake_launch,
		.signal = fake_signal,
		.signal_pidfd = fake_signal_pidfd,
		.signals = fake_signals,
		.fds_free = fake_fds_free,
	};
	fixture->children = children_create(&fixture->host, NULL);
}

/* Runs one turn of the loop, for what was deferred. */
static inline void stop_loop(void *arg)
{
	loop_stop(arg);
}

static inline void run_turn(struct fixture *fixture)
{
	struct loop_defer *defer = loop_defer_create(fixture->loop, stop_loop, fixture->loop);

	loop_defer_trigger(defer);
	loop_run(fixture->loop);
	loop_defer_destroy(defer);
}

static inline void fixture_finish(struct fixture *fixture)
{
	reader_destroy(fixture->reader);
	run_turn(fixture);
	children_destroy(fixture->children);
	loop_timer_destroy(fixture->deadline);
	loop_signal_destroy(fixture->sigchld);
	loop_defer_destroy(fixture->answer);
	ledger_close(fixture->ledger);
	close(fixture->ledger_fd);
	loop_destroy(fixture->loop);
}

/* ---- children ---- */

struct request {
	Spawnd__V1__ProcessSpec spec;
	ProtobufCBinaryData argv[4];
	Spawnd__V1__Stdio stdio[4];
	Spawnd__V1__Stdio *stdio_list[4];
};

static inline ProtobufCBinaryData bytes_of(const char *text)
{
	return (ProtobufCBinaryData){.len = strlen(text), .data = (uint8_t *)text};
}

/* sh -c SCRIPT */
static inline void request_init(struct request *request, const char *script)
{
	spawnd__v1__process_spec__init(&request->spec);
	request->argv[0] = bytes_of("/bin/sh");
	request->argv[1] = bytes_of("-c");
	request->argv[2] = bytes_of(script);
	request->spec.n_argv = 3;
	request->spec.argv = request->argv;
	request->spec.stdio = request->stdio_list;
}

static inline Spawnd__V1__Stdio *request_slot(struct request *request, uint32_t slot, Spawnd__V1__Stdio__Kind kind)
{
	Spawnd__V1__Stdio *stdio = &request->stdio[request->spec.n_stdio];

	spawnd__v1__stdio__init(stdio);
	stdio->slot = slot;
	stdio->kind = kind;
	request->stdio_list[request->spec.n_stdio++] = stdio;
	return stdio;
}

static const struct spec_context test_context = {.cwd = "/", .env = (char *[]){TEXT("PATH=/usr/bin:/bin"), NULL}};

static inline struct child *create_child(struct fixture *fixture, struct request *request, enum spec_use use, struct err *err)
{
	struct spec_context context = test_context;
	struct child *child = NULL;
	struct spec *spec;

	context.uid = context.daemon_uid = geteuid();
	context.gid = getegid();
	CU_ASSERT_EQUAL_FATAL(spec_compile(&request->spec, &context, use, &spec, err), 0);
	if (child_create(fixture->children, spec, &(struct record_origin){.uid = geteuid(), .held = use != SPEC_START}, NULL, 0, &child,
		    err) < 0)
		child = NULL;
	else
		child_observe(child, &note_observer, fixture);
	spec_unref(spec);
	return child;
}

static inline struct child *start_child(struct fixture *fixture, const char *script)
{
	struct request request = {0};
	struct child *child;

	request_init(&request, script);
	child = create_child(fixture, &request, SPEC_SPAWN, NULL);
	CU_ASSERT_FATAL(child != NULL);
	return child;
}

static inline void on_output(void *context, struct reader *reader)
{
	struct fixture *fixture = context;
	struct chunk chunk;

	while (reader_next(reader, sizeof(fixture->output) - fixture->output_length, &chunk) == READER_DATA) {
		for (size_t i = 0; i < chunk.iov_count; i++) {
			memcpy(fixture->output + fixture->output_length, chunk.iov[i].iov_base, chunk.iov[i].iov_len);
			fixture->output_length += chunk.iov[i].iov_len;
		}
		reader_take(reader, &chunk);
	}
	if (memchr(fixture->output, '\n', fixture->output_length))
		note(fixture, "line");
}

static const struct reader_observer output_reader = {.on_ready = on_output};

/* Collects output from now on; "line" is noted when it has one. */
static inline void read_output(struct fixture *fixture, struct child *child)
{
	fixture->reader = reader_create(child, READER_BLOCK, NULL, 0, &output_reader, fixture);
	on_output(fixture, fixture->reader);
}

static inline void on_killed(void *context, struct child *child, const struct kill_result *result)
{
	struct fixture *fixture = context;
	struct kill_copy *copy = &fixture->killed;

	copy->calls++;
	copy->ended_count = result->ended_count;
	for (size_t i = 0; i < result->ended_count && i < 64; i++)
		copy->ended[i] = result->ended[i];
	copy->survived_count = result->survived_count;
	for (size_t i = 0; i < result->survived_count && i < 64; i++)
		copy->survived[i] = result->survived[i];
	snprintf(copy->method, sizeof(copy->method), "%s", result->method);
	copy->complete = result->complete;
	copy->error = result->err ? result->err->errnum : 0;
	note(fixture, "killed");
}
