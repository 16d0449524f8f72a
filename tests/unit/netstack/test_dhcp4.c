/* SPDX-License-Identifier: Apache-2.0 */
/* DHCP for IPv4: which messages are answered, with what, and to whom. */
#include "frames.h"

#include "netstack/local.h"

#define HEAD 240
#define XID 0x12345678

static const struct netstack_autoconf on = {
	.dhcp4 = true, .prefix4 = 29, .lease_s = 3600, .domain = "lab.example", .hostname = "box"
};

struct msg {
	size_t n;
	uint8_t b[2048];
};

static void msg_begin(struct msg *m, uint8_t type)
{
	memset(m, 0, sizeof(*m));
	m->b[0] = m->b[1] = 1;
	m->b[2] = 6;
	put_be32(m->b + 4, XID);
	memcpy(m->b + 28, mac_guest, 6);
	put_be32(m->b + 236, 0x63825363);
	m->n = HEAD;
	if (type) {
		m->b[m->n++] = 53;
		m->b[m->n++] = 1;
		m->b[m->n++] = type;
	}
}

static void msg_opt(struct msg *m, uint8_t code, const void *p, uint8_t n)
{
	m->b[m->n++] = code;
	m->b[m->n++] = n;
	if (n)
		memcpy(m->b + m->n, p, n);
	m->n += n;
}

static void msg_end(struct msg *m)
{
	m->b[m->n++] = 255;
}

/* An option of an answer; NULL: absent. */
static const uint8_t *opt(const uint8_t *p, size_t n, uint8_t code, uint8_t *ret_len)
{
	for (size_t at = HEAD; at < n && p[at] != 255;) {
		if (p[at] == 0) {
			at++;
			continue;
		}
		if (p[at] == code) {
			*ret_len = p[at + 1];
			return p + at + 2;
		}
		at += 2u + p[at + 1];
	}
	return NULL;
}

static void has_bytes(const uint8_t *p, size_t n, uint8_t code, const void *want, size_t len)
{
	uint8_t l = 0;
	const uint8_t *o = opt(p, n, code, &l);

	assert_non_null(o);
	assert_int_equal(l, len);
	assert_memory_equal(o, want, len);
}

static void has_u32(const uint8_t *p, size_t n, uint8_t code, uint32_t want)
{
	uint8_t b[4];

	put_be32(b, want);
	has_bytes(p, n, code, b, 4);
}

static void has_not(const uint8_t *p, size_t n, uint8_t code)
{
	uint8_t l;

	assert_null(opt(p, n, code, &l));
}

static void send_msg(struct rig *r, const struct msg *m, struct ip_addr src, struct ip_addr dst)
{
	struct frame f;

	frame_udp(&f, &src, 68, &dst, 67, m->b, m->n);
	if (get_be32(dst.b) == 0xffffffff)
		memset(f.b + VNET, 0xff, 6);
	rig_send(r, &f);
}

/* The next answer: its UDP payload. Headers and checksums are right, or the test fails. */
static const uint8_t *answer(struct rig *r, struct frame *f, struct ip_addr to, size_t *ret_n)
{
	static const uint8_t all[6] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };
	struct ip_addr src = r->cfg.gateway4;
	uint8_t *p = f->b + L2;
	size_t n;

	assert_true(rig_recv(r, f));
	n = f->len - L2 - 20;
	assert_memory_equal(f->b + VNET, get_be32(to.b) == 0xffffffff ? all : mac_guest, 6);
	assert_int_equal(get_be16(p + 2), f->len - L2);
	assert_int_equal(sum_add(0, p, 20), 0xffff);
	assert_memory_equal(p + 12, src.b, 4);
	assert_memory_equal(p + 16, to.b, 4);
	assert_int_equal(get_be16(p + 20), 67);
	assert_int_equal(get_be16(p + 22), 68);
	assert_int_equal(get_be16(p + 24), n);
	assert_int_equal(sum_add(sum_pseudo(&src, &to, IPPROTO_UDP, n), p + 20, n), 0xffff);
	*ret_n = n - 8;
	p += 28;
	assert_int_equal(p[0], 2);
	assert_int_equal(get_be32(p + 4), XID);
	assert_memory_equal(p + 28, mac_guest, 6);
	assert_int_equal(get_be32(p + 236), 0x63825363);
	return p;
}

static const struct ip_addr none = { 4, { 0 } };
static const struct ip_addr all = { 4, { 255, 255, 255, 255 } };

static void check_lease(const struct rig *r, const uint8_t *p, size_t n)
{
	static const uint8_t mtu[2] = { 1500 >> 8, 1500 & 0xff };

	assert_memory_equal(p + 16, r->cfg.guest4.b, 4);
	has_bytes(p, n, 54, r->cfg.gateway4.b, 4);
	has_u32(p, n, 51, 3600);
	has_u32(p, n, 58, 1800);
	has_u32(p, n, 59, 3150);
	has_u32(p, n, 1, 0xfffffff8);
	has_bytes(p, n, 3, r->cfg.gateway4.b, 4);
	has_bytes(p, n, 6, r->cfg.gateway4.b, 4);
	has_bytes(p, n, 26, mtu, 2);
	has_bytes(p, n, 12, "box", 3);
	has_bytes(p, n, 15, "lab.example", 11);
}

static void test_discover_and_request(void **state)
{
	struct frame f;
	struct msg m;
	struct rig r;
	const uint8_t *p;
	size_t n;

	(void)state;
	rig_start_autoconf(&r, &on);
	msg_begin(&m, 1);
	msg_opt(&m, 61, "\1client", 7);
	msg_end(&m);
	send_msg(&r, &m, none, all);
	p = answer(&r, &f, r.cfg.guest4, &n);
	has_bytes(p, n, 53, "\2", 1);
	has_bytes(p, n, 61, "\1client", 7);
	check_lease(&r, p, n);
	assert_true(n >= 300);

	msg_begin(&m, 3);
	msg_opt(&m, 54, r.cfg.gateway4.b, 4);
	msg_opt(&m, 50, r.cfg.guest4.b, 4);
	msg_end(&m);
	send_msg(&r, &m, none, all);
	p = answer(&r, &f, r.cfg.guest4, &n);
	has_bytes(p, n, 53, "\5", 1);
	check_lease(&r, p, n);
	/* What it was told is nobody's flow, nor refusal. */
	assert_int_equal(r.begun, 0);
	assert_int_equal(r.refused, 0);
	assert_int_equal(rig_stats(&r).dropped_spoofed, 0);
	rig_stop(&r);
}

static void test_broadcast_flag(void **state)
{
	struct frame f;
	struct msg m;
	struct rig r;
	const uint8_t *p;
	size_t n;

	(void)state;
	rig_start_autoconf(&r, &on);
	msg_begin(&m, 1);
	put_be16(m.b + 10, 0x8000);
	msg_end(&m);
	send_msg(&r, &m, none, all);
	p = answer(&r, &f, all, &n);
	has_bytes(p, n, 53, "\2", 1);
	assert_int_equal(get_be16(p + 10), 0x8000);
	rig_stop(&r);
}

static void test_rapid_commit(void **state)
{
	struct frame f;
	struct msg m;
	struct rig r;
	const uint8_t *p;
	size_t n;

	(void)state;
	rig_start_autoconf(&r, &on);
	msg_begin(&m, 1);
	msg_opt(&m, 80, NULL, 0);
	msg_end(&m);
	send_msg(&r, &m, none, all);
	p = answer(&r, &f, r.cfg.guest4, &n);
	has_bytes(p, n, 53, "\5", 1);
	has_bytes(p, n, 80, "", 0);
	check_lease(&r, p, n);
	rig_stop(&r);
}

/* INIT-REBOOT, RENEWING, REBINDING: right and wrong addresses. */
static void test_old_leases(void **state)
{
	struct ip_addr other = ip4(192, 168, 1, 77);
	struct frame f;
	struct msg m;
	struct rig r;
	const uint8_t *p;
	size_t n;

	(void)state;
	rig_start_autoconf(&r, &on);
	msg_begin(&m, 3);
	msg_opt(&m, 50, r.cfg.guest4.b, 4);
	msg_end(&m);
	send_msg(&r, &m, none, all);
	p = answer(&r, &f, r.cfg.guest4, &n);
	has_bytes(p, n, 53, "\5", 1);

	msg_begin(&m, 3);
	msg_opt(&m, 50, other.b, 4);
	msg_opt(&m, 61, "\1x", 2);
	msg_end(&m);
	send_msg(&r, &m, none, all);
	p = answer(&r, &f, all, &n);
	has_bytes(p, n, 53, "\6", 1);
	has_bytes(p, n, 54, r.cfg.gateway4.b, 4);
	has_bytes(p, n, 61, "\1x", 2);
	has_not(p, n, 51);
	has_not(p, n, 3);
	assert_memory_equal(p + 16, none.b, 4);

	/* renewing: unicast to us; rebinding: to all */
	msg_begin(&m, 3);
	memcpy(m.b + 12, r.cfg.guest4.b, 4);
	msg_end(&m);
	send_msg(&r, &m, r.cfg.guest4, r.cfg.gateway4);
	p = answer(&r, &f, r.cfg.guest4, &n);
	has_bytes(p, n, 53, "\5", 1);
	check_lease(&r, p, n);
	send_msg(&r, &m, r.cfg.guest4, all);
	p = answer(&r, &f, r.cfg.guest4, &n);
	has_bytes(p, n, 53, "\5", 1);
	assert_memory_equal(p + 12, r.cfg.guest4.b, 4);
	/* an address of another network, which it may not even speak with */
	memcpy(m.b + 12, other.b, 4);
	send_msg(&r, &m, other, all);
	assert_true(rig_silent(&r));
	assert_int_equal(rig_stats(&r).dropped_spoofed, 1);
	rig_stop(&r);
}

static void test_inform(void **state)
{
	struct frame f;
	struct msg m;
	struct rig r;
	const uint8_t *p;
	size_t n;

	(void)state;
	rig_start_autoconf(&r, &on);
	msg_begin(&m, 8);
	memcpy(m.b + 12, r.cfg.guest4.b, 4);
	msg_end(&m);
	send_msg(&r, &m, r.cfg.guest4, r.cfg.gateway4);
	p = answer(&r, &f, r.cfg.guest4, &n);
	has_bytes(p, n, 53, "\5", 1);
	has_not(p, n, 51);
	has_bytes(p, n, 6, r.cfg.gateway4.b, 4);
	assert_memory_equal(p + 16, none.b, 4);
	rig_stop(&r);
}

/* DECLINE and RELEASE, another server's client, a relay, BOOTP, no Ethernet. */
static void test_silence(void **state)
{
	struct ip_addr other = ip4(10, 9, 0, 5);
	struct msg m;
	struct rig r;

	(void)state;
	rig_start_autoconf(&r, &on);
	for (uint8_t type = 0; type < 20; type++) {
		if (type == 1 || type == 3 || type == 8)
			continue;
		msg_begin(&m, type);
		msg_end(&m);
		send_msg(&r, &m, none, all);
	}
	msg_begin(&m, 3);
	msg_opt(&m, 54, other.b, 4);
	msg_opt(&m, 50, r.cfg.guest4.b, 4);
	msg_end(&m);
	send_msg(&r, &m, none, all);
	msg_begin(&m, 1);
	msg_end(&m);
	m.b[27] = 1; /* giaddr */
	send_msg(&r, &m, none, all);
	m.b[27] = 0;
	m.b[2] = 16;
	send_msg(&r, &m, none, all);
	m.b[2] = 6;
	m.b[0] = 2; /* an answer */
	send_msg(&r, &m, none, all);
	m.b[0] = 1;
	m.b[236] ^= 1;
	send_msg(&r, &m, none, all);
	assert_true(rig_silent(&r));
	assert_int_equal(r.begun, 0);
	rig_stop(&r);
}

/* Only whole UDP packets from that port to that one, from nobody to all, or from the guest. */
static void test_narrow_door(void **state)
{
	struct ip_addr other = ip4(10, 9, 0, 5);
	struct frame f;
	struct msg m;
	struct rig r;

	(void)state;
	rig_start_autoconf(&r, &on);
	msg_begin(&m, 1);
	msg_end(&m);
	send_msg(&r, &m, none, r.cfg.gateway4);
	send_msg(&r, &m, none, other);
	send_msg(&r, &m, other, all);
	frame_udp(&f, &none, 69, &all, 67, m.b, m.n);
	rig_send(&r, &f);
	frame_udp(&f, &none, 68, &all, 53, m.b, m.n);
	rig_send(&r, &f);
	frame_udp(&f, &none, 68, &all, 67, m.b, m.n);
	f.b[L2 + 6] = 0x20; /* a fragment */
	frame_ip4_sum(&f);
	rig_send(&r, &f);
	frame_tcp(&f, &none, 68, &all, 67, 2, 1, 0, NULL, 0);
	rig_send(&r, &f);
	assert_true(rig_silent(&r));
	assert_int_equal(rig_stats(&r).dropped_spoofed, 7);
	frame_udp(&f, &none, 68, &all, 67, m.b, m.n);
	f.b[f.len - 1] ^= 1; /* checksum */
	rig_send(&r, &f);
	frame_udp(&f, &none, 68, &all, 67, m.b, m.n);
	put_be16(f.b + L2 + 24, 7); /* length */
	rig_send(&r, &f);
	assert_int_equal(rig_stats(&r).dropped_malformed, 2);
	assert_true(rig_silent(&r));
	assert_int_equal(r.begun, 0);
	rig_stop(&r);
}

static void test_off(void **state)
{
	struct frame f;
	struct msg m;
	struct rig r;

	(void)state;
	rig_start(&r);
	msg_begin(&m, 1);
	msg_end(&m);
	send_msg(&r, &m, none, all);
	assert_true(rig_silent(&r));
	assert_int_equal(rig_stats(&r).dropped_spoofed, 1);
	(void)f;
	rig_stop(&r);
}

/* Every cut of a message, and the longest options: within bounds, at most one answer. */
static void test_bounds(void **state)
{
	uint8_t big[255], out[DHCP_OUT_MAX], *cut, l;
	struct netstack_config c = {
		.gateway4 = ip4(10, 9, 0, 1),
		.guest4 = ip4(10, 9, 0, 2),
		.mtu = 1500,
		.autoconf = on,
	};
	struct ip_addr to;
	struct msg m;
	size_t n;

	(void)state;
	memset(big, 'x', sizeof(big));
	memset(c.autoconf.domain, 'd', 253);
	memset(c.autoconf.hostname, 'h', 63);
	msg_begin(&m, 1);
	msg_opt(&m, 61, big, 255);
	msg_opt(&m, 55, "\1\3\6", 3);
	msg_end(&m);
	for (size_t len = 0; len <= m.n; len++) {
		cut = malloc(len + 1); /* no byte behind it is ours to read */
		memcpy(cut, m.b, len);
		n = dhcp4_answer(&c, cut, len, out, &to);
		assert_true(n <= 548);
		free(cut);
	}
	n = dhcp4_answer(&c, m.b, m.n, out, &to);
	has_bytes(out, n, 61, big, 255);
	has_u32(out, n, 51, 3600);
	/* Neither name has room in what every client takes; it says that it takes more. */
	assert_null(opt(out, n, 15, &l));
	m.n--;
	msg_opt(&m, 57, "\5\xdc", 2);
	msg_end(&m);
	n = dhcp4_answer(&c, m.b, m.n, out, &to);
	assert_true(n > 548 && n <= DHCP_OUT_MAX);
	has_bytes(out, n, 15, c.autoconf.domain, 253);
	has_bytes(out, n, 12, c.autoconf.hostname, 63);
}

static void test_rate(void **state)
{
	unsigned answered = 0;
	struct frame f;
	struct msg m;
	struct rig r;

	(void)state;
	rig_start_autoconf(&r, &on);
	msg_begin(&m, 1);
	msg_end(&m);
	for (unsigned i = 0; i < 1000; i++) {
		send_msg(&r, &m, none, all);
		while (rig_recv(&r, &f))
			answered++;
	}
	/* A burst, and what has come in since; a slow machine takes seconds for a thousand. */
	assert_true(answered >= 50 && answered < 1000);
	rig_stop(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_discover_and_request),
		cmocka_unit_test(test_broadcast_flag),
		cmocka_unit_test(test_rapid_commit),
		cmocka_unit_test(test_old_leases),
		cmocka_unit_test(test_inform),
		cmocka_unit_test(test_silence),
		cmocka_unit_test(test_narrow_door),
		cmocka_unit_test(test_off),
		cmocka_unit_test(test_bounds),
		cmocka_unit_test(test_rate),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
