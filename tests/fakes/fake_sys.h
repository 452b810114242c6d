/*
 * Fake system calls. Linked before base, so that sys.o is not pulled: descriptors are real, processes are not, and any call
 * can be told to fail.
 *
 * Processes: fake_process makes one, fake_exit makes it a zombie, sys_waitid sees and reaps zombies in the order of their
 * deaths, sys_kill and the pidfd calls reach living ones and zombies and are written down. A reaped pid may be made again.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/resource.h>
#include <sys/types.h>

/* Forgets everything: processes, signals, failures. */
void fake_reset(void);

/* After `skip` more calls, `times` calls of a function ("recvmsg", "waitid") fail with errnum. */
void fake_fail(const char *call, int errnum, unsigned skip, unsigned times);

/* From now on read, write, pread and splice move at most this many bytes; 0: as many as they like. */
void fake_short(size_t bytes);

unsigned fake_calls(const char *call); /* how often it was called since the reset */

void fake_process(pid_t pid, pid_t group);
void fake_exit(pid_t pid, int code, int status, const struct rusage *usage /* NULL: zeroes */);
bool fake_exists(pid_t pid); /* alive or a zombie */

/* The last signal that was sent, and how many were; pid 0: to nobody yet. */
struct fake_signal {
	pid_t pid; /* negative: a group */
	int signal;
	unsigned count;
};
struct fake_signal fake_last_signal(void);
