/* The header of a ttrpc frame, to and from ten bytes. */
#include "wire/frame.h"

#include <arpa/inet.h>
#include <string.h>

void frame_encode(const struct frame_header *header, uint8_t bytes_out[FRAME_HEADER_SIZE])
{
	uint32_t length = htonl(header->length);
	uint32_t stream_id = htonl(header->stream_id);

	memcpy(bytes_out, &length, sizeof(length));
	memcpy(bytes_out + 4, &stream_id, sizeof(stream_id));
	bytes_out[8] = header->type;
	bytes_out[9] = header->flags;
}

void frame_decode(const uint8_t bytes[FRAME_HEADER_SIZE], struct frame_header *header_out)
{
	uint32_t length, stream_id;

	memcpy(&length, bytes, sizeof(length));
	memcpy(&stream_id, bytes + 4, sizeof(stream_id));
	header_out->length = ntohl(length);
	header_out->stream_id = ntohl(stream_id);
	header_out->type = bytes[8];
	header_out->flags = bytes[9];
}
