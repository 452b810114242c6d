/* What the files of libspawnd share. spawnctl uses it too, to get at the messages themselves. */
#pragma once

#include <limits.h>
#include <protobuf-c/protobuf-c.h>
#include <spawnd.h>
#include <sys/queue.h>
#include <uthash.h>

#include "base/buf.h"
#include "base/err.h"
#include "spawnd/v1/processes.pb-c.h"
#include "wire/conn.h"

#define SERVICE_PROCESSES "spawnd.v1.Processes"
#define SERVICE_EVENTS "spawnd.v1.Events"
#define SERVICE_ADMIN "spawnd.v1.Admin"

#define STDIN_WINDOW (1u << 20)   /* bytes a stream may send before the daemon grants more */
#define STDIN_CHUNK (256u << 10)  /* of one message */
#define STDIN_PREFIX_MAX 48       /* bytes of a stdin message before its data */
#define STDIN_NEXT UINT64_MAX     /* an offset: after what was sent before */
#define READER_WINDOW (1u << 20)  /* bytes of output under way, unless the caller says otherwise */
#define READER_WINDOW_MESSAGES 64 /* messages under way; the daemon counts no further */

#define CLIENT_KEY_SIZE 64 /* of a key that client_key makes, with its NUL */

struct stream;

/* What becomes of a stream when the connection is lost but may be made anew. */
enum stream_fate {
	STREAM_RESUMED, /* it waits for the new connection; then on_resume */
	STREAM_DONE,    /* all was told: it ends well */
	STREAM_LOST,    /* it ends with the reason of the loss */
	STREAM_DROPPED, /* it is forgotten without a word */
};

/* What comes on one stream. on_end or on_forgotten comes once, last; the stream is gone before it is called. */
struct stream_observer {
	/* NULL: the stream has no messages. Descriptors are taken with fd_steal. */
	void (*on_message)(void *context, const uint8_t *bytes, size_t size, int *fds, size_t fd_count);
	/* error NULL: it ended well. reply: the payload of a unary answer, valid until this returns. */
	void (*on_end)(void *context, const struct spawnd_error *error, const uint8_t *reply, size_t reply_size);
	/* spawnd_close: nobody is to be called back, but the stream must not be used any more. */
	void (*on_forgotten)(void *context);
	/* The first bytes of a message whose last `missing` ones are lost with the connection. NULL: they are worth nothing. */
	void (*on_part)(void *context, const uint8_t *bytes, size_t size, size_t missing);
	/* The connection is lost. Calls nobody back. NULL: unary calls are said again, streams are lost. */
	enum stream_fate (*on_lost)(void *context);
	/*
	 * There is a new one: says by stream_again what the call began with, given as it was said then. Calls nobody back. NULL, for
	 * unary calls: it is said again as it was.
	 */
	void (*on_resume)(void *context, const uint8_t *first, size_t size);
};

struct spawnd {
	struct conn *conn; /* NULL: it is being made anew */
	int fd;            /* of conn, or while there is none our own: a timer or what is left of the socket */
	unsigned fd_changes;
	unsigned flags; /* SPAWND_NO_... */
	char *socket;
	struct stream *streams; /* by id */
	uint32_t next_id;       /* 0: all are used up */
	bool dispatching;       /* callbacks may be on the stack */
	bool closed;            /* by spawnd_close in a callback; freed when the dispatch is over */
	bool lost;
	struct spawnd_error why; /* it is lost */

	uint8_t *hello; /* the request of Hello, for every connection; NULL: nothing outlives the first */
	size_t hello_size;
	int cwd_errno;      /* why there is no directory that children could inherit; 0: there is, or none is wanted */
	bool greeted;       /* Hello was answered, once at least */
	int64_t give_up_ns; /* CLOCK_BOOTTIME; 0: the connection is as it should be */
	unsigned attempts;  /* since it was */

	char key_base[33]; /* random, of keys this client makes; "" before the first */
	uint64_t key_count;
};

struct spawnd_spec {
	Spawnd__V1__ProcessSpec message; /* owns all it points to */
	int *fds;                        /* of slots with SPAWND_FD, borrowed from the caller, in the order of their `attached` numbers */
	size_t fd_count;
};

struct spawnd_info {
	Spawnd__V1__Process *message;
};

/* ---- client.c ---- */

/* For the beginning of functions that block: -1 with *error inside a callback. */
int client_may_block(const struct spawnd *client, struct spawnd_error *error);

/* For calls that start something: -1 with *error when the spec leaves to this process what it has not. */
int client_check_spec(const struct spawnd *client, const struct spawnd_spec *spec, struct spawnd_error *error);

/* Whether a lost connection is made anew. */
bool client_returns(const struct spawnd *client);
/* The connection cannot be had back: every stream ends with client->why. */
void client_fail(struct spawnd *client);
/* An idempotency key that nobody else has. "" without randomness: then nothing can be repeated. */
void client_key(struct spawnd *client, char key[CLIENT_KEY_SIZE]);

/* ---- reconnect.c ---- */

/*
 * The connection broke, for the reason in client->why. True: it is being made anew (or is already), which ends in client_fail
 * at worst. False: this client does without that. Calls back.
 */
bool reconnect_begin(struct spawnd *client);
/* Goes on with it if it is time. Only while client->conn is NULL. */
void reconnect_step(struct spawnd *client);
/* Hello was answered: all is well. */
void reconnect_done(struct spawnd *client);

/* ---- stream.c ---- */

/*
 * Opens a stream and sends its first message, descriptors (borrowed) with it. service and method must stay; the message is kept
 * for a new connection. NULL with *error.
 */
struct stream *stream_open(struct spawnd *client, const char *service, const char *method, const ProtobufCMessage *first, const int *fds,
	size_t fd_count, const struct stream_observer *observer, void *context, struct spawnd_error *error);
/* A unary call, descriptors (borrowed) with its request; the answer comes to observer->on_end. NULL with *error. */
struct stream *stream_open_unary(struct spawnd *client, const char *service, const char *method, const ProtobufCMessage *request,
	const int *fds, size_t fd_count, const struct stream_observer *observer, void *context, struct spawnd_error *error);
/* A unary call whose request is packed already. */
void stream_open_packed(struct spawnd *client, const char *service, const char *method, const uint8_t *request, size_t size,
	const struct stream_observer *observer, void *context);
void stream_send(struct stream *stream, const ProtobufCMessage *message);
/* A message that is encoded already: a few bytes, and data that is not copied unless the socket is full. */
void stream_send_data(struct stream *stream, const uint8_t *prefix, size_t prefix_size, const void *data, size_t size);
/* The same with descriptors (borrowed). */
void stream_send_data_fds(
	struct stream *stream, const uint8_t *prefix, size_t prefix_size, const void *data, size_t size, const int *fds, size_t fd_count);
void stream_half_close(struct stream *stream);
/* Says a call again on a new connection, with the descriptors it had. In on_resume only. */
void stream_again(struct stream *stream, const ProtobufCMessage *first);
/* The daemon has the descriptors that went along: they need not be kept. */
void stream_confirm(struct stream *stream);
/* Whether what is sent goes to the daemon; false while the connection is being made anew. */
bool stream_is_live(const struct stream *stream);
/* No callback comes any more. */
void stream_forget(struct stream *stream);
/* Gives a frame to its stream. */
void stream_dispatch(struct spawnd *client, struct frame *frame);
/* Ends every stream with the reason the connection was lost. */
void stream_end_all(struct spawnd *client);
/* Forgets every stream and tells its observer so. */
void stream_forget_all(struct spawnd *client);
/* Gives the beginning of a message that will never be whole to its stream. Calls back. */
void stream_take_part(struct spawnd *client);
/* Puts every stream aside until there is a new connection, and ends those that cannot wait for it. Calls back. */
void stream_lose_all(struct spawnd *client);
/* Says on a new connection what every stream began with, in the order they were opened. */
void stream_resume_all(struct spawnd *client);

/* ---- resume.c ---- */

/* Where the reading of each slot stands. {0} is an empty list. */
struct marks {
	struct spawnd_offset *list; /* owned */
	size_t count;
};

void marks_finish(struct marks *marks);
void marks_set(struct marks *marks, unsigned slot, uint64_t offset);
/* Leaves out the bytes before the mark of their slot, and moves it behind the others. Returns how many were left out. */
size_t marks_take(struct marks *marks, unsigned slot, uint64_t offset, size_t size);
/* Messages of it in one block, which the caller frees. */
Spawnd__V1__SlotOffset **marks_messages(const struct marks *marks);

/* Input of one slot that may have to be sent again. */
struct kept_slot {
	unsigned slot;
	uint64_t base;    /* the place of the first byte kept in all that the slot got */
	struct buf bytes; /* sent, and perhaps not taken */
	bool eof;         /* said */
	bool closed;      /* nothing is taken any more */
};

/* All that a stream sent; it keeps no more than the daemon may not have taken. {0}, then `off` for one that keeps nothing. */
struct kept_input {
	struct kept_slot *slots; /* owned */
	size_t count;
	uint64_t sent, granted; /* on this connection; granted beyond the first window */
	bool placed;            /* the daemon told where the slots stood at first */
	bool off;
};

void kept_finish(struct kept_input *kept);
void kept_data(struct kept_input *kept, unsigned slot, const void *data, size_t size);
void kept_eof(struct kept_input *kept, unsigned slot);
void kept_granted(struct kept_input *kept, uint64_t bytes);
/* True the first time. */
bool kept_closed(struct kept_input *kept, unsigned slot);
/* What the first Spawned says of stdin: where the slots stood before us. */
void kept_place(struct kept_input *kept, const Spawnd__V1__Spawned *spawned);
/*
 * What a later one says: drops what was taken, and counts the rest as sent. -1 with *error: what would have to be sent is not
 * kept any more, or it is not known what that is.
 */
int kept_resume(struct kept_input *kept, const Spawnd__V1__Spawned *spawned, struct spawnd_error *error);

/* ---- message.c ---- */

#define MESSAGE_WINDOW (1u << 20) /* bytes, and pieces, that may be sent before the daemon grants more */
#define MESSAGE_WINDOW_PIECES 1024u
#define MESSAGE_PIECE (256u << 10)

struct unsent;

/* Messages on their way to a channel: what the window does not take waits here, and what may have to be sent again. */
struct postbox {
	bool control;  /* they travel in the ProcessControl of a stream; else in a SendRequest */
	bool numbered; /* they are kept until the daemon says that they are sure to get there */
	bool held;     /* there is no connection */
	uint64_t room;
	unsigned pieces;
	uint64_t last_id;
	TAILQ_HEAD(, unsent) list;
	struct unsent *next; /* the first that is not all sent; NULL: none */
	size_t waiting;      /* bytes */
};

void postbox_init(struct postbox *box, bool control, bool numbered);
void postbox_finish(struct postbox *box);
/* Sends or keeps a message; its id. 0: there are no descriptors (errno) to keep those of it. */
uint64_t postbox_put(struct postbox *box, struct stream *stream, const struct spawnd_outgoing *message);
/* More may be sent. True when nothing waits any more that did. */
bool postbox_grant(struct postbox *box, struct stream *stream, const Spawnd__V1__Grant *grant);
/* What became of a message has been told. */
void postbox_result(struct postbox *box, uint64_t id, bool failed);
/* The connection is lost: messages wait for postbox_resume. */
void postbox_hold(struct postbox *box);
/*
 * A new one: those up to `taken` are with the daemon, all others go (again). Not 0: message `id` is to be told as sent, and then
 * this to be called again.
 */
uint64_t postbox_resume(struct postbox *box, struct stream *stream, uint64_t taken);
/* What became of a message; false: it is with the kernel. */
bool error_of_result(const Spawnd__V1__MessageResult *result, struct spawnd_error *error);

/* A message that comes: put together here unless it is wanted in pieces. */
struct letterbox {
	struct buf bytes;
	char *content_type;
	int fds[16];
	size_t fd_count, lost;
};

void letterbox_finish(struct letterbox *box);
/*
 * One piece, whose descriptors are taken from fds. True: *message_out is to be told now, and letterbox_told is to be called
 * after it.
 */
bool letterbox_add(struct letterbox *box, const Spawnd__V1__ChannelMessage *piece, int *fds, size_t fd_count, bool pieces,
	struct spawnd_message *message_out);
void letterbox_told(struct letterbox *box);

/* ---- call.c ---- */

/* What a blocking function waits for. */
struct answer {
	bool done;
	bool failed;
	struct spawnd_error error;
	ProtobufCMessage *message;
	struct spawnd_info *info;
	struct spawnd_kill kill;
	struct spawnd_result result;
};

struct spawnd_call {
	struct stream *stream;
	struct answer *waiter; /* NULL: nobody blocks on it */
	const ProtobufCMessageDescriptor *type;
	void (*deliver)(struct spawnd_call *call, ProtobufCMessage *reply, const struct spawnd_error *error);
	void (*abandon)(struct spawnd_call *call); /* NULL, or: frees what it holds, telling the daemon while it has a stream */
	int64_t deadline_ns;                       /* CLOCK_BOOTTIME, of a Wait; 0: none */
	union {
		spawnd_done_fn done;
		spawnd_info_fn info;
		spawnd_kill_fn kill;
		spawnd_result_fn result;
		void (*message)(void *context, ProtobufCMessage *reply, const struct spawnd_error *error);
	} fn;
	void *context;
};

/* A stream of a call is gone by spawnd_close: frees the call and ends who waits for it. */
void call_on_forgotten(void *call);
/* Blocks until the answer is there. call NULL: it could not be sent. 0, or -1 with *error. */
int call_wait(struct spawnd *client, struct spawnd_call *call, struct answer *answer, struct spawnd_error *error);
/* A unary call, blocking. The caller frees *reply_out (type `reply`) with protobuf_c_message_free_unpacked. 0 or -1. */
int unary_call(struct spawnd *client, const char *service, const char *method, const ProtobufCMessage *request,
	const ProtobufCMessageDescriptor *reply, ProtobufCMessage **reply_out, struct spawnd_error *error);

/* ---- error.c ---- */

struct Ttrpc__Status;

/* All return -1. */
int error_set(struct spawnd_error *error, enum spawnd_status status, const char *format, ...) __attribute__((format(printf, 3, 4)));
int error_errno(struct spawnd_error *error, enum spawnd_status status, int errnum, const char *syscall, const char *path);
/* "FIELD: SYSCALL CODE: WHAT" */
int error_field(struct spawnd_error *error, const char *field, int errnum, const char *syscall, const char *what);
int error_of_err(struct spawnd_error *error, const struct err *err);
int error_copy(struct spawnd_error *error, const struct spawnd_error *from);
/* What a status of the daemon says; false: it is OK. */
bool error_of_status(const struct Ttrpc__Status *status, struct spawnd_error *error);

/* ---- others ---- */

/* The path as it is from every directory: of a daemon, and of this process later. 0, or -1 with *error. */
int autostart_absolute(const char *path, char absolute[PATH_MAX], struct spawnd_error *error);
/* A connected socket for path, starting a daemon if there is none and flags allow. -1 with *error. */
int autostart_connect(const char *path, unsigned flags, struct spawnd_error *error);
/* A connected socket, or -errno: of a daemon that is there. Never blocks: -EAGAIN when too many wait already. */
int autostart_try(const char *path);
/* Makes the request of Admin.Hello from what this process has. 0 or -1. */
int hello_prepare(struct spawnd *client, struct spawnd_error *error);
/* Says it on a new connection; the answer goes to reconnect_done or client_fail. */
void hello_say(struct spawnd *client);

/* Says a Subscribe again, for events from `since` on (0: as it was). */
void subscribe_again(struct stream *stream, const uint8_t *first, size_t size, uint64_t since);

/* ---- info.c ---- */

/* A record that takes message, whose arguments get a NUL each. */
struct spawnd_info *info_create(Spawnd__V1__Process *message);

/* ---- convert.c ---- */

/* A ProcessRef in memory of the caller. */
Spawnd__V1__ProcessRef ref_message(struct spawnd_ref ref);
void exit_of_message(const Spawnd__V1__ExitRecord *message, struct spawnd_exit *exit_out);
struct spawnd_slot_total total_of_message(const Spawnd__V1__SlotTotal *message);
void kill_of_message(const Spawnd__V1__KillReply *message, struct spawnd_kill *kill_out); /* spawnd_kill_clear */
/*
 * Output{slot, offset, time_ns, data} of a ProcessEvent or RunReply, looked at in place; false: the message is another one.
 * Of a message whose last `missing` bytes never came, the data that did.
 */
bool output_peek(const uint8_t *bytes, size_t size, size_t missing, uint32_t *slot_out, uint64_t *offset_out, const uint8_t **data_out,
	size_t *size_out);
/*
 * The bytes before the data of a StdinData, in the ProcessControl of a SpawnRequest, AttachRequest or RunRequest, or
 * (control false) in a WriteRequest. offset: STDIN_NEXT, or where the data stands in all of the slot. Returns their number.
 */
size_t stdin_encode(uint8_t prefix[STDIN_PREFIX_MAX], bool control, uint32_t slot, uint64_t offset, bool eof, size_t size);
