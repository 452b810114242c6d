/* What people type, made into numbers: every form that the manual names, and what must be refused. */
#include "value.h"

#include <CUnit/CUnit.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

static uint64_t duration(const char *text)
{
	struct why why;
	uint64_t ms;

	return value_duration_ms(text, &ms, &why) ? ms : UINT64_MAX;
}

void test_durations(void)
{
	CU_ASSERT_EQUAL(duration("500ms"), 500);
	CU_ASSERT_EQUAL(duration("2s"), 2000);
	CU_ASSERT_EQUAL(duration("2"), 2000);
	CU_ASSERT_EQUAL(duration("0.25"), 250);
	CU_ASSERT_EQUAL(duration("1.5m"), 90000);
	CU_ASSERT_EQUAL(duration("1h"), 3600000);
	CU_ASSERT_EQUAL(duration("2d"), 172800000);
	CU_ASSERT_EQUAL(duration("0"), 0);
	CU_ASSERT_EQUAL(duration(""), UINT64_MAX);
	CU_ASSERT_EQUAL(duration("-1s"), UINT64_MAX);
	CU_ASSERT_EQUAL(duration("1.2.3s"), UINT64_MAX);
	CU_ASSERT_EQUAL(duration("1 s"), UINT64_MAX);
	CU_ASSERT_EQUAL(duration("1y"), UINT64_MAX);
	CU_ASSERT_EQUAL(duration("nan"), UINT64_MAX);
	CU_ASSERT_EQUAL(duration("99999999999999999999h"), UINT64_MAX);
}

static uint64_t size_of(const char *text)
{
	struct why why;
	uint64_t bytes;

	return value_size(text, &bytes, &why) ? bytes : UINT64_MAX;
}

void test_sizes(void)
{
	CU_ASSERT_EQUAL(size_of("64K"), 65536);
	CU_ASSERT_EQUAL(size_of("1M"), 1048576);
	CU_ASSERT_EQUAL(size_of("1g"), 1073741824);
	CU_ASSERT_EQUAL(size_of("1.5k"), 1536);
	CU_ASSERT_EQUAL(size_of("10MiB"), 10485760);
	CU_ASSERT_EQUAL(size_of("17"), 17);
	CU_ASSERT_EQUAL(size_of("17q"), UINT64_MAX);
	CU_ASSERT_EQUAL(size_of("-1"), UINT64_MAX);
	CU_ASSERT_EQUAL(size_of("99999999999T"), UINT64_MAX);
}

static int signal_of(const char *text)
{
	struct why why;
	int signal;

	return value_signal(text, &signal, &why) ? signal : -1;
}

void test_signals(void)
{
	CU_ASSERT_EQUAL(signal_of("TERM"), SIGTERM);
	CU_ASSERT_EQUAL(signal_of("SIGTERM"), SIGTERM);
	CU_ASSERT_EQUAL(signal_of("sigkill"), SIGKILL);
	CU_ASSERT_EQUAL(signal_of("9"), SIGKILL);
	CU_ASSERT_EQUAL(signal_of("0"), 0);
	CU_ASSERT_EQUAL(signal_of("RTMIN+1"), SIGRTMIN + 1);
	CU_ASSERT_EQUAL(signal_of("SIGRTMAX"), SIGRTMAX);
	CU_ASSERT_EQUAL(signal_of("RTMIN+99"), -1);
	CU_ASSERT_EQUAL(signal_of("99"), -1);
	CU_ASSERT_EQUAL(signal_of("NOPE"), -1);
	CU_ASSERT_EQUAL(signal_of(""), -1);
	CU_ASSERT_STRING_EQUAL(value_signal_name(SIGINT), "INT");
	CU_ASSERT_STRING_EQUAL(value_signal_name(SIGRTMIN + 2), "RTMIN+2");
	CU_ASSERT_STRING_EQUAL(value_signal_name(0), "0");
}

#define NOW 1700000000000000000

static int64_t time_of(const char *text)
{
	struct why why;
	int64_t ns;

	return value_time_ns(text, NOW, &ns, &why) ? ns : -1;
}

void test_times(void)
{
	CU_ASSERT_EQUAL(time_of("1970-01-02T00:00:00Z"), 86400000000000);
	CU_ASSERT_EQUAL(time_of("1970-01-02"), 86400000000000);
	CU_ASSERT_EQUAL(time_of("1970-01-02T00:00:00.000000001Z"), 86400000000001);
	CU_ASSERT_EQUAL(time_of("1970-01-02T02:30:00.5+02:30"), 86400500000000);
	CU_ASSERT_EQUAL(time_of("@1700000000.25"), 1700000000250000000);
	CU_ASSERT_EQUAL(time_of("10s"), NOW - 10000000000);
	CU_ASSERT_EQUAL(time_of("1970-01-02T00:00:00Zjunk"), -1);
	CU_ASSERT_EQUAL(time_of("1970-13-02"), -1);
	CU_ASSERT_EQUAL(time_of("@x"), -1);
	CU_ASSERT_EQUAL(time_of("-5s"), -1);
	CU_ASSERT_EQUAL(time_of("yesterday"), -1);
}

void test_slot_offset(void)
{
	uint32_t slot;
	uint64_t offset;

	CU_ASSERT_TRUE(value_slot_offset("1:4096", &slot, &offset));
	CU_ASSERT_EQUAL(slot, 1);
	CU_ASSERT_EQUAL(offset, 4096);
	CU_ASSERT_FALSE(value_slot_offset("256:0", &slot, &offset));
	CU_ASSERT_FALSE(value_slot_offset("1:", &slot, &offset));
	CU_ASSERT_FALSE(value_slot_offset("1:-4", &slot, &offset));
	CU_ASSERT_FALSE(value_slot_offset("10m", &slot, &offset));
	CU_ASSERT_FALSE(value_slot_offset("1:99999999999999999999", &slot, &offset));
}

void test_stdio(void)
{
	struct stdio_value value;
	struct why why;

	CU_ASSERT_TRUE(value_stdio("3=pipe", &value, &why));
	CU_ASSERT(value.slot == 3 && value.kind == STDIO_PIPE);
	CU_ASSERT_TRUE(value_stdio("2=inherit", &value, &why));
	CU_ASSERT(value.kind == STDIO_INHERIT && value.fd == 2);
	CU_ASSERT_TRUE(value_stdio("4=fd:7", &value, &why));
	CU_ASSERT(value.kind == STDIO_FD && value.fd == 7);
	CU_ASSERT_TRUE(value_stdio("2=same:1", &value, &why));
	CU_ASSERT(value.kind == STDIO_SAME && value.same == 1);
	CU_ASSERT_TRUE(value_stdio("0=none", &value, &why));
	CU_ASSERT_EQUAL(value.kind, STDIO_NONE);
	CU_ASSERT_TRUE(value_stdio("1=file:/tmp/a,b,append", &value, &why));
	CU_ASSERT(value.kind == STDIO_FILE && value.mode == STDIO_MODE_APPEND);
	CU_ASSERT_STRING_EQUAL(value.path, "/tmp/a,b");
	free(value.path);
	CU_ASSERT_TRUE(value_stdio("1=file:a,b", &value, &why));
	CU_ASSERT_EQUAL(value.mode, STDIO_MODE_DEFAULT);
	CU_ASSERT_STRING_EQUAL(value.path, "a,b");
	free(value.path);
	CU_ASSERT_FALSE(value_stdio("1=file:", &value, &why));
	CU_ASSERT_FALSE(value_stdio("256=pipe", &value, &why));
	CU_ASSERT_FALSE(value_stdio("pipe", &value, &why));
	CU_ASSERT_FALSE(value_stdio("1=ipc", &value, &why));
	CU_ASSERT_FALSE(value_stdio("1=fd:x", &value, &why));
}

void test_rlimits(void)
{
	struct rlimit_value value;
	struct why why;

	CU_ASSERT_TRUE(value_rlimit("nofile=10:20", &value, &why));
	CU_ASSERT_STRING_EQUAL(value.name, "nofile");
	CU_ASSERT(value.soft == 10 && value.hard == 20);
	CU_ASSERT_TRUE(value_rlimit("core=0", &value, &why));
	CU_ASSERT(value.soft == 0 && value.hard == 0);
	CU_ASSERT_TRUE(value_rlimit("as=1G:unlimited", &value, &why));
	CU_ASSERT(value.soft == 1073741824 && value.hard == VALUE_UNLIMITED);
	CU_ASSERT_FALSE(value_rlimit("nofile", &value, &why));
	CU_ASSERT_FALSE(value_rlimit("nofile=", &value, &why));
	CU_ASSERT_FALSE(value_rlimit("nofile=1:", &value, &why));
}

void test_ids_and_masks(void)
{
	struct why why;
	uint32_t number;

	CU_ASSERT_TRUE(value_umask("027", &number, &why));
	CU_ASSERT_EQUAL(number, 027);
	CU_ASSERT_FALSE(value_umask("888", &number, &why));
	CU_ASSERT_FALSE(value_umask("1777", &number, &why));
	CU_ASSERT_TRUE(value_uid("1000", &number, &why));
	CU_ASSERT_EQUAL(number, 1000);
	CU_ASSERT_TRUE(value_uid("root", &number, &why));
	CU_ASSERT_EQUAL(number, 0);
	CU_ASSERT_FALSE(value_uid("no-such-user", &number, &why));
	CU_ASSERT_FALSE(value_gid("-1", &number, &why));
	CU_ASSERT_FALSE(value_gid("4294967295", &number, &why));
}
