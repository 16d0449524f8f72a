/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TCP flows whose far end is a TCP socket: its receive queue is the send queue
 * (relay_source.c). On kernels without SO_PEEK_OFF for TCP the same tests run
 * over the ring, less what they say about the socket.
 */
#include "tcp_peer.h"

#include "netstack/netstack_limits.h"

#include <sys/ioctl.h>

static bool peeks; /* the kernel can */

/* Two ends of a TCP connection over loopback; ours does not block. */
static void tcp_pair(int sv[2])
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
	socklen_t n = sizeof(a);
	int l = socket(AF_INET, SOCK_STREAM, 0), off = -1;

	assert_true(l >= 0);
	assert_int_equal(bind(l, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(listen(l, 1), 0);
	assert_int_equal(getsockname(l, (struct sockaddr *)&a, &n), 0);
	sv[1] = socket(AF_INET, SOCK_STREAM, 0);
	assert_int_equal(connect(sv[1], (struct sockaddr *)&a, sizeof(a)), 0);
	sv[0] = accept4(l, NULL, NULL, SOCK_NONBLOCK);
	assert_true(sv[0] >= 0);
	peeks = setsockopt(sv[0], SOL_SOCKET, SO_PEEK_OFF, &off, sizeof(off)) == 0;
	close(l);
}

static void attached(struct peer *p, struct rig *r, int sv[2])
{
	tcp_pair(sv);
	peer_syn(p, r, 2000);
	netstack_flow_attach(r->flow, sv[0], false);
	rig_run(r);
	peer_establish(p);
}

static int queued(int fd)
{
	int n = -1;

	assert_int_equal(ioctl(fd, FIONREAD, &n), 0);
	return n;
}

/* Waits until the socket holds n bytes. */
static void until_queued(struct rig *r, int fd, int n)
{
	for (unsigned i = 0; i < 2000 && queued(fd) != n; i++)
		rig_run_ms(r, 5);
	assert_int_equal(queued(fd), n);
}

static void fill(uint8_t *b, size_t n)
{
	for (size_t i = 0; i < n; i++)
		b[i] = (uint8_t)(i * 13 + i / 251);
}

/* The next segment with payload, waiting for it. */
static void next_data(struct peer *p)
{
	for (unsigned i = 0; i < 2000; i++) {
		while (peer_recv(p))
			if (p->in.len)
				return;
		rig_run_ms(p->r, 5);
	}
	fail_msg("no data");
}

/* p2.3-memory, p9.4-23: bytes are the socket's until the guest has acknowledged them, sent again from there. */
static void test_stay_in_socket(void **state)
{
	static uint8_t b[40000];
	const uint32_t small = LIMIT_SMALL_READ;
	struct rig r;
	struct peer p;
	int sv[2];

	(void)state;
	fill(b, sizeof(b));
	rig_start(&r);
	attached(&p, &r, sv);
	assert_int_equal(write(sv[1], b, sizeof(b)), sizeof(b));
	/* What is read before anybody knows that much comes is in the ring. */
	next_data(&p);
	assert_int_equal(p.in.seq, p.ack);
	if (peeks) {
		assert_int_equal(p.in.len, small);
		assert_memory_equal(p.in.data, b, small);
		next_data(&p);
		assert_int_equal(p.in.seq, p.ack + small);
		assert_int_equal(p.in.len, sizeof(b) - small);
		assert_memory_equal(p.in.data, b + small, sizeof(b) - small);
		assert_int_equal(queued(sv[0]), sizeof(b) - small);
	}
	do { /* the retransmission timer */
		next_data(&p);
		assert_memory_equal(p.in.data, b + (p.in.seq - p.ack), p.in.len);
	} while (rig_stats(&r).retransmits < 2);
	p.ack += small + 5000;
	peer_send(&p, TCP_ACK, NULL, 0);
	p.ack += sizeof(b) - small - 5000;
	peer_send(&p, TCP_ACK, NULL, 0);
	until_queued(&r, sv[0], 0);
	peer_drain(&p);
	/* A little is never left in the socket. */
	assert_int_equal(write(sv[1], "x", 1), 1);
	next_data(&p);
	if (peeks)
		assert_int_equal(queued(sv[0]), 0);
	p.ack++;
	peer_send(&p, TCP_ACK, NULL, 0);
	assert_int_equal(netstack_flow_counts(r.flow).bytes_down, sizeof(b) + 1);
	/* Both ends close: the far end sees an end, not a reset, for nothing is left unread. */
	assert_int_equal(write(sv[1], b, 100), 100);
	assert_int_equal(shutdown(sv[1], SHUT_WR), 0);
	next_data(&p);
	while (!(p.in.flags & TCP_FIN)) {
		rig_run_ms(&r, 5);
		peer_drain(&p);
	}
	p.ack += 101;
	peer_send(&p, TCP_FIN | TCP_ACK, NULL, 0);
	rig_run_ms(&r, 20);
	assert_int_equal(r.how, NETSTACK_END_CLOSED);
	assert_int_equal(read(sv[1], b, sizeof(b)), 0);
	close(sv[1]);
	rig_stop(&r);
}

/* lesson-19: what had arrived before the far end's reset is the guest's; then it is reset, too. */
static void test_reset_behind_data(void **state)
{
	struct linger now = { .l_onoff = 1 };
	struct rig r;
	struct peer p;
	int sv[2];

	(void)state;
	rig_start(&r);
	attached(&p, &r, sv);
	assert_int_equal(write(sv[1], "last", 4), 4);
	next_data(&p);
	assert_int_equal(setsockopt(sv[1], SOL_SOCKET, SO_LINGER, &now, sizeof(now)), 0);
	close(sv[1]);
	rig_run_ms(&r, 20);
	assert_int_equal(r.ended, 0);
	p.ack = p.in.seq + 4;
	peer_send(&p, TCP_ACK, NULL, 0);
	rig_run_ms(&r, 20);
	expect_rst(&p);
	assert_int_equal(r.how, NETSTACK_END_REMOTE_RESET);
	assert_int_equal(r.counts.error, ECONNRESET);
	assert_int_equal(r.counts.bytes_down, 4);
	rig_stop(&r);
}

/* lesson-19: the guest's reset is one for the far end. */
static void test_guest_reset(void **state)
{
	char b[4];
	struct rig r;
	struct peer p;
	int sv[2];

	(void)state;
	rig_start(&r);
	attached(&p, &r, sv);
	assert_int_equal(write(sv[1], "unread", 6), 6);
	next_data(&p);
	peer_send(&p, TCP_RST | TCP_ACK, NULL, 0);
	assert_int_equal(r.how, NETSTACK_END_GUEST_RESET);
	assert_int_equal(read(sv[1], b, sizeof(b)), -1);
	assert_int_equal(errno, ECONNRESET);
	close(sv[1]);
	rig_stop(&r);
}

/* An urgent byte counts like any other, and does not hide what is behind it. */
static void test_urgent(void **state)
{
	uint8_t got[7];
	struct rig r;
	struct peer p;
	size_t n = 0;
	int sv[2];

	(void)state;
	rig_start(&r);
	attached(&p, &r, sv);
	assert_int_equal(send(sv[1], "a", 1, 0), 1); /* from here on the socket is set up */
	next_data(&p);
	got[n++] = p.in.data[0];
	p.ack = p.in.seq + 1;
	peer_send(&p, TCP_ACK, NULL, 0);
	assert_int_equal(send(sv[1], "bcU", 3, MSG_OOB), 3);
	assert_int_equal(send(sv[1], "def", 3, 0), 3);
	while (n < (peeks ? 7 : 6)) {
		next_data(&p);
		assert_int_equal(p.in.seq, p.ack);
		assert_true(n + p.in.len <= sizeof(got));
		memcpy(got + n, p.in.data, p.in.len);
		n += p.in.len;
		p.ack += (uint32_t)p.in.len;
		peer_send(&p, TCP_ACK, NULL, 0);
	}
	if (peeks)
		assert_memory_equal(got, "abcUdef", 7);
	netstack_flow_abort(r.flow);
	close(sv[1]);
	rig_stop(&r);
}

/* p2.3-stop, weak-25: a guest that stops reading stops the far end, and that is all it does. */
static void test_guest_stops(void **state)
{
	static uint8_t b[65536], got[32 << 20];
	size_t sent = 0, n = 0;
	struct rig r;
	struct peer p;
	ssize_t w;
	int sv[2];

	(void)state;
	rig_start(&r);
	attached(&p, &r, sv);
	assert_int_equal(fd_set_nonblock(sv[1], true), 0);
	fill(b, sizeof(b));
	do {
		w = write(sv[1], b, sizeof(b));
		sent += w > 0 ? (size_t)w : 0;
		rig_run_ms(&r, 2);
	} while (w == sizeof(b));
	assert_true(sent < sizeof(got));
	shutdown(sv[1], SHUT_WR);
	/* It reads again: every byte, in order, whatever was sent twice meanwhile. */
	while (n < sent) {
		next_data(&p);
		if (p.in.seq != p.ack || n + p.in.len > sent)
			continue;
		memcpy(got + n, p.in.data, p.in.len);
		n += p.in.len;
		p.ack += (uint32_t)p.in.len;
		peer_send(&p, TCP_ACK, NULL, 0);
	}
	for (n = 0; n < sent;) { /* writes may have been partial: a byte's place decides */
		size_t k = MIN(sizeof(b), sent - n);

		assert_memory_equal(got + n, b, k);
		n += k;
	}
	netstack_flow_abort(r.flow);
	close(sv[1]);
	rig_stop(&r);
}

/*
 * A far end with Nagle's algorithm, a header and then a body: the body waits for the host's
 * acknowledgement of the header, which must not wait for anything. Not even where the guest
 * has answered before, so that the host expects an answer to carry it.
 */
static void test_nagle(void **state)
{
	unsigned late = 0;
	uint64_t start;
	struct rig r;
	struct peer p;
	char b[64];
	int sv[2];

	(void)state;
	rig_start(&r);
	attached(&p, &r, sv);
	for (unsigned i = 0; i < 40; i++) {
		size_t n = 0;

		start = time_mono_ns();
		assert_int_equal(write(sv[1], "header", 6), 6);
		assert_int_equal(write(sv[1], "body", 4), 4);
		while (n < 10) {
			rig_run_ms(&r, 1);
			if (!peer_recv(&p) || !p.in.len || p.in.seq != p.ack)
				continue;
			n += p.in.len;
			p.ack += (uint32_t)p.in.len;
			peer_send(&p, TCP_ACK, NULL, 0);
		}
		late += time_mono_ns() - start > 30 * NS_PER_MS;
		peer_send(&p, TCP_ACK | TCP_PSH, "ask", 3);
		rig_run(&r);
		assert_int_equal(read(sv[1], b, sizeof(b)), 3);
	}
	if (late > 10)
		fail_msg("%u of 40 rounds took longer than 30 ms", late);
	netstack_flow_abort(r.flow);
	close(sv[1]);
	rig_stop(&r);
}

static uint32_t rng;

static uint32_t chance(uint32_t n)
{
	rng = rng * 1664525 + 1013904223;
	return (rng >> 8) % n;
}

/* The guest's link loses, repeats and delays; writes of any size: every byte arrives once. */
static void lossy_run(uint32_t seed, size_t total)
{
	static uint8_t b[1 << 20], got[1 << 20];
	size_t wrote = 0, n = 0;
	struct rig r;
	struct peer p;
	ssize_t w;
	int sv[2];

	rng = seed;
	fill(b, total);
	rig_start(&r);
	attached(&p, &r, sv);
	assert_int_equal(fd_set_nonblock(sv[1], true), 0);
	for (unsigned idle = 0; n < total && idle < 20000;) {
		if (wrote < total && chance(2)) {
			size_t k = 1 + chance(6000);

			w = write(sv[1], b + wrote, MIN(k, total - wrote));
			wrote += w > 0 ? (size_t)w : 0;
		}
		rig_run(&r);
		if (!peer_recv(&p)) {
			rig_run_ms(&r, 1);
			idle++;
			continue;
		}
		if (!p.in.len || chance(25) == 0) /* lost */
			continue;
		idle = 0;
		if ((int32_t)(p.in.seq - p.ack) <= 0 && (int32_t)(p.in.seq + p.in.len - p.ack) > 0) {
			size_t skip = p.ack - p.in.seq, k = p.in.len - skip;

			assert_true(n + k <= total);
			/* Or only the first bytes of it: an ACK within a super-segment. */
			if (k > 2000 && chance(30) == 0)
				k = 1 + chance((uint32_t)k - 1);
			memcpy(got + n, p.in.data + skip, k);
			n += k;
			p.ack += (uint32_t)k;
		}
		if (chance(10))
			peer_send(&p, TCP_ACK, NULL, 0);
	}
	if (n != total || memcmp(got, b, total) != 0)
		fail_msg("seed %u: %zu of %zu", seed, n, total);
	peer_send(&p, TCP_ACK, NULL, 0);
	until_queued(&r, sv[0], 0);
	netstack_flow_abort(r.flow);
	close(sv[1]);
	rig_stop(&r);
}

/* TCP_PEEK_SEEDS=N in the environment: that many seeds. */
static void test_lossy(void **state)
{
	const char *s = getenv("TCP_PEEK_SEEDS");
	uint32_t n = s ? (uint32_t)strtoul(s, NULL, 10) : 3;

	(void)state;
	for (uint32_t seed = 1; seed <= n; seed++)
		lossy_run(seed, 20000 + seed * 15485863 % 100000);
}

/* ---- wake-ups --------------------------------------------------------------- */

/* A guest that opens and closes its window, and acknowledges what it likes of what it has. */
struct reader {
	struct peer p;
	int fd;	       /* the far end */
	uint32_t edge; /* of the window, which never moves left */
	uint32_t have; /* next byte not received yet; p.ack: not acknowledged */
	uint64_t wrote, read;
};

static uint8_t stream_byte(uint64_t at)
{
	return (uint8_t)(at * 13 + at / 251);
}

static void reader_ack(struct reader *g, uint32_t window)
{
	uint32_t right = g->p.ack + window;

	if ((int32_t)(right - g->edge) > 0)
		g->edge = right;
	frame_window = (uint16_t)MIN(g->edge - g->p.ack, 65535u);
	peer_send(&g->p, TCP_ACK, NULL, 0);
	frame_window = 65535;
}

/* Everything that has come; bytes, their places and the window are checked. */
static void reader_take(struct reader *g)
{
	while (peer_recv(&g->p)) {
		uint32_t end = g->p.in.seq + (uint32_t)g->p.in.len, skip = g->have - g->p.in.seq;

		assert_false(g->p.in.flags & TCP_RST);
		assert_true((int32_t)(skip) >= 0 && (int32_t)(end - g->edge) <= 0);
		for (size_t i = skip; i < g->p.in.len; i++)
			assert_int_equal(g->p.in.data[i], stream_byte(g->read++));
		if ((int32_t)(end - g->have) > 0)
			g->have = end;
	}
}

static void far_write(struct reader *g)
{
	static uint8_t b[100000];
	size_t n = 1 + chance(chance(3) ? 300 : sizeof(b) - 1);
	ssize_t w;

	for (size_t i = 0; i < n; i++)
		b[i] = stream_byte(g->wrote + i);
	w = send(g->fd, b, n, chance(40) ? 0 : MSG_OOB);
	g->wrote += w > 0 ? (size_t)w : 0;
}

static void reader_step(struct reader *g, struct rig *r)
{
	static const uint32_t windows[] = { 0, 0, 1, 577, 1459, 1461, 4000, 30000, 65535 };

	switch (chance(4)) {
	case 0:
		far_write(g);
		break;
	case 1: /* of what it has, so much */
		g->p.ack += chance(3) ? g->have - g->p.ack : chance(g->have - g->p.ack + 1);
		reader_ack(g, windows[chance(ARRAY_SIZE(windows))]);
		break;
	case 2: /* the turns of the loop, one by one */
		for (uint32_t n = chance(4); n; n--)
			assert_int_equal(loop_step(r->loop, 0), 0);
		break;
	default:
		reader_take(g);
	}
}

/* It reads all there is: then all arrives, and nothing may stay in the socket. */
static void reader_settle(struct reader *g, struct rig *r, int fd, uint32_t seed)
{
	uint64_t since = time_mono_ns(), last = g->read;

	for (unsigned turn = 0;; turn++) {
		reader_take(g);
		if (g->p.ack != g->have || g->edge != g->have + 65535) {
			g->p.ack = g->have;
			reader_ack(g, 65535);
		}
		if (g->read == g->wrote && queued(fd) == 0)
			return;
		assert_int_equal(loop_step(r->loop, turn > 100), 0);
		if (g->read != last)
			since = time_mono_ns();
		last = g->read;
		if (time_mono_ns() - since > 5 * NS_PER_S)
			fail_msg("seed %u: stands still: written %llu, arrived %llu, in the socket "
				 "%d",
				 seed, (unsigned long long)g->wrote, (unsigned long long)g->read,
				 queued(fd));
	}
}

/* A connection that the far end resets with bytes of the guest's unread. */
static void reset_by_far_end(struct rig *r, uint16_t port)
{
	static uint8_t b[50000];
	struct peer p;
	int sv[2];

	tcp_pair(sv);
	peer_syn(&p, r, port);
	netstack_flow_attach(r->flow, sv[0], false);
	rig_run(r);
	peer_establish(&p);
	peer_send(&p, TCP_ACK | TCP_PSH, b, sizeof(b));
	assert_int_equal(send(sv[1], b, 1 + chance(sizeof(b) - 1), 0) > 0, 1);
	for (uint32_t n = chance(6); n; n--)
		assert_int_equal(loop_step(r->loop, 0), 0);
	close(sv[1]);
	for (uint32_t n = chance(6); n; n--)
		assert_int_equal(loop_step(r->loop, 0), 0);
	peer_send(&p, TCP_RST | TCP_ACK, NULL, 0);
	peer_drain(&p);
}

static void wakes_run(struct rig *r, uint32_t seed)
{
	struct reader g = { 0 };
	int sv[2];

	rng = seed;
	if (chance(2))
		reset_by_far_end(r, (uint16_t)(2000 + seed * 2 % 60000));
	tcp_pair(sv);
	assert_int_equal(fd_set_nonblock(sv[1], true), 0);
	g.fd = sv[1];
	if (chance(2))
		far_write(&g);
	peer_syn(&g.p, r, (uint16_t)(2001 + seed * 2 % 60000));
	netstack_flow_attach(r->flow, sv[0], false);
	rig_run(r);
	while (!peer_recv(&g.p) || g.p.in.dst_port != g.p.port)
		assert_int_equal(loop_step(r->loop, 1), 0);
	g.have = g.p.ack = g.p.in.seq + 1;
	g.edge = g.have + 65535;
	peer_send(&g.p, TCP_ACK, NULL, 0);
	for (unsigned round = 0; round < 12; round++) {
		for (uint32_t n = chance(40); n; n--)
			reader_step(&g, r);
		reader_settle(&g, r, sv[0], seed);
	}
	netstack_flow_abort(r->flow);
	close(sv[1]);
	rig_run(r);
	while (rig_recv(r, &g.p.f))
		;
}

/* weak-25: what lies in the socket is always fetched. TCP_PEEK_WAKES=N: that many connections. */
static void test_no_lost_wake(void **state)
{
	const char *s = getenv("TCP_PEEK_WAKES");
	uint32_t n = s ? (uint32_t)strtoul(s, NULL, 10) : 50;
	struct rig r;

	(void)state;
	rig_start(&r);
	for (uint32_t seed = 1; seed <= n; seed++)
		wakes_run(&r, seed);
	rig_stop(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_stay_in_socket), cmocka_unit_test(test_reset_behind_data),
		cmocka_unit_test(test_guest_reset),    cmocka_unit_test(test_urgent),
		cmocka_unit_test(test_guest_stops),    cmocka_unit_test(test_nagle),
		cmocka_unit_test(test_lossy),	       cmocka_unit_test(test_no_lost_wake),
	};

	signal(SIGPIPE, SIG_IGN);
	g4 = ip4(10, 9, 0, 2);
	d4 = ip4(93, 184, 216, 34);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
