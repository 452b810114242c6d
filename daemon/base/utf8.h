/* UTF-8 by RFC 3629: no overlong forms, no surrogates, nothing above U+10FFFF. */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* Bytes of the character at the front of [at, end), at < end; 0 when it is none. */
size_t utf8_length(const uint8_t *at, const uint8_t *end);

/* Replaces every byte that is no part of a character by '?', for texts that must be valid whatever a path was. */
void utf8_clean(char *text);
