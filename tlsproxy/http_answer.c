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
	{ 413, "Content Too Large", "bad-request" },
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
	size_t other = 0;

	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		if (kinds[i].status == status)
			return i;
		if (kinds[i].status == 502)
			other = i;
	}
	return other;
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

/* Fields of an answer, and the text that they point into. */
struct answer {
	struct http_head head;
	struct http_framing framing;
	struct buf body;
	char proxy_status[4 * HTTP_TEXT_MAX];
};

static void field(struct answer *a, const char *name, const char *value)
{
	a->head.fields[a->head.n_fields++] = (struct http_field){ .name = { name, strlen(name) },
								  .value = { value, strlen(value) } };
}

static int compose(const struct http_exchange *x, struct answer *a)
{
	size_t kind = kind_of(x->status);
	const char *detail = x->extra[0] ? x->extra : x->detail ? x->detail : "";
	const char *error = x->error, *id = x->verdict.denial_id, *reason = kinds[kind].reason;
	char q[2 * HTTP_TEXT_MAX];

	if (!error)
		error = x->status >= 500   ? "http_protocol_error"
			: x->status == 403 ? "http_request_denied"
					   : "http_request_error";
	snprintf(a->proxy_status, sizeof(a->proxy_status), "weir; error=%s; details=\"%s%s%s%s\"",
		 error, quoted(detail, q, sizeof(q)), id[0] ? " (" : "", id, id[0] ? ")" : "");
	a->head.status = kinds[kind].status;
	a->head.reason = (struct http_text){ reason, strlen(reason) };
	a->head.minor = 1;
	a->head.http2 = false;
	a->head.n_fields = 0;
	field(a, "Content-Type", "application/problem+json");
	field(a, "Cache-Control", "no-store");
	field(a, "Proxy-Status", a->proxy_status);
	if (x->status == 405)
		field(a, "Allow", "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
	if (body_write(x->filter, x, kind, detail, &a->body) < 0)
		return -ENOMEM;
	a->framing = (struct http_framing){ .body = x->is_head ? HTTP_BODY_NONE : HTTP_BODY_LENGTH,
					    .has_length = true,
					    .length = a->body.len };
	return 0;
}

static int send_answer(struct http_exchange *x, const struct answer *a)
{
	struct http_side *guest = x->filter->guest;
	int r = guest->ops->head(guest, x, &a->head, &a->framing);

	if (r == 0 && !x->is_head) {
		r = guest->ops->body(guest, x, buf_at(&a->body), a->body.len);
		x->down = a->body.len;
	}
	return r < 0 ? r : guest->ops->end(guest, x, NULL);
}

bool http_answer(struct http_exchange *x)
{
	struct http_filter *f = x->filter;
	struct answer a = { .body = BUF_INIT(HTTP_ANSWER_MAX) };
	int r;

	if (!x->request_done)
		return false;
	/* Composed again only when there is room for it. */
	if (x->head_size && !f->guest->ops->ready(f->guest, x))
		return false;
	r = compose(x, &a);
	x->head_size = http_head_size(&a.head) - 4 * HTTP_FIELDS_MAX + a.body.len;
	if (r == 0 && !f->guest->ops->ready(f->guest, x)) {
		buf_fini(&a.body);
		return false;
	}
	x->response_begun = true;
	if (r == 0)
		r = send_answer(x, &a);
	buf_fini(&a.body);
	/* Where it cannot be told, the connection's end says that something was refused. */
	if (r < 0)
		f->over = HTTP_CLOSE;
	http_exchange_finish(x);
	return true;
}
