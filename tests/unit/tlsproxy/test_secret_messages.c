/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Secrets planted in WebSocket messages, both directions, text and binary, compressed or
 * not, over HTTP/1 and HTTP/2 (RFC 8441), in frames and pieces cut at random. The text is built together with what it has to
 * become. WEIR_SECRET_ROUNDS sets how many rounds there are.
 */
#include "secret_rig.h"
#include "world_rig.h"
#include "ws_rig.h"

static const char *const values[] = {
	"ghp_16C7e42F292c6912E7710c838347Ae178B4a",
	"aB3+xY/9kLm\"Qr&7Ts=uV~w*z",
	"0123-4567_89ab.cdef",
};

struct talk {
	struct rig g;
	const struct secret *s;
	bool deflates, from_guest;
	z_stream z;
	struct buf wire, got;
	struct ws_rig_reader reader;
	/* HTTP/2: the two ends, what each of them still sends, and what it got. */
	nghttp2_session *ends[2];
	int32_t stream;
	struct buf sends[2], arrived[2];
};
enum { GUEST = 0, UPSTREAM = 1 };

#define UPGRADE "Connection: Upgrade\r\nUpgrade: websocket\r\n"
#define DEFLATE "Sec-WebSocket-Extensions: permessage-deflate\r\n"

/* ---- over HTTP/2 ------------------------------------------------------------------------- */

static ssize_t h2_next(nghttp2_session *session, int32_t id, uint8_t *to, size_t n, uint32_t *flags,
		       nghttp2_data_source *source, void *user)
{
	struct buf *b = source->ptr;

	(void)session;
	(void)id;
	(void)flags;
	(void)user;
	n = MIN(n, b->len ? upto(b->len, 2000) : 0);
	if (!n)
		return NGHTTP2_ERR_DEFERRED;
	memcpy(to, buf_at(b), n);
	buf_consume(b, n);
	return (ssize_t)n;
}

static int h2_arrived(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *p,
		      size_t n, void *user)
{
	struct talk *t = user;

	(void)flags;
	(void)id;
	add(&t->arrived[session == t->ends[UPSTREAM]], p, n);
	return 0;
}

#define NV(name, value)                                                                            \
	{                                                                                          \
		(uint8_t *)(uintptr_t)(name), (uint8_t *)(uintptr_t)(value), sizeof(name) - 1,     \
			sizeof(value) - 1, 0                                                       \
	}

/* The upstream takes the stream. */
static int h2_frame(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
	static const nghttp2_nv nv[] = { NV(":status", "200"),
					 NV("sec-websocket-extensions", "permessage-deflate") };
	struct talk *t = user;
	nghttp2_data_provider source = { { .ptr = &t->sends[UPSTREAM] }, h2_next };

	if (session != t->ends[UPSTREAM] || frame->hd.type != NGHTTP2_HEADERS)
		return 0;
	t->stream = frame->hd.stream_id;
	return nghttp2_submit_response(session, t->stream, nv, t->deflates ? 2 : 1, &source);
}

/* What each end has to say, until neither has. */
static void h2_pump(struct talk *t)
{
	const uint8_t *p;
	bool moved = true;
	ssize_t n;

	while (moved) {
		moved = false;
		for (unsigned e = GUEST; e <= UPSTREAM; e++) {
			struct buf *out = e == GUEST ? &t->g.guest : &t->g.up;

			if (t->stream)
				(void)nghttp2_session_resume_data(t->ends[e], t->stream);
			while (t->g.state == HTTP_OK &&
			       (n = nghttp2_session_mem_send(t->ends[e], &p)) > 0) {
				rig_feed(&t->g, e == GUEST, p, (size_t)n);
				moved = true;
			}
			if (!out->len)
				continue;
			assert_true(nghttp2_session_mem_recv(t->ends[e], buf_at(out), out->len) >= 0);
			buf_consume(out, out->len);
			moved = true;
		}
	}
}

static void h2_begin(struct talk *t)
{
	static const nghttp2_settings_entry connect = { NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL, 1 };
	static const nghttp2_nv nv[] = { NV(":method", "CONNECT"),
					 NV(":protocol", "websocket"),
					 NV(":scheme", "https"),
					 NV(":authority", "api.example.com"),
					 NV(":path", "/"),
					 NV("sec-websocket-version", "13"),
					 NV("sec-websocket-extensions", "permessage-deflate") };
	nghttp2_data_provider source = { { .ptr = &t->sends[GUEST] }, h2_next };
	nghttp2_session_callbacks *cb;

	rig_must(nghttp2_session_callbacks_new(&cb));
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, h2_arrived);
	nghttp2_session_callbacks_set_on_frame_recv_callback(cb, h2_frame);
	rig_must(nghttp2_session_client_new(&t->ends[GUEST], cb, t));
	rig_must(nghttp2_session_server_new(&t->ends[UPSTREAM], cb, t));
	nghttp2_session_callbacks_del(cb);
	for (unsigned e = GUEST; e <= UPSTREAM; e++)
		t->sends[e] = t->arrived[e] = (struct buf)BUF_INIT(RIG_CAP);
	rig_must(nghttp2_submit_settings(t->ends[GUEST], 0, NULL, 0));
	rig_must(nghttp2_submit_settings(t->ends[UPSTREAM], 0, &connect, 1));
	h2_pump(t);
	rig_must(nghttp2_submit_request(t->ends[GUEST], NULL, nv, t->deflates ? 7 : 6, &source, NULL));
	h2_pump(t);
	assert_true(t->stream != 0);
}

/* ---- a conversation ------------------------------------------------------------------------ */

static void talk_begin(struct talk *t, struct secret_set *set)
{
	bool h2 = rnd(2);

	*t = (struct talk){ .s = &set->secrets[0],
			    .deflates = rnd(2),
			    .from_guest = rnd(2),
			    .wire = BUF_INIT(RIG_CAP),
			    .got = BUF_INIT(RIG_CAP) };
	rig_prepare(&t->g, true, set);
	t->g.cfg.guest_h2 = t->g.cfg.upstream_h2 = h2;
	rig_start(&t->g);
	assert_int_equal(deflateInit2(&t->z, 6, Z_DEFLATED, -15, 8, Z_DEFAULT_STRATEGY), Z_OK);
	ws_rig_reader_init(&t->reader, t->from_guest, t->deflates ? 15 : 0, false);
	if (h2) {
		h2_begin(t);
		t->g.cut = rnd(4) ? 2 + rnd(100000) : rnd(2);
		return;
	}
	assert_true(rig_guest(&t->g, "GET / HTTP/1.1\r\nHost: api.example.com\r\n" UPGRADE));
	assert_true(rig_guest(&t->g, t->deflates ? DEFLATE "\r\n" : "\r\n"));
	assert_true(rig_upstream(&t->g, "HTTP/1.1 101 Switching Protocols\r\n" UPGRADE));
	assert_true(rig_upstream(&t->g, t->deflates ? DEFLATE "\r\n" : "\r\n"));
	assert_int_equal(t->g.state, HTTP_TUNNEL);
	buf_consume(&t->g.up, t->g.up.len);
	buf_consume(&t->g.guest, t->g.guest.len);
	t->g.cut = rnd(4) ? 2 + rnd(100000) : rnd(2);
}

static void talk_end(struct talk *t)
{
	for (unsigned e = GUEST; e <= UPSTREAM; e++) {
		nghttp2_session_del(t->ends[e]);
		buf_fini(&t->sends[e]);
		buf_fini(&t->arrived[e]);
	}
	deflateEnd(&t->z);
	ws_rig_reader_fini(&t->reader);
	buf_fini(&t->wire);
	buf_fini(&t->got);
	rig_free(&t->g);
}

/* A message in up to five frames. */
static void say(struct talk *t, uint8_t opcode, const struct buf *text)
{
	const uint8_t *key = t->from_guest ? (const uint8_t *)"\x11\x92\x03\xf4" : NULL;
	struct buf coded = BUF_INIT(WORLD_CAP);
	bool deflates = t->deflates && rnd(4);
	unsigned frames = rnd(5);
	size_t n = 0;

	if (deflates)
		ws_rig_deflate(&t->z, buf_at(text), text->len, &coded);
	else
		add(&coded, buf_at(text), text->len);
	opcode |= deflates ? 0x40 : 0;
	for (size_t at = 0; at < coded.len || opcode; at += n, opcode = 0) {
		n = frames ? upto(coded.len - at, 60) : coded.len - at;
		frames -= frames > 0;
		ws_rig_frame(&t->wire, (uint8_t)(opcode | (at + n == coded.len ? 0x80 : 0)),
			     buf_at(&coded) + at, n, key);
	}
	if (t->ends[GUEST]) {
		add(&t->sends[t->from_guest ? GUEST : UPSTREAM], buf_at(&t->wire), t->wire.len);
		h2_pump(t);
	} else {
		assert_true(rig_feed(&t->g, t->from_guest, buf_at(&t->wire), t->wire.len));
	}
	buf_consume(&t->wire, t->wire.len);
	buf_fini(&coded);
}

/* What the other end, or the upstream, has got. */
static struct buf *got_by(struct talk *t, bool upstream)
{
	if (t->ends[GUEST])
		return &t->arrived[upstream];
	return upstream ? &t->g.up : &t->g.guest;
}

static void noise(struct buf *a, struct buf *b, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		char c = (char)('a' + rnd(26));

		add(a, &c, 1);
		add(b, &c, 1);
	}
	add(a, " ", 1);
	add(b, " ", 1);
}

static void put_json(struct buf *b, const void *p, size_t n)
{
	uint8_t t[6 * 256];

	add(b, t, secret_encode_json(0, p, n, t));
}

static void put_base64(struct buf *b, const void *p, size_t n, unsigned lead)
{
	uint8_t raw[512] = "xyzzy";
	char text[1024];

	memcpy(raw + lead, p, n);
	add(b, text, secret_base64_encode(raw, lead + n, text));
}

/* Returns whether it may pass. */
static bool make_out(struct talk *t, uint8_t opcode, struct buf *in, struct buf *want)
{
	const struct secret *s = t->s;
	unsigned how = rnd(5);
	bool json = how == 1;

	add_str(in, json ? "{\"k\":\"" : "");
	add_str(want, json ? "{\"k\":\"" : "");
	noise(in, want, rnd(rnd(3) ? 30 : 5000));
	if (how == 0) {
		add(in, s->placeholder, s->placeholder_len);
		add(want, s->value, s->len);
	} else if (json) {
		put_json(in, s->placeholder, s->placeholder_len);
		put_json(want, s->value, s->len);
	} else if (how == 2) {
		put_base64(in, s->placeholder, s->placeholder_len, rnd(3));
	} else if (how == 3) {
		for (size_t i = 0; i < s->placeholder_len; i++)
			rig_must(buf_printf(in, "%%%02x", (uint8_t)s->placeholder[i]));
	}
	noise(in, want, rnd(30));
	add_str(in, json ? "\"}" : "");
	add_str(want, json ? "\"}" : "");
	return how == 4 || (how < 2 && opcode == 1);
}

static void make_back(struct talk *t, struct buf *in, struct buf *want)
{
	const struct secret *s = t->s;
	unsigned lead = rnd(3);

	for (unsigned i = 0, n = rnd(4); i < n; i++) {
		noise(in, want, rnd(rnd(3) ? 30 : 5000));
		switch (rnd(3)) {
		case 0:
			add(in, s->value, s->len);
			add(want, s->placeholder, s->placeholder_len);
			break;
		case 1:
			put_json(in, s->value, s->len);
			put_json(want, s->placeholder, s->placeholder_len);
			break;
		default:
			put_base64(in, s->value, s->len, lead);
			put_base64(want, s->placeholder, s->placeholder_len, lead);
		}
	}
	noise(in, want, rnd(30));
}

static void must_have(struct talk *t, const struct buf *want, size_t before, unsigned round)
{
	struct buf *out = got_by(t, t->from_guest);
	const struct ws_rig_message *m;

	ws_rig_read(&t->reader, out, false);
	buf_consume(out, out->len);
	assert_int_equal(t->reader.n, before + 1);
	m = &t->reader.messages[before];
	if (m->n != want->len || memcmp(buf_at(&t->reader.bytes) + m->at, buf_at(want), m->n) != 0)
		fail_msg("round %u: got\n%.*s\nwanted\n%.*s", round, (int)m->n,
			 (const char *)buf_at(&t->reader.bytes) + m->at, (int)want->len,
			 (const char *)buf_at(want));
}

static void must_be_refused(struct talk *t, size_t before, unsigned round)
{
	struct buf *all = &t->reader.bytes;

	if (t->g.violations != 1)
		fail_msg("round %u: %u violations", round, t->g.violations);
	ws_rig_read(&t->reader, got_by(t, true), true);
	assert_true(t->reader.n <= before + 1); /* a Close */
	assert_null(memmem(text_of(all).s, all->len, t->s->placeholder, t->s->placeholder_len));
	/* Binary messages and odd spellings: not a byte of a value was put in. */
	if (!t->ends[GUEST])
		assert_int_equal(t->g.state, HTTP_CLOSE);
}

static void talk_round(unsigned round)
{
	struct secret_spec spec = { "KEY", values[rnd(ARRAY_SIZE(values))], "api.example.com",
				    TLSPROXY_IN_WEBSOCKET, TLSPROXY_BLOCK_AND_LOG };
	struct secret_set *set = secret_rig(&spec, 1);
	unsigned n = 1 + rnd(5);
	struct talk t;
	bool on = true;

	talk_begin(&t, set);
	for (unsigned i = 0; on && i < n; i++) {
		struct buf in = BUF_INIT(WORLD_CAP), want = BUF_INIT(WORLD_CAP);
		uint8_t opcode = (uint8_t)(1 + rnd(2));

		if (t.from_guest)
			on = make_out(&t, opcode, &in, &want);
		else
			make_back(&t, &in, &want);
		say(&t, opcode, &in);
		if (on)
			must_have(&t, &want, i, round);
		else
			must_be_refused(&t, i, round);
		buf_fini(&in);
		buf_fini(&want);
	}
	talk_end(&t);
	secret_set_unref(set);
}

static void s07_lesson_33_every_message(void **state)
{
	const char *text = getenv("WEIR_SECRET_ROUNDS");
	uint64_t n = 500;

	(void)state;
	if (text && uint_parse(text, strlen(text), 1, 100000000, &n, NULL) < 0)
		fail_msg("WEIR_SECRET_ROUNDS is not a number of rounds");
	for (unsigned i = 0; i < n; i++) {
		world_seed = 3 * i + 1;
		talk_round(i);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(s07_lesson_33_every_message),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
