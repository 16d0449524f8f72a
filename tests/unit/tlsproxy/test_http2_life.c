/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How requests over HTTP/2 end when a peer goes or changes its mind, what is told of it, and
 * how silent ones stay alive.
 */
#include "http2_wire.h"
#include "secret_rig.h"
#include "tlsproxy/http2_internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void both_up(struct h2_rig *r)
{
	h2_prepare(r, true, NULL);
	h2_start(r);
}

static void upstream_hangs_up(struct h2_rig *r)
{
	r->g.state = http_upstream_eof(r->g.filter, &r->g.up, &r->g.guest);
	h2_run(r);
}

/* ---- an upstream that goes ----------------------------------------------------------------- */

/* Without a word, under requests on a connection that has served: repeated, or explained. */
static void kept_connection_closes(void **state)
{
	nghttp2_nv tunnelled[] = { H2_NV(":method", "GET"), H2_NV(":scheme", "https"),
				   H2_NV(":authority", "api.example.com"), H2_NV(":path", "/hang"),
				   H2_NV("x-http-method-override", "DELETE") };
	struct h2_stream *get, *post, *head, *override, *begun;
	struct h2_rig r;

	(void)state;
	both_up(&r);
	h2_get(&r, "/size/5");
	h2_run(&r);
	get = h2_get(&r, "/hang");
	head = h2_request(&r, "HEAD", "/hang", 0, false);
	post = h2_request(&r, "POST", "/hang", 10, false);
	override = h2_request_nv(&r, tunnelled, ARRAY_SIZE(tunnelled), 0, false);
	begun = h2_request(&r, "POST", "/echo", 10, false);
	begun->held = true;
	h2_run(&r);
	assert_int_equal(begun->status, 200);
	upstream_hangs_up(&r);
	assert_int_equal(get->code, NGHTTP2_REFUSED_STREAM);
	assert_int_equal(head->code, NGHTTP2_REFUSED_STREAM);
	assert_true(get->closed && get->status == 0 && head->closed && head->status == 0);
	assert_int_equal(post->status, 502);
	assert_int_equal(override->status, 502);
	assert_true(h2_has(&post->fields, "proxy-status: weir; error=connection_terminated"));
	assert_true(begun->closed);
	assert_int_equal(begun->code, NGHTTP2_INTERNAL_ERROR);
	assert_true(h2_has(&r.g.log, "in the midst of its answer"));
	assert_true(h2_has(&r.g.log, "closed the connection without an answer"));
	/* The next request belongs on another connection. */
	assert_true(r.has_goaway && r.goaway == NGHTTP2_NO_ERROR);
	assert_int_equal(r.g.state, HTTP_CLOSE);
	assert_int_equal(h2_events(&r), 6);
	h2_free(&r);
}

/* The first requests of a connection are not given back: nothing says that it was a kept one. */
static void new_connection_closes(void **state)
{
	struct h2_stream *st;
	struct h2_rig r;

	(void)state;
	both_up(&r);
	st = h2_get(&r, "/hang");
	h2_run(&r);
	upstream_hangs_up(&r);
	assert_int_equal(st->status, 502);
	h2_free(&r);
}

/* ---- a guest that changes its mind ------------------------------------------------------------- */

static void cancelled(void **state)
{
	struct h2_stream *unsent, *asked, *begun;
	struct h2_rig r;

	(void)state;
	both_up(&r);
	asked = h2_get(&r, "/hang");
	begun = h2_request(&r, "POST", "/echo", 10, false);
	begun->held = true;
	h2_run(&r);
	rig_must(nghttp2_submit_rst_stream(r.client, 0, asked->id, NGHTTP2_CANCEL));
	rig_must(nghttp2_submit_rst_stream(r.client, 0, begun->id, NGHTTP2_CANCEL));
	h2_run(&r);
	assert_true(h2_has(&r.g.log, "http cancelled 0 GET the client gave the request up "
				     "unanswered up=0 down=0"));
	/* What came of it before did come. */
	assert_true(h2_has(&r.g.log, "http forwarded 200 POST the client gave the request up "));
	h2_free(&r);

	/* HTTP/1 upstream takes one at a time: the other was never sent. */
	h2_prepare(&r, true, NULL);
	r.g.cfg.upstream_h2 = false;
	r.h1 = true;
	h2_start(&r);
	h2_get(&r, "/first");
	unsent = h2_get(&r, "/second");
	h2_run(&r);
	rig_must(nghttp2_submit_rst_stream(r.client, 0, unsent->id, NGHTTP2_CANCEL));
	h2_run(&r);
	assert_true(h2_has(&r.g.log, "http cancelled 0 GET the client gave the request up before "
				     "any of it went upstream"));
	h2_get(&r, "/third");
	h2_run(&r);
	rig_end(&r.g);
	assert_true(h2_has(&r.g.log, "http forwarded 0 GET the connection ended before"));
	assert_true(h2_has(&r.g.log, "http cancelled 0 GET the connection ended before any of"));
	h2_free(&r);
}

/* ---- trailers ---------------------------------------------------------------------------------- */

static struct h2_stream *with_trailers(struct h2_rig *r, const char *length, uint64_t body)
{
	nghttp2_nv nv[] = { H2_NV(":method", "POST"), H2_NV(":scheme", "https"),
			    H2_NV(":authority", "api.example.com"), H2_NV(":path", "/echo"),
			    H2_NV("content-length", length) };

	return h2_request_nv(r, nv, ARRAY_SIZE(nv), body, true);
}

/* Behind a Content-Length, 0 included; both ways, as the server echoes them. */
static void trailers_behind_a_length(void **state)
{
	struct secret_spec spec = { "T", "ghp_16C7e42F292c6912E7710c838347Ae178B4a",
				    "api.example.com", 31, TLSPROXY_BLOCK_AND_LOG };
	struct secret_set *set = secret_rig(&spec, 1);
	static const char *const lengths[] = { "0", "10", "70000" };

	(void)state;
	for (size_t i = 0; i < 2 * ARRAY_SIZE(lengths); i++) {
		uint64_t n = strtoull(lengths[i / 2], NULL, 10);
		struct h2_stream *st;
		struct h2_rig r;

		h2_prepare(&r, true, i & 1 ? set : NULL);
		h2_start(&r);
		st = with_trailers(&r, lengths[i / 2], n);
		h2_run(&r);
		assert_int_equal(r.n_s, 1);
		assert_true(h2_has(&r.s[0]->fields, "x-sum: done\n"));
		assert_int_equal(r.s[0]->got, n);
		assert_true(h2_has(&st->fields, "x-sum: done\n"));
		assert_true(st->ended && st->status == 200);
		h2_free(&r);
	}
	secret_set_free(set);
}

/* HTTP/1 has no place for them there: the request is refused. */
static void trailers_that_http1_cannot_carry(void **state)
{
	struct h2_stream *st;
	struct h2_rig r;

	(void)state;
	for (unsigned n = 0; n <= 10; n += 10) {
		h2_prepare(&r, true, NULL);
		r.g.cfg.upstream_h2 = false;
		r.h1 = true;
		h2_start(&r);
		st = with_trailers(&r, n ? "10" : "0", n);
		h2_run(&r);
		assert_int_equal(st->status, 400);
		assert_true(h2_has(&r.g.log, "http bad_request 400 POST trailers behind"));
		h2_free(&r);
	}
}

/* A response that ends with its head or behind it, of no length, is the same as before. */
static void trailers_of_an_empty_response(void **state)
{
	struct buf b = BUF_INIT(65536), block = BUF_INIT(65536);
	struct h2_stream *st;
	struct h2_rig r;

	(void)state;
	h2_prepare(&r, true, NULL);
	r.h1 = true; /* the upstream's frames are written here */
	h2_start(&r);
	st = h2_get(&r, "/a");
	h2_run(&r);
	wire_frame(&b, W_SETTINGS, 0, 0, NULL, 0);
	wire_field(&block, ":status", "200");
	wire_field(&block, "content-length", "0");
	wire_frame(&b, W_HEADERS, W_END_HEADERS, 1, buf_at(&block), block.len);
	buf_reset(&block);
	wire_field(&block, "grpc-status", "0");
	wire_frame(&b, W_HEADERS, W_END_HEADERS | W_END_STREAM, 1, buf_at(&block), block.len);
	rig_feed(&r.g, false, buf_at(&b), b.len);
	h2_run(&r);
	assert_int_equal(st->status, 200);
	assert_true(st->ended && h2_has(&st->fields, "--\ngrpc-status: 0\n"));
	h2_free(&r);
	buf_fini(&b);
	buf_fini(&block);
}

/* ---- keepalive -------------------------------------------------------------------------------- */

static void tick(struct h2_rig *r)
{
	http_filter_tick(r->g.filter, &r->g.up, &r->g.guest);
	h2_run(r);
}

/* A call that is silent for days, with a PING every ten seconds. */
static void silent_for_days(void **state)
{
	struct h2_stream *st;
	struct h2_rig r;

	(void)state;
	both_up(&r);
	st = h2_request(&r, "POST", "/echo", 10, false);
	st->held = true;
	h2_run(&r);
	for (unsigned minute = 0; minute < 3 * 24 * 60; minute++) {
		for (unsigned i = 0; i < 6; i++) {
			rig_must(nghttp2_submit_ping(r.client, 0, NULL));
			h2_run(&r);
		}
		tick(&r);
	}
	assert_false(r.has_goaway || st->closed);
	st->held = false;
	nghttp2_session_resume_data(r.client, st->id);
	h2_run(&r);
	assert_int_equal(st->got, 10);
	assert_true(st->ended);
	h2_free(&r);
}

/* One peer's PING is followed by one to the other, while requests are open, one at a time. */
static void pings_go_on(void **state)
{
	struct buf b = BUF_INIT(65536);
	struct h2_rig r;

	(void)state;
	both_up(&r);
	h2_get(&r, "/size/5");
	h2_run(&r);
	rig_must(nghttp2_submit_ping(r.server, 0, NULL));
	h2_run(&r);
	assert_int_equal(r.pings, 0); /* nobody waits */
	h2_get(&r, "/hang");
	h2_run(&r);
	rig_must(nghttp2_submit_ping(r.server, 0, NULL));
	h2_run(&r);
	/* The client heard one, the server the answer to its own. */
	assert_int_equal(r.pings, 1);
	h2_free(&r);

	/* The upstream does not answer: one is enough. */
	wire_start(&r, true);
	r.h1 = true;
	wire_begin(&b);
	wire_get(&b, 1, "/hang");
	for (unsigned i = 0; i < 50; i++)
		wire_frame(&b, W_PING, 0, 0, "12345678", 8);
	wire_feed(&r, &b);
	buf_consume(&r.g.up, strlen(W_PREFACE));
	assert_int_equal(wire_count(&r.g.up, W_PING), 1);
	assert_int_equal(wire_count(&r.g.guest, W_PING), 50);
	h2_free(&r);
	buf_fini(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(kept_connection_closes),
		cmocka_unit_test(new_connection_closes),
		cmocka_unit_test(cancelled),
		cmocka_unit_test(trailers_behind_a_length),
		cmocka_unit_test(trailers_that_http1_cannot_carry),
		cmocka_unit_test(trailers_of_an_empty_response),
		cmocka_unit_test(silent_for_days),
		cmocka_unit_test(pings_go_on),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
