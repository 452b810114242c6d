/* See persist.h. A file is a head and what process/record.h makes of a spec; it is written beside its name and renamed. */
#include "service/persist.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/failpoint.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/sys.h"
#include "process/record.h"
#include "service/internal.h"

#define MAGIC 0x7073706eu
#define VERSION 1u
#define FILE_MAX_BYTES (16u << 20)
#define TEMPORARY ".new"

struct head {
	uint32_t magic, version;
	uint64_t size, digest; /* of what follows */
	uint32_t uid, reserved;
};

struct persist {
	char *dir; /* owned; NULL: none */
};

static uint64_t digest_of(const uint8_t *bytes, size_t size)
{
	uint64_t digest = UINT64_C(0xcbf29ce484222325);

	for (size_t i = 0; i < size; i++)
		digest = (digest ^ bytes[i]) * UINT64_C(0x100000001b3);
	return digest;
}

static int make_dir(const char *dir, struct err *err)
{
	int done = sys_mkdir(dir, 0700);
	struct stat facts;

	if (done < 0 && done != -EEXIST)
		return err_errno(err, -done, "mkdir", dir);
	if (stat(dir, &facts) < 0)
		return err_errno(err, errno, "stat", dir);
	if (!S_ISDIR(facts.st_mode))
		return err_errno(err, ENOTDIR, "mkdir", dir);
	if (facts.st_uid != geteuid() || facts.st_mode & 022)
		return err_set(err, STATUS_PERMISSION_DENIED, "%s must be ours, and writable by nobody else: what it says is started", dir);
	return 0;
}

struct persist *persist_create(const char *dir, struct err *err)
{
	struct persist *persist = mem_alloc(sizeof(*persist));
	int done;

	if (!dir)
		return persist;
	persist->dir = mem_printf("%s/specs", dir);
	done = make_dir(dir, err);
	if (done == 0)
		done = make_dir(persist->dir, err);
	if (done == 0)
		return persist;
	persist_destroy(persist);
	return NULL;
}

void persist_destroy(struct persist *persist)
{
	if (!persist)
		return;
	free(persist->dir);
	free(persist);
}

/* ---- writing ---- */

static int write_all(int fd, const uint8_t *bytes, size_t size)
{
	while (size) {
		ssize_t done = sys_write(fd, bytes, size);

		if (done < 0)
			return (int)done;
		bytes += done;
		size -= (size_t)done;
	}
	return 0;
}

/* The name is there for good only when the directory is on the disk too. */
static int sync_dir(const char *dir)
{
	_cleanup_fd_ int fd = sys_open(dir, O_RDONLY | O_DIRECTORY, 0);

	if (fd < 0)
		return fd;
	return fsync(fd) < 0 ? -errno : 0;
}

static int write_file(const char *path, const struct buf *content)
{
	_cleanup_fd_ int fd = sys_open(path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0600);
	int done = fd < 0 ? fd : write_all(fd, content->bytes, content->length);

	if (done == 0 && fsync(fd) < 0)
		done = -errno;
	return done;
}

static void fill(struct buf *content, const struct spec *spec, uid_t uid)
{
	struct head head = {.magic = MAGIC, .version = VERSION, .uid = uid};
	struct buf body = {0};

	record_pack_spec(&body, spec);
	head.size = body.length;
	head.digest = digest_of(body.bytes, body.length);
	buf_append(content, &head, sizeof(head));
	buf_append(content, body.bytes, body.length);
	buf_finish(&body);
}

int persist_write(struct persist *persist, const struct spec *spec, uid_t uid, struct err *err)
{
	_cleanup_free_ char *path = NULL, *temporary = NULL;
	struct buf content = {0};
	int done;

	if (!persist || !persist->dir) {
		err_set(err, STATUS_FAILED_PRECONDITION, "spec.persist: the daemon has no --state-dir");
		if (err)
			snprintf(err->field, sizeof(err->field), "spec.persist");
		return -EPERM;
	}
	path = mem_printf("%s/%s", persist->dir, spec->message->name);
	temporary = mem_printf("%s/" TEMPORARY, persist->dir); /* no name begins so that is written in the same turn */
	fill(&content, spec, uid);
	done = content.length > FILE_MAX_BYTES ? -EFBIG : write_file(temporary, &content);
	failpoint("persist-written");
	if (done == 0)
		done = sys_rename(temporary, path);
	failpoint("persist-renamed");
	if (done == 0)
		done = sync_dir(persist->dir);
	else
		unlink(temporary);
	buf_finish(&content);
	return done < 0 ? err_errno(err, -done, "write", path) : 0;
}

int persist_remove(struct persist *persist, const char *name, struct err *err)
{
	_cleanup_free_ char *path = NULL;
	int done;

	if (!persist || !persist->dir || !*name || *name == '.' || strchr(name, '/'))
		return -ENOENT;
	path = mem_printf("%s/%s", persist->dir, name);
	done = unlink(path) < 0 ? -errno : sync_dir(persist->dir);
	return done < 0 ? err_errno(err, -done, "unlink", path) : 0;
}

/* ---- reading ---- */

/* The whole file, or negative. */
static int read_file(const char *path, struct buf *content, struct err *err)
{
	_cleanup_fd_ int fd = sys_open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0);
	struct stat facts;
	ssize_t done = 1;

	if (fd < 0)
		return err_errno(err, -fd, "open", path);
	if (fstat(fd, &facts) < 0 || !S_ISREG(facts.st_mode) || facts.st_uid != geteuid() || facts.st_mode & 022)
		return err_set(err, STATUS_PERMISSION_DENIED, "it is not a file of ours that nobody else can write to");
	while (done > 0 && content->length <= FILE_MAX_BYTES) {
		done = sys_read(fd, buf_reserve(content, 65536), 65536);
		if (done > 0)
			buf_commit(content, (size_t)done);
	}
	return done < 0 ? err_errno(err, (int)-done, "read", path) : 0;
}

static int parse(const struct buf *content, struct spec **spec_out, uid_t *uid_out, struct err *err)
{
	const uint8_t *body = content->bytes + sizeof(struct head);
	struct head head;

	if (content->length < sizeof(head))
		return err_set(err, STATUS_DATA_LOSS, "it is too short");
	memcpy(&head, content->bytes, sizeof(head));
	if (head.magic != MAGIC)
		return err_set(err, STATUS_DATA_LOSS, "it is no spec");
	if (head.version != VERSION)
		return err_set(
			err, STATUS_FAILED_PRECONDITION, "it is of version %u, this program reads version %u", head.version, VERSION);
	if (head.size != content->length - sizeof(head) || head.digest != digest_of(body, head.size))
		return err_set(err, STATUS_DATA_LOSS, "it is damaged");
	*uid_out = head.uid;
	return record_unpack_spec(body, head.size, spec_out, err);
}

static int start_file(const char *path, struct service *service, struct err *err)
{
	struct record_origin origin = {.made_ns = clock_boot_ns()};
	struct buf content = {0};
	struct spec *spec = NULL;
	struct child *child;
	uid_t uid = 0;
	int done = read_file(path, &content, err);

	if (done == 0)
		done = parse(&content, &spec, &uid, err);
	buf_finish(&content);
	if (done < 0)
		return done;
	origin.uid = uid;
	done = child_create(service->config.children, spec, &origin, NULL, 0, &child, err);
	spec_unref(spec);
	if (done == 0)
		channels_open(service->channels, child);
	return done;
}

static int is_spec(const struct dirent *entry)
{
	return entry->d_name[0] != '.';
}

void persist_start(struct persist *persist, struct service *service)
{
	struct dirent **names = NULL;
	int count = persist->dir ? scandir(persist->dir, &names, is_spec, alphasort) : 0;
	struct err err;

	if (count < 0)
		log_(LOG_ERROR, "%s cannot be read: %s", persist->dir, strerror(errno));
	for (int i = 0; i < count; i++) {
		_cleanup_free_ char *path = mem_printf("%s/%s", persist->dir, names[i]->d_name);

		if (start_file(path, service, &err) < 0)
			log_(LOG_ERROR, "%s is not started: %s", path, err.message);
		else
			log_(LOG_INFO, "%s is started", path);
		free(names[i]);
	}
	free(names);
}
