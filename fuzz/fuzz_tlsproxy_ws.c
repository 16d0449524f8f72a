/* SPDX-License-Identifier: Apache-2.0 */
/*
 * WebSocket: whatever a peer sends and however it is cut, what goes on is well formed (by
 * a parser of its own), the same messages come out, a Close can follow any error; and
 * what well-behaved peers say arrives as it was said. All memory is given back.
 *
 * First byte: bit 0 direction, 1 compression, 2 no context takeover, 3 a filter that
 * changes lengths, 4 the rest is a script for a well-behaved peer; 5 and up the cut.
 * Second byte: bits 0..2 the window (8..15).
 */
#include "tests/unit/tlsproxy/toy_filter.h"
#include "tests/unit/tlsproxy/ws_rig.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint32_t seed;

static uint32_t rnd(uint32_t n)
{
	seed = seed * 1664525u + 1013904223u;
	return (seed >> 8) % n;
}

struct peer {
	struct toy toy;
	bool filters;
};

static const struct http_pipe_filter *on_message(void *ctx, enum ws_direction d, enum ws_opcode op)
{
	struct peer *p = ctx;

	(void)d;
	(void)op;
	toy_init(&p->toy);
	return p->filters ? &p->toy.filter : NULL;
}

static int on_control(void *ctx, enum ws_direction d, enum ws_opcode op, const uint8_t *p, size_t n,
		      struct buf *out)
{
	(void)ctx;
	(void)d;
	(void)op;
	return buf_append(out, p, n);
}

static void on_random(void *ctx, void *p, size_t n)
{
	(void)ctx;
	for (size_t i = 0; i < n; i++)
		((uint8_t *)p)[i] = (uint8_t)rnd(256);
}

static const struct ws_ops ops = { on_message, on_control, on_random };

struct run {
	enum ws_direction d;
	struct ws_deflate_params params;
	bool filters;
	unsigned cut;
};

/* One direction's bytes through the engine; a Close behind an error. */
static int run(const struct run *c, const struct buf *in, unsigned cut, struct ws_rig_reader *ret)
{
	struct buf wire = BUF_INIT((size_t)64 << 20), out = BUF_INIT(cut ? 16 + rnd(100) : 65536);
	struct peer peer = { .filters = c->filters };
	size_t at = 0, taken;
	struct ws *w = NULL;
	bool done, whole;
	int r = ws_new(&c->params, &ops, &peer, &w), e;

	assert(r == 0);
	while (r == 0 && at < in->len) {
		size_t k = cut == 0 ? in->len - at : 1 + rnd(cut * cut * 20);

		k = k < in->len - at ? k : in->len - at;
		for (done = false; r == 0 && !done;) {
			r = ws_feed(w, c->d, buf_at(in) + at, k, &out, &taken, &done);
			at += r == 0 ? taken : 0;
			k -= r == 0 ? taken : 0;
			ws_rig_append(&wire, buf_at(&out), out.len);
			out.len = out.off = 0;
		}
	}
	assert(r == 0 || r == -EPROTO);
	assert((r < 0) == (ws_fault(w) != WS_OK));
	whole = ws_at_boundary(w, c->d);
	if (r < 0)
		do {
			e = ws_close(w, c->d, ws_fault_code(ws_fault(w)), "reason", &out);
			ws_rig_append(&wire, buf_at(&out), out.len);
			out.len = out.off = 0;
		} while (e == -ENOBUFS);
	ws_rig_reader_init(ret, c->d == WS_OUT, c->params.on ? 15 : 0,
			   c->d == WS_OUT ? c->params.client_no_takeover
					  : c->params.server_no_takeover);
	ws_rig_read(ret, &wire, r == 0 && !whole);
	assert(r == 0 || (ret->n && ret->messages[ret->n - 1].opcode == WS_CLOSE));
	ws_free(w);
	buf_fini(&wire);
	buf_fini(&out);
	return r;
}

static bool same(const struct ws_rig_reader *a, const struct ws_rig_message *m,
		 const struct ws_rig_reader *b, const struct ws_rig_message *n)
{
	return m->opcode == n->opcode && m->compressed == n->compressed && m->n == n->n &&
	       (m->n == 0 || memcmp(buf_at(&a->bytes) + m->at, buf_at(&b->bytes) + n->at, m->n) == 0);
}

static void any_bytes(const struct run *c, const uint8_t *p, size_t n)
{
	struct buf in = BUF_INIT((size_t)1 << 20);
	struct ws_rig_reader one, other;
	int a, b;

	ws_rig_append(&in, p, n);
	a = run(c, &in, 0, &one);
	b = run(c, &in, c->cut, &other);
	assert(a == b && one.n == other.n);
	for (size_t i = 0; i < one.n; i++)
		assert(same(&one, &one.messages[i], &other, &other.messages[i]));
	ws_rig_reader_fini(&one);
	ws_rig_reader_fini(&other);
	buf_fini(&in);
}

/* ---- a well-behaved peer ------------------------------------------------------------------- */

struct script {
	const struct run *c;
	struct rd in;
	z_stream z;
	struct buf wire;
	struct ws_rig_reader said; /* what has to arrive, before the filter */
};

static void frame(struct script *s, uint8_t first, const uint8_t *p, size_t n)
{
	uint8_t key[4];

	on_random(NULL, key, 4);
	ws_rig_frame(&s->wire, first, n ? p : NULL, n, s->c->d == WS_OUT ? key : NULL);
}

static void remember(struct script *s, uint8_t opcode, bool compressed, const uint8_t *p, size_t n)
{
	struct ws_rig_message *m = ws_rig_add(&s->said);

	m->opcode = opcode;
	m->compressed = compressed;
	m->at = s->said.bytes.len;
	m->n = n;
	ws_rig_append(&s->said.bytes, p, n);
}

static void say_control(struct script *s, uint8_t how)
{
	const uint8_t *p = s->in.p;
	size_t n = how % 126;

	n = n < rd_left(&s->in) ? n : rd_left(&s->in);
	s->in.p += n;
	frame(s, 0x80 | (how & 1 ? WS_PING : WS_PONG), p, n);
	remember(s, how & 1 ? WS_PING : WS_PONG, false, p, n);
}

/* how: bit 0 text or binary, 1 compressed, 2 repeated content, 3 in frames, 4 controls between. */
static void say_message(struct script *s, uint8_t how, size_t n)
{
	struct buf text = BUF_INIT((size_t)1 << 20), raw = BUF_INIT((size_t)2 << 20);
	bool compressed = s->c->params.on && (how & 2);
	uint8_t first = how & 1 ? WS_TEXT : WS_BINARY;
	size_t at = 0, have = n < rd_left(&s->in) ? n : rd_left(&s->in);

	for (unsigned i = 0; i < (how & 4 ? 100u : 1u); i++)
		ws_rig_append(&text, s->in.p, have);
	s->in.p += have;
	if (compressed && s->said.no_takeover)
		deflateReset(&s->z);
	if (compressed)
		ws_rig_deflate(&s->z, buf_at(&text), text.len, &raw);
	else
		ws_rig_append(&raw, buf_at(&text), text.len);
	first |= compressed ? 0x40 : 0;
	do {
		size_t k = how & 8 ? rnd((uint32_t)(raw.len - at) + 1) : raw.len - at;
		bool last = at + k == raw.len;

		frame(s, first | (last ? 0x80 : 0), k ? buf_at(&raw) + at : NULL, k);
		at += k;
		first = last ? 0x80 : 0;
		if (!last && (how & 16))
			say_control(s, how);
	} while (first != 0x80);
	remember(s, how & 1 ? WS_TEXT : WS_BINARY, compressed, buf_at(&text), text.len);
	buf_fini(&text);
	buf_fini(&raw);
}

static void must_arrive(const struct script *s, const struct ws_rig_reader *got)
{
	assert(got->n == s->said.n);
	for (size_t i = 0; i < got->n; i++) {
		struct ws_rig_message *m = &s->said.messages[i];
		struct buf want = BUF_INIT((size_t)16 << 20);
		struct toy t;
		int r = 0;

		toy_init(&t);
		if (s->c->filters && m->opcode < WS_CLOSE && m->n)
			r = toy_feed(&t, buf_at(&s->said.bytes) + m->at, m->n, &want);
		else if (m->n)
			ws_rig_append(&want, buf_at(&s->said.bytes) + m->at, m->n);
		assert(r == 0);
		r = toy_end(&t, &want);
		assert(r == 0);
		assert(got->messages[i].opcode == m->opcode);
		assert(got->messages[i].compressed == m->compressed);
		assert(got->messages[i].n == want.len);
		assert(want.len == 0 || memcmp(buf_at(&got->bytes) + got->messages[i].at,
					       buf_at(&want), want.len) == 0);
		buf_fini(&want);
	}
}

static void well_behaved(const struct run *c, const uint8_t *p, size_t n)
{
	bool fresh = c->d == WS_OUT ? c->params.client_no_takeover : c->params.server_no_takeover;
	struct script s = { .c = c, .in = rd_init(p, n), .wire = BUF_INIT((size_t)64 << 20) };
	struct ws_rig_reader got;
	uint8_t how, len;
	int r;

	ws_rig_reader_init(&s.said, false, 0, fresh);
	r = deflateInit2(&s.z, 6, Z_DEFLATED, -15, 8, Z_DEFAULT_STRATEGY);
	assert(r == Z_OK);
	while (s.said.n < 50 && rd_u8(&s.in, &how) && rd_u8(&s.in, &len)) {
		if (how & 0x80)
			say_control(&s, how);
		else
			say_message(&s, how, how & 0x40 ? len * 64u : len);
	}
	r = run(c, &s.wire, c->cut, &got);
	assert(r == 0);
	must_arrive(&s, &got);
	ws_rig_reader_fini(&got);
	ws_rig_reader_fini(&s.said);
	deflateEnd(&s.z);
	buf_fini(&s.wire);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct run c;
	uint8_t bits;

	if (size < 2 || size > 65536)
		return 0;
	seed = (uint32_t)size;
	bits = 8 + (data[1] & 7);
	c = (struct run){
		.d = data[0] & 1 ? WS_OUT : WS_BACK,
		.params = { data[0] >> 1 & 1, data[0] >> 2 & 1, data[0] >> 2 & 1, bits, bits },
		.filters = data[0] >> 3 & 1,
		.cut = 1 + (data[0] >> 5),
	};
	if (data[0] & 16)
		well_behaved(&c, data + 2, size - 2);
	else
		any_bytes(&c, data + 2, size - 2);
	assert(http_coding_memory() == 0);
	return 0;
}
