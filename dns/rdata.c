/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Records that are not addresses, one at a time: read out of an upstream's
 * message, checked field by field and rebuilt without compression. Nothing is
 * copied that was not understood, so what a guest's parser gets to see is
 * what ours has read.
 *
 * Bytes that do not add up spoil the answer as a whole. A target that is no
 * canonical host name (an address written as a mail exchanger is common) is
 * left out by itself: no flow could have it as its name.
 */
#include "dns/dns_int.h"

bool dns_type_is_service(uint16_t type)
{
	return type == DNS_TYPE_SVCB || type == DNS_TYPE_HTTPS;
}

bool dns_type_is_data(uint16_t type)
{
	return type == DNS_TYPE_MX || type == DNS_TYPE_SRV || type == DNS_TYPE_TXT ||
	       dns_type_is_service(type);
}

/* MX (RFC 1035 3.3.9) and SRV (RFC 2782): numbers, then a host; the root says there is none. */
static int read_target(const struct dns_msg *m, const struct dns_rr *rr, size_t numbers,
		       struct dns_out *o)
{
	struct dns_msg rd = { .p = m->p, .len = m->len, .at = rr->rdata + numbers };
	struct dns_wname target;
	struct name n;

	if (rr->rdlen <= numbers || !dns_name_read(&rd, true, &target) ||
	    rd.at != rr->rdata + rr->rdlen)
		return -EPROTO;
	if (target.len > 1 && dns_wname_to(&target, &n) < 0)
		return DNS_RDATA_LEFT_OUT;
	dns_put(o, m->p + rr->rdata, numbers);
	dns_put(o, target.b, target.len);
	return DNS_RDATA_KEPT;
}

/* RFC 1035 3.3.14: one or more strings of any bytes, which are the payload. */
static int read_txt(const struct dns_msg *m, const struct dns_rr *rr, struct dns_out *o)
{
	struct rd r = rd_init(m->p + rr->rdata, rr->rdlen);

	if (!rr->rdlen)
		return -EPROTO;
	while (rd_left(&r)) {
		uint8_t len;

		if (!rd_u8(&r, &len) || !rd_skip(&r, len))
			return -EPROTO;
	}
	dns_put(o, m->p + rr->rdata, rr->rdlen);
	return DNS_RDATA_KEPT;
}

static int read_service(const struct dns_msg *m, const struct dns_rr *rr,
			const struct dns_wname *asked, struct dns_out *o)
{
	struct dns_svcb s;
	int r = dns_svcb_read(m->p + rr->rdata, rr->rdlen, &rr->owner, asked, &s);

	if (r == DNS_RDATA_KEPT)
		dns_svcb_put(o, &s, asked);
	return r;
}

int dns_rdata_read(const struct dns_msg *m, const struct dns_rr *rr, const struct dns_wname *asked,
		   struct dns_out *o)
{
	switch (rr->type) {
	case DNS_TYPE_MX:
		return read_target(m, rr, 2, o);
	case DNS_TYPE_SRV:
		return read_target(m, rr, 6, o);
	case DNS_TYPE_TXT:
		return read_txt(m, rr, o);
	case DNS_TYPE_SVCB:
	case DNS_TYPE_HTTPS:
		return read_service(m, rr, asked, o);
	default:
		return DNS_RDATA_LEFT_OUT;
	}
}
