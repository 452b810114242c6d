/*
 * The sweep: who belongs to a child, by what /proc tells. A process does when
 *   - it carries the child's SPAWND_ID,
 *   - or it is in the child's session (while the child lives; later only if it carries no other id, is an orphan of the
 *     keeper's or has a parent that belongs, and nobody has the child's old pid),
 *   - or its parent belongs.
 * One look at /proc serves all children that ask within a few milliseconds.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/sys.h"
#include "process/spec_parts.h"
#include "process/tree_parts.h"

#define ENVIRON_MAX (2u << 20)
#define ID_NONE 0u
#define ID_FOREIGN UINT64_MAX /* of another daemon */

struct proc {
	pid_t pid, parent, group, session;
	uint64_t start;
	uint64_t id;     /* its SPAWND_ID here */
	uint32_t member; /* generation of the last sweep that it belonged in */
	uint32_t up;     /* index of its parent; own index: not there */
};

struct snapshot {
	int64_t began_ns;
	struct proc *procs; /* ascending by pid, no zombies */
	size_t count, room;
	uint32_t generation;
	char *environ; /* buffer */
	size_t environ_size;
};

/* Reads /proc/PID/FILE. Bytes or -errno; text is NUL-terminated. */
static ssize_t read_proc(pid_t pid, const char *file, char *text, size_t size)
{
	char path[64];
	ssize_t got = 0, done;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, file);
	fd = sys_open(path, O_RDONLY, 0);
	if (fd < 0)
		return fd;
	do {
		done = sys_read(fd, text + got, size - 1 - (size_t)got);
		got += done > 0 ? done : 0;
	} while (done > 0 && (size_t)got < size - 1);
	sys_close(fd);
	text[got] = 0;
	return done < 0 ? done : got;
}

/* Fills one from /proc/PID/stat; false: it is gone, a zombie or the kernel's. */
static bool read_stat(pid_t pid, struct proc *proc)
{
	char text[1024], state;
	const char *after;
	int parent, group, session;
	unsigned long long start;

	if (read_proc(pid, "stat", text, sizeof(text)) <= 0)
		return false;
	after = strrchr(text, ')');
	if (!after || sscanf(after + 1, " %c %d %d %d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %llu", &state, &parent,
			      &group, &session, &start) != 5)
		return false;
	if (state == 'Z' || state == 'X')
		return false;
	*proc = (struct proc){.pid = pid, .parent = parent, .group = group, .session = session, .start = start};
	return group != 0 || parent > 2;
}

uint64_t proc_start(pid_t pid)
{
	struct proc proc;

	return read_stat(pid, &proc) ? proc.start : 0;
}

/* The SPAWND_ID a process was started with. */
static uint64_t read_id(const struct trees *trees, struct snapshot *snapshot, pid_t pid)
{
	static const char name[] = SPEC_ENV_ID "=";
	size_t length = strlen(trees->instance);
	ssize_t got = read_proc(pid, "environ", snapshot->environ, snapshot->environ_size);

	while (got == (ssize_t)snapshot->environ_size - 1 && snapshot->environ_size < ENVIRON_MAX) {
		snapshot->environ_size *= 2;
		snapshot->environ = mem_realloc(snapshot->environ, snapshot->environ_size);
		got = read_proc(pid, "environ", snapshot->environ, snapshot->environ_size);
	}
	for (const char *at = snapshot->environ, *end = at + (got > 0 ? got : 0); at < end; at += strlen(at) + 1) {
		if (strncmp(at, name, sizeof(name) - 1) != 0)
			continue;
		at += sizeof(name) - 1;
		if (strncmp(at, trees->instance, length) == 0 && at[length] == '-')
			return strtoull(at + length + 1, NULL, 10);
		return ID_FOREIGN;
	}
	return ID_NONE;
}

static int compare_procs(const void *a, const void *b)
{
	const struct proc *left = a, *right = b;

	return left->pid < right->pid ? -1 : left->pid > right->pid;
}

static size_t find_proc(const struct snapshot *snapshot, pid_t pid)
{
	struct proc key = {.pid = pid};
	const struct proc *found = snapshot->count ? bsearch(&key, snapshot->procs, snapshot->count, sizeof(key), compare_procs) : NULL;

	return found ? (size_t)(found - snapshot->procs) : SIZE_MAX;
}

/* Looks at all of /proc. */
static void take_snapshot(const struct trees *trees, struct snapshot *snapshot)
{
	DIR *stream = opendir("/proc");
	struct dirent *entry;

	snapshot->began_ns = clock_boot_ns();
	snapshot->count = 0;
	while (stream && (entry = readdir(stream))) {
		pid_t pid = entry->d_name[0] >= '1' && entry->d_name[0] <= '9' ? (pid_t)strtol(entry->d_name, NULL, 10) : 0;

		if (!pid)
			continue;
		if (snapshot->count == snapshot->room) {
			snapshot->room = snapshot->room ? snapshot->room * 2 : 256;
			snapshot->procs = mem_realloc(snapshot->procs, snapshot->room * sizeof(*snapshot->procs));
		}
		if (!read_stat(pid, &snapshot->procs[snapshot->count]))
			continue;
		snapshot->procs[snapshot->count++].id = read_id(trees, snapshot, pid);
	}
	if (stream)
		closedir(stream);
	if (snapshot->count)
		qsort(snapshot->procs, snapshot->count, sizeof(*snapshot->procs), compare_procs);
	for (size_t i = 0; i < snapshot->count; i++) {
		size_t up = find_proc(snapshot, snapshot->procs[i].parent);

		snapshot->procs[i].up = (uint32_t)(up == SIZE_MAX ? i : up);
	}
}

static struct snapshot *snapshot_since(struct trees *trees, int64_t since_ns)
{
	struct snapshot *snapshot = trees->snapshot;

	if (!snapshot) {
		snapshot = trees->snapshot = mem_alloc(sizeof(*snapshot));
		snapshot->environ_size = 16384;
		snapshot->environ = mem_alloc(snapshot->environ_size);
		take_snapshot(trees, snapshot);
	} else if (snapshot->began_ns < since_ns) {
		take_snapshot(trees, snapshot);
	}
	return snapshot;
}

void snapshot_destroy(struct snapshot *snapshot)
{
	if (!snapshot)
		return;
	free(snapshot->environ);
	free(snapshot->procs);
	free(snapshot);
}

/* Whether a process belongs by what it says of itself. */
static bool belongs(const struct tree *tree, const struct proc *proc, bool recycled)
{
	if (proc->id == tree->id)
		return true;
	if (!tree->reaped)
		return proc->pid == tree->pid || proc->session == tree->pid;
	return proc->session == tree->pid && !recycled && proc->id == ID_NONE && proc->parent == tree->trees->keeper;
}

/* Marks all that belong; parents first or not, until nothing changes. */
static void mark(const struct tree *tree, struct snapshot *snapshot)
{
	bool recycled = tree->reaped && find_proc(snapshot, tree->pid) != SIZE_MAX, changed = true;

	snapshot->generation++;
	for (size_t i = 0; i < snapshot->count; i++)
		if (belongs(tree, &snapshot->procs[i], recycled))
			snapshot->procs[i].member = snapshot->generation;
	while (changed) {
		changed = false;
		for (size_t i = 0; i < snapshot->count; i++) {
			struct proc *proc = &snapshot->procs[i];

			if (proc->member == snapshot->generation || snapshot->procs[proc->up].member != snapshot->generation)
				continue;
			proc->member = snapshot->generation;
			changed = true;
		}
	}
}

void tree_sweep(struct tree *tree, bool group, int64_t since_ns, struct tree_members *members)
{
	struct snapshot *snapshot = snapshot_since(tree->trees, since_ns);

	mark(tree, snapshot);
	for (size_t i = 0; i < snapshot->count; i++) {
		const struct proc *proc = &snapshot->procs[i];

		if (proc->member == snapshot->generation && (!group || proc->group == tree->pid) && proc->pid != getpid() &&
			proc->pid != tree->trees->keeper)
			tree_members_add(members, (struct tree_member){.pid = proc->pid, .start = proc->start});
	}
}
