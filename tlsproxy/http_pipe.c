/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A body through decoder, filter and encoder, in whatever pieces it arrives and
 * however little room there is behind.
 *
 *     in ─► dec ─► plain ─► filter ─► filtered ─► enc ─► out
 *
 * Each turn moves the last stage that has something to move; so a stage gets bytes
 * only when what it yielded before is gone, and nothing is stored beyond the two buffers.
 * Without codings the filter writes into `out` directly; `filtered` then only takes what
 * the filter may have to write at once when `out` is nearly full, and is not there before:
 * making and wiping it costs more than all the rest of a short body.
 *
 * A body that is only looked at passes as it came. A piece of it waits in `plain` (coded
 * bytes, then) until everything it unfolds to was looked at.
 */
#include "tlsproxy/http_pipe.h"

#include "tlsproxy/http_limits.h"

/* What a coder can work with at least. */
#define ROOM_MIN 64

struct http_pipe {
	const struct http_pipe_filter *filter;
	enum http_pipe_mode mode;
	struct http_coder *dec, *enc;
	struct buf plain, filtered;
	size_t fed;  /* looking: bytes of `plain` that the decoder has */
	bool looked; /* looking: at all that `plain` unfolds to */
	bool any;    /* a byte came in */
	bool changes_length;
	bool decoded;  /* the decoder has seen the end */
	bool finished; /* the filter has */
	int error;
};

/* What one call works on. */
struct turn {
	const uint8_t *in;
	size_t n_in;
	enum http_coding_op op;
	struct buf *out;
	size_t work; /* bytes that may still be unfolded or filtered */
	bool done;
};

/* ---- making ---------------------------------------------------------------------------- */

static int storage(struct buf *b, size_t n)
{
	uint8_t *p;

	/* All at once: growing would leave copies behind. */
	*b = BUF_INIT(n);
	return buf_reserve(b, n, &p);
}

static int make_filtered(struct http_pipe *p)
{
	return p->filtered.size ? 0 : storage(&p->filtered, HTTP_PIPE_ROOM);
}

static int make_stages(struct http_pipe *p, const struct http_codings *codings)
{
	int r = storage(&p->plain, HTTP_PIPE_STEP);

	if (r == 0)
		r = http_decoder_new(codings, &p->dec);
	if (r == 0 && p->mode == HTTP_PIPE_CHANGE)
		r = http_encoder_new(codings, &p->enc);
	if (r == 0 && p->mode == HTTP_PIPE_CHANGE)
		r = make_filtered(p);
	return r;
}

int http_pipe_new(const struct http_codings *codings, const struct http_pipe_filter *filter,
		  enum http_pipe_mode mode, struct http_pipe **ret)
{
	struct http_pipe *p = calloc(1, sizeof(*p));
	int r = 0;

	if (!p)
		return -ENOMEM;
	p->filter = filter;
	p->mode = mode;
	p->plain = BUF_INIT(HTTP_PIPE_STEP);
	p->filtered = BUF_INIT(HTTP_PIPE_ROOM);
	p->changes_length = filter && mode == HTTP_PIPE_CHANGE &&
			    (codings->n || !filter->keeps_length(filter->ctx));
	if (filter && codings->n)
		r = make_stages(p, codings);
	if (r < 0) {
		http_pipe_free(p);
		return r;
	}
	*ret = p;
	return 0;
}

void http_pipe_free(struct http_pipe *p)
{
	if (!p)
		return;
	http_coder_free(p->dec);
	http_coder_free(p->enc);
	buf_fini_wiped(&p->plain);
	buf_fini_wiped(&p->filtered);
	free(p);
}

bool http_pipe_changes_length(const struct http_pipe *p)
{
	return p->changes_length;
}

enum http_coding_fault http_pipe_fault(const struct http_pipe *p)
{
	enum http_coding_fault f = p->dec ? http_coder_fault(p->dec) : HTTP_CODING_OK;

	return f == HTTP_CODING_OK && p->enc ? http_coder_fault(p->enc) : f;
}

/* ---- steps ---------------------------------------------------------------------------------- */

static size_t room_in(const struct buf *b)
{
	return b->cap - b->len;
}

static void took(struct turn *t, size_t n)
{
	if (n) /* no input may be NULL */
		t->in += n;
	t->n_in -= n;
}

static void worked(struct turn *t, size_t n)
{
	t->work -= MIN(t->work, n);
}

static int finish_filter(struct http_pipe *p, struct buf *out)
{
	p->finished = true;
	return p->filter->end(p->filter->ctx, out);
}

/* Nothing is looked for. */
static int pass(struct turn *t)
{
	size_t n = MIN(t->n_in, room_in(t->out));
	int r = buf_append(t->out, t->in, n);

	took(t, n);
	t->done = t->n_in == 0;
	return r;
}

/* Bytes that may go through the filter at once: 0 for a lack of room. */
static size_t feedable(const struct http_pipe *p, const struct turn *t, size_t n,
		       const struct buf *out)
{
	n = MIN(MIN(n, t->work), HTTP_PIPE_STEP);
	return MIN(n, p->filter->fits(p->filter->ctx, room_in(out)));
}

/* What `filtered` took over from a filter that needed more room than `out` had. */
static int drain(struct http_pipe *p, struct turn *t)
{
	size_t n = MIN(p->filtered.len, room_in(t->out));
	int r = n ? buf_append(t->out, buf_at(&p->filtered), n) : 0;

	buf_consume(&p->filtered, n);
	return r;
}

/* ---- no codings --------------------------------------------------------------------------------- */

/* Where the filter can write: `out`, or when that is too short for it, `filtered`. */
static int change_piece(struct http_pipe *p, struct turn *t)
{
	struct buf *out = t->out;
	size_t n = feedable(p, t, t->n_in, out);
	int r = n ? 0 : make_filtered(p);

	if (r < 0)
		return r;
	if (n == 0) {
		out = &p->filtered;
		n = feedable(p, t, t->n_in, out);
		assert(n > 0);
	}
	r = p->filter->feed(p->filter->ctx, t->in, n, out);
	took(t, n);
	worked(t, n);
	return r;
}

static int change_end(struct http_pipe *p, struct turn *t)
{
	bool fits = p->filter->end_room(p->filter->ctx) <= room_in(t->out);
	int r = fits ? 0 : make_filtered(p);

	return r < 0 ? r : finish_filter(p, fits ? t->out : &p->filtered);
}

static int change_plain(struct http_pipe *p, struct turn *t)
{
	int r = drain(p, t);

	while (r == 0 && t->n_in && t->work && p->filtered.len == 0 && room_in(t->out) >= ROOM_MIN)
		r = change_piece(p, t);
	if (r == 0 && t->n_in == 0 && p->filtered.len == 0 && t->op == HTTP_CODING_END && !p->finished)
		r = change_end(p, t);
	if (r == 0)
		r = drain(p, t);
	t->done = t->n_in == 0 && p->filtered.len == 0 && (t->op != HTTP_CODING_END || p->finished);
	return r;
}

static int look_plain(struct http_pipe *p, struct turn *t)
{
	int r = 0;

	while (r == 0 && t->n_in && t->work && room_in(t->out)) {
		size_t n = MIN(MIN(t->n_in, room_in(t->out)), MIN(t->work, HTTP_PIPE_STEP));

		r = p->filter->feed(p->filter->ctx, t->in, n, NULL);
		if (r == 0)
			r = buf_append(t->out, t->in, n);
		took(t, n);
		worked(t, n);
	}
	if (r == 0 && t->n_in == 0 && t->op == HTTP_CODING_END && !p->finished)
		r = finish_filter(p, NULL);
	t->done = t->n_in == 0;
	return r;
}

/* ---- coded, changed ---------------------------------------------------------------------------------- */

static int decode_step(struct http_pipe *p, struct turn *t, bool *ret_all)
{
	size_t taken = 0;
	int r = http_coder_run(p->dec, t->in, t->n_in, t->op, &p->plain, &taken, ret_all);

	took(t, taken);
	worked(t, MAX(p->plain.len, (size_t)1));
	p->decoded |= r == 0 && *ret_all && t->op == HTTP_CODING_END;
	return r;
}

static int filter_step(struct http_pipe *p)
{
	size_t n = MIN(p->plain.len, p->filter->fits(p->filter->ctx, room_in(&p->filtered)));
	int r;

	assert(n > 0);
	r = p->filter->feed(p->filter->ctx, buf_at(&p->plain), n, &p->filtered);
	buf_consume(&p->plain, n);
	return r;
}

/* op: what holds once everything in front is out. */
static int encode_step(struct http_pipe *p, struct turn *t, enum http_coding_op op, bool *ret_all)
{
	size_t taken = 0;
	int r = http_coder_run(p->enc, buf_at(&p->filtered), p->filtered.len, op, t->out, &taken,
			       ret_all);

	if (r == 0)
		buf_consume(&p->filtered, taken);
	worked(t, taken);
	return r;
}

/* One turn of the machine; *ret_over: op is carried out. */
static int change_coded_step(struct http_pipe *p, struct turn *t, bool *ret_over)
{
	bool all = false;
	int r;

	if (p->filtered.len)
		return encode_step(p, t, HTTP_CODING_RUN, &all);
	if (p->plain.len)
		return filter_step(p);
	if (!p->decoded) {
		r = decode_step(p, t, &all);
		if (r < 0 || !all || p->plain.len || p->decoded)
			return r;
	}
	if (p->decoded && !p->finished)
		return finish_filter(p, &p->filtered);
	/* An empty body stays empty. */
	if (p->decoded && !p->any)
		*ret_over = true;
	return *ret_over ? 0 : encode_step(p, t, t->op, ret_over);
}

static int change_coded(struct http_pipe *p, struct turn *t)
{
	int r = 0;

	while (r == 0 && !t->done && t->work && room_in(t->out) >= ROOM_MIN)
		r = change_coded_step(p, t, &t->done);
	return r;
}

/* ---- coded, looked at ------------------------------------------------------------------------------------- */

/* The piece in `plain` unfolds, a bit at a time, into `filtered`. */
static int unfold(struct http_pipe *p, struct turn *t, enum http_coding_op op, bool *ret_all)
{
	struct buf *text = &p->filtered;
	size_t taken = 0;
	int r = http_coder_run(p->dec, buf_at(&p->plain) + p->fed, p->plain.len - p->fed, op, text,
			       &taken, ret_all);

	if (r < 0)
		return r;
	p->fed += taken;
	worked(t, MAX(text->len, (size_t)1));
	r = text->len ? p->filter->feed(p->filter->ctx, buf_at(text), text->len, NULL) : 0;
	buf_consume(text, text->len);
	return r;
}

static int look_take(struct http_pipe *p, struct turn *t)
{
	size_t n = MIN(t->n_in, HTTP_PIPE_STEP);
	int r = buf_append(&p->plain, t->in, n);

	took(t, n);
	return r;
}

static int look_pass(struct http_pipe *p, struct turn *t)
{
	size_t n = MIN(p->plain.len, room_in(t->out));
	int r = n ? buf_append(t->out, buf_at(&p->plain), n) : 0;

	buf_consume(&p->plain, n);
	if (p->plain.len)
		return r;
	p->fed = 0;
	p->looked = false;
	t->done = t->n_in == 0;
	if (r == 0 && t->done && t->op == HTTP_CODING_END && !p->finished)
		r = finish_filter(p, NULL);
	return r;
}

static int look_coded(struct http_pipe *p, struct turn *t)
{
	int r = p->filtered.size ? 0 : storage(&p->filtered, HTTP_PIPE_STEP);

	while (r == 0 && !t->done && t->work && room_in(t->out)) {
		if (p->plain.len == 0)
			r = look_take(p, t);
		if (r == 0 && !p->looked)
			r = unfold(p, t, t->n_in ? HTTP_CODING_RUN : t->op, &p->looked);
		if (r == 0 && p->looked)
			r = look_pass(p, t);
	}
	return r;
}

/* ---- running -------------------------------------------------------------------------------------------------- */

int http_pipe_run(struct http_pipe *p, const uint8_t *bytes, size_t n, enum http_coding_op op,
		  struct buf *out, size_t *ret_taken, bool *ret_done)
{
	struct turn t = { bytes, n, op, out, HTTP_CODING_WORK, false };
	size_t before = out->len;
	int r = p->error;

	p->any |= n > 0;
	if (r == 0 && !p->filter)
		r = pass(&t);
	else if (r == 0 && p->mode == HTTP_PIPE_LOOK)
		r = p->dec ? look_coded(p, &t) : look_plain(p, &t);
	else if (r == 0)
		r = p->dec ? change_coded(p, &t) : change_plain(p, &t);
	if (r < 0) {
		p->error = r;
		if (out->len > before)
			explicit_bzero(buf_at(out) + before, out->len - before);
		out->len = before;
		return r;
	}
	*ret_taken = n - t.n_in;
	*ret_done = t.done;
	return 0;
}
