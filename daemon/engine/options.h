/*
 * What the daemon was told: its arguments, then its configuration file for what they left open. The file has lines
 * `key = value`; a line that is empty or starts with # says nothing. Keys: socket, state-dir, log-level, idle-exit,
 * allow-foreign-ns (true or false), and any number of lines grant, run-as (grants.h) and quota (limits.h).
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/log.h"
#include "engine/grants.h"
#include "engine/limits.h"

struct options {
	char *socket;    /* NULL: paths_socket says */
	char *state_dir; /* NULL: not named */
	char *config;    /* NULL: no file */
	enum log_level log_level;
	uint64_t idle_exit_ms; /* 0: never */
	bool allow_foreign_ns;
	struct grants grants;
	struct limits limits;
	bool foreground; /* the keeper's business */
	bool version, help;
};

/* 0 and *options_out (options_finish frees it), or -EINVAL and the like with *err saying what is wrong, and where. */
int options_read(struct options *options_out, int argc, char *const *argv, struct err *err);
void options_finish(struct options *options);

/* "10m", "30s", "500ms", "2h", "1d", "1.5" or "1m30s" (seconds without a unit) in milliseconds. false: it is not one. */
bool options_duration(const char *text, uint64_t *ms_out);

extern const char options_usage[];
