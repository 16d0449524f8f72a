/* SPDX-License-Identifier: Apache-2.0 */
/* Addresses: what is accepted, what is refused, and that text survives a round trip. */
#include "base/base.h"

#include <setjmp.h>
#include <stdio.h>
#include <cmocka.h>

static void accepts(const char *in, const char *canonical)
{
	struct ip_addr a;
	const char *why = "";
	char out[IP_STRLEN];

	if (ip_parse(in, strlen(in), &a, &why) < 0)
		fail_msg("%s refused: %s", in, why);
	assert_string_equal(ip_format(&a, out), canonical);
}

static void refuses(const char *in)
{
	struct ip_addr a = { .family = 99 };
	const char *why = NULL;

	if (ip_parse(in, strlen(in), &a, &why) == 0)
		fail_msg("%s accepted", in);
	assert_non_null(why);
	assert_int_equal(a.family, 99);
}

static void test_accept(void **state)
{
	(void)state;
	accepts("0.0.0.0", "0.0.0.0");
	accepts("255.255.255.255", "255.255.255.255");
	accepts("::", "::");
	accepts("::1", "::1");
	accepts("2001:DB8::1", "2001:db8::1");
	accepts("1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7:8");
	accepts("1:0:0:2:0:0:0:3", "1:0:0:2::3");
	accepts("0:0:1::", "0:0:1::");
	accepts("1::8", "1::8");
	accepts("::ffff:1.2.3.4", "::ffff:1.2.3.4");
	accepts("64:ff9b::1.2.3.4", "64:ff9b::102:304");
	accepts("1:2:3:4:5:6:7::", "1:2:3:4:5:6:7:0");
}

static void test_refuse(void **state)
{
	static const char *const bad[] = {
		"",
		"0x7f.1",
		"127.1",
		"017700000001",
		"2130706433",
		"1.2.3",
		"1.2.3.4.5",
		"1.2.3.256",
		"01.2.3.4",
		"1.2.3.4 ",
		" 1.2.3.4",
		"1..3.4",
		"1.2.3.",
		"+1.2.3.4",
		"fe80::1%eth0",
		":::",
		"1::2::3",
		"1:2:3:4:5:6:7",
		"1:2:3:4:5:6:7:8:9",
		"12345::",
		":1::",
		"1:",
		"::1.2.3",
		"1:2:3:4:5:6:7:1.2.3.4",
		"::g",
		"[::1]",
		"1.2.3.4::",
		"::1.2.3.4:5",
		"0x7f000001",
		"1.2.3.0x4",
	};
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		refuses(bad[i]);
}

static void test_prefix(void **state)
{
	struct ip_prefix p;
	struct ip_addr a;
	const char *why;

	(void)state;
	assert_int_equal(ip_prefix_parse("10.0.0.0/8", 10, &p, &why), 0);
	assert_int_equal(ip_parse("10.255.0.1", 10, &a, NULL), 0);
	assert_true(ip_in_prefix(&a, &p));
	assert_int_equal(ip_parse("11.0.0.0", 8, &a, NULL), 0);
	assert_false(ip_in_prefix(&a, &p));
	assert_int_equal(ip_prefix_parse("10.0.0.1/8", 10, &p, &why), -EINVAL);
	assert_int_equal(ip_prefix_parse("10.0.0.0/33", 11, &p, &why), -EINVAL);
	assert_int_equal(ip_prefix_parse("10.0.0.0/08", 11, &p, &why), -EINVAL);
	assert_int_equal(ip_prefix_parse("10.0.0.0", 8, &p, &why), -EINVAL);
	assert_int_equal(ip_prefix_parse("fc00::/7", 8, &p, &why), 0);
	assert_int_equal(ip_parse("fdff::1", 7, &a, NULL), 0);
	assert_true(ip_in_prefix(&a, &p));
	assert_int_equal(ip_prefix_parse("::/0", 4, &p, &why), 0);
	assert_true(ip_in_prefix(&a, &p));
}

static void test_endpoint(void **state)
{
	struct endpoint e;
	char out[ENDPOINT_STRLEN];

	(void)state;
	assert_int_equal(endpoint_parse("1.2.3.4:53", 10, 1, &e, NULL), 0);
	assert_string_equal(endpoint_format(&e, out), "1.2.3.4:53");
	assert_int_equal(endpoint_parse("1.2.3.4", 7, 53, &e, NULL), 0);
	assert_int_equal(e.port, 53);
	assert_int_equal(endpoint_parse("[::1]:5", 7, 53, &e, NULL), 0);
	assert_string_equal(endpoint_format(&e, out), "[::1]:5");
	assert_int_equal(endpoint_parse("::1", 3, 53, &e, NULL), 0);
	assert_string_equal(endpoint_format(&e, out), "[::1]:53");
	assert_int_equal(endpoint_parse("[1.2.3.4]:5", 11, 53, &e, NULL), -EINVAL);
	assert_int_equal(endpoint_parse("1.2.3.4:", 8, 53, &e, NULL), -EINVAL);
	assert_int_equal(endpoint_parse("1.2.3.4:65536", 13, 53, &e, NULL), -EINVAL);
	assert_int_equal(endpoint_parse("[::1]x", 6, 53, &e, NULL), -EINVAL);
}

static void test_ports(void **state)
{
	struct port_range r;
	uint16_t p;

	(void)state;
	assert_int_equal(port_parse("65535", 5, &p, NULL), 0);
	assert_int_equal(p, 65535);
	assert_int_equal(port_parse("0", 1, &p, NULL), -EINVAL);
	assert_int_equal(port_parse("080", 3, &p, NULL), -EINVAL);
	assert_int_equal(port_parse("+80", 3, &p, NULL), -EINVAL);
	assert_int_equal(port_parse("8\0"
				    "0",
				    3, &p, NULL),
			 -EINVAL);
	assert_int_equal(port_range_parse("1-1024", 6, &r, NULL), 0);
	assert_int_equal(r.hi, 1024);
	assert_int_equal(port_range_parse("2-1", 3, &r, NULL), -EINVAL);
	assert_int_equal(port_range_parse("1-", 2, &r, NULL), -EINVAL);
	assert_int_equal(port_range_parse("1-2-3", 5, &r, NULL), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_accept), cmocka_unit_test(test_refuse),
		cmocka_unit_test(test_prefix), cmocka_unit_test(test_endpoint),
		cmocka_unit_test(test_ports),
	};

	return cmocka_run_group_tests_name("ip", tests, NULL, NULL);
}
