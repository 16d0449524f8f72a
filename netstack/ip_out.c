/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Packets towards the guest, both IP versions: headers, checksums (left to the
 * link where it can), fragments when a datagram is larger than the MTU.
 * Everything here is of our own making, but the payload lengths come from
 * descriptors, so they are checked against what an IP packet can hold.
 */
#include "netstack/netstack_internal.h"

#define HEAD_MAX (ETH_HEAD + IP6_HEAD + 8 + IP_OUT_HEAD_MAX)
#define IP6_FRAG 44

size_t ip_build_header(uint8_t *p, const struct ip_addr *src, const struct ip_addr *dst,
		       uint8_t proto, uint8_t hop_limit, size_t payload_len)
{
	struct csum c = { 0 };

	if (src->family == 4) {
		memset(p, 0, 20);
		p[0] = 0x45;
		put_be16(p + 2, (uint16_t)(20 + payload_len));
		p[8] = hop_limit;
		p[9] = proto;
		memcpy(p + 12, src->b, 4);
		memcpy(p + 16, dst->b, 4);
		csum_feed(&c, p, 20);
		csum_store(&c, p + 10);
		return 20;
	}
	put_be32(p, 0x60000000);
	put_be16(p + 4, (uint16_t)payload_len);
	p[6] = proto;
	p[7] = hop_limit;
	memcpy(p + 8, src->b, 16);
	memcpy(p + 24, dst->b, 16);
	return IP6_HEAD;
}

/* Identification and the fragment field of a finished IPv4 header. */
static void ip4_set_frag(uint8_t *p, uint16_t id, uint16_t frag)
{
	struct csum c = { 0 };

	put_be16(p + 4, id);
	put_be16(p + 6, frag);
	put_be16(p + 10, 0);
	csum_feed(&c, p, 20);
	csum_store(&c, p + 10);
}

static size_t data_len(const struct ip_out *o)
{
	size_t n = 0;

	for (unsigned i = 0; i < o->n_data; i++)
		n += o->data[i].iov_len;
	return n;
}

/* Pseudo header (not for ICMP over IPv4, which has none), transport header, payload. */
static void full_checksum(const struct ip_out *o, uint8_t *head, size_t len)
{
	struct csum c = { 0 };

	if (o->proto != IPPROTO_ICMP)
		csum_feed_pseudo(&c, o->src, o->dst, o->proto, len);
	csum_feed(&c, head, o->head_len);
	for (unsigned i = 0; i < o->n_data; i++)
		csum_feed(&c, o->data[i].iov_base, o->data[i].iov_len);
	csum_store(&c, head + o->csum_off);
	/* RFC 768: a sum of zero is sent as ones; zero means "none". */
	if (o->proto == IPPROTO_UDP && get_be16(head + o->csum_off) == 0)
		put_be16(head + o->csum_off, 0xffff);
}

/* All headers of a packet that is one frame: len bytes from the transport header on. */
static void build_head(struct netstack *ns, const struct ip_out *o, size_t len, uint8_t h[HEAD_MAX],
		       struct link_tx *ret)
{
	uint8_t *l4;
	bool four = o->src->family == 4;
	size_t ip;

	*ret = (struct link_tx){ .head = h, .gso = o->gso, .gso_size = o->gso_size };

	eth_header(ns, h, four ? ETH_IP4 : ETH_IP6);
	ip = ip_build_header(h + ETH_HEAD, o->src, o->dst, o->proto,
			     o->hop_limit ? o->hop_limit : 64, len);
	if (four)
		ip4_set_frag(h + ETH_HEAD, ns->ip4_id++, o->proto == IPPROTO_TCP ? 0x4000 : 0);
	l4 = h + ETH_HEAD + ip;
	memcpy(l4, o->head, o->head_len);
	if (o->proto == IPPROTO_TCP || o->proto == IPPROTO_UDP) {
		struct csum c = { 0 };

		csum_feed_pseudo(&c, o->src, o->dst, o->proto, len);
		csum_store_partial(&c, l4 + o->csum_off);
		ret->partial_csum = true;
		ret->csum_start = (uint16_t)(ETH_HEAD + ip);
		ret->csum_off = (uint16_t)o->csum_off;
	} else {
		full_checksum(o, l4, len);
	}
	ret->head_len = ETH_HEAD + ip + o->head_len;
}

static bool send_whole(struct netstack *ns, const struct ip_out *o, size_t len)
{
	uint8_t h[HEAD_MAX];
	struct link_tx tx;

	build_head(ns, o, len, h, &tx);
	tx.n_data = o->n_data;
	memcpy(tx.data, o->data, sizeof(tx.data));
	return eth_send(ns, &tx);
}

/* One fragment: bytes [off, off + n) of transport header and payload as one string. */
static bool send_fragment(struct netstack *ns, const struct ip_out *o, const uint8_t *l4,
			  uint32_t id, size_t off, size_t n, bool more)
{
	uint8_t h[HEAD_MAX], *p = h + ETH_HEAD;
	bool four = o->src->family == 4;
	struct link_tx tx = { .head = h };
	size_t from = off ? off - o->head_len : 0;

	eth_header(ns, h, four ? ETH_IP4 : ETH_IP6);
	if (four) {
		p += ip_build_header(p, o->src, o->dst, o->proto, 64, n);
		ip4_set_frag(h + ETH_HEAD, (uint16_t)id, (uint16_t)(off / 8 | (more ? 0x2000 : 0)));
	} else {
		p += ip_build_header(p, o->src, o->dst, IP6_FRAG, 64, n + 8);
		p[0] = o->proto;
		p[1] = 0;
		put_be16(p + 2, (uint16_t)(off | (more ? 1 : 0)));
		put_be32(p + 4, id);
		p += 8;
	}
	if (off == 0) {
		memcpy(p, l4, o->head_len);
		p += o->head_len;
		n -= o->head_len;
	}
	tx.head_len = (size_t)(p - h);
	tx.n_data = 1;
	tx.data[0] = (struct iovec){ (uint8_t *)o->data[0].iov_base + from, n };
	return eth_send(ns, &tx);
}

static bool send_fragments(struct netstack *ns, const struct ip_out *o, size_t len)
{
	size_t ip = o->src->family == 4 ? 20 : IP6_HEAD + 8;
	size_t room = (ns->cfg.mtu - ip) & ~(size_t)7;
	uint8_t l4[IP_OUT_HEAD_MAX];
	uint32_t id = o->src->family == 4 ? ns->ip4_id++ : ns->ip6_id++;

	memcpy(l4, o->head, o->head_len);
	full_checksum(o, l4, len);
	for (size_t off = 0; off < len; off += room) {
		size_t n = MIN(room, len - off);

		if (!send_fragment(ns, o, l4, id, off, n, off + n < len))
			return false;
	}
	return true;
}

bool ip_send(struct netstack *ns, const struct ip_out *o)
{
	size_t ip = o->src->family == 4 ? 20 : IP6_HEAD;
	size_t len = o->head_len + data_len(o);

	if (!ns->mac_known) {
		eth_resolve(ns);
		return false;
	}
	/* A datagram of the other IP version may be larger than ours can be. */
	if (len > 65535 - (o->src->family == 4 ? ip : 0))
		return false;
	if (o->gso || ip + len <= ns->cfg.mtu || o->n_data != 1)
		return send_whole(ns, o, len);
	return send_fragments(ns, o, len);
}

int ip_send_in_place(struct netstack *ns, const struct ip_out *o, size_t len,
		     const struct eth_fill *fill)
{
	size_t ip = o->src->family == 4 ? 20 : IP6_HEAD, l4 = o->head_len + len;
	uint8_t h[HEAD_MAX];
	struct link_tx tx;

	assert(o->proto == IPPROTO_TCP && o->n_data == 0);
	if (!ns->mac_known || l4 > 65535 - ip || (!o->gso && ip + l4 > ns->cfg.mtu))
		return -EOPNOTSUPP;
	build_head(ns, o, l4, h, &tx);
	return eth_send_in_place(ns, &tx, len, fill);
}
