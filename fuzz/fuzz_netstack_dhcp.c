/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a guest sends to be told its addresses: DHCP, DHCPv6 and neighbour
 * discovery messages. The first byte says which; the rest is the message.
 * The engines get it as it is, and the stack gets it in a frame whose headers
 * and checksum are right.
 *
 * What must hold: an answer fits its buffer, is for the guest, and gives nothing
 * but the one lease; the stack says nothing to anybody else, and no flow begins.
 */
#include "netstack/local.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MUST(x)                                                                                    \
	do {                                                                                       \
		if (!(x))                                                                          \
			abort();                                                                   \
	} while (0)

enum { KIND_DHCP4 = 0, KIND_DHCP6 = 1, KIND_ND = 2, KIND_FRAME = 3 };

static const uint8_t gateway_mac[6] = { 2, 0, 0, 0, 0, 1 };
static const uint8_t guest_mac[6] = { 2, 0, 0, 0, 0, 2 };

static struct netstack_config config(void)
{
	struct netstack_config c = {
		.gateway4 = ip4(10, 9, 0, 1),
		.guest4 = ip4(10, 9, 0, 2),
		.gateway6 = { 6, { 0xfd, [15] = 1 } },
		.guest6 = { 6, { 0xfd, [15] = 2 } },
		.mtu = 1500,
		.max_tcp = 2,
		.max_udp = 2,
		.max_icmp = 2,
		.autoconf = { .dhcp4 = true,
			      .ra = true,
			      .dhcp6 = true,
			      .prefix4 = 30,
			      .lease_s = 3600,
			      .domain = "lab.example",
			      .hostname = "box" },
	};

	memcpy(c.gateway_mac, gateway_mac, 6);
	return c;
}

/* ---- the engines ----------------------------------------------------------- */

static void engine4(const struct netstack_config *c, const uint8_t *p, size_t n)
{
	uint8_t out[DHCP_OUT_MAX];
	struct ip_addr to;
	size_t len = dhcp4_answer(c, p, n, out, &to);

	if (!len)
		return;
	MUST(len >= 300 && len <= sizeof(out));
	MUST(ip_equal(&to, &c->guest4) || get_be32(to.b) == 0xffffffff);
	MUST(out[0] == 2 && memcmp(out + 4, p + 4, 4) == 0);
	MUST(get_be32(out + 16) == 0 || memcmp(out + 16, c->guest4.b, 4) == 0);
	MUST(get_be32(out + 20) == 0 && get_be32(out + 24) == 0);
}

static void engine6(const struct netstack_config *c, const uint8_t *p, size_t n)
{
	uint8_t out[DHCP_OUT_MAX];
	bool leased = false;
	size_t len = dhcp6_answer(c, p, n, out, &leased), at = 4;

	if (!len)
		return;
	MUST(len <= sizeof(out) && (out[0] == 2 || out[0] == 7));
	MUST(memcmp(out + 1, p + 1, 3) == 0);
	while (at < len) {
		MUST(len - at >= 4);
		at += 4u + get_be16(out + at + 2);
	}
	MUST(at == len);
}

/* ---- the stack ------------------------------------------------------------- */

static void never(void *ctx, struct netstack_flow *f)
{
	(void)ctx, (void)f;
	abort();
}

/* Raw frames may be anything, also flows. */
static void refuse(void *ctx, struct netstack_flow *f)
{
	(void)ctx;
	netstack_flow_refuse(f, NETSTACK_DENIED);
}

static void ended(void *ctx, struct netstack_flow *f, enum netstack_end how,
		  const struct netstack_counts *c)
{
	(void)ctx, (void)f, (void)how, (void)c;
}

static size_t put_ip(uint8_t *p, const struct ip_addr *src, const struct ip_addr *dst,
		     uint8_t proto, uint8_t hops, size_t n)
{
	memset(p, 0xff, 6);
	if (dst->family == 6)
		memcpy(p, "\x33\x33\0\0\0\2", 6);
	memcpy(p + 6, guest_mac, 6);
	put_be16(p + 12, src->family == 4 ? ETH_IP4 : ETH_IP6);
	return ETH_HEAD + ip_build_header(p + ETH_HEAD, src, dst, proto, hops, n);
}

/* A frame that brings the message to its service; returns its length. */
static size_t make_frame(uint8_t *out, int kind, const uint8_t *p, size_t n)
{
	static const struct ip_addr none = { 4, { 0 } }, all = { 4, { 255, 255, 255, 255 } };
	static const struct ip_addr ll = { 6, { 0xfe, 0x80, [15] = 2 } };
	static const struct ip_addr servers = { 6, { 0xff, 2, [13] = 1, [15] = 2 } };
	static const struct ip_addr routers = { 6, { 0xff, 2, [15] = 2 } };
	const struct ip_addr *src = kind == KIND_DHCP4 ? &none : &ll;
	const struct ip_addr *dst = kind == KIND_DHCP4	 ? &all
				    : kind == KIND_DHCP6 ? &servers
							 : &routers;
	struct csum c = { 0 };
	uint8_t *l4;
	size_t at;

	if (kind == KIND_ND) {
		at = put_ip(out, src, dst, IPPROTO_ICMPV6, 255, n);
		memcpy(out + at, p, n);
		if (n >= 4) {
			put_be16(out + at + 2, 0);
			csum_feed_pseudo(&c, src, dst, IPPROTO_ICMPV6, n);
			csum_feed(&c, out + at, n);
			csum_store(&c, out + at + 2);
		}
		return at + n;
	}
	at = put_ip(out, src, dst, IPPROTO_UDP, 64, n + UDP_HEAD);
	l4 = out + at;
	put_be16(l4, kind == KIND_DHCP4 ? DHCP4_CLIENT_PORT : DHCP6_CLIENT_PORT);
	put_be16(l4 + 2, kind == KIND_DHCP4 ? DHCP4_SERVER_PORT : DHCP6_SERVER_PORT);
	put_be16(l4 + 4, (uint16_t)(n + UDP_HEAD));
	put_be16(l4 + 6, 0);
	memcpy(l4 + UDP_HEAD, p, n);
	csum_feed_pseudo(&c, src, dst, IPPROTO_UDP, n + UDP_HEAD);
	csum_feed(&c, l4, n + UDP_HEAD);
	csum_store(&c, l4 + 6);
	return at + UDP_HEAD + n;
}

/* All that the stack says goes to the guest, to all, or to all nodes. */
static void check_said(int link)
{
	static uint8_t b[12 + LIMIT_FRAME];
	ssize_t n;

	while ((n = read(link, b, sizeof(b))) > 0) {
		MUST(n >= 12 + ETH_HEAD);
		MUST(memcmp(b + 12 + 6, gateway_mac, 6) == 0);
		MUST(b[12] & 1 || memcmp(b + 12, guest_mac, 6) == 0);
	}
}

static void stack(const struct netstack_config *c, int kind, const uint8_t *p, size_t n)
{
	struct netstack_ops ops = { .flow_new = kind == KIND_FRAME ? refuse : never,
				    .flow_end = ended };
	static uint8_t frame[12 + 4096];
	struct netstack *ns;
	struct loop *loop;
	int sv[2];

	memset(frame, 0, sizeof(frame));
	if (kind == KIND_FRAME) {
		/* The guest's MAC, or answers would not be for it. */
		memcpy(frame + 12, p, n);
		if (n >= 12)
			memcpy(frame + 12 + 6, guest_mac, 6);
	} else {
		n = make_frame(frame + 12, kind, p, n);
	}
	MUST(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, sv) == 0);
	MUST(loop_new(&loop) == 0);
	MUST(netstack_new(loop, NETSTACK_LINK_TAP, sv[1], c, &ops, NULL, &ns) == 0);
	MUST(write(sv[0], frame, n + 12) == (ssize_t)(n + 12));
	for (unsigned i = 0; i < 4; i++)
		MUST(loop_step(loop, 0) == 0);
	check_said(sv[0]);
	netstack_free(ns);
	loop_free(loop);
	close(sv[0]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct netstack_config c = config();
	int kind;

	signal(SIGPIPE, SIG_IGN);
	if (size < 1 || size > 3000)
		return 0;
	kind = data[0] & 3;
	data++;
	size--;
	if (kind == KIND_DHCP4)
		engine4(&c, data, size);
	else if (kind == KIND_DHCP6)
		engine6(&c, data, size);
	stack(&c, kind, data, size);
	return 0;
}
