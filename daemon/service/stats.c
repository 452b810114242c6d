/* Stats and Metrics: the same numbers, as a message and as OpenMetrics text. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/buf.h"
#include "base/loop.h"
#include "base/mem.h"
#include "service/internal.h"
#include "spawnd/v1/admin.pb-c.h"

struct numbers {
	struct service_facts facts;
	uint64_t running, kept, spawned, refused, output, buffered, sessions, log_lost, logs_failing;
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
	numbers->buffered += numbers->facts.client_bytes;
}

/* Bucket i has the passes of at most 2^i microseconds, the last those that took longer. */
static uint64_t bucket_bound(size_t i)
{
	return i == LOOP_BUCKETS - 1 ? 0 : UINT64_C(1) << i;
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
	reply.tree = (char *)numbers.tree;
	reply.loop_passes = list;
	reply.n_loop_passes = LOOP_BUCKETS;
	for (size_t i = 0; i < LOOP_BUCKETS; i++) {
		spawnd__v1__histogram_bucket__init(&buckets[i]);
		buckets[i].upper_us = bucket_bound(i);
		buckets[i].count = numbers.passes[i];
		list[i] = &buckets[i];
	}
	call_reply(call, &reply.base);
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
