/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading a message that was not sent to us, in a packet capture: what it asks,
 * and with which addresses it answers. The same codec as for our own, no state.
 */
#include "dns/dns_int.h"

/* Where the records of the answer section begin; how many there are. */
struct section {
	size_t at;
	unsigned n;
};

/* The target of a CNAME that `owner` has in the section. */
static bool find_alias(const struct dns_msg *msg, const struct section *s,
		       const struct dns_wname *owner, struct dns_wname *ret)
{
	struct dns_msg m = *msg;
	struct dns_rr rr;

	m.at = s->at;
	for (unsigned i = 0; i < s->n && dns_rr_read(&m, &rr); i++) {
		struct dns_msg target = { m.p, m.len, rr.rdata };

		if (rr.type == DNS_TYPE_CNAME && rr.class == DNS_CLASS_IN &&
		    dns_wname_equal(&rr.owner, owner) && dns_name_read(&target, true, ret))
			return true;
	}
	return false;
}

static void take_addresses(const struct dns_msg *msg, const struct section *s,
			   const struct dns_wname *owner, struct dns_peek *ret)
{
	struct dns_msg m = *msg;
	struct dns_rr rr;

	m.at = s->at;
	for (unsigned i = 0; i < s->n && dns_rr_read(&m, &rr); i++) {
		bool v4 = rr.type == DNS_TYPE_A && rr.rdlen == 4;
		bool v6 = rr.type == DNS_TYPE_AAAA && rr.rdlen == 16;

		if ((v4 || v6) && rr.class == DNS_CLASS_IN && dns_wname_equal(&rr.owner, owner) &&
		    ret->n_addrs < DNS_PEEK_ADDRS)
			ret->addrs[ret->n_addrs++] = ip_from_be(v4 ? 4 : 6, m.p + rr.rdata);
	}
}

/* From the name that was asked along the aliases to the addresses. */
static void read_answers(const struct dns_msg *m, const struct dns_wname *asked, unsigned n,
			 struct dns_peek *ret)
{
	struct section s = { m->at, MIN(n, (unsigned)DNS_MAX_RECORDS) };
	struct dns_wname owner = *asked, alias;

	take_addresses(m, &s, &owner, ret);
	while (ret->n_aliases < DNS_PEEK_ALIASES && find_alias(m, &s, &owner, &alias)) {
		if (dns_wname_to(&alias, &ret->aliases[ret->n_aliases]) < 0)
			return;
		ret->n_aliases++;
		owner = alias;
		take_addresses(m, &s, &owner, ret);
	}
}

bool dns_peek(const uint8_t *msg, size_t len, struct dns_peek *ret)
{
	struct dns_msg m = { msg, len, 0 };
	struct dns_header h;
	struct dns_wname asked;
	uint16_t class;

	*ret = (struct dns_peek){ 0 };
	if (!dns_header_read(&m, &h) || h.qd != 1 || (h.flags & DNS_FLAG_OPCODE) ||
	    !dns_name_read(&m, false, &asked) || m.len - m.at < 4)
		return false;
	ret->type = get_be16(m.p + m.at);
	class = get_be16(m.p + m.at + 2);
	m.at += 4;
	if (class != DNS_CLASS_IN)
		return false;
	ret->response = (h.flags & DNS_FLAG_QR) != 0;
	ret->has_name = dns_wname_to(&asked, &ret->name) == 0;
	if (ret->has_name && !dns_arpa_addr(&ret->name, &ret->reverse))
		ret->reverse = (struct ip_addr){ 0 };
	if (ret->response && ret->has_name && (h.flags & DNS_FLAG_RCODE) == DNS_RCODE_NOERROR)
		read_answers(&m, &asked, h.an, ret);
	return true;
}
