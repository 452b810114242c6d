/* See limits.h. */
#include "engine/limits.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/ledger.h"
#include "base/mem.h"
#include "link/journal.h"

#define SHARE 4u      /* of everything, one user has one part of so many */
#define LOG_SHARE 16u /* of the machine's memory: a quarter of what all logs may have */
#define MEMORY_SHARE 16u
#define MEMORY_WITHOUT_FACTS (UINT64_C(1) << 30)
#define NOBODYS_UID 4294967295ul

/* The next word of a line: its length, 0 at the end; *at is moved to its start. */
static size_t next_word(const char **at)
{
	*at += strspn(*at, " \t,");
	return strcspn(*at, " \t,");
}

static int read_user(const char *word, size_t length, struct limit *limit, struct err *err)
{
	unsigned long uid;
	char *end;

	limit->everybody = length == strlen("others") && strncmp(word, "others", length) == 0;
	if (limit->everybody)
		return 0;
	errno = 0;
	uid = length > 4 && strncmp(word, "uid:", 4) == 0 && isdigit((unsigned char)word[4]) ? strtoul(word + 4, &end, 10) : NOBODYS_UID;
	if (uid >= NOBODYS_UID || errno || end != word + length)
		return err_set(err, STATUS_INVALID_ARGUMENT, "%.*s is neither uid:NUMBER nor others", (int)length, word);
	limit->uid = (uid_t)uid;
	return 0;
}

/* "100", "64M", "unlimited". */
static bool read_number(const char *text, size_t length, uint64_t *out)
{
	static const char units[] = "KMGT";
	const char *unit;
	char *end;

	*out = QUOTA_UNLIMITED;
	if (length == strlen("unlimited") && strncmp(text, "unlimited", length) == 0)
		return true;
	if (!length || !isdigit((unsigned char)*text))
		return false;
	errno = 0;
	*out = strtoull(text, &end, 10);
	if (errno)
		return false;
	unit = end < text + length ? strchr(units, *end) : NULL;
	for (const char *at = units; unit && at <= unit; at++) {
		if (*out > UINT64_MAX / 1024)
			return false;
		*out *= 1024;
	}
	return end + (unit != NULL) == text + length;
}

static int read_limit(const char *word, size_t length, struct limit *limit, struct err *err)
{
	const char *equals = memchr(word, '=', length);
	size_t name = equals ? (size_t)(equals - word) : length;

	if (!quota_of(word, name, &limit->quota))
		return err_set(err, STATUS_INVALID_ARGUMENT,
			"%.*s is none of the quotas processes, descriptors, log-bytes, connections, memory", (int)name, word);
	if (!equals || !read_number(equals + 1, length - name - 1, &limit->value))
		return err_set(err, STATUS_INVALID_ARGUMENT, "%.*s has no number", (int)length, word);
	return 0;
}

int limits_read(struct limits *limits, const char *value, struct err *err)
{
	struct limit limit = {.everybody = false};
	size_t length = next_word(&value), before = limits->count;
	int done = read_user(value, length, &limit, err);

	while (done == 0) {
		value += length;
		length = next_word(&value);
		if (!length)
			break;
		done = read_limit(value, length, &limit, err);
		if (done < 0)
			break;
		limits->items = mem_realloc(limits->items, (limits->count + 1) * sizeof(*limits->items));
		limits->items[limits->count++] = limit;
	}
	if (done < 0)
		return done;
	return limits->count > before ? 0 : err_set(err, STATUS_INVALID_ARGUMENT, "names no quota");
}

void limits_finish(struct limits *limits)
{
	free(limits->items);
	*limits = (struct limits){0};
}

static uint64_t machine_memory(void)
{
	long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);

	return pages > 0 && page > 0 ? (uint64_t)pages * (uint64_t)page : MEMORY_WITHOUT_FACTS;
}

void limits_default(unsigned fds_limit, unsigned clients_max, struct quota_limits *out)
{
	uint64_t memory = machine_memory() / MEMORY_SHARE;

	out->of[QUOTA_PROCESSES] = JOURNAL_SLOTS / SHARE;
	out->of[QUOTA_DESCRIPTORS] = fds_limit / SHARE;
	out->of[QUOTA_LOG_BYTES] = machine_memory() / LOG_SHARE;
	out->of[QUOTA_CONNECTIONS] = clients_max / SHARE;
	out->of[QUOTA_MEMORY] = memory < LEDGER_BYTES_MAX / SHARE ? memory : LEDGER_BYTES_MAX / SHARE;
}

void limits_of(const struct limits *limits, const struct quota_limits *others, uid_t uid, bool master, struct quota_limits *out)
{
	bool own[QUOTA_COUNT] = {false};

	for (enum quota quota = 0; quota < QUOTA_COUNT; quota++)
		out->of[quota] = master ? QUOTA_UNLIMITED : others->of[quota];
	for (size_t i = 0; i < limits->count; i++) {
		const struct limit *limit = &limits->items[i];

		if (limit->everybody ? master || own[limit->quota] : limit->uid != uid)
			continue;
		own[limit->quota] = own[limit->quota] || !limit->everybody;
		out->of[limit->quota] = limit->value;
	}
}
