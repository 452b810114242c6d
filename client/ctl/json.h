/*
 * Any protobuf message as JSON, by its descriptor: the proto's own snake_case names; `_ns` becomes RFC 3339 and `_ms`
 * seconds, both without the suffix; `_us` becomes `_seconds`; enum values are lower case without their prefix; bytes are text with
 * U+FFFD for what is not UTF-8. Unset optional fields and messages are null, unset members of a oneof are left out.
 */
#pragma once

#include <json-c/json.h>
#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stddef.h>

struct json_object *json_of_message(const ProtobufCMessage *message);
/* The fields of message put into `object`. */
void json_add_message(struct json_object *object, const ProtobufCMessage *message);
struct json_object *json_of_bytes(const void *bytes, size_t size);
/* "running" for PROCESS_STATE_RUNNING; NULL for 0 when that means "unspecified" and for numbers without a name. The caller frees it. */
char *json_enum_word(const ProtobufCEnumDescriptor *descriptor, int value);
/* Prints it on one line of stdout, at once, and drops the reference. false when stdout fails. */
bool json_print(struct json_object *object);
/* The same over several lines, for people. */
bool json_print_pretty(struct json_object *object);
