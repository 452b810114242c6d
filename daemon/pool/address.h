/* Where a pool listens, as people write it. Pure, but that nothing is looked up: a host is a number, "localhost" or "*". */
#pragma once

#include <limits.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/err.h"

#define ADDRESS_TEXT 128u

struct address {
	int type;   /* SOCK_STREAM, SOCK_DGRAM */
	int family; /* AF_INET, AF_INET6, AF_UNIX */
	bool any;   /* "*": IPv6 and IPv4 where there is IPv6, else IPv4 alone */
	struct sockaddr_storage socket;
	socklen_t size;      /* AF_UNIX: 0 */
	char path[PATH_MAX]; /* AF_UNIX: absolute, of any length */
};

/* "tcp://HOST:PORT", "udp://HOST:PORT", "unix:/PATH". 0, or -EINVAL with *err naming `field`. */
int address_parse(const char *text, const char *field, struct address *out, struct err *err);
/* The address of a socket in the same form; that of a unix socket is not asked of the kernel, which may not know all of it. */
void address_of_socket(int fd, const struct address *asked, char *text, size_t size);
/* The port, 0 for a unix socket. */
unsigned address_port(int fd);
