#include <CUnit/CUnit.h>
#include <errno.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/sys.h"
#include "link/journal.h"
#include "link/link.h"
#include "spawnd/runtime/v1/keeper.pb.h"

static struct link near, far;

static void open_links(void)
{
	int fds[2];

	CU_ASSERT_EQUAL(sys_socketpair(SOCK_SEQPACKET, fds), 0);
	link_init(&near, fds[0]);
	link_init(&far, fds[1]);
}

static void close_links(void)
{
	link_finish(&near);
	link_finish(&far);
}

static spawnd_runtime_v1_KeeperNotice stored(uint64_t owner)
{
	spawnd_runtime_v1_KeeperNotice notice = spawnd_runtime_v1_KeeperNotice_init_zero;

	notice.which_notice = spawnd_runtime_v1_KeeperNotice_stored_tag;
	notice.notice.stored.owner = owner;
	return notice;
}

void test_records_beyond_the_socket_wait_with_their_descriptors(void)
{
	spawnd_runtime_v1_KeeperNotice notice;
	int fds[FDPASS_MAX], pipes[2];
	uint64_t sent = 0, got = 0;
	size_t count;

	open_links();
	CU_ASSERT_EQUAL(sys_pipe(pipes, 0), 0);
	while (near.queued < 5) {
		notice = stored(++sent);
		CU_ASSERT_EQUAL(link_send(&near, spawnd_runtime_v1_KeeperNotice_fields, &notice, &pipes[1], 1), 0);
	}
	while (got < sent) {
		int done = link_receive(&far, spawnd_runtime_v1_KeeperNotice_fields, &notice, fds, &count);

		if (done == 0) {
			CU_ASSERT(link_flush(&near) >= 0);
			continue;
		}
		CU_ASSERT_EQUAL_FATAL(done, 1);
		CU_ASSERT_EQUAL(notice.notice.stored.owner, ++got);
		CU_ASSERT_EQUAL_FATAL(count, 1);
		close(fds[0]);
	}
	CU_ASSERT_EQUAL(link_flush(&near), 0);
	close(pipes[0]);
	close(pipes[1]);
	close_links();
}

void test_a_peer_that_left_is_told(void)
{
	spawnd_runtime_v1_KeeperNotice notice = stored(1);
	int fds[FDPASS_MAX];
	size_t count;

	open_links();
	link_finish(&far);
	CU_ASSERT_EQUAL(link_receive(&near, spawnd_runtime_v1_KeeperNotice_fields, &notice, fds, &count), -EPIPE);
	CU_ASSERT_EQUAL(link_send(&near, spawnd_runtime_v1_KeeperNotice_fields, &notice, NULL, 0), -EPIPE);
	close_links();
}

void test_a_bad_record_is_refused_and_its_descriptors_closed(void)
{
	spawnd_runtime_v1_KeeperNotice notice;
	int fds[FDPASS_MAX], pipes[2];
	uint8_t bad[] = {0xff, 0xff, 0xff};
	struct iovec iov = {.iov_base = bad, .iov_len = sizeof(bad)};
	size_t count;
	char byte;

	open_links();
	CU_ASSERT_EQUAL(sys_pipe(pipes, 0), 0);
	CU_ASSERT_EQUAL(fdpass_send(near.fd, &iov, 1, &pipes[1], 1), 3);
	close(pipes[1]);
	CU_ASSERT_EQUAL(link_receive(&far, spawnd_runtime_v1_KeeperNotice_fields, &notice, fds, &count), -EPROTO);
	CU_ASSERT_EQUAL(read(pipes[0], &byte, 1), 0);
	close(pipes[0]);
	close_links();
}

void test_the_journal_is_shared_sealed_and_checked(void)
{
	int fd = journal_make();
	struct journal *one, *two;

	CU_ASSERT(fd >= 0);
	one = journal_map(fd);
	two = journal_map(fd);
	CU_ASSERT_PTR_NOT_NULL_FATAL(one);
	CU_ASSERT_PTR_NOT_NULL_FATAL(two);
	one->pids[JOURNAL_SLOTS - 1] = 42;
	CU_ASSERT_EQUAL(two->pids[JOURNAL_SLOTS - 1], 42);
	CU_ASSERT_EQUAL(two->next_id, 1);
	CU_ASSERT_EQUAL(sys_ftruncate(fd, 0), -EPERM);
	one->version++;
	CU_ASSERT_PTR_NULL(journal_map(fd));
	CU_ASSERT_EQUAL(errno, EINVAL);
	journal_unmap(one);
	journal_unmap(two);
	close(fd);
}

/* The kernel tells of what it had not read before it gives what it had sent. */
void test_records_of_a_peer_that_died_unread_are_not_lost(void)
{
	spawnd_runtime_v1_KeeperNotice notice = stored(1);
	int fds[FDPASS_MAX], pipes[2];
	size_t count;

	open_links();
	CU_ASSERT_EQUAL(sys_pipe(pipes, 0), 0);
	CU_ASSERT_EQUAL(link_send(&near, spawnd_runtime_v1_KeeperNotice_fields, &notice, NULL, 0), 0);
	for (uint64_t owner = 1; owner <= 3; owner++) {
		notice = stored(owner);
		CU_ASSERT_EQUAL(link_send(&far, spawnd_runtime_v1_KeeperNotice_fields, &notice, pipes, 2), 0);
	}
	link_finish(&far);
	for (uint64_t owner = 1; owner <= 3; owner++) {
		CU_ASSERT_EQUAL_FATAL(link_receive(&near, spawnd_runtime_v1_KeeperNotice_fields, &notice, fds, &count), 1);
		CU_ASSERT_EQUAL(notice.notice.stored.owner, owner);
		CU_ASSERT_EQUAL_FATAL(count, 2);
		close(fds[0]);
		close(fds[1]);
	}
	CU_ASSERT_EQUAL(link_receive(&near, spawnd_runtime_v1_KeeperNotice_fields, &notice, fds, &count), -EPIPE);
	close(pipes[0]);
	close(pipes[1]);
	close_links();
}
