/* SPDX-License-Identifier: Apache-2.0 */
/* Host names and authorities: one canonical form, every second reading refused. */
#include "base/base.h"

#include <setjmp.h>
#include <cmocka.h>

static struct name must(const char *s)
{
	struct name n;
	const char *why = "";

	if (name_parse(s, strlen(s), &n, &why) < 0)
		fail_msg("%s refused: %s", s, why);
	return n;
}

/* Parity: p1.5-canonical. */
static void test_canonical(void **state)
{
	(void)state;
	assert_string_equal(must("API.GitHub.com").s, "api.github.com");
	assert_string_equal(must("example.com.").s, "example.com");
	assert_string_equal(must("_dmarc.a-b.c0").s, "_dmarc.a-b.c0");
	assert_string_equal(must("localhost").s, "localhost");
	assert_string_equal(must("xn--bcher-kva.example").s, "xn--bcher-kva.example");
}

static void test_refuse(void **state)
{
	static const struct {
		const char *s;
		size_t len;
	} bad[] = {
#define B(x) { x, sizeof(x) - 1 }
		B(""),		B("."),
		B("a..b"),	B(".a"),
		B("a.."),	B("-a.com"),
		B("a-.com"),	B("a b.com"),
		B("a\0.com"),	B("good.com\0.evil"),
		B("a\n.com"),	B("b\xc3\xbc.com"),
		B("a/b"),	B("u@h.com"),
		B("h.com:80"),	B("[::1]"),
		B("1.2.3.4"),	B("0x7f.1"),
		B("127.1"),	B("017700000001"),
		B("foo.0x1"),	B("foo.123"),
		B("*.a.com"),	B("a%2e.com"),
		B("a\x7f.com"), B("a\\b.com"),
	};
	struct name n;
	char label[70], longname[300];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		if (name_parse(bad[i].s, bad[i].len, &n, NULL) == 0)
			fail_msg("case %zu (%s) accepted", i, bad[i].s);
	memset(label, 'a', 64);
	assert_int_equal(name_parse(label, 64, &n, NULL), -EINVAL);
	assert_int_equal(name_parse(label, 63, &n, NULL), 0);
	for (size_t i = 0; i < sizeof(longname); i++)
		longname[i] = i % 2 ? '.' : 'a';
	assert_int_equal(name_parse(longname, 253, &n, NULL), 0);
	assert_int_equal(name_parse(longname, 255, &n, NULL), -EINVAL);
}

static void test_suffix(void **state)
{
	struct name apex = must("example.com"), below = must("a.b.example.com");
	struct name near_miss = must("evilexample.com");

	(void)state;
	assert_true(name_in_suffix(&apex, &apex, true));
	assert_false(name_in_suffix(&apex, &apex, false));
	assert_true(name_in_suffix(&below, &apex, false));
	assert_false(name_in_suffix(&near_miss, &apex, true));
	assert_int_equal(name_labels(&below), 4);
}

static void test_authority(void **state)
{
	struct authority a;

	(void)state;
	assert_int_equal(authority_parse("Ex.com:8443", 11, &a, NULL), 0);
	assert_false(a.is_addr);
	assert_string_equal(a.name.s, "ex.com");
	assert_int_equal(a.port, 8443);
	assert_int_equal(authority_parse("[::1]:1", 7, &a, NULL), 0);
	assert_true(a.is_addr);
	assert_int_equal(authority_parse("1.2.3.4", 7, &a, NULL), 0);
	assert_true(a.is_addr);
	assert_int_equal(a.port, 0);
	assert_int_equal(authority_parse("127.1", 5, &a, NULL), -EINVAL);
	assert_int_equal(authority_parse("u@h", 3, &a, NULL), -EINVAL);
	assert_int_equal(authority_parse("h:", 2, &a, NULL), -EINVAL);
	assert_int_equal(authority_parse("h:1:2", 5, &a, NULL), -EINVAL);
	assert_int_equal(authority_parse("::1", 3, &a, NULL), -EINVAL);
	assert_int_equal(authority_parse("", 0, &a, NULL), -EINVAL);
}

static void test_suggest(void **state)
{
	static const char *const words[] = { "allow", "deny", "metadata" };

	(void)state;
	assert_string_equal(str_suggest("alow", words, 3), "allow");
	assert_string_equal(str_suggest("metdata", words, 3), "metadata");
	assert_null(str_suggest("xyz", words, 3));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_canonical), cmocka_unit_test(test_refuse),
		cmocka_unit_test(test_suffix),	  cmocka_unit_test(test_authority),
		cmocka_unit_test(test_suggest),
	};

	return cmocka_run_group_tests_name("name", tests, NULL, NULL);
}
