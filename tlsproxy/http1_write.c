/* SPDX-License-Identifier: Apache-2.0 */
/*
 * HTTP/1 messages written from their parsed form: what goes on never is what
 * came in, so no odd spelling that we read one way reaches a peer that reads it
 * another way. Host, framing and Connection are written here and nowhere else.
 */
#include "tlsproxy/http1.h"

#include <stdio.h>

#define CHUNK_HEAD 6 /* hex size of up to 4 digits and CRLF */

static int text(struct buf *out, struct http_text t)
{
	return t.len ? buf_append(out, t.s, t.len) : 0;
}

static uint8_t *put(uint8_t *p, const char *s, size_t n)
{
	return n ? mempcpy(p, s, n) : p;
}

static int field(const struct http_field *f, struct buf *out)
{
	size_t n = f->name.len + f->value.len + 4;
	uint8_t *p;
	int r = buf_reserve(out, n, &p);

	if (r < 0)
		return r;
	p = put(p, f->name.s, f->name.len);
	p = put(p, ": ", 2);
	p = put(p, f->value.s, f->value.len);
	put(p, "\r\n", 2);
	buf_commit(out, n);
	return 0;
}

static int fields(const struct http_head *h, struct buf *out)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < h->n_fields; i++)
		r = field(&h->fields[i], out);
	return r;
}

static int framing(const struct http_framing *fr, bool chunked, struct buf *out)
{
	if (chunked)
		return buf_append_str(out, "Transfer-Encoding: chunked\r\n");
	if (fr->has_length)
		return buf_printf(out, "Content-Length: %llu\r\n", (unsigned long long)fr->length);
	return 0;
}

static int request_line(const struct http_head *h, struct buf *out)
{
	int r = text(out, h->method);

	if (r == 0)
		r = buf_append(out, " ", 1);
	if (r == 0 && h->absolute)
		r = buf_append_str(out, "http://");
	if (r == 0 && h->absolute)
		r = text(out, h->authority);
	if (r == 0)
		r = text(out, h->target);
	if (r == 0)
		r = buf_append_str(out, " HTTP/1.1\r\nHost: ");
	if (r == 0)
		r = text(out, h->authority);
	return r < 0 ? r : buf_append(out, "\r\n", 2);
}

static int request_connection(const struct http_head *h, const struct http_exchange *x,
			      struct buf *out)
{
	bool te = http_field_find(h, "TE", &(struct http_text){ 0 }) != 0;

	if (x->websocket)
		return buf_append_str(out, "Connection: Upgrade\r\nUpgrade: websocket\r\n");
	bool stay = x->keep || x->filter->cfg.keep_upstream;

	if (x->connect || (!te && stay))
		return 0;
	return buf_printf(out, "Connection: %s\r\n", !te ? "close" : stay ? "TE" : "TE, close");
}

/* A head whole, or nothing of it. */
static int head_done(struct buf *out, size_t before, int r)
{
	if (r == 0)
		r = buf_append(out, "\r\n", 2);
	if (r < 0)
		http_cut(out, before);
	return r;
}

int http1_write_request(const struct http_head *h, const struct http_exchange *x,
			const struct http_framing *fr, struct buf *out)
{
	size_t before = out->len;
	int r = request_line(h, out);

	if (r == 0)
		r = fields(h, out);
	if (r == 0)
		r = framing(fr, fr->body == HTTP_BODY_CHUNKED, out);
	if (r == 0)
		r = request_connection(h, x, out);
	return head_done(out, before, r);
}

int http1_write_response(const struct http_head *h, const struct http_exchange *x,
			 const struct http_framing *fr, bool keep, bool chunked, struct buf *out)
{
	size_t before = out->len;
	int r = buf_printf(out, "HTTP/1.1 %03u ", h->status);

	if (r == 0)
		r = text(out, h->reason);
	if (r == 0)
		r = buf_append(out, "\r\n", 2);
	if (r == 0)
		r = fields(h, out);
	if (r == 0 && h->status == 101)
		r = buf_append_str(out, "Connection: Upgrade\r\nUpgrade: websocket\r\n");
	if (r == 0 && h->status >= 200) {
		r = framing(fr, chunked, out);
		if (r == 0 && !keep)
			r = buf_append_str(out, "Connection: close\r\n");
		else if (r == 0 && x->http10)
			r = buf_append_str(out, "Connection: keep-alive\r\n");
	}
	return head_done(out, before, r);
}

int http1_write_last(const struct http_head *trailers, struct buf *out)
{
	size_t before = out->len;
	int r = buf_append_str(out, "0\r\n");

	if (r == 0 && trailers)
		r = fields(trailers, out);
	return head_done(out, before, r);
}

size_t http1_body_fits(const struct buf *out)
{
	size_t need = CHUNK_HEAD + 2, room = buf_room(out);

	return room > need ? MIN(room - need, HTTP_SLICE) : 0;
}

bool http1_head_fits(const struct http_exchange *x, const struct buf *out)
{
	return out->len == 0 || buf_room(out) >= x->head_size;
}

int http1_write_body(bool chunked, const uint8_t *p, size_t n, struct buf *out)
{
	size_t before = out->len;
	int r;

	if (!chunked || n == 0)
		return n ? buf_append(out, p, n) : 0;
	r = buf_printf(out, "%zx\r\n", n);
	if (r == 0)
		r = buf_append(out, p, n);
	if (r == 0)
		r = buf_append(out, "\r\n", 2);
	if (r < 0)
		http_cut(out, before);
	return r;
}
