/* Upgrade: answers when the other engine has said whether it can take over. */
#include <errno.h>
#include <string.h>

#include "base/mem.h"
#include "service/acts.h"
#include "service/internal.h"
#include "service/rights.h"
#include "spawnd/v1/admin.pb-c.h"

/* The one that may be under way; it goes on without its call. */
struct upgrading {
	struct call *call;    /* NULL: it has left */
	struct act_name name; /* its key is owned */
};

static void on_end(struct call *call)
{
	((struct upgrading *)call_context(call))->call = NULL;
}

static void on_upgraded(void *arg, int32_t pid, const char *version, const struct err *err)
{
	Spawnd__V1__UpgradeReply reply = SPAWND__V1__UPGRADE_REPLY__INIT;
	struct upgrading *upgrading = arg;

	reply.engine_pid = pid;
	reply.version = (char *)version;
	if (!err)
		acts_remember(&upgrading->name, &reply.base);
	if (upgrading->call && err)
		call_fail(upgrading->call, err);
	else if (upgrading->call)
		call_reply(upgrading->call, &reply.base);
	free((char *)upgrading->name.key);
	free(upgrading);
}

int handle_upgrade(struct call *call, const ProtobufCMessage *message, struct err *err)
{
	static const struct call_ops ops = {.on_end = on_end};
	const Spawnd__V1__UpgradeRequest *request = (const Spawnd__V1__UpgradeRequest *)message;
	_cleanup_free_ char *path = mem_printf("%.*s", (int)request->path.len, (const char *)request->path.data);
	struct service *service = service_get();
	struct upgrading *upgrading;
	struct act_name name;
	int done = acts_begin(call, request->idempotency_key, message, &name, err);

	if (done != 0)
		return done < 0 ? done : 0;
	if (strlen(path) != request->path.len)
		return err_invalid(err, "path", "has a NUL byte");
	if (*path && *path != '/')
		return err_invalid(err, "path", "%.200s is not absolute", path);
	if (*path && rights_need_master(call, "Upgrade to a program of the client's choice", err) < 0)
		return -EPERM;
	audit_allowed(call, 0);
	upgrading = mem_alloc(sizeof(*upgrading));
	done = service->config.host->upgrade(service->config.context, path, on_upgraded, upgrading, err);
	if (done < 0) {
		free(upgrading);
		return done;
	}
	log_(LOG_INFO, "upgrade: asked for by uid %u, pid %d", (unsigned)peer_uid(call_peer(call)), (int)peer_pid(call_peer(call)));
	upgrading->call = call;
	upgrading->name = name;
	upgrading->name.key = mem_strdup(name.key);
	call_set_ops(call, &ops, upgrading);
	return 0;
}
