/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ICMP and ICMPv6 (RFC 792, 1122 3.2.2, 4443). Echo requests are flows, keyed
 * by identifier; errors are made here, quoting the guest's own packet, at a
 * bounded rate. No error is ever about an error, a group address or a later
 * fragment; callers only come here with whole packets to one host, and
 * icmp_error() looks at the quoted type itself.
 *
 * Of the errors that the guest sends one has an effect: that its port is
 * closed ends the flow quoted in it, so that the host port closes as well and
 * the host's kernel tells the remote. All are counted.
 */
#include "netstack/icmp_types.h"
#include "netstack/netstack_internal.h"

static bool take_token(struct netstack *ns)
{
	const uint64_t unit = 1000000, full = LIMIT_ICMP_BURST * unit;
	uint64_t now = ns_now(ns), elapsed = MIN(now - ns->icmp.last, 10 * NS_PER_S);

	/* rate/s in millionths per nanosecond: 1000/s is one millionth per nanosecond / 1000 */
	ns->icmp.tokens = MIN(full, ns->icmp.tokens + elapsed * LIMIT_ICMP_RATE / 1000);
	ns->icmp.last = now;
	if (ns->icmp.tokens < unit)
		return false;
	ns->icmp.tokens -= unit;
	return true;
}

/* Where the transport header of a validated packet starts, its protocol; 0 when unclear. */
static size_t find_upper(const uint8_t *p, size_t len, uint8_t *ret_proto)
{
	size_t off = IP6_HEAD;

	if (p[0] >> 4 == 4) {
		*ret_proto = p[9];
		return (p[0] & 15u) * 4;
	}
	*ret_proto = p[6];
	for (unsigned i = 0; i < LIMIT_IP6_HEADERS; i++) {
		if (*ret_proto != 0 && *ret_proto != 43 && *ret_proto != 60)
			return off;
		if (len < off + 8)
			return 0;
		*ret_proto = p[off];
		off += 8u + p[off + 1] * 8u;
	}
	return 0;
}

static bool may_answer(const uint8_t *l3, size_t len)
{
	uint8_t proto;
	size_t off = find_upper(l3, len, &proto);

	if (proto == IPPROTO_ICMP && l3[0] >> 4 == 4)
		return off && off < len && l3[off] == ECHO_REQUEST;
	if (proto == IPPROTO_ICMPV6 && l3[0] >> 4 == 6)
		return off && off < len && l3[off] == ECHO6_REQUEST;
	return true;
}

/* src NULL: from the gateway. */
static void send_error(struct netstack *ns, const uint8_t *l3, size_t len, uint8_t type,
		       uint8_t code, uint32_t info, const struct ip_addr *src)
{
	bool four = l3[0] >> 4 == 4;
	struct ip_addr guest = ip_from_be(four ? 4 : 6, four ? l3 + 12 : l3 + 8);
	struct ip_addr dst = ip_from_be(four ? 4 : 6, four ? l3 + 16 : l3 + 24);
	const struct ip_addr *gw = four ? &ns->cfg.gateway4 : &ns->cfg.gateway6;
	uint8_t h[ICMP_HEAD] = { type, code };
	struct ip_out o = {
		.src = src	    ? src
		       : gw->family ? gw
				    : &dst,
		.dst = &guest,
		.proto = four ? IPPROTO_ICMP : IPPROTO_ICMPV6,
		.head = h,
		.head_len = sizeof(h),
		.csum_off = 2,
		.n_data = 1,
	};
	size_t max = four ? 576 - 20 - ICMP_HEAD : 1280 - IP6_HEAD - ICMP_HEAD;

	if (!may_answer(l3, len) || !take_token(ns))
		return;
	put_be32(h + 4, info);
	o.data[0] = (struct iovec){ (void *)(uintptr_t)l3, MIN(len, max) };
	if (!ip_send(ns, &o))
		ns->stats.dropped_link_full++;
}

void icmp_error(struct netstack *ns, const uint8_t *l3, size_t len, uint8_t type, uint8_t code,
		uint32_t info, bool from_dst)
{
	bool four = l3[0] >> 4 == 4;
	struct ip_addr dst = ip_from_be(four ? 4 : 6, four ? l3 + 16 : l3 + 24);

	send_error(ns, l3, len, type, code, info, from_dst ? &dst : NULL);
}

static bool is_zero(const struct ip_addr *a)
{
	static const uint8_t none[16];

	return memcmp(a->b, none, sizeof(none)) == 0;
}

/* Could this be the address of a router, seen from the guest? */
static bool is_believable(const struct ip_addr *from, const struct ip_addr *guest)
{
	static const uint8_t loopback6[16] = { [15] = 1 };

	if (is_zero(from) || ip_equal(from, guest))
		return false;
	if (from->family == 4)
		return from->b[0] != 0 && from->b[0] != 127 && from->b[0] < 224;
	return from->b[0] != 0xff && memcmp(from->b, loopback6, sizeof(loopback6)) != 0;
}

void icmp_error_from(struct netstack *ns, const uint8_t *l3, size_t len,
		     const struct netstack_icmp *e)
{
	bool four = l3[0] >> 4 == 4;
	struct ip_addr guest = ip_from_be(four ? 4 : 6, four ? l3 + 12 : l3 + 8);
	struct ip_addr dst = ip_from_be(four ? 4 : 6, four ? l3 + 16 : l3 + 24);
	bool closed =
		e->type == (four ? V4_UNREACHABLE : V6_UNREACHABLE) && e->code == (four ? 3 : 4);
	uint32_t info = e->info;

	if (e->type == (four ? V4_UNREACHABLE : V6_TOO_BIG) && e->code == (four ? 4 : 0)) {
		icmp_too_big(ns, l3, len, info);
		return;
	}
	/* A parameter problem of IPv4 has its pointer in the first byte. */
	if (four && e->type == V4_PARAMETER)
		info <<= 24;
	/* A closed port is the remote's own word, whatever it is called here. */
	send_error(ns, l3, len, e->type, e->code, info,
		   closed			     ? &dst
		   : is_believable(&e->from, &guest) ? &e->from
						     : NULL);
}

bool icmp_hops_end(struct netstack *ns, const struct ip_pkt *k)
{
	bool four = k->src.family == 4;

	if (ip_hop_limit(k->l3) > 1 ||
	    ip_equal(&k->dst, four ? &ns->cfg.gateway4 : &ns->cfg.gateway6))
		return false;
	send_error(ns, k->l3, k->l3_len, four ? V4_EXCEEDED : V6_EXCEEDED, 0, 0, NULL);
	return true;
}

void icmp_refusal(struct netstack *ns, const uint8_t *l3, size_t len, enum netstack_refusal how)
{
	static const struct {
		uint8_t code4, code6;
		bool from_dst;
	} codes[] = {
		[NETSTACK_DENIED] = { 13, 1, false }, [NETSTACK_NO_HOST] = { 1, 3, false },
		[NETSTACK_NO_NET] = { 0, 0, false },  [NETSTACK_PORT_CLOSED] = { 3, 4, true },
		[NETSTACK_LIMIT] = { 13, 1, false },  [NETSTACK_MEMORY] = { 13, 1, false },
	};
	bool four = l3[0] >> 4 == 4;

	if (how == NETSTACK_SILENT)
		return;
	assert(how > 0 && (size_t)how < ARRAY_SIZE(codes));
	icmp_error(ns, l3, len, four ? V4_UNREACHABLE : V6_UNREACHABLE,
		   four ? codes[how].code4 : codes[how].code6, 0, codes[how].from_dst);
}

void icmp_protocol_unreachable(struct netstack *ns, const struct ip_pkt *k)
{
	uint8_t proto;

	if (k->src.family == 4) {
		icmp_error(ns, k->l3, k->l3_len, V4_UNREACHABLE, 2, 0, true);
		return;
	}
	/* The pointer names the next-header byte; that of the base header when there is one only. */
	if (find_upper(k->l3, k->l3_len, &proto) == IP6_HEAD)
		icmp_error(ns, k->l3, k->l3_len, V6_PARAMETER, 1, 6, true);
	else
		icmp_error(ns, k->l3, k->l3_len, V6_PARAMETER, 1, IP6_HEAD, true);
}

void icmp_too_big(struct netstack *ns, const uint8_t *l3, size_t len, uint32_t mtu)
{
	bool four = l3[0] >> 4 == 4;

	/* What no path may be narrower than, and what the link is anyway. */
	mtu = MIN(MAX(mtu, four ? 576u : 1280u), (uint32_t)ns->cfg.mtu);
	send_error(ns, l3, len, four ? V4_UNREACHABLE : V6_TOO_BIG, four ? 4 : 0, mtu, NULL);
}

bool icmp_echo_reply(struct netstack_flow *f, uint16_t seq, const void *p, size_t len)
{
	bool four = f->t.guest.addr.family == 4;
	uint8_t h[ICMP_HEAD] = { four ? ECHO_REPLY : ECHO6_REPLY };
	struct ip_out o = {
		.src = &f->t.remote.addr,
		.dst = &f->t.guest.addr,
		.proto = four ? IPPROTO_ICMP : IPPROTO_ICMPV6,
		.head = h,
		.head_len = sizeof(h),
		.csum_off = 2,
		.n_data = 1,
		.data[0] = { (void *)(uintptr_t)p, len },
	};

	put_be16(h + 4, f->t.guest.port);
	put_be16(h + 6, seq);
	return ip_send(f->ns, &o);
}

static void echo_input(struct netstack *ns, const struct ip_pkt *k)
{
	struct netstack_tuple t = {
		.proto = NETSTACK_ICMP,
		.guest = { k->src, get_be16(k->l4 + 4) },
		.remote = { k->dst, 0 },
	};
	struct dgram d = {
		.p = k->l4 + ICMP_HEAD,
		.len = k->l4_len - ICMP_HEAD,
		.seq = get_be16(k->l4 + 6),
		.hops = ip_hop_limit(k->l3),
		.df = ip_dont_fragment(k->l3, k->l3_len, ns->cfg.mtu),
	};
	struct netstack_flow *f = flow_find(ns, &t);
	bool fresh = !f;

	if (!f)
		f = flow_create(ns, &t);
	if (!f) {
		flow_refuse_limit(ns, &t, k);
		return;
	}
	if (f->state == FLOW_NEW)
		flow_keep(f, k->l3, (size_t)(d.p - k->l3), d.p, d.len, d.seq);
	if (fresh)
		ns->ops->flow_new(ns->ctx, f);
	else if (f->state == FLOW_OPEN)
		relay_dgram_up(f, &d, d.len);
}

/* The flow whose packet to the guest an error of the guest's quotes; NULL: none. */
static struct netstack_flow *quoted_flow(struct netstack *ns, const uint8_t *q, size_t len, bool four)
{
	struct netstack_tuple t = { .proto = NETSTACK_UDP };
	size_t off = four ? 20 : IP6_HEAD;

	if (len < off + 4 || q[0] >> 4 != (four ? 4 : 6) || q[four ? 9 : 6] != IPPROTO_UDP ||
	    (four && ((q[0] & 15) != 5 || get_be16(q + 6) & 0x1fff)))
		return NULL;
	t.remote = (struct endpoint){ ip_from_be(four ? 4 : 6, four ? q + 12 : q + 8),
				      get_be16(q + off) };
	t.guest = (struct endpoint){ ip_from_be(four ? 4 : 6, four ? q + 16 : q + 24),
				     get_be16(q + off + 2) };
	return flow_find(ns, &t);
}

/* An error about a packet of ours. The owner's own flows are the owner's to end. */
static void error_input(struct netstack *ns, const struct ip_pkt *k)
{
	bool four = k->src.family == 4;
	struct netstack_flow *f;

	ns->stats.icmp_from_guest++;
	if (four ? k->l4[0] == V4_UNREACHABLE && k->l4[1] == 4 : k->l4[0] == V6_TOO_BIG)
		relay_tcp_too_big(ns, k->l4 + ICMP_HEAD, k->l4_len - ICMP_HEAD,
				  four ? get_be16(k->l4 + 6) : get_be32(k->l4 + 4));
	if (k->l4[0] != (four ? V4_UNREACHABLE : V6_UNREACHABLE) || k->l4[1] != (four ? 3 : 4))
		return;
	f = quoted_flow(ns, k->l4 + ICMP_HEAD, k->l4_len - ICMP_HEAD, four);
	if (f && f->sock)
		flow_finish(f, NETSTACK_END_GUEST_RESET);
}

static bool is_error_type(uint8_t type, bool four)
{
	return four ? type == V4_UNREACHABLE || type == V4_EXCEEDED || type == V4_PARAMETER
		    : type >= V6_UNREACHABLE && type <= V6_PARAMETER;
}

void icmp_input(struct netstack *ns, const struct ip_pkt *k)
{
	bool four = k->src.family == 4;
	struct csum c = { 0 };

	if (k->l4_len < ICMP_HEAD) {
		ns->stats.dropped_malformed++;
		return;
	}
	if (!k->vouched) {
		if (!four)
			csum_feed_pseudo(&c, &k->src, &k->dst, k->proto, k->l4_len);
		csum_feed(&c, k->l4, k->l4_len);
		if (!csum_good(&c)) {
			ns->stats.dropped_malformed++;
			return;
		}
	}
	if (k->l4[0] == (four ? ECHO_REQUEST : ECHO6_REQUEST)) {
		if (k->l4[1] == 0)
			echo_input(ns, k);
		else
			ns->stats.dropped_malformed++;
		return;
	}
	if (is_error_type(k->l4[0], four)) {
		error_input(ns, k);
		return;
	}
	/* Replies are ignored; other questions are refused and said so. */
	if (four ? k->l4[0] > ECHO_REQUEST && k->l4[0] != 11 && k->l4[0] != 12
		 : k->l4[0] > ECHO6_REPLY)
		ip_refuse_quietly(ns, k, NETSTACK_SILENT);
}
