/* See json_text.h. The check is a machine of one state per place between two bytes. */
#include "channel/json_text.h"

#include <string.h>

#include "base/mem.h"

enum state {
	BEFORE_VALUE, /* a value must come */
	FIRST_ITEM,   /* of an array: a value or its end */
	FIRST_KEY,    /* of an object: a key or its end */
	NEXT_KEY,     /* after a comma */
	AFTER_KEY,    /* a colon must come */
	AFTER_VALUE,  /* a comma or an end, or at the top nothing more */
	IN_STRING,
	IN_ESCAPE,
	IN_HEX,
	IN_WORD,
	AFTER_MINUS,
	AFTER_ZERO,
	IN_INTEGER,
	AFTER_POINT,
	IN_FRACTION,
	AFTER_E,
	AFTER_E_SIGN,
	IN_EXPONENT,
	BROKEN,
};

void json_check_finish(struct json_check *check)
{
	free(check->nesting);
	*check = (struct json_check){0};
}

void json_check_reset(struct json_check *check)
{
	check->state = BEFORE_VALUE;
	check->depth = 0;
	check->key = false;
}

static bool is_space(uint8_t c)
{
	return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

static bool is_digit(uint8_t c)
{
	return c >= '0' && c <= '9';
}

static bool is_hex(uint8_t c)
{
	return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

static bool is_object(const struct json_check *check)
{
	return check->depth && (check->nesting[(check->depth - 1) / 8] >> ((check->depth - 1) % 8) & 1);
}

static enum state enter(struct json_check *check, bool object)
{
	uint8_t bit;

	if (check->depth == JSON_DEPTH_MAX)
		return BROKEN;
	if (check->depth == check->room) {
		check->room = check->room ? check->room * 2 : 64;
		check->nesting = mem_realloc(check->nesting, check->room / 8);
	}
	bit = (uint8_t)(1u << (check->depth % 8));
	if (object)
		check->nesting[check->depth / 8] |= bit;
	else
		check->nesting[check->depth / 8] &= (uint8_t)~bit;
	check->depth++;
	return object ? FIRST_KEY : FIRST_ITEM;
}

static enum state leave(struct json_check *check, bool object)
{
	if (!check->depth || is_object(check) != object)
		return BROKEN;
	check->depth--;
	return AFTER_VALUE;
}

static enum state begin_word(struct json_check *check, const char *word)
{
	check->word = word;
	check->digits = 1;
	return IN_WORD;
}

static enum state begin_string(struct json_check *check, bool key)
{
	check->key = key;
	return IN_STRING;
}

static enum state begin_value(struct json_check *check, uint8_t c)
{
	switch (c) {
	case '{':
		return enter(check, true);
	case '[':
		return enter(check, false);
	case '"':
		return begin_string(check, false);
	case 't':
		return begin_word(check, "true");
	case 'f':
		return begin_word(check, "false");
	case 'n':
		return begin_word(check, "null");
	case '-':
		return AFTER_MINUS;
	case '0':
		return AFTER_ZERO;
	default:
		return is_digit(c) ? IN_INTEGER : BROKEN;
	}
}

static enum state after_value(struct json_check *check, uint8_t c)
{
	if (is_space(c))
		return AFTER_VALUE;
	if (c == ',' && check->depth)
		return is_object(check) ? NEXT_KEY : BEFORE_VALUE;
	if (c == '}' || c == ']')
		return leave(check, c == '}');
	return BROKEN;
}

static enum state in_word(struct json_check *check, uint8_t c)
{
	if (c != (uint8_t)check->word[check->digits])
		return BROKEN;
	check->digits++;
	return check->word[check->digits] ? IN_WORD : AFTER_VALUE;
}

static enum state in_escape(struct json_check *check, uint8_t c)
{
	if (c == 'u') {
		check->digits = 4;
		return IN_HEX;
	}
	return c && strchr("\"\\/bfnrt", c) ? IN_STRING : BROKEN;
}

/* A digit, or what may follow the number. */
static enum state in_number(struct json_check *check, uint8_t c, enum state same, bool point, bool exponent)
{
	if (is_digit(c) && same != AFTER_ZERO)
		return same;
	if (c == '.' && point)
		return AFTER_POINT;
	if ((c == 'e' || c == 'E') && exponent)
		return AFTER_E;
	return after_value(check, c);
}

static enum state step(struct json_check *check, uint8_t c)
{
	switch ((enum state)check->state) {
	case BEFORE_VALUE:
		return is_space(c) ? BEFORE_VALUE : begin_value(check, c);
	case FIRST_ITEM:
		return is_space(c) ? FIRST_ITEM : c == ']' ? leave(check, false) : begin_value(check, c);
	case FIRST_KEY:
		return is_space(c) ? FIRST_KEY : c == '}' ? leave(check, true) : c == '"' ? begin_string(check, true) : BROKEN;
	case NEXT_KEY:
		return is_space(c) ? NEXT_KEY : c == '"' ? begin_string(check, true) : BROKEN;
	case AFTER_KEY:
		return is_space(c) ? AFTER_KEY : c == ':' ? BEFORE_VALUE : BROKEN;
	case AFTER_VALUE:
		return after_value(check, c);
	case IN_STRING:
		return c == '"' ? (check->key ? AFTER_KEY : AFTER_VALUE) : c == '\\' ? IN_ESCAPE : c < 0x20 ? BROKEN : IN_STRING;
	case IN_ESCAPE:
		return in_escape(check, c);
	case IN_HEX:
		return !is_hex(c) ? BROKEN : --check->digits ? IN_HEX : IN_STRING;
	case IN_WORD:
		return in_word(check, c);
	case AFTER_MINUS:
		return c == '0' ? AFTER_ZERO : is_digit(c) ? IN_INTEGER : BROKEN;
	case AFTER_ZERO:
		return in_number(check, c, AFTER_ZERO, true, true);
	case IN_INTEGER:
		return in_number(check, c, IN_INTEGER, true, true);
	case AFTER_POINT:
		return is_digit(c) ? IN_FRACTION : BROKEN;
	case IN_FRACTION:
		return in_number(check, c, IN_FRACTION, false, true);
	case AFTER_E:
		return c == '+' || c == '-' ? AFTER_E_SIGN : is_digit(c) ? IN_EXPONENT : BROKEN;
	case AFTER_E_SIGN:
		return is_digit(c) ? IN_EXPONENT : BROKEN;
	case IN_EXPONENT:
		return in_number(check, c, IN_EXPONENT, false, false);
	case BROKEN:
		break;
	}
	return BROKEN;
}

/* The first byte of a string that is not just part of it. */
static const uint8_t *skip_plain(const uint8_t *at, const uint8_t *end)
{
	while (at < end && *at != '"' && *at != '\\' && *at >= 0x20)
		at++;
	return at;
}

bool json_check_feed(struct json_check *check, const void *bytes, size_t size)
{
	const uint8_t *at = bytes, *end = at + size;

	while (at < end && check->state != BROKEN) {
		if (check->state == IN_STRING)
			at = skip_plain(at, end);
		if (at < end)
			check->state = (uint8_t)step(check, *at++);
	}
	return check->state != BROKEN;
}

bool json_check_is_whole(const struct json_check *check)
{
	switch ((enum state)check->state) {
	case AFTER_VALUE:
	case AFTER_ZERO:
	case IN_INTEGER:
	case IN_FRACTION:
	case IN_EXPONENT:
		return check->depth == 0;
	default:
		return false;
	}
}

/* ---- walking ---- */

static void skip_space(struct json_walk *walk)
{
	while (walk->at < walk->end && is_space(*walk->at))
		walk->at++;
}

static bool take(struct json_walk *walk, uint8_t c)
{
	skip_space(walk);
	if (walk->at == walk->end || *walk->at != c)
		return false;
	walk->at++;
	return true;
}

bool json_walk_begin(struct json_walk *walk, const void *bytes, size_t size)
{
	*walk = (struct json_walk){.at = bytes, .end = (const uint8_t *)bytes + size};
	return take(walk, '{');
}

/* From the byte after the opening quote to the closing one, which is taken. False: there is none. */
static bool take_string(struct json_walk *walk, struct json_span *out)
{
	out->at = walk->at;
	while (walk->at < walk->end && *walk->at != '"')
		walk->at += *walk->at == '\\' && walk->end - walk->at > 1 ? 2 : 1;
	if (walk->at >= walk->end)
		return false;
	out->end = walk->at++;
	return true;
}

/* Any value: up to a comma or an end of this level. False: it breaks off. */
static bool take_value(struct json_walk *walk, struct json_span *out)
{
	size_t depth = 0;
	struct json_span ignored;

	skip_space(walk);
	out->at = walk->at;
	while (walk->at < walk->end) {
		uint8_t c = *walk->at;

		if (depth == 0 && (c == ',' || c == '}' || c == ']')) {
			out->end = walk->at;
			while (out->end > out->at && is_space(out->end[-1]))
				out->end--;
			return true;
		}
		walk->at++;
		if (c == '{' || c == '[')
			depth++;
		else if (c == '}' || c == ']')
			depth--;
		else if (c == '"' && !take_string(walk, &ignored))
			return false;
	}
	return false;
}

bool json_walk_next(struct json_walk *walk, struct json_span *key_out, struct json_span *value_out)
{
	skip_space(walk);
	if (walk->at < walk->end && *walk->at == ',')
		walk->at++;
	return take(walk, '"') && take_string(walk, key_out) && take(walk, ':') && take_value(walk, value_out);
}

bool json_is_string(struct json_span value)
{
	return value.end - value.at >= 2 && *value.at == '"';
}

static unsigned hex_of(const uint8_t *at)
{
	unsigned value = 0;

	for (int i = 0; i < 4; i++)
		value = value << 4 | (is_digit(at[i]) ? (unsigned)(at[i] - '0') : ((unsigned)at[i] | 0x20) - 'a' + 10);
	return value;
}

/* UTF-8 of a code unit; surrogates become what they are one by one, which is enough for telling names apart. */
static size_t encode(unsigned unit, char out[3])
{
	if (unit < 0x80) {
		out[0] = (char)unit;
		return 1;
	}
	if (unit < 0x800) {
		out[0] = (char)(0xc0 | unit >> 6);
		out[1] = (char)(0x80 | (unit & 0x3f));
		return 2;
	}
	out[0] = (char)(0xe0 | unit >> 12);
	out[1] = (char)(0x80 | (unit >> 6 & 0x3f));
	out[2] = (char)(0x80 | (unit & 0x3f));
	return 3;
}

size_t json_unescape(struct json_span string, char *out, size_t size)
{
	static const char from[] = "bfnrt", to[] = "\b\f\n\r\t";
	const uint8_t *at = string.at, *end = string.end;
	size_t length = 0;

	if (json_is_string(string)) {
		at++;
		end--;
	}
	while (at < end) {
		char bytes[3] = {(char)*at};
		size_t count = 1;

		if (*at++ == '\\' && at < end) {
			const char *known = *at ? strchr(from, *at) : NULL;

			bytes[0] = known ? to[known - from] : (char)*at;
			if (*at++ == 'u' && end - at >= 4) {
				count = encode(hex_of(at), bytes);
				at += 4;
			}
		}
		for (size_t i = 0; i < count; i++, length++)
			if (length + 1 < size)
				out[length] = bytes[i];
	}
	out[length + 1 < size ? length : size - 1] = 0;
	return length;
}
