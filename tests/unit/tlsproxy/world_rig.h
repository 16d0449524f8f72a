/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One exchange through the filter, in whatever protocols its two ends speak: what a
 * client sends and a server answers stands in a `struct message` each, and so does
 * what the other end got. Pieces are cut at random: bytes, chunks, DATA frames, header
 * blocks into CONTINUATION frames.
 */
#ifndef WEIR_TEST_WORLD_RIG_H
#define WEIR_TEST_WORLD_RIG_H

#include "http_rig.h"

#include <nghttp2/nghttp2.h>
#include <setjmp.h>
#include <cmocka.h>

static uint64_t world_seed = 1;

static inline uint32_t rnd(uint32_t n)
{
	world_seed = world_seed * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(world_seed >> 33) % n;
}

/* Some of what is left. */
static inline size_t upto(size_t left, uint32_t most)
{
	size_t n = 1 + rnd(most);

	return MIN(n, left);
}

static inline void add(struct buf *b, const void *p, size_t n)
{
	rig_must(n ? buf_append(b, p, n) : 0);
}

static inline void add_str(struct buf *b, const char *s)
{
	add(b, s, strlen(s));
}

static inline struct http_text text_of(const struct buf *b)
{
	return (struct http_text){ b->len ? (const char *)buf_at(b) : "", b->len };
}

/* ---- messages ------------------------------------------------------------------------------ */

struct message {
	char method[16];
	struct buf target;
	unsigned status;
	struct buf reason;   /* HTTP/1 only */
	struct buf interim;  /* fields of a 103 */
	struct buf fields;   /* "name: value\n", names in lower case */
	struct buf body;     /* as it is framed: coded */
	struct buf trailers; /* as fields */
	bool chunked, ended;
};

#define WORLD_CAP ((size_t)1 << 20)

static inline void message_init(struct message *m)
{
	*m = (struct message){ .target = BUF_INIT(WORLD_CAP),
			       .reason = BUF_INIT(WORLD_CAP),
			       .interim = BUF_INIT(WORLD_CAP),
			       .fields = BUF_INIT(WORLD_CAP),
			       .body = BUF_INIT(WORLD_CAP),
			       .trailers = BUF_INIT(WORLD_CAP) };
}

static inline void message_fini(struct message *m)
{
	buf_fini(&m->target);
	buf_fini(&m->reason);
	buf_fini(&m->interim);
	buf_fini(&m->fields);
	buf_fini(&m->body);
	buf_fini(&m->trailers);
}

/* Takes a line off; false: there is none. */
static inline bool line_of(struct http_text *t, struct http_text *ret)
{
	const char *end = t->len ? memchr(t->s, '\n', t->len) : NULL;

	if (!end)
		return false;
	*ret = (struct http_text){ t->s, (size_t)(end - t->s) };
	t->len -= ret->len + 1;
	t->s = end + 1;
	if (ret->len && ret->s[ret->len - 1] == '\r')
		ret->len--;
	return true;
}

/* "name: value"; NULL when there is no colon. */
static inline bool field_of(struct http_text line, struct http_text *name, struct http_text *value)
{
	const char *colon = memmem(line.s, line.len, ": ", 2);

	if (!colon)
		return false;
	*name = (struct http_text){ line.s, (size_t)(colon - line.s) };
	*value = (struct http_text){ colon + 2, line.len - name->len - 2 };
	return true;
}

static inline void add_field(struct buf *b, struct http_text name, struct http_text value)
{
	for (size_t i = 0; i < name.len; i++) {
		char c = name.s[i] >= 'A' && name.s[i] <= 'Z' ? (char)(name.s[i] | 0x20) : name.s[i];

		add(b, &c, 1);
	}
	add(b, ": ", 2);
	add(b, value.s, value.len);
	add(b, "\n", 1);
}

/* Those whose names begin so, one after the other. */
static inline void fields_named(const struct buf *fields, const char *prefix, struct buf *ret)
{
	struct http_text t = text_of(fields), line;

	while (line_of(&t, &line))
		if (line.len >= strlen(prefix) && memcmp(line.s, prefix, strlen(prefix)) == 0) {
			add(ret, line.s, line.len);
			add(ret, "\n", 1);
		}
}

/* ---- the world ------------------------------------------------------------------------------- */

struct world {
	struct rig g;
	bool guest_h2, upstream_h2;
	nghttp2_session *client, *server;
	struct buf client_out, server_out;
	struct message request, reply; /* what is sent */
	struct message up, down;       /* what arrived */
	size_t sent_up, sent_down;
	int32_t stream;
	bool answered, reset;
};

static inline void world_init(struct world *w, const struct secret_set *set, bool guest_h2,
			      bool upstream_h2)
{
	*w = (struct world){ .guest_h2 = guest_h2,
			     .upstream_h2 = upstream_h2,
			     .client_out = BUF_INIT(4 * WORLD_CAP),
			     .server_out = BUF_INIT(4 * WORLD_CAP) };
	rig_prepare(&w->g, true, set);
	w->g.cfg.guest_h2 = guest_h2;
	w->g.cfg.upstream_h2 = upstream_h2;
	w->g.buf_cap = HTTP_BUF_MIN;
	message_init(&w->request);
	message_init(&w->reply);
	message_init(&w->up);
	message_init(&w->down);
}

static inline void world_fini(struct world *w)
{
	rig_free(&w->g);
	nghttp2_session_del(w->client);
	nghttp2_session_del(w->server);
	buf_fini(&w->client_out);
	buf_fini(&w->server_out);
	message_fini(&w->request);
	message_fini(&w->reply);
	message_fini(&w->up);
	message_fini(&w->down);
}

/* ---- HTTP/1: written, read --------------------------------------------------------------------- */

static inline void put_fields(struct buf *out, const struct buf *fields)
{
	struct http_text t = text_of(fields), line;

	while (line_of(&t, &line)) {
		add(out, line.s, line.len);
		add(out, "\r\n", 2);
	}
}

static inline void put_body(struct buf *out, const struct message *m)
{
	if (!m->chunked) {
		rig_must(buf_printf(out, "Content-Length: %zu\r\n\r\n", m->body.len));
		add(out, text_of(&m->body).s, m->body.len);
		return;
	}
	add_str(out, "Transfer-Encoding: chunked\r\n\r\n");
	for (size_t at = 0, n; at < m->body.len; at += n) {
		n = upto(m->body.len - at, rnd(4) ? 9 : 3000);
		rig_must(buf_printf(out, rnd(2) ? "%zx\r\n" : "%zX;x=y\r\n", n));
		add(out, buf_at(&m->body) + at, n);
		add_str(out, "\r\n");
	}
	add_str(out, "0\r\n");
	put_fields(out, &m->trailers);
	add_str(out, "\r\n");
}

static inline void h1_request(const struct message *m, struct buf *out)
{
	add_str(out, m->method);
	add_str(out, " ");
	add(out, text_of(&m->target).s, m->target.len);
	add_str(out, " HTTP/1.1\r\nHost: api.example.com\r\n");
	put_fields(out, &m->fields);
	put_body(out, m);
}

static inline void h1_reply(const struct message *m, struct buf *out)
{
	if (m->interim.len) {
		add_str(out, "HTTP/1.1 103 Early Hints\r\n");
		put_fields(out, &m->interim);
		add_str(out, "\r\n");
	}
	rig_must(buf_printf(out, "HTTP/1.1 %u ", m->status));
	add(out, text_of(&m->reason).s, m->reason.len);
	add_str(out, "\r\n");
	put_fields(out, &m->fields);
	put_body(out, m);
}

static inline void read_fields(struct http_text *t, struct buf *ret)
{
	struct http_text line, name, value;

	while (line_of(t, &line) && line.len)
		if (field_of(line, &name, &value))
			add_field(ret, name, value);
}

static inline void read_body(struct http_text t, struct message *m)
{
	struct http_chunks c = { 0 };

	m->chunked = memmem(text_of(&m->fields).s, m->fields.len, "transfer-encoding: chunked", 26);
	if (!m->chunked) {
		const char *cl = memmem(text_of(&m->fields).s, m->fields.len, "content-length: ", 16);

		m->ended = (cl ? strtoull(cl + 16, NULL, 10) : 0) == t.len;
		add(&m->body, t.s, t.len);
		return;
	}
	while (t.len && !m->ended) {
		const uint8_t *data = NULL;
		size_t used, len;
		const char *why;

		rig_must(http_chunks_feed(&c, (const uint8_t *)t.s, t.len, &used, &data, &len,
					  &m->ended, &why));
		add(&m->body, data, len);
		t.s += used;
		t.len -= used;
	}
	read_fields(&t, &m->trailers);
}

static inline void h1_read(const struct buf *in, bool request, struct message *m)
{
	struct http_text t = text_of(in), line;
	const char *space;

	if (!line_of(&t, &line))
		return;
	space = memchr(line.s, ' ', line.len);
	if (!space)
		fail_msg("no start line");
	if (request) {
		const char *end = memrchr(line.s, ' ', line.len);

		snprintf(m->method, sizeof(m->method), "%.*s", (int)(space - line.s), line.s);
		add(&m->target, space + 1, (size_t)(end - space - 1));
	} else {
		m->status = (unsigned)strtoul(space + 1, NULL, 10);
		if (m->status >= 100 && m->status < 200) {
			read_fields(&t, &m->interim);
			h1_read(&(struct buf){ .data = (uint8_t *)(uintptr_t)t.s,
					       .len = t.len,
					       .size = t.len,
					       .cap = t.len },
				false, m);
			return;
		}
		add(&m->reason, space + 5, (size_t)(line.s + line.len - space - 5));
	}
	read_fields(&t, &m->fields);
	read_body(t, m);
}

/* ---- HTTP/2 -------------------------------------------------------------------------------------- */

#define WORLD_FIELDS 64
struct nv_list {
	nghttp2_nv nv[WORLD_FIELDS];
	size_t n;
};

static inline void nv_add(struct nv_list *l, struct http_text name, struct http_text value)
{
	assert_true(l->n < WORLD_FIELDS);
	l->nv[l->n++] = (nghttp2_nv){ .name = (uint8_t *)(uintptr_t)name.s,
				      .namelen = name.len,
				      .value = (uint8_t *)(uintptr_t)value.s,
				      .valuelen = value.len };
}

static inline void nv_fields(struct nv_list *l, const struct buf *fields)
{
	struct http_text t = text_of(fields), line, name, value;

	while (line_of(&t, &line))
		if (field_of(line, &name, &value))
			nv_add(l, name, value);
}

#define NV_TEXT(s) ((struct http_text){ (s), strlen(s) })

static inline ssize_t world_source(nghttp2_session *session, int32_t id, uint8_t *buf, size_t n,
				   uint32_t *flags, nghttp2_data_source *source, void *user)
{
	struct world *w = user;
	struct message *m = source->ptr;
	size_t *at = m == &w->request ? &w->sent_up : &w->sent_down;
	struct nv_list trailers = { .n = 0 };

	n = MIN(n, upto(m->body.len - *at, rnd(4) ? 12 : 5000));
	if (n)
		memcpy(buf, buf_at(&m->body) + *at, n);
	*at += n;
	if (*at < m->body.len)
		return (ssize_t)n;
	*flags |= NGHTTP2_DATA_FLAG_EOF;
	if (m->trailers.len) {
		*flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
		nv_fields(&trailers, &m->trailers);
		rig_must(nghttp2_submit_trailer(session, id, trailers.nv, trailers.n));
	}
	return (ssize_t)n;
}

static inline void h2_send_request(struct world *w)
{
	struct message *m = &w->request;
	nghttp2_data_provider source = { { .ptr = m }, world_source };
	struct nv_list l = { .n = 0 };

	nv_add(&l, NV_TEXT(":method"), NV_TEXT(m->method));
	nv_add(&l, NV_TEXT(":scheme"), NV_TEXT("https"));
	nv_add(&l, NV_TEXT(":authority"), NV_TEXT("api.example.com"));
	nv_add(&l, NV_TEXT(":path"), text_of(&m->target));
	nv_fields(&l, &m->fields);
	rig_must(nghttp2_submit_request(w->client, NULL, l.nv, l.n,
					m->body.len || m->trailers.len ? &source : NULL, NULL));
}

static inline void h2_send_reply(struct world *w)
{
	struct message *m = &w->reply;
	nghttp2_data_provider source = { { .ptr = m }, world_source };
	struct nv_list l = { .n = 0 }, hints = { .n = 0 };
	char status[8];

	if (m->interim.len) {
		nv_add(&hints, NV_TEXT(":status"), NV_TEXT("103"));
		nv_fields(&hints, &m->interim);
		rig_must(nghttp2_submit_headers(w->server, 0, w->stream, NULL, hints.nv, hints.n,
						NULL));
	}
	snprintf(status, sizeof(status), "%u", m->status);
	nv_add(&l, NV_TEXT(":status"), NV_TEXT(status));
	nv_fields(&l, &m->fields);
	rig_must(nghttp2_submit_response(w->server, w->stream, l.nv, l.n, &source));
}

static inline int world_header(nghttp2_session *session, const nghttp2_frame *frame,
			       const uint8_t *name, size_t n_name, const uint8_t *value,
			       size_t n_value, uint8_t flags, void *user)
{
	struct world *w = user;
	bool request = session == w->server;
	struct message *m = request ? &w->up : &w->down;
	struct http_text n = { (const char *)name, n_name }, v = { (const char *)value, n_value };

	(void)flags;
	if (http_text_is(n, ":method"))
		snprintf(m->method, sizeof(m->method), "%.*s", (int)n_value, v.s);
	else if (http_text_is(n, ":path"))
		add(&m->target, value, n_value);
	else if (http_text_is(n, ":status"))
		m->status = (unsigned)strtoul(v.s, NULL, 10);
	else if (n.s[0] == ':')
		return 0;
	else if (frame->headers.cat == NGHTTP2_HCAT_HEADERS && m->status != 103 && m->ended)
		add_field(&m->trailers, n, v);
	else
		add_field(!request && m->status == 103 ? &m->interim : &m->fields, n, v);
	return 0;
}

static inline int world_begin(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
	struct world *w = user;

	/* ended is used for "the head is over" here, until the stream is. */
	if (session == w->server)
		w->stream = frame->hd.stream_id;
	return 0;
}

static inline int world_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *p,
			     size_t n, void *user)
{
	struct world *w = user;

	(void)flags;
	(void)id;
	add(session == w->server ? &w->up.body : &w->down.body, p, n);
	return 0;
}

static inline int world_frame(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
	struct world *w = user;
	bool request = session == w->server;
	struct message *m = request ? &w->up : &w->down;

	if (frame->hd.type == NGHTTP2_HEADERS && m->status != 103)
		m->ended = true;
	if (request && !w->answered && (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) &&
	    (frame->hd.type == NGHTTP2_HEADERS || frame->hd.type == NGHTTP2_DATA)) {
		w->answered = true;
		if (w->reply.status)
			h2_send_reply(w);
	}
	return 0;
}

static inline int world_close(nghttp2_session *session, int32_t id, uint32_t code, void *user)
{
	struct world *w = user;

	(void)session;
	(void)id;
	w->reset |= code != 0;
	return 0;
}

static inline void world_sessions(struct world *w)
{
	nghttp2_session_callbacks *cb;
	nghttp2_settings_entry push = { NGHTTP2_SETTINGS_ENABLE_PUSH, 0 };

	rig_must(nghttp2_session_callbacks_new(&cb));
	nghttp2_session_callbacks_set_on_begin_headers_callback(cb, world_begin);
	nghttp2_session_callbacks_set_on_header_callback(cb, world_header);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, world_data);
	nghttp2_session_callbacks_set_on_frame_recv_callback(cb, world_frame);
	nghttp2_session_callbacks_set_on_stream_close_callback(cb, world_close);
	if (w->upstream_h2) {
		rig_must(nghttp2_session_server_new(&w->server, cb, w));
		rig_must(nghttp2_submit_settings(w->server, 0, NULL, 0));
	}
	if (w->guest_h2) {
		rig_must(nghttp2_session_client_new(&w->client, cb, w));
		rig_must(nghttp2_submit_settings(w->client, 0, &push, 1));
	}
	nghttp2_session_callbacks_del(cb);
}

static inline void put_frame(struct buf *out, const uint8_t *head, size_t n, uint8_t type,
			     uint8_t flags, const uint8_t *p)
{
	uint8_t h[9] = { (uint8_t)(n >> 16), (uint8_t)(n >> 8), (uint8_t)n, type, flags };

	memcpy(h + 5, head + 5, 4);
	add(out, h, 9);
	add(out, p, n);
}

/* A frame in up to three: header blocks go on in CONTINUATION, data in DATA. */
static inline void cut_frame(struct buf *out, const uint8_t *f, size_t n)
{
	uint8_t type = f[3], flags = f[4], end = type == 1 ? 4 : 1, keep = type == 1 ? flags & 1 : 0;
	const uint8_t *p = f + 9;
	size_t first = n > 1 && (type == 1 || type == 0) && !(flags & 0x28) && rnd(3)
			       ? 1 + rnd((uint32_t)(n - 1))
			       : n;

	if (first == n) {
		put_frame(out, f, n, type, flags, p);
		return;
	}
	put_frame(out, f, first, type, keep, p);
	for (size_t at = first, k; at < n; at += k) {
		k = at == first && rnd(2) ? 1 + rnd((uint32_t)(n - at)) : n - at;
		put_frame(out, f, k, type == 1 ? 9 : 0, at + k == n ? flags & end : 0, p + at);
	}
}

static inline void h2_take(nghttp2_session *s, bool client, struct buf *to)
{
	const uint8_t *p;
	ssize_t n;

	while (s && (n = nghttp2_session_mem_send(s, &p)) > 0) {
		size_t at = 0;

		if (client && n >= 24 && memcmp(p, "PRI ", 4) == 0) {
			add(to, p, 24);
			at = 24;
		}
		while (at + 9 <= (size_t)n) {
			size_t len = (size_t)p[at] << 16 | (size_t)p[at + 1] << 8 | p[at + 2];

			cut_frame(to, p + at, len);
			at += 9 + len;
		}
		assert_int_equal(at, n);
	}
}

/* ---- running ----------------------------------------------------------------------------------------- */

static inline bool over(const struct world *w)
{
	return w->g.state == HTTP_CLOSE || w->g.state == HTTP_ABORT;
}

static inline bool world_into(struct world *w, bool guest, struct buf *from)
{
	size_t n = from->len ? rig_piece(&w->g, from->len) : 0, used = 0;
	size_t before = w->g.up.len + w->g.guest.len;

	if (over(w))
		return false;
	n = MIN(n, (size_t)16384);
	w->g.state = guest ? http_from_guest(w->g.filter, n ? buf_at(from) : NULL, n, &used,
					     &w->g.up, &w->g.guest)
			   : http_from_upstream(w->g.filter, n ? buf_at(from) : NULL, n, &used,
						&w->g.up, &w->g.guest);
	buf_consume(from, MIN(used, n));
	return used || w->g.up.len + w->g.guest.len != before;
}

static inline bool world_out(nghttp2_session *s, struct buf *b, struct buf *h1)
{
	size_t n = b->len;

	if (!n)
		return false;
	if (!s)
		add(h1, buf_at(b), n);
	else if (nghttp2_session_mem_recv(s, buf_at(b), n) < 0)
		fail_msg("what goes out is no HTTP/2");
	buf_consume(b, n);
	return true;
}

static inline bool h1_has_request(const struct buf *in)
{
	struct message m;
	bool ended;

	message_init(&m);
	if (memmem(text_of(in).s, in->len, "\r\n\r\n", 4))
		h1_read(in, true, &m);
	ended = m.ended;
	message_fini(&m);
	return ended;
}

/* The whole exchange; the upstream answers once it has all of the request. */
static inline void world_run(struct world *w)
{
	struct buf up = BUF_INIT(4 * WORLD_CAP), down = BUF_INIT(4 * WORLD_CAP);
	bool moved = true;

	w->g.cut = rnd(8) ? rnd(1000000) + (rnd(3) ? 2 : 0) : rnd(2);
	rig_start(&w->g);
	world_sessions(w);
	if (w->guest_h2)
		h2_send_request(w);
	else
		h1_request(&w->request, &w->client_out);
	for (unsigned idle = 0; idle < 3; idle = moved ? 0 : idle + 1) {
		h2_take(w->client, true, &w->client_out);
		h2_take(w->server, false, &w->server_out);
		moved = world_into(w, true, &w->client_out);
		moved |= world_out(w->server, &w->g.up, &up);
		if (!w->upstream_h2 && !w->answered && w->reply.status && h1_has_request(&up)) {
			w->answered = true;
			h1_reply(&w->reply, &w->server_out);
		}
		moved |= world_into(w, false, &w->server_out);
		moved |= world_out(w->client, &w->g.guest, &down);
	}
	if (!w->upstream_h2)
		h1_read(&up, true, &w->up);
	if (!w->guest_h2)
		h1_read(&down, false, &w->down);
	buf_fini(&up);
	buf_fini(&down);
}

/* ---- codings ------------------------------------------------------------------------------------------ */

static const char *const world_codings[] = { "", "gzip", "deflate", "br", "zstd", "gzip, br" };

static inline void world_code(bool encode, const char *coding, const struct buf *in, struct buf *out)
{
	struct http_codings list = { 0 };
	struct http_coder *c;
	const uint8_t *p = in->len ? buf_at(in) : (const uint8_t *)"";
	size_t taken, n = in->len;
	bool done = false;

	if (!*coding || (!n && !encode)) {
		add(out, p, n);
		return;
	}
	rig_must(http_codings_add(&list, coding, strlen(coding)));
	rig_must(encode ? http_encoder_new(&list, &c) : http_decoder_new(&list, &c));
	do {
		rig_must(http_coder_run(c, p, n, HTTP_CODING_END, out, &taken, &done));
		p += taken;
		n -= taken;
	} while (!done);
	http_coder_free(c);
}

#endif
