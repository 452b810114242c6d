/* What clients say on the stream of a process: stdin, credit, signals, the size of the terminal, the end. */
#include "service/stream_control.h"

#include <errno.h>

#include "service/convert.h"
#include "service/rights.h"

/* The stop ladder, as the spec has it. */
static void kill_by_cancel(struct stream *stream)
{
	const struct spec *spec = child_spec(stream->child);

	child_stop(stream->child, spec->kill_signal, spec->message->grace_ms, convert_scope(spec->message->kill_scope, KILL_TREE),
		CHILD_REASON_STOPPED, "cancel", NULL, NULL);
}

static int cancel(struct stream *stream, struct err *err)
{
	stream->cancelled = true;
	if (stream->kind == STREAM_SPAWN || stream->kind == STREAM_RUN)
		kill_by_cancel(stream);
	return convert_cancelled(err);
}

static int signal_child(struct stream *stream, const Spawnd__V1__SignalCommand *command, struct err *err)
{
	int done = convert_signal(command->signal, true, "control.signal.signal", err);

	if (done == 0 && stream->kind == STREAM_ATTACH)
		done = rights_need(stream->call, stream->child, RIGHT_SIGNAL, "Attach with a signal", err);
	if (done == 0)
		child_signal(stream->child, command->signal, convert_scope(command->scope, KILL_CHILD), NULL, NULL);
	return done;
}

/* A terminal that is gone with its process is nobody's fault. */
static int resize(struct stream *stream, const Spawnd__V1__WindowSize *window, struct err *err)
{
	int done = convert_window(child_spec(stream->child), window, "control.resize", err);

	if (done == 0)
		child_resize(stream->child, window->rows, window->columns, NULL);
	return done;
}

/* Credit of the stream, or of one slot; messages are always the stream's. */
static int grant(struct stream *stream, const Spawnd__V1__Grant *more, struct err *err)
{
	const struct slot_spec *channel = spec_channel_slot(child_spec(stream->child));
	bool is_channel = channel && more->_slot_case && more->slot == channel->slot;
	int done = more->_slot_case && !is_channel ? outflow_grant(&stream->outflow, more->slot, more->bytes, err) : 0;

	if (is_channel)
		receiving_grant(&stream->receiving, more->bytes);
	if (done == 0 && more->message)
		receiving_had(&stream->receiving, more->message, more->message_offset);
	if (done == 0)
		call_grant(stream->call, more->_slot_case ? 0 : more->bytes, more->messages);
	return done;
}

static int check_channel(const struct stream *stream, const char *field, struct err *err)
{
	if (stream->kind != STREAM_RUN && spec_channel_slot(child_spec(stream->child)))
		return 0;
	return err_invalid(err, field, "the process has no channel");
}

static int message(struct stream *stream, const Spawnd__V1__ChannelMessage *data, struct err *err)
{
	int done = check_channel(stream, "control.message", err);

	return done < 0 ? done : sending_message(&stream->sending, data, err);
}

static int disconnect(struct stream *stream, struct err *err)
{
	struct channel *channel = channels_find(stream->service->channels, stream->child);
	int done = check_channel(stream, "control.disconnect", err);

	if (done == 0 && channel)
		channel_disconnect(channel, NULL, NULL);
	return done;
}

/* What follows the end of file is answered by StdinClosed, for which a Run has no message: there it is an error. */
static int stdin_data(struct stream *stream, const Spawnd__V1__StdinData *data, struct err *err)
{
	if (stream->kind == STREAM_RUN && data->data.len && input_has_ended(&stream->input, data->slot))
		return err_invalid(err, "stdin.data", "follows the end of the input");
	return input_data(&stream->input, data, err);
}

static int control(struct stream *stream, const Spawnd__V1__ProcessControl *said, struct err *err)
{
	switch (said->control_case) {
	case SPAWND__V1__PROCESS_CONTROL__CONTROL_STDIN:
		return stdin_data(stream, said->stdin, err);
	case SPAWND__V1__PROCESS_CONTROL__CONTROL_GRANT:
		return grant(stream, said->grant, err);
	case SPAWND__V1__PROCESS_CONTROL__CONTROL_SIGNAL:
		return signal_child(stream, said->signal, err);
	case SPAWND__V1__PROCESS_CONTROL__CONTROL_RESIZE:
		return resize(stream, said->resize, err);
	case SPAWND__V1__PROCESS_CONTROL__CONTROL_CANCEL:
		return cancel(stream, err);
	case SPAWND__V1__PROCESS_CONTROL__CONTROL_MESSAGE:
		return message(stream, said->message, err);
	case SPAWND__V1__PROCESS_CONTROL__CONTROL_DISCONNECT:
		return disconnect(stream, err);
	case SPAWND__V1__PROCESS_CONTROL__CONTROL__NOT_SET:
	default:
		return err_invalid(err, "control", "says nothing");
	}
}

static int logs_message(struct stream *stream, const Spawnd__V1__LogsRequest *request, struct err *err)
{
	switch (request->message_case) {
	case SPAWND__V1__LOGS_REQUEST__MESSAGE_GRANT:
		return grant(stream, request->grant, err);
	case SPAWND__V1__LOGS_REQUEST__MESSAGE_CANCEL:
		return cancel(stream, err);
	case SPAWND__V1__LOGS_REQUEST__MESSAGE_START:
	case SPAWND__V1__LOGS_REQUEST__MESSAGE__NOT_SET:
	default:
		return err_invalid(err, "message", "only grant or cancel may follow start");
	}
}

int stream_message(struct stream *stream, const ProtobufCMessage *message, struct err *err)
{
	const Spawnd__V1__ProcessControl *said = NULL;

	if (stream->kind == STREAM_LOGS)
		return logs_message(stream, (const Spawnd__V1__LogsRequest *)message, err);
	if (stream->kind == STREAM_SPAWN) {
		const Spawnd__V1__SpawnRequest *request = (const Spawnd__V1__SpawnRequest *)message;

		said = request->message_case == SPAWND__V1__SPAWN_REQUEST__MESSAGE_CONTROL ? request->control : NULL;
	} else if (stream->kind == STREAM_ATTACH) {
		const Spawnd__V1__AttachRequest *request = (const Spawnd__V1__AttachRequest *)message;

		said = request->message_case == SPAWND__V1__ATTACH_REQUEST__MESSAGE_CONTROL ? request->control : NULL;
	} else {
		const Spawnd__V1__RunRequest *request = (const Spawnd__V1__RunRequest *)message;

		said = request->message_case == SPAWND__V1__RUN_REQUEST__MESSAGE_CONTROL ? request->control : NULL;
	}
	return said ? control(stream, said, err) : err_invalid(err, "message", "only control may follow start");
}
