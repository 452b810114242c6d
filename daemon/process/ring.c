/* The ring of an output log: see ring.h for the rule that makes it survive. */
#include "process/ring.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/failpoint.h"
#include "base/mem.h"
#include "base/sys.h"

/* Size of a page of this machine. */
static size_t page_size(void)
{
	static size_t size;

	if (!size)
		size = (size_t)sysconf(_SC_PAGESIZE);
	return size;
}

/* Rounds up to whole pages, at least one. */
static size_t whole_pages(size_t size)
{
	size_t page = page_size();

	return size ? (size + page - 1) / page * page : page;
}

/* Maps the data and the control page of a memfd. 0 or -errno. */
static int map_ring(struct ring *ring, size_t size)
{
	void *memory = mmap(NULL, size + page_size(), PROT_READ | PROT_WRITE, MAP_SHARED, ring->fd, 0);

	if (memory == MAP_FAILED)
		return -errno;
	ring->data = memory;
	ring->size = size;
	ring->mapped = size + page_size();
	ring->control = (struct ring_control *)(ring->data + size);
	return 0;
}

int ring_create(size_t size, uint64_t base, uint32_t slot, struct ring **ring_out)
{
	struct ring *ring = mem_alloc(sizeof(*ring));
	int done;

	size = whole_pages(size);
	ring->fd = sys_memfd("spawnd-output", 0);
	done = ring->fd;
	if (done >= 0)
		done = sys_ftruncate(ring->fd, (off_t)(size + page_size()));
	if (done >= 0)
		done = map_ring(ring, size);
	if (done < 0) {
		ring_destroy(ring);
		return done;
	}
	ring->base = ring->end = base;
	ring->control->slot = slot;
	ring->control->size = size;
	ring->control->base = base;
	ring->control->magic = RING_MAGIC;
	*ring_out = ring;
	return 0;
}

int ring_create_plain(size_t size, uint64_t base, struct ring **ring_out)
{
	void *memory;
	struct ring *ring;

	size = whole_pages(size);
	memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (memory == MAP_FAILED)
		return -errno;
	ring = mem_alloc(sizeof(*ring));
	ring->fd = -1;
	ring->data = memory;
	ring->size = ring->mapped = size;
	ring->base = ring->end = base;
	*ring_out = ring;
	return 0;
}

/* Ends a wrap that was begun; tells the position in the data. */
static int finish_wrap(struct ring *ring, uint64_t *position_out)
{
	struct ring_control *control = ring->control;
	uint64_t wrapping = atomic_load(&control->wrapping);
	off_t position = sys_lseek(ring->fd, 0, SEEK_CUR);

	if (position < 0)
		return (int)position;
	if (wrapping == atomic_load(&control->lap) + 1) {
		if ((uint64_t)position == ring->size) {
			position = sys_lseek(ring->fd, 0, SEEK_SET);
			if (position < 0)
				return (int)position;
		}
		atomic_store(&control->lap, wrapping);
	}
	if ((uint64_t)position > ring->size)
		return -EBADMSG;
	*position_out = (uint64_t)position;
	return 0;
}

int ring_recover(int fd, struct ring **ring_out)
{
	struct ring *ring = mem_alloc(sizeof(*ring));
	struct stat facts;
	uint64_t position = 0;
	int done = -EBADMSG;

	ring->fd = fd;
	if (fstat(fd, &facts) == 0 && facts.st_size >= (off_t)(2 * page_size()) && (size_t)facts.st_size % page_size() == 0)
		done = map_ring(ring, (size_t)facts.st_size - page_size());
	if (done == 0 && (ring->control->magic != RING_MAGIC || ring->control->size != ring->size))
		done = -EBADMSG;
	if (done == 0)
		done = finish_wrap(ring, &position);
	if (done < 0) {
		ring_destroy(ring);
		return done;
	}
	ring->base = ring->control->base;
	ring->end = ring->base + atomic_load(&ring->control->lap) * ring->size + position;
	*ring_out = ring;
	return 0;
}

void ring_destroy(struct ring *ring)
{
	if (!ring)
		return;
	if (ring->data)
		munmap(ring->data, ring->mapped);
	fd_close(&ring->fd);
	free(ring);
}

void ring_close(struct ring *ring)
{
	fd_close(&ring->fd);
}

/* Position of the next byte in the data; goes round first when it stands at the end. Negative: -errno. */
static ssize_t next_position(struct ring *ring)
{
	uint64_t put = ring->end - ring->base;
	size_t position = put % ring->size;
	struct ring_control *control = ring->control;
	uint64_t lap = put / ring->size;
	off_t sought;

	if (control && position == 0 && put && atomic_load(&control->lap) != lap) {
		atomic_store(&control->wrapping, lap);
		failpoint("ring-wrapping");
		sought = sys_lseek(ring->fd, 0, SEEK_SET);
		if (sought < 0)
			return sought;
		failpoint("ring-sought");
		atomic_store(&control->lap, lap);
		failpoint("ring-lapped");
	}
	return (ssize_t)position;
}

ssize_t ring_splice(struct ring *ring, int pipe_fd, size_t size)
{
	ssize_t position = next_position(ring), moved;

	if (position < 0)
		return position;
	if (size > ring->size - (size_t)position)
		size = ring->size - (size_t)position;
	moved = sys_splice(pipe_fd, NULL, ring->fd, NULL, size, SPLICE_F_NONBLOCK | SPLICE_F_MOVE);
	failpoint("ring-spliced");
	if (moved > 0)
		ring->end += (uint64_t)moved;
	return moved;
}

ssize_t ring_read(struct ring *ring, int fd, size_t size)
{
	ssize_t position = next_position(ring), moved;
	off_t sought = 0;

	if (position < 0)
		return position;
	if (size > ring->size - (size_t)position)
		size = ring->size - (size_t)position;
	moved = sys_read(fd, ring->data + position, size);
	if (moved <= 0)
		return moved;
	if (ring->control)
		sought = sys_lseek(ring->fd, moved, SEEK_CUR);
	ring->end += (uint64_t)moved;
	return sought < 0 ? sought : moved;
}

size_t ring_span(const struct ring *ring, uint64_t offset, size_t size, struct iovec iov[2])
{
	size_t position = (offset - ring->base) % ring->size;
	size_t first = ring->size - position;

	if (first > size)
		first = size;
	iov[0] = (struct iovec){.iov_base = ring->data + position, .iov_len = first};
	if (first == size)
		return 1;
	iov[1] = (struct iovec){.iov_base = ring->data, .iov_len = size - first};
	return 2;
}
