/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writing messages: replies to the guest and questions to upstream. Every
 * reply fits its limit; what does not is cut in the order of what is least
 * missed: the text of the extended error, then all records (TC, RFC 2181 9).
 * A question is made of a name and a type and nothing else, so nothing of the
 * guest's message can travel in it.
 */
#include "dns/dns_int.h"

void dns_put(struct dns_out *o, const void *p, size_t n)
{
	if (o->full || o->cap - o->len < n) {
		o->full = true;
		return;
	}
	if (n)
		memcpy(o->p + o->len, p, n);
	o->len += n;
}

void dns_put_u8(struct dns_out *o, uint8_t v)
{
	dns_put(o, &v, 1);
}

void dns_put_be16(struct dns_out *o, uint16_t v)
{
	uint8_t b[2];

	put_be16(b, v);
	dns_put(o, b, 2);
}

void dns_put_be32(struct dns_out *o, uint32_t v)
{
	uint8_t b[4];

	put_be32(b, v);
	dns_put(o, b, 4);
}

static void put_header(struct dns_out *o, const struct dns_request *rq, unsigned flags, unsigned rcode)
{
	dns_put_be16(o, rq->id);
	dns_put_be16(o, (uint16_t)(DNS_FLAG_QR | DNS_FLAG_RA | rq->copied_flags | flags |
				   (rcode & DNS_FLAG_RCODE)));
	dns_put_be16(o, rq->question_len ? 1 : 0);
	for (int i = 0; i < 3; i++)
		dns_put_be16(o, 0);
	dns_put(o, rq->question, rq->question_len);
}

/* Owner is the question's name, by pointer: the guest sees its own spelling. */
static void put_rr(struct dns_out *o, uint16_t type, uint32_t ttl, const void *rdata, size_t n)
{
	dns_put_be16(o, 0xc000 | DNS_HEADER_LEN);
	dns_put_be16(o, type);
	dns_put_be16(o, DNS_CLASS_IN);
	dns_put_be32(o, ttl);
	dns_put_be16(o, (uint16_t)n);
	dns_put(o, rdata, n);
}

static void put_soa(struct dns_out *o, uint32_t ttl)
{
	uint8_t rdata[22] = { 0 }; /* both names are the root */

	put_be32(rdata + 2, 1);	   /* serial */
	put_be32(rdata + 6, ttl);  /* refresh */
	put_be32(rdata + 10, ttl); /* retry */
	put_be32(rdata + 14, ttl); /* expire */
	put_be32(rdata + 18, ttl); /* minimum: how long "no" is true */
	put_rr(o, DNS_TYPE_SOA, ttl, rdata, sizeof(rdata));
}

static void put_answers(struct dns_out *o, const struct dns_reply *r)
{
	for (size_t i = 0; i < r->n_addrs; i++)
		put_rr(o, r->addrs[i].family == 4 ? DNS_TYPE_A : DNS_TYPE_AAAA, r->ttl,
		       r->addrs[i].b, ip_size(&r->addrs[i]));
	for (size_t at = 0; at < r->data.len;) {
		size_t len = get_be16(r->data.p + at);

		put_rr(o, r->data.type, r->ttl, r->data.p + at + 2, len);
		at += 2 + len;
	}
}

size_t dns_reply_build(const struct dns_request *rq, const struct dns_reply *r, size_t limit,
		       uint8_t out[static DNS_REPLY_MAX])
{
	/* Least loss first: all of it, without the text of the extended error, truncated. */
	for (int loss = 0; loss < 3; loss++) {
		struct dns_out o = { .p = out, .cap = MIN(limit, (size_t)DNS_REPLY_MAX) };
		bool cut = loss == 2;

		put_header(&o, rq, cut ? DNS_FLAG_TC : 0, r->rcode);
		if (!cut) {
			put_answers(&o, r);
			if (r->soa && rq->question_len)
				put_soa(&o, r->soa_ttl);
		}
		if (rq->edns)
			dns_put_opt(&o, DNS_UDP_MAX, r->rcode, r->ede, loss ? NULL : r->ede_text,
				    r->ede_id);
		if (o.full)
			continue;
		if (!cut) {
			put_be16(out + 6, (uint16_t)(r->n_addrs + r->data.n));
			put_be16(out + 8, r->soa && rq->question_len ? 1 : 0);
		}
		put_be16(out + 10, rq->edns ? 1 : 0);
		return o.len;
	}
	assert(!"a header, a question and an OPT always fit in 512 bytes");
	return 0;
}

size_t dns_ask_build(uint16_t id, const struct name *n, uint16_t type, bool edns,
		     uint8_t out[static DNS_ASK_MAX])
{
	struct dns_out o = { .p = out, .cap = DNS_ASK_MAX };
	struct dns_wname w;

	dns_wname_from(n, &w);
	dns_put_be16(&o, id);
	dns_put_be16(&o, DNS_FLAG_RD);
	dns_put_be16(&o, 1);
	dns_put_be16(&o, 0);
	dns_put_be16(&o, 0);
	dns_put_be16(&o, edns ? 1 : 0);
	dns_put(&o, w.b, w.len);
	dns_put_be16(&o, type);
	dns_put_be16(&o, DNS_CLASS_IN);
	if (edns)
		dns_put_opt(&o, DNS_UDP_MAX, 0, DNS_EDE_NONE, NULL, NULL);
	assert(!o.full);
	return o.len;
}
