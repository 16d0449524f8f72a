/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ethernet (with VLAN tags), Linux cooked capture and raw IP down to TCP, UDP
 * and ICMP. Nothing is put together: of a fragmented packet the first fragment
 * has the ports and stands for the whole. Checksums are not looked at: frames
 * with offload do not have them. Loops are over bytes that shrink, and counted.
 */
#include "weir/packet.h"

/* A chain of extension headers or tags without end: time. */
#define EXTENSIONS_MAX 8
#define TAGS_MAX 4

enum {
	ETHER_IPV4 = 0x0800,
	ETHER_ARP = 0x0806,
	ETHER_VLAN = 0x8100,
	ETHER_IPV6 = 0x86dd,
	ETHER_QINQ = 0x88a8,
};

enum {
	PROTO_HOPOPTS = 0,
	PROTO_ICMP = 1,
	PROTO_IGMP = 2,
	PROTO_TCP = 6,
	PROTO_UDP = 17,
	PROTO_ROUTING = 43,
	PROTO_FRAGMENT = 44,
	PROTO_AH = 51,
	PROTO_ICMPV6 = 58,
	PROTO_NONE = 59,
	PROTO_DSTOPTS = 60,
};

bool packet_link_known(int link)
{
	switch (link) {
	case PACKET_LINK_NULL:
	case PACKET_LINK_ETHERNET:
	case PACKET_LINK_RAW:
	case PACKET_LINK_LOOP:
	case PACKET_LINK_SLL:
	case PACKET_LINK_IPV4:
	case PACKET_LINK_IPV6:
	case PACKET_LINK_SLL2:
		return true;
	default:
		return false;
	}
}

/* ---- transport ------------------------------------------------------------------------ */

static void read_tcp(struct rd r, struct packet *p)
{
	size_t header;
	uint8_t at;

	if (rd_left(&r) < 20)
		return;
	p->src.port = get_be16(r.p);
	p->dst.port = get_be16(r.p + 2);
	p->seq = get_be32(r.p + 4);
	at = r.p[12];
	p->flags = r.p[13];
	header = (size_t)(at >> 4) * 4;
	if (header < 20 || !rd_skip(&r, header))
		return;
	p->kind = PACKET_TCP;
	p->payload = r.p;
	p->len = rd_left(&r);
}

static void read_udp(struct rd r, struct packet *p)
{
	uint16_t len;

	if (rd_left(&r) < 8)
		return;
	p->src.port = get_be16(r.p);
	p->dst.port = get_be16(r.p + 2);
	len = get_be16(r.p + 4);
	/* 0: longer than the field can say (RFC 2675). */
	if (len && len < 8)
		return;
	p->kind = PACKET_UDP;
	p->payload = r.p + 8;
	p->len = rd_left(&r) - 8;
	if (len && p->len > len - 8U)
		p->len = len - 8U;
	else if (len && p->len < len - 8U)
		p->cut = true;
}

static void read_icmp(struct rd r, bool v6, struct packet *p)
{
	if (rd_left(&r) < 1)
		return;
	p->kind = r.p[0] == (v6 ? 128 : 8) ? PACKET_ECHO : PACKET_CONTROL;
}

static void read_transport(struct rd r, uint8_t proto, struct packet *p)
{
	p->ip_proto = proto;
	switch (proto) {
	case PROTO_TCP:
		read_tcp(r, p);
		break;
	case PROTO_UDP:
		read_udp(r, p);
		break;
	case PROTO_ICMP:
	case PROTO_ICMPV6:
		/* The one inside the other family's packets is nobody's. */
		if ((proto == PROTO_ICMPV6) == (p->src.addr.family == 6))
			read_icmp(r, proto == PROTO_ICMPV6, p);
		else
			p->kind = PACKET_OTHER;
		break;
	case PROTO_IGMP:
		p->kind = PACKET_CONTROL;
		break;
	default:
		p->kind = PACKET_OTHER;
	}
}

/* ---- network ---------------------------------------------------------------------------- */

/* What the header says the packet has, of what was captured. */
static struct rd bounded(const uint8_t *p, size_t have, size_t total, struct packet *ret)
{
	if (total > have)
		ret->cut = true;
	return rd_init(p, MIN(have, total));
}

static void read_ipv4(struct rd r, struct packet *p)
{
	size_t header, total;
	uint16_t fragment;

	if (rd_left(&r) < 20 || r.p[0] >> 4 != 4)
		return;
	header = (size_t)(r.p[0] & 15) * 4;
	total = get_be16(r.p + 2);
	/* 0: left to the card by segmentation offload. */
	if (total == 0)
		total = rd_left(&r);
	fragment = get_be16(r.p + 6);
	p->src.addr = ip_from_be(4, r.p + 12);
	p->dst.addr = ip_from_be(4, r.p + 16);
	p->ip_proto = r.p[9];
	if (header < 20 || total < header)
		return;
	r = bounded(r.p, rd_left(&r), total, p);
	if (rd_left(&r) < header)
		return;
	if (fragment & 0x1fff) {
		p->kind = PACKET_FRAGMENT;
		return;
	}
	p->cut |= (fragment & 0x2000) != 0;
	read_transport(rd_init(r.p + header, rd_left(&r) - header), p->ip_proto, p);
}

/* Skips one extension header. False: it is the transport's turn, or unreadable (*ret_bad). */
static bool skip_extension(struct rd *r, uint8_t *proto, struct packet *p, bool *ret_bad)
{
	size_t len;

	switch (*proto) {
	case PROTO_HOPOPTS:
	case PROTO_ROUTING:
	case PROTO_DSTOPTS:
	case PROTO_AH:
	case PROTO_FRAGMENT:
		break;
	default:
		return false;
	}
	*ret_bad = true;
	if (rd_left(r) < 8)
		return false;
	len = *proto == PROTO_FRAGMENT ? 8
	      : *proto == PROTO_AH     ? ((size_t)r->p[1] + 2) * 4
				       : ((size_t)r->p[1] + 1) * 8;
	if (*proto == PROTO_FRAGMENT) {
		uint16_t at = get_be16(r->p + 2);

		p->cut |= at & 1;
		if (at & 0xfff8) {
			p->kind = PACKET_FRAGMENT;
			return false;
		}
	}
	*proto = r->p[0];
	*ret_bad = !rd_skip(r, len);
	return !*ret_bad;
}

static void read_ipv6(struct rd r, struct packet *p)
{
	bool bad = false;
	uint8_t proto;
	size_t total;
	unsigned n = 0;

	if (rd_left(&r) < 40 || r.p[0] >> 4 != 6)
		return;
	total = get_be16(r.p + 4);
	proto = r.p[6];
	p->src.addr = ip_from_be(6, r.p + 8);
	p->dst.addr = ip_from_be(6, r.p + 24);
	/* 0: a jumbogram, or left to the card. */
	r = total ? bounded(r.p + 40, rd_left(&r) - 40, total, p)
		  : rd_init(r.p + 40, rd_left(&r) - 40);
	while (n++ < EXTENSIONS_MAX && skip_extension(&r, &proto, p, &bad))
		;
	if (bad || n > EXTENSIONS_MAX)
		return;
	if (proto == PROTO_NONE)
		p->kind = PACKET_CONTROL;
	else
		read_transport(r, proto, p);
}

static void read_ip(struct rd r, struct packet *p)
{
	if (rd_left(&r) && r.p[0] >> 4 == 6)
		read_ipv6(r, p);
	else
		read_ipv4(r, p);
}

static void read_ethertype(struct rd r, uint16_t type, struct packet *p)
{
	for (unsigned tags = 0; type == ETHER_VLAN || type == ETHER_QINQ; tags++) {
		uint16_t tag;

		if (tags == TAGS_MAX || !rd_be16(&r, &tag) || !rd_be16(&r, &type))
			return;
	}
	if (type == ETHER_IPV4)
		read_ipv4(r, p);
	else if (type == ETHER_IPV6)
		read_ipv6(r, p);
	else
		/* ARP and whatever else stays on the link. */
		p->kind = PACKET_CONTROL;
}

/* ---- link ------------------------------------------------------------------------------- */

/* BSD loopback: the family as a number, in whose byte order nobody knows. */
static void read_loopback(struct rd r, struct packet *p)
{
	if (rd_skip(&r, 4))
		read_ip(r, p);
}

void packet_read(int link, const uint8_t *frame, size_t len, struct packet *ret)
{
	struct rd r = rd_init(frame, len);
	uint16_t type;

	*ret = (struct packet){ .kind = PACKET_UNREADABLE };
	switch (link) {
	case PACKET_LINK_ETHERNET:
		if (rd_skip(&r, 12) && rd_be16(&r, &type))
			read_ethertype(r, type, ret);
		break;
	case PACKET_LINK_SLL:
		if (rd_skip(&r, 14) && rd_be16(&r, &type))
			read_ethertype(r, type, ret);
		break;
	case PACKET_LINK_SLL2:
		if (rd_be16(&r, &type) && rd_skip(&r, 18))
			read_ethertype(r, type, ret);
		break;
	case PACKET_LINK_NULL:
	case PACKET_LINK_LOOP:
		read_loopback(r, ret);
		break;
	case PACKET_LINK_RAW:
	case PACKET_LINK_IPV4:
	case PACKET_LINK_IPV6:
		read_ip(r, ret);
		break;
	default:
		break;
	}
}
