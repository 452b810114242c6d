/*
 * The slots we write. What the kernel does not take waits in a queue of at most CHILD_STDIN_MAX; observers hear of what went
 * from the loop, never from inside child_write. Nothing leaves before the child was spawned.
 *
 * A pipe whose readers have all gone says so without being written to. Mostly its child is just exiting: who does not turn
 * out to have exited GONE_NS later has closed its stdin.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/failpoint.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/mem.h"
#include "base/sys.h"
#include "process/child_parts.h"

#define QUEUE_KEEP 4096u
#define SPOOL_FREE (256u << 10) /* pages are given back by pieces of this size */
#define GONE_NS 100000000

static void flush(struct input *input);

/* Its observers will be told, from the loop. */
static void tell(struct input *input)
{
	struct children *children = input->child->children;

	if (input->telling)
		return;
	input->telling = true;
	TAILQ_INSERT_TAIL(&children->told, input, entry);
	loop_defer_trigger(children->defer);
}

/* Bytes that wait for the kernel to take them. */
static size_t waiting(const struct input *input)
{
	return input->queue.length + (input->spool >= 0 ? (size_t)(input->spooled - input->written) : 0);
}

static void drop_queue(struct input *input)
{
	const struct process_host *host = input->child->children->host;

	account_input(input->child, -(int64_t)waiting(input));
	buf_finish(&input->queue);
	input->queue = (struct buf){0};
	if (input->spool < 0)
		return;
	fd_close(&input->spool);
	host->store_drop(host->context, STORE_STDIN, input->child->id, input->slot);
}

/* Remembers how much was taken of an input that has no spool, or no more. */
static void note_taken(struct input *input)
{
	if (input->kept)
		atomic_store(&input->kept->passed, input->spooled > input->written ? input->spooled : input->written);
}

/* It is not waited for any more whether the child exits. */
static void leave_gone(struct input *input)
{
	if (input->gone)
		TAILQ_REMOVE(&input->child->children->gone, input, gone_entry);
	input->gone = false;
}

/* Closes our end; a socket that is also read says so to the other side. After the child nobody is expected to wait for it. */
static void close_input(struct input *input)
{
	const struct process_host *host = input->child->children->host;

	if (input->fd < 0)
		return;
	leave_gone(input);
	loop_fd_destroy(input->watch);
	input->watch = NULL;
	note_taken(input);
	if (input->socket)
		shutdown(input->fd, SHUT_WR);
	fd_close(&input->fd);
	if (!input->second && child_has_exited(input->child))
		host->store_forget(host->context, STORE_STDIO, input->child->id, input->slot);
	else if (!input->second)
		host->store_drop(host->context, STORE_STDIO, input->child->id, input->slot);
	drop_queue(input);
}

/* The end of a terminal's input: its end-of-file character, twice when a line has been begun. */
static void send_terminal_eof(struct input *input)
{
	struct termios settings;
	uint8_t eof[2];

	if (tcgetattr(input->fd, &settings) < 0 || !(settings.c_lflag & ICANON))
		return;
	eof[0] = eof[1] = settings.c_cc[VEOF];
	sys_write(input->fd, eof, input->written && input->last != '\n' ? 2 : 1);
}

/* All that was to be written is. A terminal stays open: it can still be resized. */
static void end_input(struct input *input)
{
	if (input->terminal)
		send_terminal_eof(input);
	else
		close_input(input);
}

/* Nobody reads the pipe any more. */
static void note_gone(struct input *input)
{
	struct children *children = input->child->children;

	loop_fd_destroy(input->watch);
	input->watch = NULL;
	input->gone = true;
	input->gone_ns = clock_boot_ns();
	TAILQ_INSERT_TAIL(&children->gone, input, gone_entry);
	if (!loop_timer_pending(children->gone_timer))
		loop_timer_set(children->gone_timer, GONE_NS / 1000);
}

static void on_event(void *arg, unsigned events)
{
	struct input *input = arg;

	if (waiting(input))
		flush(input);
	else
		note_gone(input);
}

/* Whether there is room; and of a pipe always whether it has readers: its end for writing is readable only as an error. */
static void watch(struct input *input, bool room)
{
	unsigned events = (room ? LOOP_WRITE : 0u) | (input->socket || input->terminal ? 0u : LOOP_READ);

	if (!input->watch && events)
		input->watch = loop_fd_create(input->child->children->host->loop, input->fd, events, on_event, input);
	else if (input->watch)
		loop_fd_set(input->watch, events);
}

/* Writes; returns what the kernel took, or negative when the child will not read any more. */
static ssize_t put(struct input *input, const void *bytes, size_t size)
{
	ssize_t done = input->socket ? send(input->fd, bytes, size, MSG_NOSIGNAL | MSG_DONTWAIT) : sys_write(input->fd, bytes, size);

	if (done < 0 && input->socket)
		done = -errno;
	if (done == -EAGAIN || done == -EINTR)
		return 0;
	if (done > 0) {
		input->written += (uint64_t)done;
		input->last = ((const uint8_t *)bytes)[done - 1];
		note_taken(input);
		tell(input);
	}
	return done;
}

/* ---- the spool ---- */

/*
 * What waits goes through a memfd: its size is what was taken, the file offset of its description what the kernel has. The
 * kernel keeps both, and the keeper the memfd, so no byte is written twice or left out by an engine that dies.
 */
static bool open_spool(struct input *input)
{
	const struct process_host *host = input->child->children->host;
	struct err err;

	if (input->spool >= 0 || input->plain)
		return input->spool >= 0;
	input->plain = input->terminal || input->queue.length || !host->fds_free(host->context);
	if (input->plain)
		return false;
	input->spool = sys_memfd("spawnd-stdin", 0);
	input->plain = input->spool < 0;
	if (input->plain || host->store_put(host->context, STORE_STDIN, input->child->id, input->slot, &input->spool, 1, &err) == 0)
		return !input->plain;
	input->plain = true;
	fd_close(&input->spool);
	return false;
}

/* Whole pages that the kernel has are not needed any more. The child may still hold them: those stay as they are. */
static void free_pages(struct input *input)
{
	uint64_t end = input->written / SPOOL_FREE * SPOOL_FREE;

	if (end == input->freed)
		return;
	sys_fallocate(input->spool, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)input->freed, (off_t)(end - input->freed));
	input->freed = end;
}

/* Moves bytes from the spool to the child; as put. */
static ssize_t put_spooled(struct input *input)
{
	uint64_t before = input->written;
	ssize_t done = sys_sendfile(input->fd, input->spool, (size_t)(input->spooled - input->written));

	failpoint("input-given");
	if (done < 0 && done != -EAGAIN)
		return done;
	if (done > 0)
		input->written += (uint64_t)done;
	account_input(input->child, -(int64_t)(input->written - before));
	if (input->written == before)
		return 0;
	free_pages(input);
	tell(input);
	return (ssize_t)(input->written - before);
}

/* Takes bytes into the spool: how many, or -errno. */
static ssize_t spool_bytes(struct input *input, const void *bytes, size_t size)
{
	ssize_t done = sys_pwrite(input->spool, bytes, size, (off_t)input->spooled);

	failpoint("input-taken");
	if (done > 0) {
		input->spooled += (uint64_t)done;
		account_input(input->child, done);
	}
	return done;
}

/* The child closed the slot: what waits is thrown away, and told. */
static void lose_input(struct input *input)
{
	close_input(input);
	input->tell_closed = true;
	tell(input);
}

/* Writes what waits, as much as the kernel takes. */
static void flush(struct input *input)
{
	while (waiting(input)) {
		ssize_t done = input->spool >= 0 ? put_spooled(input) : put(input, input->queue.bytes, input->queue.length);

		if (done < 0) {
			lose_input(input);
			return;
		}
		if (done == 0) {
			watch(input, true);
			return;
		}
		if (input->spool >= 0)
			continue;
		buf_consume(&input->queue, (size_t)done);
		account_input(input->child, -done);
	}
	buf_trim(&input->queue, QUEUE_KEEP);
	if (input->ending)
		end_input(input);
	if (input->fd >= 0)
		watch(input, false);
}

void inputs_lose_gone(struct children *children)
{
	int64_t now = clock_boot_ns();
	struct input *input;

	while ((input = TAILQ_FIRST(&children->gone)) && input->gone_ns + GONE_NS <= now)
		lose_input(input);
	if (input)
		loop_timer_set(children->gone_timer, (uint64_t)(input->gone_ns + GONE_NS - now) / 1000 + 1);
}

struct input *input_add(struct child *child, uint32_t slot, int fd, size_t count)
{
	struct input *input;

	if (!child->inputs)
		child->inputs = mem_alloc(count * sizeof(*child->inputs));
	input = &child->inputs[child->input_count++];
	*input = (struct input){.child = child, .slot = slot, .fd = fd, .spool = -1, .kept = record_slot(child->record, slot)};
	return input;
}

void input_recover(struct input *input, int spool)
{
	struct stat facts;
	off_t written = spool >= 0 ? sys_lseek(spool, 0, SEEK_CUR) : 0;

	input->ending = input->kept && atomic_load(&input->kept->flags) & RECORD_SLOT_EOF;
	if (spool < 0) {
		input->written = input->kept ? atomic_load(&input->kept->passed) : 0;
		return;
	}
	input->spool = spool;
	if (written < 0 || fstat(spool, &facts) < 0)
		return;
	input->written = (uint64_t)written;
	input->spooled = (uint64_t)facts.st_size;
	input->freed = input->written / SPOOL_FREE * SPOOL_FREE;
	account_input(input->child, (int64_t)waiting(input));
}

void inputs_create(struct child *child)
{
	struct stdio *stdio = &child->stdio;

	for (size_t i = 0; i < stdio->our_count; i++) {
		struct stdio_end *end = &stdio->ours[i];
		struct input *input;

		if (end->output)
			continue;
		input = input_add(child, end->slot, fd_steal(&end->fd), stdio->our_count);
		input->terminal = end->terminal;
		input->socket = end->socket;
		input->second = end->second;
	}
}

void inputs_start(struct child *child)
{
	for (size_t i = 0; i < child->input_count; i++)
		if (child->inputs[i].fd >= 0)
			flush(&child->inputs[i]);
}

void inputs_close(struct child *child)
{
	for (size_t i = 0; i < child->input_count; i++) {
		struct input *input = &child->inputs[i];

		if (input->fd >= 0 && waiting(input))
			lose_input(input);
		else
			close_input(input);
	}
}

void inputs_destroy(struct child *child)
{
	for (size_t i = 0; i < child->input_count; i++) {
		struct input *input = &child->inputs[i];

		if (input->telling)
			TAILQ_REMOVE(&child->children->told, input, entry);
		leave_gone(input);
		loop_fd_destroy(input->watch);
		drop_queue(input);
		fd_close(&input->fd);
	}
	free(mem_steal(&child->inputs));
	child->input_count = 0;
}

void inputs_tell(struct children *children)
{
	struct input *input;

	while ((input = TAILQ_FIRST(&children->told))) {
		struct child *child = input->child;
		uint32_t slot = input->slot;
		uint64_t written = input->written;
		bool closed = input->tell_closed;

		TAILQ_REMOVE(&children->told, input, entry);
		input->telling = false;
		input->tell_closed = false;
		child_pin(child);
		CHILD_TELL(child, on_stdin_room, slot, written);
		if (closed)
			CHILD_TELL(child, on_stdin_closed, slot);
		child_unpin(child);
	}
}

static struct input *find_input(struct child *child, uint32_t slot)
{
	for (size_t i = 0; i < child->input_count; i++)
		if (child->inputs[i].slot == slot)
			return &child->inputs[i];
	return NULL;
}

bool child_input_total(const struct child *child, uint32_t slot, uint64_t *taken_out, uint64_t *kernel_out)
{
	const struct input *input = find_input((struct child *)child, slot);

	if (!input)
		return false;
	*kernel_out = input->written;
	*taken_out = input->spooled > input->written ? input->spooled : input->written + input->queue.length;
	return true;
}

ssize_t child_write(struct child *child, uint32_t slot, const void *bytes, size_t size)
{
	struct input *input = find_input(child, slot);
	size_t room, most = account_input_max(child);
	ssize_t done = 0;

	if (!input)
		return -EBADF;
	if (input->fd < 0 || input->ending)
		return -EPIPE;
	room = waiting(input) < most ? most - waiting(input) : 0;
	if (size > room)
		size = room;
	if (size == 0)
		return 0;
	if (open_spool(input)) {
		done = spool_bytes(input, bytes, size);
		if (done > 0 && child->state != CHILD_STARTING && !(input->watch && waiting(input) > (size_t)done))
			flush(input);
		if (done >= 0)
			return input->fd < 0 ? -EPIPE : done;
		log_(LOG_ERROR, "process %llu: input of slot %u cannot be kept: %s", (unsigned long long)child->id, slot,
			err_name((int)-done));
		lose_input(input);
		return -EPIPE;
	}
	if (input->queue.length == 0 && child->state != CHILD_STARTING)
		done = put(input, bytes, size);
	if (done < 0) {
		lose_input(input);
		return -EPIPE;
	}
	if ((size_t)done < size) {
		buf_append(&input->queue, (const uint8_t *)bytes + done, size - (size_t)done);
		account_input(child, (int64_t)(size - (size_t)done));
		if (child->state != CHILD_STARTING)
			watch(input, true);
	}
	return (ssize_t)size;
}

int child_close_stdin(struct child *child, uint32_t slot, struct err *err)
{
	struct input *input = find_input(child, slot);

	if (!input) {
		err_set(err, STATUS_FAILED_PRECONDITION, "slot %u is not one that we write", slot);
		return -EBADF;
	}
	if (input->fd < 0 || input->ending)
		return 0;
	input->ending = true;
	if (input->kept)
		atomic_fetch_or(&input->kept->flags, RECORD_SLOT_EOF);
	if (waiting(input) == 0 && child->state != CHILD_STARTING)
		end_input(input);
	return 0;
}

int child_resize(struct child *child, unsigned rows, unsigned columns, struct err *err)
{
	int done = -EBADF;

	if (rows < 1 || rows > 65535)
		return err_invalid(err, "window.rows", "must be 1 to 65535");
	if (columns < 1 || columns > 65535)
		return err_invalid(err, "window.columns", "must be 1 to 65535");
	if (!spec_pty_slot(child->spec, true)) {
		err_set(err, STATUS_FAILED_PRECONDITION, "the process has no terminal");
		return -ENOTTY;
	}
	for (size_t i = 0; i < child->input_count; i++)
		if (child->inputs[i].terminal && child->inputs[i].fd >= 0)
			done = stdio_resize(child->inputs[i].fd, rows, columns);
	if (done == -EBADF) {
		err_set(err, STATUS_FAILED_PRECONDITION, "the terminal is closed");
		return done;
	}
	return done < 0 ? err_errno(err, -done, "ioctl", NULL) : 0;
}
