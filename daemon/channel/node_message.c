/* See node_message.h: the names. */
#include "channel/node_message.h"

#include <string.h>

#include "base/mem.h"

static const char *const names[] = {
	[NODE_OTHER] = "NODE_",
	[NODE_HANDLE] = "NODE_HANDLE",
	[NODE_HANDLE_ACK] = "NODE_HANDLE_ACK",
	[NODE_HANDLE_NACK] = "NODE_HANDLE_NACK",
	[NODE_SOCKET_NOTIFY_CLOSE] = "NODE_SOCKET_NOTIFY_CLOSE",
	[NODE_SOCKET_ALL_CLOSED] = "NODE_SOCKET_ALL_CLOSED",
	[NODE_SOCKET_GET_COUNT] = "NODE_SOCKET_GET_COUNT",
	[NODE_SOCKET_COUNT] = "NODE_SOCKET_COUNT",
	[NODE_CLUSTER] = "NODE_CLUSTER",
};

enum node_command node_command_of(const char *name)
{
	for (size_t i = 1; i < array_size(names); i++)
		if (strcmp(names[i], name) == 0)
			return (enum node_command)i;
	return NODE_OTHER;
}

const char *node_command_name(enum node_command command)
{
	return names[command];
}
