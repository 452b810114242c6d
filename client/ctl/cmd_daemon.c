/* daemon and metrics: the daemon of this socket. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"
#include "client.h"
#include "json.h"
#include "spawnd/v1/admin.pb-c.h"

struct daemon_options {
	bool keep;
};

static bool set_keep(void *target, const char *value, struct why *why)
{
	((struct daemon_options *)target)->keep = true;
	return true;
}

static const struct option_row daemon_rows[] = {
	{"keep", 0, NULL, "stop: leave every process running", set_keep},
	{.name = NULL},
};

static bool get_stats(struct ctl *ctl, ProtobufCMessage **reply_out)
{
	Spawnd__V1__StatsRequest request = SPAWND__V1__STATS_REQUEST__INIT;

	return client_call(ctl, NULL, ADMIN, "Stats", &request.base, &spawnd__v1__stats_reply__descriptor, reply_out);
}

static int start(struct ctl *ctl)
{
	struct json_object *object;
	int status;

	ctl->autostart = true;
	status = client_open(ctl);
	if (status != EXIT_DONE)
		return status;
	if (ctl->json) {
		object = json_object_new_object();
		json_object_object_add(object, "socket", json_of_bytes(spawnd_socket(ctl->client), strlen(spawnd_socket(ctl->client))));
		json_print(object);
	} else {
		printf("%s\n", spawnd_socket(ctl->client));
	}
	return EXIT_DONE;
}

static const char *text_of(struct json_object *object, const char *name)
{
	struct json_object *value = json_object_object_get(object, name);

	return value ? json_object_get_string(value) : NULL;
}

/* A line for each user: what it has, and of how much. */
static void print_users(struct json_object *users)
{
	for (size_t i = 0; i < json_object_array_length(users); i++) {
		struct json_object *user = json_object_array_get_idx(users, i), *quotas = json_object_object_get(user, "quotas");

		printf("uid %-14s", text_of(user, "uid"));
		for (size_t at = 0; at < json_object_array_length(quotas); at++) {
			struct json_object *use = json_object_array_get_idx(quotas, at);
			const char *limit = text_of(use, "limit");

			printf("%s %s %s%s%s", at ? "," : "", text_of(use, "name"), text_of(use, "used"), limit ? " of " : "",
				limit ? limit : "");
		}
		printf("\n");
	}
}

/* Prints one number or text of the status. */
static void print_fact(const char *name, struct json_object *value)
{
	if (!json_object_is_type(value, json_type_array)) {
		printf("%-18s %s\n", name, json_object_get_string(value));
		return;
	}
	printf("%-18s", name);
	for (size_t i = 0; i < json_object_array_length(value); i++)
		printf("%s %s", i ? "," : "", json_object_get_string(json_object_array_get_idx(value, i)));
	printf("%s\n", json_object_array_length(value) ? "" : " nothing");
}

static int status(struct ctl *ctl)
{
	struct json_object *object;
	ProtobufCMessage *reply;
	int done;

	ctl->autostart = false;
	done = client_open(ctl);
	if (done != EXIT_DONE)
		return done;
	if (!get_stats(ctl, &reply))
		return EXIT_FAILED;
	object = json_of_message(reply);
	protobuf_c_message_free_unpacked(reply, NULL);
	if (ctl->json) {
		json_print(object);
		return EXIT_DONE;
	}
	json_object_object_foreach(object, name, value)
	{
		if (strcmp(name, "users") == 0)
			print_users(value);
		else if (strcmp(name, "loop_passes") != 0)
			print_fact(name, value);
	}
	json_object_put(object);
	return EXIT_DONE;
}

/* Waits until the process has ended; at once when that cannot be known. */
static void wait_for_end(int pidfd)
{
	struct pollfd polled = {.fd = pidfd, .events = POLLIN};

	while (pidfd >= 0 && poll(&polled, 1, -1) < 0 && errno == EINTR)
		;
}

static int stop(struct ctl *ctl, const struct daemon_options *options)
{
	_cleanup_fd_ int pidfd = -1;
	struct spawnd_error error;
	ProtobufCMessage *reply;
	int done;

	ctl->autostart = false;
	ctl->once = true;
	done = client_open(ctl);
	if (done != EXIT_DONE)
		return done;
	if (!get_stats(ctl, &reply))
		return EXIT_FAILED;
	pidfd = (int)syscall(SYS_pidfd_open, ((const Spawnd__V1__StatsReply *)reply)->keeper_pid, 0);
	protobuf_c_message_free_unpacked(reply, NULL);
	if (spawnd_shutdown(ctl->client, options->keep, &error) < 0) {
		client_error(ctl, NULL, &error);
		return EXIT_FAILED;
	}
	while (spawnd_wait_event(ctl->client, -1, &error) >= 0)
		;
	wait_for_end(pidfd);
	if (ctl->json) {
		struct json_object *object = json_object_new_object();

		json_object_object_add(object, "stopped", json_of_bytes(spawnd_socket(ctl->client), strlen(spawnd_socket(ctl->client))));
		json_print(object);
	}
	return EXIT_DONE;
}

/* Waits for the new engine, or for the old program once more. */
static int upgrade(struct ctl *ctl, const char *path)
{
	_cleanup_free_ char *absolute = path ? realpath(path, NULL) : NULL, *version = NULL;
	_cleanup_fd_ int pidfd = -1;
	struct spawnd_stats before, now;
	struct spawnd_error error;
	struct json_object *object;
	int pid, done;

	if (path && !absolute) {
		ctl_error(ctl, "%s: %s", path, strerror(errno));
		return EXIT_FAILED;
	}
	ctl->autostart = false;
	done = client_open(ctl);
	if (done != EXIT_DONE)
		return done;
	done = spawnd_get_stats(ctl->client, &before, &error);
	pidfd = done < 0 ? -1 : (int)syscall(SYS_pidfd_open, before.engine_pid, 0);
	if (done == 0)
		done = spawnd_upgrade(ctl->client, absolute, &version, &pid, &error);
	if (done == 0)
		wait_for_end(pidfd);
	do
		done = done < 0 ? done : spawnd_get_stats(ctl->client, &now, &error);
	while (done == 0 && now.engine_pid == before.engine_pid);
	if (done < 0) {
		client_error(ctl, NULL, &error);
		return EXIT_FAILED;
	}
	if (now.engine_pid != pid) {
		ctl_error(ctl, "the new engine ended before it served: the old one goes on");
		return EXIT_FAILED;
	}
	if (ctl->json) {
		object = json_object_new_object();
		json_object_object_add(object, "version", json_of_bytes(version, strlen(version)));
		json_object_object_add(object, "engine_pid", json_object_new_int(pid));
		json_print(object);
	} else {
		printf("%s\n", version);
	}
	return EXIT_DONE;
}

static int daemon_run(struct ctl *ctl, int argc, char **argv)
{
	struct daemon_options options = {0};
	int first;

	if (!ctl_parse(ctl, &options, argc, argv, true, 1, 2, &first))
		return first;
	if (strcmp(argv[first], "upgrade") == 0)
		return upgrade(ctl, argv[first + 1]);
	if (argv[first + 1])
		return ctl_usage(ctl, "%s: one argument too many", argv[first + 1]);
	if (strcmp(argv[first], "start") == 0)
		return start(ctl);
	if (strcmp(argv[first], "stop") == 0)
		return stop(ctl, &options);
	if (strcmp(argv[first], "status") == 0)
		return status(ctl);
	return ctl_usage(ctl, "unknown action: %s (start, stop, status, upgrade)", argv[first]);
}

const struct command command_daemon = {"daemon", "start|stop|status|upgrade [PATH]", "the daemon of this socket", daemon_rows, daemon_run};

static int metrics_run(struct ctl *ctl, int argc, char **argv)
{
	Spawnd__V1__MetricsRequest request = SPAWND__V1__METRICS_REQUEST__INIT;
	ProtobufCMessage *reply;
	int first, done;

	if (!ctl_parse(ctl, NULL, argc, argv, true, 0, 0, &first))
		return first;
	done = client_open(ctl);
	if (done != EXIT_DONE)
		return done;
	if (!client_call(ctl, NULL, ADMIN, "Metrics", &request.base, &spawnd__v1__metrics_reply__descriptor, &reply))
		return EXIT_FAILED;
	if (ctl->json)
		json_print(json_of_message(reply));
	else
		fputs(((const Spawnd__V1__MetricsReply *)reply)->text, stdout);
	protobuf_c_message_free_unpacked(reply, NULL);
	return EXIT_DONE;
}

const struct command command_metrics = {"metrics", "", "OpenMetrics text", NULL, metrics_run};
