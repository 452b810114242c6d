/*
 * A process in the foreground: our input goes to it, its output to our descriptors, our signals to its group, until all is
 * written. Run and attach drive it; handover.c moves bytes where the pipes themselves are ours.
 *
 * Credit is given back for what our descriptors took, never before: a reader of ours that stops holds the child back at that
 * slot, the others go on, and what is under way is bounded by the window of each.
 */
#pragma once

#include <poll.h>
#include <spawnd.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ctl.h"
#include "sink.h"

#define RELAY_SLOTS 256
#define RELAY_INPUT (64u << 10)

/* One output slot and where it goes. */
struct outlet {
	unsigned slot;
	bool discard; /* nowhere */
	struct sink sink;
	char *held; /* bytes our descriptor did not take yet */
	size_t held_start, held_end, held_room;
	int pipe; /* HANDOVER: the child's pipe, else -1 */
};

struct relay {
	struct ctl *ctl;
	struct spawnd_process *process;
	struct outlet *outlets;
	size_t outlet_count;

	/* our input */
	int source, source_own; /* -1: none (any more) */
	bool source_is_tty;
	unsigned input_slot;
	bool pass_eof;
	bool input_full; /* wait for `writable` */
	int input_pipe;  /* HANDOVER: the child's stdin, else -1 */
	char *input;
	size_t input_start, input_end;

	int signals;     /* signalfd, or -1 */
	uint64_t early;  /* signals that came before it was spawned, by bit */
	bool terminal;   /* our terminal is in raw mode, its size goes to the child's */
	bool may_detach; /* ^P ^Q leaves */
	bool detach_begun;
	bool leave_running; /* broken output: leave instead of cancelling */

	bool spawned, exited, ended, detached;
	int64_t drain_ms;        /* HANDOVER: how long others may hold the pipes */
	int64_t drain_until;     /* CLOCK_BOOTTIME, 0: not yet */
	struct letters *letters; /* messages of a channel; NULL: none */
	bool broken;             /* nobody reads our output any more */
	bool unsent;             /* a message of ours could not be sent, or our input not be read to its end */
	bool own_failure;        /* our output failed for another reason */
	bool failed;
	struct spawnd_error error; /* failed: why the stream ended */
	int code, signal;
	enum spawnd_reason reason;
};

extern const struct spawnd_handlers relay_handlers;

void relay_init(struct relay *relay, struct ctl *ctl);
/* Signals go to the child from here on. Call it before the process is started, but not before the daemon is. */
void relay_take_signals(struct relay *relay);
/* Our descriptor fd is the input of a slot of the child. */
void relay_take_input(struct relay *relay, int fd, unsigned slot, bool pass_eof);
/* Raw mode on our terminal, if fd is one. */
void relay_take_terminal(struct relay *relay, int fd);
/* Runs to the end. Returns the exit status; failures have been told. */
int relay_run(struct relay *relay);
void relay_finish(struct relay *relay);

/* ---- for letters.c ---- */

/* Bytes for our descriptor; what it does not take is held. Returns how many it took. */
size_t relay_put(struct relay *relay, struct outlet *outlet, const void *data, size_t size);

/* ---- for handover.c ---- */

struct outlet *relay_outlet(struct relay *relay, unsigned slot);
/* Writes what is held; bytes written, or -1 when nobody reads there any more. */
ssize_t outlet_flush(struct relay *relay, struct outlet *outlet);
void outlet_hold(struct outlet *outlet, const void *data, size_t size);
void relay_input_ended(struct relay *relay);

/* The daemon gave us its ends of the child's pipes. Takes the descriptors. */
void handover_take(struct relay *relay, const unsigned *slots, const int *fds, size_t count);
/* Adds what the pipes wait for; returns the number of entries. */
size_t handover_poll(struct relay *relay, struct pollfd *polled, size_t count);
/* Moves what can be moved. */
void handover_move(struct relay *relay);
/* Whether all pipes have ended, or were given up. */
bool handover_done(const struct relay *relay);
/* How long to wait for them at most, once the child is gone; -1: for ever. */
int handover_patience(struct relay *relay);
