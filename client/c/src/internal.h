/* What the files of libspawnd share. spawnctl uses it too, to get at the messages themselves. */
#pragma once

#include <protobuf-c/protobuf-c.h>
#include <spawnd.h>
#include <uthash.h>

#include "base/buf.h"
#include "base/err.h"
#include "spawnd/v1/processes.pb-c.h"
#include "wire/conn.h"

struct stream;

/* What comes on one stream. The end comes once, last; after it the stream is gone. */
struct stream_observer {
	void (*on_message)(void *context, const uint8_t *bytes, size_t size, int *fds, size_t fd_count);
	void (*on_end)(void *context, const struct spawnd_error *error /* NULL: ended well */, const uint8_t *reply, size_t reply_size);
};

struct spawnd {
	struct conn *conn;
	char *socket;
	struct stream *streams; /* by id */
	uint32_t next_id;
	bool lost;
	struct spawnd_error why;
};

struct spawnd_spec {
	Spawnd__V1__ProcessSpec message; /* owns all it points to */
	int *fds;                        /* of slots with SPAWND_FD, borrowed from the caller, in the order of their `attached` numbers */
	size_t fd_count;
};

struct spawnd_info {
	Spawnd__V1__Process *message;
};

/* ---- stream.c ---- */

/* Opens a stream and sends its first message, descriptors with it. NULL when the connection is lost. */
struct stream *stream_open(struct spawnd *client, const char *service, const char *method, const ProtobufCMessage *first, const int *fds,
	size_t fd_count, const struct stream_observer *observer, void *context, struct spawnd_error *error);
void stream_send(struct stream *stream, const ProtobufCMessage *message);
void stream_half_close(struct stream *stream);
/* No callback comes any more. */
void stream_forget(struct stream *stream);
/* Gives a frame to its stream. */
void stream_dispatch(struct spawnd *client, struct frame *frame);
/* Ends every stream with the reason the connection was lost. */
void stream_end_all(struct spawnd *client);

/* A unary call; the answer comes to observer->on_end. */
struct stream *unary_open(struct spawnd *client, const char *service, const char *method, const ProtobufCMessage *request,
	const struct stream_observer *observer, void *context, struct spawnd_error *error);
/* The same, blocking. The caller frees *reply_out (type `reply`) with protobuf_c_message_free_unpacked. 0 or -1. */
int unary_call(struct spawnd *client, const char *service, const char *method, const ProtobufCMessage *request,
	const ProtobufCMessageDescriptor *reply, ProtobufCMessage **reply_out, struct spawnd_error *error);

/* ---- error.c ---- */

int error_set(struct spawnd_error *error, enum spawnd_status status, const char *format, ...) __attribute__((format(printf, 3, 4)));
int error_errno(struct spawnd_error *error, enum spawnd_status status, int errnum, const char *syscall, const char *path);
void error_of_err(struct spawnd_error *error, const struct err *err);
/* The status of a Response; false: it is OK. */
bool error_of_response(const uint8_t *bytes, size_t size, struct spawnd_error *error, const uint8_t **reply_out, size_t *reply_size_out);

/* ---- others ---- */

/* A connected socket for path, starting a daemon if there is none and flags allow. -1 with *error. */
int autostart_connect(const char *path, unsigned flags, struct spawnd_error *error);
/* Admin.Hello with what this process has. */
int hello(struct spawnd *client, unsigned flags, struct spawnd_error *error);

/* A ProcessRef in memory of the caller. */
Spawnd__V1__ProcessRef ref_message(struct spawnd_ref ref);
void exit_of_message(const Spawnd__V1__ExitRecord *message, struct spawnd_exit *exit_out);
/* Output{slot, offset, time_ns, data} of a ProcessEvent or RunReply, looked at in place; false: the message is another one. */
bool output_peek(const uint8_t *bytes, size_t size, uint32_t *slot_out, uint64_t *offset_out, const uint8_t **data_out, size_t *size_out);
