/*
 * Decoding with nanopb. Every string is copied once into one block that is as long as the record: the tag and length each
 * one had leave room for its NUL.
 */
#include "launcher/plan.h"

#include <errno.h>
#include <grp.h>
#include <pb_decode.h>
#include <pwd.h>

#include "base/mem.h"
#include "link/link.h"
#include "spawnd/runtime/v1/launcher.pb.h"

#define GROUPS_MAX 65536
#define SLOT_MAX 65535u

/* Where a repeated string goes. */
struct list {
	struct launch_plan *plan;
	char ***items;
	size_t *count;
};

/* The rest of the stream as a string in the plan's block. */
static char *take_text(pb_istream_t *stream, struct launch_plan *plan)
{
	size_t length = stream->bytes_left;
	char *text = plan->text + plan->text_used;

	if (plan->text_size - plan->text_used < length + 1 || !pb_read(stream, (pb_byte_t *)text, length))
		return NULL;
	text[length] = 0;
	plan->text_used += length + 1;
	return text;
}

/* Appends one string to a NULL-terminated list. */
static bool decode_item(pb_istream_t *stream, const pb_field_t *field, void **arg)
{
	struct list *list = *arg;
	char *text = take_text(stream, list->plan);

	if (!text)
		return false;
	if ((*list->count & (*list->count + 1)) == 0)
		*list->items = mem_realloc(*list->items, (*list->count * 2 + 2) * sizeof(char *));
	(*list->items)[(*list->count)++] = text;
	(*list->items)[*list->count] = NULL;
	return true;
}

/* A single string. */
struct single {
	struct launch_plan *plan;
	const char **text;
};

static bool decode_single(pb_istream_t *stream, const pb_field_t *field, void **arg)
{
	struct single *single = *arg;

	*single->text = take_text(stream, single->plan);
	return *single->text != NULL;
}

static bool decode_target(pb_istream_t *stream, const pb_field_t *field, void **arg)
{
	struct launch_plan *plan = *arg;
	spawnd_runtime_v1_PlanFd message = spawnd_runtime_v1_PlanFd_init_zero;
	const char *path = NULL;
	struct single single = {.plan = plan, .text = &path};

	message.path.funcs.decode = decode_single;
	message.path.arg = &single;
	if (!pb_decode(stream, spawnd_runtime_v1_PlanFd_fields, &message) || message.slot > SLOT_MAX || plan->target_count > SLOT_MAX)
		return false;
	plan->targets = mem_realloc(plan->targets, (plan->target_count + 1) * sizeof(*plan->targets));
	plan->targets[plan->target_count++] = (struct target){
		.slot = (int)message.slot,
		.source = message.attached,
		.same_as = message.same_as,
		.path = path,
		.open_flags = message.open_flags,
		.permissions = message.permissions,
		.blocking = message.blocking,
	};
	if (plan->highest_slot < (int)message.slot)
		plan->highest_slot = (int)message.slot;
	return true;
}

static bool decode_group(pb_istream_t *stream, const pb_field_t *field, void **arg)
{
	struct launch_plan *plan = *arg;
	uint32_t group;

	while (stream->bytes_left) {
		if (plan->group_count == GROUPS_MAX || !pb_decode_varint32(stream, &group))
			return false;
		plan->groups = mem_realloc(plan->groups, (plan->group_count + 1) * sizeof(gid_t));
		plan->groups[plan->group_count++] = group;
	}
	return true;
}

/* Whether we, and so the child, have this limit already. The number of descriptors is the child's own matter. */
static bool is_ours(int resource, struct rlimit value)
{
	static struct rlimit ours[RLIM_NLIMITS];
	static bool known;

	for (int i = 0; !known && i < (int)RLIM_NLIMITS; i++)
		getrlimit((enum __rlimit_resource)i, &ours[i]);
	known = true;
	return resource >= 0 && resource < (int)RLIM_NLIMITS && resource != RLIMIT_NOFILE && ours[resource].rlim_cur == value.rlim_cur &&
	       ours[resource].rlim_max == value.rlim_max;
}

static bool decode_limit(pb_istream_t *stream, const pb_field_t *field, void **arg)
{
	struct launch_plan *plan = *arg;
	spawnd_runtime_v1_PlanRlimit message = spawnd_runtime_v1_PlanRlimit_init_zero;

	if (!pb_decode(stream, spawnd_runtime_v1_PlanRlimit_fields, &message))
		return false;
	if (is_ours(message.resource, (struct rlimit){.rlim_cur = message.soft, .rlim_max = message.hard}))
		return true;
	plan->limits = mem_realloc(plan->limits, (plan->limit_count + 1) * sizeof(*plan->limits));
	plan->limits[plan->limit_count++] = (struct limit){
		.resource = message.resource,
		.value = {.rlim_cur = message.soft, .rlim_max = message.hard},
	};
	return true;
}

/* The supplementary groups of a user, by the group database; just gid for a user it does not know. */
static void look_up_groups(struct launch_plan *plan)
{
	struct passwd *user = getpwuid(plan->uid);
	int count = 64, done;

	do {
		plan->groups = mem_realloc(plan->groups, (size_t)count * sizeof(gid_t));
		plan->groups[0] = plan->gid;
		plan->group_count = 1;
		if (!user)
			return;
		done = getgrouplist(user->pw_name, plan->gid, plan->groups, &count);
	} while (done < 0 && count <= GROUPS_MAX);
	plan->group_count = done < 0 ? 1 : (size_t)count;
}

/* The descriptor that an index of the plan means; -EBADF when it did not come. */
static int resolve(int *place, const int *fds, size_t fd_count)
{
	if (*place < 0) {
		*place = -1;
		return 0;
	}
	if ((size_t)*place >= fd_count)
		return -EBADF;
	*place = fds[*place];
	return 0;
}

static int resolve_all(struct launch_plan *plan, const int *fds, size_t fd_count)
{
	int done = resolve(&plan->cgroup, fds, fd_count);

	if (!done)
		done = resolve(&plan->cgroup_procs, fds, fd_count);
	for (size_t i = 0; !done && i < plan->target_count; i++)
		done = resolve(&plan->targets[i].source, fds, fd_count);
	return done;
}

/* Whether the child finds the place for its pid. */
static bool has_listen_pid(const struct launch_plan *plan)
{
	return plan->envc && strlen(plan->env[plan->envc - 1]) == strlen(LISTEN_PID_ENTRY) &&
	       strncmp(plan->env[plan->envc - 1], LISTEN_PID_ENTRY, sizeof("LISTEN_PID=") - 1) == 0;
}

/* The fields that are numbers. */
static void copy_numbers(struct launch_plan *plan, const spawnd_runtime_v1_Plan *message)
{
	plan->owner = message->owner;
	plan->journal_slot = message->journal_slot;
	plan->set_ids = message->set_ids;
	plan->set_groups = message->set_groups;
	plan->uid = message->uid;
	plan->gid = message->gid;
	plan->umask = message->umask;
	plan->set_nice = message->set_nice;
	plan->nice = message->nice;
	plan->no_new_privs = message->no_new_privs;
	plan->listen_pid = message->listen_pid;
	plan->controlling_slot = message->controlling_slot;
	plan->cgroup = message->cgroup;
	plan->cgroup_procs = message->cgroup_procs;
}

int plan_decode(struct launch_plan *plan, const uint8_t *bytes, size_t size, const int *fds, size_t fd_count)
{
	spawnd_runtime_v1_Plan message = spawnd_runtime_v1_Plan_init_zero;
	pb_istream_t stream = pb_istream_from_buffer(bytes, size);
	struct list argv = {plan, &plan->argv, &plan->argc}, env = {plan, &plan->env, &plan->envc};
	struct single file = {plan, &plan->file}, path = {plan, &plan->search_path}, cwd = {plan, &plan->cwd};
	bool done;

	*plan = (struct launch_plan){.highest_slot = 2, .text_size = size + 1};
	plan->text = mem_alloc(plan->text_size);
	plan->argv = mem_alloc(sizeof(char *));
	plan->env = mem_alloc(sizeof(char *));
	message.argv = (pb_callback_t){.funcs.decode = decode_item, .arg = &argv};
	message.env = (pb_callback_t){.funcs.decode = decode_item, .arg = &env};
	message.file = (pb_callback_t){.funcs.decode = decode_single, .arg = &file};
	message.search_path = (pb_callback_t){.funcs.decode = decode_single, .arg = &path};
	message.cwd = (pb_callback_t){.funcs.decode = decode_single, .arg = &cwd};
	message.fds = (pb_callback_t){.funcs.decode = decode_target, .arg = plan};
	message.groups = (pb_callback_t){.funcs.decode = decode_group, .arg = plan};
	message.rlimits = (pb_callback_t){.funcs.decode = decode_limit, .arg = plan};
	done = pb_decode(&stream, spawnd_runtime_v1_Plan_fields, &message);
	copy_numbers(plan, &message);
	if (!done || !plan->argc || !plan->file || (plan->listen_pid && !has_listen_pid(plan)))
		return -EPROTO;
	if (!plan->search_path)
		plan->search_path = "";
	plan->candidate = mem_alloc(strlen(plan->search_path) + strlen(plan->file) + sizeof("./"));
	if (plan->set_ids && !plan->set_groups)
		look_up_groups(plan);
	return resolve_all(plan, fds, fd_count);
}

void plan_finish(struct launch_plan *plan)
{
	free(plan->argv);
	free(plan->env);
	free(plan->candidate);
	free(plan->targets);
	free(plan->groups);
	free(plan->limits);
	free(plan->text);
	*plan = (struct launch_plan){0};
}
