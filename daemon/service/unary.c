/* The short acts on one process: Resize, CloseStdin, SetOnDisconnect. */
#include <errno.h>

#include "service/acts.h"
#include "service/convert.h"
#include "service/internal.h"
#include "service/rights.h"

int handle_resize(struct call *call, const ProtobufCMessage *message, struct err *err)
{
	const Spawnd__V1__ResizeRequest *request = (const Spawnd__V1__ResizeRequest *)message;
	Spawnd__V1__ResizeReply reply = SPAWND__V1__RESIZE_REPLY__INIT;
	struct child *child;
	int done = rights_find(call, request->process, &child, err);

	if (done == 0)
		done = convert_window(child_spec(child), request->window, "window", err);
	if (done == 0)
		done = child_resize(child, request->window->rows, request->window->columns, err);
	if (done == 0)
		call_reply(call, &reply.base);
	return done;
}

int handle_close_stdin(struct call *call, const ProtobufCMessage *message, struct err *err)
{
	const Spawnd__V1__CloseStdinRequest *request = (const Spawnd__V1__CloseStdinRequest *)message;
	Spawnd__V1__CloseStdinReply reply = SPAWND__V1__CLOSE_STDIN_REPLY__INIT;
	struct act_name name;
	struct child *child;
	int done = acts_begin(call, request->idempotency_key, message, &name, err);

	if (done != 0)
		return done < 0 ? done : 0;
	done = rights_find(call, request->process, &child, err);
	if (done < 0)
		return done;
	if (!input_has_slot(child, request->slot))
		return err_invalid(err, "slot", "the process reads nothing from us at %u", request->slot);
	done = child_close_stdin(child, request->slot, err);
	if (done == 0)
		acts_reply(call, &name, &reply.base);
	return done;
}

int handle_set_on_disconnect(struct call *call, const ProtobufCMessage *message, struct err *err)
{
	const Spawnd__V1__SetOnDisconnectRequest *request = (const Spawnd__V1__SetOnDisconnectRequest *)message;
	Spawnd__V1__SetOnDisconnectReply reply = SPAWND__V1__SET_ON_DISCONNECT_REPLY__INIT;
	struct act_name name;
	struct child *child;
	int done = acts_begin(call, request->idempotency_key, message, &name, err);

	if (done != 0)
		return done < 0 ? done : 0;
	done = rights_find(call, request->process, &child, err);
	if (done < 0)
		return done;
	if (request->on_disconnect == SPAWND__V1__ON_DISCONNECT__ON_DISCONNECT_UNSPECIFIED)
		return err_invalid(err, "on_disconnect", "is missing");
	child_set_on_disconnect(child, request->on_disconnect);
	acts_reply(call, &name, &reply.base);
	return 0;
}
