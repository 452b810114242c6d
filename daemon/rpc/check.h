/*
 * Looks at a message before it is unpacked, by its descriptor: what protobuf-c would let through or silently drop is refused
 * here by name. Unknown fields, unknown enum values, wrong wire types, strings with NUL or bad UTF-8, deep nesting, small
 * elements in such numbers that they would fill memory once unpacked.
 */
#pragma once

#include <protobuf-c/protobuf-c.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* 0, or -EINVAL with *err naming the dotted field; the wrapper `start` of a stream's first message is left out of the name. */
int check_message(const ProtobufCMessageDescriptor *type, const uint8_t *bytes, size_t size, struct err *err);
