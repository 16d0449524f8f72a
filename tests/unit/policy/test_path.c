/* SPDX-License-Identifier: Apache-2.0 */
/* Paths: one form or none; patterns against a plain recursive oracle. */
#include "tests/unit/policy/policy_test.h"

#include "policy/policy_internal.h"

#include <time.h>

static void test_normalise(void **state)
{
	static const struct {
		const char *in, *out; /* NULL: refused */
	} table[] = {
		{ "/", "/" },
		{ "/a/b", "/a/b" },
		{ "/a/b/", "/a/b/" },
		{ "/a?x=/../..", "/a" },
		{ "/a#f", "/a" },
		{ "/?", "/" },
		{ "/%61%2d%5F%7e", "/a-_~" },
		{ "/a%20b", "/a%20b" },
		{ "/%c3%a4", "/%C3%A4" },
		{ "/\xc3\xa4", "/%C3%A4" },
		{ "/a/./b", "/a/b" },
		{ "/a/.", "/a/" },
		{ "/a/..", "/" },
		{ "/a/../b", "/b" },
		{ "/a/b/../../c", "/c" },
		{ "/a/%2e%2E/b", "/b" },
		{ "/a/.%2e", "/" },
		{ "/a/...", "/a/..." },
		{ "/a/..b", "/a/..b" },
		{ "/a%3fb", "/a%3Fb" },
		{ "/a%25b", "/a%25b" },
		{ "/a;x=1", "/a;x=1" },
		{ "/*", "/*" },
		{ "*", "*" },
		{ "", NULL },
		{ "a", NULL },
		{ "?x", NULL },
		{ "http://x/a", NULL },
		{ "**", NULL },
		{ "/..", NULL },
		{ "/../a", NULL },
		{ "/a/../..", NULL },
		{ "/%2e%2e/a", NULL },
		{ "/a%2fb", NULL },
		{ "/a%2Fb", NULL },
		{ "/a%5cb", NULL },
		{ "/a\\b", NULL },
		{ "/a%00", NULL },
		{ "/a%", NULL },
		{ "/a%4", NULL },
		{ "/a%zz", NULL },
		{ "/a%4?1", NULL },
		{ "//a", NULL },
		{ "/a//b", NULL },
		{ "/a/..;/b", NULL },
		{ "/a/.;x", NULL },
		{ "/a/%2e%2e;x/b", NULL },
		{ "/a b", NULL },
		{ "/a\tb", NULL },
		{ "/a\x7f", NULL },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		struct buf b = BUF_INIT(4096);
		int r;

		assert_int_equal(buf_append_str(&b, "kept"), 0);
		r = policy_path_normalise(table[i].in, strlen(table[i].in), &b);
		if ((r == 0) != (table[i].out != NULL))
			fail_msg("\"%s\": %d", table[i].in, r);
		if (r < 0)
			assert_int_equal(r, -EINVAL);
		assert_true(str_starts(buf_str(&b), "kept"));
		if (!str_eq(buf_str(&b) + 4, table[i].out ? table[i].out : ""))
			fail_msg("\"%s\" became \"%s\"", table[i].in, buf_str(&b) + 4);
		buf_fini(&b);
	}
	struct buf b = BUF_INIT(8);

	assert_int_equal(policy_path_normalise("/aaaaaaaaaa", 11, &b), -ENOBUFS);
	assert_int_equal(b.len, 0);
	assert_int_equal(policy_path_normalise("/a\0b", 4, &b), -EINVAL);
	buf_fini(&b);
}

static void test_match(void **state)
{
	static const struct {
		const char *pattern, *path;
		bool match;
	} table[] = {
		{ "/", "/", true },
		{ "/", "/a", false },
		{ "/a", "/a", true },
		{ "/a", "/a/", false },
		{ "/a", "/A", false },
		{ "/a/", "/a", false },
		{ "/*", "/a", true },
		{ "/*", "/", false },
		{ "/*", "/a/b", false },
		{ "/a/*", "/a/", false },
		{ "/a*", "/a", true },
		{ "/a*c", "/abbc", true },
		{ "/a*c", "/ab/c", false },
		{ "/*.git", "/x.git", true },
		{ "/v*/x", "/v1/x", true },
		{ "/**", "/", true },
		{ "/**", "/a/b/c", true },
		{ "/a/**", "/a", true },
		{ "/a/**", "/a/", true },
		{ "/a/**", "/a/b/c", true },
		{ "/a/**", "/ab", false },
		{ "/a/**/z", "/a/z", true },
		{ "/a/**/z", "/a/b/c/z", true },
		{ "/a/**/z", "/a/b/c/zz", false },
		{ "/**/x/**", "/a/x", true },
		{ "/**/x/*/y", "/x/x/b/y", true },
		{ "/a/**", "*", false },
		{ "/**", "*", false },
		{ "/repos/*/issues", "/repos/a/issues", true },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(table); i++)
		if (policy_path_match(table[i].pattern, table[i].path) != table[i].match)
			fail_msg("%s on %s: not %d", table[i].pattern, table[i].path, table[i].match);
}

/* Straight from the definition; exponential, so for small texts only. */
static bool oracle_segment(const char *p, const char *s)
{
	if (*p == '*')
		return oracle_segment(p + 1, s) || (*s && oracle_segment(p, s + 1));
	return *p == *s && (!*p || oracle_segment(p + 1, s + 1));
}

static bool oracle(char (*p)[8], size_t np, char (*s)[8], size_t ns)
{
	if (np == 0)
		return ns == 0;
	if (str_eq(p[0], "**"))
		return oracle(p + 1, np - 1, s, ns) || (ns && oracle(p, np, s + 1, ns - 1));
	if (ns == 0 || (str_eq(p[0], "*") && !s[0][0]))
		return false;
	return oracle_segment(p[0], s[0]) && oracle(p + 1, np - 1, s + 1, ns - 1);
}

static void append(char *out, size_t size, const char *a, const char *b)
{
	size_t n = strlen(out);

	snprintf(out + n, size - n, "%s%s", a, b);
}

static size_t random_path(char (*seg)[8], bool pattern, char *out)
{
	size_t n = 1 + rnd(4);

	out[0] = 0;
	for (size_t i = 0; i < n; i++) {
		size_t len = rnd(4), at = 0;

		if (pattern && rnd(3) == 0) {
			memcpy(seg[i], "**", 3);
		} else {
			while (at < len) {
				char c = "ab*"[rnd(pattern ? 3 : 2)];

				if (at && c == '*' && seg[i][at - 1] == '*')
					continue;
				seg[i][at++] = c;
			}
			seg[i][at] = 0;
		}
		append(out, 64, "/", seg[i]);
	}
	return n;
}

static void test_match_oracle(void **state)
{
	int hits = 0;

	(void)state;
	for (int i = 0; i < 200000; i++) {
		char p[4][8], s[4][8], pt[64], st[64];
		size_t np = random_path(p, true, pt), ns = random_path(s, false, st);
		bool want = oracle(p, np, s, ns);

		hits += want;
		if (policy_path_match(pt, st) != want)
			fail_msg("%s on %s: not %d", pt, st, want);
	}
	assert_true(hits > 10000 && hits < 190000);
}

/* What would take for ever with backtracking. */
static void test_no_blowup(void **state)
{
	char pattern[2048] = "/", path[16384] = "/";
	clock_t start = clock();

	(void)state;
	for (int i = 0; i < 500; i++)
		append(pattern, sizeof(pattern), i % 2 ? "*" : "a", "");
	append(pattern, sizeof(pattern), "b", "");
	memset(path + 1, 'a', 16000);
	assert_false(policy_path_match(pattern, path));
	pattern[0] = 0;
	for (int i = 0; i < 200; i++)
		append(pattern, sizeof(pattern), i % 2 ? "/**" : "/a", "");
	append(pattern, sizeof(pattern), "/b", "");
	for (int i = 0; i < 8000; i++)
		memcpy(path + 2 * i, "/a", 3);
	assert_false(policy_path_match(pattern, path));
	assert_true(clock() - start < 5 * CLOCKS_PER_SEC);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_normalise),
		cmocka_unit_test(test_match),
		cmocka_unit_test(test_match_oracle),
		cmocka_unit_test(test_no_blowup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
