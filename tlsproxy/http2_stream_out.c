/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What goes out on a stream: straight from the caller where a window is open, else kept until
 * one is. The trailers and the end go behind the last of it.
 */
#include "tlsproxy/http2_internal.h"

static size_t out_len(const struct http2_stream *st)
{
	return st->out.len + st->n_direct;
}

size_t http2_stream_room(const struct http2_stream *st)
{
	size_t cap = http2_out_cap(st->h);

	if (st->closed || st->reset)
		return HTTP_SLICE; /* dropped */
	return cap - MIN(cap, st->out.len);
}

static void resume(struct http2_stream *st)
{
	/* Not deferred: it is about to be sent, or waits for a window. */
	int r = nghttp2_session_resume_data(st->h->session, st->id);

	if (r < 0 && r != NGHTTP2_ERR_INVALID_ARGUMENT)
		st->h->over = HTTP_ABORT;
}

int http2_stream_body(struct http2_stream *st, const uint8_t *p, size_t n)
{
	size_t left;
	int r = 0;

	if (st->closed || st->reset || n == 0)
		return 0;
	st->direct = p;
	st->n_direct = n;
	resume(st);
	http2_flush(st->h);
	/* Sending may have found that the stream is gone. */
	left = st->n_direct;
	st->direct = NULL;
	st->n_direct = 0;
	if (left)
		r = http2_stream_keep(st, &st->out, p + n - left, left);
	http2_count_out(st->h, r < 0 ? 0 : left, 0);
	return r;
}

/* They go behind the last DATA, so until then they are kept. */
static int keep_trailers(struct http2_stream *st, const struct http_head *trailers)
{
	struct http2_fields w;
	int r;

	w.n = w.size = 0;
	r = http2_fields_head(&w, trailers, NULL);
	if (r < 0 || w.n == 0)
		return r;
	r = http2_block_new(&st->out_trailers);
	for (size_t i = 0; i < w.n && r == 0; i++)
		r = http2_block_add(st->out_trailers,
				    (struct http_text){ (char *)w.nv[i].name, w.nv[i].namelen },
				    (struct http_text){ (char *)w.nv[i].value, w.nv[i].valuelen },
				    w.nv[i].flags & NGHTTP2_NV_FLAG_NO_INDEX);
	return r == 0 && st->out_trailers->why ? -ENOBUFS : r;
}

int http2_stream_finish(struct http2_stream *st, const struct http_head *trailers)
{
	int r = 0;

	if (st->closed || st->reset || st->out_ended)
		return 0;
	/* END_STREAM went with the head: nothing may follow. */
	if (trailers && !st->out_whole)
		r = keep_trailers(st, trailers);
	if (r < 0)
		return r;
	st->out_ended = true;
	if (st->out_whole)
		return 0;
	resume(st);
	http2_flush(st->h);
	return 0;
}

static int submit_trailers(struct http2_stream *st)
{
	struct http2_block *b = st->out_trailers;
	struct http2_fields w;
	int r;

	w.n = w.size = 0;
	for (size_t i = 0; i < b->n; i++)
		http2_fields_add(&w, http2_block_name(b, i), http2_block_value(b, i),
				 b->slots[i].sensitive);
	r = nghttp2_submit_trailer(st->h->session, st->id, w.nv, w.n);
	http2_block_free(b);
	st->out_trailers = NULL;
	return r;
}

static ssize_t source_read(nghttp2_session *session, int32_t id, uint8_t *buf, size_t length,
			   uint32_t *flags, nghttp2_data_source *source, void *user)
{
	struct http2_stream *st = source->ptr;
	size_t n = MIN(length, out_len(st));

	(void)buf;
	(void)user;
	if (n == 0 && !st->out_ended)
		return NGHTTP2_ERR_DEFERRED;
	*flags |= NGHTTP2_DATA_FLAG_NO_COPY;
	if (!st->out_ended || n < out_len(st))
		return (ssize_t)n;
	*flags |= NGHTTP2_DATA_FLAG_EOF;
	if (st->out_trailers || st->malformed)
		*flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
	if (st->malformed) {
		st->reset = true;
		if (nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, id,
					      NGHTTP2_PROTOCOL_ERROR) < 0)
			return NGHTTP2_ERR_CALLBACK_FAILURE;
	}
	if (st->out_trailers && submit_trailers(st) < 0)
		return NGHTTP2_ERR_CALLBACK_FAILURE;
	return (ssize_t)n;
}

nghttp2_data_provider http2_stream_source(struct http2_stream *st)
{
	return (nghttp2_data_provider){ { .ptr = st }, source_read };
}

/* The first n bytes that wait, into the connection's buffer, which has room for them. */
int http2_stream_emit(struct http2_stream *st, size_t n)
{
	size_t kept = MIN(n, st->out.len), direct = n - kept;
	struct buf *out = st->h->side.out;
	int r;

	if (direct > st->n_direct)
		return -EPIPE; /* it was reset since */
	r = buf_append(out, buf_at(&st->out), kept);
	if (r == 0)
		r = buf_append(out, st->direct, direct);
	if (r < 0)
		return r;
	buf_consume(&st->out, kept);
	http2_count_out(st->h, 0, kept);
	st->still = 0;
	if (st->out.len == 0)
		buf_fini_wiped(&st->out);
	if (direct)
		st->direct += direct;
	st->n_direct -= direct;
	return 0;
}
