/* SPDX-License-Identifier: Apache-2.0 */
/* What the tlsproxy puts on the record: TLS, requests, secrets. */
#include "weir/proxy_int.h"

#include "weir/proxy_tokens.h"

static void begin_event(struct proxy *px, struct audit_event *e, const char *kind,
			const struct tlsproxy_flow *f)
{
	char id[DENIAL_ID_LEN];

	record_flow_id(&px->record, f->id, id);
	audit_event_begin(e, kind);
	audit_str(e, "id", id);
}

static void add_verdict(struct audit_event *e, const struct tlsproxy_verdict *v)
{
	if (!v)
		return;
	if (v->allow && v->denial_id[0])
		audit_str(e, "observed", "deny");
	audit_str(e, "rule", v->rule);
	audit_str(e, "reason", v->reason);
	if (v->floor)
		audit_bool(e, "floor", true);
	audit_str(e, "denial", v->denial_id);
	/* None: the refusal is the proxy's own. */
	if (v->tag)
		audit_u64(e, "generation", v->tag);
}

/* Refused for its name before any rule was asked: a refusal all the same. */
static bool is_misnamed(const struct tlsproxy_tls_event *t)
{
	return !t->ok && !t->verdict && t->has_sni && t->flow->has_name &&
	       !name_equal(&t->sni, &t->flow->name);
}

void proxy_on_tls(void *ctx, const struct tlsproxy_tls_event *t)
{
	struct proxy *px = ctx;
	char denial[DENIAL_ID_LEN], upstream[ENDPOINT_STRLEN];
	struct audit_event e;

	begin_event(px, &e, "tls", t->flow);
	audit_str(&e, "sni", t->has_sni ? t->sni.s : NULL);
	audit_str(&e, "verdict",
		  is_misnamed(t) || (t->verdict && !t->verdict->allow) ? "deny"
		  : t->ok					       ? "allow"
								       : "fail");
	add_verdict(&e, t->verdict);
	if (is_misnamed(t)) {
		record_denial_id(&px->record, denial);
		audit_str(&e, "denial", denial);
	}
	if (t->unverified)
		audit_bool(&e, "unverified", true);
	if (t->reused)
		audit_bool(&e, "reused", true);
	if (t->dialled)
		audit_str(&e, "upstream", endpoint_format(&t->flow->upstream, upstream));
	audit_str(&e, "detail", t->detail);
	record_send(&px->record, &e);
}

static const char *outcome_name(enum tlsproxy_http_outcome o)
{
	switch (o) {
	case TLSPROXY_HTTP_FORWARDED:
		return "forwarded";
	case TLSPROXY_HTTP_DENIED:
		return "denied";
	case TLSPROXY_HTTP_BAD_REQUEST:
		return "bad_request";
	case TLSPROXY_HTTP_MISDIRECTED:
		return "misdirected";
	case TLSPROXY_HTTP_UPSTREAM_FAILED:
		return "upstream_failed";
	case TLSPROXY_HTTP_VIOLATION:
		return "violation";
	case TLSPROXY_HTTP_CANCELLED:
		return "cancelled";
	}
	return "unknown";
}

static void add_host(struct audit_event *e, const struct authority *a)
{
	char ip[IP_STRLEN];

	audit_str(e, "host", a->is_addr ? ip_format(&a->addr, ip) : a->name.s);
}

void proxy_on_http(void *ctx, const struct tlsproxy_http_event *h)
{
	struct proxy *px = ctx;
	struct audit_event e;

	begin_event(px, &e, "http", h->req->flow);
	audit_str(&e, "method", h->req->method);
	add_host(&e, &h->req->authority);
	audit_str(&e, "path", h->req->target);
	audit_bool(&e, "tls", h->req->tls);
	audit_u64(&e, "status", h->status);
	audit_str(&e, "outcome", outcome_name(h->outcome));
	audit_str(&e, "verdict",
		  h->outcome == TLSPROXY_HTTP_FORWARDED || h->outcome == TLSPROXY_HTTP_CANCELLED
			  ? "allow"
		  : h->outcome == TLSPROXY_HTTP_UPSTREAM_FAILED ? "fail"
								: "deny");
	add_verdict(&e, h->verdict);
	/* Of a denial that was answered, the rule and its reason say more. */
	if (h->outcome != TLSPROXY_HTTP_DENIED || h->status != 403)
		audit_str(&e, "detail", h->detail);
	audit_u64(&e, "bytes_up", h->bytes_up);
	audit_u64(&e, "bytes_down", h->bytes_down);
	record_send(&px->record, &e);
}

static const char *place_name(enum tlsproxy_place p)
{
	switch (p) {
	case TLSPROXY_IN_HEADER:
		return "header";
	case TLSPROXY_IN_BASIC:
		return "basic";
	case TLSPROXY_IN_QUERY:
		return "query";
	case TLSPROXY_IN_PATH:
		return "path";
	case TLSPROXY_IN_BODY:
		return "body";
	case TLSPROXY_IN_WEBSOCKET:
		return "websocket";
	}
	return "name"; /* of the TLS handshake */
}

static const char *action_name(enum tlsproxy_violation a)
{
	switch (a) {
	case TLSPROXY_BLOCK:
		return "block";
	case TLSPROXY_BLOCK_AND_LOG:
		return "block_and_log";
	case TLSPROXY_BLOCK_AND_TERMINATE:
		return "block_and_terminate";
	case TLSPROXY_PASSTHROUGH:
		return "passthrough";
	}
	return "unknown";
}

void proxy_on_secret(void *ctx, const struct tlsproxy_secret_event *s)
{
	struct proxy *px = ctx;
	struct audit_event e;

	if (!s->violation)
		proxy_token_used(s->env);
	begin_event(px, &e, "secret", s->flow);
	audit_str(&e, "secret", s->env);
	audit_str(&e, "event", s->violation ? "violation" : "used");
	audit_str(&e, "verdict",
		  !s->violation || s->action == TLSPROXY_PASSTHROUGH ? "allow" : "deny");
	audit_str(&e, "place", place_name(s->place));
	audit_str(&e, "name", s->name);
	audit_str(&e, "encoding", s->encoding);
	audit_str(&e, "protocol", s->protocol);
	audit_str(&e, "host", s->host);
	audit_str(&e, "method", s->method);
	audit_str(&e, "path", s->path);
	if (s->uses)
		audit_u64(&e, "uses", s->uses);
	audit_str(&e, "action", s->violation ? action_name(s->action) : NULL);
	audit_str(&e, "denial", s->denial_id);
	audit_str(&e, "detail", s->detail);
	record_send(&px->record, &e);
	if (!s->violation && s->uses)
		proxy_secrets_used(&px->secrets, s->env, s->uses);
}
