/*
 * See record.h. A spec is written once, however many processes have it, and goes with the last of them: its content is what
 * compiles to the same spec again, the session's part already in it.
 */
#include "process/record.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/rlimits.h"

/* The beginning of a RECORD_SPEC; then env, each with its NUL, then limits, then the message. */
struct stored_spec {
	uint32_t use, uid, gid, no_new_privs;
	uint32_t env_count, rlimit_count;
	uint64_t env_size, message_size;
};

struct stored_rlimit {
	char name[16];
	uint64_t soft, hard;
};

static uint64_t last_number; /* of a spec that was stored or read */

static void put_rlimits(struct buf *buf, const struct spec *spec)
{
	for (size_t i = 0; i < spec->rlimit_count; i++) {
		struct stored_rlimit limit = {.soft = spec->rlimits[i].soft, .hard = spec->rlimits[i].hard};
		const char *name = rlimits_name_of(spec->rlimits[i].resource);

		strncpy(limit.name, name ? name : "", sizeof(limit.name) - 1);
		buf_append(buf, &limit, sizeof(limit));
	}
}

void record_pack_spec(struct buf *buf, const struct spec *spec)
{
	struct stored_spec head = {.use = (uint32_t)spec->use, .uid = spec->uid, .gid = spec->gid, .no_new_privs = spec->no_new_privs};

	for (; spec->env[head.env_count]; head.env_count++)
		head.env_size += strlen(spec->env[head.env_count]) + 1;
	head.rlimit_count = (uint32_t)spec->rlimit_count;
	head.message_size = spawnd__v1__process_spec__get_packed_size(spec->message);
	buf_append(buf, &head, sizeof(head));
	for (uint32_t i = 0; i < head.env_count; i++)
		buf_append(buf, spec->env[i], strlen(spec->env[i]) + 1);
	put_rlimits(buf, spec);
	spawnd__v1__process_spec__pack(spec->message, buf_reserve(buf, head.message_size));
	buf_commit(buf, head.message_size);
}

/* Writes the spec unless it is there; returns its number, 0 with *err. */
uint64_t record_write_spec(struct ledger *ledger, struct spec *spec, struct err *err)
{
	struct buf buf = {0};
	uint8_t *record;

	if (spec->record)
		return ledger_owner(spec->record);
	record_pack_spec(&buf, spec);
	record = ledger_write(ledger, RECORD_SPEC, ++last_number, buf.length, err);
	if (record) {
		memcpy(record, buf.bytes, buf.length);
		ledger_commit(record);
		spec->record = record;
		spec->ledger = ledger;
	}
	buf_finish(&buf);
	return record ? last_number : 0;
}

struct record *record_write(struct ledger *ledger, uint64_t id, struct spec *spec, const struct record_origin *origin, struct err *err)
{
	uint64_t number = record_write_spec(ledger, spec, err);
	size_t key = strlen(origin->key), method = strlen(origin->method), session = origin->session_size;
	struct record *record;
	uint8_t *tail;

	if (!number)
		return NULL;
	record = ledger_write(
		ledger, RECORD_PROCESS, id, sizeof(*record) + spec->slot_count * sizeof(record->slots[0]) + key + method + session, err);
	if (!record)
		return NULL;
	record->spec = number;
	record->owner = record->uid = origin->uid;
	if (origin->held)
		record_flag(record, RECORD_HELD);
	record->digest = origin->digest;
	record->made_ns = origin->made_ns;
	record->key_size = (uint8_t)key;
	record->method_size = (uint8_t)method;
	record->session_size = (uint8_t)session;
	tail = (uint8_t *)&record->slots[spec->slot_count];
	memcpy(tail, origin->key, key);
	memcpy(tail + key, origin->method, method);
	memcpy(tail + key + method, origin->session, session);
	atomic_store(&record->on_disconnect, (uint32_t)spec->message->on_disconnect);
	record->slot_count = (uint32_t)spec->slot_count;
	for (size_t i = 0; i < spec->slot_count; i++)
		record->slots[i].slot = spec->slots[i].slot;
	return record;
}

void record_origin_of(const struct record *record, struct record_origin *origin_out)
{
	const uint8_t *tail = (const uint8_t *)&record->slots[record->slot_count];

	*origin_out = (struct record_origin){
		.uid = record->uid, .session_size = record->session_size, .digest = record->digest, .made_ns = record->made_ns};
	memcpy(origin_out->key, tail, record->key_size);
	memcpy(origin_out->method, tail + record->key_size, record->method_size);
	memcpy(origin_out->session, tail + record->key_size + record->method_size, record->session_size);
}

struct record_slot *record_slot(struct record *record, uint32_t slot)
{
	for (uint32_t i = 0; record && i < record->slot_count; i++)
		if (record->slots[i].slot == slot)
			return &record->slots[i];
	return NULL;
}

/* Whether the parts of a stored spec add up to its size. */
static bool is_whole(const struct stored_spec *head, size_t size)
{
	return size >= sizeof(*head) && head->env_size <= size && head->message_size <= size &&
	       sizeof(*head) + head->env_size + head->rlimit_count * sizeof(struct stored_rlimit) + head->message_size == size;
}

/* Whether so many strings, each with its NUL, fill the bytes. */
static bool are_strings(const char *text, uint64_t size, uint32_t count)
{
	const char *end = text + size;

	for (; count && text < end; count--) {
		const char *nul = memchr(text, 0, (size_t)(end - text));

		if (!nul)
			return false;
		text = nul + 1;
	}
	return count == 0 && text == end;
}

int record_read_spec(struct ledger *ledger, void *bytes, struct spec **spec_out, struct err *err)
{
	int done = record_unpack_spec(bytes, ledger_size(bytes), spec_out, err);

	if (done == 0 && !(*spec_out)->record) {
		(*spec_out)->record = bytes;
		(*spec_out)->ledger = ledger;
	}
	if (ledger_owner(bytes) > last_number)
		last_number = ledger_owner(bytes);
	return done;
}

int record_unpack_spec(const void *bytes, size_t size, struct spec **spec_out, struct err *err)
{
	struct stored_spec head;
	struct spec_context context = {.daemon_uid = geteuid()};
	const char *text = (const char *)bytes + sizeof(head);
	_cleanup_free_ char **env = NULL;
	_cleanup_free_ Spawnd__V1__Rlimit *limits = NULL;
	_cleanup_free_ Spawnd__V1__Rlimit **list = NULL;
	_cleanup_free_ struct stored_rlimit *stored = NULL;
	Spawnd__V1__ProcessSpec *message;
	int done;

	if (size < sizeof(head))
		return err_set(err, STATUS_DATA_LOSS, "a stored spec is too short");
	memcpy(&head, bytes, sizeof(head));
	if (!is_whole(&head, size) || !are_strings(text, head.env_size, head.env_count))
		return err_set(err, STATUS_DATA_LOSS, "a stored spec is not whole");
	env = mem_alloc((head.env_count + 1) * sizeof(*env));
	for (uint32_t i = 0; i < head.env_count; i++, text += strlen(text) + 1)
		env[i] = (char *)text;
	limits = mem_alloc((head.rlimit_count + 1) * sizeof(*limits));
	list = mem_alloc((head.rlimit_count + 1) * sizeof(Spawnd__V1__Rlimit *));
	stored = mem_alloc((head.rlimit_count + 1) * sizeof(*stored));
	memcpy(stored, text, head.rlimit_count * sizeof(*stored));
	for (uint32_t i = 0; i < head.rlimit_count; i++) {
		spawnd__v1__rlimit__init(&limits[i]);
		limits[i].name = stored[i].name;
		limits[i].soft = stored[i].soft;
		limits[i].hard = stored[i].hard;
		list[i] = &limits[i];
	}
	context.env = env;
	context.rlimits = list;
	context.rlimit_count = head.rlimit_count;
	context.uid = head.uid;
	context.gid = head.gid;
	context.no_new_privs = head.no_new_privs;
	text += head.rlimit_count * sizeof(*stored);
	message = spawnd__v1__process_spec__unpack(NULL, head.message_size, (const uint8_t *)text);
	if (!message)
		return err_set(err, STATUS_DATA_LOSS, "a stored spec cannot be read");
	done = spec_compile(message, &context, (enum spec_use)head.use, spec_out, err);
	spawnd__v1__process_spec__free_unpacked(message, NULL);
	return done;
}
