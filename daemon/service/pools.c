/* The Pools service. An answer that is to wait for workers is given when the pool says that it has settled. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/mem.h"
#include "pool/pool.h"
#include "service/acts.h"
#include "service/internal.h"
#include "service/launch.h"
#include "service/rights.h"

/* A client that waits for a pool: until it is settled, or stopped. */
struct pool_wait {
	struct pool_watch watch;
	struct call *call;
	struct pool *pool;
	struct act_name name; /* its key is ours */
	char *key;
	bool creates;    /* a pool that does not settle is taken back */
	bool stops;      /* until it is stopped */
	struct err *why; /* it is being taken back */
};

static bool may(const struct call *call, const struct pool *pool, enum right right)
{
	const struct service_config *config = &service_get()->config;

	return pool_owner(pool) == peer_uid(call_peer(call)) || config->host->may(config->context, call_peer(call), right);
}

/* The pool that a request names, if the client may do that to it. */
static int find(struct call *call, const Spawnd__V1__PoolRef *ref, struct pool **pool_out, struct err *err)
{
	struct pools *pools = service_get()->config.pools;
	enum right right = call_method(call)->right;
	bool by_id = ref && ref->ref_case == SPAWND__V1__POOL_REF__REF_ID;

	*pool_out = NULL;
	if (!ref || ref->ref_case == SPAWND__V1__POOL_REF__REF__NOT_SET) {
		err_invalid(err, "pool", "is missing");
		return -EINVAL;
	}
	*pool_out = by_id ? pools_find(pools, ref->id) : pools_find_name(pools, ref->name);
	if (!*pool_out) {
		if (by_id)
			err_set(err, STATUS_NOT_FOUND, "there is no pool %" PRIu64, ref->id);
		else
			err_set(err, STATUS_NOT_FOUND, "there is no pool named %.128s", ref->name);
		return -ENOENT;
	}
	if (!may(call, *pool_out, right)) {
		rights_refuse(call, right, call_method(call)->name, err);
		return -EPERM;
	}
	audit_allowed(call, pool_id(*pool_out));
	return 0;
}

static void reply(struct call *call, const struct act_name *name, const struct pool *pool)
{
	Spawnd__V1__Pool *message = pool_message(pool);

	if (name)
		acts_reply(call, name, &message->base);
	else
		call_reply(call, &message->base);
	spawnd__v1__pool__free_unpacked(message, NULL);
}

/* ---- waiting ---- */

static void destroy(struct pool_wait *wait)
{
	free(wait->key);
	free(wait->why);
	free(wait);
}

/* What was to be did not come about; a pool that was created for this client is gone. */
static void fail(struct pool_wait *wait, const struct err *err)
{
	keys_forget(service_get()->keys, &wait->name);
	call_fail(wait->call, err);
	destroy(wait);
}

/* Begins to take back a pool that does not get ready. */
static void take_back(struct pool_wait *wait, const struct err *err)
{
	wait->why = mem_dup(err, sizeof(*err));
	wait->stops = true;
	pool_stop(wait->pool);
}

static void on_changed(void *context, struct pool *pool)
{
	struct pool_wait *wait = context;
	struct err err;
	int settled = wait->stops ? pool_state(pool) == SPAWND__V1__POOL_STATE__POOL_STATE_STOPPED : pool_settled(pool, &err);

	if (settled == 0)
		return;
	if (settled < 0 && wait->creates) {
		take_back(wait, &err);
		return;
	}
	pool_unobserve(pool, &wait->watch);
	if (wait->why) {
		pool_remove(pool, NULL);
		fail(wait, wait->why);
	} else if (settled < 0) {
		fail(wait, &err);
	} else {
		reply(wait->call, &wait->name, pool);
		destroy(wait);
	}
}

static void on_removed(void *context, struct pool *pool)
{
	struct pool_wait *wait = context;
	struct err err;

	err_set(&err, STATUS_ABORTED, "pool %s was removed", pool_name(pool));
	fail(wait, &err);
}

/* The client has gone: what is being taken back goes all the same. */
static void on_taken_back(void *context, struct pool *pool)
{
	if (pool_state(pool) == SPAWND__V1__POOL_STATE__POOL_STATE_STOPPED)
		pool_remove(pool, NULL);
}

static void on_gone(void *context, struct pool *pool)
{
	free(context);
}

static void on_end(struct call *call)
{
	struct pool_wait *wait = call_context(call);
	struct pool_watch *watch;

	pool_unobserve(wait->pool, &wait->watch);
	if (wait->why) {
		watch = mem_alloc(sizeof(*watch));
		*watch = (struct pool_watch){.on_changed = on_taken_back, .on_removed = on_gone, .context = watch};
		pool_observe(wait->pool, watch);
	}
	destroy(wait);
}

static void wait_for(struct call *call, struct pool *pool, const struct act_name *name, bool creates, bool stops)
{
	static const struct call_ops ops = {.on_end = on_end};
	struct pool_wait *wait = mem_alloc(sizeof(*wait));

	*wait = (struct pool_wait){.call = call, .pool = pool, .name = *name, .creates = creates, .stops = stops};
	wait->key = mem_strdup(name->key ? name->key : "");
	wait->name.key = wait->key;
	wait->watch = (struct pool_watch){.on_changed = on_changed, .on_removed = on_removed, .context = wait};
	pool_observe(pool, &wait->watch);
	call_set_ops(call, &ops, wait);
	pool_touch(pool);
}

/* ---- methods ---- */

/* May the client run such workers? */
static int check_template(struct call *call, const Spawnd__V1__PoolSpec *pool, const struct spec_context *context, struct err *err)
{
	struct spec *spec;
	int done;

	if (!pool || !pool->template_)
		return err_invalid(err, pool ? "spec.template" : "spec", "is missing");
	done = spec_compile(pool->template_, context, SPEC_START, &spec, err);
	if (done < 0)
		return 0; /* pool_create says what is wrong, by its name there */
	done = rights_run_as(call, spec, err);
	spec_unref(spec);
	return done;
}

/* The pool of this key is there already: asked for again, by a client that lost an engine. */
static struct pool *find_again(const struct call *call, const Spawnd__V1__CreatePoolRequest *request)
{
	struct pool *pool = pools_find_name(service_get()->config.pools, request->spec->name);

	if (!pool || !request->idempotency_key[0] || strcmp(pool_key(pool), request->idempotency_key) != 0)
		return NULL;
	return pool_owner(pool) == peer_uid(call_peer(call)) ? pool : NULL;
}

int handle_create_pool(struct call *call, const ProtobufCMessage *message, struct err *err)
{
	const Spawnd__V1__CreatePoolRequest *request = (const Spawnd__V1__CreatePoolRequest *)message;
	struct spec_context context = launch_context(call);
	struct act_name name;
	struct pool *pool;
	int done = acts_begin(call, request->idempotency_key, message, &name, err);

	if (done != 0)
		return done < 0 ? done : 0;
	done = check_template(call, request->spec, &context, err);
	if (done < 0)
		return done;
	pool = find_again(call, request);
	if (!pool)
		done = pool_create(service_get()->config.pools, request->spec, &context, request->idempotency_key, &pool, err);
	if (done < 0)
		return done;
	audit_allowed(call, pool_id(pool));
	if (request->wait)
		wait_for(call, pool, &name, true, false);
	else
		reply(call, &name, pool);
	return 0;
}

int handle_scale_pool(struct call *call, const ProtobufCMessage *message, struct err *err)
{
	const Spawnd__V1__ScalePoolRequest *request = (const Spawnd__V1__ScalePoolRequest *)message;
	struct act_name name;
	struct pool *pool;
	int done = acts_begin(call, request->idempotency_key, message, &name, err);

	if (done != 0)
		return done < 0 ? done : 0;
	done = find(call, request->pool, &pool, err);
	if (done == 0)
		done = pool_scale(pool, request->size, err);
	if (done < 0)
		return done;
	if (request->wait)
		wait_for(call, pool, &name, false, false);
	else
		reply(call, &name, pool);
	return 0;
}

int handle_stop_pool(struct call *call, const ProtobufCMessage *message, struct err *err)
{
	const Spawnd__V1__StopPoolRequest *request = (const Spawnd__V1__StopPoolRequest *)message;
	struct act_name name;
	struct pool *pool;
	int done = acts_begin(call, request->idempotency_key, message, &name, err);

	if (done != 0)
		return done < 0 ? done : 0;
	done = find(call, request->pool, &pool, err);
	if (done < 0)
		return done;
	pool_stop(pool);
	wait_for(call, pool, &name, false, true);
	return 0;
}

int handle_list_pools(struct call *call, const ProtobufCMessage *message, struct err *err)
{
	struct pools *pools = service_get()->config.pools;
	Spawnd__V1__ListPoolsReply list = SPAWND__V1__LIST_POOLS_REPLY__INIT;

	list.pools = mem_alloc((pools_count(pools) + 1) * sizeof(*list.pools));
	for (struct pool *pool = pools_next(pools, NULL); pool; pool = pools_next(pools, pool))
		if (may(call, pool, RIGHT_OBSERVE))
			list.pools[list.n_pools++] = pool_message(pool);
	call_reply(call, &list.base);
	for (size_t i = 0; i < list.n_pools; i++)
		spawnd__v1__pool__free_unpacked(list.pools[i], NULL);
	free(list.pools);
	return 0;
}

int handle_get_pool(struct call *call, const ProtobufCMessage *message, struct err *err)
{
	struct pool *pool;
	int done = find(call, ((const Spawnd__V1__GetPoolRequest *)message)->pool, &pool, err);

	if (done == 0)
		reply(call, NULL, pool);
	return done;
}

int handle_remove_pool(struct call *call, const ProtobufCMessage *message, struct err *err)
{
	const Spawnd__V1__RemovePoolRequest *request = (const Spawnd__V1__RemovePoolRequest *)message;
	Spawnd__V1__RemovePoolReply answer = SPAWND__V1__REMOVE_POOL_REPLY__INIT;
	struct act_name name;
	struct pool *pool;
	int done = acts_begin(call, request->idempotency_key, message, &name, err);

	if (done != 0)
		return done < 0 ? done : 0;
	done = find(call, request->pool, &pool, err);
	if (done == 0)
		done = pool_remove(pool, err);
	if (done == 0)
		acts_reply(call, &name, &answer.base);
	return done;
}
