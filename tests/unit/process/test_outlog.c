#include "process/output_fixture.h"

#include "process/outlog.h"
#include "process/ring.h"

struct setup {
	struct fixture fixture;
	struct outlog_owner owner;
	struct outlog log;
	int fds[2];
};

static void set_up(struct setup *setup, uint64_t retain)
{
	*setup = (struct setup){.fixture = fixture_make()};
	setup->fixture.host.context = &setup->fixture;
	setup->owner = (struct outlog_owner){.host = &setup->fixture.host, .stats = &setup->fixture.stats, .owner = 1, .slot = 1};
	outlog_init(&setup->log, &(struct output_slot){.slot = 1, .retain = retain});
	CU_ASSERT_EQUAL_FATAL(sys_pipe(setup->fds, O_NONBLOCK), 0);
}

static void tear_down(struct setup *setup)
{
	outlog_finish(&setup->log, &setup->owner);
	CU_ASSERT_EQUAL(setup->fixture.rings, 0);
	CU_ASSERT_EQUAL(setup->fixture.stats.buffered, 0);
	CU_ASSERT_EQUAL(setup->fixture.stats.reserved, 0);
	close(setup->fds[0]);
	close(setup->fds[1]);
	loop_destroy(setup->fixture.loop);
	ledger_close(setup->fixture.ledger);
	close(setup->fixture.ledger_fd);
}

/* Puts bytes of the pattern of slot 1. */
static void put(struct setup *setup, size_t size)
{
	uint8_t bytes[4096];

	while (size) {
		size_t piece = size < sizeof(bytes) ? size : sizeof(bytes);
		ssize_t moved;

		for (size_t i = 0; i < piece; i++)
			bytes[i] = byte_at(1, setup->log.end + i);
		CU_ASSERT_EQUAL_FATAL(write(setup->fds[1], bytes, piece), (ssize_t)piece);
		size -= piece;
		for (; piece; piece -= (size_t)moved) {
			moved = outlog_put(&setup->log, &setup->owner, setup->fds[0], true, piece);
			CU_ASSERT_FATAL(moved > 0);
		}
	}
}

static void check(const struct setup *setup, uint64_t from)
{
	struct iovec iov[2];
	struct chunk chunk = {.slot = 1, .offset = from};
	size_t pieces = outlog_span(&setup->log, from, (size_t)(setup->log.end - from), iov), at = 0;

	for (size_t i = 0; i < pieces; i++) {
		check_bytes(&chunk, iov[i].iov_base, iov[i].iov_len, at);
		at += iov[i].iov_len;
	}
	CU_ASSERT_EQUAL(from + at, setup->log.end);
}

void test_retention_is_exact_though_rings_are_pages(void)
{
	struct setup setup;

	set_up(&setup, 100);
	CU_ASSERT_EQUAL(outlog_retained(&setup.log), 0);
	CU_ASSERT_EQUAL(outlog_open(&setup.log, &setup.owner), 0);
	CU_ASSERT_EQUAL(outlog_open(&setup.log, &setup.owner), 0);
	put(&setup, 99);
	CU_ASSERT_EQUAL(outlog_retained(&setup.log), 0);
	put(&setup, 2);
	CU_ASSERT_EQUAL(outlog_retained(&setup.log), 1);
	CU_ASSERT_EQUAL(outlog_from(&setup.log), 0);
	CU_ASSERT_EQUAL(setup.fixture.stats.buffered, 101);
	check(&setup, 0);
	tear_down(&setup);
}

void test_room_spares_what_is_unread(void)
{
	struct setup setup;

	set_up(&setup, OUTLOG_RING_MIN);
	CU_ASSERT_EQUAL(outlog_open(&setup.log, &setup.owner), 0);
	CU_ASSERT_EQUAL(outlog_room(&setup.log, UINT64_MAX), OUTLOG_RING_MIN);
	put(&setup, 1000);
	CU_ASSERT_EQUAL(outlog_room(&setup.log, UINT64_MAX), OUTLOG_RING_MIN);
	CU_ASSERT_EQUAL(outlog_room(&setup.log, 0), OUTLOG_RING_MIN - 1000);
	CU_ASSERT_EQUAL(outlog_room(&setup.log, 1000), OUTLOG_RING_MIN);
	put(&setup, 2 * OUTLOG_RING_MIN);
	CU_ASSERT_EQUAL(outlog_room(&setup.log, 0), 0); /* what is behind the ring cannot be spared */
	CU_ASSERT_EQUAL(outlog_room(&setup.log, setup.log.end - 10), OUTLOG_RING_MIN - 10);
	tear_down(&setup);
}

void test_frozen_bytes_need_no_descriptor(void)
{
	struct setup setup;

	set_up(&setup, 1000);
	CU_ASSERT_EQUAL(outlog_open(&setup.log, &setup.owner), 0);
	put(&setup, 200001);
	outlog_freeze(&setup.log, &setup.owner, outlog_retained(&setup.log));
	CU_ASSERT_EQUAL(setup.fixture.rings, 0);
	CU_ASSERT_EQUAL(setup.fixture.stats.buffered, 1000);
	CU_ASSERT_EQUAL(setup.fixture.stats.reserved, 0);
	CU_ASSERT_EQUAL(outlog_from(&setup.log), 199001);
	CU_ASSERT_EQUAL(outlog_retained(&setup.log), 199001);
	check(&setup, 199001);
	check(&setup, 200001);
	tear_down(&setup);
}

void test_a_large_log_keeps_its_pages(void)
{
	struct setup setup;

	set_up(&setup, 256 * 1024);
	CU_ASSERT_EQUAL(outlog_open(&setup.log, &setup.owner), 0);
	put(&setup, 400001);
	outlog_freeze(&setup.log, &setup.owner, outlog_retained(&setup.log));
	CU_ASSERT_EQUAL(setup.fixture.rings, 1); /* the keeper has it still */
	CU_ASSERT_EQUAL(setup.log.ring->fd, -1);
	check(&setup, outlog_retained(&setup.log));
	tear_down(&setup);
}

void test_bytes_that_went_another_way_move_the_beginning(void)
{
	struct setup setup;

	set_up(&setup, 1000);
	outlog_skip(&setup.log, 5000);
	CU_ASSERT_EQUAL(outlog_from(&setup.log), 5000);
	CU_ASSERT_EQUAL(outlog_retained(&setup.log), 5000);
	CU_ASSERT_EQUAL(outlog_open(&setup.log, &setup.owner), 0);
	put(&setup, 10);
	CU_ASSERT_EQUAL(setup.log.end, 5010);
	CU_ASSERT_EQUAL(outlog_from(&setup.log), 5000);
	check(&setup, 5000);
	tear_down(&setup);
}

void test_capture_decides_what_is_kept(void)
{
	struct outlog log = {0};

	outlog_init(&log, &(struct output_slot){.retain = 10, .capture_limit = 500, .capture_policy = CAPTURE_CUT_HEAD});
	CU_ASSERT_EQUAL(log.retain, 500);
	CU_ASSERT_EQUAL(log.limit, UINT64_MAX);
	outlog_init(&log, &(struct output_slot){.retain = 10, .capture_limit = 500, .capture_policy = CAPTURE_KILL});
	CU_ASSERT_EQUAL(log.retain, 10);
	CU_ASSERT_EQUAL(log.limit, 500);
	outlog_init(&log, &(struct output_slot){.retain = UINT64_MAX});
	CU_ASSERT_EQUAL(log.retain, OUTLOG_RING_MAX);
}
