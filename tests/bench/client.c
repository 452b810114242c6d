/*
 * The same work through spawnd, by its C client. Each verb prints one number; they are those of raw.c and node.js, and
 *   client SOCKET spawn-big COUNT               one at a time from a process with 2 GiB resident
 *   client SOCKET pipe TRANSPORT RAW BYTES CHUNK  kept, direct or handover
 *   client SOCKET idle COUNT                    COUNT silent children with three pipes: resident bytes of keeper and engine
 *   client SOCKET ping COUNT                    unary calls one after the other: median microseconds
 *   client SOCKET pipelined COUNT FLIGHT        FLIGHT unary calls under way: calls per second
 *   client SOCKET round-trip COUNT SCRIPT       messages to `node SCRIPT echo` and back: median microseconds
 *   client SOCKET messages COUNT SCRIPT         messages to `node SCRIPT sink COUNT`: messages per second
 */
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"
#include "internal.h"

static struct spawnd *client;
static unsigned running;
static uint64_t received;

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static _Noreturn void fail(const struct spawnd_error *error)
{
	fprintf(stderr, "client: %s\n", error->message);
	exit(1);
}

static int by_value(const void *a, const void *b)
{
	double left = *(const double *)a, right = *(const double *)b;

	return (left > right) - (left < right);
}

static double median(double *values, size_t count)
{
	qsort(values, count, sizeof(*values), by_value);
	return values[count / 2];
}

/* Dispatches once. */
static void step(void)
{
	struct spawnd_error error;

	if (spawnd_wait_event(client, -1, &error) < 0)
		fail(&error);
}

static void on_ended(void *context, struct spawnd_process *process, const struct spawnd_error *error)
{
	if (error)
		fail(error);
	running--;
	spawnd_process_free(process);
}

static void on_output(void *context, struct spawnd_process *process, unsigned slot, uint64_t offset, const void *data, size_t size)
{
	received += size;
}

static void start(const struct spawnd_spec *spec, const struct spawnd_handlers *handlers)
{
	struct spawnd_error error;

	running++;
	if (!spawnd_spawn(client, spec, SPAWND_BLOCK, 0, handlers, NULL, &error))
		fail(&error);
}

static void spawn_rate(int count, unsigned flight)
{
	static const char *const argv[] = {"/bin/true", NULL};
	static const struct spawnd_handlers handlers = {.output = on_output, .ended = on_ended};
	struct spawnd_spec *spec = spawnd_spec_create(argv);
	double begin = now();

	for (int started = 0; started < count || running;) {
		for (; started < count && running < flight; started++)
			start(spec, &handlers);
		step();
	}
	printf("%f\n", count / (now() - begin));
	spawnd_spec_free(spec);
}

static void spawn_big(int count)
{
	size_t size = (size_t)2 << 30;
	char *ballast = mem_alloc(size);

	memset(ballast, 1, size);
	spawn_rate(count, 1);
	free(ballast);
}

static void latency(int count)
{
	static const char *const argv[] = {"/bin/true", NULL};
	static const struct spawnd_handlers handlers = {.ended = on_ended};
	struct spawnd_spec *spec = spawnd_spec_create(argv);
	double *times = mem_alloc((size_t)count * sizeof(*times));

	for (int i = 0; i < count; i++) {
		double begin = now();

		start(spec, &handlers);
		while (running)
			step();
		times[i] = (now() - begin) * 1e6;
	}
	printf("%f\n", median(times, (size_t)count));
	free(times);
	spawnd_spec_free(spec);
}

static int handed = -1;

static void on_spawned(void *context, struct spawnd_process *process, const unsigned *slots, const int *fds, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		if (slots[i] == 1)
			handed = fds[i];
		else
			close(fds[i]);
	}
}

static void pipe_rate(const char *transport, const char *writer, const char *bytes, const char *chunk)
{
	const char *argv[] = {writer, "write", bytes, chunk, NULL};
	static const struct spawnd_handlers handlers = {.spawned = on_spawned, .output = on_output, .ended = on_ended};
	struct spawnd_spec *spec = spawnd_spec_create(argv);
	static char block[65536];
	double begin = now();
	ssize_t done;

	spawnd_spec_set_transport(spec, strcmp(transport, "kept") == 0     ? SPAWND_KEPT
					: strcmp(transport, "direct") == 0 ? SPAWND_DIRECT
									   : SPAWND_HANDOVER);
	spawnd_spec_set_stdio(spec, 0, SPAWND_NULL);
	start(spec, &handlers);
	while (strcmp(transport, "handover") == 0 && handed < 0)
		step();
	while (handed >= 0 && (done = read(handed, block, sizeof(block))) > 0)
		received += (uint64_t)done;
	while (running)
		step();
	if (received != strtoull(bytes, NULL, 10))
		exit(1);
	printf("%f\n", (double)received / (now() - begin));
	spawnd_spec_free(spec);
}

static void idle(int count)
{
	static const char *const argv[] = {"/bin/sleep", "1000", NULL};
	struct spawnd_spec *spec = spawnd_spec_create(argv);
	struct spawnd_info **infos = mem_alloc((size_t)count * sizeof(struct spawnd_info *));
	struct spawnd_stats stats;
	struct spawnd_error error;

	for (unsigned slot = 0; slot < 3; slot++)
		spawnd_spec_set_stdio(spec, slot, SPAWND_PIPE);
	for (int i = 0; i < count; i++) {
		if (spawnd_start(client, spec, NULL, &infos[i], &error) < 0)
			fail(&error);
	}
	if (spawnd_get_stats(client, &stats, &error) < 0)
		fail(&error);
	printf("%f\n", (double)(stats.rss_bytes + stats.keeper_rss_bytes));
	for (int i = 0; i < count; i++)
		spawnd_stop(client, (struct spawnd_ref){.id = spawnd_info_id(infos[i])}, -1, 9, NULL, &error);
	spawnd_infos_free(infos, (size_t)count);
	spawnd_spec_free(spec);
}

static void ping(int count)
{
	double *times = mem_alloc((size_t)count * sizeof(*times));
	struct spawnd_error error;

	for (int i = 0; i < count; i++) {
		double begin = now();

		if (spawnd_ping(client, &error) < 0)
			fail(&error);
		times[i] = (now() - begin) * 1e6;
	}
	printf("%f\n", median(times, (size_t)count));
	free(times);
}

static void on_pong(void *context, const struct spawnd_error *error)
{
	if (error)
		fail(error);
	running--;
}

static void pipelined(int count, unsigned flight)
{
	struct spawnd_error error;
	double begin = now();

	for (int sent = 0; sent < count || running;) {
		conn_cork(client->conn);
		for (; sent < count && running < flight; sent++, running++) {
			if (!spawnd_ping_async(client, on_pong, NULL, &error))
				fail(&error);
		}
		conn_uncork(client->conn);
		step();
	}
	printf("%f\n", count / (now() - begin));
}

static unsigned answers;

static void on_message(void *context, struct spawnd_process *process, const struct spawnd_message *message)
{
	answers++;
}

static const char letter[] = "{\"type\":\"request\",\"id\":123456,\"path\":\"/index.html\",\"headers\":{\"host\":\"localhost\"}}";
static const struct spawnd_outgoing outgoing = {.data = letter, .size = sizeof(letter) - 1};

/* A child of Node with a channel, as fork() would start it. It ends when its channel does. */
static struct spawnd_process *start_node(const char *const *argv)
{
	static const struct spawnd_handlers handlers = {.message = on_message, .ended = on_ended};
	struct spawnd_spec *spec = spawnd_spec_create(argv);
	struct spawnd_process *process;
	struct spawnd_error error;

	spawnd_spec_set_channel(spec, 3, SPAWND_JSON);
	process = spawnd_spawn(client, spec, SPAWND_BLOCK, 0, &handlers, NULL, &error);
	if (!process)
		fail(&error);
	spawnd_spec_free(spec);
	running++;
	return process;
}

/* Waits until the child has answered `count` times in all. A child that ends before is a failure. */
static void wait_answers(unsigned count)
{
	while (answers < count && running)
		step();
	if (answers < count)
		exit(1);
}

static void finish_node(struct spawnd_process *process)
{
	spawnd_process_disconnect(process);
	while (running)
		step();
}

static void round_trip(unsigned count, const char *script)
{
	const char *const argv[] = {"node", script, "echo", NULL};
	struct spawnd_process *process = start_node(argv);
	double *times = mem_alloc(count * sizeof(*times));

	wait_answers(1);
	for (unsigned i = 0; i < count; i++) {
		double begin = now();

		spawnd_process_send(process, &outgoing);
		wait_answers(i + 2);
		times[i] = (now() - begin) * 1e6;
	}
	printf("%f\n", median(times, count));
	free(times);
	finish_node(process);
}

static void message_rate(const char *count, const char *script)
{
	const char *const argv[] = {"node", script, "sink", count, NULL};
	struct spawnd_process *process = start_node(argv);
	int left = atoi(count);
	double begin;

	wait_answers(1);
	begin = now();
	while (answers < 2 && running) {
		conn_cork(client->conn);
		for (; left > 0 && spawnd_process_unsent(process) < 65536; left--)
			spawnd_process_send(process, &outgoing);
		conn_uncork(client->conn);
		step();
	}
	wait_answers(2);
	printf("%f\n", atoi(count) / (now() - begin));
	finish_node(process);
}

int main(int argc, char **argv)
{
	const char *verb = argc > 3 ? argv[2] : "";
	struct spawnd_error error;
	int count = argc > 3 ? atoi(argv[3]) : 0;

	if (argc > 3 && spawnd_connect(argv[1], SPAWND_NO_AUTOSTART, &client, &error) < 0)
		fail(&error);
	if (argc == 5 && strcmp(verb, "spawn") == 0)
		spawn_rate(count, (unsigned)atoi(argv[4]));
	else if (argc == 4 && strcmp(verb, "spawn-big") == 0)
		spawn_big(count);
	else if (argc == 4 && strcmp(verb, "latency") == 0)
		latency(count);
	else if (argc == 7 && strcmp(verb, "pipe") == 0)
		pipe_rate(argv[3], argv[4], argv[5], argv[6]);
	else if (argc == 4 && strcmp(verb, "idle") == 0)
		idle(count);
	else if (argc == 4 && strcmp(verb, "ping") == 0)
		ping(count);
	else if (argc == 5 && strcmp(verb, "pipelined") == 0)
		pipelined(count, (unsigned)atoi(argv[4]));
	else if (argc == 5 && strcmp(verb, "round-trip") == 0)
		round_trip((unsigned)count, argv[4]);
	else if (argc == 5 && strcmp(verb, "messages") == 0)
		message_rate(argv[3], argv[4]);
	else
		return fprintf(stderr, "usage: client SOCKET VERB ...\n"), 2;
	spawnd_close(client);
	return 0;
}
