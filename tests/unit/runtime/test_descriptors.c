#include "pair.h"

static int pipes[2];
static int before;

static void begin(void)
{
	before = open_fds();
	CU_ASSERT_EQUAL_FATAL(pipe(pipes), 0);
}

static void expect_no_leak(void)
{
	close(pipes[0]);
	close(pipes[1]);
	CU_ASSERT_EQUAL(open_fds(), before);
}

static void expect_protocol_error(const char *text)
{
	struct spawnd_channel_message message;
	int result;

	while ((result = spawnd_channel_receive(&near, &message)) > 0)
		close_message(&message);
	CU_ASSERT_EQUAL(result, -EPROTO);
	CU_ASSERT_PTR_NOT_NULL(strstr(spawnd_channel_error(&near), text));
	close_bare();
	expect_no_leak();
}

void test_sixteen_come_with_their_message(void)
{
	struct spawnd_channel_message message;
	int fds[SPAWND_CHANNEL_FDS + 1];

	begin();
	open_pair();
	for (int i = 0; i <= SPAWND_CHANNEL_FDS; i++)
		fds[i] = pipes[i % 2];
	CU_ASSERT_EQUAL(spawnd_channel_send(&near, NULL, "x", 1, fds, SPAWND_CHANNEL_FDS + 1), -EINVAL);
	CU_ASSERT_EQUAL(spawnd_channel_send(&near, NULL, "x", 1, fds, SPAWND_CHANNEL_FDS), 0);
	CU_ASSERT_EQUAL_FATAL(spawnd_channel_receive(&far, &message), SPAWND_CHANNEL_MESSAGE);
	CU_ASSERT_EQUAL(message.fd_count, SPAWND_CHANNEL_FDS);
	for (unsigned i = 0; i < message.fd_count; i++) {
		CU_ASSERT_EQUAL(inode(message.fds[i]), inode(pipes[i % 2]));
		CU_ASSERT_EQUAL(fcntl(message.fds[i], F_GETFD), FD_CLOEXEC);
	}
	close_message(&message);
	close_pair();
	expect_no_leak();
}

/* The number of descriptors of message i. */
static unsigned fds_of(unsigned i)
{
	return i * 7 % 5 ? 0 : i % (SPAWND_CHANNEL_FDS + 1);
}

void test_messages_with_and_without_keep_their_own(void)
{
	enum { COUNT = 2000 };
	struct spawnd_channel_message message;
	int fds[SPAWND_CHANNEL_FDS];
	unsigned sent = 0, got = 0;

	begin();
	for (unsigned i = 0; i < SPAWND_CHANNEL_FDS; i++)
		fds[i] = pipes[1];
	open_pair();
	while (got < COUNT) {
		while (sent < COUNT && spawnd_channel_send(&near, NULL, &sent, sizeof(sent), fds, fds_of(sent)) == 0)
			sent++;
		while (spawnd_channel_receive(&far, &message) == SPAWND_CHANNEL_MESSAGE) {
			CU_ASSERT_EQUAL_FATAL(memcmp(message.data, &got, sizeof(got)), 0);
			CU_ASSERT_EQUAL_FATAL(message.fd_count, fds_of(got));
			close_message(&message);
			got++;
		}
	}
	close_pair();
	expect_no_leak();
}

void test_they_come_with_the_first_part(void)
{
	static unsigned char data[20000];
	struct spawnd_channel_message message;

	begin();
	open_pair();
	CU_ASSERT_EQUAL(spawnd_channel_begin(&near, NULL, sizeof(data), pipes, 2), 0);
	CU_ASSERT_EQUAL(spawnd_channel_write(&near, data, sizeof(data)), sizeof(data));
	CU_ASSERT_EQUAL(spawnd_channel_receive(&far, &message), SPAWND_CHANNEL_PART);
	CU_ASSERT_EQUAL(message.fd_count, 2);
	close_message(&message);
	CU_ASSERT_EQUAL(spawnd_channel_receive(&far, &message), SPAWND_CHANNEL_PART);
	CU_ASSERT_EQUAL(message.fd_count, 0);
	close_pair();
	expect_no_leak();
}

void test_a_torn_head_keeps_its_descriptor(void)
{
	static const char one[] = "\0\0\0\x05\x08\x01\x7a\x01x";
	const size_t size = sizeof(one) - 1;
	struct spawnd_channel_message message;

	begin();
	for (size_t cut = 1; cut < size; cut++) {
		open_bare();
		say(one, cut, pipes[0], 1);
		CU_ASSERT_EQUAL(spawnd_channel_receive(&near, &message), SPAWND_CHANNEL_NOTHING);
		say(one + cut, size - cut, -1, 0);
		say(one, size, pipes[1], 1);
		CU_ASSERT_EQUAL_FATAL(spawnd_channel_receive(&near, &message), SPAWND_CHANNEL_MESSAGE);
		CU_ASSERT_EQUAL(inode(message.fds[0]), inode(pipes[0]));
		close_message(&message);
		CU_ASSERT_EQUAL_FATAL(spawnd_channel_receive(&near, &message), SPAWND_CHANNEL_MESSAGE);
		CU_ASSERT_EQUAL(message.fd_count, 1);
		close_message(&message);
		close_bare();
	}
	expect_no_leak();
}

void test_what_was_not_given_out_is_closed(void)
{
	begin();
	open_pair();
	CU_ASSERT_EQUAL(spawnd_channel_send(&near, NULL, "x", 1, pipes, 2), 0);
	close_pair();
	expect_no_leak();
	begin();
	open_bare();
	say("\0\0\0\x05\x08\x01\x7a", 7, pipes[0], 1);
	CU_ASSERT_EQUAL(spawnd_channel_receive(&near, &(struct spawnd_channel_message){0}), SPAWND_CHANNEL_NOTHING);
	close_bare();
	expect_no_leak();
	begin();
	open_bare();
	say("\0\0\0\x05\x08\x01\x7a\x01", 8, pipes[0], 1);
	CU_ASSERT_EQUAL(spawnd_channel_receive(&near, &(struct spawnd_channel_message){0}), SPAWND_CHANNEL_NOTHING);
	close_bare();
	expect_no_leak();
}

void test_an_announcement_without_them_is_an_error(void)
{
	begin();
	open_bare();
	say("\0\0\0\x04\x08\x01\x7a\0", 8, -1, 0);
	expect_protocol_error("without the descriptors");
}

void test_another_number_than_announced_is_an_error(void)
{
	begin();
	open_bare();
	say("\0\0\0\x04\x08\x02\x7a\0", 8, pipes[0], 1);
	expect_protocol_error("without the descriptors");
}

void test_unasked_ones_are_an_error(void)
{
	begin();
	open_bare();
	say("\0\0\0\x02\x7a\0", 6, pipes[0], 3);
	expect_protocol_error("no message announced");
}

void test_unasked_ones_in_the_middle_are_an_error(void)
{
	begin();
	open_bare();
	say("\0\0\0\x04\x7a\x02", 6, -1, 0);
	say("a", 1, pipes[0], 1);
	say("b", 1, pipes[0], 1);
	expect_protocol_error("no message announced");
}

void test_one_for_every_byte_of_a_head_is_an_error(void)
{
	begin();
	open_bare();
	for (int i = 0; i < 3; i++)
		say("\0", 1, pipes[0], 16);
	expect_protocol_error("no message announced");
}

void test_a_thousand_unasked_ones_are_an_error(void)
{
	begin();
	open_bare();
	for (int i = 0; i < 4; i++)
		say("\0\0\0\x02\x7a\0", 6, pipes[0], 250);
	expect_protocol_error("more than 16");
}

void test_a_closed_one_is_refused_and_nothing_sent(void)
{
	struct spawnd_channel_message message;
	int closed = 900;

	begin();
	open_pair();
	CU_ASSERT_EQUAL(spawnd_channel_send(&near, NULL, "x", 1, &closed, 1), -EBADF);
	CU_ASSERT_EQUAL(spawnd_channel_send(&near, NULL, "y", 1, NULL, 0), 0);
	CU_ASSERT_EQUAL_FATAL(spawnd_channel_receive(&far, &message), SPAWND_CHANNEL_MESSAGE);
	CU_ASSERT_EQUAL(memcmp(message.data, "y", 1), 0);
	close_pair();
	expect_no_leak();
}
