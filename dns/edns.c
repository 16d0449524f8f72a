/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The OPT pseudo-record (RFC 6891) and the extended error in it (RFC 8914).
 *
 * Of a guest's OPT only the size and the version are used. Its options (client
 * subnet, cookies, padding, keys of other people's protocols) are checked for
 * form and then forgotten: none is answered and none goes upstream, where it
 * would be a channel out.
 */
#include "dns/dns_int.h"

#include <stdio.h>

#define OPTION_EDE 15

bool dns_opt_check(const struct dns_msg *m, const struct dns_rr *rr)
{
	struct rd r = rd_init(m->p + rr->rdata, rr->rdlen);

	while (rd_left(&r)) {
		uint16_t code, len;

		if (!rd_be16(&r, &code) || !rd_be16(&r, &len) || !rd_skip(&r, len))
			return false;
	}
	return true;
}

void dns_put_opt(struct dns_out *o, uint16_t udp_size, uint16_t rcode, int ede, const char *text,
		 const char *id)
{
	char full[256] = "";
	size_t len;

	if (text && id && id[0])
		snprintf(full, sizeof(full), "%s (%s)", text, id);
	else if (text || id)
		snprintf(full, sizeof(full), "%s", text ? text : id);
	len = strlen(full);
	dns_put_u8(o, 0);
	dns_put_be16(o, DNS_TYPE_OPT);
	dns_put_be16(o, udp_size);
	dns_put_be32(o, (uint32_t)(rcode >> 4) << 24);
	if (ede < 0) {
		dns_put_be16(o, 0);
		return;
	}
	dns_put_be16(o, (uint16_t)(6 + len));
	dns_put_be16(o, OPTION_EDE);
	dns_put_be16(o, (uint16_t)(2 + len));
	dns_put_be16(o, (uint16_t)ede);
	dns_put(o, full, len);
}
