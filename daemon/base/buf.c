/* A growing queue of bytes. Consuming moves a pointer; the bytes move only when room is needed at the end. */
#include "base/buf.h"

#include "base/mem.h"

void buf_finish(struct buf *buf)
{
	free(buf->block);
	*buf = (struct buf){0};
}

uint8_t *buf_reserve(struct buf *buf, size_t size)
{
	size_t used = buf->block ? (size_t)(buf->bytes - buf->block) : 0;

	if (buf->capacity - used - buf->length >= size)
		return buf->bytes + buf->length;
	if (buf->capacity - buf->length >= size && used >= buf->length) {
		memmove(buf->block, buf->bytes, buf->length);
	} else {
		size_t capacity = buf->capacity ? buf->capacity : 512;
		uint8_t *block;

		while (capacity < buf->length + size)
			capacity *= 2;
		block = mem_realloc(NULL, capacity);
		if (buf->length)
			memcpy(block, buf->bytes, buf->length);
		free(buf->block);
		buf->block = block;
		buf->capacity = capacity;
	}
	buf->bytes = buf->block;
	return buf->bytes + buf->length;
}

void buf_commit(struct buf *buf, size_t size)
{
	buf->length += size;
}

void buf_append(struct buf *buf, const void *bytes, size_t size)
{
	if (!size)
		return;
	memcpy(buf_reserve(buf, size), bytes, size);
	buf->length += size;
}

void buf_consume(struct buf *buf, size_t size)
{
	buf->length -= size;
	buf->bytes = buf->length ? buf->bytes + size : buf->block;
}

void buf_trim(struct buf *buf, size_t keep)
{
	if (!buf->length && buf->capacity > keep)
		buf_finish(buf);
}
