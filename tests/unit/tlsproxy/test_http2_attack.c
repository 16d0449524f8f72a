/* SPDX-License-Identifier: Apache-2.0 */
/* Peers that mean harm: each limit of http_limits.h is run into by the attack that it stops. */
#include "http2_wire.h"
#include "tlsproxy/http2_internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static struct http2 *guest_of(struct h2_rig *r)
{
	return http2_of(r->g.filter->guest);
}

static void assert_calm(struct h2_rig *r)
{
	assert_int_equal(wire_code(&r->g.guest, W_GOAWAY, 0), NGHTTP2_ENHANCE_YOUR_CALM);
	assert_int_equal(r->g.state, HTTP_CLOSE);
}

/* ---- resets ------------------------------------------------------------------------------ */

/* CVE-2023-44487 */
static void rapid_reset(void **state)
{
	struct buf b = BUF_INIT(RIG_CAP);
	struct h2_rig r;

	(void)state;
	wire_start(&r, true);
	wire_begin(&b);
	for (uint32_t id = 1; id < 20000; id += 2) {
		wire_get(&b, id, "/hang");
		wire_u32_frame(&b, W_RST, id, NGHTTP2_CANCEL);
		wire_feed(&r, &b);
	}
	assert_calm(&r);
	assert_in_range(h2_events(&r), HTTP2_RESETS_MAX, HTTP2_RESETS_MAX + 1);
	assert_true(r.g.up.len < 200 * 1024);
	h2_free(&r);
	buf_fini(&b);
}

/* As many, but each after a request that was served: a client that works may cancel. */
static void resets_between_work(void **state)
{
	struct h2_rig r;

	(void)state;
	h2_prepare(&r, true, NULL);
	h2_start(&r);
	for (unsigned i = 0; i < 3 * HTTP2_RESETS_MAX; i++) {
		struct h2_stream *st = h2_get(&r, "/size/1"), *gone = h2_get(&r, "/hang");

		h2_run(&r);
		rig_must(nghttp2_submit_rst_stream(r.client, 0, gone->id, NGHTTP2_CANCEL));
		h2_run(&r);
		assert_int_equal(st->got, 1);
	}
	assert_false(r.has_goaway);
	assert_int_equal(h2_events(&r), 6 * HTTP2_RESETS_MAX);
	h2_free(&r);
}

/* The same behind the heads of the responses: each asked the upstream for one. */
static void resets_behind_heads(void **state)
{
	struct h2_stream *st;
	struct h2_rig r;
	unsigned n;

	(void)state;
	h2_prepare(&r, true, NULL);
	h2_start(&r);
	for (n = 0; n < H2_STREAMS - 1 && !r.has_goaway; n++) {
		st = h2_request(&r, "POST", "/echo", 1, false);
		st->held = true;
		h2_run(&r);
		assert_true(st->status == 200 || r.has_goaway);
		rig_must(nghttp2_submit_rst_stream(r.client, 0, st->id, NGHTTP2_CANCEL));
		h2_run(&r);
	}
	assert_true(r.has_goaway);
	assert_int_equal(r.goaway, NGHTTP2_ENHANCE_YOUR_CALM);
	assert_in_range(n, HTTP2_RESETS_MAX, HTTP2_FRAMES_MAX);
	h2_free(&r);

	/* Who looks into each for a moment only is no attacker. */
	h2_prepare(&r, true, NULL);
	r.manual = true;
	h2_start(&r);
	rig_must(nghttp2_submit_window_update(r.client, 0, 0, 1 << 30));
	/* nghttp2 has a limit of its own, which is a thousand at once. */
	for (n = 0; n < 990; n++) {
		st = h2_get(&r, "/size/100000");
		h2_run(&r);
		rig_must(nghttp2_submit_rst_stream(r.client, 0, st->id, NGHTTP2_CANCEL));
		h2_run(&r);
		assert_true(st->got >= 32768);
	}
	assert_false(r.has_goaway);
	h2_free(&r);
}

/* Field sections for streams that are no more have to be decoded, but are not for ever. */
static void heads_of_closed_streams(void **state)
{
	struct buf b = BUF_INIT(RIG_CAP);
	struct h2_rig r;
	unsigned n;

	(void)state;
	wire_start(&r, true);
	wire_begin(&b);
	wire_get(&b, 1, "/hang");
	wire_u32_frame(&b, W_RST, 1, NGHTTP2_CANCEL);
	for (n = 0; n < HTTP2_FRAMES_MAX && r.g.state == HTTP_OK; n++) {
		wire_get(&b, 1, "/hang");
		wire_feed(&r, &b);
	}
	assert_in_range(n, 10, HTTP2_FRAMES_MAX / HTTP2_FRAMES_PER_STREAM + 1);
	assert_int_equal(wire_code(&r.g.guest, W_GOAWAY, 0), NGHTTP2_ENHANCE_YOUR_CALM);
	h2_free(&r);
	buf_fini(&b);
}

/* CVE-2025-8671: we are made to reset, in all ways that leave the connection. */
static void made_you_reset(void **state)
{
	struct buf b = BUF_INIT(RIG_CAP);
	struct h2_rig r;

	(void)state;
	for (unsigned way = 0; way < 3; way++) {
		wire_start(&r, true);
		wire_begin(&b);
		for (uint32_t id = 1; id < 20000; id += 2) {
			wire_get(&b, id, "/hang");
			if (way == 0)
				wire_u32_frame(&b, W_WINDOW, id, 0);
			else if (way == 1)
				wire_u32_frame(&b, W_WINDOW, id, 0x7fffffff);
			else
				wire_frame(&b, W_DATA, 0, id, "x", 1);
			wire_feed(&r, &b);
		}
		assert_int_equal(r.g.state, HTTP_CLOSE);
		assert_true(wire_code(&r.g.guest, W_GOAWAY, 0) > 0);
		assert_true(h2_events(&r) <= HTTP2_RESETS_MAX + 2);
		h2_free(&r);
	}
	buf_fini(&b);
}

/* ---- field sections -------------------------------------------------------------------------- */

/* CVE-2024-27316, CVE-2024-28182 */
static void continuation_flood(void **state)
{
	struct buf b = BUF_INIT(RIG_CAP);
	struct h2_rig r;
	char junk[1000];

	(void)state;
	memset(junk, 'a', sizeof(junk));
	for (size_t piece = 0; piece <= 1000; piece += 500) {
		struct buf block = BUF_INIT(4096);

		wire_start(&r, true);
		wire_begin(&b);
		wire_request(&block, "GET", "/");
		wire_frame(&b, W_HEADERS, W_END_STREAM, 1, buf_at(&block), block.len);
		for (unsigned i = 0; i < 10000; i++) {
			buf_reset(&block);
			if (piece)
				wire_literal(&block, 0, "x", junk, piece - 50);
			wire_frame(&b, W_CONTINUATION, 0, 1, buf_at(&block), block.len);
			wire_feed(&r, &b);
			assert_true(guest_of(&r)->mem.used < 300 * 1024);
			if (r.g.state != HTTP_OK)
				break;
		}
		assert_int_equal(r.g.state, HTTP_CLOSE);
		assert_true(wire_code(&r.g.guest, W_GOAWAY, 0) > 0);
		assert_int_equal(h2_events(&r), 0);
		h2_free(&r);
		buf_fini(&block);
	}
	buf_fini(&b);
}

/* A small table, referred to again and again: 400 MiB out of 120 KiB. */
static void hpack_bomb(void **state)
{
	struct buf b = BUF_INIT(RIG_CAP), block = BUF_INIT(RIG_CAP);
	struct h2_rig r;
	uint8_t ref = 0x80 | 62;
	char big[3900];

	(void)state;
	memset(big, 'a', sizeof(big));
	wire_start(&r, true);
	wire_begin(&b);
	wire_request(&block, "GET", "/");
	wire_literal(&block, 0x40, "x", big, sizeof(big));
	wire_frame(&b, W_HEADERS, W_END_STREAM, 1, buf_at(&block), block.len);
	buf_reset(&block);
	for (unsigned i = 0; i < 16000; i++)
		rig_must(buf_append(&block, &ref, 1));
	for (unsigned i = 0; i < 7; i++)
		wire_frame(&b, W_CONTINUATION, i == 6 ? W_END_HEADERS : 0, 1, buf_at(&block),
			   block.len);
	wire_feed(&r, &b);
	assert_true(guest_of(&r)->mem.used < 512 * 1024);
	assert_int_equal(r.g.state, HTTP_OK);
	assert_int_equal(h2_events(&r), 1);
	assert_true(h2_has(&r.g.log, "http bad_request 431"));
	/* The connection is as good as before. */
	wire_get(&b, 3, "/hang");
	wire_feed(&r, &b);
	assert_int_equal(r.g.state, HTTP_OK);
	assert_true(r.g.up.len > 0);
	h2_free(&r);
	buf_fini(&b);
	buf_fini(&block);
}

static void too_many_fields(void **state)
{
	struct buf b = BUF_INIT(RIG_CAP), block = BUF_INIT(RIG_CAP);
	struct h2_rig r;

	(void)state;
	for (unsigned n = HTTP_FIELDS_MAX; n < HTTP_FIELDS_MAX + 20; n++) {
		wire_start(&r, false);
		wire_begin(&b);
		buf_reset(&block);
		wire_request(&block, "GET", "/");
		for (unsigned i = 0; i < n; i++)
			wire_field(&block, "a", "b");
		wire_frame(&b, W_HEADERS, W_END_STREAM | W_END_HEADERS, 1, buf_at(&block), block.len);
		wire_feed(&r, &b);
		assert_int_equal(h2_has(&r.g.log, "http bad_request 431"), n > HTTP_FIELDS_MAX);
		assert_int_equal(r.g.up.len > 0, n <= HTTP_FIELDS_MAX);
		h2_free(&r);
	}
	buf_fini(&b);
	buf_fini(&block);
}

/* Requests wait for an upstream of HTTP/1: their heads are held, but not without end. */
static void heads_that_wait(void **state)
{
	struct buf b = BUF_INIT(RIG_CAP), block = BUF_INIT(RIG_CAP);
	struct h2_rig r;
	char big[12000];

	(void)state;
	memset(big, 'a', sizeof(big));
	wire_start(&r, false);
	wire_begin(&b);
	wire_request(&block, "GET", "/");
	wire_literal(&block, 0, "x", big, sizeof(big));
	for (uint32_t id = 1; id < 200; id += 2)
		wire_frame(&b, W_HEADERS, W_END_STREAM | W_END_HEADERS, id, buf_at(&block),
			   block.len);
	wire_feed(&r, &b);
	assert_true(guest_of(&r)->waiting_bytes <= HTTP2_WAITING_MAX);
	assert_int_equal(wire_code(&r.g.guest, W_RST, 199), NGHTTP2_REFUSED_STREAM);
	assert_int_equal(wire_code(&r.g.guest, W_RST, 1), -1);
	assert_int_equal(r.g.state, HTTP_OK);
	h2_free(&r);
	buf_fini(&b);
	buf_fini(&block);
}

/* ---- frames that bring nothing -------------------------------------------------------------- */

static void floods(void **state)
{
	static const char pad[3] = { 2, 0, 0 };
	struct buf b = BUF_INIT(RIG_CAP);
	struct h2_rig r;

	(void)state;
	for (unsigned kind = 0; kind < 9; kind++) {
		unsigned i;

		wire_start(&r, true);
		wire_begin(&b);
		if (kind >= 6) {
			struct buf block = BUF_INIT(4096);

			wire_request(&block, "POST", "/hang");
			wire_frame(&b, W_HEADERS, W_END_HEADERS, 1, buf_at(&block), block.len);
			buf_fini(&block);
		}
		for (i = 0; i < 50000 && r.g.state == HTTP_OK; i++) {
			if (kind == 0)
				wire_frame(&b, W_PING, 0, 0, "12345678", 8);
			else if (kind == 1)
				wire_frame(&b, W_SETTINGS, 0, 0, NULL, 0);
			else if (kind == 2)
				wire_frame(&b, W_PRIORITY, 0, 1 + 2 * (i % 50), "\0\0\0\0\20", 5);
			else if (kind == 3)
				wire_u32_frame(&b, W_WINDOW, 0, 1);
			else if (kind == 4)
				wire_frame(&b, 0xee, 0, 0, "x", 1);
			else if (kind == 5)
				wire_frame(&b, W_PING, W_ACK, 0, "12345678", 8);
			else if (kind == 6)
				wire_frame(&b, W_DATA, 0, 1, NULL, 0);
			else if (kind == 7)
				wire_frame(&b, W_DATA, W_PADDED, 1, pad, 3);
			else
				wire_u32_frame(&b, W_WINDOW, 1, 1);
			if (i % 100 == 99) {
				wire_feed(&r, &b);
				assert_true(guest_of(&r)->mem.used < 256 * 1024);
			}
		}
		if (i < HTTP2_FRAMES_MAX || i > HTTP2_FRAMES_MAX + 300)
			print_error("kind %u: %u\n", kind, i);
		assert_in_range(i, HTTP2_FRAMES_MAX, HTTP2_FRAMES_MAX + 300);
		assert_calm(&r);
		b.len = b.off = 0;
		h2_free(&r);
	}
	buf_fini(&b);
}

/* It sends what has to be answered, and reads no answer: nothing more is taken. */
static void floods_without_reading(void **state)
{
	struct buf b = BUF_INIT(RIG_CAP);
	struct h2_rig r;
	size_t used;

	(void)state;
	h2_prepare(&r, true, NULL);
	r.g.buf_cap = 16384;
	h2_start(&r);
	wire_begin(&b);
	for (unsigned i = 0; i < 4000; i++)
		wire_frame(&b, W_PING, 0, 0, "12345678", 8);
	assert_int_equal(http_from_guest(r.g.filter, buf_at(&b), b.len, &used, &r.g.up, &r.g.guest),
			 HTTP_OK);
	assert_true(used < b.len && r.g.guest.len <= 16384);
	assert_int_equal(http_from_guest(r.g.filter, buf_at(&b), b.len, &used, &r.g.up, &r.g.guest),
			 HTTP_OK);
	assert_int_equal(used, 0);
	assert_true(guest_of(&r)->mem.used < 256 * 1024);
	h2_free(&r);
	buf_fini(&b);
}

/* ---- windows ------------------------------------------------------------------------------------ */

/* 100 replies without end, and a guest that opens no window. */
static void slow_reader(void **state)
{
	nghttp2_settings_entry zero = { NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 0 };
	struct h2_rig r;
	size_t held = 0;

	(void)state;
	h2_prepare(&r, true, NULL);
	h2_start(&r);
	rig_must(nghttp2_submit_settings(r.client, 0, &zero, 1));
	for (unsigned i = 0; i < 100; i++)
		h2_get(&r, "/size/100000000");
	h2_run(&r);
	list_for_each (it, &guest_of(&r)->streams)
		held += container_of(it, struct http2_stream, node)->out.size;
	assert_true(guest_of(&r)->out_bytes <= HTTP2_OUT_ALL + 100 * HTTP2_OUT_FLOOR);
	assert_true(held <= 2 * (HTTP2_OUT_ALL + 100 * HTTP2_OUT_FLOOR));
	held = 0;
	list_for_each (it, &http2_of(r.g.filter->upstream)->streams)
		held += container_of(it, struct http2_stream, node)->in.size;
	assert_true(held <= 2 * HTTP2_WINDOW_CONNECTION);
	assert_int_equal(h2_events(&r), 0);
	h2_free(&r);
}

static void ticks(struct h2_rig *r, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		http_filter_tick(r->g.filter, &r->g.up, &r->g.guest);
		h2_run(r);
	}
}

/* A window that never opens ends its stream, in time and alone; one that opens late does not. */
static void stalled_reader(void **state)
{
	nghttp2_settings_entry small = { NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 1000 };
	struct h2_stream *stalls, *slow, *quick;
	struct h2_rig r;

	(void)state;
	h2_prepare(&r, true, NULL);
	r.manual = true;
	h2_start(&r);
	rig_must(nghttp2_submit_settings(r.client, 0, &small, 1));
	h2_run(&r);
	stalls = h2_get(&r, "/size/1000000");
	slow = h2_get(&r, "/size/1000000");
	h2_run(&r);
	for (unsigned i = 0; i < 3; i++) {
		ticks(&r, HTTP2_STALL_TICKS);
		assert_false(slow->closed);
		assert_int_equal(stalls->closed, i > 0);
		rig_must(nghttp2_submit_window_update(r.client, 0, slow->id, 1000));
		h2_run(&r);
	}
	assert_int_equal(stalls->code, NGHTTP2_CANCEL);
	assert_int_equal(h2_events(&r), 1);
	assert_int_equal(r.g.state, HTTP_OK);
	quick = h2_get(&r, "/size/1");
	h2_run(&r);
	assert_int_equal(quick->status, 200);
	assert_true(quick->ended);
	h2_free(&r);
}

/* A body of known length that stops; one without a length may pause, and so may its answer. */
static void stalled_body(void **state)
{
	nghttp2_nv nv[] = { H2_NV(":method", "POST"), H2_NV(":scheme", "https"),
			    H2_NV(":authority", "api.example.com"), H2_NV(":path", "/hang"),
			    H2_NV("content-length", "100000") };
	struct h2_stream *stops, *pauses;
	struct h2_rig r;

	(void)state;
	for (unsigned h2 = 0; h2 < 2; h2++) {
		h2_prepare(&r, true, NULL);
		r.g.cfg.upstream_h2 = h2;
		r.h1 = !h2;
		h2_start(&r);
		stops = h2_request_nv(&r, nv, ARRAY_SIZE(nv), 100000, false);
		stops->held = true;
		h2_run(&r);
		pauses = h2_get(&r, "/hang");
		h2_run(&r);
		ticks(&r, HTTP2_STALL_TICKS);
		assert_false(stops->closed);
		ticks(&r, 1);
		assert_true(stops->closed);
		assert_int_equal(stops->code, NGHTTP2_CANCEL);
		ticks(&r, 3 * HTTP2_STALL_TICKS);
		/* With HTTP/1 it waited for the connection that ended with the other. */
		if (h2)
			assert_false(pauses->closed);
		if (h2)
			assert_int_equal(r.g.state, HTTP_OK);
		h2_free(&r);
	}
}

/* The same upwards: the upstream opens no window. */
static void slow_upstream(void **state)
{
	nghttp2_settings_entry zero = { NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 0 };
	struct h2_rig r;
	size_t held = 0;

	(void)state;
	h2_prepare(&r, true, NULL);
	h2_start(&r);
	rig_must(nghttp2_submit_settings(r.server, 0, &zero, 1));
	h2_get(&r, "/size/1");
	h2_run(&r);
	for (unsigned i = 0; i < 99; i++)
		h2_request(&r, "POST", "/echo", 100000000, false);
	h2_run(&r);
	list_for_each (it, &guest_of(&r)->streams)
		held += container_of(it, struct http2_stream, node)->in.size;
	assert_true(held <= 2 * HTTP2_WINDOW_CONNECTION);
	assert_true(http2_of(r.g.filter->upstream)->out_bytes <=
		    HTTP2_OUT_ALL + 100 * HTTP2_OUT_FLOOR);
	h2_free(&r);
}

/* Windows opened late and a byte at a time: all arrives. */
static void window_games(void **state)
{
	nghttp2_settings_entry w = { NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 0 };
	struct h2_rig r;
	struct h2_stream *st;

	(void)state;
	h2_prepare(&r, true, NULL);
	r.manual = true;
	h2_start(&r);
	rig_must(nghttp2_submit_settings(r.client, 0, &w, 1));
	st = h2_get(&r, "/size/300");
	h2_run(&r);
	assert_int_equal(st->status, 200);
	assert_int_equal(st->got, 0);
	for (unsigned i = 0; i < 100; i++) {
		rig_must(nghttp2_submit_window_update(r.client, 0, st->id, 1));
		h2_run(&r);
		assert_int_equal(st->got, i + 1);
	}
	/* A new initial window changes those of open streams, below zero too (6.9.2). */
	w.value = 50;
	rig_must(nghttp2_submit_settings(r.client, 0, &w, 1));
	h2_run(&r);
	assert_int_equal(st->got, 150);
	w.value = 0;
	rig_must(nghttp2_submit_settings(r.client, 0, &w, 1));
	h2_run(&r);
	w.value = 65535;
	rig_must(nghttp2_submit_settings(r.client, 0, &w, 1));
	h2_run(&r);
	assert_int_equal(st->got, 300);
	assert_int_equal(st->sum, h2_sum(7, 300));
	h2_free(&r);
}

static void too_many_streams(void **state)
{
	struct buf b = BUF_INIT(RIG_CAP);
	struct h2_rig r;

	(void)state;
	wire_start(&r, true);
	wire_begin(&b);
	wire_frame(&b, W_SETTINGS, W_ACK, 0, NULL, 0);
	for (uint32_t id = 1; id < 203; id += 2)
		wire_get(&b, id, "/hang");
	wire_feed(&r, &b);
	assert_true(wire_code(&r.g.guest, W_RST, 201) == NGHTTP2_REFUSED_STREAM ||
		    wire_code(&r.g.guest, W_GOAWAY, 0) == NGHTTP2_PROTOCOL_ERROR);
	h2_free(&r);
	buf_fini(&b);
}

/* ---- hostile upstreams ------------------------------------------------------------------------- */

struct reply {
	const char *what;
	void (*write)(struct buf *b);
	unsigned status;
};

static void head(struct buf *b, const char *status, const char *name, const char *value, uint8_t flags)
{
	struct buf block = BUF_INIT(4096);

	wire_field(&block, ":status", status);
	if (name)
		wire_field(&block, name, value);
	wire_frame(b, W_HEADERS, W_END_HEADERS | flags, 1, buf_at(&block), block.len);
	buf_fini(&block);
}

static void w_push(struct buf *b)
{
	struct buf block = BUF_INIT(4096);

	wire_frame(b, W_SETTINGS, W_ACK, 0, NULL, 0);
	wire_be32(&block, 2);
	wire_request(&block, "GET", "/pushed");
	wire_frame(b, W_PUSH, W_END_HEADERS, 1, buf_at(&block), block.len);
	buf_fini(&block);
}

/* Before it knows that they were switched off they are reset, but not without end. */
static void w_pushes(struct buf *b)
{
	struct buf block = BUF_INIT(4096);

	for (uint32_t id = 2; id < 1000; id += 2) {
		buf_reset(&block);
		wire_be32(&block, id);
		wire_request(&block, "GET", "/pushed");
		wire_frame(b, W_PUSH, W_END_HEADERS, 1, buf_at(&block), block.len);
	}
	buf_fini(&block);
}

static void w_no_status(struct buf *b)
{
	struct buf block = BUF_INIT(4096);

	wire_field(&block, "a", "b");
	wire_frame(b, W_HEADERS, W_END_HEADERS | W_END_STREAM, 1, buf_at(&block), block.len);
	buf_fini(&block);
}

static void w_odd_status(struct buf *b)
{
	head(b, "20", NULL, NULL, W_END_STREAM);
}

static void w_101(struct buf *b)
{
	head(b, "101", NULL, NULL, 0);
}

static void w_request_field(struct buf *b)
{
	head(b, "200", ":path", "/", W_END_STREAM);
}

static void w_connection(struct buf *b)
{
	head(b, "200", "connection", "close", W_END_STREAM);
}

static void w_upper(struct buf *b)
{
	head(b, "200", "X-A", "b", W_END_STREAM);
}

static void w_newline(struct buf *b)
{
	head(b, "200", "x-a", "b\r\nx-b: c", W_END_STREAM);
}

static void w_short(struct buf *b)
{
	head(b, "200", "content-length", "5", W_END_STREAM);
}

static void w_interim_end(struct buf *b)
{
	head(b, "103", NULL, NULL, W_END_STREAM);
}

static void w_data_first(struct buf *b)
{
	wire_frame(b, W_DATA, 0, 1, "abc", 3);
}

static void w_interims(struct buf *b)
{
	for (unsigned i = 0; i < 100; i++)
		head(b, "103", "link", "</a>", 0);
}

static void w_pings(struct buf *b)
{
	for (unsigned i = 0; i < HTTP2_FRAMES_MAX + 100; i++)
		wire_frame(b, W_PING, 0, 0, "12345678", 8);
}

static void w_garbage(struct buf *b)
{
	for (unsigned i = 0; i < 1000; i++)
		rig_must(buf_append_str(b, "HTTP/1.1 200 OK\r\n\r\n"));
}

static void w_huffman(struct buf *b)
{
	wire_frame(b, W_HEADERS, W_END_HEADERS, 1, "\x00\x81\xff\x81\xff", 5);
}

static void w_goaway(struct buf *b)
{
	wire_frame(b, W_GOAWAY, 0, 0, "\0\0\0\1\0\0\0\2", 8);
	w_no_status(b);
}

static void hostile_upstream(void **state)
{
	static const struct reply table[] = {
		{ "a pushed stream", w_push, 502 },
		{ "pushed streams", w_pushes, 502 },
		{ "no :status", w_no_status, 502 },
		{ "a :status of two digits", w_odd_status, 502 },
		{ "101", w_101, 502 },
		{ "a request's pseudo-header field", w_request_field, 502 },
		{ "Connection", w_connection, 502 },
		{ "upper case", w_upper, 502 },
		{ "a line in a value", w_newline, 502 },
		{ "less than Content-Length", w_short, 502 },
		{ "an interim response that ends", w_interim_end, 502 },
		{ "DATA first", w_data_first, 502 },
		{ "interim responses without end", w_interims, 502 },
		{ "pings", w_pings, 502 },
		{ "HTTP/1", w_garbage, 502 },
		{ "Huffman padding of a whole byte", w_huffman, 502 },
		{ "GOAWAY, then no :status", w_goaway, 502 },
	};
	struct buf b = BUF_INIT(RIG_CAP);
	struct h2_rig r;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(table); i++)
		for (uint32_t cut = 0; cut < 3; cut++) {
			struct h2_stream *st;

			h2_prepare(&r, true, NULL);
			r.h1 = true;
			r.g.cut = cut * 17;
			r.g.buf_cap = RIG_CAP;
			h2_start(&r);
			st = h2_get(&r, "/");
			h2_run(&r);
			b.len = b.off = 0;
			wire_frame(&b, W_SETTINGS, 0, 0, NULL, 0);
			table[i].write(&b);
			rig_feed(&r.g, false, buf_at(&b), b.len);
			h2_run(&r);
			if (st->status != table[i].status)
				print_error("%s: %u %d %s\n", table[i].what, st->status, r.g.state,
					    rig_text(&r.g.log));
			assert_int_equal(st->status, table[i].status);
			assert_true(st->ended);
			assert_int_equal(h2_events(&r), 1);
			assert_true(strstr(rig_text(&r.g.log), "http failed 502") != NULL);
			h2_free(&r);
		}
	buf_fini(&b);
}

/* A body that is longer or shorter than was said breaks off at the guest too. */
static void body_that_lies(void **state)
{
	struct buf b = BUF_INIT(RIG_CAP);
	struct h2_rig r;

	(void)state;
	for (unsigned way = 0; way < 3; way++) {
		struct h2_stream *st;

		h2_prepare(&r, true, NULL);
		r.h1 = true;
		h2_start(&r);
		st = h2_get(&r, "/");
		h2_run(&r);
		b.len = b.off = 0;
		wire_frame(&b, W_SETTINGS, 0, 0, NULL, 0);
		head(&b, "200", "content-length", "5", 0);
		wire_frame(&b, W_DATA, way == 1 ? W_END_STREAM : 0, 1, "abc", 3);
		if (way == 0)
			wire_frame(&b, W_DATA, W_END_STREAM, 1, "abc", 3);
		if (way == 2)
			head(&b, "200", NULL, NULL, W_END_STREAM);
		rig_feed(&r.g, false, buf_at(&b), b.len);
		h2_run(&r);
		assert_int_equal(st->status, 200);
		assert_false(st->ended);
		assert_int_equal(st->code, NGHTTP2_INTERNAL_ERROR);
		assert_int_equal(wire_code(&r.g.up, W_RST, 1), -1); /* behind the preface */
		assert_int_equal(h2_events(&r), 1);
		h2_free(&r);
	}
	buf_fini(&b);
}

/* ---- memory ------------------------------------------------------------------------------------------ */

static void memory_is_counted(void **state)
{
	struct http2_mem m;
	nghttp2_mem *t = &m.table;
	void *a, *b;

	(void)state;
	http2_mem_init(&m, 1000);
	a = t->malloc(600, t->mem_user_data);
	assert_non_null(a);
	assert_null(t->malloc(401, t->mem_user_data));
	assert_null(t->calloc(SIZE_MAX / 2, 4, t->mem_user_data));
	b = t->calloc(10, 40, t->mem_user_data);
	assert_non_null(b);
	assert_int_equal(m.used, 1000);
	assert_null(t->realloc(b, 401, t->mem_user_data));
	t->free(a, t->mem_user_data);
	memset(b, 'x', 400);
	b = t->realloc(b, 500, t->mem_user_data);
	assert_non_null(b);
	assert_memory_equal(b, "xxxxxxxx", 8);
	assert_int_equal(m.used, 500);
	t->free(b, t->mem_user_data);
	t->free(NULL, t->mem_user_data);
	assert_int_equal(m.used, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rapid_reset),
		cmocka_unit_test(resets_between_work),
		cmocka_unit_test(resets_behind_heads),
		cmocka_unit_test(heads_of_closed_streams),
		cmocka_unit_test(made_you_reset),
		cmocka_unit_test(continuation_flood),
		cmocka_unit_test(hpack_bomb),
		cmocka_unit_test(too_many_fields),
		cmocka_unit_test(heads_that_wait),
		cmocka_unit_test(floods),
		cmocka_unit_test(floods_without_reading),
		cmocka_unit_test(slow_reader),
		cmocka_unit_test(stalled_reader),
		cmocka_unit_test(stalled_body),
		cmocka_unit_test(slow_upstream),
		cmocka_unit_test(window_games),
		cmocka_unit_test(too_many_streams),
		cmocka_unit_test(hostile_upstream),
		cmocka_unit_test(body_that_lies),
		cmocka_unit_test(memory_is_counted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
