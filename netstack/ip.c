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
