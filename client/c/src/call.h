/* Calls of one answer: opening them, handing out the answer, waiting for it. */
#pragma once

#include "internal.h"

/* Sends a unary call; `like` has its type, deliver, fn and context. NULL with *error. */
struct spawnd_call *call_open(struct spawnd *client, const char *service, const char *method, const ProtobufCMessage *request,
	const int *fds, size_t fd_count, const struct spawnd_call *like, struct spawnd_error *error);

/* How an answer is handed out, by what it is; they take reply. */
void call_deliver_done(struct spawnd_call *call, ProtobufCMessage *reply, const struct spawnd_error *error);
void call_deliver_info(struct spawnd_call *call, ProtobufCMessage *reply, const struct spawnd_error *error);
void call_deliver_kill(struct spawnd_call *call, ProtobufCMessage *reply, const struct spawnd_error *error);

/* Callbacks that fill a struct answer. */
void answer_done(void *answer, const struct spawnd_error *error);
void answer_info(void *answer, struct spawnd_info *info, const struct spawnd_error *error);
void answer_kill(void *answer, struct spawnd_kill *kill, const struct spawnd_error *error);
void answer_result(void *answer, struct spawnd_result *result, const struct spawnd_error *error);
