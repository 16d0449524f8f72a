/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Signed requests through the filter: what the upstream gets is signed with the value
 * over exactly what it gets; what was not signed with the placeholder gets nowhere.
 * A client that holds the placeholders is played with the same functions, which
 * test_sign_aws.c holds against published numbers. Row p9.3-18.
 */
#include "tests/unit/tlsproxy/http_rig.h"
#include "tlsproxy/sign.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define REAL_ID "AKIAREALREALREALREAL"
#define REAL_KEY "real/real+realrealrealrealrealrealrealKEY"
#define REAL_HOOK "whsec_realrealreal"
#define REAL_TOKEN "tokenrealtokenrealtoken"

enum { ID = 0, TOKEN = 1, KEY = 2, HOOK = 3 };

static struct secret_set *the_set(enum tlsproxy_violation action)
{
	static const struct tlsproxy_sign aws = { .kind = TLSPROXY_SIGN_AWS, .key_id = "ID" };
	static const struct tlsproxy_sign hook = { .kind = TLSPROXY_SIGN_HMAC,
						   .header = "X-Sig",
						   .timestamp_header = "X-Time",
						   .signs = "{timestamp}.{body}" };
	const unsigned named = TLSPROXY_IN_HEADER | TLSPROXY_IN_QUERY | TLSPROXY_IN_BODY;
	struct tlsproxy_secret in[] = {
		{ .env = "ID", .value = REAL_ID, .places = named },
		{ .env = "TOKEN", .value = REAL_TOKEN, .places = named },
		{ .env = "KEY", .value = REAL_KEY, .sign = &aws },
		{ .env = "HOOK", .value = REAL_HOOK, .sign = &hook },
	};
	struct tlsproxy_host_pattern p;
	struct secret_set *set;
	char err[256] = "";

	rig_must(tlsproxy_host_pattern_parse("api.example.com", 15, &p, NULL));
	for (size_t i = 0; i < ARRAY_SIZE(in); i++) {
		in[i].value_len = strlen(in[i].value);
		in[i].hosts = &p;
		in[i].n_hosts = 1;
		in[i].on_violation = action;
	}
	if (secret_set_new(in, ARRAY_SIZE(in), &set, err, sizeof(err)) < 0)
		fail_msg("%s", err);
	return set;
}

static struct http_text text(const char *s)
{
	return (struct http_text){ s, strlen(s) };
}

/* ---- reading heads ------------------------------------------------------------------------- */

struct seen {
	struct http_collect bytes;
	struct http_head head;
	struct sign_message m;
	size_t head_len;
};

static void see(struct seen *s, const struct buf *b)
{
	struct http_refusal refusal;
	const char *why = NULL;
	bool done = false;

	http_collect_init(&s->bytes, HTTP_COLLECT_REQUEST);
	assert_int_equal(http_collect_feed(&s->bytes, buf_at(b), b->len, &s->head_len, &done, &why),
			 0);
	assert_true(done);
	assert_int_equal(http_head_request(&s->bytes, &s->head, &refusal), 0);
	s->m = (struct sign_message){ .method = s->head.method,
				      .target = s->head.target,
				      .fields = s->head.fields,
				      .n_fields = s->head.n_fields };
	assert_int_equal(http_field_find(&s->head, "Host", &s->m.host), 1);
}

static void hash_of(struct http_text body, char out[SIGN_HEX_LEN + 1])
{
	uint8_t hash[SIGN_HASH_MAX];

	assert_int_equal(sign_digest(SIGN_SHA256, body, hash), 0);
	sign_hex(hash, 32, out);
	out[SIGN_HEX_LEN] = 0;
}

/* ---- a client with an SDK -------------------------------------------------------------------- */

#define SCOPE "/20260101/eu-central-1/dynamodb/aws4_request"

/* The request without its Authorization, signed; fields end with CRLF each. */
static void sdk(struct rig *g, const char *line, const char *fields, const char *names,
		struct http_text body, const char *key, struct buf *out)
{
	struct sign_aws a = { .day = text("20260101"),
			      .region = text("eu-central-1"),
			      .service = text("dynamodb"),
			      .date = text("20260101T000000Z"),
			      .names = text(names) };
	struct sign_aws_style style = { .path = SIGN_AWS_PATH_NORMAL };
	struct buf plain = BUF_INIT(65536), value = BUF_INIT(8192);
	char hash[SIGN_HEX_LEN + 1], made[SIGN_HEX_LEN], credential[128];
	struct seen s;

	rig_must(buf_printf(&plain,
			    "%s HTTP/1.1\r\nHost: api.example.com\r\n%s"
			    "X-Amz-Date: 20260101T000000Z\r\n",
			    line, fields));
	rig_must(buf_append(out, buf_at(&plain), plain.len));
	rig_must(buf_append_str(&plain, "\r\n"));
	see(&s, &plain);
	hash_of(body, hash);
	rig_must(sign_aws_sign(&s.m, &a, &style, text(hash), key, strlen(key), made));
	snprintf(credential, sizeof(credential), "%s" SCOPE,
		 secret_set_placeholder(g->cfg.secrets, ID));
	rig_must(sign_aws_write(&s.m, &a, text(credential), &value));
	memcpy(buf_at(&value) + value.len - SIGN_HEX_LEN, made, SIGN_HEX_LEN);
	rig_must(buf_append_str(out, "Authorization: "));
	rig_must(buf_append(out, buf_at(&value), value.len));
	rig_must(buf_append_str(out, "\r\n\r\n"));
	rig_must(buf_append(out, body.s, body.len));
	http_collect_fini(&s.bytes);
	buf_fini(&plain);
	buf_fini(&value);
}

/* What arrived is signed with the real key over what arrived. */
static void upstream_accepts(struct rig *g, struct http_text body)
{
	struct sign_aws_style style;
	char hash[SIGN_HEX_LEN + 1];
	const char *why = "";
	struct sign_aws a;
	struct seen s;

	see(&s, &g->up);
	assert_int_equal(g->up.len - s.head_len, body.len);
	assert_memory_equal(buf_at(&g->up) + s.head_len, body.s, body.len);
	if (sign_aws_parse(&s.m, text(REAL_ID), &a, &why) != 1)
		fail_msg("not signed: %s", why);
	hash_of(body, hash);
	assert_int_equal(sign_aws_verify(&s.m, &a, a.payload.len ? a.payload : text(hash), REAL_KEY,
					 strlen(REAL_KEY), &style),
			 0);
	http_collect_fini(&s.bytes);
}

static const char *ph(const struct rig *g, size_t i)
{
	return secret_set_placeholder(g->cfg.secrets, i);
}

static void begin(struct rig *g, struct secret_set *set, uint32_t cut)
{
	rig_prepare(g, true, set);
	g->cut = cut;
	rig_start(g);
}

static bool nothing_of(const struct buf *b, const char *what)
{
	return !b->len || !memmem(buf_at(b), b->len, what, strlen(what));
}

static void finish(struct rig *g, struct secret_set *set)
{
	rig_end(g);
	rig_free(g);
	secret_set_free(set);
}

/* ---- AWS -------------------------------------------------------------------------------------- */

static void p9_3_18_get(void **state)
{
	(void)state;
	for (uint32_t cut = 0; cut < 3; cut++) {
		struct secret_set *set = the_set(TLSPROXY_BLOCK_AND_LOG);
		struct buf in = BUF_INIT(65536);
		char fields[256];
		struct rig g;

		begin(&g, set, cut == 2 ? 999 : cut);
		/* Signed, and changed on the way to a host whose replies are read. */
		snprintf(fields, sizeof(fields),
			 "Accept-Encoding: gzip\r\nX-Amz-Security-Token: %s\r\n", ph(&g, TOKEN));
		sdk(&g, "GET /a/../b%20c?b=1&a=%7e", fields,
		    "accept-encoding;host;x-amz-date;x-amz-security-token", text(""), ph(&g, KEY),
		    &in);
		assert_true(rig_feed(&g, true, buf_at(&in), in.len));
		upstream_accepts(&g, text(""));
		assert_true(nothing_of(&g.up, ph(&g, ID)) && nothing_of(&g.up, ph(&g, TOKEN)));
		assert_non_null(strstr(rig_text(&g.up), REAL_TOKEN));
		assert_non_null(strstr(
			rig_text(&g.up),
			"SignedHeaders=accept-encoding;host;x-amz-date;x-amz-security-token,"));
		assert_non_null(strstr(rig_text(&g.log), "secret used KEY place=1"));
		assert_int_equal(g.violations, 0);
		buf_fini(&in);
		finish(&g, set);
	}
}

/* Without X-Amz-Content-SHA256 the body's hash is signed, with the secrets in it. */
static void p9_3_18_body_is_hashed(void **state)
{
	(void)state;
	for (uint32_t cut = 0; cut < 3; cut++) {
		struct secret_set *set = the_set(TLSPROXY_BLOCK_AND_LOG);
		struct buf in = BUF_INIT(65536);
		char fields[64], body[128], want[128];
		struct rig g;

		begin(&g, set, cut == 2 ? 999 : cut);
		snprintf(body, sizeof(body), "{\"TableName\": \"t\", \"k\": \"%s\"}", ph(&g, TOKEN));
		snprintf(want, sizeof(want), "{\"TableName\": \"t\", \"k\": \"%s\"}", REAL_TOKEN);
		snprintf(fields, sizeof(fields), "Content-Length: %zu\r\n", strlen(body));
		sdk(&g, "POST /", fields, "content-length;host;x-amz-date", text(body), ph(&g, KEY),
		    &in);
		assert_true(rig_feed(&g, true, buf_at(&in), in.len));
		upstream_accepts(&g, text(want));
		assert_true(rig_upstream(&g, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"));
		assert_int_equal(rig_status(&g.guest), 200);
		buf_fini(&in);
		finish(&g, set);
	}
}

/* Longer than every buffer on the way: it goes out as there is room. */
static void p9_3_18_long_body(void **state)
{
	enum { LEN = 3 << 20 };
	struct secret_set *set = the_set(TLSPROXY_BLOCK_AND_LOG);
	struct buf in = BUF_INIT(LEN + 65536), got = BUF_INIT(LEN + 65536);
	char *body = malloc(LEN);
	char fields[64];
	struct rig g;
	size_t at = 0;

	(void)state;
	assert_non_null(body);
	for (size_t i = 0; i < LEN; i++)
		body[i] = (char)('a' + i * 7 % 23);
	rig_prepare(&g, true, set);
	g.buf_cap = HTTP_BUF_MIN;
	rig_start(&g);
	snprintf(fields, sizeof(fields), "Content-Length: %d\r\n", LEN);
	sdk(&g, "POST /", fields, "host;x-amz-date", (struct http_text){ body, LEN }, ph(&g, KEY),
	    &in);
	for (unsigned idle = 0; idle < 3;) {
		size_t used = 0;
		enum http_state st =
			http_from_guest(g.filter, buf_at(&in) + at, MIN(in.len - at, (size_t)40000),
					&used, &g.up, &g.guest);

		assert_int_equal(st, HTTP_OK);
		at += used;
		idle = used || g.up.len ? 0 : idle + 1;
		if (g.up.len)
			rig_must(buf_append(&got, buf_at(&g.up), g.up.len));
		buf_consume(&g.up, g.up.len);
	}
	assert_int_equal(at, in.len);
	buf_fini(&g.up);
	g.up = got;
	upstream_accepts(&g, (struct http_text){ body, LEN });
	free(body);
	buf_fini(&in);
	finish(&g, set);
}

/* 403 with the reason, a violation on the record, nothing upstream. */
static void refused(struct rig *g, const struct buf *in, unsigned status, const char *why)
{
	assert_true(rig_feed(g, true, buf_at(in), in->len));
	if (rig_status(&g->guest) != status || !strstr(rig_text(&g->guest), why))
		fail_msg("answered \"%s\", expected %u %s", rig_text(&g->guest), status, why);
	assert_int_equal(g->up.len, 0);
}

static void p9_3_18_refusals(void **state)
{
	static const struct {
		const char *line, *fields, *key, *why;
		unsigned status;
	} cases[] = {
		{ "GET /", "", "guessed", "not made with the placeholder", 403 },
		{ "PUT /", "Transfer-Encoding: chunked\r\n", NULL, "no chunks", 403 },
		{ "PUT /", "Content-Length: 9000000\r\n", NULL, "at most 8 MiB", 403 },
		{ "PUT /", "Content-Length: 5\r\nExpect: 100-continue\r\n", NULL, "read before", 417 },
		{ "PUT /", "Content-Length: 5\r\nX-Amz-Content-SHA256: STREAMING-AWS4-HMAC-SHA256-PAYLOAD\r\n",
		  NULL, "chunk by chunk", 403 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct secret_set *set = the_set(TLSPROXY_BLOCK_AND_LOG);
		struct buf in = BUF_INIT(65536);
		struct rig g;

		begin(&g, set, 0);
		sdk(&g, cases[i].line, cases[i].fields, "host;x-amz-date", text(""),
		    cases[i].key ? cases[i].key : ph(&g, KEY), &in);
		refused(&g, &in, cases[i].status, cases[i].why);
		if (cases[i].status == 403)
			assert_non_null(strstr(rig_text(&g.log), "secret violation KEY"));
		buf_fini(&in);
		finish(&g, set);
	}
}

static bool starts_with(void *ctx, const char *pattern, const char *target)
{
	(void)ctx;
	return str_starts(target, pattern);
}

/* Methods, paths and uses narrow a key that signs as they do a value that is put in. */
static void p9_3_18_s13_narrowed(void **state)
{
	static const struct tlsproxy_sign hook = { .kind = TLSPROXY_SIGN_HMAC,
						   .header = "X-Sig",
						   .signs = "{body}" };
	static const char *const methods[] = { "POST" }, *const paths[] = { "/ok" };
	static const struct {
		const char *line, *why;
	} cases[] = { { "PUT /ok", "method not allowed" },
		      { "POST /other", "path not allowed" },
		      { "POST /ok", NULL },
		      { "POST /ok", NULL },
		      { "POST /ok", "used up" } };
	struct tlsproxy_host_pattern p;
	struct tlsproxy_secret in = { .env = "KEY",
				      .value = REAL_HOOK,
				      .value_len = strlen(REAL_HOOK),
				      .sign = &hook,
				      .hosts = &p,
				      .n_hosts = 1,
				      .methods = methods,
				      .n_methods = 1,
				      .paths = paths,
				      .n_paths = 1,
				      .max_uses = 2,
				      .on_violation = TLSPROXY_BLOCK_AND_LOG };
	struct secret_set *set;
	struct tlsproxy_ops ops;
	char err[256] = "";
	struct rig g;

	(void)state;
	rig_must(tlsproxy_host_pattern_parse("api.example.com", 15, &p, NULL));
	rig_must(secret_set_new(&in, 1, &set, err, sizeof(err)));
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct buf text = BUF_INIT(4096);

		rig_prepare(&g, true, set);
		ops = *g.cfg.ops;
		ops.path_matches = starts_with;
		g.cfg.ops = &ops;
		rig_start(&g);
		rig_must(buf_printf(&text,
				    "%s HTTP/1.1\r\nHost: api.example.com\r\nX-Sig: %s\r\n"
				    "Content-Length: 4\r\n\r\nbody",
				    cases[i].line, secret_set_placeholder(set, 0)));
		rig_guest(&g, buf_str(&text));
		assert_int_equal(g.up.len == 0, cases[i].why != NULL);
		if (cases[i].why)
			assert_non_null(strstr(rig_text(&g.log), cases[i].why));
		buf_fini(&text);
		rig_end(&g);
		rig_free(&g);
	}
	secret_set_unref(set);
}

/* The key's own placeholder may stand nowhere; over plain HTTP nothing is signed. */
static void p9_3_18_only_signatures(void **state)
{
	struct secret_set *set = the_set(TLSPROXY_BLOCK_AND_LOG);
	struct buf in = BUF_INIT(65536);
	struct rig g;

	(void)state;
	begin(&g, set, 0);
	rig_must(buf_printf(&in, "GET / HTTP/1.1\r\nHost: api.example.com\r\nX-Api-Key: %s\r\n\r\n",
			    ph(&g, KEY)));
	refused(&g, &in, 403, "place not allowed");
	rig_end(&g);
	rig_free(&g);
	buf_fini(&in);

	rig_prepare(&g, false, set);
	rig_start(&g);
	buf_init(&in, 65536);
	sdk(&g, "GET /", "", "host;x-amz-date", text(""), ph(&g, KEY), &in);
	refused(&g, &in, 403, "plain http");
	buf_fini(&in);
	finish(&g, set);
}

/* on_violation passthrough: the request goes on as the client signed it. */
static void p9_3_18_passthrough(void **state)
{
	struct secret_set *set = the_set(TLSPROXY_PASSTHROUGH);
	struct buf in = BUF_INIT(65536);
	struct rig g;

	(void)state;
	begin(&g, set, 0);
	sdk(&g, "GET /", "", "host;x-amz-date", text(""), "guessed", &in);
	assert_true(rig_feed(&g, true, buf_at(&in), in.len));
	assert_true(g.up.len > 0 && nothing_of(&g.up, REAL_KEY));
	assert_int_equal(g.violations, 1);
	buf_fini(&in);
	finish(&g, set);
}

/* ---- HMAC --------------------------------------------------------------------------------------- */

static void hook_hex(const char *key, const char *time, const char *body, char out[2 * 32 + 1])
{
	const struct http_text parts[] = { text(time), text("."), text(body) };
	uint8_t mac[SIGN_HASH_MAX];

	assert_int_equal(sign_mac(SIGN_SHA256, key, strlen(key), parts, 3, mac), 0);
	sign_hex(mac, 32, out);
	out[64] = 0;
}

static void p9_3_18_hmac(void **state)
{
	(void)state;
	for (uint32_t cut = 0; cut < 3; cut++) {
		struct secret_set *set = the_set(TLSPROXY_BLOCK_AND_LOG);
		char given[65], want[65], line[128];
		struct buf in = BUF_INIT(4096);
		struct rig g;

		begin(&g, set, cut == 2 ? 999 : cut);
		hook_hex(ph(&g, HOOK), "77", "hello", given);
		hook_hex(REAL_HOOK, "77", "hello", want);
		rig_must(buf_printf(&in,
				    "POST /h HTTP/1.1\r\nHost: api.example.com\r\nX-Time: 77\r\n"
				    "X-Sig: %s\r\nContent-Length: 5\r\n\r\nhello",
				    given));
		/* And once more, with the placeholder where the signature should be. */
		rig_must(buf_printf(&in,
				    "POST /h HTTP/1.1\r\nHost: api.example.com\r\nX-Time: 77\r\n"
				    "X-Sig: %s\r\nContent-Length: 5\r\n\r\nhello",
				    ph(&g, HOOK)));
		assert_true(rig_feed(&g, true, buf_at(&in), in.len));
		snprintf(line, sizeof(line), "X-Sig: %s\r\n", want);
		assert_non_null(strstr(rig_text(&g.up), line));
		assert_non_null(strstr(strstr(rig_text(&g.up), line) + 10, line));
		assert_true(nothing_of(&g.up, given) && nothing_of(&g.up, ph(&g, HOOK)));
		assert_int_equal(g.violations, 0);
		buf_fini(&in);
		finish(&g, set);
	}
}

static void p9_3_18_hmac_refused(void **state)
{
	struct secret_set *set = the_set(TLSPROXY_BLOCK_AND_LOG);
	struct buf in = BUF_INIT(4096);
	char given[65];
	struct rig g;

	(void)state;
	begin(&g, set, 0);
	hook_hex(ph(&g, HOOK), "77", "hello", given);
	rig_must(buf_printf(
		&in,
		"POST /h HTTP/1.1\r\nHost: api.example.com\r\nX-Time: 77\r\nX-Sig: %s\r\n"
		"Content-Length: 5\r\n\r\nHELLO",
		given));
	refused(&g, &in, 403, "not made with the placeholder");
	buf_fini(&in);
	finish(&g, set);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(p9_3_18_get),		cmocka_unit_test(p9_3_18_body_is_hashed),
		cmocka_unit_test(p9_3_18_long_body),	cmocka_unit_test(p9_3_18_refusals),
		cmocka_unit_test(p9_3_18_s13_narrowed), cmocka_unit_test(p9_3_18_only_signatures),
		cmocka_unit_test(p9_3_18_passthrough),	cmocka_unit_test(p9_3_18_hmac),
		cmocka_unit_test(p9_3_18_hmac_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
