/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Secrets in requests: the five places, and every way a placeholder may stand
 * where it must not. In the texts below {P} is the placeholder, {V} the value,
 * and {%P} {B64} {HEX} ... an encoding of the placeholder.
 */
#include "http_rig.h"
#include "secret_rig.h"

#include <setjmp.h>
#include <cmocka.h>

#define HEAD(line) line " HTTP/1.1\r\nHost: api.example.com\r\n"

/* ---- texts with placeholders ---------------------------------------------------------- */

static void put_encoded(struct buf *out, const char *what, size_t n, const struct secret *s)
{
	const uint8_t *p = (const uint8_t *)s->placeholder;
	uint8_t tmp[3 * TLSPROXY_SECRET_MAX];
	char text[2 * TLSPROXY_SECRET_MAX];

	if (n == 1 && *what == 'P')
		rig_must(buf_append(out, p, s->len));
	else if (n == 1 && *what == 'V')
		rig_must(buf_append(out, s->value, s->len));
	else if (n == 2 && memcmp(what, "P1", 2) == 0) /* first half */
		rig_must(buf_append(out, p, s->len / 2));
	else if (n == 2 && memcmp(what, "P2", 2) == 0)
		rig_must(buf_append(out, p + s->len / 2, s->len - s->len / 2));
	else if (n == 2 && memcmp(what, "%P", 2) == 0) /* all escaped */
		for (size_t i = 0; i < s->len; i++)
			rig_must(buf_printf(out, "%%%02x", p[i]));
	else if (n == 2 && memcmp(what, "%1", 2) == 0) { /* one escaped */
		rig_must(buf_printf(out, "%.*s%%%02X%s", 5, (const char *)p, p[5], p + 6));
	} else if (n == 3 && memcmp(what, "%%P", 3) == 0) /* escaped twice */
		for (size_t i = 0; i < s->len; i++)
			rig_must(buf_printf(out, "%%25%02x", p[i]));
	else if (n == 2 && memcmp(what, "uP", 2) == 0)
		for (size_t i = 0; i < s->len; i++)
			rig_must(buf_printf(out, "\\u%04x", p[i]));
	else if (n == 2 && memcmp(what, "u1", 2) == 0)
		rig_must(buf_printf(out, "%.*s\\u00%02X%s", 5, (const char *)p, p[5], p + 6));
	else if (n == 3 && memcmp(what, "uuP", 3) == 0) /* JSON within JSON */
		for (size_t i = 0; i < s->len; i++)
			rig_must(buf_printf(out, "\\\\u%04x", p[i]));
	else if (n == 3 && memcmp(what, "HEX", 3) == 0)
		rig_must(buf_append(out, tmp, secret_encode_hex(true, p, s->len, tmp)));
	else if (n == 3 && memcmp(what, "hex", 3) == 0)
		rig_must(buf_append(out, tmp, secret_encode_hex(false, p, s->len, tmp)));
	else if (n == 4 && memcmp(what, "B64", 3) == 0) { /* B640..B642: phase; B643: user:P */
		size_t lead = what[3] == '3' ? 5 : (size_t)(what[3] - '0');

		memcpy(tmp, "user:", 5);
		memcpy(tmp + lead, p, s->len);
		rig_must(buf_append(out, text, secret_base64_encode(tmp, lead + s->len, text)));
	} else if (n == 5 && memcmp(what, "V64", 3) == 0) { /* V64:u: value with user */
		memcpy(tmp, "user:", 5);
		memcpy(tmp + 5, s->value, s->len);
		rig_must(buf_append(out, text, secret_base64_encode(tmp, 5 + s->len, text)));
	} else if (n == 2 && memcmp(what, "QP", 2) == 0) /* as a client escapes it */
		rig_must(buf_append(out, tmp, secret_encode_percent(0, p, s->len, tmp)));
	else if (n == 2 && memcmp(what, "QV", 2) == 0)
		rig_must(buf_append(out, tmp, secret_encode_percent(0, s->value, s->len, tmp)));
	else if (n == 2 && memcmp(what, "JP", 2) == 0)
		rig_must(buf_append(out, tmp, secret_encode_json(0, p, s->len, tmp)));
	else if (n == 2 && memcmp(what, "JV", 2) == 0)
		rig_must(buf_append(out, tmp, secret_encode_json(0, s->value, s->len, tmp)));
	else if (n == 3 && memcmp(what, "LEN", 3) == 0)
		rig_must(buf_printf(out, "%zu", s->len));
	else
		fail_msg("unknown text %.*s", (int)n, what);
}

static void expand(const char *t, const struct secret *s, struct buf *out)
{
	while (*t) {
		const char *open = strchr(t, '{'), *close = open ? strchr(open, '}') : NULL;

		if (!close) {
			rig_must(buf_append_str(out, t));
			return;
		}
		rig_must(buf_append(out, t, (size_t)(open - t)));
		if (open[1] == '{') { /* {{ is a brace */
			rig_must(buf_append(out, "{", 1));
			t = open + 2;
			continue;
		}
		put_encoded(out, open + 1, (size_t)(close - open - 1), s);
		t = close + 1;
	}
}

/* A request: head, then the body framed by its length or in chunks of 7. */
static void make_request(const char *head, const char *body, bool chunked, const struct secret *s,
			 struct buf *out)
{
	struct buf b = BUF_INIT(RIG_CAP);

	expand(head, s, out);
	if (!body) {
		rig_must(buf_append_str(out, "\r\n"));
		return;
	}
	expand(body, s, &b);
	if (!chunked) {
		rig_must(buf_printf(out, "Content-Length: %zu\r\n\r\n", b.len));
		rig_must(buf_append(out, rig_text(&b), b.len));
	} else {
		rig_must(buf_append_str(out, "Transfer-Encoding: chunked\r\n\r\n"));
		for (size_t i = 0; i < b.len; i += 7) {
			rig_must(buf_printf(out, "%zx\r\n", MIN(b.len - i, (size_t)7)));
			rig_must(buf_append(out, buf_at(&b) + i, MIN(b.len - i, (size_t)7)));
			rig_must(buf_append_str(out, "\r\n"));
		}
		rig_must(buf_append_str(out, "0\r\n\r\n"));
	}
	buf_fini(&b);
}

/* What the upstream read: head, and body without its chunks. */
static void dechunk(struct buf *in, struct buf *out)
{
	const char *t = rig_text(in), *end = strstr(t, "\r\n\r\n");
	const uint8_t *p, *data = NULL;
	struct http_chunks c = { 0 };
	size_t n, head;

	head = end ? (size_t)(end + 4 - t) : in->len;
	rig_must(buf_append(out, t, head));
	p = (const uint8_t *)t + head;
	n = in->len - head;
	if (!strstr(t, "chunked")) {
		rig_must(buf_append(out, p, n));
		return;
	}
	while (n) {
		size_t used, len;
		const char *why;
		bool last;

		rig_must(http_chunks_feed(&c, p, n, &used, &data, &len, &last, &why));
		rig_must(buf_append(out, data, len));
		p += used;
		n -= used;
		if (last)
			break;
	}
}

/* ---- what is put in ---------------------------------------------------------------------- */

#define PLAIN_VALUE "ghp_16C7e42F292c6912E7710c838347Ae178B4a"
#define ODD_VALUE "aB3+xY/9kLm\"Qr\\7Ts=uV~w*z"
#define UNSHAPED "!!@@##$$%%&&"

#define ALL 31

static const struct {
	const char *name;
	unsigned places;
	const char *value, *head, *body, *up_head, *up_body;
} puts_[] = {
	{ "header", ALL, PLAIN_VALUE, HEAD("GET /") "Authorization: Bearer {P}\r\n", NULL,
	  "Authorization: Bearer {V}\r\n", NULL },
	{ "header, twice", ALL, PLAIN_VALUE, HEAD("GET /") "X-A: {P}{P}\r\nX-B: a{P}b\r\n", NULL,
	  "X-A: {V}{V}\r\nX-B: a{V}b\r\n", NULL },
	{ "header, odd value", ALL, ODD_VALUE, HEAD("GET /") "X-A: {P}\r\n", NULL, "X-A: {V}\r\n",
	  NULL },
	{ "cookie", ALL, PLAIN_VALUE, HEAD("GET /") "Cookie: a={P}; b=c\r\n", NULL,
	  "Cookie: a={V}; b=c\r\n", NULL },
	{ "basic", 3, PLAIN_VALUE, HEAD("GET /") "Authorization: Basic {B643}\r\n", NULL,
	  "Authorization: Basic {V64:u}\r\n", NULL },
	{ "basic, lower case", 2, PLAIN_VALUE, HEAD("GET /") "authorization: basic {B643}\r\n",
	  NULL, "authorization: Basic {V64:u}\r\n", NULL },
	{ "basic holds a whole secret", 1, "dXNlcjpwYXNzd29yZGFiY2RlZmdo",
	  HEAD("GET /") "Authorization: Basic {P}\r\n", NULL, "Authorization: Basic {V}\r\n", NULL },
	{ "query", 4, PLAIN_VALUE, HEAD("GET /a?key={P}&x=1"), NULL, "GET /a?key={V}&x=1 ", NULL },
	{ "query, escaped by the client", 4, ODD_VALUE, HEAD("GET /a?key={QP}&x=1"), NULL,
	  "GET /a?key={QV}&x=1 ", NULL },
	{ "query, value needs escapes", 4, UNSHAPED, HEAD("GET /a?key={P}&x=1"), NULL,
	  "GET /a?key={QV}&x=1 ", NULL },
	{ "path", 8, PLAIN_VALUE, HEAD("GET /bot{P}/send?x"), NULL, "GET /bot{V}/send?x ", NULL },
	{ "path, escaped by the client", 8, ODD_VALUE, HEAD("GET /bot{QP}/send"), NULL,
	  "GET /bot{QV}/send ", NULL },
	{ "body", 16, PLAIN_VALUE, HEAD("POST /"), "a={P}&b={P}{P} ghp_ghp_", "POST /",
	  "a={V}&b={V}{V} ghp_ghp_" },
	{ "body, beginnings of it", 16, PLAIN_VALUE, HEAD("POST /"), "{P1}{P1}{P}{P1}", "POST /",
	  "{P1}{P1}{V}{P1}" },
	{ "body, JSON", 16, ODD_VALUE, HEAD("POST /") "Content-Type: application/json\r\n",
	  "{{\"k\":\"{JP}\"}", "POST /", "{{\"k\":\"{JV}\"}" },
	{ "body, form", 16, ODD_VALUE,
	  HEAD("POST /") "Content-Type: application/x-www-form-urlencoded\r\n", "k={QP}&x=%41",
	  "POST /", "k={QV}&x=%41" },
	{ "body, plain text", 16, UNSHAPED, HEAD("POST /"), "x{P}y", "POST /", "x{V}y" },
};

static void run_put(size_t i, bool chunked, uint32_t cut)
{
	struct secret_spec spec = { "TOKEN", puts_[i].value, "api.example.com", puts_[i].places,
				    TLSPROXY_BLOCK_AND_LOG };
	struct secret_set *set = secret_rig(&spec, 1);
	const struct secret *s = &set->secrets[0];
	struct buf in = BUF_INIT(RIG_CAP), want = BUF_INIT(RIG_CAP), got = BUF_INIT(RIG_CAP);
	struct rig g;

	rig_prepare(&g, true, set);
	g.cut = cut;
	rig_start(&g);
	make_request(puts_[i].head, puts_[i].body, chunked, s, &in);
	assert_true(rig_feed(&g, true, buf_at(&in), in.len));
	dechunk(&g.up, &got);
	expand(puts_[i].up_head, s, &want);
	if (!strstr(rig_text(&got), rig_text(&want)))
		fail_msg("%s (cut %u): got\n%s\nwant\n%s\n%s", puts_[i].name, cut, rig_text(&got),
			 rig_text(&want), rig_text(&g.log));
	if (puts_[i].up_body) {
		const char *body = strstr(rig_text(&got), "\r\n\r\n") + 4;

		buf_reset(&want);
		expand(puts_[i].up_body, s, &want);
		if (strcmp(body, rig_text(&want)) != 0)
			fail_msg("%s (cut %u, chunked %d): body\n%s\nwant\n%s", puts_[i].name, cut,
				 chunked, body, rig_text(&want));
	}
	if (g.uses != 1 || g.violations)
		fail_msg("%s: %u uses\n%s", puts_[i].name, g.uses, rig_text(&g.log));
	assert_null(strstr(rig_text(&g.log), (const char *)puts_[i].value));
	assert_int_equal(g.state, HTTP_OK);
	buf_fini(&in);
	buf_fini(&want);
	buf_fini(&got);
	rig_free(&g);
	secret_set_free(set);
}

static void test_places(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(puts_); i++)
		for (uint32_t cut = 0; cut < 6; cut++)
			for (int chunked = 0; chunked < 2; chunked++)
				run_put(i, chunked, cut < 2 ? cut : cut * 104729);
}

/* ---- violations --------------------------------------------------------------------------- */

enum { PLAIN_HTTP = 1, CHUNKED = 2, OTHER_HOST = 4 };

static const struct {
	const char *name;
	unsigned places, flags;
	const char *head, *body;
	const char *log; /* in the record */
} violations[] = {
	{ "other host", ALL, OTHER_HOST, HEAD("GET /") "X: {P}\r\n", NULL, "host not allowed" },
	{ "other host, body", ALL, OTHER_HOST, HEAD("POST /"), "x{P}", "host not allowed" },
	{ "other host, chunked", ALL, OTHER_HOST | CHUNKED, HEAD("POST /"), "x{P}",
	  "host not allowed" },
	{ "plain http", ALL, PLAIN_HTTP, HEAD("GET /") "Authorization: Bearer {P}\r\n", NULL,
	  "plain http" },
	{ "plain http, body", ALL, PLAIN_HTTP, HEAD("POST /"), "{P}", "plain http" },
	{ "plain http, query", ALL, PLAIN_HTTP, HEAD("GET /?{P}"), NULL, "plain http" },
	{ "TRACE", ALL, 0, HEAD("TRACE /") "Authorization: Bearer {P}\r\n", NULL, "TRACE" },
	{ "OPTIONS", ALL, 0, HEAD("OPTIONS /") "Authorization: Bearer {P}\r\n", NULL, "OPTIONS" },
	{ "header not allowed", ALL & ~1u, 0, HEAD("GET /") "X: {P}\r\n", NULL, "place not allowed" },
	{ "basic not allowed", ALL & ~2u, 0, HEAD("GET /") "Authorization: Basic {B643}\r\n", NULL,
	  "place not allowed" },
	{ "query not allowed", 3, 0, HEAD("GET /?k={P}"), NULL, "place not allowed" },
	{ "path not allowed", 3, 0, HEAD("GET /{P}"), NULL, "place not allowed" },
	{ "body not allowed", 3, 0, HEAD("POST /"), "k={P}", "place not allowed" },
	{ "body not allowed, chunked", 3, CHUNKED, HEAD("POST /"), "k={P}", "place not allowed" },
	{ "Referer", ALL, 0, HEAD("GET /") "Referer: https://a/{P}\r\n", NULL, "field not allowed" },
	{ "User-Agent", ALL, 0, HEAD("GET /") "User-Agent: {P}\r\n", NULL, "field not allowed" },
	{ "X-Forwarded-For", ALL, 0, HEAD("GET /") "X-Forwarded-For: {P}\r\n", NULL,
	  "field not allowed" },
	{ "removed field", ALL, 0, HEAD("GET /") "Proxy-Authorization: {P}\r\n", NULL,
	  "field not allowed" },
	{ "field name", ALL, 0, HEAD("GET /") "{P}: x\r\n", NULL, "field name" },
	{ "method", ALL, 0, "{P1} / HTTP/1.1\r\nHost: api.example.com\r\nX: {%P}\r\n", NULL,
	  "encoding=percent" },
	{ "percent in a header", ALL, 0, HEAD("GET /") "X: {%P}\r\n", NULL, "encoding=percent" },
	{ "percent in a query", ALL, 0, HEAD("GET /?{%P}"), NULL, "encoding=percent" },
	{ "one escape in a query", ALL, 0, HEAD("GET /?{%1}"), NULL, "encoding=percent" },
	{ "twice escaped", ALL, 0, HEAD("GET /?{%%P}"), NULL, "encoding=percent" },
	{ "percent in a path", ALL, 0, HEAD("GET /{%P}"), NULL, "encoding=percent" },
	{ "percent in a form", ALL, 0,
	  HEAD("POST /") "Content-Type: application/x-www-form-urlencoded\r\n", "a={%P}",
	  "encoding=percent" },
	{ "percent in a body", ALL, CHUNKED, HEAD("POST /"), "a={%1}", "encoding=percent" },
	{ "JSON escapes in a header", ALL, 0, HEAD("GET /") "X: {uP}\r\n", NULL, "encoding=json" },
	{ "JSON escapes in a body", ALL, 0, HEAD("POST /"), "\"{uP}\"", "encoding=json" },
	{ "one JSON escape", ALL, 0, HEAD("POST /") "Content-Type: application/json\r\n",
	  "\"{u1}\"", "encoding=json" },
	{ "JSON within JSON", ALL, CHUNKED, HEAD("POST /"), "\"{uuP}\"", "encoding=json" },
	{ "base64 in bearer", ALL, 0, HEAD("GET /") "Authorization: Bearer {B640}\r\n", NULL,
	  "encoding=base64" },
	{ "base64 phase 1", ALL, 0, HEAD("GET /") "X: {B641}\r\n", NULL, "encoding=base64" },
	{ "base64 phase 2", ALL, 0, HEAD("GET /?{B642}"), NULL, "encoding=base64" },
	{ "base64 in a body", ALL, 0, HEAD("POST /"), "{B643}", "encoding=base64" },
	{ "base64 twice named Basic", ALL, 0, HEAD("GET /") "X: Basic {B643}\r\n", NULL,
	  "encoding=base64" },
	{ "basic with broken padding", ALL, 0, HEAD("GET /") "Authorization: Basic {B643}A\r\n",
	  NULL, "encoding=base64" },
	{ "hex", ALL, 0, HEAD("GET /{hex}"), NULL, "encoding=hex" },
	{ "HEX in a body", ALL, CHUNKED, HEAD("POST /"), "{HEX}", "encoding=hex" },
	{ "unknown content coding", ALL, 0, HEAD("POST /") "Content-Encoding: exi\r\n", "{P}",
	  "a content coding that cannot be read" },
};

static void run_violation(size_t i, enum tlsproxy_violation action, uint32_t cut)
{
	struct secret_spec spec = { "TOKEN", PLAIN_VALUE,
				    violations[i].flags & OTHER_HOST ? "other.example.com"
								     : ".example.com",
				    violations[i].places, action };
	struct secret_set *set = secret_rig(&spec, 1);
	const struct secret *s = &set->secrets[0];
	struct buf in = BUF_INIT(RIG_CAP);
	bool blocks = action != TLSPROXY_PASSTHROUGH;
	struct rig g;

	rig_prepare(&g, !(violations[i].flags & PLAIN_HTTP), set);
	g.cut = cut;
	rig_start(&g);
	make_request(violations[i].head, violations[i].body, violations[i].flags & CHUNKED, s, &in);
	assert_true(rig_feed(&g, true, buf_at(&in), in.len));
	if (rig_status(&g.guest) != (blocks ? 403u : 0u))
		fail_msg("%s (cut %u, action %d): status %u\n%s%s", violations[i].name, cut, action,
			 rig_status(&g.guest), rig_text(&g.log), rig_text(&g.up));
	assert_int_equal(g.state, blocks ? HTTP_CLOSE : HTTP_OK);
	assert_int_equal(g.violations, action == TLSPROXY_BLOCK ? 0 : 1);
	assert_int_equal(g.terminated, action == TLSPROXY_BLOCK_AND_TERMINATE ? 1 : 0);
	if (action != TLSPROXY_BLOCK && !strstr(rig_text(&g.log), violations[i].log))
		fail_msg("%s: the record says\n%s", violations[i].name, rig_text(&g.log));
	if (blocks && !strstr(rig_text(&g.log), "http violation 403"))
		fail_msg("%s: the record says\n%s", violations[i].name, rig_text(&g.log));
	/* Short bodies too: nothing of such a request is sent. */
	if (blocks && !(violations[i].flags & CHUNKED))
		assert_int_equal(g.up.len, 0);
	/* Never the value, never all of the placeholder. */
	assert_null(strstr(rig_text(&g.up), PLAIN_VALUE));
	if (blocks)
		assert_null(strstr(rig_text(&g.up), s->placeholder));
	assert_null(strstr(rig_text(&g.guest), PLAIN_VALUE));
	assert_null(strstr(rig_text(&g.log), PLAIN_VALUE));
	buf_fini(&in);
	rig_free(&g);
	secret_set_free(set);
}

static void test_violations(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(violations); i++)
		for (uint32_t cut = 0; cut < 5; cut++) {
			run_violation(i, TLSPROXY_BLOCK_AND_LOG, cut < 2 ? cut : cut * 31337);
			run_violation(i, TLSPROXY_PASSTHROUGH, cut < 2 ? cut : cut * 31337);
		}
	for (size_t i = 0; i < ARRAY_SIZE(violations); i++) {
		run_violation(i, TLSPROXY_BLOCK, 0);
		run_violation(i, TLSPROXY_BLOCK_AND_TERMINATE, 0);
	}
}

/* ---- the rest --------------------------------------------------------------------------------- */

/* What passes through is not changed by a byte. */
static void test_passthrough_is_exact(void **state)
{
	struct secret_spec spec = { "TOKEN", PLAIN_VALUE, "other.example.com", ALL,
				    TLSPROXY_PASSTHROUGH };
	struct secret_set *set = secret_rig(&spec, 1);
	const char *body = "{P} {%1} {u1} {B641} {hex} %25%2 \\u00 \\\\ {P1}";
	struct buf in = BUF_INIT(RIG_CAP), want = BUF_INIT(RIG_CAP);

	(void)state;
	expand(body, &set->secrets[0], &want);
	make_request(HEAD("POST /"), body, false, &set->secrets[0], &in);
	for (uint32_t cut = 0; cut < 9; cut++) {
		struct rig g;

		rig_prepare(&g, true, set);
		g.cut = cut;
		rig_start(&g);
		assert_true(rig_feed(&g, true, buf_at(&in), in.len));
		assert_string_equal(strstr(rig_text(&g.up), "\r\n\r\n") + 4, rig_text(&want));
		assert_int_equal(g.violations, 1);
		rig_free(&g);
	}
	buf_fini(&in);
	buf_fini(&want);
	secret_set_free(set);
}

/* All punctuation: the placeholder is letters, the value gets longer, and the length is told anew. */
static void s03_value_gets_longer_in_json(void **state)
{
	struct secret_spec spec = { "TOKEN", "\"\"\\\\\"\"\\!!", "api.example.com", ALL,
				    TLSPROXY_BLOCK_AND_LOG };
	struct secret_set *set = secret_rig(&spec, 1);
	struct buf in = BUF_INIT(RIG_CAP), want = BUF_INIT(RIG_CAP);
	struct rig g;

	(void)state;
	rig_prepare(&g, true, set);
	rig_start(&g);
	make_request(HEAD("POST /") "Content-Type: application/json\r\n", "[\"{P}\"]", false,
		     &set->secrets[0], &in);
	assert_true(rig_feed(&g, true, buf_at(&in), in.len));
	expand("Content-Length: 20\r\n\r\n[\"{JV}\"]", &set->secrets[0], &want);
	assert_non_null(strstr(rig_text(&g.up), rig_text(&want)));
	buf_fini(&in);
	buf_fini(&want);
	rig_free(&g);
	secret_set_unref(set);
}

static void test_two_secrets(void **state)
{
	struct secret_spec spec[] = {
		{ "A", "ghp_AAAAbbbbCCCCddddEEEEffffGGGGhhhh0000", "api.example.com", ALL, 1 },
		{ "B", "ghp_ZZZZyyyyXXXXwwwwVVVVuuuuTTTTssss9999", "api.example.com", 16, 1 },
	};
	struct secret_set *set = secret_rig(spec, 2);
	const char *a = secret_set_placeholder(set, 0), *b = secret_set_placeholder(set, 1);
	struct rig g;
	char req[1024];

	(void)state;
	for (uint32_t cut = 0; cut < 5; cut++) {
		rig_prepare(&g, true, set);
		g.cut = cut;
		rig_start(&g);
		snprintf(req, sizeof(req),
			 HEAD("POST /") "X: %s\r\nContent-Length: 130\r\n\r\n%s%s%s[%.8s", a, a, b,
			 a, b);
		assert_true(rig_guest(&g, req));
		snprintf(req, sizeof(req), "\r\n\r\n%s%s%s[%.8s", spec[0].value, spec[1].value,
			 spec[0].value, b);
		/* A short body goes with its head, once it is complete. */
		assert_int_equal(g.up.len, 0);
		assert_true(rig_guest(&g, "a"));
		assert_non_null(strstr(rig_text(&g.up), req));
		assert_int_equal(g.uses, 3);
		rig_free(&g);
	}
	secret_set_free(set);
}

/* A hundred megabytes with the placeholder now and then, in a buffer of 256 KiB. */
static void test_large_body(void **state)
{
	struct secret_spec spec = { "TOKEN", PLAIN_VALUE, "api.example.com", ALL, 1 };
	struct secret_set *set = secret_rig(&spec, 1);
	const char *p = secret_set_placeholder(set, 0);
	const size_t total = (size_t)100 * 1000 * 1000;
	static uint8_t block[100003];
	size_t sent = 0, got = 0, values = 0;
	struct rig g;
	char head[200];

	(void)state;
	for (size_t i = 0; i < sizeof(block); i++)
		block[i] = (uint8_t)(i * 2654435761u >> 13);
	memcpy(block + sizeof(block) - 20, p, 20);
	memcpy(block, p + 20, strlen(p) - 20);
	rig_prepare(&g, true, set);
	g.buf_cap = (size_t)256 * 1024;
	rig_start(&g);
	snprintf(head, sizeof(head), HEAD("POST /") "Content-Length: %zu\r\n\r\n", total);
	assert_true(rig_guest(&g, head));
	buf_consume(&g.up, g.up.len);
	while (got < total) {
		size_t at = sent % sizeof(block);
		size_t n = MIN(MIN(sizeof(block) - at, total - sent), (size_t)65536), used;

		g.state = http_from_guest(g.filter, block + at, n, &used, &g.up, &g.guest);
		assert_int_equal(g.state, HTTP_OK);
		sent += used;
		if (g.up.len && memmem(buf_at(&g.up), g.up.len, PLAIN_VALUE, strlen(PLAIN_VALUE)))
			values++;
		got += g.up.len;
		assert_true(g.up.size <= g.buf_cap);
		buf_consume(&g.up, g.up.len);
	}
	assert_int_equal(sent, total);
	assert_int_equal(got, total);
	assert_true(values > 300);
	assert_int_equal(g.uses, 1);
	rig_free(&g);
	secret_set_free(set);
}

/* Also in the spellings a server echoes: the credentials it was sent, a URL, a JSON text. */
static void test_scrub_rendered(void **state)
{
	struct secret_spec spec = { "TOKEN", ODD_VALUE, "api.example.com", ALL, 1 };
	struct secret_set *set = secret_rig(&spec, 1);
	struct buf in = BUF_INIT(RIG_CAP), want = BUF_INIT(RIG_CAP);
	struct rig g;

	(void)state;
	for (uint32_t cut = 0; cut < 4; cut++) {
		buf_reset(&in);
		buf_reset(&want);
		rig_prepare(&g, true, set);
		g.cut = cut;
		rig_start(&g);
		assert_true(rig_guest(&g, HEAD("GET /") "\r\n"));
		make_request("HTTP/1.1 200 OK\r\n", "url={QV} json=\"{JV}\" {V}", false,
			     &set->secrets[0], &in);
		assert_true(rig_feed(&g, false, buf_at(&in), in.len));
		expand("url={QP} json=\"{JP}\" {P}", &set->secrets[0], &want);
		assert_string_equal(strstr(rig_text(&g.guest), "\r\n\r\n") + 4, rig_text(&want));
		rig_free(&g);
		/* Base64: of the credentials only the bits of the user's name are left. */
		buf_reset(&in);
		rig_prepare(&g, true, set);
		rig_start(&g);
		assert_true(rig_guest(&g, HEAD("GET /") "\r\n"));
		make_request("HTTP/1.1 200 OK\r\nX: {V64:u}\r\n", "", false, &set->secrets[0], &in);
		assert_true(rig_feed(&g, false, buf_at(&in), in.len));
		buf_reset(&in);
		expand("{V64:u}", &set->secrets[0], &in);
		assert_null(memmem(rig_text(&g.guest), g.guest.len, buf_at(&in) + 8, 8));
		assert_null(memmem(rig_text(&g.guest), g.guest.len, buf_at(&in) + 24, 8));
		rig_free(&g);
	}
	buf_fini(&in);
	buf_fini(&want);
	secret_set_free(set);
}

/* Replies: the value becomes the placeholder again. */
static void test_scrub(void **state)
{
	struct secret_spec spec = { "TOKEN", PLAIN_VALUE, "api.example.com", ALL, 1 };
	struct secret_set *set = secret_rig(&spec, 1);
	struct buf in = BUF_INIT(RIG_CAP), want = BUF_INIT(RIG_CAP), got = BUF_INIT(RIG_CAP);

	(void)state;
	for (uint32_t cut = 0; cut < 12; cut++) {
		struct rig g;
		bool chunked = cut % 2;

		rig_prepare(&g, true, set);
		g.cut = cut / 2;
		rig_start(&g);
		buf_reset(&in);
		buf_reset(&want);
		buf_reset(&got);
		assert_true(rig_guest(&g, HEAD("GET /") "\r\n"));
		make_request("HTTP/1.1 200 got {V}\r\nX-Echo: a{V}b\r\n",
			     "ghp_{V}{V} {P1}{V}x ghp_", chunked, &set->secrets[0], &in);
		assert_true(rig_feed(&g, false, buf_at(&in), in.len));
		assert_null(strstr(rig_text(&g.guest), PLAIN_VALUE));
		dechunk(&g.guest, &got);
		expand("ghp_{P}{P} {P1}{P}x ghp_", &set->secrets[0], &want);
		assert_string_equal(strstr(rig_text(&got), "\r\n\r\n") + 4, rig_text(&want));
		assert_non_null(strstr(rig_text(&got), secret_set_placeholder(set, 0)));
		rig_free(&g);
	}
	buf_fini(&in);
	buf_fini(&want);
	buf_fini(&got);
	secret_set_free(set);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_places),
		cmocka_unit_test(test_violations),
		cmocka_unit_test(test_passthrough_is_exact),
		cmocka_unit_test(s03_value_gets_longer_in_json),
		cmocka_unit_test(test_two_secrets),
		cmocka_unit_test(test_large_body),
		cmocka_unit_test(test_scrub),
		cmocka_unit_test(test_scrub_rendered),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
