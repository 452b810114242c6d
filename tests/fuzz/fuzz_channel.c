/* What a child says on a channel of Node, in both formats and cut anywhere: the decoders must not crash, leak, or read beyond it. */
#include <stdint.h>
#include <stdlib.h>

#include "channel/json_text.h"
#include "channel/node_message.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Whether a text is one value does not depend on where it was cut. */
static bool check(const uint8_t *data, size_t size, size_t cut)
{
	struct json_check parts = {0}, whole = {0};
	bool in_parts =
		json_check_feed(&parts, data, cut) && json_check_feed(&parts, data + cut, size - cut) && json_check_is_whole(&parts);
	bool at_once = json_check_feed(&whole, data, size) && json_check_is_whole(&whole);

	json_check_finish(&parts);
	json_check_finish(&whole);
	if (in_parts != at_once)
		abort();
	return at_once;
}

static void read_advanced(const uint8_t *data, size_t size)
{
	struct node_message message;
	struct buf out = {0};

	if (node_v8_read(data, size, &message) && message.command == NODE_HANDLE && message.msg)
		node_v8_unwrap(&out, &message);
	buf_finish(&out);
	node_v8_wrap(&out, data, size, "net.Socket", "key", "udp4");
	buf_finish(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	size_t cut = size ? data[0] % size : 0;
	struct node_message message;

	if (check(data, size, cut)) {
		node_json_read(data, cut, &message);
		if (node_json_read(data, size, &message) && message.msg && message.msg + message.msg_size > data + size)
			abort();
	}
	read_advanced(data, size);
	return 0;
}
