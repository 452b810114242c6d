/* The three formats of a channel: where a frame ends, and what is put around a message. */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "channel/channel_parts.h"

#define LENGTH 4u /* bytes of the length before a frame */
#define V8_MARK 0xffu
#define V8_OLDEST 13u
#define V8_NEWEST 15u
#define RECORD_HEAD 160u /* of a native record, at most: what stands before its data */

static int no_message(struct err *err, const char *why)
{
	err_set(err, STATUS_DATA_LOSS, "%s", why);
	return -EPROTO;
}

/* ---- json ---- */

static int json_measure(struct channel *channel, struct coming *coming, struct err *err)
{
	uint64_t end = inbox_end(&channel->inbox);
	struct iovec iov[2];
	size_t count = ring_span(channel->inbox.ring, coming->seen, (size_t)(end - coming->seen), iov);

	coming->payload = coming->start;
	coming->measured = true;
	for (size_t i = 0; i < count && !coming->whole; i++) {
		const uint8_t *newline = iov[i].iov_len ? memchr(iov[i].iov_base, '\n', iov[i].iov_len) : NULL;
		size_t length = newline ? (size_t)(newline - (const uint8_t *)iov[i].iov_base) : iov[i].iov_len;

		coming->seen += length;
		if (!json_check_feed(&coming->check, iov[i].iov_base, length))
			return no_message(err, "a line that is not JSON");
		coming->whole = newline != NULL;
	}
	coming->end = coming->seen;
	if (coming->end - coming->start > CHANNEL_TEXT_MAX)
		return no_message(err, "a line of more than 512 MiB");
	if (!coming->whole)
		return 0;
	if (!json_check_is_whole(&coming->check))
		return no_message(err, coming->end == coming->start ? "an empty line" : "a line that breaks off");
	coming->next = coming->end + 1;
	return 0;
}

static void json_wrap(const struct draft *draft, struct buf *head, struct buf *tail)
{
	const struct channel_handle *handle = draft->handles;

	if (draft->handle_count)
		node_json_wrap(head, tail, handle_node_type(handle), handle->key, handle_dgram_type(handle));
	else
		buf_append(tail, "\n", 1);
}

/* Line ends between the parts of a text would end the message: they become spaces. */
static int json_rewrite(const struct draft *draft, const uint8_t *bytes, size_t size, struct buf *out)
{
	uint8_t *copy, *newline;

	if (!memchr(bytes, '\n', size))
		return 0;
	copy = buf_reserve(out, size);
	memcpy(copy, bytes, size);
	buf_commit(out, size);
	for (newline = memchr(copy, '\n', size); newline; newline = memchr(newline, '\n', (size_t)(copy + size - newline)))
		*newline = ' ';
	return 0;
}

static int json_check(struct draft *draft, const uint8_t *bytes, size_t size, bool last, struct err *err)
{
	if (draft->size > CHANNEL_TEXT_MAX) {
		err_set(err, STATUS_OUT_OF_RANGE, "Node cannot take a string of %llu bytes, at most %u", (unsigned long long)draft->size,
			CHANNEL_TEXT_MAX);
		snprintf(err->code, sizeof(err->code), "ERR_STRING_TOO_LONG");
		return -EINVAL;
	}
	if (json_check_feed(&draft->check, bytes, size) && (!last || json_check_is_whole(&draft->check)))
		return 0;
	return err_invalid(err, "message.data", "is not JSON");
}

const struct format format_json = {
	.measure = json_measure,
	.read_internal = node_json_read,
	.put_command = node_json_command,
	.wrap = json_wrap,
	.rewrite = json_rewrite,
	.check = json_check,
};

/* ---- advanced ---- */

/* A frame that tells its length. True: the length is there. */
static bool take_length(struct channel *channel, struct coming *coming)
{
	uint64_t there = inbox_end(&channel->inbox) - coming->start;
	uint8_t scratch[LENGTH];
	uint32_t length;

	if (there < LENGTH)
		return false;
	memcpy(&length, inbox_view(&channel->inbox, coming->start, LENGTH, scratch), LENGTH);
	coming->payload = coming->start + LENGTH;
	coming->end = coming->next = coming->payload + ntohl(length);
	return true;
}

static void note_seen(struct channel *channel, struct coming *coming)
{
	uint64_t end = inbox_end(&channel->inbox);

	coming->whole = end >= coming->next;
	coming->seen = coming->whole ? coming->end : end;
}

static int advanced_measure(struct channel *channel, struct coming *coming, struct err *err)
{
	uint8_t scratch[2];
	const uint8_t *head;

	if (!coming->measured) {
		if (!take_length(channel, coming))
			return 0;
		if (coming->end - coming->payload < 3)
			return no_message(err, "a frame that is too short");
		if (inbox_end(&channel->inbox) < coming->payload + 2)
			return 0;
		head = inbox_view(&channel->inbox, coming->payload, 2, scratch);
		if (head[0] != V8_MARK || head[1] < V8_OLDEST || head[1] > V8_NEWEST)
			return no_message(err, "a frame that does not begin as V8's format");
		coming->measured = true;
	}
	note_seen(channel, coming);
	return 0;
}

static void put_length(struct buf *out, uint64_t length)
{
	uint32_t big_endian = htonl((uint32_t)length);

	buf_append(out, &big_endian, sizeof(big_endian));
}

static void advanced_wrap(const struct draft *draft, struct buf *head, struct buf *tail)
{
	if (!draft->handle_count)
		put_length(head, draft->size);
}

static int advanced_rewrite(const struct draft *draft, const uint8_t *bytes, size_t size, struct buf *out)
{
	const struct channel_handle *handle = draft->handles;

	if (!draft->handle_count)
		return 0;
	return node_v8_wrap(out, bytes, size, handle_node_type(handle), handle->key, handle_dgram_type(handle)) ? 0 : -EINVAL;
}

static int advanced_check(struct draft *draft, const uint8_t *bytes, size_t size, bool last, struct err *err)
{
	if (draft->size > UINT32_MAX)
		return err_invalid(err, "message.size", "is above 4 GiB");
	if (draft->received || (size >= 3 && bytes[0] == V8_MARK && bytes[1] >= V8_OLDEST && bytes[1] <= V8_NEWEST))
		return 0;
	return err_invalid(err, "message.data", "does not begin as V8's format, version %u to %u", V8_OLDEST, V8_NEWEST);
}

const struct format format_advanced = {
	.measure = advanced_measure,
	.read_internal = node_v8_read,
	.put_command = node_v8_command,
	.wrap = advanced_wrap,
	.rewrite = advanced_rewrite,
	.check = advanced_check,
};

/* ---- native: spawnd.runtime.v1.ChannelRecord ---- */

enum { FIELD_DESCRIPTORS = 1, FIELD_CONTENT_TYPE = 2, FIELD_DATA = 15, WIRE_VARINT = 0, WIRE_BYTES = 2 };

struct head {
	const uint8_t *at, *end;
};

static bool take_varint(struct head *head, uint64_t *out)
{
	uint8_t byte = 0x80;

	*out = 0;
	for (unsigned shift = 0; byte & 0x80; shift += 7) {
		if (shift > 63 || head->at == head->end)
			return false;
		byte = *head->at++;
		*out |= (uint64_t)(byte & 0x7f) << shift;
	}
	return true;
}

/* One field before the data. False: it breaks off, or is none of ours. */
static bool take_field(struct head *head, uint64_t tag, struct coming *coming)
{
	uint64_t value;

	if (!take_varint(head, &value))
		return false;
	if (tag == (FIELD_DESCRIPTORS << 3 | WIRE_VARINT)) {
		coming->descriptors = value > CHANNEL_FDS ? CHANNEL_FDS + 1 : (uint32_t)value;
		return true;
	}
	if (tag != (FIELD_CONTENT_TYPE << 3 | WIRE_BYTES) || value > CHANNEL_CONTENT_TYPE || value > (uint64_t)(head->end - head->at) ||
		memchr(head->at, 0, (size_t)value))
		return false;
	memcpy(coming->content_type, head->at, (size_t)value);
	coming->content_type[value] = 0;
	head->at += value;
	return true;
}

/* Reads what stands before the data, all of which is there. */
static bool take_head(struct head *head, uint64_t length, struct coming *coming)
{
	const uint8_t *start = head->at;
	uint64_t tag, size;

	while (head->at < head->end) {
		if (!take_varint(head, &tag))
			return false;
		if (tag == (FIELD_DATA << 3 | WIRE_BYTES))
			return take_varint(head, &size) && (uint64_t)(head->at - start) + size == length;
		if (!take_field(head, tag, coming))
			return false;
	}
	return (uint64_t)(head->at - start) == length;
}

static int native_measure(struct channel *channel, struct coming *coming, struct err *err)
{
	uint8_t scratch[RECORD_HEAD];
	const uint8_t *begin;
	struct head head;
	uint64_t there, length, wanted;

	if (!coming->measured) {
		if (!take_length(channel, coming))
			return 0;
		length = coming->end - coming->payload;
		there = inbox_end(&channel->inbox) - coming->payload;
		wanted = length < RECORD_HEAD ? length : RECORD_HEAD;
		if (length == 0)
			return no_message(err, "an empty record");
		if (there < wanted)
			return 0;
		begin = inbox_view(&channel->inbox, coming->payload, (size_t)wanted, scratch);
		head = (struct head){.at = begin, .end = begin + wanted};
		if (!take_head(&head, length, coming))
			return no_message(err, "a record that is no ChannelRecord");
		coming->payload += (uint64_t)(head.at - begin);
		if (coming->descriptors > CHANNEL_FDS)
			return no_message(err, "a record with more than 16 descriptors");
		coming->measured = true;
	}
	note_seen(channel, coming);
	return 0;
}

static void put_varint(struct buf *out, uint64_t value)
{
	uint8_t bytes[10];
	size_t count = 0;

	for (; value > 0x7f; value >>= 7)
		bytes[count++] = (uint8_t)(value | 0x80);
	bytes[count++] = (uint8_t)value;
	buf_append(out, bytes, count);
}

static void native_wrap(const struct draft *draft, struct buf *head, struct buf *tail)
{
	size_t type = strlen(draft->content_type);
	struct buf fields = {0};

	if (draft->handle_count) {
		put_varint(&fields, FIELD_DESCRIPTORS << 3 | WIRE_VARINT);
		put_varint(&fields, draft->handle_count);
	}
	if (type) {
		put_varint(&fields, FIELD_CONTENT_TYPE << 3 | WIRE_BYTES);
		put_varint(&fields, type);
		buf_append(&fields, draft->content_type, type);
	}
	put_varint(&fields, FIELD_DATA << 3 | WIRE_BYTES);
	put_varint(&fields, draft->size);
	put_length(head, fields.length + draft->size);
	buf_append(head, fields.bytes, fields.length);
	buf_finish(&fields);
}

static int native_check(struct draft *draft, const uint8_t *bytes, size_t size, bool last, struct err *err)
{
	return draft->size > UINT32_MAX - RECORD_HEAD ? err_invalid(err, "message.size", "is above 4 GiB") : 0;
}

const struct format format_native = {.measure = native_measure, .wrap = native_wrap, .check = native_check};
