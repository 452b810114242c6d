/*
 * libspawnd: programs that run under spawnd, from C.
 *
 * Threads. One `struct spawnd` is one connection to a daemon. It and all that was opened on it belong to one thread at a
 * time; several connections may live in several threads. Specs, errors and results are plain memory.
 *
 * Blocking. Functions that are said to block wait for the daemon in poll(2) and run callbacks of other calls meanwhile; all
 * others return at once. Inside a callback only functions that do not block may be called: the others fail with
 * SPAWND_FAILED_PRECONDITION. spawnd_close and every ..._free are allowed inside every callback.
 *
 * Loops. Watch spawnd_fd() for spawnd_events() and call spawnd_dispatch() when it is ready; <spawnd_libevent.h> does that
 * for a libevent base. Callbacks run in spawnd_dispatch and in blocking functions, never anywhere else.
 *
 * Errors. Functions that can fail return 0 or a positive result, or -1 (or NULL) with *error filled; `error` may be NULL.
 * Arguments that only a wrong program can pass (a freed object, NULL where it is not mentioned) are not checked.
 *
 * Ownership. What a function creates is freed by its own ..._free or ..._clear, NULL and all zero are fine there. Texts that
 * a getter returns belong to the object they come from. Everything passed in is copied, unless said otherwise.
 *
 * Units. Times are nanoseconds since the epoch (_ns), durations milliseconds (_ms), sizes bytes. Without memory the process
 * is aborted. SIGPIPE is never raised, no signal handler is installed, no descriptor is left without close-on-exec.
 */
#ifndef SPAWND_H
#define SPAWND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define SPAWND_API __attribute__((visibility("default")))
#else
#define SPAWND_API
#endif

struct spawnd;         /* a connection */
struct spawnd_spec;    /* what to start */
struct spawnd_process; /* a stream to one process: spawned here, attached to, or its log */
struct spawnd_info;    /* the record of a process, a copy */
struct spawnd_call;    /* an asynchronous call under way */
struct spawnd_watcher; /* a subscription to the events of the daemon */

/* ---- errors ---- */

/* google.rpc.Code, and what happens before a daemon can say one. */
enum spawnd_status {
	SPAWND_OK = 0,
	SPAWND_CANCELLED = 1,
	SPAWND_UNKNOWN = 2,
	SPAWND_INVALID_ARGUMENT = 3,
	SPAWND_DEADLINE_EXCEEDED = 4,
	SPAWND_NOT_FOUND = 5,
	SPAWND_ALREADY_EXISTS = 6,
	SPAWND_PERMISSION_DENIED = 7,
	SPAWND_RESOURCE_EXHAUSTED = 8,
	SPAWND_FAILED_PRECONDITION = 9,
	SPAWND_ABORTED = 10,
	SPAWND_OUT_OF_RANGE = 11,
	SPAWND_UNIMPLEMENTED = 12,
	SPAWND_INTERNAL = 13,
	SPAWND_UNAVAILABLE = 14, /* no daemon to reach, or the connection is lost */
	SPAWND_DATA_LOSS = 15,
};

/* In the shape of Node's errors (node: Error.code, .errno, .syscall, .path). A plain value. */
struct spawnd_error {
	enum spawnd_status status;
	int errnum;        /* errno, positive; 0 when it is not one of the kernel's */
	char code[40];     /* "ENOENT", "ABORT_ERR"; "" when there is none */
	char syscall[320]; /* "spawn foo" */
	char path[4096];
	char field[128];   /* of the request: "spec.argv[0]" */
	char message[512]; /* one line, for people */
};

/* ---- connection ---- */

enum {
	SPAWND_NO_AUTOSTART = 1 << 0, /* fail with SPAWND_UNAVAILABLE instead of starting a daemon */
	SPAWND_NO_CONTEXT = 1 << 1,   /* children do not get this process's directory, environment, umask and limits */
	SPAWND_NO_RECONNECT = 1 << 2, /* a lost connection is the end of all that is open */
};

/*
 * A lost connection. The daemon may be replaced under its clients, and nothing of that need be seen: the connection is made
 * anew, at the same socket, by spawnd_dispatch and the functions that block, and what is open goes on. Streams are said again
 * with a key and the offsets of what was handed out, input that was not taken is sent again, calls that were not answered are
 * repeated (acts with a key, so that they are not done twice; a wait for what is left of its time); callbacks tell nothing
 * twice. What is called meanwhile is sent later. Signals and sizes that were on their way are not repeated, nor is spawnd_send,
 * which fails. It is tried for 10 seconds while the socket refuses, and given up at once when the socket is no more; then
 * everything ends with SPAWND_UNAVAILABLE. No daemon is started for it. What is held by hand (spawnd_process_manual) does not
 * count for the window
 * of the new stream.
 */

/*
 * Connects and opens a session; children get the directory, environment, umask and limits that this process has now. One whose
 * directory is gone can start only what has a cwd of its own: the calls fail at once with getcwd's ENOENT and the field spec.cwd.
 * path NULL: SPAWND_SOCKET, else the system's or the user's own socket (docs/PROTOCOL.md). Starts a daemon when none runs:
 * the program SPAWND_DAEMON names, else `spawnd` beside this program, else in PATH; many clients at once start one. Blocks.
 * SPAWND_UNAVAILABLE: no daemon to reach; SPAWND_FAILED_PRECONDITION: it speaks another major version;
 * SPAWND_PERMISSION_DENIED: the usual socket is in a directory that others can write to.
 */
SPAWND_API int spawnd_connect(const char *path, unsigned flags, struct spawnd **client_out, struct spawnd_error *error);
/*
 * Closes the connection; NULL is fine. What is still open ends without a callback: calls and watchers are gone, streams are
 * still the caller's to free. on_disconnect decides about their processes. What was queued and not sent yet is lost.
 */
SPAWND_API void spawnd_close(struct spawnd *client);
/* The path it is connected to, absolute. */
SPAWND_API const char *spawnd_socket(const struct spawnd *client);
/* The path that spawnd_connect(NULL) would use. 0 or -1. */
SPAWND_API int spawnd_default_socket(char *path, size_t size, struct spawnd_error *error);

/* For poll; stays the client's, and its number the same. */
SPAWND_API int spawnd_fd(const struct spawnd *client);
/*
 * How often another file was put behind spawnd_fd, which happens in spawnd_dispatch and in functions that block when the
 * connection is lost. Whoever registered it (epoll, event loops) does so anew when this number has changed; poll needs nothing.
 */
SPAWND_API unsigned spawnd_fd_changes(const struct spawnd *client);
SPAWND_API short spawnd_events(const struct spawnd *client); /* POLLIN, and POLLOUT while something waits to be sent */
/* Reads, calls back, writes, never blocks. -1 when the connection is lost for good: every open stream has ended with that error. */
SPAWND_API int spawnd_dispatch(struct spawnd *client, struct spawnd_error *error);
/* Blocks until something was dispatched or timeout_ms has passed (-1: for ever). 1; 0 at the timeout or when a signal came; -1. */
SPAWND_API int spawnd_wait_event(struct spawnd *client, int timeout_ms, struct spawnd_error *error);

/* ---- what to start (node: options of child_process.spawn) ---- */

enum spawnd_stdio { SPAWND_PIPE = 1, SPAWND_NULL = 2, SPAWND_FILE = 3, SPAWND_FD = 4, SPAWND_PTY = 5, SPAWND_SAME = 6, SPAWND_NONE = 7 };
enum spawnd_serialization { SPAWND_JSON = 0, SPAWND_ADVANCED = 1, SPAWND_NATIVE = 2 };
enum spawnd_direction { SPAWND_DIRECTION_DEFAULT = 0, SPAWND_IN = 1, SPAWND_OUT = 2, SPAWND_BOTH = 3 };
enum spawnd_file_mode { SPAWND_FILE_DEFAULT = 0, SPAWND_READ = 1, SPAWND_TRUNCATE = 2, SPAWND_APPEND = 3, SPAWND_READ_WRITE = 4 };
enum spawnd_capture { SPAWND_CUT_TAIL = 0, SPAWND_CUT_HEAD = 1, SPAWND_KILL = 2 };
enum spawnd_scope { SPAWND_SCOPE_DEFAULT = 0, SPAWND_CHILD = 1, SPAWND_GROUP = 2, SPAWND_TREE = 3 };
enum spawnd_on_disconnect {
	SPAWND_DISCONNECT_DEFAULT = 0,
	SPAWND_DISCONNECT_STOP = 1,
	SPAWND_DISCONNECT_HANGUP = 2,
	SPAWND_DISCONNECT_KEEP = 3
};
enum spawnd_on_shutdown { SPAWND_SHUTDOWN_DEFAULT = 0, SPAWND_SHUTDOWN_STOP = 1, SPAWND_SHUTDOWN_KEEP = 2 };
enum spawnd_transport { SPAWND_TRANSPORT_DEFAULT = 0, SPAWND_KEPT = 1, SPAWND_DIRECT = 2, SPAWND_HANDOVER = 3 };

#define SPAWND_UNLIMITED UINT64_MAX

/*
 * A program and its arguments; argv ends with NULL. Nothing passes through a shell. A spec may be used for any number of
 * calls, and freed as soon as the call that got it has returned.
 */
SPAWND_API struct spawnd_spec *spawnd_spec_create(const char *const *argv);
/* One line for `shell -c` (shell NULL: /bin/sh). */
SPAWND_API struct spawnd_spec *spawnd_spec_create_shell(const char *line, const char *shell);
SPAWND_API void spawnd_spec_free(struct spawnd_spec *spec); /* NULL is fine */

/* All of these return at once. What is wrong with a value is told by the call that starts the process, in error.field. */
SPAWND_API void spawnd_spec_set_name(struct spawnd_spec *spec, const char *name); /* NULL: none */
SPAWND_API void spawnd_spec_add_label(struct spawnd_spec *spec, const char *key, const char *value);
SPAWND_API void spawnd_spec_set_argv0(struct spawnd_spec *spec, const char *argv0);
SPAWND_API void spawnd_spec_set_cwd(struct spawnd_spec *spec, const char *cwd);        /* absolute */
SPAWND_API void spawnd_spec_clear_env(struct spawnd_spec *spec);                       /* start from an empty environment */
SPAWND_API void spawnd_spec_set_env(struct spawnd_spec *spec, const char *assignment); /* "NAME=value" */
SPAWND_API void spawnd_spec_unset_env(struct spawnd_spec *spec, const char *name);
SPAWND_API void spawnd_spec_set_stdio(struct spawnd_spec *spec, unsigned slot, enum spawnd_stdio kind); /* PIPE, NULL, PTY, NONE */
SPAWND_API void spawnd_spec_set_pipe(struct spawnd_spec *spec, unsigned slot, enum spawnd_direction direction);
SPAWND_API void spawnd_spec_set_file(
	struct spawnd_spec *spec, unsigned slot, const char *path, enum spawnd_file_mode mode, int permissions /* -1: 0666 */);
SPAWND_API void spawnd_spec_set_fd(struct spawnd_spec *spec, unsigned slot, int fd); /* borrowed until the spec is freed; sent along */
SPAWND_API void spawnd_spec_set_same(struct spawnd_spec *spec, unsigned slot, unsigned as);
/* The message channel of the child (node: 'ipc', serialization): see spawnd_process_send. At most one. */
SPAWND_API void spawnd_spec_set_channel(struct spawnd_spec *spec, unsigned slot, enum spawnd_serialization serialization);
SPAWND_API void spawnd_spec_set_capture(struct spawnd_spec *spec, unsigned slot, uint64_t limit, enum spawnd_capture policy);
SPAWND_API void spawnd_spec_set_window(struct spawnd_spec *spec, unsigned rows, unsigned columns); /* of the PTY */
SPAWND_API void spawnd_spec_set_uid(struct spawnd_spec *spec, uid_t uid);
SPAWND_API void spawnd_spec_set_gid(struct spawnd_spec *spec, gid_t gid);
SPAWND_API void spawnd_spec_set_groups(struct spawnd_spec *spec, const gid_t *groups, size_t count);
SPAWND_API void spawnd_spec_set_umask(struct spawnd_spec *spec, mode_t mask);
SPAWND_API void spawnd_spec_set_nice(struct spawnd_spec *spec, int nice);
SPAWND_API void spawnd_spec_add_rlimit(struct spawnd_spec *spec, const char *name, uint64_t soft, uint64_t hard);
SPAWND_API void spawnd_spec_set_no_new_privs(struct spawnd_spec *spec, bool on);
SPAWND_API void spawnd_spec_set_timeout(struct spawnd_spec *spec, uint64_t timeout_ms); /* 0: none */
SPAWND_API void spawnd_spec_set_kill_signal(struct spawnd_spec *spec, int signal);
SPAWND_API void spawnd_spec_set_kill_scope(struct spawnd_spec *spec, enum spawnd_scope scope);
/* Starts again with the daemon until it is removed: for spawnd_start, with a name, where the daemon has a --state-dir. */
SPAWND_API void spawnd_spec_set_persist(struct spawnd_spec *spec, bool on);
SPAWND_API void spawnd_spec_set_no_tree(struct spawnd_spec *spec, bool on);
SPAWND_API void spawnd_spec_set_grace(struct spawnd_spec *spec, uint64_t grace_ms);
SPAWND_API void spawnd_spec_set_drain_timeout(struct spawnd_spec *spec, uint64_t drain_timeout_ms);
SPAWND_API void spawnd_spec_set_retain(struct spawnd_spec *spec, uint64_t bytes);
SPAWND_API void spawnd_spec_set_log_file(struct spawnd_spec *spec, const char *path, uint64_t max_bytes, unsigned keep);
SPAWND_API void spawnd_spec_set_transport(struct spawnd_spec *spec, enum spawnd_transport transport);
SPAWND_API void spawnd_spec_set_on_disconnect(struct spawnd_spec *spec, enum spawnd_on_disconnect what);
SPAWND_API void spawnd_spec_set_on_shutdown(struct spawnd_spec *spec, enum spawnd_on_shutdown what);

/* ---- how a process ended ---- */

enum spawnd_reason {
	SPAWND_EXITED = 1,
	SPAWND_SIGNALED = 2,
	SPAWND_TIMED_OUT = 3,
	SPAWND_OOM = 4,
	SPAWND_STOPPED = 5,
	SPAWND_CAPTURE_LIMIT = 6,
	SPAWND_SPAWN_FAILED = 7,
	SPAWND_REASON_UNKNOWN = 8,
};

struct spawnd_slot_total {
	unsigned slot;
	uint64_t bytes;         /* in all: a reader that has [0, bytes) has everything */
	uint64_t retained_from; /* what can still be read starts here */
	bool complete;          /* the end of file was seen */
};

#define SPAWND_TOTALS 16

/* A plain value. Exactly one of code and signal is not -1, or none when the status is not known. */
struct spawnd_exit {
	int code;
	int signal;
	bool core;
	enum spawnd_reason reason;
	int64_t exited_at_ns;
	uint64_t user_us, system_us, max_rss_bytes;
	bool drain_timed_out;
	size_t total_count; /* output slots in all; totals holds the first SPAWND_TOTALS of them */
	struct spawnd_slot_total totals[SPAWND_TOTALS];
};

/* ---- streams ---- */

/* A message that came. Everything but the descriptors is valid until the callback returns. */
struct spawnd_message {
	uint64_t id; /* from 1, without holes */
	const void *data;
	size_t size;
	uint64_t offset;          /* of data in the message; 0 unless spawnd_process_pieces */
	bool more;                /* it goes on; false unless spawnd_process_pieces */
	const char *content_type; /* SPAWND_NATIVE; "" when there is none */
	int *fds;                 /* the callback's to close; with the first piece */
	size_t fd_count;
	size_t lost_fds; /* descriptors that did not get through */
};

/* A message to send. */
struct spawnd_outgoing {
	const void *data; /* JSON: a value as text; ADVANCED: V8's format; NATIVE: any bytes */
	size_t size;
	const char *content_type; /* SPAWND_NATIVE; NULL: none */
	const int *fds;           /* borrowed; sockets and at most one of them, 16 of any kind for SPAWND_NATIVE */
	size_t fd_count;
	bool tell; /* `sent` comes when it is with the kernel too */
};

/*
 * What happens to a process, in Node's order: spawned, output, exited, closed, then ended. Any may be NULL.
 * spawnd_process_free may be called inside every one of them.
 */
struct spawnd_handlers {
	/* It runs (or, for attach: these are the facts). fds: with SPAWND_HANDOVER the pipes of `slots`, now the caller's. */
	void (*spawned)(void *context, struct spawnd_process *process, const unsigned *slots, const int *fds, size_t fd_count);
	/* Bytes [offset, offset + size) of a slot; `data` only until the callback returns. Credit: see spawnd_process_manual. */
	void (*output)(void *context, struct spawnd_process *process, unsigned slot, uint64_t offset, const void *data, size_t size);
	/* Bytes that a reader with SPAWND_DROP lost. */
	void (*gap)(void *context, struct spawnd_process *process, unsigned slot, uint64_t offset, uint64_t size);
	/* spawnd_process_write may take bytes again. */
	void (*writable)(void *context, struct spawnd_process *process);
	/* What is written to this slot is thrown away: the child closed it, or it follows spawnd_process_close_stdin. Comes once. */
	void (*stdin_closed)(void *context, struct spawnd_process *process, unsigned slot);
	/* A message of the child (node: 'message'). */
	void (*message)(void *context, struct spawnd_process *process, const struct spawnd_message *message);
	/* Message `id` of ours is with the kernel, if that was asked for; or (error) it, or its descriptor, did not get through. */
	void (*sent)(void *context, struct spawnd_process *process, uint64_t id, const struct spawnd_error *error);
	/* Nothing that was sent waits here any more. */
	void (*sendable)(void *context, struct spawnd_process *process);
	/* The end of the channel, after its last message (node: 'disconnect'). error NULL: the child closed it, or we did. */
	void (*disconnected)(void *context, struct spawnd_process *process, const struct spawnd_error *error);
	void (*exited)(void *context, struct spawnd_process *process, const struct spawnd_exit *exit);
	void (*closed)(void *context, struct spawnd_process *process, const struct spawnd_exit *exit);
	/* Always the last. error NULL: all is well; else why: the spawn failed, it was cancelled, the connection is lost. */
	void (*ended)(void *context, struct spawnd_process *process, const struct spawnd_error *error);
};

enum spawnd_reader { SPAWND_READER_DEFAULT = 0, SPAWND_BLOCK = 1, SPAWND_DROP = 2, SPAWND_NO_OUTPUT = 3 };

/*
 * Starts a process; the stream is the process (node: child_process.spawn). Does not block: a failure comes to `ended`, unless
 * the connection is lost already or there is no directory to start it in. window: bytes of output under way at most, of each slot; 0: 1
 * MiB. A slot whose bytes are not taken does not stop the others. The caller frees the stream.
 */
SPAWND_API struct spawnd_process *spawnd_spawn(struct spawnd *client, const struct spawnd_spec *spec, enum spawnd_reader reader,
	uint64_t window, const struct spawnd_handlers *handlers, void *context, struct spawnd_error *error);

/* A process by id, or by name when id is 0. */
struct spawnd_ref {
	uint64_t id;
	const char *name;
};

struct spawnd_offset {
	unsigned slot;
	uint64_t offset;
};

/* Joins a process: output from `from` on (slots not named: the next byte), or with `retained` all that is kept. */
SPAWND_API struct spawnd_process *spawnd_attach(struct spawnd *client, struct spawnd_ref ref, enum spawnd_reader reader, uint64_t window,
	bool retained, const struct spawnd_offset *from, size_t from_count, const struct spawnd_handlers *handlers, void *context,
	struct spawnd_error *error);

/* Joins a process for the messages of its channel; its output is not read. They come to the first stream that reads them. */
SPAWND_API struct spawnd_process *spawnd_attach_channel(
	struct spawnd *client, struct spawnd_ref ref, const struct spawnd_handlers *handlers, void *context, struct spawnd_error *error);

struct spawnd_logs_options {
	const unsigned *slots; /* NULL: all */
	size_t slot_count;
	int64_t since_ns;                 /* 0: all that is kept */
	const struct spawnd_offset *from; /* instead of since_ns */
	size_t from_count;
	bool follow;
};

/* Output that is kept, and what comes with `follow`. */
SPAWND_API struct spawnd_process *spawnd_logs(struct spawnd *client, struct spawnd_ref ref, const struct spawnd_logs_options *options,
	const struct spawnd_handlers *handlers, void *context, struct spawnd_error *error);

/*
 * Leaves the stream; no callback comes any more. NULL is fine. A spawned process runs on with its output kept by the daemon,
 * and meets its on_disconnect only when the connection is closed (cancel it first to end it).
 */
SPAWND_API void spawnd_process_free(struct spawnd_process *process);
SPAWND_API uint64_t spawnd_process_id(const struct spawnd_process *process); /* 0 before `spawned` */
SPAWND_API pid_t spawnd_process_pid(const struct spawnd_process *process);
/*
 * Credit by hand: without it output counts as taken when the callback returns; with it, when spawnd_process_taken says so,
 * and not more than the window is ever under way. What is not taken of a slot holds the child back there (SPAWND_BLOCK).
 */
SPAWND_API void spawnd_process_manual(struct spawnd_process *process);
SPAWND_API void spawnd_process_taken(struct spawnd_process *process, unsigned slot, size_t size);
/*
 * Queues bytes for a slot the child reads. Returns how many the window takes now, perhaps 0: the rest is for after `writable`.
 * -1: the stream has ended, or is one of spawnd_logs. At most 1 MiB is ahead of what the kernel took from the daemon.
 */
SPAWND_API ssize_t spawnd_process_write(struct spawnd_process *process, unsigned slot, const void *data, size_t size);
SPAWND_API void spawnd_process_close_stdin(struct spawnd_process *process, unsigned slot); /* after what was written */
/*
 * Sends a message to the child's channel (node: subprocess.send). Never fails for want of room: what the window does not take is
 * copied and waits; returns the message's id. 0: the stream has ended, has no channel, or is one of spawnd_logs.
 */
SPAWND_API uint64_t spawnd_process_send(struct spawnd_process *process, const struct spawnd_outgoing *message);
/* Bytes of messages that wait here: above what one likes, wait for `sendable` before sending more. */
SPAWND_API size_t spawnd_process_unsent(const struct spawnd_process *process);
/* Ends our side after what was sent; messages of the child still come (node: subprocess.disconnect). */
SPAWND_API void spawnd_process_disconnect(struct spawnd_process *process);
/* Messages come in pieces as they arrive, not put together; with spawnd_process_manual their credit is the channel slot's. */
SPAWND_API void spawnd_process_pieces(struct spawnd_process *process);
/* These send and return; nothing is answered. For the answer use spawnd_signal, spawnd_resize. Nothing happens after the end. */
SPAWND_API void spawnd_process_signal(struct spawnd_process *process, int signal, enum spawnd_scope scope);
SPAWND_API void spawnd_process_resize(struct spawnd_process *process, unsigned rows, unsigned columns);
/* Ends the call with SPAWND_CANCELLED; a process that was spawned on it is stopped (node: AbortSignal). */
SPAWND_API void spawnd_process_cancel(struct spawnd_process *process);

/* ---- blocking ---- */

struct spawnd_result {
	uint64_t id;
	struct spawnd_exit exit;
	char *out, *err; /* with a NUL after the last byte */
	size_t out_size, err_size;
	uint64_t out_cut, err_cut; /* bytes that the capture limit left out */
};

/*
 * Runs to the end and collects stdout and stderr (node: execFile, exec, spawnSync). input may be NULL: stdin is /dev/null.
 * Without spawnd_spec_set_capture the first MiB of each is kept. spawnd_result_clear frees what it holds. Blocks.
 */
SPAWND_API int spawnd_run(struct spawnd *client, const struct spawnd_spec *spec, const void *input, size_t input_size,
	struct spawnd_result *result_out, struct spawnd_error *error);
SPAWND_API void spawnd_result_clear(struct spawnd_result *result);

/* What Signal and Stop did. spawnd_kill_clear frees the lists. */
struct spawnd_kill {
	pid_t *ended, *survived;
	size_t ended_count, survived_count;
	char method[16]; /* "signal", "cgroup", "freezer", "sweep" */
	bool complete;   /* nothing of the scope can have escaped */
	bool has_exit;   /* the process itself has ended: */
	struct spawnd_exit exit;
};

SPAWND_API void spawnd_kill_clear(struct spawnd_kill *kill);

/* Starts a process and leaves it running. key (may be NULL): the same key within 10 minutes names the same process. Blocks. */
SPAWND_API int spawnd_start(
	struct spawnd *client, const struct spawnd_spec *spec, const char *key, struct spawnd_info **info_out, struct spawnd_error *error);
/* Until it has exited (or, with `closed`, until its output is complete). timeout_ms 0: for ever; SPAWND_DEADLINE_EXCEEDED after it. Blocks.
 */
SPAWND_API int spawnd_wait(struct spawnd *client, struct spawnd_ref ref, bool closed, uint64_t timeout_ms, struct spawnd_info **info_out,
	struct spawnd_error *error);
/* kill_out may be NULL. Block. */
SPAWND_API int spawnd_signal(struct spawnd *client, struct spawnd_ref ref, int signal, enum spawnd_scope scope,
	struct spawnd_kill *kill_out, struct spawnd_error *error);
/* grace_ms -1: the spec's; signal 0: the spec's. */
SPAWND_API int spawnd_stop(struct spawnd *client, struct spawnd_ref ref, int64_t grace_ms, int signal, struct spawnd_kill *kill_out,
	struct spawnd_error *error);
SPAWND_API int spawnd_resize(struct spawnd *client, struct spawnd_ref ref, unsigned rows, unsigned columns, struct spawnd_error *error);
SPAWND_API int spawnd_close_stdin(struct spawnd *client, struct spawnd_ref ref, unsigned slot, struct spawnd_error *error);
SPAWND_API int spawnd_set_on_disconnect(
	struct spawnd *client, struct spawnd_ref ref, enum spawnd_on_disconnect what, struct spawnd_error *error);
SPAWND_API int spawnd_remove(struct spawnd *client, struct spawnd_ref ref, struct spawnd_error *error);
SPAWND_API int spawnd_get(struct spawnd *client, struct spawnd_ref ref, struct spawnd_info **info_out, struct spawnd_error *error);

/*
 * Every process, by id; `all`: ended ones too. The array and each record are the caller's (spawnd_infos_free). Returns their
 * number. Blocks.
 */
SPAWND_API ssize_t spawnd_list(struct spawnd *client, bool all, struct spawnd_info ***infos_out, struct spawnd_error *error);
SPAWND_API void spawnd_infos_free(struct spawnd_info **infos, size_t count); /* NULL is fine */

struct spawnd_label {
	const char *key, *value;
};

/* Which processes to list. All zero: all that run. */
struct spawnd_filter {
	bool all;                          /* ended ones too */
	bool usage;                        /* fill cpu_us and memory_bytes */
	const char *name;                  /* NULL: any */
	const struct spawnd_label *labels; /* all must match */
	size_t label_count;
};

/*
 * One page of them, about 1 MiB of records. *after_id: 0 for the first page; afterwards where the next one starts, or 0 when
 * that was the last. Returns the number of records, as spawnd_list does. Blocks.
 */
SPAWND_API ssize_t spawnd_list_page(struct spawnd *client, const struct spawnd_filter *filter, uint64_t *after_id,
	struct spawnd_info ***infos_out, struct spawnd_error *error);

/* Writes all to a process of somebody else's stream; eof closes the slot after it. Blocks until the kernel has it. */
SPAWND_API int spawnd_write(
	struct spawnd *client, struct spawnd_ref ref, unsigned slot, const void *data, size_t size, bool eof, struct spawnd_error *error);

/* Sends one message and waits until the kernel has it. Blocks. SPAWND_FAILED_PRECONDITION: there is no channel (any more). */
SPAWND_API int spawnd_send(struct spawnd *client, struct spawnd_ref ref, const struct spawnd_outgoing *message, struct spawnd_error *error);
/* Ends our side of a channel, after what was sent. Blocks until that is with the kernel. */
SPAWND_API int spawnd_disconnect(struct spawnd *client, struct spawnd_ref ref, struct spawnd_error *error);
/* A round trip. Blocks, as all that follow here. */
SPAWND_API int spawnd_ping(struct spawnd *client, struct spawnd_error *error);
/* The text is the caller's to free. */
SPAWND_API int spawnd_version(struct spawnd *client, char **version_out, struct spawnd_error *error);
SPAWND_API int spawnd_metrics(struct spawnd *client, char **text_out, struct spawnd_error *error);
/* "error", "warning", "info", "debug" */
SPAWND_API int spawnd_set_log_level(struct spawnd *client, const char *level, struct spawnd_error *error);
/*
 * Has another engine go on from the one that serves: the program at path (absolute; NULL: what is installed). Returns when it has
 * said that it can. Then the connection is lost and made anew; spawnd_get_stats tells engine_pid when the new one serves, another
 * pid when it ended before and the old program goes on. The version is the caller's to free; each out may be NULL.
 */
SPAWND_API int spawnd_upgrade(struct spawnd *client, const char *path, char **version_out, int *engine_pid_out, struct spawnd_error *error);
/* Ends the daemon, and what on_shutdown says; keep: leaves every process running. */
SPAWND_API int spawnd_shutdown(struct spawnd *client, bool keep, struct spawnd_error *error);

struct spawnd_stats {
	int keeper_pid, engine_pid;
	unsigned engine_restarts, processes, kept, clients, fds, fds_limit;
	uint64_t rss_bytes, keeper_rss_bytes, spawned_total, output_bytes_total, buffered_bytes;
};

SPAWND_API int spawnd_get_stats(struct spawnd *client, struct spawnd_stats *stats_out, struct spawnd_error *error);

/* ---- the same, asynchronous ---- */

/*
 * Every ..._async function takes what its blocking twin takes, sends the request and returns; the answer comes to a callback,
 * once, with error NULL or the reason. NULL with *error: it could not be sent, and no callback comes. Many may be under way
 * at once; they are answered in any order. A call frees itself with its callback.
 */
typedef void (*spawnd_done_fn)(void *context, const struct spawnd_error *error);
/* info is the callback's to free; NULL with an error. */
typedef void (*spawnd_info_fn)(void *context, struct spawnd_info *info, const struct spawnd_error *error);
/* What kill and result hold is the callback's: spawnd_kill_clear, spawnd_result_clear. NULL with an error. */
typedef void (*spawnd_kill_fn)(void *context, struct spawnd_kill *kill, const struct spawnd_error *error);
typedef void (*spawnd_result_fn)(void *context, struct spawnd_result *result, const struct spawnd_error *error);

/*
 * Forgets a call that has not been answered: its callback does not come. What was asked for happens all the same, but a
 * spawnd_run_async is cancelled. Not to be used in the call's callback and after it.
 */
SPAWND_API void spawnd_call_free(struct spawnd_call *call);

/* input must stay valid until the callback. */
SPAWND_API struct spawnd_call *spawnd_run_async(struct spawnd *client, const struct spawnd_spec *spec, const void *input, size_t input_size,
	spawnd_result_fn done, void *context, struct spawnd_error *error);
SPAWND_API struct spawnd_call *spawnd_start_async(struct spawnd *client, const struct spawnd_spec *spec, const char *key,
	spawnd_info_fn done, void *context, struct spawnd_error *error);
SPAWND_API struct spawnd_call *spawnd_wait_async(struct spawnd *client, struct spawnd_ref ref, bool closed, uint64_t timeout_ms,
	spawnd_info_fn done, void *context, struct spawnd_error *error);
SPAWND_API struct spawnd_call *spawnd_get_async(
	struct spawnd *client, struct spawnd_ref ref, spawnd_info_fn done, void *context, struct spawnd_error *error);
SPAWND_API struct spawnd_call *spawnd_signal_async(struct spawnd *client, struct spawnd_ref ref, int signal, enum spawnd_scope scope,
	spawnd_kill_fn done, void *context, struct spawnd_error *error);
SPAWND_API struct spawnd_call *spawnd_stop_async(struct spawnd *client, struct spawnd_ref ref, int64_t grace_ms, int signal,
	spawnd_kill_fn done, void *context, struct spawnd_error *error);
SPAWND_API struct spawnd_call *spawnd_resize_async(struct spawnd *client, struct spawnd_ref ref, unsigned rows, unsigned columns,
	spawnd_done_fn done, void *context, struct spawnd_error *error);
SPAWND_API struct spawnd_call *spawnd_close_stdin_async(
	struct spawnd *client, struct spawnd_ref ref, unsigned slot, spawnd_done_fn done, void *context, struct spawnd_error *error);
SPAWND_API struct spawnd_call *spawnd_set_on_disconnect_async(struct spawnd *client, struct spawnd_ref ref, enum spawnd_on_disconnect what,
	spawnd_done_fn done, void *context, struct spawnd_error *error);
SPAWND_API struct spawnd_call *spawnd_disconnect_async(
	struct spawnd *client, struct spawnd_ref ref, spawnd_done_fn done, void *context, struct spawnd_error *error);
SPAWND_API struct spawnd_call *spawnd_remove_async(
	struct spawnd *client, struct spawnd_ref ref, spawnd_done_fn done, void *context, struct spawnd_error *error);
SPAWND_API struct spawnd_call *spawnd_ping_async(struct spawnd *client, spawnd_done_fn done, void *context, struct spawnd_error *error);

/* ---- events of the daemon ---- */

/* One event, valid until the callback returns. Fields that its type has not are 0 or NULL. */
struct spawnd_event {
	uint64_t seq; /* from 1, without holes */
	int64_t time_ns;
	const char *type; /* "spawned", "exited", "closed", "output_gap", "spawn_failed", "removed", "stopping", "gap", "audit", ... */
	uint64_t process; /* id */
	pid_t pid;        /* spawned, audit */
	const char *name; /* spawned */
	const struct spawnd_exit *exit; /* exited, closed, spawn_failed */
	unsigned slot;                  /* output_gap, with offset and bytes */
	uint64_t offset, bytes;
	uint64_t first, last; /* gap: events [first, last] are lost to this watcher, it was too slow; message: those that came */
	const char *why;      /* stopping, audit, disconnected: "" when nothing went wrong */
	const char *method;   /* audit */
	uid_t uid;            /* audit */
};

struct spawnd_watch_options {
	uint64_t since_seq;       /* first wanted, of the last 4,096; 0: only what comes */
	const char *const *types; /* NULL: all */
	size_t type_count;
	struct spawnd_ref process; /* all zero: any */
};

/* Either may be NULL. spawnd_watcher_free may be called inside both. `ended` is the last. */
struct spawnd_watch_handlers {
	void (*event)(void *context, struct spawnd_watcher *watcher, const struct spawnd_event *event);
	void (*ended)(void *context, struct spawnd_watcher *watcher, const struct spawnd_error *error);
};

/* Subscribes. Does not block: a failure comes to `ended`, unless the connection is lost already. The caller frees it. */
SPAWND_API struct spawnd_watcher *spawnd_subscribe(struct spawnd *client, const struct spawnd_watch_options *options,
	const struct spawnd_watch_handlers *handlers, void *context, struct spawnd_error *error);
SPAWND_API void spawnd_watcher_free(struct spawnd_watcher *watcher); /* NULL is fine; before spawnd_close or after it */

/* ---- records ---- */

enum spawnd_state {
	SPAWND_STARTING = 1,
	SPAWND_RUNNING = 2,
	SPAWND_STOPPING = 3,
	SPAWND_BACKOFF = 4,
	SPAWND_STATE_EXITED = 5,
	SPAWND_FAILED = 6
};

SPAWND_API void spawnd_info_free(struct spawnd_info *info); /* NULL is fine */
SPAWND_API uint64_t spawnd_info_id(const struct spawnd_info *info);
SPAWND_API const char *spawnd_info_name(const struct spawnd_info *info); /* "" when it has none */
SPAWND_API pid_t spawnd_info_pid(const struct spawnd_info *info);
SPAWND_API enum spawnd_state spawnd_info_state(const struct spawnd_info *info);
SPAWND_API int64_t spawnd_info_started_at_ns(const struct spawnd_info *info);
SPAWND_API uint64_t spawnd_info_uptime_ms(const struct spawnd_info *info);
SPAWND_API unsigned spawnd_info_restarts(const struct spawnd_info *info);
SPAWND_API uid_t spawnd_info_uid(const struct spawnd_info *info); /* the owner */
SPAWND_API enum spawnd_transport spawnd_info_transport(const struct spawnd_info *info);
SPAWND_API const char *spawnd_info_tree(const struct spawnd_info *info); /* what SPAWND_TREE would use: "cgroup", "freezer", "sweep" */
SPAWND_API unsigned spawnd_info_readers(const struct spawnd_info *info); /* streams that read its output */
SPAWND_API uint64_t spawnd_info_cpu_us(const struct spawnd_info *info);  /* while it runs: spawnd_get, or a filter with `usage` */
SPAWND_API uint64_t spawnd_info_memory_bytes(const struct spawnd_info *info);
/* What was executed, the shell included. NULL beyond the last. */
SPAWND_API const char *spawnd_info_argument(const struct spawnd_info *info, size_t index);
/* false beyond the last. */
SPAWND_API bool spawnd_info_label(const struct spawnd_info *info, size_t index, struct spawnd_label *label_out);
SPAWND_API bool spawnd_info_output(const struct spawnd_info *info, size_t index, struct spawnd_slot_total *total_out);
SPAWND_API bool spawnd_info_closed(const struct spawnd_info *info); /* its output is complete */
/* false while it runs. */
SPAWND_API bool spawnd_info_exit(const struct spawnd_info *info, struct spawnd_exit *exit_out);
/*
 * The whole record, of spawnd_get with its spec, as an encoded spawnd.v1.Process (proto/spawnd/v1/processes.proto).
 * Returns its size; writes it when it fits.
 */
SPAWND_API size_t spawnd_info_encode(const struct spawnd_info *info, void *bytes, size_t size);

#ifdef __cplusplus
}
#endif

#endif
