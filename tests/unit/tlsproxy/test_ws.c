/* SPDX-License-Identifier: Apache-2.0 */
/*
 * WebSocket through the engine: what peers say arrives whatever the pieces, the frames,
 * the room and the compression; what no peer may send ends the connection, with a Close
 * to both. Lesson 34: no byte of text or binary messages is repaired.
 */
#include "coding_rig.h"
#include "toy_filter.h"
#include "ws_rig.h"

#include <stdio.h>

/* ---- a connection ------------------------------------------------------------------------ */

struct conn {
	struct ws *ws;
	struct toy toy[2];
	struct buf wire[2]; /* what came out */
	bool filters;
	unsigned keys;
	size_t text, binary;
};

static const struct http_pipe_filter *on_message(void *ctx, enum ws_direction d, enum ws_opcode op)
{
	struct conn *c = ctx;
	bool stops = c->toy[d].stops;

	c->text += op == WS_TEXT;
	c->binary += op == WS_BINARY;
	if (!c->filters)
		return NULL;
	toy_init(&c->toy[d]);
	c->toy[d].stops = stops;
	return &c->toy[d].filter;
}

static int on_control(void *ctx, enum ws_direction d, enum ws_opcode op, const uint8_t *p, size_t n,
		      struct buf *out)
{
	struct conn *c = ctx;

	(void)d;
	(void)op;
	for (size_t i = 0; c->filters && i < n; i++)
		if (p[i] == 3)
			return -EPERM;
	if (c->filters && n > 5 && memcmp(p, "grow!", 5) == 0 && buf_append(out, p, n) < 0)
		return -ENOMEM;
	return buf_append(out, p, n);
}

static void on_random(void *ctx, void *p, size_t n)
{
	struct conn *c = ctx;

	c->keys++;
	for (size_t i = 0; i < n; i++)
		((uint8_t *)p)[i] = (uint8_t)rnd(256);
}

static const struct ws_ops ops = { on_message, on_control, on_random };

static void conn_init(struct conn *c, const struct ws_deflate_params *p, bool filters)
{
	*c = (struct conn){ .filters = filters,
			    .wire = { BUF_INIT((size_t)64 << 20), BUF_INIT((size_t)64 << 20) } };
	assert_int_equal(ws_new(p, &ops, c, &c->ws), 0);
}

static void conn_fini(struct conn *c)
{
	ws_free(c->ws);
	buf_fini(&c->wire[0]);
	buf_fini(&c->wire[1]);
}

static int conn_feed(struct conn *c, enum ws_direction d, const uint8_t *p, size_t n, struct pace pace)
{
	size_t at = 0, taken;
	struct buf out = BUF_INIT(pace.room ? pace.room : 65536);
	bool done;
	int r = 0;

	while (r == 0 && at < n) {
		size_t k = pace_next(pace.piece, n - at);

		for (done = false; r == 0 && !done;) {
			r = ws_feed(c->ws, d, p + at, k, &out, &taken, &done);
			if (r == 0) {
				at += taken;
				k -= taken;
			}
			ws_rig_append(&c->wire[d], buf_at(&out), out.len);
			out.len = out.off = 0;
		}
	}
	buf_fini(&out);
	return r;
}

static const uint8_t *a_key(enum ws_direction d)
{
	static uint8_t key[4];

	for (size_t i = 0; i < 4; i++)
		key[i] = (uint8_t)rnd(256);
	return d == WS_OUT ? key : NULL;
}

/* ---- negotiation -------------------------------------------------------------------------------- */

static void test_offers(void **state)
{
	static const struct {
		const char *in, *out; /* out NULL: none */
	} cases[] = {
		{ "permessage-deflate", "permessage-deflate" },
		{ "permessage-deflate; client_max_window_bits",
		  "permessage-deflate; client_max_window_bits" },
		{ "permessage-deflate; client_max_window_bits=10; server_max_window_bits=8;"
		  "server_no_context_takeover; client_no_context_takeover",
		  "permessage-deflate; client_max_window_bits=10; server_max_window_bits=8;"
		  "server_no_context_takeover; client_no_context_takeover" },
		{ "PerMessage-Deflate;Server_Max_Window_Bits=\"15\"",
		  "PerMessage-Deflate;Server_Max_Window_Bits=\"15\"" },
		{ "x-webkit-deflate-frame, permessage-deflate , bbf-usp-protocol",
		  "permessage-deflate" },
		{ "permessage-deflate; client_max_window_bits, permessage-deflate",
		  "permessage-deflate; client_max_window_bits, permessage-deflate" },
		{ "permessage-deflate; mem_level=9, permessage-deflate", "permessage-deflate" },
		{ "permessage-deflate; server_max_window_bits", NULL },
		{ "permessage-deflate; server_max_window_bits=7", NULL },
		{ "permessage-deflate; server_max_window_bits=16", NULL },
		{ "permessage-deflate; server_max_window_bits=08", NULL },
		{ "permessage-deflate; client_no_context_takeover=1", NULL },
		{ "permessage-deflate; client_no_context_takeover; client_no_context_takeover", NULL },
		{ "permessage-deflate;", NULL },
		{ "permessage-bzip2", NULL },
		{ "", NULL },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct buf out = BUF_INIT(512);
		bool any = !cases[i].out;

		assert_int_equal(ws_extensions_offer(cases[i].in, strlen(cases[i].in), &out, &any),
				 0);
		assert_int_equal(any, cases[i].out != NULL);
		must_equal(&out, cases[i].out, cases[i].out ? strlen(cases[i].out) : 0, cases[i].in);
		buf_fini(&out);
	}
}

static void test_answers(void **state)
{
	static const struct {
		const char *s;
		int r;
		struct ws_deflate_params want;
	} cases[] = {
		{ "", 0, { 0 } },
		{ "permessage-deflate", 0, { true, false, false, 15, 15 } },
		{ "permessage-deflate; server_no_context_takeover", 0, { true, true, false, 15, 15 } },
		{ "permessage-deflate;client_no_context_takeover;client_max_window_bits=9",
		  0,
		  { true, false, true, 15, 9 } },
		{ " permessage-deflate; server_max_window_bits=8 ", 0, { true, false, false, 8, 15 } },
		{ "permessage-deflate; client_max_window_bits", -EPROTO, { 0 } },
		{ "permessage-deflate, permessage-deflate", -EPROTO, { 0 } },
		{ "permessage-deflate; x", -EPROTO, { 0 } },
		{ "foo", -EPROTO, { 0 } },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct ws_deflate_params got = { 0 };
		int r = ws_extensions_accept(cases[i].s, strlen(cases[i].s), &got);

		if (r != cases[i].r || memcmp(&got, &cases[i].want, sizeof(got)) != 0)
			fail_msg("\"%s\": %d", cases[i].s, r);
	}
}

/* ---- sessions ------------------------------------------------------------------------------------- */

struct said {
	uint8_t opcode;
	bool compressed;
	size_t at, n; /* in plain */
};

struct script {
	struct buf wire, plain;
	struct said said[100];
	size_t n;
};

static void say(struct script *s, uint8_t opcode, bool compressed, const uint8_t *p, size_t n)
{
	s->said[s->n++] = (struct said){ opcode, compressed, s->plain.len, n };
	ws_rig_append(&s->plain, p, n);
}

static void say_control(struct script *s, enum ws_direction d)
{
	uint8_t p[125];
	size_t n = rnd(126);

	for (size_t i = 0; i < n; i++)
		p[i] = (uint8_t)(4 + rnd(250));
	say(s, rnd(2) ? WS_PING : WS_PONG, false, p, n);
	ws_rig_frame(&s->wire, 0x80 | s->said[s->n - 1].opcode, p, n, a_key(d));
}

/* A message in any number of frames, control frames between them. */
static void say_message(struct script *s, enum ws_direction d, z_stream *z, bool reset, size_t max)
{
	size_t n = rnd((uint32_t)max), at = 0;
	uint8_t *p = malloc(n + 1), first = rnd(2) ? WS_TEXT : WS_BINARY;
	bool compressed = z && rnd(4);
	struct buf raw = BUF_INIT((size_t)8 << 20);
	struct said said = { first, compressed, 0, n };

	for (size_t i = 0; i < n; i++)
		p[i] = rnd(10) ? (uint8_t)("weir<<0123456789"[rnd(16)]) : (uint8_t)rnd(256);
	if (compressed && reset)
		deflateReset(z);
	if (compressed)
		ws_rig_deflate(z, p, n, &raw);
	else
		ws_rig_append(&raw, p, n);
	first |= compressed ? 0x40 : 0;
	do {
		size_t k = rnd(3) ? raw.len - at : rnd((uint32_t)(raw.len - at) + 1);
		bool last = at + k == raw.len && rnd(4);

		ws_rig_frame(&s->wire, first | (last ? 0x80 : 0), k ? buf_at(&raw) + at : NULL, k,
			     a_key(d));
		at += k;
		first = last ? 0x80 : 0;
		if (!last && rnd(3) == 0 && s->n < 90)
			say_control(s, d);
	} while (first != 0x80);
	said.at = s->plain.len;
	ws_rig_append(&s->plain, p, n);
	s->said[s->n++] = said;
	buf_fini(&raw);
	free(p);
}

static void must_hear(const struct ws_rig_reader *r, const struct script *s, bool filtered)
{
	assert_int_equal(r->n, s->n);
	for (size_t i = 0; i < s->n; i++) {
		const struct ws_rig_message *m = &r->messages[i];
		const struct said *w = &s->said[i];
		struct buf got = BUF_INIT((size_t)8 << 20), want = BUF_INIT((size_t)64 << 20);
		struct toy t;
		int e = 0;

		assert_int_equal(m->opcode, w->opcode);
		assert_int_equal(m->compressed, w->compressed);
		toy_init(&t);
		if (filtered && w->opcode < WS_CLOSE) {
			e = toy_feed(&t, buf_at(&s->plain) + w->at, w->n, &want);
			assert_int_equal(e, 0);
			assert_int_equal(toy_end(&t, &want), 0);
		} else {
			ws_rig_append(&want, buf_at(&s->plain) + w->at, w->n);
		}
		ws_rig_append(&got, buf_at(&r->bytes) + m->at, m->n);
		must_equal(&got, buf_at(&want), want.len, "message");
		buf_fini(&got);
		buf_fini(&want);
	}
}

static void session(const struct ws_deflate_params *p, struct pace pace, bool filters, size_t max)
{
	struct conn c;

	conn_init(&c, p, filters);
	for (int d = 0; d < 2; d++) {
		unsigned bits = d == WS_OUT ? p->client_bits : p->server_bits;
		bool fresh = d == WS_OUT ? p->client_no_takeover : p->server_no_takeover;
		struct script s = { .wire = BUF_INIT((size_t)64 << 20),
				    .plain = BUF_INIT((size_t)64 << 20) };
		struct ws_rig_reader r;
		z_stream z = { 0 };

		if (p->on)
			assert_int_equal(deflateInit2(&z, 6, Z_DEFLATED, -(int)MAX(bits, 9u), 8, 0),
					 Z_OK);
		for (size_t n = 1 + rnd(8); n; n--) {
			say_message(&s, (enum ws_direction)d, p->on ? &z : NULL, fresh, max);
			if (rnd(2))
				say_control(&s, (enum ws_direction)d);
		}
		assert_int_equal(
			conn_feed(&c, (enum ws_direction)d, buf_at(&s.wire), s.wire.len, pace), 0);
		assert_true(ws_at_boundary(c.ws, (enum ws_direction)d));
		ws_rig_reader_init(&r, d == WS_OUT, p->on ? bits : 0, fresh);
		ws_rig_read(&r, &c.wire[d], false);
		must_hear(&r, &s, filters);
		ws_rig_reader_fini(&r);
		buf_fini(&s.wire);
		buf_fini(&s.plain);
		if (p->on)
			deflateEnd(&z);
	}
	conn_fini(&c);
}

static const struct pace paces[] = { { 0, 0 }, { 1, 16 }, { 100, 100 }, { 9000, 5000 }, { 0, 17 } };

/* Parity: weak-18. */
static void lesson_34_sessions(void **state)
{
	static const struct ws_deflate_params params[] = {
		{ 0 },
		{ true, false, false, 15, 15 },
		{ true, true, true, 15, 15 },
		{ true, false, false, 8, 9 },
		{ true, true, false, 12, 8 },
	};

	(void)state;
	for (size_t round = 0; round < 3; round++)
		for (size_t i = 0; i < ARRAY_SIZE(params); i++)
			for (size_t k = 0; k < ARRAY_SIZE(paces); k++) {
				session(&params[i], paces[k], round % 2, 300);
				session(&params[i], paces[k], round % 2, k == 1 ? 5000 : 150000);
			}
	assert_int_equal(http_coding_memory(), 0);
}

/* Nothing longer than what it was, and cut only where it has to be. */
static void test_boundaries(void **state)
{
	static const struct ws_deflate_params none;
	static const size_t sizes[] = { 0, 1, 125, 126, 127, 5000, 32767, 32768 };
	struct buf wire = BUF_INIT((size_t)1 << 20);
	uint8_t *p = calloc(1, 100000);
	struct ws_rig_reader r;
	struct conn c;

	(void)state;
	conn_init(&c, &none, true);
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++)
		ws_rig_frame(&wire, 0x82, p, sizes[i], NULL);
	for (size_t i = 1; i < ARRAY_SIZE(sizes); i++)
		ws_rig_frame(&wire, i == 1 ? 0x02 : 0, p, sizes[i], NULL);
	ws_rig_frame(&wire, 0x80, p, 0, NULL);
	ws_rig_frame(&wire, 0x82, p, 100000, NULL);
	assert_int_equal(conn_feed(&c, WS_BACK, buf_at(&wire), wire.len, (struct pace){ 1000, 100 }),
			 0);
	ws_rig_reader_init(&r, false, 0, false);
	ws_rig_read(&r, &c.wire[WS_BACK], false);
	assert_int_equal(r.n, ARRAY_SIZE(sizes) + 2);
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		assert_int_equal(r.messages[i].n_frames, 1);
		assert_int_equal(r.messages[i].frames[0], sizes[i]);
	}
	assert_int_equal(r.messages[ARRAY_SIZE(sizes)].n_frames, ARRAY_SIZE(sizes));
	for (size_t i = 1; i < ARRAY_SIZE(sizes); i++)
		assert_int_equal(r.messages[ARRAY_SIZE(sizes)].frames[i - 1], sizes[i]);
	assert_int_equal(r.messages[ARRAY_SIZE(sizes) + 1].n_frames, 4);
	ws_rig_reader_fini(&r);
	buf_fini(&wire);
	free(p);
	conn_fini(&c);
}

/* The examples of RFC 6455 5.7 and RFC 7692 7.2.3. */
static void test_examples(void **state)
{
	static const struct {
		const char *bytes;
		size_t n;
		const char *text;
	} cases[] = {
		{ "\x81\x05Hello", 7, "Hello" },
		{ "\x01\x03Hel\x80\x02lo", 9, "Hello" },
		{ "\xc1\x07\xf2\x48\xcd\xc9\xc9\x07\x00", 9, "Hello" },
		{ "\x41\x03\xf2\x48\xcd\x80\x04\xc9\xc9\x07\x00", 11, "Hello" },
		{ "\xc1\x0b\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00", 13, "Hello" },
		{ "\xc1\x08\xf3\x48\xcd\xc9\xc9\x07\x00\x00", 10, "Hello" },
		{ "\xc1\x0d\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00", 15, "Hello" },
		{ "\xc1\x01\x00", 3, "" },
		/* Twice the same, the second time from the history. */
		{ "\xc1\x07\xf2\x48\xcd\xc9\xc9\x07\x00\xc1\x05\xf2\x00\x11\x00\x00", 16, "Hello" },
		/* The history goes on behind a last block. */
		{ "\xc1\x08\xf3\x48\xcd\xc9\xc9\x07\x00\x00\xc1\x05\xf2\x00\x11\x00\x00", 17,
		  "Hello" },
	};
	static const struct ws_deflate_params on = { true, false, false, 15, 15 };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		for (size_t k = 0; k < ARRAY_SIZE(paces); k++) {
			struct ws_rig_reader r;
			struct conn c;

			conn_init(&c, &on, false);
			assert_int_equal(conn_feed(&c, WS_BACK, (const uint8_t *)cases[i].bytes,
						   cases[i].n, paces[k]),
					 0);
			ws_rig_reader_init(&r, false, 15, false);
			ws_rig_read(&r, &c.wire[WS_BACK], false);
			assert_true(r.n >= 1);
			for (size_t m = 0; m < r.n; m++) {
				assert_int_equal(r.messages[m].opcode, WS_TEXT);
				assert_int_equal(r.messages[m].n, strlen(cases[i].text));
				assert_memory_equal(buf_at(&r.bytes) + r.messages[m].at,
						    cases[i].text, r.messages[m].n);
			}
			ws_rig_reader_fini(&r);
			conn_fini(&c);
		}
}

/* Every frame towards the server has a key of its own. */
static void test_masks(void **state)
{
	static const struct ws_deflate_params none;
	static const uint8_t key[4] = { 1, 2, 3, 4 };
	struct buf wire = BUF_INIT(4096);
	struct ws_rig_reader r;
	struct conn c;

	(void)state;
	conn_init(&c, &none, false);
	for (int i = 0; i < 3; i++)
		ws_rig_frame(&wire, 0x81, (const uint8_t *)"text", 4, key);
	assert_int_equal(conn_feed(&c, WS_OUT, buf_at(&wire), wire.len, (struct pace){ 0 }), 0);
	ws_rig_reader_init(&r, true, 0, false);
	ws_rig_read(&r, &c.wire[WS_OUT], false);
	assert_int_equal(c.keys, 3);
	assert_true(r.keys[0] != r.keys[1] && r.keys[1] != r.keys[2] && r.keys[0] != r.keys[2]);
	ws_rig_reader_fini(&r);
	buf_fini(&wire);
	conn_fini(&c);
}

/* ---- what ends it --------------------------------------------------------------------------------------- */

#define S(s) s, sizeof(s) - 1

static void test_faults(void **state)
{
	static const struct {
		enum ws_direction d;
		const char *bytes;
		size_t n;
		enum ws_fault want;
	} cases[] = {
		{ WS_BACK, S("\x91\x01x"), WS_BAD_FRAME },
		{ WS_BACK, S("\xa1\x01x"), WS_BAD_FRAME },
		{ WS_BACK, S("\x83\x01x"), WS_BAD_FRAME },
		{ WS_BACK, S("\x8b\x01x"), WS_BAD_FRAME },
		{ WS_BACK, S("\x81\x7e\x00\x7dx"), WS_BAD_FRAME },
		{ WS_BACK, S("\x81\x7f\x00\x00\x00\x00\x00\x00\xff\xffx"), WS_BAD_FRAME },
		{ WS_BACK, S("\x81\x7f\x80\x00\x00\x00\x00\x00\x00\x00x"), WS_BAD_FRAME },
		{ WS_BACK, S("\x81\x81wxyzx"), WS_BAD_MASK },
		{ WS_OUT, S("\x81\x01x"), WS_BAD_MASK },
		{ WS_OUT, S("\x89\x00"), WS_BAD_MASK },
		{ WS_BACK, S("\x09\x00"), WS_BAD_CONTROL },
		{ WS_BACK, S("\xc9\x00"), WS_BAD_CONTROL },
		{ WS_BACK, S("\x89\x7e\x00\x7e"), WS_BAD_CONTROL },
		{ WS_BACK, S("\x88\x01\x03"), WS_BAD_CONTROL },
		{ WS_BACK, S("\x88\x02\x03\xed"), WS_BAD_CONTROL },
		{ WS_BACK, S("\x88\x02\x00\x00"), WS_BAD_CONTROL },
		{ WS_BACK, S("\x88\x02\x13\x88"), WS_BAD_CONTROL },
		{ WS_BACK, S("\x80\x01x"), WS_BAD_SEQUENCE },
		{ WS_BACK, S("\x00\x01x"), WS_BAD_SEQUENCE },
		{ WS_BACK, S("\x01\x01x\x81\x01x"), WS_BAD_SEQUENCE },
		{ WS_BACK, S("\x01\x01x\x80\x01x\x80\x01x"), WS_BAD_SEQUENCE },
		{ WS_BACK, S("\x88\x00\x89\x00"), WS_BAD_SEQUENCE },
		{ WS_BACK, S("\x88\x00\x88\x00"), WS_BAD_SEQUENCE },
		{ WS_BACK, S("\x01\x01x\xc0\x01x"), WS_BAD_FRAME },
		{ WS_BACK, S("\xc1\x02\xff\xff"), WS_BAD_DEFLATE },
		{ WS_BACK, S("\xc1\x05\xf2\x00\x11\x00\x00"), WS_BAD_DEFLATE },
		{ WS_BACK, S("\xc1\x00"), WS_BAD_DEFLATE },
	};
	static const struct ws_deflate_params on = { true, false, false, 15, 15 };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		for (size_t k = 0; k < ARRAY_SIZE(paces); k++) {
			struct conn c;
			int r;

			conn_init(&c, &on, true);
			r = conn_feed(&c, cases[i].d, (const uint8_t *)cases[i].bytes, cases[i].n,
				      paces[k]);
			if (r != -EPROTO || ws_fault(c.ws) != cases[i].want)
				fail_msg("case %zu, pace %zu: %d, %s", i, k, r,
					 ws_fault_text(ws_fault(c.ws)));
			conn_fini(&c);
		}
}

static void test_rsv1_without_deflate(void **state)
{
	static const struct ws_deflate_params none;
	struct conn c;

	(void)state;
	conn_init(&c, &none, true);
	assert_int_equal(
		conn_feed(&c, WS_BACK, (const uint8_t *)"\xc1\x01\x00", 3, (struct pace){ 0 }),
		-EPROTO);
	assert_int_equal(ws_fault(c.ws), WS_BAD_FRAME);
	conn_fini(&c);
}

/* Close with and without a code, and every code that may be sent. */
static void test_close_codes(void **state)
{
	static const struct ws_deflate_params none;

	(void)state;
	for (unsigned code = 0; code < 65536; code++) {
		bool ok = (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) ||
			  (code >= 3000 && code < 5000);
		uint8_t p[] = { 0x88, 5, (uint8_t)(code >> 8), (uint8_t)code, 'w', 'h', 'y' };
		struct conn c;

		conn_init(&c, &none, true);
		assert_int_equal(conn_feed(&c, WS_BACK, p, sizeof(p), (struct pace){ 0 }),
				 ok ? 0 : -EPROTO);
		assert_int_equal(ws_closed(c.ws, WS_BACK), ok);
		if (ok)
			must_equal(&c.wire[WS_BACK], p, sizeof(p), "Close");
		conn_fini(&c);
	}
}

static void must_end_with_close(struct conn *c, enum ws_direction d, bool cut)
{
	struct ws_rig_reader r;
	struct buf out = BUF_INIT(20);
	int e;

	do {
		e = ws_close(c->ws, d, 1008, "a secret where it may not be", &out);
		ws_rig_append(&c->wire[d], buf_at(&out), out.len);
		out.len = out.off = 0;
	} while (e == -ENOBUFS);
	assert_int_equal(e, 0);
	ws_rig_reader_init(&r, d == WS_OUT, 15, false);
	ws_rig_read(&r, &c->wire[d], cut);
	assert_true(r.n > 0);
	assert_int_equal(r.messages[r.n - 1].opcode, WS_CLOSE);
	assert_memory_equal(buf_at(&r.bytes) + r.messages[r.n - 1].at, "\x03\xf0", 2);
	assert_null(memchr(buf_at(&r.bytes), 3, r.messages[r.n - 1].at ? r.messages[r.n - 1].at : 0));
	ws_rig_reader_fini(&r);
	buf_fini(&out);
	assert_int_equal(ws_close(c->ws, d, 1008, "", &c->wire[d]), 0);
}

/* A violation in the midst of a message, with the other direction in the midst of a frame. */
static void test_violation(void **state)
{
	static const struct ws_deflate_params on = { true, false, false, 15, 15 };
	size_t n = 100000;
	uint8_t *p = malloc(n);

	(void)state;
	memset(p, 'x', n);
	p[90000] = 3;
	for (int compressed = 0; compressed < 2; compressed++)
		for (size_t k = 0; k < ARRAY_SIZE(paces); k++) {
			struct buf wire = BUF_INIT((size_t)1 << 20), raw = BUF_INIT((size_t)1 << 20);
			struct buf out = BUF_INIT(1000);
			z_stream z = { 0 };
			struct conn c;
			size_t taken;
			bool done;

			conn_init(&c, &on, true);
			c.toy[WS_OUT].stops = true;
			/* Half of a frame has come and some of it has gone. */
			ws_rig_frame(&wire, 0x82, p, 90000, NULL);
			assert_int_equal(
				ws_feed(c.ws, WS_BACK, buf_at(&wire), 80000, &out, &taken, &done), 0);
			ws_rig_append(&c.wire[WS_BACK], buf_at(&out), out.len);
			wire.len = wire.off = 0;
			if (compressed) {
				deflateInit2(&z, 6, Z_DEFLATED, -15, 8, 0);
				ws_rig_deflate(&z, p, n, &raw);
				deflateEnd(&z);
			} else {
				ws_rig_append(&raw, p, n);
			}
			ws_rig_frame(&wire, 0x81 | compressed << 6, buf_at(&raw), raw.len,
				     a_key(WS_OUT));
			assert_int_equal(conn_feed(&c, WS_OUT, buf_at(&wire), wire.len, paces[k]),
					 -EPERM);
			assert_int_equal(ws_feed(c.ws, WS_BACK, NULL, 0, &out, &taken, &done),
					 -EPERM);
			must_end_with_close(&c, WS_OUT, true);
			must_end_with_close(&c, WS_BACK, true);
			conn_fini(&c);
			buf_fini(&wire);
			buf_fini(&raw);
			buf_fini(&out);
		}
	free(p);
	assert_int_equal(http_coding_memory(), 0);
}

static void test_violation_in_control(void **state)
{
	static const struct ws_deflate_params none;
	static const char *const payloads[] = { "ping \x03", "\x03\xe8reason \x03" };

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		struct buf wire = BUF_INIT(256);
		struct conn c;

		conn_init(&c, &none, true);
		ws_rig_frame(&wire, i ? 0x88 : 0x89, (const uint8_t *)payloads[i],
			     i ? 2 + strlen(payloads[i] + 2) : strlen(payloads[i]), a_key(WS_OUT));
		assert_int_equal(conn_feed(&c, WS_OUT, buf_at(&wire), wire.len, (struct pace){ 0 }),
				 -EPERM);
		assert_int_equal(c.wire[WS_OUT].len, 0);
		must_end_with_close(&c, WS_OUT, false);
		must_end_with_close(&c, WS_BACK, false);
		conn_fini(&c);
		buf_fini(&wire);
	}
}

/* A control frame that a filter makes longer than one may be. */
static void test_control_grows(void **state)
{
	static const struct ws_deflate_params none;
	uint8_t p[125] = "grow!";
	struct buf wire = BUF_INIT(256);
	struct conn c;

	(void)state;
	conn_init(&c, &none, true);
	ws_rig_frame(&wire, 0x8a, p, 60, NULL);
	assert_int_equal(conn_feed(&c, WS_BACK, buf_at(&wire), wire.len, (struct pace){ 0 }), 0);
	assert_int_equal(c.wire[WS_BACK].len, 122);
	wire.len = wire.off = 0;
	ws_rig_frame(&wire, 0x8a, p, 63, NULL);
	assert_int_equal(conn_feed(&c, WS_BACK, buf_at(&wire), wire.len, (struct pace){ 0 }),
			 -EPROTO);
	assert_int_equal(ws_fault(c.ws), WS_TOO_LONG);
	assert_int_equal(ws_fault_code(WS_TOO_LONG), 1009);
	conn_fini(&c);
	buf_fini(&wire);
}

/* ---- memory and work ------------------------------------------------------------------------------------------ */

/* One message of 100 MB: what is kept does not grow. */
static void test_constant_memory(void **state)
{
	static const struct ws_deflate_params on = { true, false, false, 15, 15 };
	static uint8_t piece[10000];

	(void)state;
	for (int compressed = 0; compressed < 2; compressed++) {
		struct buf raw = BUF_INIT((size_t)1 << 20), wire = BUF_INIT((size_t)1 << 20);
		size_t early = 0, taken, got = 0;
		z_stream z = { 0 };
		struct conn c;
		bool done;

		conn_init(&c, &on, true);
		deflateInit2(&z, 1, Z_DEFLATED, -15, 8, 0);
		for (size_t k = 0; k < 10000; k++) {
			uint8_t first = k == 0 ? (uint8_t)(0x02 | compressed << 6) : 0;
			size_t at = 0;

			fill(piece, 100);
			if (compressed)
				ws_rig_deflate(&z, piece, sizeof(piece), &raw);
			else
				ws_rig_append(&raw, piece, sizeof(piece));
			if (compressed)
				ws_rig_append(&raw, "\0\0\xff\xff", 4);
			ws_rig_frame(&wire, first, buf_at(&raw), raw.len, NULL);
			for (done = false; !done; at += taken) {
				assert_int_equal(ws_feed(c.ws, WS_BACK, buf_at(&wire) + at,
							 wire.len - at, &c.wire[WS_BACK], &taken,
							 &done),
						 0);
				got += c.wire[WS_BACK].len;
				c.wire[WS_BACK].len = c.wire[WS_BACK].off = 0;
			}
			raw.len = raw.off = wire.len = wire.off = 0;
			if (k == 100)
				early = http_coding_memory();
		}
		assert_int_equal(c.toy[WS_BACK].fed, (size_t)100000000);
		assert_true(got > 0);
		assert_int_equal(http_coding_memory(), early);
		if (early > 160 * 1024)
			fail_msg("%zu bytes of coders", early);
		deflateEnd(&z);
		conn_fini(&c);
		buf_fini(&raw);
		buf_fini(&wire);
	}
}

/* A short frame that inflates to 64 MB: a bounded part a call. */
static void test_bomb(void **state)
{
	static const struct ws_deflate_params on = { true, false, false, 15, 15 };
	size_t n = (size_t)64 << 20, fed = 0, at = 0, taken;
	uint8_t *zeros = calloc(1, n);
	struct buf raw = BUF_INIT((size_t)80 << 20), wire = BUF_INIT((size_t)1 << 20);
	z_stream z = { 0 };
	struct conn c;
	bool done = false;

	(void)state;
	conn_init(&c, &on, true);
	deflateInit2(&z, 9, Z_DEFLATED, -15, 8, 0);
	ws_rig_deflate(&z, zeros, n, &raw);
	deflateEnd(&z);
	ws_rig_frame(&wire, 0xc2, buf_at(&raw), raw.len, NULL);
	while (!done) {
		assert_int_equal(ws_feed(c.ws, WS_BACK, buf_at(&wire) + at, wire.len - at,
					 &c.wire[WS_BACK], &taken, &done),
				 0);
		at += taken;
		assert_true(c.toy[WS_BACK].fed - fed <= HTTP_CODING_WORK + HTTP_PIPE_STEP);
		fed = c.toy[WS_BACK].fed;
		c.wire[WS_BACK].len = c.wire[WS_BACK].off = 0;
	}
	assert_int_equal(fed, n);
	conn_fini(&c);
	buf_fini(&raw);
	buf_fini(&wire);
	free(zeros);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_offers),
		cmocka_unit_test(test_answers),
		cmocka_unit_test(lesson_34_sessions),
		cmocka_unit_test(test_boundaries),
		cmocka_unit_test(test_examples),
		cmocka_unit_test(test_masks),
		cmocka_unit_test(test_faults),
		cmocka_unit_test(test_rsv1_without_deflate),
		cmocka_unit_test(test_close_codes),
		cmocka_unit_test(test_violation),
		cmocka_unit_test(test_violation_in_control),
		cmocka_unit_test(test_control_grows),
		cmocka_unit_test(test_constant_memory),
		cmocka_unit_test(test_bomb),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
