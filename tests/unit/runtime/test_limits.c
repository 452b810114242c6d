#include "pair.h"

#include <sys/resource.h>

void test_without_room_the_descriptors_are_lost_and_the_message_is_not(void)
{
	struct spawnd_channel_message message;
	struct rlimit old, low;
	int before = open_fds(), fds[4] = {0, 1, 2, 2}, next;

	open_pair();
	next = dup(0);
	close(next);
	CU_ASSERT_EQUAL(getrlimit(RLIMIT_NOFILE, &old), 0);
	low = old;
	low.rlim_cur = (rlim_t)next + 2;
	CU_ASSERT_EQUAL(spawnd_channel_send(&near, NULL, "lost", 4, fds, 4), 0);
	CU_ASSERT_EQUAL(spawnd_channel_send(&near, NULL, "next", 4, NULL, 0), 0);
	CU_ASSERT_EQUAL(spawnd_channel_send(&near, NULL, "two", 3, fds, 2), 0);
	CU_ASSERT_EQUAL(setrlimit(RLIMIT_NOFILE, &low), 0);
	CU_ASSERT_EQUAL_FATAL(spawnd_channel_receive(&far, &message), SPAWND_CHANNEL_MESSAGE);
	CU_ASSERT_EQUAL(message.fd_error, -EMFILE);
	CU_ASSERT_EQUAL(message.fd_count, 0);
	CU_ASSERT_EQUAL(memcmp(message.data, "lost", 4), 0);
	CU_ASSERT_EQUAL_FATAL(spawnd_channel_receive(&far, &message), SPAWND_CHANNEL_MESSAGE);
	CU_ASSERT_EQUAL(message.fd_error, 0);
	CU_ASSERT_EQUAL_FATAL(spawnd_channel_receive(&far, &message), SPAWND_CHANNEL_MESSAGE);
	CU_ASSERT_EQUAL(message.fd_error, 0);
	CU_ASSERT_EQUAL(message.fd_count, 2);
	close_message(&message);
	CU_ASSERT_EQUAL(setrlimit(RLIMIT_NOFILE, &old), 0);
	close_pair();
	CU_ASSERT_EQUAL(open_fds(), before);
}

void test_ten_thousand_descriptors_leak_none(void)
{
	struct spawnd_channel_message message;
	int before = open_fds();
	int fds[SPAWND_CHANNEL_FDS] = {0};

	open_pair();
	for (int i = 0; i < 10000 / SPAWND_CHANNEL_FDS; i++) {
		CU_ASSERT_EQUAL(spawnd_channel_send(&near, NULL, "x", 1, fds, SPAWND_CHANNEL_FDS), 0);
		CU_ASSERT_EQUAL_FATAL(spawnd_channel_receive(&far, &message), SPAWND_CHANNEL_MESSAGE);
		CU_ASSERT_EQUAL_FATAL(spawnd_channel_send(&far, NULL, "y", 1, message.fds, message.fd_count), 0);
		close_message(&message);
		CU_ASSERT_EQUAL_FATAL(spawnd_channel_receive(&near, &message), SPAWND_CHANNEL_MESSAGE);
		CU_ASSERT_EQUAL_FATAL(message.fd_count, SPAWND_CHANNEL_FDS);
		close_message(&message);
	}
	close_pair();
	CU_ASSERT_EQUAL(open_fds(), before);
}
