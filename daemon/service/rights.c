/* See rights.h. */
#include "service/rights.h"

#include <inttypes.h>

#include "service/convert.h"
#include "service/internal.h"

bool rights_has(const struct call *call, const struct child *child, enum right right)
{
	const struct service_config *config = &service_get()->config;
	const struct peer *peer = call_peer(call);
	bool own = child && (right & (RIGHT_OBSERVE | RIGHT_ATTACH | RIGHT_SIGNAL)) && child_owner(child) == peer_uid(peer);

	return own || config->host->may(config->context, peer, right);
}

static void tell_refusal(const struct call *call, uint64_t process, const struct err *err)
{
	const struct peer *peer = call_peer(call);
	struct audit audit = {.uid = peer_uid(peer), .pid = peer_pid(peer), .method = call_method(call)->name, .process = process};

	audit_refused(service_get(), &audit, err->message);
}

int rights_need(const struct call *call, const struct child *child, enum right right, const char *what, struct err *err)
{
	int done;

	if (rights_has(call, child, right))
		return 0;
	done = err_set(err, STATUS_PERMISSION_DENIED, "%s: process %" PRIu64 " is of uid %u, and uid %u has not the role %s", what,
		child_id(child), (unsigned)child_owner(child), (unsigned)peer_uid(call_peer(call)), right_name(right));
	tell_refusal(call, child_id(child), err);
	return done;
}

int rights_refuse(const struct call *call, enum right right, const char *what, struct err *err)
{
	int done = err_set(err, STATUS_PERMISSION_DENIED, "%s: uid %u has not the role %s", what, (unsigned)peer_uid(call_peer(call)),
		right_name(right));

	tell_refusal(call, 0, err);
	return done;
}

int rights_need_master(const struct call *call, const char *what, struct err *err)
{
	const struct service_config *config = &service_get()->config;
	const struct peer *peer = call_peer(call);
	int done;

	if (config->host->is_master(config->context, peer))
		return 0;
	done = err_set(
		err, STATUS_PERMISSION_DENIED, "%s: uid %u is neither root nor the daemon's own user", what, (unsigned)peer_uid(peer));
	tell_refusal(call, 0, err);
	return done;
}

int rights_find(struct call *call, const Spawnd__V1__ProcessRef *ref, struct child **child_out, struct err *err)
{
	const struct method *method = call_method(call);
	int done = convert_ref(service_get()->config.children, ref, child_out, err);

	if (done == 0)
		done = rights_need(call, *child_out, method->right, method->name, err);
	if (done == 0)
		audit_allowed(call, child_id(*child_out));
	return done;
}

int rights_run_as(const struct call *call, const struct spec *spec, struct err *err)
{
	const struct service_config *config = &service_get()->config;
	int done = config->host->run_as(config->context, call_peer(call), spec, err);

	if (done < 0)
		tell_refusal(call, 0, err);
	return done;
}
