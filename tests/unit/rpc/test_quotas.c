/* What a connection counts as for its user, and what happens when that is too much. */
#include "rpc/harness.h"

#include <fcntl.h>

#include "base/quota.h"
#include "spawnd/v1/events.pb-c.h"

#define KIB 1024u
#define EXHAUSTED 8

static struct quotas *quotas;
static struct quota_limits allowed;
static struct call *held;
static unsigned ended, handled;

static void limits(void *context, uid_t uid, struct quota_limits *out)
{
	*out = allowed;
}

static uint64_t used(enum quota quota)
{
	const struct quota_user *user = quotas_next(quotas, NULL);

	return user ? quota_used(user, quota) : 0;
}

static int handle_ping(struct call *call, const ProtobufCMessage *request, struct err *err)
{
	Spawnd__V1__PingReply reply = SPAWND__V1__PING_REPLY__INIT;

	handled++;
	call_reply(call, &reply.base);
	return 0;
}

static void on_end(struct call *call)
{
	ended++;
	held = NULL;
}

static int handle_hold(struct call *call, const ProtobufCMessage *request, struct err *err)
{
	static const struct call_ops ops = {.on_end = on_end};

	call_set_ops(call, &ops, NULL);
	held = call;
	return 0;
}

static const struct method methods[] = {
	{"t", "Ping", &spawnd__v1__ping_request__descriptor, &spawnd__v1__ping_reply__descriptor, false, false, RIGHT_NONE, handle_ping},
	{"t", "Hold", &spawnd__v1__ping_request__descriptor, &spawnd__v1__ping_reply__descriptor, false, false, RIGHT_NONE, handle_hold},
};

static void open_limited(enum quota quota, uint64_t limit)
{
	int fds[2];

	for (enum quota each = 0; each < QUOTA_COUNT; each++)
		allowed.of[each] = QUOTA_UNLIMITED;
	allowed.of[quota] = limit;
	ended = handled = 0;
	CU_ASSERT_EQUAL(sys_socketpair(SOCK_STREAM, fds), 0);
	quotas = quotas_create(limits, NULL);
	open_peer_with(methods, array_size(methods), fds[0], fds[1], quotas);
}

static void close_limited(void)
{
	close_peer();
	CU_ASSERT_PTR_NULL(quotas_next(quotas, NULL));
	quotas_destroy(quotas);
}

static void ping(uint32_t stream)
{
	Spawnd__V1__PingRequest request = SPAWND__V1__PING_REQUEST__INIT;

	send_request(stream, 0, "Ping", &request.base, 0);
}

void test_a_connection_counts_until_it_is_gone(void)
{
	open_limited(QUOTA_CONNECTIONS, 1);
	CU_ASSERT_EQUAL(used(QUOTA_CONNECTIONS), 1);
	CU_ASSERT_EQUAL(used(QUOTA_DESCRIPTORS), 2);
	CU_ASSERT_EQUAL(used(QUOTA_MEMORY), peer_memory(peer));
	ping(1);
	CU_ASSERT_EQUAL(next_status(1), 0);
	CU_ASSERT_EQUAL(used(QUOTA_MEMORY), peer_memory(peer));
	close_limited();
}

void test_a_frame_that_there_is_no_memory_for_is_thrown_away(void)
{
	_cleanup_free_ uint8_t *bytes = mem_alloc(1024 * KIB);

	open_limited(QUOTA_MEMORY, 256 * KIB);
	send_frame(1, FRAME_REQUEST, 0, bytes, 1024 * KIB);
	for (int i = 0; i < 200 && conn_pending(client); i++) {
		settle();
		conn_flush(client);
	}
	CU_ASSERT_EQUAL(conn_pending(client), 0);
	CU_ASSERT_EQUAL(next_status(1), EXHAUSTED);
	CU_ASSERT(used(QUOTA_MEMORY) < 256 * KIB);
	ping(3);
	CU_ASSERT_EQUAL(next_status(3), 0);
	close_limited();
}

void test_calls_are_refused_while_too_much_is_held(void)
{
	Spawnd__V1__PingRequest request = SPAWND__V1__PING_REQUEST__INIT;
	struct err err = {0};

	open_limited(QUOTA_MEMORY, 256 * KIB);
	send_request(1, 0, "Hold", &request.base, 0);
	settle();
	CU_ASSERT_PTR_NOT_NULL_FATAL(held);
	CU_ASSERT_EQUAL(call_hold(held, 200 * KIB, &err), 0);
	ping(3);
	CU_ASSERT_EQUAL(next_status(3), 0);
	CU_ASSERT(call_hold(held, 300 * KIB, &err) < 0);
	CU_ASSERT_EQUAL(err.status, STATUS_RESOURCE_EXHAUSTED);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.message, "quota memory of uid"));
	CU_ASSERT(used(QUOTA_MEMORY) > 300 * KIB); /* it is there all the same */
	CU_ASSERT_EQUAL(call_hold(held, 290 * KIB, &err), 0);
	ping(5);
	CU_ASSERT_EQUAL(next_status(5), EXHAUSTED);
	CU_ASSERT_EQUAL(handled, 1);
	call_hold(held, 100 * KIB, NULL);
	ping(7);
	CU_ASSERT_EQUAL(next_status(7), 0);
	close_limited();
	CU_ASSERT_EQUAL(ended, 1);
}

void test_a_call_is_counted_until_it_ends(void)
{
	Spawnd__V1__PingRequest request = SPAWND__V1__PING_REQUEST__INIT;
	uint64_t before;

	open_limited(QUOTA_MEMORY, QUOTA_UNLIMITED);
	before = used(QUOTA_MEMORY);
	send_request(1, 0, "Hold", &request.base, 0);
	settle();
	CU_ASSERT_PTR_NOT_NULL_FATAL(held);
	CU_ASSERT_EQUAL(used(QUOTA_MEMORY), peer_memory(peer));
	CU_ASSERT(used(QUOTA_MEMORY) > before);
	call_hold(held, 5000, NULL);
	CU_ASSERT_EQUAL(used(QUOTA_MEMORY), peer_memory(peer));
	call_fail(held, &(struct err){.status = STATUS_CANCELLED});
	CU_ASSERT_EQUAL(call_hold(held, 5000, NULL), 0); /* of a call that has ended nothing is counted */
	settle();
	conn_read(client);
	CU_ASSERT_EQUAL(used(QUOTA_MEMORY), peer_memory(peer));
	close_limited();
}

/* Half a header with descriptors, as often as it takes. */
void test_descriptors_without_their_frame_end_the_connection_beyond_the_quota(void)
{
	int fds[FDPASS_MAX];
	struct iovec half = {.iov_base = (uint8_t[]){0, 0, 0}, .iov_len = 3};

	for (size_t i = 0; i < array_size(fds); i++)
		fds[i] = STDERR_FILENO;
	open_limited(QUOTA_DESCRIPTORS, 300);
	fdpass_send(conn_fd(client), &half, 1, fds, array_size(fds));
	settle();
	CU_ASSERT_EQUAL(gone, 0);
	CU_ASSERT_EQUAL(used(QUOTA_DESCRIPTORS), 2 + FDPASS_MAX);
	allowed.of[QUOTA_DESCRIPTORS] = 100;
	quotas_refresh(quotas);
	half.iov_len = 1;
	fdpass_send(conn_fd(client), &half, 1, NULL, 0);
	settle();
	CU_ASSERT_EQUAL(gone, 1);
	CU_ASSERT_EQUAL(used(QUOTA_DESCRIPTORS), 0);
	close_limited();
}
