/* See launch.h. */
#include "service/launch.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "service/reading.h"
#include "service/rights.h"

/* One descriptor, whichever way the client named it; `at` is the entry of the request. */
static int take_fd(struct call *call, const struct slot_spec *slot, size_t at, int *fd_out, struct err *err)
{
	struct service *service = service_get();
	struct peer *other;
	char field[64];

	snprintf(field, sizeof(field), "spec.stdio[%zu].fd.%s", at,
		slot->fd_session    ? "session"
		: slot->fd_attached ? "attached"
				    : "number");
	if (slot->fd_attached)
		return call_take_fd(call, (uint32_t)slot->fd_number, field, fd_out, err);
	if (!slot->fd_session)
		return call_fetch_fd(call, slot->fd_number, field, fd_out, err);
	other = session_find(service->sessions, peer_uid(call_peer(call)), slot->fd_session->data, slot->fd_session->len);
	if (!other)
		return err_set(err, STATUS_FAILED_PRECONDITION, "%s: no connection of this client has said Hello with this key", field);
	return call_take_connection(call, other, field, fd_out, err);
}

/* Takes the client's descriptors for the FD slots, in ascending order of slot. *count_out of them were taken, on errors too. */
static int take_fds(struct call *call, const struct spec *spec, int *fds, size_t *count_out, struct err *err)
{
	*count_out = 0;
	for (size_t i = 0; i < spec->slot_count; i++) {
		const struct slot_spec *slot = &spec->slots[i];
		size_t at = 0;
		int done;

		if (slot->kind != SLOT_FD)
			continue;
		/* the request names slots in any order: find which entry this one was */
		while (at < spec->message->n_stdio && spec->message->stdio[at]->slot != slot->slot)
			at++;
		done = take_fd(call, slot, at, &fds[*count_out], err);
		if (done < 0)
			return done;
		(*count_out)++;
	}
	return 0;
}

struct spec_context launch_context(struct call *call)
{
	struct service *service = service_get();
	struct peer *peer = call_peer(call);
	struct spec_context context = {
		.uid = peer_uid(peer),
		.gid = peer_gid(peer),
		.daemon_uid = geteuid(),
		.no_new_privs = service->config.host->no_new_privs(service->config.context, peer),
	};

	session_fill_context(peer_session(peer), &context);
	return context;
}

/* What of a compiled spec depends on the client and its stream. */
static int check(const struct launch_request *request, const struct spec *spec, struct err *err)
{
	int done = reading_check(spec, request->reader, err);

	if (done == 0 && request->use == SPEC_START && spec->message->on_disconnect != SPAWND__V1__ON_DISCONNECT__ON_DISCONNECT_KEEP)
		done = err_invalid(err, "spec.on_disconnect", "is for Spawn and Run: nobody holds what Start leaves running");

	if (done < 0)
		return done;
	if (spec->message->transport != SPAWND__V1__TRANSPORT__TRANSPORT_HANDOVER || peer_fd_passing(call_peer(request->call)))
		return 0;
	done = err_set(
		err, STATUS_FAILED_PRECONDITION, "spec.transport: HANDOVER is for clients that told the feature fd_passing in Hello");
	snprintf(err->field, sizeof(err->field), "spec.transport");
	return done;
}

/* Which act of whom it is, for the next engine. */
static void origin_of(const struct launch_request *request, const struct act_name *name, int64_t now_ns, struct record_origin *origin)
{
	struct session *session = peer_session(call_peer(request->call));
	size_t size;
	const uint8_t *key = session_key(session, &size);

	*origin = (struct record_origin){.uid = name->uid, .digest = name->digest, .made_ns = now_ns, .session_size = (uint32_t)size};
	origin->held = request->use != SPEC_START;
	snprintf(origin->key, sizeof(origin->key), "%s", name->key ? name->key : "");
	snprintf(origin->method, sizeof(origin->method), "%s", name->method);
	if (size)
		memcpy(origin->session, key, size);
}

static int start(struct service *service, const struct launch_request *request, const struct record_origin *origin,
	struct child **child_out, struct err *err)
{
	struct spec_context context = launch_context(request->call);
	_cleanup_free_ int *fds = NULL;
	struct spec *spec;
	bool persisted = false;
	size_t count = 0;
	int done = spec_compile(request->spec, &context, request->use, &spec, err);

	if (done < 0)
		return done;
	fds = mem_alloc((spec->slot_count + 1) * sizeof(*fds));
	done = rights_run_as(request->call, spec, err);
	if (done == 0)
		done = check(request, spec, err);
	if (done == 0)
		done = take_fds(request->call, spec, fds, &count, err);
	if (done == 0 && spec->message->persist && !children_find_name(service->config.children, spec->message->name)) {
		done = persist_write(service->persist, spec, origin->uid, err); /* before it is there: what was answered is persisted */
		persisted = done == 0;
	}
	if (done == 0)
		done = child_create(service->config.children, spec, origin, fds, count, child_out, err);
	else
		for (size_t i = 0; i < count; i++)
			fd_close(&fds[i]);
	if (done == 0)
		channels_open(service->channels, *child_out);
	else if (persisted)
		persist_remove(service->persist, spec->message->name, NULL);
	spec_unref(spec);
	return done;
}

/* The process that a key started too long ago for the keys to know it. */
static struct child *find_started(struct children *children, const struct act_name *name)
{
	struct child *child = children_next(children, 0);
	struct record_origin origin;

	for (; child; child = children_next(children, child_id(child))) {
		child_origin(child, &origin);
		if (origin.uid == name->uid && origin.digest == name->digest && strcmp(origin.method, name->method) == 0 &&
			strcmp(origin.key, name->key) == 0)
			break;
	}
	return child;
}

/* A client comes back to what it started: nothing is started for it. */
static int find_again(struct service *service, const struct act_name *name, struct child **child_out, bool *joined_out, struct err *err)
{
	*child_out = name->key && *name->key ? find_started(service->config.children, name) : NULL;
	*joined_out = true;
	return *child_out ? 0 : err_set(err, STATUS_NOT_FOUND, "the process that this idempotency key started is gone");
}

int launch_process(const struct launch_request *request, struct child **child_out, bool *joined_out, struct err *err)
{
	struct service *service = service_get();
	struct act_name name = {.uid = peer_uid(call_peer(request->call)), .key = request->key, .method = call_method(request->call)->name};
	struct known_act known = {0};
	struct record_origin origin;
	int64_t now = clock_boot_ns();
	int done;

	*joined_out = false;
	if (!request->spec)
		return err_invalid(err, "spec", "is missing");
	if (name.key && *name.key)
		name.digest = keys_digest(&request->spec->base);
	done = keys_find(service->keys, &name, now, &known, err);
	if (done < 0)
		return done;
	if (done && known.failed) {
		call_fail_packed(request->call, known.reply, known.reply_size);
		return 1;
	}
	if (done) {
		*joined_out = true;
		*child_out = children_find(service->config.children, known.process);
		return *child_out ? 0
				  : err_set(err, STATUS_NOT_FOUND, "process %" PRIu64 ", which this idempotency_key started, is gone",
					    known.process);
	}
	if (request->resume)
		return find_again(service, &name, child_out, joined_out, err);
	origin_of(request, &name, now, &origin);
	done = start(service, request, &origin, child_out, err);
	if (done < 0)
		return done;
	known.process = child_id(*child_out);
	audit_allowed(request->call, known.process);
	keys_put(service->keys, &name, now, &known);
	return 0;
}
