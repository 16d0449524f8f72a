/* SPDX-License-Identifier: Apache-2.0 */
/* TCP flows from the owner's side: decisions, holding, relaying, every kind of end. */
#include "tcp_peer.h"

static void pair(int sv[2])
{
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, sv), 0);
}

/* An attached, established flow; sv[1] is the far end. */
static void attached(struct peer *p, struct rig *r, int sv[2], bool hold)
{
	pair(sv);
	peer_syn(p, r, 2000);
	netstack_flow_attach(r->flow, sv[0], hold);
	rig_run(r);
	peer_establish(p);
}

/* ---- decisions --------------------------------------------------------- */

static void refuse_it(struct rig *r, struct netstack_flow *f)
{
	netstack_flow_refuse(f, r->refusal);
}

static void test_refusals(void **state)
{
	static const enum netstack_refusal rst[] = { NETSTACK_DENIED, NETSTACK_PORT_CLOSED,
						     NETSTACK_LIMIT };
	struct rig r;
	struct peer p;
	struct frame f;

	(void)state;
	rig_start(&r);
	r.on_new = refuse_it;
	for (unsigned i = 0; i < ARRAY_SIZE(rst); i++) {
		r.refusal = rst[i];
		peer_syn(&p, &r, 2000);
		assert_true(peer_recv(&p));
		assert_int_equal(p.in.flags, TCP_RST | TCP_ACK);
		assert_int_equal(p.in.ack, 1001);
		assert_int_equal(p.in.seq, 0);
		assert_true(rig_silent(&r));
	}
	assert_int_equal(r.how, NETSTACK_END_LIMIT);
	r.refusal = NETSTACK_SILENT;
	peer_syn(&p, &r, 2000);
	assert_true(rig_silent(&r));
	assert_int_equal(r.how, NETSTACK_END_REFUSED);
	frame_tcp(&f, &g4, 2000, &d4, 443, TCP_SYN, 1000, 0, NULL, 0);
	r.refusal = NETSTACK_NO_HOST;
	rig_send(&r, &f);
	expect_icmp(&r, &f, 3, 1);
	r.refusal = NETSTACK_NO_NET;
	rig_send(&r, &f);
	expect_icmp(&r, &f, 3, 0);
	assert_int_equal(r.begun, 6);
	rig_stop(&r);
}

/* Decided later: a repeated SYN opens nothing, a newer one is the one refused. */
static void test_late_decision(void **state)
{
	struct rig r;
	struct peer p;

	(void)state;
	rig_start(&r);
	peer_syn(&p, &r, 2000);
	peer_syn(&p, &r, 2000);
	assert_int_equal(r.begun, 1);
	assert_true(rig_silent(&r));
	p.seq = 5000;
	peer_send(&p, TCP_SYN, NULL, 0);
	assert_int_equal(r.begun, 1);
	netstack_flow_refuse(r.flow, NETSTACK_PORT_CLOSED);
	assert_true(peer_recv(&p));
	assert_int_equal(p.in.ack, 5001);
	/* the guest gives up first */
	peer_syn(&p, &r, 2001);
	peer_send(&p, TCP_RST, NULL, 0);
	assert_int_equal(r.begun, 2);
	assert_int_equal(r.ended, 2);
	assert_int_equal(r.how, NETSTACK_END_GUEST_RESET);
	rig_stop(&r);
}

static void test_unknown_segments(void **state)
{
	struct rig r;
	struct peer p = { .r = &r, .port = 2000, .seq = 7, .ack = 9 };

	(void)state;
	rig_start(&r);
	peer_send(&p, TCP_ACK, "data", 4);
	assert_true(peer_recv(&p));
	assert_int_equal(p.in.flags, TCP_RST);
	assert_int_equal(p.in.seq, 9);
	peer_send(&p, TCP_RST, NULL, 0);
	assert_true(rig_silent(&r));
	assert_int_equal(r.begun, 0);
	rig_stop(&r);
}

static void test_limit(void **state)
{
	struct rig r;
	struct peer p;

	(void)state;
	rig_start(&r);
	for (uint16_t i = 0; i < 10; i++) {
		peer_syn(&p, &r, (uint16_t)(2000 + i));
		assert_int_equal(peer_recv(&p), i >= 8);
	}
	assert_int_equal(p.in.flags, TCP_RST | TCP_ACK);
	assert_int_equal(r.begun, 8);
	assert_int_equal(r.refused, 2);
	assert_int_equal(r.refusal, NETSTACK_LIMIT);
	assert_int_equal(rig_stats(&r).tcp_flows, 8);
	rig_stop(&r);
	assert_int_equal(r.ended, 8);
}

/* ---- relay ------------------------------------------------------------- */

/* lesson-18: half closes pass, both ways, and nothing stays behind. */
static void test_both_ways(void **state)
{
	uint8_t b[9000], c[9000];
	struct rig r;
	struct peer p;
	int sv[2];

	(void)state;
	rig_start(&r);
	attached(&p, &r, sv, false);
	peer_send(&p, TCP_ACK | TCP_PSH, "question", 8);
	assert_int_equal(read(sv[1], b, sizeof(b)), 8);
	for (size_t i = 0; i < sizeof(b); i++)
		b[i] = (uint8_t)(i * 13);
	assert_int_equal(write(sv[1], b, sizeof(b)), sizeof(b));
	rig_run(&r);
	peer_read(&p, c, sizeof(c));
	assert_memory_equal(b, c, sizeof(b));
	/* half close by the guest, the answer still comes, then the far end closes */
	peer_send(&p, TCP_FIN | TCP_ACK, NULL, 0);
	assert_int_equal(read(sv[1], b, sizeof(b)), 0);
	assert_int_equal(r.ended, 0);
	assert_int_equal(write(sv[1], "late", 4), 4);
	close(sv[1]);
	rig_run(&r);
	peer_read(&p, c, 4);
	assert_memory_equal(c, "late", 4);
	assert_int_equal(r.ended, 1);
	assert_int_equal(r.how, NETSTACK_END_CLOSED);
	assert_int_equal(r.counts.bytes_up, 8);
	assert_int_equal(r.counts.bytes_down, 9004);
	rig_stop(&r);
}

/* The far end closes first; the guest goes on sending; TIME-WAIT is not the owner's affair. */
static void test_remote_half_close(void **state)
{
	char b[100];
	struct rig r;
	struct peer p;
	int sv[2];

	(void)state;
	rig_start(&r);
	attached(&p, &r, sv, false);
	assert_int_equal(shutdown(sv[1], SHUT_WR), 0);
	rig_run(&r);
	expect_fin(&p);
	for (unsigned i = 0; i < 3; i++) {
		peer_send(&p, TCP_ACK, "more", 4);
		assert_int_equal(read(sv[1], b, sizeof(b)), 4);
	}
	peer_drain(&p);
	peer_send(&p, TCP_FIN | TCP_ACK, NULL, 0);
	assert_int_equal(read(sv[1], b, sizeof(b)), 0);
	assert_int_equal(r.ended, 1);
	assert_int_equal(r.how, NETSTACK_END_CLOSED);
	assert_int_equal(r.counts.bytes_up, 12);
	assert_int_equal(rig_stats(&r).tcp_flows, 0);
	/* the guest's FIN again is acknowledged, not refused: the engine is still there */
	peer_drain(&p);
	p.seq--;
	peer_send(&p, TCP_FIN | TCP_ACK, NULL, 0);
	assert_true(peer_recv(&p));
	assert_int_equal(p.in.flags, TCP_ACK);
	/* and a new connection from the same port begins at once */
	p.seq = 90000;
	p.ack = 0;
	peer_send(&p, TCP_SYN, NULL, 0);
	assert_int_equal(r.begun, 2);
	close(sv[1]);
	rig_stop(&r);
}

/* Connections in TIME-WAIT do not keep new ones out. */
static void test_time_wait_recycled(void **state)
{
	struct rig r;
	struct peer p;
	int sv[2];

	(void)state;
	rig_start(&r);
	for (uint16_t i = 0; i < 30; i++) {
		pair(sv);
		peer_syn(&p, &r, (uint16_t)(3000 + i));
		assert_non_null(r.flow);
		netstack_flow_attach(r.flow, sv[0], false);
		rig_run(&r);
		peer_establish(&p);
		close(sv[1]);
		rig_run(&r);
		expect_fin(&p);
		peer_send(&p, TCP_FIN | TCP_ACK, NULL, 0);
		peer_drain(&p);
		assert_int_equal(r.ended, i + 1);
		assert_int_equal(r.how, NETSTACK_END_CLOSED);
	}
	assert_int_equal(r.refused, 0);
	/* RFC 6191: the SYN of before, held up on its way, is none; a newer one is. */
	p.seq = 1000;
	peer_send(&p, TCP_SYN, NULL, 0);
	rig_run(&r);
	assert_int_equal(r.begun, 30);
	p.seq = 900000;
	peer_send(&p, TCP_SYN, NULL, 0);
	rig_run(&r);
	assert_int_equal(r.begun, 31);
	rig_stop(&r);
}

static void test_guest_reset(void **state)
{
	char b[10];
	struct rig r;
	struct peer p;
	int sv[2];

	(void)state;
	rig_start(&r);
	attached(&p, &r, sv, false);
	peer_send(&p, TCP_ACK, "x", 1);
	peer_send(&p, TCP_RST, NULL, 0);
	assert_int_equal(r.how, NETSTACK_END_GUEST_RESET);
	assert_int_equal(r.counts.bytes_up, 1);
	assert_int_equal(read(sv[1], b, sizeof(b)), 1);
	assert_int_equal(read(sv[1], b, sizeof(b)), 0);
	close(sv[1]);
	rig_stop(&r);
}

/* Bytes read before the failure reach the guest, then it is reset. */
static void test_remote_reset(void **state)
{
	char b[10];
	struct rig r;
	struct peer p;
	int sv[2];

	(void)state;
	rig_start(&r);
	attached(&p, &r, sv, false);
	peer_send(&p, TCP_ACK, "unread", 6);
	assert_int_equal(write(sv[1], "last", 4), 4);
	close(sv[1]); /* with bytes unread: ECONNRESET for us */
	rig_run(&r);
	assert_int_equal(r.ended, 0);
	peer_read(&p, b, 4);
	assert_memory_equal(b, "last", 4);
	expect_rst(&p);
	assert_int_equal(r.how, NETSTACK_END_REMOTE_RESET);
	assert_int_equal(r.counts.error, ECONNRESET);
	assert_int_equal(r.counts.bytes_down, 4);
	rig_stop(&r);
}

/* The far end is gone for good; the guest finds out when it writes. */
static void test_remote_gone(void **state)
{
	struct rig r;
	struct peer p;
	int sv[2];

	(void)state;
	rig_start(&r);
	attached(&p, &r, sv, false);
	close(sv[1]);
	rig_run(&r);
	expect_fin(&p);
	assert_int_equal(r.ended, 0);
	peer_send(&p, TCP_ACK, "anybody?", 8);
	expect_rst(&p);
	assert_int_equal(r.how, NETSTACK_END_REMOTE_RESET);
	/* and when it closes instead, that is in order */
	attached(&p, &r, sv, false);
	close(sv[1]);
	rig_run(&r);
	expect_fin(&p);
	peer_send(&p, TCP_FIN | TCP_ACK, NULL, 0);
	assert_int_equal(r.ended, 2);
	assert_int_equal(r.how, NETSTACK_END_CLOSED);
	rig_stop(&r);
}

/* Writing fails while an answer waits to be read: the guest gets it, then the reset. */
static void test_broken_up(void **state)
{
	char b[10];
	struct rig r;
	struct peer p;
	int sv[2];

	(void)state;
	rig_start(&r);
	attached(&p, &r, sv, true); /* held: nothing is written yet */
	peer_send(&p, TCP_ACK, "request", 7);
	assert_int_equal(write(sv[1], "answer", 6), 6);
	assert_int_equal(shutdown(sv[1], SHUT_RD), 0);
	netstack_flow_release(r.flow);
	rig_run(&r);
	peer_read(&p, b, 6);
	assert_memory_equal(b, "answer", 6);
	expect_rst(&p);
	assert_int_equal(r.how, NETSTACK_END_REMOTE_RESET);
	assert_int_equal(r.counts.error, EPIPE);
	assert_int_equal(r.counts.bytes_up, 0);
	close(sv[1]);
	rig_stop(&r);
}

/* Data and reset in one batch: the data still goes up. */
static void test_reset_behind_data(void **state)
{
	char b[10];
	struct frame f;
	struct rig r;
	struct peer p;
	int sv[2];

	(void)state;
	rig_start(&r);
	attached(&p, &r, sv, false);
	frame_tcp(&f, &g4, p.port, &d4, 443, TCP_ACK, p.seq, p.ack, "last", 4);
	rig_put(&r, &f);
	p.seq += 4;
	peer_send(&p, TCP_RST, NULL, 0);
	assert_int_equal(r.how, NETSTACK_END_GUEST_RESET);
	assert_int_equal(r.counts.bytes_up, 4);
	assert_int_equal(read(sv[1], b, sizeof(b)), 4);
	close(sv[1]);
	rig_stop(&r);
}

/* A descriptor that takes nothing closes the window; nothing is lost. */
/* weak-25: the direction that is full waits alone. */
static void test_back_pressure(void **state)
{
	static uint8_t b[1400], got[8 << 20];
	size_t sent = 0, read_n = 0;
	struct rig r;
	struct peer p;
	int sv[2];
	ssize_t n;

	(void)state;
	rig_start(&r);
	attached(&p, &r, sv, false);
	for (unsigned i = 0; i < 2000; i++) {
		for (size_t k = 0; k < sizeof(b); k++)
			b[k] = (uint8_t)((sent + k) % 251);
		peer_send(&p, TCP_ACK, b, sizeof(b));
		sent += sizeof(b);
		peer_drain(&p);
		if (p.in.wnd < sizeof(b))
			break;
	}
	assert_true(p.in.wnd < sizeof(b));
	sent = p.in.ack - 1001;
	while (read_n < sent) {
		n = read(sv[1], got + read_n, sizeof(got) - read_n);
		assert_true(n > 0);
		read_n += (size_t)n;
		rig_run(&r);
	}
	assert_int_equal(read_n, sent);
	for (size_t i = 0; i < read_n; i++)
		if (got[i] != i % 251)
			fail_msg("byte %zu differs", i);
	peer_drain(&p);
	assert_true(p.in.wnd > sizeof(b));
	netstack_flow_abort(r.flow);
	assert_int_equal(r.counts.bytes_up, sent);
	close(sv[1]);
	rig_stop(&r);
}

/* ---- holding ----------------------------------------------------------- */

static void test_accept_hold(void **state)
{
	char b[100];
	struct rig r;
	struct peer p;
	int sv[2];

	(void)state;
	rig_start(&r);
	peer_syn(&p, &r, 2000);
	netstack_flow_accept(r.flow);
	rig_run(&r);
	peer_establish(&p);
	assert_int_equal(r.bytes_calls, 0);
	peer_send(&p, TCP_ACK, "hel", 3);
	assert_int_equal(r.got_len, 3);
	peer_send(&p, TCP_ACK, "lo", 2);
	assert_int_equal(r.bytes_calls, 2);
	assert_int_equal(r.got_len, 5);
	assert_memory_equal(r.got, "hello", 5);
	peer_send(&p, TCP_FIN | TCP_ACK, NULL, 0);
	assert_true(r.got_eof);
	assert_int_equal(r.bytes_calls, 3);
	pair(sv);
	/* Told once more: to be looked at again, now that there is somewhere to go. */
	netstack_flow_attach(r.flow, sv[0], true);
	rig_run(&r);
	assert_int_equal(r.bytes_calls, 4);
	assert_int_equal(r.got_len, 5);
	assert_true(r.got_eof);
	assert_int_equal(read(sv[1], b, sizeof(b)), -1);
	netstack_flow_release(r.flow);
	rig_run(&r);
	assert_int_equal(read(sv[1], b, sizeof(b)), 5);
	assert_memory_equal(b, "hello", 5);
	assert_int_equal(read(sv[1], b, sizeof(b)), 0);
	assert_int_equal(r.bytes_calls, 4);
	close(sv[1]);
	rig_run(&r);
	expect_fin(&p);
	assert_int_equal(r.how, NETSTACK_END_CLOSED);
	rig_stop(&r);
}

static void test_hold_bound(void **state)
{
	static uint8_t b[1400];
	struct rig r;
	struct peer p;

	(void)state;
	rig_start(&r);
	peer_syn(&p, &r, 2000);
	netstack_flow_accept(r.flow);
	rig_run(&r);
	peer_establish(&p);
	for (unsigned i = 0; i < 80; i++)
		peer_send(&p, TCP_ACK, b, sizeof(b));
	assert_true(r.got_len <= NETSTACK_HOLD_MAX && r.got_len > NETSTACK_HOLD_MAX / 2);
	peer_drain(&p);
	assert_true(p.in.wnd < sizeof(b));
	/* refused after all: a reset */
	netstack_flow_refuse(r.flow, NETSTACK_DENIED);
	expect_rst(&p);
	assert_int_equal(r.how, NETSTACK_END_REFUSED);
	assert_int_equal(r.counts.bytes_up, 0);
	rig_stop(&r);
}

static void test_detach(void **state)
{
	char b[10];
	struct rig r;
	struct peer p;
	int sv[2], fd;

	(void)state;
	rig_start(&r);
	attached(&p, &r, sv, true);
	peer_send(&p, TCP_ACK, "hello", 5);
	assert_int_equal(r.got_len, 5);
	fd = netstack_flow_detach(r.flow);
	assert_int_equal(fd, sv[0]);
	assert_int_equal(netstack_flow_detach(r.flow), -EBADF);
	close(fd);
	close(sv[1]);
	rig_run(&r);
	assert_int_equal(r.ended, 0);
	/* somebody else gets the same bytes */
	pair(sv);
	netstack_flow_attach(r.flow, sv[0], false);
	rig_run(&r);
	assert_int_equal(read(sv[1], b, sizeof(b)), 5);
	assert_int_equal(netstack_flow_detach(r.flow), -EBUSY);
	netstack_flow_abort(r.flow);
	close(sv[1]);
	rig_stop(&r);
}

/* Parity: lesson-24. */
static void test_server_first(void **state)
{
	char b[10];
	struct rig r;
	struct peer p;
	int sv[2];

	(void)state;
	rig_start(&r);
	attached(&p, &r, sv, true);
	assert_int_equal(write(sv[1], "220 hi", 6), 6);
	rig_run(&r);
	assert_int_equal(r.server_first, 1);
	peer_read(&p, b, 6);
	assert_int_equal(write(sv[1], "!", 1), 1);
	rig_run(&r);
	assert_int_equal(r.server_first, 1);
	assert_int_equal(netstack_flow_detach(r.flow), -EBUSY);
	netstack_flow_abort(r.flow);
	expect_rst(&p);
	close(sv[1]);
	/* not when the guest has spoken */
	attached(&p, &r, sv, true);
	peer_send(&p, TCP_ACK, "GET", 3);
	assert_int_equal(write(sv[1], "220 hi", 6), 6);
	rig_run(&r);
	assert_int_equal(r.server_first, 1);
	close(sv[1]);
	rig_stop(&r);
}

static void detach_now(struct rig *r, struct netstack_flow *f)
{
	int fd = netstack_flow_detach(f);

	(void)r;
	assert_true(fd >= 0);
	close(fd);
	netstack_flow_abort(f);
}

static void test_server_first_detach(void **state)
{
	struct rig r;
	struct peer p;
	int sv[2];

	(void)state;
	rig_start(&r);
	r.on_server_first = detach_now;
	attached(&p, &r, sv, true);
	assert_int_equal(write(sv[1], "220 hi", 6), 6);
	rig_run(&r);
	expect_rst(&p);
	assert_int_equal(r.how, NETSTACK_END_ABORTED);
	close(sv[1]);
	rig_stop(&r);
}

/* ---- calls from inside callbacks --------------------------------------- */

static void abort_it(struct rig *r, struct netstack_flow *f, const uint8_t *p, size_t len, bool eof)
{
	(void)r;
	(void)p;
	(void)len;
	(void)eof;
	netstack_flow_abort(f);
}

static void free_all(struct rig *r, struct netstack_flow *f, const uint8_t *p, size_t len, bool eof)
{
	(void)f;
	(void)p;
	(void)len;
	(void)eof;
	netstack_free(r->ns);
	r->ns = NULL;
}

static void free_at_new(struct rig *r, struct netstack_flow *f)
{
	netstack_flow_accept(f);
	free_all(r, f, NULL, 0, false);
}

static void test_inside(void **state)
{
	struct rig r;
	struct peer p;

	(void)state;
	rig_start(&r);
	r.on_bytes = abort_it;
	peer_syn(&p, &r, 2000);
	netstack_flow_accept(r.flow);
	rig_run(&r);
	peer_establish(&p);
	peer_send(&p, TCP_ACK, "hello", 5);
	expect_rst(&p);
	assert_int_equal(r.how, NETSTACK_END_ABORTED);
	/* the whole stack goes away under the callback's feet */
	r.on_bytes = free_all;
	peer_syn(&p, &r, 2001);
	netstack_flow_accept(r.flow);
	rig_run(&r);
	peer_establish(&p);
	peer_send(&p, TCP_ACK, "hello", 5);
	assert_null(r.ns);
	rig_stop(&r);
	rig_start(&r);
	r.on_new = free_at_new;
	peer_syn(&p, &r, 2001);
	assert_null(r.ns);
	rig_stop(&r);
}

/* ---- published ports --------------------------------------------------- */

static void publish(struct rig *r, struct peer *p, int sv[2])
{
	struct endpoint from = { d4, 443 }, to = { g4, 80 };
	struct netstack_flow *f;
	struct frame any;

	/* the guest's MAC becomes known */
	frame_udp(&any, &g4, 1, &d4, 1, "", 0);
	r->on_new = refuse_it;
	r->refusal = NETSTACK_SILENT;
	rig_send(r, &any);
	pair(sv);
	r->begun++;
	assert_int_equal(netstack_connect(r->ns, NETSTACK_TCP, &from, &to, sv[0], r, &f), 0);
	rig_run(r);
	*p = (struct peer){ .r = r, .port = 80, .seq = 7000 };
	assert_true(peer_recv(p));
	assert_int_equal(p->in.flags, TCP_SYN);
	p->ack = p->in.seq + 1;
}

static void test_published(void **state)
{
	char b[10];
	struct rig r;
	struct peer p;
	int sv[2];

	(void)state;
	rig_start(&r);
	publish(&r, &p, sv);
	assert_int_equal(write(sv[1], "GET", 3), 3);
	peer_send(&p, TCP_SYN | TCP_ACK, NULL, 0);
	peer_read(&p, b, 3);
	peer_send(&p, TCP_FIN | TCP_ACK, "200", 3);
	assert_int_equal(read(sv[1], b, sizeof(b)), 3);
	assert_int_equal(read(sv[1], b, sizeof(b)), 0);
	close(sv[1]);
	rig_run(&r);
	expect_fin(&p);
	assert_int_equal(r.how, NETSTACK_END_CLOSED);
	/* nobody listens in the guest */
	publish(&r, &p, sv);
	peer_send(&p, TCP_RST | TCP_ACK, NULL, 0);
	assert_int_equal(r.how, NETSTACK_END_GUEST_RESET);
	assert_int_equal(read(sv[1], b, sizeof(b)), 0);
	close(sv[1]);
	rig_stop(&r);
}

/* A link that takes no more: frames wait and go out later, in order. */
static void test_link_full(void **state)
{
	static uint8_t b[400000], c[400000];
	struct rig r;
	struct peer p;
	int sv[2];
	size_t at = 0;

	(void)state;
	rig_start(&r);
	attached(&p, &r, sv, false);
	setsockopt(sv[1], SOL_SOCKET, SO_SNDBUF, &(int){ 1 << 20 }, sizeof(int));
	for (size_t i = 0; i < sizeof(b); i++)
		b[i] = (uint8_t)(i * 31 >> 3);
	while (at < sizeof(b)) {
		ssize_t n = write(sv[1], b + at, sizeof(b) - at);

		if (n > 0)
			at += (size_t)n;
		rig_run(&r);
		if (n < 0)
			break;
	}
	for (size_t got = 0; got < at;) {
		rig_run(&r);
		if (!peer_recv(&p)) {
			fail_msg("stalled at %zu of %zu", got, at);
		}
		if (p.in.len == 0 || p.in.seq != p.ack)
			continue;
		memcpy(c + got, p.in.data, p.in.len);
		got += p.in.len;
		p.ack += (uint32_t)p.in.len;
		peer_send(&p, TCP_ACK, NULL, 0);
	}
	assert_memory_equal(b, c, at);
	assert_int_equal(rig_stats(&r).retransmits, 0);
	netstack_flow_abort(r.flow);
	close(sv[1]);
	rig_stop(&r);
}

/* A reset that the link does not take now is not forgotten: the guest would wait for ever. */
static void test_link_full_reset(void **state)
{
	static const uint8_t b[1000];
	struct rig r;
	struct peer p;
	int link[2], sv[2];
	bool reset = false;

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, link), 0);
	setsockopt(link[1], SOL_SOCKET, SO_SNDBUF, &(int){ 8192 }, sizeof(int));
	rig_start_link(&r, NETSTACK_LINK_TAP, link[1], link[0]);
	attached(&p, &r, sv, false);
	/* Small frames, more than the link holds and fewer than the window. */
	for (unsigned i = 0; i < 40; i++) {
		assert_int_equal(write(sv[1], b, sizeof(b)), sizeof(b));
		rig_run(&r);
	}
	netstack_flow_abort(r.flow);
	assert_int_equal(r.ended, 1);
	for (unsigned i = 0; i < 10000 && !reset; i++) {
		rig_run(&r);
		reset = peer_recv(&p) && p.in.flags & TCP_RST;
	}
	assert_true(reset);
	rig_run(&r);
	/* And then it is gone: the next segment belongs to nobody. */
	peer_send(&p, TCP_ACK, NULL, 0);
	rig_run(&r);
	assert_true(peer_recv(&p) && p.in.flags & TCP_RST);
	close(sv[1]);
	rig_stop(&r);
}

static int setup(void **state)
{
	(void)state;
	g4 = ip4(10, 9, 0, 2);
	d4 = ip4(198, 51, 100, 7);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_late_decision),
		cmocka_unit_test(test_unknown_segments),
		cmocka_unit_test(test_link_full_reset),
		cmocka_unit_test(test_limit),
		cmocka_unit_test(test_both_ways),
		cmocka_unit_test(test_remote_half_close),
		cmocka_unit_test(test_time_wait_recycled),
		cmocka_unit_test(test_guest_reset),
		cmocka_unit_test(test_remote_reset),
		cmocka_unit_test(test_remote_gone),
		cmocka_unit_test(test_broken_up),
		cmocka_unit_test(test_reset_behind_data),
		cmocka_unit_test(test_back_pressure),
		cmocka_unit_test(test_accept_hold),
		cmocka_unit_test(test_hold_bound),
		cmocka_unit_test(test_detach),
		cmocka_unit_test(test_server_first),
		cmocka_unit_test(test_server_first_detach),
		cmocka_unit_test(test_inside),
		cmocka_unit_test(test_published),
		cmocka_unit_test(test_link_full),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}
