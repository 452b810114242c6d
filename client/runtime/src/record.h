/* A record of the native channel as bytes: its length, then a ChannelRecord whose data comes last. Pure, no system calls. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "spawnd_runtime.h"

#define RECORD_LENGTH 4                       /* bytes of the length */
#define RECORD_HEAD_MAX (RECORD_LENGTH + 256) /* nobody writes more in front of the data */

struct record_head {
	unsigned descriptors;
	char content_type[SPAWND_CHANNEL_CONTENT_TYPE + 1];
	uint32_t data_size;
};

/* Writes all that stands in front of the data. Returns its bytes, or -EMSGSIZE when no length can say so much. */
int spawnd_rt_record_encode(unsigned char *out, size_t out_size, const char *content_type, unsigned descriptors, uint64_t data_size);

/*
 * Reads what stands in front of the data from the `size` bytes there are. Returns how many it was, 0 when there are too few, or
 * -EPROTO with *why_out.
 */
int spawnd_rt_record_decode(const unsigned char *bytes, size_t size, struct record_head *head_out, const char **why_out);
