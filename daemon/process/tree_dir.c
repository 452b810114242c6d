/*
 * Directories for trees, in cgroup v2 or in the v1 freezer hierarchy. They are reused: making and removing one costs more
 * than a tenth of a spawn. A directory goes back to the pool when nobody is in it; until then it lingers.
 *
 * The base is named after pid namespace, keeper and its start, so that an engine that is started again finds it, and one of
 * a daemon that is no more is known as such and removed.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <mntent.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/sys.h"
#include "process/tree_parts.h"

#define POOL_MAX 256u
#define KEPT_MAX 32u /* directories whose descriptors stay open */
#define LINGERING_LOOKS 4u
#define DIR_MODE 0755

/* Reads a whole small file. Bytes, the text NUL-terminated, or -errno. */
static ssize_t read_text(int dir, const char *file, char *text, size_t size)
{
	_cleanup_fd_ int fd = sys_openat(dir, file, O_RDONLY, 0);
	ssize_t done;

	if (fd < 0)
		return fd;
	done = sys_read(fd, text, size - 1);
	text[done > 0 ? done : 0] = 0;
	return done;
}

/* The number after "KEY " at the start of a line; 0 when it is not there. */
static uint64_t value_of(const char *text, const char *key)
{
	size_t length = strlen(key);

	for (const char *line = text; line && *line; line = strchr(line, '\n'), line += line != NULL)
		if (strncmp(line, key, length) == 0 && line[length] == ' ')
			return strtoull(line + length, NULL, 10);
	return 0;
}

/* Opens a file of a directory; NULL: itself. */
static int open_in(struct trees *trees, const struct tree_dir *dir, const char *file, int flags)
{
	char path[96];

	snprintf(path, sizeof(path), file ? "%u/%s" : "%u", dir->number, file);
	return sys_openat(trees->base, path, flags, 0);
}

int tree_dir_write(struct trees *trees, const struct tree_dir *dir, const char *file, const char *text)
{
	_cleanup_fd_ int fd = open_in(trees, dir, file, O_WRONLY);
	ssize_t done;

	if (fd < 0)
		return fd;
	done = sys_write(fd, text, strlen(text));
	return done < 0 ? (int)done : 0;
}

static ssize_t read_file(struct trees *trees, const struct tree_dir *dir, const char *file, char *text, size_t size)
{
	char path[96];

	snprintf(path, sizeof(path), "%u/%s", dir->number, file);
	return read_text(trees->base, path, text, size);
}

/* ---- who is in there ---- */

/* Adds the pids of one open cgroup.procs. */
static void add_pids(int fd, struct tree_members *members)
{
	char text[4096];
	ssize_t got;
	pid_t pid = 0;

	while ((got = sys_read(fd, text, sizeof(text))) > 0) {
		for (ssize_t i = 0; i < got; i++) {
			if (text[i] >= '0' && text[i] <= '9') {
				pid = pid * 10 + (text[i] - '0');
				continue;
			}
			if (pid)
				tree_members_add(members, (struct tree_member){.pid = pid});
			pid = 0;
		}
	}
}

/* Adds the pids of a directory (taken) and of those below it. */
static void list_below(int dir, struct tree_members *members)
{
	int procs = sys_openat(dir, "cgroup.procs", O_RDONLY, 0);
	struct dirent *entry;
	struct stat status;
	DIR *stream;

	if (procs >= 0) {
		add_pids(procs, members);
		sys_close(procs);
	}
	if (fstat(dir, &status) < 0 || status.st_nlink <= 2 || !(stream = fdopendir(dir))) {
		sys_close(dir);
		return;
	}
	while ((entry = readdir(stream))) {
		int below;

		if (entry->d_type != DT_DIR || entry->d_name[0] == '.')
			continue;
		below = sys_openat(dirfd(stream), entry->d_name, O_RDONLY | O_DIRECTORY, 0);
		if (below >= 0)
			list_below(below, members);
	}
	closedir(stream);
}

void tree_dir_list(struct trees *trees, const struct tree_dir *dir, struct tree_members *members)
{
	int fd = open_in(trees, dir, NULL, O_RDONLY | O_DIRECTORY);

	if (fd >= 0)
		list_below(fd, members);
}

/* Whether cgroup.events says that nobody is in there or below; so it is when the directory is gone. */
static bool is_unpopulated(struct trees *trees, struct tree_dir *dir)
{
	char text[256];
	ssize_t got;

	if (dir->events_fd < 0)
		dir->events_fd = open_in(trees, dir, "cgroup.events", O_RDONLY);
	got = dir->events_fd < 0 ? dir->events_fd : sys_pread(dir->events_fd, text, sizeof(text) - 1, 0);
	text[got > 0 ? got : 0] = 0;
	if (!dir->kept)
		fd_close(&dir->events_fd);
	return got == -ENOENT || got == -ENODEV || (got > 0 && value_of(text, "populated") == 0);
}

bool tree_dir_is_empty(struct trees *trees, struct tree_dir *dir)
{
	struct tree_members members = {0};
	bool empty;

	if (trees->way == TREE_CGROUP)
		return is_unpopulated(trees, dir);
	tree_dir_list(trees, dir, &members);
	empty = members.count == 0;
	tree_members_finish(&members);
	return empty;
}

bool tree_dir_has(struct trees *trees, const struct tree_dir *dir, pid_t pid)
{
	const char *base = strrchr(trees->base_path, '/');
	char path[64], text[4096], wanted[160];
	const char *found;
	size_t length;

	snprintf(path, sizeof(path), "/proc/%d/cgroup", (int)pid);
	if (read_text(AT_FDCWD, path, text, sizeof(text)) <= 0)
		return false;
	length = (size_t)snprintf(wanted, sizeof(wanted), "%.120s/%u", base ? base : trees->base_path, dir->number);
	found = strstr(text, wanted);
	return found && (found[length] == '\n' || found[length] == '/');
}

uint64_t tree_dir_oom_kills(struct trees *trees, const struct tree_dir *dir)
{
	char text[512];

	return read_file(trees, dir, "memory.events", text, sizeof(text)) > 0 ? value_of(text, "oom_kill") : 0;
}

void tree_dir_freeze(struct trees *trees, const struct tree_dir *dir, bool on)
{
	if (trees->way == TREE_CGROUP)
		tree_dir_write(trees, dir, "cgroup.freeze", on ? "1" : "0");
	else
		tree_dir_write(trees, dir, "freezer.state", on ? "FROZEN" : "THAWED");
}

bool tree_dir_is_frozen(struct trees *trees, const struct tree_dir *dir)
{
	char text[256];

	if (trees->way == TREE_CGROUP)
		return read_file(trees, dir, "cgroup.events", text, sizeof(text)) > 0 && value_of(text, "frozen") == 1;
	return read_file(trees, dir, "freezer.state", text, sizeof(text)) > 0 && strncmp(text, "FROZEN", 6) == 0;
}

/* ---- descriptors that stay open ---- */

static struct tree_dir *create_dir(unsigned number)
{
	struct tree_dir *dir = mem_alloc(sizeof(*dir));

	dir->number = number;
	dir->plan_fd = dir->events_fd = -1;
	return dir;
}

static void destroy_dir(struct trees *trees, struct tree_dir *dir)
{
	tree_dir_close(trees, dir);
	free(dir);
}

int tree_dir_plan_fd(struct trees *trees, struct tree_dir *dir)
{
	int fd;

	if (dir->plan_fd >= 0)
		return dir->plan_fd;
	fd = trees->way == TREE_CGROUP ? open_in(trees, dir, NULL, O_RDONLY | O_DIRECTORY) : open_in(trees, dir, "cgroup.procs", O_WRONLY);
	if (fd >= 0)
		dir->plan_fd = fd;
	return fd;
}

void tree_dir_rest(struct trees *trees, struct tree_dir *dir)
{
	if (dir->kept)
		return;
	if (trees->kept < KEPT_MAX) {
		dir->kept = true;
		trees->kept++;
	} else {
		fd_close(&dir->plan_fd);
	}
}

bool tree_dir_close(struct trees *trees, struct tree_dir *dir)
{
	bool kept = dir->kept;

	fd_close(&dir->plan_fd);
	fd_close(&dir->events_fd);
	dir->kept = false;
	trees->kept -= kept;
	return kept;
}

/* ---- the pool ---- */

/* Removes one that is empty; while the kernel refuses, it lingers. */
static void remove_dir(struct trees *trees, struct tree_dir *dir)
{
	char name[16];

	snprintf(name, sizeof(name), "%u", dir->number);
	if (unlinkat(trees->base, name, AT_REMOVEDIR) < 0 && errno != ENOENT)
		TAILQ_INSERT_TAIL(&trees->lingering, dir, entry);
	else
		destroy_dir(trees, dir);
}

/* One whose last member has left meanwhile. A few looks at a time, so that many that stay cost nothing. */
static struct tree_dir *find_abandoned(struct trees *trees)
{
	for (unsigned i = 0; i < LINGERING_LOOKS; i++) {
		struct tree_dir *dir = TAILQ_FIRST(&trees->lingering);

		if (!dir)
			return NULL;
		TAILQ_REMOVE(&trees->lingering, dir, entry);
		if (!tree_dir_is_empty(trees, dir))
			TAILQ_INSERT_TAIL(&trees->lingering, dir, entry);
		else if (dir->spent)
			remove_dir(trees, dir);
		else
			return dir;
	}
	return NULL;
}

static int make_dir(struct trees *trees, unsigned number)
{
	char name[16];

	snprintf(name, sizeof(name), "%u", number);
	return mkdirat(trees->base, name, DIR_MODE) < 0 && errno != EEXIST ? -errno : 0;
}

/* Somebody removed the base: makes it again. */
static int remake_base(struct trees *trees)
{
	int base;

	if (mkdir(trees->base_path, DIR_MODE) < 0 && errno != EEXIST)
		return -errno;
	base = sys_open(trees->base_path, O_RDONLY | O_DIRECTORY, 0);
	if (base < 0)
		return base;
	fd_close(&trees->base);
	trees->base = base;
	return 0;
}

int tree_dir_make(struct trees *trees, const struct tree_dir *dir)
{
	int done = make_dir(trees, dir->number);

	if (done == -ENOENT && remake_base(trees) == 0)
		done = make_dir(trees, dir->number);
	if (done < 0)
		log_(LOG_WARNING, "trees: no directory in %s: %s", trees->base_path, err_name(-done));
	return done;
}

struct tree_dir *tree_dir_take(struct trees *trees)
{
	struct tree_dir *dir = TAILQ_FIRST(&trees->pool);

	if (dir) {
		TAILQ_REMOVE(&trees->pool, dir, entry);
		trees->pool_count--;
		return dir;
	}
	dir = find_abandoned(trees);
	if (dir)
		return dir;
	dir = create_dir(++trees->last_number);
	if (tree_dir_make(trees, dir) == 0)
		return dir;
	destroy_dir(trees, dir);
	return NULL;
}

struct tree_dir *tree_dir_find(struct trees *trees, unsigned number)
{
	struct tree_dir *dir;

	TAILQ_FOREACH(dir, &trees->lingering, entry)
	if (dir->number == number)
		break;
	if (dir)
		TAILQ_REMOVE(&trees->lingering, dir, entry);
	return dir;
}

void tree_dir_put(struct trees *trees, struct tree_dir *dir, bool empty)
{
	if (!empty && !tree_dir_is_empty(trees, dir)) {
		TAILQ_INSERT_TAIL(&trees->lingering, dir, entry);
		return;
	}
	if (dir->spent || trees->pool_count >= POOL_MAX) {
		remove_dir(trees, dir);
		return;
	}
	TAILQ_INSERT_HEAD(&trees->pool, dir, entry);
	trees->pool_count++;
}

/* ---- the base ---- */

/* Removes directories below dir (taken), from the bottom, as far as nobody is in them. */
static void remove_below(int dir)
{
	DIR *stream = fdopendir(dir);
	struct dirent *entry;

	if (!stream) {
		sys_close(dir);
		return;
	}
	while ((entry = readdir(stream))) {
		int below;

		if (entry->d_type != DT_DIR || entry->d_name[0] == '.')
			continue;
		below = sys_openat(dirfd(stream), entry->d_name, O_RDONLY | O_DIRECTORY, 0);
		if (below >= 0)
			remove_below(below);
		unlinkat(dirfd(stream), entry->d_name, AT_REMOVEDIR);
	}
	closedir(stream);
}

/* "spawnd-PIDNS-": how names of bases in our pid namespace begin. */
static void base_prefix(char *text, size_t size)
{
	struct stat status;

	snprintf(text, size, "spawnd-%llu-", stat("/proc/self/ns/pid", &status) == 0 ? (unsigned long long)status.st_ino : 0ull);
}

/* Removes what daemons left behind that are no more. */
static void remove_stale(const char *parent)
{
	char prefix[48];
	struct dirent *entry;
	DIR *stream = opendir(parent);

	base_prefix(prefix, sizeof(prefix));
	while (stream && (entry = readdir(stream))) {
		int pid, below;
		unsigned long long start;

		if (strncmp(entry->d_name, prefix, strlen(prefix)) != 0 ||
			sscanf(entry->d_name + strlen(prefix), "%d.%llu", &pid, &start) != 2 || proc_start(pid) == start)
			continue;
		below = sys_openat(dirfd(stream), entry->d_name, O_RDONLY | O_DIRECTORY, 0);
		if (below >= 0)
			remove_below(below);
		unlinkat(dirfd(stream), entry->d_name, AT_REMOVEDIR);
	}
	if (stream)
		closedir(stream);
}

/* Directories of an engine before us: they linger until nobody is in them. */
static void adopt_dirs(struct trees *trees)
{
	int fd = sys_openat(trees->base, ".", O_RDONLY | O_DIRECTORY, 0);
	DIR *stream = fd >= 0 ? fdopendir(fd) : NULL;
	struct dirent *entry;

	while (stream && (entry = readdir(stream))) {
		unsigned number;
		struct tree_dir *dir;

		if (entry->d_type != DT_DIR || sscanf(entry->d_name, "%u", &number) != 1)
			continue;
		dir = create_dir(number);
		dir->spent = true; /* for all we know */
		if (number > trees->last_number)
			trees->last_number = number;
		tree_dir_freeze(trees, dir, false);
		TAILQ_INSERT_TAIL(&trees->lingering, dir, entry);
	}
	if (stream)
		closedir(stream);
}

/* Whether the hierarchy does here what is needed, by a directory that then waits in the pool. */
static int try_base(struct trees *trees, enum tree_way way)
{
	struct tree_dir *dir;
	int fd;

	dir = tree_dir_take(trees);
	if (!dir)
		return -EACCES;
	fd = open_in(trees, dir, "cgroup.procs", O_WRONLY);
	if (fd < 0) {
		destroy_dir(trees, dir);
		return fd;
	}
	sys_close(fd);
	fd = open_in(trees, dir, way == TREE_CGROUP ? "cgroup.events" : "freezer.state", O_RDONLY);
	if (fd >= 0)
		sys_close(fd);
	trees->has_kill = way == TREE_CGROUP && faccessat(trees->base, "cgroup.kill", W_OK, 0) == 0;
	trees->has_memory = false;
	tree_dir_put(trees, dir, true);
	if (fd >= 0 && way == TREE_CGROUP) {
		char text[512];

		dir = TAILQ_FIRST(&trees->pool);
		trees->has_memory = dir && read_file(trees, dir, "memory.events", text, sizeof(text)) > 0;
	}
	return fd < 0 ? fd : 0;
}

/* Makes the base below `parent`. 0 or -errno. */
static int open_below(struct trees *trees, enum tree_way way, const char *parent)
{
	char prefix[48];
	int done;

	base_prefix(prefix, sizeof(prefix));
	if ((size_t)snprintf(trees->base_path, sizeof(trees->base_path), "%s/%s%s", parent, prefix, trees->instance) >=
		sizeof(trees->base_path))
		return -ENAMETOOLONG;
	if (mkdir(trees->base_path, DIR_MODE) < 0 && errno != EEXIST)
		return -errno;
	trees->base = sys_open(trees->base_path, O_RDONLY | O_DIRECTORY, 0);
	if (trees->base < 0) {
		done = trees->base;
		trees->base = -1;
		return done;
	}
	trees->way = way;
	adopt_dirs(trees);
	done = try_base(trees, way);
	if (done < 0)
		tree_base_close(trees);
	else
		remove_stale(parent);
	return done;
}

/* Our own place in a hierarchy: "/" when it cannot be told. v2 is line "0::PATH", v1 "N:freezer:PATH". */
static void own_path(enum tree_way way, char *path, size_t size)
{
	FILE *file = fopen("/proc/self/cgroup", "re");
	const char *mark = way == TREE_CGROUP ? "0::" : ":freezer:";
	char line[4096];

	snprintf(path, size, "/");
	while (file && fgets(line, sizeof(line), file)) {
		char *found = strstr(line, mark);

		if (!found || (way == TREE_CGROUP && found != line))
			continue;
		line[strcspn(line, "\n")] = 0;
		snprintf(path, size, "%s", found + strlen(mark));
	}
	if (file)
		fclose(file);
}

int tree_base_open(struct trees *trees, enum tree_way way)
{
	FILE *mounts = setmntent("/proc/self/mounts", "re");
	char own[2048], parent[4096], buffer[8192];
	struct mntent entry;
	int done = -ENOENT;

	own_path(way, own, sizeof(own));
	while (mounts && done < 0 && getmntent_r(mounts, &entry, buffer, sizeof(buffer))) {
		if (strcmp(entry.mnt_type, way == TREE_CGROUP ? "cgroup2" : "cgroup") != 0)
			continue;
		if (way == TREE_FREEZER && !hasmntopt(&entry, "freezer"))
			continue;
		if (strcmp(own, "/") != 0) {
			snprintf(parent, sizeof(parent), "%s%s", entry.mnt_dir, own);
			done = open_below(trees, way, parent);
		}
		if (done < 0)
			done = open_below(trees, way, entry.mnt_dir);
	}
	if (mounts)
		endmntent(mounts);
	return done;
}

void tree_base_close(struct trees *trees)
{
	struct tree_dir *dir;
	int below;

	if (trees->base < 0)
		return;
	while ((dir = TAILQ_FIRST(&trees->pool)) || (dir = TAILQ_FIRST(&trees->lingering))) {
		TAILQ_REMOVE(dir == TAILQ_FIRST(&trees->pool) ? &trees->pool : &trees->lingering, dir, entry);
		destroy_dir(trees, dir);
	}
	trees->pool_count = 0;
	below = sys_openat(trees->base, ".", O_RDONLY | O_DIRECTORY, 0);
	if (below >= 0)
		remove_below(below);
	fd_close(&trees->base);
	rmdir(trees->base_path);
}
