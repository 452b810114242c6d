/*
 * Bytes from a client for the slots a child reads: what the child's queue does not take yet waits here, what the kernel took
 * is counted, and the client is granted as much again. One struct input per stream; any number may write to one child.
 *
 * A client may be INPUT_WINDOW bytes ahead of what the kernel took, and no further.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "process/child.h"
#include "spawnd/v1/processes.pb-c.h"

#define INPUT_WINDOW (1u << 20)
#define INPUT_GRANT (256u << 10) /* granted in pieces of at least this */

struct call;
struct feeds; /* what all streams together wrote to each slot of each child */
struct input;
struct input_slot;

/* Only on_idle may finish the input. */
struct input_observer {
	/* `bytes` more may be sent by the client. */
	void (*on_grant)(void *context, uint64_t bytes);
	/*
	 * What is sent to this slot is thrown away from now on, because the child reads it no more, or from what came after the
	 * end of file: told once. `written`: bytes that the kernel took so far, of all writers.
	 */
	void (*on_closed)(void *context, uint32_t slot, uint64_t written);
	/* Everything received is with the kernel, or thrown away, and every end of file has been given. May come often. NULL: nobody asks.
	 */
	void (*on_idle)(void *context);
};

struct input {
	struct feeds *feeds;
	struct call *call; /* of the client it comes from */
	struct child *child;
	const struct input_observer *observer;
	void *context;
	struct input_slot *slots; /* list of those written to */
	uint64_t received;        /* bytes the client sent */
	uint64_t done;            /* of them: with the kernel, or thrown away */
	uint64_t granted;         /* bytes the client may send in all */
	uint64_t kernel;          /* with the kernel */
	uint64_t lost;            /* thrown away */
};

struct feeds *feeds_create(void);
void feeds_destroy(struct feeds *feeds);                           /* NULL is fine */
void feeds_forget(struct feeds *feeds, const struct child *child); /* that is being removed */

/* Bytes of a slot that the child's queue took, of all writers: a client that resumes goes on there. */
uint64_t input_taken(const struct input *input, uint32_t slot);

/* Whether the client has sent the end of a slot. */
bool input_has_ended(const struct input *input, uint32_t slot);
/* Whether clients can write to this slot. */
bool input_has_slot(const struct child *child, uint32_t slot);

void input_init(struct input *input, struct feeds *feeds, struct call *call, struct child *child, const struct input_observer *observer,
	void *context);
void input_finish(struct input *input); /* what waits here is dropped, what the child's queue has goes on */

/* 0, or negative with *err: the client broke the rules (window, slot, offset), or its user's memory is used up, and its call fails. */
int input_data(struct input *input, const Spawnd__V1__StdinData *data, struct err *err);
/*
 * The input of a Run, which counts for no window. `again`: the process may have got some of it by an earlier stream, and gets
 * the rest now unless that stream is still at it.
 */
void input_whole(struct input *input, uint32_t slot, const ProtobufCBinaryData *bytes, bool eof, bool again);

/* From the child's observer. input_on_spawned: writes what was too early. */
void input_on_spawned(struct input *input);
void input_on_room(struct input *input, uint32_t slot, uint64_t written);
void input_on_closed(struct input *input, uint32_t slot);

bool input_is_idle(const struct input *input);
