/*
 * The few bytes before the payload of an output message, packed by hand: the payload is the last field, so that what follows
 * them on the wire may come from anywhere. Byte for byte what protobuf-c makes of the same message.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PREFIX_MAX 48

/*
 * ProcessEvent{output: {slot, offset, time_ns, data}} and, having the same field numbers, RunReply{output: ...}, up to the
 * first byte of data, of which there are `payload` (not 0). Returns the number of bytes written to out.
 */
size_t prefix_output(uint8_t out[PREFIX_MAX], uint32_t slot, uint64_t offset, int64_t time_ns, size_t payload);

/* Of ChannelMessage{id, offset, more, size, ..., data}. */
struct prefix_message {
	uint64_t id, offset, size;
	bool more;
	size_t extra; /* bytes of other fields, between size and data */
	size_t payload;
};

/*
 * ProcessEvent{message: {...}} in two pieces: what goes before the other fields, whose size is returned, and what goes
 * between them and the first byte of data (nothing when there is none).
 */
size_t prefix_message(uint8_t out[PREFIX_MAX], uint8_t tail[PREFIX_MAX], size_t *tail_size_out, const struct prefix_message *message);
