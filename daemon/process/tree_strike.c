/*
 * One signal to a whole tree. In a directory its members are stopped first, so that none can fork away meanwhile; by sweep
 * it is done again until a look at /proc that began after the last signal finds nobody new. A pidfd is opened before it is
 * asked, once more, whether its process belongs: no signal meets a stranger.
 */
#include <errno.h>
#include <signal.h>

#include "base/clock.h"
#include "base/failpoint.h"
#include "base/fd.h"
#include "base/loop.h"
#include "base/mem.h"
#include "base/sys.h"
#include "process/tree_parts.h"

#define FLYING_MAX 64u
#define ROUNDS_MAX 32u
#define FREEZE_LOOKS 7u /* 1, 2, 4 .. 64 ms */
#define ROUND_PAUSE_US 2000u
#define FIRST_LOOK_NS 100000000 /* how old what the first round of a sweep sees may be: later rounds see the rest */

struct strike {
	struct tree *tree;
	int signal;
	bool group, by_dir, froze, frozen, detached, sending;
	struct strike **place; /* the caller's pointer to us */
	strike_fn done;
	void *arg;
	struct tree_members found; /* in this round */
	size_t next;
	unsigned flying, rounds, looks;
	int64_t since_ns; /* a look at /proc has to begin after this to be the last */
	struct tree_members seen, struck, refused;
	int error;
	struct loop_timer *timer;
};

/* One signal under way. */
struct shot {
	struct strike *strike;
	struct tree_member member;
};

static void begin_round(struct strike *strike);

static void release(struct strike *strike)
{
	loop_timer_destroy(strike->timer);
	tree_members_finish(&strike->found);
	tree_members_finish(&strike->seen);
	tree_members_finish(&strike->struck);
	tree_members_finish(&strike->refused);
	free(strike);
}

/* Stops the directory; several strikes may want it stopped. */
static void freeze(struct strike *strike)
{
	strike->froze = true;
	strike->tree->stopped++;
	tree_dir_freeze(strike->tree->trees, strike->tree->dir, true);
}

/* Lets the stopped go on. */
static void thaw(struct strike *strike)
{
	if (strike->froze && --strike->tree->stopped == 0 && strike->tree->dir)
		tree_dir_freeze(strike->tree->trees, strike->tree->dir, false);
	strike->froze = false;
}

static void finish(struct strike *strike)
{
	struct strike_result result = {.struck = &strike->struck, .refused = &strike->refused, .error = strike->error};

	thaw(strike);
	tree_members_sort(&strike->struck);
	tree_members_sort(&strike->refused);
	*strike->place = NULL;
	strike->done(strike->arg, &result);
	release(strike);
}

static void on_timer(void *arg);

static void wait_us(struct strike *strike, uint64_t after_us)
{
	if (!strike->timer)
		strike->timer = loop_timer_create(strike->tree->trees->host->loop, on_timer, strike);
	loop_timer_set(strike->timer, after_us);
}

/* Everybody found in this round has been dealt with. */
static void end_round(struct strike *strike)
{
	for (size_t i = 0; i < strike->found.count; i++)
		tree_members_add(&strike->seen, strike->found.items[i]);
	tree_members_sort(&strike->seen);
	strike->found.count = 0;
	strike->since_ns = clock_boot_ns();
	if (strike->frozen || strike->rounds >= ROUNDS_MAX)
		finish(strike);
	else if (strike->by_dir)
		begin_round(strike);
	else
		wait_us(strike, ROUND_PAUSE_US);
}

/* Whether the process behind a pidfd that was just opened is the member it was opened for. */
static bool is_member(const struct strike *strike, struct tree_member member)
{
	if (strike->by_dir)
		return strike->tree->dir && tree_dir_has(strike->tree->trees, strike->tree->dir, member.pid);
	return proc_start(member.pid) == member.start;
}

static void send_more(struct strike *strike);

static void on_signalled(void *arg, int error)
{
	struct shot *shot = arg;
	struct strike *strike = shot->strike;
	struct tree_member member = shot->member;

	free(shot);
	strike->flying--;
	if (strike->detached) {
		if (!strike->flying && !strike->sending)
			release(strike);
		return;
	}
	if (error == 0) {
		tree_members_add(&strike->struck, member);
	} else if (error != ESRCH) {
		tree_members_add(&strike->refused, member);
		strike->error = strike->error ? strike->error : error;
	}
	if (!strike->sending)
		send_more(strike);
}

/* Shoots at one member. */
static void send_one(struct strike *strike, struct tree_member member)
{
	const struct process_host *host = strike->tree->trees->host;
	int opened = sys_pidfd_open(member.pid);
	_cleanup_fd_ int pidfd = opened < 0 ? -1 : opened;
	struct shot *shot;

	if (opened == -ESRCH)
		return;
	if (opened < 0) {
		tree_members_add(&strike->refused, member);
		strike->error = strike->error ? strike->error : -opened;
		return;
	}
	if (!is_member(strike, member))
		return;
	shot = mem_alloc(sizeof(*shot));
	shot->strike = strike;
	shot->member = member;
	strike->flying++;
	host->signal_pidfd(host->context, pidfd, strike->signal, on_signalled, shot);
	failpoint("member-signalled");
}

static void send_more(struct strike *strike)
{
	strike->sending = true;
	while (strike->next < strike->found.count && strike->flying < FLYING_MAX && !strike->detached)
		send_one(strike, strike->found.items[strike->next++]);
	strike->sending = false;
	if (strike->detached) {
		if (!strike->flying)
			release(strike);
		return;
	}
	if (strike->next == strike->found.count && !strike->flying)
		end_round(strike);
}

/* Who is there now and was not before. */
static void look(struct strike *strike, int64_t since_ns)
{
	struct tree *tree = strike->tree;
	struct tree_members members = {0};

	if (strike->by_dir && tree->dir)
		tree_dir_list(tree->trees, tree->dir, &members);
	else if (!strike->by_dir)
		tree_sweep(tree, strike->group, since_ns, &members);
	for (size_t i = 0; i < members.count; i++)
		if (!tree_members_has(&strike->seen, members.items[i].pid))
			tree_members_add(&strike->found, members.items[i]);
	tree_members_finish(&members);
}

static void begin_round(struct strike *strike)
{
	strike->next = 0;
	look(strike, strike->rounds++ ? strike->since_ns : strike->since_ns - FIRST_LOOK_NS);
	if (strike->found.count == 0 && strike->rounds == 1 && !strike->by_dir)
		look(strike, strike->since_ns);
	if (strike->found.count == 0)
		finish(strike);
	else
		send_more(strike);
}

/* Stops a directory, with patience; one that will not stop is struck again and again instead. */
static void stop_first(struct strike *strike)
{
	struct tree *tree = strike->tree;

	strike->frozen = tree->dir && tree_dir_is_frozen(tree->trees, tree->dir);
	if (strike->frozen || !tree->dir || strike->looks >= FREEZE_LOOKS) {
		begin_round(strike);
		return;
	}
	if (tree->trees->way == TREE_FREEZER)
		tree_dir_freeze(tree->trees, tree->dir, true);
	wait_us(strike, UINT64_C(1000) << strike->looks++);
}

static void on_timer(void *arg)
{
	struct strike *strike = arg;

	if (strike->by_dir)
		stop_first(strike);
	else
		begin_round(strike);
}

/* cgroup.kill: all at once, whatever they do. */
static bool kill_dir(struct strike *strike)
{
	struct tree *tree = strike->tree;

	if (!strike->by_dir || strike->signal != SIGKILL || tree->trees->way != TREE_CGROUP || !tree->trees->has_kill)
		return false;
	tree_dir_list(tree->trees, tree->dir, &strike->struck);
	if (tree_dir_write(tree->trees, tree->dir, "cgroup.kill", "1") == 0) {
		tree->dir->spent = true;
		return true;
	}
	strike->struck.count = 0;
	return false;
}

void tree_strike(struct tree *tree, int signal, bool group, struct strike **strike_out, strike_fn done, void *arg)
{
	struct strike *strike = mem_alloc(sizeof(*strike));

	strike->tree = tree;
	strike->signal = signal;
	strike->group = group;
	strike->by_dir = tree->dir && !group;
	strike->place = strike_out;
	strike->done = done;
	strike->arg = arg;
	strike->since_ns = clock_boot_ns();
	*strike_out = strike;
	if (tree->empty || kill_dir(strike)) {
		finish(strike);
	} else if (strike->by_dir) {
		freeze(strike);
		stop_first(strike);
	} else {
		begin_round(strike);
	}
}

void strike_destroy(struct strike *strike)
{
	if (!strike)
		return;
	*strike->place = NULL;
	thaw(strike);
	if (strike->timer)
		loop_timer_cancel(strike->timer);
	strike->detached = true;
	if (!strike->flying && !strike->sending)
		release(strike);
}
