/*
 * What waits to be sent on a channel, in a memfd: bytes leave by sendfile, which moves them and the file offset of the
 * memfd's open description in one call. The keeper has that description too, so whoever goes on after this process was
 * killed knows to the byte what was sent. A page in front says up to where the bytes are whole frames.
 *
 * Bytes are only ever appended; what was sent is given back by punching holes. A region is never written twice: the
 * socket refers to the pages until the other side has read them.
 */
#pragma once

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#define OUTBOX_MAGIC 0x53504f42u /* "SPOB" */

/* Two of these, and which one holds: both numbers change at once. */
struct outbox_mark {
	uint64_t end;     /* bytes before it are whole frames */
	uint64_t id;      /* of the last message among them whose sender comes back for it */
	uint64_t handled; /* of the other direction: the child's own messages before it are acted on, with what is among the frames */
};

/* The same for the channel's other direction. */
struct outbox_in {
	uint64_t done;     /* bytes before it are dealt with */
	uint64_t messages; /* so many messages were among them */
};

struct outbox_control {
	uint32_t magic;
	_Atomic uint32_t which;
	struct outbox_mark marks[2];
	_Atomic uint32_t which_in;
	struct outbox_in ins[2];
	_Atomic uint32_t ended;   /* enum channel_reason, once the channel has */
	_Atomic uint32_t handing; /* descriptors are being sent: nobody can know whether they were */
};

struct outbox {
	int fd; /* owned */
	struct outbox_control *control;
	uint64_t end;     /* appended */
	uint64_t sent;    /* gone */
	uint64_t punched; /* given back */
};

int outbox_create(struct outbox *outbox); /* 0 or -errno */
/* Takes fd, also when it fails. What was appended and is no whole frame is forgotten. 0 or -errno. */
int outbox_recover(struct outbox *outbox, int fd);
void outbox_finish(struct outbox *outbox);

/* 0 or -errno: then nothing was appended. */
int outbox_append(struct outbox *outbox, const struct iovec *iov, int count);
/* Bytes before `end` are whole frames; id 0: as before. */
void outbox_commit(struct outbox *outbox, uint64_t end, uint64_t id, uint64_t handled);
/* The child's own messages before `handled` are acted on. */
void outbox_handled(struct outbox *outbox, uint64_t handled);
struct outbox_mark outbox_committed(const struct outbox *outbox);
void outbox_note_in(struct outbox *outbox, struct outbox_in in);
struct outbox_in outbox_in(const struct outbox *outbox);

/* Sends what lies before `until`. Bytes, or -errno. */
ssize_t outbox_send(struct outbox *outbox, int socket, uint64_t until);
/* For bytes that go by another call. 0 or -errno. */
int outbox_seek(struct outbox *outbox, uint64_t sent);
ssize_t outbox_read(struct outbox *outbox, uint64_t from, void *bytes, size_t size);
/* Gives back what lies before `until`, when it is worth a call. */
void outbox_trim(struct outbox *outbox, uint64_t until);
