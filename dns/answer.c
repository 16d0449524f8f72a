/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading what upstream answered. Only one thing is taken from it: the
 * addresses of the asked type at the end of the CNAME chain that starts at the
 * question. Everything else (records of other names, the additional section,
 * hints) is not looked at, so it cannot poison anything.
 *
 * The bytes are hostile: whoever owns a name writes its answer. The chain is
 * bounded, an alias with two targets is refused, and a record of the wrong size
 * spoils the answer as a whole.
 */
#include "dns/dns_int.h"

struct answer {
	struct dns_msg msg; /* behind the question */
	unsigned an, ns;
	uint16_t type;
	struct dns_wname at; /* where the chain has got to */
	uint32_t ttl;
};

/* An alias that is no canonical host name could hide from a rule by suffix: unreadable. */
static int chain_note(const struct dns_wname *target, struct dns_rrset *ret)
{
	struct name n;

	if (dns_wname_to(target, &n) < 0 || ret->aliases_len + n.len + 1u > sizeof(ret->aliases))
		return -EPROTO;
	memcpy(ret->aliases + ret->aliases_len, n.s, n.len + 1u);
	ret->aliases_len = (uint16_t)(ret->aliases_len + n.len + 1u);
	return 0;
}

/*
 * One step along the chain: 1 moved on, 0 no alias here, negative: unreadable.
 * The names passed are aliases of the asked name: allowing goes by the name that
 * was asked, so they are noted only for the rules that deny.
 */
static int chain_step(struct answer *a, struct dns_rrset *ret)
{
	struct dns_msg m = a->msg;
	struct dns_wname target = { 0 };
	struct dns_rr rr;

	for (unsigned i = 0; i < a->an; i++) {
		struct dns_msg rdata = m;
		struct dns_wname t;

		if (!dns_rr_read(&m, &rr))
			return -EPROTO;
		if (rr.type != DNS_TYPE_CNAME || rr.class != DNS_CLASS_IN ||
		    !dns_wname_equal(&rr.owner, &a->at))
			continue;
		rdata.at = rr.rdata;
		if (!dns_name_read(&rdata, true, &t) || rdata.at != rr.rdata + rr.rdlen)
			return -EPROTO;
		if (target.len && !dns_wname_equal(&target, &t))
			return -EPROTO;
		target = t;
		a->ttl = MIN(a->ttl, rr.ttl);
	}
	if (!target.len)
		return 0;
	if (chain_note(&target, ret) < 0)
		return -EPROTO;
	a->at = target;
	return 1;
}

static int collect(struct answer *a, struct dns_rrset *ret)
{
	struct dns_msg m = a->msg;
	struct dns_rr rr;

	for (unsigned i = 0; i < a->an; i++) {
		if (!dns_rr_read(&m, &rr))
			return -EPROTO;
		if (rr.type != a->type || rr.class != DNS_CLASS_IN ||
		    !dns_wname_equal(&rr.owner, &a->at))
			continue;
		if (rr.rdlen != (a->type == DNS_TYPE_A ? 4 : 16))
			return -EPROTO;
		a->ttl = MIN(a->ttl, rr.ttl);
		if (ret->n_addrs < DNS_MAX_ADDRS)
			ret->addrs[ret->n_addrs++] =
				ip_from_be(a->type == DNS_TYPE_A ? 4 : 6, m.p + rr.rdata);
	}
	a->msg = m;
	return 0;
}

/* RFC 2308 5: the lesser of the SOA's TTL and its minimum; no SOA, no caching. */
static uint32_t negative_ttl(struct answer *a)
{
	struct dns_rr rr;

	for (unsigned i = 0; i < a->ns; i++) {
		if (!dns_rr_read(&a->msg, &rr))
			return 0;
		if (rr.type != DNS_TYPE_SOA || rr.class != DNS_CLASS_IN || rr.rdlen < 22 ||
		    !dns_wname_in_zone(&a->at, &rr.owner))
			continue;
		return MIN(MIN(rr.ttl, get_be32(a->msg.p + rr.rdata + rr.rdlen - 4)), a->ttl);
	}
	return 0;
}

/* Header and question must be those of our query. */
static int read_start(struct answer *a, const struct name *n, unsigned *ret_rcode)
{
	struct dns_header h;
	struct dns_wname qname, asked;

	if (!dns_header_read(&a->msg, &h) || !(h.flags & DNS_FLAG_QR) ||
	    (h.flags & (DNS_FLAG_OPCODE | DNS_FLAG_TC)) || h.qd != 1)
		return -EPROTO;
	dns_wname_from(n, &asked);
	if (!dns_name_read(&a->msg, false, &qname) || !dns_wname_equal(&qname, &asked) ||
	    a->msg.len - a->msg.at < 4 || get_be16(a->msg.p + a->msg.at) != a->type ||
	    get_be16(a->msg.p + a->msg.at + 2) != DNS_CLASS_IN)
		return -EPROTO;
	a->msg.at += 4;
	if ((unsigned)h.an + h.ns > DNS_MAX_RECORDS)
		return -EPROTO;
	a->an = h.an;
	a->ns = h.ns;
	a->at = asked;
	*ret_rcode = h.flags & DNS_FLAG_RCODE;
	return 0;
}

static int read_answer(struct answer *a, const struct name *n, struct dns_rrset *ret)
{
	unsigned rcode, hops = 0;
	int r = read_start(a, n, &rcode);

	if (r < 0)
		return r;
	if (rcode != DNS_RCODE_NOERROR && rcode != DNS_RCODE_NXDOMAIN)
		return -EREMOTEIO;
	while ((r = chain_step(a, ret)) > 0)
		if (++hops > DNS_MAX_CHAIN)
			return -EPROTO;
	if (r < 0)
		return r;
	r = collect(a, ret);
	if (r < 0)
		return r;
	if (rcode == DNS_RCODE_NXDOMAIN) {
		/* "No such name" and an address for it: two readings. */
		if (ret->n_addrs)
			return -EPROTO;
		ret->found = DNS_FOUND_NXDOMAIN;
	} else {
		ret->found = ret->n_addrs ? DNS_FOUND_ADDRS : DNS_FOUND_NODATA;
	}
	ret->ttl = ret->n_addrs ? a->ttl : negative_ttl(a);
	return 0;
}

void dns_answer_read(const uint8_t *msg, size_t len, const struct name *n, uint16_t type,
		     struct dns_rrset *ret)
{
	struct answer a = {
		.msg = { .p = msg, .len = len },
		.type = type,
		.ttl = INT32_MAX,
	};
	int r;

	*ret = (struct dns_rrset){ 0 };
	r = read_answer(&a, n, ret);
	if (r < 0)
		*ret = (struct dns_rrset){ .found = DNS_FOUND_FAILED, .error = r };
}
