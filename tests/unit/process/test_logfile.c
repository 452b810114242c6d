#include "process/output_fixture.h"

#include <fcntl.h>
#include <limits.h>
#include <sys/resource.h>

#include "process/record.h"

struct place {
	char directory[64];
	char path[128];
	struct logfile_spec spec;
};

static struct place place_make(uint64_t max_bytes, uint32_t keep)
{
	struct place place;

	strcpy(place.directory, "/tmp/spawnd-test-XXXXXX");
	CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(place.directory));
	snprintf(place.path, sizeof(place.path), "%s/log", place.directory);
	place.spec = (struct logfile_spec){.max_bytes = max_bytes, .keep = keep, .uid = geteuid(), .gid = getegid()};
	return place;
}

static struct logfile *open_log(struct place *place)
{
	struct logfile *logfile;
	struct err err;

	place->spec.path = place->path;
	logfile = logfile_create(&place->spec, &err);
	CU_ASSERT_PTR_NOT_NULL_FATAL(logfile);
	return logfile;
}

static void place_remove(struct place *place)
{
	char name[160];

	for (int i = 0; i < 100; i++) {
		snprintf(name, sizeof(name), i ? "%s.%d" : "%s", place->path, i);
		unlink(name);
	}
	CU_ASSERT_EQUAL(rmdir(place->directory), 0);
}

static off_t size_of(const struct place *place, int number)
{
	char name[160];
	struct stat facts;

	snprintf(name, sizeof(name), number ? "%s.%d" : "%s", place->path, number);
	return stat(name, &facts) == 0 ? facts.st_size : -1;
}

static void append(struct logfile *logfile, uint32_t slot, uint64_t offset, size_t size, int64_t time_ns)
{
	uint8_t bytes[65536];
	struct iovec iov[2] = {{.iov_base = bytes, .iov_len = size / 2}, {.iov_base = bytes + size / 2, .iov_len = size - size / 2}};

	for (size_t i = 0; i < size; i++)
		bytes[i] = byte_at(slot, offset + i);
	logfile_write(logfile, slot, offset, time_ns, iov, 2);
}

/* Reads and checks [from, to). */
static void expect(struct logfile *logfile, uint32_t slot, uint64_t from, uint64_t to)
{
	uint8_t bytes[5000];
	uint64_t next = 0;
	int64_t time_ns;

	while (from < to) {
		struct chunk chunk = {.slot = slot, .offset = from};
		size_t size = to - from < sizeof(bytes) ? (size_t)(to - from) : sizeof(bytes);
		size_t done = logfile_read(logfile, slot, from, bytes, size, &time_ns, &next);

		CU_ASSERT_FATAL(done > 0);
		check_bytes(&chunk, bytes, done, 0);
		from += done;
	}
}

void test_bytes_of_all_slots_are_in_the_file_and_found_again(void)
{
	struct place place = place_make(0, 0);
	struct logfile *logfile = open_log(&place);
	uint64_t at[3] = {0, 0, 0}, next;
	int64_t time_ns;

	CU_ASSERT_EQUAL(logfile_from(logfile, 1), UINT64_MAX);
	for (int i = 0; i < 1000; i++) {
		uint32_t slot = 1 + (uint32_t)(i % 7 == 0);
		size_t size = (size_t)(10 + i);

		append(logfile, slot, at[slot], size, i + 1);
		at[slot] += size;
	}
	CU_ASSERT_EQUAL(size_of(&place, 0), (off_t)(at[1] + at[2]));
	expect(logfile, 1, 0, at[1]);
	expect(logfile, 2, 0, at[2]);
	expect(logfile, 2, 77, at[2]);
	CU_ASSERT_EQUAL(logfile_from(logfile, 1), 0);
	CU_ASSERT_EQUAL(logfile_read(logfile, 1, at[1], &next, 1, &time_ns, &next), 0);
	CU_ASSERT_EQUAL(next, UINT64_MAX);
	logfile_destroy(logfile);
	place_remove(&place);
}

void test_a_file_is_appended_to_and_is_private(void)
{
	struct place place = place_make(0, 0);
	struct logfile *logfile = open_log(&place);
	struct stat facts;

	append(logfile, 1, 0, 1000, 1);
	logfile_destroy(logfile);
	logfile = open_log(&place);
	append(logfile, 1, 0, 500, 1);
	expect(logfile, 1, 0, 500);
	CU_ASSERT_EQUAL(stat(place.path, &facts), 0);
	CU_ASSERT_EQUAL(facts.st_size, 1500);
	CU_ASSERT_EQUAL(facts.st_mode & 077, 0);
	logfile_destroy(logfile);
	logfile_destroy(NULL);
	place_remove(&place);
}

void test_rotation_loses_no_byte(void)
{
	struct place place = place_make(100000, 3);
	struct logfile *logfile = open_log(&place);
	uint64_t at = 0;

	for (int i = 0; i < 35; i++) {
		append(logfile, 1, at, 10000, i + 1);
		at += 10000;
		expect(logfile, 1, logfile_from(logfile, 1), at);
	}
	CU_ASSERT_EQUAL(size_of(&place, 0), 50000);
	CU_ASSERT_EQUAL(size_of(&place, 1), 100000);
	CU_ASSERT_EQUAL(size_of(&place, 3), 100000);
	CU_ASSERT_EQUAL(size_of(&place, 4), -1);
	CU_ASSERT_EQUAL(logfile_from(logfile, 1), 0);
	for (int i = 0; i < 10; i++, at += 10000)
		append(logfile, 1, at, 10000, i + 1);
	CU_ASSERT_EQUAL(size_of(&place, 4), -1);
	CU_ASSERT_EQUAL(logfile_from(logfile, 1), 100000);
	expect(logfile, 1, 100000, at);
	CU_ASSERT_EQUAL(logfile_lost(logfile), 0);
	logfile_destroy(logfile);
	place_remove(&place);
}

void test_without_rotated_files_the_old_content_goes(void)
{
	struct place place = place_make(10000, 0);
	struct logfile *logfile = open_log(&place);

	append(logfile, 1, 0, 8000, 1);
	append(logfile, 1, 8000, 8000, 1);
	CU_ASSERT_EQUAL(size_of(&place, 0), 8000);
	CU_ASSERT_EQUAL(size_of(&place, 1), -1);
	CU_ASSERT_EQUAL(logfile_from(logfile, 1), 4000 + 4000);
	expect(logfile, 1, 8000, 16000);
	logfile_destroy(logfile);
	place_remove(&place);
}

void test_a_rotated_file_that_was_deleted_is_a_gap(void)
{
	struct place place = place_make(10000, 5);
	struct logfile *logfile = open_log(&place);
	uint64_t next = 0;
	int64_t time_ns;
	char name[160], byte;

	for (uint64_t at = 0; at < 40000; at += 10000)
		append(logfile, 1, at, 10000, 1);
	snprintf(name, sizeof(name), "%s.2", place.path);
	CU_ASSERT_EQUAL(unlink(name), 0);
	expect(logfile, 1, 0, 10000);
	CU_ASSERT_EQUAL(logfile_read(logfile, 1, 10000, &byte, 1, &time_ns, &next), 0);
	CU_ASSERT_EQUAL(next, 20000);
	expect(logfile, 1, 20000, 40000);
	logfile_destroy(logfile);
	place_remove(&place);
}

void test_two_writers_of_one_file_find_their_own_bytes(void)
{
	struct place place = place_make(50000, 8);
	struct logfile *first = open_log(&place), *second = open_log(&place);

	for (uint64_t at = 0; at < 100000; at += 5000) {
		append(first, 1, at, 5000, 1);
		append(second, 2, at, 5000, 1);
	}
	expect(first, 1, 0, 100000);
	expect(second, 2, 0, 100000);
	logfile_destroy(first);
	logfile_destroy(second);
	place_remove(&place);
}

void test_what_the_disk_does_not_take_is_counted_and_writing_resumes(void)
{
	struct place place = place_make(0, 0);
	struct logfile *logfile = open_log(&place);
	struct rlimit old, small;
	uint64_t next = 0;
	int64_t time_ns;
	uint8_t byte;

	log_set_level(LOG_ERROR);
	signal(SIGXFSZ, SIG_IGN);
	append(logfile, 1, 0, 3000, 1);
	getrlimit(RLIMIT_FSIZE, &old);
	small = (struct rlimit){.rlim_cur = 4000, .rlim_max = old.rlim_max};
	setrlimit(RLIMIT_FSIZE, &small);
	append(logfile, 1, 3000, 3000, 1);
	append(logfile, 1, 6000, 3000, 1);
	setrlimit(RLIMIT_FSIZE, &old);
	CU_ASSERT_EQUAL(logfile_lost(logfile), 5000);
	CU_ASSERT_EQUAL(logfile_error(logfile), EFBIG);
	CU_ASSERT_EQUAL(logfile_from(logfile, 1), 9000);
	append(logfile, 1, 9000, 3000, 1);
	CU_ASSERT_EQUAL(logfile_lost(logfile), 5000);
	CU_ASSERT_EQUAL(logfile_error(logfile), 0);
	CU_ASSERT_EQUAL(logfile_from(logfile, 1), 9000);
	expect(logfile, 1, 0, 4000);
	CU_ASSERT_EQUAL(logfile_read(logfile, 1, 4000, &byte, 1, &time_ns, &next), 0);
	CU_ASSERT_EQUAL(next, 9000);
	expect(logfile, 1, 9000, 12000);
	logfile_destroy(logfile);
	place_remove(&place);
}

void test_no_file_outgrows_its_bound_whatever_comes(void)
{
	struct place place = place_make(1000, 2);
	struct logfile *logfile = open_log(&place);

	append(logfile, 1, 0, 300, 1);
	append(logfile, 1, 300, 1400, 1); /* in two pieces: one fits, one does not */
	CU_ASSERT_EQUAL(size_of(&place, 1), 1000);
	CU_ASSERT_EQUAL(size_of(&place, 0), 700);
	append(logfile, 1, 1700, 50000, 1);
	for (int number = 0; number <= 2; number++)
		CU_ASSERT(size_of(&place, number) <= 1000);
	CU_ASSERT_EQUAL(size_of(&place, 3), -1);
	CU_ASSERT_EQUAL(logfile_lost(logfile), 0);
	CU_ASSERT(logfile_from(logfile, 1) >= 48700 && logfile_from(logfile, 1) < 51700);
	expect(logfile, 1, logfile_from(logfile, 1), 51700);
	logfile_destroy(logfile);
	place_remove(&place);
}

void test_a_file_that_cannot_be_rotated_does_not_grow_on(void)
{
	struct place place = place_make(1000, 1);
	struct logfile *logfile = open_log(&place);
	char name[160], inside[168];

	snprintf(name, sizeof(name), "%s.1", place.path);
	snprintf(inside, sizeof(inside), "%s/x", name);
	CU_ASSERT_EQUAL(mkdir(name, 0700), 0);
	CU_ASSERT_EQUAL(mkdir(inside, 0700), 0);
	append(logfile, 1, 0, 1000, 1);
	append(logfile, 1, 1000, 700, 2);
	CU_ASSERT_EQUAL(size_of(&place, 0), 1000);
	CU_ASSERT_EQUAL(logfile_lost(logfile), 700);
	CU_ASSERT_EQUAL(logfile_error(logfile), EISDIR);
	CU_ASSERT_EQUAL(rmdir(inside), 0);
	CU_ASSERT_EQUAL(rmdir(name), 0);
	append(logfile, 1, 1700, 100, 3); /* tried again later only */
	CU_ASSERT_EQUAL(logfile_lost(logfile), 800);
	append(logfile, 1, 1800, 700, INT64_C(2000000000));
	CU_ASSERT_EQUAL(logfile_lost(logfile), 800);
	CU_ASSERT_EQUAL(logfile_error(logfile), 0);
	CU_ASSERT_EQUAL(size_of(&place, 1), 1000);
	CU_ASSERT_EQUAL(size_of(&place, 0), 700);
	expect(logfile, 1, 0, 1000);
	expect(logfile, 1, 1800, 2500);
	logfile_destroy(logfile);
	place_remove(&place);
}

void test_a_file_moved_away_by_another_is_noticed(void)
{
	struct place place = place_make(0, 0);
	struct logfile *logfile = open_log(&place);
	uint64_t next;
	int64_t time_ns;
	char name[160], byte;

	snprintf(name, sizeof(name), "%s.1", place.path);
	append(logfile, 1, 0, 500, 1);
	CU_ASSERT_EQUAL(rename(place.path, name), 0);
	append(logfile, 1, 500, 300, INT64_C(2000000000));
	CU_ASSERT_EQUAL(size_of(&place, 1), 500);
	CU_ASSERT_EQUAL(size_of(&place, 0), 300);
	CU_ASSERT_EQUAL(logfile_read(logfile, 1, 0, &byte, 1, &time_ns, &next), 0); /* another's file now */
	CU_ASSERT_EQUAL(next, 500);
	expect(logfile, 1, 500, 800);
	CU_ASSERT_EQUAL(truncate(place.path, 0), 0);
	append(logfile, 1, 800, 200, INT64_C(2100000000));
	CU_ASSERT_EQUAL(size_of(&place, 0), 200);
	CU_ASSERT_EQUAL(logfile_from(logfile, 1), 800);
	expect(logfile, 1, 800, 1000);
	logfile_destroy(logfile);
	place_remove(&place);
}

void test_after_its_end_a_file_is_opened_for_readers_only(void)
{
	struct place place = place_make(1000, 2);
	struct logfile *logfile = open_log(&place);
	int before = open("/dev/null", O_RDONLY), after;

	close(before);
	for (uint64_t at = 0; at < 2500; at += 500)
		append(logfile, 1, at, 500, 1);
	logfile_end(logfile);
	expect(logfile, 1, 0, 2500);
	logfile_rest(logfile);
	after = open("/dev/null", O_RDONLY);
	CU_ASSERT(after < before);
	close(after);
	expect(logfile, 1, 0, 2500);
	append(logfile, 1, 2500, 10, 1);
	CU_ASSERT_EQUAL(logfile_lost(logfile), 10);
	logfile_destroy(logfile);
	place_remove(&place);
}

void test_what_is_no_file_is_refused(void)
{
	struct place place = place_make(0, 0);
	struct err err;
	char long_path[PATH_MAX];

	place.spec.path = "/dev/null";
	CU_ASSERT_PTR_NULL(logfile_create(&place.spec, &err));
	place.spec.path = "/nonexistent/log";
	CU_ASSERT_PTR_NULL(logfile_create(&place.spec, &err));
	CU_ASSERT_STRING_EQUAL(err.code, "ENOENT");
	memset(long_path, 'a', sizeof(long_path) - 1);
	long_path[sizeof(long_path) - 1] = 0;
	place.spec.path = long_path;
	CU_ASSERT_PTR_NULL(logfile_create(&place.spec, &err));
	CU_ASSERT_EQUAL(mkfifo(place.path, 0600), 0);
	place.spec.path = place.path;
	CU_ASSERT_PTR_NULL(logfile_create(&place.spec, &err)); /* and does not block */
	place_remove(&place);
}

void test_files_are_made_in_the_name_of_their_owner(void)
{
	struct place place = place_make(0, 0);
	struct logfile *logfile;
	struct stat facts;
	struct err err;

	place.spec.path = place.path;
	place.spec.uid = 65534;
	place.spec.gid = 65534;
	if (geteuid() != 0) {
		place_remove(&place);
		return;
	}
	CU_ASSERT_PTR_NULL(logfile_create(&place.spec, &err)); /* the directory is ours alone */
	CU_ASSERT_STRING_EQUAL(err.code, "EACCES");
	CU_ASSERT_EQUAL(chmod(place.directory, 0777), 0);
	logfile = logfile_create(&place.spec, &err);
	CU_ASSERT_PTR_NOT_NULL_FATAL(logfile);
	CU_ASSERT_EQUAL(stat(place.path, &facts), 0);
	CU_ASSERT_EQUAL(facts.st_uid, 65534);
	CU_ASSERT_EQUAL(facts.st_gid, 65534);
	logfile_destroy(logfile);
	place_remove(&place);
}

void test_seeking_by_time_in_files(void)
{
	struct place place = place_make(0, 0);
	struct logfile *logfile = open_log(&place);
	uint64_t offset = 0;

	for (int i = 0; i < 10; i++)
		append(logfile, 1, (uint64_t)i * 100, 100, (i + 1) * INT64_C(1000000000));
	CU_ASSERT(logfile_find_time(logfile, 1, INT64_C(4000000000), &offset));
	CU_ASSERT_EQUAL(offset, 300);
	CU_ASSERT(logfile_find_time(logfile, 1, INT64_C(4000000001), &offset));
	CU_ASSERT_EQUAL(offset, 400);
	CU_ASSERT_FALSE(logfile_find_time(logfile, 1, INT64_C(11000000000), &offset));
	CU_ASSERT_FALSE(logfile_find_time(logfile, 2, 0, &offset));
	logfile_destroy(logfile);
	place_remove(&place);
}

void test_a_reader_behind_the_ring_reads_the_files(void)
{
	struct fixture fixture = fixture_make();
	struct place place = place_make(500000, 20);
	struct sink late, drop;

	fixture.logfile = open_log(&place);
	fixture.retain = 1000;
	fixture.direct = true; /* has no effect: the file gets every byte */
	fixture_open(&fixture);
	fixture_slot(&fixture, 1);
	fixture_slot(&fixture, 2);
	sink_open(&drop, &fixture, READER_DROP, false);
	output_start(fixture.child.output);
	for (int i = 0; i < 40; i++) {
		feed_all(&fixture, 1, 50000);
		feed_all(&fixture, 2, 333);
	}
	turn_until_read(&fixture, 1);
	turn_until_read(&fixture, 2);
	CU_ASSERT_EQUAL(total_of(&fixture, 1).retained_from, 0);
	sink_open(&late, &fixture, READER_DROP, false);
	sink_seek_retained(&late);
	take_all(&late);
	take_all(&drop);
	CU_ASSERT_EQUAL(late.taken[1], 2000000);
	CU_ASSERT_EQUAL(late.taken[2], 40 * 333);
	CU_ASSERT_EQUAL(drop.taken[1], 2000000);
	CU_ASSERT_EQUAL(drop.lost[1], 0);
	hang_up(&fixture, 1);
	hang_up(&fixture, 2);
	turn_until(&fixture, fixture.all_ended);
	late.taken[1] = 0;
	sink_seek_retained(&late);
	take_all(&late);
	CU_ASSERT_EQUAL(late.taken[1], 2000000);
	CU_ASSERT(late.ended);
	reader_destroy(late.reader);
	reader_destroy(drop.reader);
	fixture_close(&fixture);
	place_remove(&place);
}

void test_a_rotation_that_was_cut_short_loses_no_file(void)
{
	struct place place = place_make(1000, 3);
	char name[160], second[160];
	struct logfile *logfile;

	snprintf(name, sizeof(name), "%s.3", place.path);
	snprintf(second, sizeof(second), "%s.2", place.path);
	close(open(name, O_CREAT | O_WRONLY, 0600));
	CU_ASSERT_EQUAL(truncate(name, 33), 0);
	close(open(second, O_CREAT | O_WRONLY, 0600));
	CU_ASSERT_EQUAL(truncate(second, 22), 0);
	logfile = open_log(&place);
	append(logfile, 1, 0, 900, 1);
	append(logfile, 1, 900, 900, 2);
	CU_ASSERT_EQUAL(size_of(&place, 1), 900); /* into the free name: those behind it stay */
	CU_ASSERT_EQUAL(size_of(&place, 2), 22);
	CU_ASSERT_EQUAL(size_of(&place, 3), 33);
	append(logfile, 1, 1800, 900, 3);
	CU_ASSERT_EQUAL(size_of(&place, 3), 22);
	logfile_destroy(logfile);
	place_remove(&place);
}

/* An engine dies when `there` of 100 bytes at 50 are in the file, perhaps moved away: how many the next one finds. */
static size_t find_after(size_t there, bool moved)
{
	struct place place = place_make(0, 3);
	struct record *record = calloc(1, sizeof(*record) + sizeof(record->slots[0]));
	uint8_t bytes[100];
	struct iovec iov[2] = {{.iov_base = bytes, .iov_len = 30}, {.iov_base = bytes + 30, .iov_len = 70}};
	struct logfile *logfile;
	char name[160];
	size_t found;

	record->slot_count = 1;
	record->slots[0].slot = 4;
	place.spec.record = record;
	logfile = open_log(&place);
	append(logfile, 4, 0, 50, 1);
	CU_ASSERT_EQUAL(logfile_filed(logfile, 4), 50);
	append(logfile, 4, 50, there, 2);
	record->slots[0].filed = 50; /* it did not come so far */
	record->filing.offset = 50;
	record->filing.position = 50;
	record->filing.length = 100;
	logfile_destroy(logfile);
	snprintf(name, sizeof(name), "%s.1", place.path);
	if (moved)
		CU_ASSERT_EQUAL(rename(place.path, name), 0);
	logfile = open_log(&place);
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = byte_at(4, 50 + i);
	found = logfile_found(logfile, 4, iov, 2);
	CU_ASSERT_EQUAL(logfile_filed(logfile, 4), 50 + found);
	CU_ASSERT_EQUAL(logfile_found(logfile, 4, iov, 2), 0); /* once */
	logfile_destroy(logfile);
	place_remove(&place);
	free(record);
	return found;
}

void test_the_next_engine_finds_what_is_in_the_file(void)
{
	CU_ASSERT_EQUAL(find_after(0, false), 0);
	CU_ASSERT_EQUAL(find_after(20, false), 20);
	CU_ASSERT_EQUAL(find_after(77, false), 77);
	CU_ASSERT_EQUAL(find_after(100, false), 100);
	CU_ASSERT_EQUAL(find_after(100, true), 100);
}
