/* The record of a process, field by field. */
#include "base/mem.h"
#include "internal.h"

struct spawnd_info *info_create(Spawnd__V1__Process *message)
{
	struct spawnd_info *info = mem_alloc(sizeof(*info));

	info->message = message;
	for (size_t i = 0; i < message->n_argv; i++) {
		ProtobufCBinaryData *argument = &message->argv[i];

		argument->data = mem_realloc(argument->data, argument->len + 1);
		argument->data[argument->len] = 0;
	}
	return info;
}

void spawnd_info_free(struct spawnd_info *info)
{
	if (!info)
		return;
	spawnd__v1__process__free_unpacked(info->message, NULL);
	free(info);
}

void spawnd_infos_free(struct spawnd_info **infos, size_t count)
{
	if (!infos)
		return;
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

uint64_t spawnd_info_uptime_ms(const struct spawnd_info *info)
{
	return info->message->uptime_ms;
}

unsigned spawnd_info_restarts(const struct spawnd_info *info)
{
	return info->message->restarts;
}

uid_t spawnd_info_uid(const struct spawnd_info *info)
{
	return info->message->uid;
}

enum spawnd_transport spawnd_info_transport(const struct spawnd_info *info)
{
	return (enum spawnd_transport)info->message->transport;
}

const char *spawnd_info_tree(const struct spawnd_info *info)
{
	return info->message->tree;
}

unsigned spawnd_info_readers(const struct spawnd_info *info)
{
	return info->message->readers;
}

uint64_t spawnd_info_cpu_us(const struct spawnd_info *info)
{
	return info->message->cpu_us;
}

uint64_t spawnd_info_memory_bytes(const struct spawnd_info *info)
{
	return info->message->memory_bytes;
}

bool spawnd_info_closed(const struct spawnd_info *info)
{
	return info->message->closed;
}

const char *spawnd_info_argument(const struct spawnd_info *info, size_t index)
{
	return index < info->message->n_argv ? (const char *)info->message->argv[index].data : NULL;
}

bool spawnd_info_label(const struct spawnd_info *info, size_t index, struct spawnd_label *label_out)
{
	if (index >= info->message->n_labels)
		return false;
	label_out->key = info->message->labels[index]->key;
	label_out->value = info->message->labels[index]->value;
	return true;
}

bool spawnd_info_output(const struct spawnd_info *info, size_t index, struct spawnd_slot_total *total_out)
{
	if (index >= info->message->n_output)
		return false;
	*total_out = total_of_message(info->message->output[index]);
	return true;
}

bool spawnd_info_exit(const struct spawnd_info *info, struct spawnd_exit *exit_out)
{
	exit_of_message(info->message->exit, exit_out);
	return info->message->exit != NULL;
}

size_t spawnd_info_encode(const struct spawnd_info *info, void *bytes, size_t size)
{
	size_t needed = spawnd__v1__process__get_packed_size(info->message);

	if (needed <= size)
		spawnd__v1__process__pack(info->message, bytes);
	return needed;
}
