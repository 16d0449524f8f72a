/* SPDX-License-Identifier: Apache-2.0 */
/* A guest's end of TCP connections, by hand. */
#ifndef WEIR_TEST_TCP_PEER_H
#define WEIR_TEST_TCP_PEER_H

#include "frames.h"

static struct ip_addr g4, d4;

struct peer {
	struct rig *r;
	uint16_t port;
	uint32_t seq, ack;
	struct tcp_seg in; /* last segment received */
	struct frame f;
};

static inline void peer_send(struct peer *p, uint8_t flags, const void *data, size_t n)
{
	struct frame f;

	frame_tcp(&f, &g4, p->port, &d4, 443, flags, p->seq, p->ack, data, n);
	rig_send(p->r, &f);
	p->seq += (uint32_t)n + !!(flags & TCP_SYN) + !!(flags & TCP_FIN);
}

static inline bool peer_recv(struct peer *p)
{
	if (!rig_recv(p->r, &p->f))
		return false;
	check_out(&p->f, p->r);
	assert_int_equal(p->f.b[L2 + 9], IPPROTO_TCP);
	assert_int_equal(tcp_seg_parse(p->f.b + L2 + 20, p->f.len - L2 - 20, &p->in), 0);
	assert_int_equal(p->in.src_port, 443);
	assert_int_equal(p->in.dst_port, p->port);
	return true;
}

static inline void peer_drain(struct peer *p)
{
	while (peer_recv(p))
		;
}

static inline void peer_syn(struct peer *p, struct rig *r, uint16_t port)
{
	*p = (struct peer){ .r = r, .port = port, .seq = 1000 };
	peer_send(p, TCP_SYN, NULL, 0);
}

static inline void peer_establish(struct peer *p)
{
	assert_true(peer_recv(p));
	assert_int_equal(p->in.flags, TCP_SYN | TCP_ACK);
	assert_int_equal(p->in.ack, p->seq);
	p->ack = p->in.seq + 1;
	peer_send(p, TCP_ACK, NULL, 0);
}

static inline void expect_rst(struct peer *p)
{
	do
		assert_true(peer_recv(p));
	while (!(p->in.flags & TCP_RST));
}

/* Payload from the stack until n bytes have come; acknowledged. */
static inline void peer_read(struct peer *p, void *dst, size_t n)
{
	uint8_t *b = dst;

	while (n) {
		assert_true(peer_recv(p));
		if (p->in.len == 0)
			continue;
		assert_int_equal(p->in.seq, p->ack);
		assert_true(p->in.len <= n);
		memcpy(b, p->in.data, p->in.len);
		b += p->in.len;
		n -= p->in.len;
		p->ack += (uint32_t)p->in.len;
	}
	peer_send(p, TCP_ACK, NULL, 0);
}

static inline void expect_fin(struct peer *p)
{
	do
		assert_true(peer_recv(p));
	while (!(p->in.flags & TCP_FIN));
	assert_int_equal(p->in.seq + p->in.len, p->ack);
	p->ack++;
	peer_send(p, TCP_ACK, NULL, 0);
}

#endif
