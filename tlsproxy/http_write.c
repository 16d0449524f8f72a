/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Messages written anew from their parsed form: what goes on never is what
 * came in, so no odd spelling that we read one way reaches a peer that reads it
 * another way. Hop-by-hop fields end here; framing and Connection are ours.
 *
 * Values are written straight into the caller's buffer; there is no other copy.
 */
#include "tlsproxy/http_internal.h"

#include <stdio.h>
#include <strings.h>

#define CHUNK_HEAD 6 /* hex size of up to 4 digits and CRLF */

void http_cut(struct buf *b, size_t len)
{
	assert(len <= b->len);
	if (b->len > len)
		explicit_bzero(buf_at(b) + len, b->len - len);
	b->len = len;
}

/* Fields of one hop, and those that this file writes itself. */
static bool field_ends_here(const struct http_head *h, struct http_text name, bool request)
{
	static const char *const names[] = {
		"Host",	   "Content-Length", "Transfer-Encoding", "Connection", "Keep-Alive", "TE",
		"Upgrade", "Expect",	     "HTTP2-Settings",
	};

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (http_text_ieq(name, names[i]))
			return true;
	/* Proxy-Status tells of intermediaries beyond and is for the guest. */
	if (name.len >= 6 && strncasecmp(name.s, "Proxy-", 6) == 0)
		return request || !http_text_ieq(name, "Proxy-Status");
	return http_field_lists(h, "Connection", name);
}

static int write_host(const struct http_exchange *x, struct buf *out)
{
	const struct authority *a = &x->authority;
	char addr[IP_STRLEN];
	int r;

	if (!a->is_addr)
		r = buf_printf(out, "Host: %s", a->name.s);
	else
		r = buf_printf(out, a->addr.family == 6 ? "Host: [%s]" : "Host: %s",
			       ip_format(&a->addr, addr));
	if (r == 0 && a->port)
		r = buf_printf(out, ":%u", a->port);
	return r < 0 ? r : buf_append_str(out, "\r\n");
}

static int write_framing(const struct http_framing *fr, bool chunked, struct buf *out)
{
	if (chunked)
		return buf_append_str(out, "Transfer-Encoding: chunked\r\n");
	if (fr->has_length)
		return buf_printf(out, "Content-Length: %llu\r\n", (unsigned long long)fr->length);
	return 0;
}

static int write_request_line(struct http_filter *f, const struct http_head *h, struct buf *out)
{
	int r = http_secret_scan(f, h->method, "method");

	if (r == 0)
		r = buf_append(out, h->method.s, h->method.len);
	if (r == 0)
		r = buf_append(out, " ", 1);
	if (r == 0)
		r = http_secret_target(f, h->target, out);
	return r < 0 ? r : buf_append_str(out, " HTTP/1.1\r\n");
}

/*
 * What makes a reply come in a form in which a value in it is not recognised:
 * compressed, or a few bytes at a time. Servers and clients do without all of them.
 */
static bool field_hides_reply(struct http_text name)
{
	static const char *const names[] = { "Accept-Encoding", "Range", "If-Range",
					     "Sec-WebSocket-Extensions" };

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (http_text_ieq(name, names[i]))
			return true;
	return false;
}

static int write_request_field(struct http_filter *f, const struct http_head *h,
			       const struct http_field *fld, struct buf *out)
{
	int r = http_secret_scan(f, fld->name, "field name");

	if (r < 0)
		return r;
	if (field_ends_here(h, fld->name, true) || (f->secret_host && field_hides_reply(fld->name)))
		return http_secret_scan(f, fld->value, "field not allowed");
	r = buf_append(out, fld->name.s, fld->name.len);
	if (r == 0)
		r = buf_append(out, ": ", 2);
	if (r == 0)
		r = http_secret_field(f, fld, out);
	return r < 0 ? r : buf_append(out, "\r\n", 2);
}

static int write_request_connection(const struct http_head *h, const struct http_exchange *x,
				    struct buf *out)
{
	bool te = http_field_has_token(h, "TE", "trailers");
	int r = 0;

	if (x->websocket)
		return buf_append_str(out, "Connection: Upgrade\r\nUpgrade: websocket\r\n");
	if (x->expect)
		r = buf_append_str(out, "Expect: 100-continue\r\n");
	if (r == 0 && te)
		r = buf_append_str(out, "TE: trailers\r\n");
	if (r == 0 && (te || !x->keep))
		r = buf_printf(out, "Connection: %s\r\n",
			       !te	 ? "close"
			       : x->keep ? "TE"
					 : "TE, close");
	return r;
}

int http_write_request(struct http_filter *f, const struct http_head *h,
		       const struct http_exchange *x, const struct http_framing *fr, struct buf *out)
{
	int r = write_request_line(f, h, out);

	if (r == 0)
		r = write_host(x, out);
	for (size_t i = 0; r == 0 && i < h->n_fields; i++)
		r = write_request_field(f, h, &h->fields[i], out);
	/* A compressed reply could carry the value back unseen. */
	if (r == 0 && f->secret_host)
		r = buf_append_str(out, "Accept-Encoding: identity\r\n");
	if (r == 0)
		r = write_framing(fr, fr->body == HTTP_BODY_CHUNKED, out);
	if (r == 0)
		r = write_request_connection(h, x, out);
	return r < 0 ? r : buf_append(out, "\r\n", 2);
}

/* A protocol over QUIC by its ALPN id: "h3", its drafts "h3-29", and what was before. */
static bool is_quic_id(struct http_text t)
{
	static const char *const ids[] = { "h3=", "h3-", "hq=", "hq-", "quic=" };

	for (size_t i = 0; i < ARRAY_SIZE(ids); i++) {
		size_t n = strlen(ids[i]);

		if (t.len >= n && strncasecmp(t.s, ids[i], n) == 0)
			return true;
	}
	return false;
}

/*
 * Alt-Svc (RFC 7838) that sends clients to QUIC, which is refused where TLS is
 * read: they would try it and lose time. Commas within quotes separate nothing.
 */
static bool offers_quic(const struct http_field *fld)
{
	struct http_text t = fld->value;
	bool quoted = false, begins = true;

	if (!http_text_ieq(fld->name, "Alt-Svc"))
		return false;
	for (; t.len; t.s++, t.len--) {
		if (begins && is_quic_id(t))
			return true;
		if (*t.s == '"')
			quoted = !quoted;
		else if (*t.s == '\\' && quoted && t.len > 1)
			t.s++, t.len--;
		begins = !quoted && (*t.s == ',' || (begins && (*t.s == ' ' || *t.s == '\t')));
	}
	return false;
}

static int write_response_fields(struct http_filter *f, const struct http_head *h, struct buf *out)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < h->n_fields; i++) {
		const struct http_field *fld = &h->fields[i];

		if (field_ends_here(h, fld->name, false) || offers_quic(fld))
			continue;
		r = http_secret_scrub(f, fld->name, out);
		if (r == 0)
			r = buf_append(out, ": ", 2);
		if (r == 0)
			r = http_secret_scrub(f, fld->value, out);
		if (r == 0)
			r = buf_append(out, "\r\n", 2);
	}
	return r;
}

int http_write_response(struct http_filter *f, const struct http_head *h,
			const struct http_exchange *x, const struct http_framing *fr, bool keep,
			bool chunked, struct buf *out)
{
	int r = buf_printf(out, "HTTP/1.1 %03u ", h->status);

	if (r == 0)
		r = http_secret_scrub(f, h->reason, out);
	if (r == 0)
		r = buf_append(out, "\r\n", 2);
	if (r == 0)
		r = write_response_fields(f, h, out);
	if (r == 0 && h->status == 101)
		r = buf_append_str(out, "Connection: Upgrade\r\nUpgrade: websocket\r\n");
	if (r == 0 && h->status >= 200) {
		r = write_framing(fr, chunked, out);
		if (r == 0 && !keep)
			r = buf_append_str(out, "Connection: close\r\n");
		else if (r == 0 && x->http10)
			r = buf_append_str(out, "Connection: keep-alive\r\n");
	}
	return r < 0 ? r : buf_append(out, "\r\n", 2);
}

int http_write_trailers(struct http_filter *f, const struct http_head *h, bool request,
			struct buf *out)
{
	int r = buf_append_str(out, "0\r\n");

	for (size_t i = 0; r == 0 && request && i < h->n_fields; i++) {
		const struct http_field *fld = &h->fields[i];

		r = http_secret_scan(f, fld->name, "trailer");
		if (r == 0)
			r = http_secret_scan(f, fld->value, "trailer");
		if (r == 0 && field_ends_here(h, fld->name, true))
			continue;
		if (r == 0)
			r = buf_append(out, fld->name.s, fld->name.len);
		if (r == 0)
			r = buf_append(out, ": ", 2);
		if (r == 0)
			r = buf_append(out, fld->value.s, fld->value.len);
		if (r == 0)
			r = buf_append(out, "\r\n", 2);
	}
	if (r == 0 && !request)
		r = write_response_fields(f, h, out);
	return r < 0 ? r : buf_append(out, "\r\n", 2);
}

size_t http_body_fits(const struct secret_stream *s, const struct buf *out)
{
	size_t need = (s ? secret_stream_held(s) : 0) + CHUNK_HEAD + 2, room = buf_room(out);

	return room > need ? MIN(room - need, HTTP_SLICE) : 0;
}

static int write_bytes(struct secret_stream *s, const uint8_t *p, size_t n, bool end, struct buf *out)
{
	int r;

	if (!s)
		return buf_append(out, p, n);
	r = secret_stream_feed(s, p, n, out);
	return r < 0 || !end ? r : secret_stream_end(s, out);
}

/* The size was not known before: it goes in front afterwards. */
static int close_chunk(struct buf *out, size_t start)
{
	size_t size = out->len - start - CHUNK_HEAD;
	char head[CHUNK_HEAD + 16];
	int n;

	if (size == 0) {
		out->len = start;
		return 0;
	}
	n = snprintf(head, sizeof(head), "%zx\r\n", size);
	assert(n > 0 && n <= CHUNK_HEAD);
	memmove(buf_at(out) + start + n, buf_at(out) + start + CHUNK_HEAD, size);
	memcpy(buf_at(out) + start, head, (size_t)n);
	out->len = start + (size_t)n + size;
	return buf_append(out, "\r\n", 2);
}

int http_write_body(struct secret_stream *s, bool chunked, const uint8_t *p, size_t n, bool end,
		    struct buf *out, size_t *ret_written)
{
	size_t start = out->len, data = 0;
	int r = chunked ? buf_append(out, "      ", CHUNK_HEAD) : 0;

	assert(n <= HTTP_SLICE);
	if (r == 0)
		r = write_bytes(s, p, n, end, out);
	if (r == 0) {
		data = out->len - start - (chunked ? CHUNK_HEAD : 0);
		if (chunked)
			r = close_chunk(out, start);
	}
	if (r < 0) {
		http_cut(out, start);
		return r;
	}
	*ret_written = data;
	return 0;
}
