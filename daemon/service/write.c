/* Write: bytes for a slot the child reads, from whoever may attach. One last reply when all is with the kernel. */
#include <errno.h>

#include "base/mem.h"
#include "service/convert.h"
#include "service/internal.h"
#include "service/rights.h"

struct writer {
	struct call *call;
	struct child *child;
	struct input input;
	uint32_t slot;
	bool last; /* the client has said everything */
};

static void destroy(struct writer *writer)
{
	child_unobserve(writer->child, writer);
	input_finish(&writer->input);
	free(writer);
}

static void send_reply(struct writer *writer, uint64_t granted)
{
	Spawnd__V1__WriteReply reply = SPAWND__V1__WRITE_REPLY__INIT;
	Spawnd__V1__Grant grant = SPAWND__V1__GRANT__INIT;

	grant.bytes = granted;
	if (granted)
		reply.grant = &grant;
	reply.written = writer->input.kernel;
	call_send(writer->call, &reply.base, NULL, 0);
}

/* Tells where what this writer sends will begin. */
static void send_offset(struct writer *writer)
{
	Spawnd__V1__WriteReply reply = SPAWND__V1__WRITE_REPLY__INIT;

	reply._offset_case = SPAWND__V1__WRITE_REPLY___OFFSET_OFFSET;
	reply.offset = input_taken(&writer->input, writer->slot);
	call_send(writer->call, &reply.base, NULL, 0);
}

static void on_grant(void *context, uint64_t bytes)
{
	send_reply(context, bytes);
}

/* What is lost by it is seen in on_idle. */
static void on_closed(void *context, uint32_t slot, uint64_t written)
{
}

/* Ends the call when there is nothing left to write, or nobody to write to. */
static void on_idle(void *context)
{
	struct writer *writer = context;
	struct err err;

	if (writer->input.lost) {
		err_errno(&err, EPIPE, "write", NULL);
		err.status = STATUS_FAILED_PRECONDITION;
		call_fail(writer->call, &err);
	} else if (writer->last && input_is_idle(&writer->input)) {
		send_reply(writer, 0);
		call_finish(writer->call);
	} else {
		return;
	}
	destroy(writer);
}

static const struct input_observer input_observer = {.on_grant = on_grant, .on_closed = on_closed, .on_idle = on_idle};

static void on_spawned(void *context, struct child *child)
{
	struct writer *writer = context;

	input_on_spawned(&writer->input);
}

static void on_failed(void *context, struct child *child, const struct err *err)
{
	struct writer *writer = context;

	call_fail_spawn(writer->call, err, child_spec(child)->argv);
	destroy(writer);
}

static void on_stdin_room(void *context, struct child *child, uint32_t slot, uint64_t written)
{
	struct writer *writer = context;

	input_on_room(&writer->input, slot, written);
}

static void on_stdin_closed(void *context, struct child *child, uint32_t slot)
{
	struct writer *writer = context;

	if (slot == writer->slot)
		input_on_closed(&writer->input, slot);
}

/* The end of the process is the end of its stdin, whoever else holds the pipe. */
static void on_child_closed(void *context, struct child *child)
{
	struct writer *writer = context;

	input_on_closed(&writer->input, writer->slot);
}

static void on_removed(void *context, struct child *child)
{
	struct writer *writer = context;
	struct err err;

	err_errno(&err, ESRCH, "write", NULL);
	call_fail(writer->call, &err);
	destroy(writer);
}

static const struct child_observer observer = {
	.on_spawned = on_spawned,
	.on_failed = on_failed,
	.on_closed = on_child_closed,
	.on_stdin_room = on_stdin_room,
	.on_stdin_closed = on_stdin_closed,
	.on_removed = on_removed,
};

/* Data of the slot that start named; its own number, if told, must be that. */
static int write_data(struct writer *writer, const Spawnd__V1__StdinData *data, struct err *err)
{
	Spawnd__V1__StdinData placed = *data;

	if (data->slot && data->slot != writer->slot)
		return err_invalid(err, "data.slot", "start named slot %u", writer->slot);
	placed.slot = writer->slot;
	writer->last = writer->last || data->eof;
	return input_data(&writer->input, &placed, err);
}

static int on_message(struct call *call, const ProtobufCMessage *message, struct err *err)
{
	const Spawnd__V1__WriteRequest *request = (const Spawnd__V1__WriteRequest *)message;
	struct writer *writer = call_context(call);

	switch (request->message_case) {
	case SPAWND__V1__WRITE_REQUEST__MESSAGE_DATA:
		if (writer->last)
			return err_invalid(err, "data", "follows eof");
		return write_data(writer, request->data, err);
	case SPAWND__V1__WRITE_REQUEST__MESSAGE_CANCEL:
		return convert_cancelled(err);
	case SPAWND__V1__WRITE_REQUEST__MESSAGE_START:
	case SPAWND__V1__WRITE_REQUEST__MESSAGE__NOT_SET:
	default:
		return err_invalid(err, "message", "only data or cancel may follow start");
	}
}

static void on_half_close(struct call *call)
{
	struct writer *writer = call_context(call);

	writer->last = true;
	if (input_is_idle(&writer->input))
		on_idle(writer);
}

static void on_end(struct call *call)
{
	destroy(call_context(call));
}

int handle_write(struct call *call, const ProtobufCMessage *message, struct err *err)
{
	static const struct call_ops ops = {.on_message = on_message, .on_half_close = on_half_close, .on_end = on_end};
	const Spawnd__V1__WriteRequest *request = (const Spawnd__V1__WriteRequest *)message;
	struct service *service = service_get();
	struct writer *writer;
	struct child *child;
	int done;

	if (request->message_case != SPAWND__V1__WRITE_REQUEST__MESSAGE_START)
		return err_invalid(err, "start", "must be the first message");
	done = rights_find(call, request->start->process, &child, err);
	if (done < 0)
		return done;
	if (!input_has_slot(child, request->start->slot))
		return err_invalid(err, "slot", "the process reads nothing from us at %u", request->start->slot);
	if (child_state(child) == CHILD_FAILED || child_is_closed(child))
		return err_errno(err, ESRCH, "write", NULL);
	writer = mem_alloc(sizeof(*writer));
	writer->call = call;
	writer->child = child;
	writer->slot = request->start->slot;
	input_init(&writer->input, service->feeds, call, child, &input_observer, writer);
	child_observe(child, &observer, writer);
	call_set_ops(call, &ops, writer);
	if (request->start->tell_offset)
		send_offset(writer);
	return 0;
}
