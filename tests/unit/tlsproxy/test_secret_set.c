/* SPDX-License-Identifier: Apache-2.0 */
/* Values and host patterns that are refused; what every placeholder has to be. */
#include "secret_rig.h"

#include <setjmp.h>
#include <cmocka.h>

static uint32_t seed = 1;

static uint32_t rnd(uint32_t n)
{
	seed = seed * 1664525u + 1013904223u;
	return (seed >> 8) % n;
}

static bool alnum(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static void test_check(void **state)
{
	static const struct {
		const char *s;
		size_t n;
		bool ok;
	} cases[] = {
		{ "12345678", 8, true },
		{ "1234567", 7, false },
		{ "", 0, false },
		{ "abcd efgh", 9, false },
		{ "abcdefgh\n", 9, false },
		{ "abcd\0efgh", 9, false },
		{ "abcdefgh\x7f", 9, false },
		{ "abcdefg\xc3\xa4", 9, false },
		{ "aaaaaaaaa", 9, false },
		{ "!\"#$%&'()", 9, true },
	};
	char big[TLSPROXY_SECRET_MAX + 1];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const char *why = NULL;
		int r = tlsproxy_secret_check(cases[i].s, cases[i].n, &why);

		if ((r == 0) != cases[i].ok || (r < 0) != (why != NULL))
			fail_msg("case %zu: %d %s", i, r, why ? why : "-");
	}
	for (size_t i = 0; i < sizeof(big); i++)
		big[i] = (char)('a' + i % 26);
	assert_int_equal(tlsproxy_secret_check(big, TLSPROXY_SECRET_MAX, NULL), 0);
	assert_int_equal(tlsproxy_secret_check(big, TLSPROXY_SECRET_MAX + 1, NULL), -EINVAL);
}

static void test_patterns(void **state)
{
	static const struct {
		const char *pattern, *name;
		int match; /* -1: pattern refused */
	} cases[] = {
		{ "api.example.com", "api.example.com", 1 },
		{ "API.example.com.", "api.example.com", 1 },
		{ "api.example.com", "x.api.example.com", 0 },
		{ "api.example.com", "xapi.example.com", 0 },
		{ ".example.com", "example.com", 1 },
		{ ".example.com", "a.b.example.com", 1 },
		{ ".example.com", "badexample.com", 0 },
		{ "*.example.com", "example.com", 0 },
		{ "*.example.com", "a.example.com", 1 },
		{ "*.example.com", "example.com.evil.org", 0 },
		{ "localhost", "localhost", 1 },
		{ ".com", "", -1 },
		{ "*.com", "", -1 },
		{ "*", "", -1 },
		{ ".", "", -1 },
		{ "", "", -1 },
		{ "*.", "", -1 },
		{ "*.*.com", "", -1 },
		{ "a.*.com", "", -1 },
		{ "**.a.com", "", -1 },
		{ "1.2.3.4", "", -1 },
		{ "a b.com", "", -1 },
		{ "https://a.com", "", -1 },
		{ "a.com:443", "", -1 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct tlsproxy_host_pattern p;
		struct name n;
		const char *why = NULL;
		int r = tlsproxy_host_pattern_parse(cases[i].pattern, strlen(cases[i].pattern), &p,
						    &why);

		if ((r < 0) != (cases[i].match < 0) || (r < 0 && !why))
			fail_msg("%s: %d", cases[i].pattern, r);
		if (r < 0)
			continue;
		assert_int_equal(name_parse(cases[i].name, strlen(cases[i].name), &n, NULL), 0);
		if (tlsproxy_host_matches(&p, &n) != (cases[i].match == 1))
			fail_msg("%s against %s", cases[i].pattern, cases[i].name);
	}
}

static void check_one(const struct secret *s)
{
	size_t random = 0, letters = 0, n = s->len;
	bool fits = s->values[0].fits;

	assert_int_equal(strlen(s->placeholder), n);
	assert_int_equal(s->placeholder_len, n);
	assert_memory_not_equal(s->placeholder, s->value, n);
	for (size_t i = 0; i < n; i++) {
		char v = (char)s->value[i], p = s->placeholder[i];

		random += alnum(p);
		letters += alnum(v);
		if (fits && !alnum(v) && v != p)
			fail_msg("punctuation moved: %s", s->placeholder);
		if (fits && alnum(v) && !alnum(p))
			fail_msg("not of the alphabet: %s", s->placeholder);
		if (!fits && !alnum(p))
			fail_msg("another shape, and with punctuation: %s", s->placeholder);
	}
	if (fits != (letters >= SECRET_MIN_RANDOM))
		fail_msg("%zu letters, placeholder %s", letters, s->placeholder);
	if (random < SECRET_MIN_RANDOM)
		fail_msg("%zu random characters in %s", random, s->placeholder);
}

/* 10,000 random values of every make, in sets of eight. */
static void test_properties(void **state)
{
	static const char *const heads[] = { "", "ghp_", "sk-ant-api03-", "AKIA", "glpat-", "xoxb-" };
	static const char *const alphabets[] = {
		"0123456789",
		"abcdef0123456789",
		"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567",
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+/=",
		"abcdefghijklmnopqrstuvwxyz-_.~",
		"!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~aB1",
	};

	(void)state;
	for (unsigned round = 0; round < 1250; round++) {
		struct secret_spec spec[8];
		char values[8][128];
		struct secret_set *set;

		for (size_t i = 0; i < 8; i++) {
			const char *abc = alphabets[rnd(ARRAY_SIZE(alphabets))];
			size_t n, want;

			do {
				n = (size_t)snprintf(values[i], sizeof(values[i]), "%s",
						     heads[rnd(ARRAY_SIZE(heads))]);
				want = MAX(n + rnd(60), (size_t)8 + rnd(8));
				while (n < want)
					values[i][n++] = abc[rnd((uint32_t)strlen(abc))];
				values[i][n] = 0;
			} while (tlsproxy_secret_check(values[i], n, NULL) < 0);
			spec[i] = (struct secret_spec){ "E", values[i], "a.example.com", 31, 1 };
		}
		set = secret_rig(spec, 8);
		for (size_t i = 0; i < 8; i++) {
			const struct secret *a = &set->secrets[i];

			assert_memory_equal(a->value, values[i], a->len);
			check_one(a);
			for (size_t j = 0; j < 8; j++) {
				const struct secret *b = &set->secrets[j];

				assert_false(i != j &&
					     memmem(b->placeholder, b->len, a->placeholder, a->len));
				assert_null(memmem(b->placeholder, b->len, a->value, a->len));
				assert_null(memmem(b->value, b->len, a->placeholder, a->len));
			}
		}
		secret_set_free(set);
	}
}

static void test_shapes(void **state)
{
	static const struct {
		const char *value, *prefix, *chars;
	} cases[] = {
		{ "ghp_16C7e42F292c6912E7710c838347Ae178B4a", "ghp_",
		  "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_" },
		{ "d131dd02c5e6eec4693d9a0698aff95c", "", "abcdef0123456789" },
		{ "123e4567-e89b-12d3-a456-426614174000", "", "abcdef0123456789-" },
		{ "AKIAIOSFODNN7EXAMPLE", "AKIA", "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789" },
		{ "12345679", "", "0123456789" },
		{ "hunter2hunter2", "", "abcdefghijklmnopqrstuvwxyz0123456789" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct secret_spec spec = { "E", cases[i].value, "a.example.com", 31, 1 };
		struct secret_set *set = secret_rig(&spec, 1);
		const char *p = secret_set_placeholder(set, 0);

		if (!str_starts(p, cases[i].prefix) || strspn(p, cases[i].chars) != strlen(p))
			fail_msg("%s became %s", cases[i].value, p);
		secret_set_free(set);
	}
}

static void test_many(void **state)
{
	char values[SECRET_RIG_MAX][40];
	struct secret_spec spec[SECRET_RIG_MAX];
	struct secret_set *set;

	(void)state;
	/* Same prefix, same value twice, one value inside another. */
	for (size_t i = 0; i < SECRET_RIG_MAX; i++) {
		snprintf(values[i], sizeof(values[i]), "sk-abcdefghijklmnop%04zu", i / 2);
		spec[i] = (struct secret_spec){ "E", values[i], "a.example.com", 31, 1 };
	}
	snprintf(values[7], sizeof(values[7]), "sk-abcdefghijklmn");
	set = secret_rig(spec, SECRET_RIG_MAX);
	assert_int_equal(secret_set_count(set), SECRET_RIG_MAX);
	secret_set_free(set);
	assert_int_equal(secret_set_count(NULL), 0);
	set = secret_rig(spec, 0);
	assert_int_equal(secret_set_count(set), 0);
	secret_set_free(set);
}

static void test_base64(void **state)
{
	static const char *const bad[] = { "",	   "a",	    "abc",  "ab=c", "abcd=", "====",
					   "ab c", "YQ=\n", "YR==", "YWJ=", "ab-_",  "YQ==YQ==" };
	uint8_t in[64], out[96];
	char text[96];
	size_t n;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		if (secret_base64_decode(bad[i], strlen(bad[i]), out, &n) == 0)
			fail_msg("%s accepted", bad[i]);
	for (size_t len = 1; len <= sizeof(in); len++) {
		size_t t;

		for (size_t i = 0; i < len; i++)
			in[i] = (uint8_t)rnd(256);
		t = secret_base64_encode(in, len, text);
		assert_int_equal(secret_base64_decode(text, t, out, &n), 0);
		assert_int_equal(n, len);
		assert_memory_equal(in, out, len);
		/* The phase forms are what a real encoder writes, with anything around. */
		for (unsigned phase = 0; phase < 3 && len >= 8; phase++) {
			uint8_t around[80], want[96];
			size_t w = secret_encode_base64(phase, false, in, len, want);

			for (size_t i = 0; i < sizeof(around); i++)
				around[i] = (uint8_t)rnd(256);
			memcpy(around + phase, in, len);
			t = secret_base64_encode(around, phase + len + rnd(5), text);
			assert_non_null(memmem(text, t, want, w));
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_check),	   cmocka_unit_test(test_patterns),
		cmocka_unit_test(test_properties), cmocka_unit_test(test_shapes),
		cmocka_unit_test(test_many),	   cmocka_unit_test(test_base64),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
