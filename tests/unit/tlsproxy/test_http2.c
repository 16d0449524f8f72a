/* SPDX-License-Identifier: Apache-2.0 */
/* HTTP/2 through the filter, between two real peers, in all four pairings of protocols. */
#include "http2_rig.h"
#include "secret_rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void plain_request(void **state)
{
	struct h2_rig r;
	struct h2_stream *st;

	(void)state;
	for (uint32_t cut = 0; cut < 40; cut++) {
		h2_prepare(&r, true, NULL);
		r.g.cut = cut;
		h2_start(&r);
		st = h2_get(&r, "/size/12345");
		h2_run(&r);
		assert_int_equal(st->status, 200);
		assert_int_equal(st->got, 12345);
		assert_int_equal(st->sum, h2_sum(7, 12345));
		assert_true(st->ended && st->closed);
		assert_int_equal(st->code, 0);
		assert_true(h2_has(&st->fields, "content-length: 12345\n"));
		assert_int_equal(r.n_s, 1);
		assert_true(h2_has(&r.s[0]->fields, ":authority: api.example.com\n"));
		assert_true(h2_has(&r.s[0]->fields, ":scheme: https\n"));
		assert_string_equal(rig_text(&r.g.log), "http forwarded 200 GET - up=0 down=12345 "
							"host=api.example.com\n");
		assert_true(http_filter_idle(r.g.filter));
		h2_free(&r);
	}
}

static void parallel_bodies(void **state)
{
	struct h2_rig r;

	(void)state;
	for (uint32_t cut = 0; cut < 3; cut++) {
		unsigned n = cut == 1 ? 8 : 100; /* small pieces cost more than they ask */

		h2_prepare(&r, true, NULL);
		r.g.cut = cut == 1 ? 99 : cut * 12345;
		h2_start(&r);
		for (unsigned i = 0; i < n; i++)
			h2_request(&r, "POST", "/echo", 70000, i & 1);
		h2_run(&r);
		for (unsigned i = 0; i < n; i++) {
			assert_int_equal(r.c[i]->got, 70000);
			assert_int_equal(r.c[i]->sum, h2_sum(3, 70000));
			assert_true(r.c[i]->ended && r.c[i]->closed && r.c[i]->code == 0);
			assert_int_equal(h2_has(&r.c[i]->fields, "x-sum: done"), i & 1);
		}
		assert_int_equal(h2_events(&r), n);
		assert_true(http_filter_idle(r.g.filter));
		h2_free(&r);
	}
}

static void more_than_the_windows(void **state)
{
	struct h2_rig r;
	struct h2_stream *up, *down;

	(void)state;
	h2_prepare(&r, true, NULL);
	h2_start(&r);
	up = h2_request(&r, "POST", "/echo", 3000000, false);
	down = h2_get(&r, "/size/4000000");
	h2_run(&r);
	assert_int_equal(up->got, 3000000);
	assert_int_equal(up->sum, h2_sum(3, 3000000));
	assert_int_equal(down->got, 4000000);
	assert_int_equal(down->sum, h2_sum(7, 4000000));
	h2_free(&r);
}

static void trailers_and_interim(void **state)
{
	struct h2_rig r;
	struct h2_stream *a, *b, *c, *d, *e;

	(void)state;
	h2_prepare(&r, true, NULL);
	h2_start(&r);
	a = h2_get(&r, "/trailers");
	b = h2_get(&r, "/hints");
	c = h2_request(&r, "HEAD", "/size/77", 0, false);
	d = h2_get(&r, "/empty");
	e = h2_request(&r, "POST", "/echo", 10, true);
	h2_run(&r);
	assert_true(h2_has(&a->fields, "--\nx-sum: done\n--\n"));
	assert_int_equal(b->interim, 1);
	assert_true(h2_has(&b->fields, "link: </a>; rel=preload\n"));
	assert_int_equal(b->status, 200);
	assert_true(c->ended && c->got == 0 && h2_has(&c->fields, "content-length: 77\n"));
	assert_true(d->ended && d->status == 204);
	assert_true(h2_has(&e->fields, "x-sum: done"));
	assert_int_equal(h2_events(&r), 5);
	h2_free(&r);
}

/* lesson: CANCEL stays CANCEL, REFUSED_STREAM may be sent again */
static void codes_are_carried_over(void **state)
{
	static const uint32_t codes[] = { NGHTTP2_CANCEL, NGHTTP2_REFUSED_STREAM,
					  NGHTTP2_INTERNAL_ERROR };
	struct h2_rig r;
	char path[32];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(codes); i++) {
		struct h2_stream *st, *late;

		h2_prepare(&r, true, NULL);
		h2_start(&r);
		snprintf(path, sizeof(path), "/reset/%u", codes[i]);
		st = h2_get(&r, path);
		snprintf(path, sizeof(path), "/late/%u", codes[i]);
		late = h2_get(&r, path);
		h2_run(&r);
		assert_true(st->closed);
		assert_int_equal(st->code, codes[i]);
		assert_int_equal(late->code, codes[i]);
		assert_int_equal(h2_events(&r), 2);
		h2_free(&r);
	}
}

static void guest_resets(void **state)
{
	struct h2_rig r;
	struct h2_stream *st, *other;

	(void)state;
	h2_prepare(&r, true, NULL);
	h2_start(&r);
	st = h2_get(&r, "/hang");
	other = h2_get(&r, "/size/5");
	h2_run(&r);
	rig_must(nghttp2_submit_rst_stream(r.client, 0, st->id, NGHTTP2_CANCEL));
	h2_run(&r);
	assert_true(r.s[0]->closed);
	assert_int_equal(r.s[0]->code, NGHTTP2_CANCEL);
	assert_int_equal(other->got, 5);
	assert_int_equal(h2_events(&r), 2);
	assert_true(http_filter_idle(r.g.filter));
	h2_free(&r);
}

static void early_answer(void **state)
{
	struct h2_rig r;
	struct h2_stream *st;

	(void)state;
	h2_prepare(&r, true, NULL);
	h2_start(&r);
	st = h2_request(&r, "POST", "/early", 100000, false);
	st->held = true;
	h2_run(&r);
	assert_int_equal(st->got, 5);
	assert_true(st->ended);
	st->held = false;
	nghttp2_session_resume_data(r.client, st->id);
	h2_run(&r);
	assert_int_equal(st->status, 200);
	assert_true(st->closed);
	assert_int_equal(h2_events(&r), 1);
	h2_free(&r);
}

/* T10 */
static void denied_and_misdirected(void **state)
{
	struct h2_rig r;
	nghttp2_nv nv[] = { H2_NV(":method", "GET"), H2_NV(":scheme", "https"),
			    H2_NV(":authority", "other.example.com"), H2_NV(":path", "/") };
	struct h2_stream *denied, *other, *fine, *body;

	(void)state;
	h2_prepare(&r, true, NULL);
	snprintf(r.g.deny_path, sizeof(r.g.deny_path), "/secret");
	h2_start(&r);
	denied = h2_get(&r, "/secret/a");
	other = h2_request_nv(&r, nv, 4, 0, false);
	body = h2_request(&r, "POST", "/secret/b", 800000, false);
	fine = h2_get(&r, "/size/1");
	h2_run(&r);
	assert_int_equal(denied->status, 403);
	assert_true(h2_has(&denied->fields, "content-type: application/problem+json\n"));
	assert_true(h2_has(&denied->fields, "proxy-status: weir; error=http_request_denied"));
	assert_true(denied->got > 50 && denied->ended);
	assert_int_equal(other->status, 421);
	assert_int_equal(body->status, 403);
	assert_true(body->closed && body->code == NGHTTP2_NO_ERROR);
	assert_int_equal(fine->status, 200);
	assert_int_equal(r.n_s, 1);
	assert_int_equal(h2_events(&r), 4);
	assert_false(r.has_goaway);
	h2_free(&r);
}

static void upstream_goaway(void **state)
{
	struct h2_rig r;
	struct h2_stream *a, *b;

	(void)state;
	h2_prepare(&r, true, NULL);
	h2_start(&r);
	a = h2_request(&r, "POST", "/echo", 100, false);
	a->held = true;
	h2_run(&r);
	b = h2_get(&r, "/hang");
	h2_run(&r);
	/* The first is processed, the second is not. */
	rig_must(nghttp2_submit_goaway(r.server, 0, r.s[0]->id, NGHTTP2_NO_ERROR, NULL, 0));
	h2_run(&r);
	assert_true(r.has_goaway);
	assert_int_equal(r.goaway, NGHTTP2_NO_ERROR);
	assert_true(b->closed);
	assert_int_equal(b->code, NGHTTP2_REFUSED_STREAM);
	assert_false(a->closed);
	a->held = false;
	nghttp2_session_resume_data(r.client, a->id);
	h2_run(&r);
	assert_int_equal(a->got, 100);
	assert_int_equal(a->status, 200);
	assert_int_equal(r.g.state, HTTP_CLOSE);
	assert_int_equal(h2_events(&r), 2);
	h2_free(&r);
}

static void upstream_ends(void **state)
{
	struct h2_rig r;
	struct h2_stream *st;

	(void)state;
	h2_prepare(&r, true, NULL);
	h2_start(&r);
	st = h2_get(&r, "/hang");
	h2_run(&r);
	r.g.state = http_upstream_eof(r.g.filter, &r.g.up, &r.g.guest);
	h2_run(&r);
	assert_int_equal(st->status, 502);
	assert_true(st->ended);
	assert_int_equal(r.g.state, HTTP_CLOSE);
	assert_int_equal(h2_events(&r), 1);
	h2_free(&r);
}

/* ---- the other pairings ------------------------------------------------------------------- */

static void h2_guest_h1_upstream(void **state)
{
	struct h2_rig r;
	struct h2_stream *a, *b;

	(void)state;
	h2_prepare(&r, true, NULL);
	r.g.cfg.upstream_h2 = false;
	r.h1 = true;
	h2_start(&r);
	a = h2_request(&r, "POST", "/a", 5, true);
	b = h2_get(&r, "/b");
	h2_run(&r);
	assert_true(str_starts(rig_text(&r.g.up), "POST /a HTTP/1.1\r\nHost: api.example.com\r\n"));
	assert_true(h2_has(&r.g.up, "Transfer-Encoding: chunked\r\n"));
	assert_true(h2_has(&r.g.up, "0\r\nx-sum: done\r\n\r\n"));
	assert_false(h2_has(&r.g.up, "GET /b"));
	buf_reset(&r.g.up);
	rig_upstream(&r.g, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
			   "3\r\nabc\r\n0\r\ngrpc-status: 0\r\n\r\n");
	h2_run(&r);
	assert_int_equal(a->status, 200);
	assert_int_equal(a->got, 3);
	assert_true(a->ended && h2_has(&a->fields, "--\ngrpc-status: 0\n"));
	assert_true(str_starts(rig_text(&r.g.up), "GET /b HTTP/1.1\r\n"));
	rig_upstream(&r.g, "HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno");
	h2_run(&r);
	assert_int_equal(b->status, 404);
	assert_int_equal(b->got, 2);
	assert_int_equal(h2_events(&r), 2);
	h2_free(&r);
}

static void h1_guest_h2_upstream(void **state)
{
	struct h2_rig r;

	(void)state;
	h2_prepare(&r, true, NULL);
	r.g.cfg.guest_h2 = false;
	r.client_stops = true;
	h2_start(&r);
	{ /* the client speaks HTTP/1: what the session would say is not sent */
		const uint8_t *p;

		while (nghttp2_session_mem_send(r.client, &p) > 0)
			;
	}
	rig_guest(&r.g, "POST /echo HTTP/1.1\r\nHost: api.example.com\r\nConnection: keep-alive\r\n"
			"Transfer-Encoding: chunked\r\n\r\n4\r\nwxyz\r\n0\r\n\r\n"
			"GET /size/3 HTTP/1.1\r\nHost: api.example.com\r\n\r\n");
	h2_run(&r);
	assert_int_equal(r.n_s, 2);
	assert_false(h2_has(&r.s[0]->fields, "connection"));
	assert_true(str_starts(rig_text(&r.g.guest), "HTTP/1.1 200 "));
	assert_true(h2_has(&r.g.guest, "4\r\nwxyz\r\n0\r\n\r\nHTTP/1.1 200 "));
	assert_true(h2_has(&r.g.guest, "Content-Length: 3\r\n\r\n"));
	assert_int_equal(h2_events(&r), 2);
	h2_free(&r);
}

static void cookie_crumbs(void **state)
{
	struct h2_rig r;
	nghttp2_nv nv[] = { H2_NV(":method", "GET"),
			    H2_NV(":scheme", "https"),
			    H2_NV(":authority", "api.example.com"),
			    H2_NV(":path", "/b"),
			    H2_NV("cookie", "a=1"),
			    H2_NV("x-y", "z"),
			    H2_NV("cookie", "b=2"),
			    H2_NV("cookie", "c=3") };

	(void)state;
	h2_prepare(&r, true, NULL);
	r.g.cfg.upstream_h2 = false;
	r.h1 = true;
	h2_start(&r);
	h2_request_nv(&r, nv, 8, 0, false);
	h2_run(&r);
	assert_true(h2_has(&r.g.up, "cookie: a=1; b=2; c=3\r\n"));
	h2_free(&r);
}

/* Put in wherever HTTP/1 has it, kept in no table of HPACK, and taken out of the reply. */
static void secrets(void **state)
{
	static const char value[] = "ghp_16C7e42F292c6912E7710c838347Ae178B4a";
	struct secret_spec spec = { "T", value, "api.example.com", 31, TLSPROXY_BLOCK_AND_LOG };
	struct secret_set *set = secret_rig(&spec, 1);
	const char *ph = secret_set_placeholder(set, 0);
	struct h2_stream *st, *again;
	char path[128], field[128];
	struct h2_rig r;

	(void)state;
	snprintf(path, sizeof(path), "/echo?key=%s", ph);
	snprintf(field, sizeof(field), "token %s", ph);
	for (uint32_t cut = 0; cut < 3; cut++) {
		nghttp2_nv nv[] = { H2_NV(":method", "POST"), H2_NV(":scheme", "https"),
				    H2_NV(":authority", "api.example.com"), H2_NV(":path", path),
				    H2_NV("authorization", field) };

		h2_prepare(&r, true, set);
		r.g.cut = cut;
		h2_start(&r);
		st = h2_request_nv(&r, nv, 5, 0, true);
		again = h2_request_nv(&r, nv, 5, 0, true);
		h2_run(&r);
		snprintf(field, sizeof(field), "authorization: token %s [never]\n", value);
		assert_true(h2_has(&r.s[0]->fields, field));
		assert_true(h2_has(&r.s[1]->fields, field));
		snprintf(field, sizeof(field), ":path: /echo?key=%s [never]\n", value);
		assert_true(h2_has(&r.s[0]->fields, field));
		assert_int_equal(st->status, 200);
		assert_int_equal(again->status, 200);
		assert_true(r.g.uses > 0);
		assert_int_equal(r.g.violations, 0);
		assert_null(strstr(rig_text(&r.g.log), value));
		h2_free(&r);
		snprintf(field, sizeof(field), "token %s", ph);
	}
	secret_set_free(set);
}

/* A body that holds the placeholder is given the value; its echo comes back without. */
static void secret_in_data(void **state)
{
	static const char value[] = "ghp_16C7e42F292c6912E7710c838347Ae178B4a";
	struct secret_spec spec = { "T", value, "api.example.com", 31, TLSPROXY_BLOCK_AND_LOG };
	struct secret_set *set = secret_rig(&spec, 1);
	const char *ph = secret_set_placeholder(set, 0);
	struct h2_stream *st;
	struct h2_rig r;
	uint32_t up = 0, down = 0;

	(void)state;
	for (size_t i = 0; i < strlen(value); i++) {
		up = up * 31 + (uint8_t)value[i];
		down = down * 31 + (uint8_t)ph[i];
	}
	for (uint32_t cut = 0; cut < 3; cut++) {
		h2_prepare(&r, true, set);
		r.g.cut = cut;
		h2_start(&r);
		st = h2_request(&r, "POST", "/echo", 1, false);
		st->echoes = true;
		st->ended = true;
		rig_must(buf_append_str(&st->echo, ph));
		h2_run(&r);
		assert_int_equal(r.s[0]->got, strlen(value));
		assert_int_equal(r.s[0]->sum, up);
		assert_int_equal(st->got, strlen(ph));
		assert_int_equal(st->sum, down);
		h2_free(&r);
	}
	secret_set_free(set);
}

/* T11 */
static void prior_knowledge(void **state)
{
	struct h2_rig r;
	struct h2_stream *st;

	(void)state;
	for (uint32_t cut = 0; cut < 5; cut++) {
		h2_prepare(&r, false, NULL);
		r.g.cfg.guest_h2 = r.g.cfg.upstream_h2 = false;
		r.g.cut = cut;
		h2_start(&r);
		st = h2_get(&r, "/size/9");
		h2_run(&r);
		assert_int_equal(st->status, 200);
		assert_int_equal(st->got, 9);
		assert_true(h2_has(&r.s[0]->fields, ":scheme: http\n"));
		h2_free(&r);
	}
}

/* What only begins like the preface is HTTP/1, and nothing of it is lost. */
static void nearly_the_preface(void **state)
{
	static const char *const texts[] = {
		"PRI * HTTP/2.0\r\n\r\nSM\r\n\rX",
		"PUT /a HTTP/1.1\r\nHost: api.example.com\r\nContent-Length: 0\r\n\r\n",
		"PRI",
	};
	struct h2_rig r;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
		for (uint32_t cut = 0; cut < 5; cut++) {
			h2_prepare(&r, false, NULL);
			r.g.cfg.guest_h2 = r.g.cfg.upstream_h2 = false;
			r.g.cut = cut;
			h2_start(&r);
			rig_guest(&r.g, texts[i]);
			if (r.g.state == HTTP_OK)
				r.g.state = http_guest_eof(r.g.filter, &r.g.up, &r.g.guest);
			if (i == 1)
				assert_true(str_starts(rig_text(&r.g.up), "PUT /a HTTP/1.1\r\n"));
			else
				assert_int_equal(rig_status(&r.g.guest), i == 0 ? 505 : 400);
			h2_free(&r);
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(plain_request),	  cmocka_unit_test(parallel_bodies),
		cmocka_unit_test(more_than_the_windows),  cmocka_unit_test(trailers_and_interim),
		cmocka_unit_test(codes_are_carried_over), cmocka_unit_test(guest_resets),
		cmocka_unit_test(early_answer),		  cmocka_unit_test(denied_and_misdirected),
		cmocka_unit_test(upstream_goaway),	  cmocka_unit_test(upstream_ends),
		cmocka_unit_test(h2_guest_h1_upstream),	  cmocka_unit_test(h1_guest_h2_upstream),
		cmocka_unit_test(cookie_crumbs),	  cmocka_unit_test(secrets),
		cmocka_unit_test(secret_in_data),	  cmocka_unit_test(prior_knowledge),
		cmocka_unit_test(nearly_the_preface),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
