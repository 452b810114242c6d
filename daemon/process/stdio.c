/*
 * Opening the stdio of a child. All or nothing: at the first failure everything is closed again. Our ends never block
 * (unless they are to be handed over), the child's do (Node's rule).
 */
#include "process/stdio.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/sys.h"
#include "process/spec.h"

#define FDS_BESIDES 3u /* cgroup, plan, one to spare */
#define FDS_CHANNEL 7u /* both ends, what stands behind ours, duplicates under way */

/* Everything stdio_open works on. */
struct opening {
	const struct spec *spec;
	struct stdio *stdio;
	int *client_fds;
	size_t client_count, client_used;
	bool handover;
	struct err *err;
};

/* "spawn FILE CODE": how Node tells it. */
static int fail(const struct opening *opening, int error)
{
	char syscall[256];

	spec_syscall(opening->spec, syscall, sizeof(syscall));
	return err_errno(opening->err, error, syscall, opening->spec->file);
}

static void keep_end(struct opening *opening, struct stdio_end end)
{
	opening->stdio->ours[opening->stdio->our_count++] = end;
}

/* Puts a descriptor (taken) into the plan, for a slot. */
static void attach(struct opening *opening, uint32_t slot, int fd, bool blocking)
{
	struct stdio *stdio = opening->stdio;

	stdio->slots[stdio->slot_count++] =
		(struct plan_fd){.slot = slot, .attached = (int)stdio->their_count, .same_as = -1, .blocking = blocking};
	stdio->theirs[stdio->their_count++] = fd;
}

static void put_same(struct opening *opening, uint32_t slot, uint32_t same_as)
{
	opening->stdio->slots[opening->stdio->slot_count++] = (struct plan_fd){.slot = slot, .attached = -1, .same_as = (int)same_as};
}

static void put_path(struct opening *opening, const struct slot_spec *slot, const char *path)
{
	opening->stdio->slots[opening->stdio->slot_count++] = (struct plan_fd){
		.slot = slot->slot,
		.attached = -1,
		.same_as = -1,
		.path = path,
		.open_flags = slot->open_flags,
		.permissions = slot->permissions,
	};
}

static int open_pipe(struct opening *opening, const struct slot_spec *slot)
{
	bool output = slot->kind == SLOT_PIPE_OUT;
	int fds[2], done = sys_pipe(fds, 0);

	if (done < 0)
		return fail(opening, -done);
	attach(opening, slot->slot, fds[output ? 1 : 0], false);
	keep_end(opening, (struct stdio_end){.slot = slot->slot, .fd = fds[output ? 0 : 1], .output = output});
	if (!opening->handover && fcntl(fds[output ? 0 : 1], F_SETFL, O_NONBLOCK) < 0)
		return fail(opening, errno);
	return 0;
}

/* A second descriptor of an output end, for writing: closed by itself. */
static int add_input_end(struct opening *opening, uint32_t slot, const struct stdio_end *output)
{
	struct stdio_end end = *output;

	end.slot = slot;
	end.output = false;
	end.second = true;
	end.fd = fcntl(output->fd, F_DUPFD_CLOEXEC, 0);
	if (end.fd < 0)
		return fail(opening, errno);
	keep_end(opening, end);
	return 0;
}

static int open_pair(struct opening *opening, const struct slot_spec *slot)
{
	struct stdio_end end = {.slot = slot->slot, .output = true, .socket = true};
	int fds[2], done = sys_socketpair(SOCK_STREAM, fds);

	if (done < 0)
		return fail(opening, -done);
	attach(opening, slot->slot, fds[1], false);
	end.fd = fds[0];
	keep_end(opening, end);
	if (opening->handover)
		return 0;
	if (fcntl(fds[0], F_SETFL, O_NONBLOCK) < 0)
		return fail(opening, errno);
	return add_input_end(opening, slot->slot, &end);
}

static int open_channel(struct opening *opening, const struct slot_spec *slot)
{
	int fds[2], done = sys_socketpair(SOCK_STREAM, fds);

	if (done < 0)
		return fail(opening, -done);
	attach(opening, slot->slot, fds[1], false);
	opening->stdio->channel = fds[0];
	return fcntl(fds[0], F_SETFL, O_NONBLOCK) < 0 ? fail(opening, errno) : 0;
}

int stdio_resize(int master, unsigned rows, unsigned columns)
{
	struct winsize size = {.ws_row = (unsigned short)rows, .ws_col = (unsigned short)columns};

	return ioctl(master, TIOCSWINSZ, &size) < 0 ? -errno : 0;
}

/* Opens the slave of a master, for the child's user. A descriptor or -errno. */
static int open_slave(int master, const struct spec *spec)
{
	char name[64];
	int slave, done;

	if (grantpt(master) < 0 || unlockpt(master) < 0)
		return -errno;
	done = ptsname_r(master, name, sizeof(name));
	if (done != 0)
		return -done;
	slave = sys_open(name, O_RDWR | O_NOCTTY, 0);
	if (slave >= 0 && spec->set_ids && fchown(slave, spec->uid, (gid_t)-1) < 0 && errno != EPERM) {
		done = -errno;
		sys_close(slave);
		return done;
	}
	return slave;
}

/* The one terminal, at the first of its slots. */
static int open_terminal(struct opening *opening, const struct slot_spec *slot)
{
	const struct spec *spec = opening->spec;
	struct stdio_end end = {.slot = spec_pty_slot(spec, true)->slot, .output = true, .terminal = true};
	int slave, done;

	end.fd = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
	if (end.fd < 0)
		return fail(opening, errno);
	keep_end(opening, end);
	slave = open_slave(end.fd, spec);
	if (slave < 0)
		return fail(opening, -slave);
	attach(opening, slot->slot, slave, false);
	opening->stdio->controlling_slot = (int)slot->slot;
	done = stdio_resize(end.fd, spec->message->window->rows, spec->message->window->columns);
	if (done < 0)
		return fail(opening, -done);
	return add_input_end(opening, spec_pty_slot(spec, false)->slot, &end);
}

static int open_slot(struct opening *opening, const struct slot_spec *slot)
{
	switch (slot->kind) {
	case SLOT_PIPE_IN:
	case SLOT_PIPE_OUT:
		return open_pipe(opening, slot);
	case SLOT_PAIR:
		return open_pair(opening, slot);
	case SLOT_PTY:
		if (opening->stdio->controlling_slot < 0)
			return open_terminal(opening, slot);
		put_same(opening, slot->slot, (uint32_t)opening->stdio->controlling_slot);
		return 0;
	case SLOT_NULL:
		put_path(opening, slot, "/dev/null");
		return 0;
	case SLOT_FILE:
		put_path(opening, slot, slot->path);
		return 0;
	case SLOT_FD:
		attach(opening, slot->slot, fd_steal(&opening->client_fds[opening->client_used++]), slot->slot <= 2);
		return 0;
	case SLOT_CHANNEL:
		return open_channel(opening, slot);
	case SLOT_SAME:
	case SLOT_NONE:
		return 0;
	}
	return 0;
}

/* Descriptors that opening and sending along will take. */
static unsigned count_needed(const struct spec *spec)
{
	unsigned needed = FDS_BESIDES;
	bool terminal = false;

	for (size_t i = 0; i < spec->slot_count; i++) {
		switch (spec->slots[i].kind) {
		case SLOT_PIPE_IN:
		case SLOT_PIPE_OUT:
			needed += 3;
			break;
		case SLOT_PAIR:
			needed += 4;
			break;
		case SLOT_PTY:
			needed += terminal ? 0 : 4;
			terminal = true;
			break;
		case SLOT_FD:
			needed += 1;
			break;
		case SLOT_CHANNEL:
			needed += FDS_CHANNEL;
			break;
		case SLOT_NONE:
		case SLOT_NULL:
		case SLOT_FILE:
		case SLOT_SAME:
			break;
		}
	}
	return needed;
}

static size_t count_fd_slots(const struct spec *spec)
{
	size_t count = 0;

	for (size_t i = 0; i < spec->slot_count; i++)
		count += spec->slots[i].kind == SLOT_FD;
	return count;
}

/* Refuses what cannot succeed. */
static int admit(const struct opening *opening, unsigned fds_free)
{
	unsigned needed = count_needed(opening->spec);
	size_t wanted = count_fd_slots(opening->spec);

	if (opening->client_count != wanted)
		return err_invalid(opening->err, "spec.stdio", "names %zu descriptors, %zu came", wanted, opening->client_count);
	if (fds_free >= needed)
		return 0;
	fail(opening, EMFILE);
	if (opening->err)
		snprintf(opening->err->message, sizeof(opening->err->message),
			"out of descriptors: %u are needed, %u are left (RLIMIT_NOFILE)", needed, fds_free);
	return -EMFILE;
}

static int compare_ends(const void *a, const void *b)
{
	const struct stdio_end *left = a, *right = b;

	if (left->slot != right->slot)
		return left->slot < right->slot ? -1 : 1;
	return right->output - left->output;
}

/* Opens all slots; copies of others come last. */
static int open_all(struct opening *opening)
{
	const struct spec *spec = opening->spec;
	int done = 0;

	for (size_t i = 0; done == 0 && i < spec->slot_count; i++)
		done = open_slot(opening, &spec->slots[i]);
	for (size_t i = 0; done == 0 && i < spec->slot_count; i++)
		if (spec->slots[i].kind == SLOT_SAME)
			put_same(opening, spec->slots[i].slot, spec->slots[i].same_as);
	return done;
}

int stdio_open(const struct spec *spec, int *client_fds, size_t client_count, unsigned fds_free, struct stdio *stdio_out, struct err *err)
{
	struct stdio stdio = {.controlling_slot = -1, .channel = -1};
	struct opening opening = {
		.spec = spec,
		.stdio = &stdio,
		.client_fds = client_fds,
		.client_count = client_count,
		.handover = spec->message->transport == SPAWND__V1__TRANSPORT__TRANSPORT_HANDOVER,
		.err = err,
	};
	int done = admit(&opening, fds_free);

	stdio.ours = mem_alloc(2 * spec->slot_count * sizeof(*stdio.ours));
	stdio.theirs = mem_alloc(spec->slot_count * sizeof(*stdio.theirs));
	stdio.slots = mem_alloc(spec->slot_count * sizeof(*stdio.slots));
	if (done == 0)
		done = open_all(&opening);
	for (size_t i = 0; i < client_count; i++)
		fd_close(&client_fds[i]);
	if (done < 0) {
		stdio_finish(&stdio);
		return done;
	}
	qsort(stdio.ours, stdio.our_count, sizeof(*stdio.ours), compare_ends);
	*stdio_out = stdio;
	return 0;
}

void stdio_close_theirs(struct stdio *stdio)
{
	for (size_t i = 0; i < stdio->their_count; i++)
		fd_close(&stdio->theirs[i]);
	stdio->their_count = 0;
	free(mem_steal(&stdio->theirs));
	stdio->slot_count = 0;
	free(mem_steal(&stdio->slots));
}

void stdio_finish(struct stdio *stdio)
{
	stdio_close_theirs(stdio);
	for (size_t i = 0; i < stdio->our_count; i++)
		fd_close(&stdio->ours[i].fd);
	stdio->our_count = 0;
	free(mem_steal(&stdio->ours));
	fd_close(&stdio->channel);
}
