/* What a request may not say, what is filled in, and what is shared. */
#include <signal.h>
#include <sys/resource.h>

#include "process/child_fixture.h"

static struct spec_context context = {.cwd = "/tmp", .uid = 1000, .gid = 1000, .daemon_uid = 1000};

/* Compiles and gives the field that was refused, "" when none was. */
static const char *field_of(const struct request *request, enum spec_use use)
{
	static struct err err;
	struct spec *spec = NULL;

	memset(&err, 0, sizeof(err));
	if (spec_compile(&request->spec, &context, use, &spec, &err) < 0) {
		CU_ASSERT_EQUAL(err.status, STATUS_INVALID_ARGUMENT);
		return err.field;
	}
	spec_unref(spec);
	return "";
}

#define REFUSED(field, ...)                                                                                                                \
	do {                                                                                                                               \
		struct request request = {0};                                                                                              \
		request_init(&request, "true");                                                                                            \
		__VA_ARGS__;                                                                                                               \
		CU_ASSERT_STRING_EQUAL(field_of(&request, SPEC_SPAWN), field);                                                             \
	} while (0)

static struct spec *compile(const struct request *request, enum spec_use use)
{
	struct spec *spec = NULL;
	struct err err = {0};

	spec_compile(&request->spec, &context, use, &spec, &err);
	if (!spec)
		fprintf(stderr, "%s\n", err.message);
	CU_ASSERT_FATAL(spec != NULL);
	return spec;
}

#define KIND(name) SPAWND__V1__STDIO__KIND__KIND_##name

void test_the_program_is_checked(void)
{
	REFUSED("", (void)0);
	REFUSED("spec.argv", request.spec.n_argv = 0);
	REFUSED("spec.argv[0]", request.argv[0].len = 0);
	REFUSED("spec.argv[2]", request.argv[2] = ((ProtobufCBinaryData){.len = 3, .data = (uint8_t *)"a\0b"}));
	REFUSED("spec.shell_command", request.spec.shell_command = bytes_of("x"));
	REFUSED("spec.shell", request.spec.shell = bytes_of("x"));
	REFUSED("spec.argv0", request.spec.argv0 = ((ProtobufCBinaryData){.len = 1, .data = (uint8_t *)"\0"}));
	REFUSED("spec.cwd", request.spec.cwd = bytes_of("relative"));
}

void test_names_and_labels_are_checked(void)
{
	Spawnd__V1__ProcessSpec__LabelsEntry label, other, *labels[] = {&label, &other};
	char long_name[130];

	memset(long_name, 'a', sizeof(long_name));
	long_name[129] = 0;
	spawnd__v1__process_spec__labels_entry__init(&label);
	spawnd__v1__process_spec__labels_entry__init(&other);
	label.key = other.key = TEXT("k");
	label.value = other.value = TEXT("v");
	REFUSED("", request.spec.name = TEXT("web-1:a.b@c_D"));
	REFUSED("spec.name", request.spec.name = TEXT("123"));
	REFUSED("spec.name", request.spec.name = TEXT("a b"));
	REFUSED("spec.name", request.spec.name = long_name);
	REFUSED("", request.spec.labels = labels, request.spec.n_labels = 1);
	REFUSED("spec.labels[\"k\"]", request.spec.labels = labels, request.spec.n_labels = 2);
	label.value = TEXT("\xff");
	REFUSED("spec.labels[\"k\"]", request.spec.labels = labels, request.spec.n_labels = 1);
	label.key = TEXT("");
	REFUSED("spec.labels[\"\"]", request.spec.labels = labels, request.spec.n_labels = 1);
}

void test_stdio_is_checked(void)
{
	Spawnd__V1__FileSpec file;
	Spawnd__V1__FdSpec fd;
	Spawnd__V1__Capture capture;

	spawnd__v1__file_spec__init(&file);
	spawnd__v1__fd_spec__init(&fd);
	spawnd__v1__capture__init(&capture);
	REFUSED("spec.stdio[0].slot", request_slot(&request, 256, KIND(PIPE)));
	REFUSED("spec.stdio[1].slot", request_slot(&request, 1, KIND(PIPE)), request_slot(&request, 1, KIND(PIPE)));
	REFUSED("spec.stdio[0].kind", request_slot(&request, 1, 99));
	REFUSED("spec.stdio[0].file", request_slot(&request, 1, KIND(FILE)));
	REFUSED("spec.stdio[0].file", request_slot(&request, 1, KIND(PIPE))->file = &file);
	REFUSED("spec.stdio[0].file.path", request_slot(&request, 1, KIND(FILE))->file = &file);
	REFUSED("spec.stdio[0].fd", request_slot(&request, 1, KIND(FD)));
	REFUSED("spec.stdio[0].fd", request_slot(&request, 1, KIND(FD))->fd = &fd);
	REFUSED("spec.stdio[0].direction", request_slot(&request, 1, KIND(NULL))->direction = 1);
	REFUSED("spec.stdio[0].same_as", request_slot(&request, 2, KIND(SAME))->same_as = 7);
	REFUSED("spec.stdio[0].same_as", request_slot(&request, 2, KIND(SAME))->same_as = 2);
	REFUSED("spec.stdio[0].same_as", request_slot(&request, 2, KIND(SAME))->same_as = 3,
		request_slot(&request, 3, KIND(SAME))->same_as = 2);
	REFUSED("spec.stdio[0].same_as", request_slot(&request, 2, KIND(PIPE))->same_as = 1);
	REFUSED("spec.stdio[0].capture", request_slot(&request, 0, KIND(PIPE))->capture = &capture);
	REFUSED("", request_slot(&request, 1, KIND(PIPE))->capture = &capture);
	REFUSED("", request_slot(&request, 2, KIND(SAME))->same_as = 1);
	capture.policy = 9;
	REFUSED("spec.stdio[0].capture.policy", request_slot(&request, 1, KIND(PIPE))->capture = &capture);
}

void test_contradictions_are_refused(void)
{
	Spawnd__V1__WindowSize window;
	Spawnd__V1__LogFile log;
	Spawnd__V1__Capture capture;

	spawnd__v1__window_size__init(&window);
	spawnd__v1__log_file__init(&log);
	spawnd__v1__capture__init(&capture);
	window.rows = window.columns = 10;
	REFUSED("spec.window", request.spec.window = &window);
	REFUSED("", request.spec.window = &window, request_slot(&request, 1, KIND(PTY)));
	window.rows = 0;
	REFUSED("spec.window.rows", request.spec.window = &window, request_slot(&request, 1, KIND(PTY)));
	REFUSED("spec.log_file.path", request.spec.log_file = &log);
	log.path = bytes_of("/tmp/x");
	log.keep = 3;
	REFUSED("spec.log_file.keep", request.spec.log_file = &log);
	log.keep = 0;
	REFUSED("spec.log_file", request.spec.log_file = &log, request.spec.transport = 3);
	REFUSED("spec.stdio[0].kind", request.spec.transport = 3, request_slot(&request, 1, KIND(PTY)));
	REFUSED("spec.stdio[0].capture", request.spec.transport = 3, request_slot(&request, 1, KIND(PIPE))->capture = &capture);
	REFUSED("spec.transport", request.spec.transport = 9);
	REFUSED("", request.spec.no_tree = true, request.spec.kill_scope = SPAWND__V1__KILL_SCOPE__KILL_SCOPE_TREE);
}

void test_numbers_are_bounded(void)
{
	Spawnd__V1__Rlimit limit, *limits[] = {&limit};

	spawnd__v1__rlimit__init(&limit);
	limit.name = TEXT("nofile");
	limit.soft = 10;
	limit.hard = 9;
	REFUSED("spec.rlimits[0]", request.spec.rlimits = limits, request.spec.n_rlimits = 1);
	limit.hard = 10;
	REFUSED("", request.spec.rlimits = limits, request.spec.n_rlimits = 1);
	limit.name = TEXT("nonsense");
	REFUSED("spec.rlimits[0].name", request.spec.rlimits = limits, request.spec.n_rlimits = 1);
	REFUSED("spec.umask", request.spec._umask_case = SPAWND__V1__PROCESS_SPEC___UMASK_UMASK, request.spec.umask = 01000);
	REFUSED("spec.nice", request.spec._nice_case = SPAWND__V1__PROCESS_SPEC___NICE_NICE, request.spec.nice = 20);
	REFUSED("spec.kill_signal", request.spec.kill_signal = 65);
	REFUSED("spec.kill_signal", request.spec.kill_signal = -1);
	REFUSED("spec.timeout_ms", request.spec.timeout_ms = UINT64_MAX);
	REFUSED("spec.grace_ms", request.spec._grace_ms_case = SPAWND__V1__PROCESS_SPEC___GRACE_MS_GRACE_MS,
		request.spec.grace_ms = UINT64_MAX);
	REFUSED("spec.retain_bytes", request.spec._retain_bytes_case = SPAWND__V1__PROCESS_SPEC___RETAIN_BYTES_RETAIN_BYTES,
		request.spec.retain_bytes = (UINT64_C(1) << 30) + 1);
	REFUSED("spec.on_disconnect", request.spec.on_disconnect = 9);
	REFUSED("spec.on_shutdown", request.spec.on_shutdown = 9);
	REFUSED("spec.kill_scope", request.spec.kill_scope = 9);
}

void test_environment_is_merged_in_order(void)
{
	static char *session[] = {TEXT("A=1"), TEXT("B=2"), TEXT("SPAWND_ID=of another"), TEXT("no equals"), TEXT("C=3"), NULL};
	ProtobufCBinaryData set[] = {bytes_of("B=two"), bytes_of("D=4"), bytes_of("B=zwei")}, unset[] = {bytes_of("C")};
	Spawnd__V1__Environment env;
	struct request request = {0};
	struct spec *spec;

	spawnd__v1__environment__init(&env);
	env.set = set;
	env.n_set = 3;
	env.unset = unset;
	env.n_unset = 1;
	request_init(&request, "true");
	request.spec.env = &env;
	context.env = session;
	spec = compile(&request, SPEC_SPAWN);
	CU_ASSERT_STRING_EQUAL(spec->env[0], "A=1");
	CU_ASSERT_STRING_EQUAL(spec->env[1], "B=zwei");
	CU_ASSERT_STRING_EQUAL(spec->env[2], "D=4");
	CU_ASSERT_PTR_NULL(spec->env[3]);
	CU_ASSERT(strstr(spec->search_path, "/bin") != NULL);
	spec_unref(spec);
	env.origin = SPAWND__V1__ENVIRONMENT__ORIGIN__ORIGIN_EMPTY;
	set[0] = bytes_of("PATH=/nowhere");
	spec = compile(&request, SPEC_SPAWN);
	CU_ASSERT_STRING_EQUAL(spec->env[0], "PATH=/nowhere");
	CU_ASSERT_STRING_EQUAL(spec->search_path, "/nowhere");
	spec_unref(spec);
	set[1] = bytes_of("=x");
	CU_ASSERT_STRING_EQUAL(field_of(&request, SPEC_SPAWN), "spec.env.set[1]");
	set[1] = bytes_of("x");
	CU_ASSERT_STRING_EQUAL(field_of(&request, SPEC_SPAWN), "spec.env.set[1]");
	set[1] = bytes_of("D=4");
	unset[0] = bytes_of("C=");
	CU_ASSERT_STRING_EQUAL(field_of(&request, SPEC_SPAWN), "spec.env.unset[0]");
	context.env = NULL;
}

void test_defaults_follow_the_method(void)
{
	struct request request = {0};
	struct spec *spec;

	request_init(&request, "true");
	spec = compile(&request, SPEC_SPAWN);
	CU_ASSERT_EQUAL(spec->slots[0].kind, SLOT_PIPE_IN);
	CU_ASSERT_EQUAL(spec->slots[1].kind, SLOT_PIPE_OUT);
	CU_ASSERT_EQUAL(spec->slots[2].capture_limit, 0);
	CU_ASSERT_EQUAL(spec->message->on_disconnect, SPAWND__V1__ON_DISCONNECT__ON_DISCONNECT_STOP);
	CU_ASSERT_EQUAL(spec->message->kill_scope, SPAWND__V1__KILL_SCOPE__KILL_SCOPE_TREE);
	CU_ASSERT_EQUAL(spec->kill_signal, SIGTERM);
	CU_ASSERT_EQUAL(spec->umask, 022);
	CU_ASSERT_STRING_EQUAL(spec->cwd, "/tmp");
	CU_ASSERT_FALSE(spec->set_ids);
	spec_unref(spec);
	spec = compile(&request, SPEC_RUN);
	CU_ASSERT_EQUAL(spec->slots[0].kind, SLOT_NULL);
	CU_ASSERT_EQUAL(spec->slots[2].capture_limit, 1 << 20);
	spec_unref(spec);
	spec = compile(&request, SPEC_START);
	CU_ASSERT_EQUAL(spec->message->on_disconnect, SPAWND__V1__ON_DISCONNECT__ON_DISCONNECT_KEEP);
	spec_unref(spec);
}

void test_shell_and_argv0(void)
{
	struct request request = {0};
	struct spec *spec;

	request_init(&request, "true");
	request.spec.argv0 = bytes_of("-sh");
	spec = compile(&request, SPEC_SPAWN);
	CU_ASSERT_STRING_EQUAL(spec->file, "/bin/sh");
	CU_ASSERT_STRING_EQUAL(spec->argv[0], "-sh");
	CU_ASSERT_STRING_EQUAL(spec->argv[2], "true");
	CU_ASSERT_EQUAL(spec->message->argv[0].len, 7);
	spec_unref(spec);
	request.spec.n_argv = 0;
	request.spec.argv0 = (ProtobufCBinaryData){0};
	request.spec.shell_command = bytes_of("a | b");
	spec = compile(&request, SPEC_SPAWN);
	CU_ASSERT_STRING_EQUAL(spec->file, "/bin/sh");
	CU_ASSERT_STRING_EQUAL(spec->argv[1], "-c");
	CU_ASSERT_STRING_EQUAL(spec->argv[2], "a | b");
	CU_ASSERT_PTR_NULL(spec->argv[3]);
	spec_unref(spec);
}

void test_ids_come_from_the_client_of_a_root_daemon(void)
{
	struct request request = {0};
	struct spec *spec;

	request_init(&request, "true");
	context.daemon_uid = 0;
	spec = compile(&request, SPEC_SPAWN);
	CU_ASSERT(spec->set_ids && spec->uid == 1000 && spec->gid == 1000);
	spec_unref(spec);
	request.spec._uid_case = SPAWND__V1__PROCESS_SPEC___UID_UID;
	request.spec.uid = 5;
	spec = compile(&request, SPEC_SPAWN);
	CU_ASSERT(spec->set_ids && spec->uid == 5 && spec->gid == 1000);
	spec_unref(spec);
	context.daemon_uid = 1000;
	spec = compile(&request, SPEC_SPAWN);
	CU_ASSERT_TRUE(spec->set_ids);
	spec_unref(spec);
	request.spec.uid = 1000;
	spec = compile(&request, SPEC_SPAWN);
	CU_ASSERT_FALSE(spec->set_ids);
	spec_unref(spec);
}

void test_session_limits_are_lowered_and_overridden(void)
{
	Spawnd__V1__Rlimit session, *sessions[] = {&session}, own, *owns[] = {&own};
	struct request request = {0};
	struct rlimit ours;
	struct spec *spec;

	getrlimit(RLIMIT_NOFILE, &ours);
	spawnd__v1__rlimit__init(&session);
	spawnd__v1__rlimit__init(&own);
	session.name = own.name = TEXT("nofile");
	session.soft = session.hard = UINT64_MAX;
	own.soft = own.hard = 77;
	context.rlimits = sessions;
	context.rlimit_count = 1;
	request_init(&request, "true");
	spec = compile(&request, SPEC_SPAWN);
	CU_ASSERT_EQUAL(spec->rlimit_count, 1);
	CU_ASSERT_EQUAL(spec->rlimits[0].hard, ours.rlim_max);
	spec_unref(spec);
	request.spec.rlimits = owns;
	request.spec.n_rlimits = 1;
	spec = compile(&request, SPEC_SPAWN);
	CU_ASSERT_EQUAL(spec->rlimit_count, 1);
	CU_ASSERT_EQUAL(spec->rlimits[0].hard, 77);
	spec_unref(spec);
	context.rlimit_count = 0;
}

void test_equal_specs_are_one(void)
{
	struct request request = {0}, other = {0};
	struct spec *a, *b, *c;

	request_init(&request, "true");
	request_init(&other, "false");
	a = compile(&request, SPEC_SPAWN);
	b = compile(&request, SPEC_SPAWN);
	c = compile(&other, SPEC_SPAWN);
	CU_ASSERT_PTR_EQUAL(a, b);
	CU_ASSERT_PTR_NOT_EQUAL(a, c);
	context.env = (char *[]){TEXT("X=1"), NULL};
	spec_unref(b);
	b = compile(&request, SPEC_SPAWN);
	CU_ASSERT_PTR_NOT_EQUAL(a, b);
	context.env = NULL;
	spec_unref(a);
	spec_unref(b);
	spec_unref(c);
}

/* The same request again is known by its bytes, but only of the same client and for the same use. */
void test_the_request_before_is_known_again(void)
{
	struct spec_recent recent = {0};
	struct spec *first, *second, *other;
	struct request request;

	context.recent = &recent;
	request_init(&request, "true");
	first = compile(&request, SPEC_SPAWN);
	second = compile(&request, SPEC_SPAWN);
	CU_ASSERT(first == second && recent.spec == first);
	CU_ASSERT_EQUAL(first->refs, 3);
	other = compile(&request, SPEC_START);
	CU_ASSERT(other != first && recent.spec == other);
	spec_unref(other);
	context.uid++;
	other = compile(&request, SPEC_START);
	CU_ASSERT_EQUAL(recent.uid, context.uid);
	context.uid--;
	spec_unref(other);
	request.argv[2] = bytes_of("false");
	other = compile(&request, SPEC_SPAWN);
	CU_ASSERT_STRING_EQUAL(other->argv[2], "false");
	request.spec.n_argv = 0;
	CU_ASSERT_STRING_EQUAL(field_of(&request, SPEC_SPAWN), "spec.argv");
	CU_ASSERT_PTR_EQUAL(recent.spec, other);
	spec_recent_finish(&recent);
	spec_unref(other);
	spec_unref(second);
	spec_unref(first);
	context.recent = NULL;
}

void test_specs_of_one_session_with_limits_are_one(void)
{
	Spawnd__V1__Rlimit session, *sessions[] = {&session};
	struct spec *first, *second;
	struct request request = {0};

	request_init(&request, "true");
	spawnd__v1__rlimit__init(&session);
	session.name = (char *)"nofile";
	session.soft = session.hard = 64;
	context.rlimits = sessions;
	context.rlimit_count = 1;
	first = compile(&request, SPEC_SPAWN);
	second = compile(&request, SPEC_SPAWN);
	CU_ASSERT_PTR_EQUAL(first, second);
	session.soft = 32;
	spec_unref(second);
	second = compile(&request, SPEC_SPAWN);
	CU_ASSERT_PTR_NOT_EQUAL(first, second);
	spec_unref(first);
	spec_unref(second);
	context.rlimits = NULL;
	context.rlimit_count = 0;
}

void test_a_terminal_has_one_output_and_one_input(void)
{
	struct request request = {0};
	struct spec *spec;

	request_init(&request, "true");
	request_slot(&request, 2, KIND(PTY));
	request_slot(&request, 0, KIND(PTY));
	request_slot(&request, 1, KIND(PTY));
	spec = compile(&request, SPEC_SPAWN);
	CU_ASSERT_EQUAL(spec_pty_slot(spec, true)->slot, 1);
	CU_ASSERT_EQUAL(spec_pty_slot(spec, false)->slot, 0);
	CU_ASSERT_EQUAL(spec->message->window->columns, 80);
	CU_ASSERT_FALSE(spec_is_output(spec, &spec->slots[2]));
	spec_unref(spec);
}
