/* SPDX-License-Identifier: Apache-2.0 */
/* Reassembly within bounds, and fragments towards the guest. */
#include "frames.h"

#include "netstack/netstack_limits.h"

static struct ip_addr g4, g6, d4, d6;
static uint8_t whole[66000]; /* the datagram from its UDP header on */
static size_t whole_len;

static void prepare(const struct ip_addr *src, const struct ip_addr *dst, size_t n)
{
	static uint8_t data[66000];

	for (size_t i = 0; i < n; i++)
		data[i] = (uint8_t)(i * 7 + i / 256);
	whole_len = make_udp(whole, src, 1000, dst, 9, data, n);
}

/* Bytes [off, off + n) of `whole` as a fragment. */
static void piece(struct frame *f, bool six, uint32_t id, size_t off, size_t n, bool more)
{
	uint8_t *p = f->b + L2, b[66000];

	if (!six) {
		frame_ip(f, &g4, &d4, IPPROTO_UDP, whole + off, n);
		put_be16(p + 4, (uint16_t)id);
		put_be16(p + 6, (uint16_t)(off / 8 | (more ? 0x2000 : 0)));
		frame_ip4_sum(f);
		return;
	}
	memset(b, 0, 8);
	b[0] = IPPROTO_UDP;
	put_be16(b + 2, (uint16_t)(off | (more ? 1 : 0)));
	put_be32(b + 4, id);
	memcpy(b + 8, whole + off, n);
	frame_ip(f, &g6, &d6, 44, b, n + 8);
}

static void send_piece(struct rig *r, bool six, uint32_t id, size_t off, size_t n, bool more)
{
	struct frame f;

	piece(&f, six, id, off, n, more);
	rig_send(r, &f);
}

static void go_local(struct rig *r, struct netstack_flow *f)
{
	(void)r;
	netstack_flow_local(f);
}

static void start(struct rig *r)
{
	rig_start(r);
	r->on_new = go_local;
	r->cfg.max_udp = 8;
}

static void got_whole(struct rig *r, unsigned count)
{
	assert_int_equal(r->datagrams, count);
	assert_int_equal(r->got_len, whole_len - 8);
	assert_memory_equal(r->got, whole + 8, whole_len - 8);
}

static void test_orders(void **state)
{
	static const uint8_t orders[][3] = { { 0, 1, 2 }, { 2, 1, 0 }, { 1, 2, 0 }, { 2, 0, 1 } };
	struct rig r;
	unsigned n = 0;

	(void)state;
	start(&r);
	for (int six = 0; six <= 1; six++) {
		prepare(six ? &g6 : &g4, six ? &d6 : &d4, 3000);
		for (unsigned o = 0; o < ARRAY_SIZE(orders); o++) {
			for (unsigned i = 0; i < 3; i++) {
				size_t off = orders[o][i] * 1200u;

				assert_int_equal(r.datagrams, n);
				send_piece(&r, six, 100 + o, off, MIN(1200u, whole_len - off),
					   orders[o][i] < 2);
			}
			got_whole(&r, ++n);
		}
	}
	/* the largest there can be, byte for byte; an exact copy changes nothing */
	prepare(&g4, &d4, 65507);
	for (size_t off = 0; off < whole_len; off += 1480) {
		send_piece(&r, false, 7, off, MIN((size_t)1480, whole_len - off),
			   off + 1480 < whole_len);
		if (off == 1480)
			send_piece(&r, false, 7, off, 1480, true);
	}
	got_whole(&r, ++n);
	assert_int_equal(rig_stats(&r).fragments_dropped, 0);
	rig_stop(&r);
}

/* An atomic fragment is whole (RFC 6946). */
static void test_atomic(void **state)
{
	struct rig r;

	(void)state;
	start(&r);
	prepare(&g6, &d6, 100);
	send_piece(&r, true, 1, 0, whole_len, false);
	got_whole(&r, 1);
	rig_stop(&r);
}

static void test_overlap(void **state)
{
	struct rig r;
	struct frame f;

	(void)state;
	start(&r);
	for (int six = 0; six <= 1; six++) {
		prepare(six ? &g6 : &g4, six ? &d6 : &d4, 3000);
		send_piece(&r, six, 1, 0, 1200, true);
		send_piece(&r, six, 1, 1192, 1200, true); /* overlaps by 8 */
		send_piece(&r, six, 1, 1200, 1200, true); /* too late: poisoned */
		send_piece(&r, six, 1, 2400, whole_len - 2400, false);
		/* same place, other bytes */
		send_piece(&r, six, 2, 0, 1200, true);
		piece(&f, six, 2, 0, 1200, true);
		f.b[f.len - 1] ^= 1;
		rig_send(&r, &f);
		send_piece(&r, six, 2, 1200, whole_len - 1200, false);
		/* two ends; a piece beyond the end; an end before a piece */
		send_piece(&r, six, 3, 2400, whole_len - 2400, false);
		send_piece(&r, six, 3, 1200, 800, false);
		send_piece(&r, six, 4, 1200, 800, false);
		send_piece(&r, six, 4, 2400, 200, true);
		send_piece(&r, six, 5, 2400, 200, true);
		send_piece(&r, six, 5, 1200, 1200, false);
	}
	assert_int_equal(r.begun, 0);
	assert_int_equal(rig_stats(&r).fragments_dropped, 10);
	assert_true(rig_silent(&r));
	rig_stop(&r);
}

static void test_bad_pieces(void **state)
{
	struct rig r;
	struct frame f;

	(void)state;
	start(&r);
	prepare(&g4, &d4, 60000);
	send_piece(&r, false, 1, 0, 1201, true); /* not a multiple of 8 */
	send_piece(&r, false, 2, 8, 0, true);	 /* empty */
	/* beyond 65,535: the ping of death */
	piece(&f, false, 3, 0, 1000, false);
	put_be16(f.b + L2 + 6, 0x1fff);
	frame_ip4_sum(&f);
	rig_send(&r, &f);
	/* first piece without the whole transport header */
	frame_ip(&f, &g4, &d4, IPPROTO_TCP, whole, 16);
	put_be16(f.b + L2 + 6, 0x2000);
	frame_ip4_sum(&f);
	rig_send(&r, &f);
	/* its second half alone */
	frame_ip(&f, &g4, &d4, IPPROTO_TCP, whole, 16);
	put_be16(f.b + L2 + 4, 9);
	put_be16(f.b + L2 + 6, 0x2001);
	frame_ip4_sum(&f);
	rig_send(&r, &f);
	assert_int_equal(rig_stats(&r).fragments_dropped, 5);
	/* one datagram in more pieces than we keep */
	for (unsigned i = 0; i <= LIMIT_FRAG_PIECES; i++)
		send_piece(&r, false, 20, i * 16, 8, true);
	assert_int_equal(rig_stats(&r).fragments_dropped, 6);
	assert_int_equal(r.begun, 0);
	rig_stop(&r);
}

/* More datagrams begun than we keep: the oldest go, the newest still work. */
static void test_flood(void **state)
{
	struct rig r;
	unsigned n = 500;

	(void)state;
	start(&r);
	prepare(&g6, &d6, 60000);
	for (unsigned i = 0; i < n; i++)
		send_piece(&r, true, i, 58000, 200, true);
	assert_true(rig_stats(&r).fragments_dropped >= n - LIMIT_FRAG_SETS);
	prepare(&g6, &d6, 3000);
	send_piece(&r, true, 9999, 0, 1200, true);
	send_piece(&r, true, 9999, 1200, whole_len - 1200, false);
	got_whole(&r, 1);
	rig_stop(&r);
}

static void echo_back(struct rig *r, struct netstack_flow *f, const uint8_t *p, size_t len)
{
	(void)r;
	netstack_flow_send(f, p, len);
}

/* What the stack sends in fragments puts together again to the same, right checksum included. */
static void fragments_out(struct rig *r, bool six, size_t n)
{
	static uint8_t back[66000];
	size_t head = six ? 48 : 20, total = 0, high = 0;
	struct frame f;
	const struct ip_addr *g = six ? &g6 : &g4, *d = six ? &d6 : &d4;

	prepare(g, d, n);
	frame_ip(&f, g, d, IPPROTO_UDP, whole, whole_len);
	rig_send(r, &f);
	while (rig_recv(r, &f)) {
		const uint8_t *p = f.b + L2;
		size_t len = f.len - L2 - head, off;
		bool more = six ? p[43] & 1 : p[6] & 0x20;

		assert_true(f.len - L2 <= 1500);
		off = six ? get_be16(p + 42) & 0xfff8u : (get_be16(p + 6) & 0x1fffu) * 8;
		assert_int_equal(f.b[0], 0);
		assert_true(!more || len % 8 == 0);
		memcpy(back + off, p + head, len);
		total += len;
		high = MAX(high, off + len);
	}
	assert_int_equal(total, n + 8);
	assert_int_equal(high, n + 8);
	assert_memory_equal(back + 8, whole + 8, n);
	assert_int_equal(sum_add(sum_pseudo(g, d, 17, n + 8), back, n + 8), 0xffff);
}

static void test_out(void **state)
{
	static const size_t sizes[] = { 1473, 2000, 9001, 65507 };
	struct rig r;

	(void)state;
	start(&r);
	r.on_datagram = echo_back;
	for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
		fragments_out(&r, false, sizes[i]);
		fragments_out(&r, true, MAX(sizes[i], (size_t)1500));
	}
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
		cmocka_unit_test(test_orders),	cmocka_unit_test(test_atomic),
		cmocka_unit_test(test_overlap), cmocka_unit_test(test_bad_pieces),
		cmocka_unit_test(test_flood),	cmocka_unit_test(test_out),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}
