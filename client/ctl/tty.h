/* Our own terminal: raw mode that is taken back on every way out, and its size. One terminal at a time. */
#pragma once

#include <stdbool.h>

/* Puts the terminal into raw mode, now or by tty_resume once it is ours, until tty_restore, exit() or a deadly signal. 0 or -errno. */
int tty_raw(int fd);
/* Takes raw mode back; fine when it is not on. Async-signal-safe. */
void tty_restore(void);
/* Raw again, after tty_restore, from what it is now; nothing while the terminal is somebody else's, or raw already. */
void tty_resume(void);
/* false when fd is no terminal or does not know its size. */
bool tty_size(int fd, unsigned *rows_out, unsigned *columns_out);
/* Whether reading from fd would stop us: a terminal whose foreground group is another. */
bool tty_is_background(int fd);
