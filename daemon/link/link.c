/* The links: encode, send or queue; receive, decode. */
#include "link/link.h"

#include <errno.h>
#include <fcntl.h>
#include <pb_decode.h>
#include <pb_encode.h>

#include "base/mem.h"
#include "base/sys.h"

struct link_record {
	struct link_record *next;
	size_t size;
	size_t fd_count;
	int *fds; /* owned */
	uint8_t bytes[];
};

void link_init(struct link *link, int fd)
{
	*link = (struct link){.fd = fd};
	link->tail = &link->head;
	fd_set_nonblock(fd, true);
}

/* Frees one record and the descriptors it owns. */
static void destroy_record(struct link_record *record)
{
	for (size_t i = 0; i < record->fd_count; i++)
		fd_close(&record->fds[i]);
	free(record->fds);
	free(record);
}

void link_finish(struct link *link)
{
	while (link->head) {
		struct link_record *record = link->head;

		link->head = record->next;
		destroy_record(record);
	}
	link->tail = &link->head;
	link->queued = 0;
	fd_close(&link->fd);
}

/* Whether the kernel only lacks room just now; too many descriptors in flight (ETOOMANYREFS) passes too. */
static bool is_busy(ssize_t result)
{
	return result == -EAGAIN || result == -ENOBUFS || result == -ETOOMANYREFS || result == -ENOMEM;
}

/* Appends a record that could not be sent, with duplicates of its descriptors. */
static int enqueue(struct link *link, const uint8_t *bytes, size_t size, const int *fds, size_t count)
{
	struct link_record *record = mem_alloc(sizeof(*record) + size);

	record->size = size;
	memcpy(record->bytes, bytes, size);
	if (count)
		record->fds = mem_alloc(count * sizeof(int));
	for (size_t i = 0; i < count; i++) {
		int copy = fcntl(fds[i], F_DUPFD_CLOEXEC, 0);

		if (copy < 0) {
			int error = errno;

			destroy_record(record);
			return -error;
		}
		record->fds[record->fd_count++] = copy;
	}
	*link->tail = record;
	link->tail = &record->next;
	link->queued++;
	return 0;
}

int link_send(struct link *link, const pb_msgdesc_t *type, const void *message, const int *fds, size_t count)
{
	static uint8_t bytes[LINK_RECORD_MAX];
	pb_ostream_t stream = pb_ostream_from_buffer(bytes, sizeof(bytes));
	struct iovec iov;
	ssize_t sent;

	if (!pb_encode(&stream, type, message))
		return -EMSGSIZE;
	if (link->head)
		return enqueue(link, bytes, stream.bytes_written, fds, count);
	iov = (struct iovec){.iov_base = bytes, .iov_len = stream.bytes_written};
	sent = fdpass_send(link->fd, &iov, 1, fds, count);
	if (is_busy(sent))
		return enqueue(link, bytes, stream.bytes_written, fds, count);
	return sent < 0 ? (int)sent : 0;
}

int link_flush(struct link *link)
{
	while (link->head) {
		struct link_record *record = link->head;
		struct iovec iov = {.iov_base = record->bytes, .iov_len = record->size};
		ssize_t sent = fdpass_send(link->fd, &iov, 1, record->fds, record->fd_count);

		if (is_busy(sent))
			return 1;
		if (sent < 0)
			return (int)sent;
		link->head = record->next;
		if (!link->head)
			link->tail = &link->head;
		link->queued--;
		destroy_record(record);
	}
	return 0;
}

int link_receive(struct link *link, const pb_msgdesc_t *type, void *message, int fds[FDPASS_MAX], size_t *count_out)
{
	static uint8_t bytes[LINK_RECORD_MAX];
	ssize_t got = fdpass_receive(link->fd, bytes, sizeof(bytes), fds, count_out);
	pb_istream_t stream;

	/* a peer that died without reading all we sent: told once, ahead of the records it left, which are still there */
	if (got == -ECONNRESET)
		got = fdpass_receive(link->fd, bytes, sizeof(bytes), fds, count_out);
	if (got == -EAGAIN)
		return 0;
	if (got == 0 || got == -ECONNRESET)
		return -EPIPE;
	if (got < 0)
		return (int)got;
	stream = pb_istream_from_buffer(bytes, (size_t)got);
	if (pb_decode(&stream, type, message))
		return 1;
	for (size_t i = 0; i < *count_out; i++)
		sys_close(fds[i]);
	*count_out = 0;
	return -EPROTO;
}
