/* Listing processes: pages, one after the other. */
#include "base/mem.h"
#include "internal.h"

/* Moves the records of one page to the end of the list. */
static void take_page(Spawnd__V1__ListReply *page, struct spawnd_info ***infos, size_t *count)
{
	*infos = mem_realloc(*infos, (*count + page->n_processes) * sizeof(**infos));
	for (size_t i = 0; i < page->n_processes; i++)
		(*infos)[(*count)++] = info_create(page->processes[i]);
	page->n_processes = 0;
}

/* Asks for one page and appends it. */
static int list_page(
	struct spawnd *client, Spawnd__V1__ListRequest *request, struct spawnd_info ***infos, size_t *count, struct spawnd_error *error)
{
	ProtobufCMessage *message;
	Spawnd__V1__ListReply *page;

	if (unary_call(client, SERVICE_PROCESSES, "List", &request->base, &spawnd__v1__list_reply__descriptor, &message, error) < 0)
		return -1;
	page = (Spawnd__V1__ListReply *)message;
	take_page(page, infos, count);
	request->after_id = page->next_after_id;
	protobuf_c_message_free_unpacked(message, NULL);
	return 0;
}

ssize_t spawnd_list_page(struct spawnd *client, const struct spawnd_filter *filter, uint64_t *after_id, struct spawnd_info ***infos_out,
	struct spawnd_error *error)
{
	Spawnd__V1__ListRequest request = SPAWND__V1__LIST_REQUEST__INIT;
	_cleanup_free_ Spawnd__V1__ListRequest__LabelsEntry *labels = NULL, **list = NULL;
	size_t count = 0;

	labels = mem_alloc(filter->label_count * sizeof(*labels));
	list = mem_alloc(filter->label_count * sizeof(*list));
	for (size_t i = 0; i < filter->label_count; i++) {
		spawnd__v1__list_request__labels_entry__init(&labels[i]);
		labels[i].key = (char *)filter->labels[i].key;
		labels[i].value = (char *)filter->labels[i].value;
		list[i] = &labels[i];
	}
	request.all = filter->all;
	request.usage = filter->usage;
	request.labels = list;
	request.n_labels = filter->label_count;
	request.after_id = *after_id;
	if (filter->name)
		request.name = (char *)filter->name;
	*infos_out = NULL;
	if (list_page(client, &request, infos_out, &count, error) < 0)
		return -1;
	*after_id = request.after_id;
	return (ssize_t)count;
}

ssize_t spawnd_list(struct spawnd *client, bool all, struct spawnd_info ***infos_out, struct spawnd_error *error)
{
	Spawnd__V1__ListRequest request = SPAWND__V1__LIST_REQUEST__INIT;
	struct spawnd_info **infos = NULL;
	size_t count = 0;

	request.all = all;
	do {
		if (list_page(client, &request, &infos, &count, error) < 0) {
			spawnd_infos_free(infos, count);
			return -1;
		}
	} while (request.after_id);
	*infos_out = infos;
	return (ssize_t)count;
}
