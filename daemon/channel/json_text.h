/*
 * JSON as text: is it one value, and what are the members of the object it is. Nothing is built from it: what clients and
 * children say is passed on as it is. The check takes a text in pieces, in memory that grows with its depth alone.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define JSON_DEPTH_MAX 65536u

struct json_check {
	uint8_t state;
	uint8_t digits;   /* of an escape that are due, or letters of a word that came */
	const char *word; /* "true", "false", "null" */
	uint8_t *nesting; /* owned; a bit for each level: it is an object */
	uint32_t depth, room;
	bool key; /* the string that comes is a key */
};

/* {0} is one that has seen nothing. */
void json_check_finish(struct json_check *check);
/* Makes it new; keeps its memory. */
void json_check_reset(struct json_check *check);
/* True while the text may still become one value. Raw control characters are white space outside of strings, else wrong. */
bool json_check_feed(struct json_check *check, const void *bytes, size_t size);
/* Whether what was fed is one whole value. */
bool json_check_is_whole(const struct json_check *check);

struct json_span {
	const uint8_t *at, *end;
};

/* Members of an object, in a text that the check has let pass, or the beginning of one. */
struct json_walk {
	const uint8_t *at, *end;
};

/* False: the text is no object. */
bool json_walk_begin(struct json_walk *walk, const void *bytes, size_t size);
/* The next member: the key without its quotes, the value as text. False: no more of them, or the text breaks off. */
bool json_walk_next(struct json_walk *walk, struct json_span *key_out, struct json_span *value_out);

/*
 * The text of a string (with or without its quotes), escapes resolved, cut to size - 1 bytes, with a NUL after it. Returns
 * its length before the cut.
 */
size_t json_unescape(struct json_span string, char *out, size_t size);
/* Whether a value is a string. */
bool json_is_string(struct json_span value);
