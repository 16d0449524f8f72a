/* SPDX-License-Identifier: Apache-2.0 */
/*
 * IPv6 from the guest (RFC 8200). The header chain is walked once, with a
 * bound on headers and bytes: hop-by-hop (first only), destination options,
 * routing (only when it has no segments left; type 0 never, RFC 5095) and
 * fragment. Options are judged by their action bits. What is behind the chain
 * is a transport header; a fragment's chain must be complete in its first
 * piece (RFC 7112), which frag.c checks by size.
 *
 * Only neighbour discovery and what local.c takes for DHCPv6 may come from an
 * address other than the guest's own (guest6.c); the rest is counted as spoofed.
 */
#include "netstack/netstack_internal.h"

#define NH_HOP 0
#define NH_ROUTING 43
#define NH_FRAGMENT 44
#define NH_NONE 59
#define NH_DEST 60

#define PARAM_HEADER 0
#define PARAM_OPTION 2

enum chain_end {
	CHAIN_UPPER = 1, /* off is the transport header */
	CHAIN_FRAGMENT,	 /* off is a fragment header */
	CHAIN_DROP,
	CHAIN_PROBLEM, /* answer with a parameter problem at `off` */
};

struct chain {
	size_t off, nh_off;
	uint8_t proto;
	uint8_t code; /* of the parameter problem */
};

/* Type-length-value options of one header: 0, or the offset of the one that stops us. */
static size_t walk_options(const uint8_t *p, size_t from, size_t end, bool *ret_silent)
{
	*ret_silent = true;
	while (from < end) {
		if (p[from] == 0) {
			from++;
			continue;
		}
		if (end - from < 2 || end - from - 2 < p[from + 1])
			return from;
		/* Router alert and padding have action 00: skip. */
		if (p[from] >> 6) {
			*ret_silent = p[from] >> 6 == 1;
			return from;
		}
		from += 2u + p[from + 1];
	}
	return 0;
}

static enum chain_end walk_one(const uint8_t *p, size_t len, struct chain *c)
{
	size_t size, bad;
	bool silent;

	if (len - c->off < 8)
		return CHAIN_DROP;
	if (c->proto == NH_FRAGMENT)
		return CHAIN_FRAGMENT;
	size = 8u + p[c->off + 1] * 8u;
	if (size > len - c->off || c->off + size > LIMIT_IP6_CHAIN)
		return CHAIN_DROP;
	if (c->proto == NH_ROUTING) {
		if (p[c->off + 2] == 0 || p[c->off + 3] != 0) {
			c->code = PARAM_HEADER;
			c->off += 2;
			return CHAIN_PROBLEM;
		}
	} else if ((bad = walk_options(p, c->off + 2, c->off + size, &silent))) {
		c->code = PARAM_OPTION;
		c->off = bad;
		return silent ? CHAIN_DROP : CHAIN_PROBLEM;
	}
	c->proto = p[c->off];
	c->nh_off = c->off;
	c->off += size;
	return CHAIN_UPPER;
}

static enum chain_end walk_chain(const uint8_t *p, size_t len, struct chain *c)
{
	*c = (struct chain){ .off = IP6_HEAD, .nh_off = 6, .proto = p[6] };
	for (unsigned i = 0; i < LIMIT_IP6_HEADERS; i++) {
		enum chain_end r;

		if (c->proto == NH_HOP && i > 0)
			return CHAIN_DROP;
		if (c->proto != NH_HOP && c->proto != NH_DEST && c->proto != NH_ROUTING &&
		    c->proto != NH_FRAGMENT)
			return CHAIN_UPPER;
		r = walk_one(p, len, c);
		if (r != CHAIN_UPPER)
			return r;
	}
	return CHAIN_DROP;
}

static void upper(struct netstack *ns, const uint8_t *p, size_t len, const struct chain *c,
		  size_t tail, const struct link_rx *rx)
{
	struct ip_pkt k = {
		.src = ip_from_be(6, p + 8),
		.dst = ip_from_be(6, p + 24),
		.proto = c->proto,
		.l3 = p,
		.l3_len = len,
		.l4 = p + c->off,
		.l4_len = len - c->off,
	};

	if (rx) {
		k.vouched = rx->vouched;
		k.maybe_partial = rx->maybe_partial;
		k.gso = rx->gso;
		k.gso_size = rx->gso_size;
		k.tail = rx->tail;
		k.tail_len = tail;
	}
	if (c->proto != NH_NONE)
		ip_deliver(ns, &k);
}

/* A reassembled packet may go on with destination options, but not with fragments. */
static void reassemble(struct netstack *ns, const uint8_t *p, size_t len, const struct chain *c)
{
	const uint8_t *h = p + c->off;
	struct frag_piece f = {
		.src = ip_from_be(6, p + 8),
		.dst = ip_from_be(6, p + 24),
		.id = get_be32(h + 4),
		.proto = h[0],
		.head = p,
		.head_len = c->off,
		.nh_off = c->nh_off,
		.p = h + 8,
		.len = len - c->off - 8,
		.off = get_be16(h + 2) & 0xfff8u,
		.more = h[3] & 1,
	};
	const uint8_t *whole = frag_input(ns, &f, &len);
	struct chain again;

	if (!whole)
		return;
	if (walk_chain(whole, len, &again) == CHAIN_UPPER)
		upper(ns, whole, len, &again, 0, NULL);
	else
		ns->stats.fragments_dropped++;
}

/* Source checks and group destinations. False: dealt with. */
static bool addresses_ok(struct netstack *ns, const struct ip_pkt *k, bool l2_multicast)
{
	static const uint8_t none[16];

	if (!guest6_is(ns, &k->src)) {
		ns->stats.dropped_spoofed++;
		return false;
	}
	if (k->dst.b[0] == 0xff) {
		ip_refuse_quietly(ns, k, NETSTACK_SILENT);
		return false;
	}
	if (l2_multicast || memcmp(k->dst.b, none, 16) == 0 || ip_equal(&k->src, &k->dst)) {
		ns->stats.dropped_malformed++;
		return false;
	}
	return true;
}

void ip6_input(struct netstack *ns, const uint8_t *p, size_t len, const struct link_rx *rx,
	       bool l2_multicast)
{
	struct chain c;
	struct ip_pkt k = { 0 };
	enum chain_end r;
	size_t total, tail;

	if (len < IP6_HEAD || p[0] >> 4 != 6 || get_be16(p + 4) > len - IP6_HEAD + rx->tail_len) {
		ns->stats.dropped_malformed++;
		return;
	}
	total = IP6_HEAD + (size_t)get_be16(p + 4);
	tail = total > len ? total - len : 0;
	len = total - tail;
	r = walk_chain(p, len, &c);
	/* Only TCP may come in two parts, and no fragment of it. */
	if (tail && (r != CHAIN_UPPER || c.proto != IPPROTO_TCP)) {
		ns->stats.dropped_malformed++;
		return;
	}
	k = (struct ip_pkt){
		.src = ip_from_be(6, p + 8),
		.dst = ip_from_be(6, p + 24),
		.proto = c.proto,
		.l3 = p,
		.l3_len = len,
		.vouched = rx->vouched,
	};
	if (r == CHAIN_UPPER) {
		k.l4 = p + c.off;
		k.l4_len = len - c.off;
		if (k.proto == IPPROTO_ICMPV6 && ndp_input(ns, &k, p[7], rx->p + 6))
			return;
		if (k.proto == IPPROTO_UDP && local_input6(ns, &k, rx->p + 6))
			return;
	}
	if (!addresses_ok(ns, &k, l2_multicast))
		return;
	eth_learn(ns, rx->p + 6);
	guest6_seen(ns, &k.src);
	if (r == CHAIN_UPPER) {
		upper(ns, p, len, &c, tail, rx);
	} else if (r == CHAIN_FRAGMENT) {
		reassemble(ns, p, len, &c);
	} else {
		ns->stats.dropped_malformed++;
		if (r == CHAIN_PROBLEM) {
			icmp_error(ns, p, len, 4, c.code, (uint32_t)c.off, false);
			ip_refuse_quietly(ns, &k, NETSTACK_DENIED);
		}
	}
}
