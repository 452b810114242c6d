/*
 * Node's own messages in V8's serialization format, version 15. A value is walked, never built: enough to find the members
 * of the object at the top, and to move the numbers by which later parts of a message refer to earlier objects.
 */
#include <string.h>

#include "channel/node_message.h"

#define VERSION 15u
#define DEPTH_MAX 4096u

/* Where a walk stands; what is copied while it goes on, and by how much references are moved. */
struct walk {
	const uint8_t *at, *end;
	struct buf *copy; /* NULL: nothing is copied */
	const uint8_t *copied;
	int move;
	unsigned depth;
};

static bool walk_value(struct walk *walk);

static bool take_byte(struct walk *walk, uint8_t *out)
{
	if (walk->at == walk->end)
		return false;
	*out = *walk->at++;
	return true;
}

static bool take_varint(struct walk *walk, uint64_t *out)
{
	uint8_t byte = 0x80;

	*out = 0;
	for (unsigned shift = 0; byte & 0x80; shift += 7) {
		if (shift > 63 || !take_byte(walk, &byte))
			return false;
		*out |= (uint64_t)(byte & 0x7f) << shift;
	}
	return true;
}

static bool skip_varint(struct walk *walk)
{
	uint64_t ignored;

	return take_varint(walk, &ignored);
}

static bool skip(struct walk *walk, uint64_t size)
{
	if ((uint64_t)(walk->end - walk->at) < size)
		return false;
	walk->at += size;
	return true;
}

/* A varint, and so many bytes. */
static bool skip_sized(struct walk *walk)
{
	uint64_t size;

	return take_varint(walk, &size) && skip(walk, size);
}

static void put_varint(struct buf *out, uint64_t value)
{
	uint8_t byte;

	do {
		byte = (uint8_t)((value & 0x7f) | (value > 0x7f ? 0x80 : 0));
		buf_append(out, &byte, 1);
		value >>= 7;
	} while (value);
}

/* Brings the copy up to `until`. */
static void copy_to(struct walk *walk, const uint8_t *until)
{
	buf_append(walk->copy, walk->copied, (size_t)(until - walk->copied));
	walk->copied = until;
}

static bool walk_reference(struct walk *walk)
{
	const uint8_t *start = walk->at;
	uint64_t id;

	if (!take_varint(walk, &id))
		return false;
	if (!walk->copy)
		return true;
	if (walk->move < 0 && id < (uint64_t)-walk->move)
		return false;
	copy_to(walk, start);
	put_varint(walk->copy, id + (uint64_t)(int64_t)walk->move);
	walk->copied = walk->at;
	return true;
}

/* Values up to the tag `end`, which is taken, and `numbers` varints behind it. */
static bool walk_until(struct walk *walk, uint8_t end, unsigned numbers)
{
	while (walk->at < walk->end && *walk->at != end)
		if (!walk_value(walk))
			return false;
	if (walk->at++ >= walk->end)
		return false;
	while (numbers--)
		if (!skip_varint(walk))
			return false;
	return true;
}

/* A dense array: its items, then properties. */
static bool walk_array(struct walk *walk)
{
	return skip_varint(walk) && walk_until(walk, '$', 2);
}

/* What Node puts behind `\`: bytes of a view, or an object. */
static bool walk_host_object(struct walk *walk)
{
	uint64_t kind;

	if (!take_varint(walk, &kind))
		return false;
	if (kind == 0)
		return skip_varint(walk) && skip_sized(walk);
	return kind == 1 && walk_value(walk);
}

/* Parts of an error, each with a tag, up to a full stop. */
static bool walk_error(struct walk *walk)
{
	uint8_t tag;

	while (take_byte(walk, &tag)) {
		if (tag == '.')
			return true;
		if ((tag == 'm' || tag == 's' || tag == 'c') && !walk_value(walk))
			return false;
	}
	return false;
}

/* A view on the buffer before it. */
static bool walk_view(struct walk *walk)
{
	return skip(walk, 1) && skip_varint(walk) && skip_varint(walk) && skip_varint(walk);
}

static bool walk_buffer(struct walk *walk, bool resizable)
{
	uint64_t size;

	return take_varint(walk, &size) && (!resizable || skip_varint(walk)) && skip(walk, size);
}

static bool walk_tagged(struct walk *walk, uint8_t tag)
{
	uint64_t bits;

	switch (tag) {
	case '_':
	case '0':
	case 'T':
	case 'F':
	case '-':
	case 'y':
	case 'x':
		return true;
	case 'I':
	case 'U':
	case 't':
	case 'u':
		return skip_varint(walk);
	case 'N':
	case 'D':
	case 'n':
		return skip(walk, 8);
	case 'Z':
	case 'z':
		return take_varint(walk, &bits) && skip(walk, bits >> 1);
	case '"':
	case 'c':
	case 'S':
		return skip_sized(walk);
	case 's':
		return walk_value(walk);
	case 'R':
		return walk_value(walk) && skip_varint(walk);
	case 'o':
		return walk_until(walk, '{', 1);
	case 'A':
		return walk_array(walk);
	case 'a':
		return skip_varint(walk) && walk_until(walk, '@', 2);
	case ';':
		return walk_until(walk, ':', 1);
	case '\'':
		return walk_until(walk, ',', 1);
	case 'B':
	case '~':
		return walk_buffer(walk, tag == '~');
	case 'r':
		return walk_error(walk);
	case '\\':
		return walk_host_object(walk);
	case '^':
		return walk_reference(walk);
	case '?':
		return skip_varint(walk) && walk_value(walk);
	default:
		return false;
	}
}

/* One value, padding before it included. */
static bool walk_value(struct walk *walk)
{
	uint8_t tag;
	bool good;

	if (walk->depth == DEPTH_MAX)
		return false;
	walk->depth++;
	do {
		good = take_byte(walk, &tag);
	} while (good && tag == 0);
	good = good && walk_tagged(walk, tag);
	if (good && strchr("B~^tu", tag) && walk->at < walk->end && *walk->at == 'V') {
		walk->at++;
		good = walk_view(walk);
	}
	walk->depth--;
	return good;
}

/* The header of a value. */
static bool take_header(struct walk *walk)
{
	uint8_t mark;
	uint64_t version;

	return take_byte(walk, &mark) && mark == 0xff && take_varint(walk, &version) && version >= 13 && version <= VERSION;
}

/* A string value as text, cut to size - 1 bytes; "" for anything else. Names that matter are ASCII. */
static void text_of(const uint8_t *at, const uint8_t *end, char *out, size_t size)
{
	struct walk walk = {.at = at, .end = end};
	uint64_t length = 0;
	uint8_t tag = 0;
	size_t width, used = 0;

	while (take_byte(&walk, &tag) && tag == 0)
		;
	width = tag == 'c' ? 2 : 1;
	if ((tag == '"' || tag == 'c' || tag == 'S') && take_varint(&walk, &length))
		for (uint64_t i = 0; i + width <= length && walk.at + i + width <= walk.end && used + 1 < size; i += width)
			out[used++] = width == 2 && walk.at[i + 1] ? '?' : (char)walk.at[i];
	out[used] = 0;
}

static void note_member(struct node_message *out, const char *name, const uint8_t *at, const uint8_t *end)
{
	if (strcmp(name, "msg") == 0) {
		out->msg = at;
		out->msg_size = (size_t)(end - at);
	} else if (strcmp(name, "type") == 0) {
		text_of(at, end, out->type, sizeof(out->type));
	} else if (strcmp(name, "key") == 0) {
		text_of(at, end, out->key, sizeof(out->key));
	} else if (strcmp(name, "dgramType") == 0) {
		text_of(at, end, out->dgram_type, sizeof(out->dgram_type));
	}
}

static bool may_be_internal(const void *bytes, size_t size)
{
	return memmem(bytes, size, "NODE_", 5) || memmem(bytes, size, "N\0O\0D\0E\0_\0", 10);
}

bool node_v8_read(const void *bytes, size_t size, struct node_message *out)
{
	struct walk walk = {.at = bytes, .end = (const uint8_t *)bytes + size};
	char name[16], command[64] = "";
	uint8_t tag;

	*out = (struct node_message){0};
	if (!may_be_internal(bytes, size) || !take_header(&walk) || !take_byte(&walk, &tag) || tag != 'o')
		return false;
	while (walk.at < walk.end && *walk.at != '{') {
		const uint8_t *key = walk.at, *value;

		if (!walk_value(&walk))
			break;
		text_of(key, walk.at, name, sizeof(name));
		value = walk.at;
		if (!walk_value(&walk))
			break;
		if (strcmp(name, "cmd") == 0)
			text_of(value, walk.at, command, sizeof(command));
		else
			note_member(out, name, value, walk.at);
	}
	out->command = node_command_of(command);
	return strncmp(command, "NODE_", 5) == 0 && command[5];
}

/* ---- writing ---- */

/* Latin-1, which ASCII is part of. */
static void put_text(struct buf *out, const char *text)
{
	buf_append(out, "\"", 1);
	put_varint(out, strlen(text));
	buf_append(out, text, strlen(text));
}

/* Returns how many properties it wrote: 1, or none without text. */
static unsigned put_member(struct buf *out, const char *name, const char *text)
{
	if (!text || !*text)
		return 0;
	put_text(out, name);
	put_text(out, text);
	return 1;
}

/* Room for the length, and the header. */
static void begin_frame(struct buf *out)
{
	static const uint8_t start[] = {0, 0, 0, 0, 0xff, VERSION, 'o'};

	buf_append(out, start, sizeof(start));
}

static void end_frame(struct buf *out, unsigned properties)
{
	size_t length;

	buf_append(out, "{", 1);
	put_varint(out, properties);
	length = out->length - 4;
	for (unsigned i = 0; i < 4; i++)
		out->bytes[i] = (uint8_t)(length >> (24 - 8 * i));
}

void node_v8_command(struct buf *out, enum node_command command, const char *key)
{
	unsigned properties;

	begin_frame(out);
	properties = put_member(out, "cmd", node_command_name(command));
	properties += put_member(out, "key", key);
	if (command == NODE_SOCKET_COUNT) {
		put_text(out, "count");
		buf_append(out, "I\0", 2);
		properties++;
	}
	end_frame(out, properties);
}

/* Copies one value, which must be all there is, with its references moved. */
static bool copy_value(struct walk *walk)
{
	walk->copied = walk->at;
	if (!walk_value(walk) || walk->at != walk->end)
		return false;
	copy_to(walk, walk->at);
	return true;
}

bool node_v8_wrap(struct buf *out, const void *message, size_t size, const char *type, const char *key, const char *dgram_type)
{
	struct walk walk = {.at = message, .end = (const uint8_t *)message + size, .copy = out, .move = 1};
	unsigned properties;

	if (!take_header(&walk))
		return false;
	begin_frame(out);
	properties = put_member(out, "cmd", node_command_name(NODE_HANDLE));
	properties += put_member(out, "type", type);
	put_text(out, "msg");
	if (!copy_value(&walk))
		return false;
	properties++;
	properties += put_member(out, "key", key);
	properties += put_member(out, "dgramType", dgram_type);
	end_frame(out, properties);
	return true;
}

bool node_v8_unwrap(struct buf *out, const struct node_message *message)
{
	static const uint8_t header[] = {0xff, VERSION}, undefined[] = {'_'};
	struct walk walk = {.at = message->msg, .end = message->msg + message->msg_size, .copy = out, .move = -1};

	buf_append(out, header, sizeof(header));
	if (message->msg)
		return copy_value(&walk);
	buf_append(out, undefined, sizeof(undefined));
	return true;
}
