/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The message codec (RFC 1035 4, RFC 2181). Reads what a guest or an upstream
 * sent: both are hostile. Compression pointers go backwards only and are
 * counted, labels are length-counted up to the one conversion into a host
 * name, and every offset is checked against the whole message.
 *
 * A query is held to one reading: exactly one question, nothing in the answer
 * and authority sections, at most one OPT in the additional section, and no
 * byte behind it. Anything else is refused, because an octet that nobody reads
 * is an octet that two parsers read differently.
 */
#include "dns/dns_int.h"

static bool msg_bytes(struct dns_msg *m, size_t n, const uint8_t **ret)
{
	if (m->len - m->at < n)
		return false;
	*ret = m->p + m->at;
	m->at += n;
	return true;
}

static bool msg_be16(struct dns_msg *m, uint16_t *ret)
{
	const uint8_t *p;

	if (!msg_bytes(m, 2, &p))
		return false;
	*ret = get_be16(p);
	return true;
}

bool dns_header_read(struct dns_msg *m, struct dns_header *ret)
{
	const uint8_t *p;

	if (!msg_bytes(m, DNS_HEADER_LEN, &p))
		return false;
	*ret = (struct dns_header){
		.id = get_be16(p),
		.flags = get_be16(p + 2),
		.qd = get_be16(p + 4),
		.an = get_be16(p + 6),
		.ns = get_be16(p + 8),
		.ar = get_be16(p + 10),
	};
	return true;
}

static uint8_t lower(uint8_t c)
{
	return c >= 'A' && c <= 'Z' ? (uint8_t)(c - 'A' + 'a') : c;
}

bool dns_name_read(struct dns_msg *m, bool pointers, struct dns_wname *ret)
{
	struct dns_wname n = { 0 };
	size_t at = m->at, end = 0, lowest = m->at;
	unsigned jumps = 0;

	for (;;) {
		uint8_t label;

		if (at >= m->len)
			return false;
		label = m->p[at];
		if ((label & 0xc0) == 0xc0) {
			size_t to;

			if (!pointers || m->len - at < 2 || ++jumps > DNS_MAX_POINTERS)
				return false;
			to = get_be16(m->p + at) & 0x3fff;
			/* Strictly backwards, never into the header: no loop is possible. */
			if (to >= lowest || to < DNS_HEADER_LEN)
				return false;
			if (!end)
				end = at + 2;
			at = lowest = to;
			continue;
		}
		if (label & 0xc0) /* RFC 6891 5: extended label types are dead */
			return false;
		if (m->len - at < (size_t)label + 1 || (size_t)n.len + label + 1 > DNS_WIRE_NAME_MAX)
			return false;
		n.b[n.len++] = label;
		for (size_t i = 1; i <= label; i++)
			n.b[n.len++] = lower(m->p[at + i]);
		at += (size_t)label + 1;
		if (label == 0)
			break;
	}
	m->at = end ? end : at;
	*ret = n;
	return true;
}

bool dns_rr_read(struct dns_msg *m, struct dns_rr *ret)
{
	struct dns_rr rr;
	const uint8_t *p;

	if (!dns_name_read(m, true, &rr.owner) || !msg_bytes(m, 10, &p))
		return false;
	rr.type = get_be16(p);
	rr.class = get_be16(p + 2);
	rr.ttl = get_be32(p + 4);
	rr.rdlen = get_be16(p + 8);
	rr.rdata = m->at;
	if (!msg_bytes(m, rr.rdlen, &p))
		return false;
	/* RFC 2181 8: a TTL with the top bit set is zero. */
	if (rr.type != DNS_TYPE_OPT && rr.ttl > INT32_MAX)
		rr.ttl = 0;
	*ret = rr;
	return true;
}

bool dns_wname_equal(const struct dns_wname *a, const struct dns_wname *b)
{
	return a->len == b->len && memcmp(a->b, b->b, a->len) == 0;
}

bool dns_wname_in_zone(const struct dns_wname *n, const struct dns_wname *zone)
{
	size_t at = 0;

	/* Label by label, so that the suffix starts at a label. */
	while ((size_t)n->len - at > zone->len)
		at += (size_t)n->b[at] + 1;
	return (size_t)n->len - at == zone->len && memcmp(n->b + at, zone->b, zone->len) == 0;
}

void dns_wname_from(const struct name *n, struct dns_wname *ret)
{
	struct dns_wname w = { 0 };
	size_t label = 0;

	for (size_t i = 0; i <= n->len; i++) {
		if (i < n->len && n->s[i] != '.')
			continue;
		w.b[w.len++] = (uint8_t)(i - label);
		memcpy(w.b + w.len, n->s + label, i - label);
		w.len = (uint8_t)(w.len + (i - label));
		label = i + 1;
	}
	w.b[w.len++] = 0;
	*ret = w;
}

int dns_wname_to(const struct dns_wname *w, struct name *ret)
{
	char text[DNS_WIRE_NAME_MAX];
	size_t len = 0;

	for (size_t at = 0; w->b[at];) {
		size_t label = w->b[at++];

		if (len)
			text[len++] = '.';
		/* A dot inside a label would make two names of one. */
		if (memchr(w->b + at, '.', label))
			return -EINVAL;
		memcpy(text + len, w->b + at, label);
		len += label;
		at += label;
	}
	return name_parse(text, len, ret, NULL);
}

/* The additional section of a query: one OPT at most, nothing else. */
static const char *read_opt(struct dns_msg *m, unsigned n, struct dns_request *rq)
{
	struct dns_rr rr;

	if (n > 1)
		return "more than one record in the additional section";
	if (!dns_rr_read(m, &rr) || rr.type != DNS_TYPE_OPT)
		return "additional record that is not OPT";
	if (rr.owner.len != 1 || !dns_opt_check(m, &rr))
		return "malformed OPT record";
	rq->edns = true;
	rq->edns_version = (uint8_t)(rr.ttl >> 16);
	rq->udp_size = rr.class;
	return NULL;
}

static const char *read_question(struct dns_msg *m, struct dns_request *rq)
{
	size_t start = m->at;

	if (!dns_name_read(m, false, &rq->qname) || !msg_be16(m, &rq->qtype) ||
	    !msg_be16(m, &rq->qclass))
		return "malformed question";
	rq->question_len = (uint16_t)(m->at - start);
	memcpy(rq->question, m->p + start, rq->question_len);
	return NULL;
}

/*
 * A refusal gives its reason in an extended error, for which the query must have
 * had an OPT. It is looked for behind whatever was wrong, and found or not.
 */
static void find_opt(const uint8_t *msg, size_t len, const struct dns_header *h,
		     struct dns_request *rq)
{
	struct dns_msg m = { .p = msg, .len = len, .at = DNS_HEADER_LEN };
	unsigned before = (unsigned)h->an + h->ns, n = before + h->ar;
	struct dns_wname name;
	struct dns_rr rr;
	uint16_t word;

	if (h->qd + n > DNS_MAX_REFUSED_RECORDS)
		return;
	for (unsigned i = 0; i < h->qd; i++)
		if (!dns_name_read(&m, true, &name) || !msg_be16(&m, &word) || !msg_be16(&m, &word))
			return;
	for (unsigned i = 0; i < n && dns_rr_read(&m, &rr); i++) {
		if (i < before || rr.type != DNS_TYPE_OPT || rr.owner.len != 1)
			continue;
		rq->edns = true;
		rq->udp_size = rr.class;
		return;
	}
}

/* Everything behind the header; 0, or the rcode to refuse it with. */
static int read_body(struct dns_msg *m, const struct dns_header *h, struct dns_request *ret,
		     const char **ret_why)
{
	*ret_why = "opcode other than QUERY";
	if (h->flags & DNS_FLAG_OPCODE)
		return DNS_RCODE_NOTIMP;
	*ret_why = "not exactly one question";
	if (h->qd != 1)
		return DNS_RCODE_FORMERR;
	*ret_why = "records in the answer or authority section of a query";
	if (h->an || h->ns)
		return DNS_RCODE_FORMERR;
	*ret_why = read_question(m, ret);
	if (!*ret_why && h->ar)
		*ret_why = read_opt(m, h->ar, ret);
	if (!*ret_why && m->at != m->len)
		*ret_why = "bytes behind the message";
	if (*ret_why)
		return DNS_RCODE_FORMERR;
	*ret_why = "EDNS version other than 0";
	if (ret->edns_version)
		return DNS_RCODE_BADVERS;
	*ret_why = "class other than IN";
	if (ret->qclass != DNS_CLASS_IN)
		return DNS_RCODE_REFUSED;
	*ret_why = "OPT asked for as a type";
	if (ret->qtype == DNS_TYPE_OPT || ret->qtype == 0)
		return DNS_RCODE_FORMERR;
	*ret_why = "zone transfer";
	if (ret->qtype == DNS_TYPE_AXFR || ret->qtype == DNS_TYPE_IXFR)
		return DNS_RCODE_REFUSED;
	*ret_why = NULL;
	return 0;
}

int dns_request_read(const uint8_t *msg, size_t len, struct dns_request *ret, const char **ret_why)
{
	struct dns_msg m = { .p = msg, .len = len };
	struct dns_header h;
	int rcode;

	*ret = (struct dns_request){ 0 };
	*ret_why = "shorter than a DNS header";
	if (!dns_header_read(&m, &h))
		return -EBADMSG;
	ret->id = h.id;
	ret->copied_flags = h.flags & (DNS_FLAG_RD | DNS_FLAG_CD | DNS_FLAG_OPCODE);
	*ret_why = "a response, not a query";
	if (h.flags & DNS_FLAG_QR)
		return -EBADMSG;
	rcode = read_body(&m, &h, ret, ret_why);
	if (rcode && !ret->edns)
		find_opt(msg, len, &h, ret);
	return rcode;
}
