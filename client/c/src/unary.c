/* The blocking calls of one answer. */
#include <stdio.h>

#include "base/mem.h"
#include "internal.h"
#include "spawnd/v1/admin.pb-c.h"

#define PROCESSES "spawnd.v1.Processes"
#define ADMIN "spawnd.v1.Admin"

/* A call whose answer says nothing. */
static int call_plain(struct spawnd *client, const char *service, const char *method, const ProtobufCMessage *request,
	const ProtobufCMessageDescriptor *type, struct spawnd_error *error)
{
	ProtobufCMessage *reply;

	if (unary_call(client, service, method, request, type, &reply, error) < 0)
		return -1;
	protobuf_c_message_free_unpacked(reply, NULL);
	return 0;
}

/* A call whose answer is a Process. */
static int call_info(struct spawnd *client, const char *method, const ProtobufCMessage *request, struct spawnd_info **info_out,
	struct spawnd_error *error)
{
	ProtobufCMessage *reply;
	struct spawnd_info *info;

	if (unary_call(client, PROCESSES, method, request, &spawnd__v1__process__descriptor, &reply, error) < 0)
		return -1;
	info = mem_alloc(sizeof(*info));
	info->message = (Spawnd__V1__Process *)reply;
	if (info_out)
		*info_out = info;
	else
		spawnd_info_free(info);
	return 0;
}

int spawnd_start(
	struct spawnd *client, const struct spawnd_spec *spec, const char *key, struct spawnd_info **info_out, struct spawnd_error *error)
{
	Spawnd__V1__StartRequest request = SPAWND__V1__START_REQUEST__INIT;

	request.spec = (Spawnd__V1__ProcessSpec *)&spec->message;
	if (key)
		request.idempotency_key = (char *)key;
	if (spec->fd_count)
		return error_set(error, SPAWND_INVALID_ARGUMENT, "descriptors can only be sent along with spawnd_spawn");
	return call_info(client, "Start", &request.base, info_out, error);
}

int spawnd_wait(struct spawnd *client, struct spawnd_ref ref, bool closed, uint64_t timeout_ms, struct spawnd_info **info_out,
	struct spawnd_error *error)
{
	Spawnd__V1__WaitRequest request = SPAWND__V1__WAIT_REQUEST__INIT;
	Spawnd__V1__ProcessRef process = ref_message(ref);

	request.process = &process;
	request.closed = closed;
	request.timeout_ms = timeout_ms;
	return call_info(client, "Wait", &request.base, info_out, error);
}

int spawnd_get(struct spawnd *client, struct spawnd_ref ref, struct spawnd_info **info_out, struct spawnd_error *error)
{
	Spawnd__V1__GetRequest request = SPAWND__V1__GET_REQUEST__INIT;
	Spawnd__V1__ProcessRef process = ref_message(ref);

	request.process = &process;
	return call_info(client, "Get", &request.base, info_out, error);
}

/* Copies a KillReply. */
static int call_kill(struct spawnd *client, const char *method, const ProtobufCMessage *request, struct spawnd_kill *kill_out,
	struct spawnd_error *error)
{
	Spawnd__V1__KillReply *reply;
	ProtobufCMessage *message;

	if (unary_call(client, PROCESSES, method, request, &spawnd__v1__kill_reply__descriptor, &message, error) < 0)
		return -1;
	reply = (Spawnd__V1__KillReply *)message;
	if (kill_out) {
		*kill_out = (struct spawnd_kill){
			.ended = mem_dup(reply->ended, reply->n_ended * sizeof(pid_t)),
			.survived = mem_dup(reply->survived, reply->n_survived * sizeof(pid_t)),
			.ended_count = reply->n_ended,
			.survived_count = reply->n_survived,
			.complete = reply->complete,
		};
		snprintf(kill_out->method, sizeof(kill_out->method), "%s", reply->method);
	}
	protobuf_c_message_free_unpacked(message, NULL);
	return 0;
}

int spawnd_signal(struct spawnd *client, struct spawnd_ref ref, int signal, enum spawnd_scope scope, struct spawnd_kill *kill_out,
	struct spawnd_error *error)
{
	Spawnd__V1__SignalRequest request = SPAWND__V1__SIGNAL_REQUEST__INIT;
	Spawnd__V1__ProcessRef process = ref_message(ref);

	request.process = &process;
	request.signal = signal;
	request.scope = (Spawnd__V1__KillScope)scope;
	return call_kill(client, "Signal", &request.base, kill_out, error);
}

int spawnd_stop(struct spawnd *client, struct spawnd_ref ref, int64_t grace_ms, int signal, struct spawnd_kill *kill_out,
	struct spawnd_error *error)
{
	Spawnd__V1__StopRequest request = SPAWND__V1__STOP_REQUEST__INIT;
	Spawnd__V1__ProcessRef process = ref_message(ref);

	request.process = &process;
	request.signal = signal;
	if (grace_ms >= 0) {
		request._grace_ms_case = SPAWND__V1__STOP_REQUEST___GRACE_MS_GRACE_MS;
		request.grace_ms = (uint64_t)grace_ms;
	}
	return call_kill(client, "Stop", &request.base, kill_out, error);
}

void spawnd_kill_clear(struct spawnd_kill *kill)
{
	free(kill->ended);
	free(kill->survived);
	*kill = (struct spawnd_kill){0};
}

int spawnd_resize(struct spawnd *client, struct spawnd_ref ref, unsigned rows, unsigned columns, struct spawnd_error *error)
{
	Spawnd__V1__ResizeRequest request = SPAWND__V1__RESIZE_REQUEST__INIT;
	Spawnd__V1__WindowSize window = SPAWND__V1__WINDOW_SIZE__INIT;
	Spawnd__V1__ProcessRef process = ref_message(ref);

	window.rows = rows;
	window.columns = columns;
	request.process = &process;
	request.window = &window;
	return call_plain(client, PROCESSES, "Resize", &request.base, &spawnd__v1__resize_reply__descriptor, error);
}

int spawnd_close_stdin(struct spawnd *client, struct spawnd_ref ref, unsigned slot, struct spawnd_error *error)
{
	Spawnd__V1__CloseStdinRequest request = SPAWND__V1__CLOSE_STDIN_REQUEST__INIT;
	Spawnd__V1__ProcessRef process = ref_message(ref);

	request.process = &process;
	request.slot = slot;
	return call_plain(client, PROCESSES, "CloseStdin", &request.base, &spawnd__v1__close_stdin_reply__descriptor, error);
}

int spawnd_set_on_disconnect(struct spawnd *client, struct spawnd_ref ref, enum spawnd_on_disconnect what, struct spawnd_error *error)
{
	Spawnd__V1__SetOnDisconnectRequest request = SPAWND__V1__SET_ON_DISCONNECT_REQUEST__INIT;
	Spawnd__V1__ProcessRef process = ref_message(ref);

	request.process = &process;
	request.on_disconnect = (Spawnd__V1__OnDisconnect)what;
	return call_plain(client, PROCESSES, "SetOnDisconnect", &request.base, &spawnd__v1__set_on_disconnect_reply__descriptor, error);
}

int spawnd_remove(struct spawnd *client, struct spawnd_ref ref, struct spawnd_error *error)
{
	Spawnd__V1__RemoveRequest request = SPAWND__V1__REMOVE_REQUEST__INIT;
	Spawnd__V1__ProcessRef process = ref_message(ref);

	request.process = &process;
	return call_plain(client, PROCESSES, "Remove", &request.base, &spawnd__v1__remove_reply__descriptor, error);
}

/* Moves the records of one page to the end of the list. */
static void take_page(Spawnd__V1__ListReply *page, struct spawnd_info ***infos, size_t *count)
{
	*infos = mem_realloc(*infos, (*count + page->n_processes) * sizeof(**infos));
	for (size_t i = 0; i < page->n_processes; i++) {
		struct spawnd_info *info = mem_alloc(sizeof(*info));

		info->message = page->processes[i];
		(*infos)[(*count)++] = info;
	}
	page->n_processes = 0;
}

ssize_t spawnd_list(struct spawnd *client, bool all, struct spawnd_info ***infos_out, struct spawnd_error *error)
{
	Spawnd__V1__ListRequest request = SPAWND__V1__LIST_REQUEST__INIT;
	struct spawnd_info **infos = NULL;
	size_t count = 0;

	request.all = all;
	do {
		ProtobufCMessage *message;
		Spawnd__V1__ListReply *page;

		if (unary_call(client, PROCESSES, "List", &request.base, &spawnd__v1__list_reply__descriptor, &message, error) < 0) {
			spawnd_infos_free(infos, count);
			return -1;
		}
		page = (Spawnd__V1__ListReply *)message;
		take_page(page, &infos, &count);
		request.after_id = page->next_after_id;
		protobuf_c_message_free_unpacked(message, NULL);
	} while (request.after_id);
	*infos_out = infos;
	return (ssize_t)count;
}

int spawnd_ping(struct spawnd *client, struct spawnd_error *error)
{
	Spawnd__V1__PingRequest request = SPAWND__V1__PING_REQUEST__INIT;

	return call_plain(client, ADMIN, "Ping", &request.base, &spawnd__v1__ping_reply__descriptor, error);
}

int spawnd_version(struct spawnd *client, char **version_out, struct spawnd_error *error)
{
	Spawnd__V1__VersionRequest request = SPAWND__V1__VERSION_REQUEST__INIT;
	ProtobufCMessage *reply;

	if (unary_call(client, ADMIN, "Version", &request.base, &spawnd__v1__version_reply__descriptor, &reply, error) < 0)
		return -1;
	*version_out = mem_strdup(((Spawnd__V1__VersionReply *)reply)->version);
	protobuf_c_message_free_unpacked(reply, NULL);
	return 0;
}

int spawnd_metrics(struct spawnd *client, char **text_out, struct spawnd_error *error)
{
	Spawnd__V1__MetricsRequest request = SPAWND__V1__METRICS_REQUEST__INIT;
	ProtobufCMessage *reply;

	if (unary_call(client, ADMIN, "Metrics", &request.base, &spawnd__v1__metrics_reply__descriptor, &reply, error) < 0)
		return -1;
	*text_out = mem_strdup(((Spawnd__V1__MetricsReply *)reply)->text);
	protobuf_c_message_free_unpacked(reply, NULL);
	return 0;
}

int spawnd_set_log_level(struct spawnd *client, const char *level, struct spawnd_error *error)
{
	Spawnd__V1__SetLogLevelRequest request = SPAWND__V1__SET_LOG_LEVEL_REQUEST__INIT;

	request.level = (char *)level;
	return call_plain(client, ADMIN, "SetLogLevel", &request.base, &spawnd__v1__set_log_level_reply__descriptor, error);
}

int spawnd_shutdown(struct spawnd *client, bool keep, struct spawnd_error *error)
{
	Spawnd__V1__ShutdownRequest request = SPAWND__V1__SHUTDOWN_REQUEST__INIT;

	request.keep = keep;
	return call_plain(client, ADMIN, "Shutdown", &request.base, &spawnd__v1__shutdown_reply__descriptor, error);
}

int spawnd_get_stats(struct spawnd *client, struct spawnd_stats *stats_out, struct spawnd_error *error)
{
	Spawnd__V1__StatsRequest request = SPAWND__V1__STATS_REQUEST__INIT;
	const Spawnd__V1__StatsReply *stats;
	ProtobufCMessage *reply;

	if (unary_call(client, ADMIN, "Stats", &request.base, &spawnd__v1__stats_reply__descriptor, &reply, error) < 0)
		return -1;
	stats = (const Spawnd__V1__StatsReply *)reply;
	*stats_out = (struct spawnd_stats){
		.keeper_pid = stats->keeper_pid,
		.engine_pid = stats->engine_pid,
		.engine_restarts = stats->engine_restarts,
		.processes = stats->processes,
		.kept = stats->kept,
		.clients = stats->clients,
		.fds = stats->fds,
		.fds_limit = stats->fds_limit,
		.rss_bytes = stats->rss_bytes,
		.keeper_rss_bytes = stats->keeper_rss_bytes,
		.spawned_total = stats->spawned_total,
		.output_bytes_total = stats->output_bytes_total,
		.buffered_bytes = stats->buffered_bytes,
	};
	protobuf_c_message_free_unpacked(reply, NULL);
	return 0;
}
