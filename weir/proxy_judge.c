/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the policy says of a TLS name, of a request, of the target of a CONNECT: the tlsproxy asks
 * its own copy. Names are the sandbox's claims; those that the flow is known by count too.
 */
#include "weir/proxy_int.h"

#include "weir/addresses.h"
#include "weir/flow_name.h"

#include <stdio.h>

static const char refused_doh[] =
	"DNS over HTTPS goes around the resolver that judges names; use the system's resolver, or "
	"allow it (dns.doh, --dns-doh, a rule on group doh)";

static bool was_given(const struct tlsproxy_flow *f, const struct name *n)
{
	return flow_name_given(n, f->has_name ? &f->name : NULL, f->candidates, f->n_candidates);
}

/*
 * What stands for the address that an explicit proxy dials. A public proxy reaches what is
 * public. What one inside reaches by a name nobody knows: no rule allows it by its
 * address, and any that denies addresses may mean it.
 */
static struct ip_addr address_behind(const struct proxy *px, const struct tlsproxy_flow *f)
{
	if (!f->has_name || policy_group_of(&f->upstream.addr) != POLICY_GROUP_PUBLIC)
		return f->remote.addr;
	return policy_public_sample(px->judge.policy);
}

/* What the flow is known by, for facts that outlive the call: one at a time, in one thread. */
static struct policy_facts facts_of(const struct proxy *px, const struct tlsproxy_flow *f,
				    const struct name *name)
{
	static struct name names[1 + ARRAY_SIZE(f->candidates)];
	struct policy_facts facts = {
		.dir = POLICY_EGRESS,
		.proto = POLICY_TCP,
		.addr = f->upstream.addr,
		.is_host = is_gateway(&px->cfg->net, &f->remote.addr),
		.port = f->remote.port,
		.name = POLICY_NONE,
	};

	/* Judged as what it is to the sandbox, not as the loopback it stands for. */
	if (facts.is_host)
		facts.addr = f->remote.addr;
	if (f->connect)
		facts.addr = address_behind(px, f);
	if (!name && f->has_name)
		name = &f->name;
	if (name) {
		facts.name = POLICY_KNOWN;
		facts.names = names;
		facts.name_unproven = !was_given(f, name);
		names[facts.n_names++] = *name;
		/* A name that is only claimed does not hide those that the address is known by. */
		if (facts.name_unproven && f->has_name)
			names[facts.n_names++] = f->name;
		for (size_t i = 0; facts.name_unproven && i < f->n_candidates; i++)
			names[facts.n_names++] = f->candidates[i];
	}
	return facts;
}

/* What the sandbox is told in a 403, when the rule has no reason of its own. */
static const char *default_reason(const struct policy_verdict *v)
{
	if (v->floor)
		return v->rule < 0 ? "the operator's floor: " RECORD_NO_RULE
				   : "a rule of the operator's floor";
	return v->rule < 0 ? RECORD_NO_RULE : "";
}

static void fill_verdict(struct proxy *px, const struct ruling *r, const char *detail,
			 struct tlsproxy_verdict *ret)
{
	const struct policy_verdict *v = &r->by;
	char rule[24];

	*ret = (struct tlsproxy_verdict){
		.allow = r->answer != POLICY_ANSWER_DENY,
		.need_http = r->answer == POLICY_ANSWER_NEED_HTTP,
		.floor = r->ruled && v->floor,
		.tag = r->generation,
	};
	if (r->ruled)
		snprintf(ret->rule, sizeof(ret->rule), "%s", record_rule_name(v, rule));
	if (detail || v->reason)
		snprintf(ret->reason, sizeof(ret->reason), "%s", detail ? detail : v->reason);
	else if (v->answer == POLICY_ANSWER_DENY)
		snprintf(ret->reason, sizeof(ret->reason), "%s", default_reason(v));
	/* Allowed with a denial id: only observed. */
	if (!ret->allow || r->observed)
		record_denial_id(&px->record, ret->denial_id);
}

/* A placeholder in the TLS name: refused as it is in a request. */
static bool name_violates(struct proxy *px, const struct tlsproxy_flow *f, const struct name *sni,
			  struct tlsproxy_verdict *ret)
{
	struct tlsproxy_secret_event e = { .flow = f,
					   .violation = true,
					   .name = sni->s,
					   .detail = NULL,
					   .protocol = "sni",
					   .path = "",
					   .denial_id = "",
					   .method = NULL };
	struct tlsproxy_known k;
	size_t i;

	if (!tlsproxy_finder_name(px->finder, sni, &i, &e.encoding) || !tlsproxy_known(px->tp, i, &k))
		return false;
	e.env = k.env;
	e.action = k.on_violation;
	if (e.action != TLSPROXY_PASSTHROUGH) {
		*ret = (struct tlsproxy_verdict){ .reason = "a secret where it may not be: its "
							    "placeholder in the TLS name" };
		record_denial_id(&px->record, ret->denial_id);
		e.denial_id = ret->denial_id;
	}
	if (e.action != TLSPROXY_BLOCK)
		proxy_on_secret(px, &e);
	if (e.action == TLSPROXY_BLOCK_AND_TERMINATE)
		proxy_on_terminate(px, k.env);
	return e.action != TLSPROXY_PASSTHROUGH;
}

void proxy_judge_tls(void *ctx, const struct tlsproxy_flow *f, bool has_sni, const struct name *sni,
		     struct tlsproxy_verdict *ret)
{
	struct proxy *px = ctx;
	struct policy_facts facts = facts_of(px, f, has_sni ? sni : NULL);
	struct ruling r = judge_facts(&px->judge, &facts);

	if (has_sni && name_violates(px, f, sni, ret))
		return;
	fill_verdict(px, &r, NULL, ret);
}

static bool reads_tls(const struct weir_config *cfg, const struct tlsproxy_flow *f)
{
	return weir_config_reads_port(cfg, f->remote.port) &&
	       !(f->has_name &&
		 tlsproxy_host_matches_any(cfg->tls_bypass, cfg->n_tls_bypass, &f->name));
}

void proxy_judge_connect(void *ctx, const struct tlsproxy_flow *f, struct tlsproxy_verdict *ret)
{
	struct proxy *px = ctx;
	struct policy_facts facts = facts_of(px, f, NULL);
	struct ruling r = judge_facts(&px->judge, &facts);

	fill_verdict(px, &r, NULL, ret);
	ret->intercept = reads_tls(px->cfg, f);
}

/*
 * Its path can be read in two ways: refused by a rule that denies it anyhow, else
 * for this alone. *ret_detail is set when it matters to the rules.
 */
static struct ruling judge_unreadable(struct proxy *px, const struct policy_facts *facts,
				      const char **ret_detail)
{
	struct ruling r = judge_facts(&px->judge, facts);

	if (!policy_has_http(px->judge.policy))
		return r;
	*ret_detail = "the path can be read in two ways";
	return r.by.answer == POLICY_ANSWER_DENY ? r : judge_own_refusal(&px->judge);
}

/*
 * DNS over HTTPS is denied unless the configuration, or a rule on group doh, means
 * it. A denial that is only observed means nothing: it stays on the record as it
 * is, or, with a floor, is a refusal that holds.
 */
static bool goes_around_resolver(const struct proxy *px, const struct tlsproxy_request *r,
				 const struct ruling *ruling)
{
	if (!r->doh || px->cfg->dns_doh || ruling->answer == POLICY_ANSWER_DENY)
		return false;
	if (ruling->observed)
		return judge_enforces(&px->judge);
	return !judge_means_doh(&px->judge, ruling);
}

void proxy_judge_http(void *ctx, const struct tlsproxy_request *r, struct tlsproxy_verdict *ret)
{
	struct proxy *px = ctx;
	const struct name *name = r->has_sni		 ? &r->sni
				  : r->authority.is_addr ? NULL
							 : &r->authority.name;
	struct policy_facts facts = facts_of(px, r->flow, name);
	const char *path, *detail = NULL;
	struct ruling ruling;

	facts.http = POLICY_NONE;
	buf_reset(&px->path);
	/* "*" of OPTIONS has no path; rules by path do not match it. */
	if (r->target[0] == '/' &&
	    policy_path_normalise(r->target, strlen(r->target), &px->path) < 0) {
		ruling = judge_unreadable(px, &facts, &detail);
	} else {
		path = buf_str(&px->path);
		if (path) {
			facts.http = POLICY_KNOWN;
			facts.method = r->method;
			facts.path = path;
		}
		ruling = judge_facts(&px->judge, &facts);
	}
	if (!detail && goes_around_resolver(px, r, &ruling)) {
		detail = refused_doh;
		ruling = judge_own_refusal(&px->judge);
	}
	fill_verdict(px, &ruling, detail, ret);
}

bool proxy_path_matches(void *ctx, const char *pattern, const char *target)
{
	struct proxy *px = ctx;
	const char *path;

	buf_reset(&px->path);
	if (target[0] != '/' || policy_path_normalise(target, strlen(target), &px->path) < 0)
		return false;
	path = buf_str(&px->path);
	return path && policy_path_match(pattern, path);
}

void proxy_denial_id(void *ctx, char ret[static 40])
{
	struct proxy *px = ctx;

	record_denial_id(&px->record, ret);
}
