/* SPDX-License-Identifier: Apache-2.0 */
/* The host of a first request: found, absent, not there yet, and never read past the end. */
#include "weir/host_hint.h"

#include <setjmp.h>
#include <cmocka.h>

static void test_hints(void **state)
{
	static const struct {
		const char *text;
		enum host_hint_kind kind;
		const char *name;
	} t[] = {
		{ "GET / HTTP/1.1\r\nHost: A.example\r\n", HOST_HINT_NAME, "a.example" },
		{ "GET / HTTP/1.1\nhOST:\t a.example:8080 \n", HOST_HINT_NAME, "a.example" },
		{ "\r\n\nGET / HTTP/1.1\r\nX: y\r\nHost: b.c\r\n", HOST_HINT_NAME, "b.c" },
		{ "GET / HTTP/1.1\r\nHost: a.example", HOST_HINT_MORE, "" },
		{ "GET / HTTP/1.1\r\n", HOST_HINT_MORE, "" },
		{ "", HOST_HINT_MORE, "" },
		{ "GET / HTTP/1.0\r\n\r\nHost: a.example\r\n", HOST_HINT_NONE, "" },
		{ "GET / HTTP/1.1\r\nHost: 1.2.3.4\r\n", HOST_HINT_NONE, "" },
		{ "GET / HTTP/1.1\r\nHost: a b\r\n", HOST_HINT_NONE, "" },
		{ "GET / HTTP/1.1\r\nHost:\r\n", HOST_HINT_MORE, "" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
		struct host_hint h;

		host_hint((const uint8_t *)t[i].text, strlen(t[i].text), &h);
		if (h.kind != t[i].kind)
			fail_msg("case %zu: kind %d, not %d", i, h.kind, t[i].kind);
		assert_string_equal(h.name.s, t[i].name);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_hints) };

	return cmocka_run_group_tests_name("host_hint", tests, NULL, NULL);
}
