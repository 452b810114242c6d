/* See outbox.h. */
#include "channel/outbox.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/sys.h"

#define HEAD 4096u            /* bytes of the memfd before the first of the data */
#define TRIM_STEP (16u << 10) /* of the data, at least, that is given back at once */

static int map(struct outbox *outbox)
{
	void *memory = mmap(NULL, HEAD, PROT_READ | PROT_WRITE, MAP_SHARED, outbox->fd, 0);

	if (memory == MAP_FAILED)
		return -errno;
	outbox->control = memory;
	return 0;
}

int outbox_create(struct outbox *outbox)
{
	off_t sought;
	int done;

	*outbox = (struct outbox){.fd = sys_memfd("spawnd-channel-out", 0)};
	if (outbox->fd < 0)
		return outbox->fd;
	done = sys_ftruncate(outbox->fd, HEAD);
	if (done == 0)
		done = map(outbox);
	if (done == 0) {
		sought = sys_lseek(outbox->fd, HEAD, SEEK_SET);
		done = sought < 0 ? (int)sought : 0;
	}
	if (done < 0) {
		outbox_finish(outbox);
		return done;
	}
	outbox->control->magic = OUTBOX_MAGIC;
	return 0;
}

int outbox_recover(struct outbox *outbox, int fd)
{
	struct stat facts;
	off_t position;
	int done = -EBADMSG;

	*outbox = (struct outbox){.fd = fd};
	if (fstat(fd, &facts) == 0 && facts.st_size >= (off_t)HEAD)
		done = map(outbox);
	if (done == 0) {
		position = sys_lseek(fd, 0, SEEK_CUR);
		outbox->end = outbox_committed(outbox).end;
		outbox->sent = position >= (off_t)HEAD ? (uint64_t)position - HEAD : 0;
		if (outbox->control->magic != OUTBOX_MAGIC || position < (off_t)HEAD || outbox->sent > outbox->end ||
			atomic_load(&outbox->control->handing))
			done = -EBADMSG;
	}
	if (done == 0)
		done = sys_ftruncate(fd, (off_t)(HEAD + outbox->end));
	if (done < 0)
		outbox_finish(outbox);
	return done;
}

void outbox_finish(struct outbox *outbox)
{
	if (outbox->control)
		munmap(outbox->control, HEAD);
	fd_close(&outbox->fd);
	*outbox = (struct outbox){.fd = -1};
}

int outbox_append(struct outbox *outbox, const struct iovec *iov, int count)
{
	struct iovec left[8];
	uint64_t end = outbox->end;
	int first = 0;

	for (int i = 0; i < count; i++)
		left[i] = iov[i];
	while (first < count) {
		ssize_t done = sys_pwritev(outbox->fd, left + first, count - first, (off_t)(HEAD + end));

		if (done < 0)
			return (int)done;
		end += (uint64_t)done;
		while (first < count && (size_t)done >= left[first].iov_len)
			done -= (ssize_t)left[first++].iov_len;
		if (first < count) {
			left[first].iov_base = (char *)left[first].iov_base + done;
			left[first].iov_len -= (size_t)done;
		}
	}
	outbox->end = end;
	return 0;
}

static void set_mark(struct outbox *outbox, struct outbox_mark mark)
{
	struct outbox_control *control = outbox->control;
	uint32_t other = 1 - (atomic_load(&control->which) & 1);

	control->marks[other] = mark;
	atomic_store(&control->which, other);
}

void outbox_commit(struct outbox *outbox, uint64_t end, uint64_t id, uint64_t handled)
{
	set_mark(outbox, (struct outbox_mark){.end = end, .id = id ? id : outbox_committed(outbox).id, .handled = handled});
}

void outbox_handled(struct outbox *outbox, uint64_t handled)
{
	struct outbox_mark mark = outbox_committed(outbox);

	mark.handled = handled;
	set_mark(outbox, mark);
}

struct outbox_mark outbox_committed(const struct outbox *outbox)
{
	return outbox->control->marks[atomic_load(&outbox->control->which) & 1];
}

void outbox_note_in(struct outbox *outbox, struct outbox_in in)
{
	struct outbox_control *control = outbox->control;
	uint32_t other = 1 - (atomic_load(&control->which_in) & 1);

	control->ins[other] = in;
	atomic_store(&control->which_in, other);
}

struct outbox_in outbox_in(const struct outbox *outbox)
{
	return outbox->control->ins[atomic_load(&outbox->control->which_in) & 1];
}

ssize_t outbox_send(struct outbox *outbox, int socket, uint64_t until)
{
	ssize_t done = sys_sendfile(socket, outbox->fd, until - outbox->sent);

	if (done > 0)
		outbox->sent += (uint64_t)done;
	return done;
}

int outbox_seek(struct outbox *outbox, uint64_t sent)
{
	off_t done = sys_lseek(outbox->fd, (off_t)(HEAD + sent), SEEK_SET);

	if (done < 0)
		return (int)done;
	outbox->sent = sent;
	return 0;
}

ssize_t outbox_read(struct outbox *outbox, uint64_t from, void *bytes, size_t size)
{
	return sys_pread(outbox->fd, bytes, size, (off_t)(HEAD + from));
}

void outbox_trim(struct outbox *outbox, uint64_t until)
{
	uint64_t whole = until / HEAD * HEAD;

	if (whole < outbox->punched + TRIM_STEP)
		return;
	if (sys_fallocate(outbox->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)(HEAD + outbox->punched),
		    (off_t)(whole - outbox->punched)) == 0)
		outbox->punched = whole;
}
