/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Router advertisements (RFC 4861 6.2, 4862, 8106): prefix, MTU, resolver,
 * search domain. Sent when the guest asks, and by the clock: a few soon after
 * the link comes up, then every few minutes, well within the router's lifetime.
 * They come from the gateway's link-local address, as they must.
 *
 * Hostile: the solicitation; its rate is bounded with the other services'.
 */
#include "netstack/local.h"

#define ND_ROUTER_ADVERT 134

#define FLAG_MANAGED 0x80
#define FLAG_OTHER 0x40
#define PREFIX_ON_LINK 0x80
#define PREFIX_AUTO 0x40

/* RFC 4861 6.2.1 and 10. */
#define ROUTER_LIFETIME_S 1800
#define INTERVAL_MIN_S 200
#define INTERVAL_MAX_S 600
#define INITIAL_INTERVAL_S 16
#define INITIAL_COUNT 3

static uint8_t *put_prefix(uint8_t *p, const struct netstack_config *c)
{
	memset(p, 0, 32);
	p[0] = 3;
	p[1] = 4;
	p[2] = 64;
	p[3] = PREFIX_ON_LINK | PREFIX_AUTO;
	put_be32(p + 4, c->autoconf.lease_s);
	put_be32(p + 8, c->autoconf.lease_s);
	memcpy(p + 16, c->guest6.b, 8);
	return p + 32;
}

static uint8_t *put_dns(uint8_t *p, const struct netstack_config *c)
{
	size_t n = local_dns_name(c->autoconf.domain, p + 32, 256), units = 1 + (n + 7) / 8;

	memset(p, 0, 24);
	p[0] = 25; /* recursive servers */
	p[1] = 3;
	put_be32(p + 4, ROUTER_LIFETIME_S);
	memcpy(p + 8, c->gateway6.b, 16);
	p += 24;
	if (!n)
		return p;
	memset(p, 0, 8);
	p[0] = 31; /* search list */
	p[1] = (uint8_t)units;
	put_be32(p + 4, ROUTER_LIFETIME_S);
	memset(p + 8 + n, 0, units * 8 - 8 - n);
	return p + units * 8;
}

size_t router_advertisement(const struct netstack_config *c, uint8_t out[static RA_MAX])
{
	uint8_t *p = out + 16;

	memset(out, 0, 32);
	out[0] = ND_ROUTER_ADVERT;
	out[4] = 64; /* hop limit */
	out[5] = c->autoconf.dhcp6 ? FLAG_MANAGED | FLAG_OTHER : 0;
	put_be16(out + 6, ROUTER_LIFETIME_S);
	p[0] = 1; /* source link-layer address */
	p[1] = 1;
	memcpy(p + 2, c->gateway_mac, 6);
	p += 8;
	p[0] = 5;
	p[1] = 1;
	put_be32(p + 4, c->mtu);
	p = put_prefix(p + 8, c);
	return (size_t)(put_dns(p, c) - out);
}

static void advertise(struct netstack *ns, const struct ip_addr *dst, const uint8_t mac[6])
{
	uint8_t p[ETH_HEAD + IP6_HEAD + RA_MAX], *m = p + ETH_HEAD + IP6_HEAD;
	struct link_tx tx = { .head = p };
	size_t n = router_advertisement(&ns->cfg, m);
	struct csum c = { 0 };

	memcpy(p, mac, 6);
	memcpy(p + 6, ns->cfg.gateway_mac, 6);
	put_be16(p + 12, ETH_IP6);
	ip_build_header(p + ETH_HEAD, &ns->gateway_ll, dst, IPPROTO_ICMPV6, 255, n);
	csum_feed_pseudo(&c, &ns->gateway_ll, dst, IPPROTO_ICMPV6, n);
	csum_feed(&c, m, n);
	csum_store(&c, m + 2);
	tx.head_len = ETH_HEAD + IP6_HEAD + n;
	if (!eth_send(ns, &tx))
		ns->stats.dropped_link_full++;
}

static void advertise_all(struct netstack *ns)
{
	static const uint8_t mac[6] = { 0x33, 0x33, 0, 0, 0, 1 };
	static const struct ip_addr all_nodes = { 6, { 0xff, 0x02, [15] = 1 } };

	advertise(ns, &all_nodes, mac);
}

void router_solicited(struct netstack *ns, const struct ip_addr *src, const uint8_t mac[6],
		      bool unspecified)
{
	if (!ns->cfg.autoconf.ra || !local_allowed(ns))
		return;
	if (unspecified)
		advertise_all(ns);
	else
		advertise(ns, src, mac);
}

static void on_timer(struct loop_timer *t)
{
	struct netstack *ns = container_of(t, struct netstack, ra_timer);
	uint64_t wait = INITIAL_INTERVAL_S;
	uint16_t random;

	ns_enter(ns);
	advertise_all(ns);
	if (++ns->ra_sent > INITIAL_COUNT) {
		random_bytes(&random, sizeof(random));
		wait = INTERVAL_MIN_S + random % (INTERVAL_MAX_S - INTERVAL_MIN_S);
	}
	loop_timer_set(ns->loop, t, ns_now(ns) + wait * NS_PER_S);
	ns_leave(ns);
}

void router_start(struct netstack *ns)
{
	if (!ns->cfg.autoconf.ra)
		return;
	ns->ra_sent = 0;
	ns->ra_timer.cb = on_timer;
	loop_timer_set(ns->loop, &ns->ra_timer, ns_now(ns));
}

void router_stop(struct netstack *ns)
{
	loop_timer_del(ns->loop, &ns->ra_timer);
}
