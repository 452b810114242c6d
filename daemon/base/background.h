/*
 * Becoming a daemon. The process that was started stays in front until it is told how the start went: it copies what is
 * logged meanwhile and ends with the daemon's status.
 */
#pragma once

/*
 * Goes on in a process of its own session, in /, with stdio that is nobody's, and stderr that is shown in front. Returns the
 * descriptor for background_tell, or -errno.
 */
int background_enter(void);
/* Ends the one in front with this status; stderr goes nowhere from then on. Closes *fd; nothing happens when it is -1. */
void background_tell(int *fd, unsigned char status);
