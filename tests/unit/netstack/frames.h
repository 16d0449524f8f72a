/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For the tests: a stack whose link is a socket pair, frames made by hand, an
 * owner that remembers what it was told. Included once per test program.
 */
#ifndef WEIR_TEST_FRAMES_H
#define WEIR_TEST_FRAMES_H

#include "netstack/netstack.h"
#include "netstack/tcp.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <cmocka.h>

#define VNET 12
#define L2 (VNET + 14)

#pragma GCC diagnostic ignored "-Wunused-function"

struct frame {
	size_t len;
	uint8_t b[70000];
};

struct rig;
struct rig {
	struct loop *loop;
	struct netstack *ns;
	int fd; /* the guest's end */
	struct netstack_config cfg;
	void (*on_new)(struct rig *r, struct netstack_flow *f);
	void (*on_bytes)(struct rig *r, struct netstack_flow *f, const uint8_t *p, size_t len,
			 bool eof);
	void (*on_datagram)(struct rig *r, struct netstack_flow *f, const uint8_t *p, size_t len);
	bool (*on_passes)(struct rig *r, struct netstack_flow *f, const uint8_t *p, size_t len);
	void (*on_server_first)(struct rig *r, struct netstack_flow *f);
	struct netstack_flow *flow; /* newest */
	unsigned begun, ended, refused, datagrams, server_first, bytes_calls;
	enum netstack_end how;
	struct netstack_counts counts;
	struct netstack_tuple tuple; /* of the newest flow or refusal */
	enum netstack_refusal refusal;
	uint8_t refused_proto;
	uint8_t got[70000];
	size_t got_len;
	bool got_eof;
	uint64_t frames_in, frames_out, bytes; /* as captured */
	unsigned downs;			       /* of the link */
	bool down_last;
};

static const uint8_t mac_gw[6] = { 2, 0, 0, 0, 0, 1 };
static const uint8_t mac_guest[6] = { 2, 0, 0, 0, 0, 2 };

static void rig_new_cb(void *ctx, struct netstack_flow *f)
{
	struct rig *r = ctx;

	r->begun++;
	r->flow = f;
	r->tuple = *netstack_flow_tuple(f);
	if (r->on_new)
		r->on_new(r, f);
}

static void rig_bytes_cb(void *ctx, struct netstack_flow *f, const uint8_t *p, size_t len, bool eof)
{
	struct rig *r = ctx;

	r->bytes_calls++;
	assert_true(len <= NETSTACK_HOLD_MAX);
	if (len)
		memcpy(r->got, p, len);
	r->got_len = len;
	r->got_eof = eof;
	if (r->on_bytes)
		r->on_bytes(r, f, p, len, eof);
}

static void rig_first_cb(void *ctx, struct netstack_flow *f)
{
	struct rig *r = ctx;

	r->server_first++;
	if (r->on_server_first)
		r->on_server_first(r, f);
}

static void rig_datagram_cb(void *ctx, struct netstack_flow *f, const uint8_t *p, size_t len)
{
	struct rig *r = ctx;

	r->datagrams++;
	if (len)
		memcpy(r->got, p, len);
	r->got_len = len;
	if (r->on_datagram)
		r->on_datagram(r, f, p, len);
}

static bool rig_passes_cb(void *ctx, struct netstack_flow *f, const uint8_t *p, size_t len)
{
	struct rig *r = ctx;

	return !r->on_passes || r->on_passes(r, f, p, len);
}

static void rig_end_cb(void *ctx, struct netstack_flow *f, enum netstack_end how,
		       const struct netstack_counts *c)
{
	struct rig *r = ctx;

	r->ended++;
	r->how = how;
	r->counts = *c;
	if (r->flow == f)
		r->flow = NULL;
}

static void rig_refused_cb(void *ctx, const struct netstack_tuple *t, uint8_t proto,
			   enum netstack_refusal how)
{
	struct rig *r = ctx;

	r->refused++;
	r->tuple = *t;
	r->refused_proto = proto;
	r->refusal = how;
}

static void rig_frame_cb(void *ctx, bool from_guest, const void *head, size_t head_len,
			 const void *payload, size_t payload_len)
{
	struct rig *r = ctx;

	*(from_guest ? &r->frames_in : &r->frames_out) += 1;
	r->bytes += head_len + payload_len;
	assert_true((head || !head_len) && (payload || !payload_len));
}

static void rig_down_cb(void *ctx, const char *why, bool last)
{
	struct rig *r = ctx;

	assert_true(why && *why);
	r->downs++;
	r->down_last = last;
}

static const struct netstack_ops rig_ops = {
	.link_down = rig_down_cb,
	.flow_new = rig_new_cb,
	.flow_bytes = rig_bytes_cb,
	.flow_server_first = rig_first_cb,
	.flow_datagram = rig_datagram_cb,
	.flow_passes = rig_passes_cb,
	.flow_end = rig_end_cb,
	.frame = rig_frame_cb,
	.packet_refused = rig_refused_cb,
};

static struct ip_addr addr(const char *s)
{
	struct ip_addr a;

	assert_int_equal(ip_parse(s, strlen(s), &a, NULL), 0);
	return a;
}

/* A stack over this link; fd becomes the stack's, guest is what r->fd will be. */
static void rig_start_on(struct rig *r, enum netstack_link_kind kind, int fd, int guest,
			 const struct netstack_autoconf *a,
			 void (*adjust)(struct netstack_config *cfg))
{
	signal(SIGPIPE, SIG_IGN);
	memset(r, 0, sizeof(*r));
	memcpy(r->cfg.gateway_mac, mac_gw, 6);
	r->cfg.gateway4 = ip4(10, 9, 0, 1);
	r->cfg.gateway6 = addr("fd00:9::1");
	r->cfg.guest4 = ip4(10, 9, 0, 2);
	r->cfg.guest6 = addr("fd00:9::2");
	r->cfg.mtu = 1500;
	if (a)
		r->cfg.autoconf = *a;
	r->cfg.max_tcp = r->cfg.max_udp = r->cfg.max_icmp = 8;
	if (adjust)
		adjust(&r->cfg);
	assert_int_equal(loop_new(&r->loop), 0);
	assert_int_equal(netstack_new(r->loop, kind, fd, &r->cfg, &rig_ops, r, &r->ns), 0);
	r->fd = guest;
}

static void rig_start_link(struct rig *r, enum netstack_link_kind kind, int fd, int guest)
{
	rig_start_on(r, kind, fd, guest, NULL, NULL);
}

static void rig_start_config(struct rig *r, const struct netstack_autoconf *a,
			     void (*adjust)(struct netstack_config *cfg))
{
	int sv[2], big = 1 << 20;

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, sv), 0);
	setsockopt(sv[0], SOL_SOCKET, SO_SNDBUF, &big, sizeof(big));
	setsockopt(sv[1], SOL_SOCKET, SO_SNDBUF, &big, sizeof(big));
	rig_start_on(r, NETSTACK_LINK_TAP, sv[1], sv[0], a, adjust);
}

static void rig_start_with(struct rig *r, void (*adjust)(struct netstack_config *cfg))
{
	rig_start_config(r, NULL, adjust);
}

static void rig_start_autoconf(struct rig *r, const struct netstack_autoconf *a)
{
	rig_start_config(r, a, NULL);
}

static void rig_start(struct rig *r)
{
	rig_start_config(r, NULL, NULL);
}

static void rig_stop(struct rig *r)
{
	struct netstack_stats s;

	if (r->ns) { /* a capture misses nothing */
		netstack_stats_get(r->ns, &s);
		assert_int_equal(s.frames_in, r->frames_in);
		assert_int_equal(s.frames_out, r->frames_out);
		assert_int_equal(s.bytes_in + s.bytes_out, r->bytes);
	}
	netstack_free(r->ns);
	assert_int_equal(r->begun, r->ended);
	loop_free(r->loop);
	close(r->fd);
}

/* Until nothing is left to do right now. */
static void rig_run(struct rig *r)
{
	for (unsigned i = 0; i < 20; i++)
		assert_int_equal(loop_step(r->loop, 0), 0);
}

static void rig_run_ms(struct rig *r, unsigned ms)
{
	uint64_t end = time_mono_ns() + ms * NS_PER_MS;

	while (time_mono_ns() < end)
		assert_int_equal(loop_step(r->loop, 5), 0);
}

static struct netstack_stats rig_stats(struct rig *r)
{
	struct netstack_stats s;

	netstack_stats_get(r->ns, &s);
	return s;
}

static void rig_put(struct rig *r, const struct frame *f)
{
	assert_int_equal(write(r->fd, f->b, f->len), f->len);
}

static void rig_send(struct rig *r, const struct frame *f)
{
	rig_put(r, f);
	rig_run(r);
}

/* The next frame from the stack; false when there is none. */
static bool rig_recv(struct rig *r, struct frame *f)
{
	ssize_t n = read(r->fd, f->b, sizeof(f->b));

	if (n < 0)
		return false;
	f->len = (size_t)n;
	assert_true(f->len >= L2);
	assert_memory_equal(f->b + VNET + 6, mac_gw, 6);
	return true;
}

static bool rig_silent(struct rig *r)
{
	struct frame f;

	return !rig_recv(r, &f);
}

/* ---- building ---------------------------------------------------------- */

static uint16_t sum_fold(uint32_t s)
{
	while (s >> 16)
		s = (s & 0xffff) + (s >> 16);
	return (uint16_t)s;
}

static uint32_t sum_add(uint32_t s, const uint8_t *p, size_t n)
{
	for (; n > 1; n -= 2, p += 2)
		s = sum_fold(s + get_be16(p));
	return n ? sum_fold(s + (uint32_t)(p[0] << 8)) : s;
}

static uint32_t sum_pseudo(const struct ip_addr *a, const struct ip_addr *b, uint8_t proto, size_t n)
{
	uint32_t s = sum_add(0, a->b, ip_size(a));

	s = sum_add(s, b->b, ip_size(b));
	return sum_fold(s + proto + (uint32_t)n);
}

static void frame_eth(struct frame *f, uint16_t type)
{
	memset(f->b, 0, L2 + 100);
	memcpy(f->b + VNET, mac_gw, 6);
	memcpy(f->b + VNET + 6, mac_guest, 6);
	put_be16(f->b + VNET + 12, type);
	f->len = L2;
}

static void frame_ip4_sum(struct frame *f)
{
	uint8_t *p = f->b + L2;
	size_t n = (p[0] & 15u) * 4;

	put_be16(p + 10, 0);
	put_be16(p + 10, (uint16_t)~sum_add(0, p, n));
}

/* An IP packet with this payload; no fragments, no options. */
static void frame_ip(struct frame *f, const struct ip_addr *src, const struct ip_addr *dst,
		     uint8_t proto, const void *l4, size_t n)
{
	uint8_t *p = f->b + L2;

	if (src->family == 4) {
		frame_eth(f, 0x0800);
		p[0] = 0x45;
		put_be16(p + 2, (uint16_t)(20 + n));
		p[8] = 64;
		p[9] = proto;
		memcpy(p + 12, src->b, 4);
		memcpy(p + 16, dst->b, 4);
		frame_ip4_sum(f);
		f->len += 20;
	} else {
		frame_eth(f, 0x86dd);
		p[0] = 0x60;
		put_be16(p + 4, (uint16_t)n);
		p[6] = proto;
		p[7] = 64;
		memcpy(p + 8, src->b, 16);
		memcpy(p + 24, dst->b, 16);
		f->len += 40;
	}
	memcpy(f->b + f->len, l4, n);
	f->len += n;
}

static size_t l4_off(const struct frame *f)
{
	return L2 + (f->b[L2] >> 4 == 4 ? 20 : 40);
}

static void l4_checksum(uint8_t *l4, size_t n, size_t at, const struct ip_addr *src,
			const struct ip_addr *dst, uint8_t proto)
{
	uint32_t s = proto == IPPROTO_ICMP ? 0 : sum_pseudo(src, dst, proto, n);

	put_be16(l4 + at, 0);
	put_be16(l4 + at, (uint16_t)~sum_add(s, l4, n));
}

static size_t make_udp(uint8_t *l4, const struct ip_addr *src, uint16_t sport,
		       const struct ip_addr *dst, uint16_t dport, const void *p, size_t n)
{
	put_be16(l4, sport);
	put_be16(l4 + 2, dport);
	put_be16(l4 + 4, (uint16_t)(n + 8));
	if (n)
		memcpy(l4 + 8, p, n);
	l4_checksum(l4, n + 8, 6, src, dst, IPPROTO_UDP);
	return n + 8;
}

static void frame_udp(struct frame *f, const struct ip_addr *src, uint16_t sport,
		      const struct ip_addr *dst, uint16_t dport, const void *p, size_t n)
{
	static uint8_t l4[66000];

	n = make_udp(l4, src, sport, dst, dport, p, n);
	frame_ip(f, src, dst, IPPROTO_UDP, l4, n);
}

static size_t make_echo(uint8_t *l4, const struct ip_addr *src, const struct ip_addr *dst,
			uint16_t id, uint16_t seq, const void *p, size_t n)
{
	bool four = src->family == 4;

	l4[0] = four ? 8 : 128;
	l4[1] = 0;
	put_be16(l4 + 4, id);
	put_be16(l4 + 6, seq);
	if (n)
		memcpy(l4 + 8, p, n);
	l4_checksum(l4, n + 8, 2, src, dst, four ? IPPROTO_ICMP : IPPROTO_ICMPV6);
	return n + 8;
}

static void frame_echo(struct frame *f, const struct ip_addr *src, const struct ip_addr *dst,
		       uint16_t id, uint16_t seq, const void *p, size_t n)
{
	static uint8_t l4[66000];

	n = make_echo(l4, src, dst, id, seq, p, n);
	frame_ip(f, src, dst, src->family == 4 ? IPPROTO_ICMP : IPPROTO_ICMPV6, l4, n);
}

/* The window field of every segment that is made. */
static uint16_t frame_window = 65535;

static void frame_tcp(struct frame *f, const struct ip_addr *src, uint16_t sport,
		      const struct ip_addr *dst, uint16_t dport, uint8_t flags, uint32_t seq,
		      uint32_t ack, const void *p, size_t n)
{
	static uint8_t l4[66000];

	memset(l4, 0, 20);
	put_be16(l4, sport);
	put_be16(l4 + 2, dport);
	put_be32(l4 + 4, seq);
	put_be32(l4 + 8, ack);
	l4[12] = 0x50;
	l4[13] = flags;
	put_be16(l4 + 14, frame_window);
	if (n)
		memcpy(l4 + 20, p, n);
	l4_checksum(l4, n + 20, 16, src, dst, IPPROTO_TCP);
	frame_ip(f, src, dst, IPPROTO_TCP, l4, n + 20);
}

/* Checks lengths and checksums of a frame from the stack (whole packets only). */
static void check_out(const struct frame *f, const struct rig *r)
{
	const uint8_t *p = f->b + L2;
	bool four = p[0] >> 4 == 4;
	size_t off = l4_off(f), n = f->len - off, at;
	struct ip_addr src = ip_from_be(four ? 4 : 6, p + (four ? 12 : 8));
	struct ip_addr dst = ip_from_be(four ? 4 : 6, p + (four ? 16 : 24));
	uint8_t proto = four ? p[9] : p[6];
	uint32_t s = proto == IPPROTO_ICMP ? 0 : sum_pseudo(&src, &dst, proto, n);

	assert_memory_equal(f->b + VNET, mac_guest, 6);
	assert_true(ip_equal(&dst, four ? &r->cfg.guest4 : &r->cfg.guest6));
	if (four) {
		assert_int_equal(get_be16(p + 2), f->len - L2);
		assert_int_equal(sum_add(0, p, 20), 0xffff);
	} else {
		assert_int_equal(get_be16(p + 4), n);
	}
	if (f->b[0] & 1) { /* NEEDS_CSUM: the field holds the pseudo header's sum */
		at = proto == IPPROTO_TCP ? 16 : 6;
		assert_int_equal(f->b[6] | f->b[7] << 8, off - VNET);
		assert_int_equal(f->b[8] | f->b[9] << 8, at);
		assert_int_equal(get_be16(f->b + off + at), s);
	} else {
		assert_int_equal(sum_add(s, f->b + off, n), 0xffff);
	}
}

/* The next frame must be an ICMP error of this type and code that quotes the packet sent. */
static void expect_icmp(struct rig *r, const struct frame *sent, uint8_t type, uint8_t code)
{
	struct frame f;
	size_t off, n;

	assert_true(rig_recv(r, &f));
	check_out(&f, r);
	off = l4_off(&f);
	assert_int_equal(f.b[L2 + (f.b[L2] >> 4 == 4 ? 9 : 6)], f.b[L2] >> 4 == 4 ? 1 : 58);
	assert_int_equal(f.b[off], type);
	assert_int_equal(f.b[off + 1], code);
	n = MIN(f.len - off - 8, sent->len - L2);
	assert_true(n >= 28);
	assert_memory_equal(f.b + off + 8, sent->b + L2, n);
	assert_true(f.len - L2 <= (f.b[L2] >> 4 == 4 ? 576 : 1280));
}

#endif
