/* Two children in a libevent loop; their lines come as they write them. */
#include <spawnd_libevent.h>
#include <stdio.h>

static struct event_base *base;
static int running;

static void on_output(void *context, struct spawnd_process *process, unsigned slot, uint64_t offset, const void *data, size_t size)
{
	(void)process, (void)slot, (void)offset;
	printf("%s: %.*s", (const char *)context, (int)size, (const char *)data);
}

static void on_closed(void *context, struct spawnd_process *process, const struct spawnd_exit *how)
{
	(void)process;
	printf("%s: exit %d\n", (const char *)context, how->code);
}

static void on_ended(void *context, struct spawnd_process *process, const struct spawnd_error *error)
{
	if (error)
		fprintf(stderr, "%s: %s\n", (const char *)context, error->message);
	spawnd_process_free(process);
	if (--running == 0)
		event_base_loopbreak(base);
}

static void on_lost(void *context, const struct spawnd_error *error)
{
	(void)context;
	fprintf(stderr, "eventloop: %s\n", error->message);
	event_base_loopbreak(base);
}

/* Starts one shell line. */
static void start(struct spawnd *client, const char *name, const char *line)
{
	static const struct spawnd_handlers handlers = {.output = on_output, .closed = on_closed, .ended = on_ended};
	struct spawnd_spec *spec = spawnd_spec_create_shell(line, NULL);
	struct spawnd_error error;

	if (spawnd_spawn(client, spec, SPAWND_READER_DEFAULT, 0, &handlers, (void *)name, &error))
		running++;
	else
		fprintf(stderr, "%s: %s\n", name, error.message);
	spawnd_spec_free(spec);
}

int main(void)
{
	struct spawnd_error error;
	struct spawnd_watch watch;
	struct spawnd *client;

	base = event_base_new();
	if (!base) {
		fprintf(stderr, "eventloop: no event base\n");
		return 1;
	}
	if (spawnd_connect(NULL, 0, &client, &error) < 0) {
		fprintf(stderr, "eventloop: %s\n", error.message);
		return 69;
	}
	start(client, "first", "for i in 1 2 3; do echo line $i; sleep 0.1; done");
	start(client, "second", "echo one line; exit 3");
	if (spawnd_watch_start(&watch, base, client, on_lost, NULL) == 0)
		event_base_dispatch(base);
	spawnd_watch_stop(&watch);
	spawnd_close(client);
	event_base_free(base);
	return running ? 1 : 0;
}
