/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where a secret may go in, and what happens when its placeholder stands
 * elsewhere.
 *
 * A value is put in only when all of this holds: the connection's upstream is
 * verified TLS (or the secret may do without, and the flow's name is the request's),
 * the authority is one of the secret's hosts, the method is not one that comes back
 * (TRACE, OPTIONS, CONNECT) and one of the secret's, so is the path, the place is one the
 * secret allows, under a name it allows, the placeholder stands there as it was given
 * out, or escaped as every client escapes it in that place, and there are uses left.
 * Everything else is a violation, but where the placeholder may pass.
 *
 * What was put in is reported once per secret and place of a request, after
 * the bytes went out. The texts themselves: http_secret_text.c.
 */
#include "tlsproxy/http_internal.h"

#include <stdio.h>

/* In reported, beside the places. */
#define MARK_VIOLATED 0x80 /* a passthrough was put on the record */
#define MARK_COUNTED 0x40  /* this request is one of its uses */
#define FORM(f) (1u << (f))

void http_secret_begin(struct http_exchange *x)
{
	const char *m = x->method;

	http_secret_forget(x);
	if (x->n_secrets)
		memset(x->reported, 0, x->n_secrets);
	x->n_put_names = 0;
	x->request_barred = NULL;
	x->secret_host = false;
	/* What it was told over TLS it may tell without. */
	for (size_t i = 0; i < x->n_secrets; i++)
		x->secret_host |= secret_host_knows(&x->secrets->secrets[i], &x->authority);
	if (x->filter->cfg.unverified)
		x->request_barred = "upstream is not verified";
	else if (str_eq(m, "TRACE"))
		x->request_barred = "TRACE";
	else if (str_eq(m, "OPTIONS"))
		x->request_barred = "OPTIONS";
	else if (str_eq(m, "CONNECT"))
		x->request_barred = "CONNECT";
}

int http_secret_renew(struct http_exchange *x)
{
	struct secret_set *old = x->secrets, *next = x->filter->secrets;
	size_t n = secret_set_count(next);
	uint8_t *marks;

	if (old == next || !n)
		return 0;
	marks = calloc(n, 2);
	if (!marks)
		return -ENOMEM;
	http_secret_report(x);
	free(x->pending);
	x->pending = marks;
	x->reported = marks + n;
	x->n_secrets = n;
	x->n_put_names = 0;
	x->secrets = secret_set_ref(next);
	secret_set_unref(old);
	return 0;
}

void http_secret_forget(struct http_exchange *x)
{
	if (x->n_secrets)
		memset(x->pending, 0, x->n_secrets);
}

/* ---- decisions --------------------------------------------------------------------------- */

/* The sandbox did not just claim the name: it asked for it, and was given this address. */
static bool is_pinned(const struct http_exchange *x)
{
	const struct tlsproxy_flow *f = x->filter->cfg.flow;
	const struct name *n = &x->authority.name;

	if (x->authority.is_addr)
		return false;
	if (f->has_name && name_equal(&f->name, n))
		return true;
	for (size_t i = 0; i < f->n_candidates; i++)
		if (name_equal(&f->candidates[i], n))
			return true;
	return false;
}

static bool is_method(const struct secret *s, const char *method)
{
	for (size_t i = 0; i < s->n_methods; i++)
		if (str_eq(s->methods[i], method))
			return true;
	return s->n_methods == 0;
}

/* Also as whatever other method it may be taken for. */
static bool method_allowed(const struct http_exchange *x, const struct secret *s)
{
	const char *m = x->methods.texts;

	for (size_t i = 0; i < x->methods.n; i++, m += strlen(m) + 1)
		if (!is_method(s, m))
			return false;
	return is_method(s, x->method);
}

static bool is_path(const struct http_exchange *x, const struct secret *s, const char *target)
{
	const struct http_filter_config *cfg = &x->filter->cfg;

	for (size_t i = 0; i < s->n_paths; i++)
		if (cfg->ops->path_matches && target &&
		    cfg->ops->path_matches(cfg->ctx, s->paths[i], target))
			return true;
	return s->n_paths == 0;
}

static bool path_allowed(const struct http_exchange *x, const struct secret *s)
{
	const char *t = x->targets.texts;

	for (size_t i = 0; i < x->targets.n; i++, t += strlen(t) + 1)
		if (!is_path(x, s, t))
			return false;
	return is_path(x, s, x->target);
}

/* Of the request alone; NULL: it may carry the secret. */
static const char *why_not_request(const struct http_exchange *x, const struct secret *s)
{
	if (s->removed)
		return "removed";
	if (!x->filter->cfg.tls && !s->plain_http)
		return "plain http";
	if (x->request_barred)
		return x->request_barred;
	if (!secret_host_allowed(s, &x->authority))
		return s->n_hosts ? "host not allowed" : "no valid value";
	if (!x->filter->cfg.tls && !is_pinned(x))
		return "plain http to a name that was not resolved";
	if (!method_allowed(x, s))
		return "method not allowed";
	return path_allowed(x, s) ? NULL : "path not allowed";
}

/* Does the hit lie within the value of the field or key that is known. */
static bool is_within(const struct http_place *place, const struct secret_hit *hit)
{
	return hit->len && hit->len <= place->name_at + hit->at;
}

static bool name_allowed(const struct secret *s, const struct http_place *place,
			 const struct secret_hit *hit)
{
	if (!secret_place_named(s, place->place))
		return true;
	if (!is_within(place, hit))
		return false;
	return place->place == TLSPROXY_IN_BODY
		       ? (place->fields & s->fields) != 0
		       : secret_name_allowed(s, place->place, place->name.s, place->name.len);
}

static bool is_used_up(const struct http_exchange *x, const struct secret *s, size_t secret)
{
	return s->max_uses && s->uses->n >= s->max_uses && !(x->reported[secret] & MARK_COUNTED);
}

static const char *why_not(const struct http_exchange *x, const struct secret *s,
			   const struct http_place *place, const struct secret_hit *hit)
{
	const char *why = why_not_request(x, s);

	if (why)
		return why;
	if (place->barred)
		return place->barred;
	if (!(s->places & place->place))
		return "place not allowed";
	if (!name_allowed(s, place, hit))
		return "not in the field or key it is for";
	if (!(place->forms & FORM(hit->form)))
		return "encoded";
	/* Too late to keep from the guest what this may buy. */
	if ((s->mask || s->renews) && x->response_begun && !x->mask)
		return "its reply has begun";
	return is_used_up(x, s, hit->secret) ? "used up" : NULL;
}

/* Does its placeholder hold what a client may escape: then one that stands plain was left so. */
static bool shows_escaping(const struct secret *s)
{
	return secret_encode_percent(0, (const uint8_t *)s->placeholder, s->placeholder_len, NULL) !=
	       s->placeholder_len;
}

static enum secret_escape escape_for(const struct secret *s, const struct http_place *place,
				     enum secret_form form)
{
	bool in_path = place->place == TLSPROXY_IN_PATH;

	if (!in_path && place->place != TLSPROXY_IN_QUERY)
		return http_place_escape(place);
	if (form != SECRET_PLAIN || !shows_escaping(s))
		return SECRET_ALL_PERCENT;
	return in_path ? SECRET_IN_PATH : SECRET_IN_QUERY;
}

/* ---- the record ---------------------------------------------------------------------- */

/* The path without its query, which may hold anything. */
static void path_text(const struct http_exchange *x, char *out, size_t size)
{
	size_t n = x->target ? strcspn(x->target, "?") : 0;

	snprintf(out, size, "%.*s", (int)MIN(n, size - 1), n ? x->target : "");
}

static void emit(const struct http_exchange *x, const struct secret *s,
		 struct tlsproxy_secret_event *e)
{
	const struct http_filter_config *cfg = &x->filter->cfg;
	const struct authority *a = &x->authority;
	char addr[IP_STRLEN], path[HTTP_TEXT_MAX];

	if (!cfg->ops->secret_event)
		return;
	path_text(x, path, sizeof(path));
	e->flow = cfg->flow;
	e->env = s->env;
	e->action = s->on_violation;
	e->method = x->method;
	e->path = path;
	e->protocol = e->place == TLSPROXY_IN_WEBSOCKET ? "ws" : cfg->guest_h2 ? "h2" : "h1";
	e->uses = s->uses->n;
	snprintf(e->host, sizeof(e->host), "%s", a->is_addr ? ip_format(&a->addr, addr) : a->name.s);
	cfg->ops->secret_event(cfg->ctx, e);
}

static const char *place_text(enum tlsproxy_place place)
{
	switch (place) {
	case TLSPROXY_IN_BASIC:
		return "Basic credentials";
	case TLSPROXY_IN_QUERY:
		return "query";
	case TLSPROXY_IN_PATH:
		return "path";
	case TLSPROXY_IN_BODY:
		return "body";
	case TLSPROXY_IN_WEBSOCKET:
		return "WebSocket";
	default:
		return "header";
	}
}

/* Where a hit stands, for the record: the field or key, as far as it is known. */
static void name_text(const struct secret *s, const struct http_place *place,
		      char out[static HTTP_PUT_NAME_MAX])
{
	struct http_text name = place->name;

	for (size_t i = 0; i < s->n_names && place->fields; i++)
		if (s->names[i].place == place->place && (place->fields & s->field_bits[i]))
			name = (struct http_text){ s->names[i].name, strlen(s->names[i].name) };
	snprintf(out, HTTP_PUT_NAME_MAX, "%.*s", (int)MIN(name.len, HTTP_PUT_NAME_MAX - 1u),
		 name.len ? name.s : "");
}

static enum secret_verdict violated(struct http_exchange *x, const struct http_place *place,
				    const struct secret_hit *hit, const char *detail)
{
	const struct secret *s = &x->secrets->secrets[hit->secret];
	const struct http_filter_config *cfg = &x->filter->cfg;
	char name[HTTP_PUT_NAME_MAX];
	struct tlsproxy_secret_event e = {
		.violation = true,
		.place = place->place,
		.name = name,
		.encoding = secret_form_name(hit->form),
		.detail = detail,
		.denial_id = "",
	};

	name_text(s, place, name);
	if (s->on_violation == TLSPROXY_PASSTHROUGH) {
		if (!(x->reported[hit->secret] & MARK_VIOLATED))
			emit(x, s, &e);
		x->reported[hit->secret] |= MARK_VIOLATED;
		return SECRET_LEAVE;
	}
	cfg->ops->new_denial_id(cfg->ctx, x->violation_id);
	e.denial_id = x->violation_id;
	snprintf(x->violation_text, sizeof(x->violation_text),
		 "a secret where it may not be: %.64s in the %s: %s", s->env,
		 place_text(place->place), detail);
	if (s->on_violation != TLSPROXY_BLOCK)
		emit(x, s, &e);
	if (s->on_violation == TLSPROXY_BLOCK_AND_TERMINATE && cfg->ops->terminate)
		cfg->ops->terminate(cfg->ctx, s->env);
	return SECRET_STOP;
}

int http_secret_unsigned(struct http_exchange *x, size_t secret, enum tlsproxy_place place,
			 const char *why)
{
	const struct http_place at = { .x = x, .place = place };
	const struct secret_hit hit = { .secret = secret };

	if (violated(x, &at, &hit, why) != SECRET_STOP)
		return 0;
	snprintf(x->violation_text, sizeof(x->violation_text), "cannot be signed with %.64s: %s",
		 x->secrets->secrets[secret].env, why);
	return -EPERM;
}

/* One of its uses, and where the first of each place stood. */
static void note_use(struct http_exchange *x, const struct http_place *place,
		     const struct secret_hit *hit)
{
	struct secret *s = &x->secrets->secrets[hit->secret];
	struct http_put_name *put = &x->put_names[x->n_put_names];

	if (!(x->reported[hit->secret] & MARK_COUNTED))
		s->uses->n++;
	x->reported[hit->secret] |= MARK_COUNTED;
	if (((x->pending[hit->secret] | x->reported[hit->secret]) & place->place) == 0 &&
	    x->n_put_names < ARRAY_SIZE(x->put_names)) {
		put->secret = (uint16_t)hit->secret;
		put->place = (uint8_t)place->place;
		name_text(s, place, put->name);
		x->n_put_names++;
	}
	x->pending[hit->secret] |= (uint8_t)place->place;
}

const char *http_secret_why_unsigned(const struct http_exchange *x, size_t secret)
{
	const struct secret *s = &x->secrets->secrets[secret];
	const char *why = why_not_request(x, s);

	return why ? why : is_used_up(x, s, secret) ? "used up" : NULL;
}

void http_secret_signed(struct http_exchange *x, size_t secret, enum tlsproxy_place place)
{
	const struct http_place at = { .x = x, .place = place };
	const struct secret_hit hit = { .secret = secret };

	note_use(x, &at, &hit);
}

enum secret_verdict http_secret_decide(void *ctx, struct secret_hit *hit)
{
	const struct http_place *place = ctx;
	struct http_exchange *x = place->x;
	const struct secret *s = &x->secrets->secrets[hit->secret];
	const char *detail;

	if (place->skip_base64 && hit->form == SECRET_BASE64)
		return SECRET_LEAVE;
	detail = why_not(x, s, place, hit);
	if (detail)
		return secret_passes(s, &x->authority) ? SECRET_LEAVE
						       : violated(x, place, hit, detail);
	note_use(x, place, hit);
	hit->escape = escape_for(s, place, hit->form);
	return SECRET_PUT;
}

static const char *put_name(const struct http_exchange *x, size_t secret, unsigned place)
{
	for (size_t i = 0; i < x->n_put_names; i++)
		if (x->put_names[i].secret == secret && x->put_names[i].place == place)
			return x->put_names[i].name;
	return "";
}

void http_secret_report(struct http_exchange *x)
{
	for (size_t i = 0; i < x->n_secrets; i++) {
		unsigned fresh = x->pending[i] & ~(unsigned)x->reported[i];

		x->reported[i] |= x->pending[i];
		x->used |= fresh != 0;
		x->filter->secret_used |= fresh != 0;
		x->pending[i] = 0;
		for (unsigned place = 1; fresh && place <= TLSPROXY_IN_WEBSOCKET; place <<= 1) {
			struct tlsproxy_secret_event e = {
				.place = (enum tlsproxy_place)place,
				.name = put_name(x, i, place),
				.encoding = "plain",
				.detail = x->filter->cfg.tls ? NULL : "plain http",
				.denial_id = "",
			};

			if (fresh & place)
				emit(x, &x->secrets->secrets[i], &e);
		}
	}
}

bool http_secret_carried(const struct http_exchange *x, size_t secret)
{
	return (x->reported[secret] & MARK_COUNTED) != 0;
}

/* ---- could it ---------------------------------------------------------------------------- */

bool http_secret_may_replace(const struct http_exchange *x, const struct http_place *place)
{
	if (place->barred)
		return false;
	for (size_t i = 0; i < x->n_secrets; i++)
		if ((x->secrets->secrets[i].places & place->place) &&
		    !why_not_request(x, &x->secrets->secrets[i]))
			return true;
	return false;
}
