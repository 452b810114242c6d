/* Any protobuf message as JSON, by its descriptor. No message is named here, so a field added to a proto shows by itself. */
#include "json.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "format.h"

struct json_object *json_of_bytes(const void *bytes, size_t size)
{
	size_t length;
	_cleanup_free_ char *text = format_utf8(bytes, size, &length);

	return json_object_new_string_len(text, (int)length);
}

/* "EXIT_REASON_" for "ExitReason", as protobuf's style guide names enum values. */
static size_t enum_prefix(const char *name, char *out, size_t size)
{
	size_t length = 0;

	for (const char *p = name; *p && length + 3 < size; p++) {
		if (p > name && isupper((unsigned char)*p))
			out[length++] = '_';
		out[length++] = (char)toupper((unsigned char)*p);
	}
	out[length++] = '_';
	out[length] = '\0';
	return length;
}

char *json_enum_word(const ProtobufCEnumDescriptor *descriptor, int value)
{
	const ProtobufCEnumValue *known = protobuf_c_enum_descriptor_get_value(descriptor, value);
	char prefix[64];
	size_t length = enum_prefix(descriptor->short_name, prefix, sizeof(prefix));
	char *word;

	if (!known)
		return NULL;
	word = mem_strdup(strncmp(known->name, prefix, length) == 0 ? known->name + length : known->name);
	for (char *p = word; *p; p++)
		*p = (char)tolower((unsigned char)*p);
	if (strcmp(word, "unspecified") == 0)
		free(mem_steal(&word));
	return word;
}

/* value / units as a JSON number without rounding: 1500 / 1000 is 1.5. digits: of the fraction. */
static struct json_object *decimal(uint64_t value, uint64_t units, int digits)
{
	char text[48];
	int length;

	if (value % units == 0)
		return json_object_new_uint64(value / units);
	length = snprintf(text, sizeof(text), "%" PRIu64 ".%0*" PRIu64, value / units, digits, value % units);
	while (text[length - 1] == '0')
		text[--length] = '\0';
	return json_object_new_double_s((double)value / (double)units, text);
}

static bool has_suffix(const char *name, const char *suffix)
{
	size_t length = strlen(name), tail = strlen(suffix);

	return length > tail && strcmp(name + length - tail, suffix) == 0;
}

/* The JSON name of a field. */
static void field_name(const ProtobufCFieldDescriptor *field, char *out, size_t size)
{
	const char *name = field->name;

	if (strcmp(name, "errnum") == 0)
		snprintf(out, size, "errno");
	else if (has_suffix(name, "_ns") || has_suffix(name, "_ms"))
		snprintf(out, size, "%.*s", (int)strlen(name) - 3, name);
	else if (has_suffix(name, "_us"))
		snprintf(out, size, "%.*s_seconds", (int)strlen(name) - 3, name);
	else
		snprintf(out, size, "%s", name);
}

/* An unsigned number, a duration if its name says so. */
static struct json_object *unsigned_value(const char *name, uint64_t value)
{
	if (has_suffix(name, "_ms"))
		return decimal(value, 1000, 3);
	if (has_suffix(name, "_us"))
		return decimal(value, 1000000, 6);
	return json_object_new_uint64(value);
}

/* A signed 64-bit number, a time if its name says so. */
static struct json_object *signed_value(const char *name, int64_t value)
{
	char text[FORMAT_MAX];

	if (!has_suffix(name, "_ns"))
		return json_object_new_int64(value);
	return value ? json_object_new_string(format_time(value, text)) : NULL;
}

/* One value of a field, at `value`. */
static struct json_object *field_value(const ProtobufCFieldDescriptor *field, const void *value)
{
	switch (field->type) {
	case PROTOBUF_C_TYPE_INT32:
	case PROTOBUF_C_TYPE_SINT32:
	case PROTOBUF_C_TYPE_SFIXED32:
		return json_object_new_int64(*(const int32_t *)value);
	case PROTOBUF_C_TYPE_INT64:
	case PROTOBUF_C_TYPE_SINT64:
	case PROTOBUF_C_TYPE_SFIXED64:
		return signed_value(field->name, *(const int64_t *)value);
	case PROTOBUF_C_TYPE_UINT32:
	case PROTOBUF_C_TYPE_FIXED32:
		return unsigned_value(field->name, *(const uint32_t *)value);
	case PROTOBUF_C_TYPE_UINT64:
	case PROTOBUF_C_TYPE_FIXED64:
		return unsigned_value(field->name, *(const uint64_t *)value);
	case PROTOBUF_C_TYPE_FLOAT:
		return json_object_new_double(*(const float *)value);
	case PROTOBUF_C_TYPE_DOUBLE:
		return json_object_new_double(*(const double *)value);
	case PROTOBUF_C_TYPE_BOOL:
		return json_object_new_boolean(*(const protobuf_c_boolean *)value);
	case PROTOBUF_C_TYPE_ENUM: {
		_cleanup_free_ char *word = json_enum_word(field->descriptor, *(const int *)value);

		return word ? json_object_new_string(word) : NULL;
	}
	case PROTOBUF_C_TYPE_STRING: {
		const char *text = *(char *const *)value;

		return json_of_bytes(text ? text : "", text ? strlen(text) : 0);
	}
	case PROTOBUF_C_TYPE_BYTES: {
		const ProtobufCBinaryData *bytes = value;

		return json_of_bytes(bytes->data ? bytes->data : (const uint8_t *)"", bytes->data ? bytes->len : 0);
	}
	case PROTOBUF_C_TYPE_MESSAGE: {
		const ProtobufCMessage *message = *(ProtobufCMessage *const *)value;

		return message ? json_of_message(message) : NULL;
	}
	}
	return NULL;
}

static size_t value_size_of(const ProtobufCFieldDescriptor *field)
{
	switch (field->type) {
	case PROTOBUF_C_TYPE_INT64:
	case PROTOBUF_C_TYPE_SINT64:
	case PROTOBUF_C_TYPE_SFIXED64:
	case PROTOBUF_C_TYPE_UINT64:
	case PROTOBUF_C_TYPE_FIXED64:
	case PROTOBUF_C_TYPE_DOUBLE:
		return 8;
	case PROTOBUF_C_TYPE_BOOL:
		return sizeof(protobuf_c_boolean);
	case PROTOBUF_C_TYPE_STRING:
	case PROTOBUF_C_TYPE_MESSAGE:
		return sizeof(void *);
	case PROTOBUF_C_TYPE_BYTES:
		return sizeof(ProtobufCBinaryData);
	default:
		return 4;
	}
}

/* Entries of a map field are messages named after it, with a key and a value. */
static bool is_map(const ProtobufCFieldDescriptor *field)
{
	const ProtobufCMessageDescriptor *entry = field->descriptor;

	return field->type == PROTOBUF_C_TYPE_MESSAGE && entry->n_fields == 2 && has_suffix(entry->short_name, "Entry") &&
	       strcmp(entry->fields[0].name, "key") == 0 && entry->fields[0].type == PROTOBUF_C_TYPE_STRING &&
	       strcmp(entry->fields[1].name, "value") == 0;
}

/* A repeated field: an object for a map, else an array. */
static struct json_object *repeated_value(const ProtobufCFieldDescriptor *field, const char *base)
{
	size_t count = *(const size_t *)(base + field->quantifier_offset), size = value_size_of(field);
	const char *values = *(char *const *)(base + field->offset);
	bool map = is_map(field);
	struct json_object *all = map ? json_object_new_object() : json_object_new_array();

	for (size_t i = 0; i < count; i++) {
		if (map) {
			const char *entry = *(char *const *)(values + i * size);
			const ProtobufCFieldDescriptor *parts = ((const ProtobufCMessageDescriptor *)field->descriptor)->fields;
			const char *key = *(char *const *)(entry + parts[0].offset);
			_cleanup_free_ char *name = format_utf8(key, strlen(key), NULL);

			json_object_object_add(all, name, field_value(&parts[1], entry + parts[1].offset));
		} else {
			json_object_array_add(all, field_value(field, values + i * size));
		}
	}
	return all;
}

/* How many fields share the oneof of this one: 1 for a plain optional field. */
static unsigned oneof_members(const ProtobufCMessageDescriptor *descriptor, const ProtobufCFieldDescriptor *field)
{
	unsigned members = 0;

	for (unsigned i = 0; i < descriptor->n_fields; i++)
		members += (descriptor->fields[i].flags & PROTOBUF_C_FIELD_FLAG_ONEOF) &&
			   descriptor->fields[i].quantifier_offset == field->quantifier_offset;
	return members;
}

void json_add_message(struct json_object *object, const ProtobufCMessage *message)
{
	const ProtobufCMessageDescriptor *descriptor = message->descriptor;
	const char *base = (const char *)message;

	for (unsigned i = 0; i < descriptor->n_fields; i++) {
		const ProtobufCFieldDescriptor *field = &descriptor->fields[i];
		bool oneof = field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF;
		bool set = !oneof || *(const uint32_t *)(base + field->quantifier_offset) == field->id;
		struct json_object *value = NULL;
		char name[128];

		if (!set && oneof_members(descriptor, field) > 1)
			continue;
		if (field->label == PROTOBUF_C_LABEL_REPEATED)
			value = repeated_value(field, base);
		else if (set)
			value = field_value(field, base + field->offset);
		field_name(field, name, sizeof(name));
		json_object_object_add(object, name, value);
	}
}

struct json_object *json_of_message(const ProtobufCMessage *message)
{
	struct json_object *object = json_object_new_object();

	json_add_message(object, message);
	return object;
}

static bool print(struct json_object *object, int flags)
{
	size_t length;
	const char *text = json_object_to_json_string_length(object, flags | JSON_C_TO_STRING_NOSLASHESCAPE, &length);
	bool written = text && fwrite(text, 1, length, stdout) == length && putchar('\n') != EOF && fflush(stdout) == 0;

	json_object_put(object);
	return written;
}

bool json_print(struct json_object *object)
{
	return print(object, JSON_C_TO_STRING_PLAIN);
}

bool json_print_pretty(struct json_object *object)
{
	return print(object, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED);
}
