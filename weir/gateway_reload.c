/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Another policy is in force: what becomes of the flows that live.
 *
 *   not judged yet (resolving, waiting for its first bytes)   nothing: they will be
 *   dialling       an address under way that is not allowed any more is dropped
 *                  before it answers; the others are tried
 *   connected      judged once more by what is known of it; not allowed: reset
 *   read by the tlsproxy   the same, and the tlsproxy judges names and requests
 *
 * What was never learned of a flow can often not be learned any more: its first
 * bytes have passed. Such a flow lives on only when the rules allow it without.
 */
#include "weir/gateway_int.h"

#include <stdio.h>

/* It has been told the world's end: nothing may be read from its start any more. */
static bool is_connected(const struct flow *f)
{
	return f->upstream.port || f->recorded;
}

static bool is_waiting(const struct flow *f)
{
	return (f->lookup && !f->with_proxy) || (f->early && loop_timer_armed(&f->deadline));
}

/* The address the rules know it by: a loopback stands for what the sandbox calls its gateway. */
static struct ip_addr judged_address(const struct flow *f, const struct ip_addr *dialled)
{
	const struct netstack_tuple *t = netstack_flow_tuple(f->ns);

	return is_gateway(&f->gw->cfg->net, &t->remote.addr) || !dialled->family ? t->remote.addr
										 : *dialled;
}

/* Facts of a flow whose bytes are past: what is unknown by now stays so. */
static struct policy_facts settled_facts(const struct flow *f, struct name names[static FLOW_NAMES])
{
	struct ip_addr addr = judged_address(f, &f->upstream.addr);
	struct policy_facts facts = gateway_flow_facts(f, &addr, names);

	/* Held or read by the tlsproxy: name and request may still come. */
	if (f->with_proxy || !f->recorded)
		return facts;
	facts.http = POLICY_NONE;
	if (facts.name == POLICY_UNKNOWN) {
		facts.name = POLICY_NONE;
		facts.n_names = 0;
	}
	return facts;
}

/* Would these rules have looked whether its bytes speak of another name, and did nobody look? */
static bool is_unverified(const struct flow *f)
{
	struct ip_addr addr = judged_address(f, &f->upstream.addr);

	return netstack_flow_tuple(f->ns)->proto == NETSTACK_TCP && f->has_name && !f->with_proxy &&
	       f->recorded && !f->name_agrees && judge_enforces(&f->gw->judge) &&
	       gateway_name_matters(f, &addr);
}

static struct ruling judge_again(const struct flow *f)
{
	struct name names[FLOW_NAMES];
	struct policy_facts facts;

	if (f->kind == FLOW_PUBLISHED || f->kind == FLOW_PUBLISHED_UDP)
		return gateway_publish_judge(f);
	facts = settled_facts(f, names);
	return judge_facts(&f->gw->judge, &facts);
}

static void end_flow(struct flow *f, const struct ruling *r, const char *why)
{
	char denial[DENIAL_ID_LEN], detail[160];

	f->ruling = *r;
	f->unpoliced = f->recorded;
	record_denial_id(&f->gw->record, denial);
	snprintf(detail, sizeof(detail), "policy generation %llu%s%s",
		 (unsigned long long)f->gw->judge.generation, why ? ": " : "", why ? why : "");
	gateway_record_flow(f, "deny", denial, detail);
	netstack_flow_abort(f->ns);
}

/* Lives on by another ruling; what is still held will be looked at for it. */
static void keep(struct flow *f, const struct ruling *r, const struct ip_addr *addr)
{
	bool published = f->kind == FLOW_PUBLISHED || f->kind == FLOW_PUBLISHED_UDP;
	struct name names[FLOW_NAMES];
	struct policy_facts facts;

	f->ruling = *r;
	facts = is_connected(f) ? settled_facts(f, names) : gateway_flow_facts(f, addr, names);
	gateway_limit_join(f, published ? NULL : &facts);
	f->name_rests = f->name_rests || (f->has_name && gateway_name_matters(f, addr));
	if (!published && netstack_flow_tuple(f->ns)->proto == NETSTACK_UDP)
		gateway_quic_watch(f, addr);
}

/* True: it ended. */
static bool rejudge_connected(struct flow *f)
{
	struct ip_addr addr = judged_address(f, &f->upstream.addr);
	struct ruling r = judge_again(f), refusal = judge_refusal(&f->gw->judge);

	if (r.answer == POLICY_ANSWER_DENY)
		end_flow(f, &r, NULL);
	else if (r.answer == POLICY_ANSWER_NEED_NAME && !f->with_proxy)
		end_flow(f, &refusal, "its name has to be read before it is connected");
	else if (is_unverified(f))
		end_flow(f, &refusal, "whose name its bytes speak of was not read");
	else
		return keep(f, &r, &addr), false;
	return true;
}

/* Each address that is still to be tried, or is being tried, as it is judged now. */
static bool dial_still_allowed(const struct flow *f)
{
	struct name names[FLOW_NAMES];

	for (size_t i = f->dial->at; i < f->dial->n; i++) {
		struct ip_addr addr = judged_address(f, &f->dial->to[i].addr);
		struct policy_facts facts = gateway_flow_facts(f, &addr, names);

		if (judge_facts(&f->gw->judge, &facts).answer != f->ruling.answer)
			return false;
	}
	return true;
}

static bool rejudge_dialling(struct flow *f)
{
	const struct netstack_tuple *t = netstack_flow_tuple(f->ns);
	struct endpoint left[DIAL_MAX_ADDRS];
	struct name names[FLOW_NAMES];
	struct policy_facts facts;
	struct ip_addr addr;
	struct ruling r;
	struct gateway *gw = f->gw;
	size_t n = 0, before = gw->flow_pool.used;

	if (dial_still_allowed(f)) {
		addr = judged_address(f, &f->dial->to[f->dial->at].addr);
		facts = gateway_flow_facts(f, &addr, names);
		r = judge_facts(&f->gw->judge, &facts);
		keep(f, &r, &addr);
		return false;
	}
	if (is_gateway(&gw->cfg->net, &t->remote.addr))
		left[n++] = t->remote;
	else
		for (size_t i = f->dial->at; i < f->dial->n; i++)
			left[n++] = f->dial->to[i];
	dial_cancel(f->dial);
	/* Denied, it is refused as a new one is; its own end is on the record as that. */
	gateway_flow_judge(f, left, n);
	return gw->flow_pool.used < before;
}

/* True: it ended. */
static bool rejudge(struct flow *f)
{
	if (f->kind == FLOW_DNS)
		return false;
	if (flow_dialling(f) && !f->with_proxy)
		return rejudge_dialling(f);
	if (is_waiting(f) || !is_connected(f)) {
		/* Nothing may point into the policy that goes. */
		f->ruling = judge_refusal(&f->gw->judge);
		return false;
	}
	if (rejudge_connected(f))
		return true;
	/* Dialled for the tlsproxy: what its addresses are worth now is asked again. */
	if (f->with_proxy && flow_dialling(f))
		gateway_parked_late(f);
	return false;
}

size_t gateway_rejudge(void *ctx)
{
	struct gateway *gw = ctx;
	size_t ended = 0;

	gateway_refusals_flush(gw);
	gateway_limits_forget(gw);
	gateway_parked_forget(gw);
	gateway_dns_repeats_forget(gw);
	memset(gw->observed, 0, sizeof(gw->observed));
	list_for_each_safe (it, next, &gw->all)
		ended += rejudge(container_of(it, struct flow, in_all));
	return ended;
}
