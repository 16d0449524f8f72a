/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Input on its way into nghttp2, frame by frame. Frame headers are given to it whole:
 * it counts CONTINUATION frames by the calls it takes to read their headers, so
 * that a section would be too long or not by how its bytes arrive. The count that
 * holds is made here.
 */
#include "tlsproxy/http2_internal.h"

#define HEADER 9

static void give(struct http2 *h, const uint8_t *p, size_t n)
{
	ssize_t r;

	if (n == 0)
		return;
	h->busy = true;
	r = nghttp2_session_mem_recv(h->session, p, n);
	h->busy = false;
	if (r == (ssize_t)n)
		return;
	if (r == NGHTTP2_ERR_CALLBACK_FAILURE || r == NGHTTP2_ERR_NOMEM)
		h->over = HTTP_ABORT;
	else
		http2_terminate(h, r == NGHTTP2_ERR_BAD_CLIENT_MAGIC ? NGHTTP2_PROTOCOL_ERROR
								     : NGHTTP2_ENHANCE_YOUR_CALM);
}

/* Streams that a client passed over are closed with that (5.1.1), and stay so. */
static bool was_passed_over(struct http2_reader *r, uint32_t id)
{
	struct http2_gap *free_gap = NULL;

	for (size_t i = 0; i < ARRAY_SIZE(r->gaps); i++) {
		if (id >= r->gaps[i].from && id <= r->gaps[i].to)
			return true;
		if (!r->gaps[i].to)
			free_gap = &r->gaps[i];
	}
	if (id <= r->last_id)
		return false;
	/* What is not remembered is ignored like frames of any closed stream. */
	if (free_gap && id > r->last_id + 2)
		*free_gap = (struct http2_gap){ r->last_id + 1, id - 2 };
	r->last_id = id;
	return false;
}

/* The header of the next frame is at p. What is wrong with it that nghttp2 would let pass. */
static uint32_t note_header(struct http2_reader *r, const uint8_t *p)
{
	uint32_t id = ((uint32_t)p[5] << 24 | (uint32_t)p[6] << 16 | (uint32_t)p[7] << 8 | p[8]) &
		      0x7fffffff;

	r->left = (size_t)p[0] << 16 | (size_t)p[1] << 8 | p[2];
	if (p[3] == NGHTTP2_CONTINUATION)
		return ++r->continuations > HTTP2_CONTINUATIONS_MAX ? NGHTTP2_ENHANCE_YOUR_CALM
								    : NGHTTP2_NO_ERROR;
	r->continuations = 0;
	if (p[3] == NGHTTP2_HEADERS && r->server && (id & 1) && was_passed_over(r, id))
		return NGHTTP2_PROTOCOL_ERROR;
	return p[3] == NGHTTP2_PRIORITY && id == 0 ? NGHTTP2_PROTOCOL_ERROR : NGHTTP2_NO_ERROR;
}

/* Bytes of p that end with whole headers. *ret_code: what comes behind them ends it all. */
static size_t walk(struct http2_reader *r, const uint8_t *p, size_t n, uint32_t *ret_code)
{
	size_t at = 0;

	for (;;) {
		size_t skip = MIN(n - at, r->left);

		r->left -= skip;
		at += skip;
		if (r->left || n - at < HEADER)
			return at;
		*ret_code = note_header(r, p + at);
		if (*ret_code)
			return at;
		at += HEADER;
	}
}

/* A header in two pieces: the rest of it. Returns the bytes that were its. */
static size_t read_header(struct http2 *h, const uint8_t *p, size_t n)
{
	struct http2_reader *r = &h->reader;
	size_t used = MIN(n, HEADER - r->n_header);
	uint32_t code;

	memcpy(r->header + r->n_header, p, used);
	r->n_header += used;
	if (r->n_header < HEADER)
		return used;
	r->n_header = 0;
	code = note_header(r, r->header);
	if (code)
		http2_terminate(h, code);
	else
		give(h, r->header, HEADER);
	return used;
}

void http2_read(struct http2 *h, const uint8_t *p, size_t n)
{
	struct http2_reader *r = &h->reader;
	uint32_t code = NGHTTP2_NO_ERROR;
	size_t at;

	if (r->n_header) {
		at = read_header(h, p, n);
		p += at;
		n -= at;
	}
	if (n == 0 || h->dead || h->over)
		return;
	at = walk(r, p, n, &code);
	give(h, p, at);
	if (code)
		http2_terminate(h, code);
	if (h->dead || h->over)
		return;
	/* Fewer than a header, and none if the end is within a frame. */
	memcpy(r->header, p + at, n - at);
	r->n_header = n - at;
}

void http2_reader_init(struct http2_reader *r, bool server)
{
	/* The client's preface is no frame. */
	*r = (struct http2_reader){ .server = server, .left = server ? NGHTTP2_CLIENT_MAGIC_LEN : 0 };
}
