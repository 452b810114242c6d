/* The frame of ttrpc: 10 bytes of header, then `length` bytes. A pure codec. */
#pragma once

#include <stdint.h>

#define FRAME_HEADER_SIZE 10
#define FRAME_LENGTH_MAX (4u << 20)
#define FRAME_SKIP_MAX (16u << 20) /* a longer frame below this is skipped and answered; beyond, it is not ttrpc */

enum frame_type { FRAME_REQUEST = 1, FRAME_RESPONSE = 2, FRAME_DATA = 3 };

enum {
	FRAME_REMOTE_CLOSED = 1, /* the sender sends no more on this stream */
	FRAME_REMOTE_OPEN = 2,   /* Request: the sender will send Data */
	FRAME_NO_DATA = 4,       /* Data: without a message (else zero bytes are an empty message) */
};

struct frame_header {
	uint32_t length;
	uint32_t stream_id;
	uint8_t type; /* enum frame_type, or anything a peer sent */
	uint8_t flags;
};

void frame_encode(const struct frame_header *header, uint8_t bytes_out[FRAME_HEADER_SIZE]);
void frame_decode(const uint8_t bytes[FRAME_HEADER_SIZE], struct frame_header *header_out);
