/*
 * Lines to stderr that never block: what stderr does not take waits in a ring; what does not fit the ring is dropped,
 * counted and told. Never call it in a child between clone and exec.
 */
#pragma once

#include <stdbool.h>

enum log_level { LOG_ERROR, LOG_WARNING, LOG_INFO, LOG_DEBUG };

/* One line, object and id first: log_(LOG_INFO, "process 7: exited with 0"). */
void log_(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

void log_set_name(const char *name); /* before every line; a static string */
void log_set_level(enum log_level level);
enum log_level log_level(void);
bool log_level_of(const char *name, enum log_level *level_out); /* "error", "warning", "info", "debug" */

/* Writes what waits, as far as stderr takes it. */
void log_flush(void);
