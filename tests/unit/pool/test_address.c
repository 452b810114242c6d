/* Where a pool listens, as people write it. */
#include <CUnit/CUnit.h>
#include <string.h>

#include "pool/address.h"

static const char *field_of(const char *text)
{
	static struct err err;
	struct address address;

	memset(&err, 0, sizeof(err));
	return address_parse(text, "f", &address, &err) < 0 ? err.field : "";
}

static struct address parse(const char *text)
{
	struct address address;

	CU_ASSERT_EQUAL_FATAL(address_parse(text, "f", &address, NULL), 0);
	return address;
}

void test_addresses_of_all_kinds(void)
{
	CU_ASSERT_EQUAL(parse("tcp://127.0.0.1:80").family, AF_INET);
	CU_ASSERT_EQUAL(parse("tcp://localhost:80").family, AF_INET);
	CU_ASSERT_EQUAL(parse("tcp://[::1]:80").family, AF_INET6);
	CU_ASSERT_TRUE(parse("tcp://*:0").any);
	CU_ASSERT_EQUAL(parse("udp://127.0.0.1:80").type, SOCK_DGRAM);
	CU_ASSERT_STRING_EQUAL(parse("unix:/run/s").path, "/run/s");
	CU_ASSERT_STRING_EQUAL(parse("unix:///run/s").path, "/run/s");
}

void test_what_is_no_address(void)
{
	static const char *const wrong[] = {"", "80", "tcp://", "tcp://127.0.0.1", "tcp://127.0.0.1:65536", "tcp://127.0.0.1:-1",
		"tcp://127.0.0.1:8x", "tcp://::1:80", "tcp://example.org:80", "unix:relative", "unix:/dir/", "http://127.0.0.1:80"};

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		CU_ASSERT_STRING_EQUAL(field_of(wrong[i]), "f");
}
