/* The connection as one descriptor among others in a program's own poll loop. */
#include <poll.h>
#include <spawnd.h>
#include <stdio.h>

static bool ended;

static void on_output(void *context, struct spawnd_process *process, unsigned slot, uint64_t offset, const void *data, size_t size)
{
	(void)context, (void)process, (void)offset;
	fwrite(data, 1, size, slot == 2 ? stderr : stdout);
}

static void on_ended(void *context, struct spawnd_process *process, const struct spawnd_error *error)
{
	(void)context, (void)process;
	if (error)
		fprintf(stderr, "poll: %s\n", error->message);
	ended = true;
}

int main(void)
{
	static const char *const command[] = {"uname", "-s", NULL};
	static const struct spawnd_handlers handlers = {.output = on_output, .ended = on_ended};
	struct spawnd_process *process;
	struct spawnd_error error;
	struct spawnd_spec *spec;
	struct spawnd *client;

	if (spawnd_connect(NULL, 0, &client, &error) < 0) {
		fprintf(stderr, "poll: %s\n", error.message);
		return 69;
	}
	spec = spawnd_spec_create(command);
	process = spawnd_spawn(client, spec, SPAWND_READER_DEFAULT, 0, &handlers, NULL, &error);
	spawnd_spec_free(spec);
	while (process && !ended) {
		struct pollfd pollfds[] = {{.fd = spawnd_fd(client), .events = spawnd_events(client)}};

		if (poll(pollfds, 1, -1) > 0 && pollfds[0].revents && spawnd_dispatch(client, &error) < 0)
			break;
	}
	spawnd_process_free(process);
	spawnd_close(client);
	return ended ? 0 : 1;
}
