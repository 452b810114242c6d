/* Between messages and the plain structs of spawnd.h. */
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
	for (size_t i = 0; i < message->n_output && i < SPAWND_TOTALS; i++) {
		exit_out->totals[i] = (struct spawnd_slot_total){
			.slot = message->output[i]->slot,
			.bytes = message->output[i]->bytes,
			.retained_from = message->output[i]->retained_from,
			.complete = message->output[i]->complete,
		};
	}
}

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

bool output_peek(const uint8_t *bytes, size_t size, uint32_t *slot_out, uint64_t *offset_out, const uint8_t **data_out, size_t *size_out)
{
	struct peek peek = {.at = bytes, .end = bytes + size};
	uint64_t tag, length, value;

	/* field 2 of ProcessEvent and of RunReply, alone in its message */
	if (!take_varint(&peek, &tag) || tag != (2 << 3 | 2) || !take_varint(&peek, &length) || length != (uint64_t)(peek.end - peek.at))
		return false;
	*slot_out = 0;
	*offset_out = 0;
	*data_out = peek.end;
	*size_out = 0;
	while (peek.at < peek.end) {
		if (!take_varint(&peek, &tag) || !take_varint(&peek, &value))
			return false;
		if (tag == (1 << 3 | 0)) {
			*slot_out = (uint32_t)value;
		} else if (tag == (2 << 3 | 0)) {
			*offset_out = value;
		} else if (tag == (15 << 3 | 2)) {
			if (value > (uint64_t)(peek.end - peek.at))
				return false;
			*data_out = peek.at;
			*size_out = (size_t)value;
			peek.at += value;
		} else if (tag != (3 << 3 | 0)) {
			return false;
		}
	}
	return true;
}

/* ---- records ---- */

void spawnd_info_free(struct spawnd_info *info)
{
	if (!info)
		return;
	spawnd__v1__process__free_unpacked(info->message, NULL);
	free(info);
}

void spawnd_infos_free(struct spawnd_info **infos, size_t count)
{
	for (size_t i = 0; i < count; i++)
		spawnd_info_free(infos[i]);
	free(infos);
}

uint64_t spawnd_info_id(const struct spawnd_info *info)
{
	return info->message->id;
}

const char *spawnd_info_name(const struct spawnd_info *info)
{
	return info->message->name;
}

pid_t spawnd_info_pid(const struct spawnd_info *info)
{
	return info->message->pid;
}

enum spawnd_state spawnd_info_state(const struct spawnd_info *info)
{
	return (enum spawnd_state)info->message->state;
}

int64_t spawnd_info_started_at_ns(const struct spawnd_info *info)
{
	return info->message->started_at_ns;
}

bool spawnd_info_exit(const struct spawnd_info *info, struct spawnd_exit *exit_out)
{
	exit_of_message(info->message->exit, exit_out);
	return info->message->exit != NULL;
}
