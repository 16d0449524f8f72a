/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Input on its way into nghttp2, frame by frame. Frame headers are given to it whole:
 * it counts CONTINUATION frames by the calls it takes to read their headers, so
 * that a section would be too long or not by how its bytes arrive. The count that
 * holds is made here.
 */
#include "tlsproxy/http2_internal.h"

#define HEADER 9

static bool give(struct http2 *h, const uint8_t *p, size_t n)
{
	ssize_t r;

	if (n == 0 || h->dead)
		return !h->dead;
	h->busy = true;
	r = nghttp2_session_mem_recv(h->session, p, n);
	h->busy = false;
	if (r == (ssize_t)n)
		return !h->dead;
	if (r == NGHTTP2_ERR_CALLBACK_FAILURE || r == NGHTTP2_ERR_NOMEM)
		h->over = HTTP_ABORT;
	else
		http2_terminate(h, r == NGHTTP2_ERR_BAD_CLIENT_MAGIC ? NGHTTP2_PROTOCOL_ERROR
								     : NGHTTP2_ENHANCE_YOUR_CALM);
	return false;
}

/* The header of the next frame is at p. False: one too many of a section. */
static bool note_header(struct http2_reader *r, const uint8_t *p)
{
	r->left = (size_t)p[0] << 16 | (size_t)p[1] << 8 | p[2];
	if (p[3] != NGHTTP2_CONTINUATION)
		r->continuations = 0;
	else if (++r->continuations > HTTP2_CONTINUATIONS_MAX)
		return false;
	return true;
}

/* Bytes of p that end with whole headers. *ret_calm: a section goes on without end. */
static size_t walk(struct http2_reader *r, const uint8_t *p, size_t n, bool *ret_calm)
{
	size_t at = 0;

	for (;;) {
		size_t skip = MIN(n - at, r->left);

		r->left -= skip;
		at += skip;
		if (r->left || n - at < HEADER)
			return at;
		if (!note_header(r, p + at)) {
			*ret_calm = true;
			return at;
		}
		at += HEADER;
	}
}

void http2_read(struct http2 *h, const uint8_t *p, size_t n)
{
	struct http2_reader *r = &h->reader;
	bool calm = false;
	size_t at;

	/* A header in two pieces */
	while (n && r->n_header) {
		r->header[r->n_header++] = *p++;
		n--;
		if (r->n_header < HEADER)
			continue;
		r->n_header = 0;
		if (!note_header(r, r->header)) {
			http2_terminate(h, NGHTTP2_ENHANCE_YOUR_CALM);
			return;
		}
		if (!give(h, r->header, HEADER))
			return;
	}
	if (n == 0)
		return;
	at = walk(r, p, n, &calm);
	if (!give(h, p, at))
		return;
	if (calm) {
		http2_terminate(h, NGHTTP2_ENHANCE_YOUR_CALM);
		return;
	}
	/* Fewer than a header, and none if the end is within a frame. */
	memcpy(r->header, p + at, n - at);
	r->n_header = n - at;
}

void http2_reader_init(struct http2_reader *r, bool server)
{
	/* The client's preface is no frame. */
	*r = (struct http2_reader){ .left = server ? NGHTTP2_CLIENT_MAGIC_LEN : 0 };
}
