/* Every method there is: what it takes and gives, what a client must be allowed to do to call it, and where it is handled. */
#include "base/mem.h"
#include "service/internal.h"
#include "spawnd/v1/admin.pb-c.h"
#include "spawnd/v1/events.pb-c.h"

#define PROCESSES "spawnd.v1.Processes"
#define EVENTS "spawnd.v1.Events"
#define ADMIN "spawnd.v1.Admin"

#define TYPE(name) &spawnd__v1__##name##__descriptor

enum { UNARY = false, STREAM = true };
enum { ALL = false, OWN = true }; /* OWN: the handler asks rights.c, which knows the object */

static const struct method methods[] = {
	{PROCESSES, "Spawn", TYPE(spawn_request), TYPE(process_event), STREAM, RIGHT_SPAWN, handle_spawn, ALL},
	{PROCESSES, "Attach", TYPE(attach_request), TYPE(process_event), STREAM, RIGHT_ATTACH, handle_attach, OWN},
	{PROCESSES, "Run", TYPE(run_request), TYPE(run_reply), STREAM, RIGHT_SPAWN, handle_run, ALL},
	{PROCESSES, "Logs", TYPE(logs_request), TYPE(process_event), STREAM, RIGHT_OBSERVE, handle_logs, OWN},
	{PROCESSES, "Write", TYPE(write_request), TYPE(write_reply), STREAM, RIGHT_ATTACH, handle_write, OWN},
	{PROCESSES, "Send", TYPE(send_request), TYPE(send_reply), STREAM, RIGHT_ATTACH, handle_send, OWN},
	{PROCESSES, "Disconnect", TYPE(disconnect_request), TYPE(disconnect_reply), UNARY, RIGHT_ATTACH, handle_disconnect, OWN},
	{PROCESSES, "Start", TYPE(start_request), TYPE(process), UNARY, RIGHT_SPAWN, handle_start, ALL},
	{PROCESSES, "Wait", TYPE(wait_request), TYPE(process), UNARY, RIGHT_OBSERVE, handle_wait, OWN},
	{PROCESSES, "Signal", TYPE(signal_request), TYPE(kill_reply), UNARY, RIGHT_SIGNAL, handle_signal, OWN},
	{PROCESSES, "Stop", TYPE(stop_request), TYPE(kill_reply), UNARY, RIGHT_SIGNAL, handle_stop, OWN},
	{PROCESSES, "Resize", TYPE(resize_request), TYPE(resize_reply), UNARY, RIGHT_ATTACH, handle_resize, OWN},
	{PROCESSES, "CloseStdin", TYPE(close_stdin_request), TYPE(close_stdin_reply), UNARY, RIGHT_ATTACH, handle_close_stdin, OWN},
	{PROCESSES, "SetOnDisconnect", TYPE(set_on_disconnect_request), TYPE(set_on_disconnect_reply), UNARY, RIGHT_SIGNAL,
		handle_set_on_disconnect, OWN},
	{PROCESSES, "List", TYPE(list_request), TYPE(list_reply), UNARY, RIGHT_OBSERVE, handle_list, OWN},
	{PROCESSES, "Get", TYPE(get_request), TYPE(process), UNARY, RIGHT_OBSERVE, handle_get, OWN},
	{PROCESSES, "Remove", TYPE(remove_request), TYPE(remove_reply), UNARY, RIGHT_SIGNAL, handle_remove, OWN},
	{EVENTS, "Subscribe", TYPE(subscribe_request), TYPE(event), STREAM, RIGHT_OBSERVE, handle_subscribe, OWN},
	{ADMIN, "Hello", TYPE(hello_request), TYPE(hello_reply), UNARY, RIGHT_NONE, handle_hello, ALL},
	{ADMIN, "Ping", TYPE(ping_request), TYPE(ping_reply), UNARY, RIGHT_NONE, handle_ping, ALL},
	{ADMIN, "Version", TYPE(version_request), TYPE(version_reply), UNARY, RIGHT_NONE, handle_version, ALL},
	{ADMIN, "Stats", TYPE(stats_request), TYPE(stats_reply), UNARY, RIGHT_OBSERVE, handle_stats, ALL},
	{ADMIN, "Metrics", TYPE(metrics_request), TYPE(metrics_reply), UNARY, RIGHT_OBSERVE, handle_metrics, ALL},
	{ADMIN, "SetLogLevel", TYPE(set_log_level_request), TYPE(set_log_level_reply), UNARY, RIGHT_ADMIN, handle_set_log_level, ALL},
	{ADMIN, "Upgrade", TYPE(upgrade_request), TYPE(upgrade_reply), UNARY, RIGHT_ADMIN, handle_upgrade, ALL},
	{ADMIN, "Shutdown", TYPE(shutdown_request), TYPE(shutdown_reply), UNARY, RIGHT_ADMIN, handle_shutdown, ALL},
};

struct method_table service_methods(const struct service *service)
{
	return (struct method_table){.methods = methods, .count = array_size(methods)};
}
