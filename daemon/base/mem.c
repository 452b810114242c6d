/* Small allocations that cannot fail: without memory the program ends here, where it can be seen. */
#include "base/mem.h"

#include <stdarg.h>
#include <stdio.h>

/* The one reaction to an empty heap. */
static void *checked(void *memory)
{
	if (!memory) {
		static const char line[] = "out of memory\n";

		fwrite(line, 1, sizeof(line) - 1, stderr);
		abort();
	}
	return memory;
}

void *mem_alloc(size_t size)
{
	return checked(calloc(1, size ? size : 1));
}

void *mem_realloc(void *old, size_t size)
{
	return checked(realloc(old, size ? size : 1));
}

char *mem_strdup(const char *text)
{
	return checked(strdup(text));
}

char *mem_strndup(const char *text, size_t length)
{
	return checked(strndup(text, length));
}

void *mem_dup(const void *bytes, size_t size)
{
	void *copy = checked(malloc(size ? size : 1));

	if (size)
		memcpy(copy, bytes, size);
	return copy;
}

char *mem_printf(const char *format, ...)
{
	char *text = NULL;
	va_list args;
	int length;

	va_start(args, format);
	length = vasprintf(&text, format, args);
	va_end(args);
	return checked(length < 0 ? NULL : text);
}
