/* Making and mapping the journal. Who writes what stands in the header. */
#include "link/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/fd.h"
#include "base/sys.h"

/* Preallocated so that no write into it can fail, sealed so that no holder can change its size. */
int journal_make(void)
{
	_cleanup_fd_ int fd = sys_memfd("spawnd-journal", MFD_ALLOW_SEALING);
	struct journal *journal;
	int done;

	if (fd < 0)
		return fd;
	done = sys_fallocate(fd, 0, 0, sizeof(struct journal));
	if (done < 0)
		return done;
	if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
		return -errno;
	journal = mmap(NULL, sizeof(*journal), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (journal == MAP_FAILED)
		return -errno;
	journal->magic = JOURNAL_MAGIC;
	journal->version = JOURNAL_VERSION;
	journal->slots = JOURNAL_SLOTS;
	journal->slot_size = sizeof(struct journal_slot);
	journal->next_id = 1;
	journal_unmap(journal);
	return fd_steal(&fd);
}

struct journal *journal_map(int fd)
{
	struct journal *journal;
	struct stat status;

	if (fstat(fd, &status) < 0)
		return NULL;
	if (status.st_size != sizeof(*journal)) {
		errno = EINVAL;
		return NULL;
	}
	journal = mmap(NULL, sizeof(*journal), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (journal == MAP_FAILED)
		return NULL;
	if (journal->magic != JOURNAL_MAGIC || journal->version != JOURNAL_VERSION || journal->slots != JOURNAL_SLOTS ||
		journal->slot_size != sizeof(struct journal_slot)) {
		journal_unmap(journal);
		errno = EINVAL;
		return NULL;
	}
	return journal;
}

void journal_unmap(struct journal *journal)
{
	if (journal)
		munmap(journal, sizeof(*journal));
}
