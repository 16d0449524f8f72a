/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The filter's own answers: a status, problem details (RFC 9457) a program can
 * read, Proxy-Status (RFC 9209), and the id that "weir why" explains. No text
 * that the guest chose gets in but its host name, which is canonical.
 */
#include "tlsproxy/http_internal.h"

#include <stdio.h>

static const struct {
	unsigned status;
	const char *reason, *type;
} kinds[] = {
	{ 400, "Bad Request", "bad-request" },
	{ 403, "Forbidden", "denied" },
	{ 405, "Method Not Allowed", "bad-request" },
	{ 417, "Expectation Failed", "bad-request" },
	{ 421, "Misdirected Request", "misdirected" },
	{ 431, "Request Header Fields Too Large", "bad-request" },
	{ 501, "Not Implemented", "bad-request" },
	{ 502, "Bad Gateway", "upstream" },
	{ 504, "Gateway Timeout", "upstream" },
	{ 505, "HTTP Version Not Supported", "bad-request" },
};

static size_t kind_of(unsigned status)
{
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
		if (kinds[i].status == status)
			return i;
	return 7; /* 502 */
}

/* Backslash and quote escaped, everything that is not printable ASCII a question mark. */
static const char *quoted(const char *s, char *out, size_t size)
{
	size_t at = 0;

	for (; *s && at + 3 < size; s++) {
		if (*s == '"' || *s == '\\')
			out[at++] = '\\';
		out[at++] = *s >= ' ' && *s < 0x7f ? *s : '?';
	}
	out[at] = 0;
	return out;
}

static void host_of(const struct http_filter *f, const struct http_exchange *x,
		    char out[static NAME_MAX_LEN + 1])
{
	char addr[IP_STRLEN];

	if (x->authority.is_addr)
		snprintf(out, NAME_MAX_LEN + 1, "%s", ip_format(&x->authority.addr, addr));
	else if (x->authority.name.len)
		snprintf(out, NAME_MAX_LEN + 1, "%s", x->authority.name.s);
	else
		snprintf(out, NAME_MAX_LEN + 1, "%s", f->cfg.has_sni ? f->cfg.sni.s : "");
}

/* One string member; empty ones are left out. */
static int member(struct buf *b, const char *name, const char *value)
{
	char q[2 * HTTP_TEXT_MAX];

	if (!value[0])
		return 0;
	return buf_printf(b, ",\"%s\":\"%s\"", name, quoted(value, q, sizeof(q)));
}

static int body_write(const struct http_filter *f, const struct http_exchange *x, size_t kind,
		      const char *detail, struct buf *b)
{
	const struct tlsproxy_verdict *v = &x->verdict;
	char host[NAME_MAX_LEN + 1];
	int r;

	host_of(f, x, host);
	r = buf_printf(b, "{\"type\":\"urn:weir:problem:%s\",\"title\":\"%s\",\"status\":%u",
		       kinds[kind].type, kinds[kind].reason, x->status);
	if (r == 0)
		r = member(b, "detail", detail);
	if (r == 0)
		r = member(b, "id", v->denial_id);
	if (r == 0)
		r = member(b, "rule", v->rule);
	if (r == 0 && v->floor)
		r = buf_append_str(b, ",\"floor\":true");
	if (r == 0)
		r = member(b, "reason", v->reason);
	if (r == 0)
		r = member(b, "host", host);
	if (r == 0 && v->denial_id[0]) {
		char how[64];

		snprintf(how, sizeof(how), "weir why %s", v->denial_id);
		r = member(b, "how", how);
	}
	return r < 0 ? r : buf_append_str(b, "}\n");
}

int http_answer_write(const struct http_filter *f, const struct http_exchange *x, struct buf *out,
		      size_t *ret_body)
{
	size_t kind = kind_of(x->status);
	const char *detail = x->extra[0] ? x->extra : x->detail ? x->detail : "";
	const char *error = x->error, *id = x->verdict.denial_id;
	struct buf body = BUF_INIT(HTTP_ANSWER_MAX);
	char q[2 * HTTP_TEXT_MAX];
	int r = body_write(f, x, kind, detail, &body);

	if (!error)
		error = x->status >= 500   ? "http_protocol_error"
			: x->status == 403 ? "http_request_denied"
					   : "http_request_error";
	if (r == 0)
		r = buf_printf(out,
			       "HTTP/1.1 %u %s\r\n"
			       "Content-Type: application/problem+json\r\n"
			       "Content-Length: %zu\r\n"
			       "Cache-Control: no-store\r\n"
			       "Proxy-Status: weir; error=%s; details=\"%s%s%s%s\"\r\n",
			       kinds[kind].status, kinds[kind].reason, body.len, error,
			       quoted(detail, q, sizeof(q)), id[0] ? " (" : "", id, id[0] ? ")" : "");
	if (r == 0 && x->status == 405)
		r = buf_append_str(out, "Allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r\n");
	if (r == 0 && x->close)
		r = buf_append_str(out, "Connection: close\r\n");
	else if (r == 0 && x->http10)
		r = buf_append_str(out, "Connection: keep-alive\r\n");
	if (r == 0)
		r = buf_append_str(out, "\r\n");
	if (r == 0 && !x->is_head)
		r = buf_append(out, buf_at(&body), body.len);
	if (r == 0)
		*ret_body = x->is_head ? 0 : body.len;
	buf_fini(&body);
	return r;
}
