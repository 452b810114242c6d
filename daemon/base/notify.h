/* What a service manager is told by the protocol of sd_notify(3). */
#pragma once

/* Remembers NOTIFY_SOCKET and takes it out of the environment: no program of ours speaks for us. */
void notify_take(void);
/* "READY=1" and the like. Never blocks; nothing happens when there is no service manager. */
void notify_tell(const char *state);
