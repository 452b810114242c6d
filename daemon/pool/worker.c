/* One worker: its process from the template, when it is ready, how it ended. What follows from that is pool.c's. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "pool/pool_parts.h"
#include "pool/template.h"

#define READY_AFTER_MS 250u
#define HEALTHY_NS (INT64_C(10) * 1000000000)

static uint64_t ready_after_us(const struct pool *pool)
{
	return (pool->spec->_ready_after_ms_case ? pool->spec->ready_after_ms : READY_AFTER_MS) * 1000;
}

static void on_ready(void *arg)
{
	struct worker *worker = arg;

	if (worker->state != SPAWND__V1__WORKER_STATE__WORKER_STATE_STARTING)
		return;
	log_(LOG_DEBUG, "pool %s: worker %u (process %" PRIu64 ") is ready", pool_name(worker->pool), worker->index,
		child_id(worker->child));
	worker->state = SPAWND__V1__WORKER_STATE__WORKER_STATE_READY;
	pool_on_ready(worker->pool, worker->index);
}

static void on_spawned(void *context, struct child *child)
{
	struct worker *worker = context;

	loop_timer_set(worker->ready, ready_after_us(worker->pool));
	pool_touch(worker->pool);
}

/* Takes the worker out and says how it ended. */
static void end(struct worker *worker, bool bad, const struct err *why)
{
	struct pool *pool = worker->pool;
	uint32_t index = worker->index;
	bool ready = worker->state == SPAWND__V1__WORKER_STATE__WORKER_STATE_READY;
	bool drained = worker->state == SPAWND__V1__WORKER_STATE__WORKER_STATE_DRAINING;

	worker_free(worker);
	pool_on_ended(pool, index, ready, bad, drained, why);
}

static void on_failed(void *context, struct child *child, const struct err *err)
{
	end(context, true, err);
}

static void on_exited(void *context, struct child *child)
{
	struct worker *worker = context;
	Spawnd__V1__ExitRecord *record = child_exit_record(child);
	bool killed = record && record->_signal_case && record->signal == SIGKILL;
	bool early = clock_real_ns() - child_started_at_ns(child) < HEALTHY_NS;
	struct err why;

	if (record && record->_code_case)
		err_set(&why, STATUS_ABORTED, "worker %u exited with %d", worker->index, record->code);
	else if (record && record->_signal_case)
		err_set(&why, STATUS_ABORTED, "worker %u was ended by signal %d", worker->index, record->signal);
	else
		err_set(&why, STATUS_ABORTED, "worker %u ended", worker->index);
	if (record)
		spawnd__v1__exit_record__free_unpacked(record, NULL);
	log_(LOG_DEBUG, "pool %s: %s", pool_name(worker->pool), why.message);
	end(worker, worker->state == SPAWND__V1__WORKER_STATE__WORKER_STATE_STARTING || (early && !killed), &why);
}

static const struct child_observer observer = {.on_spawned = on_spawned, .on_failed = on_failed, .on_exited = on_exited};

static struct worker *make(struct pool *pool, uint32_t index, uint32_t generation, struct child *child)
{
	struct worker *worker = mem_alloc(sizeof(*worker));

	worker->pool = pool;
	worker->child = child;
	worker->index = index;
	worker->generation = generation;
	worker->state = SPAWND__V1__WORKER_STATE__WORKER_STATE_STARTING;
	worker->ready = loop_timer_create(pool->pools->host->loop, on_ready, worker);
	TAILQ_INSERT_TAIL(&pool->workers, worker, entry);
	child_observe(child, &observer, worker);
	return worker;
}

/* Duplicates of the sockets, for one process. 0 or -errno; then there are none. */
static int duplicate(const struct pool *pool, int *fds)
{
	for (size_t i = 0; i < pool->spec->n_listeners; i++) {
		int error;

		fds[i] = fcntl(pool->listeners[i].fd, F_DUPFD_CLOEXEC, 0);
		error = errno;
		if (fds[i] >= 0)
			continue;
		while (i > 0)
			fd_close(&fds[--i]);
		return -error;
	}
	return 0;
}

int worker_start(struct pool *pool, uint32_t index, struct err *err)
{
	size_t count = pool->spec->n_listeners;
	_cleanup_free_ int *fds = mem_alloc((count + 1) * sizeof(*fds));
	_cleanup_free_ unsigned *ports = mem_alloc((count + 1) * sizeof(*ports));
	struct template_worker which = {.pool = pool->id, .index = index, .generation = 1, .ports = ports};
	struct record_origin origin = {.uid = pool->record->uid, .made_ns = clock_boot_ns()};
	struct spec *spec;
	struct child *child;
	int done;

	for (size_t i = 0; i < count; i++)
		ports[i] = address_port(pool->listeners[i].fd);
	done = template_compile(pool->spec, pool->template, &which, &spec, err);
	if (done < 0)
		return done;
	done = duplicate(pool, fds);
	if (done < 0) {
		spec_unref(spec);
		return err_errno(err, -done, "dup", NULL);
	}
	pool_record_mark(&origin, pool->id, index, which.generation);
	done = child_create(pool->pools->children, spec, &origin, fds, count, &child, err);
	spec_unref(spec);
	if (done == 0)
		pool->places[index].worker = make(pool, index, which.generation, child);
	return done;
}

void worker_adopt(struct pool *pool, uint32_t index, uint32_t generation, struct child *child)
{
	struct worker *worker = make(pool, index, generation, child);

	pool->places[index].worker = worker;
	loop_timer_set(worker->ready, ready_after_us(pool));
	if (child_state(child) == CHILD_STOPPING)
		worker_drain(worker, "stop");
}

void worker_drain(struct worker *worker, const char *why)
{
	const struct spec *spec = child_spec(worker->child);
	struct place *place = &worker->pool->places[worker->index];

	if (worker->state == SPAWND__V1__WORKER_STATE__WORKER_STATE_DRAINING)
		return;
	worker->state = SPAWND__V1__WORKER_STATE__WORKER_STATE_DRAINING;
	if (place->worker == worker)
		place->worker = NULL;
	if (child_state(worker->child) != CHILD_STOPPING)
		child_stop(worker->child, spec->kill_signal, spec->message->grace_ms, (enum kill_scope)spec->message->kill_scope,
			CHILD_REASON_STOPPED, why, NULL, NULL);
}

void worker_free(struct worker *worker)
{
	struct place *place = &worker->pool->places[worker->index];

	if (place->worker == worker)
		place->worker = NULL;
	child_unobserve(worker->child, worker);
	loop_timer_destroy(worker->ready);
	TAILQ_REMOVE(&worker->pool->workers, worker, entry);
	free(worker);
}
