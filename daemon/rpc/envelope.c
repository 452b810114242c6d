/* See envelope.h. */
#include "rpc/envelope.h"

#include "rpc/cursor.h"

enum { FIELD_SERVICE = 1, FIELD_METHOD = 2, FIELD_PAYLOAD = 3, FIELD_TIMEOUT_NANO = 4 };

/* Reads one value of any kind: a number, or the bytes of a span. */
static bool take_value(struct cursor *cursor, unsigned wire, uint64_t *number_out, struct span *span_out)
{
	struct cursor inner;
	uint64_t size = wire == WIRE_64BIT ? 8 : 4;

	*span_out = (struct span){.bytes = cursor->at};
	*number_out = 0;
	if (wire == WIRE_VARINT)
		return take_varint(cursor, number_out);
	if (wire != WIRE_64BIT && wire != WIRE_32BIT && (wire != WIRE_LENGTH || !take_varint(cursor, &size)))
		return false;
	if (!take_bytes(cursor, size, &inner))
		return false;
	*span_out = (struct span){.bytes = inner.at, .size = size};
	return true;
}

int envelope_read(const uint8_t *bytes, size_t size, struct envelope *envelope_out, struct err *err)
{
	struct cursor cursor = {.at = bytes, .end = bytes + size};

	*envelope_out = (struct envelope){.service = {.bytes = bytes}, .method = {.bytes = bytes}, .payload = {.bytes = bytes}};
	while (cursor.at < cursor.end) {
		uint64_t tag, number;
		struct span span;

		if (!take_varint(&cursor, &tag) || !take_value(&cursor, tag & 7, &number, &span))
			return err_invalid(err, "ttrpc.Request", "is not a valid message");
		switch (tag) {
		case FIELD_SERVICE << 3 | WIRE_LENGTH:
			envelope_out->service = span;
			break;
		case FIELD_METHOD << 3 | WIRE_LENGTH:
			envelope_out->method = span;
			break;
		case FIELD_PAYLOAD << 3 | WIRE_LENGTH:
			envelope_out->payload = span;
			break;
		case FIELD_TIMEOUT_NANO << 3 | WIRE_VARINT:
			envelope_out->timeout_nano = (int64_t)number;
			break;
		}
	}
	return 0;
}
