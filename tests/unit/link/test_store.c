/* The store of named descriptors. */
#include <CUnit/CUnit.h>
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/clock.h"
#include "link/link.h"
#include "link/store.h"

static int open_null(void)
{
	return open("/dev/null", O_RDWR | O_CLOEXEC);
}

static bool is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

/* Puts a new descriptor under a name and returns it. */
static int put(struct store *store, uint64_t owner, uint32_t kind, uint32_t index)
{
	int fd = open_null();

	store_put(store, owner, kind, index, fd);
	return fd;
}

void test_the_same_name_again_replaces_and_closes(void)
{
	struct store store;
	int first, second;

	store_init(&store);
	first = put(&store, 7, STORE_STDIO, 1);
	second = put(&store, 7, STORE_STDIO, 1);
	CU_ASSERT_EQUAL(store.count, 1);
	CU_ASSERT_FALSE(is_open(first));
	CU_ASSERT_TRUE(is_open(second));
	put(&store, 7, STORE_STDIO, 2);
	put(&store, 7, STORE_RING, 1);
	put(&store, 8, STORE_STDIO, 1);
	CU_ASSERT_EQUAL(store.count, 4);
	store_finish(&store);
	CU_ASSERT_EQUAL(store.count, 0);
	CU_ASSERT_FALSE(is_open(second));
}

void test_drop_takes_what_was_named(void)
{
	struct store store;
	int fds[5];

	store_init(&store);
	fds[0] = put(&store, 7, STORE_STDIO, 0);
	fds[1] = put(&store, 7, STORE_STDIO, 1);
	fds[2] = put(&store, 7, STORE_RING, 1);
	fds[3] = put(&store, 8, STORE_STDIO, 0);
	fds[4] = put(&store, 7, STORE_STDIO, 5);
	store_drop(&store, 7, STORE_STDIO, 1, false);
	CU_ASSERT_FALSE(is_open(fds[1]));
	CU_ASSERT_EQUAL(store.count, 4);
	store_drop(&store, 7, STORE_STDIO, 1, false);
	store_drop(&store, 9, STORE_ANY, 0, true);
	CU_ASSERT_EQUAL(store.count, 4);
	store_drop(&store, 7, STORE_STDIO, 0, true);
	CU_ASSERT_FALSE(is_open(fds[0]) || is_open(fds[4]));
	CU_ASSERT_TRUE(is_open(fds[2]) && is_open(fds[3]));
	store_drop(&store, 7, STORE_ANY, 0, true);
	CU_ASSERT_FALSE(is_open(fds[2]));
	CU_ASSERT_EQUAL(store.count, 1);
	store_finish(&store);
}

void test_the_journal_is_neither_dropped_nor_replaced(void)
{
	struct store store;
	int journal, other;

	store_init(&store);
	journal = put(&store, 0, STORE_JOURNAL, 0);
	put(&store, 0, STORE_SOCKET, 0);
	other = put(&store, 0, STORE_JOURNAL, 0);
	CU_ASSERT_TRUE(is_open(journal));
	CU_ASSERT_FALSE(is_open(other));
	store_drop(&store, 0, STORE_ANY, 0, true);
	store_drop(&store, 0, STORE_JOURNAL, 0, false);
	CU_ASSERT_TRUE(is_open(journal));
	CU_ASSERT_EQUAL(store.count, 1);
	store_finish(&store);
}

void test_a_walk_survives_drops_and_sees_what_comes_later(void)
{
	struct store store;
	const struct stored *stored;
	unsigned seen = 0;

	store_init(&store);
	for (uint64_t owner = 1; owner <= 5; owner++)
		put(&store, owner, STORE_STDIO, 0);
	CU_ASSERT_PTR_NULL(store_next(&store));
	store_rewind(&store);
	CU_ASSERT_EQUAL(store_next(&store)->owner, 1);
	store_drop(&store, 2, STORE_ANY, 0, true); /* the next */
	store_drop(&store, 1, STORE_ANY, 0, true); /* the last seen */
	CU_ASSERT_EQUAL(store_next(&store)->owner, 3);
	put(&store, 6, STORE_STDIO, 0);
	while ((stored = store_next(&store)))
		seen++;
	CU_ASSERT_EQUAL(seen, 3);
	store_finish(&store);
}

void test_fifteen_thousand_are_quick(void)
{
	enum { COUNT = 15000 };
	struct store store;
	int64_t start = clock_boot_ns();
	const struct stored *stored;
	unsigned seen = 0;

	store_init(&store);
	for (unsigned i = 0; i < COUNT; i++) {
		int fd = open_null();

		if (fd < 0)
			break; /* a machine with a lower limit */
		store_put(&store, i / 3, STORE_STDIO, i % 3, fd);
	}
	store_rewind(&store);
	while ((stored = store_next(&store)))
		seen++;
	CU_ASSERT_EQUAL(seen, store.count);
	for (unsigned i = 0; i < COUNT; i++)
		store_drop(&store, i / 3, STORE_STDIO, i % 3, false);
	CU_ASSERT_EQUAL(store.count, 0);
	CU_ASSERT_TRUE(clock_boot_ns() - start < INT64_C(2000000000));
	store_finish(&store);
}
