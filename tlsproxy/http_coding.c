/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A chain of one or two codings, run step by step.
 *
 *     in ─► stage 0 ─► middle ─► stage 1 ─► out        (one coding: in ─► stage 0 ─► out)
 *
 * A stage gets input only when the one behind it has taken all there was: so no more
 * than `middle` is ever stored, and a flush reaches stage 1 when stage 0 is flushed.
 */
#include "tlsproxy/http_coding_int.h"

struct http_coder {
	struct coding_stage *stage[HTTP_CODINGS_MAX];
	size_t n;
	uint8_t *middle; /* HTTP_CODING_STEP bytes, with two stages */
	size_t mid_at, mid_len;
	enum http_coding_fault fault;
	int error; /* once failed, always */
};

const char *http_coding_fault_text(enum http_coding_fault f)
{
	static const char *const texts[] = {
		[HTTP_CODING_OK] = "no fault",
		[HTTP_CODING_CORRUPT] = "corrupt",
		[HTTP_CODING_TRUNCATED] = "truncated",
		[HTTP_CODING_TRAILING] = "bytes behind its end",
		[HTTP_CODING_DICTIONARY] = "needs a dictionary",
		[HTTP_CODING_WINDOW] = "window too large",
		[HTTP_CODING_MEMORY] = "no memory left for it",
	};

	return (size_t)f < ARRAY_SIZE(texts) ? texts[f] : "unknown";
}

enum http_coding_fault http_coder_fault(const struct http_coder *c)
{
	return c->fault;
}

/* ---- making ------------------------------------------------------------------------------ */

static int stage_new(enum http_coding coding, bool decode, struct coding_stage **ret)
{
	bool gzip = coding == HTTP_CODING_GZIP;

	if (coding == HTTP_CODING_BR)
		return decode ? coding_br_decoder(ret) : coding_br_encoder(ret);
	if (coding == HTTP_CODING_ZSTD)
		return decode ? coding_zstd_decoder(ret) : coding_zstd_encoder(ret);
	return decode ? coding_zlib_decoder(gzip, ret) : coding_zlib_encoder(gzip, ret);
}

static int coder_new(const struct http_codings *list, bool decode, struct http_coder **ret)
{
	struct http_coder *c = coding_alloc(sizeof(*c));
	int r = c ? 0 : -ENOMEM;

	assert(list->n >= 1 && list->n <= HTTP_CODINGS_MAX);
	/* The coding applied last is undone first. */
	for (size_t i = 0; r == 0 && i < list->n; i++) {
		r = stage_new(list->list[decode ? list->n - 1 - i : i], decode, &c->stage[i]);
		c->n += r == 0;
	}
	if (r == 0 && c->n > 1) {
		c->middle = coding_alloc(HTTP_CODING_STEP);
		r = c->middle ? 0 : -ENOMEM;
	}
	if (r < 0) {
		http_coder_free(c);
		return r;
	}
	*ret = c;
	return 0;
}

int http_decoder_new(const struct http_codings *list, struct http_coder **ret)
{
	return coder_new(list, true, ret);
}

int http_encoder_new(const struct http_codings *list, struct http_coder **ret)
{
	return coder_new(list, false, ret);
}

void http_coder_free(struct http_coder *c)
{
	if (!c)
		return;
	for (size_t i = 0; i < c->n; i++)
		c->stage[i]->ops->free(c->stage[i]);
	coding_free(c->middle);
	coding_free(c);
}

/* ---- running -------------------------------------------------------------------------------- */

static int run_stage(struct http_coder *c, size_t i, struct coding_io *io, enum http_coding_op op,
		     bool *ret_done)
{
	struct coding_io before = *io;
	int r = c->stage[i]->ops->run(c->stage[i], io, op, ret_done, &c->fault);

	if (r == -ENOMEM)
		c->fault = HTTP_CODING_MEMORY;
	/* A library that stands still with input and room would hold us for ever. */
	if (r == 0 && !*ret_done && before.n_in == io->n_in && before.n_out == io->n_out) {
		c->fault = HTTP_CODING_CORRUPT;
		r = -EBADMSG;
	}
	return r;
}

/* Two stages: both once. */
static int run_both(struct http_coder *c, struct coding_io *io, enum http_coding_op op, bool *ret_done)
{
	struct coding_io first = { io->in, io->n_in, c->middle, HTTP_CODING_STEP };
	struct coding_io second = { c->middle + c->mid_at, c->mid_len, io->out, io->n_out };
	bool first_done = false, done = false;
	int r;

	if (c->mid_len == 0) {
		r = run_stage(c, 0, &first, op, &first_done);
		if (r < 0)
			return r;
		second.in = c->middle;
		second.n_in = HTTP_CODING_STEP - first.n_out;
	}
	r = run_stage(c, 1, &second, first_done ? op : HTTP_CODING_RUN, &done);
	c->mid_at = (size_t)(second.in - c->middle);
	c->mid_len = second.n_in;
	*io = (struct coding_io){ first.in, first.n_in, second.out, second.n_out };
	*ret_done = first_done && done;
	return r;
}

/* Growing a buffer copies it: in one go where there is storage, in steps where there is not. */
static size_t step_size(const struct buf *out, size_t work)
{
	size_t room = MIN(out->cap - out->len, work);

	return out->size >= out->len + room ? room : MIN(room, HTTP_CODING_STEP);
}

static int run_step(struct http_coder *c, struct coding_io *io, enum http_coding_op op,
		    struct buf *out, bool *ret_done)
{
	size_t room = io->n_out;
	int r = buf_reserve(out, room, &io->out);

	if (r < 0)
		return r;
	r = c->n == 1 ? run_stage(c, 0, io, op, ret_done) : run_both(c, io, op, ret_done);
	buf_commit(out, room - io->n_out);
	/* Libraries copy many bytes at a time, and may write beyond what they say. */
	explicit_bzero(io->out, io->n_out);
	return r;
}

int http_coder_run(struct http_coder *c, const uint8_t *p, size_t n, enum http_coding_op op,
		   struct buf *out, size_t *ret_taken, bool *ret_done)
{
	struct coding_io io = { .in = p, .n_in = n };
	bool done = false;

	for (size_t work = HTTP_CODING_WORK; c->error == 0 && !done;) {
		size_t room = step_size(out, work);

		if (room < CODING_ROOM_MIN)
			break;
		io.n_out = room;
		c->error = run_step(c, &io, op, out, &done);
		/* Steps of a chain that yield nothing are work too. */
		work -= MIN(work, MAX(room - io.n_out, (size_t)CODING_ROOM_MIN));
	}
	if (c->error < 0)
		return c->error;
	*ret_taken = n - io.n_in;
	*ret_done = done;
	return 0;
}
