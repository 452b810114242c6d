/* Ends a daemon that nobody needs: no clients and no running processes for a given time. Off until autoexit_set. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct autoexit;
struct loop;

struct autoexit_host {
	bool (*busy)(void *context);
	void (*on_idle)(void *context); /* once */
};

struct autoexit *autoexit_create(struct loop *loop, const struct autoexit_host *host, void *context);
void autoexit_destroy(struct autoexit *autoexit); /* NULL is fine */

/* The time to wait; 0: for ever. It begins now. */
void autoexit_set(struct autoexit *autoexit, uint64_t after_ms);
/* Something happened: the time begins anew. */
void autoexit_touch(struct autoexit *autoexit);
