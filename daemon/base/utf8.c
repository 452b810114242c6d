/* The table of well-formed sequences (RFC 3629, section 4). */
#include "base/utf8.h"

#include <string.h>

#include "base/mem.h"

static const struct {
	uint8_t first, last, second_min, second_max, length;
} forms[] = {
	{0x00, 0x7f, 0, 0, 1},
	{0xc2, 0xdf, 0x80, 0xbf, 2},
	{0xe0, 0xe0, 0xa0, 0xbf, 3},
	{0xe1, 0xec, 0x80, 0xbf, 3},
	{0xed, 0xed, 0x80, 0x9f, 3},
	{0xee, 0xef, 0x80, 0xbf, 3},
	{0xf0, 0xf0, 0x90, 0xbf, 4},
	{0xf1, 0xf3, 0x80, 0xbf, 4},
	{0xf4, 0xf4, 0x80, 0x8f, 4},
};

size_t utf8_length(const uint8_t *at, const uint8_t *end)
{
	for (size_t i = 0; i < array_size(forms); i++) {
		if (*at < forms[i].first || *at > forms[i].last)
			continue;
		if (end - at < forms[i].length)
			return 0;
		if (forms[i].length > 1 && (at[1] < forms[i].second_min || at[1] > forms[i].second_max))
			return 0;
		for (size_t k = 2; k < forms[i].length; k++) {
			if ((at[k] & 0xc0) != 0x80)
				return 0;
		}
		return forms[i].length;
	}
	return 0;
}

void utf8_clean(char *text)
{
	uint8_t *at = (uint8_t *)text, *end = at + strlen(text);

	while (at < end) {
		size_t length = utf8_length(at, end);

		if (!length)
			*at = '?';
		at += length ? length : 1;
	}
}
