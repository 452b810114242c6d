/*
 * What Node's processes tell each other on a channel besides the messages of their users: objects whose `cmd` begins with
 * NODE_. Read and written in both of its formats; pure.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

enum node_command {
	NODE_OTHER, /* one that is of no use here */
	NODE_HANDLE,
	NODE_HANDLE_ACK,
	NODE_HANDLE_NACK,
	NODE_SOCKET_NOTIFY_CLOSE,
	NODE_SOCKET_ALL_CLOSED,
	NODE_SOCKET_GET_COUNT,
	NODE_SOCKET_COUNT,
	NODE_CLUSTER,
};

struct node_message {
	enum node_command command;
	const uint8_t *msg; /* HANDLE: the message proper, inside what was read; NULL: it has none */
	size_t msg_size;
	char type[24];      /* HANDLE: "net.Socket" */
	char key[128];      /* SOCKET_*, and HANDLE of a counted socket; "" when there is none */
	char dgram_type[8]; /* HANDLE: "udp4" */
};

/* The command of a name, NODE_OTHER for those we do not know. */
enum node_command node_command_of(const char *name);
const char *node_command_name(enum node_command command);

/* ---- json: one line without its end ---- */

/*
 * Whether the text (one that json_check let pass, or the beginning of one) is such a message. `size` may be all of it or its
 * beginning; then what is not there is not found.
 */
bool node_json_read(const void *text, size_t size, struct node_message *out);
/* {"cmd": command, "key": key, "count": 0}: key NULL: none. With the end of the line. */
void node_json_command(struct buf *out, enum node_command command, const char *key);
/* Before and after the message proper. The tail has the end of the line. */
void node_json_wrap(struct buf *head, struct buf *tail, const char *type, const char *key, const char *dgram_type);

/* ---- advanced: one frame without its length ---- */

bool node_v8_read(const void *bytes, size_t size, struct node_message *out);
/* With the length. */
void node_v8_command(struct buf *out, enum node_command command, const char *key);
/*
 * A whole frame around `message` (with its header), whose references are moved because the wrapper is an object too. False:
 * it is not of a form we can read.
 */
bool node_v8_wrap(struct buf *out, const void *message, size_t size, const char *type, const char *key, const char *dgram_type);
/* The message proper with a header of its own, from what node_v8_read found. False: it cannot be read. */
bool node_v8_unwrap(struct buf *out, const struct node_message *message);
