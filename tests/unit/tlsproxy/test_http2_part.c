/* SPDX-License-Identifier: Apache-2.0 */
/* One HTTP/2 upstream connection for several guests in turn: when it goes on, and that nothing is lost. */
#include "http2_rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

/* The guest goes, and another one comes for the same upstream. */
static void next_guest(struct h2_rig *r)
{
	struct h2_rig fresh = { .h1 = true };

	r->g.cfg.upstream = http_filter_part(r->g.filter);
	assert_non_null(r->g.cfg.upstream);
	assert_int_equal(r->g.up.len, 0);
	http_filter_free(r->g.filter);
	rig_must(http_filter_new(&r->g.cfg, &r->g.filter));
	r->g.cfg.upstream = NULL;
	r->g.state = HTTP_OK;
	buf_reset(&r->g.guest);
	buf_reset(&r->to_filter);
	nghttp2_session_del(r->client);
	/* Only the client is anew; what comes next is read as the rig's. */
	h2_sessions(&fresh);
	nghttp2_session_del(fresh.server);
	r->client = fresh.client;
	nghttp2_session_set_user_data(r->client, r);
	r->settings = 0;
}

static void expect(const struct h2_stream *st, unsigned status, uint32_t seed, uint64_t n)
{
	assert_int_equal(st->status, status);
	assert_int_equal(st->got, n);
	assert_int_equal(st->sum, h2_sum(seed, n));
	assert_true(st->ended && st->closed);
	assert_int_equal(st->code, 0);
}

static void goes_on(void **state)
{
	struct h2_stream *a, *b, *c, *d;
	struct h2_rig r;

	(void)state;
	for (uint32_t cut = 0; cut < 20; cut++) {
		h2_prepare(&r, true, NULL);
		r.g.cut = cut;
		h2_start(&r);
		for (int guest = 0; guest < 4; guest++) {
			if (guest)
				next_guest(&r);
			/* More than both windows, so that what one left must not be missing. */
			a = h2_get(&r, cut == 1 ? "/size/3000" : "/size/300000");
			b = h2_request(&r, "POST", "/echo", cut == 1 ? 700 : 70000, true);
			c = h2_request(&r, "HEAD", "/size/9", 0, false);
			d = h2_get(&r, "/empty");
			h2_run(&r);
			expect(a, 200, 7, cut == 1 ? 3000 : 300000);
			expect(b, 200, 3, cut == 1 ? 700 : 70000);
			expect(c, 200, 7, 0);
			expect(d, 204, 7, 0);
			assert_true(http_filter_between(r.g.filter));
		}
		assert_int_equal(r.n_s, 16);
		assert_int_equal(r.s[15]->id, 31);
		h2_free(&r);
	}
}

static void stays(struct h2_rig *r)
{
	h2_run(r);
	assert_false(http_filter_between(r->g.filter));
	h2_free(r);
}

static void begin(struct h2_rig *r)
{
	h2_prepare(r, true, NULL);
	h2_start(r);
	expect((h2_get(r, "/size/5"), h2_run(r), r->c[0]), 200, 7, 5);
	assert_true(http_filter_between(r->g.filter));
}

/* What is owed, what was reset, and what is about to end are not for others. */
static void does_not_go_on(void **state)
{
	struct h2_stream *st;
	struct h2_rig r;

	(void)state;
	begin(&r);
	h2_get(&r, "/hang");
	stays(&r);

	begin(&r);
	h2_get(&r, "/reset/8");
	stays(&r);

	begin(&r);
	h2_get(&r, "/late/2");
	stays(&r);

	begin(&r);
	st = h2_get(&r, "/hang");
	h2_run(&r);
	rig_must(nghttp2_submit_rst_stream(r.client, 0, st->id, NGHTTP2_CANCEL));
	stays(&r);

	begin(&r);
	rig_must(nghttp2_submit_goaway(r.server, 0, 1, NGHTTP2_NO_ERROR, NULL, 0));
	stays(&r);

	/* A request whose answer was over before its body was */
	begin(&r);
	h2_request(&r, "POST", "/early", 5000000, false);
	r.server_stops = true;
	stays(&r);

	/* Nobody knows yet what it is */
	h2_prepare(&r, true, NULL);
	h2_start(&r);
	assert_false(http_filter_between(r.g.filter));
	h2_free(&r);
}

/* Half a frame belongs to nobody. */
static void half_a_frame(void **state)
{
	static const uint8_t ping[] = { 0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2 };
	struct h2_rig r;
	size_t used;

	(void)state;
	for (size_t n = 1; n <= sizeof(ping); n++) {
		begin(&r);
		assert_int_equal(http_from_upstream(r.g.filter, ping, n, &used, &r.g.up, &r.g.guest),
				 HTTP_OK);
		assert_false(http_filter_between(r.g.filter));
		h2_free(&r);
	}
}

static void extended_connect_is_known(void **state)
{
	nghttp2_settings_entry connect = { NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL, 1 };
	struct h2_rig r;

	(void)state;
	begin(&r);
	assert_int_equal(r.settings, 2); /* and our ACK of its own */
	rig_must(nghttp2_submit_settings(r.server, 0, &connect, 1));
	h2_run(&r);
	assert_int_equal(r.settings, 3);
	next_guest(&r);
	h2_get(&r, "/size/1");
	h2_run(&r);
	assert_int_equal(nghttp2_session_get_remote_settings(
				 r.client, NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL),
			 1);
	h2_free(&r);
}

/* Whoever has it frees it, whether a filter came or not. */
static void freed_alone(void **state)
{
	struct http_side *s;
	struct h2_rig r;
	size_t used;

	(void)state;
	begin(&r);
	s = http_filter_part(r.g.filter);
	assert_non_null(s);
	/* The filter that is left is over, and says so. */
	assert_int_equal(
		http_from_guest(r.g.filter, (const uint8_t *)"x", 1, &used, &r.g.up, &r.g.guest),
		HTTP_CLOSE);
	assert_int_equal(http_guest_eof(r.g.filter, &r.g.up, &r.g.guest), HTTP_CLOSE);
	assert_int_equal(r.g.up.len, 0);
	h2_free(&r);
	http_side_free(s);
	http_side_free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(goes_on),	cmocka_unit_test(does_not_go_on),
		cmocka_unit_test(half_a_frame), cmocka_unit_test(extended_connect_is_known),
		cmocka_unit_test(freed_alone),
	};

	return cmocka_run_group_tests_name("http2_part", tests, NULL, NULL);
}
