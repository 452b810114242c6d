/* What people type, made into numbers. No option is named here and nothing is printed: options.c does that. */
#include "value.h"

#include <ctype.h>
#include <errno.h>
#include <grp.h>
#include <math.h>
#include <pwd.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "base/mem.h"

#define SLOT_MAX 250

/* Says what is wrong. Returns false, for `return refuse(...)`. */
__attribute__((format(printf, 2, 3))) static bool refuse(struct why *why, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(why->text, sizeof(why->text), format, arguments);
	va_end(arguments);
	return false;
}

bool value_number(const char *text, int64_t minimum, int64_t maximum, int64_t *out, struct why *why)
{
	char *end;
	long long number;

	errno = 0;
	number = strtoll(text, &end, 10);
	if (end == text || *end != '\0' || isspace((unsigned char)*text))
		return refuse(why, "not a whole number");
	if (errno == ERANGE || number < minimum || number > maximum)
		return refuse(why, "not from %lld to %lld", (long long)minimum, (long long)maximum);
	*out = number;
	return true;
}

/* A decimal number that is not negative, and what follows it. */
static bool leading_number(const char *text, double *out, const char **rest_out, struct why *why)
{
	size_t length = strspn(text, "0123456789.");
	char digits[40];
	char *end;

	if (length == 0 || length >= sizeof(digits))
		return refuse(why, "not a number");
	memcpy(digits, text, length);
	digits[length] = '\0';
	*out = strtod(digits, &end);
	if (*end != '\0')
		return refuse(why, "not a number");
	*rest_out = text + length;
	return true;
}

struct unit {
	const char *name;
	double factor;
};

/* The number times its unit, rounded; units end with a NULL name. */
static bool number_with_unit(const char *text, const struct unit *units, const char *known, uint64_t *out, struct why *why)
{
	const char *rest = "";
	double number = 0;

	if (!leading_number(text, &number, &rest, why))
		return false;
	for (; units->name; units++)
		if (strcasecmp(rest, units->name) == 0)
			break;
	if (!units->name)
		return refuse(why, "unknown unit '%s' (%s)", rest, known);
	number = round(number * units->factor);
	if (number >= 9.2e18)
		return refuse(why, "too large");
	*out = (uint64_t)number;
	return true;
}

bool value_duration_ms(const char *text, uint64_t *out, struct why *why)
{
	static const struct unit units[] = {
		{"", 1e3}, {"s", 1e3}, {"ms", 1}, {"m", 60e3}, {"min", 60e3}, {"h", 3600e3}, {"d", 86400e3}, {NULL, 0}};

	return number_with_unit(text, units, "ms, s, m, h, d", out, why);
}

bool value_size(const char *text, uint64_t *out, struct why *why)
{
	static const struct unit units[] = {{"", 1}, {"b", 1}, {"k", 0x1p10}, {"kb", 0x1p10}, {"kib", 0x1p10}, {"m", 0x1p20},
		{"mb", 0x1p20}, {"mib", 0x1p20}, {"g", 0x1p30}, {"gb", 0x1p30}, {"gib", 0x1p30}, {"t", 0x1p40}, {"tb", 0x1p40},
		{"tib", 0x1p40}, {NULL, 0}};

	return number_with_unit(text, units, "K, M, G, T", out, why);
}

/* The number of "RTMIN+2" or "RTMAX-1"; 0 when it is none. */
static int realtime_signal(const char *name)
{
	int base, offset;
	char *end;

	if (strncasecmp(name, "RTMIN", 5) == 0)
		base = SIGRTMIN;
	else if (strncasecmp(name, "RTMAX", 5) == 0)
		base = SIGRTMAX;
	else
		return 0;
	if (name[5] == '\0')
		return base;
	if (name[5] != '+' && name[5] != '-')
		return 0;
	offset = (int)strtol(name + 5, &end, 10);
	if (*end != '\0' || base + offset < SIGRTMIN || base + offset > SIGRTMAX)
		return 0;
	return base + offset;
}

bool value_signal(const char *text, int *out, struct why *why)
{
	const char *name = text;
	int64_t number;
	int signal;

	if (isdigit((unsigned char)*text)) {
		if (!value_number(text, 0, SIGRTMAX, &number, why))
			return false;
		*out = (int)number;
		return true;
	}
	if (strncasecmp(name, "SIG", 3) == 0)
		name += 3;
	for (signal = 1; signal < SIGRTMIN; signal++) {
		const char *known = sigabbrev_np(signal);

		if (known && strcasecmp(known, name) == 0) {
			*out = signal;
			return true;
		}
	}
	signal = realtime_signal(name);
	if (signal == 0)
		return refuse(why, "unknown signal");
	*out = signal;
	return true;
}

const char *value_signal_name(int signal)
{
	static char number[24];
	const char *name = sigabbrev_np(signal);

	if (name)
		return name;
	if (signal >= SIGRTMIN && signal <= SIGRTMAX)
		snprintf(number, sizeof(number), "RTMIN+%d", signal - SIGRTMIN);
	else
		snprintf(number, sizeof(number), "%d", signal);
	return number;
}

/* Nanoseconds of ".25"; *text moves behind them. */
static bool fraction_ns(const char **text, int64_t *out)
{
	int64_t unit = 100000000;

	*out = 0;
	if (**text != '.')
		return true;
	(*text)++;
	if (!isdigit((unsigned char)**text))
		return false;
	for (; isdigit((unsigned char)**text); (*text)++) {
		*out += (**text - '0') * unit;
		unit /= 10;
	}
	return true;
}

/* Seconds east of UTC of "Z", "+02:00" or "-0530"; the text must end there. */
static bool zone_offset(const char *text, long *out)
{
	unsigned hours, minutes;
	int used = 0;

	*out = 0;
	if (strcasecmp(text, "Z") == 0)
		return true;
	if (*text != '+' && *text != '-')
		return false;
	if ((sscanf(text + 1, "%2u:%2u%n", &hours, &minutes, &used) != 2 || text[1 + used] != '\0') &&
		(sscanf(text + 1, "%2u%2u%n", &hours, &minutes, &used) != 2 || text[1 + used] != '\0'))
		return false;
	if (hours > 14 || minutes > 59)
		return false;
	*out = (long)(hours * 3600 + minutes * 60) * (*text == '-' ? -1 : 1);
	return true;
}

/* RFC 3339. */
static bool absolute_time(const char *text, int64_t *out)
{
	struct tm tm = {0};
	const char *rest = strptime(text, "%Y-%m-%d", &tm);
	int64_t fraction = 0;
	long zone = 0;

	if (!rest)
		return false;
	if (*rest != '\0') {
		if (*rest != 'T' && *rest != 't' && *rest != ' ')
			return false;
		rest = strptime(rest + 1, "%H:%M:%S", &tm);
		if (!rest || !fraction_ns(&rest, &fraction))
			return false;
		if (*rest != '\0' && !zone_offset(rest, &zone))
			return false;
	}
	*out = ((int64_t)timegm(&tm) - zone) * 1000000000 + fraction;
	return true;
}

bool value_time_ns(const char *text, int64_t now_ns, int64_t *out, struct why *why)
{
	uint64_t ago_ms;

	if (*text == '@') {
		const char *rest = text + 1 + strspn(text + 1, "0123456789");
		int64_t fraction;

		if (rest == text + 1 || rest - text > 11 || !fraction_ns(&rest, &fraction) || *rest != '\0')
			return refuse(why, "not seconds since 1970");
		*out = strtoll(text + 1, NULL, 10) * 1000000000 + fraction;
		return true;
	}
	if (absolute_time(text, out))
		return true;
	if (strchr(text, '-') || !value_duration_ms(text, &ago_ms, why) || ago_ms > (uint64_t)(now_ns / 1000000))
		return refuse(why, "not a time (2026-01-31T12:00:00Z, @SECONDS, or a duration ago such as 10m)");
	*out = now_ns - (int64_t)ago_ms * 1000000;
	return true;
}

bool value_slot_offset(const char *text, uint32_t *slot_out, uint64_t *offset_out)
{
	size_t digits = strspn(text, "0123456789");
	unsigned long slot;
	char *end;

	if (digits == 0 || digits > 3 || text[digits] != ':' || !isdigit((unsigned char)text[digits + 1]))
		return false;
	slot = strtoul(text, NULL, 10);
	errno = 0;
	*offset_out = strtoull(text + digits + 1, &end, 10);
	if (slot > SLOT_MAX || *end != '\0' || errno == ERANGE)
		return false;
	*slot_out = (uint32_t)slot;
	return true;
}

bool value_umask(const char *text, uint32_t *out, struct why *why)
{
	size_t digits = strspn(text, "01234567");

	if (digits == 0 || digits > 4 || text[digits] != '\0' || strtoul(text, NULL, 8) > 0777)
		return refuse(why, "not an octal mask up to 0777");
	*out = (uint32_t)strtoul(text, NULL, 8);
	return true;
}

bool value_uid(const char *text, uint32_t *out, struct why *why)
{
	const struct passwd *user;
	int64_t number;

	if (isdigit((unsigned char)*text)) {
		if (!value_number(text, 0, UINT32_MAX - 1, &number, why))
			return false;
		*out = (uint32_t)number;
		return true;
	}
	user = getpwnam(text);
	if (!user)
		return refuse(why, "no such user");
	*out = user->pw_uid;
	return true;
}

bool value_gid(const char *text, uint32_t *out, struct why *why)
{
	const struct group *group;
	int64_t number;

	if (isdigit((unsigned char)*text)) {
		if (!value_number(text, 0, UINT32_MAX - 1, &number, why))
			return false;
		*out = (uint32_t)number;
		return true;
	}
	group = getgrnam(text);
	if (!group)
		return refuse(why, "no such group");
	*out = group->gr_gid;
	return true;
}

bool value_assignment(const char *text, size_t *name_length_out, struct why *why)
{
	const char *sign = strchr(text, '=');

	if (!sign || sign == text)
		return refuse(why, "not of the form NAME=VALUE");
	*name_length_out = (size_t)(sign - text);
	return true;
}

/* One bound of an rlimit. */
static bool limit_value(const char *text, uint64_t *out, struct why *why)
{
	if (strcmp(text, "unlimited") == 0 || strcmp(text, "infinity") == 0) {
		*out = VALUE_UNLIMITED;
		return true;
	}
	return value_size(text, out, why);
}

bool value_rlimit(const char *text, struct rlimit_value *out, struct why *why)
{
	size_t name_length;
	char soft[48];
	const char *colon;

	if (!value_assignment(text, &name_length, why) || name_length >= sizeof(out->name))
		return refuse(why, "not of the form NAME=SOFT[:HARD]");
	memcpy(out->name, text, name_length);
	out->name[name_length] = '\0';
	text += name_length + 1;
	colon = strchr(text, ':');
	if (!colon) {
		if (!limit_value(text, &out->soft, why))
			return false;
		out->hard = out->soft;
		return true;
	}
	if ((size_t)(colon - text) >= sizeof(soft))
		return refuse(why, "not a number");
	memcpy(soft, text, (size_t)(colon - text));
	soft[colon - text] = '\0';
	return limit_value(soft, &out->soft, why) && limit_value(colon + 1, &out->hard, why);
}

/* "PATH[,MODE]": a comma belongs to the path unless a known mode follows the last one. */
static bool stdio_file(const char *text, struct stdio_value *out, struct why *why)
{
	static const struct {
		const char *name;
		enum stdio_mode mode;
	} modes[] = {{"read", STDIO_MODE_READ}, {"truncate", STDIO_MODE_TRUNCATE}, {"append", STDIO_MODE_APPEND},
		{"readwrite", STDIO_MODE_READ_WRITE}};
	const char *comma = strrchr(text, ',');
	size_t length = strlen(text);

	for (size_t i = 0; comma && i < array_size(modes); i++)
		if (strcmp(comma + 1, modes[i].name) == 0) {
			out->mode = modes[i].mode;
			length = (size_t)(comma - text);
		}
	if (length == 0)
		return refuse(why, "a file needs a path");
	out->kind = STDIO_FILE;
	out->path = mem_strndup(text, length);
	return true;
}

bool value_stdio(const char *text, struct stdio_value *out, struct why *why)
{
	static const struct {
		const char *name;
		enum stdio_kind kind;
	} words[] = {{"pipe", STDIO_PIPE}, {"null", STDIO_NULL}, {"ignore", STDIO_NULL}, {"inherit", STDIO_INHERIT}, {"pty", STDIO_PTY},
		{"none", STDIO_NONE}};
	size_t digits = strspn(text, "0123456789");
	const char *kind = text + digits + 1;
	int64_t number;

	*out = (struct stdio_value){.fd = -1};
	if (digits == 0 || digits > 3 || text[digits] != '=' || strtoul(text, NULL, 10) > SLOT_MAX)
		return refuse(why, "not of the form N=KIND with N up to %d", SLOT_MAX);
	out->slot = (uint32_t)strtoul(text, NULL, 10);
	for (size_t i = 0; i < array_size(words); i++)
		if (strcmp(kind, words[i].name) == 0) {
			out->kind = words[i].kind;
			out->fd = out->kind == STDIO_INHERIT ? (int)out->slot : -1;
			return true;
		}
	if (strncmp(kind, "file:", 5) == 0)
		return stdio_file(kind + 5, out, why);
	if (strncmp(kind, "fd:", 3) == 0) {
		out->kind = STDIO_FD;
		if (!value_number(kind + 3, 0, INT32_MAX, &number, why))
			return false;
		out->fd = (int)number;
		return true;
	}
	if (strncmp(kind, "same:", 5) == 0) {
		out->kind = STDIO_SAME;
		if (!value_number(kind + 5, 0, SLOT_MAX, &number, why))
			return false;
		out->same = (uint32_t)number;
		return true;
	}
	return refuse(why, "unknown kind (pipe, null, inherit, fd:N, file:PATH[,append|read|truncate], pty, same:N, none)");
}
