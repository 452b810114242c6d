/*
 * The life of one child (child.h has the diagram). Order that loses nothing: slot of the journal, stdio, descriptors to the
 * keeper, tree, plan. Everything that ends a child passes on_exit; everything that closes it passes close_if_done.
 */
#include "process/child.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/failpoint.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/mem.h"
#include "process/child_parts.h"
#include "process/plan.h"

static int launch(struct child *child, struct err *err);
static void explain(const struct child *child, enum launch_stage stage, int error, int detail, struct err *err);

/* ---- states ---- */

static const char *const state_names[] = {
	[CHILD_STARTING] = "starting",
	[CHILD_RUNNING] = "running",
	[CHILD_STOPPING] = "stopping",
	[CHILD_EXITED] = "exited",
	[CHILD_FAILED] = "failed",
};

void child_set_state(struct child *child, enum child_state state)
{
	static const bool legal[][CHILD_FAILED + 1] = {
		[CHILD_STARTING] = {[CHILD_RUNNING] = true, [CHILD_FAILED] = true},
		[CHILD_RUNNING] = {[CHILD_STOPPING] = true, [CHILD_EXITED] = true},
		[CHILD_STOPPING] = {[CHILD_EXITED] = true},
		[CHILD_EXITED] = {0},
		[CHILD_FAILED] = {0},
	};

	assert(legal[child->state][state]);
	log_(LOG_DEBUG, "process %llu: %s -> %s", (unsigned long long)child->id, state_names[child->state], state_names[state]);
	child->state = state;
}

bool child_has_exited(const struct child *child)
{
	return child->state == CHILD_EXITED;
}

static bool is_handed_over(const struct child *child)
{
	return child->spec->message->transport == SPAWND__V1__TRANSPORT__TRANSPORT_HANDOVER;
}

/* ---- the end ---- */

/* Counts it as one whose log file cannot be written, or no more. */
static void set_log_error(struct child *child, int error)
{
	child->children->log_failing += (error != 0) - (size_t)(child->log_error != 0);
	child->log_error = error;
}

static void close_child(struct child *child)
{
	struct children *children = child->children;
	struct output_total total;

	child->closed = true;
	if (child->timer)
		loop_timer_cancel(child->timer);
	child->drain_timed_out = child->drain_timed_out || child->has_channel;
	if (child->logfile)
		logfile_end(child->logfile);
	set_log_error(child, 0);
	for (size_t i = 0; child->gave_up && output_total(child->output, i, &total); i++)
		child->drain_timed_out = child->drain_timed_out || !total.complete;
	log_(LOG_DEBUG, "process %llu: closed%s", (unsigned long long)child->id, child->drain_timed_out ? ", a pipe was still held" : "");
	if (child->drain_timed_out)
		record_flag(child->record, RECORD_DRAIN_TIMED_OUT);
	child_pin(child);
	if (!record_has(child->record, RECORD_CLOSED))
		CHILD_TELL(child, on_closed);
	failpoint("close-telling");
	record_flag(child->record, RECORD_CLOSED);
	if (child->shutdown_waits) {
		child->shutdown_waits = false;
		children_shutdown_step(children);
	}
	if (!child->removed)
		children_keep(child);
	child_unpin(child);
}

/* The two facts join. */
static void close_if_done(struct child *child)
{
	if (child_has_exited(child) && child->output_done && !child->has_channel && !child->closed)
		close_child(child);
}

/* Of a pipe that ended by itself nobody has the other end any more. */
static void on_slot_end(void *context, uint32_t slot, bool complete)
{
	struct child *child = context;
	const struct process_host *host = child->children->host;
	const struct slot_spec *spec = child_find_slot(child->spec, slot);

	if (complete && spec && spec->kind == SLOT_PIPE_OUT)
		host->store_forget(host->context, STORE_STDIO, child->id, slot);
	else
		host->store_drop(host->context, STORE_STDIO, child->id, slot);
}

static void on_all_ended(void *context)
{
	struct child *child = context;

	child->output_done = true;
	close_if_done(child);
}

static void on_capture_kill(void *context, uint32_t slot)
{
	struct child *child = context;
	const Spawnd__V1__ProcessSpec *message = child->spec->message;

	if (!child_has_exited(child))
		child_stop(child, message->kill_signal, message->grace_ms, (enum kill_scope)message->kill_scope, CHILD_REASON_CAPTURE_LIMIT,
			"capture", NULL, NULL);
}

static void on_gap(void *context, uint32_t slot, uint64_t offset, uint64_t bytes)
{
	struct child *child = context;

	CHILD_TELL(child, on_gap, slot, offset, bytes);
}

static void on_log_file(void *context, int error)
{
	struct child *child = context;

	set_log_error(child, error);
	CHILD_TELL(child, on_log_file, error);
}

const struct output_observer child_output_observer = {
	.on_end = on_slot_end,
	.on_all_ended = on_all_ended,
	.on_capture_kill = on_capture_kill,
	.on_gap = on_gap,
	.on_log_file = on_log_file,
};

static bool is_drained(const struct child *child)
{
	return child->output_done && !child->has_channel;
}

static void give_up_output(struct child *child)
{
	if (is_drained(child) || child->gave_up)
		return;
	child->gave_up = true;
	child->drain_timed_out = child->has_channel;
	child_pin(child);
	CHILD_TELL(child, on_drain_over);
	if (!child->output_done)
		output_give_up(child->output);
	child_unpin(child);
}

/* Why it ended, unless we know already. */
static void find_reason(struct child *child)
{
	if (!child->end->known)
		child->reason = CHILD_REASON_UNKNOWN;
	if (child->reason)
		return;
	if (child->end->code == CLD_EXITED)
		child->reason = CHILD_REASON_EXITED;
	else if (child->end->status == SIGKILL && !child->killed_by_us && tree_oom_kills(&child->tree) > 0)
		child->reason = CHILD_REASON_OOM;
	else
		child->reason = CHILD_REASON_SIGNALED;
}

/* timeout_ms while it runs, drain_timeout_ms after. */
static void on_timer(void *arg)
{
	struct child *child = arg;
	const Spawnd__V1__ProcessSpec *message = child->spec->message;

	if (child_has_exited(child))
		give_up_output(child);
	else
		child_stop(child, message->kill_signal, message->grace_ms, (enum kill_scope)message->kill_scope, CHILD_REASON_TIMEOUT,
			"timeout", NULL, NULL);
}

void child_set_timer(struct child *child, uint64_t ms)
{
	if (!child->timer)
		child->timer = loop_timer_create(child->children->host->loop, on_timer, child);
	loop_timer_set(child->timer, ms * 1000);
}

/* Waits for what is still to come, until drain_timeout_ms after the exit. */
static void drain(struct child *child)
{
	uint64_t limit_ms = child->spec->message->drain_timeout_ms;
	int64_t passed_ms = child->recovered ? (clock_real_ns() - child->end->at_ns) / 1000000 : 0;

	if (is_drained(child))
		return;
	if (limit_ms == 0)
		give_up_output(child);
	else
		child_set_timer(child, passed_ms <= 0 ? limit_ms : (uint64_t)passed_ms < limit_ms ? limit_ms - (uint64_t)passed_ms : 1);
}

/* An engine before this one had it launched, and it failed on its way to exec. */
static void find_late_failure(struct child *child, const struct journal_slot *slot)
{
	struct err err = {0};

	if (!child->recovered || slot->launch_stage == LAUNCH_OK)
		return;
	explain(child, (enum launch_stage)slot->launch_stage, slot->launch_error, slot->launch_detail, &err);
	child->failure = mem_dup(&err, sizeof(err));
	child->reason = CHILD_REASON_SPAWN_FAILED;
}

void child_trim_tree(struct child *child)
{
	tree_trim(&child->tree);
	if (child->tree.empty && child->record)
		child->record->tree = RECORD_TREE_EMPTY; /* the directory may be another's from now on */
}

/* It has ended: the record is in its slot. */
static void on_exit_record(struct child *child)
{
	struct children *children = child->children;
	const struct process_host *host = children->host;
	const struct journal_slot *slot = host->slot(host->context, child->journal_slot);

	child->end = mem_alloc(sizeof(*child->end));
	*child->end = (struct child_end){
		.code = slot->exit_code,
		.status = slot->exit_status,
		.at_ns = slot->exited_at_ns,
		.usage = slot->exit_usage,
		.known = slot->exit_code == CLD_EXITED || slot->exit_code == CLD_KILLED || slot->exit_code == CLD_DUMPED,
	};
	find_late_failure(child, slot);
	find_reason(child);
	child_set_state(child, CHILD_EXITED);
	children->running--;
	children->kept++;
	account_exited(child);
	child->tree.reaped = true;
	child_trim_tree(child);
	if (child->timer)
		loop_timer_cancel(child->timer);
	child_pin(child);
	inputs_close(child);
	if (!record_has(child->record, RECORD_EXIT_TOLD))
		CHILD_TELL(child, on_exited);
	failpoint("exit-telling");
	record_flag(child->record, RECORD_EXIT_TOLD);
	failpoint("exit-told");
	kills_on_exit(child);
	drain(child);
	close_if_done(child);
	child_unpin(child);
}

void children_on_exit(struct children *children, uint32_t journal_slot)
{
	const struct process_host *host = children->host;
	struct child *child = journal_slot < JOURNAL_SLOTS ? children->by_slot[journal_slot] : NULL;
	struct journal_slot *slot;

	if (!child || child_has_exited(child) || child->state == CHILD_FAILED)
		return;
	slot = host->slot(host->context, journal_slot);
	if (atomic_load(&slot->owner) != child->id || atomic_load(&slot->state) != JOURNAL_EXITED)
		return;
	if (child->state == CHILD_STARTING)
		child->exit_waits = true;
	else
		on_exit_record(child);
}

/* ---- the launch ---- */

/* It runs. */
static void on_running(struct child *child, pid_t pid)
{
	struct children *children = child->children;
	const struct process_host *host = children->host;
	struct journal_slot *slot = host->slot(host->context, child->journal_slot);
	uint64_t timeout_ms = child->spec->message->timeout_ms;

	failpoint("start-launched");
	child->pid = child->tree.pid = pid;
	child->started_at_ns = slot->started_at_ns;
	child_set_state(child, CHILD_RUNNING);
	if (timeout_ms) {
		slot->deadline_boot_ns = clock_boot_ns() + (int64_t)timeout_ms * 1000000;
		child_set_timer(child, timeout_ms);
	}
	child_pin(child);
	CHILD_TELL(child, on_spawned);
	if (child->ladder) {
		child_set_state(child, CHILD_STOPPING);
		CHILD_TELL(child, on_stopping, child->why ? child->why : "");
	}
	output_start(child->output);
	inputs_start(child);
	kills_on_launched(child);
	if (child->exit_waits)
		on_exit_record(child);
	child_unpin(child);
}

/* What a step of the launch was, where Node's message does not tell it. */
static const char *step_name(enum launch_stage stage)
{
	switch (stage) {
	case LAUNCH_CGROUP:
		return "joining its cgroup";
	case LAUNCH_TTY:
		return "taking its terminal";
	case LAUNCH_RLIMIT:
		return "setting its limits";
	case LAUNCH_NICE:
		return "setting its nice value";
	case LAUNCH_GROUPS:
		return "setting its groups";
	case LAUNCH_NO_NEW_PRIVS:
		return "setting no_new_privs";
	case LAUNCH_CWD:
		return "changing its directory to ";
	case LAUNCH_FILE:
		return "opening ";
	case LAUNCH_DUP:
		return "putting a descriptor in place";
	case LAUNCH_OK:
	case LAUNCH_PLAN:
	case LAUNCH_CLONE:
	case LAUNCH_SETSID:
	case LAUNCH_GID:
	case LAUNCH_UID:
	case LAUNCH_EXEC:
		break;
	}
	return NULL;
}

/* The path that a step of the launch was about; "" when it has none. */
static const char *step_path(const struct spec *spec, enum launch_stage stage, int detail)
{
	if (stage == LAUNCH_CWD)
		return spec->cwd;
	for (size_t i = 0; stage == LAUNCH_FILE && i < spec->slot_count; i++)
		if ((int)spec->slots[i].slot == detail && spec->slots[i].path)
			return spec->slots[i].path;
	return "";
}

/*
 * Node's shape: "spawn FILE CODE", path FILE even when the directory was missing; for people, the message goes on with what was.
 * A file slot is told with its own path and field.
 */
static void explain(const struct child *child, enum launch_stage stage, int error, int detail, struct err *err)
{
	const struct spec *spec = child->spec;
	const char *step = step_name(stage), *path = step_path(spec, stage, detail);
	char syscall[256];
	size_t length;

	spec_syscall(spec, syscall, sizeof(syscall));
	err_errno(err, error, syscall, spec->file);
	if (!step)
		return;
	length = strlen(err->message);
	snprintf(err->message + length, sizeof(err->message) - length, ": %s%s", step, path);
	if (stage == LAUNCH_CWD)
		snprintf(err->field, sizeof(err->field), "spec.cwd");
	if (stage != LAUNCH_FILE)
		return;
	snprintf(err->path, sizeof(err->path), "%s", path);
	for (size_t i = 0; i < spec->message->n_stdio; i++)
		if ((int)spec->message->stdio[i]->slot == detail)
			snprintf(err->field, sizeof(err->field), "spec.stdio[%zu].file", i);
}

/* There is no child: told, and nothing is kept (Node: a failed spawn has no process). */
static void on_launch_failed(struct child *child, const struct err *err)
{
	child->failure = mem_dup(err, sizeof(*err));
	child->reason = CHILD_REASON_SPAWN_FAILED;
	child_set_state(child, CHILD_FAILED);
	child->children->running--;
	log_(LOG_INFO, "process %llu: %s", (unsigned long long)child->id, err->message);
	child_pin(child);
	CHILD_TELL(child, on_failed, err);
	kills_finish(child, false);
	if (!child->removed) {
		children_drop(child);
		CHILD_TELL(child, on_removed);
	}
	child_unpin(child);
}

/* The cgroup was refused: once more, with a fresh one or without, on a new slot, because the old one belongs to whatever was cloned. */
static int launch_again(struct child *child, struct err *err)
{
	struct children *children = child->children;
	const struct process_host *host = children->host;
	uint32_t slot;
	int done = host->slot_take(host->context, child->id, &slot, err);

	if (done < 0)
		return done;
	log_(LOG_WARNING, "process %llu: cannot be put into its cgroup", (unsigned long long)child->id);
	children->by_slot[child->journal_slot] = NULL;
	host->slot_release(host->context, child->journal_slot, child->id);
	child->journal_slot = child->record->journal_slot = slot;
	children->by_slot[slot] = child;
	child->exit_waits = false;
	tree_refused(&child->tree);
	return launch(child, err);
}

static void on_launched(void *arg, int32_t pid, enum launch_stage stage, int error, int detail)
{
	struct child *child = arg;
	struct err err = {0};
	int done = 1;

	if (stage == LAUNCH_CGROUP && child->tree.dir)
		done = launch_again(child, &err);
	if (done == 0) {
		child_unpin(child);
		return;
	}
	tree_launched(&child->tree);
	stdio_close_theirs(&child->stdio);
	if (stage == LAUNCH_OK && pid > 0) {
		on_running(child, pid);
	} else {
		if (done > 0)
			explain(child, stage, error ? error : EAGAIN, detail, &err);
		on_launch_failed(child, &err);
	}
	child_unpin(child);
}

/* Sends the plan; on_launched answers, with the child pinned until then. */
static int launch(struct child *child, struct err *err)
{
	const struct process_host *host = child->children->host;
	struct stdio *stdio = &child->stdio;
	char id[96];
	bool listens = child->spec->message->listen_fds > 0;
	const char *extra_env[] = {id, listens ? LISTEN_PID_ENTRY : NULL, NULL};
	bool is_directory;
	int cgroup = tree_open(&child->tree, &is_directory);
	_cleanup_free_ int *fds = mem_alloc((stdio->their_count + 1) * sizeof(*fds));
	struct plan plan = {
		.owner = child->id,
		.user = child->owner,
		.journal_slot = child->journal_slot,
		.spec = child->spec,
		.extra_env = extra_env,
		.listen_pid = listens,
		.slots = stdio->slots,
		.slot_count = stdio->slot_count,
		.fds = fds,
		.fd_count = stdio->their_count,
		.controlling_slot = stdio->controlling_slot,
		.cgroup = cgroup >= 0 && is_directory ? (int)stdio->their_count : -1,
		.cgroup_procs = cgroup >= 0 && !is_directory ? (int)stdio->their_count : -1,
	};
	int done;

	child->record->tree = tree_number(&child->tree);
	tree_env(&child->tree, id, sizeof(id));
	if (stdio->their_count)
		memcpy(fds, stdio->theirs, stdio->their_count * sizeof(*fds));
	if (cgroup >= 0)
		fds[plan.fd_count++] = cgroup;
	child_pin(child);
	done = host->launch(host->context, &plan, on_launched, child, err);
	if (done < 0)
		child_unpin(child);
	return done;
}

/* ---- making one ---- */

/* Duplicates of our ends to the keeper, in runs of neighbouring slots. */
static int store_ends(struct child *child, struct err *err)
{
	const struct process_host *host = child->children->host;
	int fds[FDPASS_MAX], done = 0;
	uint32_t first = 0;
	size_t count = 0;

	for (size_t i = 0; done == 0 && i <= child->stdio.our_count; i++) {
		const struct stdio_end *end = i < child->stdio.our_count ? &child->stdio.ours[i] : NULL;

		if (end && end->second)
			continue;
		if (count && (!end || end->slot != first + count || count == FDPASS_MAX)) {
			done = host->store_put(host->context, STORE_STDIO, child->id, first, fds, count, err);
			count = 0;
		}
		if (!end)
			break;
		if (count == 0)
			first = end->slot;
		fds[count++] = end->fd;
	}
	return done;
}

/* What outlives this process, with the keeper before the child exists. */
static int store(struct child *child, struct err *err)
{
	const struct process_host *host = child->children->host;
	int done = 0;

	if (!is_handed_over(child))
		done = store_ends(child, err);
	if (done == 0 && child->stdio.channel >= 0)
		done = host->store_put(host->context, STORE_CHANNEL, child->id, STORE_CHANNEL_SOCKET, &child->stdio.channel, 1, err);
	child->has_channel = child->stdio.channel >= 0;
	return done;
}

const struct slot_spec *child_find_slot(const struct spec *spec, uint32_t slot)
{
	for (size_t i = 0; i < spec->slot_count; i++)
		if (spec->slots[i].slot == slot)
			return &spec->slots[i];
	return NULL;
}

/* Our ends become pumps and inputs. */
static void create_streams(struct child *child)
{
	struct children *children = child->children;
	const Spawnd__V1__ProcessSpec *message = child->spec->message;

	child->output = output_create(children->host, &children->stats, child->id, child->logfile, &child_output_observer, child);
	if (is_handed_over(child))
		return;
	for (size_t i = 0; i < child->stdio.our_count; i++) {
		struct stdio_end *end = &child->stdio.ours[i];
		const struct slot_spec *slot = child_find_slot(child->spec, end->slot);

		if (!end->output)
			continue;
		output_add(child->output, &(struct output_slot){
						  .slot = end->slot,
						  .fd = fd_steal(&end->fd),
						  .pipe = !end->socket && !end->terminal,
						  .ring = -1,
						  .via = {-1, -1},
						  .kept = record_slot(child->record, end->slot),
						  .retain = message->retain_bytes,
						  .capture_limit = slot->capture_limit,
						  .capture_policy = (enum capture_policy)slot->capture_policy,
						  .direct = message->transport == SPAWND__V1__TRANSPORT__TRANSPORT_DIRECT,
					  });
	}
	inputs_create(child);
	free(mem_steal(&child->stdio.ours));
	child->stdio.our_count = 0;
}

int child_open_logfile(struct child *child, struct err *err)
{
	const Spawnd__V1__LogFile *file = child->spec->message->log_file;
	_cleanup_free_ char *path = NULL;
	struct logfile_spec spec;

	if (!file)
		return 0;
	path = mem_strndup((const char *)file->path.data, file->path.len);
	spec = (struct logfile_spec){
		.path = path,
		.max_bytes = file->max_bytes,
		.keep = file->keep,
		.record = child->record,
		.uid = child->spec->set_ids ? child->spec->uid : geteuid(),
		.gid = child->spec->set_ids ? child->spec->gid : getegid(),
	};
	child->logfile = logfile_create(&spec, err);
	return child->logfile ? 0 : -EIO;
}

/* Everything between the slot of the journal and the plan's answer. */
static int start(struct child *child, int *fds, size_t fd_count, struct err *err)
{
	const struct process_host *host = child->children->host;
	int done = stdio_open(child->spec, fds, fd_count, host->fds_free(host->context), &child->stdio, err);

	if (done == 0)
		done = child_open_logfile(child, err);
	if (done == 0)
		done = store(child, err);
	if (done == 0 && failpoint("start-stored") < 0)
		done = err_errno(err, EIO, "sendmsg", NULL);
	if (done < 0)
		return done;
	create_streams(child);
	tree_enter(child->children->trees, &child->tree, child->id, !child->spec->message->no_tree);
	ledger_commit(child->record);
	failpoint("start-noted");
	done = launch(child, err);
	failpoint("start-ordered");
	return done;
}

static int take_slot(struct children *children, uint64_t id, uint32_t *slot_out, struct err *err)
{
	const struct process_host *host = children->host;
	int done = host->slot_take(host->context, id, slot_out, err);

	if (done == -ENOSPC && children_evict(children))
		done = host->slot_take(host->context, id, slot_out, err);
	return done;
}

/* The record, though others that have ended must go for it. */
static struct record *write_record(
	struct children *children, uint64_t id, struct spec *spec, const struct record_origin *origin, struct err *err)
{
	struct record *record;

	do
		record = record_write(children->host->ledger, id, spec, origin, err);
	while (!record && children_evict(children));
	return record;
}

/* Refuses a name that is in use. */
static int check_name(struct children *children, const char *name, struct err *err)
{
	struct child *other = name[0] ? children_find_name(children, name) : NULL;

	if (!other)
		return 0;
	err_set(err, STATUS_ALREADY_EXISTS,
		child_has_exited(other) ? "a process named %s has ended and is kept (id %llu); remove it first (rm)"
					: "a process named %s runs (id %llu)",
		name, (unsigned long long)other->id);
	if (err)
		snprintf(err->field, sizeof(err->field), "spec.name");
	return -EEXIST;
}

static void close_fds(int *fds, size_t count)
{
	for (size_t i = 0; i < count; i++)
		fd_close(&fds[i]);
}

struct child *child_make(struct children *children, uint64_t id, struct spec *spec, struct record *record)
{
	struct child *child = mem_alloc(sizeof(*child));

	child->children = children;
	child->spec = spec_ref(spec);
	child->record = record;
	child->id = id;
	child->owner = record->owner;
	child->journal_slot = record->journal_slot;
	child->on_disconnect = (Spawnd__V1__OnDisconnect)atomic_load(&record->on_disconnect);
	child->stdio.controlling_slot = -1;
	child->stdio.channel = -1;
	for (size_t i = 0; i < STORE_CHANNEL_COUNT; i++)
		child->channel[i] = -1;
	TAILQ_INIT(&child->watchers);
	TAILQ_INIT(&child->kills);
	return child;
}

int child_create(struct children *children, struct spec *spec, const struct record_origin *origin, int *fds, size_t fd_count,
	struct child **child_out, struct err *err)
{
	const struct process_host *host = children->host;
	uint64_t id = 0;
	uint32_t slot;
	struct record *record = NULL;
	struct child *child;
	int done = check_name(children, spec->message->name, err);

	if (done == 0) {
		id = host->next_id(host->context);
		record = write_record(children, id, spec, origin, err);
		done = record ? take_slot(children, id, &slot, err) : -ENOSPC;
	}
	if (done < 0) {
		ledger_free(host->ledger, record);
		close_fds(fds, fd_count);
		return done;
	}
	record->journal_slot = slot;
	child = child_make(children, id, spec, record);
	done = account_open(child, err);
	if (done == 0)
		done = start(child, fds, fd_count, err);
	else
		close_fds(fds, fd_count);
	if (done < 0) {
		ledger_free(host->ledger, mem_steal(&child->record));
		host->store_drop(host->context, STORE_ANY, id, 0);
		host->slot_release(host->context, child->journal_slot, id);
		child_free(child);
		return done;
	}
	children_add(children, child);
	*child_out = child;
	return 0;
}

void child_drop(struct child *child, const char *why)
{
	child_pin(child);
	if (!child->closed) {
		child->gave_up = true;
		child->output_done = true;
		close_child(child);
	}
	kills_finish(child, false);
	if (!child->removed) {
		child->removed_why = why;
		child->children->kept--;
		children_drop(child);
		log_(LOG_DEBUG, "process %llu: removed", (unsigned long long)child->id);
		CHILD_TELL(child, on_removed);
	}
	child_unpin(child);
}

int child_may_remove(struct child *child, struct err *err)
{
	size_t living;

	if (!child_has_exited(child)) {
		err_set(err, STATUS_FAILED_PRECONDITION, "process %llu runs; stop it first", (unsigned long long)child->id);
		return -EBUSY;
	}
	living = tree_count(&child->tree);
	if (living) {
		err_set(err, STATUS_FAILED_PRECONDITION,
			"process %llu has ended, %zu that it started live on; stop it, or remove it by force",
			(unsigned long long)child->id, living);
		return -EBUSY;
	}
	return 0;
}

int child_remove(struct child *child, struct err *err)
{
	int done = child->removed ? 0 : child_may_remove(child, err);

	if (done == 0 && !child->removed)
		child_drop(child, "");
	return done;
}

void child_free(struct child *child)
{
	struct watcher *watcher;

	while ((watcher = TAILQ_FIRST(&child->watchers))) {
		TAILQ_REMOVE(&child->watchers, watcher, entry);
		free(watcher);
	}
	inputs_destroy(child);
	charge_end(&child->charge);
	output_destroy(child->output);
	logfile_destroy(child->logfile);
	stdio_finish(&child->stdio);
	for (size_t i = 0; i < STORE_CHANNEL_COUNT; i++)
		fd_close(&child->channel[i]);
	if (child->tree.trees)
		tree_leave(&child->tree);
	loop_timer_destroy(child->timer);
	spec_unref(child->spec);
	free(child->end);
	free(child->failure);
	free(child->why);
	free(child);
}

bool child_take_channel(struct child *child, int fds_out[STORE_CHANNEL_COUNT])
{
	bool any = false;

	if (child->stdio.channel >= 0)
		child->channel[STORE_CHANNEL_SOCKET] = fd_steal(&child->stdio.channel);
	for (size_t i = 0; i < STORE_CHANNEL_COUNT; i++) {
		fds_out[i] = fd_steal(&child->channel[i]);
		any = any || fds_out[i] >= 0;
	}
	return any;
}

void child_channel_ended(struct child *child)
{
	child->has_channel = false;
	close_if_done(child);
}

size_t child_hand_over(struct child *child, uint32_t *slots_out, int *fds_out, size_t size)
{
	size_t count = 0;

	if (!is_handed_over(child) || child->state == CHILD_STARTING)
		return 0;
	for (size_t i = 0; i < child->stdio.our_count && count < size; i++) {
		if (child->stdio.ours[i].fd < 0)
			continue;
		slots_out[count] = child->stdio.ours[i].slot;
		fds_out[count++] = fd_steal(&child->stdio.ours[i].fd);
	}
	return count;
}
