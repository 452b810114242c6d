/* A connection that is lost at every byte of a conversation, and what is said on the next one. */
#include "fake_daemon.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

#define HELLO_ID 1
#define FIRST_ID 3 /* of the first call on a connection, after Hello */

/* A socket, what connects to it, and what the callbacks saw. */
struct scene {
	char directory[64];
	struct sockaddr_un address;
	int listener;
	struct fake fake;
	struct spawnd_process *process;
	char text[32]; /* one letter for each callback but output */
	char out[3][1024];
	size_t sizes[3];
	struct spawnd_error error;
	bool failed;
};

static void note(struct scene *scene, char letter)
{
	size_t length = strlen(scene->text);

	if (length < sizeof(scene->text) - 1)
		scene->text[length] = letter;
}

static void on_spawned(void *context, struct spawnd_process *process, const unsigned *slots, const int *fds, size_t count)
{
	note(context, 's');
}

static void on_output(void *context, struct spawnd_process *process, unsigned slot, uint64_t offset, const void *data, size_t size)
{
	struct scene *scene = context;

	CU_ASSERT_FATAL(slot < 3 && offset == scene->sizes[slot] && offset + size <= sizeof(scene->out[slot]));
	memcpy(scene->out[slot] + offset, data, size);
	scene->sizes[slot] += size;
}

static void on_exited(void *context, struct spawnd_process *process, const struct spawnd_exit *how)
{
	CU_ASSERT_EQUAL(how->code, 5);
	note(context, 'x');
}

static void on_ended(void *context, struct spawnd_process *process, const struct spawnd_error *error)
{
	struct scene *scene = context;

	scene->failed = error != NULL;
	if (error)
		scene->error = *error;
	note(scene, 'e');
}

static const struct spawnd_handlers handlers = {.spawned = on_spawned, .output = on_output, .exited = on_exited, .ended = on_ended};

/* ---- the scene ---- */

static void make_listener(struct scene *scene)
{
	scene->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	CU_ASSERT_FATAL(bind(scene->listener, (struct sockaddr *)&scene->address, sizeof(scene->address)) == 0);
	CU_ASSERT_FATAL(listen(scene->listener, 8) == 0);
}

/* The daemon's end of the next connection. */
static void accept_client(struct scene *scene)
{
	int fd = accept4(scene->listener, NULL, NULL, SOCK_CLOEXEC);

	CU_ASSERT_FATAL(fd >= 0);
	conn_destroy(scene->fake.conn);
	scene->fake.conn = conn_create(fd);
}

/* A client that has sent its Hello, which is not answered yet. */
static struct scene *open_scene(unsigned flags)
{
	struct scene *scene = mem_alloc(sizeof(*scene));
	struct spawnd *client = mem_alloc(sizeof(*client));

	snprintf(scene->directory, sizeof(scene->directory), "/tmp/spawnd-test-XXXXXX");
	CU_ASSERT_FATAL(mkdtemp(scene->directory) != NULL);
	scene->address.sun_family = AF_UNIX;
	snprintf(scene->address.sun_path, sizeof(scene->address.sun_path), "%s/s", scene->directory);
	make_listener(scene);
	client->flags = flags | SPAWND_NO_CONTEXT;
	client->socket = mem_strdup(scene->address.sun_path);
	client->next_id = 1;
	client->fd = autostart_try(client->socket);
	CU_ASSERT_FATAL(client->fd >= 0);
	client->conn = conn_create(client->fd);
	CU_ASSERT_FATAL(hello_prepare(client, NULL) == 0);
	hello_say(client);
	scene->fake.client = client;
	accept_client(scene);
	return scene;
}

static void close_scene(struct scene *scene)
{
	spawnd_process_free(scene->process);
	spawnd_close(scene->fake.client);
	conn_destroy(scene->fake.conn);
	close(scene->listener);
	unlink(scene->address.sun_path);
	rmdir(scene->directory);
	free(scene);
}

/* Dispatches until there is nothing to read now. */
static int dispatch(struct scene *scene)
{
	for (;;) {
		struct pollfd pollfd = {.fd = spawnd_fd(scene->fake.client), .events = POLLIN};

		if (poll(&pollfd, 1, 0) <= 0)
			return 0;
		if (spawnd_dispatch(scene->fake.client, NULL) < 0)
			return -1;
	}
}

static void spawn_on(struct scene *scene)
{
	static const char *const argv[] = {"cat", NULL};
	struct spawnd_spec *spec = spawnd_spec_create(argv);

	scene->process = spawnd_spawn(scene->fake.client, spec, SPAWND_BLOCK, 0, &handlers, scene, NULL);
	spawnd_spec_free(spec);
	CU_ASSERT_FATAL(scene->process != NULL);
}

/* Hello was said; answers it. */
static void greet(struct scene *scene)
{
	CU_ASSERT_EQUAL(fake_asked(&scene->fake, "Hello"), HELLO_ID);
	fake_respond(&scene->fake, HELLO_ID, 0, NULL, NULL);
}

/* The start of a Spawn that was said now; the caller frees it. */
static Spawnd__V1__SpawnRequest *take_spawn(struct scene *scene)
{
	struct frame frame;
	Spawnd__V1__SpawnRequest *request;

	CU_ASSERT_EQUAL(fake_opened(&scene->fake, "Spawn", &frame), FIRST_ID);
	request = spawnd__v1__spawn_request__unpack(NULL, frame.header.length, frame.payload);
	CU_ASSERT_FATAL(request && request->message_case == SPAWND__V1__SPAWN_REQUEST__MESSAGE_START);
	return request;
}

static uint64_t from_of(const Spawnd__V1__SpawnStart *start, unsigned slot)
{
	for (size_t i = 0; i < start->n_from; i++)
		if (start->from[i]->slot == slot)
			return start->from[i]->offset;
	return 0;
}

/* ---- output ---- */

static const char first_text[] = "first words, ", rest_text[] = "then a longer piece of output that is cut at every place";
static const char error_text[] = "an error";

/* All a process says, without what the client has. */
static void tell_all(struct fake *fake, uint64_t have_out, uint64_t have_err)
{
	size_t first = sizeof(first_text) - 1, rest = sizeof(rest_text) - 1, error = sizeof(error_text) - 1;

	fake_spawned(fake, FIRST_ID, NULL, 0);
	if (have_out < first)
		fake_output(fake, FIRST_ID, 1, have_out, first_text + have_out, first - have_out);
	if (have_err < error)
		fake_output(fake, FIRST_ID, 2, have_err, error_text + have_err, error - have_err);
	have_out = have_out > first ? have_out - first : 0;
	if (have_out < rest)
		fake_output(fake, FIRST_ID, 1, first + have_out, rest_text + have_out, rest - have_out);
	fake_exited(fake, FIRST_ID, 5);
	fake_end(fake, FIRST_ID);
}

/* The daemon's side of the conversation as bytes; their number. */
static size_t record(uint8_t *bytes, size_t size)
{
	struct fake fake = {.conn = NULL};
	ssize_t got;
	int fds[2];

	CU_ASSERT_FATAL(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
	fake.conn = conn_create(fds[0]);
	fake_respond(&fake, HELLO_ID, 0, NULL, NULL);
	tell_all(&fake, 0, 0);
	got = recv(fds[1], bytes, size, MSG_DONTWAIT);
	conn_destroy(fake.conn);
	close(fds[1]);
	CU_ASSERT_FATAL(got > 0 && (size_t)got < size);
	return (size_t)got;
}

void test_output_is_whole_wherever_the_connection_was_lost(void)
{
	uint8_t bytes[1024];
	size_t size = record(bytes, sizeof(bytes));

	for (size_t cut = 0; cut < size; cut++) {
		struct scene *scene = open_scene(0);
		Spawnd__V1__SpawnRequest *before, *after;

		spawn_on(scene);
		CU_ASSERT_EQUAL(fake_asked(&scene->fake, "Hello"), HELLO_ID);
		before = take_spawn(scene);
		CU_ASSERT_EQUAL_FATAL(send(conn_fd(scene->fake.conn), bytes, cut, 0), (ssize_t)cut);
		conn_destroy(mem_steal(&scene->fake.conn));
		CU_ASSERT_EQUAL_FATAL(dispatch(scene), 0);
		accept_client(scene);
		greet(scene);
		after = take_spawn(scene);
		CU_ASSERT(before->start->idempotency_key[0] != 0);
		CU_ASSERT_STRING_EQUAL(before->start->idempotency_key, after->start->idempotency_key);
		CU_ASSERT_EQUAL(after->start->resume, scene->text[0] == 's');
		CU_ASSERT_EQUAL(from_of(after->start, 1), scene->sizes[1]);
		CU_ASSERT_EQUAL(from_of(after->start, 2), scene->sizes[2]);
		tell_all(&scene->fake, scene->sizes[1], scene->sizes[2]);
		CU_ASSERT_EQUAL(dispatch(scene), 0);
		CU_ASSERT_STRING_EQUAL(scene->text, "sxe");
		CU_ASSERT_FALSE(scene->failed);
		CU_ASSERT(scene->sizes[1] == sizeof(first_text) + sizeof(rest_text) - 2 && scene->sizes[2] == sizeof(error_text) - 1);
		CU_ASSERT_STRING_EQUAL(scene->out[1], "first words, then a longer piece of output that is cut at every place");
		CU_ASSERT_STRING_EQUAL(scene->out[2], error_text);
		spawnd__v1__spawn_request__free_unpacked(before, NULL);
		spawnd__v1__spawn_request__free_unpacked(after, NULL);
		close_scene(scene);
	}
}

/* The bytes of an Output that came in part are handed out: with `direct` nobody else has them. */
void test_what_came_of_a_message_counts(void)
{
	struct scene *scene = open_scene(0);
	uint8_t bytes[1024];
	size_t size = record(bytes, sizeof(bytes)), cut = size;

	while (cut && memcmp(bytes + cut - 13, "then a longer", 13) != 0)
		cut--;
	spawn_on(scene);
	CU_ASSERT_EQUAL(send(conn_fd(scene->fake.conn), bytes, cut, 0), (ssize_t)cut);
	conn_destroy(mem_steal(&scene->fake.conn));
	CU_ASSERT_EQUAL(dispatch(scene), 0);
	CU_ASSERT_STRING_EQUAL(scene->out[1], "first words, then a longer");
	close_scene(scene);
}

/* ---- input ---- */

/* What a daemon got of stdin. */
struct got {
	char bytes[512];
	size_t size;
	bool eof;
};

/* Takes whole frames of stdin, at their offset if they have one. */
static void take_stdin(struct scene *scene, struct got *got)
{
	struct frame *frame;

	while ((frame = fake_next(&scene->fake))) {
		Spawnd__V1__SpawnRequest *request = fake_control(frame);
		Spawnd__V1__StdinData *data = request->control->stdin;
		size_t skip = 0;

		CU_ASSERT_EQUAL_FATAL(request->control->control_case, SPAWND__V1__PROCESS_CONTROL__CONTROL_STDIN);
		if (data->_offset_case) {
			CU_ASSERT_FATAL(data->offset <= got->size);
			skip = got->size - (size_t)data->offset;
		}
		if (skip < data->data.len) {
			CU_ASSERT_FALSE(got->eof);
			memcpy(got->bytes + got->size, data->data.data + skip, data->data.len - skip);
			got->size += data->data.len - skip;
		}
		got->eof = got->eof || data->eof;
		spawnd__v1__spawn_request__free_unpacked(request, NULL);
	}
}

/* Spawned, with what was taken of stdin. */
static void tell_spawned(struct scene *scene, uint64_t taken)
{
	Spawnd__V1__ProcessEvent event = SPAWND__V1__PROCESS_EVENT__INIT;
	Spawnd__V1__Spawned spawned = SPAWND__V1__SPAWNED__INIT;
	Spawnd__V1__SlotOffset offset = SPAWND__V1__SLOT_OFFSET__INIT, *list[] = {&offset};

	event.event_case = SPAWND__V1__PROCESS_EVENT__EVENT_SPAWNED;
	event.spawned = &spawned;
	spawned.id = 7;
	spawned.pid = 1234;
	offset.offset = taken;
	spawned.stdin = list;
	spawned.n_stdin = taken ? 1 : 0;
	fake_send(&scene->fake, FIRST_ID, &event.base);
}

/* Everything the client sent until now, as bytes. */
static size_t drain(struct scene *scene, uint8_t *bytes, size_t size)
{
	ssize_t got = recv(conn_fd(scene->fake.conn), bytes, size, MSG_DONTWAIT);

	CU_ASSERT_FATAL(got > 0 && (size_t)got < size);
	return (size_t)got;
}

static void write_all(struct scene *scene)
{
	CU_ASSERT_EQUAL(spawnd_process_write(scene->process, 0, "some input, ", 12), 12);
	CU_ASSERT_EQUAL(spawnd_process_write(scene->process, 0, "and more of it", 14), 14);
	spawnd_process_close_stdin(scene->process, 0);
}

/* The daemon got the first `cut` bytes of the client; the process took of their whole frames all but `waiting` bytes. */
static void check_input(const uint8_t *sent, size_t cut, size_t waiting)
{
	struct scene *scene = open_scene(0), *before = mem_alloc(sizeof(*before));
	Spawnd__V1__SpawnRequest *request;
	struct got got = {.size = 0};
	int fds[2];

	/* what a daemon makes of these bytes */
	CU_ASSERT_FATAL(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
	before->fake.conn = conn_create(fds[0]);
	CU_ASSERT_EQUAL_FATAL(send(fds[1], sent, cut, 0), (ssize_t)cut);
	for (unsigned head = 0; head < 3 && fake_next(&before->fake); head++)
		;
	take_stdin(before, &got);
	conn_destroy(before->fake.conn);
	close(fds[1]);
	free(before);
	got.eof = false;
	got.size -= waiting < got.size ? waiting : got.size;

	spawn_on(scene);
	write_all(scene);
	conn_destroy(mem_steal(&scene->fake.conn));
	CU_ASSERT_EQUAL_FATAL(dispatch(scene), 0);
	accept_client(scene);
	greet(scene);
	request = take_spawn(scene);
	spawnd__v1__spawn_request__free_unpacked(request, NULL);
	CU_ASSERT_PTR_NULL(fake_next(&scene->fake)); /* nobody knows yet where to go on */
	CU_ASSERT_EQUAL(spawnd_process_write(scene->process, 0, "x", 1), 0);
	tell_spawned(scene, got.size);
	CU_ASSERT_EQUAL(dispatch(scene), 0);
	take_stdin(scene, &got);
	CU_ASSERT(got.size == 26 && memcmp(got.bytes, "some input, and more of it", 26) == 0 && got.eof);
	close_scene(scene);
}

void test_input_is_whole_wherever_the_connection_was_lost(void)
{
	struct scene *scene = open_scene(0);
	uint8_t sent[4096];
	size_t size;

	spawn_on(scene);
	write_all(scene);
	size = drain(scene, sent, sizeof(sent));
	close_scene(scene);
	for (size_t cut = 0; cut <= size; cut++)
		for (size_t waiting = 0; waiting <= 26; waiting += 13)
			check_input(sent, cut, waiting);
}

/* Bytes that were granted for were taken, and are not kept. */
void test_no_more_input_is_kept_than_may_be_needed(void)
{
	struct kept_input kept = {.placed = true};
	_cleanup_free_ uint8_t *block = mem_alloc(STDIN_WINDOW);
	Spawnd__V1__Spawned spawned = SPAWND__V1__SPAWNED__INIT;
	Spawnd__V1__SlotOffset offset = SPAWND__V1__SLOT_OFFSET__INIT, *list[] = {&offset};
	struct spawnd_error error;

	kept_data(&kept, 0, block, STDIN_WINDOW);
	for (unsigned i = 0; i < 10; i++) {
		kept_granted(&kept, STDIN_CHUNK);
		kept_data(&kept, 0, block, STDIN_CHUNK);
		CU_ASSERT_EQUAL(kept.slots[0].bytes.length, STDIN_WINDOW);
		CU_ASSERT_EQUAL(kept.slots[0].base, (i + 1ull) * STDIN_CHUNK);
	}
	spawned.stdin = list;
	spawned.n_stdin = 1;
	offset.offset = 10ull * STDIN_CHUNK + 5;
	CU_ASSERT_EQUAL(kept_resume(&kept, &spawned, &error), 0);
	CU_ASSERT(kept.sent == STDIN_WINDOW - 5 && kept.slots[0].base == offset.offset);
	offset.offset -= 6;
	CU_ASSERT_EQUAL(kept_resume(&kept, &spawned, &error), -1);
	CU_ASSERT_EQUAL(error.status, SPAWND_DATA_LOSS);
	kept_finish(&kept);
}

/* ---- everything else ---- */

/* Breaks the connection, and answers Hello on the next one. */
static void break_connection(struct scene *scene)
{
	conn_destroy(mem_steal(&scene->fake.conn));
	CU_ASSERT_EQUAL_FATAL(dispatch(scene), 0);
	accept_client(scene);
	greet(scene);
}

static void on_done(void *context, const struct spawnd_error *error)
{
	*(int *)context += error ? 100 : 1;
}

/* The key of an act that was asked for now. */
static void take_remove(struct scene *scene, char key[CLIENT_KEY_SIZE])
{
	struct frame *frame = fake_next(&scene->fake);
	Spawnd__V1__RemoveRequest *remove;
	Ttrpc__Request *request;

	CU_ASSERT_FATAL(frame && frame->header.type == FRAME_REQUEST && frame->header.stream_id == FIRST_ID);
	request = ttrpc__request__unpack(NULL, frame->header.length, frame->payload);
	CU_ASSERT_STRING_EQUAL_FATAL(request->method, "Remove");
	remove = spawnd__v1__remove_request__unpack(NULL, request->payload.len, request->payload.data);
	snprintf(key, CLIENT_KEY_SIZE, "%s", remove->idempotency_key);
	spawnd__v1__remove_request__free_unpacked(remove, NULL);
	ttrpc__request__free_unpacked(request, NULL);
}

void test_an_act_is_repeated_with_its_key(void)
{
	struct scene *scene = open_scene(0);
	char first[CLIENT_KEY_SIZE], again[CLIENT_KEY_SIZE];
	int done = 0;

	greet(scene);
	CU_ASSERT_FATAL(spawnd_remove_async(scene->fake.client, (struct spawnd_ref){.id = 7}, on_done, &done, NULL) != NULL);
	take_remove(scene, first);
	for (unsigned i = 0; i < 3; i++) {
		break_connection(scene);
		take_remove(scene, again);
		CU_ASSERT(again[0] != 0);
		CU_ASSERT_STRING_EQUAL(first, again);
	}
	fake_respond(&scene->fake, FIRST_ID, 0, NULL, NULL);
	CU_ASSERT_EQUAL(dispatch(scene), 0);
	CU_ASSERT_EQUAL(done, 1);
	close_scene(scene);
}

static void on_info(void *context, struct spawnd_info *info, const struct spawnd_error *error)
{
	*(int *)context += error && error->status == SPAWND_DEADLINE_EXCEEDED ? 1 : 100;
	spawnd_info_free(info);
}

/* The timeout of a Wait that was asked for now. */
static uint64_t take_wait(struct scene *scene)
{
	struct frame *frame = fake_next(&scene->fake);
	Spawnd__V1__WaitRequest *wait;
	Ttrpc__Request *request;
	uint64_t timeout_ms;

	CU_ASSERT_FATAL(frame && frame->header.type == FRAME_REQUEST && frame->header.stream_id == FIRST_ID);
	request = ttrpc__request__unpack(NULL, frame->header.length, frame->payload);
	CU_ASSERT_STRING_EQUAL_FATAL(request->method, "Wait");
	wait = spawnd__v1__wait_request__unpack(NULL, request->payload.len, request->payload.data);
	CU_ASSERT(wait->closed && wait->process->id == 7);
	timeout_ms = wait->timeout_ms;
	spawnd__v1__wait_request__free_unpacked(wait, NULL);
	ttrpc__request__free_unpacked(request, NULL);
	return timeout_ms;
}

void test_a_wait_goes_on_for_what_is_left_of_its_time(void)
{
	static const int64_t second = 1000000000;
	struct scene *scene = open_scene(0);
	struct spawnd_call *call;
	int done = 0;
	uint64_t left;

	greet(scene);
	call = spawnd_wait_async(scene->fake.client, (struct spawnd_ref){.id = 7}, true, 60000, on_info, &done, NULL);
	CU_ASSERT_EQUAL(take_wait(scene), 60000);
	call->deadline_ns -= 50 * second;
	break_connection(scene);
	left = take_wait(scene);
	CU_ASSERT(left > 0 && left <= 10000);
	call->deadline_ns -= 50 * second;
	break_connection(scene);
	CU_ASSERT_EQUAL(take_wait(scene), 1);
	fake_respond(&scene->fake, FIRST_ID, SPAWND_DEADLINE_EXCEEDED, "time is up", NULL);
	CU_ASSERT_EQUAL(dispatch(scene), 0);
	CU_ASSERT_EQUAL(done, 1);
	close_scene(scene);
}

void test_a_wait_without_a_limit_has_none_afterwards(void)
{
	struct scene *scene = open_scene(0);
	struct spawnd_call *call;
	int done = 0;

	greet(scene);
	call = spawnd_wait_async(scene->fake.client, (struct spawnd_ref){.id = 7}, true, 0, on_info, &done, NULL);
	CU_ASSERT_EQUAL(take_wait(scene), 0);
	break_connection(scene);
	CU_ASSERT_EQUAL(take_wait(scene), 0);
	spawnd_call_free(call);
	close_scene(scene);
}

/* Answers so many requests of each connection in turn, then cuts it. Runs in a process of its own, and gives its status. */
static int serve(int listener, const unsigned *answers, size_t connections)
{
	struct fake fake = {.conn = NULL};

	for (size_t i = 0; i < connections; i++) {
		int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
		struct frame *frame;

		fake.conn = conn_create(fd);
		for (unsigned left = answers[i]; left > 0;) {
			struct pollfd polled = {.fd = fd, .events = POLLIN};

			if ((frame = fake_next(&fake))) {
				fake_respond(&fake, frame->header.stream_id, 0, NULL, NULL);
				left--;
			} else if (poll(&polled, 1, 10000) <= 0) {
				return 1;
			}
		}
		conn_destroy(fake.conn);
	}
	return 0;
}

/* A client connects by a relative path, and its process goes elsewhere before it has to connect again. */
static void check_relative(const char *directory)
{
	static const unsigned answers[] = {1, 2};
	struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "s"};
	char *before = getcwd(NULL, 0);
	int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), status;
	struct spawnd_error error;
	struct spawnd *client;
	pid_t server;

	CU_ASSERT_FATAL(before && chdir(directory) == 0);
	CU_ASSERT_FATAL(bind(listener, (struct sockaddr *)&address, sizeof(address)) == 0 && listen(listener, 8) == 0);
	server = fork();
	if (server == 0) {
		free(before);
		_exit(serve(listener, answers, array_size(answers)));
	}
	CU_ASSERT_EQUAL_FATAL(spawnd_connect("s", SPAWND_NO_AUTOSTART | SPAWND_NO_CONTEXT, &client, &error), 0);
	CU_ASSERT(spawnd_socket(client)[0] == '/');
	CU_ASSERT_EQUAL(chdir(before), 0);
	CU_ASSERT_EQUAL(spawnd_ping(client, &error), 0);
	spawnd_close(client);
	CU_ASSERT_EQUAL(waitpid(server, &status, 0), server);
	CU_ASSERT_EQUAL(status, 0);
	close(listener);
	CU_ASSERT(chdir(directory) == 0 && unlink("s") == 0 && chdir(before) == 0);
	free(before);
}

void test_a_relative_socket_is_found_again_from_anywhere(void)
{
	char directory[] = "/tmp/spawnd-test-XXXXXX", name[NAME_MAX + 1];
	_cleanup_free_ char *deep = NULL;

	CU_ASSERT_FATAL(mkdtemp(directory) != NULL);
	check_relative(directory);
	memset(name, 'd', NAME_MAX);
	name[NAME_MAX] = 0;
	deep = mem_printf("%s/%s", directory, name); /* no socket address can hold it */
	CU_ASSERT_FATAL(mkdir(deep, 0700) == 0);
	check_relative(deep);
	rmdir(deep);
	rmdir(directory);
}

/* ---- a watcher ---- */

static void on_event(void *context, struct spawnd_watcher *watcher, const struct spawnd_event *event)
{
	uint64_t *last = context;

	CU_ASSERT_STRING_EQUAL(event->type, "removed");
	CU_ASSERT_EQUAL(event->seq, *last + 1);
	*last = event->seq;
}

/* From which event on a watcher wants to hear now. */
static uint64_t take_subscribe(struct scene *scene)
{
	Spawnd__V1__SubscribeRequest *request;
	struct frame frame;
	uint64_t since;

	CU_ASSERT_EQUAL(fake_opened(&scene->fake, "Subscribe", &frame), FIRST_ID);
	request = spawnd__v1__subscribe_request__unpack(NULL, frame.header.length, frame.payload);
	CU_ASSERT_FATAL(request && request->message_case == SPAWND__V1__SUBSCRIBE_REQUEST__MESSAGE_START);
	CU_ASSERT(request->start->announce);
	since = request->start->since_seq;
	spawnd__v1__subscribe_request__free_unpacked(request, NULL);
	return since;
}

static void tell_event(struct scene *scene, uint64_t seq, const char *type)
{
	Spawnd__V1__Event event = SPAWND__V1__EVENT__INIT;

	event.seq = seq;
	event.type = (char *)type;
	fake_send(&scene->fake, FIRST_ID, &event.base);
	CU_ASSERT_EQUAL(dispatch(scene), 0);
}

void test_a_watcher_misses_nothing_although_nothing_had_come(void)
{
	static const struct spawnd_watch_handlers watch = {.event = on_event};
	const struct spawnd_watch_options options = {.since_seq = 0};
	struct scene *scene = open_scene(0);
	struct spawnd_watcher *watcher;
	uint64_t last = 41;

	greet(scene);
	watcher = spawnd_subscribe(scene->fake.client, &options, &watch, &last, NULL);
	CU_ASSERT_EQUAL(take_subscribe(scene), 0);
	break_connection(scene); /* before it was told where it begins, it begins anew */
	CU_ASSERT_EQUAL(take_subscribe(scene), 0);
	tell_event(scene, 41, "subscribed");
	CU_ASSERT_EQUAL(last, 41);
	break_connection(scene);
	CU_ASSERT_EQUAL(take_subscribe(scene), 42);
	tell_event(scene, 41, "subscribed");
	tell_event(scene, 42, "removed");
	break_connection(scene);
	CU_ASSERT_EQUAL(take_subscribe(scene), 43);
	CU_ASSERT_EQUAL(last, 42);
	spawnd_watcher_free(watcher);
	close_scene(scene);
}

/* ---- what has no connection ---- */

/* A signal that was sent is not repeated; one that nobody could hear is said on the next connection, and Cancel always. */
void test_what_is_said_without_a_connection_comes_later(void)
{
	struct scene *scene = open_scene(0);
	Spawnd__V1__SpawnRequest *request;

	greet(scene);
	spawn_on(scene);
	spawnd__v1__spawn_request__free_unpacked(take_spawn(scene), NULL);
	fake_spawned(&scene->fake, FIRST_ID, NULL, 0);
	CU_ASSERT_EQUAL(dispatch(scene), 0);
	spawnd_process_signal(scene->process, 10, SPAWND_GROUP);
	close(scene->listener);
	conn_destroy(mem_steal(&scene->fake.conn));
	CU_ASSERT_EQUAL(dispatch(scene), 0);
	CU_ASSERT_PTR_NULL(scene->fake.client->conn);
	spawnd_process_signal(scene->process, 12, SPAWND_GROUP);
	spawnd_process_cancel(scene->process);
	unlink(scene->address.sun_path);
	make_listener(scene);
	while (!scene->fake.client->conn)
		CU_ASSERT_FATAL(spawnd_wait_event(scene->fake.client, -1, NULL) >= 0);
	accept_client(scene);
	greet(scene);
	spawnd__v1__spawn_request__free_unpacked(take_spawn(scene), NULL);
	request = fake_control(fake_next(&scene->fake));
	CU_ASSERT_EQUAL_FATAL(request->control->control_case, SPAWND__V1__PROCESS_CONTROL__CONTROL_SIGNAL);
	CU_ASSERT_EQUAL(request->control->signal->signal, 12);
	spawnd__v1__spawn_request__free_unpacked(request, NULL);
	request = fake_control(fake_next(&scene->fake));
	CU_ASSERT_EQUAL(request->control->control_case, SPAWND__V1__PROCESS_CONTROL__CONTROL_CANCEL);
	spawnd__v1__spawn_request__free_unpacked(request, NULL);
	CU_ASSERT_PTR_NULL(fake_next(&scene->fake));
	close_scene(scene);
}

/* ---- giving up ---- */

void test_without_reconnecting_the_loss_is_told(void)
{
	struct scene *scene = open_scene(SPAWND_NO_RECONNECT);

	greet(scene);
	spawn_on(scene);
	conn_destroy(mem_steal(&scene->fake.conn));
	CU_ASSERT_EQUAL(dispatch(scene), -1);
	CU_ASSERT_STRING_EQUAL(scene->text, "e");
	CU_ASSERT(scene->failed && scene->error.status == SPAWND_UNAVAILABLE);
	close_scene(scene);
}

void test_a_socket_that_is_no_more_is_not_waited_for(void)
{
	struct scene *scene = open_scene(0);

	greet(scene);
	spawn_on(scene);
	unlink(scene->address.sun_path);
	conn_destroy(mem_steal(&scene->fake.conn));
	CU_ASSERT_EQUAL(dispatch(scene), -1);
	CU_ASSERT(scene->failed && scene->error.status == SPAWND_UNAVAILABLE);
	close_scene(scene);
}

void test_a_socket_that_refuses_is_tried_for_a_while(void)
{
	struct scene *scene = open_scene(0);
	int fd = spawnd_fd(scene->fake.client);
	unsigned changes;

	greet(scene);
	spawn_on(scene);
	CU_ASSERT_EQUAL(dispatch(scene), 0);
	changes = spawnd_fd_changes(scene->fake.client);
	close(scene->listener);
	conn_destroy(mem_steal(&scene->fake.conn));
	CU_ASSERT_EQUAL(dispatch(scene), 0);
	CU_ASSERT(scene->text[0] == 0 && spawnd_fd(scene->fake.client) == fd);
	CU_ASSERT(spawnd_fd_changes(scene->fake.client) > changes);
	scene->fake.client->give_up_ns = 1;
	while (spawnd_wait_event(scene->fake.client, -1, NULL) >= 0)
		;
	CU_ASSERT_STRING_EQUAL(scene->text, "e");
	CU_ASSERT(scene->failed && scene->error.status == SPAWND_UNAVAILABLE);
	scene->listener = -1;
	close_scene(scene);
}

/* A daemon that answers Hello with an error is not asked again. */
void test_a_daemon_that_refuses_hello_is_believed(void)
{
	struct scene *scene = open_scene(0);

	greet(scene);
	spawn_on(scene);
	CU_ASSERT_EQUAL(dispatch(scene), 0);
	conn_destroy(mem_steal(&scene->fake.conn));
	CU_ASSERT_EQUAL(dispatch(scene), 0);
	accept_client(scene);
	CU_ASSERT_EQUAL(fake_asked(&scene->fake, "Hello"), HELLO_ID);
	fake_respond(&scene->fake, HELLO_ID, SPAWND_FAILED_PRECONDITION, "another version", NULL);
	CU_ASSERT_EQUAL(dispatch(scene), -1);
	CU_ASSERT(scene->failed && scene->error.status == SPAWND_FAILED_PRECONDITION);
	close_scene(scene);
}
