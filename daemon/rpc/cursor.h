/* Reading protobuf's wire format from bytes that a peer sent: nothing is believed, nothing is read beyond the end. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum wire_type { WIRE_VARINT = 0, WIRE_64BIT = 1, WIRE_LENGTH = 2, WIRE_32BIT = 5 };

struct cursor {
	const uint8_t *at, *end;
};

/* Reads a varint; false when there is none whole. */
static inline bool take_varint(struct cursor *cursor, uint64_t *value_out)
{
	uint64_t value = 0;

	for (unsigned shift = 0; shift < 64; shift += 7) {
		uint8_t byte;

		if (cursor->at == cursor->end)
			return false;
		byte = *cursor->at++;
		value |= (uint64_t)(byte & 0x7f) << shift;
		if (!(byte & 0x80)) {
			*value_out = value;
			return true;
		}
	}
	return false;
}

/* Takes `size` bytes away. */
static inline bool take_bytes(struct cursor *cursor, uint64_t size, struct cursor *inner_out)
{
	if (size > (uint64_t)(cursor->end - cursor->at))
		return false;
	*inner_out = (struct cursor){.at = cursor->at, .end = cursor->at + size};
	cursor->at += size;
	return true;
}
