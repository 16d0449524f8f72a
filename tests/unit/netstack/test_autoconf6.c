/* SPDX-License-Identifier: Apache-2.0 */
/* Router advertisements, addresses of the guest's own making, DHCPv6. */
#include "frames.h"

#include "netstack/local.h"

static const struct netstack_autoconf on = {
	.ra = true, .dhcp6 = true, .lease_s = 7200, .domain = "lab.example"
};
/* Of mac_gw and mac_guest. */
#define GATEWAY_LL "fe80::ff:fe00:1"
#define GUEST_LL "fe80::ff:fe00:2"

static const uint8_t labels[] = "\3lab\7example"; /* with its zero at the end */

/* The next packet of ours, its checksum right; the bytes behind its IP header. */
static const uint8_t *recv6(struct rig *r, struct frame *f, uint8_t proto, const char *to,
			    size_t *ret_n)
{
	struct ip_addr src, dst, want = addr(to);
	const uint8_t *p = f->b + L2;

	assert_true(rig_recv(r, f));
	assert_int_equal(get_be16(f->b + VNET + 12), 0x86dd);
	assert_int_equal(p[6], proto);
	src = ip_from_be(6, p + 8);
	dst = ip_from_be(6, p + 24);
	want = addr(GATEWAY_LL);
	assert_true(ip_equal(&src, &want));
	want = addr(to);
	assert_true(ip_equal(&dst, &want));
	if (dst.b[0] == 0xff)
		assert_memory_equal(f->b + VNET, "\x33\x33\0\0\0\1", 6);
	else
		assert_memory_equal(f->b + VNET, mac_guest, 6);
	*ret_n = f->len - L2 - 40;
	assert_int_equal(get_be16(p + 4), *ret_n);
	assert_int_equal(sum_add(sum_pseudo(&src, &dst, proto, *ret_n), p + 40, *ret_n), 0xffff);
	return p + 40;
}

static const uint8_t *nd_option(const uint8_t *p, size_t n, uint8_t type)
{
	for (size_t at = 16; at + 8 <= n; at += p[at + 1] * 8u) {
		assert_true(p[at + 1] > 0);
		if (p[at] == type)
			return p + at;
	}
	return NULL;
}

static void check_ra(const struct rig *r, const uint8_t *p, size_t n, const uint8_t *ip)
{
	const uint8_t *o;

	assert_int_equal(ip[7], 255);
	assert_int_equal(p[0], 134);
	assert_int_equal(p[5], 0xc0);
	assert_int_equal(get_be16(p + 6), 1800);
	o = nd_option(p, n, 1);
	assert_non_null(o);
	assert_memory_equal(o + 2, mac_gw, 6);
	o = nd_option(p, n, 5);
	assert_non_null(o);
	assert_int_equal(get_be32(o + 4), 1500);
	o = nd_option(p, n, 3);
	assert_non_null(o);
	assert_int_equal(o[2], 64);
	assert_int_equal(o[3], 0xc0);
	assert_int_equal(get_be32(o + 4), 7200);
	assert_memory_equal(o + 16, r->cfg.guest6.b, 8);
	assert_memory_equal(o + 24, "\0\0\0\0\0\0\0\0", 8);
	o = nd_option(p, n, 25);
	assert_non_null(o);
	assert_memory_equal(o + 8, r->cfg.gateway6.b, 16);
	o = nd_option(p, n, 31);
	assert_non_null(o);
	assert_memory_equal(o + 8, labels, sizeof(labels));
}

static void make_rs(struct frame *f, const char *src, bool link_addr, uint8_t hop_limit)
{
	struct ip_addr s = addr(src), d = addr("ff02::2");
	uint8_t m[16] = { 133 };
	size_t n = link_addr ? 16 : 8;

	m[8] = 1;
	m[9] = 1;
	memcpy(m + 10, mac_guest, 6);
	l4_checksum(m, n, 2, &s, &d, IPPROTO_ICMPV6);
	frame_ip(f, &s, &d, IPPROTO_ICMPV6, m, n);
	f->b[L2 + 7] = hop_limit;
	memcpy(f->b + VNET, "\x33\x33\0\0\0\2", 6);
}

static void test_router(void **state)
{
	const uint8_t *p;
	struct frame f;
	struct rig r;
	size_t n;

	(void)state;
	rig_start_autoconf(&r, &on);
	/* The link is up: one unasked. */
	rig_run(&r);
	p = recv6(&r, &f, IPPROTO_ICMPV6, "ff02::1", &n);
	check_ra(&r, p, n, f.b + L2);
	assert_true(rig_silent(&r));
	/* Asked: to whoever asks, or to all when it has no address yet. */
	make_rs(&f, GUEST_LL, true, 255);
	rig_send(&r, &f);
	p = recv6(&r, &f, IPPROTO_ICMPV6, GUEST_LL, &n);
	check_ra(&r, p, n, f.b + L2);
	make_rs(&f, "::", false, 255);
	rig_send(&r, &f);
	p = recv6(&r, &f, IPPROTO_ICMPV6, "ff02::1", &n);
	check_ra(&r, p, n, f.b + L2);
	/* From beyond a router; nobody's address with a link address; cut; a bad sum; another's. */
	make_rs(&f, GUEST_LL, true, 254);
	rig_send(&r, &f);
	make_rs(&f, "::", true, 255);
	rig_send(&r, &f);
	make_rs(&f, GUEST_LL, true, 255);
	f.b[L2 + 40 + 9] = 0;
	rig_send(&r, &f);
	make_rs(&f, GUEST_LL, true, 255);
	f.b[L2 + 40 + 2] ^= 1;
	rig_send(&r, &f);
	assert_int_equal(rig_stats(&r).dropped_malformed, 4);
	make_rs(&f, "2001:db8::5", true, 255);
	rig_send(&r, &f);
	assert_int_equal(rig_stats(&r).dropped_spoofed, 1);
	assert_true(rig_silent(&r));
	rig_stop(&r);
}

static void test_router_off(void **state)
{
	struct frame f;
	struct rig r;

	(void)state;
	rig_start(&r);
	make_rs(&f, GUEST_LL, true, 255);
	rig_send(&r, &f);
	assert_true(rig_silent(&r));
	/* Addresses of its own making are not its own here. */
	frame_udp(&f, &(struct ip_addr){ 6, { 0xfd, 0, 0, 9, [15] = 0x77 } }, 1000,
		  &(struct ip_addr){ 6, { 0x20, 1, [15] = 1 } }, 2000, "x", 1);
	rig_send(&r, &f);
	assert_int_equal(rig_stats(&r).dropped_spoofed, 1);
	rig_stop(&r);
}

static void make_ns(struct frame *f, const char *src, const char *target)
{
	struct ip_addr s = addr(src), t = addr(target), d = addr("ff02::1:ff00:0");
	uint8_t m[24] = { 135 };

	memcpy(d.b + 13, t.b + 13, 3);
	memcpy(m + 8, t.b, 16);
	l4_checksum(m, 24, 2, &s, &d, IPPROTO_ICMPV6);
	frame_ip(f, &s, &d, IPPROTO_ICMPV6, m, 24);
	f->b[L2 + 7] = 255;
	f->b[VNET] = f->b[VNET + 1] = 0x33;
	memcpy(f->b + VNET + 2, d.b + 12, 4);
}

/* The router is found by the address its advertisements come from. */
static void test_router_neighbour(void **state)
{
	const uint8_t *p;
	struct ip_addr ll = addr(GATEWAY_LL);
	struct frame f;
	struct rig r;
	size_t n;

	(void)state;
	rig_start_autoconf(&r, &on);
	rig_run(&r);
	(void)recv6(&r, &f, IPPROTO_ICMPV6, "ff02::1", &n);
	make_ns(&f, GUEST_LL, GATEWAY_LL);
	rig_send(&r, &f);
	p = recv6(&r, &f, IPPROTO_ICMPV6, GUEST_LL, &n);
	assert_int_equal(p[0], 136);
	assert_memory_equal(p + 8, ll.b, 16);
	assert_memory_equal(p + 26, mac_gw, 6);
	/* A guest that makes itself the gateway's address learns that it is taken; others are free. */
	make_ns(&f, "::", "fd00:9::1");
	rig_send(&r, &f);
	assert_true(rig_recv(&r, &f));
	assert_int_equal(f.b[L2 + 40], 136);
	make_ns(&f, "::", "fd00:9::1234");
	rig_send(&r, &f);
	assert_true(rig_silent(&r));
	rig_stop(&r);
}

/* All of the prefix is the guest's; the gateway's address and the router anycast are not. */
static void test_own_addresses(void **state)
{
	static const struct {
		const char *from;
		bool ok;
	} t[] = {
		{ "fd00:9::2", true },
		{ "fd00:9::ff:fe00:2", true },
		{ "fd00:9:0:0:89ab:cdef:0:1", true },
		{ "fd00:9::1", false },
		{ "fd00:9::", false },
		{ "fd00:9:0:1::2", false },
		{ GUEST_LL, false },
		{ "2001:db8::2", false },
	};
	struct ip_addr to = addr("2001:db8::1");
	uint64_t spoofed = 0;
	struct frame f;
	struct rig r;

	(void)state;
	rig_start_autoconf(&r, &on);
	for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
		struct ip_addr from = addr(t[i].from);
		unsigned begun = r.begun;

		frame_udp(&f, &from, 1000, &to, 2000, "x", 1);
		rig_send(&r, &f);
		assert_int_equal(r.begun - begun, t[i].ok);
		if (t[i].ok)
			assert_true(ip_equal(&r.tuple.guest.addr, &from));
		spoofed += !t[i].ok;
		assert_int_equal(rig_stats(&r).dropped_spoofed, spoofed);
	}
	rig_stop(&r);
}

/* What comes from outside goes to an address that the guest has. */
static void test_published_goes_to_own_address(void **state)
{
	struct endpoint from = { .addr = addr("fd00:9::1"), .port = 5000 };
	struct endpoint guest = { .addr = addr("fd00:9::2"), .port = 80 };
	struct ip_addr made = addr("fd00:9::abcd"), remote = addr("2001:db8::1");
	struct netstack_flow *flow;
	struct frame f;
	struct rig r;

	(void)state;
	rig_start_autoconf(&r, &on);
	frame_udp(&f, &made, 1000, &remote, 2000, "x", 1);
	rig_send(&r, &f);
	assert_int_equal(netstack_connect(r.ns, NETSTACK_UDP, &from, &guest, -1, NULL, &flow), 0);
	assert_true(ip_equal(&netstack_flow_tuple(flow)->guest.addr, &made));
	r.begun++; /* it has no flow_new, and will end */
	/* Once it has the configured one as well, that one is meant. */
	make_ns(&f, "::", "fd00:9::2");
	rig_send(&r, &f);
	from.port++;
	assert_int_equal(netstack_connect(r.ns, NETSTACK_UDP, &from, &guest, -1, NULL, &flow), 0);
	assert_true(ip_equal(&netstack_flow_tuple(flow)->guest.addr, &guest.addr));
	r.begun++;
	rig_stop(&r);
}

/* ---- DHCPv6 ------------------------------------------------------------- */

static const uint8_t client_id[] = { 0, 3, 0, 1, 2, 0, 0, 0, 0, 2 };
static const uint8_t server_id[] = { 0, 3, 0, 1, 2, 0, 0, 0, 0, 1 };

struct msg {
	size_t n;
	uint8_t b[4096];
};

static void msg_begin(struct msg *m, uint8_t type)
{
	m->n = 4;
	m->b[0] = type;
	memcpy(m->b + 1, "xid", 3);
}

static void msg_opt(struct msg *m, uint16_t code, const void *p, size_t n)
{
	put_be16(m->b + m->n, code);
	put_be16(m->b + m->n + 2, (uint16_t)n);
	if (n)
		memcpy(m->b + m->n + 4, p, n);
	m->n += 4 + n;
}

/* IA_NA (3), IA_TA (4) or IA_PD (25), with one address or none. */
static void msg_ia(struct msg *m, uint16_t code, uint32_t id, const char *a)
{
	uint8_t b[12 + 28] = { 0 };
	size_t head = code == 4 ? 4 : 12;
	struct ip_addr ip;

	put_be32(b, id);
	if (a) {
		ip = addr(a);
		put_be16(b + head, 5);
		put_be16(b + head + 2, 24);
		memcpy(b + head + 4, ip.b, 16);
	}
	msg_opt(m, code, b, head + (a ? 28 : 0));
}

static const uint8_t *opt6(const uint8_t *p, size_t n, uint16_t code, size_t *ret_len)
{
	for (size_t at = 0; at + 4 <= n; at += 4u + get_be16(p + at + 2))
		if (get_be16(p + at) == code) {
			*ret_len = get_be16(p + at + 2);
			assert_true(at + 4 + *ret_len <= n);
			return p + at + 4;
		}
	return NULL;
}

static struct netstack_config config(void)
{
	struct netstack_config c = {
		.gateway6 = addr("fd00:9::1"),
		.guest6 = addr("fd00:9::2"),
		.mtu = 1500,
		.autoconf = on,
	};

	memcpy(c.gateway_mac, mac_gw, 6);
	return c;
}

static uint8_t out[DHCP_OUT_MAX];
static bool leased;

static size_t ask(const struct msg *m)
{
	struct netstack_config c = config();

	leased = false;
	return dhcp6_answer(&c, m->b, m->n, out, &leased);
}

static void has6(size_t n, uint16_t code, const void *want, size_t len)
{
	size_t l = 0;
	const uint8_t *o = opt6(out + 4, n - 4, code, &l);

	assert_non_null(o);
	assert_int_equal(l, len);
	assert_memory_equal(o, want, len);
}

static void has_lease(size_t n, uint32_t id)
{
	struct ip_addr guest = addr("fd00:9::2");
	size_t l = 0, al = 0;
	const uint8_t *ia = opt6(out + 4, n - 4, 3, &l), *a;

	assert_non_null(ia);
	assert_int_equal(get_be32(ia), id);
	assert_int_equal(get_be32(ia + 4), 3600);
	assert_int_equal(get_be32(ia + 8), 5760);
	a = opt6(ia + 12, l - 12, 5, &al);
	assert_non_null(a);
	assert_memory_equal(a, guest.b, 16);
	assert_int_equal(get_be32(a + 16), 7200);
	assert_int_equal(get_be32(a + 20), 7200);
}

static void has_servers(size_t n)
{
	struct ip_addr gw = addr("fd00:9::1");

	has6(n, 23, gw.b, 16);
	has6(n, 24, labels, sizeof(labels));
}

static void test_dhcp6_lease(void **state)
{
	static const uint8_t with_server[] = { 3, 5 }, without[] = { 6 };
	struct msg m;
	size_t n;

	(void)state;
	msg_begin(&m, 1);
	msg_opt(&m, 1, client_id, sizeof(client_id));
	msg_ia(&m, 3, 7, NULL);
	n = ask(&m);
	assert_int_equal(out[0], 2);
	assert_memory_equal(out + 1, "xid", 3);
	has6(n, 1, client_id, sizeof(client_id));
	has6(n, 2, server_id, sizeof(server_id));
	has_lease(n, 7);
	has_servers(n);
	assert_false(leased);
	msg_opt(&m, 14, NULL, 0);
	n = ask(&m);
	assert_int_equal(out[0], 7);
	has6(n, 14, "", 0);
	has_lease(n, 7);
	assert_true(leased);
	for (size_t i = 0; i < ARRAY_SIZE(with_server) + ARRAY_SIZE(without); i++) {
		bool named = i < ARRAY_SIZE(with_server);

		msg_begin(&m, named ? with_server[i] : without[i - ARRAY_SIZE(with_server)]);
		msg_opt(&m, 1, client_id, sizeof(client_id));
		if (named)
			msg_opt(&m, 2, server_id, sizeof(server_id));
		msg_ia(&m, 3, 9, "fd00:9::2");
		n = ask(&m);
		assert_int_equal(out[0], 7);
		has_lease(n, 9);
		assert_true(leased);
	}
}

/* An address from elsewhere is taken back; prefixes, temporary and second addresses are not had. */
static void test_dhcp6_nothing_more(void **state)
{
	struct ip_addr old = addr("fd00:8::5");
	struct msg m;
	const uint8_t *ia, *o;
	size_t n, l, ol;

	(void)state;
	msg_begin(&m, 6);
	msg_opt(&m, 1, client_id, sizeof(client_id));
	msg_ia(&m, 3, 1, "fd00:8::5");
	msg_ia(&m, 3, 2, NULL);
	msg_ia(&m, 4, 3, NULL);
	msg_ia(&m, 25, 4, NULL);
	n = ask(&m);
	has_lease(n, 1);
	ia = opt6(out + 4, n - 4, 3, &l);
	assert_int_equal(l, 12 + 28 + 28);
	assert_memory_equal(ia + 12 + 28 + 4, old.b, 16);
	assert_int_equal(get_be32(ia + 12 + 28 + 20), 0);
	/* the second of the same kind, behind the first */
	ia = opt6(ia + l, (size_t)(out + n - ia) - l, 3, &l);
	assert_non_null(ia);
	o = opt6(ia + 12, l - 12, 13, &ol);
	assert_non_null(o);
	assert_int_equal(get_be16(o), 2);
	ia = opt6(out + 4, n - 4, 4, &l);
	o = opt6(ia + 4, l - 4, 13, &ol);
	assert_int_equal(get_be16(o), 2);
	ia = opt6(out + 4, n - 4, 25, &l);
	o = opt6(ia + 12, l - 12, 13, &ol);
	assert_int_equal(get_be16(o), 6);
}

static void test_dhcp6_confirm_release(void **state)
{
	struct msg m;
	size_t n;

	(void)state;
	msg_begin(&m, 4);
	msg_opt(&m, 1, client_id, sizeof(client_id));
	assert_int_equal(ask(&m), 0); /* about no address */
	msg_ia(&m, 3, 1, "fd00:9::5");
	n = ask(&m);
	has6(n, 13, "\0\0", 2);
	msg_ia(&m, 3, 2, "fd00:8::5");
	n = ask(&m);
	has6(n, 13, "\0\4", 2);
	for (uint8_t type = 8; type <= 9; type++) {
		msg_begin(&m, type);
		msg_opt(&m, 1, client_id, sizeof(client_id));
		msg_opt(&m, 2, server_id, sizeof(server_id));
		n = ask(&m);
		assert_int_equal(out[0], 7);
		has6(n, 13, "\0\0", 2);
	}
}

static void test_dhcp6_stateless(void **state)
{
	struct msg m;
	uint8_t refresh[4];
	size_t n, l;

	(void)state;
	msg_begin(&m, 11);
	n = ask(&m);
	assert_int_equal(out[0], 7);
	has6(n, 2, server_id, sizeof(server_id));
	has_servers(n);
	put_be32(refresh, 7200);
	has6(n, 32, refresh, 4);
	assert_null(opt6(out + 4, n - 4, 3, &l));
	assert_false(leased);
	/* RFC 8415 16.12: an association has no business there. */
	msg_ia(&m, 3, 1, NULL);
	assert_int_equal(ask(&m), 0);
}

static void test_dhcp6_silence(void **state)
{
	static const uint8_t other[] = { 0, 3, 0, 1, 2, 0, 0, 0, 0, 9 };
	uint8_t huge[200] = { 0 };
	struct msg m;

	(void)state;
	for (unsigned type = 0; type < 256; type++) {
		/* none has a client identity, which only information requests may lack */
		msg_begin(&m, (uint8_t)type);
		assert_int_equal(ask(&m) > 0, type == 11);
	}
	for (uint8_t type = 1; type <= 11; type++) {
		msg_begin(&m, type);
		msg_opt(&m, 1, client_id, sizeof(client_id));
		msg_opt(&m, 2, other, sizeof(other));
		assert_int_equal(ask(&m), 0);
	}
	msg_begin(&m, 1);
	msg_opt(&m, 1, client_id, sizeof(client_id));
	msg_opt(&m, 1, client_id, sizeof(client_id));
	assert_int_equal(ask(&m), 0);
	msg_begin(&m, 1);
	msg_opt(&m, 1, huge, 131);
	assert_int_equal(ask(&m), 0);
	msg_begin(&m, 1);
	msg_opt(&m, 1, huge, 130);
	assert_true(ask(&m) > 0);
	msg_opt(&m, 3, huge, 11); /* shorter than its head */
	assert_int_equal(ask(&m), 0);
}

/* Every cut, and as much as a message may ask for: within bounds. */
static void test_dhcp6_bounds(void **state)
{
	struct netstack_config c = config();
	uint8_t ia[12 + 60 * 28] = { 0 }, *cut;
	struct msg m;
	size_t n;

	(void)state;
	for (unsigned i = 0; i < 60; i++) {
		uint8_t *o = ia + 12 + i * 28u;

		put_be16(o, 5);
		put_be16(o + 2, 24);
		o[4] = 0xfd;
		o[19] = (uint8_t)i;
	}
	msg_begin(&m, 6);
	msg_opt(&m, 1, client_id, sizeof(client_id));
	msg_opt(&m, 3, ia, sizeof(ia));
	for (unsigned i = 0; i < 20; i++)
		msg_ia(&m, 3, i, "fd00:8::1");
	n = ask(&m);
	assert_true(n > 0 && n <= DHCP_OUT_MAX);
	for (size_t len = 0; len <= m.n; len++) {
		cut = malloc(len + 1);
		memcpy(cut, m.b, len);
		assert_true(dhcp6_answer(&c, cut, len, out, &leased) <= DHCP_OUT_MAX);
		free(cut);
	}
}

/* On the link: only from a link-local address to the group. */
static void test_dhcp6_frames(void **state)
{
	struct ip_addr ll = addr(GUEST_LL), group = addr("ff02::1:2"), gw = addr("fd00:9::1");
	struct ip_addr own = addr("fd00:9::2");
	struct frame f;
	struct rig r;
	struct msg m;
	const uint8_t *p;
	size_t n;

	(void)state;
	rig_start_autoconf(&r, &on);
	rig_run(&r);
	(void)recv6(&r, &f, IPPROTO_ICMPV6, "ff02::1", &n);
	msg_begin(&m, 11);
	frame_udp(&f, &ll, 546, &group, 547, m.b, m.n);
	memcpy(f.b + VNET, "\x33\x33\0\1\0\2", 6);
	rig_send(&r, &f);
	p = recv6(&r, &f, IPPROTO_UDP, GUEST_LL, &n);
	assert_int_equal(get_be16(p), 547);
	assert_int_equal(get_be16(p + 2), 546);
	assert_int_equal(p[8], 7);
	frame_udp(&f, &ll, 546, &gw, 547, m.b, m.n);
	rig_send(&r, &f);
	frame_udp(&f, &ll, 545, &group, 547, m.b, m.n);
	rig_send(&r, &f);
	assert_int_equal(rig_stats(&r).dropped_spoofed, 2);
	frame_udp(&f, &own, 546, &group, 547, m.b, m.n);
	memcpy(f.b + VNET, "\x33\x33\0\1\0\2", 6);
	rig_send(&r, &f);
	frame_udp(&f, &ll, 546, &group, 547, m.b, m.n);
	f.b[f.len - 1] ^= 1;
	rig_send(&r, &f);
	assert_int_equal(rig_stats(&r).dropped_malformed, 1);
	assert_true(rig_silent(&r));
	assert_int_equal(r.begun, 0);
	rig_stop(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_router),
		cmocka_unit_test(test_router_off),
		cmocka_unit_test(test_router_neighbour),
		cmocka_unit_test(test_own_addresses),
		cmocka_unit_test(test_published_goes_to_own_address),
		cmocka_unit_test(test_dhcp6_lease),
		cmocka_unit_test(test_dhcp6_nothing_more),
		cmocka_unit_test(test_dhcp6_confirm_release),
		cmocka_unit_test(test_dhcp6_stateless),
		cmocka_unit_test(test_dhcp6_silence),
		cmocka_unit_test(test_dhcp6_bounds),
		cmocka_unit_test(test_dhcp6_frames),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
