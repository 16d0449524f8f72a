/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A filter between two HTTP/2 peers: an nghttp2 client in the guest's place and a
 * server in the upstream's, whose answers are chosen by the request's path.
 *
 *   /echo          the request's body, as it comes, then its trailers
 *   /size/N        N bytes
 *   /trailers      a body and trailers
 *   /early         answers at once, whatever body is still to come
 *   /hang          never answers
 *   /reset/CODE    resets the stream; /late/CODE after the head and some body
 *   /hints         103 first
 *   /empty         204
 *
 * Bytes are moved in pieces that rig.cut chooses until nothing moves any more.
 */
#ifndef WEIR_TEST_HTTP2_RIG_H
#define WEIR_TEST_HTTP2_RIG_H

#include "http_rig.h"

#include <nghttp2/nghttp2.h>

#define H2_STREAMS 4096

struct h2_stream {
	int32_t id;
	bool server;
	/* what came */
	char method[40], path[128];
	unsigned status, interim;
	struct buf fields; /* "name: value\n", trailers behind a line "--" */
	uint64_t got;
	uint32_t sum; /* of the bytes */
	bool ended, closed, section, never;
	uint32_t code;
	/* what goes */
	uint64_t left;
	uint32_t seed;
	struct buf echo;
	bool echoes, trailers, finish, held;
};

struct h2_rig {
	struct rig g;
	nghttp2_session *client, *server;
	struct h2_stream *c[H2_STREAMS], *s[H2_STREAMS];
	size_t n_c, n_s;
	struct buf to_filter, to_filter_up; /* bytes of the client, of the server */
	bool client_stops, server_stops;    /* reads nothing more */
	uint32_t goaway;		    /* last code that the client got */
	bool has_goaway;
	unsigned settings, pings;
	uint64_t moved;
	bool manual; /* the client opens no windows by itself */
	bool h1;     /* the upstream is the test itself, in HTTP/1 */
};

static inline uint8_t h2_byte(uint32_t seed, uint64_t at)
{
	return (uint8_t)((at * 2654435761u + seed) >> 13);
}

static inline void h2_count(struct h2_stream *st, const uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		st->sum = st->sum * 31 + p[i];
	st->got += n;
}

static inline uint32_t h2_sum(uint32_t seed, uint64_t n)
{
	uint32_t sum = 0;

	for (uint64_t i = 0; i < n; i++)
		sum = sum * 31 + h2_byte(seed, i);
	return sum;
}

static inline struct h2_stream *h2_stream_new(struct h2_rig *r, bool server, int32_t id)
{
	struct h2_stream *st = calloc(1, sizeof(*st));
	size_t *n = server ? &r->n_s : &r->n_c;

	if (!st || *n == H2_STREAMS)
		abort();
	(server ? r->s : r->c)[(*n)++] = st;
	st->server = server;
	st->id = id;
	st->fields = BUF_INIT(256 * 1024);
	st->echo = BUF_INIT(RIG_CAP);
	st->seed = (uint32_t)id;
	return st;
}

static inline ssize_t h2_source(nghttp2_session *session, int32_t id, uint8_t *buf, size_t n,
				uint32_t *flags, nghttp2_data_source *source, void *user)
{
	static nghttp2_nv nv = { (uint8_t *)(uintptr_t) "x-sum", (uint8_t *)(uintptr_t) "done", 5,
				 4, 0 };
	struct h2_stream *st = source->ptr;

	(void)user;
	if (st->held)
		return NGHTTP2_ERR_DEFERRED;
	if (st->echoes) {
		n = MIN(n, st->echo.len);
		if (n)
			memcpy(buf, buf_at(&st->echo), n);
		buf_consume(&st->echo, n);
		if (n == 0 && !st->ended)
			return NGHTTP2_ERR_DEFERRED;
		st->finish = st->ended && st->echo.len == 0;
	} else {
		n = (size_t)MIN((uint64_t)n, st->left);
		for (size_t i = 0; i < n; i++)
			buf[i] = h2_byte(st->seed, st->echo.off + i);
		st->echo.off += n; /* only counts here */
		st->left -= n;
		st->finish = st->left == 0;
	}
	if (st->finish) {
		*flags |= NGHTTP2_DATA_FLAG_EOF;
		if (st->trailers) {
			*flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
			if (nghttp2_submit_trailer(session, id, &nv, 1) < 0)
				abort();
		}
	}
	return (ssize_t)n;
}

#define H2_NV(n, v)                                                                                \
	{                                                                                          \
		(uint8_t *)(uintptr_t)(n), (uint8_t *)(uintptr_t)(v), strlen(n), strlen(v), 0      \
	}

static inline void h2_answer(struct h2_rig *r, struct h2_stream *st)
{
	nghttp2_data_provider source = { { .ptr = st }, h2_source };
	char length[24] = "0", status[8] = "200";
	nghttp2_nv nv[] = { H2_NV(":status", status), H2_NV("x-server", "rig"),
			    H2_NV("content-length", length) };
	bool has_length = false, body = true;

	if (str_starts(st->path, "/size/")) {
		st->left = strtoull(st->path + 6, NULL, 10);
		snprintf(length, sizeof(length), "%llu", (unsigned long long)st->left);
		nv[2].valuelen = strlen(length);
		has_length = true;
		st->seed = 7;
	} else if (str_starts(st->path, "/trailers")) {
		st->left = 10;
		st->seed = 7;
		st->trailers = true;
	} else if (str_starts(st->path, "/early")) {
		st->left = 5;
		st->seed = 7;
	} else if (str_starts(st->path, "/hang")) {
		return;
	} else if (str_starts(st->path, "/reset/")) {
		rig_must(nghttp2_submit_rst_stream(r->server, 0, st->id,
						   (uint32_t)strtoul(st->path + 7, NULL, 10)));
		return;
	} else if (str_starts(st->path, "/late/")) {
		st->left = 1u << 30;
		st->held = true;
	} else if (str_starts(st->path, "/empty")) {
		snprintf(status, sizeof(status), "204");
		body = false;
	} else if (str_starts(st->path, "/hints")) {
		nghttp2_nv hint[] = { H2_NV(":status", "103"), H2_NV("link", "</a>; rel=preload") };

		rig_must(nghttp2_submit_headers(r->server, 0, st->id, NULL, hint, 2, NULL));
		st->left = 3;
		st->seed = 7;
	} else {
		st->echoes = true;
	}
	if (str_eq(st->method, "HEAD"))
		body = false;
	rig_must(nghttp2_submit_response(r->server, st->id, nv, has_length ? 3 : 2,
					 body ? &source : NULL));
	if (str_starts(st->path, "/late/"))
		rig_must(nghttp2_submit_rst_stream(r->server, 0, st->id,
						   (uint32_t)strtoul(st->path + 6, NULL, 10)));
}

static inline int h2_begin(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
	struct h2_rig *r = user;
	struct h2_stream *st;

	if (session != r->server || frame->headers.cat != NGHTTP2_HCAT_REQUEST)
		return 0;
	st = h2_stream_new(r, true, frame->hd.stream_id);
	nghttp2_session_set_stream_user_data(session, st->id, st);
	return 0;
}

static inline int h2_header(nghttp2_session *session, const nghttp2_frame *frame,
			    const uint8_t *name, size_t n_name, const uint8_t *value,
			    size_t n_value, uint8_t flags, void *user)
{
	struct h2_stream *st = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);

	(void)user;
	if (!st)
		return 0;
	if (n_name == 7 && memcmp(name, ":status", 7) == 0)
		st->status = (unsigned)strtoul((const char *)value, NULL, 10);
	else if (n_name == 7 && memcmp(name, ":method", 7) == 0)
		snprintf(st->method, sizeof(st->method), "%.*s", (int)n_value, (const char *)value);
	else if (n_name == 5 && memcmp(name, ":path", 5) == 0)
		snprintf(st->path, sizeof(st->path), "%.*s", (int)n_value, (const char *)value);
	rig_must(buf_append(&st->fields, name, n_name));
	rig_must(buf_append_str(&st->fields, ": "));
	rig_must(buf_append(&st->fields, value, n_value));
	rig_must(buf_append_str(&st->fields, flags & NGHTTP2_NV_FLAG_NO_INDEX ? " [never]\n" : "\n"));
	return 0;
}

static inline int h2_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *p,
			  size_t n, void *user)
{
	struct h2_stream *st = nghttp2_session_get_stream_user_data(session, id);

	(void)flags;
	(void)user;
	if (!st)
		return 0;
	h2_count(st, p, n);
	if (st->server && st->echoes) {
		rig_must(buf_append(&st->echo, p, n));
		nghttp2_session_resume_data(session, id);
	}
	return 0;
}

static inline void h2_server_frame(struct h2_rig *r, const nghttp2_frame *frame, struct h2_stream *st)
{
	bool end = frame->hd.flags & NGHTTP2_FLAG_END_STREAM;
	bool head = frame->hd.type == NGHTTP2_HEADERS;

	if (end) {
		st->ended = true;
		nghttp2_session_resume_data(r->server, st->id);
	}
	if (head && st->section)
		st->trailers |= st->echoes;
	if (head && !st->section &&
	    (str_starts(st->path, "/early") || str_starts(st->path, "/echo") ||
	     str_starts(st->path, "/reset") || end)) {
		st->section = true;
		h2_answer(r, st);
		return;
	}
	if (head)
		st->section = true;
	if (end && !st->echoes)
		h2_answer(r, st);
}

static inline int h2_frame(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
	struct h2_rig *r = user;
	struct h2_stream *st =
		frame->hd.stream_id
			? nghttp2_session_get_stream_user_data(session, frame->hd.stream_id)
			: NULL;

	if (session == r->client && frame->hd.type == NGHTTP2_GOAWAY) {
		r->goaway = frame->goaway.error_code;
		r->has_goaway = true;
	}
	if (session == r->client && frame->hd.type == NGHTTP2_SETTINGS)
		r->settings++;
	if (session == r->client && frame->hd.type == NGHTTP2_PING)
		r->pings++;
	if (!st || (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA))
		return 0;
	if (session == r->server) {
		h2_server_frame(r, frame, st);
		return 0;
	}
	if (frame->hd.type == NGHTTP2_HEADERS) {
		if (st->status >= 100 && st->status < 200)
			st->interim++;
		rig_must(buf_append_str(&st->fields, "--\n"));
	}
	if (frame->hd.flags & NGHTTP2_FLAG_END_STREAM)
		st->ended = true;
	return 0;
}

static inline int h2_close(nghttp2_session *session, int32_t id, uint32_t code, void *user)
{
	struct h2_stream *st = nghttp2_session_get_stream_user_data(session, id);

	(void)user;
	if (!st)
		return 0;
	if (st->closed)
		abort();
	st->closed = true;
	st->code = code;
	return 0;
}

static inline void h2_sessions(struct h2_rig *r)
{
	nghttp2_session_callbacks *cb;
	nghttp2_settings_entry push = { NGHTTP2_SETTINGS_ENABLE_PUSH, 0 };
	nghttp2_option *o;

	rig_must(nghttp2_session_callbacks_new(&cb));
	rig_must(nghttp2_option_new(&o));
	nghttp2_option_set_max_outbound_ack(o, 1000000);
	nghttp2_option_set_stream_reset_rate_limit(o, 1000000, 1000000);
	nghttp2_session_callbacks_set_on_begin_headers_callback(cb, h2_begin);
	nghttp2_session_callbacks_set_on_header_callback(cb, h2_header);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, h2_data);
	nghttp2_session_callbacks_set_on_frame_recv_callback(cb, h2_frame);
	nghttp2_session_callbacks_set_on_stream_close_callback(cb, h2_close);
	rig_must(nghttp2_session_server_new2(&r->server, cb, r, o));
	nghttp2_option_set_no_auto_window_update(o, r->manual);
	rig_must(nghttp2_session_client_new2(&r->client, cb, r, o));
	rig_must(nghttp2_submit_settings(r->client, 0, &push, 1));
	rig_must(nghttp2_submit_settings(r->server, 0, NULL, 0));
	nghttp2_option_del(o);
	nghttp2_session_callbacks_del(cb);
}

static inline void h2_prepare(struct h2_rig *r, bool tls, const struct secret_set *set)
{
	*r = (struct h2_rig){ .to_filter = BUF_INIT(16 * RIG_CAP),
			      .to_filter_up = BUF_INIT(16 * RIG_CAP) };
	rig_prepare(&r->g, tls, set);
	r->g.cfg.guest_h2 = r->g.cfg.upstream_h2 = true;
	r->g.buf_cap = HTTP_BUF_MIN;
}

static inline void h2_start(struct h2_rig *r)
{
	rig_start(&r->g);
	h2_sessions(r);
}

static inline void h2_stream_done(struct h2_stream *st)
{
	st->echo.off = 0;
	buf_fini(&st->echo);
	buf_fini(&st->fields);
	free(st);
}

static inline void h2_free(struct h2_rig *r)
{
	rig_free(&r->g);
	nghttp2_session_del(r->client);
	nghttp2_session_del(r->server);
	for (size_t i = 0; i < r->n_c; i++)
		h2_stream_done(r->c[i]);
	for (size_t i = 0; i < r->n_s; i++)
		h2_stream_done(r->s[i]);
	buf_fini(&r->to_filter);
	buf_fini(&r->to_filter_up);
}

/* What a peer has to say, gathered. */
static inline void h2_say(nghttp2_session *s, struct buf *to)
{
	const uint8_t *p;
	ssize_t n;

	while (to->len < RIG_CAP && (n = nghttp2_session_mem_send(s, &p)) > 0)
		rig_must(buf_append(to, p, (size_t)n));
}

/* Into the filter; true when some was taken. */
static inline bool h2_into(struct h2_rig *r, bool guest, struct buf *from)
{
	uint64_t before = from->len, out = r->g.up.len + r->g.guest.len;
	size_t n, used;

	do {
		if (r->g.state == HTTP_CLOSE || r->g.state == HTTP_ABORT) {
			buf_reset(from);
			return false;
		}
		n = from->len ? rig_piece(&r->g, from->len) : 0;
		n = MIN(n, (size_t)16384);
		used = 0;
		if (guest)
			r->g.state = http_from_guest(r->g.filter, n ? buf_at(from) : NULL, n, &used,
						     &r->g.up, &r->g.guest);
		else
			r->g.state = http_from_upstream(r->g.filter, n ? buf_at(from) : NULL, n,
							&used, &r->g.up, &r->g.guest);
		if (used > n)
			abort();
		buf_consume(from, used);
	} while (used && from->len);
	return from->len != before || r->g.up.len + r->g.guest.len != out;
}

static inline bool h2_out(nghttp2_session *s, struct buf *b, bool stops)
{
	if (!b->len || stops)
		return false;
	/* A peer that was told GOAWAY may stop in the middle. */
	if (nghttp2_session_mem_recv(s, buf_at(b), b->len) < 0)
		buf_reset(b);
	else
		buf_consume(b, b->len);
	return true;
}

/* Until nothing moves. */
static inline void h2_run(struct h2_rig *r)
{
	unsigned rounds = 0;
	bool moved;

	do {
		moved = false;
		h2_say(r->client, &r->to_filter);
		if (!r->h1)
			h2_say(r->server, &r->to_filter_up);
		moved |= h2_into(r, true, &r->to_filter);
		if (!r->h1) {
			moved |= h2_into(r, false, &r->to_filter_up);
			moved |= h2_out(r->server, &r->g.up, r->server_stops);
		}
		moved |= h2_out(r->client, &r->g.guest, r->client_stops);
		if (++rounds > 1000000)
			abort();
	} while (moved);
}

/* A request of the client; body bytes follow, with trailers if wanted. */
static inline struct h2_stream *h2_request_nv(struct h2_rig *r, const nghttp2_nv *nv, size_t n,
					      uint64_t body, bool trailers)
{
	struct h2_stream *st = h2_stream_new(r, false, 0);
	nghttp2_data_provider source = { { .ptr = st }, h2_source };
	int32_t id;

	st->left = body;
	st->trailers = trailers;
	st->seed = 3;
	id = nghttp2_submit_request(r->client, NULL, nv, n, body || trailers ? &source : NULL, st);
	rig_must(id);
	st->id = id;
	return st;
}

static inline struct h2_stream *h2_request(struct h2_rig *r, const char *method, const char *path,
					   uint64_t body, bool trailers)
{
	nghttp2_nv nv[] = { H2_NV(":method", method),
			    H2_NV(":scheme", r->g.cfg.tls ? "https" : "http"),
			    H2_NV(":authority", "api.example.com"), H2_NV(":path", path),
			    H2_NV("user-agent", "rig") };

	return h2_request_nv(r, nv, 5, body, trailers);
}

static inline struct h2_stream *h2_get(struct h2_rig *r, const char *path)
{
	return h2_request(r, "GET", path, 0, false);
}

static inline size_t h2_events(struct h2_rig *r)
{
	const char *t = rig_text(&r->g.log);
	size_t n = 0;

	for (; (t = strstr(t, "http ")); t += 5)
		n += t == rig_text(&r->g.log) || t[-1] == '\n';
	return n;
}

static inline bool h2_has(struct buf *b, const char *s)
{
	return b->len && memmem(buf_at(b), b->len, s, strlen(s)) != NULL;
}

#endif
