/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The body of a message through its pipe: codings undone, secrets looked for, put in
 * or taken out, codings done again, and on to the side that sends it.
 *
 *     side ─► http_content_feed ─► pipe ─► the scratch buffer ─► side->ops->body
 *                      └ what does not go on at once waits (rest), one slice at most
 *
 * What a slice unfolds to may be far more than there is room for, or time: then it goes
 * on when the filter is pumped, and until then nothing more is taken.
 */
#include "tlsproxy/http_internal.h"

/* What a coder can work with at least. */
#define ROOM_MIN 64
/* A gathered body may unfold to so many times HTTP_CODING_WORK. */
#define GATHER_ROUNDS 64

bool http_content_codings(const struct http_head *h, struct http_codings *ret)
{
	*ret = (struct http_codings){ 0 };
	for (size_t i = 0; i < h->n_fields; i++)
		if (http_text_ieq(h->fields[i].name, "Content-Encoding") &&
		    http_codings_add(ret, h->fields[i].value.s, h->fields[i].value.len) < 0)
			return false;
	return true;
}

int http_content_open(struct http_content *b, const struct http_pipe_filter *filter,
		      const struct http_codings *codings, enum http_pipe_mode mode)
{
	b->filter = *filter;
	buf_init(&b->rest, HTTP_SLICE);
	return http_pipe_new(codings, &b->filter, mode, &b->pipe);
}

void http_content_fini(struct http_content *b)
{
	http_pipe_free(b->pipe);
	buf_fini_wiped(&b->rest);
	*b = (struct http_content){ 0 };
}

/* ---- running --------------------------------------------------------------------------- */

/* One turn, as far as the side has room. *ret_went: something moved. */
static int turn(struct http_content *b, const struct http_way *way, struct http_text *in,
		enum http_coding_op op, bool *ret_done, bool *ret_went)
{
	struct http_filter *f = way->x->filter;
	size_t room = way->to->ops->room(way->to, way->x), taken = 0, n;
	struct buf *out = &f->scratch;
	int r;

	*ret_went = *ret_done = false;
	if (room < ROOM_MIN)
		return 0;
	r = http_wiped_reserve(out, HTTP_SLICE);
	if (r < 0)
		return r;
	out->cap = MIN(room, HTTP_SLICE);
	r = http_pipe_run(b->pipe, (const uint8_t *)in->s, in->len, op, out, &taken, ret_done);
	n = out->len;
	if (r == 0 && n)
		r = way->to->ops->body(way->to, way->x, buf_at(out), n);
	http_cut(out, 0);
	out->cap = HTTP_SCRATCH_MAX;
	if (r < 0)
		return r;
	if (taken)
		in->s += taken;
	in->len -= taken;
	*ret_went = taken || n;
	f->busy |= !*ret_done && !*ret_went;
	return 0;
}

static int run(struct http_content *b, const struct http_way *way, struct http_text *in,
	       enum http_coding_op op, bool *ret_done)
{
	bool went;
	int r;

	do {
		r = turn(b, way, in, op, ret_done, &went);
	} while (r == 0 && !*ret_done && went);
	b->waits = r == 0 && !*ret_done;
	return r;
}

size_t http_content_room(const struct http_content *b, size_t room)
{
	return b->waits || room < ROOM_MIN ? 0 : MIN(room, HTTP_SLICE);
}

int http_content_feed(struct http_content *b, const struct http_way *way, const uint8_t *p, size_t n)
{
	struct http_text in = { (const char *)p, n };
	bool done;
	uint8_t *dst;
	int r = run(b, way, &in, HTTP_CODING_RUN, &done);

	b->unflushed = true;
	if (r < 0 || in.len == 0)
		return r;
	/* All storage at once: growing would leave copies behind. */
	r = buf_reserve(&b->rest, HTTP_SLICE, &dst);
	return r < 0 ? r : buf_append(&b->rest, in.s, in.len);
}

/* What waits in front of anything else. */
static int run_rest(struct http_content *b, const struct http_way *way, enum http_coding_op op,
		    bool *ret_done)
{
	struct http_text in = { b->rest.len ? (const char *)buf_at(&b->rest) : "", b->rest.len };
	size_t before = in.len;
	int r = run(b, way, &in, op, ret_done);

	buf_consume(&b->rest, before - in.len);
	if (r == 0 && b->rest.len == 0)
		buf_fini_wiped(&b->rest);
	return r;
}

int http_content_pump(struct http_content *b, const struct http_way *way)
{
	bool done;
	int r;

	if (!b->pipe || b->ended || (!b->waits && !b->unflushed))
		return 0;
	r = run_rest(b, way, HTTP_CODING_FLUSH, &done);
	if (r == 0 && done)
		b->unflushed = false;
	return r;
}

int http_content_end(struct http_content *b, const struct http_way *way, bool *ret_done)
{
	int r = b->ended ? 0 : run_rest(b, way, HTTP_CODING_END, &b->ended);

	*ret_done = b->ended;
	return r;
}

int http_content_whole(struct http_content *b, const struct buf *in, struct buf *out)
{
	const uint8_t *p = buf_at(in);
	size_t n = in->len, taken = 0;
	bool done = false;
	int r = 0;

	for (unsigned i = 0; i < GATHER_ROUNDS && r == 0 && !done; i++) {
		r = http_pipe_run(b->pipe, p, n, HTTP_CODING_END, out, &taken, &done);
		p += r == 0 ? taken : 0;
		n -= r == 0 ? taken : 0;
	}
	b->ended = done;
	return r < 0 || done ? r : -EFBIG;
}
