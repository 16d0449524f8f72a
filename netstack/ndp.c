/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Neighbour discovery (RFC 4861), as much as a router with one neighbour
 * needs: answer solicitations for the gateway's addresses, solicit the guest
 * when we must speak first, pass router solicitations on (ndp_router.c), ignore
 * the rest (redirects, listener reports). Every message is validated as 6.1
 * and 7.1 say before it counts: hop limit 255, checksum, code 0, options whole.
 */
#include "netstack/netstack_internal.h"

#define ND_ROUTER_SOLICIT 133
#define ND_ROUTER_ADVERT 134
#define ND_NEIGHBOR_SOLICIT 135
#define ND_NEIGHBOR_ADVERT 136
#define ND_REDIRECT 137
#define MLD_QUERY 130
#define MLD_DONE 132
#define MLD2_REPORT 143

#define NA_ROUTER 0x80
#define NA_SOLICITED 0x40
#define NA_OVERRIDE 0x20

/* Every option has a length of at least one unit and fits. */
static bool options_ok(const uint8_t *p, size_t n, bool *ret_link_addr)
{
	*ret_link_addr = false;
	while (n) {
		if (n < 8 || p[1] == 0 || p[1] * 8u > n)
			return false;
		*ret_link_addr |= p[0] == 1;
		n -= p[1] * 8u;
		p += p[1] * 8u;
	}
	return true;
}

static bool link_local(const struct ip_addr *a)
{
	return a->b[0] == 0xfe && (a->b[1] & 0xc0) == 0x80;
}

static bool unspecified(const struct ip_addr *a)
{
	static const uint8_t none[16];

	return memcmp(a->b, none, 16) == 0;
}

static void send_nd(struct netstack *ns, uint8_t type, uint8_t flags, const struct ip_addr *dst,
		    const uint8_t mac[6], const struct ip_addr *target)
{
	const struct ip_addr *src = type == ND_NEIGHBOR_ADVERT ? target : &ns->cfg.gateway6;
	uint8_t p[ETH_HEAD + IP6_HEAD + 32] = { 0 }, *m = p + ETH_HEAD + IP6_HEAD;
	struct link_tx tx = { .head = p, .head_len = sizeof(p) };
	struct csum c = { 0 };

	memcpy(p, mac, 6);
	memcpy(p + 6, ns->cfg.gateway_mac, 6);
	put_be16(p + 12, ETH_IP6);
	ip_build_header(p + ETH_HEAD, src, dst, IPPROTO_ICMPV6, 255, 32);
	m[0] = type;
	m[4] = flags;
	memcpy(m + 8, target->b, 16);
	m[24] = type == ND_NEIGHBOR_ADVERT ? 2 : 1; /* target or source link-layer address */
	m[25] = 1;
	memcpy(m + 26, ns->cfg.gateway_mac, 6);
	csum_feed_pseudo(&c, src, dst, IPPROTO_ICMPV6, 32);
	csum_feed(&c, m, 32);
	csum_store(&c, m + 2);
	if (!eth_send(ns, &tx))
		ns->stats.dropped_link_full++;
}

static void answer(struct netstack *ns, const struct ip_pkt *k, const uint8_t src_mac[6])
{
	static const uint8_t all_nodes_mac[6] = { 0x33, 0x33, 0, 0, 0, 1 };
	static const uint8_t all_nodes[16] = { 0xff, 0x02, [15] = 1 };
	struct ip_addr everyone = ip_from_be(6, all_nodes);
	struct ip_addr target = ip_from_be(6, k->l4 + 8);

	/* A probe for its own address: it will be the guest's. */
	if (unspecified(&k->src) && guest6_is(ns, &target))
		guest6_seen(ns, &target);
	if (!(ns->cfg.gateway6.family && ip_equal(&target, &ns->cfg.gateway6)) &&
	    !(ns->cfg.autoconf.ra && ip_equal(&target, &ns->gateway_ll)))
		return;
	if (unspecified(&k->src))
		send_nd(ns, ND_NEIGHBOR_ADVERT, NA_ROUTER | NA_OVERRIDE, &everyone, all_nodes_mac,
			&target);
	else
		send_nd(ns, ND_NEIGHBOR_ADVERT, NA_ROUTER | NA_SOLICITED | NA_OVERRIDE, &k->src,
			src_mac, &target);
}

static bool valid(const struct ip_pkt *k, uint8_t hop_limit)
{
	struct csum c = { 0 };
	bool link_addr;

	bool router = k->l4[0] == ND_ROUTER_SOLICIT;
	size_t head = router ? 8 : 24;

	if (hop_limit != 255 || k->l4[1] != 0 || k->l4_len < head || (!router && k->l4[8] == 0xff))
		return false;
	if (!k->vouched) {
		csum_feed_pseudo(&c, &k->src, &k->dst, IPPROTO_ICMPV6, k->l4_len);
		csum_feed(&c, k->l4, k->l4_len);
		if (!csum_good(&c))
			return false;
	}
	if (!options_ok(k->l4 + head, k->l4_len - head, &link_addr))
		return false;
	if (router && unspecified(&k->src))
		return !link_addr;
	/* A duplicate address probe goes to the solicited-node group and names no link address. */
	if (k->l4[0] == ND_NEIGHBOR_SOLICIT && unspecified(&k->src))
		return k->dst.b[0] == 0xff && k->dst.b[1] == 0x02 && k->dst.b[12] == 0xff &&
		       !link_addr;
	return true;
}

bool ndp_input(struct netstack *ns, const struct ip_pkt *k, uint8_t hop_limit,
	       const uint8_t src_mac[6])
{
	uint8_t type;

	if (k->l4_len < 8) {
		ns->stats.dropped_malformed++;
		return true;
	}
	type = k->l4[0];
	if ((type >= MLD_QUERY && type <= MLD_DONE) || type == ND_ROUTER_ADVERT ||
	    type == ND_REDIRECT || type == MLD2_REPORT)
		return true;
	if (type != ND_ROUTER_SOLICIT && type != ND_NEIGHBOR_SOLICIT && type != ND_NEIGHBOR_ADVERT)
		return false;
	if (!valid(k, hop_limit)) {
		ns->stats.dropped_malformed++;
		return true;
	}
	if (!unspecified(&k->src) && !link_local(&k->src) && !guest6_is(ns, &k->src)) {
		ns->stats.dropped_spoofed++;
		return true;
	}
	if (!unspecified(&k->src))
		eth_learn(ns, src_mac);
	if (type == ND_NEIGHBOR_SOLICIT)
		answer(ns, k, src_mac);
	else if (type == ND_ROUTER_SOLICIT)
		router_solicited(ns, &k->src, src_mac, unspecified(&k->src));
	return true;
}

void ndp_solicit_guest(struct netstack *ns)
{
	struct ip_addr target = guest6_target(ns, &ns->cfg.guest6);
	const uint8_t *g = target.b;
	uint8_t group[16] = { 0xff, 0x02, [11] = 1, [12] = 0xff, [13] = g[13], g[14], g[15] };
	uint8_t mac[6] = { 0x33, 0x33, 0xff, g[13], g[14], g[15] };
	struct ip_addr dst = ip_from_be(6, group);

	send_nd(ns, ND_NEIGHBOR_SOLICIT, 0, &dst, mac, &target);
}
