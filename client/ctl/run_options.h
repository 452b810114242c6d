/* The options of run and exec, as typed: what they mean for a process is said in spec.c. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "options.h"

/* A list of strings that grows. */
struct words {
	char **word;
	size_t count;
};

void words_add(struct words *words, const char *text);
void words_clear(struct words *words);

enum run_transport { RUN_TRANSPORT_DEFAULT, RUN_TRANSPORT_KEPT, RUN_TRANSPORT_DIRECT, RUN_TRANSPORT_HANDOVER };
enum run_disconnect { RUN_DISCONNECT_DEFAULT, RUN_DISCONNECT_STOP, RUN_DISCONNECT_HANGUP, RUN_DISCONNECT_KEEP };
enum run_shutdown { RUN_SHUTDOWN_DEFAULT, RUN_SHUTDOWN_STOP, RUN_SHUTDOWN_KEEP };
enum run_serialization { RUN_SERIALIZATION_DEFAULT, RUN_SERIALIZATION_JSON, RUN_SERIALIZATION_NATIVE };
enum run_reader { RUN_READER_DEFAULT, RUN_READER_BLOCK, RUN_READER_DROP };

/* A number that may be absent. */
struct maybe {
	bool set;
	uint64_t value;
};

struct run_options {
	bool background, tty;
	const char *name, *cwd, *argv0, *shell, *log_file;
	bool use_shell;
	struct words labels; /* "K=V" */
	struct words env;    /* "K=V" */
	struct words env_files;
	bool clear_env;
	struct stdio_value *stdio;
	size_t stdio_count;
	struct rlimit_value *rlimits;
	size_t rlimit_count;
	uint64_t timeout_ms;
	int kill_signal;
	bool persist, no_tree, no_new_privs;
	struct maybe grace_ms, drain_timeout_ms, max_buffer, uid, gid, umask, nice, retain, window;
	uint64_t log_max;
	uint32_t log_keep;
	enum run_disconnect on_disconnect;
	enum run_shutdown on_shutdown;
	enum run_reader reader;
	enum run_transport transport;
	enum run_serialization serialization; /* fork */
	bool own_stdout, keep_open;
};

extern const struct option_row run_option_rows[], fork_option_rows[];

void run_options_clear(struct run_options *options);
