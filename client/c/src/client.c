/*
 * The connection: opening, dispatching, losing it, closing it. Callbacks run between `dispatching = true` and `false`;
 * closing meanwhile forgets everything at once, but the connection itself goes when the dispatch is over.
 */
#include <errno.h>
#include <poll.h>
#include <string.h>

#include "base/mem.h"
#include "base/paths.h"
#include "internal.h"

int spawnd_default_socket(char *path, size_t size, struct spawnd_error *error)
{
	struct err err;

	return paths_socket(path, size, &err) == 0 ? 0 : error_of_err(error, &err);
}

/* The usual socket: only in a directory that nobody else can put one into. */
static int find_socket(char *path, size_t size, struct spawnd_error *error)
{
	char directory[PATHS_SOCKET_MAX + 1];
	const char *named = getenv("SPAWND_SOCKET");
	struct err err;
	int done;

	if (spawnd_default_socket(path, size, error) < 0)
		return -1;
	if (named && *named)
		return 0;
	paths_dir(path, directory, sizeof(directory));
	done = paths_check_dir(directory, 0, &err);
	return done == 0 || done == -ENOENT ? 0 : error_of_err(error, &err);
}

int spawnd_connect(const char *path, unsigned flags, struct spawnd **client_out, struct spawnd_error *error)
{
	char standard[PATHS_SOCKET_MAX + 1];
	struct spawnd *client;
	struct err err;
	int fd;

	if (!path && find_socket(standard, sizeof(standard), error) < 0)
		return -1;
	if (!path)
		path = standard;
	if (paths_check_length(path, &err) < 0)
		return error_of_err(error, &err);
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

static void destroy(struct spawnd *client)
{
	conn_destroy(client->conn);
	free(client->socket);
	free(client);
}

void spawnd_close(struct spawnd *client)
{
	if (!client || client->closed)
		return;
	if (!client->lost)
		error_set(&client->why, SPAWND_CANCELLED, "the connection was closed");
	client->lost = true;
	stream_forget_all(client);
	if (client->dispatching)
		client->closed = true;
	else
		destroy(client);
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

/* Remembers why the connection is gone and ends what is open. `result`: of conn_read or conn_flush. */
static void lose(struct spawnd *client, int result)
{
	if (client->lost)
		return;
	client->lost = true;
	if (result == CONN_E_GARBAGE)
		error_set(&client->why, SPAWND_UNAVAILABLE, "%s: what answers there is no spawnd", client->socket);
	else if (result == CONN_E_CLOSED || result == -EPIPE || result == -ECONNRESET)
		error_set(&client->why, SPAWND_UNAVAILABLE, "%s: the daemon closed the connection", client->socket);
	else if (result == CONN_E_TRUNCATED)
		error_set(&client->why, SPAWND_UNAVAILABLE, "%s: the daemon was gone in the middle of a message", client->socket);
	else
		error_errno(&client->why, SPAWND_UNAVAILABLE, -result, result == -EMFILE ? "recvmsg" : "sendmsg", client->socket);
	stream_end_all(client);
}

/* Reads, calls back, writes. Whole frames that came before the end are still given out. */
static void pump(struct spawnd *client)
{
	struct frame frame;
	int result = conn_read(client->conn), flushed;

	conn_cork(client->conn);
	while (!client->closed && conn_next(client->conn, &frame))
		stream_dispatch(client, &frame);
	if (client->closed)
		return;
	conn_uncork(client->conn);
	flushed = conn_flush(client->conn);
	if (result)
		lose(client, result);
	else if (flushed < 0)
		lose(client, flushed);
}

int client_may_block(const struct spawnd *client, struct spawnd_error *error)
{
	if (client->dispatching)
		return error_set(error, SPAWND_FAILED_PRECONDITION, "a function that blocks was called inside a callback");
	return 0;
}

int spawnd_dispatch(struct spawnd *client, struct spawnd_error *error)
{
	if (client_may_block(client, error) < 0)
		return -1;
	if (!client->lost) {
		client->dispatching = true;
		pump(client);
		client->dispatching = false;
	}
	if (client->closed) {
		error_copy(error, &client->why);
		destroy(client);
		return -1;
	}
	return client->lost ? error_copy(error, &client->why) : 0;
}

int spawnd_wait_event(struct spawnd *client, int timeout_ms, struct spawnd_error *error)
{
	struct pollfd pollfd = {.fd = spawnd_fd(client), .events = spawnd_events(client)};
	int ready;

	if (client->lost)
		return error_copy(error, &client->why);
	if (client_may_block(client, error) < 0)
		return -1;
	ready = poll(&pollfd, 1, timeout_ms);
	if (ready < 0 && errno != EINTR)
		return error_errno(error, SPAWND_UNKNOWN, errno, "poll", NULL);
	if (ready <= 0)
		return 0;
	return spawnd_dispatch(client, error) < 0 ? -1 : 1;
}
