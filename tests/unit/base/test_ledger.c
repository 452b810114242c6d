#include <CUnit/CUnit.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/ledger.h"

static struct ledger *make(int *fd)
{
	struct err err = {0};
	struct ledger *ledger = ledger_create(fd, &err);

	CU_ASSERT_PTR_NOT_NULL_FATAL(ledger);
	return ledger;
}

static char *put(struct ledger *ledger, uint64_t owner, const char *text)
{
	struct err err = {0};
	char *record = ledger_write(ledger, 7, owner, strlen(text) + 1, &err);

	CU_ASSERT_PTR_NOT_NULL_FATAL(record);
	strcpy(record, text);
	return record;
}

void test_what_was_committed_is_found_by_the_next(void)
{
	struct err err = {0};
	int fd;
	struct ledger *ledger = make(&fd);
	char *record;

	ledger_commit(put(ledger, 1, "kept"));
	put(ledger, 2, "begun");
	record = put(ledger, 3, "freed");
	ledger_commit(record);
	ledger_free(ledger, record);
	ledger_close(ledger);

	ledger = ledger_open(fd, &err);
	CU_ASSERT_PTR_NOT_NULL_FATAL(ledger);
	record = ledger_next(ledger, NULL);
	CU_ASSERT_PTR_NOT_NULL_FATAL(record);
	CU_ASSERT_STRING_EQUAL(record, "kept");
	CU_ASSERT_EQUAL(ledger_kind(record), 7);
	CU_ASSERT_EQUAL(ledger_owner(record), 1);
	CU_ASSERT_EQUAL(ledger_size(record), 5);
	CU_ASSERT_PTR_NULL(ledger_next(ledger, record));
	ledger_close(ledger);
}

void test_freed_blocks_are_used_again(void)
{
	int fd;
	struct ledger *ledger = make(&fd);
	char *first = put(ledger, 1, "one"), *second = put(ledger, 2, "two");

	ledger_free(ledger, first);
	for (int i = 0; i < 100000; i++) {
		char *record = put(ledger, (uint64_t)i, "again");

		CU_ASSERT_PTR_EQUAL(record, first);
		ledger_free(ledger, record);
	}
	CU_ASSERT_STRING_EQUAL(second, "two");
	ledger_close(ledger);
	close(fd);
}

void test_large_records_come_back_zeroed(void)
{
	struct err err = {0};
	int fd;
	struct ledger *ledger = make(&fd);
	size_t size = 3u << 20;
	char *record = ledger_write(ledger, 1, 1, size, &err);

	CU_ASSERT_PTR_NOT_NULL_FATAL(record);
	memset(record, 'x', size);
	ledger_commit(record);
	ledger_free(ledger, record);
	record = ledger_write(ledger, 1, 2, size, &err);
	CU_ASSERT_PTR_NOT_NULL_FATAL(record);
	CU_ASSERT_EQUAL(record[0], 0);
	CU_ASSERT_EQUAL(record[size - 1], 0);
	ledger_close(ledger);
	close(fd);
}

void test_too_much_is_refused(void)
{
	struct err err = {0};
	int fd;
	struct ledger *ledger = make(&fd);

	CU_ASSERT_PTR_NULL(ledger_write(ledger, 1, 1, (size_t)LEDGER_BYTES_MAX, &err));
	CU_ASSERT_EQUAL(err.status, STATUS_RESOURCE_EXHAUSTED);
	ledger_close(ledger);
	close(fd);
}

void test_another_file_is_no_ledger(void)
{
	struct err err = {0};
	int pair[2];

	CU_ASSERT_EQUAL_FATAL(pipe(pair), 0);
	close(pair[1]);
	CU_ASSERT_PTR_NULL(ledger_open(pair[0], &err));
}

/* Whatever moment the writer dies at, every record that is found is whole. */
void test_a_writer_that_is_killed_leaves_whole_records(void)
{
	struct err err = {0};
	int fd, status, told[2];
	struct ledger *ledger = make(&fd);
	pid_t pid;
	unsigned found = 0;
	char byte;

	ledger_close(ledger);
	CU_ASSERT_EQUAL_FATAL(pipe(told), 0);
	pid = fork();
	if (pid == 0) {
		ledger = ledger_open(fd, &err);
		for (uint64_t i = 1;; i++) {
			uint64_t *record = ledger_write(ledger, 1, i, 100, &err);

			for (int at = 0; at < 12; at++)
				record[at] = i;
			ledger_commit(record);
			if (i % 3 == 0)
				ledger_free(ledger, record);
			if (i == 20000 && write(told[1], "", 1) != 1)
				_exit(1);
			if (i % 1000 == 0)
				for (void *any = ledger_next(ledger, NULL); any; any = ledger_next(ledger, any))
					ledger_free(ledger, any);
		}
	}
	CU_ASSERT_EQUAL(read(told[0], &byte, 1), 1);
	kill(pid, SIGKILL);
	CU_ASSERT_EQUAL(waitpid(pid, &status, 0), pid);
	close(told[0]);
	close(told[1]);
	CU_ASSERT(WIFSIGNALED(status));
	ledger = ledger_open(fd, &err);
	CU_ASSERT_PTR_NOT_NULL_FATAL(ledger);
	for (uint64_t *record = ledger_next(ledger, NULL); record; record = ledger_next(ledger, record), found++)
		for (int at = 0; at < 12; at++)
			CU_ASSERT_EQUAL(record[at], ledger_owner(record));
	CU_ASSERT(found <= 1000);
	ledger_close(ledger);
}
