/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading what upstream answered. Only one thing is taken from it: the
 * records of the asked type at the end of the CNAME chain that starts at the
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
	struct dns_wname asked;
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

static bool have_addr(const struct dns_rrset *rr, const struct ip_addr *a)
{
	for (unsigned i = 0; i < rr->n_addrs; i++)
		if (ip_equal(&rr->addrs[i], a))
			return true;
	return false;
}

static int take_addr(const struct answer *a, const struct dns_rr *rr, struct dns_rrset *ret)
{
	int family = a->type == DNS_TYPE_A ? 4 : 6;
	struct ip_addr addr;

	if (rr->rdlen != (family == 4 ? 4 : 16))
		return -EPROTO;
	addr = ip_from_be(family, a->msg.p + rr->rdata);
	if (ret->n_addrs < DNS_MAX_ADDRS && !have_addr(ret, &addr))
		ret->addrs[ret->n_addrs++] = addr;
	return 0;
}

/* Is the record at [from, end) of this row there before? (RFC 2181 5: a set.) */
static bool have_data(const uint8_t *row, size_t from, size_t end)
{
	for (size_t at = 0; at < from; at += 2u + get_be16(row + at))
		if (2u + get_be16(row + at) == end - from &&
		    memcmp(row + at, row + from, end - from) == 0)
			return true;
	return false;
}

/* The records of a type that is not an address, into one row. */
struct row {
	struct dns_out o;
	uint16_t n;
	bool left_out, alias;
	uint8_t b[DNS_MAX_DATA];
};

static int take_data(const struct answer *a, const struct dns_rr *rr, struct row *row)
{
	size_t from = row->o.len;
	int r;

	dns_put_be16(&row->o, 0);
	r = dns_rdata_read(&a->msg, rr, &a->asked, &row->o);
	if (r < 0)
		return r;
	if (row->o.full)
		return -EMSGSIZE;
	row->left_out |= r != DNS_RDATA_KEPT;
	row->alias |= r == DNS_RDATA_ALIAS;
	put_be16(row->b + from, (uint16_t)(row->o.len - from - 2));
	if (r != DNS_RDATA_KEPT || have_data(row->b, from, row->o.len)) {
		row->o.len = from;
		return 0;
	}
	row->n++;
	return row->n > (dns_type_is_service(a->type) ? DNS_MAX_SERVICES : DNS_MAX_DATA_RECORDS)
		       ? -EMSGSIZE
		       : 0;
}

static int keep_data(const struct answer *a, const struct row *row, struct dns_rrset *ret)
{
	ret->left_out = row->left_out;
	if (!row->n || row->alias)
		return 0;
	ret->row = malloc(row->o.len);
	if (!ret->row)
		return -ENOMEM;
	memcpy(ret->row, row->b, row->o.len);
	ret->data = (struct dns_data){ a->type, row->n, row->o.len, ret->row };
	return 0;
}

static int collect(struct answer *a, struct dns_rrset *ret)
{
	bool addr = a->type == DNS_TYPE_A || a->type == DNS_TYPE_AAAA;
	struct dns_msg m = a->msg;
	struct dns_rr rr;
	struct row row;
	int r;

	row.o = (struct dns_out){ .p = row.b, .cap = sizeof(row.b) };
	row.n = 0;
	row.left_out = row.alias = false;
	for (unsigned i = 0; i < a->an; i++) {
		if (!dns_rr_read(&m, &rr))
			return -EPROTO;
		if (rr.type != a->type || rr.class != DNS_CLASS_IN ||
		    !dns_wname_equal(&rr.owner, &a->at))
			continue;
		r = addr ? take_addr(a, &rr, ret) : take_data(a, &rr, &row);
		if (r < 0)
			return r;
		a->ttl = MIN(a->ttl, rr.ttl);
	}
	a->msg = m;
	return keep_data(a, &row, ret);
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
	a->at = a->asked = asked;
	*ret_rcode = h.flags & DNS_FLAG_RCODE;
	return 0;
}

static int read_answer(struct answer *a, const struct name *n, struct dns_rrset *ret)
{
	unsigned rcode, hops = 0;
	int r = read_start(a, n, &rcode);
	bool some;

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
	some = ret->n_addrs || ret->data.n || ret->left_out;
	if (rcode == DNS_RCODE_NXDOMAIN) {
		/* "No such name" and a record of it: two readings. */
		if (some)
			return -EPROTO;
		ret->found = DNS_FOUND_NXDOMAIN;
	} else {
		ret->found = ret->n_addrs || ret->data.n ? DNS_FOUND_ADDRS : DNS_FOUND_NODATA;
	}
	ret->ttl = some ? a->ttl : negative_ttl(a);
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
	if (r < 0) {
		dns_rrset_fini(ret);
		*ret = (struct dns_rrset){ .found = DNS_FOUND_FAILED, .error = r };
	}
}

void dns_rrset_fini(struct dns_rrset *rr)
{
	free(rr->row);
	rr->row = NULL;
	rr->data = (struct dns_data){ 0 };
}

int dns_rrset_copy(const struct dns_rrset *from, struct dns_rrset *ret)
{
	*ret = *from;
	if (!from->row)
		return 0;
	ret->row = malloc(from->data.len);
	if (!ret->row)
		return -ENOMEM;
	memcpy(ret->row, from->row, from->data.len);
	ret->data.p = ret->row;
	return 0;
}
