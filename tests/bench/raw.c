/*
 * The yardstick: what the kernel gives a plain C loop, without spawnd. Each verb prints one number.
 *
 *   raw spawn COUNT FLIGHT    /bin/true with three pipes, FLIGHT at once: spawns per second
 *   raw latency COUNT         the same one at a time: median microseconds from clone to the end of its pipes
 *   raw pipe BYTES CHUNK      a child writes BYTES, CHUNK at a time, into a default pipe: bytes per second
 *   raw write BYTES CHUNK     the writer itself, to stdout
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

struct job {
	pid_t pid;
	int in, out, err;
};

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

/* The child of a vfork-style clone: puts its ends in place and becomes /bin/true. */
static int become_true(void *arg)
{
	int *ends = arg;
	char *argv[] = {(char *)"true", NULL};

	dup2(ends[0], 0);
	dup2(ends[1], 1);
	dup2(ends[2], 2);
	execve("/bin/true", argv, environ);
	_exit(127);
}

/* Starts one /bin/true with three pipes. */
static void start(struct job *job)
{
	static char stack[65536] __attribute__((aligned(16)));
	int in[2], out[2], err[2], ends[3];

	if (pipe2(in, O_CLOEXEC) < 0 || pipe2(out, O_CLOEXEC) < 0 || pipe2(err, O_CLOEXEC) < 0)
		fail("pipe2");
	ends[0] = in[0];
	ends[1] = out[1];
	ends[2] = err[1];
	job->pid = clone(become_true, stack + sizeof(stack), CLONE_VM | CLONE_VFORK | SIGCHLD, ends);
	if (job->pid < 0)
		fail("clone");
	close(in[0]);
	close(out[1]);
	close(err[1]);
	job->in = in[1];
	job->out = out[0];
	job->err = err[0];
}

/* Waits for any child to end and for the end of its pipes; returns its place. */
static int finish(struct job *jobs, int flight)
{
	pid_t pid = waitpid(-1, NULL, 0);
	char byte;

	for (int i = 0; i < flight; i++) {
		if (jobs[i].pid != pid)
			continue;
		if (read(jobs[i].out, &byte, 1) != 0 || read(jobs[i].err, &byte, 1) != 0)
			fail("read");
		close(jobs[i].in);
		close(jobs[i].out);
		close(jobs[i].err);
		jobs[i].pid = 0;
		return i;
	}
	fail("waitpid");
	return -1;
}

static void spawn_rate(int count, int flight)
{
	struct job *jobs = calloc((size_t)flight, sizeof(*jobs));
	double begin = now();
	int started = 0;

	for (; started < flight && started < count; started++)
		start(&jobs[started]);
	for (int done = 0; done < count; done++) {
		int place = finish(jobs, flight);

		if (started++ < count)
			start(&jobs[place]);
	}
	printf("%f\n", count / (now() - begin));
	free(jobs);
}

static int by_value(const void *a, const void *b)
{
	double left = *(const double *)a, right = *(const double *)b;

	return (left > right) - (left < right);
}

static void spawn_latency(int count)
{
	double *times = calloc((size_t)count, sizeof(*times));
	struct job job;

	for (int i = 0; i < count; i++) {
		double begin = now();

		start(&job);
		finish(&job, 1);
		times[i] = (now() - begin) * 1e6;
	}
	qsort(times, (size_t)count, sizeof(*times), by_value);
	printf("%f\n", times[count / 2]);
	free(times);
}

static void write_all(size_t bytes, size_t chunk)
{
	char *block = calloc(1, chunk);

	memset(block, 'x', chunk);
	block[chunk - 1] = '\n';
	while (bytes) {
		size_t size = bytes < chunk ? bytes : chunk;
		ssize_t done = write(1, block, size);

		if (done < 0)
			fail("write");
		bytes -= (size_t)done;
	}
	free(block);
}

static void pipe_rate(size_t bytes, size_t chunk)
{
	static char block[65536];
	int fds[2];
	size_t got = 0;
	ssize_t done;
	double begin;

	if (pipe(fds) < 0)
		fail("pipe");
	begin = now();
	if (fork() == 0) {
		dup2(fds[1], 1);
		close(fds[0]);
		close(fds[1]);
		write_all(bytes, chunk);
		_exit(0);
	}
	close(fds[1]);
	while ((done = read(fds[0], block, sizeof(block))) > 0)
		got += (size_t)done;
	wait(NULL);
	printf("%f\n", (double)got / (now() - begin));
}

int main(int argc, char **argv)
{
	if (argc == 4 && strcmp(argv[1], "spawn") == 0)
		spawn_rate(atoi(argv[2]), atoi(argv[3]));
	else if (argc == 3 && strcmp(argv[1], "latency") == 0)
		spawn_latency(atoi(argv[2]));
	else if (argc == 4 && strcmp(argv[1], "pipe") == 0)
		pipe_rate(strtoull(argv[2], NULL, 10), strtoull(argv[3], NULL, 10));
	else if (argc == 4 && strcmp(argv[1], "write") == 0)
		write_all(strtoull(argv[2], NULL, 10), strtoull(argv[3], NULL, 10));
	else
		return fprintf(stderr, "usage: raw spawn|latency|pipe|write ...\n"), 2;
	return 0;
}
