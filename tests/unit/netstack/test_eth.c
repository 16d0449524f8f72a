/* SPDX-License-Identifier: Apache-2.0 */
/* Ethernet, ARP and neighbour discovery: who is answered, and who is not. */
#include "frames.h"

static void make_arp(struct frame *f, uint16_t op, struct ip_addr spa, struct ip_addr tpa)
{
	uint8_t *p = f->b + L2;

	frame_eth(f, 0x0806);
	memset(f->b + VNET, 0xff, 6);
	put_be16(p, 1);
	put_be16(p + 2, 0x0800);
	p[4] = 6;
	p[5] = 4;
	put_be16(p + 6, op);
	memcpy(p + 8, mac_guest, 6);
	memcpy(p + 14, spa.b, 4);
	memcpy(p + 24, tpa.b, 4);
	f->len += 28;
}

static void test_arp(void **state)
{
	struct ip_addr guest = ip4(10, 9, 0, 2), gw = ip4(10, 9, 0, 1), other = ip4(10, 9, 0, 3);
	struct rig r;
	struct frame f;

	(void)state;
	rig_start(&r);
	make_arp(&f, 1, guest, gw);
	rig_send(&r, &f);
	assert_true(rig_recv(&r, &f));
	assert_int_equal(f.len, L2 + 28);
	assert_int_equal(get_be16(f.b + L2 + 6), 2);
	assert_memory_equal(f.b + L2 + 8, mac_gw, 6);
	assert_memory_equal(f.b + L2 + 14, gw.b, 4);
	assert_memory_equal(f.b + L2 + 18, mac_guest, 6);
	assert_memory_equal(f.b + L2 + 24, guest.b, 4);
	/* another address; a probe for its own; a probe for ours, which is taken */
	make_arp(&f, 1, guest, other);
	rig_send(&r, &f);
	make_arp(&f, 1, ip4(0, 0, 0, 0), guest);
	rig_send(&r, &f);
	assert_true(rig_silent(&r));
	make_arp(&f, 1, ip4(0, 0, 0, 0), gw);
	rig_send(&r, &f);
	assert_true(rig_recv(&r, &f));
	/* somebody else's address as sender; sender MAC unlike the frame's; cut short */
	make_arp(&f, 1, other, gw);
	rig_send(&r, &f);
	assert_int_equal(rig_stats(&r).dropped_spoofed, 1);
	make_arp(&f, 1, guest, gw);
	f.b[L2 + 13] ^= 1;
	rig_send(&r, &f);
	make_arp(&f, 1, guest, gw);
	f.len--;
	rig_send(&r, &f);
	assert_int_equal(rig_stats(&r).dropped_malformed, 2);
	assert_true(rig_silent(&r));
	rig_stop(&r);
}

static void make_ns(struct frame *f, const char *src, const char *dst, const char *target,
		    bool link_addr)
{
	struct ip_addr s = addr(src), d = addr(dst), t = addr(target);
	uint8_t m[32] = { 135 };
	size_t n = link_addr ? 32 : 24;

	memcpy(m + 8, t.b, 16);
	m[24] = 1;
	m[25] = 1;
	memcpy(m + 26, mac_guest, 6);
	l4_checksum(m, n, 2, &s, &d, IPPROTO_ICMPV6);
	frame_ip(f, &s, &d, IPPROTO_ICMPV6, m, n);
	f->b[L2 + 7] = 255;
	if (d.b[0] == 0xff) {
		f->b[VNET] = f->b[VNET + 1] = 0x33;
		memcpy(f->b + VNET + 2, d.b + 12, 4);
	}
}

static void test_ndp(void **state)
{
	struct rig r;
	struct frame f;
	const uint8_t *m;

	(void)state;
	rig_start(&r);
	make_ns(&f, "fd00:9::2", "ff02::1:ff00:1", "fd00:9::1", true);
	rig_send(&r, &f);
	assert_true(rig_recv(&r, &f));
	check_out(&f, &r);
	m = f.b + L2 + 40;
	assert_int_equal(f.b[L2 + 7], 255);
	assert_int_equal(m[0], 136);
	assert_int_equal(m[4], 0xe0); /* router, solicited, override */
	assert_memory_equal(m + 8, r.cfg.gateway6.b, 16);
	assert_int_equal(m[24], 2);
	assert_memory_equal(m + 26, mac_gw, 6);
	/* from its link-local address */
	make_ns(&f, "fe80::2", "ff02::1:ff00:1", "fd00:9::1", true);
	rig_send(&r, &f);
	assert_true(rig_recv(&r, &f));
	/* duplicate address detection: for its own no answer, for ours one to all nodes */
	make_ns(&f, "::", "ff02::1:ff00:2", "fd00:9::2", false);
	rig_send(&r, &f);
	assert_true(rig_silent(&r));
	make_ns(&f, "::", "ff02::1:ff00:1", "fd00:9::1", false);
	rig_send(&r, &f);
	assert_true(rig_recv(&r, &f));
	assert_int_equal(f.b[VNET], 0x33);
	assert_int_equal(f.b[L2 + 24], 0xff);
	rig_stop(&r);
}

static void test_ndp_refused(void **state)
{
	struct rig r;
	struct frame f;

	(void)state;
	rig_start(&r);
	make_ns(&f, "fd00:9::2", "ff02::1:ff00:1", "fd00:9::1", true);
	f.b[L2 + 7] = 254; /* was forwarded */
	rig_send(&r, &f);
	make_ns(&f, "fd00:9::2", "ff02::1:ff00:1", "fd00:9::1", true);
	f.b[L2 + 40 + 2] ^= 1; /* checksum */
	rig_send(&r, &f);
	make_ns(&f, "fd00:9::2", "ff02::1:ff00:1", "fd00:9::1", true);
	f.b[0] = 1;	       /* checksum vouched for */
	f.b[L2 + 40 + 25] = 0; /* option of length zero */
	rig_send(&r, &f);
	make_ns(&f, "::", "ff02::1:ff00:1", "fd00:9::1", true); /* probe that names a MAC */
	rig_send(&r, &f);
	assert_int_equal(rig_stats(&r).dropped_malformed, 4);
	make_ns(&f, "2001:db8::7", "ff02::1:ff00:1", "fd00:9::1", true);
	rig_send(&r, &f);
	assert_int_equal(rig_stats(&r).dropped_spoofed, 1);
	assert_true(rig_silent(&r));
	rig_stop(&r);
}

static void test_frames(void **state)
{
	struct ip_addr guest = ip4(10, 9, 0, 2), dst = ip4(1, 2, 3, 4);
	struct rig r;
	struct frame f, g;

	(void)state;
	rig_start(&r);
	frame_udp(&f, &guest, 1000, &dst, 53, "x", 1);
	/* every truncation of a good frame is refused, none answered */
	for (g = f, g.len = 1; g.len < f.len; g.len++)
		rig_send(&r, &g);
	assert_int_equal(rig_stats(&r).dropped_malformed, f.len - 1);
	g = f;
	put_be16(g.b + VNET + 12, 0x8100); /* VLAN */
	rig_send(&r, &g);
	g = f;
	g.b[VNET + 5] = 9; /* other destination */
	rig_send(&r, &g);
	g = f;
	g.b[VNET + 6] |= 1; /* group as source */
	rig_send(&r, &g);
	g = f;
	memset(g.b + VNET, 0xff, 6); /* broadcast frame, unicast packet */
	rig_send(&r, &g);
	assert_int_equal(rig_stats(&r).dropped_malformed, f.len + 3);
	assert_int_equal(r.begun, 0);
	/* padding behind the packet is no part of it */
	g = f;
	g.len += 20;
	rig_send(&r, &g);
	assert_int_equal(r.begun, 1);
	assert_true(rig_silent(&r));
	rig_stop(&r);
}

/* We speak first: the guest's MAC is asked for, then the SYN goes. */
static void test_resolve(void **state)
{
	struct endpoint from = { ip4(192, 0, 2, 1), 4000 }, to = { ip4(10, 9, 0, 2), 80 };
	struct netstack_flow *fl;
	struct rig r;
	struct frame f;
	int sv[2];

	(void)state;
	rig_start(&r);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, sv), 0);
	r.begun++;
	assert_int_equal(netstack_connect(r.ns, NETSTACK_TCP, &from, &to, sv[0], NULL, &fl), 0);
	rig_run(&r);
	assert_true(rig_recv(&r, &f));
	assert_int_equal(get_be16(f.b + VNET + 12), 0x0806);
	assert_int_equal(get_be16(f.b + L2 + 6), 1);
	assert_true(rig_recv(&r, &f));
	assert_int_equal(get_be16(f.b + VNET + 12), 0x86dd);
	assert_int_equal(f.b[L2 + 40], 135);
	assert_true(rig_silent(&r));
	rig_run_ms(&r, 600); /* and again */
	assert_true(rig_recv(&r, &f));
	while (rig_recv(&r, &f))
		;
	make_arp(&f, 2, to.addr, ip4(10, 9, 0, 1));
	rig_send(&r, &f);
	assert_true(rig_recv(&r, &f));
	check_out(&f, &r);
	assert_int_equal(f.b[L2 + 9], IPPROTO_TCP);
	assert_int_equal(f.b[L2 + 20 + 13], TCP_SYN);
	rig_stop(&r);
	close(sv[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_arp),	cmocka_unit_test(test_ndp),
		cmocka_unit_test(test_frames),	cmocka_unit_test(test_ndp_refused),
		cmocka_unit_test(test_resolve),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
