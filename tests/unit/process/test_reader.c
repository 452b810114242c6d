#include "process/output_fixture.h"

void test_a_reader_that_drops_is_told_exactly_what_it_lost(void)
{
	struct fixture fixture = fixture_make();
	struct sink sink;

	fixture_open(&fixture);
	fixture_slot(&fixture, 1);
	sink_open(&sink, &fixture, READER_DROP, false);
	output_start(fixture.child.output);
	feed_all(&fixture, 1, 1000000);
	turn_until_read(&fixture, 1);
	take_all(&sink);
	CU_ASSERT_EQUAL(sink.lost[1], 1000000 - 256 * 1024);
	CU_ASSERT_EQUAL(sink.taken[1], 256 * 1024);
	turn_until(&fixture, fixture.gap_bytes == sink.lost[1]);
	feed_all(&fixture, 1, 100);
	turn_until_read(&fixture, 1);
	take_all(&sink);
	CU_ASSERT_EQUAL(sink.taken[1], 256 * 1024 + 100);
	CU_ASSERT_EQUAL(fixture.gap_bytes, sink.lost[1]);
	reader_destroy(sink.reader);
	fixture_close(&fixture);
}

void test_readers_of_both_kinds_go_their_own_pace(void)
{
	struct fixture fixture = fixture_make();
	struct sink block, drop, slow;

	fixture_open(&fixture);
	fixture_slot(&fixture, 1);
	sink_open(&block, &fixture, READER_BLOCK, true);
	sink_open(&drop, &fixture, READER_DROP, true);
	sink_open(&slow, &fixture, READER_DROP, false);
	CU_ASSERT_EQUAL(output_reader_count(fixture.child.output), 3);
	output_start(fixture.child.output);
	feed_all(&fixture, 1, 2000000);
	hang_up(&fixture, 1);
	turn_until(&fixture, block.ended && drop.ended);
	CU_ASSERT_EQUAL(block.taken[1], 2000000);
	CU_ASSERT_EQUAL(drop.taken[1] + drop.lost[1], 2000000);
	take_all(&slow);
	CU_ASSERT(slow.ended);
	CU_ASSERT_EQUAL(slow.taken[1] + slow.lost[1], 2000000);
	CU_ASSERT(slow.lost[1] > 0);
	reader_destroy(block.reader);
	reader_destroy(drop.reader);
	reader_destroy(slow.reader);
	fixture_close(&fixture);
}

void test_a_late_reader_has_what_is_kept(void)
{
	struct fixture fixture = fixture_make();
	struct sink sink;

	fixture.retain = 5000;
	fixture_open(&fixture);
	fixture_slot(&fixture, 1);
	output_start(fixture.child.output);
	feed_all(&fixture, 1, 12345);
	turn_until_read(&fixture, 1);
	sink_open(&sink, &fixture, READER_DROP, false);
	take_all(&sink);
	CU_ASSERT_EQUAL(sink.taken[1], 0);
	sink_seek_retained(&sink);
	take_all(&sink);
	CU_ASSERT_EQUAL(sink.taken[1], 5000);
	hang_up(&fixture, 1);
	turn_until(&fixture, fixture.all_ended);
	sink.taken[1] = 0;
	sink_seek_retained(&sink);
	take_all(&sink);
	CU_ASSERT_EQUAL(sink.taken[1], 5000);
	CU_ASSERT(sink.ended);
	reader_destroy(sink.reader);
	fixture_close(&fixture);
}

void test_seeking(void)
{
	struct fixture fixture = fixture_make();
	struct sink sink;
	struct chunk chunk;

	fixture_open(&fixture);
	fixture_slot(&fixture, 1);
	output_start(fixture.child.output);
	feed_all(&fixture, 1, 1000);
	turn_until_read(&fixture, 1);
	sink_open(&sink, &fixture, READER_DROP, false);
	CU_ASSERT_FALSE(reader_seek(sink.reader, 2, 0));
	CU_ASSERT(reader_seek(sink.reader, 1, 990));
	sink.at[1] = 990;
	take_all(&sink);
	CU_ASSERT_EQUAL(sink.taken[1], 10);
	CU_ASSERT(reader_seek(sink.reader, 1, 1500)); /* not there yet: waits for it */
	CU_ASSERT_EQUAL(reader_next(sink.reader, 100, &chunk), READER_NOTHING);
	feed_all(&fixture, 1, 400);
	turn_until_read(&fixture, 1);
	CU_ASSERT_EQUAL(reader_next(sink.reader, 100, &chunk), READER_NOTHING);
	sink.at[1] = 1500;
	feed_all(&fixture, 1, 400);
	turn_until_read(&fixture, 1);
	take_all(&sink);
	CU_ASSERT_EQUAL(sink.at[1], 1800);
	reader_seek(sink.reader, 1, UINT64_MAX / 2);
	hang_up(&fixture, 1);
	turn_until(&fixture, fixture.all_ended);
	CU_ASSERT_EQUAL(reader_next(sink.reader, 100, &chunk), READER_END);
	reader_destroy(sink.reader);
	fixture_close(&fixture);
}

void test_a_chunk_is_not_consumed_until_it_is_taken(void)
{
	struct fixture fixture = fixture_make();
	struct sink sink;
	struct chunk first, second;

	fixture_open(&fixture);
	fixture_slot(&fixture, 1);
	sink_open(&sink, &fixture, READER_BLOCK, false);
	output_start(fixture.child.output);
	feed_all(&fixture, 1, 1000);
	turn_until_read(&fixture, 1);
	CU_ASSERT_EQUAL(reader_next(sink.reader, 600, &first), READER_DATA);
	CU_ASSERT_EQUAL(reader_next(sink.reader, 300, &second), READER_DATA);
	CU_ASSERT_EQUAL(first.offset, second.offset);
	CU_ASSERT_EQUAL(first.length, 600);
	CU_ASSERT_EQUAL(second.length, 300);
	reader_take(sink.reader, &second);
	CU_ASSERT_EQUAL(reader_next(sink.reader, 0, &first), READER_NOTHING);
	CU_ASSERT_EQUAL(reader_next(sink.reader, 10000, &first), READER_DATA);
	CU_ASSERT_EQUAL(first.offset, 300);
	CU_ASSERT_EQUAL(first.length, 700);
	hang_up(&fixture, 1);
	turn_until(&fixture, fixture.all_ended);
	check_chunk(&sink, &first); /* held across the end */
	reader_take(sink.reader, &first);
	turn(&fixture);
	CU_ASSERT_EQUAL(reader_next(sink.reader, 10000, &first), READER_END);
	CU_ASSERT_EQUAL(fixture.rings, 0);
	reader_destroy(sink.reader);
	fixture_close(&fixture);
}

/* One slot is held back: the others come as they would alone, and what was held comes in its order afterwards. */
void test_a_slot_that_is_held_back_is_passed_over(void)
{
	struct fixture fixture = fixture_make();
	struct sink sink;
	struct chunk chunk;

	fixture_open(&fixture);
	fixture_slot(&fixture, 1);
	fixture_slot(&fixture, 2);
	sink_open(&sink, &fixture, READER_BLOCK, false);
	output_start(fixture.child.output);
	for (size_t i = 0; i < 6; i++) {
		feed_all(&fixture, 1 + i % 2, 1000);
		turn_until_read(&fixture, 1 + i % 2);
	}
	reader_limit(sink.reader, 1, 0);
	take_all(&sink);
	CU_ASSERT_STRING_EQUAL(sink.order, "2"); /* nothing stands between its pieces */
	CU_ASSERT_EQUAL(sink.taken[2], 3000);
	feed_all(&fixture, 2, 500);
	turn_until_read(&fixture, 2);
	take_all(&sink);
	CU_ASSERT(sink.taken[1] == 0 && sink.taken[2] == 3500);
	reader_limit(sink.reader, 1, 700);
	CU_ASSERT_EQUAL(reader_next(sink.reader, 10000, &chunk), READER_DATA);
	CU_ASSERT(chunk.slot == 1 && chunk.length == 700);
	reader_limit(sink.reader, 1, 0);
	hang_up(&fixture, 1);
	hang_up(&fixture, 2);
	turn_until(&fixture, fixture.all_ended);
	CU_ASSERT_EQUAL(reader_next(sink.reader, 10000, &chunk), READER_NOTHING);
	reader_limit(sink.reader, 1, SIZE_MAX);
	take_all(&sink);
	CU_ASSERT(sink.ended && sink.taken[1] == 3000);
	reader_destroy(sink.reader);
	fixture_close(&fixture);
}

void test_a_slot_behind_the_index_can_be_held_back(void)
{
	struct fixture fixture = fixture_make();
	struct sink sink;

	fixture_open(&fixture);
	fixture_slot(&fixture, 1);
	fixture_slot(&fixture, 2);
	output_start(fixture.child.output);
	for (uint32_t slot = 1; slot <= 2; slot++) {
		feed_all(&fixture, slot, 12345);
		turn_until_read(&fixture, slot);
	}
	sink_open(&sink, &fixture, READER_DROP, false);
	reader_seek(sink.reader, 1, 0);
	reader_seek(sink.reader, 2, 0);
	sink.at[1] = sink.at[2] = 0;
	reader_limit(sink.reader, 1, 0);
	take_all(&sink);
	CU_ASSERT(sink.at[1] == 0 && sink.at[2] == 12345);
	reader_limit(sink.reader, 1, SIZE_MAX);
	take_all(&sink);
	CU_ASSERT_EQUAL(sink.at[1], 12345);
	reader_destroy(sink.reader);
	fixture_close(&fixture);
}

void test_slots_come_in_the_order_they_were_read(void)
{
	struct fixture fixture = fixture_make();
	struct sink sink;

	fixture_open(&fixture);
	fixture_slot(&fixture, 2);
	fixture_slot(&fixture, 1);
	sink_open(&sink, &fixture, READER_BLOCK, false);
	output_start(fixture.child.output);
	for (int i = 0; i < 50; i++) {
		uint32_t slot = i % 3 ? 1 : 2;

		feed_all(&fixture, slot, 10);
		turn_until_read(&fixture, slot);
	}
	take_all(&sink);
	CU_ASSERT_EQUAL(sink.taken[1], 330);
	CU_ASSERT_EQUAL(sink.taken[2], 170);
	CU_ASSERT_NSTRING_EQUAL(sink.order, "212121212121", 12);
	CU_ASSERT_EQUAL(strlen(sink.order), 34);
	reader_destroy(sink.reader);
	fixture_close(&fixture);
}

void test_more_bursts_than_the_index_holds(void)
{
	struct fixture fixture = fixture_make();
	struct sink early, late;

	fixture.retain = 1024 * 1024;
	fixture_open(&fixture);
	fixture_slot(&fixture, 1);
	fixture_slot(&fixture, 2);
	fixture_slot(&fixture, 3);
	sink_open(&early, &fixture, READER_BLOCK, false);
	output_start(fixture.child.output);
	feed_all(&fixture, 3, 100);
	for (int i = 0; i < 20000; i++) {
		feed(&fixture, 1, 7);
		turn_until_read(&fixture, 1);
		feed(&fixture, 2, 9);
		turn_until_read(&fixture, 2);
		if (i == 3000)
			take_one(&early);
	}
	sink_open(&late, &fixture, READER_DROP, false);
	sink_seek_retained(&late);
	take_all(&late);
	take_all(&early);
	CU_ASSERT_EQUAL(late.taken[1], 140000);
	CU_ASSERT_EQUAL(late.taken[2], 180000);
	CU_ASSERT_EQUAL(late.taken[3], 100);
	CU_ASSERT_EQUAL(early.taken[1] + early.taken[2], 320000);
	reader_destroy(early.reader);
	reader_destroy(late.reader);
	fixture_close(&fixture);
}

void test_seeking_by_time(void)
{
	struct fixture fixture = fixture_make();
	struct sink sink;
	int64_t middle;

	fixture_open(&fixture);
	fixture_slot(&fixture, 1);
	fixture_slot(&fixture, 2);
	output_start(fixture.child.output);
	feed_all(&fixture, 1, 1000);
	feed_all(&fixture, 2, 1000);
	turn_until_read(&fixture, 2);
	turn_until_read(&fixture, 1);
	middle = clock_real_ns();
	turn_until(&fixture, clock_real_ns() > middle + 3000000);
	middle = clock_real_ns();
	feed_all(&fixture, 1, 500);
	turn_until_read(&fixture, 1);
	sink_open(&sink, &fixture, READER_DROP, false);
	reader_seek_time(sink.reader, middle);
	sink.at[1] = 1000;
	take_all(&sink);
	CU_ASSERT_EQUAL(sink.taken[1], 500);
	CU_ASSERT_EQUAL(sink.taken[2], 0);
	CU_ASSERT(sink.last_ns >= middle);
	reader_seek_time(sink.reader, 1);
	sink.at[1] = sink.at[2] = 0;
	take_all(&sink);
	CU_ASSERT_EQUAL(sink.taken[1], 2000);
	CU_ASSERT_EQUAL(sink.taken[2], 1000);
	reader_destroy(sink.reader);
	fixture_close(&fixture);
}

void test_ready_comes_once_after_nothing(void)
{
	struct fixture fixture = fixture_make();
	struct sink sink;
	struct chunk chunk;

	fixture_open(&fixture);
	fixture_slot(&fixture, 1);
	sink_open(&sink, &fixture, READER_DROP, false);
	output_start(fixture.child.output);
	feed_all(&fixture, 1, 100);
	turn_until_read(&fixture, 1);
	CU_ASSERT_EQUAL(sink.ready, 0); /* it never asked */
	take_all(&sink);
	for (int i = 0; i < 5; i++) {
		feed_all(&fixture, 1, 100);
		turn_until_read(&fixture, 1);
	}
	turn(&fixture);
	CU_ASSERT_EQUAL(sink.ready, 1);
	CU_ASSERT_EQUAL(reader_next(sink.reader, 1000, &chunk), READER_DATA);
	CU_ASSERT_EQUAL(chunk.length, 500);
	reader_destroy(sink.reader);
	reader_destroy(NULL);
	fixture_close(&fixture);
}

struct pair {
	struct sink a, b;
	unsigned calls;
};

/* Destroys the other reader and itself. */
static void destroy_both(void *context, struct reader *reader)
{
	struct pair *pair = context;

	pair->calls++;
	reader_destroy(pair->a.reader);
	reader_destroy(pair->b.reader);
}

void test_readers_may_be_destroyed_inside_a_callback(void)
{
	static const struct reader_observer observer = {.on_ready = destroy_both};
	struct fixture fixture = fixture_make();
	struct pair pair = {.calls = 0};
	struct chunk chunk;

	fixture_open(&fixture);
	fixture_slot(&fixture, 1);
	pair.a.reader = reader_create(&fixture.child, READER_BLOCK, NULL, 0, &observer, &pair);
	pair.b.reader = reader_create(&fixture.child, READER_DROP, NULL, 0, &observer, &pair);
	reader_next(pair.a.reader, 1, &chunk);
	reader_next(pair.b.reader, 1, &chunk);
	output_start(fixture.child.output);
	feed_all(&fixture, 1, 100);
	turn_until(&fixture, pair.calls);
	turn(&fixture);
	CU_ASSERT_EQUAL(pair.calls, 1);
	CU_ASSERT_EQUAL(output_reader_count(fixture.child.output), 0);
	fixture_close(&fixture);
}

/* Destroys the whole output. */
static void destroy_output(void *context, struct reader *reader)
{
	struct fixture *fixture = context;

	output_destroy(fixture->child.output);
	fixture->child.output = NULL;
}

void test_an_output_may_be_destroyed_inside_a_reader(void)
{
	static const struct reader_observer observer = {.on_ready = destroy_output};
	struct fixture fixture = fixture_make();
	struct reader *first, *second;
	struct chunk chunk;

	fixture_open(&fixture);
	fixture_slot(&fixture, 1);
	first = reader_create(&fixture.child, READER_BLOCK, NULL, 0, &observer, &fixture);
	second = reader_create(&fixture.child, READER_DROP, NULL, 0, &observer, &fixture);
	reader_next(first, 1, &chunk);
	reader_next(second, 1, &chunk);
	output_start(fixture.child.output);
	feed(&fixture, 1, 100);
	hang_up(&fixture, 1);
	turn_until(&fixture, !fixture.child.output);
	turn(&fixture);
	CU_ASSERT_EQUAL(fixture.ends[1], 0);
	reader_destroy(first);
	reader_destroy(second);
	fixture_close(&fixture);
}

void test_the_order_is_kept_when_all_has_ended(void)
{
	struct fixture fixture = fixture_make();
	struct sink sink;

	fixture_open(&fixture);
	fixture_slot(&fixture, 1);
	fixture_slot(&fixture, 2);
	output_start(fixture.child.output);
	for (int i = 0; i < 100; i++) {
		feed(&fixture, 1 + (uint32_t)i % 2, 10);
		turn_until_read(&fixture, 1 + (uint32_t)i % 2);
	}
	hang_up(&fixture, 1);
	hang_up(&fixture, 2);
	turn_until(&fixture, fixture.all_ended);
	sink_open(&sink, &fixture, READER_DROP, false);
	sink_seek_retained(&sink);
	take_all(&sink);
	CU_ASSERT(sink.ended);
	CU_ASSERT_EQUAL(strlen(sink.order), 100);
	CU_ASSERT_NSTRING_EQUAL(sink.order, "12121212", 8);
	reader_destroy(sink.reader);
	fixture_close(&fixture);
}

void test_a_reader_outlives_its_output(void)
{
	struct fixture fixture = fixture_make();
	struct sink sink;
	struct chunk chunk;

	fixture_open(&fixture);
	fixture_slot(&fixture, 1);
	sink_open(&sink, &fixture, READER_BLOCK, true);
	output_start(fixture.child.output);
	feed_all(&fixture, 1, 100);
	output_destroy(fixture.child.output);
	fixture.child.output = NULL;
	CU_ASSERT_EQUAL(reader_next(sink.reader, 100, &chunk), READER_END);
	CU_ASSERT_FALSE(reader_seek(sink.reader, 1, 0));
	reader_seek_retained(sink.reader);
	reader_seek_time(sink.reader, 0);
	reader_destroy(sink.reader);
	fixture_close(&fixture);
}
