/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Mappings: one host port for a guest port, whoever it talks to; batches and
 * segmentation offload both ways; errors and hop limits. Real sockets on loopback.
 */
#include "frames.h"

#include "netstack/netstack_internal.h"

#include <netinet/udp.h>

static struct ip_addr g4, g6, d4, d6, other4;

/* Who the remotes really are, by the port the guest calls. */
#define REMOTES 4
static int server[REMOTES];
static struct endpoint where[REMOTES];

static int open_server(struct endpoint *ret)
{
	struct sockaddr_storage ss = { 0 };
	struct sockaddr_in a = { .sin_family = AF_INET };
	socklen_t n = sizeof(a);
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0), on = 1;

	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	assert_int_equal(bind(fd, (struct sockaddr *)&a, n), 0);
	assert_int_equal(setsockopt(fd, IPPROTO_IP, IP_RECVTTL, &on, sizeof(on)), 0);
	n = sizeof(ss);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&ss, &n), 0);
	assert_int_equal(endpoint_from_sockaddr(&ss, ret), 0);
	return fd;
}

static int dial_to(const struct endpoint *to)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
	struct sockaddr_storage ss;
	socklen_t n = endpoint_to_sockaddr(to, &ss);

	assert_int_equal(connect(fd, (struct sockaddr *)&ss, n), 0);
	return fd;
}

/* The guest's remote port 53 + i is server i, whatever the address. */
static void attach_shared(struct rig *r, struct netstack_flow *f)
{
	const struct endpoint *to = &where[netstack_flow_tuple(f)->remote.port - 53];

	(void)r;
	netstack_flow_attach_shared(f, dial_to(to), to);
}

static void start(struct rig *r)
{
	rig_start(r);
	r->on_new = attach_shared;
	for (unsigned i = 0; i < REMOTES; i++)
		server[i] = open_server(&where[i]);
}

static void stop(struct rig *r)
{
	for (unsigned i = 0; i < REMOTES; i++)
		fd_close(server[i]);
	rig_stop(r);
}

/* The port that server i's next datagram comes from; 0: there is none. */
static struct sockaddr_in peer;
static uint16_t heard(unsigned i, const char *want)
{
	socklen_t n = sizeof(peer);
	char b[4000];
	ssize_t len = recvfrom(server[i], b, sizeof(b), 0, (struct sockaddr *)&peer, &n);

	if (len < 0)
		return 0;
	assert_int_equal(len, strlen(want));
	assert_memory_equal(b, want, (size_t)len);
	return ntohs(peer.sin_port);
}

static void say(unsigned i, const void *p, size_t len)
{
	assert_int_equal(sendto(server[i], p, len, 0, (struct sockaddr *)&peer, sizeof(peer)), len);
}

static void expect_from(struct rig *r, const struct ip_addr *src, uint16_t port, const char *text)
{
	struct frame f;
	bool four = src->family == 4;

	assert_true(rig_recv(r, &f));
	check_out(&f, r);
	assert_memory_equal(f.b + L2 + (four ? 12 : 8), src->b, ip_size(src));
	assert_int_equal(get_be16(f.b + l4_off(&f)), port);
	assert_int_equal(f.len - l4_off(&f) - 8, strlen(text));
	assert_memory_equal(f.b + l4_off(&f) + 8, text, strlen(text));
}

/* Parity: weak-27. STUN asks two servers which port they see, and gives that to a third. */
static void test_one_port_for_all(void **state)
{
	struct netstack_flow *first;
	struct rig r;
	struct frame f;
	uint16_t port;

	(void)state;
	start(&r);
	frame_udp(&f, &g4, 1000, &d4, 53, "one", 3);
	rig_send(&r, &f);
	first = r.flow;
	port = heard(0, "one");
	assert_true(port);
	frame_udp(&f, &g4, 1000, &d4, 54, "two", 3);
	rig_send(&r, &f);
	assert_int_equal(heard(1, "two"), port);
	/* the guest's IPv6 is another of its addresses */
	frame_udp(&f, &g6, 1000, &d6, 55, "six", 3);
	rig_send(&r, &f);
	assert_int_not_equal(heard(2, "six"), port);
	say(2, "for six", 7);
	rig_run(&r);
	expect_from(&r, &d6, 55, "for six");
	peer.sin_port = htons(port);
	say(1, "from two", 8);
	say(0, "from one", 8);
	rig_run(&r);
	expect_from(&r, &d4, 54, "from two");
	expect_from(&r, &d4, 53, "from one");
	/* who was not asked is not heard */
	say(3, "stranger", 8);
	rig_run(&r);
	assert_true(rig_silent(&r));
	assert_int_equal(r.refused, 1);
	assert_true(r.tuple.inbound);
	assert_int_equal(r.tuple.guest.port, 1000);
	assert_int_equal(r.tuple.remote.port, where[3].port);
	assert_int_equal(rig_stats(&r).dropped_unsolicited, 1);
	/* of the flows of a port each ends on its own; then its remote is a stranger again */
	netstack_flow_abort(first);
	say(0, "late", 4);
	say(1, "in time", 7);
	rig_run(&r);
	expect_from(&r, &d4, 54, "in time");
	assert_true(rig_silent(&r));
	assert_int_equal(r.refused, 2);
	assert_int_equal(rig_stats(&r).udp_flows, 2);
	stop(&r);
}

/* Two names, one server: each flow hears its own answers. */
static void test_one_real_address_twice(void **state)
{
	struct rig r;
	struct frame f;
	uint16_t port, second;

	(void)state;
	start(&r);
	frame_udp(&f, &g4, 1000, &d4, 53, "a", 1);
	rig_send(&r, &f);
	port = heard(0, "a");
	frame_udp(&f, &g4, 1000, &other4, 53, "b", 1);
	rig_send(&r, &f);
	second = heard(0, "b");
	assert_true(port && second && port != second);
	say(0, "to b", 4);
	rig_run(&r);
	expect_from(&r, &other4, 53, "to b");
	peer.sin_port = htons(port);
	say(0, "to a", 4);
	rig_run(&r);
	expect_from(&r, &d4, 53, "to a");
	stop(&r);
}

/* Frames of one wake go out together and in order, whatever their sizes and remotes. */
static void test_batch_up(void **state)
{
	char text[40][64];
	struct rig r;
	struct frame f;
	uint16_t port = 0;

	(void)state;
	start(&r);
	for (unsigned round = 0; round < 2; round++) {
		for (unsigned i = 0; i < 40; i++) {
			/* runs of equal size, a shorter one now and then, an empty one */
			int n = i == 20 ? 0
					: snprintf(text[i], 64, "%02u%.*s", i, (int)(i / 7 * 4),
						   "................................");

			text[i][n] = 0;
			frame_udp(&f, &g4, 1000, &d4, (uint16_t)(53 + (i > 30 ? i % 2 : 0)),
				  text[i], (size_t)n);
			rig_put(&r, &f);
		}
		rig_run(&r);
		for (unsigned i = 0; i < 40; i++) {
			uint16_t p = heard(i > 30 ? i % 2 : 0, text[i]);

			assert_true(p && (!port || p == port));
			port = p;
		}
	}
	assert_int_equal(r.begun, 2);
	assert_true(rig_silent(&r));
	netstack_flow_abort(r.flow);
	assert_int_equal(r.counts.packets_up, 10);
	stop(&r);
}

static struct netstack_flow *victim;

static void end_another(struct rig *r, struct netstack_flow *f)
{
	if (victim)
		netstack_flow_abort(victim);
	attach_shared(r, f);
}

/* A flow that ends in the middle of a batch has sent, and counted, what came before. */
static void test_end_in_a_batch(void **state)
{
	struct rig r;
	struct frame f;

	(void)state;
	start(&r);
	r.on_new = end_another;
	frame_udp(&f, &g4, 1000, &d4, 53, "first", 5);
	rig_send(&r, &f);
	assert_true(heard(0, "first"));
	victim = r.flow;
	frame_udp(&f, &g4, 1000, &d4, 53, "second", 6);
	rig_put(&r, &f);
	frame_udp(&f, &g4, 1000, &d4, 54, "another", 7);
	rig_put(&r, &f);
	rig_run(&r);
	victim = NULL;
	assert_int_equal(r.ended, 1);
	assert_int_equal(r.counts.packets_up, 2);
	assert_int_equal(r.counts.bytes_up, 11);
	assert_true(heard(0, "second"));
	assert_true(heard(1, "another"));
	stop(&r);
}

static void as_uso(struct frame *f, uint16_t size)
{
	f->b[0] = 1;
	f->b[1] = 5;
	f->b[4] = (uint8_t)size;
	f->b[5] = (uint8_t)(size >> 8);
}

static void test_offload_up(void **state)
{
	static char data[30000], got[2000];
	unsigned n = 0, bytes = 0;
	struct rig r;
	struct frame f;
	ssize_t len;

	(void)state;
	start(&r);
	for (unsigned i = 0; i < sizeof(data); i++)
		data[i] = (char)(i / 1000 + 'A');
	frame_udp(&f, &g4, 1000, &d4, 53, "x", 1);
	rig_send(&r, &f);
	assert_true(heard(0, "x"));
	frame_udp(&f, &g4, 1000, &d4, 53, data, 29500);
	as_uso(&f, 1000);
	rig_send(&r, &f);
	while ((len = recv(server[0], got, sizeof(got), 0)) >= 0) {
		assert_int_equal(len, n < 29 ? 1000 : 500);
		assert_memory_equal(got, data + bytes, (size_t)len);
		bytes += (unsigned)len;
		n++;
	}
	assert_int_equal(n, 30);
	netstack_flow_abort(r.flow);
	assert_int_equal(r.counts.packets_up, 31);
	assert_int_equal(r.counts.bytes_up, 29501);
	stop(&r);
}

/* What arrives together goes to the guest as frames that stand for several datagrams. */
static void test_offload_down(void **state)
{
	static char data[12 * 1200];
	unsigned datagrams = 0, frames = 0, large = 0;
	const size_t seg = 1200;
	int option = 1200;
	struct rig r;
	struct frame f;

	(void)state;
	start(&r);
	frame_udp(&f, &g4, 1000, &d4, 53, "x", 1);
	rig_send(&r, &f);
	assert_true(heard(0, "x"));
	for (unsigned i = 0; i < 12; i++)
		memset(data + i * seg, 'a' + (int)i, seg);
	assert_int_equal(setsockopt(server[0], IPPROTO_UDP, UDP_SEGMENT, &option, sizeof(option)), 0);
	/* first joined here, then, once the socket is known to be busy, by the kernel */
	for (unsigned round = 0; round < 2; round++) {
		for (unsigned i = 0; i < 5; i++)
			say(0, data, sizeof(data));
		rig_run(&r);
		while (rig_recv(&r, &f)) {
			size_t len = f.len - l4_off(&f) - 8;

			check_out(&f, &r);
			assert_int_equal(f.b[1], len > seg ? 5 : 0);
			if (len > seg)
				assert_int_equal(f.b[4] | f.b[5] << 8, seg);
			for (size_t at = 0; at < len; at += seg, datagrams++)
				assert_memory_equal(f.b + l4_off(&f) + 8 + at,
						    data + datagrams % 12 * seg, seg);
			frames++;
			large = MAX(large, (unsigned)(len / seg));
		}
		assert_int_equal(datagrams, 60 * (round + 1));
		assert_true(frames <= datagrams / 4 && large >= 8);
	}
	netstack_flow_abort(r.flow);
	assert_int_equal(r.counts.packets_down, 120);
	assert_int_equal(r.counts.bytes_down, 120 * 1200);
	stop(&r);
}

/* Larger than the guest's link: fragments, each datagram for itself. (n24) */
static void test_large_down(void **state)
{
	static char data[4000];
	struct rig r;
	struct frame f;
	unsigned n = 0;

	(void)state;
	start(&r);
	frame_udp(&f, &g4, 1000, &d4, 53, "x", 1);
	rig_send(&r, &f);
	assert_true(heard(0, "x"));
	for (unsigned i = 0; i < 4; i++)
		say(0, data, sizeof(data));
	rig_run(&r);
	while (rig_recv(&r, &f)) {
		assert_true(f.len <= L2 + 1500u);
		assert_int_equal(f.b[1], 0);
		n++;
	}
	assert_int_equal(n, 12);
	stop(&r);
}

/* A shared socket's error is told to the flow it is about, and to no other. (weak-28) */
static void test_error_finds_its_flow(void **state)
{
	struct rig r;
	struct frame f, g;
	uint16_t port;

	(void)state;
	start(&r);
	frame_udp(&f, &g4, 1000, &d4, 53, "x", 1);
	rig_send(&r, &f);
	port = heard(0, "x");
	close(server[1]);
	frame_udp(&f, &g4, 1000, &d4, 54, "nobody", 6);
	rig_send(&r, &f);
	rig_run_ms(&r, 20);
	assert_true(rig_recv(&r, &g));
	check_out(&g, &r);
	assert_int_equal(g.b[L2 + 20], 3);
	assert_int_equal(g.b[L2 + 21], 3);
	assert_memory_equal(g.b + L2 + 12, d4.b, 4); /* the remote's own word */
	assert_memory_equal(g.b + L2 + 28 + 12, f.b + L2 + 12, 8);
	assert_memory_equal(g.b + L2 + 48, f.b + L2 + 20, 4);
	assert_true(rig_silent(&r));
	server[1] = -1;
	/* the other one goes on, with the same port */
	frame_udp(&f, &g4, 1000, &d4, 53, "y", 1);
	rig_send(&r, &f);
	assert_int_equal(heard(0, "y"), port);
	assert_int_equal(r.ended, 0);
	stop(&r);
}

static void frame_unreachable(struct frame *f, const struct ip_addr *from, const struct ip_addr *to,
			      const uint8_t *quoted, size_t n)
{
	bool four = from->family == 4;
	uint8_t p[600] = { four ? 3 : 1, four ? 3 : 4 };

	memcpy(p + 8, quoted, n);
	l4_checksum(p, n + 8, 2, from, to, four ? IPPROTO_ICMP : IPPROTO_ICMPV6);
	frame_ip(f, from, to, four ? IPPROTO_ICMP : IPPROTO_ICMPV6, p, n + 8);
}

/* The guest's "nobody there": its flow ends, its host port closes. Anything else changes nothing. */
static void test_guest_refuses(void **state)
{
	struct rig r;
	struct frame f, g;

	(void)state;
	start(&r);
	for (int six = 0; six <= 1; six++) {
		const struct ip_addr *guest = six ? &g6 : &g4, *remote = six ? &d6 : &d4;

		frame_udp(&f, guest, 1000, remote, 53, "x", 1);
		rig_send(&r, &f);
		assert_true(heard(0, "x"));
		say(0, "answer", 6);
		rig_run(&r);
		assert_true(rig_recv(&r, &g));
		/* about a packet that never was; cut short; about the right one */
		frame_unreachable(&f, guest, remote, g.b + L2, g.len - L2);
		f.b[l4_off(&f) + 8 + (six ? 41 : 21)] ^= 1;
		l4_checksum(f.b + l4_off(&f), f.len - l4_off(&f), 2, guest, remote,
			    six ? IPPROTO_ICMPV6 : IPPROTO_ICMP);
		rig_send(&r, &f);
		frame_unreachable(&f, guest, remote, g.b + L2, six ? 43 : 23);
		rig_send(&r, &f);
		assert_int_equal(r.ended, six);
		frame_unreachable(&f, guest, remote, g.b + L2, g.len - L2);
		rig_send(&r, &f);
		assert_int_equal(r.ended, six + 1);
		assert_int_equal(r.how, NETSTACK_END_GUEST_RESET);
		/* and the remote hears it from the host's kernel */
		say(0, "more", 4);
		errno = 0;
		assert_true(recv(server[0], g.b, 10, 0) < 0);
	}
	assert_int_equal(rig_stats(&r).icmp_from_guest, 6);
	stop(&r);
}

/* Parity: weak-28. A hop limit that ends here is answered from here; others go on, less one. */
static void test_hop_limit(void **state)
{
	struct ip_addr gw = ip4(10, 9, 0, 1);
	union {
		char b[64];
		struct cmsghdr align;
	} ctl;
	char b[16];
	struct iovec iov = { b, sizeof(b) };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };
	struct rig r;
	struct frame f;

	(void)state;
	start(&r);
	frame_udp(&f, &g4, 1000, &d4, 53, "x", 1);
	f.b[L2 + 8] = 1;
	frame_ip4_sum(&f);
	rig_send(&r, &f);
	expect_icmp(&r, &f, 11, 0);
	frame_udp(&f, &g6, 1000, &d6, 53, "x", 1);
	f.b[L2 + 7] = 1;
	rig_send(&r, &f);
	expect_icmp(&r, &f, 3, 0);
	frame_tcp(&f, &g6, 1000, &d6, 80, 2, 1, 0, NULL, 0);
	f.b[L2 + 7] = 0;
	rig_send(&r, &f);
	expect_icmp(&r, &f, 3, 0);
	frame_echo(&f, &g4, &d4, 7, 1, "ping", 4);
	f.b[L2 + 8] = 1;
	frame_ip4_sum(&f);
	rig_send(&r, &f);
	expect_icmp(&r, &f, 11, 0);
	assert_int_equal(r.begun, 0);
	/* we are a host as well */
	frame_udp(&f, &g4, 1000, &gw, 53, "x", 1);
	f.b[L2 + 8] = 1;
	frame_ip4_sum(&f);
	rig_send(&r, &f);
	assert_int_equal(r.begun, 1);
	assert_true(heard(0, "x"));
	for (uint8_t hops = 2; hops < 5; hops++) {
		int ttl = 0;

		frame_udp(&f, &g4, 1000, &gw, 53, "y", 1);
		f.b[L2 + 8] = hops;
		frame_ip4_sum(&f);
		rig_send(&r, &f);
		m.msg_control = ctl.b;
		m.msg_controllen = sizeof(ctl.b);
		assert_int_equal(recvmsg(server[0], &m, 0), 1);
		for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c))
			if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_TTL)
				memcpy(&ttl, CMSG_DATA(c), sizeof(ttl));
		assert_int_equal(ttl, hops - 1);
	}
	stop(&r);
}

/* The first datagram of a published port waits until the guest has told its MAC. (lesson-17) */
static void test_first_datagram_waits(void **state)
{
	struct endpoint from = { ip4(192, 0, 2, 1), 4000 }, to = { ip4(10, 9, 0, 2), 80 };
	struct netstack_flow *fl;
	struct rig r;
	struct frame f;
	uint8_t *a = f.b + L2;

	(void)state;
	rig_start(&r);
	r.begun++;
	assert_int_equal(netstack_connect(r.ns, NETSTACK_UDP, &from, &to, -1, &r, &fl), 0);
	netstack_flow_send(fl, "older", 5);
	netstack_flow_send(fl, "newest", 6);
	assert_true(rig_recv(&r, &f)); /* who has the guest's address? */
	assert_int_equal(get_be16(f.b + VNET + 12), 0x0806);
	while (rig_recv(&r, &f))
		;
	frame_eth(&f, 0x0806);
	put_be16(a, 1);
	put_be16(a + 2, 0x0800);
	a[4] = 6;
	a[5] = 4;
	put_be16(a + 6, 2);
	memcpy(a + 8, mac_guest, 6);
	memcpy(a + 14, g4.b, 4);
	memcpy(a + 18, mac_gw, 6);
	memcpy(a + 24, r.cfg.gateway4.b, 4);
	f.len = L2 + 28;
	rig_send(&r, &f);
	expect_from(&r, &from.addr, 4000, "newest");
	assert_true(rig_silent(&r));
	netstack_flow_abort(fl);
	assert_int_equal(r.counts.packets_down, 1);
	rig_stop(&r);
}

static void test_lives(void **state)
{
	struct netstack_flow *query, *game, *f;
	struct rig r;
	struct frame fr;
	uint64_t now;

	(void)state;
	start(&r);
	r.on_new = NULL;
	frame_udp(&fr, &g4, 1000, &d4, 53, "q", 1);
	rig_send(&r, &fr);
	query = r.flow;
	frame_udp(&fr, &g4, 1000, &d4, 27015, "g", 1);
	rig_send(&r, &fr);
	game = r.flow;
	now = loop_now(r.loop);
	/* a question is soon over, RFC 4787 REQ-5 lets it; the rest has two minutes at least */
	assert_true(query->timer.when < now + 31 * NS_PER_S);
	assert_true(game->timer.when >= now + 120 * NS_PER_S);
	/* the table is full: of those nobody answered the oldest gives way, not a conversation */
	netstack_flow_local(query);
	netstack_flow_send(query, "a", 1);
	while (rig_recv(&r, &fr))
		;
	query->active_ns -= LIMIT_EVICT_UNANSWERED_NS;
	for (unsigned i = 0; i < 6; i++) {
		frame_udp(&fr, &g4, (uint16_t)(2000 + i), &d4, 53, "q", 1);
		rig_send(&r, &fr);
	}
	game->active_ns -= LIMIT_EVICT_UNANSWERED_NS;
	assert_int_equal(r.ended, 0);
	frame_udp(&fr, &g4, 3000, &d4, 53, "q", 1);
	rig_send(&r, &fr);
	assert_int_equal(r.ended, 1);
	assert_int_equal(r.begun, 9);
	assert_true(flow_live(query));
	f = r.flow;
	assert_int_equal(netstack_flow_tuple(f)->guest.port, 3000);
	stop(&r);
}

/* RFC 7915 4.2 and 5.2 (weak-28) */
static void test_translation(void **state)
{
	static const struct {
		uint8_t family, type, code;
		uint32_t info;
		uint8_t to_type, to_code;
		uint32_t to_info;
	} t[] = {
		{ 4, 3, 0, 0, 1, 0, 0 },       { 4, 3, 1, 0, 1, 0, 0 },
		{ 4, 3, 2, 0, 4, 1, 6 },       { 4, 3, 3, 0, 1, 4, 0 },
		{ 4, 3, 4, 1300, 2, 0, 1320 }, { 4, 3, 10, 0, 1, 1, 0 },
		{ 4, 3, 13, 0, 1, 1, 0 },      { 4, 11, 0, 9, 3, 0, 0 },
		{ 6, 1, 0, 0, 3, 1, 0 },       { 6, 1, 1, 0, 3, 10, 0 },
		{ 6, 1, 3, 0, 3, 1, 0 },       { 6, 1, 4, 0, 3, 3, 0 },
		{ 6, 2, 0, 1280, 3, 4, 1260 }, { 6, 3, 0, 0, 11, 0, 0 },
		{ 6, 4, 1, 6, 3, 2, 0 },
	};
	static const struct netstack_icmp none[] = {
		{ .from.family = 4, .type = 3, .code = 14 },
		{ .from.family = 4, .type = 12 },
		{ .from.family = 4, .type = 5 },
		{ .from.family = 4, .type = 11, .code = 2 },
		{ .from.family = 6, .type = 1, .code = 9 },
		{ .from.family = 6, .type = 4 },
		{ .from.family = 6, .type = 137 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
		struct netstack_icmp e = {
			.from = { t[i].family, { 1, 2, 3, 4 } },
			.type = t[i].type,
			.code = t[i].code,
			.info = t[i].info,
		};
		struct netstack_icmp same = e;

		assert_true(icmp_translate(t[i].family, &same));
		assert_int_equal(same.type, e.type);
		assert_int_equal(same.from.b[3], 4);
		assert_true(icmp_translate(t[i].family == 4 ? 6 : 4, &e));
		assert_int_equal(e.type, t[i].to_type);
		assert_int_equal(e.code, t[i].to_code);
		assert_int_equal(e.info, t[i].to_info);
		assert_int_equal(e.from.b[0], 0);
	}
	for (size_t i = 0; i < ARRAY_SIZE(none); i++) {
		struct netstack_icmp e = none[i];

		assert_false(icmp_translate(e.from.family == 4 ? 6 : 4, &e));
	}
}

static int setup(void **state)
{
	(void)state;
	g4 = ip4(10, 9, 0, 2);
	g6 = addr("fd00:9::2");
	d4 = ip4(192, 0, 2, 9);
	d6 = addr("2001:db8::9");
	other4 = ip4(192, 0, 2, 10);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_port_for_all),
		cmocka_unit_test(test_one_real_address_twice),
		cmocka_unit_test(test_batch_up),
		cmocka_unit_test(test_end_in_a_batch),
		cmocka_unit_test(test_offload_up),
		cmocka_unit_test(test_offload_down),
		cmocka_unit_test(test_large_down),
		cmocka_unit_test(test_error_finds_its_flow),
		cmocka_unit_test(test_guest_refuses),
		cmocka_unit_test(test_hop_limit),
		cmocka_unit_test(test_first_datagram_waits),
		cmocka_unit_test(test_lives),
		cmocka_unit_test(test_translation),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}
