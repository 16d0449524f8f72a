/* SPDX-License-Identifier: Apache-2.0 */
/* The datagram link: a datagram is a frame, over a socket pair. */
#include "frames.h"

static struct rig r;
static struct ip_addr g4, d4;
static int theirs = -1; /* another descriptor of the stack's end */

static void start(void)
{
	int sv[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, sv), 0);
	close(theirs);
	theirs = dup(sv[1]);
	rig_start_link(&r, NETSTACK_LINK_DGRAM, sv[1], sv[0]);
}

static void put_frame(const struct frame *f)
{
	assert_int_equal(send(r.fd, f->b + VNET, f->len - VNET, 0), f->len - VNET);
	rig_run(&r);
}

static bool get_frame(struct frame *f)
{
	ssize_t n;

	rig_run(&r);
	n = recv(r.fd, f->b + VNET, sizeof(f->b) - VNET, MSG_DONTWAIT);
	if (n < 0)
		return false;
	memset(f->b, 0, VNET);
	f->len = VNET + (size_t)n;
	assert_true(n >= 14 && n <= 1514);
	assert_memory_equal(f->b + VNET + 6, mac_gw, 6);
	return true;
}

static void make_arp(struct frame *f)
{
	uint8_t *p = f->b + L2;

	frame_eth(f, 0x0806);
	memset(f->b + VNET, 0xff, 6);
	memcpy(p, "\0\1\x8\0\6\4\0\1", 8);
	memcpy(p + 8, mac_guest, 6);
	memcpy(p + 14, g4.b, 4);
	memcpy(p + 24, r.cfg.gateway4.b, 4);
	f->len = L2 + 28;
}

static void expect_arp_reply(void)
{
	struct frame f;

	assert_true(get_frame(&f));
	assert_int_equal(f.len, L2 + 28);
	assert_int_equal(get_be16(f.b + L2 + 6), 2);
}

static void ask_and_answer(void)
{
	struct frame f;

	make_arp(&f);
	put_frame(&f);
	expect_arp_reply();
}

static void test_a_datagram_is_a_frame(void **state)
{
	static uint8_t big[70000];
	struct frame f;
	int size = 1 << 20;

	(void)state;
	start();
	ask_and_answer();
	assert_false(get_frame(&f));
	/* Empty, short and too long ones are malformed frames, no more. */
	setsockopt(r.fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	assert_int_equal(send(r.fd, big, 0, 0), 0);
	assert_int_equal(send(r.fd, big, 4, 0), 4);
	assert_int_equal(send(r.fd, big, sizeof(big), 0), sizeof(big));
	rig_run(&r);
	assert_int_equal(rig_stats(&r).dropped_malformed, 3);
	ask_and_answer();
	rig_stop(&r);
}

static void test_vfkit_magic(void **state)
{
	(void)state;
	start();
	assert_int_equal(send(r.fd, "VFKT", 4, 0), 4);
	ask_and_answer();
	assert_int_equal(rig_stats(&r).frames_in, 1);
	assert_int_equal(send(r.fd, "VFKT", 4, 0), 4); /* once, and first */
	rig_run(&r);
	assert_int_equal(rig_stats(&r).dropped_malformed, 1);
	rig_stop(&r);
}

static void test_batches(void **state)
{
	struct frame f;
	unsigned sent = 0;

	(void)state;
	start();
	make_arp(&f);
	while (sent < 500) {
		unsigned burst = 0;

		while (sent < 500 && send(r.fd, f.b + VNET, f.len - VNET, MSG_DONTWAIT) > 0) {
			sent++;
			burst++;
		}
		assert_true(burst > 0);
		for (; burst; burst--)
			expect_arp_reply();
	}
	assert_int_equal(rig_stats(&r).frames_in, 500);
	rig_stop(&r);
}

static uint8_t mark(size_t at)
{
	return (uint8_t)(at * 2654435761u >> 13);
}

/* Super-segments over a socket that takes a few datagrams at a time: nothing lost or doubled. */
static void test_bulk_to_a_slow_reader(void **state) /* link-full */
{
	static uint8_t p[400000];
	static struct frame f;
	size_t sent = 0, got = 0;
	uint32_t seq = 1000, ack = 0;
	struct tcp_seg s;
	int sv[2], small = 1;

	(void)state;
	start();
	assert_int_equal(setsockopt(theirs, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, sv), 0);
	for (size_t i = 0; i < sizeof(p); i++)
		p[i] = mark(i);
	frame_tcp(&f, &g4, 2000, &d4, 443, TCP_SYN, seq++, ack, NULL, 0);
	put_frame(&f);
	netstack_flow_attach(r.flow, sv[0], false);
	assert_true(get_frame(&f));
	assert_int_equal(tcp_seg_parse(f.b + L2 + 20, f.len - L2 - 20, &s), 0);
	ack = s.seq + 1;
	for (unsigned turn = 0; got < 150000; turn++) {
		ssize_t w = write(sv[1], p + sent, sizeof(p) - sent);

		assert_true(turn < 20000);
		sent += w > 0 ? (size_t)w : 0;
		for (unsigned k = 0; k < 3 && get_frame(&f); k++) {
			check_out(&f, &r);
			assert_int_equal(tcp_seg_parse(f.b + L2 + 20, f.len - L2 - 20, &s), 0);
			assert_int_equal(s.seq, ack);
			for (size_t i = 0; i < s.len; i++)
				assert_int_equal(s.data[i], mark(got + i));
			ack += (uint32_t)s.len;
			got += s.len;
		}
		frame_tcp(&f, &g4, 2000, &d4, 443, TCP_ACK, seq, ack, NULL, 0);
		put_frame(&f);
	}
	assert_int_equal(rig_stats(&r).retransmits, 0);
	close(sv[1]);
	rig_stop(&r);
}

static void test_guest_never_reads(void **state)
{
	struct frame f;
	unsigned replies = 0;
	struct netstack_stats s;

	(void)state;
	start();
	make_arp(&f);
	for (unsigned i = 0; i < 20000; i++)
		put_frame(&f);
	s = rig_stats(&r);
	assert_int_equal(s.frames_in, 20000);
	assert_true(s.dropped_link_full > 0);
	assert_int_equal(s.frames_out + s.dropped_link_full, 20000);
	while (get_frame(&f))
		replies++;
	assert_int_equal(replies, s.frames_out);
	ask_and_answer();
	rig_stop(&r);
}

static void test_connected_end_is_gone(void **state)
{
	struct frame f;

	(void)state;
	start();
	ask_and_answer();
	make_arp(&f);
	assert_int_equal(send(r.fd, f.b + VNET, f.len - VNET, 0), f.len - VNET);
	close(r.fd);
	r.fd = -1;
	rig_run(&r);
	assert_int_equal(r.downs, 1);
	assert_true(r.down_last);
	rig_stop(&r);
}

static void test_wrong_descriptor(void **state)
{
	struct netstack *ns;
	int sv[2];

	(void)state;
	start();
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, sv), 0);
	assert_int_equal(netstack_new(r.loop, NETSTACK_LINK_DGRAM, sv[0], &r.cfg, &rig_ops, &r, &ns),
			 -EPROTOTYPE);
	assert_int_equal(close(sv[0]), 0);
	close(sv[1]);
	sv[0] = socket(AF_UNIX, SOCK_DGRAM, 0); /* connected to nobody */
	assert_int_equal(netstack_new(r.loop, NETSTACK_LINK_DGRAM, sv[0], &r.cfg, &rig_ops, &r, &ns),
			 -ENOTCONN);
	assert_int_equal(close(sv[0]), 0);
	rig_stop(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_datagram_is_a_frame),
		cmocka_unit_test(test_vfkit_magic),
		cmocka_unit_test(test_batches),
		cmocka_unit_test(test_bulk_to_a_slow_reader),
		cmocka_unit_test(test_guest_never_reads),
		cmocka_unit_test(test_connected_end_is_gone),
		cmocka_unit_test(test_wrong_descriptor),
	};

	g4 = ip4(10, 9, 0, 2);
	d4 = ip4(192, 0, 2, 1);
	return cmocka_run_group_tests_name("netstack/link_dgram", tests, NULL, NULL);
}
