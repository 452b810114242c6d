/*
 * Small allocations: they abort when there is no memory, so that no caller has a path that nobody ever ran. Sizes that
 * come from a peer are limited first and use malloc, which may fail softly.
 */
#pragma once

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"

void *mem_alloc(size_t size) __attribute__((malloc, returns_nonnull)); /* zeroed */
void *mem_realloc(void *old, size_t size) __attribute__((returns_nonnull));
char *mem_strdup(const char *text) __attribute__((malloc, returns_nonnull));
char *mem_strndup(const char *text, size_t length) __attribute__((malloc, returns_nonnull));
void *mem_dup(const void *bytes, size_t size) __attribute__((malloc, returns_nonnull));
char *mem_printf(const char *format, ...) __attribute__((format(printf, 1, 2), malloc, returns_nonnull));

static inline void mem_free_ptr(void *slot)
{
	void *memory;

	memcpy(&memory, slot, sizeof(memory));
	free(memory);
}

#define _cleanup_free_ _cleanup_(mem_free_ptr)

/* Gives the pointer away: evaluates to it and leaves NULL behind. */
#define mem_steal(slot)                                                                                                                    \
	__extension__({                                                                                                                    \
		__typeof__(*(slot)) taken_ = *(slot);                                                                                      \
		*(slot) = NULL;                                                                                                            \
		taken_;                                                                                                                    \
	})

#define array_size(array) (sizeof(array) / sizeof((array)[0]))
#define container_of(pointer, type, member) ((type *)((char *)(pointer)-offsetof(type, member)))
