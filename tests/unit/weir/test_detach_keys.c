/* SPDX-License-Identifier: Apache-2.0 */
/* A06: keys that leave a terminal, as Docker writes them, and nothing else of what is typed. */
#include "weir/detach_keys.h"

#include <setjmp.h>
#include <stdio.h>
#include <cmocka.h>

static struct detach_keys keys(const char *text)
{
	const char *why = "";
	struct detach_keys k;

	if (detach_keys_parse(text, &k, &why) < 0)
		fail_msg("%s: %s", text, why);
	return k;
}

static void a06_texts(void **state)
{
	static const char *const bad[] = {
		"ctrl-",   "ctrl-!",  "a,,b",	 "a,",	",",
		"ab",	   "ctrl-P1", "shift-a", "a b", "1,2,3,4,5,6,7,8,9",
		"\xc3\xa9"
	};
	struct detach_keys k = keys("ctrl-p,ctrl-q");

	(void)state;
	assert_int_equal(k.n, 2);
	assert_int_equal(k.key[0], 16);
	assert_int_equal(k.key[1], 17);
	assert_memory_equal(&k, &DETACH_KEYS_DEFAULT, sizeof(k));
	assert_int_equal(keys("ctrl-]").key[0], 29);
	assert_int_equal(keys("ctrl-@,x").key[0], 0);
	assert_int_equal(keys("none").n, 0);
	assert_int_equal(keys("").n, 0);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		const char *why = NULL;

		assert_int_equal(detach_keys_parse(bad[i], &k, &why), -EINVAL);
		assert_non_null(why);
	}
}

/* Whatever the cut, what is typed arrives, up to the whole sequence. */
static void expect(const char *sequence, const char *typed, const char *arrives, bool detached)
{
	size_t n = strlen(typed);

	for (size_t cut = 1; cut <= n; cut++) {
		struct detach_keys k = keys(sequence);
		uint8_t out[256];
		size_t kept = 0;
		bool whole = false;

		for (size_t at = 0; at < n && !whole; at += cut)
			kept += detach_keys_filter(&k, (const uint8_t *)typed + at,
						   MIN(cut, n - at), out + kept, &whole);
		out[kept] = 0;
		assert_string_equal((char *)out, arrives);
		assert_int_equal(whole, detached);
	}
}

static void a06_filter(void **state)
{
	(void)state;
	expect("x,y", "abc", "abc", false);
	expect("x,y", "abxyc", "ab", true);
	expect("x,y", "xxxy", "xx", true);
	expect("x,y", "xaxb", "xaxb", false);
	expect("x,y", "ax", "a", false);
	expect("a,a,b", "aaaab", "aa", true);
	expect("a,b,a,c", "ababac!", "ab", true);
	expect("a,b,a,c", "abab!", "abab!", false);
	expect("none", "xyz", "xyz", false);
	expect("q", "moreq", "more", true);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a06_texts),
		cmocka_unit_test(a06_filter),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
