/* Feeds a child more than fits anywhere and reads it back: nobody buffers more than a window, whoever is slow holds the rest back. */
#include <spawnd.h>
#include <stdio.h>
#include <string.h>

#define TOTAL (16u << 20)

struct state {
	size_t written, read;
	char block[65536];
	int status;
	bool ended;
};

/* Writes until the window is full; `writable` comes when there is room again. */
static void feed(struct state *state, struct spawnd_process *process)
{
	while (state->written < TOTAL) {
		ssize_t taken = spawnd_process_write(process, 0, state->block, sizeof(state->block));

		if (taken <= 0)
			return;
		state->written += (size_t)taken;
	}
	spawnd_process_close_stdin(process, 0);
}

static void on_spawned(void *context, struct spawnd_process *process, const unsigned *slots, const int *fds, size_t count)
{
	(void)slots, (void)fds, (void)count;
	feed(context, process);
}

static void on_writable(void *context, struct spawnd_process *process)
{
	feed(context, process);
}

static void on_output(void *context, struct spawnd_process *process, unsigned slot, uint64_t offset, const void *data, size_t size)
{
	struct state *state = context;

	(void)process, (void)slot, (void)offset, (void)data;
	state->read += size;
}

static void on_closed(void *context, struct spawnd_process *process, const struct spawnd_exit *how)
{
	struct state *state = context;

	(void)process;
	state->status = how->code;
}

static void on_ended(void *context, struct spawnd_process *process, const struct spawnd_error *error)
{
	struct state *state = context;

	(void)process;
	if (error)
		fprintf(stderr, "stream: %s\n", error->message);
	state->ended = true;
}

int main(void)
{
	static const char *const command[] = {"cat", NULL};
	static const struct spawnd_handlers handlers = {
		.spawned = on_spawned, .writable = on_writable, .output = on_output, .closed = on_closed, .ended = on_ended};
	static struct state state = {.status = -1};
	struct spawnd_process *process;
	struct spawnd_error error;
	struct spawnd_spec *spec;
	struct spawnd *client;

	memset(state.block, 'x', sizeof(state.block));
	if (spawnd_connect(NULL, 0, &client, &error) < 0) {
		fprintf(stderr, "stream: %s\n", error.message);
		return 69;
	}
	spec = spawnd_spec_create(command);
	process = spawnd_spawn(client, spec, SPAWND_BLOCK, 256 << 10, &handlers, &state, &error);
	spawnd_spec_free(spec);
	while (process && !state.ended && spawnd_wait_event(client, -1, &error) >= 0)
		;
	spawnd_process_free(process);
	spawnd_close(client);
	printf("%zu bytes there, %zu back, exit %d\n", state.written, state.read, state.status);
	return state.status == 0 && state.read == state.written ? 0 : 1;
}
