/* See address.h. */
#include "pool/address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* "HOST:PORT" or "[HOST]:PORT" in its two parts. False: it is neither. */
static bool split(const char *text, char *host, size_t size, long *port_out)
{
	const char *colon = strrchr(text, ':');
	size_t length = colon ? (size_t)(colon - text) : 0;
	char *end;

	if (!colon || colon[1] < '0' || colon[1] > '9')
		return false;
	*port_out = strtol(colon + 1, &end, 10);
	if (*end || *port_out < 0 || *port_out > 65535)
		return false;
	if (length >= 2 && text[0] == '[' && text[length - 1] == ']') {
		text++;
		length -= 2;
	} else if (memchr(text, ':', length)) {
		return false;
	}
	if (length >= size)
		return false;
	memcpy(host, text, length);
	host[length] = 0;
	return true;
}

static int parse_inet(const char *text, const char *field, struct address *out, struct err *err)
{
	struct sockaddr_in *in = (struct sockaddr_in *)&out->socket;
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&out->socket;
	char host[64];
	long port;

	if (!split(text, host, sizeof(host), &port))
		return err_invalid(err, field, "\"%.80s\" is not HOST:PORT with a port up to 65535", text);
	if (strcmp(host, "*") == 0) {
		out->any = true;
		strcpy(host, "::");
	} else if (strcmp(host, "localhost") == 0) {
		strcpy(host, "127.0.0.1");
	}
	if (inet_pton(AF_INET, host, &in->sin_addr) == 1) {
		out->family = in->sin_family = AF_INET;
		in->sin_port = htons((uint16_t)port);
		out->size = sizeof(*in);
		return 0;
	}
	if (inet_pton(AF_INET6, host, &in6->sin6_addr) == 1) {
		out->family = in6->sin6_family = AF_INET6;
		in6->sin6_port = htons((uint16_t)port);
		out->size = sizeof(*in6);
		return 0;
	}
	return err_invalid(err, field, "the host \"%.60s\" is no number, nor localhost, nor *", host);
}

int address_parse(const char *text, const char *field, struct address *out, struct err *err)
{
	*out = (struct address){.type = SOCK_STREAM};
	if (strncmp(text, "unix:", 5) == 0) {
		const char *path = strncmp(text + 5, "//", 2) == 0 ? text + 7 : text + 5;

		if (path[0] != '/' || strlen(path) >= sizeof(out->path) || path[strlen(path) - 1] == '/')
			return err_invalid(err, field, "a unix socket needs an absolute path of a file");
		out->family = AF_UNIX;
		strcpy(out->path, path);
		return 0;
	}
	if (strncmp(text, "tcp://", 6) == 0)
		return parse_inet(text + 6, field, out, err);
	if (strncmp(text, "udp://", 6) == 0) {
		out->type = SOCK_DGRAM;
		return parse_inet(text + 6, field, out, err);
	}
	return err_invalid(err, field, "\"%.80s\" begins with neither tcp:// nor udp:// nor unix:", text);
}

void address_of_socket(int fd, const struct address *asked, char *text, size_t size)
{
	const char *scheme = asked->type == SOCK_DGRAM ? "udp" : "tcp";
	struct sockaddr_storage bound = {0};
	socklen_t length = sizeof(bound);
	char host[INET6_ADDRSTRLEN] = "?";

	if (asked->family == AF_UNIX) {
		snprintf(text, size, "unix:%s", asked->path);
		return;
	}
	getsockname(fd, (struct sockaddr *)&bound, &length);
	if (bound.ss_family == AF_INET6) {
		inet_ntop(AF_INET6, &((struct sockaddr_in6 *)&bound)->sin6_addr, host, sizeof(host));
		snprintf(text, size, "%s://[%s]:%u", scheme, host, address_port(fd));
	} else {
		inet_ntop(AF_INET, &((struct sockaddr_in *)&bound)->sin_addr, host, sizeof(host));
		snprintf(text, size, "%s://%s:%u", scheme, host, address_port(fd));
	}
}

unsigned address_port(int fd)
{
	struct sockaddr_storage bound = {0};
	socklen_t length = sizeof(bound);

	if (getsockname(fd, (struct sockaddr *)&bound, &length) < 0)
		return 0;
	if (bound.ss_family == AF_INET6)
		return ntohs(((struct sockaddr_in6 *)&bound)->sin6_port);
	return bound.ss_family == AF_INET ? ntohs(((struct sockaddr_in *)&bound)->sin_port) : 0;
}
