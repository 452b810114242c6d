/* A process in the foreground: one poll loop over the connection, our input, our outputs and our signals. */
#include "relay.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"
#include "client.h"
#include "letters.h"
#include "tty.h"

#define HELD_LIMIT (64u << 20) /* far above any window: only a daemon that ignores credit gets there */
#define FOREGROUND_LOOK_MS 200
#define CONTROL_P 0x10
#define CONTROL_Q 0x11

static const int forwarded[] = {SIGINT, SIGQUIT, SIGTERM, SIGHUP, SIGUSR1, SIGUSR2, SIGTSTP, SIGCONT, SIGWINCH};

void relay_init(struct relay *relay, struct ctl *ctl)
{
	*relay = (struct relay){
		.ctl = ctl, .source = -1, .source_own = -1, .input_pipe = -1, .signals = -1, .drain_ms = 5000, .code = -1, .signal = -1};
}

/* ---- output ---- */

/* Where a slot goes: our descriptor of the same number, for a terminal's only slot stdout. */
static int descriptor_of(const struct relay *relay, unsigned slot)
{
	if (relay->letters)
		return letters_descriptor(relay, slot);
	return slot == 0 ? STDOUT_FILENO : (int)slot;
}

/* The outlet of a slot; nothing comes out where that descriptor was not open when we started. */
struct outlet *relay_outlet(struct relay *relay, unsigned slot)
{
	struct outlet *outlet;
	int fd = descriptor_of(relay, slot), flags;

	for (size_t i = 0; i < relay->outlet_count; i++)
		if (relay->outlets[i].slot == slot)
			return &relay->outlets[i];
	relay->outlets = mem_realloc(relay->outlets, (relay->outlet_count + 1) * sizeof(*relay->outlets));
	outlet = &relay->outlets[relay->outlet_count++];
	*outlet = (struct outlet){.slot = slot, .pipe = -1, .sink = {.fd = -1, .own = -1}};
	flags = fcntl(fd, F_GETFD);
	outlet->discard = flags < 0 || (flags & FD_CLOEXEC);
	if (!outlet->discard)
		sink_open(&outlet->sink, fd);
	return outlet;
}

void outlet_hold(struct outlet *outlet, const void *data, size_t size)
{
	size_t held = outlet->held_end - outlet->held_start;

	if (held + size > outlet->held_room || (held == 0 && outlet->held_start > 0)) {
		size_t room = outlet->held_room ? outlet->held_room : RELAY_INPUT;
		char *grown;

		while (room < held + size)
			room *= 2;
		grown = mem_alloc(room);
		if (held)
			memcpy(grown, outlet->held + outlet->held_start, held);
		free(outlet->held);
		outlet->held = grown;
		outlet->held_room = room;
		outlet->held_start = 0;
		outlet->held_end = held;
	} else if (outlet->held_end + size > outlet->held_room) {
		memmove(outlet->held, outlet->held + outlet->held_start, held);
		outlet->held_start = 0;
		outlet->held_end = held;
	}
	memcpy(outlet->held + outlet->held_end, data, size);
	outlet->held_end += size;
}

/* Our descriptor failed: what still comes for it is thrown away. */
static void outlet_break(struct relay *relay, struct outlet *outlet, int errnum)
{
	int fd = descriptor_of(relay, outlet->slot);

	if (errnum != EPIPE && fd <= STDERR_FILENO)
		ctl_error(relay->ctl, "%s: %s", fd == STDOUT_FILENO ? "stdout" : "stderr", strerror(errnum));
	else if (errnum != EPIPE)
		ctl_error(relay->ctl, "descriptor %d: %s", fd, strerror(errnum));
	outlet->discard = true;
	outlet->held_start = outlet->held_end = 0;
	relay->broken = true;
	relay->own_failure = relay->own_failure || errnum != EPIPE;
}

ssize_t outlet_flush(struct relay *relay, struct outlet *outlet)
{
	ssize_t total = 0;

	while (outlet->held_start < outlet->held_end) {
		ssize_t written = sink_write(&outlet->sink, outlet->held + outlet->held_start, outlet->held_end - outlet->held_start);

		if (written < 0) {
			outlet_break(relay, outlet, (int)-written);
			return -1;
		}
		if (written == 0)
			break;
		outlet->held_start += (size_t)written;
		total += written;
	}
	if (outlet->held_start == outlet->held_end)
		outlet->held_start = outlet->held_end = 0;
	return total;
}

size_t relay_put(struct relay *relay, struct outlet *outlet, const void *data, size_t size)
{
	const char *bytes = data;
	size_t written = 0;

	while (!outlet->discard && outlet->held_start == outlet->held_end && written < size) {
		ssize_t done = sink_write(&outlet->sink, bytes + written, size - written);

		if (done < 0)
			outlet_break(relay, outlet, (int)-done);
		if (done <= 0)
			break;
		written += (size_t)done;
	}
	if (outlet->discard)
		written = size;
	if (written < size && outlet->held_end - outlet->held_start + size < HELD_LIMIT)
		outlet_hold(outlet, bytes + written, size - written);
	return written;
}

static void on_output(void *context, struct spawnd_process *process, unsigned slot, uint64_t offset, const void *data, size_t size)
{
	struct relay *relay = context;
	size_t written = relay_put(relay, relay_outlet(relay, slot), data, size);

	if (written > 0)
		spawnd_process_taken(process, slot, written);
}

/* ---- input ---- */

void relay_take_input(struct relay *relay, int fd, unsigned slot, bool pass_eof)
{
	relay->source = source_open(fd, &relay->source_own);
	relay->source_is_tty = isatty(fd);
	relay->input_slot = slot;
	relay->pass_eof = pass_eof;
	relay->input = mem_alloc(RELAY_INPUT + 1);
}

/* Nothing more comes from us, or nothing more is wanted. */
void relay_input_ended(struct relay *relay)
{
	fd_close(&relay->source_own);
	relay->source = -1;
	relay->input_start = relay->input_end = 0;
	fd_close(&relay->input_pipe);
}

/*
 * ^P ^Q leaves; a ^P that nothing follows is held back. What was read stands from input[1] on: there is room for the ^P of
 * an earlier read. false: leave.
 */
static bool check_detach(struct relay *relay)
{
	size_t kept = 0;

	for (size_t i = 1; i < relay->input_end; i++) {
		char c = relay->input[i];

		if (relay->detach_begun && c == CONTROL_Q)
			return false;
		if (relay->detach_begun)
			relay->input[kept++] = CONTROL_P;
		relay->detach_begun = c == CONTROL_P;
		if (!relay->detach_begun)
			relay->input[kept++] = c;
	}
	relay->input_start = 0;
	relay->input_end = kept;
	return true;
}

/* Passes on what was read. */
static void send_input(struct relay *relay)
{
	ssize_t taken;

	if (relay->input_start == relay->input_end || relay->input_pipe >= 0)
		return;
	taken = spawnd_process_write(
		relay->process, relay->input_slot, relay->input + relay->input_start, relay->input_end - relay->input_start);
	if (taken < 0) {
		relay_input_ended(relay);
		return;
	}
	relay->input_start += (size_t)taken;
	relay->input_full = relay->input_start < relay->input_end;
}

/* Our terminal is somebody else's now: reading there would stop us, and with us the child's output. */
static bool is_background(const struct relay *relay)
{
	return relay->source_is_tty && tty_is_background(relay->source);
}

/* Reads once; what was read before has been passed on. */
static void read_input(struct relay *relay)
{
	ssize_t got;

	if (is_background(relay))
		return;
	got = read(relay->source, relay->input + 1, RELAY_INPUT);
	if (got < 0 && (errno == EINTR || errno == EAGAIN || (errno == EIO && is_background(relay))))
		return;
	if (got < 0 && !(errno == EIO && relay->source_is_tty)) { /* a terminal that hung up has ended */
		ctl_error(relay->ctl, "standard input: %s", strerror(errno));
		relay->unsent = true;
	}
	if (relay->letters) {
		letters_take(relay, relay->input + 1, got > 0 ? (size_t)got : 0);
		if (got <= 0)
			relay_input_ended(relay);
		return;
	}
	relay->input_start = 1;
	relay->input_end = got > 0 ? (size_t)got + 1 : 1;
	if (got > 0) {
		if (relay->may_detach && !check_detach(relay))
			relay->detached = true;
		else
			send_input(relay);
		return;
	}
	if (relay->pass_eof && relay->input_pipe < 0)
		spawnd_process_close_stdin(relay->process, relay->input_slot);
	relay_input_ended(relay);
}

static bool wants_input(const struct relay *relay)
{
	return relay->source >= 0 && relay->spawned && !relay->exited && relay->input_start == relay->input_end &&
	       !(relay->letters && letters_are_full(relay));
}

static void on_writable(void *context, struct spawnd_process *process)
{
	struct relay *relay = context;

	relay->input_full = false;
	send_input(relay);
}

static void on_stdin_closed(void *context, struct spawnd_process *process, unsigned slot)
{
	struct relay *relay = context;

	if (slot == relay->input_slot)
		relay_input_ended(relay);
}

/* ---- life ---- */

static void forward(struct relay *relay, int number);

static void on_spawned(void *context, struct spawnd_process *process, const unsigned *slots, const int *fds, size_t fd_count)
{
	struct relay *relay = context;

	relay->spawned = true;
	handover_take(relay, slots, fds, fd_count);
	for (int number = 1; number < 64; number++)
		if (relay->early & (1ull << number))
			forward(relay, number);
	relay->early = 0;
}

static void on_exited(void *context, struct spawnd_process *process, const struct spawnd_exit *how)
{
	struct relay *relay = context;

	relay->exited = true;
	relay->code = how->code;
	relay->signal = how->signal;
	relay->reason = how->reason;
}

static void on_gap(void *context, struct spawnd_process *process, unsigned slot, uint64_t offset, uint64_t size)
{
	struct relay *relay = context;

	ctl_error(relay->ctl, "slot %u: %llu bytes are lost at offset %llu", slot, (unsigned long long)size, (unsigned long long)offset);
}

static void on_ended(void *context, struct spawnd_process *process, const struct spawnd_error *error)
{
	struct relay *relay = context;

	relay->ended = true;
	if (!error)
		return;
	relay->failed = true;
	relay->error = *error;
}

const struct spawnd_handlers relay_handlers = {
	.spawned = on_spawned,
	.output = on_output,
	.gap = on_gap,
	.writable = on_writable,
	.stdin_closed = on_stdin_closed,
	.message = letters_on_message,
	.sent = letters_on_sent,
	.disconnected = letters_on_disconnected,
	.exited = on_exited,
	.closed = on_exited,
	.ended = on_ended,
};

/* ---- signals ---- */

void relay_take_signals(struct relay *relay)
{
	sigset_t set;

	sigemptyset(&set);
	for (size_t i = 0; i < array_size(forwarded); i++) {
		struct sigaction action;

		/* what nohup or a shell's `&` ignores stays ignored */
		if (sigaction(forwarded[i], NULL, &action) == 0 && action.sa_handler == SIG_IGN)
			continue;
		sigaddset(&set, forwarded[i]);
	}
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	relay->signals = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
}

void relay_take_terminal(struct relay *relay, int fd)
{
	if (!isatty(fd) || tty_raw(fd) < 0)
		return;
	relay->terminal = true;
}

/* Whether the process has its own idea of SIGTSTP: caught or ignored. */
static bool handles_stop(pid_t pid)
{
	char path[64], line[256];
	uint64_t mask = 0;
	FILE *stream;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	stream = fopen(path, "re");
	if (!stream)
		return false;
	while (fgets(line, sizeof(line), stream)) {
		unsigned long long bits;

		if (sscanf(line, "SigCgt: %llx", &bits) == 1 || sscanf(line, "SigIgn: %llx", &bits) == 1)
			mask |= bits;
	}
	fclose(stream);
	return mask & (1ull << (SIGTSTP - 1));
}

/* Sends all that waits, although it may block: we are about to stop. */
static void flush_connection(struct relay *relay)
{
	struct spawnd_error error;
	struct pollfd polled = {.fd = spawnd_fd(relay->ctl->client), .events = POLLOUT};

	while (!relay->ended && (spawnd_events(relay->ctl->client) & POLLOUT))
		if ((poll(&polled, 1, -1) < 0 && errno != EINTR) || spawnd_dispatch(relay->ctl->client, &error) < 0)
			break;
}

/*
 * ^Z outside of a child's own terminal. A child leads a session, so its group is orphaned and the kernel drops SIGTSTP's
 * default action: SIGSTOP does what the user meant, unless the child handles SIGTSTP itself.
 */
static void stop_both(struct relay *relay)
{
	bool handled = handles_stop(spawnd_process_pid(relay->process));

	spawnd_process_signal(relay->process, SIGTSTP, SPAWND_GROUP);
	if (!handled)
		spawnd_process_signal(relay->process, SIGSTOP, SPAWND_GROUP);
	flush_connection(relay);
	tty_restore();
	raise(SIGSTOP);
}

static void send_size(struct relay *relay)
{
	unsigned rows, columns;

	if (tty_size(STDIN_FILENO, &rows, &columns) || tty_size(STDOUT_FILENO, &rows, &columns))
		spawnd_process_resize(relay->process, rows, columns);
}

/* One signal of ours for the child. */
static void forward(struct relay *relay, int number)
{
	if (!relay->spawned) {
		relay->early |= 1ull << number;
		return;
	}
	if (number == SIGTSTP)
		stop_both(relay);
	else if (number == SIGWINCH && relay->terminal)
		send_size(relay);
	else
		spawnd_process_signal(relay->process, number, SPAWND_GROUP);
	if (number == SIGCONT && relay->terminal)
		send_size(relay);
}

/* The child is gone and only its output is left to be written: a signal that ends programs ends us. */
static bool ends_us(int number)
{
	return number == SIGINT || number == SIGQUIT || number == SIGTERM || number == SIGHUP;
}

static void take_signals(struct relay *relay)
{
	struct signalfd_siginfo info;

	while (read(relay->signals, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
		int number = (int)info.ssi_signo;

		if (!relay->exited) {
			forward(relay, number);
		} else if (ends_us(number)) {
			relay->code = -1;
			relay->signal = number;
			relay->reason = SPAWND_SIGNALED;
			relay->broken = relay->leave_running = true;
		}
	}
}

/* ---- the loop ---- */

static bool has_held(const struct relay *relay)
{
	for (size_t i = 0; i < relay->outlet_count; i++)
		if (relay->outlets[i].held_start < relay->outlets[i].held_end)
			return true;
	return false;
}

/* Writes what is held and gives its credit back. */
static void flush_outlets(struct relay *relay)
{
	for (size_t i = 0; i < relay->outlet_count; i++) {
		struct outlet *outlet = &relay->outlets[i];
		size_t held = outlet->held_end - outlet->held_start;
		ssize_t written = held ? outlet_flush(relay, outlet) : 0;

		if (outlet->pipe < 0 && written && !relay->ended)
			spawnd_process_taken(relay->process, outlet->slot, written > 0 ? (size_t)written : held);
	}
}

enum { POLL_CLIENT, POLL_SIGNALS, POLL_INPUT, POLL_FIXED };

/* How long a turn may wait. A shell's fg of a job that runs tells the job nothing: whoever waits for the terminal must look. */
static int patience(struct relay *relay, bool background)
{
	int limit = handover_patience(relay);

	return background && (limit < 0 || limit > FOREGROUND_LOOK_MS) ? FOREGROUND_LOOK_MS : limit;
}

/* One turn of the loop: false when the connection is lost. */
static bool turn(struct relay *relay)
{
	struct pollfd polled[POLL_FIXED + 3 * RELAY_SLOTS];
	struct spawnd *client = relay->ctl->client;
	bool wanted = wants_input(relay), background = (wanted || relay->terminal) && is_background(relay);
	size_t count = POLL_FIXED;

	if (relay->terminal && !background)
		tty_resume();
	polled[POLL_CLIENT] = (struct pollfd){.fd = relay->ended ? -1 : spawnd_fd(client), .events = spawnd_events(client)};
	polled[POLL_SIGNALS] = (struct pollfd){.fd = relay->signals, .events = POLLIN};
	polled[POLL_INPUT] = (struct pollfd){.fd = wanted && !background ? relay->source : -1, .events = POLLIN};
	for (size_t i = 0; i < relay->outlet_count; i++)
		if (relay->outlets[i].held_start < relay->outlets[i].held_end)
			polled[count++] = (struct pollfd){.fd = relay->outlets[i].sink.fd, .events = POLLOUT};
	count = handover_poll(relay, polled, count);
	if (poll(polled, count, patience(relay, background)) < 0)
		return errno == EINTR;
	flush_outlets(relay);
	handover_move(relay);
	if (polled[POLL_CLIENT].revents && spawnd_dispatch(client, &relay->error) < 0 && !relay->ended)
		return false;
	if (polled[POLL_SIGNALS].revents)
		take_signals(relay);
	if (polled[POLL_INPUT].revents && relay->source >= 0 && !relay->ended)
		read_input(relay);
	/* what was just queued goes out at once */
	return relay->ended || !(spawnd_events(client) & POLLOUT) || spawnd_dispatch(client, &relay->error) == 0 || relay->ended;
}

/* Nobody reads our output any more, as in `| head`: the child goes with it, by the ladder, unless it was to stay. */
static int end_broken(struct relay *relay)
{
	int why = relay->exited && relay->signal > 0 ? relay->signal : SIGPIPE;
	struct spawnd_error error;

	if (!relay->leave_running && !relay->ended) {
		spawnd_process_cancel(relay->process);
		while (!relay->ended && spawnd_wait_event(relay->ctl->client, -1, &error) >= 0)
			;
	}
	return relay->own_failure ? EXIT_OWN_FAILURE : EXIT_SIGNAL + why;
}

int relay_run(struct relay *relay)
{
	bool connected = true;
	int status;

	while (connected && !relay->broken && !relay->detached && !(relay->ended && !has_held(relay) && handover_done(relay)))
		connected = turn(relay);
	tty_restore();
	if (relay->detached)
		return EXIT_DONE;
	if (relay->broken)
		return end_broken(relay);
	if (!connected || relay->failed) {
		client_error(relay->ctl, NULL, &relay->error);
		return connected ? client_status_of_error(&relay->error) : EXIT_OWN_FAILURE;
	}
	if (relay->reason == SPAWND_CAPTURE_LIMIT)
		ctl_error(relay->ctl, "ended: it wrote more than --max-buffer allows");
	if (relay->reason == SPAWND_OOM)
		ctl_error(relay->ctl, "ended by the kernel: out of memory");
	status = client_status(relay->code, relay->signal, relay->reason);
	return status == EXIT_DONE && relay->unsent ? EXIT_OWN_FAILURE : status;
}

void relay_finish(struct relay *relay)
{
	relay_input_ended(relay);
	for (size_t i = 0; i < relay->outlet_count; i++) {
		sink_close(&relay->outlets[i].sink);
		fd_close(&relay->outlets[i].pipe);
		free(relay->outlets[i].held);
	}
	free(relay->outlets);
	free(relay->input);
	fd_close(&relay->signals);
	spawnd_process_free(relay->process);
	relay->process = NULL;
}
