/*
 * Specs that outlive the daemon: one file each, DIR/specs/NAME, written whole or not at all. They are started when the daemon
 * begins; rm of the process removes the file. A file that cannot be read is told in the log and left alone.
 */
#pragma once

#include <sys/types.h>

#include "base/err.h"

struct persist;
struct service;
struct spec;

/* Makes DIR and DIR/specs (0700) where they are missing. dir NULL: nothing can be persisted. NULL with *err. */
struct persist *persist_create(const char *dir, struct err *err);
void persist_destroy(struct persist *persist); /* NULL is fine */

/* Waits for the disk. FAILED_PRECONDITION without a directory, else an errno that names the file. persist may be NULL. */
int persist_write(struct persist *persist, const struct spec *spec, uid_t uid, struct err *err);
/* -ENOENT: there was none of this name. */
int persist_remove(struct persist *persist, const char *name, struct err *err);

/* Starts all there are, in the order of their names. */
void persist_start(struct persist *persist, struct service *service);
