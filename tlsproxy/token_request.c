/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The request for a token: an HTTP/1.1 POST of a form (RFC 6749 4.4.2, 6), written
 * into storage that is reserved at once, as it holds the client's secret. With Basic,
 * id and secret are form-encoded before they are joined (2.3.1).
 */
#include "tlsproxy/token.h"

/* application/x-www-form-urlencoded, as strict readers have it. */
static int put_form(struct buf *out, struct http_text t)
{
	static const char digits[] = "0123456789ABCDEF";
	int r = 0;

	for (size_t i = 0; r == 0 && i < t.len; i++) {
		uint8_t c = (uint8_t)t.s[i];
		char e[3] = { '%', digits[c >> 4], digits[c & 15] };
		bool plain = (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') ||
			     c == '-' || c == '.' || c == '_' || c == '*';

		r = plain ? buf_append(out, &c, 1)
			  : buf_append(out, c == ' ' ? "+" : e, c == ' ' ? 1 : 3);
	}
	return r;
}

static struct http_text text(const char *s)
{
	return (struct http_text){ s, s ? strlen(s) : 0 };
}

static int put_param(struct buf *out, const char *name, struct http_text value)
{
	int r;

	if (!value.s || !value.len)
		return 0;
	r = out->len ? buf_append(out, "&", 1) : 0;
	if (r == 0)
		r = buf_append_str(out, name);
	if (r == 0)
		r = buf_append(out, "=", 1);
	return r < 0 ? r : put_form(out, value);
}

static bool in_body(const struct tlsproxy_token_request *q)
{
	return q->auth == TLSPROXY_CLIENT_POST || !q->secret_len;
}

static int write_body(const struct tlsproxy_token_request *q, struct buf *out)
{
	int r = put_param(
		out, "grant_type",
		text(q->grant == TLSPROXY_REFRESH_TOKEN ? "refresh_token" : "client_credentials"));

	if (r == 0 && q->grant == TLSPROXY_REFRESH_TOKEN)
		r = put_param(out, "refresh_token", (struct http_text){ q->refresh, q->refresh_len });
	if (r == 0)
		r = put_param(out, "scope", text(q->scope));
	if (r == 0)
		r = put_param(out, "audience", text(q->audience));
	if (r == 0 && in_body(q))
		r = put_param(out, "client_id", text(q->client_id));
	if (r == 0 && in_body(q))
		r = put_param(out, "client_secret", (struct http_text){ q->secret, q->secret_len });
	return r;
}

static int write_basic(const struct tlsproxy_token_request *q, struct buf *scratch, struct buf *out)
{
	uint8_t *p;
	int r = put_form(scratch, text(q->client_id));

	if (r == 0)
		r = buf_append(scratch, ":", 1);
	if (r == 0)
		r = put_form(scratch, (struct http_text){ q->secret, q->secret_len });
	if (r == 0)
		r = buf_append_str(out, "Authorization: Basic ");
	if (r == 0)
		r = buf_reserve(out, 4 * (scratch->len / 3 + 1) + 1, &p);
	if (r == 0)
		buf_commit(out, secret_base64_encode(buf_at(scratch), scratch->len, (char *)p));
	return r < 0 ? r : buf_append_str(out, "\r\n");
}

static int write_head(const struct tlsproxy_token_request *q, size_t body, struct buf *out)
{
	int r = buf_printf(out, "POST %s HTTP/1.1\r\nHost: %s", q->path, q->host);

	if (r == 0 && q->port != 443)
		r = buf_printf(out, ":%u", q->port);
	if (r == 0)
		r = buf_printf(
			out,
			"\r\nAccept: application/json\r\nAccept-Encoding: identity\r\n"
			"User-Agent: weir\r\nContent-Type: application/x-www-form-urlencoded\r\n"
			"Content-Length: %zu\r\nConnection: close\r\n",
			body);
	return r;
}

int token_request_write(const struct tlsproxy_token_request *q, struct buf *out)
{
	struct buf body = BUF_INIT(TOKEN_REQUEST_MAX), basic = BUF_INIT(TOKEN_REQUEST_MAX);
	uint8_t *p;
	int r = buf_reserve(out, out->cap, &p);

	if (r == 0)
		r = buf_reserve(&body, body.cap, &p);
	if (r == 0)
		r = buf_reserve(&basic, basic.cap, &p);
	if (r == 0)
		r = write_body(q, &body);
	if (r == 0)
		r = write_head(q, body.len, out);
	if (r == 0 && !in_body(q))
		r = write_basic(q, &basic, out);
	if (r == 0)
		r = buf_append_str(out, "\r\n");
	if (r == 0)
		r = buf_append(out, buf_at(&body), body.len);
	buf_fini_wiped(&body);
	buf_fini_wiped(&basic);
	return r;
}
