/* Our own terminal. Deadly signals that nobody else handles restore it first and then do what they would have done. */
#include "tty.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include "base/mem.h"

static struct termios cooked;             /* as it was before it became raw */
static volatile sig_atomic_t raw_fd = -1; /* the terminal to restore */
static int known_fd = -1;

/* tcsetattr, although we may be in the background by now: SIGTTOU would stop us. */
static void set_attributes(int fd, const struct termios *attributes)
{
	sigset_t ttou, before;

	sigemptyset(&ttou);
	sigaddset(&ttou, SIGTTOU);
	pthread_sigmask(SIG_BLOCK, &ttou, &before);
	while (tcsetattr(fd, TCSANOW, attributes) < 0 && errno == EINTR)
		;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
}

void tty_restore(void)
{
	int fd = raw_fd;

	if (fd < 0)
		return;
	raw_fd = -1;
	set_attributes(fd, &cooked);
}

void tty_resume(void)
{
	struct termios raw;

	if (known_fd < 0 || raw_fd >= 0 || tty_is_background(known_fd) || tcgetattr(known_fd, &cooked) < 0)
		return;
	raw = cooked;
	cfmakeraw(&raw);
	set_attributes(known_fd, &raw);
	raw_fd = known_fd;
}

/* A signal that ends us: SA_RESETHAND made its action the default again. */
static void die_restored(int signal)
{
	tty_restore();
	raise(signal);
}

int tty_raw(int fd)
{
	static const int deadly[] = {
		SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTERM, SIGHUP, SIGINT, SIGQUIT, SIGPIPE, SIGALRM, SIGXCPU, SIGSYS};
	struct sigaction action = {.sa_handler = die_restored, .sa_flags = (int)(SA_RESETHAND | SA_NODEFER)};

	if (tcgetattr(fd, &cooked) < 0)
		return -errno;
	for (size_t i = 0; i < array_size(deadly); i++) {
		struct sigaction before;

		if (sigaction(deadly[i], NULL, &before) == 0 && before.sa_handler == SIG_DFL)
			sigaction(deadly[i], &action, NULL);
	}
	if (known_fd < 0)
		atexit(tty_restore);
	known_fd = fd;
	tty_resume();
	return 0;
}

bool tty_size(int fd, unsigned *rows_out, unsigned *columns_out)
{
	struct winsize size;

	if (ioctl(fd, TIOCGWINSZ, &size) < 0 || size.ws_row == 0 || size.ws_col == 0)
		return false;
	*rows_out = size.ws_row;
	*columns_out = size.ws_col;
	return true;
}

bool tty_is_background(int fd)
{
	pid_t foreground = tcgetpgrp(fd);

	return foreground > 0 && foreground != getpgrp();
}
