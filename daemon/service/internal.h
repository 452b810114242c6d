/* What the files of this room share: the service and its tables. */
#pragma once

#include <protobuf-c/protobuf-c.h>

#include "base/err.h"
#include "channel/channel.h"
#include "process/child.h"
#include "rpc/call.h"
#include "rpc/peer.h"
#include "service/audit.h"
#include "service/events.h"
#include "service/idempotency.h"
#include "service/input.h"
#include "service/persist.h"
#include "service/service.h"
#include "service/session.h"

struct service {
	struct service_config config;
	struct sessions *sessions;
	struct keys *keys;
	struct feeds *feeds;
	struct channels *channels;
	struct events *events;
	struct events *audits; /* numbered by themselves */
	struct refusals *refusals;
	struct persist *persist;
	struct act *acts; /* Signal and Stop under way */
	uint64_t spawned_total;
	uint64_t refused_total;
	bool ending;
};

/* The one there is; handlers of methods begin with it. */
struct service *service_get(void);

/* ---- handlers, one per method; rpc/method.h says what they return ---- */

int handle_spawn(struct call *call, const ProtobufCMessage *message, struct err *err);
int handle_attach(struct call *call, const ProtobufCMessage *message, struct err *err);
int handle_run(struct call *call, const ProtobufCMessage *message, struct err *err);
int handle_logs(struct call *call, const ProtobufCMessage *message, struct err *err);
int handle_write(struct call *call, const ProtobufCMessage *message, struct err *err);
int handle_send(struct call *call, const ProtobufCMessage *message, struct err *err);
int handle_disconnect(struct call *call, const ProtobufCMessage *message, struct err *err);
int handle_start(struct call *call, const ProtobufCMessage *message, struct err *err);
int handle_wait(struct call *call, const ProtobufCMessage *message, struct err *err);
int handle_signal(struct call *call, const ProtobufCMessage *message, struct err *err);
int handle_stop(struct call *call, const ProtobufCMessage *message, struct err *err);
int handle_resize(struct call *call, const ProtobufCMessage *message, struct err *err);
int handle_close_stdin(struct call *call, const ProtobufCMessage *message, struct err *err);
int handle_set_on_disconnect(struct call *call, const ProtobufCMessage *message, struct err *err);
int handle_list(struct call *call, const ProtobufCMessage *message, struct err *err);
int handle_get(struct call *call, const ProtobufCMessage *message, struct err *err);
int handle_remove(struct call *call, const ProtobufCMessage *message, struct err *err);
int handle_subscribe(struct call *call, const ProtobufCMessage *message, struct err *err);
int handle_create_pool(struct call *call, const ProtobufCMessage *message, struct err *err);
int handle_scale_pool(struct call *call, const ProtobufCMessage *message, struct err *err);
int handle_stop_pool(struct call *call, const ProtobufCMessage *message, struct err *err);
int handle_list_pools(struct call *call, const ProtobufCMessage *message, struct err *err);
int handle_get_pool(struct call *call, const ProtobufCMessage *message, struct err *err);
int handle_remove_pool(struct call *call, const ProtobufCMessage *message, struct err *err);
int handle_hello(struct call *call, const ProtobufCMessage *message, struct err *err);
int handle_ping(struct call *call, const ProtobufCMessage *message, struct err *err);
int handle_version(struct call *call, const ProtobufCMessage *message, struct err *err);
int handle_stats(struct call *call, const ProtobufCMessage *message, struct err *err);
int handle_metrics(struct call *call, const ProtobufCMessage *message, struct err *err);
int handle_set_log_level(struct call *call, const ProtobufCMessage *message, struct err *err);
int handle_upgrade(struct call *call, const ProtobufCMessage *message, struct err *err);
int handle_shutdown(struct call *call, const ProtobufCMessage *message, struct err *err);
