/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Room and time: small buffers, slow readers, many requests at once, answers that
 * have to wait. The same conversation gives the same bytes whatever the pieces.
 */
#include "http_rig.h"
#include "secret_rig.h"

#include <setjmp.h>
#include <cmocka.h>

#define GET "GET /x HTTP/1.1\r\nHost: api.example.com\r\n\r\n"
#define NO_CONTENT "HTTP/1.1 204 No Content\r\n\r\n"

static size_t count(struct buf *b, const char *what)
{
	size_t n = 0;

	for (const char *t = rig_text(b); (t = strstr(t, what)); t++)
		n++;
	return n;
}

static void test_pipeline_bound(void **state)
{
	struct buf in = BUF_INIT(RIG_CAP);
	struct rig g;

	(void)state;
	for (unsigned i = 0; i < 40; i++)
		rig_must(buf_append_str(&in, GET));
	rig_prepare(&g, true, NULL);
	rig_start(&g);
	/* The rest is not taken until responses come. */
	assert_false(rig_feed(&g, true, buf_at(&in), in.len));
	assert_int_equal(count(&g.up, "GET /x"), HTTP_MAX_PIPELINE);
	assert_true(rig_upstream(&g, NO_CONTENT NO_CONTENT NO_CONTENT));
	assert_true(rig_guest(&g, GET GET GET));
	assert_false(rig_guest(&g, GET));
	assert_int_equal(count(&g.up, "GET /x"), HTTP_MAX_PIPELINE + 3);
	rig_end(&g);
	/* What was never answered is on the record. */
	assert_int_equal(count(&g.log, "http forwarded 204"), 3);
	assert_int_equal(count(&g.log, "http forwarded 0 GET the connection ended"),
			 HTTP_MAX_PIPELINE);
	rig_free(&g);
	buf_fini(&in);
}

/* Denials behind an unanswered request stay behind it, also when to_guest is full. */
static void test_answers_wait_for_room(void **state)
{
	struct rig g;
	size_t used, seen = 0, denials = 0;

	(void)state;
	rig_prepare(&g, true, NULL);
	snprintf(g.deny_method, sizeof(g.deny_method), "PUT");
	g.buf_cap = 1500;
	rig_start(&g);
	assert_true(rig_guest(&g, GET));
	for (unsigned i = 0; i < 10; i++)
		assert_true(rig_guest(&g, "PUT / HTTP/1.1\r\nHost: api.example.com\r\n\r\n"));
	assert_int_equal(g.guest.len, 0);
	assert_true(rig_upstream(&g, NO_CONTENT));
	for (unsigned i = 0; i < 20 && seen < 10; i++) {
		assert_true(g.guest.len <= g.buf_cap);
		denials = count(&g.guest, "HTTP/1.1 403 ");
		assert_true(denials > 0);
		seen += denials;
		buf_consume(&g.guest, g.guest.len);
		g.state = http_from_upstream(g.filter, NULL, 0, &used, &g.up, &g.guest);
		assert_int_equal(g.state, HTTP_OK);
	}
	assert_int_equal(seen, 10);
	assert_true(http_filter_idle(g.filter));
	rig_free(&g);
}

/* A sink that takes a little at a time: nothing is lost, nothing grows. */
static void drain(struct buf *b, struct buf *all, size_t n)
{
	n = MIN(n, b->len);
	if (n)
		rig_must(buf_append(all, buf_at(b), n));
	buf_consume(b, n);
}

static void slow(bool from_guest, bool chunked)
{
	struct buf in = BUF_INIT(RIG_CAP), all = BUF_INIT(RIG_CAP);
	size_t at = 0, used, body = 100000;
	struct rig g;
	struct buf *out;

	rig_prepare(&g, true, NULL);
	g.buf_cap = 3000;
	rig_start(&g);
	out = from_guest ? &g.up : &g.guest;
	if (!from_guest) {
		assert_true(rig_guest(&g, GET));
		buf_consume(&g.up, g.up.len);
	}
	rig_must(buf_append_str(&in, from_guest ? "POST / HTTP/1.1\r\nHost: api.example.com\r\n"
						: "HTTP/1.1 200 OK\r\n"));
	rig_must(chunked ? buf_append_str(&in, "Transfer-Encoding: chunked\r\n\r\n")
			 : buf_printf(&in, "Content-Length: %zu\r\n\r\n", body));
	for (size_t i = 0; i < body; i += 1000) {
		if (chunked)
			rig_must(buf_append_str(&in, "3e8\r\n"));
		for (size_t j = 0; j < 1000; j++)
			rig_must(buf_append(&in, &"abcdefghijklmnopqrstuvwxyz"[(i + j) % 26], 1));
		if (chunked)
			rig_must(buf_append_str(&in, "\r\n"));
	}
	if (chunked)
		rig_must(buf_append_str(&in, "0\r\n\r\n"));
	for (unsigned idle = 0; at < in.len || out->len;) {
		size_t before = all.len, n = MIN(in.len - at, (size_t)5000);
		const uint8_t *p = n ? buf_at(&in) + at : NULL;

		g.state = from_guest ? http_from_guest(g.filter, p, n, &used, &g.up, &g.guest)
				     : http_from_upstream(g.filter, p, n, &used, &g.up, &g.guest);
		assert_int_equal(g.state, HTTP_OK);
		at += used;
		assert_true(out->len <= g.buf_cap);
		drain(out, &all, 777);
		idle = used || all.len != before ? 0 : idle + 1;
		assert_true(idle < 4);
	}
	for (size_t i = 0, seen = 0; i < all.len; i++) {
		/* The body's letters in their order, whatever chunks are between. */
		if (i < (size_t)(strstr(rig_text(&all), "\r\n\r\n") - rig_text(&all)) + 4)
			continue;
		if (!chunked)
			assert_int_equal(buf_at(&all)[i], 'a' + (int)(seen % 26));
		seen++;
	}
	assert_true(all.len > body);
	rig_free(&g);
	buf_fini(&in);
	buf_fini(&all);
}

static void test_slow_reader(void **state)
{
	(void)state;
	for (int i = 0; i < 4; i++)
		slow(i & 1, i & 2);
}

/* A head that fits no room is refused rather than waited for. */
static void test_head_too_long_for_buffer(void **state)
{
	struct rig g;

	(void)state;
	rig_prepare(&g, true, NULL);
	g.buf_cap = 600;
	rig_start(&g);
	rig_guest(&g, "GET /");
	for (unsigned i = 0; i < 70; i++)
		rig_guest(&g, "0123456789");
	rig_guest(&g, " HTTP/1.1\r\nHost: api.example.com\r\n\r\n");
	assert_int_equal(rig_status(&g.guest), 431);
	assert_int_equal(g.up.len, 0);
	assert_int_equal(g.state, HTTP_CLOSE);
	rig_free(&g);
}

static void test_connection_list_bound(void **state)
{
	struct buf in = BUF_INIT(RIG_CAP);
	struct rig g;

	(void)state;
	rig_must(buf_append_str(&in, "GET / HTTP/1.1\r\nHost: api.example.com\r\nConnection: a"));
	for (unsigned i = 0; i < 600; i++)
		rig_must(buf_append_str(&in, ",b"));
	rig_must(buf_append_str(&in, "\r\n\r\n"));
	rig_prepare(&g, true, NULL);
	rig_start(&g);
	assert_true(rig_feed(&g, true, buf_at(&in), in.len));
	assert_int_equal(rig_status(&g.guest), 400);
	rig_free(&g);
	buf_fini(&in);
}

/* Responses two readers read in two ways: 502, and nothing of them reaches the guest. */
static void test_bad_responses(void **state)
{
	static const char *const bad[] = {
		"HTTP/2 200 OK\r\n\r\n",
		"HTTP/1.1 20 OK\r\n\r\n",
		"HTTP/1.1 2000 OK\r\n\r\n",
		"HTTP/1.1 099 OK\r\n\r\n",
		"HTTP/1.1  200 OK\r\n\r\n",
		"ICY 200 OK\r\n\r\n",
		"\r\nHTTP/1.1 200 OK\r\n\r\n",
		"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 0\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na",
		"HTTP/1.1 200 OK\r\nContent-Length: 1, 1\r\n\r\na",
		"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\na",
		"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
		"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
		"HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n",
		"HTTP/1.1 200 OK\r\nX: a\x01\r\n\r\n",
		"HTTP/1.1 200 OK\r\nX\r\n\r\n",
		"HTTP/1.1 101 Switching Protocols\r\n\r\n",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		for (uint32_t cut = 0; cut < 3; cut++) {
			struct rig g;

			rig_prepare(&g, true, NULL);
			g.cut = cut;
			rig_start(&g);
			assert_true(rig_guest(&g, GET));
			rig_upstream(&g, bad[i]);
			if (rig_status(&g.guest) != 502 || g.state != HTTP_CLOSE ||
			    count(&g.guest, "HTTP/1.1 ") != 1)
				fail_msg("response %zu (cut %u): state %d\n%s", i, cut, g.state,
					 rig_text(&g.guest));
			rig_free(&g);
		}
}

/* Broken after its head went out: cut, so that nobody takes a part for the whole. */
static void test_broken_bodies(void **state)
{
	static const char *const bad[] = {
		"3\r\nabcX",
		"3\r\nabc\n",
		"x\r\n",
		"-1\r\n",
		"fffffffffffffffff\r\n",
		"0\r\nX: a\n\r\n",
		"0\r\nContent-Length: 1\r\n\r\n",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct rig g;

		rig_prepare(&g, true, NULL);
		rig_start(&g);
		assert_true(rig_guest(&g, GET));
		rig_upstream(&g, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
		rig_upstream(&g, bad[i]);
		if (g.state != HTTP_ABORT || count(&g.guest, "\r\n0\r\n"))
			fail_msg("body %zu: state %d\n%s", i, g.state, rig_text(&g.guest));
		rig_free(&g);
	}
}

/* A head that waits for room when the upstream goes: answered by what had arrived. */
static void test_end_while_waiting(void **state)
{
	static const struct {
		const char *head;
		enum http_state then;
	} cases[] = {
		{ "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", HTTP_CLOSE },
		{ "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", HTTP_ABORT },
		{ "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", HTTP_ABORT },
		{ "HTTP/1.1 200 OK\r\n\r\n", HTTP_CLOSE },
		{ "HTTP/1.1 100 Continue\r\n\r\n", HTTP_CLOSE },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct rig g;
		size_t used;

		rig_prepare(&g, true, NULL);
		g.buf_cap = 1200;
		rig_start(&g);
		assert_true(rig_guest(&g, GET GET));
		assert_true(rig_upstream(&g, "HTTP/1.1 200 OK\r\nContent-Length: 400\r\n\r\n"));
		for (unsigned j = 0; j < 100; j++)
			assert_true(rig_upstream(&g, "abcd"));
		assert_true(rig_upstream(&g, cases[i].head));
		g.state = http_upstream_eof(g.filter, &g.up, &g.guest);
		assert_int_equal(g.state, HTTP_OK);
		buf_consume(&g.guest, g.guest.len);
		g.state = http_from_upstream(g.filter, NULL, 0, &used, &g.up, &g.guest);
		if (g.state != cases[i].then)
			fail_msg("case %zu: state %d\n%s", i, g.state, rig_text(&g.guest));
		rig_free(&g);
	}
}

static void test_interim_bound(void **state)
{
	struct rig g;

	(void)state;
	rig_prepare(&g, true, NULL);
	rig_start(&g);
	assert_true(rig_guest(&g, GET));
	for (unsigned i = 0; i < 40; i++)
		rig_upstream(&g, "HTTP/1.1 102 Processing\r\n\r\n");
	assert_int_equal(g.state, HTTP_CLOSE);
	assert_int_equal(count(&g.guest, " 102 "), HTTP_INTERIM_MAX);
	assert_int_equal(count(&g.guest, " 502 "), 1);
	rig_free(&g);
}

/* A violation while an earlier response is still due: the answer waits its turn. */
static void test_violation_waits(void **state)
{
	struct secret_spec spec = { "T", "ghp_16C7e42F292c6912E7710c838347Ae178B4a",
				    "other.example.com", 31, TLSPROXY_BLOCK_AND_LOG };
	struct secret_set *set = secret_rig(&spec, 1);
	struct rig g;
	char req[512];

	(void)state;
	rig_prepare(&g, true, set);
	rig_start(&g);
	snprintf(req, sizeof(req),
		 GET "POST / HTTP/1.1\r\nHost: api.example.com\r\nContent-Length: 90000\r\n\r\n%s",
		 secret_set_placeholder(set, 0));
	assert_true(rig_guest(&g, req));
	assert_int_equal(g.guest.len, 0);
	assert_int_equal(g.state, HTTP_OK);
	rig_upstream(&g, NO_CONTENT);
	assert_int_equal(g.state, HTTP_CLOSE);
	assert_int_equal(rig_status(&g.guest), 204);
	assert_int_equal(count(&g.guest, "HTTP/1.1 403"), 1);
	rig_free(&g);
	/* And when this request's response has begun, it is cut. */
	rig_prepare(&g, true, set);
	rig_start(&g);
	assert_true(rig_guest(&g, "POST / HTTP/1.1\r\nHost: api.example.com\r\n"
				  "Content-Length: 90000\r\n\r\nabc"));
	rig_upstream(&g, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab");
	rig_guest(&g, secret_set_placeholder(set, 0));
	assert_int_equal(g.state, HTTP_ABORT);
	assert_int_equal(g.violations, 1);
	rig_free(&g);
	secret_set_free(set);
}

static void test_no_ops(void **state)
{
	struct rig g;
	struct tlsproxy_ops ops;

	(void)state;
	/* Nobody to ask, and asked to ask: refused. */
	rig_prepare(&g, true, NULL);
	ops = *g.cfg.ops;
	ops.judge_http = NULL;
	g.cfg.ops = &ops;
	rig_start(&g);
	assert_true(rig_guest(&g, GET));
	assert_int_equal(rig_status(&g.guest), 403);
	assert_int_equal(g.up.len, 0);
	rig_free(&g);
	http_filter_free(NULL);
	secret_set_free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pipeline_bound),
		cmocka_unit_test(test_answers_wait_for_room),
		cmocka_unit_test(test_slow_reader),
		cmocka_unit_test(test_head_too_long_for_buffer),
		cmocka_unit_test(test_connection_list_bound),
		cmocka_unit_test(test_bad_responses),
		cmocka_unit_test(test_broken_bodies),
		cmocka_unit_test(test_end_while_waiting),
		cmocka_unit_test(test_interim_bound),
		cmocka_unit_test(test_violation_waits),
		cmocka_unit_test(test_no_ops),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
