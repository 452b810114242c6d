/*
 * The slots we write. What the kernel does not take waits in a queue of at most CHILD_STDIN_MAX; observers hear of what went
 * from the loop, never from inside child_write. Nothing leaves before the child was spawned.
 */
#include <errno.h>
#include <sys/socket.h>
#include <termios.h>
#include <unistd.h>

#include "base/loop.h"
#include "base/mem.h"
#include "base/sys.h"
#include "process/child_parts.h"

#define QUEUE_KEEP 4096u

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

static void drop_queue(struct input *input)
{
	input->child->children->stdin_bytes -= input->queue.length;
	buf_finish(&input->queue);
	input->queue = (struct buf){0};
}

/* Closes our end; a socket that is also read says so to the other side. */
static void close_input(struct input *input)
{
	const struct process_host *host = input->child->children->host;

	if (input->fd < 0)
		return;
	loop_fd_destroy(input->watch);
	input->watch = NULL;
	if (input->socket)
		shutdown(input->fd, SHUT_WR);
	fd_close(&input->fd);
	if (!input->second)
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

static void on_writable(void *arg, unsigned events)
{
	flush(arg);
}

static void watch(struct input *input, bool on)
{
	if (!input->watch && on)
		input->watch = loop_fd_create(input->child->children->host->loop, input->fd, LOOP_WRITE, on_writable, input);
	else if (input->watch)
		loop_fd_set(input->watch, on ? LOOP_WRITE : 0);
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
		tell(input);
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
	while (input->queue.length) {
		ssize_t done = put(input, input->queue.bytes, input->queue.length);

		if (done < 0) {
			lose_input(input);
			return;
		}
		if (done == 0) {
			watch(input, true);
			return;
		}
		buf_consume(&input->queue, (size_t)done);
		input->child->children->stdin_bytes -= (uint64_t)done;
	}
	buf_trim(&input->queue, QUEUE_KEEP);
	watch(input, false);
	if (input->ending)
		end_input(input);
}

void inputs_create(struct child *child)
{
	struct stdio *stdio = &child->stdio;

	child->inputs = mem_alloc((stdio->our_count + 1) * sizeof(*child->inputs));
	for (size_t i = 0; i < stdio->our_count; i++) {
		struct stdio_end *end = &stdio->ours[i];

		if (end->output)
			continue;
		child->inputs[child->input_count++] = (struct input){
			.child = child,
			.slot = end->slot,
			.fd = fd_steal(&end->fd),
			.terminal = end->terminal,
			.socket = end->socket,
			.second = end->second,
		};
	}
	if (!child->input_count)
		free(mem_steal(&child->inputs));
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

		if (input->fd >= 0 && input->queue.length)
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

ssize_t child_write(struct child *child, uint32_t slot, const void *bytes, size_t size)
{
	struct input *input = find_input(child, slot);
	size_t room;
	ssize_t done = 0;

	if (!input)
		return -EBADF;
	if (input->fd < 0 || input->ending)
		return -EPIPE;
	room = CHILD_STDIN_MAX - input->queue.length;
	if (size > room)
		size = room;
	if (size == 0)
		return 0;
	if (input->queue.length == 0 && child->state != CHILD_STARTING)
		done = put(input, bytes, size);
	if (done < 0) {
		lose_input(input);
		return -EPIPE;
	}
	if ((size_t)done < size) {
		buf_append(&input->queue, (const uint8_t *)bytes + done, size - (size_t)done);
		child->children->stdin_bytes += size - (size_t)done;
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
	if (input->queue.length == 0 && child->state != CHILD_STARTING)
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
