/* Takes the child's pipes themselves: what it writes never passes through the daemon. */
#include <spawnd.h>
#include <stdio.h>
#include <unistd.h>

static int out = -1;
static bool ended;

static void on_spawned(void *context, struct spawnd_process *process, const unsigned *slots, const int *fds, size_t count)
{
	(void)context, (void)process;
	for (size_t i = 0; i < count; i++) {
		if (slots[i] == 1)
			out = fds[i];
		else
			close(fds[i]);
	}
}

static void on_ended(void *context, struct spawnd_process *process, const struct spawnd_error *error)
{
	(void)context, (void)process;
	if (error)
		fprintf(stderr, "handover: %s\n", error->message);
	ended = true;
}

int main(void)
{
	static const char *const command[] = {"seq", "3", NULL};
	static const struct spawnd_handlers handlers = {.spawned = on_spawned, .ended = on_ended};
	struct spawnd_process *process;
	struct spawnd_error error;
	struct spawnd_spec *spec;
	struct spawnd *client;
	char text[256];
	ssize_t size;

	if (spawnd_connect(NULL, 0, &client, &error) < 0) {
		fprintf(stderr, "handover: %s\n", error.message);
		return 69;
	}
	spec = spawnd_spec_create(command);
	spawnd_spec_set_transport(spec, SPAWND_HANDOVER);
	process = spawnd_spawn(client, spec, SPAWND_READER_DEFAULT, 0, &handlers, NULL, &error);
	spawnd_spec_free(spec);
	while (process && out < 0 && !ended && spawnd_wait_event(client, -1, &error) >= 0)
		;
	while (out >= 0 && (size = read(out, text, sizeof(text))) > 0)
		fwrite(text, 1, (size_t)size, stdout);
	while (process && !ended && spawnd_wait_event(client, -1, &error) >= 0)
		;
	spawnd_process_free(process);
	spawnd_close(client);
	return out >= 0 && ended ? 0 : 1;
}
