/* SPDX-License-Identifier: Apache-2.0 */
/* What an IP packet must be like to get past the IP layer, both versions. */
#include "frames.h"

static struct ip_addr g4, g6, d4, d6;

static void base4(struct frame *f)
{
	frame_udp(f, &g4, 1000, &d4, 53, "hello", 5);
}

static void base6(struct frame *f)
{
	frame_udp(f, &g6, 1000, &d6, 53, "hello", 5);
}

/* Sent with these changes, no flow begins and nothing is answered. */
#define DROPPED(r, f, change, counter)                                                             \
	do {                                                                                       \
		uint64_t before = rig_stats(r).counter;                                            \
		change;                                                                            \
		rig_send(r, f);                                                                    \
		assert_int_equal(rig_stats(r).counter, before + 1);                                \
		assert_int_equal((r)->begun, 0);                                                   \
		assert_true(rig_silent(r));                                                        \
	} while (0)

static void test_v4(void **state)
{
	struct rig r;
	struct frame f;
	uint8_t *p = f.b + L2;

	(void)state;
	rig_start(&r);
	base4(&f);
	DROPPED(&r, &f, p[0] = 0x55, dropped_malformed);
	base4(&f);
	DROPPED(&r, &f, (p[0] = 0x44, frame_ip4_sum(&f)), dropped_malformed);
	base4(&f);
	DROPPED(&r, &f, (p[0] = 0x4f, frame_ip4_sum(&f)), dropped_malformed);
	base4(&f);
	DROPPED(&r, &f, (put_be16(p + 2, 19), frame_ip4_sum(&f)), dropped_malformed);
	base4(&f);
	DROPPED(&r, &f, (put_be16(p + 2, 34), frame_ip4_sum(&f)), dropped_malformed);
	base4(&f);
	DROPPED(&r, &f, p[10] ^= 1, dropped_malformed);
	base4(&f);
	DROPPED(&r, &f, (p[6] = 0x80, frame_ip4_sum(&f)), dropped_malformed); /* evil bit */
	base4(&f);
	DROPPED(&r, &f, (p[15] = 3, frame_ip4_sum(&f)), dropped_spoofed);
	base4(&f);
	DROPPED(&r, &f, (memcpy(p + 16, g4.b, 4), frame_ip4_sum(&f)), dropped_malformed);
	/* the header checksum counts even when the link vouches for the packet's */
	base4(&f);
	f.b[0] = 1;
	DROPPED(&r, &f, p[10] ^= 1, dropped_malformed);
	base4(&f);
	rig_send(&r, &f);
	assert_int_equal(r.begun, 1);
	assert_true(ip_equal(&r.tuple.remote.addr, &d4) && r.tuple.remote.port == 53);
	assert_true(ip_equal(&r.tuple.guest.addr, &g4) && r.tuple.guest.port == 1000);
	assert_false(r.tuple.inbound);
	rig_stop(&r);
}

static void with_options(struct frame *f, const uint8_t *opt, size_t n)
{
	uint8_t *p = f->b + L2;

	base4(f);
	memmove(p + 20 + n, p + 20, f->len - L2 - 20);
	memcpy(p + 20, opt, n);
	f->len += n;
	p[0] = (uint8_t)(0x45 + n / 4);
	put_be16(p + 2, (uint16_t)(f->len - L2));
	frame_ip4_sum(f);
}

static void test_v4_options(void **state)
{
	struct rig r;
	struct frame f;

	(void)state;
	rig_start(&r);
	with_options(&f, (const uint8_t[]){ 131, 7, 4, 9, 9, 9, 9, 0 }, 8);
	DROPPED(&r, &f, (void)0, dropped_malformed);
	assert_int_equal(r.refused, 1);
	with_options(&f, (const uint8_t[]){ 1, 137, 3, 4 }, 4);
	DROPPED(&r, &f, (void)0, dropped_malformed);
	with_options(&f, (const uint8_t[]){ 1, 1, 1, 7 }, 4); /* no length byte */
	DROPPED(&r, &f, (void)0, dropped_malformed);
	with_options(&f, (const uint8_t[]){ 7, 1, 0, 0 }, 4); /* length too small */
	DROPPED(&r, &f, (void)0, dropped_malformed);
	with_options(&f, (const uint8_t[]){ 7, 5, 0, 0 }, 4); /* too large */
	DROPPED(&r, &f, (void)0, dropped_malformed);
	/* record route, router alert: skipped */
	with_options(&f, (const uint8_t[]){ 7, 3, 4, 1, 148, 4, 0, 0 }, 8);
	rig_send(&r, &f);
	assert_int_equal(r.begun, 1);
	rig_stop(&r);
}

static void test_groups(void **state)
{
	static const char *const dsts[] = { "224.0.0.251", "255.255.255.255", "239.1.1.1",
					    "0.0.0.0",	   "ff02::fb",	      "ff05::1:3" };
	struct rig r;
	struct frame f;

	(void)state;
	rig_start(&r);
	for (unsigned i = 0; i < ARRAY_SIZE(dsts); i++) {
		struct ip_addr d = addr(dsts[i]);

		frame_udp(&f, d.family == 4 ? &g4 : &g6, 5353, &d, 5353, "q", 1);
		rig_send(&r, &f);
		assert_int_equal(r.refused, i + 1);
		assert_int_equal(r.refusal, NETSTACK_SILENT);
		assert_int_equal(r.tuple.remote.port, 5353);
	}
	assert_int_equal(r.begun, 0);
	assert_true(rig_silent(&r));
	rig_stop(&r);
}

static void test_v6(void **state)
{
	struct rig r;
	struct frame f;
	uint8_t *p = f.b + L2;

	(void)state;
	rig_start(&r);
	base6(&f);
	DROPPED(&r, &f, p[0] = 0x50, dropped_malformed);
	base6(&f);
	DROPPED(&r, &f, put_be16(p + 4, 14), dropped_malformed);
	base6(&f);
	DROPPED(&r, &f, put_be16(p + 4, 0), dropped_malformed);
	base6(&f);
	DROPPED(&r, &f, p[23] = 9, dropped_spoofed);
	base6(&f);
	DROPPED(&r, &f, memset(p + 24, 0, 16), dropped_malformed);
	base6(&f);
	DROPPED(&r, &f, put_be16(p + 40 + 6, 0), dropped_malformed); /* no UDP checksum */
	rig_send(&r, (base6(&f), &f));
	assert_int_equal(r.begun, 1);
	rig_stop(&r);
}

/* Headers between the IPv6 header and UDP. */
static void with_headers(struct frame *f, uint8_t first, const uint8_t *h, size_t n)
{
	uint8_t *p = f->b + L2;

	base6(f);
	memmove(p + 40 + n, p + 40, f->len - L2 - 40);
	memcpy(p + 40, h, n);
	p[6] = first;
	f->len += n;
	put_be16(p + 4, (uint16_t)(f->len - L2 - 40));
}

static void test_v6_headers(void **state)
{
	uint8_t many[9 * 8] = { 0 };
	struct rig r;
	struct frame f;

	(void)state;
	rig_start(&r);
	/* routing type 0, and type 4 with segments left: refused and said so */
	with_headers(&f, 43, (const uint8_t[]){ 17, 0, 0, 0, 0, 0, 0, 0 }, 8);
	rig_send(&r, &f);
	expect_icmp(&r, &f, 4, 0);
	with_headers(&f, 43, (const uint8_t[]){ 17, 0, 4, 1, 0, 0, 0, 0 }, 8);
	rig_send(&r, &f);
	expect_icmp(&r, &f, 4, 0);
	assert_int_equal(r.refused, 2);
	/* option that must be understood: drop, or drop and say so */
	with_headers(&f, 60, (const uint8_t[]){ 17, 0, 0x41, 4, 0, 0, 0, 0 }, 8);
	DROPPED(&r, &f, (void)0, dropped_malformed);
	with_headers(&f, 60, (const uint8_t[]){ 17, 0, 0x81, 4, 0, 0, 0, 0 }, 8);
	rig_send(&r, &f);
	expect_icmp(&r, &f, 4, 2);
	/* length beyond the packet; option beyond the header; hop-by-hop not first */
	with_headers(&f, 60, (const uint8_t[]){ 17, 9, 1, 4, 0, 0, 0, 0 }, 8);
	DROPPED(&r, &f, (void)0, dropped_malformed);
	with_headers(&f, 0, (const uint8_t[]){ 0, 0, 1, 4, 0, 0, 0, 0, 17, 0, 1, 4, 0, 0, 0, 0 }, 16);
	DROPPED(&r, &f, (void)0, dropped_malformed);
	/* more headers than we walk */
	for (unsigned i = 0; i < 9; i++) {
		many[i * 8] = i == 8 ? 17 : 60;
		many[i * 8 + 2] = 1;
		many[i * 8 + 3] = 4;
	}
	with_headers(&f, 60, many, sizeof(many));
	DROPPED(&r, &f, (void)0, dropped_malformed);
	/* hop-by-hop with padding, destination options, used-up routing: fine */
	with_headers(&f, 0, (const uint8_t[]){ 60, 0, 5, 2, 0,	0, 1, 0, 43, 0, 1, 4,
					       0,  0, 0, 0, 17, 0, 2, 0, 0,  0, 0, 0 },
		     24);
	rig_send(&r, &f);
	assert_int_equal(r.begun, 1);
	rig_stop(&r);
}

/* Parity: p1.1-other-protocols. */
static void test_protocols(void **state)
{
	uint8_t l4[40] = { 0 };
	struct rig r;
	struct frame f;

	(void)state;
	rig_start(&r);
	frame_ip(&f, &g4, &d4, 132, l4, sizeof(l4));
	rig_send(&r, &f);
	expect_icmp(&r, &f, 3, 2);
	assert_int_equal(r.refused, 1);
	assert_int_equal(r.refused_proto, 132);
	frame_ip(&f, &g6, &d6, 132, l4, sizeof(l4));
	rig_send(&r, &f);
	expect_icmp(&r, &f, 4, 1);
	/* encapsulation is no way round: IPv6 in IPv4, GRE */
	frame_ip(&f, &g4, &d4, 41, l4, sizeof(l4));
	rig_send(&r, &f);
	expect_icmp(&r, &f, 3, 2);
	/* no next header: nothing to say */
	frame_ip(&f, &g6, &d6, 59, l4, sizeof(l4));
	rig_send(&r, &f);
	assert_true(rig_silent(&r));
	assert_int_equal(r.begun, 0);
	rig_stop(&r);
}

static int setup(void **state)
{
	(void)state;
	g4 = ip4(10, 9, 0, 2);
	d4 = ip4(198, 51, 100, 7);
	g6 = addr("fd00:9::2");
	d6 = addr("2001:db8::7");
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_v4),	   cmocka_unit_test(test_v4_options),
		cmocka_unit_test(test_groups),	   cmocka_unit_test(test_v6),
		cmocka_unit_test(test_v6_headers), cmocka_unit_test(test_protocols),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}
