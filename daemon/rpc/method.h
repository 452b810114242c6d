/* The table of methods that service/methods.c hands to dispatch. */
#pragma once

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

struct call;

/* What a caller must be allowed to do; decided by engine/access.c from the credentials of the connection, over all objects. */
enum right {
	RIGHT_NONE = 0,
	RIGHT_OBSERVE = 1 << 0,
	RIGHT_ATTACH = 1 << 1,
	RIGHT_SIGNAL = 1 << 2,
	RIGHT_SPAWN = 1 << 3,
	RIGHT_ADMIN = 1 << 4,
};

/* The role that gives exactly this right. */
static inline const char *right_name(enum right right)
{
	return right == RIGHT_OBSERVE  ? "observe"
	       : right == RIGHT_ATTACH ? "attach"
	       : right == RIGHT_SIGNAL ? "signal"
	       : right == RIGHT_SPAWN  ? "spawn"
	       : right == RIGHT_ADMIN  ? "admin"
				       : "none";
}

struct method {
	const char *service; /* "spawnd.v1.Processes" */
	const char *name;    /* "Spawn" */
	const ProtobufCMessageDescriptor *request;
	const ProtobufCMessageDescriptor *reply;
	bool stream; /* bidirectional; else unary */
	bool own;    /* allowed without the right where the object is the client's own; then the handler decides */
	enum right right;
	/*
	 * Unary: called once with the request. Stream: called with the first message; the handler then sets call_ops.
	 * Returns 0 (answered, or will answer later) or a negative errno with *err filled: the call fails with it.
	 */
	int (*handle)(struct call *call, const ProtobufCMessage *request, struct err *err);
};

struct method_table {
	const struct method *methods;
	size_t count;
};
