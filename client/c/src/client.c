/* The connection: opening, dispatching, losing it. */
#include <errno.h>
#include <poll.h>
#include <string.h>

#include "base/mem.h"
#include "base/paths.h"
#include "internal.h"

int spawnd_default_socket(char *path, size_t size, struct spawnd_error *error)
{
	struct err err;

	if (paths_socket(path, size, &err) == 0)
		return 0;
	error_of_err(error, &err);
	return -1;
}

int spawnd_connect(const char *path, unsigned flags, struct spawnd **client_out, struct spawnd_error *error)
{
	char standard[PATHS_SOCKET_MAX + 1];
	struct spawnd *client;
	struct err err;
	int fd;

	if (!path && spawnd_default_socket(standard, sizeof(standard), error) < 0)
		return -1;
	if (!path)
		path = standard;
	if (paths_check_length(path, &err) < 0) {
		error_of_err(error, &err);
		return -1;
	}
	fd = autostart_connect(path, flags, error);
	if (fd < 0)
		return -1;
	client = mem_alloc(sizeof(*client));
	client->conn = conn_create(fd);
	client->socket = mem_strdup(path);
	client->next_id = 1;
	if (hello(client, flags, error) < 0) {
		spawnd_close(client);
		return -1;
	}
	*client_out = client;
	return 0;
}

void spawnd_close(struct spawnd *client)
{
	if (!client)
		return;
	while (client->streams)
		stream_forget(client->streams);
	conn_destroy(client->conn);
	free(client->socket);
	free(client);
}

const char *spawnd_socket(const struct spawnd *client)
{
	return client->socket;
}

int spawnd_fd(const struct spawnd *client)
{
	return conn_fd(client->conn);
}

short spawnd_events(const struct spawnd *client)
{
	return (short)(POLLIN | (conn_pending(client->conn) ? POLLOUT : 0));
}

/* Remembers why the connection is gone and ends what is open. */
static int lose(struct spawnd *client, int result, struct spawnd_error *error)
{
	if (!client->lost) {
		client->lost = true;
		if (result < 0)
			error_errno(&client->why, SPAWND_UNAVAILABLE, -result, "the connection to the daemon is lost", NULL);
		else
			error_set(&client->why, SPAWND_UNAVAILABLE, "the daemon closed the connection");
		stream_end_all(client);
	}
	if (error)
		*error = client->why;
	return -1;
}

int spawnd_dispatch(struct spawnd *client, struct spawnd_error *error)
{
	struct frame frame;
	int result, flushed;

	if (client->lost)
		return lose(client, 0, error);
	result = conn_read(client->conn);
	conn_cork(client->conn);
	while (conn_next(client->conn, &frame))
		stream_dispatch(client, &frame);
	conn_uncork(client->conn);
	flushed = conn_flush(client->conn);
	if (result)
		return lose(client, result, error);
	return flushed < 0 ? lose(client, flushed, error) : 0;
}

int spawnd_wait_event(struct spawnd *client, int timeout_ms, struct spawnd_error *error)
{
	struct pollfd pollfd = {.fd = spawnd_fd(client), .events = spawnd_events(client)};
	int ready;

	if (client->lost)
		return lose(client, 0, error);
	ready = poll(&pollfd, 1, timeout_ms);
	if (ready < 0 && errno != EINTR)
		return error_errno(error, SPAWND_UNKNOWN, errno, "poll", NULL);
	if (ready <= 0)
		return 0;
	return spawnd_dispatch(client, error) < 0 ? -1 : 1;
}
