/* The three roads of a client's descriptor to us, and what each refuses. */
#include "rpc/harness.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "base/fd.h"
#include "fake_sys.h"

static int fetched, taken[2];

/* The number is the first byte of the payload. */
static int handle_fetch(struct call *call, const ProtobufCMessage *request, struct err *err)
{
	const ProtobufCBinaryData *payload = &((const Spawnd__V1__PingRequest *)request)->payload;
	Spawnd__V1__PingReply reply = SPAWND__V1__PING_REPLY__INIT;
	int done = call_fetch_fd(call, payload->len ? payload->data[0] : -1, "slot", &fetched, err);

	if (!done)
		call_reply(call, &reply.base);
	return done;
}

/* Takes the descriptors whose indexes the payload names. */
static int handle_take(struct call *call, const ProtobufCMessage *request, struct err *err)
{
	const ProtobufCBinaryData *payload = &((const Spawnd__V1__PingRequest *)request)->payload;
	Spawnd__V1__PingReply reply = SPAWND__V1__PING_REPLY__INIT;

	for (size_t i = 0; i < payload->len; i++) {
		int done = call_take_fd(call, payload->data[i], "slot", &taken[i], err);

		if (done < 0)
			return done;
	}
	call_reply(call, &reply.base);
	return 0;
}

static const struct method methods[] = {
	{"t", "Fetch", &spawnd__v1__ping_request__descriptor, &spawnd__v1__ping_reply__descriptor, false, false, RIGHT_NONE, handle_fetch},
	{"t", "Take", &spawnd__v1__ping_request__descriptor, &spawnd__v1__ping_reply__descriptor, false, false, RIGHT_NONE, handle_take},
};

/* Asks for a number of this process, which is its own client. */
static int fetch(uint32_t stream, int number)
{
	Spawnd__V1__PingRequest request = SPAWND__V1__PING_REQUEST__INIT;
	uint8_t byte = (uint8_t)number;

	fetched = -1;
	request.payload = (ProtobufCBinaryData){.len = number >= 0, .data = &byte};
	send_request(stream, 0, "Fetch", &request.base, 0);
	return next_status(stream);
}

static int make_file(void)
{
	int fd = sys_memfd("test", 0);

	CU_ASSERT_EQUAL(write(fd, "hello world", 11), 11);
	CU_ASSERT_EQUAL(lseek(fd, 6, SEEK_SET), 6);
	return fd;
}

void test_a_number_is_taken_from_the_client(void)
{
	char text[8] = "";
	int file;

	open_peer(methods, array_size(methods));
	file = make_file();
	CU_ASSERT_EQUAL(fetch(1, file), 0);
	CU_ASSERT_EQUAL(read(fetched, text, sizeof(text)), 5);
	CU_ASSERT_EQUAL(lseek(file, 0, SEEK_CUR), 11); /* one description, one position */
	fd_close(&fetched);
	close(file);
	CU_ASSERT_EQUAL(fetch(3, file), STATUS_INVALID_ARGUMENT);
	CU_ASSERT_EQUAL(fetch(5, -1), STATUS_INVALID_ARGUMENT);
	fake_fail("pidfd_getfd", EMFILE, 0, 1);
	CU_ASSERT_EQUAL(fetch(7, 0), STATUS_RESOURCE_EXHAUSTED);
	close_peer();
	fake_reset();
}

void test_where_that_is_forbidden_it_is_opened_again(void)
{
	char text[8] = "";
	int file, pipes[2];

	open_peer(methods, array_size(methods));
	fake_fail("pidfd_getfd", EPERM, 0, 100);
	file = make_file();
	CU_ASSERT_EQUAL(fcntl(file, F_SETFL, O_APPEND), 0);
	CU_ASSERT_EQUAL(fetch(1, file), 0);
	CU_ASSERT_EQUAL(fcntl(fetched, F_GETFL) & (O_ACCMODE | O_APPEND | O_NONBLOCK), O_RDWR | O_APPEND);
	CU_ASSERT_EQUAL(read(fetched, text, sizeof(text)), 5);
	CU_ASSERT_EQUAL(memcmp(text, "world", 5), 0);
	CU_ASSERT_EQUAL(lseek(file, 0, SEEK_CUR), 6);
	fd_close(&fetched);
	close(file);
	CU_ASSERT_EQUAL(sys_pipe(pipes, 0), 0);
	CU_ASSERT_EQUAL(fetch(3, pipes[1]), 0);
	CU_ASSERT_EQUAL(write(fetched, "x", 1), 1);
	CU_ASSERT_EQUAL(read(pipes[0], text, sizeof(text)), 1);
	fd_close(&fetched);
	close(pipes[0]);
	close(pipes[1]);
	CU_ASSERT_EQUAL(fetch(5, conn_fd(client)), STATUS_FAILED_PRECONDITION); /* a socket has no second door */
	CU_ASSERT_EQUAL(fetch(7, 250), STATUS_INVALID_ARGUMENT);
	fake_fail("open", EMFILE, 0, 1);
	CU_ASSERT_EQUAL(fetch(9, 0), STATUS_RESOURCE_EXHAUSTED);
	close_peer();
	fake_reset();
}

/* A connection that a child made, whose socket is ours; the child lives until *hold is closed. */
static pid_t connect_by_child(int *server_fd, int *client_fd, int *hold)
{
	struct sockaddr_un name = {.sun_family = AF_UNIX};
	socklen_t size = sizeof(name);
	int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), pipes[2];
	pid_t pid;

	CU_ASSERT_EQUAL(bind(listener, (struct sockaddr *)&name, sizeof(sa_family_t)), 0); /* a name of the kernel's choice */
	CU_ASSERT_EQUAL(listen(listener, 1), 0);
	CU_ASSERT_EQUAL(getsockname(listener, (struct sockaddr *)&name, &size), 0);
	CU_ASSERT_EQUAL(sys_pipe(pipes, 0), 0);
	*client_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	pid = fork();
	if (pid == 0) {
		char byte;

		close(pipes[1]);
		if (connect(*client_fd, (struct sockaddr *)&name, size) == 0)
			(void)!read(pipes[0], &byte, 1);
		_exit(0);
	}
	close(pipes[0]);
	*hold = pipes[1];
	*server_fd = accept(listener, NULL, NULL);
	close(listener);
	return pid;
}

void test_a_client_that_has_ended_has_no_descriptors(void)
{
	int server_fd, client_fd, hold;
	pid_t pid = connect_by_child(&server_fd, &client_fd, &hold);

	open_peer_on(methods, array_size(methods), server_fd, client_fd);
	CU_ASSERT_EQUAL(peer_pid(peer), pid);
	close(hold);
	CU_ASSERT_EQUAL(waitpid(pid, NULL, 0), pid);
	fake_fail("pidfd_getfd", ESRCH, 0, 1);
	CU_ASSERT_EQUAL(fetch(1, 0), STATUS_FAILED_PRECONDITION);
	fake_fail("pidfd_getfd", EPERM, 0, 1);
	CU_ASSERT_EQUAL(fetch(3, 0), STATUS_FAILED_PRECONDITION);
	close_peer();
	fake_reset();
}

/* A Take request with two descriptors along. */
static void send_take(uint32_t stream, const char *indexes, const int *fds, size_t count)
{
	Spawnd__V1__PingRequest ping = SPAWND__V1__PING_REQUEST__INIT;
	Ttrpc__Request request = TTRPC__REQUEST__INIT;
	uint8_t bytes[128], inner[32];
	struct frame_header header = {.stream_id = stream, .type = FRAME_REQUEST};
	struct iovec iov = {.iov_base = bytes};

	ping.payload = (ProtobufCBinaryData){.len = 2, .data = (uint8_t *)indexes};
	request.service = (char *)"t";
	request.method = (char *)"Take";
	request.payload = (ProtobufCBinaryData){.len = spawnd__v1__ping_request__pack(&ping, inner), .data = inner};
	iov.iov_len = ttrpc__request__pack(&request, bytes);
	header.length = (uint32_t)iov.iov_len;
	conn_put(client, &header, &iov, 1, fds, count);
}

void test_descriptors_that_came_along_are_taken_once(void)
{
	int pipes[2];
	char byte;

	open_peer(methods, array_size(methods));
	CU_ASSERT_EQUAL(sys_pipe(pipes, 0), 0);
	taken[0] = taken[1] = -1;
	send_take(1, "\x01\x00", pipes, 2);
	CU_ASSERT_EQUAL(next_status(1), 0);
	CU_ASSERT_EQUAL(write(taken[0], "x", 1), 1);
	CU_ASSERT_EQUAL(read(taken[1], &byte, 1), 1);
	fd_close(&taken[0]);
	fd_close(&taken[1]);
	send_take(3, "\x00\x00", pipes, 2);
	CU_ASSERT_EQUAL(next_status(3), STATUS_INVALID_ARGUMENT);
	fd_close(&taken[0]);
	send_take(5, "\x00\x01", pipes, 1);
	CU_ASSERT_EQUAL(next_status(5), STATUS_INVALID_ARGUMENT);
	fd_close(&taken[0]);
	close(pipes[1]);
	CU_ASSERT_EQUAL(read(pipes[0], &byte, 1), 0); /* nobody holds what was not taken */
	close(pipes[0]);
	close_peer();
}
