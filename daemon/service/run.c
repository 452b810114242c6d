/*
 * Run: exec and execFile. It is a stream whose output is bounded by `capture`: slots that keep their first bytes are sent as
 * they come; slots that keep their last are sent at the end, from what is kept of them.
 */
#include "service/run.h"

#include <errno.h>

#include "base/mem.h"
#include "service/launch.h"
#include "service/reading.h"
#include "service/stream.h"

static bool is_late(const struct slot_spec *slot)
{
	return slot->capture_limit && slot->capture_policy == SPAWND__V1__CAPTURE__POLICY__POLICY_CUT_HEAD;
}

void run_send_result(struct call *call, struct child *child)
{
	const struct spec *spec = child_spec(child);
	Spawnd__V1__RunReply reply = SPAWND__V1__RUN_REPLY__INIT;
	Spawnd__V1__RunResult result = SPAWND__V1__RUN_RESULT__INIT;
	_cleanup_free_ Spawnd__V1__SlotCut *cuts = mem_alloc((spec->slot_count + 1) * sizeof(*cuts));
	_cleanup_free_ Spawnd__V1__SlotCut **list = mem_alloc((spec->slot_count + 1) * sizeof(Spawnd__V1__SlotCut *));

	result.id = child_id(child);
	result.exit = child_exit_record(child);
	result.cut = list;
	for (size_t i = 0; i < spec->slot_count; i++) {
		Spawnd__V1__SlotCut *cut = &cuts[result.n_cut];

		spawnd__v1__slot_cut__init(cut);
		cut->slot = spec->slots[i].slot;
		if (child_cut(child, cut->slot, &cut->offset, &cut->bytes))
			list[result.n_cut++] = cut;
	}
	reply.reply_case = SPAWND__V1__RUN_REPLY__REPLY_RESULT;
	reply.result = &result;
	call_send(call, &reply.base, NULL, 0);
	if (result.exit)
		spawnd__v1__exit_record__free_unpacked(result.exit, NULL);
}

/* Which slots are sent as they come, and which at the end. */
static void split_slots(const struct spec *spec, struct stream_start *start)
{
	start->plan.slots = mem_alloc((spec->slot_count + 1) * sizeof(*start->plan.slots));
	start->late_slots = mem_alloc((spec->slot_count + 1) * sizeof(*start->late_slots));
	for (size_t i = 0; i < spec->slot_count; i++) {
		if (!spec_is_output(spec, &spec->slots[i]))
			continue;
		if (is_late(&spec->slots[i]))
			start->late_slots[start->late_count++] = spec->slots[i].slot;
		else
			start->plan.slots[start->plan.slot_count++] = spec->slots[i].slot;
	}
	start->no_output = start->plan.slot_count == 0;
}

/*
 * The spec of a Run that has input: slot 0 is a pipe unless it was said otherwise. `copy` and what it points to are the
 * caller's; everything else is borrowed from the request.
 */
struct spec_with_input {
	Spawnd__V1__ProcessSpec spec;
	Spawnd__V1__Stdio stdio;
	Spawnd__V1__Stdio **list; /* owned */
};

static int give_input(const Spawnd__V1__ProcessSpec *asked, struct spec_with_input *copy, struct err *err)
{
	size_t at = 0;

	copy->spec = *asked;
	copy->list = mem_alloc((asked->n_stdio + 1) * sizeof(*copy->list));
	if (asked->n_stdio)
		memcpy(copy->list, asked->stdio, asked->n_stdio * sizeof(*copy->list));
	while (at < asked->n_stdio && asked->stdio[at]->slot != 0)
		at++;
	if (at == asked->n_stdio) {
		spawnd__v1__stdio__init(&copy->stdio);
		copy->spec.n_stdio++;
	} else {
		copy->stdio = *asked->stdio[at];
	}
	if (copy->stdio.kind == SPAWND__V1__STDIO__KIND__KIND_UNSPECIFIED)
		copy->stdio.kind = SPAWND__V1__STDIO__KIND__KIND_PIPE;
	if (copy->stdio.kind != SPAWND__V1__STDIO__KIND__KIND_PIPE && copy->stdio.kind != SPAWND__V1__STDIO__KIND__KIND_PTY)
		return err_invalid(err, "input", "needs slot 0 to be a pipe or a terminal");
	copy->list[at] = &copy->stdio;
	copy->spec.stdio = copy->list;
	return 0;
}

int handle_run(struct call *call, const ProtobufCMessage *message, struct err *err)
{
	static const ProtobufCBinaryData nothing;
	const Spawnd__V1__RunRequest *request = (const Spawnd__V1__RunRequest *)message;
	const Spawnd__V1__RunStart *run = request->start;
	struct launch_request launch = {.call = call, .use = SPEC_RUN};
	struct stream_start start = {.kind = STREAM_RUN, .plan = {.policy = READER_BLOCK}};
	struct spec_with_input copy = {.list = NULL};
	bool has_input;
	int done = 0;

	if (request->message_case != SPAWND__V1__RUN_REQUEST__MESSAGE_START)
		return err_invalid(err, "start", "must be the first message");
	if (reading_window(run->window, "window", err) < 0)
		return -EINVAL;
	has_input = run->_input_case || run->input_follows;
	launch.spec = run->spec;
	launch.key = run->idempotency_key;
	launch.resume = run->resume;
	if (has_input && run->spec) {
		done = give_input(run->spec, &copy, err);
		launch.spec = &copy.spec;
	}
	if (done == 0)
		done = launch_process(&launch, &start.child, &start.joined, err);
	free(copy.list);
	if (done)
		return done < 0 ? done : 0;
	done = reading_from(&start.plan, child_spec(start.child), run->from, run->n_from, err);
	if (done < 0)
		return done;
	split_slots(child_spec(start.child), &start);
	start.plan.from = OUTFLOW_ZERO;
	start.window = run->window;
	if (has_input) {
		start.input = run->_input_case ? &run->input : &nothing;
		start.input_ends = !run->input_follows;
	}
	stream_create(call, &start);
	return 0;
}
