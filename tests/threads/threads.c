/*
 * libspawnd from several threads at once, each with connections of its own, as spawnd.h allows. Run under the thread
 * sanitizer by test_threads.py:
 *   threads SOCKET THREADS ROUNDS
 * All begin together, so that they also race to start a daemon where none runs. Prints how many rounds went well.
 */
#include <poll.h>
#include <pthread.h>
#include <spawnd.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define THREADS_MAX 64
#define LINES 2000

static const char *path;
static unsigned rounds;
static pthread_barrier_t together;
static atomic_uint good;

static bool failed(const char *what, const struct spawnd_error *error)
{
	fprintf(stderr, "threads: %s: %s\n", what, error->message);
	return false;
}

/* exec: what goes in comes out. */
static bool run_cat(struct spawnd *client, unsigned long mark)
{
	static const char *const argv[] = {"cat", NULL};
	struct spawnd_spec *spec = spawnd_spec_create(argv);
	struct spawnd_result result;
	struct spawnd_error error;
	char text[64];
	bool same;

	snprintf(text, sizeof(text), "round %lu", mark);
	if (spawnd_run(client, spec, text, strlen(text), &result, &error) < 0) {
		spawnd_spec_free(spec);
		return failed("run", &error);
	}
	spawnd_spec_free(spec);
	same = strcmp(result.out, text) == 0 && result.exit.code == 0;
	spawnd_result_clear(&result);
	return same;
}

struct streamed {
	size_t bytes;
	bool ended, well;
};

static void on_output(void *context, struct spawnd_process *process, unsigned slot, uint64_t offset, const void *data, size_t size)
{
	struct streamed *streamed = context;

	streamed->bytes += size;
}

static void on_exited(void *context, struct spawnd_process *process, const struct spawnd_exit *how)
{
	struct streamed *streamed = context;

	streamed->well = how->code == 0;
}

static void on_ended(void *context, struct spawnd_process *process, const struct spawnd_error *error)
{
	struct streamed *streamed = context;

	streamed->ended = true;
	streamed->well = streamed->well && !error;
}

/* spawn: a stream with input and output, small windows. */
static bool stream_cat(struct spawnd *client)
{
	static const struct spawnd_handlers handlers = {.output = on_output, .exited = on_exited, .ended = on_ended};
	static const char *const argv[] = {"cat", NULL};
	struct spawnd_spec *spec = spawnd_spec_create(argv);
	struct streamed streamed = {0};
	struct spawnd_process *process;
	struct spawnd_error error;
	char line[32] = "some bytes for a child to read\n";

	process = spawnd_spawn(client, spec, SPAWND_BLOCK, 4096, &handlers, &streamed, &error);
	spawnd_spec_free(spec);
	if (!process)
		return failed("spawn", &error);
	for (unsigned i = 0; i < LINES; i++)
		if (spawnd_process_write(process, 0, line, sizeof(line)) != (ssize_t)sizeof(line))
			streamed.ended = true;
	spawnd_process_close_stdin(process, 0);
	while (!streamed.ended && spawnd_wait_event(client, -1, &error) >= 0)
		;
	spawnd_process_free(process);
	return streamed.well && streamed.bytes == LINES * sizeof(line);
}

static bool ask(struct spawnd *client)
{
	struct spawnd_info **infos;
	struct spawnd_stats stats;
	struct spawnd_error error;
	ssize_t count = spawnd_list(client, true, &infos, &error);

	if (count < 0)
		return failed("list", &error);
	spawnd_infos_free(infos, (size_t)count);
	return spawnd_get_stats(client, &stats, &error) == 0 || failed("stats", &error);
}

/* A failure has its own text in its own memory. */
static bool fail_well(struct spawnd *client)
{
	static const char *const argv[] = {"/nonexistent", NULL};
	struct spawnd_spec *spec = spawnd_spec_create(argv);
	struct spawnd_result result;
	struct spawnd_error error;
	int done = spawnd_run(client, spec, NULL, 0, &result, &error);

	spawnd_spec_free(spec);
	return done < 0 && strcmp(error.message, "spawn /nonexistent ENOENT") == 0;
}

static void *work(void *argument)
{
	unsigned long number = (unsigned long)argument;
	struct spawnd_error error;
	struct spawnd *client;

	pthread_barrier_wait(&together);
	for (unsigned round = 0; round < rounds; round++) {
		if (spawnd_connect(path, 0, &client, &error) < 0) {
			failed("connect", &error);
			continue;
		}
		if (run_cat(client, number * rounds + round) && stream_cat(client) && ask(client) && fail_well(client))
			atomic_fetch_add(&good, 1);
		spawnd_close(client);
	}
	return NULL;
}

int main(int argc, char **argv)
{
	unsigned count = argc == 4 ? (unsigned)atoi(argv[2]) : 0;
	pthread_t threads[THREADS_MAX];

	if (count < 1 || count > THREADS_MAX) {
		fprintf(stderr, "usage: threads SOCKET THREADS ROUNDS\n");
		return 2;
	}
	path = argv[1];
	rounds = (unsigned)atoi(argv[3]);
	pthread_barrier_init(&together, NULL, count);
	for (unsigned long i = 0; i < count; i++) {
		if (pthread_create(&threads[i], NULL, work, (void *)i) != 0)
			return 1;
	}
	for (unsigned i = 0; i < count; i++)
		pthread_join(threads[i], NULL);
	pthread_barrier_destroy(&together);
	printf("%u\n", atomic_load(&good));
	return atomic_load(&good) == count * rounds ? 0 : 1;
}
