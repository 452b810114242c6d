/* A growing queue of bytes: append at the end, consume from the front. Embed it; {0} is an empty one. */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct buf {
	uint8_t *bytes; /* of the first unread byte */
	size_t length;  /* unread bytes */
	uint8_t *block; /* what was allocated */
	size_t capacity;
};

void buf_finish(struct buf *buf);

/* Room for `size` more bytes at the end: returns where to write them; buf_commit then counts what was written. */
uint8_t *buf_reserve(struct buf *buf, size_t size);
void buf_commit(struct buf *buf, size_t size);
void buf_append(struct buf *buf, const void *bytes, size_t size);
void buf_consume(struct buf *buf, size_t size);

/* Gives the memory back when it is empty and holds more than `keep` bytes. */
void buf_trim(struct buf *buf, size_t keep);
