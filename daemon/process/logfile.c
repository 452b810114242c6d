/* The file behind a log: appends, rotates, and finds a slot's bytes again. See logfile.h. */
#include "process/logfile.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <stdio.h>
#include <sys/fsuid.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/failpoint.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/sys.h"
#include "process/record.h"

#define SEGMENTS_MAX 8192u
#define JOIN_NS 10000000   /* pieces that follow each other so soon are one */
#define LOOK_NS 1000000000 /* between looks at what is at PATH, and between attempts at a rotation */

/* A piece of one slot that lies in one file. */
struct segment {
	int64_t time_ns;
	uint64_t offset;   /* in the slot */
	uint64_t position; /* in the file */
	uint32_t length;
	uint32_t slot;
	uint64_t generation; /* of the file */
};

struct slot_extent {
	uint32_t slot;
	uint64_t from, end; /* [from, end) is in the files without a hole */
};

/* Which file a generation was: rotation by others and a deleted file are noticed. */
struct identity {
	dev_t device;
	ino_t inode;
};

struct logfile {
	struct record *record; /* NULL: nothing is noted for the next engine */
	char *path;
	uint64_t max_bytes;
	uint32_t keep;
	uid_t uid;
	gid_t gid;
	int fd; /* of the newest file; -1: it has ended */
	uint64_t size;
	int64_t looked_ns, rotated_ns; /* when it was tried last */
	uint64_t generation;
	struct identity *identities; /* of generation g: [g % (keep + 1)] */
	int read_fd;                 /* a file that is not fd, as last read */
	uint64_t read_generation;
	struct segment *segments;
	uint32_t segment_count, segment_capacity;
	struct slot_extent *extents;
	size_t extent_count;
	uint64_t lost;
	int error; /* positive errno of the last attempt to write; 0: it went well */
	bool full; /* it could not be rotated: nothing is written before that is done */
};

/* ---- in whose name ---- */

struct identity_guard {
	bool changed;
	int group_count;
	gid_t *groups;
};

/* Acts as the owner of the file until leave_owner: this thread's file accesses only. */
static struct identity_guard enter_owner(const struct logfile *logfile)
{
	struct identity_guard guard = {.changed = logfile->uid != geteuid()};

	if (!guard.changed)
		return guard;
	guard.group_count = getgroups(0, NULL);
	guard.groups = mem_alloc(((size_t)(guard.group_count > 0 ? guard.group_count : 0) + 1) * sizeof(gid_t));
	guard.group_count = getgroups(guard.group_count, guard.groups);
	syscall(SYS_setgroups, 0, NULL);
	setfsgid(logfile->gid);
	setfsuid(logfile->uid);
	return guard;
}

static void leave_owner(struct identity_guard *guard)
{
	int saved = errno;

	if (guard->changed) {
		setfsuid(geteuid());
		setfsgid(getegid());
		if (guard->group_count >= 0)
			syscall(SYS_setgroups, guard->group_count, guard->groups);
		free(guard->groups);
	}
	errno = saved;
}

/* ---- files ---- */

/* Opens the newest file for appending. 0 or -errno. */
static int open_newest(const struct logfile *logfile, int extra, int *fd_out, struct stat *facts_out)
{
	struct identity_guard guard = enter_owner(logfile);
	int fd = sys_open(logfile->path, O_RDWR | O_APPEND | O_CREAT | O_NONBLOCK | O_NOCTTY | extra, 0600);

	leave_owner(&guard);
	if (fd < 0)
		return fd;
	if (fstat(fd, facts_out) < 0 || !S_ISREG(facts_out->st_mode)) {
		sys_close(fd);
		return -EINVAL;
	}
	*fd_out = fd;
	return 0;
}

/* The file becomes the newest generation, though it be the one that is open already. Takes fd. */
static void adopt(struct logfile *logfile, int fd, const struct stat *facts)
{
	if (fd != logfile->fd)
		fd_close(&logfile->fd);
	logfile->fd = fd;
	logfile->size = (uint64_t)facts->st_size;
	logfile->identities[logfile->generation % (logfile->keep + 1)] = (struct identity){.device = facts->st_dev, .inode = facts->st_ino};
}

/* PATH.N, or PATH for 0. */
static void name_of(const struct logfile *logfile, uint32_t number, char name[PATH_MAX])
{
	if (number)
		snprintf(name, PATH_MAX, "%s.%u", logfile->path, number);
	else
		snprintf(name, PATH_MAX, "%s", logfile->path);
}

/* Whether an open or named file is that of a generation. */
static bool is_generation(const struct logfile *logfile, uint64_t generation, const struct stat *facts)
{
	const struct identity *identity = &logfile->identities[generation % (logfile->keep + 1)];

	return facts->st_dev == identity->device && facts->st_ino == identity->inode;
}

struct logfile *logfile_create(const struct logfile_spec *spec, struct err *err)
{
	struct logfile *logfile;
	struct stat facts;
	int fd = -1, done = strlen(spec->path) + sizeof(".4294967295") > PATH_MAX ? -ENAMETOOLONG : 0;

	logfile = mem_alloc(sizeof(*logfile));
	logfile->path = mem_strdup(spec->path);
	logfile->record = spec->record;
	logfile->lost = spec->record ? atomic_load(&spec->record->filing.lost) : 0;
	logfile->max_bytes = spec->max_bytes;
	logfile->keep = spec->keep < LOGFILE_KEEP_MAX ? spec->keep : LOGFILE_KEEP_MAX;
	logfile->uid = spec->uid;
	logfile->gid = spec->gid;
	logfile->fd = logfile->read_fd = -1;
	logfile->identities = mem_alloc((logfile->keep + 1) * sizeof(*logfile->identities));
	if (done == 0)
		done = open_newest(logfile, 0, &fd, &facts);
	if (done < 0) {
		err_errno(err, -done, "open", spec->path);
		if (err)
			snprintf(err->field, sizeof(err->field), "spec.log_file.path");
		logfile_destroy(logfile);
		return NULL;
	}
	adopt(logfile, fd, &facts);
	logfile->rotated_ns = INT64_MIN / 2;
	logfile->looked_ns = INT64_MIN / 2;
	return logfile;
}

void logfile_destroy(struct logfile *logfile)
{
	if (!logfile)
		return;
	fd_close(&logfile->fd);
	fd_close(&logfile->read_fd);
	free(logfile->segments);
	free(logfile->extents);
	free(logfile->identities);
	free(logfile->path);
	free(logfile);
}

/* ---- where bytes went ---- */

static struct slot_extent *extent_of(struct logfile *logfile, uint32_t slot)
{
	for (size_t i = 0; i < logfile->extent_count; i++)
		if (logfile->extents[i].slot == slot)
			return &logfile->extents[i];
	logfile->extents = mem_realloc(logfile->extents, (logfile->extent_count + 1) * sizeof(*logfile->extents));
	logfile->extents[logfile->extent_count] = (struct slot_extent){.slot = slot};
	return &logfile->extents[logfile->extent_count++];
}

/* Forgets the first `count` pieces. */
static void forget_segments(struct logfile *logfile, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		const struct segment *segment = &logfile->segments[i];
		struct slot_extent *extent = extent_of(logfile, segment->slot);

		if (extent->from < segment->offset + segment->length)
			extent->from = segment->offset + segment->length;
	}
	if (count == 0)
		return;
	logfile->segment_count -= count;
	memmove(logfile->segments, logfile->segments + count, logfile->segment_count * sizeof(*logfile->segments));
}

/* Whether a piece goes on where another ends, in slot and file. */
static bool follows(const struct segment *last, const struct segment *next)
{
	return last->slot == next->slot && last->generation == next->generation && last->offset + last->length == next->offset &&
	       last->position + last->length == next->position && (uint64_t)last->length + next->length <= UINT32_MAX;
}

/* The list is full: joins neighbours whatever their time; if that is not enough the oldest quarter goes. */
static void shrink_segments(struct logfile *logfile)
{
	uint32_t kept = 0;

	for (uint32_t i = 0; i < logfile->segment_count; i++) {
		if (kept && follows(&logfile->segments[kept - 1], &logfile->segments[i]))
			logfile->segments[kept - 1].length += logfile->segments[i].length;
		else
			logfile->segments[kept++] = logfile->segments[i];
	}
	logfile->segment_count = kept;
	if (kept > SEGMENTS_MAX / 4 * 3)
		forget_segments(logfile, kept - SEGMENTS_MAX / 4 * 3);
}

static void note_written(struct logfile *logfile, const struct segment *segment)
{
	struct segment *last = logfile->segment_count ? &logfile->segments[logfile->segment_count - 1] : NULL;
	struct slot_extent *extent = extent_of(logfile, segment->slot);

	if (extent->end != segment->offset)
		extent->from = segment->offset;
	extent->end = segment->offset + segment->length;
	if (last && follows(last, segment) && segment->time_ns - last->time_ns < JOIN_NS) {
		last->length += segment->length;
		return;
	}
	if (logfile->segment_count == SEGMENTS_MAX)
		shrink_segments(logfile);
	if (logfile->segment_count == logfile->segment_capacity) {
		logfile->segment_capacity = logfile->segment_capacity ? logfile->segment_capacity * 2 : 8;
		logfile->segments = mem_realloc(logfile->segments, logfile->segment_capacity * sizeof(*logfile->segments));
	}
	logfile->segments[logfile->segment_count++] = *segment;
}

/* Bytes before `end` are missing: what the files have without a hole begins there, at best. */
static void note_lost(struct logfile *logfile, uint32_t slot, uint64_t end, size_t bytes)
{
	struct slot_extent *extent = extent_of(logfile, slot);

	extent->from = extent->end = end;
	logfile->lost += bytes;
	if (logfile->record)
		atomic_store(&logfile->record->filing.lost, logfile->lost);
}

/* ---- rotation ---- */

/* The lowest number that is free, or else the highest there may be: no name above it has to move. */
static uint32_t free_number(const struct logfile *logfile)
{
	char name[PATH_MAX];
	struct stat facts;
	uint32_t number = 1;

	for (; number < logfile->keep; number++) {
		name_of(logfile, number, name);
		if (lstat(name, &facts) < 0 && errno == ENOENT)
			break;
	}
	return number;
}

/*
 * PATH.N-1 -> PATH.N, ... PATH -> PATH.1, for the lowest N that is free. Cut short anywhere it leaves a free name, and whoever goes
 * on loses no file by it. 0 or -errno of the newest.
 */
static int shift_names(const struct logfile *logfile)
{
	struct identity_guard guard = enter_owner(logfile);
	char from[PATH_MAX], to[PATH_MAX];
	int done = 0;

	for (uint32_t number = free_number(logfile); number > 0; number--) {
		name_of(logfile, number - 1, from);
		name_of(logfile, number, to);
		done = sys_rename(from, to);
		failpoint("file-renamed");
	}
	leave_owner(&guard);
	return done;
}

/* Whether PATH is still the file we write: another may have rotated it. */
static bool is_named(const struct logfile *logfile)
{
	struct stat facts;

	return stat(logfile->path, &facts) == 0 && is_generation(logfile, logfile->generation, &facts);
}

/* What is written next is of another file, or of the same with other content: the pieces of files that cannot be found again go. */
static void begin_generation(struct logfile *logfile)
{
	uint32_t stale = 0;

	logfile->generation++;
	while (stale < logfile->segment_count && logfile->segments[stale].generation + logfile->keep < logfile->generation)
		stale++;
	forget_segments(logfile, stale);
}

static void set_error(struct logfile *logfile, int error)
{
	logfile->error = error;
	if (logfile->record)
		atomic_store(&logfile->record->filing.error, (uint32_t)error);
}

/* Notes why nothing can be written; logged when it is new. */
static void fail(struct logfile *logfile, const char *what, int error)
{
	if (!logfile->error)
		log_(LOG_ERROR, "log file %s: cannot be %s: %s", logfile->path, what, err_name(error));
	set_error(logfile, error);
}

/* Goes on in a new file, or from the start of this one when none is kept. What could not be done just now is not tried again. */
static bool rotate(struct logfile *logfile, int64_t time_ns)
{
	struct stat facts;
	int fd = -1, done = 0;

	if (logfile->full && time_ns - logfile->rotated_ns < LOOK_NS)
		return false;
	logfile->rotated_ns = time_ns;
	if (logfile->keep && is_named(logfile))
		done = shift_names(logfile);
	failpoint("file-shifted");
	if (done == 0)
		done = open_newest(logfile, logfile->keep ? 0 : O_TRUNC, &fd, &facts);
	logfile->full = done < 0;
	if (logfile->full) {
		fail(logfile, "rotated", -done);
		return false;
	}
	begin_generation(logfile);
	adopt(logfile, fd, &facts);
	return true;
}

/* Follows what others do to the file: a new one is begun where it was renamed or deleted, a truncated one is another. */
static void look(struct logfile *logfile, int64_t time_ns)
{
	struct stat facts;
	int fd = -1;

	if (fstat(logfile->fd, &facts) < 0)
		return;
	if ((uint64_t)facts.st_size < logfile->size)
		begin_generation(logfile);
	adopt(logfile, logfile->fd, &facts);
	if (time_ns - logfile->looked_ns < LOOK_NS)
		return;
	logfile->looked_ns = time_ns;
	if (is_named(logfile) || open_newest(logfile, 0, &fd, &facts) < 0)
		return;
	log_(LOG_INFO, "log file %s: was moved away, a new one is begun", logfile->path);
	begin_generation(logfile);
	adopt(logfile, fd, &facts);
	logfile->full = false;
}

/* ---- writing ---- */

/* How many of `wanted` bytes go into the newest file: all, if they fit into a file at all. 0: there is no room to be had. */
static size_t make_room(struct logfile *logfile, size_t wanted, int64_t time_ns)
{
	uint64_t left;

	if (!logfile->max_bytes)
		return wanted;
	left = logfile->max_bytes > logfile->size ? logfile->max_bytes - logfile->size : 0;
	if (logfile->full || (wanted > left && logfile->size && (left == 0 || wanted <= logfile->max_bytes))) {
		if (!rotate(logfile, time_ns))
			return 0;
		left = logfile->max_bytes > logfile->size ? logfile->max_bytes - logfile->size : 0;
	}
	return wanted < left ? wanted : (size_t)left;
}

/* Writes all of a piece, or as much as there is space for: returns how much. */
static size_t write_piece(struct logfile *logfile, const uint8_t *bytes, size_t size)
{
	size_t written = 0;
	ssize_t done = 1;

	while (written < size && done > 0) {
		done = sys_write(logfile->fd, bytes + written, size - written);
		if (done > 0)
			written += (size_t)done;
	}
	if (written < size) {
		fail(logfile, "written", done < 0 ? (int)-done : ENOSPC);
		return written;
	}
	if (logfile->error)
		log_(LOG_INFO, "log file %s: written again, %llu bytes are missing", logfile->path, (unsigned long long)logfile->lost);
	set_error(logfile, 0);
	return written;
}

/* Notes a piece before it is written. */
static void begin_filing(struct logfile *logfile, const struct segment *segment, size_t size)
{
	const struct identity *identity = &logfile->identities[logfile->generation % (logfile->keep + 1)];
	struct record_filing *filing;

	if (!logfile->record)
		return;
	filing = &logfile->record->filing;
	filing->slot = segment->slot;
	filing->offset = segment->offset;
	filing->position = logfile->size;
	filing->device = identity->device;
	filing->inode = identity->inode;
	atomic_store(&filing->length, size);
}

/* All before this offset is in the file, or will never be. */
static void note_filed(struct logfile *logfile, uint32_t slot, uint64_t offset)
{
	struct record_slot *kept = record_slot(logfile->record, slot);

	if (!kept)
		return;
	atomic_store(&kept->filed, offset);
	atomic_store(&logfile->record->filing.length, 0);
}

/* Appends a piece that goes into one file; returns how much of it is there. */
static size_t append(struct logfile *logfile, struct segment *segment, const uint8_t *bytes, size_t size)
{
	size_t written;
	off_t end;

	begin_filing(logfile, segment, size);
	failpoint("file-noted");
	written = write_piece(logfile, bytes, size);
	failpoint("file-written");
	note_filed(logfile, segment->slot, segment->offset + written);
	end = sys_lseek(logfile->fd, 0, SEEK_CUR); /* others may append to the same file */
	if (!written || end < (off_t)written)
		return written;
	logfile->size = (uint64_t)end;
	segment->position = (uint64_t)end - written;
	segment->length = (uint32_t)written;
	segment->generation = logfile->generation;
	note_written(logfile, segment);
	return written;
}

void logfile_write(struct logfile *logfile, uint32_t slot, uint64_t offset, int64_t time_ns, const struct iovec *iov, size_t iov_count)
{
	if (logfile->fd >= 0)
		look(logfile, time_ns);
	for (size_t i = 0; i < iov_count; i++) {
		const uint8_t *bytes = iov[i].iov_base;
		size_t left = iov[i].iov_len, size = 0, written = 0;

		for (; left && written == size; left -= written, bytes += written, offset += written) {
			struct segment segment = {.time_ns = time_ns, .offset = offset, .slot = slot};

			size = logfile->fd >= 0 ? make_room(logfile, left, time_ns) : 0;
			if (size == 0)
				break;
			written = append(logfile, &segment, bytes, size);
		}
		offset += left;
		if (left) {
			note_lost(logfile, slot, offset, left);
			note_filed(logfile, slot, offset);
		}
	}
}

/* ---- after an engine that died ---- */

uint64_t logfile_filed(const struct logfile *logfile, uint32_t slot)
{
	struct record_slot *kept = record_slot(logfile->record, slot);

	return kept ? atomic_load(&kept->filed) : UINT64_MAX;
}

/* The file that was written to when the engine died, wherever it is now. A descriptor, or negative. */
static int open_filing(const struct logfile *logfile)
{
	const struct record_filing *filing = &logfile->record->filing;
	struct identity_guard guard = enter_owner(logfile);
	char name[PATH_MAX];
	struct stat facts;
	int fd = -ENOENT;

	for (uint32_t number = 0; number <= logfile->keep && fd < 0; number++) {
		name_of(logfile, number, name);
		fd = sys_open(name, O_RDONLY | O_NONBLOCK | O_NOCTTY, 0);
		if (fd >= 0 && (fstat(fd, &facts) < 0 || facts.st_dev != filing->device || facts.st_ino != filing->inode)) {
			fd_close(&fd);
			fd = -ENOENT;
		}
	}
	leave_owner(&guard);
	return fd;
}

/* How many bytes of the file are these. */
static size_t count_same(int fd, uint64_t position, const uint8_t *bytes, size_t size)
{
	uint8_t there[4096];
	size_t same = 0;

	while (same < size) {
		size_t wanted = size - same < sizeof(there) ? size - same : sizeof(there), at = 0;
		ssize_t got = sys_pread(fd, there, wanted, (off_t)(position + same));

		while (got > 0 && at < (size_t)got && there[at] == bytes[same + at])
			at++;
		same += at;
		if (at < wanted)
			break;
	}
	return same;
}

size_t logfile_found(struct logfile *logfile, uint32_t slot, const struct iovec *iov, size_t iov_count)
{
	struct record_filing *filing = &logfile->record->filing;
	uint64_t left = atomic_load(&filing->length), offset = logfile_filed(logfile, slot);
	size_t found = 0;
	int fd;

	if (!left || filing->slot != slot || filing->offset != offset)
		return 0;
	fd = open_filing(logfile);
	for (size_t i = 0; i < iov_count && fd >= 0 && found < left; i++) {
		size_t size = iov[i].iov_len < left - found ? iov[i].iov_len : (size_t)(left - found);
		size_t same = count_same(fd, filing->position + found, iov[i].iov_base, size);

		found += same;
		if (same < size)
			break;
	}
	if (fd >= 0)
		sys_close(fd);
	note_filed(logfile, slot, offset + found);
	return found;
}

void logfile_end(struct logfile *logfile)
{
	fd_close(&logfile->fd);
}

void logfile_rest(struct logfile *logfile)
{
	fd_close(&logfile->read_fd);
}

/* ---- reading ---- */

/* A descriptor of the file of a generation, kept open for the next time; -1: it is not there any more. */
static int fd_of(struct logfile *logfile, uint64_t generation)
{
	uint32_t age = (uint32_t)(logfile->generation - generation);
	char name[PATH_MAX];
	struct identity_guard guard;
	struct stat facts;

	if (age == 0 && logfile->fd >= 0)
		return logfile->fd;
	if (logfile->read_fd >= 0 && logfile->read_generation == generation)
		return logfile->read_fd;
	fd_close(&logfile->read_fd);
	guard = enter_owner(logfile);
	for (uint32_t number = age; number <= logfile->keep && logfile->read_fd < 0; number++) {
		name_of(logfile, number, name);
		logfile->read_fd = sys_open(name, O_RDONLY | O_NONBLOCK | O_NOCTTY, 0);
		if (logfile->read_fd < 0 || fstat(logfile->read_fd, &facts) < 0 || !is_generation(logfile, generation, &facts))
			fd_close(&logfile->read_fd);
	}
	leave_owner(&guard);
	if (logfile->read_fd < 0)
		logfile->read_fd = -1;
	logfile->read_generation = generation;
	return logfile->read_fd;
}

size_t logfile_read(
	struct logfile *logfile, uint32_t slot, uint64_t offset, void *bytes, size_t size, int64_t *time_out, uint64_t *next_out)
{
	uint64_t next = UINT64_MAX;

	for (uint32_t i = 0; i < logfile->segment_count; i++) {
		const struct segment *segment = &logfile->segments[i];
		uint64_t skip = offset - segment->offset;
		ssize_t done;

		if (segment->slot != slot || segment->offset + segment->length <= offset)
			continue;
		if (segment->offset > offset) {
			if (next == UINT64_MAX)
				next = segment->offset;
			break;
		}
		if (size > segment->length - skip)
			size = segment->length - skip;
		done = fd_of(logfile, segment->generation);
		if (done >= 0)
			done = sys_pread((int)done, bytes, size, (off_t)(segment->position + skip));
		*time_out = segment->time_ns;
		if (done > 0)
			return (size_t)done;
		next = segment->offset + segment->length;
		break;
	}
	*next_out = next;
	return 0;
}

bool logfile_find_time(const struct logfile *logfile, uint32_t slot, int64_t since_ns, uint64_t *offset_out)
{
	for (uint32_t i = 0; i < logfile->segment_count; i++) {
		const struct segment *segment = &logfile->segments[i];

		if (segment->slot == slot && segment->time_ns >= since_ns) {
			*offset_out = segment->offset;
			return true;
		}
	}
	return false;
}

uint64_t logfile_from(const struct logfile *logfile, uint32_t slot)
{
	for (size_t i = 0; i < logfile->extent_count; i++)
		if (logfile->extents[i].slot == slot)
			return logfile->extents[i].from;
	return UINT64_MAX;
}

uint64_t logfile_lost(const struct logfile *logfile)
{
	return logfile->lost;
}

int logfile_error(const struct logfile *logfile)
{
	return logfile->error;
}

const char *logfile_path(const struct logfile *logfile)
{
	return logfile->path;
}
