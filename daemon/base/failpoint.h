/*
 * Places between two durable steps, where a test has this process die, fail or wait. They are there in a build with
 * SPAWND_FAILPOINTS only; in any other they are nothing.
 *
 * SPAWND_FAILPOINTS of the environment names a directory. A file NAME in it arms the failpoint of this name, once: it is taken
 * away by the first that comes by. Its content says what happens: "kill", "error", or "delay MILLISECONDS"; "kill 50" by one in
 * fifty.
 */
#pragma once

#ifdef SPAWND_FAILPOINTS
/* 0, or -EIO when it is to fail; a place that cannot fail ignores that. */
int failpoint(const char *name);
#else
static inline int failpoint(const char *name)
{
	return 0;
}
#endif
