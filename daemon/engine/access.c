/* Rights of clients. Facts come from the kernel (SO_PEERCRED, pidfd) and /proc, never from the client's own words. */
#include "engine/access.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"

static const char *const namespaces[] = {"mnt", "pid", "user"};
static const char *const namespace_words[] = {"mount", "pid", "user"};

int access_read(struct access_client *client, int socket)
{
	struct ucred credentials;
	socklen_t size = sizeof(credentials);

	*client = (struct access_client){.pidfd = -1};
	if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &credentials, &size) < 0)
		return -errno;
	client->ids.uid = credentials.uid;
	client->ids.gid = credentials.gid;
	client->pid = credentials.pid;
	size = 0;
	if (getsockopt(socket, SOL_SOCKET, SO_PEERGROUPS, NULL, &size) == 0 || errno != ERANGE || !size)
		return 0; /* none, or a kernel that does not tell: then only its gid counts */
	client->ids.groups = mem_alloc(size);
	if (getsockopt(socket, SOL_SOCKET, SO_PEERGROUPS, client->ids.groups, &size) == 0)
		client->ids.group_count = size / sizeof(gid_t);
	return 0;
}

void access_finish(struct access_client *client)
{
	free(mem_steal(&client->ids.groups));
	client->ids.group_count = 0;
}

bool access_is_master(const struct access_rules *rules, const struct access_client *client)
{
	return client->ids.uid == rules->own || client->ids.uid == 0;
}

/* Bits of enum right, over every object. */
static unsigned rights_of(const struct access_rules *rules, const struct access_client *client)
{
	if (access_is_master(rules, client))
		return RIGHTS_ALL;
	return grants_rights(rules->grants, &client->ids);
}

bool access_may_connect(const struct access_rules *rules, const struct access_client *client)
{
	return rights_of(rules, client) != RIGHT_NONE;
}

/* The name of a namespace of a process, as "mnt:[4026531841]". 0 or -errno. */
static int read_namespace(const char *proc, const char *process, const char *name, char *text, size_t size)
{
	char path[256];
	ssize_t length;

	snprintf(path, sizeof(path), "%s/%s/ns/%s", proc, process, name);
	length = readlink(path, text, size - 1);
	if (length < 0)
		return -errno;
	text[length] = '\0';
	return 0;
}

/* Compares the client's namespaces with ours; where they differ, or that cannot be told, says why. */
static enum namespaces compare_namespaces(struct access_client *client, const char *proc)
{
	char pid[24], own[64], theirs[64];
	int done;

	snprintf(pid, sizeof(pid), "%d", (int)client->pid);
	for (size_t i = 0; i < array_size(namespaces); i++) {
		if (read_namespace(proc, "self", namespaces[i], own, sizeof(own)) < 0)
			return NAMESPACES_SAME; /* no /proc at all: nothing to compare with, told as degraded */
		if (client->pid == 0) {
			snprintf(client->why, sizeof(client->why), "the client is in another pid namespace");
			return NAMESPACES_FOREIGN;
		}
		done = read_namespace(proc, pid, namespaces[i], theirs, sizeof(theirs));
		if (done == -EACCES && client->ids.uid == 0)
			return NAMESPACES_SAME; /* root, whom this daemon cannot look at, can enter our namespaces anyway */
		if (done < 0) {
			snprintf(client->why, sizeof(client->why), "the %s namespace of pid %s cannot be read (%s)", namespace_words[i],
				pid, err_name(-done));
			return NAMESPACES_UNKNOWN;
		}
		if (strcmp(own, theirs) != 0) {
			snprintf(client->why, sizeof(client->why), "pid %s is in another %s namespace", pid, namespace_words[i]);
			return NAMESPACES_FOREIGN;
		}
	}
	return NAMESPACES_SAME;
}

/* NoNewPrivs of /proc/PID/status. */
static bool read_no_new_privs(const struct access_client *client, const char *proc)
{
	char path[256], line[256];
	bool found = false, set = true;
	FILE *file;

	snprintf(path, sizeof(path), "%s/%d/status", proc, (int)client->pid);
	file = fopen(path, "re");
	if (!file) {
		snprintf(path, sizeof(path), "%s/self", proc);
		return access(path, F_OK) == 0; /* without any /proc nobody's can be told */
	}
	while (!found && fgets(line, sizeof(line), file))
		found = strncmp(line, "NoNewPrivs:", 11) == 0;
	if (found)
		set = strtol(line + 11, NULL, 10) != 0;
	fclose(file);
	return set;
}

/* Whether the process that connected has ended: then its pid may be somebody else's. */
static bool has_ended(const struct access_client *client)
{
	struct pollfd pollfd = {.fd = client->pidfd, .events = POLLIN};

	return client->pidfd >= 0 && poll(&pollfd, 1, 0) == 1;
}

/* Looks a client up in /proc, once. The pidfd proves afterwards that it was the client that was looked at. */
static void look_up(struct access_client *client, const char *proc)
{
	if (client->looked_up)
		return;
	client->looked_up = true;
	client->namespaces = compare_namespaces(client, proc);
	client->no_new_privs = read_no_new_privs(client, proc);
	if (!has_ended(client))
		return;
	client->namespaces = NAMESPACES_UNKNOWN;
	client->no_new_privs = true;
	snprintf(client->why, sizeof(client->why), "pid %d, which connected, has ended", (int)client->pid);
}

bool access_may(const struct access_rules *rules, const struct access_client *client, enum right right)
{
	return (rights_of(rules, client) & right) == (unsigned)right;
}

/* Whether the client stands where we stand, as far as the right needs it. */
static bool is_near_enough(const struct access_rules *rules, struct access_client *client, enum right right)
{
	if (*rules->allow_foreign_ns)
		return true;
	look_up(client, rules->proc);
	return client->namespaces == NAMESPACES_SAME || (client->namespaces == NAMESPACES_UNKNOWN && right != RIGHT_SPAWN);
}

int access_authorize(const struct access_rules *rules, struct access_client *client, const struct method *method, struct err *err)
{
	if (!access_may_connect(rules, client))
		return err_set(err, STATUS_PERMISSION_DENIED, "%s.%s: uid %u has no role here", method->service, method->name,
			(unsigned)client->ids.uid);
	if (method->right == RIGHT_NONE)
		return 0;
	if (!method->own && !access_may(rules, client, method->right))
		return err_set(err, STATUS_PERMISSION_DENIED, "%s.%s: uid %u has not the role %s", method->service, method->name,
			(unsigned)client->ids.uid, right_name(method->right));
	if (is_near_enough(rules, client, method->right))
		return 0;
	return err_set(err, STATUS_PERMISSION_DENIED, "%s.%s: %s; a daemon started with --allow-foreign-ns would do it", method->service,
		method->name, client->why);
}

bool access_no_new_privs(const struct access_rules *rules, struct access_client *client)
{
	look_up(client, rules->proc);
	return client->no_new_privs;
}

static int refuse_id(const char *field, const char *what, id_t id, const struct access_client *client, struct err *err)
{
	int done = err_set(err, STATUS_PERMISSION_DENIED, "%s: uid %u may not run anything with %s %u", field, (unsigned)client->ids.uid,
		what, (unsigned)id);

	if (err)
		snprintf(err->field, sizeof(err->field), "%s", field);
	return done;
}

static bool may_have_group(const struct access_rules *rules, const struct access_client *client, gid_t gid)
{
	return client_has_group(&client->ids, gid) || grants_run_as(rules->grants, &client->ids, (struct identity){true, gid});
}

int access_run_as(const struct access_rules *rules, const struct access_client *client, const struct client_ids *ids, struct err *err)
{
	char field[40];

	if (client->ids.uid == 0)
		return 0;
	if (ids->uid != client->ids.uid && !grants_run_as(rules->grants, &client->ids, (struct identity){false, ids->uid}))
		return refuse_id("spec.uid", "uid", ids->uid, client, err);
	if (ids->gid != ACCESS_GID_ANY && !may_have_group(rules, client, ids->gid))
		return refuse_id("spec.gid", "gid", ids->gid, client, err);
	for (size_t i = 0; i < ids->group_count; i++) {
		snprintf(field, sizeof(field), "spec.groups[%zu]", i);
		if (!may_have_group(rules, client, ids->groups[i]))
			return refuse_id(field, "gid", ids->groups[i], client, err);
	}
	return 0;
}

int access_nice(const struct access_rules *rules, const struct access_client *client, int nice, struct err *err)
{
	int done;

	if (nice >= 0 || access_is_master(rules, client))
		return 0;
	done = err_set(err, STATUS_PERMISSION_DENIED, "spec.nice: uid %u may not go below 0", (unsigned)client->ids.uid);
	if (err)
		snprintf(err->field, sizeof(err->field), "spec.nice");
	return done;
}
