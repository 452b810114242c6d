/* See prefix.h. Fields that are zero are left out, as proto3 has it. */
#include "service/prefix.h"

#include <string.h>

enum { WIRE_VARINT = 0, WIRE_BYTES = 2 };

#define TAG(field, wire) ((uint8_t)((field) << 3 | (wire)))

static uint8_t *put_varint(uint8_t *at, uint64_t value)
{
	for (; value > 0x7f; value >>= 7)
		*at++ = (uint8_t)(value | 0x80);
	*at++ = (uint8_t)value;
	return at;
}

static uint8_t *put_field(uint8_t *at, unsigned field, uint64_t value)
{
	if (value == 0)
		return at;
	*at++ = TAG(field, WIRE_VARINT);
	return put_varint(at, value);
}

size_t prefix_output(uint8_t out[PREFIX_MAX], uint32_t slot, uint64_t offset, int64_t time_ns, size_t payload)
{
	uint8_t inner[PREFIX_MAX], *at = inner, *end;

	at = put_field(at, 1, slot);
	at = put_field(at, 2, offset);
	at = put_field(at, 3, (uint64_t)time_ns);
	*at++ = TAG(15, WIRE_BYTES);
	at = put_varint(at, payload);
	out[0] = TAG(2, WIRE_BYTES);
	end = put_varint(out + 1, (uint64_t)(at - inner) + payload);
	memcpy(end, inner, (size_t)(at - inner));
	return (size_t)(end - out) + (size_t)(at - inner);
}

size_t prefix_message(uint8_t out[PREFIX_MAX], uint8_t tail[PREFIX_MAX], size_t *tail_size_out, const struct prefix_message *message)
{
	uint8_t inner[PREFIX_MAX], *at = inner, *end = tail;

	at = put_field(at, 1, message->id);
	at = put_field(at, 2, message->offset);
	at = put_field(at, 3, message->more);
	at = put_field(at, 4, message->size);
	if (message->payload) {
		*end++ = TAG(15, WIRE_BYTES);
		end = put_varint(end, message->payload);
	}
	*tail_size_out = (size_t)(end - tail);
	out[0] = TAG(8, WIRE_BYTES);
	end = put_varint(out + 1, (uint64_t)(at - inner) + message->extra + *tail_size_out + message->payload);
	memcpy(end, inner, (size_t)(at - inner));
	return (size_t)(end - out) + (size_t)(at - inner);
}
