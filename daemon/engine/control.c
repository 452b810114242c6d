/* Accepting. A bounded number per turn, so that a flood of connections does not starve those that are there. */
#include "engine/control.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uthash.h>

#include "base/log.h"
#include "base/loop.h"
#include "base/mem.h"
#include "base/quota.h"
#include "base/sys.h"

#define ACCEPTS_PER_TURN 64
#define PAUSE_US 100000

struct client {
	struct peer *peer;
	struct access_client access;
	UT_hash_handle hh; /* control::clients, by peer */
};

struct control {
	struct control_config config;
	struct peer_server server;
	struct loop_fd *watch;
	struct loop_timer *pause;
	struct client *clients;
	bool stopped;
	bool told;      /* that accepting pauses, since it last went well */
	bool told_full; /* that there are too many clients, since there were clearly fewer */
};

static struct client *find_client(struct control *control, const struct peer *peer)
{
	struct client *client;

	HASH_FIND_PTR(control->clients, &peer, client);
	return client;
}

size_t control_clients(const struct control *control)
{
	return HASH_COUNT(control->clients);
}

/* Goes on accepting unless there is a reason not to. */
static void resume(struct control *control)
{
	if (control_clients(control) < control->config.clients_max - control->config.clients_max / 8)
		control->told_full = false;
	if (!control->stopped && control_clients(control) < control->config.clients_max && !loop_timer_pending(control->pause))
		loop_fd_set(control->watch, LOOP_READ);
}

static void on_pause_over(void *arg)
{
	resume(arg);
}

/* Stops accepting for a moment: out of something. */
static void pause_accepting(struct control *control, int error)
{
	if (!control->told)
		log_(LOG_WARNING, "socket: accept: %s, with %zu clients; paused", err_name(-error), control_clients(control));
	control->told = true;
	loop_fd_set(control->watch, 0);
	loop_timer_set(control->pause, PAUSE_US);
}

static int on_authorize(void *context, struct peer *peer, const struct method *method, struct err *err)
{
	struct control *control = context;
	struct client *client = find_client(control, peer);

	if (!client)
		return err_set(err, STATUS_INTERNAL, "a call of a client that is not connected");
	if (access_authorize(&control->config.access, &client->access, method, err) == 0)
		return 0;
	control->config.on_refused(control->config.context, client->access.ids.uid, client->access.pid, method, err->message);
	return -EPERM;
}

static void on_peer_gone(void *context, struct peer *peer)
{
	struct control *control = context;
	struct client *client = find_client(control, peer);

	control->config.on_gone(control->config.context, peer);
	if (!client)
		return;
	HASH_DEL(control->clients, client);
	access_finish(&client->access);
	free(client);
	loop_timer_cancel(control->pause); /* descriptors came free */
	resume(control);
	control->config.on_count(control->config.context, control_clients(control));
}

static const struct peer_observer observer = {.authorize = on_authorize, .on_gone = on_peer_gone};

/* May the client that connected stay? 0, or negative with *err. */
static int check_client(struct control *control, const struct access_client *access, struct err *err)
{
	if (!access_may_connect(&control->config.access, access))
		return err_set(err, STATUS_PERMISSION_DENIED, "uid %u has no role here", (unsigned)access->ids.uid);
	return quotas_check(control->config.quotas, access->ids.uid, QUOTA_CONNECTIONS, 1, err);
}

/* Makes a client of an accepted socket (taken), or tells it why not. */
static void admit(struct control *control, int fd)
{
	struct access_client access;
	struct client *client;
	struct err err;

	if (access_read(&access, fd) < 0) {
		sys_close(fd);
		return;
	}
	if (check_client(control, &access, &err) < 0) {
		control->config.on_refused(control->config.context, access.ids.uid, access.pid, NULL, err.message);
		access_finish(&access);
		peer_turn_away(fd, &err);
		return;
	}
	client = mem_alloc(sizeof(*client));
	client->access = access;
	client->peer = peer_create(&control->server, fd);
	if (!client->peer) {
		access_finish(&client->access);
		free(client);
		return;
	}
	client->access.pidfd = peer_pidfd(client->peer);
	HASH_ADD_PTR(control->clients, peer, client);
	control->config.on_count(control->config.context, control_clients(control));
}

static void on_connection(void *arg, unsigned events)
{
	struct control *control = arg;

	for (unsigned i = 0; i < ACCEPTS_PER_TURN; i++) {
		int fd;

		if (control_clients(control) >= control->config.clients_max) {
			if (!control->told_full)
				log_(LOG_WARNING, "socket: %zu clients, the most there may be; others wait", control_clients(control));
			control->told_full = true;
			loop_fd_set(control->watch, 0);
			return;
		}
		fd = sys_accept(control->config.socket, SOCK_NONBLOCK);
		if (fd == -EAGAIN)
			return;
		if (fd == -ECONNABORTED)
			continue;
		if (fd < 0) {
			pause_accepting(control, fd);
			return;
		}
		control->told = false;
		admit(control, fd);
	}
}

struct control *control_create(const struct control_config *config)
{
	struct control *control = mem_alloc(sizeof(*control));

	control->config = *config;
	control->server = (struct peer_server){
		.loop = config->loop,
		.quotas = config->quotas,
		.methods = config->methods,
		.observer = &observer,
		.context = control,
		.stall_ms = config->stall_ms,
	};
	control->pause = loop_timer_create(config->loop, on_pause_over, control);
	control->watch = loop_fd_create(config->loop, config->socket, LOOP_READ, on_connection, control);
	return control;
}

void control_stop(struct control *control)
{
	control->stopped = true;
	loop_fd_set(control->watch, 0);
	loop_timer_cancel(control->pause);
}

void control_close_all(struct control *control, const char *why)
{
	struct client *client, *next;

	HASH_ITER(hh, control->clients, client, next)
	peer_close(client->peer, why);
}

void control_destroy(struct control *control)
{
	if (!control)
		return;
	control_stop(control);
	control_close_all(control, "the daemon ends");
	loop_fd_destroy(control->watch);
	loop_timer_destroy(control->pause);
	free(control);
}

bool control_may(struct control *control, const struct peer *peer, enum right right)
{
	struct client *client = find_client(control, peer);

	return client && access_may(&control->config.access, &client->access, right);
}

bool control_is_master(struct control *control, const struct peer *peer)
{
	struct client *client = find_client(control, peer);

	return client && access_is_master(&control->config.access, &client->access);
}

int control_run_as(struct control *control, const struct peer *peer, const struct client_ids *ids, struct err *err)
{
	struct client *client = find_client(control, peer);

	if (!client)
		return err_set(err, STATUS_INTERNAL, "a call of a client that is not connected");
	return access_run_as(&control->config.access, &client->access, ids, err);
}

int control_nice(struct control *control, const struct peer *peer, int nice, struct err *err)
{
	struct client *client = find_client(control, peer);

	return client ? access_nice(&control->config.access, &client->access, nice, err) : -EPERM;
}

bool control_no_new_privs(struct control *control, const struct peer *peer)
{
	struct client *client = find_client(control, peer);

	return !client || access_no_new_privs(&control->config.access, &client->access);
}

bool control_is_flushed(const struct control *control)
{
	for (struct client *client = control->clients; client; client = client->hh.next)
		if (!peer_is_flushed(client->peer))
			return false;
	return true;
}

size_t control_memory(const struct control *control)
{
	size_t bytes = 0;

	for (struct client *client = control->clients; client; client = client->hh.next)
		bytes += peer_memory(client->peer);
	return bytes;
}
