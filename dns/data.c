/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Answers that are not addresses. MX, SRV and TXT are given as rdata.c has
 * rebuilt them: a target's own address is a question of its own, judged then.
 *
 * HTTPS and SVCB carry addresses as hints, which a client may use instead of
 * asking for them. So hints get what addresses get: each is judged, and
 *
 *	virtual  where any was allowed, the name's virtual addresses instead
 *	real     the allowed ones, remembered as the name's
 *
 * Hints are judged when they are given, as the policy is then.
 */
#include "dns/dns_int.h"

#define BIT(key) (1u << (key))

struct service {
	struct dns_query *q;
	struct dns_sum *s; /* the hints so far, allowed and not */
	struct ip_addr given[2];
	unsigned n_given;
	bool asked_given, used_given;
};

static bool among(const struct ip_addr *a, const struct ip_addr *set, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (ip_equal(&set[i], a))
			return true;
	return false;
}

static bool hint_allowed(struct service *v, const struct ip_addr *a)
{
	struct dns_sum *s = v->s;
	struct dns *d = v->q->d;

	if (among(a, s->addrs, s->n_addrs))
		return true;
	if (among(a, s->filtered, s->n_filtered))
		return false;
	if (!d->ops.judge_answer(d->ctx, &v->q->q, a, &s->denial)) {
		if (s->n_filtered < ARRAY_SIZE(s->filtered))
			s->filtered[s->n_filtered++] = *a;
		return false;
	}
	/* No more of them than of addresses, or their pins would push out one another. */
	if (s->n_addrs == DNS_MAX_ADDRS)
		return false;
	s->addrs[s->n_addrs++] = *a;
	return true;
}

/* Without an address left for the name there is no hint; asking for A says why. */
static void get_given(struct service *v)
{
	if (v->asked_given)
		return;
	v->asked_given = true;
	for (int family = 4; family <= 6; family += 2)
		if (dns_virtual_get(v->q->d, &v->q->q.name, family, &v->given[v->n_given]) == 0)
			v->n_given++;
}

static void adapt_hints(struct service *v, struct dns_svcb *r)
{
	unsigned kept = 0;

	for (unsigned i = 0; i < r->n_hints; i++)
		if (hint_allowed(v, &r->hints[i]))
			r->hints[kept++] = r->hints[i];
	if (kept && v->q->d->mode == DNS_VIRTUAL) {
		get_given(v);
		kept = v->n_given;
		memcpy(r->hints, v->given, kept * sizeof(r->hints[0]));
	}
	r->n_hints = (uint8_t)kept;
	r->keys &= (uint8_t) ~(BIT(DNS_SVCB_IPV4HINT) | BIT(DNS_SVCB_IPV6HINT));
	for (unsigned i = 0; i < kept; i++)
		r->keys |= (uint8_t)BIT(r->hints[i].family == 4 ? DNS_SVCB_IPV4HINT
								: DNS_SVCB_IPV6HINT);
}

/* One record made to agree with the mode. False: it is left out. */
static bool adapt(struct service *v, struct dns_svcb *r)
{
	size_t n_addrs = v->s->n_addrs;
	struct dns *d = v->q->d;

	adapt_hints(v, r);
	if (d->no_quic)
		dns_svcb_no_quic(r);
	if (!dns_svcb_usable(r)) {
		v->s->n_addrs = n_addrs; /* its hints are not given */
		return false;
	}
	if (d->mode == DNS_VIRTUAL)
		v->used_given |= r->n_hints > 0;
	else
		for (unsigned i = 0; i < r->n_hints; i++)
			dns_pin(d, &v->q->q.name, &r->hints[i], v->s->ttl);
	return true;
}

static void put_service(struct dns_out *o, const struct dns_svcb *r)
{
	size_t from = o->len;

	dns_put_be16(o, 0);
	dns_svcb_put(o, r);
	assert(!o->full);
	put_be16(o->p + from, (uint16_t)(o->len - from - 2));
}

static void finish(struct dns_query *q, const struct dns_sum *s, const struct dns_data *data,
		   const struct ip_addr *given)
{
	struct dns_ending e = dns_ending(DNS_ANSWERED, DNS_RCODE_NOERROR, DNS_EDE_NONE, NULL);

	e.reply.data = *data;
	e.reply.ttl = q->d->mode == DNS_VIRTUAL ? MIN(s->ttl, (uint32_t)DNS_VIRTUAL_TTL_S) : s->ttl;
	e.answers = s->addrs;
	e.n_answers = s->n_addrs;
	e.given = given;
	e.detail = s->n_filtered ? "some answers were filtered" : NULL;
	dns_finish(q, &e);
}

static void finish_services(struct dns_query *q, struct dns_sum *s, const struct dns_data *data)
{
	static const struct dns_wname root = { .len = 1 };
	/* Virtual hints of both families may take the place of a single real one. */
	uint8_t row[DNS_MAX_DATA + DNS_MAX_SERVICES * (4 + 4 + 4 + 16)];
	struct dns_out o = { .p = row, .cap = sizeof(row) };
	struct service v = { .q = q, .s = s };
	struct dns_data kept = { .type = data->type, .p = row };

	for (size_t at = 0; at < data->len;) {
		size_t len = get_be16(data->p + at);
		struct dns_svcb r;

		if (dns_svcb_read(data->p + at + 2, len, &root, &r) == DNS_RDATA_KEPT &&
		    adapt(&v, &r)) {
			put_service(&o, &r);
			kept.n++;
		}
		at += 2 + len;
	}
	kept.len = o.len;
	if (kept.n)
		finish(q, s, &kept, v.used_given ? v.given : NULL);
	else
		dns_finish_empty(q, s->ttl, DNS_EDE_FILTERED, "no service record could be kept");
}

void dns_finish_data(struct dns_query *q, struct dns_sum *s, const struct dns_data *data)
{
	if (dns_type_is_service(data->type))
		finish_services(q, s, data);
	else
		finish(q, s, data, NULL);
}
