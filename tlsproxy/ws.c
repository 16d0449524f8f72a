/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One direction of a WebSocket connection, step by step.
 *
 *     in ─► unmask ───────────────► text ─► filter ─────────────────────► frame ─► out
 *       └─► unmask ─► coded ─► inflate ─► text ─► filter ─► filtered ─► deflate ─┘
 *
 * Each step moves the last stage that holds something, so no stage gets bytes before
 * what it yielded is gone and every buffer keeps its size. `frame` gathers the payload of
 * the next frame; once it is complete ("draining") nothing else moves until it is out.
 *
 * Both peers are hostile. A fault or a violation in one direction ends both, at a point
 * where each direction stands between frames, or in the midst of one that is complete
 * in `frame`: so a Close frame can follow (ws_close).
 */
#include "tlsproxy/ws_int.h"

#define CODED_STEP ((size_t)4096)
#define FRAME_CAP (WS_HEAD_MAX + WS_FRAME_MAX + HTTP_PIPE_ROOM)
#define FIN 0x80
#define RSV1 0x40

struct ws {
	const struct ws_ops *ops;
	void *ctx;
	bool deflate;
	enum ws_fault fault;
	int error;
	struct ws_side side[2];
};

/* What one call works on. */
struct turn {
	const uint8_t *in;
	size_t n_in;
	struct buf *out;
	size_t work;
};

/* What a step came to: negative errno, or */
enum { STEP_ON = 0, STEP_INPUT = 1, STEP_ROOM = 2 };

static int faulty(struct ws *w, enum ws_fault f)
{
	w->fault = f;
	return -EPROTO;
}

static size_t room_in(const struct buf *b)
{
	return b->cap - b->len;
}

static int storage(struct buf *b, size_t n)
{
	uint8_t *p;

	if (b->data)
		return 0;
	/* All at once: growing would leave copies behind. */
	*b = BUF_INIT(n);
	return buf_reserve(b, n, &p);
}

/* ---- what goes out ----------------------------------------------------------------------- */

static size_t payload_len(const struct ws_side *s)
{
	return s->frame.len ? s->frame.len - WS_HEAD_MAX : 0;
}

/* `frame` begins: room for a head, and what the last fragment left behind. */
static int frame_open(struct ws_side *s)
{
	static const uint8_t blank[WS_HEAD_MAX];
	int r = storage(&s->frame, FRAME_CAP);

	if (r < 0 || s->frame.len)
		return r;
	r = buf_append(&s->frame, blank, sizeof(blank));
	if (r == 0)
		r = buf_append(&s->frame, s->tail, s->n_tail);
	s->n_tail = 0;
	return r;
}

/* The payload becomes a frame; nothing else moves until it is out. */
static void frame_close(struct ws *w, struct ws_side *s, uint8_t first)
{
	uint8_t key[4], *payload = buf_at(&s->frame) + WS_HEAD_MAX;
	size_t n = payload_len(s), head;
	bool masks = s->d == WS_OUT;

	if (masks) {
		w->ops->random(w->ctx, key, sizeof(key));
		ws_mask(payload, n, key, 0);
	}
	head = ws_head_write(payload, first, n, masks ? key : NULL);
	buf_consume(&s->frame, WS_HEAD_MAX - head);
	s->draining = true;
}

static int drain(struct ws_side *s, struct buf *out)
{
	size_t n = MIN(s->frame.len, room_in(out));
	int r = n ? buf_append(out, buf_at(&s->frame), n) : 0;

	if (r < 0)
		return r;
	buf_consume(&s->frame, n);
	s->draining = s->frame.len > 0;
	return s->draining ? STEP_ROOM : STEP_ON;
}

static uint8_t message_first(const struct ws_side *s)
{
	return s->started ? WS_CONTINUATION : (uint8_t)(s->opcode | (s->compressed ? RSV1 : 0));
}

/* The message goes on in another frame. Of compressed data the last bytes may be a tail. */
static void cut(struct ws *w, struct ws_side *s)
{
	size_t n = payload_len(s), keep = s->compressed ? MIN(n, (size_t)WS_TAIL) : 0;

	if (keep) {
		memcpy(s->tail, buf_at(&s->frame) + s->frame.len - keep, keep);
		s->frame.len -= keep;
		s->n_tail = keep;
	}
	if (n > keep) {
		frame_close(w, s, message_first(s));
		s->started = true;
	} else {
		s->frame.len = s->frame.off = 0;
	}
}

/* The message's last frame. */
static int finish_message(struct ws *w, struct ws_side *s)
{
	int r = frame_open(s);

	/* A flush ends with the tail; a message without a byte is the head of an empty block. */
	if (r == 0 && s->compressed && payload_len(s))
		s->frame.len -= MIN(payload_len(s), (size_t)WS_TAIL);
	else if (r == 0 && s->compressed && !s->started)
		r = buf_append(&s->frame, "", 1);
	if (r < 0)
		return r;
	frame_close(w, s, FIN | message_first(s));
	s->in_message = false;
	s->filter = NULL;
	return STEP_ON;
}

/* ---- a message's bytes ------------------------------------------------------------------------ */

static int filter_step(struct ws *w, struct ws_side *s, struct turn *t)
{
	const struct http_pipe_filter *f = s->filter;
	struct buf *to = s->compressed ? &s->filtered : &s->frame;
	size_t n = s->text.len;
	int r = s->compressed ? 0 : frame_open(s);

	if (r < 0)
		return r;
	if (!s->compressed && payload_len(s) >= WS_FRAME_MAX) {
		cut(w, s);
		return STEP_ON;
	}
	if (!s->compressed)
		n = MIN(n, WS_FRAME_MAX - payload_len(s));
	if (f)
		n = MIN(n, f->fits(f->ctx, room_in(to)));
	assert(n > 0);
	r = f ? f->feed(f->ctx, buf_at(&s->text), n, to) : buf_append(to, buf_at(&s->text), n);
	buf_consume(&s->text, n);
	t->work -= MIN(t->work, n);
	return r;
}

static int inflate_step(struct ws *w, struct ws_side *s, struct turn *t)
{
	size_t taken;
	int r = ws_inflate(&s->coder, buf_at(&s->coded), s->coded.len, &s->text, &taken);

	if (r == -EPROTO)
		return faulty(w, WS_BAD_DEFLATE);
	if (r < 0)
		return r;
	/* Neither bytes taken nor made: it would stand still for ever. */
	if (taken == 0 && s->text.len == 0 && s->coded.len)
		return faulty(w, WS_BAD_DEFLATE);
	buf_consume(&s->coded, taken);
	t->work -= MIN(t->work, (size_t)1);
	return STEP_ON;
}

static int deflate_step(struct ws *w, struct ws_side *s, bool flush, bool *ret_done)
{
	size_t taken;
	int r = frame_open(s);

	if (r < 0)
		return r;
	if (payload_len(s) >= WS_FRAME_MAX) {
		cut(w, s);
		*ret_done = false;
		return STEP_ON;
	}
	r = ws_deflate(&s->coder, buf_at(&s->filtered), s->filtered.len, flush, &s->frame, &taken,
		       ret_done);
	if (r == 0)
		buf_consume(&s->filtered, taken);
	return r;
}

/* ---- frames that came ------------------------------------------------------------------------------ */

static int finish_filter(struct ws_side *s)
{
	int r = s->compressed ? 0 : frame_open(s);

	s->end = WS_END_FILTERED;
	if (r < 0 || !s->filter)
		return r;
	return s->filter->end(s->filter->ctx, s->compressed ? &s->filtered : &s->frame);
}

/* The payload of a message's frame is used up: one step towards its end. */
static int end_of_frame(struct ws *w, struct ws_side *s)
{
	static const uint8_t tail[WS_TAIL] = { 0, 0, 0xff, 0xff };
	bool done = true;
	int r = 0;

	if (s->head.fin && s->compressed && s->end == WS_END_NONE) {
		s->end = WS_END_INFLATED;
		return buf_append(&s->coded, tail, sizeof(tail));
	}
	if (s->end == WS_END_INFLATED && !ws_inflated(&s->coder))
		return faulty(w, WS_BAD_DEFLATE);
	if (s->head.fin && s->end != WS_END_FILTERED) {
		if (s->compressed || room_in(&s->frame) >= HTTP_PIPE_ROOM || !s->frame.len)
			return finish_filter(s);
		cut(w, s); /* what the last bytes became leaves too little room */
		return STEP_ON;
	}
	if (s->compressed)
		r = deflate_step(w, s, true, &done);
	if (r < 0 || !done)
		return r;
	s->in_payload = false;
	s->head = (struct ws_head){ 0 };
	if (s->end == WS_END_FILTERED)
		return finish_message(w, s);
	if (s->frame.len)
		cut(w, s);
	return STEP_ON;
}

static int control_payload(struct ws *w, struct ws_side *s)
{
	size_t n = (size_t)s->head.length, keep = s->head.opcode == WS_CLOSE ? MIN(n, (size_t)2) : 0;
	int r;

	if (s->head.opcode == WS_CLOSE &&
	    (n == 1 || (n >= 2 && !ws_close_code_valid(get_be16(s->control)))))
		return faulty(w, WS_BAD_CONTROL);
	r = buf_append(&s->frame, s->control, keep);
	if (r == 0)
		r = w->ops->control(w->ctx, s->d, (enum ws_opcode)s->head.opcode, s->control + keep,
				    n - keep, &s->frame);
	return r;
}

/*
 * A control frame is complete. Between frames `frame` is empty, and what a compressed
 * message keeps for its next one must not get into this one.
 */
static int control_frame(struct ws *w, struct ws_side *s)
{
	size_t n_tail = s->n_tail;
	int r;

	assert(s->frame.len == 0);
	s->n_tail = 0;
	r = frame_open(s);
	if (r == 0)
		r = control_payload(w, s);
	s->n_tail = n_tail;
	if (r < 0)
		return r;
	if (payload_len(s) > WS_CONTROL_MAX)
		return faulty(w, WS_TOO_LONG);
	frame_close(w, s, FIN | s->head.opcode);
	s->closed |= s->head.opcode == WS_CLOSE;
	s->in_payload = false;
	s->head = (struct ws_head){ 0 };
	return STEP_ON;
}

static int begin_message(struct ws *w, struct ws_side *s)
{
	int r = 0;

	s->in_message = true;
	s->opcode = s->head.opcode;
	s->compressed = s->head.rsv1;
	s->started = false;
	s->n_tail = 0;
	if (s->compressed)
		r = ws_coder_message(&s->coder);
	if (r == 0 && s->compressed)
		r = storage(&s->coded, CODED_STEP);
	if (r == 0 && s->compressed)
		r = storage(&s->filtered, HTTP_PIPE_ROOM);
	if (r == 0)
		r = storage(&s->text, HTTP_PIPE_STEP);
	if (r == 0)
		s->filter = w->ops->message(w->ctx, s->d, (enum ws_opcode)s->opcode);
	return r;
}

static int begin_frame(struct ws *w, struct ws_side *s)
{
	const struct ws_head *h = &s->head;

	if (h->masked != (s->d == WS_OUT))
		return faulty(w, WS_BAD_MASK);
	if (s->closed)
		return faulty(w, WS_BAD_SEQUENCE);
	s->in_payload = true;
	s->left = h->length;
	s->key_at = 0;
	s->end = WS_END_NONE;
	if (h->opcode >= WS_CLOSE)
		return STEP_ON;
	if (s->in_message != (h->opcode == WS_CONTINUATION))
		return faulty(w, WS_BAD_SEQUENCE);
	if (h->rsv1 && (!w->deflate || s->in_message))
		return faulty(w, WS_BAD_FRAME);
	return s->in_message ? STEP_ON : begin_message(w, s);
}

static int read_head(struct ws *w, struct ws_side *s, struct turn *t)
{
	enum ws_fault f;
	size_t taken;
	bool done;

	if (t->n_in == 0)
		return STEP_INPUT;
	f = ws_head_feed(&s->head, t->in, t->n_in, &taken, &done);
	t->in += taken;
	t->n_in -= taken;
	if (f != WS_OK)
		return faulty(w, f);
	return done ? begin_frame(w, s) : STEP_INPUT;
}

/* Unmasked into dst, as far as there is input. */
static size_t read_bytes(struct ws_side *s, struct turn *t, uint8_t *dst, size_t room)
{
	size_t n = (size_t)MIN(s->left, (uint64_t)MIN(t->n_in, room));

	memcpy(dst, t->in, n);
	if (s->head.masked)
		ws_mask(dst, n, s->head.key, s->key_at);
	s->key_at = (s->key_at + n) % 4;
	s->left -= n;
	t->in += n;
	t->n_in -= n;
	return n;
}

static int read_payload(struct ws_side *s, struct turn *t)
{
	struct buf *to = s->compressed ? &s->coded : &s->text;
	size_t at = (size_t)(s->head.length - s->left), room;
	uint8_t *dst;
	int r;

	if (t->n_in == 0)
		return STEP_INPUT;
	if (s->head.opcode >= WS_CLOSE) {
		read_bytes(s, t, s->control + at, WS_CONTROL_MAX - at);
		return STEP_ON;
	}
	room = room_in(to);
	r = buf_reserve(to, room, &dst);
	if (r == 0)
		buf_commit(to, read_bytes(s, t, dst, room));
	return r;
}

/* ---- steps --------------------------------------------------------------------------------------------- */

static int step(struct ws *w, struct ws_side *s, struct turn *t)
{
	bool done;

	if (s->draining)
		return drain(s, t->out);
	if (s->filtered.len)
		return deflate_step(w, s, false, &done);
	if (s->text.len)
		return filter_step(w, s, t);
	if (s->coded.len || s->coder.in_full)
		return inflate_step(w, s, t);
	if (!s->in_payload)
		return read_head(w, s, t);
	if (s->left)
		return read_payload(s, t);
	return s->head.opcode >= WS_CLOSE ? control_frame(w, s) : end_of_frame(w, s);
}

/* Of what was refused nothing goes out; a frame that is complete does. */
static void fail_both(struct ws *w, int error)
{
	w->error = error;
	for (size_t i = 0; i < 2; i++) {
		struct ws_side *s = &w->side[i];

		if (!s->draining)
			s->frame.len = s->frame.off = 0;
	}
}

int ws_feed(struct ws *w, enum ws_direction d, const uint8_t *p, size_t n, struct buf *out,
	    size_t *ret_taken, bool *ret_done)
{
	struct turn t = { p, n, out, HTTP_CODING_WORK };
	int r = w->error;

	while (r == STEP_ON && t.work)
		r = step(w, &w->side[d], &t);
	if (r < 0) {
		if (!w->error)
			fail_both(w, r);
		return r;
	}
	*ret_taken = n - t.n_in;
	*ret_done = r == STEP_INPUT;
	return 0;
}

/* ---- closing ---------------------------------------------------------------------------------------------- */

int ws_close(struct ws *w, enum ws_direction d, uint16_t code, const char *reason, struct buf *out)
{
	struct ws_side *s = &w->side[d];
	size_t n = MIN(strlen(reason), (size_t)WS_CONTROL_MAX - 2);
	uint8_t bytes[2];
	int r = s->draining ? drain(s, out) : STEP_ON;

	if (r != STEP_ON)
		return r < 0 ? r : -ENOBUFS;
	if (s->closed)
		return 0;
	put_be16(bytes, code);
	s->n_tail = 0;
	s->frame.len = s->frame.off = 0;
	r = frame_open(s);
	if (r == 0)
		r = buf_append(&s->frame, bytes, sizeof(bytes));
	if (r == 0)
		r = buf_append(&s->frame, reason, n);
	if (r < 0)
		return r;
	frame_close(w, s, FIN | WS_CLOSE);
	s->closed = true;
	if (!w->error)
		w->error = -EPERM;
	r = drain(s, out);
	return r == STEP_ROOM ? -ENOBUFS : r;
}

/* ---- making -------------------------------------------------------------------------------------------------- */

static void side_init(struct ws_side *s, enum ws_direction d, const struct ws_deflate_params *p)
{
	bool client = d == WS_OUT;

	s->d = d;
	ws_coder_init(&s->coder, client ? p->client_no_takeover : p->server_no_takeover,
		      client ? p->client_bits : p->server_bits);
}

int ws_new(const struct ws_deflate_params *deflate, const struct ws_ops *ops, void *ctx,
	   struct ws **ret)
{
	struct ws *w = calloc(1, sizeof(*w));

	if (!w)
		return -ENOMEM;
	w->ops = ops;
	w->ctx = ctx;
	w->deflate = deflate->on;
	side_init(&w->side[WS_OUT], WS_OUT, deflate);
	side_init(&w->side[WS_BACK], WS_BACK, deflate);
	*ret = w;
	return 0;
}

static void side_fini(struct ws_side *s)
{
	ws_coder_fini(&s->coder);
	buf_fini_wiped(&s->coded);
	buf_fini_wiped(&s->text);
	buf_fini_wiped(&s->filtered);
	buf_fini_wiped(&s->frame);
}

void ws_free(struct ws *w)
{
	if (!w)
		return;
	side_fini(&w->side[WS_OUT]);
	side_fini(&w->side[WS_BACK]);
	explicit_bzero(w, sizeof(*w));
	free(w);
}

enum ws_fault ws_fault(const struct ws *w)
{
	return w->fault;
}

bool ws_at_boundary(const struct ws *w, enum ws_direction d)
{
	const struct ws_side *s = &w->side[d];

	return !s->in_message && !s->in_payload && s->head.n == 0 && !s->draining;
}

bool ws_closed(const struct ws *w, enum ws_direction d)
{
	return w->side[d].closed;
}
