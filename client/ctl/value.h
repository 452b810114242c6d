/*
 * What people type, made into numbers: one function per kind of value. Pure but for the user database. Each returns true,
 * or false with a few words in `why` that follow "invalid value '...': ".
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define VALUE_WHY_MAX 160
#define VALUE_UNLIMITED UINT64_MAX

struct why {
	char text[VALUE_WHY_MAX];
};

/* A whole decimal number from minimum to maximum. */
bool value_number(const char *text, int64_t minimum, int64_t maximum, int64_t *out, struct why *why);
/* "500ms", "2s", "1.5m", "1h", "1d"; a plain number is seconds. */
bool value_duration_ms(const char *text, uint64_t *out, struct why *why);
/* "64K", "1M", "1.5G"; powers of 1024; a plain number is bytes. */
bool value_size(const char *text, uint64_t *out, struct why *why);
/* "TERM", "SIGTERM", "15", "RTMIN+1". 0 is a signal here (the probe). */
bool value_signal(const char *text, int *out, struct why *why);
/* "2026-01-31T12:00:00.5Z" (or an offset), "@1700000000.25", or a duration ago: "10m". `now_ns` is what "ago" refers to. */
bool value_time_ns(const char *text, int64_t now_ns, int64_t *out, struct why *why);
/* "1:4096": a slot and an offset. false without a reason when the text has not this form. */
bool value_slot_offset(const char *text, uint32_t *slot_out, uint64_t *offset_out);
/* An octal mask up to 0777. */
bool value_umask(const char *text, uint32_t *out, struct why *why);
/* A number or a name of the user (group) database. */
bool value_uid(const char *text, uint32_t *out, struct why *why);
bool value_gid(const char *text, uint32_t *out, struct why *why);
/* "NAME=..." with a name of at least one byte: the length of the name. */
bool value_assignment(const char *text, size_t *name_length_out, struct why *why);

struct rlimit_value {
	char name[32];
	uint64_t soft, hard;
};

/* "NAME=SOFT[:HARD]"; "unlimited" is a number too; without HARD both are SOFT. */
bool value_rlimit(const char *text, struct rlimit_value *out, struct why *why);

enum stdio_kind { STDIO_PIPE, STDIO_NULL, STDIO_INHERIT, STDIO_FD, STDIO_FILE, STDIO_PTY, STDIO_SAME, STDIO_NONE };
enum stdio_mode { STDIO_MODE_DEFAULT, STDIO_MODE_READ, STDIO_MODE_TRUNCATE, STDIO_MODE_APPEND, STDIO_MODE_READ_WRITE };

struct stdio_value {
	uint32_t slot;
	enum stdio_kind kind;
	int fd;        /* INHERIT, FD: a descriptor of ours */
	uint32_t same; /* SAME */
	char *path;    /* FILE: the caller frees it */
	enum stdio_mode mode;
};

/* "N=KIND": pipe, null, inherit, fd:N, file:PATH[,append|read|truncate|readwrite], pty, same:N, none. */
bool value_stdio(const char *text, struct stdio_value *out, struct why *why);

/* "TERM" for 15; "42" when it has no name. The string lives until the next call. */
const char *value_signal_name(int signal);
