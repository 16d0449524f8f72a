/* SPDX-License-Identifier: Apache-2.0 */
/*
 * After an upgrade to WebSocket (RFC 6455; RFC 8441 for HTTP/2): its messages are read
 * in both directions. Towards the upstream a placeholder in a text message becomes its
 * secret, where that may stand there, and is a violation anywhere else; towards the guest
 * values become placeholders again. Without secrets bytes pass as they are.
 *
 *     side ─► ws_feed ─► the scratch buffer ─► the other side's body
 *                └ what does not go on at once waits (rest), one slice at most
 *
 * Once a peer broke the rules, or a secret stood where it may not, both are told by a
 * Close frame as soon as there is room for it, and the connection ends.
 */
#include "tlsproxy/http_internal.h"
#include "tlsproxy/ws.h"

#include <stdio.h>

/* What the engine can work with at least. */
#define ROOM_MIN 64

/* A message's bytes on their way through a stream. */
struct message {
	struct http_pipe_filter filter;
	struct secret_stream stream;
	struct secret_set *set; /* that it refers to */
	struct http_place place;
	bool begun;
};

struct http_tunnel {
	struct http_exchange *x;
	struct ws *ws; /* NULL: bytes pass */
	struct message message[2];
	struct buf rest[2];
	bool waits[2]; /* for room: nothing more is taken */
	bool ended;    /* the upstream said all */
	bool closing, said[2];
	uint16_t code;
	char reason[sizeof("weir: ") + HTTP_TEXT_MAX];
};

static struct http_side *receiver(const struct http_exchange *x, enum ws_direction d)
{
	return d == WS_OUT ? x->filter->upstream : x->filter->guest;
}

/* ---- messages --------------------------------------------------------------------------- */

/* Text that begins like JSON is JSON: a value in it is escaped as its strings are. */
static void guess_form(struct message *m, const uint8_t *p, size_t n)
{
	size_t i = 0;

	while (i < n && (p[i] == ' ' || p[i] == '\t' || p[i] == '\r' || p[i] == '\n'))
		i++;
	m->begun = i < n;
	if (m->begun && (p[i] == '{' || p[i] == '[' || p[i] == '"')) {
		m->place.natural = SECRET_JSON;
		m->place.forms |= 1u << SECRET_JSON;
	}
}

static int message_feed(void *ctx, const uint8_t *p, size_t n, struct buf *out)
{
	struct message *m = ctx;

	if (!m->begun)
		guess_form(m, p, n);
	return secret_stream_feed(&m->stream, p, n, out);
}

static int message_end(void *ctx, struct buf *out)
{
	return secret_stream_end(&((struct message *)ctx)->stream, out);
}

static size_t message_fits(void *ctx, size_t room)
{
	return secret_stream_fits(&((struct message *)ctx)->stream, room);
}

static size_t message_end_room(void *ctx)
{
	return MIN(secret_stream_end_room(&((struct message *)ctx)->stream), HTTP_PIPE_ROOM);
}

static bool message_keeps_length(void *ctx)
{
	(void)ctx;
	return false;
}

static struct http_place place_of(struct http_exchange *x, const char *barred)
{
	return (struct http_place){
		.x = x, .place = TLSPROXY_IN_WEBSOCKET, .forms = 1u << SECRET_PLAIN, .barred = barred
	};
}

/*
 * A connection may last for days: each message is read by the secrets there are when
 * it begins, in both directions.
 */
static void next_set(struct message *m, struct http_exchange *x, enum ws_direction d)
{
	struct secret_set *old = m->set;

	secret_stream_fini(&m->stream);
	/* Without memory the ones before stay. */
	if (d == WS_OUT && http_secret_renew(x) < 0)
		log_warn("no memory for the secrets of a WebSocket's next message");
	m->set = secret_set_ref(d == WS_OUT ? x->secrets : x->filter->secrets);
	secret_set_unref(old);
}

static const struct http_pipe_filter *on_message(void *ctx, enum ws_direction d, enum ws_opcode opcode)
{
	struct http_tunnel *t = ctx;
	struct http_exchange *x = t->x;
	struct message *m = &t->message[d];

	next_set(m, x, d);
	m->filter = (struct http_pipe_filter){
		m, message_feed, message_end, message_fits, message_end_room, message_keeps_length,
	};
	m->begun = d == WS_BACK;
	m->place = place_of(x, opcode == WS_TEXT ? NULL : "binary WebSocket message");
	if (d == WS_BACK)
		secret_stream_back(&m->stream, m->set);
	else
		secret_stream_out(&m->stream, m->set, http_secret_may_replace(x, &m->place),
				  http_secret_decide, &m->place);
	return &m->filter;
}

static int on_control(void *ctx, enum ws_direction d, enum ws_opcode opcode, const uint8_t *p,
		      size_t n, struct buf *out)
{
	struct http_tunnel *t = ctx;
	struct http_place place = place_of(t->x, "WebSocket control frame");
	struct secret_stream s;
	int r;

	(void)opcode;
	if (d == WS_BACK)
		secret_stream_back(&s, t->x->filter->secrets);
	else
		secret_stream_out(&s, t->x->secrets, false, http_secret_decide, &place);
	r = secret_stream_feed(&s, p, n, d == WS_BACK ? out : NULL);
	if (r == 0)
		r = secret_stream_end(&s, d == WS_BACK ? out : NULL);
	if (r == 0 && d == WS_OUT)
		r = buf_append(out, p, n);
	secret_stream_fini(&s);
	return r;
}

static void on_random(void *ctx, void *p, size_t n)
{
	(void)ctx;
	random_bytes(p, n);
}

static const struct ws_ops ops = { on_message, on_control, on_random };

/* ---- beginning and end ------------------------------------------------------------------- */

static int answered_extensions(const struct http_exchange *x, const struct http_head *h,
			       struct ws_deflate_params *ret)
{
	struct buf all = BUF_INIT(WS_EXTENSIONS_MAX);
	int r = http_fields_join(h, "Sec-WebSocket-Extensions", &all);

	if (r == 0 && all.len && !x->ws_offered)
		r = -EPROTO;
	if (r == 0)
		r = ws_extensions_accept(all.len ? (const char *)buf_at(&all) : "", all.len, ret);
	buf_fini(&all);
	return r == -ENOMEM ? r : r < 0 ? -EPROTO : 0;
}

int http_tunnel_begin(struct http_exchange *x, const struct http_head *h)
{
	struct ws_deflate_params params = { 0 };
	int r = http_secret_renew(x);

	if (r == 0 && x->n_secrets)
		r = answered_extensions(x, h, &params);
	if (r < 0)
		return r;
	x->tunnel = calloc(1, sizeof(*x->tunnel));
	if (!x->tunnel)
		return -ENOMEM;
	x->tunnel->x = x;
	buf_init(&x->tunnel->rest[WS_OUT], HTTP_SLICE);
	buf_init(&x->tunnel->rest[WS_BACK], HTTP_SLICE);
	return x->n_secrets ? ws_new(&params, &ops, x->tunnel, &x->tunnel->ws) : 0;
}

bool http_tunnel_reads(const struct http_tunnel *t)
{
	return t->ws != NULL;
}

void http_tunnel_free(struct http_tunnel *t)
{
	if (!t)
		return;
	ws_free(t->ws);
	for (size_t d = 0; d < 2; d++) {
		secret_stream_fini(&t->message[d].stream);
		secret_set_unref(t->message[d].set);
		buf_fini_wiped(&t->rest[d]);
	}
	free(t);
}

/* All was said in both directions: the connection ends, or the stream, and x is gone. */
static enum http_flow finish(struct http_exchange *x)
{
	struct http_filter *f = x->filter;

	if (f->switched) {
		f->over = HTTP_CLOSE;
		return HTTP_FLOW_ON;
	}
	if (f->guest->ops->end(f->guest, x, NULL) < 0 ||
	    (!x->request_done && f->upstream->ops->end(f->upstream, x, NULL) < 0))
		return HTTP_FLOW_ABORT;
	http_exchange_finish(x);
	return HTTP_FLOW_REFUSED;
}

/* ---- bytes ---------------------------------------------------------------------------------- */

/* What the engine wrote goes on. */
static int hand_over(struct http_exchange *x, enum ws_direction d, struct buf *out)
{
	struct http_side *to = receiver(x, d);
	int r = out->len ? to->ops->body(to, x, buf_at(out), out->len) : 0;

	http_cut(out, 0);
	out->cap = HTTP_SCRATCH_MAX;
	return r;
}

/* The scratch buffer with room for what the receiver takes now: 0 when that is too little. */
static size_t make_room(struct http_exchange *x, enum ws_direction d, int *ret_error)
{
	struct http_side *to = receiver(x, d);
	struct buf *out = &x->filter->scratch;
	size_t room = MIN(to->ops->room(to, x), HTTP_SLICE);

	*ret_error = room < ROOM_MIN ? 0 : http_wiped_reserve(out, HTTP_SLICE);
	if (room < ROOM_MIN || *ret_error < 0)
		return 0;
	out->cap = room;
	return room;
}

/* *ret_went: something moved. Of what was refused nothing is handed over. */
static int turn(struct http_tunnel *t, enum ws_direction d, struct http_text *in, bool *ret_done,
		bool *ret_went)
{
	struct http_exchange *x = t->x;
	struct buf *out = &x->filter->scratch;
	size_t taken = 0, n;
	int r, e;

	*ret_went = *ret_done = false;
	if (!make_room(x, d, &r))
		return r;
	r = ws_feed(t->ws, d, (const uint8_t *)in->s, in->len, out, &taken, ret_done);
	n = out->len;
	e = hand_over(x, d, out);
	if (r < 0 || e < 0)
		return e < 0 ? -EIO : r;
	in->s += taken;
	in->len -= taken;
	*ret_went = taken || n;
	x->filter->busy |= !*ret_done && !*ret_went;
	return 0;
}

/* A Close in this direction, and what went before it. */
static int say_close(struct http_tunnel *t, enum ws_direction d)
{
	struct buf *out = &t->x->filter->scratch;
	int r = 0, e = -ENOBUFS;

	while (e == -ENOBUFS && make_room(t->x, d, &r)) {
		e = ws_close(t->ws, d, t->code, t->reason, out);
		r = hand_over(t->x, d, out);
		if (r < 0 || (e < 0 && e != -ENOBUFS))
			return -EIO;
	}
	t->said[d] = e == 0;
	return r;
}

/* REFUSED: x is gone. */
static enum http_flow go_on_closing(struct http_tunnel *t)
{
	struct http_exchange *x = t->x;

	for (int d = 0; d < 2; d++)
		if (!t->said[d] && say_close(t, (enum ws_direction)d) < 0)
			return HTTP_FLOW_ABORT;
	return t->said[WS_OUT] && t->said[WS_BACK] ? finish(x) : HTTP_FLOW_ON;
}

static enum http_flow begin_closing(struct http_tunnel *t, int error)
{
	struct http_exchange *x = t->x;

	if (error != -EPERM && error != -EPROTO)
		return HTTP_FLOW_ABORT;
	t->closing = true;
	t->code = error == -EPERM ? 1008 : ws_fault_code(ws_fault(t->ws));
	snprintf(x->extra, sizeof(x->extra), "%s",
		 error == -EPERM ? x->violation_text : ws_fault_text(ws_fault(t->ws)));
	snprintf(t->reason, sizeof(t->reason), "weir: %s", x->extra);
	if (error == -EPERM)
		http_secret_forget(x);
	return go_on_closing(t);
}

/* As much as goes on. */
static enum http_flow run(struct http_tunnel *t, enum ws_direction d, struct http_text *in)
{
	bool done, went;
	int r;

	do {
		r = turn(t, d, in, &done, &went);
	} while (r == 0 && !done && went);
	t->waits[d] = r == 0 && !done;
	if (r < 0)
		return begin_closing(t, r);
	if (d == WS_OUT)
		http_secret_report(t->x);
	return HTTP_FLOW_ON;
}

static enum http_flow pass(struct http_exchange *x, enum ws_direction d, const uint8_t *p, size_t n)
{
	struct http_side *to = receiver(x, d);

	return to->ops->body(to, x, p, n) < 0 ? HTTP_FLOW_ABORT : HTTP_FLOW_ON;
}

static enum http_flow feed(struct http_exchange *x, enum ws_direction d, const uint8_t *p, size_t n)
{
	struct http_tunnel *t = x->tunnel;
	struct http_text in = { (const char *)p, n };
	enum http_flow fl;
	uint8_t *dst;

	if (!t->ws)
		return pass(x, d, p, n);
	if (t->closing)
		return HTTP_FLOW_ON;
	fl = run(t, d, &in);
	if (fl != HTTP_FLOW_ON || in.len == 0 || t->closing)
		return fl;
	/* All storage at once: growing would leave copies behind. */
	if (buf_reserve(&t->rest[d], HTTP_SLICE, &dst) < 0 ||
	    buf_append(&t->rest[d], in.s, in.len) < 0)
		return HTTP_FLOW_ABORT;
	return HTTP_FLOW_ON;
}

static size_t room(const struct http_exchange *x, enum ws_direction d)
{
	const struct http_tunnel *t = x->tunnel;
	struct http_side *to = receiver(x, d);
	size_t n = MIN(to->ops->room(to, x), HTTP_SLICE);

	return t->ws && (t->waits[d] || t->closing || n < ROOM_MIN) ? 0 : n;
}

size_t http_tunnel_room_up(const struct http_exchange *x)
{
	return room(x, WS_OUT);
}

size_t http_tunnel_room_down(const struct http_exchange *x)
{
	return room(x, WS_BACK);
}

enum http_flow http_tunnel_up(struct http_exchange *x, const uint8_t *p, size_t n)
{
	x->up += n;
	return feed(x, WS_OUT, p, n);
}

enum http_flow http_tunnel_down(struct http_exchange *x, const uint8_t *p, size_t n)
{
	if (x->unread) {
		http_exchange_cut(x, "its host became a secret's while it passed unread");
		return HTTP_FLOW_REFUSED;
	}
	x->down += n;
	return feed(x, WS_BACK, p, n);
}

/* What waits in front of anything else. */
static enum http_flow go_on(struct http_tunnel *t, enum ws_direction d)
{
	struct buf *b = &t->rest[d];
	struct http_text in = { b->len ? (const char *)buf_at(b) : "", b->len };
	size_t before = in.len;
	enum http_flow fl = run(t, d, &in);

	if (fl == HTTP_FLOW_ON && !t->closing)
		buf_consume(b, before - in.len);
	return fl;
}

void http_tunnel_pump(struct http_exchange *x)
{
	struct http_filter *f = x->filter;
	struct http_tunnel *t = x->tunnel;
	enum http_flow fl = HTTP_FLOW_ON;

	if (t->closing)
		fl = go_on_closing(t);
	for (int d = 0; d < 2 && fl == HTTP_FLOW_ON; d++)
		if (!t->closing && t->waits[d])
			fl = go_on(t, (enum ws_direction)d);
	if (fl == HTTP_FLOW_ON && t->ended && !t->closing && !t->waits[WS_BACK] && f->switched)
		fl = finish(x);
	if (fl == HTTP_FLOW_ABORT)
		f->over = HTTP_ABORT;
}

/* A stream of HTTP/2: its half is over, and x with the other one. */
static enum http_flow end_half(struct http_exchange *x, enum ws_direction d, bool *half)
{
	struct http_side *to = receiver(x, d);

	if (to->ops->end(to, x, NULL) < 0)
		return HTTP_FLOW_ABORT;
	*half = true;
	http_exchange_settle(x);
	return HTTP_FLOW_ON;
}

enum http_flow http_tunnel_down_end(struct http_exchange *x)
{
	struct http_tunnel *t = x->tunnel;

	t->ended = t->waits[WS_BACK] || t->closing;
	if (t->ended)
		return HTTP_FLOW_WAIT;
	return x->filter->switched ? HTTP_FLOW_ON : end_half(x, WS_BACK, &x->response_done);
}

enum http_flow http_tunnel_up_end(struct http_exchange *x)
{
	struct http_tunnel *t = x->tunnel;

	if (t->waits[WS_OUT] || t->closing)
		return HTTP_FLOW_WAIT;
	return end_half(x, WS_OUT, &x->request_done);
}
