/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a hostile guest tries so that a request is judged as one thing and served as another:
 * protocols behind CONNECT, methods and targets in fields, among trailers and in a query;
 * and what it tries so that something waits, or grows, without end.
 */
#include "http2_wire.h"
#include "secret_rig.h"
#include "tlsproxy/http2_internal.h"

#include <setjmp.h>

#include <cmocka.h>

#define HEAD_END "Host: api.example.com\r\n"

/* ---- extended CONNECT --------------------------------------------------------------------- */

static void connects_start(struct h2_rig *r, const struct secret_set *set)
{
	nghttp2_settings_entry connect = { NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL, 1 };

	h2_prepare(r, true, set);
	h2_start(r);
	rig_must(nghttp2_submit_settings(r->server, 0, &connect, 1));
	h2_run(r);
}

static struct h2_stream *extended(struct h2_rig *r, const char *protocol, const char *path,
				  const char *key)
{
	nghttp2_nv nv[] = { H2_NV(":method", "CONNECT"),
			    H2_NV(":protocol", protocol),
			    H2_NV(":scheme", "https"),
			    H2_NV(":authority", "api.example.com"),
			    H2_NV(":path", path),
			    H2_NV("authorization", key),
			    H2_NV("sec-websocket-version", "13") };
	struct h2_stream *st = h2_request_nv(r, nv, ARRAY_SIZE(nv), 1, false);

	st->held = true;
	h2_run(r);
	return st;
}

/* t11: Anything but websocket would have gone out as a plain CONNECT: a tunnel that nobody reads. */
static void other_protocols(void **state)
{
	static const char *const names[] = { "connect-udp", "webtransport", "WebSocket", "x" };
	struct h2_rig r;

	(void)state;
	connects_start(&r, NULL);
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		struct h2_stream *st = extended(&r, names[i], "/echo", "none");

		assert_int_equal(st->status, 501);
		assert_int_equal(r.n_s, 0);
	}
	h2_free(&r);
}

/* t11: the same rules as for the GET that it is in HTTP/1. */
static void websocket_is_a_get(void **state)
{
	struct h2_stream *st;
	struct h2_rig r;

	(void)state;
	connects_start(&r, NULL);
	snprintf(r.g.deny_method, sizeof(r.g.deny_method), "GET");
	st = extended(&r, "websocket", "/echo", "none");
	assert_int_equal(st->status, 403);
	assert_int_equal(r.n_s, 0);
	snprintf(r.g.deny_method, sizeof(r.g.deny_method), "CONNECT");
	st = extended(&r, "websocket", "/echo", "none");
	assert_int_equal(st->status, 200);
	assert_int_equal(r.n_s, 1);
	assert_string_equal(r.s[0]->method, "CONNECT");
	h2_free(&r);
}

static const struct secret_spec spec = { .env = "KEY",
					 .value = "0123456789abcdef0123",
					 .host = "api.example.com",
					 .places = TLSPROXY_PLACES_DEFAULT };

static void websocket_gets_its_secret(void **state)
{
	struct secret_set *set = secret_rig(&spec, 1);
	struct h2_stream *st;
	struct h2_rig r;
	char key[256];

	(void)state;
	connects_start(&r, set);
	snprintf(key, sizeof(key), "Bearer %s", secret_set_placeholder(set, 0));
	st = extended(&r, "websocket", "/echo", key);
	assert_int_equal(st->status, 200);
	assert_true(h2_has(&r.s[0]->fields, spec.value));
	assert_int_equal(r.g.violations, 0);
	h2_free(&r);
	secret_set_free(set);
}

/* ---- trailers ----------------------------------------------------------------------------- */

static void overrides_among_trailers(void **state)
{
	static const char *const names[] = { "X-HTTP-Method-Override", "x_method_override",
					     "X-Original-URL" };
	char text[512];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		struct rig g;

		rig_prepare(&g, true, NULL);
		rig_start(&g);
		snprintf(text, sizeof(text),
			 "POST /a HTTP/1.1\r\n" HEAD_END "Transfer-Encoding: chunked\r\n\r\n"
			 "1\r\nx\r\n0\r\n%s: DELETE\r\n\r\n",
			 names[i]);
		rig_guest(&g, text);
		assert_int_equal(rig_status(&g.guest), 400);
		/* Half a request must not be taken for a whole one. */
		assert_null(strstr(rig_text(&g.up), "\r\n0\r\n"));
		rig_free(&g);
	}
}

static void override_among_trailers_h2(void **state)
{
	struct buf block = BUF_INIT(65536), trailers = BUF_INIT(65536), in = BUF_INIT(65536);
	struct h2_rig r;

	(void)state;
	h2_prepare(&r, true, NULL);
	h2_start(&r);
	wire_begin(&in);
	wire_request(&block, "POST", "/hang");
	wire_frame(&in, W_HEADERS, W_END_HEADERS, 1, buf_at(&block), block.len);
	wire_field(&trailers, "x-http-method-override", "DELETE");
	wire_frame(&in, W_HEADERS, W_END_HEADERS | W_END_STREAM, 1, buf_at(&trailers), trailers.len);
	assert_true(rig_feed(&r.g, true, buf_at(&in), in.len));
	h2_run(&r);
	assert_non_null(strstr(rig_text(&r.g.log), "bad_request 400 POST an override"));
	assert_true(!r.n_s || !r.s[0]->ended);
	buf_fini(&block);
	buf_fini(&trailers);
	buf_fini(&in);
	h2_free(&r);
}

/* t11: sections behind bodies that wait are kept for each stream: only short ones. */
static void trailers_that_wait(void **state)
{
	struct buf block = BUF_INIT(65536), trailers = BUF_INIT(RIG_CAP), in = BUF_INIT(RIG_CAP);
	char value[8000];
	struct h2_rig r;

	(void)state;
	memset(value, 'v', sizeof(value));
	h2_prepare(&r, true, NULL);
	h2_start(&r);
	r.server_stops = true;
	/* As much body as fills what may wait on its way out. */
	wire_begin(&in);
	assert_true(rig_feed(&r.g, true, buf_at(&in), in.len));
	buf_reset(&in);
	wire_frame(&in, W_SETTINGS, W_ACK, 0, NULL, 0);
	wire_request(&block, "POST", "/hang");
	wire_frame(&in, W_HEADERS, W_END_HEADERS, 1, buf_at(&block), block.len);
	for (int i = 0; i < 28; i++)
		wire_frame(&in, W_DATA, 0, 1, value, sizeof(value));
	wire_literal(&trailers, 0, "x", value, sizeof(value));
	wire_literal(&trailers, 0, "y", value, sizeof(value));
	wire_frame(&in, W_HEADERS, W_END_HEADERS | W_END_STREAM, 1, buf_at(&trailers), trailers.len);
	assert_true(rig_feed(&r.g, true, buf_at(&in), in.len));
	assert_non_null(strstr(rig_text(&r.g.log), "bad_request 400 POST too many trailer fields"));
	assert_true(r.g.up.len + HTTP2_OUT_STREAM < 28 * sizeof(value)); /* it did wait */
	buf_fini(&block);
	buf_fini(&trailers);
	buf_fini(&in);
	h2_free(&r);
}

/* ---- requests that are answered early -------------------------------------------------------- */

/* An upgrade with a body that is refused before the body is complete: the next one is read. */
static void upgrade_refused_within_its_body(void **state)
{
	struct rig g;

	(void)state;
	rig_prepare(&g, true, NULL);
	rig_start(&g);
	assert_true(rig_guest(&g, "GET /ws HTTP/1.1\r\n" HEAD_END "Connection: Upgrade\r\n"
				  "Upgrade: websocket\r\nContent-Length: 4\r\n\r\nab"));
	assert_true(rig_upstream(&g, "HTTP/1.1 426 No\r\nContent-Length: 0\r\n\r\n"));
	assert_int_equal(rig_status(&g.guest), 426);
	assert_true(rig_guest(&g, "cd"));
	assert_true(rig_guest(&g, "GET /next HTTP/1.1\r\n" HEAD_END "\r\n"));
	assert_non_null(strstr(rig_text(&g.up), "abcdGET /next"));
	rig_free(&g);
}

/* Heads beyond what may wait are refused as what they are, not as the guest's doing. */
static void heads_beyond_what_may_wait(void **state)
{
	struct buf block = BUF_INIT(RIG_CAP), in = BUF_INIT(RIG_CAP);
	char *value = malloc(40000);
	struct h2_rig r;

	(void)state;
	assert_non_null(value);
	memset(value, 'v', 40000);
	h2_prepare(&r, true, NULL);
	r.g.cfg.upstream_h2 = false;
	r.h1 = true;
	h2_start(&r);
	wire_begin(&in);
	wire_request(&block, "GET", "/hang");
	for (uint32_t id = 1; id < 80; id += 2) {
		struct buf b = BUF_INIT(RIG_CAP);
		const uint8_t *p;
		size_t n;

		rig_must(buf_append(&b, buf_at(&block), block.len));
		wire_literal(&b, 0, "x", value, 40000);
		p = buf_at(&b);
		n = b.len;
		wire_frame(&in, W_HEADERS, W_END_STREAM, id, p, 16000);
		wire_frame(&in, W_CONTINUATION, 0, id, p + 16000, 16000);
		wire_frame(&in, W_CONTINUATION, W_END_HEADERS, id, p + 32000, n - 32000);
		buf_fini(&b);
	}
	for (size_t at = 0; at < in.len;) {
		size_t used = 0;

		r.g.state = http_from_guest(r.g.filter, buf_at(&in) + at, in.len - at, &used,
					    &r.g.up, &r.g.guest);
		assert_true(used > 0);
		at += used;
		buf_reset(&r.g.guest);
	}
	assert_non_null(strstr(rig_text(&r.g.log), "failed 0 GET too many requests wait"));
	assert_null(strstr(rig_text(&r.g.log), "forwarded"));
	free(value);
	buf_fini(&block);
	buf_fini(&in);
	h2_free(&r);
}

/* ---- many connections that are not read -------------------------------------------------------- */

#define CROWD 160

/* What the guest was told that a stream of it may have under way. */
static size_t window_of(const struct h2_rig *r)
{
	return nghttp2_session_get_remote_settings(r->client, NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE);
}

/* t11: what one may have waiting is not multiplied by how many there are. */
static void many_slow_readers(void **state)
{
	size_t waiting = 0, last = 0;
	struct h2_rig **r = calloc(CROWD, sizeof(*r));

	(void)state;
	assert_non_null(r);
	for (size_t i = 0; i < CROWD; i++) {
		r[i] = malloc(sizeof(**r));
		assert_non_null(r[i]);
		h2_prepare(r[i], true, NULL);
		r[i]->manual = true;
		h2_start(r[i]);
		for (int k = 0; k < 16; k++)
			h2_get(r[i], "/size/100000");
		h2_run(r[i]);
		last = ((struct http2 *)r[i]->g.filter->guest)->out_bytes;
		waiting += last;
	}
	assert_true(waiting > HTTP2_OUT_PROCESS / 2);
	assert_true(waiting < HTTP2_OUT_PROCESS + CROWD * 64 * 1024);
	assert_true(last <= 2 * HTTP2_OUT_FLOOR + 16 * HTTP2_OUT_LEAST);
	/* New ones have narrow windows, older ones as soon as something moves on them. */
	assert_int_equal(window_of(r[0]), HTTP2_WINDOW_STREAM);
	assert_int_equal(window_of(r[CROWD - 1]), HTTP2_NARROW_STREAM);
	rig_must(nghttp2_submit_ping(r[0]->client, 0, NULL));
	h2_run(r[0]);
	assert_int_equal(window_of(r[0]), HTTP2_NARROW_STREAM);
	/* Who reads again gets all of it, and gives back what it held. */
	for (size_t i = 0; i < CROWD; i++) {
		for (int k = 0; k < 200; k++) {
			nghttp2_submit_window_update(r[i]->client, 0, 0, 1 << 20);
			for (size_t c = 0; c < r[i]->n_c; c++)
				if (!r[i]->c[c]->closed)
					nghttp2_submit_window_update(r[i]->client, 0,
								     r[i]->c[c]->id, 1 << 16);
			h2_run(r[i]);
			if (((struct http2 *)r[i]->g.filter->guest)->n_streams == 0)
				break;
		}
		for (size_t c = 0; c < r[i]->n_c; c++)
			assert_int_equal(r[i]->c[c]->got, 100000);
	}
	/* And wide windows again, with time; many connections have the protocol's own. */
	http_filter_tick(r[0]->g.filter, &r[0]->g.up, &r[0]->g.guest);
	h2_run(r[0]);
	assert_int_equal(window_of(r[0]), NGHTTP2_INITIAL_WINDOW_SIZE);
	for (size_t i = 0; i < CROWD; i++) {
		h2_free(r[i]);
		free(r[i]);
	}
	free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(other_protocols),
		cmocka_unit_test(websocket_is_a_get),
		cmocka_unit_test(websocket_gets_its_secret),
		cmocka_unit_test(overrides_among_trailers),
		cmocka_unit_test(override_among_trailers_h2),
		cmocka_unit_test(trailers_that_wait),
		cmocka_unit_test(upgrade_refused_within_its_body),
		cmocka_unit_test(heads_beyond_what_may_wait),
		cmocka_unit_test(many_slow_readers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
