/*
 * The connection: opening, dispatching, closing it; what follows when it is lost stands in reconnect.c. Callbacks run between `dispatching
 * = true` and `false`; closing meanwhile forgets everything at once, but the connection itself goes when the dispatch is over.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

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

static void destroy(struct spawnd *client)
{
	if (client->conn)
		conn_destroy(client->conn);
	else
		fd_close(&client->fd);
	free(client->hello);
	free(client->socket);
	free(client);
}

/* Opens the session. */
static int greet(struct spawnd *client, struct spawnd_error *error)
{
	if (hello_prepare(client, error) < 0)
		return -1;
	hello_say(client);
	while (!client->greeted)
		if (spawnd_wait_event(client, -1, error) < 0)
			return -1;
	return 0;
}

int spawnd_connect(const char *path, unsigned flags, struct spawnd **client_out, struct spawnd_error *error)
{
	char standard[PATHS_SOCKET_MAX + 1], absolute[PATH_MAX];
	struct spawnd *client;
	struct err err;
	int fd;

	if (!path && find_socket(standard, sizeof(standard), error) < 0)
		return -1;
	if (!path)
		path = standard;
	if (paths_check_length(path, &err) < 0)
		return error_of_err(error, &err);
	if (autostart_absolute(path, absolute, error) < 0)
		return -1;
	fd = autostart_connect(absolute, flags, error);
	if (fd < 0)
		return -1;
	client = mem_alloc(sizeof(*client));
	client->flags = flags;
	client->fd = fd;
	client->conn = conn_create(fd);
	client->socket = mem_strdup(absolute);
	client->next_id = 1;
	if (greet(client, error) < 0) {
		spawnd_close(client);
		return -1;
	}
	*client_out = client;
	return 0;
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
	return client->fd;
}

unsigned spawnd_fd_changes(const struct spawnd *client)
{
	return client->fd_changes;
}

short spawnd_events(const struct spawnd *client)
{
	return (short)(POLLIN | (client->conn && conn_pending(client->conn) ? POLLOUT : 0));
}

bool client_returns(const struct spawnd *client)
{
	return client->hello && !(client->flags & SPAWND_NO_RECONNECT);
}

void client_key(struct spawnd *client, char key[CLIENT_KEY_SIZE])
{
	uint64_t random[2];

	if (!client->key_base[0]) {
		if (getrandom(random, sizeof(random), 0) != (ssize_t)sizeof(random)) {
			key[0] = 0;
			return;
		}
		snprintf(client->key_base, sizeof(client->key_base), "%016llx%016llx", (unsigned long long)random[0],
			(unsigned long long)random[1]);
	}
	snprintf(key, CLIENT_KEY_SIZE, "%s-%llx", client->key_base, (unsigned long long)++client->key_count);
}

void client_fail(struct spawnd *client)
{
	client->lost = true;
	stream_end_all(client);
}

/* Says in client->why what happened. `result`: of conn_read or conn_flush. */
static void describe_loss(struct spawnd *client, int result)
{
	if (result == CONN_E_GARBAGE)
		error_set(&client->why, SPAWND_UNAVAILABLE, "%s: what answers there is no spawnd", client->socket);
	else if (result == CONN_E_CLOSED || result == -EPIPE || result == -ECONNRESET)
		error_set(&client->why, SPAWND_UNAVAILABLE, "%s: the daemon closed the connection", client->socket);
	else if (result == CONN_E_TRUNCATED)
		error_set(&client->why, SPAWND_UNAVAILABLE, "%s: the daemon was gone in the middle of a message", client->socket);
	else
		error_errno(&client->why, SPAWND_UNAVAILABLE, -result, result == -EMFILE ? "recvmsg" : "sendmsg", client->socket);
}

/* The connection broke. Descriptors that could not be received would not come again. */
static void lose(struct spawnd *client, int result)
{
	describe_loss(client, result);
	if (result != CONN_E_GARBAGE && result != -EMFILE && reconnect_begin(client))
		return;
	if (!client->closed)
		client_fail(client);
}

/* Gives out the frames that are whole. */
static void give_out(struct spawnd *client)
{
	struct frame frame;

	while (!client->closed && !client->lost && conn_next(client->conn, &frame))
		stream_dispatch(client, &frame);
}

/* Nothing can be sent any more: reads what had been sent to us before. Returns why the connection broke. */
static int read_rest(struct spawnd *client, int broken)
{
	struct pollfd pollfd = {.fd = client->fd, .events = POLLIN};
	int result = 0;

	while (!result && !client->closed && !client->lost && poll(&pollfd, 1, 0) > 0) {
		result = conn_read(client->conn);
		give_out(client);
	}
	return result ? result : broken;
}

/* Reads, calls back, writes. */
static void pump(struct spawnd *client)
{
	int result = conn_read(client->conn), flushed;

	conn_cork(client->conn);
	give_out(client);
	if (client->closed || client->lost)
		return;
	conn_uncork(client->conn);
	flushed = conn_flush(client->conn);
	if (!result && flushed < 0)
		result = read_rest(client, flushed);
	if (result && !client->closed && !client->lost)
		lose(client, result);
}

int client_may_block(const struct spawnd *client, struct spawnd_error *error)
{
	if (client->dispatching)
		return error_set(error, SPAWND_FAILED_PRECONDITION, "a function that blocks was called inside a callback");
	return 0;
}

int client_check_spec(const struct spawnd *client, const struct spawnd_spec *spec, struct spawnd_error *error)
{
	if (!client->cwd_errno || spec->message.cwd.len)
		return 0;
	return error_field(error, "spec.cwd", client->cwd_errno, "getcwd", "the current directory is gone");
}

int spawnd_dispatch(struct spawnd *client, struct spawnd_error *error)
{
	if (client_may_block(client, error) < 0)
		return -1;
	if (!client->lost) {
		client->dispatching = true;
		if (client->conn)
			pump(client);
		else
			reconnect_step(client);
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
