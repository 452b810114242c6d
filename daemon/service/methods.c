/* Every method there is: what it takes and gives, what a client must be allowed to do to call it, and where it is handled. */
#include "base/mem.h"
#include "service/internal.h"
#include "spawnd/v1/admin.pb-c.h"
#include "spawnd/v1/events.pb-c.h"
#include "spawnd/v1/pools.pb-c.h"

#define PROCESSES "spawnd.v1.Processes"
#define POOLS "spawnd.v1.Pools"
#define EVENTS "spawnd.v1.Events"
#define ADMIN "spawnd.v1.Admin"

#define TYPE(name) &spawnd__v1__##name##__descriptor

enum { UNARY = false, STREAM = true };
enum { ALL = false, OWN = true }; /* OWN: the handler asks rights.c, which knows the object */

static const struct method methods[] = {
	{PROCESSES, "Spawn", TYPE(spawn_request), TYPE(process_event), STREAM, ALL, RIGHT_SPAWN, handle_spawn},
	{PROCESSES, "Attach", TYPE(attach_request), TYPE(process_event), STREAM, OWN, RIGHT_ATTACH, handle_attach},
	{PROCESSES, "Run", TYPE(run_request), TYPE(run_reply), STREAM, ALL, RIGHT_SPAWN, handle_run},
	{PROCESSES, "Logs", TYPE(logs_request), TYPE(process_event), STREAM, OWN, RIGHT_OBSERVE, handle_logs},
	{PROCESSES, "Write", TYPE(write_request), TYPE(write_reply), STREAM, OWN, RIGHT_ATTACH, handle_write},
	{PROCESSES, "Send", TYPE(send_request), TYPE(send_reply), STREAM, OWN, RIGHT_ATTACH, handle_send},
	{PROCESSES, "Disconnect", TYPE(disconnect_request), TYPE(disconnect_reply), UNARY, OWN, RIGHT_ATTACH, handle_disconnect},
	{PROCESSES, "Start", TYPE(start_request), TYPE(process), UNARY, ALL, RIGHT_SPAWN, handle_start},
	{PROCESSES, "Wait", TYPE(wait_request), TYPE(process), UNARY, OWN, RIGHT_OBSERVE, handle_wait},
	{PROCESSES, "Signal", TYPE(signal_request), TYPE(kill_reply), UNARY, OWN, RIGHT_SIGNAL, handle_signal},
	{PROCESSES, "Stop", TYPE(stop_request), TYPE(kill_reply), UNARY, OWN, RIGHT_SIGNAL, handle_stop},
	{PROCESSES, "Resize", TYPE(resize_request), TYPE(resize_reply), UNARY, OWN, RIGHT_ATTACH, handle_resize},
	{PROCESSES, "CloseStdin", TYPE(close_stdin_request), TYPE(close_stdin_reply), UNARY, OWN, RIGHT_ATTACH, handle_close_stdin},
	{PROCESSES, "SetOnDisconnect", TYPE(set_on_disconnect_request), TYPE(set_on_disconnect_reply), UNARY, OWN, RIGHT_SIGNAL,
		handle_set_on_disconnect},
	{PROCESSES, "List", TYPE(list_request), TYPE(list_reply), UNARY, OWN, RIGHT_OBSERVE, handle_list},
	{PROCESSES, "Get", TYPE(get_request), TYPE(process), UNARY, OWN, RIGHT_OBSERVE, handle_get},
	{PROCESSES, "Remove", TYPE(remove_request), TYPE(remove_reply), UNARY, OWN, RIGHT_SIGNAL, handle_remove},
	{POOLS, "Create", TYPE(create_pool_request), TYPE(pool), UNARY, ALL, RIGHT_SPAWN, handle_create_pool},
	{POOLS, "Scale", TYPE(scale_pool_request), TYPE(pool), UNARY, OWN, RIGHT_SIGNAL, handle_scale_pool},
	{POOLS, "Stop", TYPE(stop_pool_request), TYPE(pool), UNARY, OWN, RIGHT_SIGNAL, handle_stop_pool},
	{POOLS, "List", TYPE(list_pools_request), TYPE(list_pools_reply), UNARY, OWN, RIGHT_OBSERVE, handle_list_pools},
	{POOLS, "Get", TYPE(get_pool_request), TYPE(pool), UNARY, OWN, RIGHT_OBSERVE, handle_get_pool},
	{POOLS, "Remove", TYPE(remove_pool_request), TYPE(remove_pool_reply), UNARY, OWN, RIGHT_SIGNAL, handle_remove_pool},
	{EVENTS, "Subscribe", TYPE(subscribe_request), TYPE(event), STREAM, OWN, RIGHT_OBSERVE, handle_subscribe},
	{ADMIN, "Hello", TYPE(hello_request), TYPE(hello_reply), UNARY, ALL, RIGHT_NONE, handle_hello},
	{ADMIN, "Ping", TYPE(ping_request), TYPE(ping_reply), UNARY, ALL, RIGHT_NONE, handle_ping},
	{ADMIN, "Version", TYPE(version_request), TYPE(version_reply), UNARY, ALL, RIGHT_NONE, handle_version},
	{ADMIN, "Stats", TYPE(stats_request), TYPE(stats_reply), UNARY, ALL, RIGHT_OBSERVE, handle_stats},
	{ADMIN, "Metrics", TYPE(metrics_request), TYPE(metrics_reply), UNARY, ALL, RIGHT_OBSERVE, handle_metrics},
	{ADMIN, "SetLogLevel", TYPE(set_log_level_request), TYPE(set_log_level_reply), UNARY, ALL, RIGHT_ADMIN, handle_set_log_level},
	{ADMIN, "Upgrade", TYPE(upgrade_request), TYPE(upgrade_reply), UNARY, ALL, RIGHT_ADMIN, handle_upgrade},
	{ADMIN, "Shutdown", TYPE(shutdown_request), TYPE(shutdown_reply), UNARY, ALL, RIGHT_ADMIN, handle_shutdown},
};

struct method_table service_methods(const struct service *service)
{
	return (struct method_table){.methods = methods, .count = array_size(methods)};
}
