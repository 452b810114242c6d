/*
 * The connection. Incoming descriptors: the kernel ends a receive at the message that carried some, but may glue bytes of
 * earlier messages before it; a frame with descriptors starts its own message, so they belong to the last frame that
 * starts in the bytes they came with. Those that come in the middle of a frame are closed.
 */
#include "wire/conn.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/queue.h>
#include <sys/socket.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/sys.h"

#define READ_CHUNK 65536
#define READ_MAX (256u << 10) /* at a time, before others have their turn */
#define READ_DIRECT 16384u    /* missing of a frame: worth to be received in place */
#define IDLE_CAPACITY 4096    /* what a connection without a half frame may keep */
#define LARGE_CAPACITY (512u << 10)

struct in_fds {
	TAILQ_ENTRY(in_fds) link; /* conn::in_fds */
	uint64_t position;        /* of the first byte of their frame */
	size_t count;
	int fds[];
};

/* One stretch of what waits: bytes, or the rest of a frame that is still in a pipe. */
struct out {
	TAILQ_ENTRY(out) link; /* conn::outs */
	struct buf bytes;
	int pipe; /* owned; -1: bytes */
	size_t pipe_left;
	int *fds; /* owned; go with the first byte */
	size_t fd_count;
	bool sealed; /* a frame with descriptors, alone in its message, so that the receiver knows whose they are */
};

struct conn {
	int fd;
	int error; /* of sending, negative; sticky */
	bool corked;
	bool starved; /* the last attempt to send failed for want of the kernel's memory */
	bool garbage; /* the header at next_start announces too much */
	struct buf in;
	uint64_t in_position; /* in the stream, of in.bytes */
	uint64_t next_start;  /* of the first frame whose header has not been seen whole */
	uint32_t frame_max;
	size_t skip; /* bytes of an oversized frame still to throw away */
	TAILQ_HEAD(, in_fds) in_fds;
	size_t in_fd_count;       /* of those, and of the delivered */
	struct in_fds *delivered; /* with the frame that conn_next returned last */
	size_t delivered_size;
	TAILQ_HEAD(outs, out) outs;
	size_t pending;
	uint64_t sent;
};

struct conn *conn_create(int fd)
{
	struct conn *conn = mem_alloc(sizeof(*conn));

	conn->fd = fd;
	conn->frame_max = FRAME_LENGTH_MAX;
	TAILQ_INIT(&conn->in_fds);
	TAILQ_INIT(&conn->outs);
	fd_set_nonblock(fd, true);
	return conn;
}

/* Closes the descriptors nobody took. */
static void destroy_in_fds(struct conn *conn, struct in_fds *fds)
{
	if (!fds)
		return;
	conn->in_fd_count -= fds->count;
	for (size_t i = 0; i < fds->count; i++)
		fd_close(&fds->fds[i]);
	free(fds);
}

/* Takes the first stretch out of the queue. */
static void destroy_out(struct conn *conn, struct out *out)
{
	TAILQ_REMOVE(&conn->outs, out, link);
	buf_finish(&out->bytes);
	fd_close(&out->pipe);
	for (size_t i = 0; i < out->fd_count; i++)
		fd_close(&out->fds[i]);
	free(out->fds);
	free(out);
}

void conn_destroy(struct conn *conn)
{
	struct in_fds *fds;
	struct out *out;

	if (!conn)
		return;
	destroy_in_fds(conn, conn->delivered);
	while ((fds = TAILQ_FIRST(&conn->in_fds))) {
		TAILQ_REMOVE(&conn->in_fds, fds, link);
		destroy_in_fds(conn, fds);
	}
	while ((out = TAILQ_FIRST(&conn->outs)))
		destroy_out(conn, out);
	buf_finish(&conn->in);
	fd_close(&conn->fd);
	free(conn);
}

int conn_fd(const struct conn *conn)
{
	return conn->fd;
}

void conn_set_frame_max(struct conn *conn, uint32_t bytes)
{
	conn->frame_max = bytes < FRAME_LENGTH_MAX ? bytes : FRAME_LENGTH_MAX;
}

int conn_steal_fd(struct conn *conn)
{
	return fd_steal(&conn->fd);
}

/* ---- in ---- */

/* Follows the headers as far as they are here; tells where the last frame starts that starts at or after `from`. */
static bool follow_headers(struct conn *conn, uint64_t from, uint64_t *start_out)
{
	uint64_t end = conn->in_position + conn->in.length;
	struct frame_header header;
	bool found = false;

	while (conn->next_start < end) {
		size_t at;

		if (conn->next_start >= from) {
			*start_out = conn->next_start;
			found = true;
		}
		if (end - conn->next_start < FRAME_HEADER_SIZE)
			break;
		at = (size_t)(conn->next_start - conn->in_position);
		frame_decode(conn->in.bytes + at, &header);
		conn->garbage = header.length > FRAME_SKIP_MAX;
		if (conn->garbage)
			break;
		conn->next_start += FRAME_HEADER_SIZE + (uint64_t)header.length;
	}
	return found;
}

/* Takes in what came, `size` bytes that stand at the end: their headers, and descriptors, which belong to the last frame that starts there.
 */
static void take_chunk(struct conn *conn, size_t size, const int *fds, size_t count)
{
	uint64_t start = 0, chunk = conn->in_position + conn->in.length;
	struct in_fds *kept;
	bool found;

	buf_commit(&conn->in, size);
	found = follow_headers(conn, chunk, &start);
	if (!count)
		return;
	kept = mem_alloc(sizeof(*kept) + count * sizeof(int));
	kept->position = start;
	kept->count = count;
	conn->in_fd_count += count;
	memcpy(kept->fds, fds, count * sizeof(int));
	if (found)
		TAILQ_INSERT_TAIL(&conn->in_fds, kept, link);
	else
		destroy_in_fds(conn, kept);
}

/* Forgets the frame that was delivered last. */
static void release_delivered(struct conn *conn)
{
	if (conn->delivered_size) {
		bool was_large = conn->delivered_size >= READ_DIRECT;

		buf_consume(&conn->in, conn->delivered_size);
		conn->in_position += conn->delivered_size;
		conn->delivered_size = 0;
		/* after a large one more of the kind is likely: keep the room for it */
		buf_trim(&conn->in, was_large ? LARGE_CAPACITY : IDLE_CAPACITY);
	}
	destroy_in_fds(conn, conn->delivered);
	conn->delivered = NULL;
}

/* Throws away bytes of an oversized frame as they come. */
static void skip_bytes(struct conn *conn)
{
	size_t size = conn->in.length < conn->skip ? conn->in.length : conn->skip;

	buf_consume(&conn->in, size);
	conn->in_position += size;
	conn->skip -= size;
	if (size)
		buf_trim(&conn->in, IDLE_CAPACITY);
}

/* Whether what is buffered breaks off inside a frame. */
static bool is_inside_frame(const struct conn *conn)
{
	return conn->skip || conn->next_start != conn->in_position + conn->in.length;
}

/* Bytes that are missing of a frame whose header is here; 0 when there is none. */
static size_t missing_bytes(const struct conn *conn)
{
	uint64_t end = conn->in_position + conn->in.length;

	return !conn->skip && conn->next_start > end && conn->next_start - end <= conn->frame_max ? (size_t)(conn->next_start - end) : 0;
}

/*
 * One receive to the end of what is buffered: the rest of a large frame straight to its place, anything else by way of a
 * scratch, so that an idle connection holds no room.
 */
static ssize_t receive_chunk(struct conn *conn, int fds[FDPASS_MAX], size_t *count_out)
{
	static _Thread_local uint8_t scratch[READ_CHUNK];
	size_t missing = missing_bytes(conn);
	ssize_t got;

	if (missing >= READ_DIRECT)
		return fdpass_receive(conn->fd, buf_reserve(&conn->in, missing), missing, fds, count_out);
	got = fdpass_receive(conn->fd, scratch, READ_CHUNK, fds, count_out);
	if (got > 0)
		memcpy(buf_reserve(&conn->in, (size_t)got), scratch, (size_t)got);
	return got;
}

int conn_read(struct conn *conn)
{
	release_delivered(conn);
	for (size_t total = 0; total < READ_MAX;) {
		int fds[FDPASS_MAX];
		size_t count;
		ssize_t got;

		if (conn->garbage)
			return CONN_E_GARBAGE;
		got = receive_chunk(conn, fds, &count);
		if (got == -EAGAIN)
			break;
		if (got < 0)
			return (int)got;
		if (got == 0)
			return is_inside_frame(conn) ? CONN_E_TRUNCATED : CONN_E_CLOSED;
		take_chunk(conn, (size_t)got, fds, count);
		skip_bytes(conn);
		total += (size_t)got;
		if ((size_t)got < READ_CHUNK && !missing_bytes(conn))
			break;
	}
	return conn->garbage ? CONN_E_GARBAGE : 0;
}

/* Descriptors for the frame at the front; those of frames that are gone are closed. */
static void deliver_fds(struct conn *conn, struct frame *frame)
{
	struct in_fds *fds;

	while ((fds = TAILQ_FIRST(&conn->in_fds)) && fds->position <= conn->in_position) {
		TAILQ_REMOVE(&conn->in_fds, fds, link);
		if (fds->position < conn->in_position || conn->delivered) {
			destroy_in_fds(conn, fds);
			continue;
		}
		conn->delivered = fds;
		frame->fds = fds->fds;
		frame->fd_count = fds->count;
	}
}

bool conn_next(struct conn *conn, struct frame *frame_out)
{
	struct frame frame = {.fd_count = 0};

	release_delivered(conn);
	if (conn->skip || conn->in.length < FRAME_HEADER_SIZE)
		return false;
	frame_decode(conn->in.bytes, &frame.header);
	if (frame.header.length > FRAME_SKIP_MAX)
		return false;
	if (frame.header.length > conn->frame_max) {
		deliver_fds(conn, &frame);
		frame.oversized = true;
		buf_consume(&conn->in, FRAME_HEADER_SIZE);
		conn->in_position += FRAME_HEADER_SIZE;
		conn->skip = frame.header.length;
		skip_bytes(conn);
		*frame_out = frame;
		return true;
	}
	if (conn->in.length - FRAME_HEADER_SIZE < frame.header.length)
		return false;
	deliver_fds(conn, &frame);
	frame.payload = conn->in.bytes + FRAME_HEADER_SIZE;
	conn->delivered_size = FRAME_HEADER_SIZE + frame.header.length;
	*frame_out = frame;
	return true;
}

bool conn_partial(const struct conn *conn, struct frame_header *header_out, const uint8_t **payload_out, size_t *size_out)
{
	const uint8_t *bytes = conn->in.bytes + conn->delivered_size;
	size_t length = conn->in.length - conn->delivered_size;

	if (conn->skip || length < FRAME_HEADER_SIZE)
		return false;
	frame_decode(bytes, header_out);
	if (header_out->length > conn->frame_max || length - FRAME_HEADER_SIZE >= header_out->length)
		return false;
	*payload_out = bytes + FRAME_HEADER_SIZE;
	*size_out = length - FRAME_HEADER_SIZE;
	return true;
}

/* ---- out ---- */

/* Appends an empty stretch. */
static struct out *append_out(struct conn *conn)
{
	struct out *out = mem_alloc(sizeof(*out));

	out->pipe = -1;
	TAILQ_INSERT_TAIL(&conn->outs, out, link);
	return out;
}

/* Copies the pieces from `skip` on to the end of the queue. */
static void append_bytes(struct conn *conn, const struct iovec *iov, size_t count, size_t skip)
{
	struct out *out = TAILQ_LAST(&conn->outs, outs);

	if (!out || out->pipe >= 0 || out->sealed)
		out = append_out(conn);
	for (size_t i = 0; i < count; i++) {
		size_t size = iov[i].iov_len;

		if (skip >= size) {
			skip -= size;
			continue;
		}
		buf_append(&out->bytes, (const uint8_t *)iov[i].iov_base + skip, size - skip);
		conn->pending += size - skip;
		skip = 0;
	}
}

/* Appends a frame with descriptors, whole, as a stretch of its own. */
static void append_with_fds(struct conn *conn, const struct iovec *iov, size_t count, const int *fds, size_t fd_count)
{
	struct out *out = append_out(conn);

	out->fds = mem_alloc(fd_count * sizeof(int));
	for (size_t i = 0; i < fd_count; i++) {
		int copy = fcntl(fds[i], F_DUPFD_CLOEXEC, 0);

		if (copy < 0) {
			conn->error = -errno;
			return;
		}
		out->fds[out->fd_count++] = copy;
	}
	append_bytes(conn, iov, count, 0);
	out->sealed = true;
}

/* The kernel lacks memory, or too many descriptors are on their way: another attempt may succeed, but no event tells when. */
static bool is_shortage(ssize_t result)
{
	return result == -ENOBUFS || result == -ENOMEM || result == -ETOOMANYREFS;
}

/* Sends pieces now. Returns what the socket took, 0 when it takes nothing; an error is kept. */
static size_t send_now(struct conn *conn, const struct iovec *iov, size_t count, const int *fds, size_t fd_count)
{
	ssize_t sent = fdpass_send(conn->fd, iov, count, fds, fd_count);

	conn->starved = is_shortage(sent);
	if (sent >= 0) {
		conn->sent += (size_t)sent;
		return (size_t)sent;
	}
	if (sent != -EAGAIN && !conn->starved)
		conn->error = (int)sent;
	return 0;
}

int conn_put(
	struct conn *conn, const struct frame_header *header, const struct iovec *iov, size_t iov_count, const int *fds, size_t fd_count)
{
	uint8_t head[FRAME_HEADER_SIZE];
	struct iovec pieces[CONN_PIECES + 1] = {{.iov_base = head, .iov_len = sizeof(head)}};
	size_t total = sizeof(head) + header->length, sent = 0;

	if (header->length > FRAME_LENGTH_MAX || iov_count > CONN_PIECES)
		return -EMSGSIZE;
	if (conn->error)
		return 0;
	frame_encode(header, head);
	if (iov_count)
		memcpy(pieces + 1, iov, iov_count * sizeof(*iov));
	if (TAILQ_EMPTY(&conn->outs) && !conn->corked)
		sent = send_now(conn, pieces, iov_count + 1, fds, fd_count);
	if (sent == total || conn->error)
		return 0;
	if (fd_count && !sent)
		append_with_fds(conn, pieces, iov_count + 1, fds, fd_count);
	else
		append_bytes(conn, pieces, iov_count + 1, sent);
	return 0;
}

/* Moves up to *left bytes from a pipe to the socket. 1: all have gone; 0: the socket takes no more now; -errno. */
static int splice_now(struct conn *conn, int pipe, size_t *left)
{
	while (*left) {
		ssize_t moved = sys_splice(pipe, NULL, conn->fd, NULL, *left, SPLICE_F_NONBLOCK | SPLICE_F_MOVE | SPLICE_F_MORE);
		int there = 0;

		conn->starved = is_shortage(moved);
		if (moved > 0) {
			*left -= (size_t)moved;
			conn->sent += (size_t)moved;
			continue;
		}
		if (conn->starved || (moved == -EAGAIN && ioctl(pipe, FIONREAD, &there) == 0 && there > 0))
			return 0;
		return moved < 0 && moved != -EAGAIN ? (int)moved : -EPROTO;
	}
	return 1;
}

/* Reads the rest of a frame from `pipe`, where it is whole, into its stretch: for what cannot be spliced or kept open. */
static void load_pipe(struct conn *conn, struct out *out, int pipe)
{
	while (out->pipe_left) {
		ssize_t got;
		int there = 0;

		if (ioctl(pipe, FIONREAD, &there) < 0 || there <= 0) {
			conn->error = -EPROTO;
			return;
		}
		if ((size_t)there > out->pipe_left)
			there = (int)out->pipe_left;
		got = sys_read(pipe, buf_reserve(&out->bytes, (size_t)there), (size_t)there);
		if (got <= 0) {
			conn->error = got < 0 ? (int)got : -EPROTO;
			return;
		}
		buf_commit(&out->bytes, (size_t)got);
		out->pipe_left -= (size_t)got;
	}
	fd_close(&out->pipe);
}

int conn_put_pipe(struct conn *conn, const struct frame_header *header, const void *prefix, size_t prefix_size, int pipe_fd, size_t size)
{
	uint8_t head[FRAME_HEADER_SIZE];
	struct iovec pieces[2] = {{.iov_base = head, .iov_len = sizeof(head)}, {.iov_base = (void *)prefix, .iov_len = prefix_size}};
	size_t total = sizeof(head) + prefix_size, sent = 0, left = size;
	int spliced = 0;
	struct out *out;

	if (header->length > FRAME_LENGTH_MAX || header->length != prefix_size + size)
		return -EMSGSIZE;
	if (conn->error)
		return 0;
	frame_encode(header, head);
	if (TAILQ_EMPTY(&conn->outs) && !conn->corked)
		sent = send_now(conn, pieces, 2, NULL, 0);
	if (sent == total && !conn->error)
		spliced = splice_now(conn, pipe_fd, &left);
	if (spliced < 0 && spliced != -EINVAL)
		conn->error = spliced;
	if (conn->error || spliced == 1)
		return 0;
	if (sent < total)
		append_bytes(conn, pieces, 2, sent);
	out = append_out(conn);
	out->pipe_left = left;
	conn->pending += left;
	if (spliced != -EINVAL)
		out->pipe = fcntl(pipe_fd, F_DUPFD_CLOEXEC, 0);
	if (out->pipe < 0)
		load_pipe(conn, out, pipe_fd);
	return 0;
}

void conn_cork(struct conn *conn)
{
	conn->corked = true;
}

void conn_uncork(struct conn *conn)
{
	conn->corked = false;
	conn_flush(conn);
}

/* Sends one stretch; true when it is gone whole. */
static bool flush_out(struct conn *conn, struct out *out)
{
	if (out->pipe >= 0) {
		size_t before = out->pipe_left;
		int spliced = splice_now(conn, out->pipe, &out->pipe_left);

		conn->pending -= before - out->pipe_left;
		if (spliced == -EINVAL)
			load_pipe(conn, out, out->pipe);
		else if (spliced < 0)
			conn->error = spliced;
		if (conn->error || spliced >= 0)
			return spliced == 1;
	}
	while (out->bytes.length) {
		struct iovec iov = {.iov_base = out->bytes.bytes, .iov_len = out->bytes.length};
		size_t sent = send_now(conn, &iov, 1, out->fds, out->fd_count);

		if (!sent)
			return false;
		for (size_t i = 0; i < out->fd_count; i++)
			fd_close(&out->fds[i]);
		out->fd_count = 0;
		buf_consume(&out->bytes, sent);
		conn->pending -= sent;
	}
	return true;
}

int conn_flush(struct conn *conn)
{
	struct out *out;

	while (!conn->error && (out = TAILQ_FIRST(&conn->outs))) {
		if (!flush_out(conn, out))
			break;
		destroy_out(conn, out);
	}
	if (conn->error)
		return conn->error;
	return TAILQ_EMPTY(&conn->outs) ? 0 : 1;
}

int conn_error(const struct conn *conn)
{
	return conn->error;
}

bool conn_is_starved(const struct conn *conn)
{
	return conn->starved;
}

uint64_t conn_sent(const struct conn *conn)
{
	return conn->sent;
}

size_t conn_pending(const struct conn *conn)
{
	return conn->pending;
}

size_t conn_unread(const struct conn *conn)
{
	return conn->in.length;
}

size_t conn_memory(const struct conn *conn)
{
	return sizeof(*conn) + conn->in.capacity + conn->pending;
}

size_t conn_fds(const struct conn *conn)
{
	return conn->in_fd_count;
}
