/* What the files of libspawnd share. spawnctl uses it too, to get at the messages themselves. */
#pragma once

#include <protobuf-c/protobuf-c.h>
#include <spawnd.h>
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
#define STDIN_PREFIX_MAX 40       /* bytes of a stdin message before its data */
#define READER_WINDOW (1u << 20)  /* bytes of output under way, unless the caller says otherwise */
#define READER_WINDOW_MESSAGES 64 /* messages under way; the daemon counts no further */

struct stream;

/* What comes on one stream. on_end or on_forgotten comes once, last; the stream is gone before it is called. */
struct stream_observer {
	/* NULL: the stream has no messages. Descriptors are taken with fd_steal. */
	void (*on_message)(void *context, const uint8_t *bytes, size_t size, int *fds, size_t fd_count);
	/* error NULL: it ended well. reply: the payload of a unary answer, valid until this returns. */
	void (*on_end)(void *context, const struct spawnd_error *error, const uint8_t *reply, size_t reply_size);
	/* spawnd_close: nobody is to be called back, but the stream must not be used any more. */
	void (*on_forgotten)(void *context);
};

struct spawnd {
	struct conn *conn;
	char *socket;
	struct stream *streams; /* by id */
	uint32_t next_id;       /* 0: all are used up */
	bool dispatching;       /* callbacks may be on the stack */
	bool closed;            /* by spawnd_close in a callback; freed when the dispatch is over */
	bool lost;
	struct spawnd_error why; /* it is lost */
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

/* ---- stream.c ---- */

/* Opens a stream and sends its first message, descriptors (borrowed) with it. NULL with *error. */
struct stream *stream_open(struct spawnd *client, const char *service, const char *method, const ProtobufCMessage *first, const int *fds,
	size_t fd_count, const struct stream_observer *observer, void *context, struct spawnd_error *error);
/* A unary call, descriptors (borrowed) with its request; the answer comes to observer->on_end. NULL with *error. */
struct stream *stream_open_unary(struct spawnd *client, const char *service, const char *method, const ProtobufCMessage *request,
	const int *fds, size_t fd_count, const struct stream_observer *observer, void *context, struct spawnd_error *error);
void stream_send(struct stream *stream, const ProtobufCMessage *message);
/* A message that is encoded already: a few bytes, and data that is not copied unless the socket is full. */
void stream_send_data(struct stream *stream, const uint8_t *prefix, size_t prefix_size, const void *data, size_t size);
void stream_half_close(struct stream *stream);
/* No callback comes any more. */
void stream_forget(struct stream *stream);
/* Gives a frame to its stream. */
void stream_dispatch(struct spawnd *client, struct frame *frame);
/* Ends every stream with the reason the connection was lost. */
void stream_end_all(struct spawnd *client);
/* Forgets every stream and tells its observer so. */
void stream_forget_all(struct spawnd *client);

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

/* Both return -1. */
int error_set(struct spawnd_error *error, enum spawnd_status status, const char *format, ...) __attribute__((format(printf, 3, 4)));
int error_errno(struct spawnd_error *error, enum spawnd_status status, int errnum, const char *syscall, const char *path);
int error_of_err(struct spawnd_error *error, const struct err *err);
int error_copy(struct spawnd_error *error, const struct spawnd_error *from);
/* What a status of the daemon says; false: it is OK. */
bool error_of_status(const struct Ttrpc__Status *status, struct spawnd_error *error);

/* ---- others ---- */

/* A connected socket for path, starting a daemon if there is none and flags allow. -1 with *error. */
int autostart_connect(const char *path, unsigned flags, struct spawnd_error *error);
/* Admin.Hello with what this process has. */
int hello(struct spawnd *client, unsigned flags, struct spawnd_error *error);

/* ---- info.c ---- */

/* A record that takes message, whose arguments get a NUL each. */
struct spawnd_info *info_create(Spawnd__V1__Process *message);

/* ---- convert.c ---- */

/* A ProcessRef in memory of the caller. */
Spawnd__V1__ProcessRef ref_message(struct spawnd_ref ref);
void exit_of_message(const Spawnd__V1__ExitRecord *message, struct spawnd_exit *exit_out);
struct spawnd_slot_total total_of_message(const Spawnd__V1__SlotTotal *message);
void kill_of_message(const Spawnd__V1__KillReply *message, struct spawnd_kill *kill_out); /* spawnd_kill_clear */
/* Output{slot, offset, time_ns, data} of a ProcessEvent or RunReply, looked at in place; false: the message is another one. */
bool output_peek(const uint8_t *bytes, size_t size, uint32_t *slot_out, uint64_t *offset_out, const uint8_t **data_out, size_t *size_out);
/*
 * The bytes before the data of a StdinData, in the ProcessControl of a SpawnRequest, AttachRequest or RunRequest, or
 * (control false) in a WriteRequest. Returns their number.
 */
size_t stdin_encode(uint8_t prefix[STDIN_PREFIX_MAX], bool control, uint32_t slot, bool eof, size_t size);
