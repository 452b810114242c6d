/* Rights of clients. Facts come from the kernel (SO_PEERCRED, pidfd) and /proc, never from the client's own words. */
#include "engine/access.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"

static const char *const namespaces[] = {"mnt", "pid", "user"};
static const char *const namespace_words[] = {"mount", "pid", "user"};

bool access_may_connect(uid_t uid, uid_t own)
{
	return uid == own || uid == 0;
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

/* Compares the client's namespaces with ours; where that cannot be done, says why. */
static bool compare_namespaces(struct access_client *client, const char *proc)
{
	char pid[24], own[64], theirs[64];
	int done;

	snprintf(pid, sizeof(pid), "%d", (int)client->pid);
	for (size_t i = 0; i < array_size(namespaces); i++) {
		if (read_namespace(proc, "self", namespaces[i], own, sizeof(own)) < 0)
			return true; /* no /proc at all: nothing to compare with, told as degraded */
		if (client->pid == 0) {
			snprintf(client->why, sizeof(client->why), "the client is in another pid namespace");
			return false;
		}
		done = read_namespace(proc, pid, namespaces[i], theirs, sizeof(theirs));
		if (done == -EACCES && client->uid == 0)
			return true; /* root, whom this daemon cannot look at, can enter our namespaces anyway */
		if (done < 0) {
			snprintf(client->why, sizeof(client->why), "the %s namespace of pid %s cannot be read (%s)", namespace_words[i],
				pid, err_name(-done));
			return false;
		}
		if (strcmp(own, theirs) != 0) {
			snprintf(client->why, sizeof(client->why), "pid %s is in another %s namespace", pid, namespace_words[i]);
			return false;
		}
	}
	return true;
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
	client->same_namespaces = compare_namespaces(client, proc);
	client->no_new_privs = read_no_new_privs(client, proc);
	if (!has_ended(client))
		return;
	client->same_namespaces = false;
	client->no_new_privs = true;
	snprintf(client->why, sizeof(client->why), "pid %d, which connected, has ended", (int)client->pid);
}

bool access_may(struct access_client *client, const char *proc, bool allow_foreign_ns, enum right right)
{
	if (!(right & RIGHT_SPAWN) || allow_foreign_ns)
		return true;
	look_up(client, proc);
	return client->same_namespaces;
}

int access_authorize(struct access_client *client, const char *proc, bool allow_foreign_ns, const struct method *method, struct err *err)
{
	if (access_may(client, proc, allow_foreign_ns, method->right))
		return 0;
	return err_set(err, STATUS_PERMISSION_DENIED, "%s.%s: %s; a daemon started with --allow-foreign-ns would do it", method->service,
		method->name, client->why);
}

bool access_no_new_privs(struct access_client *client, const char *proc)
{
	look_up(client, proc);
	return client->no_new_privs;
}
