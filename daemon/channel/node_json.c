/* Node's own messages as JSON. Most lines are settled by one search: they contain neither NODE_ nor an escape. */
#include <stdio.h>
#include <string.h>

#include "channel/json_text.h"
#include "channel/node_message.h"

static bool may_be_internal(const void *text, size_t size)
{
	return memmem(text, size, "NODE_", 5) || memmem(text, size, "\\u", 2);
}

/* A string member into its place, by name. */
static void note_text(struct node_message *out, const char *key, struct json_span value)
{
	if (!json_is_string(value))
		return;
	if (strcmp(key, "type") == 0)
		json_unescape(value, out->type, sizeof(out->type));
	else if (strcmp(key, "key") == 0)
		json_unescape(value, out->key, sizeof(out->key));
	else if (strcmp(key, "dgramType") == 0)
		json_unescape(value, out->dgram_type, sizeof(out->dgram_type));
}

bool node_json_read(const void *text, size_t size, struct node_message *out)
{
	struct json_span key, value;
	struct json_walk walk;
	char name[16], command[64] = "";

	*out = (struct node_message){0};
	if (!may_be_internal(text, size) || !json_walk_begin(&walk, text, size))
		return false;
	while (json_walk_next(&walk, &key, &value)) {
		json_unescape(key, name, sizeof(name));
		if (strcmp(name, "cmd") == 0) {
			command[0] = 0;
			if (json_is_string(value))
				json_unescape(value, command, sizeof(command));
		} else if (strcmp(name, "msg") == 0) {
			out->msg = value.at;
			out->msg_size = (size_t)(value.end - value.at);
		} else {
			note_text(out, name, value);
		}
	}
	out->command = node_command_of(command);
	return strncmp(command, "NODE_", 5) == 0 && command[5];
}

/* A string of JSON with its quotes. */
static void put_string(struct buf *out, const char *text)
{
	char escape[8];

	buf_append(out, "\"", 1);
	for (; *text; text++) {
		if (*text == '"' || *text == '\\' || (unsigned char)*text < 0x20)
			buf_append(out, escape, (size_t)snprintf(escape, sizeof(escape), "\\u%04x", (unsigned)*text));
		else
			buf_append(out, text, 1);
	}
	buf_append(out, "\"", 1);
}

static void put(struct buf *out, const char *text)
{
	buf_append(out, text, strlen(text));
}

/* ,"name":"text" */
static void put_member(struct buf *out, const char *name, const char *text)
{
	if (!text || !*text)
		return;
	put(out, ",\"");
	put(out, name);
	put(out, "\":");
	put_string(out, text);
}

void node_json_command(struct buf *out, enum node_command command, const char *key)
{
	put(out, "{\"cmd\":\"");
	put(out, node_command_name(command));
	put(out, "\"");
	put_member(out, "key", key);
	put(out, command == NODE_SOCKET_COUNT ? ",\"count\":0}\n" : "}\n");
}

void node_json_wrap(struct buf *head, struct buf *tail, const char *type, const char *key, const char *dgram_type)
{
	put(head, "{\"cmd\":\"NODE_HANDLE\"");
	put_member(head, "type", type);
	put(head, ",\"msg\":");
	put_member(tail, "key", key);
	put_member(tail, "dgramType", dgram_type);
	put(tail, "}\n");
}
