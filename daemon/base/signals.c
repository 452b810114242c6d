/* See signals.h. By the raw calls: the C library refuses to touch its own two. */
#include "base/signals.h"

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SIGNAL_LAST 64

/* The kernel's struct sigaction with everything zero: SIG_DFL, no flags, nothing masked. Larger than on any machine. */
static const uint64_t action_default[8];

void signals_reset(void)
{
	static const uint64_t none = 0;

	for (int number = 1; number <= SIGNAL_LAST; number++)
		syscall(SYS_rt_sigaction, number, action_default, NULL, sizeof(none));
	syscall(SYS_rt_sigprocmask, SIG_SETMASK, &none, NULL, sizeof(none));
}

static bool is_stray(int number)
{
	switch (number) {
	case SIGILL:
	case SIGTRAP:
	case SIGABRT:
	case SIGBUS:
	case SIGFPE:
	case SIGSEGV:
	case SIGSYS:
	case SIGKILL:
	case SIGSTOP:
	case SIGCHLD:
	case SIGCONT:
	case SIGTSTP:
	case SIGTTIN:
	case SIGTTOU:
	case SIGURG:
	case SIGWINCH:
		return false;
	default:
		return true;
	}
}

void signals_ignore_stray(void)
{
	for (int number = 1; number <= SIGNAL_LAST; number++)
		if (is_stray(number))
			signal(number, SIG_IGN);
}
