/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Heads written anew: from what came in to what goes on, for whatever protocol.
 * Fields of one hop end here, as do those that the side writes itself; secrets are
 * put in towards the upstream, and taken out towards the guest.
 *
 * Rewritten text stands in the filter's arena, reserved at once and wiped after
 * the side has written the head; without secrets all text stays where it was.
 */
#include "tlsproxy/sign.h"
#include "tlsproxy/ws.h"

#include <stdio.h>
#include <strings.h>

void http_cut(struct buf *b, size_t len)
{
	assert(len <= b->len);
	if (b->len > len)
		explicit_bzero(buf_at(b) + len, b->len - len);
	b->len = len;
}

void http_wiped_free(struct buf *b)
{
	http_cut(b, 0);
	buf_fini(b);
}

int http_wiped_reserve(struct buf *b, size_t n)
{
	uint8_t *p;

	http_cut(b, 0);
	b->off = 0;
	n = MIN(n, b->cap);
	if (b->size < n)
		buf_fini_wiped(b);
	return buf_reserve(b, n, &p);
}

void http_heads_done(struct http_filter *f)
{
	http_cut(&f->arena, 0);
}

size_t http_head_size(const struct http_head *h)
{
	/* Start line, Host, framing and connection fields of ours; 4 bytes a field. */
	size_t n = h->method.len + h->target.len + h->reason.len + 4 * HTTP_FIELDS_MAX + 512;

	for (size_t i = 0; i < h->n_fields; i++)
		n += h->fields[i].name.len + h->fields[i].value.len;
	return n;
}

/* ---- the arena ----------------------------------------------------------------------------- */

/* It never moves: texts point into it, and growing would leave copies of values behind. */
static int arena_begin(struct http_exchange *x, const struct http_head *h,
		       const struct secret_set *set)
{
	struct http_filter *f = x->filter;
	/* A value in the target is escaped when it must be: three characters for one. */
	size_t n = http_head_size(h) + 2 * h->target.len;

	if (!secret_set_count(set))
		return 0;
	if (x->signs)
		n += SIGN_ARENA;
	/* Texts that get longer may do so up to what a head may have at all. */
	return http_wiped_reserve(&f->arena, secret_set_grows(set) ? f->arena.cap : n);
}

static struct http_text since(const struct http_filter *f, size_t start)
{
	if (f->arena.len == start)
		return (struct http_text){ "", 0 };
	return (struct http_text){ (const char *)buf_at(&f->arena) + start, f->arena.len - start };
}

static int scrubbed(struct http_exchange *x, struct http_text t, struct http_text *ret)
{
	struct http_filter *f = x->filter;
	size_t start = f->arena.len;
	int r;

	*ret = t;
	if (!secret_set_count(x->reply_secrets) || secret_clean_back(x->reply_secrets, t.s, t.len))
		return 0;
	r = http_secret_scrub(x, t, &f->arena);
	*ret = since(f, start);
	return r;
}

/* ---- which fields ---------------------------------------------------------------------------- */

/* Fields of one hop, and those that are written anew. */
static bool field_ends_here(const struct http_exchange *x, const struct http_head *h,
			    struct http_text name, bool request)
{
	static const struct http_text names[] = {
		HTTP_TEXT("Host"),
		HTTP_TEXT("Content-Length"),
		HTTP_TEXT("Transfer-Encoding"),
		HTTP_TEXT("Connection"),
		HTTP_TEXT("Keep-Alive"),
		HTTP_TEXT("TE"),
		HTTP_TEXT("Upgrade"),
		HTTP_TEXT("Expect"),
		HTTP_TEXT("HTTP2-Settings"),
	};

	if (http_text_among(name, names, ARRAY_SIZE(names)))
		return true;
	/* An explicit proxy is whom the guest talks to. */
	if (x->proxied && (http_text_ieq(name, "Proxy-Authorization") ||
			   http_text_ieq(name, "Proxy-Authenticate") ||
			   http_text_ieq(name, "Proxy-Authentication-Info")))
		return false;
	/* Proxy-Status tells of intermediaries beyond and is for the guest. */
	if (name.len >= 6 && strncasecmp(name.s, "Proxy-", 6) == 0)
		return request || !http_text_ieq(name, "Proxy-Status");
	return http_field_lists(h, "Connection", name);
}

/*
 * What makes a reply come in a form in which a value in it is not recognised: coded
 * in a way that is not known here (accept_encoding() says which), or a few bytes at a
 * time. Servers and clients do without all of them.
 */
static bool field_hides_reply(struct http_text name)
{
	static const struct http_text names[] = { HTTP_TEXT("Accept-Encoding"), HTTP_TEXT("Range"),
						  HTTP_TEXT("If-Range") };

	return http_text_among(name, names, ARRAY_SIZE(names));
}

/* Credentials, which no table of a compressor is to hold (RFC 7541 7.1.3). */
static bool is_credential(struct http_text name)
{
	static const struct http_text names[] = { HTTP_TEXT("Authorization"), HTTP_TEXT("Cookie"),
						  HTTP_TEXT("Set-Cookie") };

	if (http_text_among(name, names, ARRAY_SIZE(names)))
		return true;
	return name.len >= 6 && strncasecmp(name.s, "Proxy-", 6) == 0;
}

static void add(struct http_head *h, const char *name, const char *value)
{
	if (h->n_fields == HTTP_FIELDS_MAX)
		return;
	h->fields[h->n_fields++] = (struct http_field){ .name = { name, strlen(name) },
							.value = { value, strlen(value) } };
}

/* ---- Accept-Encoding ----------------------------------------------------------------------------- */

int http_fields_join(const struct http_head *h, const char *name, struct buf *out)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < h->n_fields; i++) {
		const struct http_field *fld = &h->fields[i];

		if (!http_text_ieq(fld->name, name) || !fld->value.len)
			continue;
		r = out->len ? buf_append(out, ", ", 2) : 0;
		if (r == 0)
			r = buf_append(out, fld->value.s, fld->value.len);
	}
	return r;
}

/* A reply in a coding that cannot be undone here could carry a value back unseen. */
static int accept_encoding(struct http_exchange *x, const struct http_head *h, struct http_head *out)
{
	struct http_filter *f = x->filter;
	struct buf asked = BUF_INIT(HTTP_HEAD_MAX + 2 * HTTP_FIELDS_MAX);
	size_t start = f->arena.len;
	int r = http_fields_join(h, "Accept-Encoding", &asked);

	if (r == 0)
		r = http_coding_accept(asked.len ? (const char *)buf_at(&asked) : "", asked.len,
				       &f->arena);
	buf_fini(&asked);
	if (r < 0)
		return r;
	add(out, "Accept-Encoding", "");
	out->fields[out->n_fields - 1].value = since(f, start);
	return 0;
}

/* Extensions of a WebSocket are offered that its messages can be read through (ws.h). */
static int websocket_extensions(struct http_exchange *x, const struct http_head *h,
				struct http_head *out)
{
	struct http_filter *f = x->filter;
	struct buf asked = BUF_INIT(HTTP_HEAD_MAX + 2 * HTTP_FIELDS_MAX);
	size_t start = f->arena.len;
	int r = http_fields_join(h, "Sec-WebSocket-Extensions", &asked);

	if (r == 0)
		r = ws_extensions_offer(asked.len ? (const char *)buf_at(&asked) : "", asked.len,
					&f->arena, &x->ws_offered);
	buf_fini(&asked);
	if (r < 0 || !x->ws_offered)
		return r;
	add(out, "Sec-WebSocket-Extensions", "");
	out->fields[out->n_fields - 1].value = since(f, start);
	return 0;
}

/* ---- requests ---------------------------------------------------------------------------------- */

static int request_field(struct http_exchange *x, const struct http_head *h,
			 const struct http_field *fld, struct http_head *out)
{
	struct http_filter *f = x->filter;
	struct http_field *to = &out->fields[out->n_fields];
	size_t start = f->arena.len;
	int r = http_secret_scan(x, fld->name, "field name");

	if (r < 0)
		return r;
	if (field_ends_here(x, h, fld->name, true) ||
	    (x->secret_host && field_hides_reply(fld->name)) ||
	    (x->n_secrets && http_text_ieq(fld->name, "Sec-WebSocket-Extensions")))
		return http_secret_scan(x, fld->value, "field not allowed");
	*to = *fld;
	to->sensitive |= is_credential(fld->name);
	if (x->n_secrets && !(x->sign_plan && sign_owns_field(x->sign_plan, fld->name))) {
		r = http_secret_field(x, fld, &f->arena);
		if (r < 0)
			return r;
		to->value = since(f, start);
		to->sensitive |= to->value.len != fld->value.len ||
				 memcmp(to->value.s, fld->value.s, to->value.len) != 0;
	}
	if (x->max_forwards[0] && http_text_ieq(fld->name, "Max-Forwards"))
		to->value = (struct http_text){ x->max_forwards, strlen(x->max_forwards) };
	out->n_fields++;
	return 0;
}

static int request_target(struct http_exchange *x, const struct http_head *h, struct http_head *out)
{
	struct http_filter *f = x->filter;
	size_t start = f->arena.len;
	int r = http_secret_scan(x, h->method, "method");

	if (r == 0 && x->n_secrets) {
		r = http_secret_target(x, h->target, &f->arena);
		out->target = since(f, start);
		out->target_sensitive = out->target.len != h->target.len ||
					memcmp(out->target.s, h->target.s, h->target.len) != 0;
	}
	return r;
}

static struct http_text authority_text(const struct authority *a, char *out, size_t size)
{
	char addr[IP_STRLEN], port[8] = "";

	if (!a->is_addr && !a->port)
		return (struct http_text){ a->name.s, a->name.len };
	if (a->port)
		snprintf(port, sizeof(port), ":%u", a->port);
	if (!a->is_addr)
		snprintf(out, size, "%s%s", a->name.s, port);
	else
		snprintf(out, size, a->addr.family == 6 ? "[%s]%s" : "%s%s",
			 ip_format(&a->addr, addr), port);
	return (struct http_text){ out, strlen(out) };
}

static void head_begin(struct http_head *out)
{
	out->method = out->target = out->reason = (struct http_text){ "", 0 };
	out->scheme = out->authority = out->protocol = (struct http_text){ "", 0 };
	out->target_sensitive = out->http2 = out->absolute = false;
	out->minor = 1;
	out->status = 0;
	out->n_fields = 0;
}

/* Schemes that authenticate the connection and not the request. */
static void note_bound(struct http_exchange *x, const struct http_head *h, const char *name)
{
	static const char *const schemes[] = { "NTLM", "Negotiate" };

	for (size_t i = 0; i < h->n_fields; i++)
		for (size_t k = 0; k < ARRAY_SIZE(schemes); k++)
			if (http_text_ieq(h->fields[i].name, name) &&
			    h->fields[i].value.len >= strlen(schemes[k]) &&
			    str_ieq(h->fields[i].value.s, strlen(schemes[k]), schemes[k]))
				x->filter->bound = true;
}

int http_heads_request(struct http_exchange *x, const struct http_head *h, struct http_head *out)
{
	const char *scheme = x->filter->cfg.tls ? "https" : "http";
	int r = arena_begin(x, h, x->secrets);

	note_bound(x, h, "Authorization");
	head_begin(out);
	out->method = h->method;
	out->target = h->target;
	out->absolute = x->proxied && !x->connect;
	out->scheme = (struct http_text){ scheme, strlen(scheme) };
	out->authority = authority_text(&x->authority, x->authority_text, sizeof(x->authority_text));
	if (x->websocket)
		out->protocol = (struct http_text){ "websocket", 9 };
	if (r == 0)
		r = request_target(x, h, out);
	if (x->connect)
		out->target = out->authority;
	for (size_t i = 0; r == 0 && i < h->n_fields; i++)
		r = request_field(x, h, &h->fields[i], out);
	if (r == 0 && x->secret_host && out->n_fields < HTTP_FIELDS_MAX)
		r = accept_encoding(x, h, out);
	if (r == 0 && x->websocket && x->n_secrets && out->n_fields < HTTP_FIELDS_MAX)
		r = websocket_extensions(x, h, out);
	if (x->expect)
		add(out, "Expect", "100-continue");
	if (http_field_has_token(h, "TE", "trailers"))
		add(out, "TE", "trailers");
	return r;
}

/* ---- responses ----------------------------------------------------------------------------------- */

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

static int response_fields(struct http_exchange *x, const struct http_head *h, struct http_head *out)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < h->n_fields; i++) {
		const struct http_field *fld = &h->fields[i];
		struct http_field *to = &out->fields[out->n_fields];

		if (field_ends_here(x, h, fld->name, false) || offers_quic(fld))
			continue;
		to->sensitive = fld->sensitive || is_credential(fld->name);
		r = scrubbed(x, fld->name, &to->name);
		/* It cannot become a placeholder that anybody knows again. */
		if (r == 0 && http_secret_name_folded(x, to->name))
			r = -EPERM;
		if (r == 0)
			r = scrubbed(x, fld->value, &to->value);
		out->n_fields++;
	}
	return r;
}

int http_heads_response(struct http_exchange *x, const struct http_head *h, struct http_head *out)
{
	int r;

	http_secret_reply(x);
	r = arena_begin(x, h, x->reply_secrets);
	note_bound(x, h, "WWW-Authenticate");
	head_begin(out);
	out->status = h->status;
	if (r == 0)
		r = scrubbed(x, h->reason, &out->reason);
	return r < 0 ? r : response_fields(x, h, out);
}

/* ---- trailers -------------------------------------------------------------------------------------- */

static int request_trailers(struct http_exchange *x, const struct http_head *h, struct http_head *out)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < h->n_fields; i++) {
		const struct http_field *fld = &h->fields[i];

		r = http_secret_scan(x, fld->name, "trailer");
		if (r == 0)
			r = http_secret_scan(x, fld->value, "trailer");
		if (!field_ends_here(x, h, fld->name, true))
			out->fields[out->n_fields++] = *fld;
	}
	return r;
}

int http_heads_trailers(struct http_exchange *x, const struct http_head *h, bool request,
			struct http_head *out)
{
	int r;

	head_begin(out);
	if (request)
		return request_trailers(x, h, out);
	http_secret_reply(x);
	r = arena_begin(x, h, x->reply_secrets);
	return r < 0 ? r : response_fields(x, h, out);
}
