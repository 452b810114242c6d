/* Calls of one answer, the events of the daemon, and Run. */
#include "fake_daemon.h"

#include <pthread.h>

struct seen {
	struct fake *fake;
	unsigned count;
	bool failed;
	struct spawnd_error error;
	struct spawnd_info *info;
	struct spawnd_result result;
	struct spawnd_kill kill;
	enum spawnd_status inside; /* of a blocking call inside the callback */
	bool close;
};

static void note(struct seen *seen, const struct spawnd_error *error)
{
	seen->count++;
	seen->failed = error != NULL;
	if (error)
		seen->error = *error;
	if (seen->close) {
		spawnd_close(seen->fake->client);
		seen->fake->client = NULL;
	}
}

static void on_done(void *context, const struct spawnd_error *error)
{
	struct seen *seen = context;
	struct spawnd_error inside;

	if (spawnd_ping(seen->fake->client, &inside) < 0)
		seen->inside = inside.status;
	note(seen, error);
}

static void on_info(void *context, struct spawnd_info *info, const struct spawnd_error *error)
{
	((struct seen *)context)->info = info;
	note(context, error);
}

static void on_kill(void *context, struct spawnd_kill *kill, const struct spawnd_error *error)
{
	if (kill)
		((struct seen *)context)->kill = *kill;
	note(context, error);
}

static void on_result(void *context, struct spawnd_result *result, const struct spawnd_error *error)
{
	if (result)
		((struct seen *)context)->result = *result;
	note(context, error);
}

static const struct spawnd_ref seven = {.id = 7};

/* A record with most of what there is. */
static void respond_process(struct fake *fake, uint32_t id)
{
	Spawnd__V1__Process process = SPAWND__V1__PROCESS__INIT;
	Spawnd__V1__Process__LabelsEntry label = SPAWND__V1__PROCESS__LABELS_ENTRY__INIT, *labels[] = {&label};
	ProtobufCBinaryData argv[] = {{.len = 4, .data = (uint8_t *)"echo"}, {.len = 0}};

	process.id = 7;
	process.name = (char *)"web";
	process.argv = argv;
	process.n_argv = 2;
	label.key = (char *)"a";
	label.value = (char *)"b";
	process.labels = labels;
	process.n_labels = 1;
	process.state = SPAWND__V1__PROCESS_STATE__PROCESS_STATE_RUNNING;
	fake_respond(fake, id, 0, NULL, &process.base);
}

void test_answers_come_in_any_order(void)
{
	struct fake fake = fake_create();
	struct seen get = {.fake = &fake}, kill = {.fake = &fake}, done = {.fake = &fake};
	Spawnd__V1__KillReply reply = SPAWND__V1__KILL_REPLY__INIT;
	Spawnd__V1__PingReply pong = SPAWND__V1__PING_REPLY__INIT;
	int32_t ended[] = {5, 6};
	uint32_t ids[3];

	CU_ASSERT_PTR_NOT_NULL(spawnd_get_async(fake.client, seven, on_info, &get, NULL));
	CU_ASSERT_PTR_NOT_NULL(spawnd_signal_async(fake.client, seven, 15, SPAWND_TREE, on_kill, &kill, NULL));
	CU_ASSERT_PTR_NOT_NULL(spawnd_ping_async(fake.client, on_done, &done, NULL));
	ids[0] = fake_asked(&fake, "Get");
	ids[1] = fake_asked(&fake, "Signal");
	ids[2] = fake_asked(&fake, "Ping");
	fake_respond(&fake, ids[2], 0, NULL, &pong.base);
	reply.ended = ended;
	reply.n_ended = 2;
	reply.method = (char *)"cgroup";
	reply.complete = true;
	fake_respond(&fake, ids[1], 0, NULL, &reply.base);
	CU_ASSERT_EQUAL(spawnd_dispatch(fake.client, NULL), 0);
	CU_ASSERT(done.count == 1 && !done.failed && kill.count == 1 && get.count == 0);
	CU_ASSERT_EQUAL(done.inside, SPAWND_FAILED_PRECONDITION);
	CU_ASSERT(kill.kill.ended_count == 2 && kill.kill.ended[1] == 6 && kill.kill.complete && !kill.kill.has_exit);
	CU_ASSERT_STRING_EQUAL(kill.kill.method, "cgroup");
	respond_process(&fake, ids[0]);
	CU_ASSERT_EQUAL(spawnd_dispatch(fake.client, NULL), 0);
	CU_ASSERT(get.count == 1 && !get.failed);
	spawnd_kill_clear(&kill.kill);
	spawnd_info_free(get.info);
	fake_destroy(&fake);
}

void test_a_record_is_read_field_by_field(void)
{
	struct fake fake = fake_create();
	struct seen get = {.fake = &fake};
	struct spawnd_label label;
	struct spawnd_exit how;
	uint8_t bytes[256];
	size_t size;

	spawnd_get_async(fake.client, seven, on_info, &get, NULL);
	respond_process(&fake, fake_asked(&fake, "Get"));
	CU_ASSERT_EQUAL(spawnd_dispatch(fake.client, NULL), 0);
	CU_ASSERT_FATAL(get.info != NULL);
	CU_ASSERT(spawnd_info_id(get.info) == 7 && spawnd_info_state(get.info) == SPAWND_RUNNING);
	CU_ASSERT_STRING_EQUAL(spawnd_info_argument(get.info, 0), "echo");
	CU_ASSERT_STRING_EQUAL(spawnd_info_argument(get.info, 1), "");
	CU_ASSERT_PTR_NULL(spawnd_info_argument(get.info, 2));
	CU_ASSERT(spawnd_info_label(get.info, 0, &label) && strcmp(label.value, "b") == 0);
	CU_ASSERT_FALSE(spawnd_info_label(get.info, 1, &label));
	CU_ASSERT_FALSE(spawnd_info_exit(get.info, &how));
	CU_ASSERT_EQUAL(how.code, -1);
	size = spawnd_info_encode(get.info, NULL, 0);
	CU_ASSERT(size > 0 && size <= sizeof(bytes) && spawnd_info_encode(get.info, bytes, sizeof(bytes)) == size);
	spawnd_info_free(get.info);
	fake_destroy(&fake);
}

void test_forgotten_calls(void)
{
	struct fake fake = fake_create();
	struct seen seen = {.fake = &fake}, closing = {.fake = &fake, .close = true};
	struct spawnd_call *call = spawnd_get_async(fake.client, seven, on_info, &seen, NULL);
	uint32_t id = fake_asked(&fake, "Get");

	spawnd_call_free(call);
	respond_process(&fake, id);
	CU_ASSERT_EQUAL(spawnd_dispatch(fake.client, NULL), 0);
	spawnd_get_async(fake.client, seven, on_info, &seen, NULL);
	spawnd_get_async(fake.client, seven, on_info, &closing, NULL);
	fake_asked(&fake, "Get");
	fake_respond(&fake, fake_asked(&fake, "Get"), SPAWND_NOT_FOUND, "no process 7", NULL);
	CU_ASSERT_EQUAL(spawnd_dispatch(fake.client, NULL), -1);
	CU_ASSERT(closing.count == 1 && closing.failed && closing.error.status == SPAWND_NOT_FOUND);
	CU_ASSERT_EQUAL(seen.count, 0);
	fake_destroy(&fake);
}

void test_answers_that_cannot_be_understood(void)
{
	struct fake fake = fake_create();
	struct seen seen = {.fake = &fake};

	spawnd_get_async(fake.client, seven, on_info, &seen, NULL);
	fake_send_raw(&fake, fake_asked(&fake, "Get"), FRAME_RESPONSE, 0, "\xff", 1);
	CU_ASSERT_EQUAL(spawnd_dispatch(fake.client, NULL), 0);
	CU_ASSERT(seen.count == 1 && seen.failed && seen.error.status == SPAWND_INTERNAL);
	spawnd_get_async(fake.client, seven, on_info, &seen, NULL);
	fake_send_raw(&fake, fake_asked(&fake, "Get"), FRAME_RESPONSE, 0, "\x12\x01\xff", 3); /* a payload that is no Process */
	CU_ASSERT_EQUAL(spawnd_dispatch(fake.client, NULL), 0);
	CU_ASSERT(seen.count == 2 && seen.failed && seen.error.status == SPAWND_INTERNAL);
	spawnd_get_async(fake.client, seven, on_info, &seen, NULL);
	fake_send_raw(&fake, fake_asked(&fake, "Get"), FRAME_DATA, 0, "x", 1); /* data for a call that has none */
	CU_ASSERT_EQUAL(spawnd_dispatch(fake.client, NULL), 0);
	CU_ASSERT_EQUAL(seen.count, 2);
	fake_destroy(&fake);
}

/* ---- blocking, with the daemon in a thread of its own ---- */

/* Answers one unary call after the other, by its method, until the client has gone. */
static void *serve(void *context)
{
	struct fake *fake = context;
	struct pollfd pollfd = {.fd = conn_fd(fake->conn), .events = POLLIN};
	unsigned pages = 0;

	while (poll(&pollfd, 1, -1) >= 0 && conn_read(fake->conn) == 0) {
		struct frame frame;

		while (conn_next(fake->conn, &frame)) {
			Ttrpc__Request *request = ttrpc__request__unpack(NULL, frame.header.length, frame.payload);
			uint32_t id = frame.header.stream_id;

			if (strcmp(request->method, "List") == 0) {
				Spawnd__V1__ListReply reply = SPAWND__V1__LIST_REPLY__INIT;
				Spawnd__V1__Process process = SPAWND__V1__PROCESS__INIT, *list[] = {&process, &process};

				reply.processes = list;
				reply.n_processes = 2;
				reply.next_after_id = pages++ < 2 ? 100 + pages : 0;
				fake_respond(fake, id, 0, NULL, &reply.base);
			} else if (strcmp(request->method, "Ping") == 0) {
				fake_respond(fake, id, 0, NULL, NULL);
			} else {
				fake_respond(fake, id, SPAWND_NOT_FOUND, "no process 7", NULL);
			}
			ttrpc__request__free_unpacked(request, NULL);
		}
	}
	return NULL;
}

void test_blocking_calls(void)
{
	struct fake fake = fake_create();
	struct spawnd_info **infos;
	struct spawnd_error error;
	uint64_t after_id = 0;
	pthread_t thread;

	CU_ASSERT_FATAL(pthread_create(&thread, NULL, serve, &fake) == 0);
	CU_ASSERT_EQUAL(spawnd_ping(fake.client, &error), 0);
	CU_ASSERT_EQUAL(spawnd_remove(fake.client, seven, &error), -1);
	CU_ASSERT_EQUAL(error.status, SPAWND_NOT_FOUND);
	CU_ASSERT_EQUAL(spawnd_list(fake.client, true, &infos, &error), 6);
	spawnd_infos_free(infos, 6);
	CU_ASSERT_EQUAL(spawnd_list_page(fake.client, &(struct spawnd_filter){.all = true}, &after_id, &infos, &error), 2);
	CU_ASSERT_EQUAL(after_id, 0);
	spawnd_infos_free(infos, 2);
	CU_ASSERT_EQUAL(spawnd_stop(fake.client, seven, 0, 0, NULL, NULL), -1);
	spawnd_close(fake.client);
	pthread_join(thread, NULL);
	conn_destroy(fake.conn);
}

/* ---- Run ---- */

static void send_run(struct fake *fake, uint32_t id, Spawnd__V1__RunReply *reply)
{
	fake_send(fake, id, &reply->base);
}

void test_run_collects(void)
{
	static const char *const argv[] = {"sort", NULL};
	struct spawnd_spec *spec = spawnd_spec_create(argv);
	struct fake fake = fake_create();
	struct seen seen = {.fake = &fake};
	Spawnd__V1__RunReply reply = SPAWND__V1__RUN_REPLY__INIT;
	Spawnd__V1__RunResult result = SPAWND__V1__RUN_RESULT__INIT;
	Spawnd__V1__SlotCut cut = SPAWND__V1__SLOT_CUT__INIT, *cuts[] = {&cut};
	Spawnd__V1__Output output = SPAWND__V1__OUTPUT__INIT;
	struct frame *frame;
	Spawnd__V1__RunRequest *request;
	uint32_t id;

	CU_ASSERT_PTR_NOT_NULL(spawnd_run_async(fake.client, spec, "in", 2, on_result, &seen, NULL));
	spawnd_spec_free(spec);
	id = fake_opened(&fake, "Run", NULL);
	frame = fake_next(&fake);
	CU_ASSERT_FATAL(frame != NULL);
	request = spawnd__v1__run_request__unpack(NULL, frame->header.length, frame->payload);
	CU_ASSERT_FATAL(request && request->message_case == SPAWND__V1__RUN_REQUEST__MESSAGE_CONTROL);
	CU_ASSERT(request->control->stdin->eof && request->control->stdin->data.len == 2);
	spawnd__v1__run_request__free_unpacked(request, NULL);
	reply.reply_case = SPAWND__V1__RUN_REPLY__REPLY_OUTPUT;
	reply.output = &output;
	for (unsigned i = 0; i < 2; i++) {
		output.slot = i + 1;
		output.data = (ProtobufCBinaryData){.len = 3, .data = (uint8_t *)(i ? "err" : "out")};
		send_run(&fake, id, &reply);
	}
	reply.reply_case = SPAWND__V1__RUN_REPLY__REPLY_RESULT;
	reply.result = &result;
	result.id = 7;
	cut.slot = 2;
	cut.bytes = 99;
	result.cut = cuts;
	result.n_cut = 1;
	send_run(&fake, id, &reply);
	fake_end(&fake, id);
	CU_ASSERT_EQUAL(spawnd_dispatch(fake.client, NULL), 0);
	CU_ASSERT(seen.count == 1 && !seen.failed && seen.result.id == 7);
	CU_ASSERT_STRING_EQUAL(seen.result.out, "out");
	CU_ASSERT_STRING_EQUAL(seen.result.err, "err");
	CU_ASSERT(seen.result.out_cut == 0 && seen.result.err_cut == 99);
	spawnd_result_clear(&seen.result);
	fake_destroy(&fake);
}

void test_a_forgotten_run_is_cancelled(void)
{
	static const char *const argv[] = {"sleep", "9", NULL};
	struct spawnd_spec *spec = spawnd_spec_create(argv);
	struct fake fake = fake_create();
	struct seen seen = {.fake = &fake};
	Spawnd__V1__RunRequest *request;
	struct spawnd_call *call;
	struct frame *frame;
	uint32_t id;

	call = spawnd_run_async(fake.client, spec, NULL, 0, on_result, &seen, NULL);
	id = fake_opened(&fake, "Run", NULL);
	spawnd_call_free(call);
	frame = fake_next(&fake);
	CU_ASSERT_FATAL(frame && frame->header.stream_id == id);
	request = spawnd__v1__run_request__unpack(NULL, frame->header.length, frame->payload);
	CU_ASSERT_FATAL(request && request->message_case == SPAWND__V1__RUN_REQUEST__MESSAGE_CONTROL);
	CU_ASSERT_EQUAL(request->control->control_case, SPAWND__V1__PROCESS_CONTROL__CONTROL_CANCEL);
	spawnd__v1__run_request__free_unpacked(request, NULL);
	spawnd_run_async(fake.client, spec, NULL, 0, on_result, &seen, NULL);
	spawnd_spec_free(spec);
	fake_destroy(&fake); /* one is still under way */
	CU_ASSERT_EQUAL(seen.count, 0);
}

/* ---- events ---- */

struct watching {
	uint64_t last;
	int code;
	unsigned count;
	bool ended, free;
};

static void on_event(void *context, struct spawnd_watcher *watcher, const struct spawnd_event *event)
{
	struct watching *watching = context;

	watching->last = event->seq;
	watching->count++;
	if (event->exit)
		watching->code = event->exit->code;
	if (watching->free)
		spawnd_watcher_free(watcher);
}

static void on_watch_ended(void *context, struct spawnd_watcher *watcher, const struct spawnd_error *error)
{
	((struct watching *)context)->ended = true;
	spawnd_watcher_free(watcher);
}

static const struct spawnd_watch_handlers watch_handlers = {.event = on_event, .ended = on_watch_ended};

static void send_event(struct fake *fake, uint32_t id, uint64_t seq)
{
	Spawnd__V1__Event event = SPAWND__V1__EVENT__INIT;
	Spawnd__V1__ExitRecord record = SPAWND__V1__EXIT_RECORD__INIT;

	event.seq = seq;
	event.type = (char *)"exited";
	event.event_case = SPAWND__V1__EVENT__EVENT_EXITED;
	event.exited = &record;
	record._code_case = SPAWND__V1__EXIT_RECORD___CODE_CODE;
	record.code = 4;
	fake_send(fake, id, &event.base);
}

void test_events_are_watched_and_granted(void)
{
	static const char *const types[] = {"exited"};
	struct spawnd_watch_options options = {.since_seq = 1, .types = types, .type_count = 1, .process = {.name = "web"}};
	struct watching watching = {.count = 0};
	struct fake fake = fake_create();
	Spawnd__V1__SubscribeRequest *request;
	struct frame first, *frame;
	uint32_t id;

	CU_ASSERT_PTR_NOT_NULL_FATAL(spawnd_subscribe(fake.client, &options, &watch_handlers, &watching, NULL));
	id = fake_opened(&fake, "Subscribe", &first);
	request = spawnd__v1__subscribe_request__unpack(NULL, first.header.length, first.payload);
	CU_ASSERT_FATAL(request && request->message_case == SPAWND__V1__SUBSCRIBE_REQUEST__MESSAGE_START);
	CU_ASSERT(request->start->since_seq == 1 && request->start->n_types == 1);
	CU_ASSERT_STRING_EQUAL(request->start->process->name, "web");
	spawnd__v1__subscribe_request__free_unpacked(request, NULL);
	for (uint64_t seq = 1; seq <= READER_WINDOW_MESSAGES / 4; seq++)
		send_event(&fake, id, seq);
	CU_ASSERT_EQUAL(spawnd_dispatch(fake.client, NULL), 0);
	CU_ASSERT(watching.count == 16 && watching.last == 16 && watching.code == 4);
	frame = fake_next(&fake);
	CU_ASSERT_FATAL(frame != NULL);
	request = spawnd__v1__subscribe_request__unpack(NULL, frame->header.length, frame->payload);
	CU_ASSERT_FATAL(request && request->message_case == SPAWND__V1__SUBSCRIBE_REQUEST__MESSAGE_GRANT);
	CU_ASSERT_EQUAL(request->grant->messages, 16);
	spawnd__v1__subscribe_request__free_unpacked(request, NULL);
	fake_respond(&fake, id, SPAWND_UNAVAILABLE, "the daemon ends", NULL);
	CU_ASSERT_EQUAL(spawnd_dispatch(fake.client, NULL), 0);
	CU_ASSERT(watching.ended);
	fake_destroy(&fake);
}

void test_a_watcher_is_freed_at_any_time(void)
{
	struct spawnd_watch_options options = {.since_seq = 0};
	struct watching watching = {.free = true}, open = {.free = false};
	struct fake fake = fake_create();
	struct spawnd_watcher *watcher;
	uint32_t id;

	spawnd_subscribe(fake.client, &options, &watch_handlers, &watching, NULL);
	id = fake_opened(&fake, "Subscribe", NULL);
	send_event(&fake, id, 1);
	send_event(&fake, id, 2);
	CU_ASSERT_EQUAL(spawnd_dispatch(fake.client, NULL), 0);
	CU_ASSERT(watching.count == 1 && !watching.ended);
	watcher = spawnd_subscribe(fake.client, &options, &watch_handlers, &open, NULL);
	fake_destroy(&fake);
	spawnd_watcher_free(watcher);
	CU_ASSERT_FALSE(open.ended);
}
