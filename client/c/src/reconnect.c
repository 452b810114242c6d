/*
 * A lost connection made anew. The daemon's keeper holds the listening socket while the engine is replaced, so the first
 * attempt usually succeeds and the connection waits to be accepted; what is tried again is a socket that refuses.
 *
 * The number of spawnd_fd() stays: the new socket takes it over, and between attempts a timer stands there, so that whoever
 * polls it comes back to us in time.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/mem.h"
#include "internal.h"

#define PATIENCE_NS (INT64_C(10) * 1000000000)
#define PATIENCE_FIRST_NS (INT64_C(1) * 1000000000) /* of a client that has never been greeted */
#define PAUSE_NS (INT64_C(5) * 1000000)             /* doubled with each attempt */
#define PAUSE_DOUBLINGS 7u

/* Puts a descriptor (taken) where the connection's was. */
static void place(struct spawnd *client, int fd)
{
	while (dup3(fd, client->fd, O_CLOEXEC) < 0 && (errno == EINTR || errno == EBUSY))
		;
	close(fd);
	client->fd_changes++;
}

/* Lets go of what is left of the connection, but for the number of its descriptor. */
static void drop_connection(struct spawnd *client)
{
	conn_steal_fd(client->conn);
	conn_destroy(client->conn);
	client->conn = NULL;
}

static void begin_again(struct spawnd *client, int fd)
{
	place(client, fd);
	client->conn = conn_create(client->fd);
	conn_cork(client->conn);
	stream_resume_all(client);
	conn_uncork(client->conn);
}

/* Has us called again after a pause. Without a descriptor for a timer there is no going on. */
static void pause_attempts(struct spawnd *client)
{
	unsigned doublings = client->attempts < PAUSE_DOUBLINGS ? client->attempts : PAUSE_DOUBLINGS;
	struct itimerspec when = {.it_value.tv_nsec = PAUSE_NS << doublings};
	int fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);

	if (fd < 0) {
		error_errno(&client->why, SPAWND_RESOURCE_EXHAUSTED, errno, "timerfd_create", client->socket);
		client_fail(client);
		return;
	}
	timerfd_settime(fd, 0, &when, NULL);
	place(client, fd);
}

/* The daemon may only be busy, or be replaced. A socket that is no more was removed by a daemon that has ended. */
static bool may_change(int error)
{
	return error == EAGAIN || error == ECONNREFUSED || error == ENOBUFS || error == ENOMEM;
}

static void attempt(struct spawnd *client)
{
	int fd = autostart_try(client->socket);

	client->attempts++;
	if (fd >= 0)
		begin_again(client, fd);
	else if (may_change(-fd) && clock_boot_ns() < client->give_up_ns)
		pause_attempts(client);
	else
		client_fail(client);
}

bool reconnect_begin(struct spawnd *client)
{
	if (!client_returns(client))
		return false;
	stream_take_part(client);
	if (!client->closed)
		stream_lose_all(client);
	if (client->closed)
		return true;
	drop_connection(client);
	if (!client->give_up_ns)
		client->give_up_ns = clock_boot_ns() + (client->greeted ? PATIENCE_NS : PATIENCE_FIRST_NS);
	else if (clock_boot_ns() >= client->give_up_ns)
		client_fail(client);
	if (client->lost)
		return true;
	if (client->attempts)
		pause_attempts(client);
	else
		attempt(client);
	return true;
}

void reconnect_step(struct spawnd *client)
{
	uint64_t expirations;

	if (read(client->fd, &expirations, sizeof(expirations)) == (ssize_t)sizeof(expirations))
		attempt(client);
}

void reconnect_done(struct spawnd *client)
{
	client->greeted = true;
	client->give_up_ns = 0;
	client->attempts = 0;
}
