/*
 * The messages of a process in the foreground: lines of our input are messages to it, messages from it are lines of our
 * stdout. Its own stdout goes to our stderr, so that they are told apart.
 */
#pragma once

#include "base/buf.h"
#include "relay.h"

#define LETTERS_SLOT 3u

struct letters {
	struct buf line; /* of our input, not whole yet */
	bool own_stdout; /* its stdout goes to ours */
	bool keep_open;  /* at the end of our input */
	bool ended;      /* the channel has */
};

/* Before the process is started. `letters` is the caller's, until letters_finish. */
void letters_attach(struct relay *relay, struct letters *letters);
void letters_finish(struct letters *letters);

/* Which descriptor of ours a slot of the child goes to. */
int letters_descriptor(const struct relay *relay, unsigned slot);
/* Bytes of our input; none: its end. */
void letters_take(struct relay *relay, const char *bytes, size_t size);
/* Whether so much waits to be sent that reading on can wait too. */
bool letters_are_full(const struct relay *relay);

void letters_on_message(void *context, struct spawnd_process *process, const struct spawnd_message *message);
void letters_on_sent(void *context, struct spawnd_process *process, uint64_t id, const struct spawnd_error *error);
void letters_on_disconnected(void *context, struct spawnd_process *process, const struct spawnd_error *error);
