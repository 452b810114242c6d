/*
 * One of our own descriptors as the place where a child's output goes: written without ever blocking and without touching
 * the flags that we share with whoever else has it open.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct sink {
	int fd;  /* to write to and to poll */
	int own; /* a description of our own for it, or -1 */
	enum { SINK_PLAIN, SINK_NONBLOCK, SINK_SOCKET, SINK_SMALL } kind;
};

/* Borrows fd. */
void sink_open(struct sink *sink, int fd);
void sink_close(struct sink *sink);
/* Writes what goes without waiting: bytes written, 0 when it must be polled for writing, or -errno. */
ssize_t sink_write(struct sink *sink, const void *bytes, size_t size);

/*
 * The same for reading: a descriptor that can be read without blocking, of our own where that is possible (*own_out, else
 * -1), and fd itself where it is not.
 */
int source_open(int fd, int *own_out);
