/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From cache entries to an answer: every address is judged (rebinding), and
 * the sum of one or both families is what a guest's query or a dialling flow
 * gets. dns_resolve() is the flow's side of it.
 */
#include "dns/dns_int.h"

static bool aliases_ok(struct dns *d, const struct dns_question *q, const struct dns_rrset *rr,
		       struct dns_denial *ret_denial)
{
	struct name n;

	if (!d->ops.judge_alias)
		return true;
	for (size_t at = 0; at < rr->aliases_len; at += n.len + 1u) {
		/* Canonical already; what does not read back is refused, not passed over. */
		if (name_parse(rr->aliases + at, strlen(rr->aliases + at), &n, NULL) < 0 ||
		    !d->ops.judge_alias(d->ctx, q, &n, ret_denial))
			return false;
	}
	return true;
}

void dns_sum_up(struct dns *d, const struct dns_gather *g, const struct dns_question *q,
		struct dns_sum *ret)
{
	struct dns_sum *s = ret;

	*s = (struct dns_sum){ .ttl = UINT32_MAX };
	for (unsigned i = 0; i < g->n_wait; i++) {
		const struct dns_entry *e = g->wait[i].entry;

		if (!e) {
			s->error = -ENOBUFS;
			continue;
		}
		if (e->pending) /* its wait is over: nothing is known of this family */
			continue;
		if (e->rr.found == DNS_FOUND_FAILED) {
			s->error = e->rr.error;
			continue;
		}
		s->nxdomain |= e->rr.found == DNS_FOUND_NXDOMAIN;
		s->ttl = MIN(s->ttl, dns_entry_ttl(d, e));
		if (!s->alias_denied && !aliases_ok(d, q, &e->rr, &s->denial))
			s->alias_denied = true;
		for (unsigned j = 0; j < e->rr.n_addrs && !s->alias_denied; j++) {
			if (d->ops.judge_answer(d->ctx, q, &e->rr.addrs[j], &s->denial))
				s->addrs[s->n_addrs++] = e->rr.addrs[j];
			else
				s->filtered[s->n_filtered++] = e->rr.addrs[j];
		}
	}
	if (s->ttl == UINT32_MAX)
		s->ttl = 0;
	/* One family's chain speaks for the name: the other must not be a way around. */
	if (s->alias_denied)
		s->n_addrs = 0;
}

static void lookup_put(struct dns_lookup *l)
{
	struct dns *d = l->g.d;

	dns_gather_end(&l->g);
	pool_put(&d->lookup_pool, l);
}

static void lookup_done(struct dns_gather *g)
{
	struct dns_lookup *l = container_of(g, struct dns_lookup, g);
	dns_addrs_fn *cb = l->cb;
	void *user = l->user;
	struct dns_sum s;
	int error = 0;

	dns_sum_up(g->d, g, &l->q, &s);
	if (s.n_addrs == 0) {
		if (s.alias_denied)
			error = -EPERM;
		else if (s.nxdomain)
			error = -ENOENT;
		else if (s.n_filtered)
			error = -EPERM;
		else if (!s.error)
			error = -ENODATA;
		else
			error = s.error == -ETIMEDOUT ? -ETIMEDOUT : -EIO;
	}
	/* Gone before the call: the callback may do anything, cancelling excepted. */
	if (l->ended)
		*l->ended = true;
	lookup_put(l);
	cb(user, error, s.addrs, s.n_addrs);
}

struct dns_lookup *dns_resolve(struct dns *d, const struct name *n, dns_addrs_fn *cb, void *user)
{
	static const uint16_t types[] = { DNS_TYPE_A, DNS_TYPE_AAAA };
	const struct dns_record *rec;
	size_t n_rec = dns_records_of(d, n, &rec);
	enum dns_special special;
	struct dns_lookup *l;
	struct dns_denial over;
	bool ended = false, exact;

	if (n_rec) {
		struct ip_addr addrs[2 * DNS_MAX_ADDRS];
		size_t k = 0;

		for (; k < n_rec && k < ARRAY_SIZE(addrs); k++)
			addrs[k] = rec[k].addr;
		cb(user, 0, addrs, k);
		return NULL;
	}
	special = dns_special_of(n);
	if (special && special != DNS_SPECIAL_LOCAL) {
		/* Never our own loopback for the guest's. A local name was given by the policy's word. */
		cb(user, -ENODATA, NULL, 0);
		return NULL;
	}
	/* The name was given before, but asking for it again and again is a message too. */
	exact = dns_cache_exact(d, n, types, ARRAY_SIZE(types));
	if (!exact && dns_gather_needs(d, n, types, ARRAY_SIZE(types)) == DNS_NEED_ASK &&
	    !dns_budget_take(d, n, true, &over)) {
		cb(user, -EDQUOT, NULL, 0);
		return NULL;
	}
	l = pool_get(&d->lookup_pool);
	if (!l) {
		cb(user, -EIO, NULL, 0);
		return NULL;
	}
	l->q.name = *n;
	l->q.type = DNS_TYPE_A;
	l->cb = cb;
	l->user = user;
	l->ended = &ended;
	l->g.exact = exact;
	dns_gather_start(d, &l->g, n, types, ARRAY_SIZE(types), lookup_done);
	if (ended)
		return NULL;
	l->ended = NULL;
	return l;
}

void dns_resolve_cancel(struct dns_lookup *l)
{
	if (l)
		lookup_put(l);
}
