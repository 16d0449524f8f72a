/* SPDX-License-Identifier: Apache-2.0 */
/* The stream link over real sockets: framing, refusals, guests that come and go, one that never reads. */
#include "frames.h"

#include <sys/un.h>

#define FRAME_MAX 69632 /* QEMU's bound, which is ours */

static struct rig r;
static struct ip_addr g4, d4;
static int theirs = -1; /* another descriptor of the stack's end */

/* What the stack has sent, put together again. */
static struct {
	uint8_t b[4 << 20];
	size_t len, off;
} in;

static void start(void)
{
	int sv[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, sv), 0);
	close(theirs);
	theirs = dup(sv[1]);
	rig_start_link(&r, NETSTACK_LINK_STREAM, sv[1], sv[0]);
	in.len = in.off = 0;
}

static void put_all(const uint8_t *p, size_t n)
{
	for (unsigned tries = 0; n; tries++) {
		ssize_t w = write(r.fd, p, n);

		if (w > 0) {
			p += w;
			n -= (size_t)w;
			tries = 0;
		}
		assert_true(w > 0 || errno == EAGAIN);
		assert_true(tries < 100);
		rig_run(&r);
	}
}

static size_t framed(uint8_t *dst, const struct frame *f)
{
	put_be32(dst, (uint32_t)(f->len - VNET));
	memcpy(dst + 4, f->b + VNET, f->len - VNET);
	return 4 + f->len - VNET;
}

static void put_frame(const struct frame *f)
{
	static uint8_t b[80000];

	put_all(b, framed(b, f));
	rig_run(&r);
}

/* True: there was something. */
static bool pull(void)
{
	ssize_t n;

	if (in.off == in.len)
		in.off = in.len = 0;
	assert_true(in.len < sizeof(in.b));
	n = read(r.fd, in.b + in.len, sizeof(in.b) - in.len);
	if (n > 0)
		in.len += (size_t)n;
	return n > 0;
}

/* The next whole frame, checked like the tap's; false: none yet. */
static bool get_frame(struct frame *f)
{
	size_t n;

	while (in.len - in.off < 4 || in.len - in.off < 4 + get_be32(in.b + in.off)) {
		rig_run(&r);
		if (!pull())
			return false;
	}
	n = get_be32(in.b + in.off);
	assert_true(n >= 14 && n <= 1514);
	memset(f->b, 0, VNET);
	memcpy(f->b + VNET, in.b + in.off + 4, n);
	f->len = VNET + n;
	in.off += 4 + n;
	assert_memory_equal(f->b + VNET + 6, mac_gw, 6);
	return true;
}

static void make_arp(struct frame *f, uint8_t mark)
{
	uint8_t *p = f->b + L2;

	frame_eth(f, 0x0806);
	memset(f->b + VNET, 0xff, 6);
	memcpy(p, "\0\1\x8\0\6\4\0\1", 8);
	memcpy(p + 8, mac_guest, 6);
	memcpy(p + 14, g4.b, 4);
	p[18] = mark; /* not looked at */
	memcpy(p + 24, r.cfg.gateway4.b, 4);
	f->len = L2 + 28;
}

static void expect_arp_reply(void)
{
	struct frame f;

	assert_true(get_frame(&f));
	assert_int_equal(f.len, L2 + 28);
	assert_int_equal(get_be16(f.b + VNET + 12), 0x0806);
	assert_int_equal(get_be16(f.b + L2 + 6), 2);
	assert_memory_equal(f.b + L2 + 14, r.cfg.gateway4.b, 4);
}

static void ask_and_answer(void)
{
	struct frame f;

	make_arp(&f, 0);
	put_frame(&f);
	expect_arp_reply();
}

/* ---- framing --------------------------------------------------------------- */

static void test_byte_by_byte(void **state)
{
	uint8_t b[200];
	struct frame f;
	size_t n;

	(void)state;
	start();
	make_arp(&f, 1);
	n = framed(b, &f);
	n += framed(b + n, &f);
	for (size_t i = 0; i < n; i++) {
		assert_int_equal(write(r.fd, b + i, 1), 1);
		rig_run(&r);
		assert_int_equal(rig_stats(&r).frames_in, (i + 1) / (n / 2));
	}
	expect_arp_reply();
	expect_arp_reply();
	assert_false(get_frame(&f));
	rig_stop(&r);
}

static void test_many_frames_in_one_write(void **state)
{
	static uint8_t b[4096 * 46];
	struct frame f;
	size_t n = 0;

	(void)state;
	start();
	make_arp(&f, 1);
	for (unsigned i = 0; i < 4096; i++)
		n += framed(b + n, &f);
	put_all(b, n);
	for (unsigned i = 0; i < 4096; i++)
		expect_arp_reply();
	assert_false(get_frame(&f));
	assert_int_equal(rig_stats(&r).frames_in, 4096);
	rig_stop(&r);
}

static void test_empty_and_largest_frame(void **state)
{
	static uint8_t b[4 + FRAME_MAX];

	(void)state;
	start();
	for (unsigned i = 0; i < 10; i++) {
		put_be32(b, 0);
		put_all(b, 4);
		assert_int_equal(rig_stats(&r).dropped_malformed, 2 * i + 1);
		put_be32(b, FRAME_MAX);
		put_all(b, sizeof(b));
		assert_int_equal(rig_stats(&r).dropped_malformed, 2 * i + 2);
	}
	ask_and_answer();
	assert_int_equal(r.downs, 0);
	rig_stop(&r);
}

static void test_too_long_ends_the_connection(void **state)
{
	static const uint32_t lens[] = { FRAME_MAX + 1, 1u << 20, 0x7fffffff, 0x80000000, 0xffffffff };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(lens); i++) {
		uint8_t b[8] = { 0 };

		start();
		ask_and_answer();
		put_be32(b, lens[i]);
		assert_int_equal(write(r.fd, b, sizeof(b)), sizeof(b));
		rig_run(&r);
		assert_int_equal(r.downs, 1);
		assert_true(r.down_last);
		/* Closed with our bytes unread or in order: over either way. */
		assert_true(read(r.fd, b, sizeof(b)) <= 0);
		assert_int_equal(rig_stats(&r).link_faults, 1);
		rig_run(&r);
		assert_int_equal(r.downs, 1);
		rig_stop(&r);
	}
}

static void test_peer_closes(void **state)
{
	struct frame f;
	uint8_t b[80];

	(void)state;
	start();
	ask_and_answer();
	/* Whole frames before the end count, half a one does not. */
	make_arp(&f, 0);
	assert_int_equal(write(r.fd, b, framed(b, &f)), L2 - VNET + 28 + 4);
	assert_int_equal(write(r.fd, b, 20), 20);
	close(r.fd);
	r.fd = -1;
	rig_run(&r);
	assert_int_equal(rig_stats(&r).frames_in, 2);
	assert_int_equal(r.downs, 1);
	assert_true(r.down_last);
	rig_stop(&r);
}

/*
 * A bulk upload in single frames, as QEMU writes them: reading may be put off
 * for a moment, but nothing is left lying, and an answer afterwards is prompt.
 */
static void test_frame_by_frame(void **state)
{
	static struct frame f;
	static uint8_t b[2000];
	unsigned sent = 0;
	uint64_t end;

	(void)state;
	start();
	frame_eth(&f, 0x88b5); /* a protocol nobody knows */
	f.len = L2 + 1486;
	for (unsigned round = 0; round < 50; round++) {
		for (unsigned i = 0; i < 40; i++) {
			size_t n = framed(b, &f);

			if (write(r.fd, b, n) == (ssize_t)n)
				sent++;
			assert_int_equal(loop_step(r.loop, 0), 0);
		}
		end = time_mono_ns() + 10 * NS_PER_S;
		while (rig_stats(&r).frames_in < sent && time_mono_ns() < end)
			assert_int_equal(loop_step(r.loop, 1), 0);
		assert_int_equal(rig_stats(&r).frames_in, sent);
	}
	assert_true(sent > 1000);
	make_arp(&f, 0);
	put_frame(&f);
	end = time_mono_ns() + 10 * NS_PER_S;
	while (rig_stats(&r).frames_in < sent + 1 && time_mono_ns() < end)
		assert_int_equal(loop_step(r.loop, 1), 0);
	expect_arp_reply();
	rig_stop(&r);
}

/* ---- flows over it --------------------------------------------------------- */

static uint32_t seq, ack;

static void tcp_send(uint8_t flags, const void *p, size_t n)
{
	static struct frame f;

	frame_tcp(&f, &g4, 2000, &d4, 443, flags, seq, ack, p, n);
	seq += (uint32_t)n + !!(flags & TCP_SYN);
	put_frame(&f);
}

static void tcp_get(struct tcp_seg *s)
{
	static struct frame f;

	assert_true(get_frame(&f));
	check_out(&f, &r);
	assert_int_equal(tcp_seg_parse(f.b + L2 + 20, f.len - L2 - 20, s), 0);
}

static void establish(int *ret_far)
{
	struct tcp_seg s;
	int sv[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, sv), 0);
	seq = 1000;
	ack = 0;
	tcp_send(TCP_SYN, NULL, 0);
	assert_non_null(r.flow);
	netstack_flow_attach(r.flow, sv[0], false);
	rig_run(&r);
	tcp_get(&s);
	assert_int_equal(s.flags, TCP_SYN | TCP_ACK);
	ack = s.seq + 1;
	tcp_send(TCP_ACK, NULL, 0);
	*ret_far = sv[1];
}

static uint8_t mark(size_t at)
{
	return (uint8_t)(at * 2654435761u >> 13);
}

static void far_expect(int far, size_t from, size_t n)
{
	while (n) {
		static uint8_t b[65536];
		ssize_t got = read(far, b, MIN(n, sizeof(b)));

		assert_true(got > 0);
		for (ssize_t i = 0; i < got; i++, from++)
			assert_int_equal(b[i], mark(from));
		n -= (size_t)got;
	}
}

static void test_super_frames_from_the_guest(void **state) /* link-offload, p9.4-23 */
{
	static uint8_t p[60000];
	struct tcp_seg s;
	int far;

	(void)state;
	start();
	establish(&far);
	for (size_t i = 0; i < sizeof(p); i++)
		p[i] = mark(i);
	tcp_send(TCP_ACK | TCP_PSH, p, sizeof(p));
	far_expect(far, 0, sizeof(p));
	tcp_get(&s);
	assert_int_equal(s.ack, seq);
	assert_int_equal(netstack_flow_counts(r.flow).bytes_up, sizeof(p));
	close(far);
	rig_stop(&r);
}

/* libkrun's guests leave checksums to a header that is never sent. */
static void test_unfinished_checksum(void **state) /* link-offload */
{
	static struct frame f;
	struct tcp_seg s;
	uint8_t *sum = f.b + L2 + 20 + 16;
	int far;

	(void)state;
	start();
	establish(&far);
	for (unsigned bad = 0; bad < 2; bad++) {
		frame_tcp(&f, &g4, 2000, &d4, 443, TCP_ACK, seq, ack, "abcd", 4);
		put_be16(sum, (uint16_t)(sum_pseudo(&g4, &d4, IPPROTO_TCP, 24) + bad));
		put_frame(&f);
		assert_int_equal(rig_stats(&r).dropped_malformed, bad);
	}
	rig_run_ms(&r, 10); /* the delayed ACK */
	tcp_get(&s);
	assert_int_equal(s.ack, seq + 4);
	close(far);
	rig_stop(&r);
}

/* 300,000 bytes in super-segments of 64 KiB: frames that fit the MTU, every checksum right. */
static void test_super_segments_are_cut(void **state)
{
	static uint8_t p[300000];
	struct tcp_seg s;
	size_t sent = 0, got = 0;
	int far;

	(void)state;
	start();
	establish(&far);
	for (size_t i = 0; i < sizeof(p); i++)
		p[i] = mark(i);
	for (unsigned idle = 0; got < sizeof(p); idle++) {
		ssize_t w = write(far, p + sent, sizeof(p) - sent);
		static struct frame f;

		assert_true(idle < 1000);
		sent += w > 0 ? (size_t)w : 0;
		rig_run(&r);
		while (get_frame(&f)) {
			check_out(&f, &r);
			assert_int_equal(tcp_seg_parse(f.b + L2 + 20, f.len - L2 - 20, &s), 0);
			assert_true(s.len <= 536); /* no MSS option: RFC 9293 3.7.1 */
			assert_int_equal(s.seq, ack);
			for (size_t i = 0; i < s.len; i++)
				assert_int_equal(s.data[i], mark(got + i));
			ack += (uint32_t)s.len;
			got += s.len;
			idle = s.len ? 0 : idle;
		}
		tcp_send(TCP_ACK, NULL, 0);
	}
	assert_int_equal(rig_stats(&r).retransmits, 0);
	close(far);
	rig_stop(&r);
}

/*
 * A guest that sends and never reads: what waits for it stays bounded, other
 * work goes on, and when it reads at last every frame is whole.
 */
static void test_guest_never_reads(void **state) /* link-full */
{
	static uint8_t blob[2000 * 46];
	struct frame f;
	size_t n = 0, replies = 0;
	uint64_t before;

	(void)state;
	start();
	make_arp(&f, 1);
	for (unsigned i = 0; i < 2000; i++)
		n += framed(blob + n, &f);
	for (unsigned i = 0; i < 40; i++)
		put_all(blob, n);
	assert_int_equal(rig_stats(&r).frames_in, 80000);
	before = rig_stats(&r).frames_out;
	assert_true(before < 80000);
	assert_int_equal(before + rig_stats(&r).dropped_link_full, 80000);
	while (get_frame(&f)) {
		assert_int_equal(f.len, L2 + 28);
		replies++;
	}
	assert_int_equal(replies, before);
	ask_and_answer();
	rig_stop(&r);
}

/* The same with a bulk flow in the middle of a super-segment: not a byte is lost or doubled. */
static void test_slow_reader_of_a_bulk_flow(void **state) /* link-full */
{
	static uint8_t p[1 << 20];
	size_t sent = 0, got = 0;
	struct tcp_seg s;
	static struct frame f;
	int far, small = 1;

	(void)state;
	start();
	establish(&far);
	/* The stack's end takes a part of a super-segment at a time: the kernel's least. */
	assert_int_equal(setsockopt(theirs, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)), 0);
	for (size_t i = 0; i < sizeof(p); i++)
		p[i] = mark(i);
	for (unsigned turn = 0; got < 200000; turn++) {
		ssize_t w = write(far, p + sent, sizeof(p) - sent);

		assert_true(turn < 20000);
		sent += w > 0 ? (size_t)w : 0;
		rig_run(&r);
		for (unsigned k = 0; k < 3 && get_frame(&f); k++) {
			assert_int_equal(tcp_seg_parse(f.b + L2 + 20, f.len - L2 - 20, &s), 0);
			assert_int_equal(s.seq, ack);
			for (size_t i = 0; i < s.len; i++)
				assert_int_equal(s.data[i], mark(got + i));
			ack += (uint32_t)s.len;
			got += s.len;
		}
		tcp_send(TCP_ACK, NULL, 0);
	}
	assert_int_equal(rig_stats(&r).retransmits, 0);
	close(far);
	rig_stop(&r);
}

/* ---- guests that come and go ------------------------------------------------- */

static struct sockaddr_un where;

static int connect_guest(void)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);

	assert_true(fd >= 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&where, sizeof(where)), 0);
	rig_run(&r);
	return fd;
}

static bool is_closed(int fd)
{
	uint8_t b;

	return recv(fd, &b, 1, MSG_DONTWAIT) == 0;
}

static void test_one_guest_after_the_other(void **state) /* link-restart */
{
	int fd = socket(AF_UNIX, SOCK_STREAM, 0), second, far;

	(void)state;
	assert_true(fd >= 0);
	where.sun_family = AF_UNIX;
	/* Abstract, and ours alone. */
	snprintf(where.sun_path + 1, sizeof(where.sun_path) - 1, "weir-test-link-%d", getpid());
	assert_int_equal(bind(fd, (struct sockaddr *)&where, sizeof(where)), 0);
	assert_int_equal(listen(fd, 8), 0);
	rig_start_link(&r, NETSTACK_LINK_STREAM, fd, -1);
	for (unsigned i = 0; i < 3; i++) {
		in.len = in.off = 0;
		r.fd = connect_guest();
		ask_and_answer();
		second = connect_guest();
		assert_true(is_closed(second));
		close(second);
		assert_false(is_closed(r.fd));
		establish(&far);
		assert_int_equal(r.begun, i + 1);
		assert_int_equal(r.ended, i);
		close(r.fd);
		rig_run(&r);
		assert_int_equal(r.ended, i + 1);
		assert_int_equal(r.how, NETSTACK_END_ABORTED);
		assert_int_equal(r.downs, i + 1);
		assert_false(r.down_last);
		close(far);
	}
	/* One that comes while the end of the one before is still behind its frames. */
	r.fd = connect_guest();
	for (unsigned i = 0; i < 200; i++)
		assert_int_equal(write(r.fd, "\0\0\0\1x", 5), 5);
	close(r.fd);
	in.len = in.off = 0;
	r.fd = connect_guest();
	assert_false(is_closed(r.fd));
	ask_and_answer();
	close(r.fd);
	rig_run(&r);
	/* Lost framing ends a guest, not the link. */
	r.fd = connect_guest();
	assert_int_equal(write(r.fd, "\xff\xff\xff\xff", 4), 4);
	rig_run(&r);
	assert_true(is_closed(r.fd));
	close(r.fd);
	assert_false(r.down_last);
	in.len = in.off = 0;
	r.fd = connect_guest();
	ask_and_answer();
	rig_stop(&r);
}

static void test_wrong_descriptor(void **state)
{
	struct netstack *ns;
	int sv[2];

	(void)state;
	start();
	assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM, 0, sv), 0);
	assert_int_equal(netstack_new(r.loop, NETSTACK_LINK_STREAM, sv[0], &r.cfg, &rig_ops, &r, &ns),
			 -EPROTOTYPE);
	assert_int_equal(
		netstack_new(r.loop, NETSTACK_LINK_STREAM, 1000000, &r.cfg, &rig_ops, &r, &ns),
		-EBADF);
	/* Not taken over: still open. */
	assert_int_equal(close(sv[0]), 0);
	close(sv[1]);
	rig_stop(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_byte_by_byte),
		cmocka_unit_test(test_many_frames_in_one_write),
		cmocka_unit_test(test_empty_and_largest_frame),
		cmocka_unit_test(test_too_long_ends_the_connection),
		cmocka_unit_test(test_peer_closes),
		cmocka_unit_test(test_frame_by_frame),
		cmocka_unit_test(test_super_frames_from_the_guest),
		cmocka_unit_test(test_unfinished_checksum),
		cmocka_unit_test(test_super_segments_are_cut),
		cmocka_unit_test(test_guest_never_reads),
		cmocka_unit_test(test_slow_reader_of_a_bulk_flow),
		cmocka_unit_test(test_one_guest_after_the_other),
		cmocka_unit_test(test_wrong_descriptor),
	};

	g4 = ip4(10, 9, 0, 2);
	d4 = ip4(192, 0, 2, 1);
	return cmocka_run_group_tests_name("netstack/link_stream", tests, NULL, NULL);
}
