/* The daemon itself: version, figures, log level, its end. */
#include <string.h>

#include "base/mem.h"
#include "internal.h"
#include "spawnd/v1/admin.pb-c.h"

/* A call whose answer says nothing. */
static int call_plain(struct spawnd *client, const char *method, const ProtobufCMessage *request, const ProtobufCMessageDescriptor *type,
	struct spawnd_error *error)
{
	ProtobufCMessage *reply;

	if (unary_call(client, SERVICE_ADMIN, method, request, type, &reply, error) < 0)
		return -1;
	protobuf_c_message_free_unpacked(reply, NULL);
	return 0;
}

int spawnd_version(struct spawnd *client, char **version_out, struct spawnd_error *error)
{
	Spawnd__V1__VersionRequest request = SPAWND__V1__VERSION_REQUEST__INIT;
	ProtobufCMessage *reply;

	if (unary_call(client, SERVICE_ADMIN, "Version", &request.base, &spawnd__v1__version_reply__descriptor, &reply, error) < 0)
		return -1;
	*version_out = mem_strdup(((Spawnd__V1__VersionReply *)reply)->version);
	protobuf_c_message_free_unpacked(reply, NULL);
	return 0;
}

int spawnd_metrics(struct spawnd *client, char **text_out, struct spawnd_error *error)
{
	Spawnd__V1__MetricsRequest request = SPAWND__V1__METRICS_REQUEST__INIT;
	ProtobufCMessage *reply;

	if (unary_call(client, SERVICE_ADMIN, "Metrics", &request.base, &spawnd__v1__metrics_reply__descriptor, &reply, error) < 0)
		return -1;
	*text_out = mem_strdup(((Spawnd__V1__MetricsReply *)reply)->text);
	protobuf_c_message_free_unpacked(reply, NULL);
	return 0;
}

int spawnd_set_log_level(struct spawnd *client, const char *level, struct spawnd_error *error)
{
	Spawnd__V1__SetLogLevelRequest request = SPAWND__V1__SET_LOG_LEVEL_REQUEST__INIT;

	request.level = (char *)level;
	return call_plain(client, "SetLogLevel", &request.base, &spawnd__v1__set_log_level_reply__descriptor, error);
}

int spawnd_upgrade(struct spawnd *client, const char *path, char **version_out, int *engine_pid_out, struct spawnd_error *error)
{
	Spawnd__V1__UpgradeRequest request = SPAWND__V1__UPGRADE_REQUEST__INIT;
	const Spawnd__V1__UpgradeReply *answer;
	ProtobufCMessage *reply;
	char key[CLIENT_KEY_SIZE];

	client_key(client, key);
	request.idempotency_key = key;
	if (path)
		request.path = (ProtobufCBinaryData){.len = strlen(path), .data = (uint8_t *)path};
	if (unary_call(client, SERVICE_ADMIN, "Upgrade", &request.base, &spawnd__v1__upgrade_reply__descriptor, &reply, error) < 0)
		return -1;
	answer = (const Spawnd__V1__UpgradeReply *)reply;
	if (version_out)
		*version_out = mem_strdup(answer->version);
	if (engine_pid_out)
		*engine_pid_out = answer->engine_pid;
	protobuf_c_message_free_unpacked(reply, NULL);
	return 0;
}

int spawnd_shutdown(struct spawnd *client, bool keep, struct spawnd_error *error)
{
	Spawnd__V1__ShutdownRequest request = SPAWND__V1__SHUTDOWN_REQUEST__INIT;

	request.keep = keep;
	return call_plain(client, "Shutdown", &request.base, &spawnd__v1__shutdown_reply__descriptor, error);
}

int spawnd_get_stats(struct spawnd *client, struct spawnd_stats *stats_out, struct spawnd_error *error)
{
	Spawnd__V1__StatsRequest request = SPAWND__V1__STATS_REQUEST__INIT;
	const Spawnd__V1__StatsReply *stats;
	ProtobufCMessage *reply;

	if (unary_call(client, SERVICE_ADMIN, "Stats", &request.base, &spawnd__v1__stats_reply__descriptor, &reply, error) < 0)
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
