/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Coded bodies through the filter, both directions: what the other end reads, once
 * decoded, is the body with the value or the placeholder in the other's place, whatever
 * the coding, the framing and the pieces.
 */
#include "http_rig.h"
#include "secret_rig.h"

#include <setjmp.h>
#include <cmocka.h>

#define VALUE "ghp_16C7e42F292c6912E7710c838347Ae178B4a"
#define GET "GET /x HTTP/1.1\r\nHost: api.example.com\r\nAuthorization: Bearer %s\r\n\r\n"

static const char *const codings[] = { "gzip", "deflate", "br", "zstd", "gzip, br" };

static struct secret_set *the_set(const char *host)
{
	struct secret_spec spec = { "T", VALUE, host, 31, TLSPROXY_BLOCK_AND_LOG };

	return secret_rig(&spec, 1);
}

static void code(bool encode, const char *coding, const void *p, size_t n, struct buf *out)
{
	struct http_codings list = { 0 };
	struct http_coder *c;
	size_t taken;
	bool done;

	rig_must(http_codings_add(&list, coding, strlen(coding)));
	rig_must(encode ? http_encoder_new(&list, &c) : http_decoder_new(&list, &c));
	do {
		rig_must(http_coder_run(c, p, n, HTTP_CODING_END, out, &taken, &done));
		p = (const char *)p + taken;
		n -= taken;
	} while (!done);
	http_coder_free(c);
}

/* Text of about n bytes with `what` here and there. */
static void text(struct buf *b, size_t n, const char *what)
{
	for (unsigned i = 0; b->len < n; i++)
		rig_must(i % 97 == 5 ? buf_append_str(b, what)
				     : buf_printf(b, "line %u of %u; ", i, i * 2654435761u));
}

/* The body behind the first head of b, its chunks taken out. */
static void body_of(struct buf *b, struct buf *out)
{
	const char *t = rig_text(b), *end = strstr(t, "\r\n\r\n");
	const char *cl, *te;
	size_t left;

	assert_non_null(end);
	cl = memmem(t, (size_t)(end - t) + 2, "\r\nContent-Length: ", 18);
	te = memmem(t, (size_t)(end - t) + 2, "\r\nTransfer-Encoding: chunked\r\n", 30);
	left = b->len - (size_t)(end + 4 - t);
	t = end + 4;
	if (!te) {
		if (cl)
			assert_int_equal(strtoull(cl + 18, NULL, 10), left);
		rig_must(buf_append(out, t, left));
		return;
	}
	for (struct http_chunks c = { 0 };;) {
		const uint8_t *data = NULL;
		size_t used, len;
		const char *why;
		bool last;

		rig_must(http_chunks_feed(&c, (const uint8_t *)t, left, &used, &data, &len, &last,
					  &why));
		if (len)
			rig_must(buf_append(out, data, len));
		t += used;
		left -= used;
		if (last)
			break;
		assert_true(used > 0);
	}
	assert_int_equal(left, 2);
}

static void request(const char *coding, bool chunked, size_t n, uint32_t cut)
{
	struct secret_set *set = the_set("api.example.com");
	struct buf plain = BUF_INIT(RIG_CAP), coded = BUF_INIT(RIG_CAP), in = BUF_INIT(RIG_CAP);
	struct buf want = BUF_INIT(RIG_CAP), got = BUF_INIT(RIG_CAP), back = BUF_INIT(RIG_CAP);
	struct rig g;

	text(&plain, n, secret_set_placeholder(set, 0));
	text(&want, n, VALUE);
	code(true, coding, buf_at(&plain), plain.len, &coded);
	rig_must(buf_printf(
		&in, "POST / HTTP/1.1\r\nHost: api.example.com\r\nContent-Encoding: %s\r\n", coding));
	rig_must(chunked ? buf_printf(&in, "Transfer-Encoding: chunked\r\n\r\n%zx\r\n", coded.len)
			 : buf_printf(&in, "Content-Length: %zu\r\n\r\n", coded.len));
	rig_must(buf_append(&in, buf_at(&coded), coded.len));
	if (chunked)
		rig_must(buf_append_str(&in, "\r\n0\r\n\r\n"));
	rig_prepare(&g, true, set);
	g.cut = cut;
	rig_start(&g);
	assert_true(rig_feed(&g, true, buf_at(&in), in.len));
	assert_int_equal(g.state, HTTP_OK);
	body_of(&g.up, &got);
	code(false, coding, buf_at(&got), got.len, &back);
	assert_int_equal(back.len, want.len);
	assert_memory_equal(buf_at(&back), buf_at(&want), want.len);
	assert_int_equal(g.violations, 0);
	assert_int_equal(g.uses, 1);
	rig_free(&g);
	secret_set_free(set);
	buf_fini(&plain);
	buf_fini(&coded);
	buf_fini(&in);
	buf_fini(&want);
	buf_fini(&got);
	buf_fini(&back);
}

/* Parity T09: lesson 37: the value inside a coded body. */
static void test_requests(void **state)
{
	static const size_t sizes[] = { 3000, 300000 };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(codings); i++)
		for (size_t s = 0; s < ARRAY_SIZE(sizes); s++)
			for (uint32_t cut = 0; cut < 3; cut++)
				for (int chunked = 0; chunked < 2; chunked++)
					request(codings[i], chunked, sizes[s], cut);
}

static void reply(const char *coding, const char *framing, bool http10, uint32_t cut)
{
	struct secret_set *set = the_set("api.example.com");
	struct buf plain = BUF_INIT(RIG_CAP), coded = BUF_INIT(RIG_CAP), in = BUF_INIT(RIG_CAP);
	struct buf want = BUF_INIT(RIG_CAP), got = BUF_INIT(RIG_CAP), back = BUF_INIT(RIG_CAP);
	bool chunked = strstr(framing, "chunked"), closes = !framing[0];
	char req[512];
	struct rig g;

	text(&plain, 200000, VALUE);
	text(&want, 200000, secret_set_placeholder(set, 0));
	code(true, coding, buf_at(&plain), plain.len, &coded);
	rig_must(buf_printf(&in, "HTTP/1.1 200 OK\r\nContent-Encoding: %s\r\n", coding));
	if (chunked)
		rig_must(buf_printf(&in, "%s\r\n\r\n%zx\r\n", framing, coded.len));
	else if (closes)
		rig_must(buf_append_str(&in, "\r\n"));
	else
		rig_must(buf_printf(&in, "Content-Length: %zu\r\n\r\n", coded.len));
	rig_must(buf_append(&in, buf_at(&coded), coded.len));
	if (chunked)
		rig_must(buf_append_str(&in, "\r\n0\r\n\r\n"));
	rig_prepare(&g, true, set);
	g.cut = cut;
	rig_start(&g);
	snprintf(req, sizeof(req), GET, secret_set_placeholder(set, 0));
	if (http10)
		memcpy(strstr(req, "HTTP/1.1"), "HTTP/1.0", 8);
	assert_true(rig_guest(&g, req));
	assert_true(rig_feed(&g, false, buf_at(&in), in.len));
	if (closes)
		g.state = http_upstream_eof(g.filter, &g.up, &g.guest);
	assert_int_equal(g.state, closes || http10 ? HTTP_CLOSE : HTTP_OK);
	body_of(&g.guest, &got);
	code(false, coding, buf_at(&got), got.len, &back);
	assert_int_equal(back.len, want.len);
	assert_memory_equal(buf_at(&back), buf_at(&want), want.len);
	assert_null(memmem(buf_at(&back), back.len, VALUE, strlen(VALUE)));
	rig_free(&g);
	secret_set_free(set);
	buf_fini(&plain);
	buf_fini(&coded);
	buf_fini(&in);
	buf_fini(&want);
	buf_fini(&got);
	buf_fini(&back);
}

static void test_replies(void **state)
{
	static const char *const framings[] = { "Content-Length", "Transfer-Encoding: chunked", "" };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(codings); i++)
		for (size_t f = 0; f < ARRAY_SIZE(framings); f++)
			for (uint32_t cut = 0; cut < 3; cut++)
				for (int http10 = 0; http10 < 2; http10++)
					reply(codings[i], framings[f], http10, cut);
}

/* A stream that its server flushes comes through piece by piece. */
static void test_flushed(void **state)
{
	struct secret_set *set = the_set("api.example.com");
	struct buf coded = BUF_INIT(RIG_CAP), got = BUF_INIT(RIG_CAP);
	struct http_codings list = { 0 };
	struct http_coder *enc, *dec;
	char req[512];
	struct rig g;

	(void)state;
	rig_must(http_codings_add(&list, "gzip", 4));
	rig_must(http_encoder_new(&list, &enc));
	rig_must(http_decoder_new(&list, &dec));
	rig_prepare(&g, true, set);
	rig_start(&g);
	snprintf(req, sizeof(req), GET, secret_set_placeholder(set, 0));
	assert_true(rig_guest(&g, req));
	assert_true(rig_upstream(&g, "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n"
				     "Content-Type: text/event-stream\r\n\r\n"));
	buf_consume(&g.guest, g.guest.len);
	for (unsigned i = 0; i < 5; i++) {
		size_t taken;
		bool done;

		rig_must(http_coder_run(enc, (const uint8_t *)"data: " VALUE "\n\n",
					8 + strlen(VALUE), HTTP_CODING_FLUSH, &coded, &taken, &done));
		assert_true(rig_feed(&g, false, buf_at(&coded), coded.len));
		buf_consume(&coded, coded.len);
		rig_must(http_coder_run(dec, buf_at(&g.guest), g.guest.len, HTTP_CODING_RUN, &got,
					&taken, &done));
		buf_consume(&g.guest, g.guest.len);
		assert_int_equal(got.len, (i + 1) * (8 + strlen(VALUE)));
	}
	assert_null(memmem(buf_at(&got), got.len, VALUE, strlen(VALUE)));
	http_coder_free(enc);
	http_coder_free(dec);
	rig_free(&g);
	secret_set_free(set);
	buf_fini(&coded);
	buf_fini(&got);
}

/* A placeholder in a coded body on its way to a host that must not have it. */
static void test_violation(void **state)
{
	struct secret_set *set = the_set("other.example.com");

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(codings); i++)
		for (size_t n = 3000; n <= 300000; n += 297000) {
			struct buf plain = BUF_INIT(RIG_CAP), coded = BUF_INIT(RIG_CAP);
			struct buf head = BUF_INIT(RIG_CAP);
			struct rig g;

			text(&plain, n, secret_set_placeholder(set, 0));
			code(true, codings[i], buf_at(&plain), plain.len, &coded);
			rig_must(buf_printf(&head,
					    "POST / HTTP/1.1\r\nHost: api.example.com\r\n"
					    "Content-Encoding: %s\r\nContent-Length: %zu\r\n\r\n",
					    codings[i], coded.len));
			rig_prepare(&g, true, set);
			rig_start(&g);
			assert_true(rig_feed(&g, true, buf_at(&head), head.len));
			rig_feed(&g, true, buf_at(&coded), coded.len);
			assert_int_equal(rig_status(&g.guest), 403);
			assert_int_equal(g.violations, 1);
			rig_free(&g);
			buf_fini(&plain);
			buf_fini(&coded);
			buf_fini(&head);
		}
	secret_set_free(set);
}

/* A body that is not what it is said to be, or cannot be told. */
static void test_unreadable(void **state)
{
	static const struct {
		const char *reply;
		bool used;
		unsigned status;
	} cases[] = {
		{ "HTTP/1.1 200 OK\r\nContent-Encoding: exi\r\nContent-Length: 1\r\n\r\nx", true,
		  502 },
		{ "HTTP/1.1 200 OK\r\nContent-Encoding: exi\r\nContent-Length: 1\r\n\r\nx", false,
		  502 },
		{ "HTTP/1.1 206 Partial\r\nContent-Range: bytes 0-0/2\r\nContent-Length: "
		  "1\r\n\r\nx",
		  true, 502 },
		{ "HTTP/1.1 206 Partial\r\nContent-Type: multipart/byteranges; boundary=x\r\n\r\n",
		  false, 502 },
		{ "HTTP/1.1 200 OK\r\nContent-Range: bytes 0-0/2\r\nContent-Length: 1\r\n\r\nx",
		  true, 502 },
		{ "HTTP/1.1 200 OK\r\nx-ghp_16c7e42f292c6912e7710c838347ae178b4a: x\r\n"
		  "Content-Length: 1\r\n\r\nx",
		  true, 502 },
		{ "HTTP/1.1 416 No\r\nContent-Range: bytes */2\r\nContent-Length: 0\r\n\r\n", true,
		  416 },
	};
	struct secret_set *set = the_set("api.example.com");

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		char req[512];
		struct rig g;

		rig_prepare(&g, true, set);
		rig_start(&g);
		snprintf(req, sizeof(req), GET, cases[i].used ? secret_set_placeholder(set, 0) : "x");
		assert_true(rig_guest(&g, req));
		rig_upstream(&g, cases[i].reply);
		if (rig_status(&g.guest) != cases[i].status)
			fail_msg("case %zu:\n%s", i, rig_text(&g.guest));
		rig_free(&g);
	}
	secret_set_free(set);
}

static struct secret_set *next_set(const struct secret_set *old, const char *host, size_t n)
{
	struct tlsproxy_host_pattern h;
	struct tlsproxy_secret s = { .env = "T",
				     .value = VALUE,
				     .value_len = strlen(VALUE),
				     .hosts = &h,
				     .n_hosts = 1,
				     .places = 31 };
	struct secret_set *set;
	char err[256];

	rig_must(tlsproxy_host_pattern_parse(host, strlen(host), &h, NULL));
	rig_must(secret_set_next(old, &s, n, 100, &set, err, sizeof(err)));
	return set;
}

/* Does a coded reply of that host come without the value; are parts asked for. */
static void asks_former(struct secret_set *set, const char *host, bool tls)
{
	struct buf plain = BUF_INIT(RIG_CAP), coded = BUF_INIT(RIG_CAP), in = BUF_INIT(RIG_CAP);
	struct buf got = BUF_INIT(RIG_CAP), back = BUF_INIT(RIG_CAP);
	char req[512];
	struct rig g;

	text(&plain, 2000, VALUE);
	code(true, "gzip", buf_at(&plain), plain.len, &coded);
	rig_must(buf_printf(&in,
			    "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n"
			    "Content-Length: %zu\r\n\r\n",
			    coded.len));
	rig_must(buf_append(&in, buf_at(&coded), coded.len));
	rig_prepare(&g, tls, set);
	rig_start(&g);
	snprintf(req, sizeof(req), "GET / HTTP/1.1\r\nHost: %s\r\nRange: bytes=1-2\r\n\r\n", host);
	assert_true(rig_guest(&g, req));
	assert_null(strstr(rig_text(&g.up), "Range"));
	assert_true(rig_feed(&g, false, buf_at(&in), in.len));
	body_of(&g.guest, &got);
	code(false, "gzip", buf_at(&got), got.len, &back);
	assert_int_equal(back.len, plain.len);
	assert_null(memmem(buf_at(&back), back.len, VALUE, strlen(VALUE)));
	rig_free(&g);
	buf_fini(&plain);
	buf_fini(&coded);
	buf_fini(&in);
	buf_fini(&got);
	buf_fini(&back);
}

/* Who was told a value may tell it after the secret is gone, is for others, or without TLS. */
static void s11_lesson_39_former_hosts(void **state)
{
	struct secret_set *first = the_set("api.example.com");
	struct secret_set *moved = next_set(first, "other.example.com", 1);
	struct secret_set *gone = next_set(moved, "other.example.com", 0);

	(void)state;
	asks_former(first, "api.example.com", true);
	asks_former(first, "api.example.com", false);
	asks_former(moved, "api.example.com", true);
	asks_former(gone, "api.example.com", true);
	secret_set_free(first);
	secret_set_free(moved);
	secret_set_free(gone);
}

static void test_corrupt(void **state)
{
	struct secret_set *set = the_set("api.example.com");
	char req[512];
	struct rig g;

	(void)state;
	rig_prepare(&g, true, set);
	rig_start(&g);
	assert_true(rig_guest(&g, "POST / HTTP/1.1\r\nHost: api.example.com\r\n"
				  "Content-Encoding: gzip\r\nContent-Length: 5\r\n\r\nhello"));
	assert_int_equal(rig_status(&g.guest), 400);
	assert_int_equal(g.up.len, 0);
	assert_non_null(strstr(rig_text(&g.log), "content coding of the request's body: corrupt"));
	rig_free(&g);
	rig_prepare(&g, true, set);
	rig_start(&g);
	snprintf(req, sizeof(req), GET, secret_set_placeholder(set, 0));
	assert_true(rig_guest(&g, req));
	rig_upstream(&g,
		     "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 5\r\n\r\nhello");
	assert_int_equal(g.state, HTTP_ABORT);
	rig_end(&g);
	assert_non_null(strstr(rig_text(&g.log), "content coding of the response: corrupt"));
	rig_free(&g);
	secret_set_free(set);
}

/* HEAD says nothing of a length that GET would not have. */
static void test_head(void **state)
{
	struct secret_set *set = the_set("api.example.com");
	struct rig g;

	(void)state;
	rig_prepare(&g, true, set);
	rig_start(&g);
	assert_true(rig_guest(&g, "HEAD / HTTP/1.1\r\nHost: api.example.com\r\n\r\n"));
	assert_true(rig_upstream(
		&g, "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 5\r\n\r\n"));
	assert_int_equal(rig_status(&g.guest), 200);
	assert_null(strstr(rig_text(&g.guest), "Content-Length"));
	assert_int_equal(g.state, HTTP_OK);
	assert_true(http_filter_idle(g.filter));
	rig_free(&g);
	secret_set_free(set);
}

/* A few kilobytes that unfold to very much: in turns, and in constant memory. */
static void test_bomb(void **state)
{
	struct secret_set *set = the_set("other.example.com");
	struct buf zeros = BUF_INIT((size_t)80 << 20), coded = BUF_INIT(RIG_CAP);
	struct buf head = BUF_INIT(RIG_CAP);
	size_t used, turns = 0;
	uint8_t *p;
	struct rig g;

	(void)state;
	rig_must(buf_reserve(&zeros, (size_t)64 << 20, &p));
	memset(p, 0, (size_t)64 << 20);
	buf_commit(&zeros, (size_t)64 << 20);
	code(true, "zstd", buf_at(&zeros), zeros.len, &coded);
	buf_fini(&zeros);
	rig_must(buf_printf(&head,
			    "POST / HTTP/1.1\r\nHost: api.example.com\r\nContent-Encoding: zstd\r\n"
			    "Transfer-Encoding: chunked\r\n\r\n%zx\r\n",
			    coded.len));
	rig_must(buf_append(&head, buf_at(&coded), coded.len));
	rig_must(buf_append_str(&head, "\r\n0\r\n\r\n"));
	rig_prepare(&g, true, set);
	rig_start(&g);
	for (size_t at = 0; at < head.len || http_filter_busy(g.filter); turns++) {
		g.state = http_from_guest(g.filter, buf_at(&head) + at, head.len - at, &used, &g.up,
					  &g.guest);
		assert_int_equal(g.state, HTTP_OK);
		at += used;
		assert_true(turns < 100000);
	}
	/* No call did all of it. */
	assert_true(turns > 64);
	assert_true(http_coding_memory() < (size_t)32 << 20);
	assert_non_null(memmem(buf_at(&g.up), g.up.len, buf_at(&coded), coded.len));
	rig_free(&g);
	secret_set_free(set);
	buf_fini(&coded);
	buf_fini(&head);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_requests),   cmocka_unit_test(test_replies),
		cmocka_unit_test(test_flushed),	   cmocka_unit_test(test_violation),
		cmocka_unit_test(test_unreadable), cmocka_unit_test(s11_lesson_39_former_hosts),
		cmocka_unit_test(test_corrupt),	   cmocka_unit_test(test_head),
		cmocka_unit_test(test_bomb),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
