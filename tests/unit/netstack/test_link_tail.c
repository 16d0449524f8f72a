/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Frames whose payload lies partly in memory of the guest's (link_rx.tail), put
 * in below the driver: what may come that way, where its bytes go, and that a
 * large segment in order goes past the receive queue without a byte out of place.
 */
#include "frames.h"

#include "netstack/netstack_internal.h"

static struct rig r;
static struct ip_addr g4, d4, g6, d6;
static uint8_t guest_memory[70000];
static struct frame whole;

static uint8_t mark(size_t at)
{
	return (uint8_t)(at * 2654435761u >> 13);
}

/* The frame in `whole`, but for its first n bytes in pieces of the guest's memory of these sizes. */
static void input_split(size_t n, size_t piece, bool vouched)
{
	static uint8_t private[4096];
	static struct link_rx rx;
	size_t len = whole.len - VNET, at = n;

	assert_true(n <= sizeof(private) && n <= len);
	memset(&rx, 0x5a, sizeof(rx));
	memcpy(private, whole.b + VNET, n);
	memset(private + n, 0xee, sizeof(private) - n);
	memcpy(guest_memory, whole.b + VNET, len);
	link_rx_set(&rx, private, n);
	for (; at < len; rx.n_tail++) {
		size_t take = MIN(piece, len - at);

		assert_true(rx.n_tail < LINK_TAIL_MAX);
		rx.tail[rx.n_tail] = (struct iovec){ guest_memory + at, take };
		rx.tail_len += take;
		at += take;
	}
	rx.vouched = vouched;
	eth_input(r.ns, &rx);
	rig_run(&r);
}

static uint32_t seq, ack;
static bool six;

static void make(uint8_t flags, size_t from, size_t n)
{
	static uint8_t p[66000];

	for (size_t i = 0; i < n; i++)
		p[i] = mark(from + i);
	frame_tcp(&whole, six ? &g6 : &g4, 2000, six ? &d6 : &d4, 443, flags, seq, ack, p, n);
}

static void establish(int *ret_far)
{
	struct frame f;
	struct tcp_seg s;
	int sv[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, sv), 0);
	seq = 1000;
	ack = 0;
	make(TCP_SYN, 0, 0);
	rig_send(&r, &whole);
	netstack_flow_attach(r.flow, sv[0], false);
	rig_run(&r);
	assert_true(rig_recv(&r, &f));
	assert_int_equal(tcp_seg_parse(f.b + l4_off(&f), f.len - l4_off(&f), &s), 0);
	seq++;
	ack = s.seq + 1;
	make(TCP_ACK, 0, 0);
	rig_send(&r, &whole);
	*ret_far = sv[1];
}

static void far_expect(int far, size_t from, size_t n)
{
	static uint8_t b[70000];
	ssize_t got;

	while (n) {
		got = read(far, b, MIN(n, sizeof(b)));
		assert_true(got > 0);
		for (ssize_t i = 0; i < got; i++)
			assert_int_equal(b[i], mark(from++));
		n -= (size_t)got;
	}
	assert_int_equal(read(far, b, 1), -1);
	assert_int_equal(errno, EAGAIN);
}

static size_t heads(void)
{
	return 14 + (six ? 40 : 20) + 20;
}

static void stop(int far)
{
	if (far >= 0)
		close(far);
	/* Frames put in below the driver are not captured. */
	r.ns->stats.frames_in = r.frames_in;
	r.ns->stats.bytes_in = r.bytes - r.ns->stats.bytes_out;
	rig_stop(&r);
}

/* The socket takes everything and the cut is everywhere: in order, whole. */
static void test_payload_in_two_parts(void **state)
{
	static const size_t sizes[] = { 1, 2, 100, 8191, 8192, 8193, 30000, 60000 };

	(void)state;
	for (unsigned version = 0; version < 2; version++) {
		size_t sent = 0;
		int far;

		six = version;
		rig_start(&r);
		establish(&far);
		for (size_t i = 0; i < ARRAY_SIZE(sizes); i++)
			for (unsigned cut = 0; cut < 3; cut++) {
				size_t n = sizes[i], here = cut * n / 3;

				make(TCP_ACK, sent, n);
				input_split(heads() + MIN(here, (size_t)3000), 1 + n / 40, true);
				far_expect(far, sent, n);
				sent += n;
				seq += (uint32_t)n;
				while (rig_recv(&r, &whole))
					;
			}
		assert_int_equal(netstack_flow_counts(r.flow).bytes_up, sent);
		stop(far);
	}
	six = false;
}

static void test_no_ring_is_needed(void **state)
{
	int far;

	(void)state;
	rig_start(&r);
	establish(&far);
	make(TCP_ACK, 0, 40000);
	input_split(heads(), 4096, true);
	far_expect(far, 0, 40000);
	assert_int_equal(r.ns->tcp.mem_alloc, 0);
	stop(far);
}

/* A socket that takes a part: the rest waits in the queue, the next segment behind it. */
static void test_socket_takes_a_part(void **state)
{
	static uint8_t b[400000];
	size_t sent = 0, got = 0;
	int far, small = 1;
	ssize_t n;

	(void)state;
	rig_start(&r);
	establish(&far);
	assert_int_equal(setsockopt(r.flow->fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)), 0);
	for (unsigned i = 0; i < 3; i++) {
		make(TCP_ACK, sent, 20000);
		input_split(heads() + 10, 4096, true);
		sent += 20000;
		seq += 20000;
	}
	assert_true(netstack_flow_counts(r.flow).bytes_up < sent);
	for (unsigned turn = 0; got < sent; turn++) {
		assert_true(turn < 10000);
		n = read(far, b, sizeof(b));
		for (ssize_t i = 0; i < n; i++)
			assert_int_equal(b[i], mark(got++));
		rig_run(&r);
	}
	assert_int_equal(netstack_flow_counts(r.flow).bytes_up, sent);
	stop(far);
}

/* Early, overlapping, and then in order: nothing goes past what is missing. */
static void test_out_of_order(void **state)
{
	struct {
		size_t from, n;
	} parts[] = { { 20000, 10000 }, { 15000, 10000 }, { 0, 9000 }, { 5000, 12000 } };
	uint32_t base;
	int far;

	(void)state;
	rig_start(&r);
	establish(&far);
	base = seq;
	for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
		seq = base + (uint32_t)parts[i].from;
		make(TCP_ACK, parts[i].from, parts[i].n);
		input_split(heads(), 2000, true);
	}
	far_expect(far, 0, 30000);
	stop(far);
}

static void test_held_bytes_wait(void **state)
{
	int sv[2];

	(void)state;
	rig_start(&r);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, sv), 0);
	seq = 1000;
	ack = 0;
	make(TCP_SYN, 0, 0);
	rig_send(&r, &whole);
	netstack_flow_attach(r.flow, sv[0], true);
	rig_run(&r);
	assert_true(rig_recv(&r, &whole));
	seq++;
	ack = get_be32(whole.b + L2 + 20 + 4) + 1;
	make(TCP_ACK, 0, 0);
	rig_send(&r, &whole);
	make(TCP_ACK, 0, 20000);
	input_split(heads() + 100, 5000, true);
	assert_int_equal(r.got_len, 20000);
	assert_int_equal(read(sv[1], whole.b, 1), -1);
	netstack_flow_release(r.flow);
	rig_run(&r);
	far_expect(sv[1], 0, 20000);
	stop(sv[1]);
}

/* The far end has gone: the guest is reset, as if the bytes had gone through the queue. */
static void test_socket_broken(void **state)
{
	struct tcp_seg s = { 0 };
	int far;

	(void)state;
	rig_start(&r);
	establish(&far);
	close(far);
	make(TCP_ACK, 0, 20000);
	input_split(heads() + 100, 5000, true);
	assert_int_equal(r.ended, 1);
	assert_int_equal(r.how, NETSTACK_END_REMOTE_RESET);
	while (!(s.flags & TCP_RST)) {
		assert_true(rig_recv(&r, &whole));
		assert_int_equal(tcp_seg_parse(whole.b + L2 + 20, whole.len - L2 - 20, &s), 0);
	}
	stop(-1);
}

/* Everything but TCP behind a vouched checksum with its headers in private memory. */
static void test_what_may_not_come_that_way(void **state)
{
	static uint8_t p[3000];
	uint64_t bad = 0;
	int far;

	(void)state;
	rig_start(&r);
	establish(&far);
#define DROPPED(n, vouched)                                                                        \
	do {                                                                                       \
		input_split(n, 1000, vouched);                                                     \
		assert_int_equal(rig_stats(&r).dropped_malformed, ++bad);                          \
	} while (0)
	make(TCP_ACK, 0, 3000);
	DROPPED(heads() + 100, false); /* cannot be verified */
	DROPPED(heads() - 1, true);
	DROPPED(14 + 20, true);
	DROPPED(14 + 19, true);
	DROPPED(14, true);
	DROPPED(13, true);
	DROPPED(0, true);
	put_be16(whole.b + L2 + 6, 0x2000); /* a fragment */
	frame_ip4_sum(&whole);
	DROPPED(heads() + 100, true);
	frame_udp(&whole, &g4, 5000, &d4, 53, p, sizeof(p));
	DROPPED(100, true);
	frame_udp(&whole, &g6, 5000, &d6, 53, p, sizeof(p));
	DROPPED(100, true);
	frame_echo(&whole, &g4, &d4, 1, 1, p, sizeof(p));
	DROPPED(100, true);
	frame_echo(&whole, &g6, &d6, 1, 1, p, sizeof(p));
	DROPPED(100, true);
	/* A length beyond both parts. */
	make(TCP_ACK, 0, 3000);
	put_be16(whole.b + L2 + 2, 3041);
	frame_ip4_sum(&whole);
	DROPPED(heads() + 100, true);
	/* A tail that is padding altogether is no part of the packet. */
	make(TCP_ACK, 0, 10);
	whole.len += 500;
	input_split(heads() + 10, 100, false);
	assert_int_equal(rig_stats(&r).dropped_malformed, bad);
	far_expect(far, 0, 10);
	stop(far);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_payload_in_two_parts),
		cmocka_unit_test(test_no_ring_is_needed),
		cmocka_unit_test(test_socket_takes_a_part),
		cmocka_unit_test(test_out_of_order),
		cmocka_unit_test(test_held_bytes_wait),
		cmocka_unit_test(test_socket_broken),
		cmocka_unit_test(test_what_may_not_come_that_way),
	};

	g4 = ip4(10, 9, 0, 2);
	d4 = ip4(192, 0, 2, 1);
	g6 = addr("fd00:9::2");
	d6 = addr("2001:db8::1");
	return cmocka_run_group_tests_name("netstack/link_tail", tests, NULL, NULL);
}
