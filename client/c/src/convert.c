/* Between messages and the plain structs of spawnd.h. */
#include <stdio.h>

#include "base/mem.h"
#include "internal.h"
#include "spawnd/v1/common.pb-c.h"

Spawnd__V1__ProcessRef ref_message(struct spawnd_ref ref)
{
	Spawnd__V1__ProcessRef message = SPAWND__V1__PROCESS_REF__INIT;

	if (ref.id || !ref.name) {
		message.ref_case = SPAWND__V1__PROCESS_REF__REF_ID;
		message.id = ref.id;
	} else {
		message.ref_case = SPAWND__V1__PROCESS_REF__REF_NAME;
		message.name = (char *)ref.name;
	}
	return message;
}

struct spawnd_slot_total total_of_message(const Spawnd__V1__SlotTotal *message)
{
	return (struct spawnd_slot_total){
		.slot = message->slot,
		.bytes = message->bytes,
		.retained_from = message->retained_from,
		.complete = message->complete,
	};
}

void exit_of_message(const Spawnd__V1__ExitRecord *message, struct spawnd_exit *exit_out)
{
	*exit_out = (struct spawnd_exit){.code = -1, .signal = -1, .reason = SPAWND_REASON_UNKNOWN};
	if (!message)
		return;
	if (message->_code_case)
		exit_out->code = message->code;
	if (message->_signal_case)
		exit_out->signal = message->signal;
	exit_out->core = message->core;
	exit_out->reason = (enum spawnd_reason)message->reason;
	exit_out->exited_at_ns = message->exited_at_ns;
	if (message->rusage) {
		exit_out->user_us = message->rusage->user_us;
		exit_out->system_us = message->rusage->system_us;
		exit_out->max_rss_bytes = message->rusage->max_rss_bytes;
	}
	exit_out->total_count = message->n_output;
	for (size_t i = 0; i < message->n_output && i < SPAWND_TOTALS; i++)
		exit_out->totals[i] = total_of_message(message->output[i]);
}

void kill_of_message(const Spawnd__V1__KillReply *message, struct spawnd_kill *kill_out)
{
	*kill_out = (struct spawnd_kill){
		.ended = mem_dup(message->ended, message->n_ended * sizeof(pid_t)),
		.survived = mem_dup(message->survived, message->n_survived * sizeof(pid_t)),
		.ended_count = message->n_ended,
		.survived_count = message->n_survived,
		.complete = message->complete,
		.has_exit = message->exit != NULL,
	};
	snprintf(kill_out->method, sizeof(kill_out->method), "%s", message->method);
	exit_of_message(message->exit, &kill_out->exit);
}

void spawnd_kill_clear(struct spawnd_kill *kill)
{
	free(kill->ended);
	free(kill->survived);
	*kill = (struct spawnd_kill){0};
}

/* ---- messages with data, by hand ---- */

#define TAG(field, type) ((uint8_t)((field) << 3 | (type)))
#define VARINT 0
#define BYTES 2

struct peek {
	const uint8_t *at, *end;
};

static bool take_varint(struct peek *peek, uint64_t *value_out)
{
	uint64_t value = 0;

	for (unsigned shift = 0; shift < 64 && peek->at < peek->end; shift += 7) {
		uint8_t byte = *peek->at++;

		value |= (uint64_t)(byte & 0x7f) << shift;
		if (!(byte & 0x80)) {
			*value_out = value;
			return true;
		}
	}
	return false;
}

bool output_peek(const uint8_t *bytes, size_t size, size_t missing, uint32_t *slot_out, uint64_t *offset_out, const uint8_t **data_out,
	size_t *size_out)
{
	struct peek peek = {.at = bytes, .end = bytes + size};
	uint64_t tag, length, value;

	/* field 2 of ProcessEvent and of RunReply, alone in its message */
	if (!take_varint(&peek, &tag) || tag != TAG(2, BYTES) || !take_varint(&peek, &length) ||
		length != (uint64_t)(peek.end - peek.at) + missing)
		return false;
	*slot_out = 0;
	*offset_out = 0;
	*data_out = peek.end;
	*size_out = 0;
	while (peek.at < peek.end) {
		if (!take_varint(&peek, &tag) || !take_varint(&peek, &value))
			return false;
		if (tag == TAG(1, VARINT)) {
			*slot_out = (uint32_t)value;
		} else if (tag == TAG(2, VARINT)) {
			*offset_out = value;
		} else if (tag == TAG(15, BYTES)) {
			if (value > (uint64_t)(peek.end - peek.at) + missing)
				return false;
			*data_out = peek.at;
			*size_out = value < (uint64_t)(peek.end - peek.at) ? (size_t)value : (size_t)(peek.end - peek.at);
			peek.at += *size_out;
		} else if (tag != TAG(3, VARINT)) {
			return false;
		}
	}
	return true;
}

/* Writes a number in front of what is there already. */
static uint8_t *put_varint_before(uint8_t *at, uint64_t value)
{
	uint8_t bytes[10];
	size_t count = 0;

	for (; value > 0x7f; value >>= 7)
		bytes[count++] = (uint8_t)(value | 0x80);
	bytes[count++] = (uint8_t)value;
	return memcpy(at - count, bytes, count);
}

/* Puts a tag and a length in front of a field that ends `size` bytes behind `end`. */
static uint8_t *wrap(uint8_t *at, uint8_t tag, const uint8_t *end, size_t size)
{
	at = put_varint_before(at, (uint64_t)(end - at) + size);
	*--at = tag;
	return at;
}

size_t stdin_encode(uint8_t prefix[STDIN_PREFIX_MAX], bool control, uint32_t slot, uint64_t offset, bool eof, size_t size)
{
	uint8_t bytes[STDIN_PREFIX_MAX], *end = bytes + sizeof(bytes), *at = end;

	if (size)
		at = wrap(at, TAG(15, BYTES), end, size);
	if (offset != STDIN_NEXT) {
		at = put_varint_before(at, offset);
		*--at = TAG(3, VARINT);
	}
	if (eof) {
		*--at = true;
		*--at = TAG(2, VARINT);
	}
	if (slot) {
		at = put_varint_before(at, slot);
		*--at = TAG(1, VARINT);
	}
	if (control) /* StdinData in ProcessControl */
		at = wrap(at, TAG(1, BYTES), end, size);
	at = wrap(at, TAG(2, BYTES), end, size); /* that in the message of the stream */
	memcpy(prefix, at, (size_t)(end - at));
	return (size_t)(end - at);
}
