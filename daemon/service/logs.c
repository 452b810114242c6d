/* Logs: output that was kept, and what comes. */
#include <errno.h>

#include "service/convert.h"
#include "service/reading.h"
#include "service/rights.h"
#include "service/stream.h"

int handle_logs(struct call *call, const ProtobufCMessage *message, struct err *err)
{
	const Spawnd__V1__LogsRequest *request = (const Spawnd__V1__LogsRequest *)message;
	const Spawnd__V1__LogsStart *logs = request->start;
	struct stream_start start = {.kind = STREAM_LOGS, .plan = {.policy = READER_DROP, .from = OUTFLOW_RETAINED}};
	const struct spec *spec;
	int done;

	if (request->message_case != SPAWND__V1__LOGS_REQUEST__MESSAGE_START)
		return err_invalid(err, "start", "must be the first message");
	if (reading_window(logs->window, "window", err) < 0)
		return -EINVAL;
	done = rights_find(call, logs->process, &start.child, err);
	if (done < 0)
		return done;
	spec = child_spec(start.child);
	done = reading_slots(&start.plan, spec, logs->slots, logs->n_slots, "slots", err);
	if (done == 0)
		done = reading_from(&start.plan, spec, logs->from, logs->n_from, err);
	if (done < 0) {
		outflow_plan_finish(&start.plan);
		return done;
	}
	if (logs->since_ns) {
		start.plan.from = OUTFLOW_TIME;
		start.plan.since_ns = logs->since_ns;
	}
	start.plan.snapshot = !logs->follow;
	start.window = logs->window;
	stream_create(call, &start);
	return 0;
}
