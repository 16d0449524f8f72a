/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Answers that nobody else need be asked for: the operator's records, the names
 * of the sandbox's own network, names
 * that are nobody's upstream, the names of addresses that were given out from
 * here, and ANY. What such a name does not have is "no data" here too: its
 * other types are not upstream's business.
 */
#include "dns/dns_int.h"

static bool is_address_type(const struct dns_query *q)
{
	return q->q.type == DNS_TYPE_A || q->q.type == DNS_TYPE_AAAA;
}

/* The operator's own addresses: handed out as they are, and remembered as this name's. */
void dns_finish_records(struct dns_query *q, const struct dns_record *rec, size_t n)
{
	struct dns_ending e = dns_ending(DNS_ANSWERED, DNS_RCODE_NOERROR, DNS_EDE_NONE, NULL);
	int family = q->q.type == DNS_TYPE_A ? 4 : 6;
	struct ip_addr addrs[DNS_MAX_ADDRS];
	size_t k = 0;

	if (!is_address_type(q)) {
		dns_finish_empty(q, DNS_RECORD_TTL_S, DNS_EDE_NONE,
				 "static record without this type");
		return;
	}
	for (size_t i = 0; i < n && k < ARRAY_SIZE(addrs); i++)
		if (rec[i].addr.family == family)
			addrs[k++] = rec[i].addr;
	if (!k) {
		dns_finish_empty(q, DNS_RECORD_TTL_S, DNS_EDE_NONE,
				 "static record without this family");
		return;
	}
	for (size_t i = 0; i < k; i++)
		dns_pin(q->d, &q->q.name, &addrs[i], DNS_RECORD_TTL_S);
	e.reply.addrs = e.answers = addrs;
	e.reply.n_addrs = e.n_answers = k;
	e.reply.ttl = DNS_RECORD_TTL_S;
	e.detail = "static record";
	dns_finish(q, &e);
}

void dns_finish_special(struct dns_query *q, enum dns_special what)
{
	struct dns_ending e = dns_ending(DNS_ANSWERED, DNS_RCODE_NOERROR, DNS_EDE_NONE, NULL);
	struct ip_addr loopback = ip4(127, 0, 0, 1);
	static const char why[] = "special-use name";

	if (what == DNS_SPECIAL_NXDOMAIN || what == DNS_SPECIAL_LOCAL) {
		dns_finish_nxdomain(q, DNS_LOCAL_EMPTY_TTL_S, DNS_EDE_BLOCKED, why);
		return;
	}
	if (what == DNS_SPECIAL_EMPTY) {
		dns_finish_empty(q, DNS_LOCAL_EMPTY_TTL_S, DNS_EDE_BLOCKED, why);
		return;
	}
	if (!is_address_type(q)) {
		dns_finish_empty(q, DNS_LOCAL_EMPTY_TTL_S, DNS_EDE_NONE, why);
		return;
	}
	if (q->q.type == DNS_TYPE_AAAA)
		loopback = (struct ip_addr){ 6, { [15] = 1 } };
	e.reply.addrs = e.answers = &loopback;
	e.reply.n_addrs = e.n_answers = 1;
	e.reply.ttl = DNS_RECORD_TTL_S;
	e.detail = why;
	dns_finish(q, &e);
}

static void put_row_name(struct dns_out *o, const struct name *n)
{
	struct dns_wname w;

	dns_wname_from(n, &w);
	dns_put_be16(o, w.len);
	dns_put(o, w.b, w.len);
}

static void finish_names(struct dns_query *q, const struct name *names, size_t n, const char *detail)
{
	struct dns_ending e = dns_ending(DNS_ANSWERED, DNS_RCODE_NOERROR, DNS_EDE_NONE, NULL);
	uint8_t row[DNS_MAX_REVERSE * (2 + DNS_WIRE_NAME_MAX)];
	struct dns_out o = { .p = row, .cap = sizeof(row) };

	for (size_t i = 0; i < n; i++)
		put_row_name(&o, &names[i]);
	e.reply.data = (struct dns_data){ DNS_TYPE_PTR, (uint16_t)n, o.len, row };
	e.reply.ttl = DNS_VIRTUAL_TTL_S;
	e.detail = detail;
	dns_finish(q, &e);
}

/* ---- the sandbox's own network ------------------------------------------------ */

const char dns_own_detail[] = "a name of the sandbox's own network";

static bool in_own_nets(const struct dns *d, const struct ip_addr *a)
{
	for (size_t i = 0; i < ARRAY_SIZE(d->names.own_nets); i++) {
		const struct ip_prefix *p = &d->names.own_nets[i];

		if (p->addr.family == a->family && ip_in_prefix(a, p))
			return true;
	}
	return false;
}

static bool finish_own_reverse(struct dns_query *q)
{
	const struct dns_names *t = &q->d->names;
	struct name names[DNS_OWN_MAX];
	struct ip_addr a;
	size_t n = 0;

	if (q->q.type != DNS_TYPE_PTR || !dns_arpa_addr(&q->q.name, &a) || !in_own_nets(q->d, &a))
		return false;
	for (size_t i = 0; i < t->n_own && n < DNS_MAX_REVERSE; i++)
		if (ip_equal(&t->own[i].addr, &a))
			names[n++] = t->own[i].name;
	if (n)
		finish_names(q, names, n, dns_own_detail);
	else
		dns_finish_nxdomain(q, DNS_LOCAL_EMPTY_TTL_S, DNS_EDE_NONE, dns_own_detail);
	return true;
}

static void finish_own(struct dns_query *q, const struct ip_addr *addrs, size_t n)
{
	struct dns_ending e = dns_ending(DNS_ANSWERED, DNS_RCODE_NOERROR, DNS_EDE_NONE, NULL);

	if (!n) {
		dns_finish_empty(q, DNS_RECORD_TTL_S, DNS_EDE_NONE, dns_own_detail);
		return;
	}
	/* Known as this name's from now on: rules may go by it. */
	for (size_t i = 0; i < n; i++)
		dns_pin(q->d, &q->q.name, &addrs[i], DNS_RECORD_TTL_S);
	e.reply.addrs = e.answers = addrs;
	e.reply.n_addrs = e.n_answers = n;
	e.reply.ttl = DNS_RECORD_TTL_S;
	e.detail = dns_own_detail;
	dns_finish(q, &e);
}

bool dns_finish_own(struct dns_query *q)
{
	const struct dns_names *t = &q->d->names;
	const struct dns_record *rec;
	struct ip_addr addrs[DNS_OWN_MAX];
	size_t n = 0;
	bool known = false;

	if (finish_own_reverse(q))
		return true;
	for (size_t i = 0; i < t->n_own; i++) {
		if (!name_equal(&t->own[i].name, &q->q.name))
			continue;
		known = true;
		if (is_address_type(q) && t->own[i].addr.family == (q->q.type == DNS_TYPE_A ? 4 : 6))
			addrs[n++] = t->own[i].addr;
	}
	if (!known || dns_records_of(q->d, &q->q.name, &rec))
		return false;
	finish_own(q, addrs, n);
	return true;
}

/* The names of addresses given out here: known here, of no interest to anyone else. */
bool dns_finish_reverse(struct dns_query *q)
{
	struct name names[DNS_MAX_REVERSE];
	struct ip_addr a;
	size_t n;

	if (q->q.type != DNS_TYPE_PTR || !dns_arpa_addr(&q->q.name, &a))
		return false;
	if (dns_is_virtual(q->d, &a)) {
		if (dns_virtual_name(q->d, &a, &names[0]))
			finish_names(q, names, 1, "virtual address");
		else /* It may be handed out any moment. */
			dns_finish_nxdomain(q, DNS_DENIED_TTL_S, DNS_EDE_NONE, "virtual address");
		return true;
	}
	n = dns_names_of(q->d, &a, names, ARRAY_SIZE(names));
	if (n)
		finish_names(q, names, n, "address that was given out");
	return n > 0;
}

/* RFC 8482 4.2: something rather than everything, so that nobody asks again. */
void dns_finish_any(struct dns_query *q)
{
	static const uint8_t row[] = { 0, 9, 7, 'R', 'F', 'C', '8', '4', '8', '2', 0 };
	struct dns_ending e = dns_ending(DNS_EMPTY, DNS_RCODE_NOERROR, DNS_EDE_NOT_SUPPORTED,
					 "ANY is not resolved");

	e.reply.data = (struct dns_data){ DNS_TYPE_HINFO, 1, sizeof(row), row };
	e.reply.ttl = DNS_LOCAL_EMPTY_TTL_S;
	e.detail = e.reply.ede_text;
	dns_finish(q, &e);
}
