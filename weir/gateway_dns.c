/* SPDX-License-Identifier: Apache-2.0 */
/* The gateway's side of dns: policy's word on names and answers, and the record of each query. */
#include "weir/gateway_int.h"

#include <sys/socket.h>

struct dns_ask {
	struct list in_flow;
	struct flow *f;
	struct dns_query *q;
};

/* Queries under way per sandbox; dns has its own, lower limit with a proper refusal. */
#define DNS_ASKS_MAX 4096

static void denial_text(struct gateway *gw, const struct policy_verdict *v, const char *what,
			struct dns_denial *ret)
{
	char rule[24];

	record_denial_id(&gw->record, ret->id);
	if (v && v->rule < 0)
		snprintf(ret->text, sizeof(ret->text), "%s: " RECORD_NO_RULE, what);
	else if (v)
		snprintf(ret->text, sizeof(ret->text), "%s by rule %s%s%s", what,
			 record_rule_name(v, rule), v->reason ? ": " : "",
			 v->reason ? v->reason : "");
	else
		snprintf(ret->text, sizeof(ret->text), "%s", what);
}

static bool judge_query(void *ctx, const struct dns_question *q, bool *ret_exact,
			struct dns_denial *ret_denial)
{
	struct gateway *gw = ctx;
	struct policy_verdict v = policy_decide_query(gw->cfg->policy, &q->name);

	*ret_exact = policy_query_exact(gw->cfg->policy, &q->name);
	if (v.answer == POLICY_ANSWER_ALLOW)
		return true;
	denial_text(gw, &v, "name denied", ret_denial);
	return false;
}

/* Types that carry text of any kind need a rule's word. */
static bool judge_type(void *ctx, const struct dns_question *q)
{
	struct gateway *gw = ctx;

	switch (q->type) {
	case 15:
		return policy_query_type(gw->cfg->policy, &q->name, POLICY_QTYPE_MX);
	case 16:
		return policy_query_type(gw->cfg->policy, &q->name, POLICY_QTYPE_TXT);
	case 33:
		return policy_query_type(gw->cfg->policy, &q->name, POLICY_QTYPE_SRV);
	default:
		return false;
	}
}

static void new_denial_id(void *ctx, char ret[static 40])
{
	struct gateway *gw = ctx;

	record_denial_id(&gw->record, ret);
}

static bool judge_answer(void *ctx, const struct dns_question *q, const struct ip_addr *a,
			 struct dns_denial *ret_denial)
{
	struct gateway *gw = ctx;
	char text[96];

	(void)q;
	if (policy_answer_ok(gw->cfg->policy, a))
		return true;
	/* The group, not the address: the sandbox need not learn what is inside. */
	snprintf(text, sizeof(text), "a %s address may not stand behind a name",
		 policy_group_name(policy_group_of(a)));
	denial_text(gw, NULL, text, ret_denial);
	return false;
}

static bool judge_alias(void *ctx, const struct dns_question *q, const struct name *alias,
			struct dns_denial *ret_denial)
{
	struct gateway *gw = ctx;
	struct policy_verdict v = policy_decide_alias(gw->cfg->policy, &q->name, alias);

	if (v.answer == POLICY_ANSWER_ALLOW)
		return true;
	denial_text(gw, &v, "the name is an alias of one denied", ret_denial);
	return false;
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

static void on_event(void *ctx, const struct dns_event *d)
{
	struct gateway *gw = ctx;
	bool denied = d->result == DNS_DENIED || d->result == DNS_REBIND ||
		      d->result == DNS_REFUSED || d->result == DNS_BUDGET;
	char type[12], id[DENIAL_ID_LEN];
	const char *denial = d->denial_id;
	struct policy_verdict v;
	struct audit_event e;
	bool ruled;

	audit_event_begin(&e, "dns");
	if (d->q->name.len)
		audit_str(&e, "name", d->q->name.s);
	audit_str(&e, "qtype", type_name(d->q->type, type));
	audit_str(&e, "transport",
		  d->q->transport == DNS_UDP   ? "udp"
		  : d->q->transport == DNS_TCP ? "tcp"
					       : "tls");
	audit_ip(&e, "server", &d->q->server.addr);
	v = policy_decide_query(gw->cfg->policy, &d->q->name);
	/* A rule is named where it decided: not for what is answered or refused without one. */
	ruled = d->q->name.len && denied == (v.answer != POLICY_ANSWER_ALLOW) &&
		d->result != DNS_REBIND && d->result != DNS_REFUSED && d->result != DNS_BUDGET;
	if (d->result == DNS_REFUSED && !denial) {
		record_denial_id(&gw->record, id);
		denial = id;
	}
	record_verdict(&e,
		       denied			 ? "deny"
		       : d->result == DNS_FAILED ? "fail"
						 : "allow",
		       ruled ? &v : NULL);
	audit_str(&e, "result", result_name(d->result));
	audit_str(&e, "denial", denial);
	audit_str(&e, "detail", d->detail);
	audit_addresses(&e, "answers", d->answers, d->n_answers);
	audit_addresses(&e, "given", d->given, d->given ? 1 : 0);
	record_send(&gw->record, &e);
}

/* ---- guest's queries ---------------------------------------------------------- */

static void on_reply(void *user, const uint8_t *msg, size_t len)
{
	struct dns_ask *a = user;
	struct flow *f = a->f;

	list_del(&a->in_flow);
	pool_put(&f->gw->query_pool, a);
	if (len)
		netstack_flow_send(f->ns, msg, len);
	/* A resolver's socket is rarely used twice; idle, it would fill the flow table. */
	if (list_empty(&f->queries))
		netstack_flow_abort(f->ns);
}

void gateway_dns_udp(struct flow *f, const uint8_t *p, size_t len)
{
	const struct netstack_tuple *t = netstack_flow_tuple(f->ns);
	struct dns_ask *a = pool_get(&f->gw->query_pool);
	struct dns_query *q;

	if (!a)
		return; /* as a full queue does; the client asks again */
	a->f = f;
	list_add_tail(&f->queries, &a->in_flow);
	q = dns_query(f->gw->dns, p, len, DNS_UDP, &t->guest, &t->remote, on_reply, a);
	/* NULL: the reply has gone out, and `a` with it. */
	if (q)
		a->q = q;
}

void gateway_dns_tcp(struct flow *f)
{
	const struct netstack_tuple *t = netstack_flow_tuple(f->ns);
	int sv[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, sv) < 0) {
		netstack_flow_refuse(f->ns, NETSTACK_LIMIT);
		return;
	}
	if (dns_serve_tcp(f->gw->dns, sv[1], DNS_TCP, &t->guest, &t->remote) < 0) {
		fd_close(sv[0]);
		netstack_flow_refuse(f->ns, NETSTACK_LIMIT);
		return;
	}
	netstack_flow_attach(f->ns, sv[0], false);
}

/* Whatever resolver it is for, the tlsproxy ends its TLS and ours reads what is inside. */
void gateway_dns_tls(struct flow *f)
{
	const struct netstack_tuple *t = netstack_flow_tuple(f->ns);
	int sv[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, sv) < 0) {
		gateway_flow_fail(f, EMFILE, "out of descriptors");
		return;
	}
	if (dns_serve_tcp(f->gw->dns, sv[1], DNS_TLS, &t->guest, &t->remote) < 0) {
		fd_close(sv[0]);
		gateway_record_refusal(f, true, "too many DNS connections at a time");
		netstack_flow_refuse(f->ns, NETSTACK_LIMIT);
		return;
	}
	f->proxy_tls = f->terminate = true;
	gateway_to_proxy(f, sv[0]);
}

void gateway_dns_cancel(struct flow *f)
{
	list_for_each_safe (it, next, &f->queries) {
		struct dns_ask *a = container_of(it, struct dns_ask, in_flow);

		dns_query_cancel(a->q);
		list_del(it);
		pool_put(&f->gw->query_pool, a);
	}
}

int gateway_dns_start(struct gateway *gw, const struct gateway_spec *spec)
{
	static const struct dns_ops ops = {
		.judge_query = judge_query,
		.judge_answer = judge_answer,
		.event = on_event,
		.judge_alias = judge_alias,
		.judge_type = judge_type,
		.new_denial_id = new_denial_id,
	};
	struct dns_config cfg = {
		.mode = gw->cfg->dns_mode,
		.upstreams = spec->resolvers,
		.n_upstreams = spec->n_resolvers,
		.records = gw->cfg->dns_records,
		.n_records = gw->cfg->n_dns_records,
		.virtual4 = virtual_net4,
		.virtual6 = virtual_net6,
		.timeout_ms = gw->cfg->dns_timeout_ms,
		.no_quic = gateway_reads_port(gw, 443),
	};

	pool_init(&gw->query_pool, sizeof(struct dns_ask), DNS_ASKS_MAX);
	return dns_new(gw->loop, &cfg, &ops, gw, &gw->dns);
}
