/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which field a byte belongs to. Each case is a body and, below it, a picture: a letter
 * for each byte that is in the value of a name (a: the first), dots elsewhere. Every
 * case is read in every way it can be cut in two, and byte by byte.
 */
#include "coding_rig.h"

#include "tlsproxy/http_rewrite.h"

#include <stdio.h>

static struct http_field_names *names_new(const char *const *list)
{
	struct http_field_names *f;
	const char *why = NULL;
	unsigned i, k = 0;

	assert_int_equal(http_field_names_new(&f), 0);
	for (; *list; list++, k++) {
		if (http_field_names_add(f, *list, strlen(*list), &i, &why) < 0)
			fail_msg("%s: %s", *list, why);
		assert_int_equal(i, k);
	}
	return f;
}

/* ---- reading ---------------------------------------------------------------------------- */

struct read {
	struct buf bytes, picture;
	uint64_t last;	/* names of the segment before */
	uint64_t value; /* bytes of the value under way */
	bool in_value;
};

static void take(struct read *r, const struct http_segment *s)
{
	char c = s->names ? (char)('a' + __builtin_ctzll(s->names)) : '.';

	assert_true(s->n > 0);
	if (s->names & (s->names - 1))
		c = '#'; /* more than one name */
	/* Between two named values there is something else. */
	assert_true(!r->last || !s->names || (r->last == s->names && s->at == r->value));
	assert_true(r->last || s->at == 0);
	r->value = s->names ? s->at + s->n : 0;
	r->last = s->names;
	assert_int_equal(buf_append(&r->bytes, s->p, s->n), 0);
	for (size_t i = 0; i < s->n; i++)
		assert_int_equal(buf_append(&r->picture, &c, 1), 0);
}

static void feed(struct http_rewrite *w, struct read *r, const char *p, size_t n)
{
	struct rd in = rd_init(p, n);
	struct http_segment s;
	size_t want = r->bytes.len + http_rewrite_held(w) + n;

	while (http_rewrite_next(w, &in, &s))
		take(r, &s);
	assert_int_equal(rd_left(&in), 0);
	assert_int_equal(r->bytes.len + http_rewrite_held(w), want);
}

/* cut 0: at once; 1: byte by byte; else in two at cut - 1. */
static bool picture(enum http_rewrite_kind kind, const struct http_field_names *names,
		    const char *boundary, const char *body, size_t n, size_t cut, struct read *r)
{
	struct http_rewrite *w;
	struct http_segment s;
	bool valid;

	*r = (struct read){ .bytes = BUF_INIT(1 << 20), .picture = BUF_INIT(1 << 20) };
	assert_int_equal(
		http_rewrite_new(kind, names, boundary, boundary ? strlen(boundary) : 0, &w), 0);
	if (cut == 1)
		for (size_t i = 0; i < n; i++)
			feed(w, r, body + i, 1);
	else
		feed(w, r, body, cut ? cut - 1 : n);
	if (cut > 1)
		feed(w, r, body + cut - 1, n - (cut - 1));
	while (http_rewrite_end(w, &s))
		take(r, &s);
	valid = http_rewrite_valid(w);
	http_rewrite_free(w);
	return valid;
}

static void check(enum http_rewrite_kind kind, const char *const *list, const char *boundary,
		  const char *body, const char *want, bool want_valid)
{
	struct http_field_names *names = names_new(list);
	size_t n = strlen(body);

	assert_int_equal(strlen(want), n);
	for (size_t cut = 0; cut <= n + 1; cut++) {
		struct read r;
		bool valid = picture(kind, names, boundary, body, n, cut, &r);

		must_equal(&r.bytes, body, n, "the body itself");
		if (n && memcmp(buf_at(&r.picture), want, n) != 0)
			fail_msg("cut %zu of\n%s\n%s\n%.*s", cut, body, want, (int)n,
				 (char *)buf_at(&r.picture));
		if (valid != want_valid)
			fail_msg("valid is %d: %s", valid, body);
		buf_fini(&r.bytes);
		buf_fini(&r.picture);
	}
	http_field_names_free(names);
}

#define NAMES(...) ((const char *const[]){ __VA_ARGS__, NULL })

/* ---- names ---------------------------------------------------------------------------------- */

static void test_names(void **state)
{
	static const struct {
		const char *s;
		bool ok;
	} cases[] = {
		{ "token", true },
		{ "auth.token", true },
		{ "auth[token]", true },
		{ "items[0].id", true },
		{ "*", true },
		{ "**.token", true },
		{ "a\\.b", true },
		{ "a b", true },
		{ "", false },
		{ ".", false },
		{ "a.", false },
		{ ".a", false },
		{ "a..b", false },
		{ "a[", false },
		{ "a[b", false },
		{ "a]", false },
		{ "a[]", false },
		{ "a[b]c", false },
		{ "a\\", false },
		{ "1.2.3.4.5.6.7.8.9.10.11.12.13.14.15.16", true },
		{ "1.2.3.4.5.6.7.8.9.10.11.12.13.14.15.16.17", false },
	};
	char big[HTTP_FIELD_KEY_MAX + 1];
	struct http_field_names *f;
	const char *why;
	unsigned i = 99;

	(void)state;
	memset(big, 'x', sizeof(big));
	assert_int_equal(http_field_names_new(&f), 0);
	for (size_t k = 0; k < ARRAY_SIZE(cases); k++) {
		int r = http_field_names_add(f, cases[k].s, strlen(cases[k].s), &i, &why);

		if ((r == 0) != cases[k].ok || (r < 0 && r != -EINVAL))
			fail_msg("\"%s\": %d", cases[k].s, r);
	}
	assert_int_equal(http_field_names_add(f, big, sizeof(big), &i, &why), -EINVAL);
	assert_int_equal(http_field_names_add(f, big, sizeof(big) - 1, &i, &why), 0);
	assert_int_equal(http_field_names_add(f, "token", 5, &i, &why), 0);
	assert_int_equal(i, 0);
	for (unsigned k = 0; k < 100; k++) {
		char s[8];
		int n = snprintf(s, sizeof(s), "n%u", k);
		int r = http_field_names_add(f, s, (size_t)n, &i, &why);

		assert_true(r == 0 ? i < HTTP_FIELD_NAMES_MAX : r == -ENOSPC);
	}
	assert_int_equal(http_field_names_add(f, "one more", 8, &i, &why), -ENOSPC);
	http_field_names_free(f);
}

/* ---- JSON ---------------------------------------------------------------------------------------- */

/* A's in the body are in the value of the first name, B's of the second, C's of both. */
static void marked(enum http_rewrite_kind kind, const char *const *list, const char *body)
{
	char want[512];
	size_t n = strlen(body);

	assert_true(n < sizeof(want));
	for (size_t i = 0; i < n; i++)
		want[i] = body[i] == 'A' ? 'a' : body[i] == 'B' ? 'b' : body[i] == 'C' ? '#' : '.';
	want[n] = 0;
	check(kind, list, NULL, body, want, true);
}

static void json(const char *const *list, const char *body)
{
	marked(HTTP_REWRITE_JSON, list, body);
}

static void bad_json(const char *const *list, const char *body, const char *want)
{
	check(HTTP_REWRITE_JSON, list, NULL, body, want, false);
}

static void s08_json_paths(void **state)
{
	(void)state;
	json(NAMES("token"), "{\"token\":\"AAA\",\"note\":\"abc\"}");
	json(NAMES("token"), "{\"x\":{\"token\":\"abc\"}}");
	json(NAMES("token"), "[{\"token\":\"abc\"}]");
	json(NAMES("auth.token"), "{\"auth\":{\"token\":\"AAA\"},\"token\":\"x\"}");
	json(NAMES("auth[token]"), "{\"auth\":{\"token\":\"AAA\"},\"auth.token\":\"x\"}");
	json(NAMES("**.token"), "{\"token\":\"AAA\",\"l\":[{\"token\":\"AA\"}],\"x\":\"y\"}");
	json(NAMES("l.*.t"), "{\"l\":[{\"t\":\"A\"},{\"t\":\"A\",\"u\":\"b\"}]}");
	json(NAMES("l.1.t"), "{\"l\":[{\"t\":\"a\"},{\"t\":\"A\"}]}");
	json(NAMES("l[1]"), "{\"l\":[\"a\",\"A\", \"c\"]}");
	json(NAMES("l.10"), "{\"l\":[0,1,2,3,4,[],{},7,8,9,\"A\",\"y\"]}");
	json(NAMES("*"), "{\"a\":\"A\",\"b\":{\"c\":\"y\"}}");
	json(NAMES("**"), "\"AAA\"");
	json(NAMES("**"), "{\"a\":[\"A\",[[\"A\"]]]}");
	json(NAMES("a.**"), "{\"a\":\"A\",\"b\":\"x\",\"a\":{\"b\":\"A\"}}");
	json(NAMES("a.**.z"), "{\"a\":{\"z\":\"A\",\"b\":{\"c\":{\"z\":\"A\"}}},\"z\":\"c\"}");
	json(NAMES("**.a.**.z"),
	     "{\"z\":\"x\",\"a\":{\"a\":{\"z\":\"A\"},\"z\":\"A\"},\"b\":{\"z\":\"x\"}}");
	json(NAMES("a", "b"), "{\"b\":\"B\",\"a\":\"A\"}");
	json(NAMES("*", "b"), "{\"b\":\"CC\",\"a\":\"A\"}");
	json(NAMES("a\\.b"), "{\"a.b\":\"A\",\"a\":{\"b\":\"x\"}}");
	json(NAMES("\\*"), "{\"*\":\"A\",\"a\":\"x\"}");
}

static void s08_json_keys(void **state)
{
	(void)state;
	/* Escapes in keys are undone; in values they stand. */
	json(NAMES("token"), "{\"\\u0074oken\":\"A\"}");
	check(HTTP_REWRITE_JSON, NAMES("t"), NULL, "{\"t\":\"a\\\"b\\u0041\\\\\"}",
	      "......aaaaaaaaaaaa..", true);
	json(NAMES("\xc3\xa4"), "{\"\\u00e4\":\"A\",\"\\u00E4\":\"A\"}");
	json(NAMES("\xf0\x9f\x98\x80"), "{\"\\ud83d\\ude00\":\"A\"}");
	json(NAMES("\"/\n"), "{\"\\\"\\/\\n\":\"A\"}");
	/* Half of a pair is no character. */
	json(NAMES("\xed\xa0\xbd", "x"), "{\"\\ud83d\":\"x\",\"x\":\"B\",\"\\ud83dx\":\"x\"}");
	/* Each of two equal keys is judged by itself. */
	json(NAMES("t"), "{\"t\":\"A\",\"u\":\"2\",\"t\":\"A\"}");
	json(NAMES("t"), "{\"T\":\"1\"}");
	json(NAMES("t"), " { \"t\" : \"A\" }\r\n");
	json(NAMES("t"),
	     "{\"t\":null,\"t\":-0.5e+10,\"t\":true,\"t\":[],\"t\":{},\"t\":\"\",\"t\":\"A\"}");
}

static void test_long_keys(void **state)
{
	char body[2 * HTTP_FIELD_KEY_MAX], want[2 * HTTP_FIELD_KEY_MAX], name[HTTP_FIELD_KEY_MAX + 1];

	(void)state;
	memset(name, 'k', sizeof(name) - 1);
	name[sizeof(name) - 1] = 0;
	for (size_t extra = 0; extra < 2; extra++) {
		size_t len = HTTP_FIELD_KEY_MAX + extra;

		snprintf(body, sizeof(body), "{\"%s%s\":\"v\"}", name, extra ? "k" : "");
		memset(want, '.', sizeof(want));
		want[len + 5] = extra ? '.' : 'a';
		want[strlen(body)] = 0;
		check(HTTP_REWRITE_JSON, NAMES(name), NULL, body, want, true);
	}
}

static void test_json_depth(void **state)
{
	char body[1024] = "", want[1024] = "";

	(void)state;
	for (int depth = HTTP_FIELD_DEPTH; depth <= HTTP_FIELD_DEPTH + 1; depth++) {
		size_t n = (size_t)depth;

		memset(body, '[', n);
		memcpy(body + n, "\"x\"", 3);
		memset(body + n + 3, ']', n);
		body[2 * n + 3] = 0;
		memset(want, '.', 2 * n + 3);
		want[2 * n + 3] = 0;
		if (depth <= HTTP_FIELD_DEPTH) {
			want[n + 1] = 'a';
			check(HTTP_REWRITE_JSON, NAMES("**"), NULL, body, want, true);
		} else {
			bad_json(NAMES("**"), body, want);
		}
	}
}

/* From the byte on that no JSON holds, nothing is named. */
static void lesson_33_bad_json(void **state)
{
	static const char *const bad[] = {
		"x",
		"{'t':1}",
		"{t:1}",
		"{\"t\" 1}",
		"{\"t\":01}",
		"{\"t\":.5}",
		"{\"t\":1.}",
		"{\"t\":1e}",
		"{\"t\":+1}",
		"{\"t\":-}",
		"{\"t\":nul}",
		"{\"t\":True}",
		"{\"t\":1,}",
		"[1,]",
		"[,1]",
		"[1 2]",
		"{\"t\":[}",
		"{\"t\":(}",
		"[}",
		"{]",
		"]",
		"{} {}",
		"1 2",
		"\"\\x\"",
		"\"\\u12g4\"",
		"\"\n\"",
		"\"\t\"",
		"// c\n{}",
		"\xef\xbb\xbf{}",
		"{\"t\":NaN}",
		"{,}",
		"{\"t\"}",
		"{\"t\",1}",
		"{1:2}",
		"{\"t\\q\":1}",
		"\x01",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		char body[128], want[128];

		snprintf(body, sizeof(body), "[\"v\",%s,{\"t\":\"w\"}]", bad[i]);
		memset(want, '.', sizeof(want));
		want[2] = 'a';
		want[strlen(body)] = 0;
		/* A string that breaks off is named up to there. */
		if (bad[i][0] == '"')
			for (size_t k = 6; body[k] != '"' && strchr("\\xu12\n\t", body[k]); k++)
				want[k] = body[k] == '\n' || body[k] == '\t' ? '.' : 'a';
		if (str_eq(bad[i], "\"\\x\""))
			want[7] = '.';
		if (!str_eq(bad[i], "{} {}") && !str_eq(bad[i], "1 2"))
			bad_json(NAMES("**"), body, want);
	}
	bad_json(NAMES("**"), "{} \"x\"", "......");
	bad_json(NAMES("t"), "{\"t\":\"a\x01z\"}", "......a....");
}

/* ---- forms ------------------------------------------------------------------------------------------- */

static void form(const char *const *list, const char *body)
{
	marked(HTTP_REWRITE_FORM, list, body);
}

static void s03_forms(void **state)
{
	(void)state;
	form(NAMES("token"), "token=AAA&note=abc");
	form(NAMES("token"), "note=abc&token=AAAA");
	check(HTTP_REWRITE_FORM, NAMES("t"), NULL, "t=a%20b+c=d&e", "..aaaaaaaaa..", true);
	form(NAMES("token"), "%74oke%6E=AAA");
	form(NAMES("to en"), "to+en=A&to%20en=A");
	form(NAMES("token"), "token=A&token&token=&=d&&token=A");
	form(NAMES("token"), "token%=a&token%4=b&tok%zzen=c&token=A");
	form(NAMES("auth.token"), "auth.token=A&auth=b&token=c");
	form(NAMES("auth[token]"), "auth[token]=A&auth%5btoken%5d=A&auth=x");
	form(NAMES("*"), "a=A&b=A");
	form(NAMES("**.token"), "token=A");
	form(NAMES("a", "b"), "b=BBB&a=AA;a&ab=c&x;a=c&a=AA;b=x;a=y");
	form(NAMES("token"), "Token=1");
	form(NAMES("token"), "");
}

/* ---- multipart ------------------------------------------------------------------------------------------ */

static void multipart(const char *body, const char *marks, bool valid)
{
	char want[1024];
	size_t n = strlen(body);

	assert_true(n < sizeof(want));
	memset(want, '.', n);
	want[n] = 0;
	for (const char *at = body; *marks; marks++) {
		at = strchr(at, *marks);
		assert_non_null(at);
		for (; *at == *marks; at++)
			want[at - body] = 'a';
	}
	check(HTTP_REWRITE_MULTIPART, NAMES("token"), "b", body, want, valid);
}

#define PART(name, body) "\r\n--b\r\nContent-Disposition: form-data; name=\"" name "\"\r\n\r\n" body

static void s08_multipart(void **state)
{
	(void)state;
	/* The values are runs of the characters in the second text. */
	multipart("--b\r\nContent-Disposition: form-data; name=\"token\"\r\n\r\nVVV\r\n--b--\r\n",
		  "V", true);
	multipart("text" PART("token", "VVV") PART("note", "WWW") PART("token", "XX") "\r\n--b--",
		  "VX", true);
	multipart(PART("token", "") PART("token", "VV"), "V", true);
	multipart("--b \t\r\nX-Other: "
		  "1\r\ncontent-disposition:form-data;name=token\r\n\r\nVV\r\n--b--",
		  "V", true);
	multipart(PART("token; filename=x", "WW"), "", true);
	multipart("--b\r\nContent-Disposition: form-data; name=\"token\"; filename=\"f\"\r\n"
		  "Content-Type: text/plain\r\nContent-Transfer-Encoding: 8bit\r\n\r\nVV\r\n--b--",
		  "V", true);
	/* Parts in which readers could differ. */
	multipart("--b\r\nContent-Disposition: form-data; name=\"to\\ken\"\r\n\r\nWW\r\n--b--", "",
		  true);
	multipart("--b\r\nContent-Disposition: form-data; name=token; name=x\r\n\r\nWW\r\n--b--",
		  "", true);
	multipart("--b\r\nContent-Disposition: form-data; name=token; name*=x\r\n\r\nWW\r\n--b--",
		  "", true);
	multipart("--b\r\nContent-Disposition: form-data;\r\n name=token\r\n\r\nWW\r\n--b--", "",
		  true);
	multipart("--b\r\nContent-Disposition: attachment; name=token\r\n\r\nWW\r\n--b--", "", true);
	multipart("--b\r\nContent-Transfer-Encoding: base64\r\n"
		  "Content-Disposition: form-data; name=token\r\n\r\nWW\r\n--b--",
		  "", true);
	multipart(
		"--b\r\nno colon\r\nContent-Disposition: form-data; name=token\r\n\r\nWW\r\n--b--",
		"", true);
	multipart("--b\r\n\r\nWW\r\n--b--", "", true);
	/* Behind the end nothing is a part. */
	multipart("--b--" PART("token", "WW"), "", true);
}

static void test_multipart_odd_lines(void **state)
{
	static const char *const bodies[] = {
		PART("token", "VV\n--b\r\nX: y\r\n\r\nWW"),
		PART("token", "VV\r\n--b\nContent-Disposition: form-data; name=token\n\nWW"),
		PART("token", "VV\r\n--bc\r\nWW"),
		PART("token", "VV\r\n--b-\r\nWW"),
		PART("token", "VV\r\n--b\r\nContent-Disposition: form-data; name=token\r\r\nWW"),
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bodies); i++)
		multipart(bodies[i], "V", false);
	multipart(PART("token", "--b\r\n\r\nWW"), "", false);
	/* Behind a bare CR a line begins for some; the CR itself is no part of a delimiter. */
	check(HTTP_REWRITE_MULTIPART, NAMES("t"), "b",
	      "--b\r\nContent-Disposition: form-data; name=t\r\n\r\nvv\r--b\r\n\r\nww",
	      "...............................................aaa.........", false);
	multipart("\n--b\r\nContent-Disposition: form-data; name=\"token\"\r\n\r\nWW", "", false);
}

/* What only looks like a delimiter is the value's, all of it. */
static void test_multipart_almost(void **state)
{
	static const char *const values[] = { "x\r\n", "\r\n-", "\r\n--", "\r\r\n\n-\r\n--a", "\n",
					      "-",     "--",	"--a--b", "\r\n--\r\n--\r\n" };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(values); i++)
		for (int closed = 0; closed < 2; closed++) {
			char body[256], want[256];
			size_t head = strlen(PART("token", "")), n = strlen(values[i]);

			snprintf(body, sizeof(body), PART("token", "%s") "%s", values[i],
				 closed ? "\r\n--b--" : "");
			memset(want, '.', sizeof(want));
			memset(want + head, 'a', n);
			want[strlen(body)] = 0;
			check(HTTP_REWRITE_MULTIPART, NAMES("token"), "b", body, want, true);
		}
}

/* ---- types --------------------------------------------------------------------------------------------------- */

static void test_types(void **state)
{
	static const struct {
		const char *s;
		enum http_rewrite_kind kind;
		const char *boundary;
	} cases[] = {
		{ "application/json", HTTP_REWRITE_JSON, NULL },
		{ "Application/JSON ; charset=UTF-8", HTTP_REWRITE_JSON, NULL },
		{ "application/vnd.api+json", HTTP_REWRITE_JSON, NULL },
		{ "text/json", HTTP_REWRITE_JSON, NULL },
		{ "application/json; charset=utf-7", HTTP_REWRITE_NONE, NULL },
		{ "application/jsonp", HTTP_REWRITE_NONE, NULL },
		{ "application/x-ndjson", HTTP_REWRITE_NONE, NULL },
		{ "application/x-www-form-urlencoded", HTTP_REWRITE_FORM, NULL },
		{ "multipart/form-data; boundary=abc", HTTP_REWRITE_MULTIPART, "abc" },
		{ "multipart/form-data; boundary=\"a b:c\"", HTTP_REWRITE_MULTIPART, "a b:c" },
		{ "multipart/form-data; charset=utf-8; Boundary=x", HTTP_REWRITE_MULTIPART, "x" },
		{ "multipart/form-data", HTTP_REWRITE_NONE, NULL },
		{ "multipart/form-data; boundary=", HTTP_REWRITE_NONE, NULL },
		{ "multipart/form-data; boundary=\"\"", HTTP_REWRITE_NONE, NULL },
		{ "multipart/form-data; boundary=\"a\\b\"", HTTP_REWRITE_NONE, NULL },
		{ "multipart/form-data; boundary=\"a ", HTTP_REWRITE_NONE, NULL },
		{ "multipart/form-data; boundary=\"a \"", HTTP_REWRITE_NONE, NULL },
		{ "multipart/form-data; boundary=a; boundary=b", HTTP_REWRITE_NONE, NULL },
		{ "multipart/form-data; boundary=\"a@b\"", HTTP_REWRITE_NONE, NULL },
		{ "multipart/mixed; boundary=a", HTTP_REWRITE_NONE, NULL },
		{ "text/plain", HTTP_REWRITE_NONE, NULL },
		{ "", HTTP_REWRITE_NONE, NULL },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const char *b = NULL;
		size_t n = 0;
		enum http_rewrite_kind k = http_rewrite_kind(cases[i].s, strlen(cases[i].s), &b, &n);

		if (k != cases[i].kind)
			fail_msg("%s: %d", cases[i].s, (int)k);
		if (cases[i].boundary) {
			assert_int_equal(n, strlen(cases[i].boundary));
			assert_memory_equal(b, cases[i].boundary, n);
		}
	}
}

static void test_boundary_length(void **state)
{
	struct http_field_names *names = names_new(NAMES("t"));
	struct http_rewrite *r;
	char b[HTTP_BOUNDARY_MAX + 1];

	(void)state;
	memset(b, 'b', sizeof(b));
	assert_int_equal(http_rewrite_new(HTTP_REWRITE_MULTIPART, names, b, sizeof(b), &r), -EINVAL);
	assert_int_equal(http_rewrite_new(HTTP_REWRITE_MULTIPART, names, b, 0, &r), -EINVAL);
	assert_int_equal(http_rewrite_new(HTTP_REWRITE_MULTIPART, names, b, sizeof(b) - 1, &r), 0);
	http_rewrite_free(r);
	http_field_names_free(names);
}

static void test_none(void **state)
{
	(void)state;
	check(HTTP_REWRITE_NONE, NAMES("**"), NULL, "{\"t\":\"x\"}", ".........", true);
}

/* 100 MB of it: nothing grows, as nothing is allocated behind http_rewrite_new(). */
static void test_long_body(void **state)
{
	static const char unit[] = "{\"token\":\"abcdefgh\",\"note\":[1,2,{\"token\":\"x\"}]},";
	struct http_field_names *names = names_new(NAMES("*.token"));
	size_t n = 1000 * (sizeof(unit) - 1), named = 0, total = 0;
	char *body = malloc(n);
	struct http_rewrite *r;
	struct http_segment s;

	(void)state;
	for (size_t i = 0; i < n; i++)
		body[i] = unit[i % (sizeof(unit) - 1)];
	assert_int_equal(http_rewrite_new(HTTP_REWRITE_JSON, names, NULL, 0, &r), 0);
	for (size_t k = 0; total < 100000000; k++) {
		struct rd in = k ? rd_init(body, n) : rd_init("[", 1);

		total += rd_left(&in);
		while (http_rewrite_next(r, &in, &s))
			named += s.names ? s.n : 0;
	}
	assert_true(http_rewrite_valid(r));
	assert_int_equal(named, (total - 1) / (sizeof(unit) - 1) * 8);
	http_rewrite_free(r);
	http_field_names_free(names);
	free(body);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names),
		cmocka_unit_test(s08_json_paths),
		cmocka_unit_test(s08_json_keys),
		cmocka_unit_test(test_long_keys),
		cmocka_unit_test(test_json_depth),
		cmocka_unit_test(lesson_33_bad_json),
		cmocka_unit_test(s03_forms),
		cmocka_unit_test(s08_multipart),
		cmocka_unit_test(test_multipart_odd_lines),
		cmocka_unit_test(test_multipart_almost),
		cmocka_unit_test(test_types),
		cmocka_unit_test(test_boundary_length),
		cmocka_unit_test(test_none),
		cmocka_unit_test(test_long_body),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
