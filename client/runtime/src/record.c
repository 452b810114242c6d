/*
 * The record's head. It is written by the generated code and read field by field, because its message is longer than what is
 * here of it: the data is not waited for.
 */
#include "record.h"

#include <endian.h>
#include <errno.h>
#include <pb_decode.h>
#include <pb_encode.h>
#include <string.h>

#include "spawnd/runtime/v1/channel.pb.h"

enum {
	TAG_DESCRIPTORS = spawnd_runtime_v1_ChannelRecord_descriptors_tag,
	TAG_CONTENT_TYPE = spawnd_runtime_v1_ChannelRecord_content_type_tag,
	TAG_DATA = spawnd_runtime_v1_ChannelRecord_data_tag
};

struct source {
	const unsigned char *bytes;
	size_t size, used;
	bool dry; /* more was asked for than there is */
};

int spawnd_rt_record_encode(unsigned char *out, size_t out_size, const char *content_type, unsigned descriptors, uint64_t data_size)
{
	pb_ostream_t stream = pb_ostream_from_buffer(out + RECORD_LENGTH, out_size - RECORD_LENGTH);
	spawnd_runtime_v1_ChannelRecord record = spawnd_runtime_v1_ChannelRecord_init_zero;
	uint32_t length;

	record.descriptors = descriptors;
	strncpy(record.content_type, content_type, sizeof(record.content_type) - 1);
	if (data_size > UINT32_MAX || !pb_encode(&stream, spawnd_runtime_v1_ChannelRecord_fields, &record) ||
		!pb_encode_tag(&stream, PB_WT_STRING, TAG_DATA) || !pb_encode_varint(&stream, data_size) ||
		data_size + stream.bytes_written > UINT32_MAX)
		return -EMSGSIZE;
	length = htobe32((uint32_t)(data_size + stream.bytes_written));
	memcpy(out, &length, sizeof(length));
	return (int)(RECORD_LENGTH + stream.bytes_written);
}

static bool take(pb_istream_t *stream, pb_byte_t *bytes, size_t count)
{
	struct source *source = stream->state;

	if (source->size - source->used < count) {
		source->dry = true;
		return false;
	}
	memcpy(bytes, source->bytes + source->used, count);
	source->used += count;
	return true;
}

static bool read_content_type(pb_istream_t *stream, struct record_head *head)
{
	uint32_t size;

	if (!pb_decode_varint32(stream, &size))
		return false;
	if (size > SPAWND_CHANNEL_CONTENT_TYPE)
		PB_RETURN_ERROR(stream, "a record's content type is longer than 127 bytes");
	if (!pb_read(stream, (pb_byte_t *)head->content_type, size))
		return false;
	head->content_type[size] = '\0';
	if (strlen(head->content_type) != size)
		PB_RETURN_ERROR(stream, "a record's content type has a zero byte");
	return true;
}

static bool read_descriptors(pb_istream_t *stream, struct record_head *head)
{
	uint32_t count;

	if (!pb_decode_varint32(stream, &count))
		return false;
	if (count > SPAWND_CHANNEL_FDS)
		PB_RETURN_ERROR(stream, "a record announces more than 16 descriptors");
	head->descriptors = count;
	return true;
}

static bool read_data_size(pb_istream_t *stream, struct record_head *head)
{
	if (!pb_decode_varint32(stream, &head->data_size))
		return false;
	if (head->data_size != stream->bytes_left)
		PB_RETURN_ERROR(stream, "a record's data does not end with it");
	return true;
}

/* Reads fields up to the data, or to the end of a record without any. */
static bool read_fields(pb_istream_t *stream, struct record_head *head)
{
	pb_wire_type_t type;
	uint32_t tag;
	bool eof;

	while (stream->bytes_left) {
		if (!pb_decode_tag(stream, &type, &tag, &eof))
			return false;
		if (tag == TAG_DATA && type == PB_WT_STRING)
			return read_data_size(stream, head);
		if (tag == TAG_DESCRIPTORS && type == PB_WT_VARINT) {
			if (!read_descriptors(stream, head))
				return false;
		} else if (tag == TAG_CONTENT_TYPE && type == PB_WT_STRING) {
			if (!read_content_type(stream, head))
				return false;
		} else if (tag == 0 || tag == TAG_DATA || tag == TAG_DESCRIPTORS || tag == TAG_CONTENT_TYPE) {
			PB_RETURN_ERROR(stream, "a record is no ChannelRecord");
		} else if (!pb_skip_field(stream, type)) {
			return false;
		}
	}
	return true;
}

int spawnd_rt_record_decode(const unsigned char *bytes, size_t size, struct record_head *head_out, const char **why_out)
{
	struct source source = {.bytes = bytes, .size = size < RECORD_HEAD_MAX ? size : RECORD_HEAD_MAX, .used = RECORD_LENGTH};
	pb_istream_t stream = {.callback = take, .state = &source};
	uint32_t length;

	if (size < RECORD_LENGTH)
		return 0;
	memcpy(&length, bytes, sizeof(length));
	stream.bytes_left = be32toh(length);
	memset(head_out, 0, sizeof(*head_out));
	*why_out = "a record is empty";
	if (stream.bytes_left == 0)
		return -EPROTO;
	if (read_fields(&stream, head_out))
		return (int)source.used;
	if (source.dry && size < RECORD_HEAD_MAX)
		return 0;
	*why_out = source.dry ? "more than 256 bytes stand before a record's data" : PB_GET_ERROR(&stream);
	return -EPROTO;
}
