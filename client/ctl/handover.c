/*
 * Transport handover: the child's pipes are ours, and bytes go from them to our descriptors without passing through
 * anybody's memory where the kernel can splice, through ours where it cannot.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/mem.h"
#include "relay.h"

#define SPLICE_MAX (1u << 20)

void handover_take(struct relay *relay, const unsigned *slots, const int *fds, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		int flags = fcntl(fds[i], F_GETFL);

		fd_set_nonblock(fds[i], true);
		if ((flags & O_ACCMODE) == O_WRONLY && relay->source >= 0 && slots[i] == relay->input_slot && relay->input_pipe < 0) {
			relay->input_pipe = fds[i];
		} else if ((flags & O_ACCMODE) == O_WRONLY) {
			close(fds[i]);
		} else {
			struct outlet *outlet = relay_outlet(relay, slots[i]);

			fd_close(&outlet->pipe);
			outlet->pipe = fds[i];
		}
	}
}

/* The pipe has room for what is held of its bytes, or they can be spliced on. */
static bool may_read(const struct outlet *outlet)
{
	return outlet->pipe >= 0 && outlet->held_start == outlet->held_end;
}

size_t handover_poll(struct relay *relay, struct pollfd *polled, size_t count)
{
	for (size_t i = 0; i < relay->outlet_count; i++)
		if (may_read(&relay->outlets[i]))
			polled[count++] = (struct pollfd){.fd = relay->outlets[i].pipe, .events = POLLIN};
	if (relay->input_pipe >= 0)
		polled[count++] = (struct pollfd){.fd = relay->input_pipe, .events = relay->input_start < relay->input_end ? POLLOUT : 0};
	return count;
}

/* Moves once through our memory: 0 at the end, -1 when there is nothing now. */
static ssize_t copy_some(struct relay *relay, struct outlet *outlet)
{
	char bytes[RELAY_INPUT];
	ssize_t got = read(outlet->pipe, bytes, sizeof(bytes));

	if (got <= 0)
		return got;
	if (!outlet->discard) {
		outlet_hold(outlet, bytes, (size_t)got);
		outlet_flush(relay, outlet);
	}
	return got;
}

/* The same by the kernel alone; copies where it cannot. */
static ssize_t move_some(struct relay *relay, struct outlet *outlet)
{
	bool can_splice = !outlet->discard && (outlet->sink.kind == SINK_NONBLOCK || outlet->sink.kind == SINK_PLAIN);
	ssize_t moved;

	if (!can_splice)
		return copy_some(relay, outlet);
	moved = splice(outlet->pipe, NULL, outlet->sink.fd, NULL, SPLICE_MAX, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
	if (moved < 0) /* EINVAL, a full descriptor of ours, a broken one: the copy tells them apart */
		return copy_some(relay, outlet);
	return moved;
}

/* Moves what there is; closes the pipe at its end. */
static void drain(struct relay *relay, struct outlet *outlet)
{
	while (may_read(outlet)) {
		ssize_t moved = move_some(relay, outlet);

		if (moved > 0)
			continue;
		if (moved < 0 && errno == EINTR)
			continue;
		if (moved < 0 && errno == EAGAIN)
			return;
		fd_close(&outlet->pipe);
	}
}

/* Our input into the child's pipe; nothing more is read once the child has closed it. */
static void feed(struct relay *relay)
{
	struct pollfd closed = {.fd = relay->input_pipe};
	ssize_t written;

	if (relay->input_start == relay->input_end) {
		if (poll(&closed, 1, 0) > 0)
			relay_input_ended(relay);
		return;
	}
	written = write(relay->input_pipe, relay->input + relay->input_start, relay->input_end - relay->input_start);
	if (written > 0)
		relay->input_start += (size_t)written;
	else if (written < 0 && errno != EAGAIN && errno != EINTR)
		relay_input_ended(relay);
}

void handover_move(struct relay *relay)
{
	for (size_t i = 0; i < relay->outlet_count && !relay->broken; i++)
		drain(relay, &relay->outlets[i]);
	if (relay->input_pipe >= 0)
		feed(relay);
}

/* Whether a pipe is still open and its time is not up. */
static bool is_open(const struct relay *relay)
{
	if (relay->drain_until && clock_boot_ns() >= relay->drain_until)
		return false;
	for (size_t i = 0; i < relay->outlet_count; i++)
		if (relay->outlets[i].pipe >= 0)
			return true;
	return false;
}

bool handover_done(const struct relay *relay)
{
	return !is_open(relay);
}

int handover_patience(struct relay *relay)
{
	int64_t left;

	if (!relay->ended || !is_open(relay))
		return -1;
	if (!relay->drain_until)
		relay->drain_until = clock_boot_ns() + relay->drain_ms * 1000000;
	left = (relay->drain_until - clock_boot_ns()) / 1000000 + 1;
	return left < 0 ? 0 : (int)(left > 1000000 ? 1000000 : left);
}
