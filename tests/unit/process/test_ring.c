#include <CUnit/CUnit.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/sys.h"
#include "process/ring.h"

static uint8_t pattern(uint64_t offset)
{
	return (uint8_t)(offset * 31 + (offset >> 8) * 7 + (offset >> 16));
}

/* Bytes of the pattern from `offset` on, into a pipe. */
static void fill_pipe(int fd, uint64_t offset, size_t size)
{
	uint8_t bytes[65536];

	for (size_t i = 0; i < size; i++)
		bytes[i] = pattern(offset + i);
	CU_ASSERT_EQUAL_FATAL(write(fd, bytes, size), (ssize_t)size);
}

/* Whether the ring holds the pattern in [from, end). */
static void check_ring(const struct ring *ring)
{
	struct iovec iov[2];
	uint64_t from = ring_from(ring), offset = from;
	size_t pieces = from < ring->end ? ring_span(ring, from, ring->end - from, iov) : 0, wrong = 0;

	for (size_t piece = 0; piece < pieces; piece++)
		for (size_t i = 0; i < iov[piece].iov_len; i++)
			wrong += ((uint8_t *)iov[piece].iov_base)[i] != pattern(offset++);
	CU_ASSERT_EQUAL(offset, ring->end);
	CU_ASSERT_EQUAL(wrong, 0);
}

/* Puts `size` bytes through the pipe, in as many calls as the ring needs. */
static void put(struct ring *ring, int fds[2], size_t size, bool splice)
{
	fill_pipe(fds[1], ring->end, size);
	while (size) {
		ssize_t moved = splice ? ring_splice(ring, fds[0], size) : ring_read(ring, fds[0], size);

		CU_ASSERT_FATAL(moved > 0);
		size -= (size_t)moved;
	}
}

static void go_round(struct ring *ring, bool splice)
{
	static const size_t sizes[] = {1, 7, 4096, 4095, 4097, 100, 8191, 16384, 16383, 3};
	int fds[2];

	CU_ASSERT_EQUAL_FATAL(sys_pipe(fds, O_NONBLOCK), 0);
	for (size_t i = 0; i < 200; i++) {
		put(ring, fds, sizes[i % array_size(sizes)], splice);
		check_ring(ring);
	}
	CU_ASSERT_EQUAL(splice ? ring_splice(ring, fds[0], 1) : ring_read(ring, fds[0], 1), -EAGAIN);
	close(fds[1]);
	CU_ASSERT_EQUAL(splice ? ring_splice(ring, fds[0], 1) : ring_read(ring, fds[0], 1), 0);
	close(fds[0]);
}

void test_bytes_wrap_at_every_alignment(void)
{
	struct ring *ring;

	for (uint64_t base = 0; base < 3; base++) {
		CU_ASSERT_EQUAL_FATAL(ring_create(16384, base * 1000, 1, &ring), 0);
		go_round(ring, true);
		ring_destroy(ring);
		CU_ASSERT_EQUAL_FATAL(ring_create(16384, base * 1000, 1, &ring), 0);
		go_round(ring, false);
		ring_destroy(ring);
		CU_ASSERT_EQUAL_FATAL(ring_create_plain(16384, base * 1000, &ring), 0);
		go_round(ring, false);
		ring_destroy(ring);
	}
}

void test_a_ring_has_whole_pages(void)
{
	struct ring *ring;

	CU_ASSERT_EQUAL_FATAL(ring_create(1, 0, 1, &ring), 0);
	CU_ASSERT_EQUAL(ring->size % (size_t)sysconf(_SC_PAGESIZE), 0);
	CU_ASSERT(ring->size > 0);
	ring_destroy(ring);
	ring_destroy(NULL);
}

/* Recovers from a duplicate of the descriptor, as the keeper holds it, and compares. */
static struct ring *recover(const struct ring *ring, uint64_t end)
{
	struct ring *found = NULL;

	CU_ASSERT_EQUAL_FATAL(ring_recover(dup(ring->fd), &found), 0);
	CU_ASSERT_EQUAL(found->base, ring->base);
	CU_ASSERT_EQUAL(found->end, end);
	CU_ASSERT_EQUAL(found->size, ring->size);
	check_ring(found);
	return found;
}

void test_a_ring_is_found_again_anywhere(void)
{
	struct ring *ring, *again;
	int fds[2];

	CU_ASSERT_EQUAL_FATAL(sys_pipe(fds, O_NONBLOCK), 0);
	CU_ASSERT_EQUAL_FATAL(ring_create(8192, 12345, 1, &ring), 0);
	ring_destroy(recover(ring, 12345));
	for (int i = 0; i < 64; i++) {
		put(ring, fds, (size_t)(i % 5 ? 1000 * (i % 7) + 1 : 8192), true);
		again = recover(ring, ring->end);
		ring_destroy(ring);
		ring = again;
	}
	ring_destroy(ring);
	close(fds[0]);
	close(fds[1]);
}

/* A ring that stands at the end of its data after `laps` rounds. */
static struct ring *at_the_end(int fds[2], int laps)
{
	struct ring *ring;

	CU_ASSERT_EQUAL_FATAL(ring_create(8192, 0, 1, &ring), 0);
	for (int i = 0; i <= laps; i++)
		put(ring, fds, 8192, true);
	CU_ASSERT_EQUAL(lseek(ring->fd, 0, SEEK_CUR), 8192);
	return ring;
}

void test_a_wrap_that_was_cut_short_is_finished(void)
{
	int fds[2];

	CU_ASSERT_EQUAL_FATAL(sys_pipe(fds, O_NONBLOCK), 0);
	for (int laps = 0; laps < 3; laps++)
		for (int step = 0; step < 4; step++) {
			struct ring *ring = at_the_end(fds, laps), *found;
			uint64_t lap = atomic_load(&ring->control->lap);

			if (step > 0)
				atomic_store(&ring->control->wrapping, lap + 1);
			if (step > 1)
				CU_ASSERT_EQUAL(lseek(ring->fd, 0, SEEK_SET), 0);
			if (step > 2)
				atomic_store(&ring->control->lap, lap + 1);
			found = recover(ring, ring->end);
			ring_destroy(ring);
			put(found, fds, 5000, true);
			check_ring(found);
			ring_destroy(recover(found, 8192 * ((uint64_t)laps + 1) + 5000));
			ring_destroy(found);
		}
	close(fds[0]);
	close(fds[1]);
}

/* Moves bytes from one pipe to the ring until it is killed. */
static void splice_for_ever(struct ring *ring, int from)
{
	for (uint32_t i = 1;; i++)
		ring_splice(ring, from, 1 + i * 2654435761u % 5000);
}

void test_no_byte_is_lost_when_the_splicing_process_is_killed(void)
{
	struct ring *ring, *found;
	uint8_t bytes[1500];
	uint64_t fed = 0;
	int fds[2];

	CU_ASSERT_EQUAL_FATAL(sys_pipe(fds, O_NONBLOCK), 0);
	CU_ASSERT_EQUAL_FATAL(ring_create(8192, 0, 1, &ring), 0);
	for (int round = 0; round < 60; round++) {
		pid_t pid = fork();
		uint64_t goal = fed + 3000 + (uint64_t)round * 977;

		if (pid == 0)
			splice_for_ever(ring, fds[0]);
		while (fed < goal) {
			ssize_t done;

			for (size_t i = 0; i < sizeof(bytes); i++)
				bytes[i] = pattern(fed + i);
			done = write(fds[1], bytes, sizeof(bytes));
			fed += done > 0 ? (uint64_t)done : 0;
		}
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		CU_ASSERT_EQUAL_FATAL(ring_recover(dup(ring->fd), &found), 0);
		ring_destroy(ring);
		ring = found;
		check_ring(ring);
	}
	while (ring_splice(ring, fds[0], 4096) > 0)
		;
	CU_ASSERT_EQUAL(ring->end, fed);
	check_ring(ring);
	ring_destroy(ring);
	close(fds[0]);
	close(fds[1]);
}

void test_what_is_no_ring_is_refused(void)
{
	struct ring *ring;
	int fd = sys_memfd("test", 0);

	CU_ASSERT_EQUAL(ring_recover(dup(fd), &ring), -EBADMSG);
	CU_ASSERT_EQUAL(ftruncate(fd, 3 * sysconf(_SC_PAGESIZE)), 0);
	CU_ASSERT_EQUAL(ring_recover(dup(fd), &ring), -EBADMSG);
	CU_ASSERT_EQUAL(ftruncate(fd, 100), 0);
	CU_ASSERT_EQUAL(ring_recover(fd, &ring), -EBADMSG);
}

void test_a_closed_ring_can_still_be_read(void)
{
	struct ring *ring;
	int fds[2];

	CU_ASSERT_EQUAL_FATAL(sys_pipe(fds, O_NONBLOCK), 0);
	CU_ASSERT_EQUAL_FATAL(ring_create(8192, 0, 1, &ring), 0);
	put(ring, fds, 10000, true);
	ring_close(ring);
	CU_ASSERT_EQUAL(ring->fd, -1);
	check_ring(ring);
	ring_destroy(ring);
	close(fds[0]);
	close(fds[1]);
}
