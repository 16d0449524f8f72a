/* SPDX-License-Identifier: Apache-2.0 */
/* The record of each query: what its line says, and whether it gets one. */
#include "weir/gateway_int.h"

/*
 * What was let through only because denials are not enforced: the name itself,
 * a name behind it, an address, the type. *ret_detail says which of the latter.
 */
static bool was_observed(struct gateway *gw, const struct dns_event *d, struct ruling *r,
			 const char **ret_detail, char text[static 96])
{
	if (!gw->judge.observe || r->observed)
		return r->observed;
	for (size_t i = 0; i < OBSERVED_ALIASES; i++) {
		struct observed_alias *o = &gw->observed[i];

		if (o->asked.len && name_equal(&o->asked, &d->q->name)) {
			*r = o->ruling;
			*o = (struct observed_alias){ 0 };
			*ret_detail = gateway_alias_denied;
			return true;
		}
	}
	for (size_t i = 0; i < d->n_answers; i++) {
		struct ruling a = judge_address(&gw->judge, &d->answers[i]);

		if (a.observed) {
			*r = a;
			*ret_detail = gateway_rebinding_text(&d->answers[i], text);
			return true;
		}
	}
	/* What was answered from here has its own detail. */
	if (d->detail || !gateway_type_observed(gw, d->q))
		return false;
	*r = judge_own_refusal(&gw->judge);
	*ret_detail = "no rule lets this type be asked";
	return true;
}

static const char *result_name(enum dns_result r)
{
	switch (r) {
	case DNS_ANSWERED:
		return "answered";
	case DNS_EMPTY:
		return "empty";
	case DNS_NXDOMAIN:
		return "nxdomain";
	case DNS_DENIED:
		return "denied";
	case DNS_REBIND:
		return "rebind";
	case DNS_FAILED:
		return "failed";
	case DNS_REFUSED:
		return "refused";
	case DNS_BUDGET:
		return "budget";
	}
	return "unknown";
}

static const char *type_name(uint16_t type, char out[static 12])
{
	switch (type) {
	case 1:
		return "A";
	case 12:
		return "PTR";
	case 15:
		return "MX";
	case 16:
		return "TXT";
	case 28:
		return "AAAA";
	case 33:
		return "SRV";
	case 64:
		return "SVCB";
	case 65:
		return "HTTPS";
	default:
		snprintf(out, 12, "TYPE%u", type);
		return out;
	}
}

static void audit_addresses(struct audit_event *e, const char *key, const struct ip_addr *a, size_t n)
{
	char ip[IP_STRLEN];

	if (n == 0)
		return;
	audit_array_begin(e, key);
	for (size_t i = 0; i < n; i++)
		audit_str(e, NULL, ip_format(&a[i], ip));
	audit_array_end(e);
}

static const char *transport_name(enum dns_transport t)
{
	return t == DNS_UDP ? "udp" : t == DNS_TCP ? "tcp" : "tls";
}

void gateway_dns_line(struct gateway *gw, const struct dns_said *s, const char *denial, uint64_t count)
{
	struct audit_event e;
	char type[12];

	audit_event_begin(&e, "dns");
	if (s->q->name.len)
		audit_str(&e, "name", s->q->name.s);
	audit_str(&e, "qtype", type_name(s->q->type, type));
	audit_str(&e, "transport", transport_name(s->q->transport));
	audit_ip(&e, "server", &s->q->server.addr);
	record_ruling(&e,
		      s->denied			? "deny"
		      : s->result == DNS_FAILED ? "fail"
						: "allow",
		      &s->ruling);
	audit_str(&e, "result", result_name(s->result));
	audit_str(&e, "denial", denial);
	audit_str(&e, "detail", s->detail);
	audit_addresses(&e, "answers", s->answers, s->n_answers);
	audit_addresses(&e, "given", s->given, s->given ? 1 : 0);
	if (count)
		audit_u64(&e, "count", count);
	record_send(&gw->record, &e);
}

void gateway_dns_event(void *ctx, const struct dns_event *d)
{
	struct gateway *gw = ctx;
	struct dns_said s = {
		.q = d->q,
		.result = d->result,
		.denied = d->result == DNS_DENIED || d->result == DNS_REBIND ||
			  d->result == DNS_REFUSED || d->result == DNS_BUDGET,
		.ruling = gateway_judge_question(gw, d->q),
		.denial = d->denial_id,
		.detail = d->detail,
		.answers = d->answers,
		.n_answers = d->n_answers,
		.given = d->given,
	};
	struct ruling *r = &s.ruling;
	char id[DENIAL_ID_LEN], text[96];
	const char *denial = d->denial_id;

	/* A rule is named where it decided: not for what is answered or refused without one. */
	r->ruled = d->q->name.len && s.denied == (r->answer != POLICY_ANSWER_ALLOW) &&
		   d->result != DNS_REBIND && d->result != DNS_REFUSED && d->result != DNS_BUDGET;
	if (d->detail == dns_own_detail)
		r->ruled = false;
	if (s.denied || !d->q->name.len || d->detail == dns_own_detail)
		r->observed = false;
	if (d->result == DNS_REBIND)
		r->by.floor = false;
	s.own_denial = (!s.denied && d->q->name.len && d->detail != dns_own_detail &&
			was_observed(gw, d, r, &s.detail, text)) ||
		       (d->result == DNS_REFUSED && !denial);
	if (gateway_dns_counted(gw, &s))
		return;
	if (s.own_denial) {
		record_denial_id(&gw->record, id);
		denial = id;
	}
	gateway_dns_line(gw, &s, denial, 0);
	gateway_dns_remember(gw, &s, denial);
}
