/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a request may be taken for besides what it says: servers read another method or
 * another target out of fields that some framework once gave a meaning to. Whether this one
 * does is not known here, so policy is asked about each method with each target, and a
 * secret goes in only where it may with all of them. A method within the body is not seen.
 */
#include "tlsproxy/http_internal.h"

/* ---- fields ----------------------------------------------------------------------------------- */

/* A name as a CGI server reads it, which knows no difference between - and _. */
static bool is_named(struct http_text name, const char *s)
{
	char plain[32];

	if (name.len != strlen(s) || name.len > sizeof(plain))
		return false;
	for (size_t i = 0; i < name.len; i++)
		plain[i] = name.s[i] == '_' ? '-' : name.s[i];
	return http_text_ieq((struct http_text){ plain, name.len }, s);
}

/* Fields by which many servers take a request for one with another method. */
static bool overrides_method(struct http_text name)
{
	return is_named(name, "X-HTTP-Method-Override") || is_named(name, "X-HTTP-Method") ||
	       is_named(name, "X-Method-Override");
}

/* And those by which some take it for one with another target. */
static bool overrides_target(struct http_text name)
{
	return is_named(name, "X-Original-URL") || is_named(name, "X-Rewrite-URL");
}

bool http_field_overrides(struct http_text name)
{
	return overrides_method(name) || overrides_target(name);
}

/* One more text, with its NUL, behind those that a list has. */
static int remember_text(struct http_exchange *x, struct http_others *o, struct http_text v)
{
	char *more = realloc(o->texts, o->size + v.len + 1);

	if (!more)
		return -ENOMEM;
	o->texts = more;
	memcpy(more + o->size, v.s, v.len);
	more[o->size + v.len] = 0;
	o->size += v.len + 1;
	x->kept += v.len + 1;
	o->n++;
	return 0;
}

/* In upper case, as servers read it. */
static int remember_method(struct http_exchange *x, struct http_text v)
{
	char upper[HTTP_METHOD_MAX];

	for (size_t i = 0; i < v.len; i++)
		upper[i] = (char)(v.s[i] >= 'a' && v.s[i] <= 'z' ? v.s[i] - 32 : v.s[i]);
	return remember_text(x, &x->methods, (struct http_text){ upper, v.len });
}

static bool is_method(struct http_text v)
{
	for (size_t i = 0; i < v.len; i++)
		if (!http_is_token_char((uint8_t)v.s[i]))
			return false;
	return v.len > 0 && v.len <= HTTP_METHOD_MAX;
}

/* ---- in a form's query -------------------------------------------------------------------- */

/* A key or value without its escapes; longer ones are cut, and then none that is looked for. */
static struct http_text unescaped(struct http_text t, char *out, size_t size)
{
	size_t n = 0;

	for (size_t i = 0; i < t.len && n < size; i++) {
		char c = t.s[i];

		if (c == '%' && t.len - i > 2 && str_hex_digit(t.s[i + 1]) >= 0 &&
		    str_hex_digit(t.s[i + 2]) >= 0) {
			c = (char)(str_hex_digit(t.s[i + 1]) << 4 | str_hex_digit(t.s[i + 2]));
			i += 2;
		}
		out[n++] = c;
	}
	return (struct http_text){ out, n };
}

/* One key=value: _method is what web frameworks read of forms, which can only POST. */
static int remember_pair(struct http_exchange *x, struct http_text pair)
{
	char key[16], value[HTTP_METHOD_MAX + 1];
	const char *eq = memchr(pair.s, '=', pair.len);
	struct http_text k = { pair.s, eq ? (size_t)(eq - pair.s) : pair.len }, v;

	if (!eq || !http_text_ieq(unescaped(k, key, sizeof(key)), "_method"))
		return 0;
	v = unescaped((struct http_text){ eq + 1, pair.len - k.len - 1 }, value, sizeof(value));
	return is_method(v) && x->methods.n < HTTP_OVERRIDES_MAX ? remember_method(x, v) : 0;
}

static int remember_query(struct http_exchange *x, struct http_text target)
{
	const char *query = memchr(target.s, '?', target.len);
	struct http_text t = { query, query ? target.len - (size_t)(query - target.s) : 0 };
	int r = 0;

	while (r == 0 && t.len) {
		const char *end;

		t.s++;
		t.len--;
		end = memchr(t.s, '&', t.len);
		r = remember_pair(x, (struct http_text){ t.s, end ? (size_t)(end - t.s) : t.len });
		t.len -= end ? (size_t)(end - t.s) : t.len;
		t.s = end;
	}
	return r;
}

/* ---- all of it ----------------------------------------------------------------------------- */

/* What http_overrides_check() refuses is left out. */
int http_overrides_remember(struct http_exchange *x, const struct http_head *h)
{
	int r = http_text_is(h->method, "POST") ? remember_query(x, h->target) : 0;

	for (size_t i = 0; r == 0 && i < h->n_fields; i++) {
		const struct http_field *f = &h->fields[i];

		if (x->methods.n + x->targets.n == HTTP_OVERRIDES_MAX)
			break;
		if (overrides_method(f->name) && is_method(f->value))
			r = remember_method(x, f->value);
		else if (overrides_target(f->name) && f->value.len && f->value.s[0] == '/')
			r = remember_text(x, &x->targets, f->value);
	}
	return r;
}

int http_overrides_check(const struct http_head *h, struct http_refusal *refusal)
{
	size_t n = 0;

	refusal->status = 400;
	for (size_t i = 0; i < h->n_fields; i++) {
		struct http_text name = h->fields[i].name, v = h->fields[i].value;

		if (!http_field_overrides(name))
			continue;
		if (overrides_method(name) && !is_method(v))
			refusal->why = "a method override that is no method";
		else if (overrides_target(name) && (v.len == 0 || v.s[0] != '/'))
			refusal->why = "a target override that is no path";
		else if (++n > HTTP_OVERRIDES_MAX)
			refusal->why = "too many overrides of method and target";
		else
			continue;
		return -EBADMSG;
	}
	return 0;
}
