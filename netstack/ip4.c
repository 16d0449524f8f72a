/* SPDX-License-Identifier: Apache-2.0 */
/*
 * IPv4 from the guest (RFC 791, 1122 3.2.1). A packet gets past here only if
 * version, header length, total length and header checksum agree with the
 * frame, its source is the guest's address and its destination is one host;
 * only what local.c takes for DHCP may come from no address, or go to all.
 * Options are skipped but for source routes, which are refused: the address we
 * judge must be the address it goes to. TTL is not ours to look at: we are a
 * host to every packet.
 */
#include "netstack/netstack_internal.h"

#define OPT_END 0
#define OPT_NOP 1
#define OPT_LSRR 131
#define OPT_SSRR 137

/* False: malformed or a source route. */
static bool options_ok(const uint8_t *p, size_t n, bool *ret_source_route)
{
	*ret_source_route = false;
	while (n) {
		if (p[0] == OPT_END)
			return true;
		if (p[0] == OPT_NOP) {
			p++;
			n--;
			continue;
		}
		if (n < 2 || p[1] < 2 || p[1] > n)
			return false;
		if (p[0] == OPT_LSRR || p[0] == OPT_SSRR) {
			*ret_source_route = true;
			return false;
		}
		n -= p[1];
		p += p[1];
	}
	return true;
}

/* 0.0.0.0/8, 224/4, 255.255.255.255: not one host. 127/8 and the rest are the owner's call. */
static bool is_unicast(const struct ip_addr *a)
{
	return a->b[0] != 0 && (a->b[0] & 0xf0) != 0xe0 && get_be32(a->b) != 0xffffffff;
}

/* The header and, for a packet whose payload goes on in a tail, a whole packet of both. */
static bool header_ok(const uint8_t *p, size_t len, const struct link_rx *rx, size_t *ret_ihl,
		      size_t *ret_total)
{
	struct csum c = { 0 };
	size_t ihl, total;

	if (len < 20 || p[0] >> 4 != 4)
		return false;
	ihl = (p[0] & 15u) * 4;
	total = get_be16(p + 2);
	if (ihl < 20 || ihl > len || total < ihl || total > len + rx->tail_len)
		return false;
	/* Only TCP may come in two parts, and no fragment of it. */
	if (total > len && (p[9] != IPPROTO_TCP || get_be16(p + 6) & 0x3fff))
		return false;
	csum_feed(&c, p, ihl);
	if (!csum_good(&c))
		return false;
	*ret_ihl = ihl;
	*ret_total = total;
	return true;
}

/* The part of a whole packet behind its header. */
static void deliver(struct netstack *ns, const uint8_t *p, size_t total, size_t ihl, size_t tail,
		    const struct link_rx *rx)
{
	struct ip_pkt k = {
		.src = ip_from_be(4, p + 12),
		.dst = ip_from_be(4, p + 16),
		.proto = p[9],
		.l3 = p,
		.l3_len = total,
		.l4 = p + ihl,
		.l4_len = total - ihl,
	};

	if (rx) {
		k.vouched = rx->vouched;
		k.maybe_partial = rx->maybe_partial;
		k.gso = rx->gso;
		k.gso_size = rx->gso_size;
		k.tail = rx->tail;
		k.tail_len = tail;
	}
	ip_deliver(ns, &k);
}

static void reassemble(struct netstack *ns, const uint8_t *p, size_t total, size_t ihl)
{
	uint16_t field = get_be16(p + 6);
	struct frag_piece f = {
		.src = ip_from_be(4, p + 12),
		.dst = ip_from_be(4, p + 16),
		.id = get_be16(p + 4),
		.proto = p[9],
		.head = p,
		.head_len = ihl,
		.p = p + ihl,
		.len = total - ihl,
		.off = (field & 0x1fffu) * 8,
		.more = field & 0x2000,
	};
	size_t len;
	const uint8_t *whole = frag_input(ns, &f, &len);

	/* Its header is the first fragment's, as long as that one said. */
	if (whole)
		deliver(ns, whole, len, (whole[0] & 15u) * 4, 0, NULL);
}

void ip4_input(struct netstack *ns, const uint8_t *p, size_t len, const struct link_rx *rx,
	       bool l2_multicast)
{
	struct ip_pkt k = { 0 };
	size_t ihl, total, tail;
	bool routed;

	if (!header_ok(p, len, rx, &ihl, &total) || !ns->cfg.guest4.family) {
		ns->stats.dropped_malformed++;
		return;
	}
	tail = total > len ? total - len : 0;
	total -= tail;
	k.src = ip_from_be(4, p + 12);
	k.dst = ip_from_be(4, p + 16);
	k.proto = p[9];
	/* A guest without an address may ask for one, and nothing else: no options, no fragments. */
	if (ihl == 20 && !(get_be16(p + 6) & 0xbfff)) {
		k.vouched = rx->vouched;
		k.l4 = p + ihl;
		k.l4_len = total - ihl;
		if (local_input4(ns, &k, rx->p + 6))
			return;
	}
	if (!ip_equal(&k.src, &ns->cfg.guest4)) {
		ns->stats.dropped_spoofed++;
		return;
	}
	eth_learn(ns, rx->p + 6);
	if (!options_ok(p + 20, ihl - 20, &routed) || ip_equal(&k.src, &k.dst)) {
		ns->stats.dropped_malformed++;
		if (routed)
			ip_refuse_quietly(ns, &k, NETSTACK_DENIED);
		return;
	}
	if (!is_unicast(&k.dst)) {
		k.l4 = p + ihl;
		k.l4_len = get_be16(p + 6) & 0x1fff ? 0 : total - ihl;
		ip_refuse_quietly(ns, &k, NETSTACK_SILENT);
		return;
	}
	/* RFC 1122 3.3.6: one host's address in a frame to many. */
	if (l2_multicast || get_be16(p + 6) & 0x8000) {
		ns->stats.dropped_malformed++;
		return;
	}
	if (get_be16(p + 6) & 0x3fff)
		reassemble(ns, p, total, ihl);
	else
		deliver(ns, p, total, ihl, tail, rx);
}
