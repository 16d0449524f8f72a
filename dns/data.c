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
 * Hints are judged when they are given, as the policy is then. The name is the asked
 * one, or its host where that is the target ("_8443._https.host"): then the host is
 * judged as well, and the hints are the host's.
 */
#include "dns/dns_int.h"

#define BIT(key) (1u << (key))

/* A name that records speak of: the asked one, or its host. */
struct service_name {
	struct name name;
	struct ip_addr given[2];
	unsigned n_given;
	bool asked_given;
	bool judged, denied; /* of the host */
};

struct service {
	struct dns_query *q;
	struct dns_sum *s; /* the hints so far, allowed and not */
	struct dns_wname asked;
	struct service_name own, host;
	const struct ip_addr *used_given; /* for the event */
};

static struct service_name *name_of(struct service *v, const struct dns_svcb *r)
{
	return r->of_host ? &v->host : &v->own;
}

/* May the guest ask for the host that stands in the record? */
static bool host_allowed(struct service *v)
{
	struct dns_question question = v->q->q;
	struct dns *d = v->q->d;
	struct dns_denial denial;
	struct dns_wname w;
	bool exact;

	if (v->host.judged)
		return !v->host.denied;
	v->host.judged = v->host.denied = true;
	if (!dns_wname_host(&v->asked, &w) || dns_wname_to(&w, &v->host.name) < 0)
		return false;
	question.name = v->host.name;
	question.type = DNS_TYPE_A;
	v->host.denied = !d->ops.judge_query(d->ctx, &question, &exact, &denial);
	return !v->host.denied;
}

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
static void get_given(struct dns *d, struct service_name *n)
{
	if (n->asked_given)
		return;
	n->asked_given = true;
	for (int family = 4; family <= 6; family += 2)
		if (dns_virtual_get(d, &n->name, family, &n->given[n->n_given]) == 0)
			n->n_given++;
}

static void adapt_hints(struct service *v, struct dns_svcb *r)
{
	struct service_name *n = name_of(v, r);
	unsigned kept = 0;

	for (unsigned i = 0; i < r->n_hints; i++)
		if (hint_allowed(v, &r->hints[i]))
			r->hints[kept++] = r->hints[i];
	if (kept && v->q->d->mode == DNS_VIRTUAL) {
		get_given(v->q->d, n);
		kept = n->n_given;
		memcpy(r->hints, n->given, kept * sizeof(r->hints[0]));
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
	struct service_name *n = name_of(v, r);
	size_t n_addrs = v->s->n_addrs;
	struct dns *d = v->q->d;

	if (r->of_host && !host_allowed(v))
		return false;
	adapt_hints(v, r);
	if (d->no_quic)
		dns_svcb_no_quic(r);
	if (!dns_svcb_usable(r)) {
		v->s->n_addrs = n_addrs; /* its hints are not given */
		return false;
	}
	if (d->mode == DNS_VIRTUAL && r->n_hints && !v->used_given)
		v->used_given = n->given;
	for (unsigned i = 0; d->mode == DNS_REAL && i < r->n_hints; i++)
		dns_pin(d, &n->name, &r->hints[i], v->s->ttl);
	return true;
}

static void put_service(struct dns_out *o, const struct dns_svcb *r, const struct dns_wname *asked)
{
	size_t from = o->len;

	dns_put_be16(o, 0);
	dns_svcb_put(o, r, asked);
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
	struct service v = { .q = q, .s = s, .own.name = q->q.name };
	struct dns_data kept = { .type = data->type, .p = row };

	dns_wname_from(&q->q.name, &v.asked);
	for (size_t at = 0; at < data->len;) {
		size_t len = get_be16(data->p + at);
		struct dns_svcb r;

		if (dns_svcb_read(data->p + at + 2, len, &root, &v.asked, &r) == DNS_RDATA_KEPT &&
		    adapt(&v, &r)) {
			put_service(&o, &r, &v.asked);
			kept.n++;
		}
		at += 2 + len;
	}
	kept.len = o.len;
	if (kept.n)
		finish(q, s, &kept, v.used_given);
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
