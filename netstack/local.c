/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Frames to and from the link's own services. Which packets are theirs is
 * decided here, before the checks of sources that everything else has to pass,
 * so it is narrow: for DHCP, UDP from the client's port to the server's, whole,
 * and either from no address to all (a guest that has none yet), or from the
 * guest's own. Nothing that is answered here leaves the link.
 */
#include "netstack/local.h"

size_t local_dns_name(const char *name, uint8_t *out, size_t size)
{
	size_t n = 0;

	while (*name) {
		size_t len = strcspn(name, ".");

		if (len == 0 || len > 63 || size - n < len + 2)
			return 0;
		out[n++] = (uint8_t)len;
		memcpy(out + n, name, len);
		n += len;
		name += len;
		name += *name == '.';
	}
	if (n)
		out[n++] = 0;
	return n;
}

/* A guest that asks without end is answered at a bounded rate. */
bool local_allowed(struct netstack *ns)
{
	uint64_t now = ns_now(ns), step = NS_PER_S / LIMIT_LOCAL_RATE;

	/* ns->local_next is when the bucket would be full again. */
	if (ns->local_next < now)
		ns->local_next = now;
	if (ns->local_next - now > step * LIMIT_LOCAL_BURST)
		return false;
	ns->local_next += step;
	return true;
}

static void send_udp(struct netstack *ns, const uint8_t mac[6], const struct endpoint *from,
		     const struct endpoint *to, const uint8_t *data, size_t n)
{
	uint8_t p[ETH_HEAD + IP6_HEAD + UDP_HEAD + DHCP_OUT_MAX], *u;
	struct link_tx tx = { .head = p };
	bool four = from->addr.family == 4;
	struct csum c = { 0 };
	size_t len = UDP_HEAD + n;

	memcpy(p, mac, 6);
	memcpy(p + 6, ns->cfg.gateway_mac, 6);
	put_be16(p + 12, four ? ETH_IP4 : ETH_IP6);
	u = p + ETH_HEAD +
	    ip_build_header(p + ETH_HEAD, &from->addr, &to->addr, IPPROTO_UDP, 64, len);
	put_be16(u, from->port);
	put_be16(u + 2, to->port);
	put_be16(u + 4, (uint16_t)len);
	put_be16(u + 6, 0);
	memcpy(u + UDP_HEAD, data, n);
	csum_feed_pseudo(&c, &from->addr, &to->addr, IPPROTO_UDP, len);
	csum_feed(&c, u, len);
	csum_store(&c, u + 6);
	if (get_be16(u + 6) == 0)
		put_be16(u + 6, 0xffff);
	tx.head_len = (size_t)(u - p) + len;
	if (!eth_send(ns, &tx))
		ns->stats.dropped_link_full++;
}

/* The payload of a whole UDP packet; NULL: malformed. */
static const uint8_t *payload(const struct ip_pkt *k, size_t *ret_len)
{
	struct csum c = { 0 };
	size_t len = get_be16(k->l4 + 4);

	if (len < UDP_HEAD || len > k->l4_len)
		return NULL;
	*ret_len = len - UDP_HEAD;
	if (k->vouched || (get_be16(k->l4 + 6) == 0 && k->src.family == 4))
		return k->l4 + UDP_HEAD;
	csum_feed_pseudo(&c, &k->src, &k->dst, IPPROTO_UDP, len);
	csum_feed(&c, k->l4, len);
	return csum_good(&c) ? k->l4 + UDP_HEAD : NULL;
}

static bool is_udp(const struct ip_pkt *k, uint16_t from, uint16_t to)
{
	return k->proto == IPPROTO_UDP && k->l4_len >= UDP_HEAD && get_be16(k->l4) == from &&
	       get_be16(k->l4 + 2) == to;
}

bool local_input4(struct netstack *ns, const struct ip_pkt *k, const uint8_t src_mac[6])
{
	static const uint8_t broadcast_mac[6] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };
	struct endpoint from = { ns->cfg.gateway4, DHCP4_SERVER_PORT };
	struct endpoint to = { .port = DHCP4_CLIENT_PORT };
	bool all = get_be32(k->dst.b) == 0xffffffff, own = ip_equal(&k->src, &ns->cfg.guest4);
	uint8_t out[DHCP_OUT_MAX];
	const uint8_t *p;
	size_t n;

	if (!ns->cfg.autoconf.dhcp4 || !is_udp(k, DHCP4_CLIENT_PORT, DHCP4_SERVER_PORT) ||
	    !((get_be32(k->src.b) == 0 && all) ||
	      (own && (all || ip_equal(&k->dst, &ns->cfg.gateway4)))))
		return false;
	p = payload(k, &n);
	if (!p) {
		ns->stats.dropped_malformed++;
		return true;
	}
	if (!local_allowed(ns))
		return true;
	n = dhcp4_answer(&ns->cfg, p, n, out, &to.addr);
	if (n)
		send_udp(ns, get_be32(to.addr.b) == 0xffffffff ? broadcast_mac : src_mac, &from,
			 &to, out, n);
	return true;
}

bool local_input6(struct netstack *ns, const struct ip_pkt *k, const uint8_t src_mac[6])
{
	/* All_DHCP_Relay_Agents_and_Servers */
	static const struct ip_addr servers = { 6, { 0xff, 0x02, [13] = 1, [15] = 2 } };
	struct endpoint from = { ns->gateway_ll, DHCP6_SERVER_PORT };
	struct endpoint to = { k->src, DHCP6_CLIENT_PORT };
	uint8_t out[DHCP_OUT_MAX];
	bool leased = false;
	const uint8_t *p;
	size_t n;

	if (!ns->cfg.autoconf.dhcp6 || !is_udp(k, DHCP6_CLIENT_PORT, DHCP6_SERVER_PORT) ||
	    !ip_equal(&k->dst, &servers) || k->src.b[0] != 0xfe || (k->src.b[1] & 0xc0) != 0x80)
		return false;
	p = payload(k, &n);
	if (!p) {
		ns->stats.dropped_malformed++;
		return true;
	}
	if (!local_allowed(ns))
		return true;
	n = dhcp6_answer(&ns->cfg, p, n, out, &leased);
	if (leased)
		guest6_seen(ns, &ns->cfg.guest6);
	if (n)
		send_udp(ns, src_mac, &from, &to, out, n);
	return true;
}
