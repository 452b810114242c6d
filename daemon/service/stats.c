/* Stats and Metrics: the same numbers, as a message and as OpenMetrics text. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/buf.h"
#include "base/loop.h"
#include "base/mem.h"
#include "base/quota.h"
#include "service/internal.h"
#include "spawnd/v1/admin.pb-c.h"

struct numbers {
	struct service_facts facts;
	uint64_t running, kept, spawned, refused, output, buffered, sessions, log_lost, logs_failing;
	struct channels_stats channels;
	const uint64_t *passes;
	const char *tree;
};

static void collect(struct service *service, struct numbers *numbers)
{
	struct children *children = service->config.children;
	const struct child *failing;

	*numbers = (struct numbers){
		.running = children_running(children),
		.kept = children_kept(children),
		.spawned = service->spawned_total,
		.refused = service->refused_total,
		.output = children_output_bytes(children),
		.buffered = children_buffered_bytes(children),
		.log_lost = children_log_lost(children),
		.logs_failing = children_log_failing(children, &failing),
		.sessions = sessions_count(service->sessions),
		.passes = loop_histogram(service->config.loop),
		.tree = children_tree_method(children),
	};
	service->config.host->facts(service->config.context, &numbers->facts);
	channels_stats(service->channels, &numbers->channels);
	numbers->buffered += numbers->facts.client_bytes + numbers->channels.bytes;
}

/* Bucket i has the passes of at most 2^i microseconds, the last those that took longer. */
static uint64_t bucket_bound(size_t i)
{
	return i == LOOP_BUCKETS - 1 ? 0 : UINT64_C(1) << i;
}

/* What one user has. The message is one block of memory. */
static Spawnd__V1__UserUse *user_use(const struct quota_user *user)
{
	struct {
		Spawnd__V1__UserUse user;
		Spawnd__V1__QuotaUse quotas[QUOTA_COUNT], *list[QUOTA_COUNT];
	} *block = mem_alloc(sizeof(*block));

	spawnd__v1__user_use__init(&block->user);
	block->user.uid = quota_uid(user);
	block->user.n_quotas = QUOTA_COUNT;
	block->user.quotas = block->list;
	for (enum quota quota = 0; quota < QUOTA_COUNT; quota++) {
		Spawnd__V1__QuotaUse *use = block->list[quota] = &block->quotas[quota];

		spawnd__v1__quota_use__init(use);
		use->name = (char *)quota_name(quota);
		use->used = quota_used(user, quota);
		use->limit = quota_limit(user, quota);
		if (use->limit != QUOTA_UNLIMITED)
			use->_limit_case = SPAWND__V1__QUOTA_USE___LIMIT_LIMIT;
	}
	return &block->user;
}

/* Every user that has something. */
static void list_users(const struct quotas *quotas, Spawnd__V1__StatsReply *reply)
{
	for (const struct quota_user *user = quotas_next(quotas, NULL); user; user = quotas_next(quotas, user)) {
		reply->users = mem_realloc(reply->users, (reply->n_users + 1) * sizeof(*reply->users));
		reply->users[reply->n_users++] = user_use(user);
	}
}

static void free_users(Spawnd__V1__StatsReply *reply)
{
	for (size_t i = 0; i < reply->n_users; i++)
		free(reply->users[i]);
	free(reply->users);
}

int handle_stats(struct call *call, const ProtobufCMessage *message, struct err *err)
{
	Spawnd__V1__StatsReply reply = SPAWND__V1__STATS_REPLY__INIT;
	Spawnd__V1__HistogramBucket buckets[LOOP_BUCKETS], *list[LOOP_BUCKETS];
	struct numbers numbers;

	collect(service_get(), &numbers);
	reply.version = (char *)SPAWND_VERSION;
	reply.socket = (char *)numbers.facts.socket;
	reply.log = (char *)numbers.facts.log;
	reply.keeper_pid = numbers.facts.keeper_pid;
	reply.engine_pid = numbers.facts.engine_pid;
	reply.engine_restarts = numbers.facts.engine_restarts;
	reply.processes = (uint32_t)numbers.running;
	reply.kept = (uint32_t)numbers.kept;
	reply.clients = (uint32_t)numbers.facts.clients;
	reply.rss_bytes = numbers.facts.rss_bytes;
	reply.keeper_rss_bytes = numbers.facts.keeper_rss_bytes;
	reply.fds = numbers.facts.fds;
	reply.fds_limit = numbers.facts.fds_limit;
	reply.n_degraded = numbers.facts.degraded_count;
	reply.degraded = (char **)numbers.facts.degraded;
	reply.uptime_ms = numbers.facts.uptime_ms;
	reply.launchers = numbers.facts.launchers;
	reply.spawned_total = numbers.spawned;
	reply.output_bytes_total = numbers.output;
	reply.buffered_bytes = numbers.buffered;
	reply.logs_failing = (uint32_t)numbers.logs_failing;
	reply.log_lost_bytes = numbers.log_lost;
	reply.channels = (uint32_t)numbers.channels.channels;
	reply.channel_bytes = numbers.channels.bytes;
	reply.channel_fds = (uint32_t)numbers.channels.fds;
	reply.messages_sent_total = numbers.channels.sent;
	reply.messages_received_total = numbers.channels.received;
	reply.channels_lost_total = numbers.channels.engine_lost;
	reply.tree = (char *)numbers.tree;
	reply.loop_passes = list;
	reply.n_loop_passes = LOOP_BUCKETS;
	for (size_t i = 0; i < LOOP_BUCKETS; i++) {
		spawnd__v1__histogram_bucket__init(&buckets[i]);
		buckets[i].upper_us = bucket_bound(i);
		buckets[i].count = numbers.passes[i];
		list[i] = &buckets[i];
	}
	list_users(service_get()->config.quotas, &reply);
	call_reply(call, &reply.base);
	free_users(&reply);
	return 0;
}

static void print(struct buf *text, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void print(struct buf *text, const char *format, ...)
{
	char line[512];
	va_list args;
	int length;

	va_start(args, format);
	length = vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	buf_append(text, line, (size_t)length < sizeof(line) ? (size_t)length : sizeof(line) - 1);
}

/* One family of one sample. A counter's sample has the suffix that OpenMetrics wants. */
static void metric(struct buf *text, const char *name, const char *type, const char *help, uint64_t value)
{
	print(text, "# TYPE spawnd_%s %s\n# HELP spawnd_%s %s\nspawnd_%s%s %" PRIu64 "\n", name, type, name, help, name,
		*type == 'c' ? "_total" : "", value);
}

/* OpenMetrics wants counts of buckets to add up, and a last one without bound. */
static void histogram(struct buf *text, const uint64_t *passes)
{
	uint64_t sum = 0;

	print(text, "# TYPE spawnd_loop_pass_seconds histogram\n# UNIT spawnd_loop_pass_seconds seconds\n"
		    "# HELP spawnd_loop_pass_seconds Time of one turn of the event loop.\n");
	for (size_t i = 0; i < LOOP_BUCKETS; i++) {
		sum += passes[i];
		if (bucket_bound(i))
			print(text, "spawnd_loop_pass_seconds_bucket{le=\"%g\"} %" PRIu64 "\n", (double)bucket_bound(i) / 1e6, sum);
		else
			print(text, "spawnd_loop_pass_seconds_bucket{le=\"+Inf\"} %" PRIu64 "\n", sum);
	}
}

/* A family with a sample for every quota of every user. Of what is unlimited there is no limit to tell. */
static void print_quotas(struct buf *text, const struct quotas *quotas, const char *name, const char *help,
	uint64_t (*value_of)(const struct quota_user *user, enum quota quota))
{
	print(text, "# TYPE spawnd_%s gauge\n# HELP spawnd_%s %s\n", name, name, help);
	for (const struct quota_user *user = quotas_next(quotas, NULL); user; user = quotas_next(quotas, user)) {
		for (enum quota quota = 0; quota < QUOTA_COUNT; quota++) {
			uint64_t value = value_of(user, quota);

			if (value != QUOTA_UNLIMITED)
				print(text, "spawnd_%s{uid=\"%u\",quota=\"%s\"} %" PRIu64 "\n", name, (unsigned)quota_uid(user),
					quota_name(quota), value);
		}
	}
}

static void print_metrics(struct buf *text, const struct numbers *numbers)
{
	const struct service_facts *facts = &numbers->facts;

	print(text, "# TYPE spawnd_build info\n# HELP spawnd_build Version of the daemon.\nspawnd_build_info{version=\"%s\"} 1\n",
		SPAWND_VERSION);
	metric(text, "processes", "gauge", "Processes that run.", numbers->running);
	metric(text, "processes_kept", "gauge", "Processes that have ended and are kept.", numbers->kept);
	metric(text, "processes_spawned", "counter", "Processes spawned since this engine began.", numbers->spawned);
	metric(text, "output_bytes", "counter", "Bytes of output read from processes.", numbers->output);
	metric(text, "buffered_bytes", "gauge", "Bytes held in logs and for clients.", numbers->buffered);
	metric(text, "log_files_failing", "gauge", "Processes whose log file cannot be written.", numbers->logs_failing);
	metric(text, "log_file_lost_bytes", "counter", "Bytes that log files could not take.", numbers->log_lost);
	metric(text, "channels", "gauge", "Message channels that are open.", numbers->channels.channels);
	metric(text, "channel_bytes", "gauge", "Bytes of messages that wait in the daemon.", numbers->channels.bytes);
	metric(text, "channel_descriptors", "gauge", "Descriptors of messages in flight.", numbers->channels.fds);
	metric(text, "messages_sent", "counter", "Messages to children.", numbers->channels.sent);
	metric(text, "messages_received", "counter", "Messages from children.", numbers->channels.received);
	metric(text, "channels_lost", "counter", "Channels that ended because an engine was lost.", numbers->channels.engine_lost);
	metric(text, "clients", "gauge", "Clients connected.", facts->clients);
	metric(text, "sessions", "gauge", "Sessions open, those whose client may come back included.", numbers->sessions);
	metric(text, "refused", "counter", "Requests refused to clients.", numbers->refused);
	metric(text, "launchers", "gauge", "Launchers that run.", facts->launchers);
	metric(text, "engine_restarts", "counter", "Times the engine was started again.", facts->engine_restarts);
	metric(text, "engine_resident_bytes", "gauge", "Resident memory of the engine.", facts->rss_bytes);
	metric(text, "keeper_resident_bytes", "gauge", "Resident memory of the keeper.", facts->keeper_rss_bytes);
	metric(text, "descriptors", "gauge", "Descriptors open in the engine.", facts->fds);
	metric(text, "descriptors_limit", "gauge", "Descriptors the engine may have.", facts->fds_limit);
	metric(text, "uptime_milliseconds", "gauge", "Time since this engine began.", facts->uptime_ms);
	metric(text, "degraded", "gauge", "What this machine does not let the daemon do.", facts->degraded_count);
	print_quotas(text, service_get()->config.quotas, "quota_used", "What users have of what all share.", quota_used);
	print_quotas(text, service_get()->config.quotas, "quota_limit", "What they may have of it, where it is limited.", quota_limit);
	histogram(text, numbers->passes);
	print(text, "# EOF\n");
}

int handle_metrics(struct call *call, const ProtobufCMessage *message, struct err *err)
{
	Spawnd__V1__MetricsReply reply = SPAWND__V1__METRICS_REPLY__INIT;
	struct numbers numbers;
	struct buf text = {0};

	collect(service_get(), &numbers);
	print_metrics(&text, &numbers);
	buf_append(&text, "", 1);
	reply.text = (char *)text.bytes;
	call_reply(call, &reply.base);
	buf_finish(&text);
	return 0;
}
