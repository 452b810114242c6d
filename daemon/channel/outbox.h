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
	uint64_t end; /* bytes before it are whole frames */
	uint64_t id;  /* of the last message among them that has a number of its sender's */
};

struct outbox_control {
	uint32_t magic;
	_Atomic uint32_t which;
	struct outbox_mark marks[2];
	_Atomic uint64_t in_done; /* of the channel's other direction: bytes that are dealt with, and messages among them */
	_Atomic uint64_t in_messages;
	_Atomic uint32_t ended; /* enum channel_reason, once the channel has */
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
/* All that was appended is whole frames; id 0: as before. */
void outbox_commit(struct outbox *outbox, uint64_t id);
uint64_t outbox_committed_id(const struct outbox *outbox);

/* Sends what lies before `until`. Bytes, or -errno. */
ssize_t outbox_send(struct outbox *outbox, int socket, uint64_t until);
/* For bytes that go by another call. 0 or -errno. */
int outbox_seek(struct outbox *outbox, uint64_t sent);
ssize_t outbox_read(struct outbox *outbox, uint64_t from, void *bytes, size_t size);
/* Gives back what lies before `until`, when it is worth a call. */
void outbox_trim(struct outbox *outbox, uint64_t until);
