/* Streams to a process: credit both ways, partial writes, descriptors, and ends at every moment. */
#include "fake_daemon.h"

#include <fcntl.h>

/* What the callbacks saw, and what they shall do. */
struct seen {
	struct fake *fake;
	char text[64]; /* one letter for each callback, in order */
	size_t bytes;
	struct spawnd_error error;
	bool failed;
	int fds[4];
	unsigned slots[4];
	size_t fd_count;
	char free_at;  /* free the process in this callback */
	char close_at; /* close the connection in it */
	bool taken_by_hand;
	int code;
};

static void see(struct seen *seen, struct spawnd_process *process, char letter)
{
	size_t length = strlen(seen->text);

	if (length < sizeof(seen->text) - 1)
		seen->text[length] = letter;
	if (seen->close_at == letter) {
		spawnd_close(seen->fake->client);
		seen->fake->client = NULL;
	}
	if (seen->free_at == letter)
		spawnd_process_free(process);
}

static void on_spawned(void *context, struct spawnd_process *process, const unsigned *slots, const int *fds, size_t count)
{
	struct seen *seen = context;

	for (size_t i = 0; i < count && i < array_size(seen->fds); i++) {
		seen->fds[i] = fds[i];
		seen->slots[i] = slots[i];
	}
	seen->fd_count = count;
	see(seen, process, 's');
}

static void on_output(void *context, struct spawnd_process *process, unsigned slot, uint64_t offset, const void *data, size_t size)
{
	struct seen *seen = context;

	CU_ASSERT_EQUAL(offset, seen->bytes);
	seen->bytes += size;
	see(seen, process, 'o');
}

static void on_writable(void *context, struct spawnd_process *process)
{
	see(context, process, 'w');
}

static void on_exited(void *context, struct spawnd_process *process, const struct spawnd_exit *how)
{
	struct seen *seen = context;

	seen->code = how->code;
	see(seen, process, 'x');
}

static void on_ended(void *context, struct spawnd_process *process, const struct spawnd_error *error)
{
	struct seen *seen = context;

	seen->failed = error != NULL;
	if (error)
		seen->error = *error;
	see(seen, process, 'e');
}

static const struct spawnd_handlers handlers = {
	.spawned = on_spawned, .output = on_output, .writable = on_writable, .exited = on_exited, .ended = on_ended};

/* Spawns "true" on the fake; the id of the stream into *id_out. */
static struct spawnd_process *spawn(struct fake *fake, struct seen *seen, uint64_t window, uint32_t *id_out)
{
	static const char *const argv[] = {"true", NULL};
	struct spawnd_spec *spec = spawnd_spec_create(argv);
	struct spawnd_process *process;

	*seen = (struct seen){.fake = fake};
	process = spawnd_spawn(fake->client, spec, SPAWND_READER_DEFAULT, window, &handlers, seen, &seen->error);
	spawnd_spec_free(spec);
	CU_ASSERT_FATAL(process != NULL);
	*id_out = fake_opened(fake, "Spawn", NULL);
	return process;
}

/* Dispatches until nothing is left to read. */
static int dispatch(struct fake *fake)
{
	while (fake->client) {
		struct pollfd pollfd = {.fd = spawnd_fd(fake->client), .events = spawnd_events(fake->client)};

		if (poll(&pollfd, 1, 0) <= 0)
			return 0;
		if (spawnd_dispatch(fake->client, NULL) < 0)
			return -1;
	}
	return -1;
}

void test_events_come_in_order(void)
{
	struct fake fake = fake_create();
	struct seen seen;
	uint32_t id;
	struct spawnd_process *process = spawn(&fake, &seen, 0, &id);

	CU_ASSERT_EQUAL(spawnd_process_id(process), 0);
	fake_spawned(&fake, id, NULL, 0);
	fake_output(&fake, id, 1, 0, "hello", 5);
	fake_output(&fake, id, 1, 5, "world", 5);
	fake_exited(&fake, id, 3);
	fake_end(&fake, id);
	CU_ASSERT_EQUAL(dispatch(&fake), 0);
	CU_ASSERT_STRING_EQUAL(seen.text, "sooxe");
	CU_ASSERT(seen.bytes == 10 && seen.code == 3 && !seen.failed);
	CU_ASSERT(spawnd_process_id(process) == 7 && spawnd_process_pid(process) == 1234);
	CU_ASSERT_EQUAL(spawnd_process_write(process, 0, "x", 1), -1);
	spawnd_process_signal(process, 15, SPAWND_CHILD);
	spawnd_process_close_stdin(process, 0);
	spawnd_process_cancel(process);
	CU_ASSERT_PTR_NULL(fake_next(&fake));
	spawnd_process_free(process);
	fake_destroy(&fake);
}

void test_a_failed_spawn_is_told_in_nodes_shape(void)
{
	struct fake fake = fake_create();
	Ttrpc__Response response = TTRPC__RESPONSE__INIT;
	Ttrpc__Status status = TTRPC__STATUS__INIT;
	Ttrpc__Any any = TTRPC__ANY__INIT, *details[] = {&any};
	Spawnd__V1__ErrorDetail detail = SPAWND__V1__ERROR_DETAIL__INIT;
	uint8_t value[256], bytes[512];
	struct seen seen;
	uint32_t id;
	struct spawnd_process *process = spawn(&fake, &seen, 0, &id);

	detail.errnum = 2;
	detail.code = (char *)"ENOENT";
	detail.syscall = (char *)"spawn foo";
	detail.path = (ProtobufCBinaryData){.len = 3, .data = (uint8_t *)"foo"};
	any.type_url = (char *)"type.googleapis.com/spawnd.v1.ErrorDetail";
	any.value = (ProtobufCBinaryData){.len = spawnd__v1__error_detail__pack(&detail, value), .data = value};
	status.code = SPAWND_NOT_FOUND;
	status.message = (char *)"spawn foo ENOENT";
	status.details = details;
	status.n_details = 1;
	response.status = &status;
	fake_send_raw(&fake, id, FRAME_RESPONSE, 0, bytes, ttrpc__response__pack(&response, bytes));
	CU_ASSERT_EQUAL(dispatch(&fake), 0);
	CU_ASSERT_STRING_EQUAL(seen.text, "e");
	CU_ASSERT(seen.failed && seen.error.status == SPAWND_NOT_FOUND && seen.error.errnum == 2);
	CU_ASSERT_STRING_EQUAL(seen.error.code, "ENOENT");
	CU_ASSERT_STRING_EQUAL(seen.error.syscall, "spawn foo");
	CU_ASSERT_STRING_EQUAL(seen.error.path, "foo");
	CU_ASSERT_STRING_EQUAL(seen.error.message, "spawn foo ENOENT");
	spawnd_process_free(process);
	fake_destroy(&fake);
}

/* Adds up the grants that came; returns how many there were. */
static unsigned count_grants(struct fake *fake, uint64_t *bytes, uint32_t *messages)
{
	struct frame *frame;
	unsigned count = 0;

	while ((frame = fake_next(fake))) {
		Spawnd__V1__SpawnRequest *request = fake_control(frame);

		CU_ASSERT_EQUAL_FATAL(request->control->control_case, SPAWND__V1__PROCESS_CONTROL__CONTROL_GRANT);
		*bytes += request->control->grant->bytes;
		*messages += request->control->grant->messages;
		spawnd__v1__spawn_request__free_unpacked(request, NULL);
		count++;
	}
	return count;
}

void test_output_is_granted_again_in_portions(void)
{
	struct fake fake = fake_create();
	uint64_t bytes = 0;
	uint32_t messages = 0, id;
	struct seen seen;
	struct spawnd_process *process = spawn(&fake, &seen, 1000, &id);
	char block[250] = {0};

	fake_output(&fake, id, 1, 0, block, 249);
	dispatch(&fake);
	CU_ASSERT_EQUAL(count_grants(&fake, &bytes, &messages), 0);
	fake_output(&fake, id, 1, 249, block, 1);
	dispatch(&fake);
	CU_ASSERT_EQUAL(count_grants(&fake, &bytes, &messages), 1);
	CU_ASSERT(bytes == 250 && messages == 2);
	for (unsigned i = 0; i < READER_WINDOW_MESSAGES / 4; i++)
		fake_output(&fake, id, 1, 250 + i, block, 1);
	dispatch(&fake);
	CU_ASSERT_EQUAL(count_grants(&fake, &bytes, &messages), 1);
	CU_ASSERT(bytes == 250 + 16 && messages == 2 + 16);
	spawnd_process_free(process);
	fake_destroy(&fake);
}

void test_what_a_manual_reader_holds_is_not_granted(void)
{
	struct fake fake = fake_create();
	uint64_t bytes = 0;
	uint32_t messages = 0, id;
	struct seen seen;
	struct spawnd_process *process = spawn(&fake, &seen, 1000, &id);
	char block[500] = {0};

	spawnd_process_manual(process);
	fake_output(&fake, id, 1, 0, block, 500);
	fake_output(&fake, id, 1, 500, block, 500);
	dispatch(&fake);
	CU_ASSERT_EQUAL(seen.bytes, 1000);
	CU_ASSERT_EQUAL(count_grants(&fake, &bytes, &messages), 0);
	spawnd_process_taken(process, 1, 100);
	CU_ASSERT_EQUAL(count_grants(&fake, &bytes, &messages), 0);
	spawnd_process_taken(process, 1, 900);
	CU_ASSERT_EQUAL(count_grants(&fake, &bytes, &messages), 1);
	CU_ASSERT(bytes == 1000 && messages == 2);
	spawnd_process_free(process);
	fake_destroy(&fake);
}

/* Each slot has its window: what is held of one is not granted with what was taken of another. */
void test_a_slot_that_is_held_does_not_hold_the_others(void)
{
	struct fake fake = fake_create();
	struct seen seen;
	uint32_t id;
	struct spawnd_process *process = spawn(&fake, &seen, 1000, &id);
	Spawnd__V1__SpawnRequest *request;
	char block[1000] = {0};

	spawnd_process_manual(process);
	fake_output(&fake, id, 1, 0, block, 1000);
	fake_output(&fake, id, 2, 1000, block, 300);
	dispatch(&fake);
	CU_ASSERT_PTR_NULL(fake_next(&fake));
	spawnd_process_taken(process, 2, 300);
	request = fake_control(fake_next(&fake));
	CU_ASSERT_EQUAL_FATAL(request->control->control_case, SPAWND__V1__PROCESS_CONTROL__CONTROL_GRANT);
	CU_ASSERT(request->control->grant->_slot_case && request->control->grant->slot == 2);
	CU_ASSERT(request->control->grant->bytes == 300 && request->control->grant->messages == 2);
	spawnd__v1__spawn_request__free_unpacked(request, NULL);
	spawnd_process_free(process); /* reads on for nobody: slot 1 is given back */
	request = fake_control(fake_next(&fake));
	CU_ASSERT(request->control->grant->slot == 1 && request->control->grant->bytes == 1000);
	spawnd__v1__spawn_request__free_unpacked(request, NULL);
	fake_destroy(&fake);
}

/* Reads stdin messages of the client: their data is appended to *total bytes, all of them 'i % 251'. */
static void take_stdin(struct fake *fake, size_t *total, bool *eof)
{
	struct frame *frame;

	while ((frame = fake_next(fake))) {
		Spawnd__V1__SpawnRequest *request = fake_control(frame);
		const Spawnd__V1__StdinData *data = request->control->stdin;

		CU_ASSERT_EQUAL_FATAL(request->control->control_case, SPAWND__V1__PROCESS_CONTROL__CONTROL_STDIN);
		CU_ASSERT(data->data.len <= STDIN_CHUNK);
		for (size_t i = 0; i < data->data.len; i++)
			CU_ASSERT_EQUAL_FATAL(data->data.data[i], (*total + i) % 251);
		*total += data->data.len;
		*eof = data->eof;
		spawnd__v1__spawn_request__free_unpacked(request, NULL);
	}
}

/* The window is 1 MiB; the socket takes less than that at once, and the rest goes when it can. */
void test_stdin_is_partial_and_bounded(void)
{
	struct fake fake = fake_create();
	size_t size = 3u << 20, written = 0, total = 0;
	_cleanup_free_ uint8_t *data = mem_alloc(size);
	bool eof = false;
	struct seen seen;
	uint32_t id;
	struct spawnd_process *process = spawn(&fake, &seen, 0, &id);

	for (size_t i = 0; i < size; i++)
		data[i] = (uint8_t)(i % 251);
	written += (size_t)spawnd_process_write(process, 0, data, size);
	CU_ASSERT_EQUAL(written, STDIN_WINDOW);
	CU_ASSERT_EQUAL(spawnd_process_write(process, 0, data, size), 0);
	CU_ASSERT_EQUAL(spawnd_events(fake.client), POLLIN | POLLOUT);
	CU_ASSERT_STRING_EQUAL(seen.text, "");
	while (total < STDIN_WINDOW) {
		take_stdin(&fake, &total, &eof);
		dispatch(&fake);
	}
	CU_ASSERT_EQUAL(spawnd_events(fake.client), POLLIN);
	fake_stdin_grant(&fake, id, 10);
	dispatch(&fake);
	CU_ASSERT_STRING_EQUAL(seen.text, "w");
	written += (size_t)spawnd_process_write(process, 0, data + written, size - written);
	CU_ASSERT_EQUAL(written, STDIN_WINDOW + 10);
	fake_stdin_grant(&fake, id, size);
	dispatch(&fake);
	written += (size_t)spawnd_process_write(process, 0, data + written, size - written);
	CU_ASSERT_EQUAL(written, size);
	spawnd_process_close_stdin(process, 0);
	while (!eof) {
		take_stdin(&fake, &total, &eof);
		dispatch(&fake);
	}
	CU_ASSERT_EQUAL(total, size);
	fake_stdin_grant(&fake, id, 10);
	dispatch(&fake);
	CU_ASSERT_STRING_EQUAL(seen.text, "ww"); /* nobody waits for room any more */
	spawnd_process_free(process);
	fake_destroy(&fake);
}

void test_descriptors_travel_with_the_first_message(void)
{
	static const char *const argv[] = {"cat", NULL};
	struct fake fake = fake_create();
	struct spawnd_spec *spec = spawnd_spec_create(argv);
	struct spawnd_process *process;
	struct spawnd_error error;
	struct frame first;
	int fds[2];
	char byte;

	CU_ASSERT_FATAL(pipe2(fds, O_CLOEXEC) == 0);
	spawnd_spec_set_fd(spec, 0, fds[0]);
	spawnd_spec_set_fd(spec, 1, fds[1]);
	process = spawnd_spawn(fake.client, spec, SPAWND_READER_DEFAULT, 0, &handlers, NULL, &error);
	CU_ASSERT_FATAL(process != NULL);
	fake_opened(&fake, "Spawn", &first);
	CU_ASSERT_EQUAL_FATAL(first.fd_count, 2);
	CU_ASSERT(write(first.fds[1], "x", 1) == 1 && read(fds[0], &byte, 1) == 1 && byte == 'x');
	spawnd_process_free(process);

	close(fds[1]);
	CU_ASSERT_PTR_NULL(spawnd_spawn(fake.client, spec, SPAWND_READER_DEFAULT, 0, &handlers, NULL, &error));
	CU_ASSERT_EQUAL(error.status, SPAWND_INVALID_ARGUMENT);
	CU_ASSERT_EQUAL(dispatch(&fake), 0); /* the connection is none the worse */
	close(fds[0]);
	spawnd_spec_free(spec);
	fake_destroy(&fake);
}

void test_handed_descriptors_are_the_callers(void)
{
	struct fake fake = fake_create();
	int fds[2];
	struct seen seen;
	uint32_t id;
	char byte;
	struct spawnd_process *process = spawn(&fake, &seen, 0, &id);

	CU_ASSERT_FATAL(pipe2(fds, O_CLOEXEC) == 0);
	fake_spawned(&fake, id, fds, 2);
	close(fds[1]);
	dispatch(&fake);
	CU_ASSERT_FATAL(seen.fd_count == 2);
	CU_ASSERT(seen.slots[0] == 0 && seen.slots[1] == 1);
	CU_ASSERT(write(seen.fds[1], "y", 1) == 1 && read(fds[0], &byte, 1) == 1 && byte == 'y');
	CU_ASSERT(fcntl(seen.fds[0], F_GETFD) == FD_CLOEXEC);
	close(seen.fds[0]);
	close(seen.fds[1]);
	CU_ASSERT_EQUAL(read(fds[0], &byte, 1), 0); /* no copy is left anywhere */
	close(fds[0]);
	spawnd_process_free(process);
	fake_destroy(&fake);
}

/* A child must not be held up by a reader that is not there any more. */
void test_a_freed_spawn_reads_on_in_silence(void)
{
	struct fake fake = fake_create();
	uint64_t bytes = 0;
	uint32_t messages = 0, id;
	struct seen seen;
	struct spawnd_process *process = spawn(&fake, &seen, 1000, &id);
	char block[500] = {0};

	spawnd_process_manual(process);
	fake_spawned(&fake, id, NULL, 0);
	dispatch(&fake);
	spawnd_process_free(process);
	CU_ASSERT_PTR_NULL(fake_next(&fake));
	fake_output(&fake, id, 1, 0, block, 500);
	fake_output(&fake, id, 1, 500, block, 500);
	dispatch(&fake);
	CU_ASSERT_EQUAL(count_grants(&fake, &bytes, &messages), 2);
	CU_ASSERT_EQUAL(bytes, 1000);
	fake_exited(&fake, id, 0);
	fake_end(&fake, id);
	dispatch(&fake);
	CU_ASSERT_STRING_EQUAL(seen.text, "s");
	fake_destroy(&fake);
}

void test_leaving_an_attachment_cancels_it(void)
{
	struct fake fake = fake_create();
	struct spawnd_offset from = {.slot = 1, .offset = 99};
	Spawnd__V1__AttachRequest *request;
	struct spawnd_process *process;
	struct frame frame, *next;

	process = spawnd_attach(fake.client, (struct spawnd_ref){.name = "web"}, SPAWND_DROP, 0, false, &from, 1, &handlers, NULL, NULL);
	CU_ASSERT_FATAL(process != NULL);
	fake_opened(&fake, "Attach", &frame);
	request = spawnd__v1__attach_request__unpack(NULL, frame.header.length, frame.payload);
	CU_ASSERT_FATAL(request && request->message_case == SPAWND__V1__ATTACH_REQUEST__MESSAGE_START);
	CU_ASSERT_STRING_EQUAL(request->start->process->name, "web");
	CU_ASSERT(request->start->n_from == 1 && request->start->from[0]->offset == 99);
	CU_ASSERT_EQUAL(request->start->reader->policy, SPAWND__V1__READER__POLICY__POLICY_DROP);
	spawnd__v1__attach_request__free_unpacked(request, NULL);
	spawnd_process_free(process);
	next = fake_next(&fake);
	CU_ASSERT_FATAL(next != NULL);
	request = spawnd__v1__attach_request__unpack(NULL, next->header.length, next->payload);
	CU_ASSERT_FATAL(request && request->message_case == SPAWND__V1__ATTACH_REQUEST__MESSAGE_CONTROL);
	CU_ASSERT_EQUAL(request->control->control_case, SPAWND__V1__PROCESS_CONTROL__CONTROL_CANCEL);
	spawnd__v1__attach_request__free_unpacked(request, NULL);
	fake_destroy(&fake);
}

void test_freeing_inside_every_callback(void)
{
	static const char letters[] = {'s', 'o', 'x', 'e'};

	for (size_t i = 0; i < array_size(letters); i++) {
		struct fake fake = fake_create();
		struct seen seen;
		uint32_t id;

		spawn(&fake, &seen, 0, &id);
		seen.free_at = letters[i];
		fake_spawned(&fake, id, NULL, 0);
		fake_output(&fake, id, 1, 0, "a", 1);
		fake_exited(&fake, id, 0);
		fake_end(&fake, id);
		CU_ASSERT_EQUAL(dispatch(&fake), 0);
		CU_ASSERT(strlen(seen.text) == i + 1 && strncmp(seen.text, "soxe", i + 1) == 0);
		fake_destroy(&fake);
	}
}

void test_closing_inside_every_callback(void)
{
	static const char letters[] = {'s', 'o', 'x', 'e'};

	for (size_t i = 0; i < array_size(letters) * 2; i++) {
		struct fake fake = fake_create();
		struct seen seen, other;
		uint32_t id, other_id;
		struct spawnd_process *process = spawn(&fake, &seen, 0, &id), *second = spawn(&fake, &other, 0, &other_id);

		seen.close_at = letters[i / 2];
		seen.free_at = i % 2 ? letters[i / 2] : 0;
		fake_spawned(&fake, id, NULL, 0);
		fake_output(&fake, id, 1, 0, "a", 1);
		fake_exited(&fake, id, 0);
		fake_end(&fake, id);
		fake_spawned(&fake, other_id, NULL, 0);
		CU_ASSERT_EQUAL(dispatch(&fake), -1);
		CU_ASSERT_EQUAL(strlen(seen.text), i / 2 + 1);
		CU_ASSERT_STRING_EQUAL(other.text, "");
		CU_ASSERT_EQUAL(spawnd_process_write(second, 0, "x", 1), -1);
		if (!seen.free_at)
			spawnd_process_free(process);
		spawnd_process_free(second);
		fake_destroy(&fake);
	}
}

void test_streams_outlive_the_connection(void)
{
	struct fake fake = fake_create();
	struct seen seen, freed;
	uint32_t id;
	struct spawnd_process *process = spawn(&fake, &seen, 0, &id);

	spawnd_process_free(spawn(&fake, &freed, 0, &id));
	spawnd_close(fake.client);
	fake.client = NULL;
	CU_ASSERT_STRING_EQUAL(seen.text, "");
	CU_ASSERT_EQUAL(spawnd_process_write(process, 0, "x", 1), -1);
	spawnd_process_free(process);
	fake_destroy(&fake);
}

void test_a_lost_connection_ends_every_stream(void)
{
	struct fake fake = fake_create();
	static const char *const argv[] = {"true", NULL};
	struct spawnd_spec *spec = spawnd_spec_create(argv);
	struct spawnd_error error;
	struct seen seen[2];
	struct spawnd_process *processes[2];
	uint32_t id;

	for (size_t i = 0; i < 2; i++)
		processes[i] = spawn(&fake, &seen[i], 0, &id);
	fake_output(&fake, id, 1, 0, "last words", 10);
	conn_destroy(fake.conn);
	CU_ASSERT_EQUAL(dispatch(&fake), -1);
	CU_ASSERT_STRING_EQUAL(seen[0].text, "e");
	CU_ASSERT_STRING_EQUAL(seen[1].text, "oe");
	for (size_t i = 0; i < 2; i++) {
		CU_ASSERT(seen[i].failed && seen[i].error.status == SPAWND_UNAVAILABLE);
		spawnd_process_free(processes[i]);
	}
	CU_ASSERT_PTR_NULL(spawnd_spawn(fake.client, spec, SPAWND_READER_DEFAULT, 0, &handlers, NULL, &error));
	CU_ASSERT_EQUAL(error.status, SPAWND_UNAVAILABLE);
	CU_ASSERT_EQUAL(spawnd_ping(fake.client, &error), -1);
	spawnd_spec_free(spec);
	spawnd_close(fake.client);
}

/* The stream ends with an error; the connection goes on. */
void test_what_cannot_be_understood(void)
{
	struct fake fake = fake_create();
	struct frame_header long_header = {.length = FRAME_LENGTH_MAX + 1, .type = FRAME_DATA};
	uint8_t header[FRAME_HEADER_SIZE];
	size_t left = FRAME_LENGTH_MAX + 1;
	char zeroes[65536] = {0};
	struct seen seen[2];
	struct spawnd_process *processes[2];
	uint32_t ids[2];

	for (size_t i = 0; i < 2; i++)
		processes[i] = spawn(&fake, &seen[i], 0, &ids[i]);
	fake_send_raw(&fake, ids[0], FRAME_DATA, 0, "\xff\xff\xff", 3);
	fake_send_raw(&fake, 999, FRAME_DATA, 0, "\xff", 1);
	fake_send_raw(&fake, ids[1], 77, 0, "\xff", 1);
	fake_send_raw(&fake, ids[1], FRAME_DATA, FRAME_NO_DATA, "", 0);
	CU_ASSERT_EQUAL(dispatch(&fake), 0);
	CU_ASSERT_STRING_EQUAL(seen[0].text, "e");
	CU_ASSERT_EQUAL(seen[0].error.status, SPAWND_INTERNAL);
	CU_ASSERT_STRING_EQUAL(seen[1].text, "");

	long_header.stream_id = ids[1];
	frame_encode(&long_header, header);
	CU_ASSERT(write(conn_fd(fake.conn), header, sizeof(header)) == sizeof(header));
	while (left) {
		ssize_t sent = write(conn_fd(fake.conn), zeroes, left < sizeof(zeroes) ? left : sizeof(zeroes));

		if (sent > 0)
			left -= (size_t)sent;
		CU_ASSERT_EQUAL_FATAL(dispatch(&fake), 0);
	}
	CU_ASSERT_STRING_EQUAL(seen[1].text, "e");
	CU_ASSERT_EQUAL(seen[1].error.status, SPAWND_RESOURCE_EXHAUSTED);
	for (size_t i = 0; i < 2; i++)
		spawnd_process_free(processes[i]);
	fake_destroy(&fake);
}
