#include "process/output_fixture.h"

#include <pty.h>
#include <sys/ioctl.h>

void test_first_bytes_are_told_at_once_and_the_end_after_them(void)
{
	struct fixture fixture = fixture_make();
	struct sink sink;

	fixture_open(&fixture);
	fixture_slot(&fixture, 1);
	sink_open(&sink, &fixture, READER_BLOCK, true);
	output_start(fixture.child.output);
	CU_ASSERT_FALSE(output_ended(fixture.child.output));
	CU_ASSERT_EQUAL(fixture.rings, 0);
	feed(&fixture, 1, 5);
	turn(&fixture);
	CU_ASSERT_EQUAL(sink.taken[1], 5);
	CU_ASSERT_EQUAL(fixture.rings, 1);
	hang_up(&fixture, 1);
	turn_until(&fixture, fixture.all_ended);
	CU_ASSERT_EQUAL(fixture.ends[1], 1);
	CU_ASSERT(sink.ended);
	CU_ASSERT(total_of(&fixture, 1).complete);
	CU_ASSERT_EQUAL(total_of(&fixture, 1).bytes, 5);
	CU_ASSERT_EQUAL(fixture.rings, 0); /* what has ended holds no descriptor */
	reader_destroy(sink.reader);
	fixture_close(&fixture);
}

void test_a_slot_that_says_nothing_never_has_a_ring(void)
{
	struct fixture fixture = fixture_make();

	fixture_open(&fixture);
	fixture_slot(&fixture, 1);
	output_start(fixture.child.output);
	hang_up(&fixture, 1);
	turn_until(&fixture, fixture.all_ended);
	CU_ASSERT_EQUAL(fixture.rings, 0);
	CU_ASSERT_EQUAL(fixture.stats.reserved, 0);
	CU_ASSERT(total_of(&fixture, 1).complete);
	fixture_close(&fixture);
}

void test_an_output_without_slots_has_ended(void)
{
	struct fixture fixture = fixture_make();

	fixture_open(&fixture);
	output_start(fixture.child.output);
	turn_until(&fixture, fixture.all_ended);
	fixture_close(&fixture);
}

void test_an_unread_child_never_hangs(void)
{
	struct fixture fixture = fixture_make();

	fixture_open(&fixture);
	fixture_slot(&fixture, 1);
	output_start(fixture.child.output);
	feed_all(&fixture, 1, 3000000);
	hang_up(&fixture, 1);
	turn_until(&fixture, fixture.all_ended);
	CU_ASSERT_EQUAL(total_of(&fixture, 1).bytes, 3000000);
	CU_ASSERT_EQUAL(total_of(&fixture, 1).retained_from, 3000000 - 256 * 1024);
	CU_ASSERT_EQUAL(fixture.stats.read, 3000000);
	fixture_close(&fixture);
}

/* Volume in pieces of random sizes through every way a byte can take. */
static void run_volume(struct fixture *fixture, size_t volume, bool pauses)
{
	struct sink sink;
	uint32_t seed = 12345;
	size_t fed = 0;

	fixture_open(fixture);
	fixture_slot(fixture, 1);
	sink_open(&sink, fixture, READER_BLOCK, !pauses);
	output_start(fixture->child.output);
	while (fed < volume || !sink.ended) {
		seed = seed * 1664525u + 1013904223u;
		if (fed < volume)
			fed += feed(fixture, 1, 1 + (seed >> 8) % (seed & 0x40000000u ? 50000 : 300));
		if (fed >= volume && fixture->writers[1] >= 0)
			hang_up(fixture, 1);
		sink.limit = 1 + (seed >> 4) % 100000;
		if (pauses && seed % 5 == 0)
			take_all(&sink);
		if (seed % 3 == 0 || fed >= volume)
			turn(fixture);
	}
	CU_ASSERT_EQUAL(sink.taken[1], fed);
	CU_ASSERT_EQUAL(sink.lost[1], 0);
	CU_ASSERT_EQUAL(total_of(fixture, 1).bytes, fed);
	CU_ASSERT_EQUAL(sink.from_pipe > 0, fixture->direct);
	turn_until(fixture, fixture->all_ended);
	reader_destroy(sink.reader);
	fixture_close(fixture);
}

void test_a_blocking_reader_has_every_byte(void)
{
	struct fixture fixture = fixture_make();

	run_volume(&fixture, 20000000, false);
}

void test_a_slow_blocking_reader_has_every_byte(void)
{
	struct fixture fixture = fixture_make();

	fixture.retain = 0;
	run_volume(&fixture, 10000000, true);
}

void test_a_direct_reader_has_every_byte(void)
{
	struct fixture fixture = fixture_make();

	fixture.direct = true;
	run_volume(&fixture, 20000000, false);
}

void test_a_slow_direct_reader_has_every_byte(void)
{
	struct fixture fixture = fixture_make();

	fixture.direct = true;
	run_volume(&fixture, 10000000, true);
}

void test_without_descriptors_the_ring_is_plain_memory(void)
{
	struct fixture fixture = fixture_make();

	fixture.fds_free = 0;
	log_set_level(LOG_ERROR);
	run_volume(&fixture, 5000000, true);
	CU_ASSERT_EQUAL(fixture.rings, 0);
}

void test_a_direct_slot_without_descriptors_becomes_kept(void)
{
	struct fixture fixture = fixture_make();
	struct sink sink;

	fixture.fds_free = 1;
	fixture.direct = true;
	fixture_open(&fixture);
	fixture_slot(&fixture, 1);
	sink_open(&sink, &fixture, READER_BLOCK, true);
	output_start(fixture.child.output);
	feed_all(&fixture, 1, 100000);
	turn_until(&fixture, sink.taken[1] == 100000);
	CU_ASSERT_FALSE(total_of(&fixture, 1).direct);
	reader_destroy(sink.reader);
	fixture_close(&fixture);
}

void test_all_rings_together_are_bounded(void)
{
	struct fixture fixture = fixture_make();

	fixture.stats.budget = 300 * 1024;
	fixture_open(&fixture);
	fixture_slot(&fixture, 1);
	fixture_slot(&fixture, 2);
	output_start(fixture.child.output);
	feed_all(&fixture, 1, 1000000);
	feed_all(&fixture, 2, 1000000);
	turn_until_read(&fixture, 2);
	CU_ASSERT_EQUAL(fixture.stats.reserved, 320 * 1024);
	CU_ASSERT_EQUAL(total_of(&fixture, 2).retained_from, total_of(&fixture, 2).bytes - 64 * 1024);
	fixture_close(&fixture);
}

void test_a_blocking_reader_that_does_not_take_stops_the_child(void)
{
	struct fixture fixture = fixture_make();
	struct sink sink;
	size_t room = 0, done;

	fixture_open(&fixture);
	fixture_slot(&fixture, 1);
	sink_open(&sink, &fixture, READER_BLOCK, false);
	output_start(fixture.child.output);
	for (int idle = 0; idle < 50; idle = done ? 0 : idle + 1) {
		done = feed(&fixture, 1, 65536);
		room += done;
		turn(&fixture);
	}
	CU_ASSERT(room >= 256 * 1024 + 65536);
	CU_ASSERT(room <= 256 * 1024 + 256 * 1024);
	CU_ASSERT_EQUAL(total_of(&fixture, 1).bytes, 256 * 1024);
	sink.auto_take = true;
	take_all(&sink);
	turn_until(&fixture, sink.taken[1] == room);
	CU_ASSERT(feed(&fixture, 1, 1000) > 0);
	turn_until(&fixture, sink.taken[1] == fixture.written[1]);
	reader_destroy(sink.reader);
	fixture_close(&fixture);
}

void test_a_blocking_reader_that_leaves_lets_the_child_go_on(void)
{
	struct fixture fixture = fixture_make();
	struct sink sink;

	fixture_open(&fixture);
	fixture_slot(&fixture, 1);
	sink_open(&sink, &fixture, READER_BLOCK, false);
	output_start(fixture.child.output);
	for (int i = 0; i < 100; i++) {
		feed(&fixture, 1, 65536);
		turn(&fixture);
	}
	reader_destroy(sink.reader);
	feed_all(&fixture, 1, 1000000);
	turn_until_read(&fixture, 1);
	fixture_close(&fixture);
}

void test_capture_cuts_the_tail(void)
{
	struct fixture fixture = fixture_make();
	struct output_total total;
	struct sink sink;

	fixture.capture_limit = 100001;
	fixture.capture_policy = CAPTURE_CUT_TAIL;
	fixture_open(&fixture);
	fixture_slot(&fixture, 1);
	sink_open(&sink, &fixture, READER_BLOCK, true);
	output_start(fixture.child.output);
	feed_all(&fixture, 1, 500000);
	hang_up(&fixture, 1);
	turn_until(&fixture, fixture.all_ended && sink.ended);
	total = total_of(&fixture, 1);
	CU_ASSERT_EQUAL(sink.taken[1], 100001);
	CU_ASSERT_EQUAL(total.bytes, 500000);
	CU_ASSERT_EQUAL(total.cut_offset, 100001);
	CU_ASSERT_EQUAL(total.cut_bytes, 500000 - 100001);
	CU_ASSERT_EQUAL(fixture.kills[1], 0);
	reader_destroy(sink.reader);
	fixture_close(&fixture);
}

void test_capture_cuts_the_head(void)
{
	struct fixture fixture = fixture_make();
	struct output_total total;
	struct sink sink;

	fixture.capture_limit = 1000;
	fixture.capture_policy = CAPTURE_CUT_HEAD;
	fixture_open(&fixture);
	fixture_slot(&fixture, 1);
	output_start(fixture.child.output);
	feed_all(&fixture, 1, 500000);
	hang_up(&fixture, 1);
	turn_until(&fixture, fixture.all_ended);
	total = total_of(&fixture, 1);
	CU_ASSERT_EQUAL(total.bytes, 500000);
	CU_ASSERT_EQUAL(total.cut_offset, 0);
	CU_ASSERT_EQUAL(total.cut_bytes, 499000);
	CU_ASSERT_EQUAL(total.retained_from, 499000);
	sink_open(&sink, &fixture, READER_BLOCK, false);
	sink_seek_retained(&sink);
	take_all(&sink);
	CU_ASSERT_EQUAL(sink.taken[1], 1000);
	CU_ASSERT(sink.ended);
	reader_destroy(sink.reader);
	fixture_close(&fixture);
}

void test_capture_kills_once_and_only_beyond_the_limit(void)
{
	struct fixture fixture = fixture_make();
	struct sink sink;

	fixture.capture_limit = 5000;
	fixture.capture_policy = CAPTURE_KILL;
	fixture.direct = true;
	fixture_open(&fixture);
	fixture_slot(&fixture, 1);
	sink_open(&sink, &fixture, READER_BLOCK, true);
	output_start(fixture.child.output);
	feed_all(&fixture, 1, 5000);
	turn_until(&fixture, sink.taken[1] == 5000);
	CU_ASSERT_EQUAL(fixture.kills[1], 0);
	feed_all(&fixture, 1, 1);
	turn_until(&fixture, fixture.kills[1] == 1);
	feed_all(&fixture, 1, 100000);
	hang_up(&fixture, 1);
	turn_until(&fixture, fixture.all_ended && sink.ended);
	CU_ASSERT_EQUAL(fixture.kills[1], 1);
	CU_ASSERT_EQUAL(sink.taken[1], 5000);
	CU_ASSERT_EQUAL(total_of(&fixture, 1).cut_bytes, 100001);
	reader_destroy(sink.reader);
	fixture_close(&fixture);
}

void test_giving_up_reads_what_is_there_and_ends_incomplete(void)
{
	struct fixture fixture = fixture_make();
	struct sink sink;

	fixture_open(&fixture);
	fixture_slot(&fixture, 1);
	fixture_slot(&fixture, 2);
	sink_open(&sink, &fixture, READER_BLOCK, true);
	output_start(fixture.child.output);
	turn(&fixture);
	feed(&fixture, 1, 60000);
	output_give_up(fixture.child.output);
	turn_until(&fixture, fixture.all_ended);
	CU_ASSERT_EQUAL(sink.taken[1], 60000);
	CU_ASSERT(sink.ended);
	CU_ASSERT_FALSE(total_of(&fixture, 1).complete);
	CU_ASSERT_FALSE(total_of(&fixture, 2).complete);
	CU_ASSERT_EQUAL(fixture.ends[1], 1);
	CU_ASSERT_EQUAL(fixture.ends[2], 1);
	CU_ASSERT_EQUAL(write(fixture.writers[1], "x", 1), -1);
	CU_ASSERT_EQUAL(errno, EPIPE);
	reader_destroy(sink.reader);
	fixture_close(&fixture);
}

void test_giving_up_waits_for_a_reader_that_is_slow(void)
{
	struct fixture fixture = fixture_make();
	struct sink sink;
	uint64_t all;

	fixture_open(&fixture);
	fixture_slot(&fixture, 1);
	sink_open(&sink, &fixture, READER_BLOCK, false);
	output_start(fixture.child.output);
	for (int i = 0; i < 100; i++) {
		feed(&fixture, 1, 65536);
		turn(&fixture);
	}
	all = fixture.written[1];
	hang_up(&fixture, 1);
	output_give_up(fixture.child.output);
	turn(&fixture);
	CU_ASSERT_FALSE(output_ended(fixture.child.output));
	sink.auto_take = true;
	take_all(&sink);
	turn_until(&fixture, fixture.all_ended && sink.ended);
	CU_ASSERT_EQUAL(sink.taken[1], all);
	CU_ASSERT(total_of(&fixture, 1).complete); /* there was nothing but the end behind it */
	reader_destroy(sink.reader);
	fixture_close(&fixture);
}

/* A direct reader and what makes the slot kept: nothing is lost or told twice. */
void test_a_second_reader_makes_a_direct_slot_kept(void)
{
	struct fixture fixture = fixture_make();
	struct sink first, second;
	struct chunk chunk;

	fixture.direct = true;
	fixture_open(&fixture);
	fixture_slot(&fixture, 1);
	sink_open(&first, &fixture, READER_BLOCK, false);
	output_start(fixture.child.output);
	CU_ASSERT_EQUAL(reader_next(first.reader, 1, &chunk), READER_NOTHING);
	feed_all(&fixture, 1, 10000);
	turn_until(&fixture, first.ready == 1);
	CU_ASSERT_EQUAL(reader_next(first.reader, 100000, &chunk), READER_PIPE);
	CU_ASSERT_EQUAL(chunk.length, 10000);
	CU_ASSERT_EQUAL(fixture.pipes, 2);
	feed(&fixture, 1, 3000);
	sink_open(&second, &fixture, READER_DROP, true);
	CU_ASSERT_EQUAL(second.at[1], 10000);
	turn(&fixture);
	CU_ASSERT(total_of(&fixture, 1).direct); /* a chunk is out */
	check_chunk(&first, &chunk);
	reader_take(first.reader, &chunk);
	first.at[1] = first.taken[1] = 10000;
	CU_ASSERT_FALSE(total_of(&fixture, 1).direct);
	CU_ASSERT_EQUAL(total_of(&fixture, 1).retained_from, 10000);
	turn_until(&fixture, second.taken[1] == 3000);
	take_all(&first);
	CU_ASSERT_EQUAL(first.taken[1], 13000);
	CU_ASSERT_EQUAL(fixture.pipes, 0);
	feed_all(&fixture, 1, 200000);
	first.auto_take = true;
	take_all(&first);
	turn_until(&fixture, first.taken[1] == 213000 && second.taken[1] == 203000);
	reader_destroy(first.reader);
	reader_destroy(second.reader);
	fixture_close(&fixture);
}

void test_a_direct_reader_that_vanishes_leaves_its_chunk_to_the_log(void)
{
	struct fixture fixture = fixture_make();
	struct sink sink;
	struct chunk chunk;
	uint8_t bytes[4000];

	fixture.direct = true;
	fixture_open(&fixture);
	fixture_slot(&fixture, 1);
	sink_open(&sink, &fixture, READER_BLOCK, false);
	output_start(fixture.child.output);
	feed_all(&fixture, 1, 10000);
	turn(&fixture);
	CU_ASSERT_EQUAL(reader_next(sink.reader, 100000, &chunk), READER_PIPE);
	CU_ASSERT_EQUAL(read(chunk.pipe_fd, bytes, 4000), 4000); /* these went to the client */
	reader_destroy(sink.reader);
	feed_all(&fixture, 1, 50000);
	turn_until_read(&fixture, 1);
	CU_ASSERT_EQUAL(total_of(&fixture, 1).retained_from, 4000);
	sink_open(&sink, &fixture, READER_DROP, false);
	sink_seek_retained(&sink);
	take_all(&sink);
	CU_ASSERT_EQUAL(sink.taken[1], 56000);
	reader_destroy(sink.reader);
	fixture_close(&fixture);
}

void test_a_direct_chunk_may_be_taken_before_it_is_moved(void)
{
	struct fixture fixture = fixture_make();
	struct sink sink;
	struct chunk chunk, next;
	int owed;

	fixture.direct = true;
	fixture_open(&fixture);
	fixture_slot(&fixture, 1);
	sink_open(&sink, &fixture, READER_BLOCK, false);
	output_start(fixture.child.output);
	feed_all(&fixture, 1, 10000);
	turn(&fixture);
	CU_ASSERT_EQUAL(reader_next(sink.reader, 100000, &chunk), READER_PIPE);
	owed = dup(chunk.pipe_fd);
	reader_take(sink.reader, &chunk);
	feed_all(&fixture, 1, 10000);
	turn_until(&fixture, reader_next(sink.reader, 100000, &next) == READER_PIPE);
	CU_ASSERT_EQUAL(next.offset, 10000);
	check_chunk(&sink, &next);
	reader_take(sink.reader, &next);
	chunk.pipe_fd = owed;
	check_chunk(&sink, &chunk);
	close(owed);
	reader_destroy(sink.reader);
	fixture_close(&fixture);
}

void test_a_direct_slot_that_is_held_back_is_passed_over(void)
{
	struct fixture fixture = fixture_make();
	struct sink sink;
	struct chunk chunk;

	fixture.direct = true;
	fixture_open(&fixture);
	fixture_slot(&fixture, 1);
	fixture_slot(&fixture, 2);
	sink_open(&sink, &fixture, READER_BLOCK, true);
	output_start(fixture.child.output);
	reader_limit(sink.reader, 1, 0);
	feed(&fixture, 1, 50000);
	for (unsigned i = 1; i <= 3; i++) {
		feed_all(&fixture, 2, 1000);
		turn_until(&fixture, sink.taken[2] == i * 1000);
	}
	CU_ASSERT_EQUAL(sink.taken[1], 0);
	sink.auto_take = false;
	reader_limit(sink.reader, 1, 600);
	CU_ASSERT_EQUAL(reader_next(sink.reader, 100000, &chunk), READER_PIPE);
	CU_ASSERT(chunk.slot == 1 && chunk.length == 600);
	check_chunk(&sink, &chunk);
	reader_take(sink.reader, &chunk);
	sink.at[1] = sink.taken[1] = 600;
	sink.auto_take = true;
	reader_limit(sink.reader, 1, SIZE_MAX);
	take_all(&sink);
	turn_until(&fixture, sink.taken[1] == 50000);
	reader_destroy(sink.reader);
	fixture_close(&fixture);
}

void test_a_direct_slot_nobody_reads_becomes_kept(void)
{
	struct fixture fixture = fixture_make();
	struct sink sink;
	const uint32_t only = 1;

	fixture.direct = true;
	fixture_open(&fixture);
	fixture_slot(&fixture, 1);
	fixture_slot(&fixture, 2);
	memset(&sink, 0, sizeof(sink));
	sink.limit = 100000;
	sink.reader = reader_create(&fixture.child, READER_BLOCK, &only, 1, &sink_observer, &sink);
	output_start(fixture.child.output);
	feed_all(&fixture, 2, 1000000);
	turn_until_read(&fixture, 2);
	CU_ASSERT(total_of(&fixture, 1).direct);
	CU_ASSERT_FALSE(total_of(&fixture, 2).direct);
	feed_all(&fixture, 1, 1000);
	take_all(&sink);
	CU_ASSERT_EQUAL(sink.taken[1], 1000);
	CU_ASSERT_EQUAL(sink.taken[2], 0);
	reader_destroy(sink.reader);
	feed_all(&fixture, 1, 1000000);
	turn_until_read(&fixture, 1);
	fixture_close(&fixture);
}

void test_a_direct_reader_learns_of_the_end(void)
{
	struct fixture fixture = fixture_make();
	struct sink sink;

	fixture.direct = true;
	fixture_open(&fixture);
	fixture_slot(&fixture, 1);
	sink_open(&sink, &fixture, READER_BLOCK, true);
	output_start(fixture.child.output);
	feed(&fixture, 1, 10);
	hang_up(&fixture, 1);
	turn_until(&fixture, fixture.all_ended && sink.ended);
	CU_ASSERT_EQUAL(sink.taken[1], 10);
	CU_ASSERT_EQUAL(total_of(&fixture, 1).retained_from, 10);
	CU_ASSERT_EQUAL(fixture.pipes, 0);
	reader_destroy(sink.reader);
	fixture_close(&fixture);
}

void test_giving_up_a_direct_slot(void)
{
	struct fixture fixture = fixture_make();
	struct sink sink;

	fixture.direct = true;
	fixture_open(&fixture);
	fixture_slot(&fixture, 1);
	fixture_slot(&fixture, 2);
	sink_open(&sink, &fixture, READER_BLOCK, false);
	output_start(fixture.child.output);
	turn(&fixture);
	feed(&fixture, 1, 5000);
	output_give_up(fixture.child.output);
	turn(&fixture);
	sink.auto_take = true;
	take_all(&sink);
	turn_until(&fixture, fixture.all_ended && sink.ended);
	CU_ASSERT_EQUAL(sink.taken[1], 5000);
	CU_ASSERT_FALSE(total_of(&fixture, 1).complete);
	reader_destroy(sink.reader);
	fixture_close(&fixture);
}

void test_a_socket_is_read_through_a_pipe(void)
{
	struct fixture fixture = fixture_make();
	struct sink sink;
	int fds[2];

	fixture_open(&fixture);
	CU_ASSERT_EQUAL_FATAL(sys_socketpair(SOCK_STREAM, fds), 0);
	fixture_slot_fd(&fixture, 3, fds[0], fds[1]);
	sink_open(&sink, &fixture, READER_BLOCK, true);
	output_start(fixture.child.output);
	feed_all(&fixture, 3, 1000000);
	turn_until(&fixture, sink.taken[3] == 1000000);
	CU_ASSERT_EQUAL(fixture.pipes, 2);
	hang_up(&fixture, 3);
	turn_until(&fixture, fixture.all_ended && sink.ended);
	CU_ASSERT_EQUAL(fixture.pipes, 0);
	CU_ASSERT(total_of(&fixture, 3).complete);
	reader_destroy(sink.reader);
	fixture_close(&fixture);
}

void test_a_socket_with_a_reader_that_stops(void)
{
	struct fixture fixture = fixture_make();
	struct sink sink;
	int fds[2];

	fixture_open(&fixture);
	CU_ASSERT_EQUAL_FATAL(sys_socketpair(SOCK_STREAM, fds), 0);
	fixture_slot_fd(&fixture, 3, fds[0], fds[1]);
	sink_open(&sink, &fixture, READER_BLOCK, false);
	output_start(fixture.child.output);
	for (int i = 0; i < 200; i++) {
		feed(&fixture, 3, 50001);
		turn(&fixture);
	}
	hang_up(&fixture, 3);
	turn(&fixture);
	sink.auto_take = true;
	take_all(&sink);
	turn_until(&fixture, fixture.all_ended && sink.ended);
	CU_ASSERT_EQUAL(sink.taken[3], fixture.written[3]);
	CU_ASSERT_EQUAL(sink.lost[3], 0);
	reader_destroy(sink.reader);
	fixture_close(&fixture);
}

void test_the_end_of_a_terminal_is_an_end(void)
{
	struct fixture fixture = fixture_make();
	struct termios raw;
	struct sink sink;
	int master, slave;

	cfmakeraw(memset(&raw, 0, sizeof(raw)));
	fixture_open(&fixture);
	CU_ASSERT_EQUAL_FATAL(openpty(&master, &slave, NULL, &raw, NULL), 0);
	fixture_slot_fd(&fixture, 1, master, slave);
	sink_open(&sink, &fixture, READER_BLOCK, true);
	output_start(fixture.child.output);
	feed_all(&fixture, 1, 100000);
	turn_until(&fixture, sink.taken[1] == 100000);
	hang_up(&fixture, 1);
	turn_until(&fixture, fixture.all_ended && sink.ended);
	CU_ASSERT(total_of(&fixture, 1).complete);
	reader_destroy(sink.reader);
	fixture_close(&fixture);
}

void test_a_borrowed_descriptor_stays_open(void)
{
	struct fixture fixture = fixture_make();
	int fds[2];

	fixture_open(&fixture);
	CU_ASSERT_EQUAL_FATAL(sys_pipe(fds, O_NONBLOCK), 0);
	output_add(fixture.child.output, &(struct output_slot){.slot = 1, .fd = fds[0], .borrowed = true, .retain = 100});
	output_start(fixture.child.output);
	close(fds[1]);
	turn_until(&fixture, fixture.all_ended);
	CU_ASSERT_EQUAL(close(fds[0]), 0);
	fixture_close(&fixture);
}

void test_an_output_may_be_destroyed_when_its_end_is_told(void)
{
	struct fixture fixture = fixture_make();

	fixture.destroy_at_end = true;
	fixture_open(&fixture);
	fixture_slot(&fixture, 1);
	fixture_slot(&fixture, 2);
	output_start(fixture.child.output);
	feed(&fixture, 1, 100);
	hang_up(&fixture, 1);
	hang_up(&fixture, 2);
	turn_until(&fixture, fixture.all_ended);
	CU_ASSERT_PTR_NULL(fixture.child.output);
	turn(&fixture);
	fixture_close(&fixture);
}

void test_a_busy_stream_is_taken_in_large_pieces(void)
{
	struct fixture fixture = fixture_make();
	struct sink sink;

	fixture_open(&fixture);
	fixture_slot(&fixture, 1);
	sink_open(&sink, &fixture, READER_BLOCK, true);
	output_start(fixture.child.output);
	for (int i = 0; i < 20000; i++) {
		while (!feed(&fixture, 1, 100))
			turn(&fixture);
		if (i % 4 == 3) /* how many come while it pauses is the machine's affair; what is there is taken at once */
			turn(&fixture);
	}
	turn_until(&fixture, sink.taken[1] == fixture.written[1]);
	CU_ASSERT(sink.pieces <= 10000);
	reader_destroy(sink.reader);
	fixture_close(&fixture);
}
