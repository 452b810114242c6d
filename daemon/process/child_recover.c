/*
 * Children of an engine that died, made again: what they were stands in the record, where they are in the journal, what
 * they wrote and have to read in the descriptors that the keeper had.
 */
#include <fcntl.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/mem.h"
#include "process/child_parts.h"
#include "process/outlog.h"

#define CLIENT_RETURNS_US 10000000u /* how long a slot waits for its client to come back */

/* Takes the descriptor of this kind and index; -1: there is none. */
static int take(const struct recovered *recovered, enum store_kind kind, uint32_t index)
{
	for (size_t i = 0; i < recovered->fd_count; i++)
		if (recovered->fds[i].kind == kind && recovered->fds[i].index == index)
			return fd_steal(&recovered->fds[i].fd);
	return -1;
}

/* Takes the record of what was kept of a slot that has ended; NULL: there is none. */
static void *take_output(const struct recovered *recovered, uint32_t slot)
{
	for (size_t i = 0; i < recovered->output_count; i++)
		if (recovered->outputs[i] && outlog_record_slot(recovered->outputs[i]) == slot)
			return mem_steal(&recovered->outputs[i]);
	return NULL;
}

static void add_output(struct child *child, const struct recovered *recovered, const struct slot_spec *slot)
{
	const Spawnd__V1__ProcessSpec *message = child->spec->message;
	struct record_slot *kept = record_slot(child->record, slot->slot);
	struct output_slot output = {
		.slot = slot->slot,
		.fd = take(recovered, STORE_STDIO, slot->slot),
		.retain = message->retain_bytes,
		.capture_limit = slot->capture_limit,
		.capture_policy = (enum capture_policy)slot->capture_policy,
		.direct = message->transport == SPAWND__V1__TRANSPORT__TRANSPORT_DIRECT,
		.kept = kept,
		.recovered = true,
		.waits = record_has(child->record, RECORD_HELD),
		.ring = take(recovered, STORE_RING, slot->slot),
		.via = {take(recovered, STORE_PIPE, 2 * slot->slot), take(recovered, STORE_PIPE, 2 * slot->slot + 1)},
		.record = take_output(recovered, slot->slot),
	};

	if (kept && atomic_load(&kept->flags) & RECORD_SLOT_ENDED)
		fd_close(&output.fd);
	output_add(child->output, &output);
}

/* The descriptor that a slot is written by: its own, or a second one of the output end that shares its file. */
static int take_input(const struct child *child, const struct recovered *recovered, const struct slot_spec *slot)
{
	uint32_t index = slot->slot;

	if (slot->kind == SLOT_PTY)
		index = spec_pty_slot(child->spec, true)->slot;
	if (!spec_is_output(child->spec, slot) && slot->kind != SLOT_PTY)
		return take(recovered, STORE_STDIO, index);
	for (size_t i = 0; i < recovered->fd_count; i++)
		if (recovered->fds[i].kind == STORE_STDIO && recovered->fds[i].index == index && recovered->fds[i].fd >= 0)
			return fcntl(recovered->fds[i].fd, F_DUPFD_CLOEXEC, 0);
	return -1;
}

static void add_input(struct child *child, const struct recovered *recovered, const struct slot_spec *slot)
{
	int fd = take_input(child, recovered, slot);
	struct input *input = input_add(child, slot->slot, fd, child->spec->slot_count);

	input->terminal = slot->kind == SLOT_PTY;
	input->socket = slot->kind == SLOT_PAIR;
	input->second = input->terminal || input->socket;
	input_recover(input, take(recovered, STORE_STDIN, slot->slot));
}

static void add_streams(struct child *child, const struct recovered *recovered)
{
	struct children *children = child->children;
	const struct spec *spec = child->spec;
	struct err err = {0};

	/* of one that is closed nothing is written any more, and where its bytes went the engine before this one knew */
	if (!record_has(child->record, RECORD_CLOSED) && child_open_logfile(child, &err) < 0)
		log_(LOG_ERROR, "process %llu: its log file cannot be opened again: %s", (unsigned long long)child->id, err.message);
	children->stats.log_lost += atomic_load(&child->record->filing.lost);
	child->output = output_create(children->host, &children->stats, child->id, child->logfile, &child_output_observer, child);
	if (spec->message->transport == SPAWND__V1__TRANSPORT__TRANSPORT_HANDOVER)
		return;
	for (size_t i = 0; i < spec->slot_count; i++)
		if (spec_is_input(spec, &spec->slots[i]))
			add_input(child, recovered, &spec->slots[i]);
	for (size_t i = 0; i < spec->slot_count; i++)
		if (spec_is_output(spec, &spec->slots[i]))
			add_output(child, recovered, &spec->slots[i]);
}

struct child *child_recover(struct children *children, const struct recovered *recovered)
{
	const struct process_host *host = children->host;
	struct record *record = recovered->record;
	struct child *child = child_make(children, ledger_owner(record), recovered->spec, record);
	struct journal_slot *slot = host->slot(host->context, record->journal_slot);

	child->recovered = true;
	child->state = CHILD_RUNNING;
	child->pid = recovered->pid;
	if (!slot->started_at_ns)
		slot->started_at_ns = clock_real_ns();
	child->started_at_ns = slot->started_at_ns;
	child->stop_sent = record_has(record, RECORD_STOPPING) && host->signals(host->context) > atomic_load(&record->stop_signals);
	child->killed_by_us = record_has(record, RECORD_KILLED);
	child->drain_timed_out = record_has(record, RECORD_DRAIN_TIMED_OUT);
	account_recover(child);
	add_streams(child, recovered);
	for (uint32_t i = 0; i < STORE_CHANNEL_COUNT; i++)
		child->channel[i] = take(recovered, STORE_CHANNEL, i);
	child->has_channel = child->channel[STORE_CHANNEL_SOCKET] >= 0;
	tree_restore(children->trees, &child->tree, child->id, record->tree == RECORD_TREE_EMPTY ? 0 : record->tree, child->pid);
	child->tree.empty = record->tree == RECORD_TREE_EMPTY;
	child->tree.tracked |= child->tree.empty;
	children_add(children, child);
	return child;
}

/* The ladder goes on where it was: its signal is sent if it was not. */
static void resume_stop(struct child *child)
{
	struct record *record = child->record;
	int64_t left_ns = atomic_load(&record->stop_deadline_ns) - clock_boot_ns();

	child_stop(child, atomic_load(&record->stop_signal), left_ns > 0 ? (uint64_t)left_ns / 1000000 : 0,
		(enum kill_scope)atomic_load(&record->stop_scope), (enum child_reason)atomic_load(&record->stop_reason),
		record->why[0] ? record->why : NULL, NULL, NULL);
}

static void resume_timeout(struct child *child)
{
	const struct process_host *host = child->children->host;
	int64_t deadline_ns = host->slot(host->context, child->journal_slot)->deadline_boot_ns, now = clock_boot_ns();
	uint64_t timeout_ms = child->spec->message->timeout_ms;

	if (!timeout_ms)
		return;
	if (!deadline_ns)
		deadline_ns = now + (int64_t)timeout_ms * 1000000;
	child_set_timer(child, deadline_ns > now ? (uint64_t)(deadline_ns - now) / 1000000 + 1 : 1);
}

static void on_not_back(void *arg)
{
	struct children *children = arg;
	struct child *child;

	TAILQ_FOREACH(child, &children->all, entry)
	output_stop_waiting(child->output);
}

void children_resume(struct children *children)
{
	struct child *child;

	if (TAILQ_EMPTY(&children->all))
		return;
	TAILQ_FOREACH(child, &children->all, entry)
	{
		child_pin(child);
		output_start(child->output);
		inputs_start(child);
		resume_timeout(child);
		if (record_has(child->record, RECORD_STOPPING))
			resume_stop(child);
		child_unpin(child);
	}
	children->not_back = loop_timer_create(children->host->loop, on_not_back, children);
	loop_timer_set(children->not_back, CLIENT_RETURNS_US);
}

void child_client_is_back(struct child *child)
{
	if (child->recovered)
		output_stop_waiting(child->output);
}

void child_origin(const struct child *child, struct record_origin *origin_out)
{
	*origin_out = (struct record_origin){0};
	if (child->record)
		record_origin_of(child->record, origin_out);
}

bool child_was_held(const struct child *child)
{
	return record_has(child->record, RECORD_HELD);
}

void child_set_held(struct child *child, bool held)
{
	if (!child->record)
		return;
	if (held)
		record_flag(child->record, RECORD_HELD);
	else
		atomic_fetch_and(&child->record->flags, ~(uint32_t)RECORD_HELD);
}
