#include "pair.h"

static void expect_message(struct spawnd_channel *channel, const char *type, const char *text)
{
	struct spawnd_channel_message message = {0};

	CU_ASSERT_EQUAL_FATAL(spawnd_channel_receive(channel, &message), SPAWND_CHANNEL_MESSAGE);
	CU_ASSERT_STRING_EQUAL(message.content_type, type);
	CU_ASSERT_EQUAL(message.length, strlen(text));
	CU_ASSERT_EQUAL(message.size, message.length);
	CU_ASSERT_EQUAL(message.offset, 0);
	CU_ASSERT_EQUAL(memcmp(message.data, text, message.length), 0);
	CU_ASSERT_EQUAL(message.fd_count, 0);
	CU_ASSERT_EQUAL(message.fd_error, 0);
}

static void expect_failure(int error, const char *text)
{
	struct spawnd_channel_message message;

	CU_ASSERT_EQUAL(spawnd_channel_receive(&near, &message), error);
	CU_ASSERT_PTR_NOT_NULL(strstr(spawnd_channel_error(&near), text));
	CU_ASSERT_EQUAL(spawnd_channel_receive(&near, &message), error);
	CU_ASSERT_PTR_NOT_NULL(strstr(spawnd_channel_error(&near), text));
}

void test_messages_arrive_whole_and_in_order(void)
{
	struct spawnd_channel_message message;

	open_pair();
	CU_ASSERT_EQUAL(spawnd_channel_send(&near, "text/plain", "one", 3, NULL, 0), 0);
	CU_ASSERT_EQUAL(spawnd_channel_send(&near, NULL, NULL, 0, NULL, 0), 0);
	CU_ASSERT_EQUAL(spawnd_channel_send(&near, "x/y", "three", 5, NULL, 0), 0);
	expect_message(&far, "text/plain", "one");
	expect_message(&far, "", "");
	expect_message(&far, "x/y", "three");
	CU_ASSERT_EQUAL(spawnd_channel_receive(&far, &message), SPAWND_CHANNEL_NOTHING);
	CU_ASSERT_EQUAL(spawnd_channel_send(&far, NULL, "back", 4, NULL, 0), 0);
	expect_message(&near, "", "back");
	close_pair();
}

void test_a_message_is_these_bytes(void)
{
	static const char expected[] = "\0\0\0\x13\x12\x0atext/plain\x7a\x05hello";
	char bytes[64];

	open_bare();
	CU_ASSERT_EQUAL(spawnd_channel_send(&near, "text/plain", "hello", 5, NULL, 0), 0);
	CU_ASSERT_EQUAL(read(bare, bytes, sizeof(bytes)), sizeof(expected) - 1);
	CU_ASSERT_EQUAL(memcmp(bytes, expected, sizeof(expected) - 1), 0);
	CU_ASSERT_EQUAL(spawnd_channel_begin(&near, NULL, 3, NULL, 0), 0);
	CU_ASSERT_EQUAL(spawnd_channel_write(&near, "ab", 2), 2);
	CU_ASSERT_EQUAL(spawnd_channel_write(&near, "cd", 2), -EMSGSIZE);
	CU_ASSERT_EQUAL(spawnd_channel_send(&near, NULL, "x", 1, NULL, 0), -EBUSY);
	CU_ASSERT_EQUAL(spawnd_channel_write(&near, "c", 1), 1);
	CU_ASSERT_EQUAL(read(bare, bytes, sizeof(bytes)), 9);
	CU_ASSERT_EQUAL(memcmp(bytes, "\0\0\0\5\x7a\3abc", 9), 0);
	close_bare();
}

void test_reads_may_be_torn_at_every_byte(void)
{
	static const char stream[] = "\0\0\0\x13\x12\x0atext/plain\x7a\x05hello\0\0\0\x02\x7a\0\0\0\0\x03\x7a\x01!";
	const size_t size = sizeof(stream) - 1;
	struct spawnd_channel_message message;

	for (size_t first = 1; first < size; first++) {
		for (size_t second = first; second < size; second++) {
			int got = 0;

			open_bare();
			say(stream, first, -1, 0);
			while (spawnd_channel_receive(&near, &message) == SPAWND_CHANNEL_MESSAGE)
				got++;
			if (second > first)
				say(stream + first, second - first, -1, 0);
			while (spawnd_channel_receive(&near, &message) == SPAWND_CHANNEL_MESSAGE)
				got++;
			say(stream + second, size - second, -1, 0);
			while (spawnd_channel_receive(&near, &message) == SPAWND_CHANNEL_MESSAGE)
				got++;
			CU_ASSERT_EQUAL_FATAL(got, 3);
			CU_ASSERT_EQUAL_FATAL(memcmp(message.data, "!", 1), 0);
			close_bare();
		}
	}
}

static unsigned char pattern(uint64_t offset)
{
	return (unsigned char)(offset * 31 + (offset >> 8) * 7 + (offset >> 16));
}

static bool has_pattern(const struct spawnd_channel_message *message)
{
	const unsigned char *data = message->data;

	for (size_t i = 0; i < message->length; i++)
		if (data[i] != pattern(message->offset + i))
			return false;
	return true;
}

/* Receives what is there of one message; `got` is how much of it was received before. Returns how much it is now. */
static uint64_t drain(struct spawnd_channel *channel, uint64_t got)
{
	struct spawnd_channel_message message;
	int received;

	while ((received = spawnd_channel_receive(channel, &message)) == SPAWND_CHANNEL_PART || received == SPAWND_CHANNEL_MESSAGE) {
		CU_ASSERT_EQUAL_FATAL(message.offset, got);
		CU_ASSERT_FATAL(has_pattern(&message));
		got += message.length;
	}
	CU_ASSERT_EQUAL_FATAL(received, SPAWND_CHANNEL_NOTHING);
	return got;
}

void test_a_message_goes_on_after_a_full_socket(void)
{
	enum { SIZE = 1 << 20 };
	unsigned char *data = malloc(SIZE);
	int small = 1, rounds = 0, more;
	uint64_t got = 0;

	for (size_t i = 0; i < SIZE; i++)
		data[i] = pattern(i);
	open_pair();
	setsockopt(near.fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
	CU_ASSERT_EQUAL(spawnd_channel_send(&near, NULL, data, SIZE, NULL, 0), 1);
	CU_ASSERT(spawnd_channel_unsent(&near));
	CU_ASSERT_EQUAL(spawnd_channel_send(&near, NULL, "x", 1, NULL, 0), -EBUSY);
	CU_ASSERT_EQUAL(spawnd_channel_end(&near), -EBUSY);
	while ((more = spawnd_channel_flush(&near)) == 1) {
		got = drain(&far, got);
		rounds++;
	}
	CU_ASSERT_EQUAL(more, 0);
	CU_ASSERT(rounds > 100);
	CU_ASSERT_EQUAL(drain(&far, got), SIZE);
	CU_ASSERT_EQUAL(spawnd_channel_send(&near, NULL, "x", 1, NULL, 0), 0);
	expect_message(&far, "", "x");
	close_pair();
	free(data);
}

void test_a_full_socket_takes_nothing(void)
{
	struct spawnd_channel_message message;
	unsigned sent = 0, got = 0;
	int result;

	open_pair();
	while ((result = spawnd_channel_send(&near, NULL, &sent, sizeof(sent), NULL, 0)) == 0)
		sent++;
	CU_ASSERT_EQUAL(result, -EAGAIN);
	CU_ASSERT_FALSE(spawnd_channel_unsent(&near));
	CU_ASSERT_EQUAL(spawnd_channel_begin(&near, NULL, 1, NULL, 0), -EAGAIN);
	while (spawnd_channel_receive(&far, &message) == SPAWND_CHANNEL_MESSAGE) {
		CU_ASSERT_EQUAL(memcmp(message.data, &got, sizeof(got)), 0);
		got++;
	}
	CU_ASSERT_EQUAL(got, sent);
	CU_ASSERT_EQUAL(spawnd_channel_send(&near, NULL, &sent, sizeof(sent), NULL, 0), 0);
	close_pair();
}

void test_messages_of_all_sizes_around_the_memory(void)
{
	static unsigned char data[sizeof(far_memory) + 8];
	struct spawnd_channel_message message;

	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = pattern(i);
	open_pair();
	for (size_t size = sizeof(far_memory) - 300; size <= sizeof(data); size++) {
		int expected = size <= sizeof(far_memory) ? SPAWND_CHANNEL_MESSAGE : SPAWND_CHANNEL_PART;

		CU_ASSERT_EQUAL(spawnd_channel_send(&near, "a/b", "before", 6, NULL, 0), 0);
		CU_ASSERT_EQUAL(spawnd_channel_send(&near, NULL, data, size, NULL, 0), 0);
		CU_ASSERT_EQUAL(spawnd_channel_send(&near, "a/b", "after", 5, NULL, 0), 0);
		expect_message(&far, "a/b", "before");
		CU_ASSERT_EQUAL_FATAL(spawnd_channel_receive(&far, &message), expected);
		CU_ASSERT(has_pattern(&message));
		while (message.offset + message.length < size) {
			CU_ASSERT_EQUAL_FATAL(spawnd_channel_receive(&far, &message), SPAWND_CHANNEL_PART);
			CU_ASSERT(has_pattern(&message));
		}
		expect_message(&far, "a/b", "after");
	}
	close_pair();
}

void test_64_mib_go_through_fixed_memory(void)
{
	const uint64_t size = 64 << 20;
	unsigned char piece[10000];
	uint64_t written = 0, got = 0;

	open_pair();
	CU_ASSERT_EQUAL(spawnd_channel_begin(&near, "big", size, NULL, 0), 0);
	while (written < size) {
		size_t length = size - written < sizeof(piece) ? (size_t)(size - written) : sizeof(piece);
		long taken;

		for (size_t i = 0; i < length; i++)
			piece[i] = pattern(written + i);
		taken = spawnd_channel_write(&near, piece, length);
		if (taken == -EAGAIN) {
			got = drain(&far, got);
			continue;
		}
		CU_ASSERT_FATAL(taken > 0);
		written += (uint64_t)taken;
	}
	CU_ASSERT_EQUAL(drain(&far, got), size);
	close_pair();
}

void test_the_end_is_told_once_after_the_last_message(void)
{
	struct spawnd_channel_message message;

	open_pair();
	CU_ASSERT_EQUAL(spawnd_channel_send(&far, NULL, "last", 4, NULL, 0), 0);
	spawnd_channel_close(&far);
	expect_message(&near, "", "last");
	CU_ASSERT_EQUAL(spawnd_channel_receive(&near, &message), SPAWND_CHANNEL_END);
	CU_ASSERT_EQUAL(spawnd_channel_receive(&near, &message), -ENOTCONN);
	CU_ASSERT_EQUAL(spawnd_channel_send(&near, NULL, "x", 1, NULL, 0), -EPIPE);
	CU_ASSERT_EQUAL(spawnd_channel_send(&near, NULL, "x", 1, NULL, 0), -EPIPE);
	spawnd_channel_close(&near);
	CU_ASSERT_EQUAL(spawnd_channel_send(&near, NULL, "x", 1, NULL, 0), -ENOTCONN);
	CU_ASSERT_EQUAL(spawnd_channel_receive(&near, &message), -ENOTCONN);
	CU_ASSERT_EQUAL(spawnd_channel_fd(&near), -1);
	spawnd_channel_close(&near);
}

void test_the_end_comes_even_when_ours_was_not_read(void)
{
	struct spawnd_channel_message message;

	open_pair();
	CU_ASSERT_EQUAL(spawnd_channel_send(&far, NULL, "last", 4, NULL, 0), 0);
	CU_ASSERT_EQUAL(spawnd_channel_send(&near, NULL, "never read", 10, NULL, 0), 0);
	spawnd_channel_close(&far);
	expect_message(&near, "", "last");
	CU_ASSERT_EQUAL(spawnd_channel_receive(&near, &message), SPAWND_CHANNEL_END);
	spawnd_channel_close(&near);
}

void test_half_of_a_channel_ends(void)
{
	struct spawnd_channel_message message;

	open_pair();
	CU_ASSERT_EQUAL(spawnd_channel_send(&near, NULL, "bye", 3, NULL, 0), 0);
	CU_ASSERT_EQUAL(spawnd_channel_end(&near), 0);
	CU_ASSERT_EQUAL(spawnd_channel_send(&near, NULL, "x", 1, NULL, 0), -EPIPE);
	expect_message(&far, "", "bye");
	CU_ASSERT_EQUAL(spawnd_channel_receive(&far, &message), SPAWND_CHANNEL_END);
	CU_ASSERT_EQUAL(spawnd_channel_send(&far, NULL, "answer", 6, NULL, 0), 0);
	expect_message(&near, "", "answer");
	close_pair();
}

void test_an_end_inside_a_message_is_an_error(void)
{
	static const char stream[] = "\0\0\0\x07\x7a\x05hello";

	for (size_t size = 1; size < sizeof(stream) - 1; size++) {
		open_bare();
		say(stream, size, -1, 0);
		close(bare);
		expect_failure(-ECONNRESET, "inside a message");
		spawnd_channel_close(&near);
	}
}

void test_a_peer_that_goes_in_the_middle_of_a_send(void)
{
	static unsigned char data[1 << 20];

	open_pair();
	CU_ASSERT_EQUAL(spawnd_channel_send(&near, NULL, data, sizeof(data), NULL, 0), 1);
	spawnd_channel_close(&far);
	CU_ASSERT_EQUAL(spawnd_channel_flush(&near), -EPIPE);
	CU_ASSERT_FALSE(spawnd_channel_unsent(&near));
	CU_ASSERT_EQUAL(spawnd_channel_flush(&near), 0);
	CU_ASSERT_EQUAL(spawnd_channel_send_wait(&near, NULL, "x", 1, NULL, 0), -EPIPE);
	spawnd_channel_close(&near);
}

void test_garbage_ends_the_receiving_half(void)
{
	open_bare();
	say("GET / HTTP/1.0\r\n\r\n", 18, -1, 0);
	expect_failure(-EPROTO, "receiving: ");
	CU_ASSERT_EQUAL(spawnd_channel_send(&near, NULL, "still", 5, NULL, 0), 0);
	close_bare();
	open_bare();
	say("\0\0\0\0", 4, -1, 0);
	expect_failure(-EPROTO, "empty");
	close_bare();
}

void test_random_bytes_do_no_harm(void)
{
	struct spawnd_channel_message message;
	unsigned char bytes[300];
	int before = open_fds();

	srand(7);
	for (int round = 0; round < 3000; round++) {
		int result = 0;

		open_bare();
		for (int piece = 0; piece < 4 && result >= 0; piece++) {
			size_t size = 1 + (size_t)rand() % sizeof(bytes);

			for (size_t i = 0; i < size; i++)
				bytes[i] = (unsigned char)(rand() % 3 ? rand() % 24 : rand());
			memcpy(bytes, "\0\0", size < 2 ? size : 2);
			say(bytes, size, bare, (unsigned)rand() % 3);
			do {
				result = spawnd_channel_receive(&near, &message);
				if (result > 0)
					close_message(&message);
			} while (result > 0);
		}
		close_bare();
	}
	CU_ASSERT_EQUAL(open_fds(), before);
}

void test_waiting_ends_with_time_or_message(void)
{
	struct spawnd_channel_message message;

	open_pair();
	CU_ASSERT_EQUAL(spawnd_channel_receive_wait(&near, &message, 0), SPAWND_CHANNEL_NOTHING);
	CU_ASSERT_EQUAL(spawnd_channel_receive_wait(&near, &message, 20), SPAWND_CHANNEL_NOTHING);
	CU_ASSERT_EQUAL(spawnd_channel_wait(&near, POLLOUT, 0), 1);
	CU_ASSERT_EQUAL(spawnd_channel_send(&far, NULL, "x", 1, NULL, 0), 0);
	CU_ASSERT_EQUAL(spawnd_channel_receive_wait(&near, &message, -1), SPAWND_CHANNEL_MESSAGE);
	close_pair();
}

void test_wrong_arguments_are_named(void)
{
	char type[SPAWND_CHANNEL_CONTENT_TYPE + 2];

	memset(type, 'a', sizeof(type));
	type[sizeof(type) - 1] = '\0';
	open_pair();
	CU_ASSERT_EQUAL(spawnd_channel_send(&near, type, NULL, 0, NULL, 0), -EINVAL);
	CU_ASSERT_STRING_EQUAL(spawnd_channel_error(&near), "a content type has at most 127 bytes");
	CU_ASSERT_EQUAL(spawnd_channel_begin(&near, NULL, UINT64_MAX, NULL, 0), -EMSGSIZE);
	CU_ASSERT_EQUAL(spawnd_channel_send(&near, type + 1, NULL, 0, NULL, 0), 0);
	expect_message(&far, type + 1, "");
	close_pair();
	CU_ASSERT_EQUAL(spawnd_channel_open(&near, 0, near_memory, SPAWND_CHANNEL_MEMORY_MIN - 1), -EINVAL);
}
