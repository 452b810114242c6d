/* ttrpc.Request, read in place: every call begins with one, and nothing of it has to outlive its frame. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct span {
	const uint8_t *bytes;
	size_t size;
};

struct envelope {
	struct span service, method, payload; /* inside the frame */
	int64_t timeout_nano;                 /* 0: none; negative: already over */
};

/* 0, or -EINVAL with *err filled. Fields of later versions of ttrpc are passed over, metadata too. */
int envelope_read(const uint8_t *bytes, size_t size, struct envelope *envelope_out, struct err *err);
