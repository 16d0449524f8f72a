/* SPDX-License-Identifier: Apache-2.0 */
/* What both IP versions share: the way up, and refusals before a flow exists. */
#include "netstack/netstack_internal.h"

void ip_deliver(struct netstack *ns, const struct ip_pkt *k)
{
	bool four = k->src.family == 4;

	if ((k->proto == IPPROTO_TCP || k->proto == IPPROTO_UDP ||
	     k->proto == (four ? IPPROTO_ICMP : IPPROTO_ICMPV6)) &&
	    icmp_hops_end(ns, k))
		return;
	if (k->proto == IPPROTO_TCP)
		relay_tcp_input(ns, k);
	else if (k->proto == IPPROTO_UDP)
		udp_input(ns, k);
	else if (k->proto == (four ? IPPROTO_ICMP : IPPROTO_ICMPV6))
		icmp_input(ns, k);
	else {
		icmp_protocol_unreachable(ns, k);
		ip_refuse_quietly(ns, k, NETSTACK_DENIED);
	}
}

bool ip_checksum_ok(const struct ip_pkt *k, size_t len, size_t field)
{
	struct csum c = { 0 };
	uint8_t partial[2];

	if (k->vouched)
		return true;
	/* Memory that may change under us cannot be verified. */
	if (k->tail_len || len > k->l4_len || field + 2 > len)
		return false;
	csum_feed_pseudo(&c, &k->src, &k->dst, k->proto, len);
	csum_store_partial(&c, partial);
	if (k->maybe_partial && memcmp(partial, k->l4 + field, 2) == 0)
		return true;
	csum_feed(&c, k->l4, len);
	return csum_good(&c);
}

/* The ports of a packet that has some, for the record only. */
static void read_ports(const struct ip_pkt *k, struct netstack_tuple *t)
{
	if ((k->proto != IPPROTO_TCP && k->proto != IPPROTO_UDP) || k->l4_len < 4)
		return;
	t->guest.port = get_be16(k->l4);
	t->remote.port = get_be16(k->l4 + 2);
}

void ip_refuse_quietly(struct netstack *ns, const struct ip_pkt *k, enum netstack_refusal how)
{
	struct netstack_tuple t = {
		.guest.addr = k->src,
		.remote.addr = k->dst,
	};

	if (!ns->ops->packet_refused)
		return;
	if (k->proto == IPPROTO_TCP)
		t.proto = NETSTACK_TCP;
	else if (k->proto == IPPROTO_UDP)
		t.proto = NETSTACK_UDP;
	else if (k->proto == IPPROTO_ICMP || k->proto == IPPROTO_ICMPV6)
		t.proto = NETSTACK_ICMP;
	read_ports(k, &t);
	ns->ops->packet_refused(ns->ctx, &t, k->proto, how);
}
