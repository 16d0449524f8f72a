/* SPDX-License-Identifier: Apache-2.0 */
/* UDP and echo flows: decisions, relays, refusals, limits, idle ends. */
#include "frames.h"

#include "netstack/netstack_internal.h"

#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>

static struct ip_addr g4, g6, d4, d6;

static void refuse_it(struct rig *r, struct netstack_flow *f)
{
	netstack_flow_refuse(f, r->refusal);
}

static void go_local(struct rig *r, struct netstack_flow *f)
{
	(void)r;
	netstack_flow_local(f);
}

static void echo_back(struct rig *r, struct netstack_flow *f, const uint8_t *p, size_t len)
{
	(void)r;
	netstack_flow_send(f, p, len);
}

static void test_refusals(void **state)
{
	static const struct {
		enum netstack_refusal how;
		uint8_t code4, code6;
	} t[] = {
		{ NETSTACK_DENIED, 13, 1 }, { NETSTACK_NO_HOST, 1, 3 },
		{ NETSTACK_NO_NET, 0, 0 },  { NETSTACK_PORT_CLOSED, 3, 4 },
		{ NETSTACK_LIMIT, 13, 1 },
	};
	uint8_t data[2000] = { 1, 2, 3 };
	struct rig r;
	struct frame f;

	(void)state;
	rig_start(&r);
	r.on_new = refuse_it;
	for (unsigned i = 0; i < ARRAY_SIZE(t); i++) {
		r.refusal = t[i].how;
		frame_udp(&f, &g4, 1000, &d4, 53, data, 1400);
		rig_send(&r, &f);
		expect_icmp(&r, &f, 3, t[i].code4);
		frame_udp(&f, &g6, 1000, &d6, 53, data, 1400);
		rig_send(&r, &f);
		expect_icmp(&r, &f, 1, t[i].code6);
		frame_echo(&f, &g4, &d4, 77, 1, data, 40);
		rig_send(&r, &f);
		expect_icmp(&r, &f, 3, t[i].code4);
		frame_echo(&f, &g6, &d6, 77, 1, data, 40);
		rig_send(&r, &f);
		expect_icmp(&r, &f, 1, t[i].code6);
	}
	r.refusal = NETSTACK_SILENT;
	frame_udp(&f, &g4, 1000, &d4, 53, data, 5);
	rig_send(&r, &f);
	assert_true(rig_silent(&r));
	assert_int_equal(r.how, NETSTACK_END_REFUSED);
	assert_int_equal(r.begun, 21);
	assert_int_equal(r.ended, 21);
	rig_stop(&r);
}

static void test_malformed(void **state)
{
	struct rig r;
	struct frame f;
	uint8_t *u = f.b + L2 + 20;

	(void)state;
	rig_start(&r);
	frame_udp(&f, &g4, 1000, &d4, 53, "abcd", 4);
	put_be16(u + 4, 7);
	rig_send(&r, &f);
	put_be16(u + 4, 13);
	rig_send(&r, &f);
	frame_udp(&f, &g4, 1000, &d4, 53, "abcd", 4);
	u[6] ^= 1;
	rig_send(&r, &f);
	frame_udp(&f, &g4, 0, &d4, 53, "abcd", 4);
	rig_send(&r, &f);
	frame_udp(&f, &g4, 1000, &d4, 0, "abcd", 4);
	rig_send(&r, &f);
	assert_int_equal(rig_stats(&r).dropped_malformed, 5);
	assert_int_equal(r.begun, 0);
	/* vouched for by the link; or none at all: both fine */
	frame_udp(&f, &g4, 1000, &d4, 53, "abcd", 4);
	u[6] ^= 1;
	f.b[0] = 1;
	rig_send(&r, &f);
	assert_int_equal(r.begun, 1);
	frame_udp(&f, &g4, 1001, &d4, 53, "abcd", 4);
	put_be16(u + 6, 0);
	rig_send(&r, &f);
	assert_int_equal(r.begun, 2);
	assert_true(rig_silent(&r));
	rig_stop(&r);
}

/* What comes before the decision is kept, bounded, and delivered in order. */
static void test_pending(void **state)
{
	struct rig r;
	struct frame f;

	(void)state;
	rig_start(&r);
	for (unsigned i = 0; i < LIMIT_PENDING_PACKETS + 5; i++) {
		frame_udp(&f, &g4, 1000, &d4, 53, "abcdefghijklmnop", i);
		rig_send(&r, &f);
	}
	assert_int_equal(r.begun, 1);
	netstack_flow_local(r.flow);
	assert_int_equal(r.datagrams, LIMIT_PENDING_PACKETS);
	assert_int_equal(r.got_len, LIMIT_PENDING_PACKETS - 1);
	assert_true(rig_silent(&r));
	rig_stop(&r);
	assert_int_equal(r.how, NETSTACK_END_ABORTED);
}

static void test_local(void **state)
{
	struct rig r;
	struct frame f;

	(void)state;
	rig_start(&r);
	r.on_new = go_local;
	r.on_datagram = echo_back;
	for (int six = 0; six <= 1; six++) {
		frame_udp(&f, six ? &g6 : &g4, 1000, six ? &d6 : &d4, 53, "question", 8);
		rig_send(&r, &f);
		assert_true(rig_recv(&r, &f));
		check_out(&f, &r);
		assert_int_equal(get_be16(f.b + l4_off(&f)), 53);
		assert_int_equal(get_be16(f.b + l4_off(&f) + 2), 1000);
		assert_memory_equal(f.b + l4_off(&f) + 8, "question", 8);
		frame_udp(&f, six ? &g6 : &g4, 1000, six ? &d6 : &d4, 53, NULL, 0);
		rig_send(&r, &f);
		assert_int_equal(r.got_len, 0);
		assert_true(rig_recv(&r, &f));
		check_out(&f, &r);
		assert_int_equal(f.len, l4_off(&f) + 8);
		frame_echo(&f, six ? &g6 : &g4, six ? &d6 : &d4, 0xbeef, 42, "pingpong", 8);
		rig_send(&r, &f);
		assert_true(rig_recv(&r, &f));
		check_out(&f, &r);
		assert_int_equal(f.b[l4_off(&f)], six ? 129 : 0);
		assert_int_equal(get_be16(f.b + l4_off(&f) + 4), 0xbeef);
		assert_int_equal(get_be16(f.b + l4_off(&f) + 6), 42);
		assert_memory_equal(f.b + l4_off(&f) + 8, "pingpong", 8);
	}
	assert_int_equal(r.begun, 4);
	rig_stop(&r);
}

/* Segmentation offload: one frame, several datagrams; sizes that are not believable. */
static void test_uso(void **state)
{
	uint8_t data[2500];
	struct rig r;
	struct frame f;

	(void)state;
	rig_start(&r);
	r.on_new = go_local;
	memset(data, 'u', sizeof(data));
	frame_udp(&f, &g4, 1000, &d4, 53, data, 2500);
	f.b[1] = 5;
	f.b[4] = 1000 & 255;
	f.b[5] = 1000 >> 8;
	rig_send(&r, &f);
	assert_int_equal(r.datagrams, 3);
	assert_int_equal(r.got_len, 500);
	rig_send(&r, &f);
	assert_int_equal(r.datagrams, 6);
	f.b[4] = f.b[5] = 0;
	rig_send(&r, &f);
	f.b[4] = 1; /* 2,500 datagrams of one byte */
	rig_send(&r, &f);
	assert_int_equal(rig_stats(&r).dropped_malformed, 2);
	assert_int_equal(r.datagrams, 6);
	/* nonsense in the fields that are not looked at */
	memset(f.b + 2, 0xff, 10);
	f.b[1] = 0;
	rig_send(&r, &f);
	assert_int_equal(r.datagrams, 7);
	rig_stop(&r);
}

static void go_local_watched(struct rig *r, struct netstack_flow *f)
{
	netstack_flow_watch(f, true);
	go_local(r, f);
}

/* A datagram that begins with this is not let through, and one with the other ends the flow. */
static bool not_x(struct rig *r, struct netstack_flow *f, const uint8_t *p, size_t len)
{
	(void)r;
	if (len && p[0] == 'y')
		netstack_flow_abort(f);
	return !len || p[0] != 'x';
}

static void test_watched(void **state)
{
	uint8_t data[1500];
	struct rig r;
	struct frame f;

	(void)state;
	rig_start(&r);
	r.on_new = go_local_watched;
	r.on_passes = not_x;
	/* The first one, which waited for the decision, as those after it. */
	frame_udp(&f, &g4, 1000, &d4, 99, "xx", 2);
	rig_send(&r, &f);
	assert_int_equal(r.datagrams, 0);
	frame_udp(&f, &g4, 1000, &d4, 99, "ax", 2);
	rig_send(&r, &f);
	frame_udp(&f, &g4, 1000, &d4, 99, NULL, 0);
	rig_send(&r, &f);
	assert_int_equal(r.datagrams, 2);
	frame_udp(&f, &g4, 1000, &d4, 99, "xx", 2);
	rig_send(&r, &f);
	assert_int_equal(r.datagrams, 2);
	/* One frame of three: all are asked about, and they go together. */
	memset(data, 'a', sizeof(data));
	for (int bad = 0; bad <= 1; bad++) {
		data[1000] = bad ? 'x' : 'a';
		frame_udp(&f, &g4, 1000, &d4, 99, data, sizeof(data));
		f.b[1] = 5;
		f.b[4] = 500 & 255;
		f.b[5] = 500 >> 8;
		rig_send(&r, &f);
		assert_int_equal(r.datagrams, 5);
	}
	frame_udp(&f, &g4, 1000, &d4, 99, "y", 1);
	rig_send(&r, &f);
	assert_int_equal(r.datagrams, 5);
	assert_int_equal(r.ended, 1);
	assert_int_equal(r.counts.packets_up, 5);
	rig_stop(&r);
}

static int attach_fd;

static void attach_it(struct rig *r, struct netstack_flow *f)
{
	(void)r;
	netstack_flow_attach(f, attach_fd, false);
}

static int udp_pair(int *ret_other)
{
	struct sockaddr_in a = { .sin_family = AF_INET }, b = a;
	socklen_t n = sizeof(a);
	int x = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
	int y = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);

	a.sin_addr.s_addr = b.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	assert_int_equal(bind(x, (struct sockaddr *)&a, n), 0);
	assert_int_equal(bind(y, (struct sockaddr *)&b, n), 0);
	assert_int_equal(getsockname(x, (struct sockaddr *)&a, &n), 0);
	assert_int_equal(getsockname(y, (struct sockaddr *)&b, &n), 0);
	assert_int_equal(connect(x, (struct sockaddr *)&b, n), 0);
	assert_int_equal(connect(y, (struct sockaddr *)&a, n), 0);
	*ret_other = y;
	return x;
}

static void test_attached(void **state)
{
	char b[100];
	struct rig r;
	struct frame f;
	int other;

	(void)state;
	rig_start(&r);
	r.on_new = attach_it;
	attach_fd = udp_pair(&other);
	frame_udp(&f, &g4, 1000, &d4, 53, "one", 3);
	rig_send(&r, &f);
	frame_udp(&f, &g4, 1000, &d4, 53, NULL, 0);
	rig_send(&r, &f);
	assert_int_equal(recv(other, b, sizeof(b), 0), 3);
	assert_int_equal(recv(other, b, sizeof(b), 0), 0);
	assert_int_equal(send(other, "reply", 5, 0), 5);
	assert_int_equal(send(other, NULL, 0, 0), 0);
	rig_run(&r);
	assert_true(rig_recv(&r, &f));
	check_out(&f, &r);
	assert_memory_equal(f.b + l4_off(&f) + 8, "reply", 5);
	assert_true(rig_recv(&r, &f));
	assert_int_equal(f.len, l4_off(&f) + 8);
	/* the far end goes away: the guest is told, and the flow stays */
	close(other);
	frame_udp(&f, &g4, 1000, &d4, 53, "two", 3);
	rig_send(&r, &f);
	{
		struct frame g;

		assert_true(rig_recv(&r, &g));
		check_out(&g, &r);
		assert_int_equal(g.b[L2 + 20], 3);
		assert_int_equal(g.b[L2 + 21], 3);
		assert_memory_equal(g.b + L2 + 28 + 12, f.b + L2 + 12, 8); /* addresses */
		assert_memory_equal(g.b + L2 + 48, f.b + L2 + 20, 4);	   /* ports */
	}
	assert_int_equal(r.ended, 0);
	netstack_flow_abort(r.flow);
	assert_int_equal(r.counts.bytes_up, 6);
	assert_int_equal(r.counts.packets_up, 3);
	assert_int_equal(r.counts.bytes_down, 5);
	assert_int_equal(r.counts.packets_down, 2);
	assert_int_equal(r.counts.error, ECONNREFUSED);
	rig_stop(&r);
}

static bool own_namespace;

/* In a namespace of our own ping sockets can be allowed; the last tests, because they stay there. */
static int ping_socket(void)
{
	struct ifreq lo = { .ifr_name = "lo", .ifr_flags = IFF_UP };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, IPPROTO_ICMP), s, sys;

	if (fd >= 0 || unshare(CLONE_NEWNET) < 0)
		return fd;
	own_namespace = true;
	s = socket(AF_INET, SOCK_DGRAM, 0);
	sys = open("/proc/sys/net/ipv4/ping_group_range", O_WRONLY);
	if (s >= 0 && sys >= 0 && ioctl(s, SIOCSIFFLAGS, &lo) == 0 && write(sys, "0 0", 3) == 3)
		fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, IPPROTO_ICMP);
	fd_close(s);
	fd_close(sys);
	return fd;
}

/* A ping socket: its identifier is the kernel's, the guest sees its own. (p1.8-echo) (n23) */
static void test_ping_socket(void **state)
{
	struct sockaddr_in to = { .sin_family = AF_INET };
	struct rig r;
	struct frame f;

	(void)state;
	to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	attach_fd = ping_socket();
	if (attach_fd < 0) {
		print_message("skipped: no right to open a ping socket\n");
		skip();
	}
	assert_int_equal(connect(attach_fd, (struct sockaddr *)&to, sizeof(to)), 0);
	rig_start(&r);
	r.on_new = attach_it;
	for (int six = 0; six <= 1; six++) {
		frame_echo(&f, six ? &g6 : &g4, six ? &d6 : &d4, 0xbeef, 42, "pingpong", 8);
		rig_send(&r, &f);
		rig_run_ms(&r, 20);
		assert_true(rig_recv(&r, &f));
		check_out(&f, &r);
		assert_int_equal(f.b[l4_off(&f)], six ? 129 : 0);
		assert_int_equal(get_be16(f.b + l4_off(&f) + 4), 0xbeef);
		assert_int_equal(get_be16(f.b + l4_off(&f) + 6), 42);
		assert_memory_equal(f.b + l4_off(&f) + 8, "pingpong", 8);
		if (!six) { /* the same socket behind an IPv6 flow: translated names do that */
			attach_fd = dup(attach_fd);
			netstack_flow_abort(r.flow);
			assert_int_equal(r.counts.bytes_up, 8);
			assert_int_equal(r.counts.bytes_down, 8);
		}
	}
	rig_stop(&r);
}

/* Of an IPv4 packet in a frame: its sender forbids fragments. */
static void set_df(struct frame *f)
{
	struct csum c = { 0 };
	uint8_t *p = f->b + L2;

	put_be16(p + 6, 0x4000);
	put_be16(p + 10, 0);
	csum_feed(&c, p, 20);
	csum_store(&c, p + 10);
}

/* The path of the attached socket is narrower: the guest learns by how much. (lesson-17) (n24) */
static void test_too_big(void **state)
{
	struct ifreq lo = { .ifr_name = "lo", .ifr_mtu = 1300 };
	static uint8_t data[1400];
	int other, s;
	struct rig r;
	struct frame f;

	(void)state;
	fd_close(ping_socket());
	s = socket(AF_INET, SOCK_DGRAM, 0);
	if (s < 0 || !own_namespace || ioctl(s, SIOCSIFMTU, &lo) < 0) {
		fd_close(s);
		print_message("skipped: no namespace of our own\n");
		skip();
	}
	close(s);
	rig_start(&r);
	r.on_new = attach_it;
	for (int six = 0; six <= 1; six++) {
		attach_fd = udp_pair(&other);
		frame_udp(&f, six ? &g6 : &g4, 1000, six ? &d6 : &d4, 53, data, sizeof(data));
		if (!six)
			set_df(&f);
		rig_send(&r, &f);
		assert_true(rig_recv(&r, &f));
		check_out(&f, &r);
		assert_int_equal(f.b[l4_off(&f)], six ? 2 : 3);
		assert_int_equal(f.b[l4_off(&f) + 1], six ? 0 : 4);
		assert_int_equal(get_be32(f.b + l4_off(&f) + 4), six ? 1320 : 1300);
		while (rig_recv(&r, &f))
			;
		/* what fits goes through, and what may be fragmented */
		if (!six) {
			frame_udp(&f, &g4, 1000, &d4, 53, data, sizeof(data));
			rig_send(&r, &f);
			assert_int_equal(recv(other, data, sizeof(data), 0), sizeof(data));
		}
		frame_udp(&f, six ? &g6 : &g4, 1000, six ? &d6 : &d4, 53, data, 1200);
		rig_send(&r, &f);
		assert_int_equal(recv(other, data, sizeof(data), 0), 1200);
		assert_true(rig_silent(&r));
		close(other);
	}
	rig_stop(&r);
}

static void test_limit(void **state)
{
	struct netstack_flow *first = NULL;
	struct rig r;
	struct frame f;

	(void)state;
	rig_start(&r);
	for (unsigned i = 0; i < 12; i++) {
		frame_udp(&f, &g4, (uint16_t)(1000 + i), &d4, 53, "full", 4);
		rig_send(&r, &f);
		if (i == 0)
			first = r.flow;
		if (i >= 8)
			expect_icmp(&r, &f, 3, 13);
	}
	assert_int_equal(r.begun, 8);
	assert_int_equal(r.refused, 4);
	assert_int_equal(r.refusal, NETSTACK_LIMIT);
	assert_int_equal(r.tuple.guest.port, 1011);
	assert_int_equal(rig_stats(&r).refused_limit, 4);
	/* one that was idle for long gives way; the one that spoke last would not */
	first->active_ns -= LIMIT_EVICT_NS;
	frame_udp(&f, &g4, 1012, &d4, 53, "room", 4);
	rig_send(&r, &f);
	assert_int_equal(r.begun, 9);
	assert_int_equal(r.ended, 1);
	assert_int_equal(r.how, NETSTACK_END_TIMEOUT);
	/* echo has a table of its own; an ended flow makes room */
	frame_echo(&f, &g4, &d4, 1, 1, "x", 1);
	rig_send(&r, &f);
	assert_int_equal(r.begun, 10);
	netstack_flow_abort(r.flow);
	rig_stop(&r);
}

static void test_idle(void **state)
{
	struct netstack_flow *fl;
	struct endpoint from = { ip4(192, 0, 2, 1), 4000 }, to = { ip4(10, 9, 0, 2), 80 };
	struct rig r;
	struct frame f;

	(void)state;
	rig_start(&r);
	netstack_free(r.ns);
	close(r.fd);
	{ /* again with a short timeout */
		int sv[2];

		r.frames_in = r.frames_out = r.bytes = 0;
		r.cfg.udp_timeout_s = 1;
		assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, sv), 0);
		assert_int_equal(
			netstack_new(r.loop, NETSTACK_LINK_TAP, sv[1], &r.cfg, &rig_ops, &r, &r.ns),
			0);
		r.fd = sv[0];
	}
	r.on_new = go_local;
	frame_udp(&f, &g4, 1000, &d4, 53, "x", 1);
	rig_send(&r, &f);
	rig_run_ms(&r, 700);
	netstack_flow_send(r.flow, "y", 1); /* the other direction refreshes it, too */
	rig_run_ms(&r, 700);
	assert_int_equal(r.ended, 0);
	rig_run_ms(&r, 500);
	assert_int_equal(r.ended, 1);
	assert_int_equal(r.how, NETSTACK_END_TIMEOUT);
	assert_int_equal(r.counts.bytes_down, 1);
	/* a published UDP port */
	r.begun++;
	assert_int_equal(netstack_connect(r.ns, NETSTACK_UDP, &from, &to, -1, &r, &fl), 0);
	assert_ptr_equal(netstack_flow_user(fl), &r);
	assert_true(netstack_flow_tuple(fl)->inbound);
	assert_int_equal(netstack_connect(r.ns, NETSTACK_UDP, &from, &to, -1, &r, &fl), -EADDRINUSE);
	while (rig_recv(&r, &f))
		;
	netstack_flow_send(fl, "in", 2);
	assert_true(rig_recv(&r, &f));
	check_out(&f, &r);
	assert_int_equal(get_be16(f.b + l4_off(&f) + 2), 80);
	frame_udp(&f, &to.addr, 80, &from.addr, 4000, "out", 3);
	rig_send(&r, &f);
	assert_int_equal(r.got_len, 3);
	assert_int_equal(r.begun, 2);
	rig_stop(&r);
}

/* A flood of refusals is answered at a bounded rate. */
static void test_rate(void **state)
{
	struct rig r;
	struct frame f;
	unsigned n = 0;

	(void)state;
	rig_start(&r);
	r.on_new = refuse_it;
	r.refusal = NETSTACK_DENIED;
	for (unsigned i = 0; i < 3000; i++) {
		frame_udp(&f, &g4, 1000, &d4, 53, "x", 1);
		rig_put(&r, &f);
		assert_int_equal(loop_step(r.loop, 0), 0);
		n += rig_recv(&r, &f);
	}
	rig_run(&r);
	while (rig_recv(&r, &f))
		n++;
	assert_true(n >= LIMIT_ICMP_BURST && n < 2900);
	assert_int_equal(r.ended, 3000);
	rig_stop(&r);
}

/* Errors and replies from the guest start nothing and are not answered. (p1.8-others) */
static void test_icmp_ignored(void **state)
{
	static const uint8_t types4[] = { 0, 3, 4, 5, 11, 12 }, types6[] = { 1, 2, 3, 4, 129 };
	struct rig r;
	struct frame f;

	(void)state;
	rig_start(&r);
	for (unsigned i = 0; i < sizeof(types4); i++) {
		frame_echo(&f, &g4, &d4, 1, 1, "abcdefgh", 8);
		f.b[L2 + 20] = types4[i];
		l4_checksum(f.b + L2 + 20, 16, 2, &g4, &d4, IPPROTO_ICMP);
		rig_send(&r, &f);
	}
	for (unsigned i = 0; i < sizeof(types6); i++) {
		frame_echo(&f, &g6, &d6, 1, 1, "abcdefgh", 8);
		f.b[L2 + 40] = types6[i];
		l4_checksum(f.b + L2 + 40, 16, 2, &g6, &d6, IPPROTO_ICMPV6);
		rig_send(&r, &f);
	}
	assert_int_equal(r.begun, 0);
	assert_int_equal(r.refused, 0);
	/* a timestamp question is refused, on the record, without an answer */
	frame_echo(&f, &g4, &d4, 1, 1, "abcdefghabcd", 12);
	f.b[L2 + 20] = 13;
	l4_checksum(f.b + L2 + 20, 20, 2, &g4, &d4, IPPROTO_ICMP);
	rig_send(&r, &f);
	assert_int_equal(r.refused, 1);
	/* wrong checksum */
	frame_echo(&f, &g4, &d4, 1, 1, "abcdefgh", 8);
	f.b[L2 + 22] ^= 1;
	rig_send(&r, &f);
	assert_int_equal(rig_stats(&r).dropped_malformed, 1);
	assert_int_equal(r.begun, 0);
	assert_true(rig_silent(&r));
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
		cmocka_unit_test(test_refusals),     cmocka_unit_test(test_malformed),
		cmocka_unit_test(test_pending),	     cmocka_unit_test(test_local),
		cmocka_unit_test(test_watched),	     cmocka_unit_test(test_uso),
		cmocka_unit_test(test_attached),     cmocka_unit_test(test_limit),
		cmocka_unit_test(test_idle),	     cmocka_unit_test(test_rate),
		cmocka_unit_test(test_icmp_ignored), cmocka_unit_test(test_ping_socket),
		cmocka_unit_test(test_too_big),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}
