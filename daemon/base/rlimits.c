/* See rlimits.h. */
#include "base/rlimits.h"

#include <strings.h>
#include <sys/resource.h>

#include "base/mem.h"

static const struct {
	const char *name;
	int resource;
} limits[] = {
	{"as", RLIMIT_AS},
	{"core", RLIMIT_CORE},
	{"cpu", RLIMIT_CPU},
	{"data", RLIMIT_DATA},
	{"fsize", RLIMIT_FSIZE},
	{"locks", RLIMIT_LOCKS},
	{"memlock", RLIMIT_MEMLOCK},
	{"msgqueue", RLIMIT_MSGQUEUE},
	{"nice", RLIMIT_NICE},
	{"nofile", RLIMIT_NOFILE},
	{"nproc", RLIMIT_NPROC},
	{"rss", RLIMIT_RSS},
	{"rtprio", RLIMIT_RTPRIO},
	{"rttime", RLIMIT_RTTIME},
	{"sigpending", RLIMIT_SIGPENDING},
	{"stack", RLIMIT_STACK},
};

_Static_assert(array_size(limits) == RLIMITS, "the header says how many");

const char *rlimits_name(size_t n, int *resource_out)
{
	*resource_out = limits[n].resource;
	return limits[n].name;
}

int rlimits_of(const char *name)
{
	if (strncasecmp(name, "RLIMIT_", 7) == 0)
		name += 7;
	for (size_t i = 0; i < RLIMITS; i++)
		if (strcasecmp(name, limits[i].name) == 0)
			return limits[i].resource;
	return -1;
}

const char *rlimits_name_of(int resource)
{
	for (size_t i = 0; i < RLIMITS; i++)
		if (limits[i].resource == resource)
			return limits[i].name;
	return NULL;
}
