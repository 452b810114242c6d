/* Descriptors of this process: how many are open, and how many children may still have. */
#pragma once

/* The shares of a limit of `limit` descriptors. */
unsigned fds_reserve(unsigned limit);     /* kept back from children, for clients and our own needs */
unsigned fds_clients_max(unsigned limit); /* clients; each has a socket and a pidfd */

/* Open in this process now; an estimate that is at most 100 ms old where the kernel does not count them (before 6.2). */
unsigned fds_open(void);
