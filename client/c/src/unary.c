/* The calls of one answer: each asynchronous, and blocking by waiting for it. */
#include <stdio.h>

#include "base/clock.h"
#include "base/mem.h"
#include "call.h"
#include "spawnd/v1/admin.pb-c.h"

#define WAIT_TIMED_MAX_MS UINT64_C(3153600000000) /* a hundred years; what is longer begins anew without harm */

/* ---- asynchronous ---- */

static struct spawnd_call *open_info(struct spawnd *client, const char *method, const ProtobufCMessage *request,
	const struct spawnd_spec *spec, spawnd_info_fn done, void *context, struct spawnd_error *error)
{
	const struct spawnd_call like = {
		.type = &spawnd__v1__process__descriptor, .deliver = call_deliver_info, .fn.info = done, .context = context};

	return call_open(client, SERVICE_PROCESSES, method, request, spec ? spec->fds : NULL, spec ? spec->fd_count : 0, &like, error);
}

static struct spawnd_call *open_kill(struct spawnd *client, const char *method, const ProtobufCMessage *request, spawnd_kill_fn done,
	void *context, struct spawnd_error *error)
{
	const struct spawnd_call like = {
		.type = &spawnd__v1__kill_reply__descriptor, .deliver = call_deliver_kill, .fn.kill = done, .context = context};

	return call_open(client, SERVICE_PROCESSES, method, request, NULL, 0, &like, error);
}

/* A call whose answer says nothing. */
static struct spawnd_call *open_done(struct spawnd *client, const char *service, const char *method, const ProtobufCMessage *request,
	const ProtobufCMessageDescriptor *type, spawnd_done_fn done, void *context, struct spawnd_error *error)
{
	const struct spawnd_call like = {.type = type, .deliver = call_deliver_done, .fn.done = done, .context = context};

	return call_open(client, service, method, request, NULL, 0, &like, error);
}

struct spawnd_call *spawnd_start_async(struct spawnd *client, const struct spawnd_spec *spec, const char *key, spawnd_info_fn done,
	void *context, struct spawnd_error *error)
{
	Spawnd__V1__StartRequest request = SPAWND__V1__START_REQUEST__INIT;
	char own[CLIENT_KEY_SIZE];

	if (client_check_spec(client, spec, error) < 0)
		return NULL;
	client_key(client, own);
	request.spec = (Spawnd__V1__ProcessSpec *)&spec->message;
	request.idempotency_key = key ? (char *)key : own;
	return open_info(client, "Start", &request.base, spec, done, context, error);
}

struct spawnd_call *spawnd_wait_async(struct spawnd *client, struct spawnd_ref ref, bool closed, uint64_t timeout_ms, spawnd_info_fn done,
	void *context, struct spawnd_error *error)
{
	struct spawnd_call like = {
		.type = &spawnd__v1__process__descriptor, .deliver = call_deliver_info, .fn.info = done, .context = context};
	Spawnd__V1__WaitRequest request = SPAWND__V1__WAIT_REQUEST__INIT;
	Spawnd__V1__ProcessRef process = ref_message(ref);

	request.process = &process;
	request.closed = closed;
	request.timeout_ms = timeout_ms;
	if (timeout_ms && timeout_ms < WAIT_TIMED_MAX_MS)
		like.deadline_ns = clock_boot_ns() + (int64_t)timeout_ms * 1000000;
	return call_open(client, SERVICE_PROCESSES, "Wait", &request.base, NULL, 0, &like, error);
}

struct spawnd_call *spawnd_get_async(
	struct spawnd *client, struct spawnd_ref ref, spawnd_info_fn done, void *context, struct spawnd_error *error)
{
	Spawnd__V1__GetRequest request = SPAWND__V1__GET_REQUEST__INIT;
	Spawnd__V1__ProcessRef process = ref_message(ref);

	request.process = &process;
	return open_info(client, "Get", &request.base, NULL, done, context, error);
}

struct spawnd_call *spawnd_signal_async(struct spawnd *client, struct spawnd_ref ref, int signal, enum spawnd_scope scope,
	spawnd_kill_fn done, void *context, struct spawnd_error *error)
{
	Spawnd__V1__SignalRequest request = SPAWND__V1__SIGNAL_REQUEST__INIT;
	Spawnd__V1__ProcessRef process = ref_message(ref);
	char key[CLIENT_KEY_SIZE];

	client_key(client, key);
	request.idempotency_key = key;
	request.process = &process;
	request.signal = signal;
	request.scope = (Spawnd__V1__KillScope)scope;
	return open_kill(client, "Signal", &request.base, done, context, error);
}

struct spawnd_call *spawnd_stop_async(struct spawnd *client, struct spawnd_ref ref, int64_t grace_ms, int signal, spawnd_kill_fn done,
	void *context, struct spawnd_error *error)
{
	Spawnd__V1__StopRequest request = SPAWND__V1__STOP_REQUEST__INIT;
	Spawnd__V1__ProcessRef process = ref_message(ref);
	char key[CLIENT_KEY_SIZE];

	client_key(client, key);
	request.idempotency_key = key;
	request.process = &process;
	request.signal = signal;
	if (grace_ms >= 0) {
		request._grace_ms_case = SPAWND__V1__STOP_REQUEST___GRACE_MS_GRACE_MS;
		request.grace_ms = (uint64_t)grace_ms;
	}
	return open_kill(client, "Stop", &request.base, done, context, error);
}

struct spawnd_call *spawnd_resize_async(struct spawnd *client, struct spawnd_ref ref, unsigned rows, unsigned columns, spawnd_done_fn done,
	void *context, struct spawnd_error *error)
{
	Spawnd__V1__ResizeRequest request = SPAWND__V1__RESIZE_REQUEST__INIT;
	Spawnd__V1__WindowSize window = SPAWND__V1__WINDOW_SIZE__INIT;
	Spawnd__V1__ProcessRef process = ref_message(ref);

	window.rows = rows;
	window.columns = columns;
	request.process = &process;
	request.window = &window;
	return open_done(client, SERVICE_PROCESSES, "Resize", &request.base, &spawnd__v1__resize_reply__descriptor, done, context, error);
}

struct spawnd_call *spawnd_close_stdin_async(
	struct spawnd *client, struct spawnd_ref ref, unsigned slot, spawnd_done_fn done, void *context, struct spawnd_error *error)
{
	Spawnd__V1__CloseStdinRequest request = SPAWND__V1__CLOSE_STDIN_REQUEST__INIT;
	Spawnd__V1__ProcessRef process = ref_message(ref);
	char key[CLIENT_KEY_SIZE];

	client_key(client, key);
	request.idempotency_key = key;
	request.process = &process;
	request.slot = slot;
	return open_done(
		client, SERVICE_PROCESSES, "CloseStdin", &request.base, &spawnd__v1__close_stdin_reply__descriptor, done, context, error);
}

struct spawnd_call *spawnd_set_on_disconnect_async(struct spawnd *client, struct spawnd_ref ref, enum spawnd_on_disconnect what,
	spawnd_done_fn done, void *context, struct spawnd_error *error)
{
	Spawnd__V1__SetOnDisconnectRequest request = SPAWND__V1__SET_ON_DISCONNECT_REQUEST__INIT;
	Spawnd__V1__ProcessRef process = ref_message(ref);
	char key[CLIENT_KEY_SIZE];

	client_key(client, key);
	request.idempotency_key = key;
	request.process = &process;
	request.on_disconnect = (Spawnd__V1__OnDisconnect)what;
	return open_done(client, SERVICE_PROCESSES, "SetOnDisconnect", &request.base, &spawnd__v1__set_on_disconnect_reply__descriptor,
		done, context, error);
}

struct spawnd_call *spawnd_disconnect_async(
	struct spawnd *client, struct spawnd_ref ref, spawnd_done_fn done, void *context, struct spawnd_error *error)
{
	Spawnd__V1__DisconnectRequest request = SPAWND__V1__DISCONNECT_REQUEST__INIT;
	Spawnd__V1__ProcessRef process = ref_message(ref);
	char key[CLIENT_KEY_SIZE];

	client_key(client, key);
	request.idempotency_key = key;
	request.process = &process;
	return open_done(
		client, SERVICE_PROCESSES, "Disconnect", &request.base, &spawnd__v1__disconnect_reply__descriptor, done, context, error);
}

struct spawnd_call *spawnd_remove_async(
	struct spawnd *client, struct spawnd_ref ref, spawnd_done_fn done, void *context, struct spawnd_error *error)
{
	Spawnd__V1__RemoveRequest request = SPAWND__V1__REMOVE_REQUEST__INIT;
	Spawnd__V1__ProcessRef process = ref_message(ref);
	char key[CLIENT_KEY_SIZE];

	client_key(client, key);
	request.idempotency_key = key;
	request.process = &process;
	return open_done(client, SERVICE_PROCESSES, "Remove", &request.base, &spawnd__v1__remove_reply__descriptor, done, context, error);
}

struct spawnd_call *spawnd_ping_async(struct spawnd *client, spawnd_done_fn done, void *context, struct spawnd_error *error)
{
	Spawnd__V1__PingRequest request = SPAWND__V1__PING_REQUEST__INIT;

	return open_done(client, SERVICE_ADMIN, "Ping", &request.base, &spawnd__v1__ping_reply__descriptor, done, context, error);
}

/* ---- blocking ---- */

/* Gives the record away, or frees it when nobody wants it. */
static int give_info(struct answer *answer, struct spawnd_info **info_out)
{
	if (info_out)
		*info_out = answer->info;
	else
		spawnd_info_free(answer->info);
	return 0;
}

static int give_kill(struct answer *answer, struct spawnd_kill *kill_out)
{
	if (kill_out)
		*kill_out = answer->kill;
	else
		spawnd_kill_clear(&answer->kill);
	return 0;
}

int spawnd_start(
	struct spawnd *client, const struct spawnd_spec *spec, const char *key, struct spawnd_info **info_out, struct spawnd_error *error)
{
	struct answer answer = {.done = false};

	if (client_may_block(client, error) < 0 ||
		call_wait(client, spawnd_start_async(client, spec, key, answer_info, &answer, error), &answer, error) < 0)
		return -1;
	return give_info(&answer, info_out);
}

int spawnd_wait(struct spawnd *client, struct spawnd_ref ref, bool closed, uint64_t timeout_ms, struct spawnd_info **info_out,
	struct spawnd_error *error)
{
	struct answer answer = {.done = false};

	if (client_may_block(client, error) < 0 ||
		call_wait(client, spawnd_wait_async(client, ref, closed, timeout_ms, answer_info, &answer, error), &answer, error) < 0)
		return -1;
	return give_info(&answer, info_out);
}

int spawnd_get(struct spawnd *client, struct spawnd_ref ref, struct spawnd_info **info_out, struct spawnd_error *error)
{
	struct answer answer = {.done = false};

	if (client_may_block(client, error) < 0 ||
		call_wait(client, spawnd_get_async(client, ref, answer_info, &answer, error), &answer, error) < 0)
		return -1;
	return give_info(&answer, info_out);
}

int spawnd_signal(struct spawnd *client, struct spawnd_ref ref, int signal, enum spawnd_scope scope, struct spawnd_kill *kill_out,
	struct spawnd_error *error)
{
	struct answer answer = {.done = false};

	if (client_may_block(client, error) < 0 ||
		call_wait(client, spawnd_signal_async(client, ref, signal, scope, answer_kill, &answer, error), &answer, error) < 0)
		return -1;
	return give_kill(&answer, kill_out);
}

int spawnd_stop(struct spawnd *client, struct spawnd_ref ref, int64_t grace_ms, int signal, struct spawnd_kill *kill_out,
	struct spawnd_error *error)
{
	struct answer answer = {.done = false};

	if (client_may_block(client, error) < 0 ||
		call_wait(client, spawnd_stop_async(client, ref, grace_ms, signal, answer_kill, &answer, error), &answer, error) < 0)
		return -1;
	return give_kill(&answer, kill_out);
}

int spawnd_resize(struct spawnd *client, struct spawnd_ref ref, unsigned rows, unsigned columns, struct spawnd_error *error)
{
	struct answer answer = {.done = false};

	if (client_may_block(client, error) < 0 ||
		call_wait(client, spawnd_resize_async(client, ref, rows, columns, answer_done, &answer, error), &answer, error) < 0)
		return -1;
	return 0;
}

int spawnd_close_stdin(struct spawnd *client, struct spawnd_ref ref, unsigned slot, struct spawnd_error *error)
{
	struct answer answer = {.done = false};

	if (client_may_block(client, error) < 0 ||
		call_wait(client, spawnd_close_stdin_async(client, ref, slot, answer_done, &answer, error), &answer, error) < 0)
		return -1;
	return 0;
}

int spawnd_set_on_disconnect(struct spawnd *client, struct spawnd_ref ref, enum spawnd_on_disconnect what, struct spawnd_error *error)
{
	struct answer answer = {.done = false};

	if (client_may_block(client, error) < 0 ||
		call_wait(client, spawnd_set_on_disconnect_async(client, ref, what, answer_done, &answer, error), &answer, error) < 0)
		return -1;
	return 0;
}

int spawnd_disconnect(struct spawnd *client, struct spawnd_ref ref, struct spawnd_error *error)
{
	struct answer answer = {.done = false};

	if (client_may_block(client, error) < 0 ||
		call_wait(client, spawnd_disconnect_async(client, ref, answer_done, &answer, error), &answer, error) < 0)
		return -1;
	return 0;
}

int spawnd_remove(struct spawnd *client, struct spawnd_ref ref, struct spawnd_error *error)
{
	struct answer answer = {.done = false};

	if (client_may_block(client, error) < 0 ||
		call_wait(client, spawnd_remove_async(client, ref, answer_done, &answer, error), &answer, error) < 0)
		return -1;
	return 0;
}

int spawnd_ping(struct spawnd *client, struct spawnd_error *error)
{
	struct answer answer = {.done = false};

	if (client_may_block(client, error) < 0 ||
		call_wait(client, spawnd_ping_async(client, answer_done, &answer, error), &answer, error) < 0)
		return -1;
	return 0;
}
