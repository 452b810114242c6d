/*
 * The check walks the raw bytes once, one function per level of a message, and knows the way it came by; the dotted name is
 * only made for an error. It also adds up what the message will need once it is unpacked: two bytes can become a struct.
 */
#include "rpc/check.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/utf8.h"
#include "rpc/cursor.h"

#define DEPTH_MAX 16
#define FIELDS_MAX 64           /* of one message, whose elements are counted for names */
#define DECODED_MAX (32u << 20) /* bytes of an unpacked message */
#define DECODED_PER_FIELD 80u   /* about what protobuf-c uses for one field while it unpacks */

struct step {
	const ProtobufCFieldDescriptor *field;
	unsigned index; /* of a repeated field */
};

struct path {
	struct step steps[DEPTH_MAX + 1];
	unsigned depth;
	size_t decoded;
};

/*
 * The dotted name of where the check is, without the wrapper of a first message; a name that does not fit is cut. At the
 * top there is none: the message's own. Valid until the next call.
 */
static const char *shown(const struct path *path, const char *top)
{
	static char text[112];
	size_t length = 0;
	unsigned first = path->depth > 1 && strcmp(path->steps[0].field->name, "start") == 0;

	if (!path->depth)
		return top;
	for (unsigned i = first; i < path->depth && length < sizeof(text); i++) {
		const struct step *step = &path->steps[i];
		const char *dot = i > first ? "." : "";
		int done;

		if (step->field->label == PROTOBUF_C_LABEL_REPEATED)
			done = snprintf(text + length, sizeof(text) - length, "%s%s[%u]", dot, step->field->name, step->index);
		else
			done = snprintf(text + length, sizeof(text) - length, "%s%s", dot, step->field->name);
		length += (size_t)done;
	}
	return text;
}

static enum wire_type wire_type_of(ProtobufCType type)
{
	switch (type) {
	case PROTOBUF_C_TYPE_FIXED32:
	case PROTOBUF_C_TYPE_SFIXED32:
	case PROTOBUF_C_TYPE_FLOAT:
		return WIRE_32BIT;
	case PROTOBUF_C_TYPE_FIXED64:
	case PROTOBUF_C_TYPE_SFIXED64:
	case PROTOBUF_C_TYPE_DOUBLE:
		return WIRE_64BIT;
	case PROTOBUF_C_TYPE_STRING:
	case PROTOBUF_C_TYPE_BYTES:
	case PROTOBUF_C_TYPE_MESSAGE:
		return WIRE_LENGTH;
	default:
		return WIRE_VARINT;
	}
}

static int check_string(struct cursor text, const struct path *path, struct err *err)
{
	while (text.at < text.end) {
		size_t length = utf8_length(text.at, text.end);

		if (*text.at == 0)
			return err_invalid(err, shown(path, NULL), "contains a NUL byte");
		if (!length)
			return err_invalid(err, shown(path, NULL), "is not valid UTF-8");
		text.at += length;
	}
	return 0;
}

static int check_level(const ProtobufCMessageDescriptor *type, struct cursor cursor, struct path *path, struct err *err);

/* One scalar, or each of a packed run. */
static int check_varint(const ProtobufCFieldDescriptor *field, struct cursor *cursor, const struct path *path, struct err *err)
{
	uint64_t value;

	if (!take_varint(cursor, &value))
		return err_invalid(err, shown(path, NULL), "is cut off");
	if (field->type == PROTOBUF_C_TYPE_ENUM && !protobuf_c_enum_descriptor_get_value(field->descriptor, (int)(int32_t)value))
		return err_invalid(err, shown(path, NULL), "%d is not a value of %s", (int)(int32_t)value,
			((const ProtobufCEnumDescriptor *)field->descriptor)->name);
	return 0;
}

/* A packed run of scalars: its varints must be whole, fixed ones a whole number. */
static int check_packed(const ProtobufCFieldDescriptor *field, struct cursor run, const struct path *path, struct err *err)
{
	size_t width = wire_type_of(field->type) == WIRE_64BIT ? 8 : 4;
	int done = 0;

	if (wire_type_of(field->type) != WIRE_VARINT)
		return (size_t)(run.end - run.at) % width ? err_invalid(err, shown(path, NULL), "is cut off") : 0;
	while (!done && run.at < run.end)
		done = check_varint(field, &run, path, err);
	return done;
}

/* The value of one known field. */
static int check_value(
	const ProtobufCFieldDescriptor *field, enum wire_type wire, struct cursor *cursor, struct path *path, struct err *err)
{
	enum wire_type wanted = wire_type_of(field->type);
	struct cursor inner;
	uint64_t size;

	if (wire != wanted && !(wire == WIRE_LENGTH && field->label == PROTOBUF_C_LABEL_REPEATED))
		return err_invalid(err, shown(path, NULL), "has wire type %d where %d was expected", (int)wire, (int)wanted);
	if (wire == WIRE_VARINT)
		return check_varint(field, cursor, path, err);
	if (wire == WIRE_64BIT || wire == WIRE_32BIT)
		size = wire == WIRE_64BIT ? 8 : 4;
	else if (!take_varint(cursor, &size))
		return err_invalid(err, shown(path, NULL), "is cut off");
	if (!take_bytes(cursor, size, &inner))
		return err_invalid(err, shown(path, NULL), "is cut off");
	if (wire != WIRE_LENGTH || field->type == PROTOBUF_C_TYPE_BYTES)
		return 0;
	if (field->type == PROTOBUF_C_TYPE_STRING)
		return check_string(inner, path, err);
	if (field->type == PROTOBUF_C_TYPE_MESSAGE)
		return check_level(field->descriptor, inner, path, err);
	return check_packed(field, inner, path, err);
}

/* One field of a message, its tag included; `counts` numbers the elements of repeated ones. */
static int check_field(
	const ProtobufCMessageDescriptor *type, unsigned counts[FIELDS_MAX], struct cursor *cursor, struct path *path, struct err *err)
{
	const ProtobufCFieldDescriptor *field;
	uint64_t tag;
	size_t number;
	int done;

	if (!take_varint(cursor, &tag) || tag > UINT32_MAX)
		return err_invalid(err, shown(path, type->name), "is not a valid message");
	field = protobuf_c_message_descriptor_get_field(type, (unsigned)(tag >> 3));
	if (!field)
		return err_invalid(err, shown(path, type->name), "unknown field %u in %s", (unsigned)(tag >> 3), type->name);
	number = (size_t)(field - type->fields);
	path->steps[path->depth++] = (struct step){.field = field, .index = number < FIELDS_MAX ? counts[number]++ : 0};
	path->decoded += DECODED_PER_FIELD;
	if (path->decoded > DECODED_MAX)
		done = err_invalid(err, shown(path, NULL), "there is too much of it");
	else
		done = check_value(field, (enum wire_type)(tag & 7), cursor, path, err);
	path->depth--;
	return done;
}

/* All fields of one message. */
static int check_level(const ProtobufCMessageDescriptor *type, struct cursor cursor, struct path *path, struct err *err)
{
	unsigned counts[FIELDS_MAX] = {0};
	int done = 0;

	if (path->depth >= DEPTH_MAX)
		return err_invalid(err, shown(path, type->name), "is nested too deeply");
	path->decoded += type->sizeof_message;
	while (!done && cursor.at < cursor.end)
		done = check_field(type, counts, &cursor, path, err);
	return done;
}

int check_message(const ProtobufCMessageDescriptor *type, const uint8_t *bytes, size_t size, struct err *err)
{
	struct path path = {.depth = 0};

	return check_level(type, (struct cursor){.at = bytes, .end = size ? bytes + size : bytes}, &path, err);
}
