/* SPDX-License-Identifier: Apache-2.0 */
/* The gateway's side of dns: policy's word on names and answers, and the guest's queries. */
#include "weir/gateway_int.h"

#include "weir/message.h"

#include <sys/socket.h>

struct dns_ask {
	struct list in_flow;
	struct flow *f;
	struct dns_query *q;
};

/* Queries under way per sandbox; dns has its own, lower limit with a proper refusal. */
#define DNS_ASKS_MAX 4096

/* id NULL: a new one. */
static void denial_text(struct gateway *gw, const struct ruling *r, const char *what,
			const char *id, struct dns_denial *ret)
{
	const struct policy_verdict *v = &r->by;
	const char *whose = v->floor ? " of the operator's floor" : "";
	char rule[24];

	if (id)
		snprintf(ret->id, sizeof(ret->id), "%s", id);
	else
		record_denial_id(&gw->record, ret->id);
	if (!r->ruled)
		snprintf(ret->text, sizeof(ret->text), "%s%s", what,
			 v->floor ? ", says the operator's floor" : "");
	else if (v->rule < 0)
		snprintf(ret->text, sizeof(ret->text), "%s: " RECORD_NO_RULE "%s", what, whose);
	else
		snprintf(ret->text, sizeof(ret->text), "%s by rule %s%s%s%s", what,
			 record_rule_name(v, rule), whose, v->reason ? ": " : "",
			 v->reason ? v->reason : "");
}

struct ruling gateway_judge_question(struct gateway *gw, const struct dns_question *q)
{
	const struct known_name *k;
	const char *encoding;
	struct name n;

	(void)policy_query_subject(gw->judge.policy, &q->name, q->type, &n);
	k = gateway_find(gw, &q->name, &encoding);
	if (k && k->action != TLSPROXY_PASSTHROUGH)
		return judge_refusal(&gw->judge);
	return judge_name(&gw->judge, &n);
}

/* Of the same refusal, when this one will only be counted. */
static const char *known_denial(struct gateway *gw, const struct dns_question *q,
				const struct ruling *r)
{
	struct dns_said s = {
		.q = q,
		.result = DNS_DENIED,
		.denied = true,
		.ruling = *r,
	};

	s.ruling.ruled = true;
	s.ruling.observed = false;
	return gateway_dns_denial_again(gw, &s);
}

static bool judge_query(void *ctx, const struct dns_question *q, bool *ret_exact,
			struct dns_denial *ret_denial)
{
	struct gateway *gw = ctx;
	struct ruling r = gateway_judge_question(gw, q);
	char id[DENIAL_ID_LEN];

	if (gateway_name_violates(gw, &q->name, "dns", 0, id)) {
		*ret_exact = false;
		denial_text(gw, &r, "a secret where it may not be: its placeholder in a name", id,
			    ret_denial);
		return false;
	}
	/* Not a service's name below an exact one: its labels are the guest's own words. */
	*ret_exact = policy_query_exact(gw->judge.policy, &q->name);
	if (r.answer == POLICY_ANSWER_ALLOW)
		return true;
	denial_text(gw, &r, "name denied", known_denial(gw, q, &r), ret_denial);
	return false;
}

/* Types that carry text of any kind need a rule's word; 0: another type. */
static enum policy_qtype word_of_type(uint16_t type)
{
	switch (type) {
	case 15:
		return POLICY_QTYPE_MX;
	case 16:
		return POLICY_QTYPE_TXT;
	case 33:
		return POLICY_QTYPE_SRV;
	default:
		return 0;
	}
}

/* Does a rule let a type be asked that needs its word? */
static bool type_ruled(const struct gateway *gw, const struct dns_question *q)
{
	enum policy_qtype word = word_of_type(q->type);
	struct name n;

	(void)policy_query_subject(gw->judge.policy, &q->name, q->type, &n);
	return word && policy_query_type(gw->judge.policy, &n, word);
}

bool gateway_type_observed(const struct gateway *gw, const struct dns_question *q)
{
	return word_of_type(q->type) && !judge_enforces(&gw->judge) && !type_ruled(gw, q);
}

static bool judge_type(void *ctx, const struct dns_question *q)
{
	struct gateway *gw = ctx;

	return type_ruled(gw, q) || gateway_type_observed(gw, q);
}

static void new_denial_id(void *ctx, char ret[static 40])
{
	struct gateway *gw = ctx;

	record_denial_id(&gw->record, ret);
}

/* The group, not the address: the sandbox need not learn what is inside. */
const char *gateway_rebinding_text(const struct ip_addr *a, char out[static 96])
{
	snprintf(out, 96, "a %s address may not stand behind a name",
		 policy_group_name(policy_group_of(a)));
	return out;
}

static bool judge_answer(void *ctx, const struct dns_question *q, const struct ip_addr *a,
			 struct dns_denial *ret_denial)
{
	struct gateway *gw = ctx;
	struct ruling r = judge_address(&gw->judge, a);
	char text[96];

	(void)q;
	if (r.answer == POLICY_ANSWER_ALLOW)
		return true;
	denial_text(gw, &r, gateway_rebinding_text(a, text), NULL, ret_denial);
	return false;
}

const char gateway_alias_denied[] = "the name is an alias of one denied";

static bool judge_alias(void *ctx, const struct dns_question *q, const struct name *alias,
			struct dns_denial *ret_denial)
{
	struct gateway *gw = ctx;
	struct ruling r = judge_alias_of(&gw->judge, &q->name, alias);

	if (r.answer != POLICY_ANSWER_ALLOW) {
		denial_text(gw, &r, gateway_alias_denied, NULL, ret_denial);
		return false;
	}
	if (r.observed) {
		struct observed_alias *o = &gw->observed[gw->next_observed++ % OBSERVED_ALIASES];

		*o = (struct observed_alias){ .asked = q->name, .ruling = r };
	}
	return true;
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

void gateway_dns_resolvers(struct gateway *gw, const struct endpoint *servers, size_t n)
{
	int r = n && n <= MSG_RESOLVERS_MAX ? dns_set_upstreams(gw->dns, servers, n) : -EINVAL;

	if (r < 0)
		log_warn("the new resolvers cannot be used, the old ones stay: %s", strerror(-r));
}

/* What the sandbox may call its gateway and itself. */
static size_t own_names(const struct sandbox_net *net, struct dns_record ret[static DNS_OWN_MAX])
{
	static const char *const host[] = { SANDBOX_HOST_NAME, SANDBOX_HOST_NAME_MSB };
	size_t n = 0;

	for (size_t i = 0; i < ARRAY_SIZE(host); i++) {
		struct name name;

		if (name_parse(host[i], strlen(host[i]), &name, NULL) < 0)
			continue;
		ret[n++] = (struct dns_record){ name, net->gateway4 };
		ret[n++] = (struct dns_record){ name, net->gateway6 };
	}
	if (name_parse(SANDBOX_OWN_NAME, strlen(SANDBOX_OWN_NAME), &ret[n].name, NULL) == 0) {
		ret[n + 1].name = ret[n].name;
		ret[n++].addr = net->guest4;
		ret[n++].addr = net->guest6;
	}
	return n;
}

int gateway_dns_start(struct gateway *gw, const struct gateway_spec *spec)
{
	static const struct dns_ops ops = {
		.judge_query = judge_query,
		.judge_answer = judge_answer,
		.event = gateway_dns_event,
		.judge_alias = judge_alias,
		.judge_type = judge_type,
		.new_denial_id = new_denial_id,
	};
	struct dns_record own[DNS_OWN_MAX];
	struct dns_config cfg = {
		.mode = gw->cfg->dns_mode,
		.upstreams = spec->resolvers,
		.n_upstreams = spec->n_resolvers,
		.records = gw->cfg->dns_records,
		.n_records = gw->cfg->n_dns_records,
		.virtual4 = gw->cfg->net.virtual4,
		.virtual6 = gw->cfg->net.virtual6,
		.own = own,
		.n_own = own_names(&gw->cfg->net, own),
		.own_nets = { gw->cfg->net.slot4, gw->cfg->net.slot6 },
		.timeout_ms = gw->cfg->dns_timeout_ms,
		.stale_s = gw->cfg->dns_stale_s,
		/* QUIC is refused where TLS is read. */
		.no_quic = weir_config_reads_port(gw->cfg, 443),
		.budget = gw->cfg->dns_budget,
	};
	int r;

	/* It knows no denial that is only told. */
	cfg.budget.off = cfg.budget.off || gw->judge.observe;
	pool_init(&gw->query_pool, sizeof(struct dns_ask), DNS_ASKS_MAX);
	r = gateway_dns_repeats_start(gw);
	if (r < 0)
		return r;
	return dns_new(gw->loop, &cfg, &ops, gw, &gw->dns);
}
