/* List and Get. List shows what the client may observe. */
#include <string.h>

#include "base/mem.h"
#include "service/convert.h"
#include "service/internal.h"
#include "service/rights.h"

#define PAGE_BYTES (1u << 20)
#define PAGE_PROCESSES 4096u

/* Refuses what nothing can match. */
static int check(const Spawnd__V1__ListRequest *request, struct err *err)
{
	for (size_t i = 0; i < request->n_labels; i++)
		if (!request->labels[i]->key[0])
			return err_invalid(err, "labels", "a label needs a name");
	return spec_check_name(request->name, "name", err);
}

static bool has_label(const Spawnd__V1__ProcessSpec *spec, const Spawnd__V1__ListRequest__LabelsEntry *wanted)
{
	for (size_t i = 0; i < spec->n_labels; i++)
		if (strcmp(spec->labels[i]->key, wanted->key) == 0 && strcmp(spec->labels[i]->value, wanted->value) == 0)
			return true;
	return false;
}

static bool is_wanted(const struct call *call, const struct child *child, const Spawnd__V1__ListRequest *request)
{
	enum child_state state = child_state(child);

	if (!request->all && (state == CHILD_EXITED || state == CHILD_FAILED))
		return false;
	if (*request->name && strcmp(child_name(child), request->name) != 0)
		return false;
	for (size_t i = 0; i < request->n_labels; i++)
		if (!has_label(child_spec(child)->message, request->labels[i]))
			return false;
	return rights_has(call, child, RIGHT_OBSERVE);
}

/* Fills a page; true when there may be more. */
static bool fill(const struct call *call, Spawnd__V1__ListReply *reply, const Spawnd__V1__ListRequest *request)
{
	struct children *children = service_get()->config.children;
	struct child *child = children_next(children, request->after_id);
	size_t bytes = 0;

	for (; child; child = children_next(children, child_id(child))) {
		Spawnd__V1__Process *process;

		if (!is_wanted(call, child, request))
			continue;
		process = convert_process(child, request->usage ? CONVERT_USAGE : 0);
		bytes += spawnd__v1__process__get_packed_size(process);
		if (reply->n_processes && (bytes > PAGE_BYTES || reply->n_processes == PAGE_PROCESSES)) {
			convert_process_free(process);
			return true;
		}
		reply->processes[reply->n_processes++] = process;
	}
	return false;
}

int handle_list(struct call *call, const ProtobufCMessage *message, struct err *err)
{
	const Spawnd__V1__ListRequest *request = (const Spawnd__V1__ListRequest *)message;
	Spawnd__V1__ListReply reply = SPAWND__V1__LIST_REPLY__INIT;
	int done = check(request, err);

	if (done < 0)
		return done;

	reply.processes = mem_alloc(PAGE_PROCESSES * sizeof(*reply.processes));
	if (fill(call, &reply, request))
		reply.next_after_id = reply.processes[reply.n_processes - 1]->id;
	call_reply(call, &reply.base);
	for (size_t i = 0; i < reply.n_processes; i++)
		convert_process_free(reply.processes[i]);
	free(reply.processes);
	return 0;
}

int handle_get(struct call *call, const ProtobufCMessage *message, struct err *err)
{
	const Spawnd__V1__GetRequest *request = (const Spawnd__V1__GetRequest *)message;
	Spawnd__V1__Process *process;
	struct child *child;
	int done = rights_find(call, request->process, &child, err);

	if (done < 0)
		return done;
	process = convert_process(child, CONVERT_USAGE | CONVERT_SPEC);
	call_reply(call, &process->base);
	convert_process_free(process);
	return 0;
}
