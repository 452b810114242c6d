/* The sockets of a pool: opened once, kept by the keeper as long as the pool runs, whatever becomes of workers and engine. */
#pragma once

#include "base/err.h"
#include "pool/address.h"
#include "spawnd/v1/pools.pb-c.h"

struct listener {
	struct address address;
	int fd; /* owned; -1: closed */
};

/* What a spec may not say. 0, or -EINVAL with *err; the address is filled in. */
int listener_check(struct listener *listener, const Spawnd__V1__ListenerSpec *spec, size_t index, struct err *err);
/* Binds and listens. A file of a unix socket that nobody serves any more is replaced. 0, or negative with *err. */
int listener_open(struct listener *listener, const Spawnd__V1__ListenerSpec *spec, struct err *err);
/* For good: the file of a unix socket goes too. */
void listener_remove(struct listener *listener);
