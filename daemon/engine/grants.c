/* See grants.h. */
#include "engine/grants.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

/* The next word of a line: its length, 0 at the end; *at is moved to its start. */
static size_t next_word(const char **at)
{
	*at += strspn(*at, " \t,");
	return strcspn(*at, " \t,");
}

/* The id that no user and no group has: it means "no change" to the kernel. */
#define NOBODYS_ID 4294967295ul

static int read_identity(const char *word, size_t length, struct identity *out, struct err *err)
{
	unsigned long id;
	char *end;

	out->group = length > 4 && strncmp(word, "gid:", 4) == 0;
	if (!out->group && (length <= 4 || strncmp(word, "uid:", 4) != 0))
		return err_set(err, STATUS_INVALID_ARGUMENT, "%.*s is neither uid:NUMBER nor gid:NUMBER", (int)length, word);
	errno = 0;
	id = strtoul(word + 4, &end, 10);
	if (!isdigit((unsigned char)word[4]) || end != word + length || errno || id >= NOBODYS_ID)
		return err_set(err, STATUS_INVALID_ARGUMENT, "%.*s has no number of a user or group", (int)length, word);
	out->id = (id_t)id;
	return 0;
}

static int read_role(const char *word, size_t length, unsigned *rights, struct err *err)
{
	for (unsigned right = RIGHT_OBSERVE; right <= RIGHT_ADMIN; right <<= 1) {
		const char *name = right_name((enum right)right);

		if (strlen(name) != length || strncmp(name, word, length) != 0)
			continue;
		*rights |= right == RIGHT_ADMIN ? RIGHTS_ALL : right;
		return 0;
	}
	return err_set(err, STATUS_INVALID_ARGUMENT, "%.*s is none of the roles observe, attach, signal, spawn, admin", (int)length, word);
}

int grants_read_grant(struct grants *grants, const char *value, struct err *err)
{
	struct grant grant = {.rights = 0};
	size_t length = next_word(&value);
	int done = read_identity(value, length, &grant.to, err);

	while (done == 0) {
		value += length;
		length = next_word(&value);
		if (!length)
			break;
		done = read_role(value, length, &grant.rights, err);
	}
	if (done < 0)
		return done;
	if (!grant.rights)
		return err_set(err, STATUS_INVALID_ARGUMENT, "names no role");
	grants->grants = mem_realloc(grants->grants, (grants->grant_count + 1) * sizeof(*grants->grants));
	grants->grants[grants->grant_count++] = grant;
	return 0;
}

int grants_read_run_as(struct grants *grants, const char *value, struct err *err)
{
	struct run_as run_as;
	size_t length = next_word(&value), before = grants->run_as_count;
	int done = read_identity(value, length, &run_as.who, err);

	while (done == 0) {
		value += length;
		length = next_word(&value);
		if (!length)
			break;
		done = read_identity(value, length, &run_as.as, err);
		if (done < 0)
			break;
		grants->run_as = mem_realloc(grants->run_as, (grants->run_as_count + 1) * sizeof(*grants->run_as));
		grants->run_as[grants->run_as_count++] = run_as;
	}
	if (done < 0)
		return done;
	return grants->run_as_count > before ? 0 : err_set(err, STATUS_INVALID_ARGUMENT, "names no uid or gid to run as");
}

void grants_finish(struct grants *grants)
{
	free(grants->grants);
	free(grants->run_as);
	*grants = (struct grants){0};
}

bool grants_any(const struct grants *grants)
{
	return grants->grant_count > 0;
}

bool client_has_group(const struct client_ids *client, gid_t gid)
{
	for (size_t i = 0; i < client->group_count; i++)
		if (client->groups[i] == gid)
			return true;
	return client->gid == gid;
}

static bool is_client(struct identity who, const struct client_ids *client)
{
	return who.group ? client_has_group(client, who.id) : client->uid == who.id;
}

unsigned grants_rights(const struct grants *grants, const struct client_ids *client)
{
	unsigned rights = RIGHT_NONE;

	for (size_t i = 0; i < grants->grant_count; i++)
		if (is_client(grants->grants[i].to, client))
			rights |= grants->grants[i].rights;
	return rights;
}

bool grants_run_as(const struct grants *grants, const struct client_ids *client, struct identity as)
{
	for (size_t i = 0; i < grants->run_as_count; i++) {
		const struct run_as *run_as = &grants->run_as[i];

		if (run_as->as.group == as.group && run_as->as.id == as.id && is_client(run_as->who, client))
			return true;
	}
	return false;
}
