/*
 * The event loop. loop.c is the only file that knows libevent. Single-threaded; nothing here blocks but loop_run.
 *
 * A handle may be destroyed at any time, from its own callback too. Destroy a loop_fd before its descriptor is closed.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct loop;
struct loop_fd;
struct loop_timer;
struct loop_signal;
struct loop_defer;

enum { LOOP_READ = 1, LOOP_WRITE = 2 };

typedef void (*loop_fd_fn)(void *arg, unsigned events);
typedef void (*loop_fn)(void *arg);

struct loop *loop_create(void); /* NULL when the kernel gives no epoll or timerfd */
void loop_destroy(struct loop *loop);
int loop_run(struct loop *loop); /* until loop_stop; 0 or -errno */
void loop_stop(struct loop *loop);

/* Watches fd (borrowed), level-triggered, for `events` (may be 0: nothing yet). */
struct loop_fd *loop_fd_create(struct loop *loop, int fd, unsigned events, loop_fd_fn fn, void *arg);
void loop_fd_set(struct loop_fd *watch, unsigned events);
void loop_fd_destroy(struct loop_fd *watch); /* NULL is fine */

/* One shot per set; microsecond precision; time in suspend counts (CLOCK_BOOTTIME). */
struct loop_timer *loop_timer_create(struct loop *loop, loop_fn fn, void *arg);
void loop_timer_set(struct loop_timer *timer, uint64_t after_us);
void loop_timer_cancel(struct loop_timer *timer);
bool loop_timer_pending(const struct loop_timer *timer);
void loop_timer_destroy(struct loop_timer *timer); /* NULL is fine */

/* Blocks the signal in this process while it is watched, one watch for each signal: programs that are started must unblock it. */
struct loop_signal *loop_signal_create(struct loop *loop, int signal, loop_fn fn, void *arg);
void loop_signal_destroy(struct loop_signal *watch); /* NULL is fine */

/* Runs fn once, after the callbacks of this turn, each time it is triggered. For work that must not run inside a callback. */
struct loop_defer *loop_defer_create(struct loop *loop, loop_fn fn, void *arg);
/* Its turn comes when nothing else is deferred, also not by what was deferred, or some turns later. For sending what they say. */
struct loop_defer *loop_defer_create_late(struct loop *loop, loop_fn fn, void *arg);
void loop_defer_trigger(struct loop_defer *defer);
void loop_defer_destroy(struct loop_defer *defer); /* NULL is fine */

/* Time of passes: how often one turn of callbacks took at most 2^i microseconds, last bucket: longer. */
#define LOOP_BUCKETS 24
const uint64_t *loop_histogram(const struct loop *loop);
