/* See ledger.h. The memfd grows by whole pages; it is mapped once, at its largest, and what is there of it can be touched. */
#include "base/ledger.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"
#include "base/sys.h"

#define MAGIC 0x4c6f7053u
#define VERSION 1u
#define BLOCK_MIN 128u
#define BLOCK_MIN_BITS 7u
#define CLASSES 25u /* of 128 bytes to 2 GiB */
#define GROW_MIN (256u << 10)
#define PAGE 4096u
#define GIVE_BACK_MIN (64u << 10)

enum state { FREE, WRITING, LIVE };

struct head {
	uint32_t magic, version;
	_Atomic uint64_t end; /* of the blocks */
	uint64_t reserved[14];
};

struct block {
	_Atomic uint32_t state;
	uint32_t bits; /* it has 1 << bits bytes, this head included */
	uint32_t kind;
	uint32_t reserved;
	uint64_t owner;
	uint64_t size;
	uint8_t bytes[];
};

/* Free blocks of one size. */
struct shelf {
	struct block **blocks;
	size_t count, room;
};

struct ledger {
	int fd;
	uint8_t *memory;
	struct head *head;
	uint64_t size; /* of the memfd */
	struct shelf shelves[CLASSES];
};

_Static_assert(sizeof(struct head) == BLOCK_MIN, "blocks are aligned to the smallest of them");

static struct block *block_of(const void *record)
{
	return (struct block *)((uint8_t *)record - offsetof(struct block, bytes));
}

static void keep_free(struct ledger *ledger, struct block *block)
{
	struct shelf *shelf = &ledger->shelves[block->bits - BLOCK_MIN_BITS];

	if (shelf->count == shelf->room) {
		shelf->room = shelf->room ? 2 * shelf->room : 16;
		shelf->blocks = mem_realloc(shelf->blocks, shelf->room * sizeof(struct block *));
	}
	shelf->blocks[shelf->count++] = block;
}

static int open_pages(struct ledger *ledger)
{
	return mprotect(ledger->memory, ledger->size, PROT_READ | PROT_WRITE) < 0 ? -errno : 0;
}

static int map(struct ledger *ledger)
{
	void *memory = mmap(NULL, LEDGER_BYTES_MAX, PROT_NONE, MAP_SHARED | MAP_NORESERVE, ledger->fd, 0);

	if (memory == MAP_FAILED)
		return -errno;
	ledger->memory = memory;
	ledger->head = memory;
	return open_pages(ledger);
}

/* Room for `bytes` more, preallocated so that no write into it can fail. */
static int grow(struct ledger *ledger, uint64_t bytes)
{
	uint64_t more = bytes < GROW_MIN ? GROW_MIN : (bytes + PAGE - 1) / PAGE * PAGE;
	int done;

	if (ledger->size + more > LEDGER_BYTES_MAX)
		return -ENOSPC;
	done = sys_fallocate(ledger->fd, 0, (off_t)ledger->size, (off_t)more);
	if (done < 0)
		return done;
	ledger->size += more;
	return ledger->memory ? open_pages(ledger) : 0;
}

struct ledger *ledger_create(int *fd_out, struct err *err)
{
	struct ledger *ledger = mem_alloc(sizeof(*ledger));
	int done;

	ledger->fd = done = sys_memfd("spawnd-ledger", MFD_ALLOW_SEALING);
	if (done >= 0)
		done = grow(ledger, sizeof(struct head));
	if (done >= 0 && fcntl(ledger->fd, F_ADD_SEALS, F_SEAL_SHRINK) < 0)
		done = -errno;
	if (done >= 0)
		done = map(ledger);
	if (done >= 0) {
		ledger->head->magic = MAGIC;
		ledger->head->version = VERSION;
		atomic_store(&ledger->head->end, sizeof(struct head));
		*fd_out = done = fcntl(ledger->fd, F_DUPFD_CLOEXEC, 0);
		done = done < 0 ? -errno : 0;
	}
	if (done < 0) {
		err_errno(err, -done, "memfd_create", "ledger");
		ledger_close(ledger);
		return NULL;
	}
	return ledger;
}

/* Puts every block that is not LIVE among the free ones. -EBADMSG when they do not add up. */
static int scan(struct ledger *ledger)
{
	uint64_t end = atomic_load(&ledger->head->end), at = sizeof(struct head);

	if (end > ledger->size)
		return -EBADMSG;
	while (at < end) {
		struct block *block = (struct block *)(ledger->memory + at);

		if (block->bits < BLOCK_MIN_BITS || block->bits >= BLOCK_MIN_BITS + CLASSES || at + (UINT64_C(1) << block->bits) > end)
			return -EBADMSG;
		at += UINT64_C(1) << block->bits;
		if (atomic_load(&block->state) == LIVE)
			continue;
		atomic_store(&block->state, FREE);
		keep_free(ledger, block);
	}
	return 0;
}

int ledger_check(int fd, struct err *err)
{
	struct head head;
	ssize_t got = sys_pread(fd, &head, sizeof(head), 0);

	if (got < 0)
		return err_errno(err, (int)-got, "pread", "ledger");
	if (got < (ssize_t)sizeof(head) || head.magic != MAGIC)
		return err_errno(err, EBADMSG, "read", "ledger");
	if (head.version != VERSION)
		return err_set(err, STATUS_FAILED_PRECONDITION, "the ledger is of version %u, this program reads version %u", head.version,
			VERSION);
	return 0;
}

struct ledger *ledger_open(int fd, struct err *err)
{
	struct ledger *ledger = mem_alloc(sizeof(*ledger));
	struct stat facts;
	int done = -EBADMSG;

	ledger->fd = fd;
	if (fstat(fd, &facts) == 0 && facts.st_size >= (off_t)sizeof(struct head)) {
		ledger->size = (uint64_t)facts.st_size;
		done = map(ledger);
	}
	if (done == 0 && (ledger->head->magic != MAGIC || ledger->head->version != VERSION))
		done = -EBADMSG;
	if (done == 0)
		done = scan(ledger);
	if (done < 0) {
		err_errno(err, -done, "mmap", "ledger");
		ledger_close(ledger);
		return NULL;
	}
	return ledger;
}

void ledger_close(struct ledger *ledger)
{
	if (!ledger)
		return;
	if (ledger->memory)
		munmap(ledger->memory, LEDGER_BYTES_MAX);
	fd_close(&ledger->fd);
	for (unsigned i = 0; i < CLASSES; i++)
		free(ledger->shelves[i].blocks);
	free(ledger);
}

/* The smallest size that holds so many bytes. */
static unsigned bits_for(size_t size)
{
	unsigned bits = BLOCK_MIN_BITS;

	while ((UINT64_C(1) << bits) < size + sizeof(struct block))
		bits++;
	return bits;
}

/* A new block behind the last. NULL: no room. */
static struct block *append(struct ledger *ledger, unsigned bits, int *error_out)
{
	uint64_t end = atomic_load(&ledger->head->end), bytes = UINT64_C(1) << bits;
	struct block *block;

	*error_out = end + bytes > ledger->size ? grow(ledger, end + bytes - ledger->size) : 0;
	if (*error_out < 0)
		return NULL;
	block = (struct block *)(ledger->memory + end);
	block->bits = bits;
	atomic_store(&block->state, FREE);
	atomic_store(&ledger->head->end, end + bytes); /* last: a block behind the end is not looked at */
	return block;
}

void *ledger_write(struct ledger *ledger, uint32_t kind, uint64_t owner, size_t size, struct err *err)
{
	unsigned bits = size < LEDGER_BYTES_MAX / 2 ? bits_for(size) : BLOCK_MIN_BITS + CLASSES;
	struct shelf *shelf = &ledger->shelves[bits - BLOCK_MIN_BITS];
	struct block *block = NULL;
	int error = -ENOSPC;

	if (bits < BLOCK_MIN_BITS + CLASSES)
		block = shelf->count ? shelf->blocks[--shelf->count] : append(ledger, bits, &error);
	if (!block) {
		err_set(err, STATUS_RESOURCE_EXHAUSTED, "no room to remember %zu bytes: %s", size, err_name(-error));
		return NULL;
	}
	atomic_store(&block->state, WRITING);
	block->kind = kind;
	block->owner = owner;
	block->size = size;
	memset(block->bytes, 0, size);
	return block->bytes;
}

void ledger_commit(void *record)
{
	atomic_store(&block_of(record)->state, LIVE);
}

/* Whole pages of a large block that is free need not be there. Should they stay, nothing is wrong. */
static void give_back(struct ledger *ledger, const struct block *block)
{
	uint64_t start = (uint64_t)((const uint8_t *)block - ledger->memory), end = start + (UINT64_C(1) << block->bits);
	uint64_t from = (start + sizeof(*block) + PAGE - 1) / PAGE * PAGE;

	sys_fallocate(ledger->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)from, (off_t)(end - from));
}

void ledger_free(struct ledger *ledger, void *record)
{
	struct block *block;

	if (!record)
		return;
	block = block_of(record);
	atomic_store(&block->state, FREE);
	if ((UINT64_C(1) << block->bits) >= GIVE_BACK_MIN)
		give_back(ledger, block);
	keep_free(ledger, block);
}

uint32_t ledger_kind(const void *record)
{
	return block_of(record)->kind;
}

uint64_t ledger_owner(const void *record)
{
	return block_of(record)->owner;
}

size_t ledger_size(const void *record)
{
	return block_of(record)->size;
}

void *ledger_next(struct ledger *ledger, const void *record)
{
	uint64_t end = atomic_load(&ledger->head->end), at = sizeof(struct head);

	if (record)
		at = (uint64_t)((uint8_t *)block_of(record) - ledger->memory) + (UINT64_C(1) << block_of(record)->bits);
	for (; at < end; at += UINT64_C(1) << ((struct block *)(ledger->memory + at))->bits) {
		struct block *block = (struct block *)(ledger->memory + at);

		if (atomic_load(&block->state) == LIVE)
			return block->bytes;
	}
	return NULL;
}
