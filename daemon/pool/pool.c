/*
 * One pool: what it is to be (size, stopped) and what it is (workers). `step` makes the one into the other; everything that
 * changes either asks for a step. No step waits.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "pool/pool_parts.h"
#include "pool/template.h"

#define BACKOFF_MIN_MS 100u
#define BACKOFF_MAX_MS 60000u
#define CRASH_BUDGET 10u
#define CRASH_BUDGET_MAX 100000u
#define CRASH_WINDOW_MS 300000u
#define EARLY_MAX 3u /* workers that end before any gets ready: it is not going to */
#define DURATION_MAX_MS (UINT64_C(86400) * 1000 * 365)

#define STATE(name) SPAWND__V1__POOL_STATE__POOL_STATE_##name
#define WORKER(name) SPAWND__V1__WORKER_STATE__WORKER_STATE_##name

/* ---- what is to be ---- */

static bool is_stopped(const struct pool *pool)
{
	return atomic_load(&pool->record->flags) & POOL_STOPPED;
}

static uint32_t wanted(const struct pool *pool)
{
	return is_stopped(pool) ? 0 : atomic_load(&pool->record->size);
}

static uint32_t budget(const struct pool *pool)
{
	return pool->spec->_crash_budget_case ? pool->spec->crash_budget : CRASH_BUDGET;
}

/* ---- steps ---- */

static void close_listeners(struct pool *pool)
{
	const struct process_host *host = pool->pools->host;

	for (size_t i = 0; i < pool->spec->n_listeners; i++) {
		if (pool->listeners[i].fd < 0)
			continue;
		listener_remove(&pool->listeners[i]);
		host->store_drop(host->context, STORE_LISTENER, pool->id, (uint32_t)i);
	}
}

static void fill_place(struct pool *pool, uint32_t index)
{
	struct place *place = &pool->places[index];
	struct err err;

	if (place->worker || place->failed || (place->backoff && loop_timer_pending(place->backoff)))
		return;
	if (worker_start(pool, index, &err) == 0)
		return;
	log_(LOG_WARNING, "pool %s: worker %u cannot be started: %s", pool->spec->name, index, err.message);
	pool_on_ended(pool, index, false, true, false, &err);
}

static void tell(struct pool *pool)
{
	struct pool_watch *watch, *next;

	for (watch = TAILQ_FIRST(&pool->watches); watch && !pool->removed; watch = next) {
		next = TAILQ_NEXT(watch, entry);
		watch->on_changed(watch->context, pool);
	}
}

static void free_removed(struct pool *pool)
{
	struct pool_watch *watch;

	while ((watch = TAILQ_FIRST(&pool->watches))) {
		TAILQ_REMOVE(&pool->watches, watch, entry);
		watch->on_removed(watch->context, pool);
	}
	pool_free(pool);
}

static void step(void *arg)
{
	struct pool *pool = arg;
	struct worker *worker, *next;
	uint32_t size;

	if (pool->removed) {
		free_removed(pool);
		return;
	}
	size = wanted(pool);
	for (worker = TAILQ_FIRST(&pool->workers); worker; worker = next) {
		next = TAILQ_NEXT(worker, entry);
		if (worker->index >= size)
			worker_drain(worker, is_stopped(pool) ? "stop" : "scale");
	}
	for (uint32_t i = 0; i < size && !pool->pools->quiet; i++)
		fill_place(pool, i);
	if (is_stopped(pool) && TAILQ_EMPTY(&pool->workers))
		close_listeners(pool);
	tell(pool);
}

void pool_touch(struct pool *pool)
{
	if (pool->pools->started)
		loop_defer_trigger(pool->step);
}

/* ---- workers ---- */

static void on_backoff(void *arg)
{
	struct place *place = arg;

	pool_touch(place->pool);
}

/* How long until the next one, after `bad` ends in a row that came too early; 20 % up or down, so that places do not march in step. */
static uint64_t backoff_us(const struct pool *pool, uint32_t index, unsigned bad)
{
	uint64_t least = pool->spec->_backoff_min_ms_case ? pool->spec->backoff_min_ms : BACKOFF_MIN_MS;
	uint64_t most = pool->spec->_backoff_max_ms_case ? pool->spec->backoff_max_ms : BACKOFF_MAX_MS;
	uint64_t delay = least;

	for (unsigned i = 1; i < bad && delay < most; i++)
		delay *= 2;
	delay = delay < most ? delay : most;
	return delay * (800 + ((uint64_t)clock_boot_ns() / 1000 + index * 97) % 401);
}

/* Counts an end before ready; true: that was one too many. */
static bool count_crash(struct pool *pool)
{
	uint32_t most = budget(pool);
	uint64_t window = pool->spec->_crash_window_ms_case ? pool->spec->crash_window_ms : CRASH_WINDOW_MS;
	int64_t now = clock_boot_ns(), *oldest;

	if (most == 0)
		return true;
	oldest = &pool->crashes[pool->crash_count++ % most];
	if (pool->crash_count > most && now - *oldest < (int64_t)(window * 1000000))
		return true;
	*oldest = now;
	return false;
}

static void fail(struct pool *pool)
{
	if (!pool->failed)
		log_(LOG_WARNING, "pool %s: more than %u workers ended before they were ready; nothing is started any more: %s",
			pool->spec->name, budget(pool), pool->failure->message);
	pool->failed = true;
	for (uint32_t i = 0; i < POOL_WORKERS_MAX; i++)
		pool->places[i].failed = true;
}

void pool_on_ended(struct pool *pool, uint32_t index, bool was_ready, bool was_bad, bool drained, const struct err *why)
{
	struct place *place = &pool->places[index];

	if (!drained && index < wanted(pool)) {
		atomic_fetch_add(&pool->record->restarts[index], 1);
		place->bad = was_bad ? place->bad + 1 : 0;
		if (!was_ready) {
			pool->early++;
			if (!pool->failure)
				pool->failure = mem_alloc(sizeof(*pool->failure));
			*pool->failure = *why;
		}
		if (!place->backoff)
			place->backoff = loop_timer_create(pool->pools->host->loop, on_backoff, place);
		loop_timer_set(place->backoff, backoff_us(pool, index, place->bad));
		if (!was_ready && count_crash(pool))
			fail(pool);
	}
	pool_touch(pool);
}

void pool_on_ready(struct pool *pool, uint32_t index)
{
	pool->early = 0;
	pool_touch(pool);
}

/* ---- making and freeing ---- */

struct pool *pool_make(struct pools *pools, uint64_t id, struct pool_record *record, Spawnd__V1__PoolSpec *spec, struct spec *template,
	struct listener *listeners)
{
	struct pool *pool = mem_alloc(sizeof(*pool));

	pool->pools = pools;
	pool->id = id;
	pool->record = record;
	pool->spec = spec;
	pool->template = template;
	pool->listeners = listeners;
	pool->step = loop_defer_create(pools->host->loop, step, pool);
	pool->crashes = mem_alloc((budget(pool) + 1) * sizeof(*pool->crashes));
	TAILQ_INIT(&pool->workers);
	TAILQ_INIT(&pool->watches);
	for (uint32_t i = 0; i < POOL_WORKERS_MAX; i++)
		pool->places[i].pool = pool;
	return pool;
}

void pool_free(struct pool *pool)
{
	while (!TAILQ_EMPTY(&pool->workers))
		worker_free(TAILQ_FIRST(&pool->workers));
	for (uint32_t i = 0; i < POOL_WORKERS_MAX; i++)
		loop_timer_destroy(pool->places[i].backoff);
	for (size_t i = 0; i < pool->spec->n_listeners; i++)
		fd_close(&pool->listeners[i].fd);
	loop_defer_destroy(pool->step);
	spawnd__v1__pool_spec__free_unpacked(pool->spec, NULL);
	spec_unref(pool->template);
	free(pool->listeners);
	free(pool->crashes);
	free(pool->failure);
	free(pool);
}

/* ---- creating ---- */

static int check_limits(const Spawnd__V1__PoolSpec *request, struct err *err)
{
	if (request->size > POOL_WORKERS_MAX)
		return err_invalid(err, "spec.size", "is above %u", POOL_WORKERS_MAX);
	if (request->ready_after_ms > DURATION_MAX_MS)
		return err_invalid(err, "spec.ready_after_ms", "is above a year");
	if (request->backoff_min_ms > DURATION_MAX_MS)
		return err_invalid(err, "spec.backoff_min_ms", "is above a year");
	if (request->backoff_max_ms > DURATION_MAX_MS)
		return err_invalid(err, "spec.backoff_max_ms", "is above a year");
	if (request->crash_budget > CRASH_BUDGET_MAX)
		return err_invalid(err, "spec.crash_budget", "is above %u", CRASH_BUDGET_MAX);
	if (request->crash_window_ms > DURATION_MAX_MS)
		return err_invalid(err, "spec.crash_window_ms", "is above a year");
	return template_check(request, err);
}

static int check_name(struct pools *pools, const char *name, struct err *err)
{
	int done;

	if (!name[0] || strlen(name) > 128 ||
		strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.@:-") != strlen(name) ||
		strspn(name, "0123456789") == strlen(name))
		return err_invalid(err, "spec.name", "must be 1 to 128 letters, digits and _.@:-, and not digits alone");
	if (!pools_find_name(pools, name))
		return 0;
	done = err_set(err, STATUS_ALREADY_EXISTS, "there is a pool named %s; remove it first (pool rm)", name);
	snprintf(err->field, sizeof(err->field), "spec.name");
	return done;
}

/* Closes what was opened. */
static void close_all(struct pools *pools, uint64_t id, struct listener *listeners, size_t count)
{
	for (size_t i = 0; i < count; i++)
		listener_remove(&listeners[i]);
	pools->host->store_drop(pools->host->context, STORE_ANY, id, 0);
	free(listeners);
}

/* Opens all sockets and gives them to the keeper. NULL with *err: none is left. */
static struct listener *open_all(struct pools *pools, uint64_t id, const Spawnd__V1__PoolSpec *request, struct err *err)
{
	const struct process_host *host = pools->host;
	struct listener *listeners = mem_alloc((request->n_listeners + 1) * sizeof(*listeners));
	int done = 0;

	for (size_t i = 0; done == 0 && i < request->n_listeners; i++)
		done = listener_check(&listeners[i], request->listeners[i], i, err);
	if (done < 0) {
		free(listeners);
		return NULL;
	}
	for (size_t i = 0; done == 0 && i < request->n_listeners; i++) {
		done = listener_open(&listeners[i], request->listeners[i], err);
		if (done == 0)
			done = host->store_put(host->context, STORE_LISTENER, id, (uint32_t)i, &listeners[i].fd, 1, err);
	}
	if (done == 0)
		return listeners;
	close_all(pools, id, listeners, request->n_listeners);
	return NULL;
}

static Spawnd__V1__PoolSpec *copy_bare(const Spawnd__V1__PoolSpec *request)
{
	Spawnd__V1__PoolSpec bare = *request;
	_cleanup_free_ uint8_t *packed = NULL;
	long cores = sysconf(_SC_NPROCESSORS_ONLN);
	size_t size;

	bare.template_ = NULL;
	if (!bare.size)
		bare.size = cores < 1 ? 1 : cores < (long)POOL_WORKERS_MAX ? (uint32_t)cores : POOL_WORKERS_MAX;
	size = spawnd__v1__pool_spec__get_packed_size(&bare);
	packed = mem_alloc(size + 1);
	spawnd__v1__pool_spec__pack(&bare, packed);
	return spawnd__v1__pool_spec__unpack(NULL, size, packed);
}

/* "spec.argv" is spec.template.argv here. */
static void move_field(struct err *err)
{
	char field[sizeof(err->field)];

	if (strncmp(err->field, "spec.", 5) != 0)
		return;
	snprintf(field, sizeof(field), "spec.template.%.100s", err->field + 5);
	strcpy(err->field, field);
}

int pool_create(struct pools *pools, const Spawnd__V1__PoolSpec *request, const struct spec_context *context, const char *key,
	struct pool **pool_out, struct err *err)
{
	struct listener *listeners = NULL;
	struct pool_record *record = NULL;
	Spawnd__V1__PoolSpec *bare;
	struct spec *template;
	uint64_t id;
	int done = check_limits(request, err);

	if (done == 0)
		done = check_name(pools, request->name, err);
	if (done < 0)
		return done;
	done = spec_compile(request->template_, context, SPEC_START, &template, err);
	if (done < 0) {
		move_field(err);
		return done;
	}
	bare = copy_bare(request);
	if (!bare) {
		spec_unref(template);
		return err_errno(err, ENOMEM, "malloc", NULL);
	}
	id = pools->host->next_id(pools->host->context);
	listeners = open_all(pools, id, bare, err);
	if (listeners)
		record = pool_record_write(pools->host->ledger, id, context->uid, key, bare, template, err);
	if (!record) {
		if (listeners)
			close_all(pools, id, listeners, bare->n_listeners);
		spec_unref(template);
		spawnd__v1__pool_spec__free_unpacked(bare, NULL);
		return -EINVAL;
	}
	*pool_out = pool_make(pools, id, record, bare, template, listeners);
	pools_add(*pool_out);
	log_(LOG_INFO, "pool %s: created with %u workers", bare->name, bare->size);
	pool_touch(*pool_out);
	return 0;
}

/* ---- acts ---- */

int pool_scale(struct pool *pool, uint32_t size, struct err *err)
{
	if (size < 1 || size > POOL_WORKERS_MAX)
		return err_invalid(err, "size", "must be 1 to %u", POOL_WORKERS_MAX);
	if (is_stopped(pool))
		return err_set(err, STATUS_FAILED_PRECONDITION, "pool %s is stopped", pool->spec->name);
	atomic_store(&pool->record->size, size);
	pool_touch(pool);
	return 0;
}

void pool_stop(struct pool *pool)
{
	atomic_fetch_or(&pool->record->flags, POOL_STOPPED);
	pool_touch(pool);
}

int pool_remove(struct pool *pool, struct err *err)
{
	const struct process_host *host = pool->pools->host;

	if (!is_stopped(pool) || !TAILQ_EMPTY(&pool->workers))
		return err_set(err, STATUS_FAILED_PRECONDITION, "pool %s runs; stop it first", pool->spec->name);
	close_listeners(pool);
	pools_drop(pool);
	host->store_drop(host->context, STORE_ANY, pool->id, 0);
	ledger_free(host->ledger, mem_steal(&pool->record));
	pool->removed = true;
	loop_defer_trigger(pool->step);
	return 0;
}

void pool_observe(struct pool *pool, struct pool_watch *watch)
{
	TAILQ_INSERT_TAIL(&pool->watches, watch, entry);
}

void pool_unobserve(struct pool *pool, struct pool_watch *watch)
{
	TAILQ_REMOVE(&pool->watches, watch, entry);
}

/* ---- facts ---- */

uint64_t pool_id(const struct pool *pool)
{
	return pool->id;
}

const char *pool_name(const struct pool *pool)
{
	return pool->spec->name;
}

const char *pool_key(const struct pool *pool)
{
	return pool->record->key;
}

uid_t pool_owner(const struct pool *pool)
{
	return pool->record->uid;
}

static bool all_ready(const struct pool *pool)
{
	for (uint32_t i = 0; i < wanted(pool); i++)
		if (!pool->places[i].worker || pool->places[i].worker->state != WORKER(READY))
			return false;
	return true;
}

Spawnd__V1__PoolState pool_state(const struct pool *pool)
{
	if (is_stopped(pool))
		return TAILQ_EMPTY(&pool->workers) ? STATE(STOPPED) : STATE(STOPPING);
	if (pool->failed)
		return STATE(FAILED);
	return all_ready(pool) ? STATE(RUNNING) : STATE(STARTING);
}

int pool_settled(const struct pool *pool, struct err *err)
{
	if (is_stopped(pool))
		return err_set(err, STATUS_ABORTED, "pool %s was stopped", pool->spec->name);
	if (pool->failure && (pool->failed || pool->early >= EARLY_MAX)) {
		*err = *pool->failure;
		if (err->status == STATUS_ABORTED)
			err_set(err, STATUS_ABORTED, "pool %s: %.300s before it was ready, %u times in a row", pool->spec->name,
				pool->failure->message, pool->early);
		return -ECANCELED;
	}
	return all_ready(pool);
}

static Spawnd__V1__Worker *worker_message(const struct pool *pool, uint32_t index, const struct worker *worker)
{
	Spawnd__V1__Worker *message = mem_alloc(sizeof(*message));

	spawnd__v1__worker__init(message);
	message->index = index;
	message->restarts = index < POOL_WORKERS_MAX ? atomic_load(&pool->record->restarts[index]) : 0;
	message->generation = 1;
	message->state = pool->places[index].failed ? WORKER(FAILED) : WORKER(EXITED);
	if (worker) {
		message->process = child_id(worker->child);
		message->pid = child_pid(worker->child);
		message->generation = worker->generation;
		message->state = worker->state;
	}
	return message;
}

static void add_workers(const struct pool *pool, Spawnd__V1__Pool *message)
{
	const struct worker *worker;
	size_t count = wanted(pool);

	TAILQ_FOREACH(worker, &pool->workers, entry)
	count++;
	message->workers = mem_alloc((count + 1) * sizeof(*message->workers));
	for (uint32_t i = 0; i < wanted(pool); i++)
		message->workers[message->n_workers++] = worker_message(pool, i, pool->places[i].worker);
	TAILQ_FOREACH(worker, &pool->workers, entry)
	if (worker->state == WORKER(DRAINING) || worker->index >= wanted(pool))
		message->workers[message->n_workers++] = worker_message(pool, worker->index, worker);
}

Spawnd__V1__Pool *pool_message(const struct pool *pool)
{
	Spawnd__V1__Pool *message = mem_alloc(sizeof(*message));
	char text[ADDRESS_TEXT + PATH_MAX];

	spawnd__v1__pool__init(message);
	message->id = pool->id;
	message->name = mem_strdup(pool->spec->name);
	message->state = pool_state(pool);
	message->generation = 1;
	message->size = atomic_load(&pool->record->size);
	message->owner = pool->record->uid;
	message->why = mem_strdup(pool->failed && pool->failure ? pool->failure->message : "");
	message->listeners = mem_alloc((pool->spec->n_listeners + 1) * sizeof(*message->listeners));
	for (size_t i = 0; i < pool->spec->n_listeners; i++) {
		Spawnd__V1__Listener *listener = message->listeners[message->n_listeners++] = mem_alloc(sizeof(*listener));

		spawnd__v1__listener__init(listener);
		if (pool->listeners[i].fd >= 0)
			address_of_socket(pool->listeners[i].fd, &pool->listeners[i].address, text, sizeof(text));
		listener->address = mem_strdup(pool->listeners[i].fd >= 0 ? text : pool->spec->listeners[i]->address);
		listener->policy = SPAWND__V1__POLICY__POLICY_SHARED;
	}
	add_workers(pool, message);
	return message;
}
