/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TCP on the wire: RFC 9293 3.1, RFC 7323 (scale, timestamps), RFC 2018.
 *
 * The input is the guest's. A header with two readings is refused: an option
 * that runs past the header, a known option with a length not its own, one
 * given twice, SYN together with FIN or RST. Unknown options are skipped by
 * their length. Urgent pointer and ECN bits are read by nobody: urgent data is
 * in-line data (RFC 6093), ECN is not negotiated.
 */
#include "netstack/tcp_int.h"

enum {
	OPT_END = 0,
	OPT_NOP = 1,
	OPT_MSS = 2,
	OPT_WSCALE = 3,
	OPT_SACK_OK = 4,
	OPT_SACK = 5,
	OPT_TS = 8,
};

static bool parse_sack(const uint8_t *p, size_t len, struct tcp_seg *s)
{
	if (len == 0 || len % 8 || len / 8 > TCP_SACK_MAX)
		return false;
	s->n_sack = (uint8_t)(len / 8);
	for (size_t i = 0; i < s->n_sack; i++) {
		s->sack[i].lo = get_be32(p + 8 * i);
		s->sack[i].hi = get_be32(p + 8 * i + 4);
	}
	return true;
}

static bool parse_option(uint8_t kind, const uint8_t *p, size_t len, struct tcp_seg *s)
{
	switch (kind) {
	case OPT_MSS:
		if (len != 2 || s->has_mss)
			return false;
		s->has_mss = true;
		s->mss = get_be16(p);
		return true;
	case OPT_WSCALE:
		if (len != 1 || s->has_wscale)
			return false;
		s->has_wscale = true;
		s->wscale = MIN(p[0], TCP_WSCALE_MAX);
		return true;
	case OPT_SACK_OK:
		if (len != 0 || s->sack_ok)
			return false;
		s->sack_ok = true;
		return true;
	case OPT_SACK:
		return !s->n_sack && parse_sack(p, len, s);
	case OPT_TS:
		if (len != 8 || s->has_ts)
			return false;
		s->has_ts = true;
		s->ts_val = get_be32(p);
		s->ts_ecr = get_be32(p + 4);
		return true;
	default:
		return true;
	}
}

static bool parse_options(struct rd r, struct tcp_seg *s)
{
	uint8_t kind, len;
	const uint8_t *p;

	while (rd_u8(&r, &kind)) {
		if (kind == OPT_END)
			return true;
		if (kind == OPT_NOP)
			continue;
		if (!rd_u8(&r, &len) || len < 2 || !rd_bytes(&r, len - 2u, &p))
			return false;
		if (!parse_option(kind, p, len - 2u, s))
			return false;
	}
	return true;
}

int tcp_seg_parse(const uint8_t *p, size_t len, struct tcp_seg *ret)
{
	struct tcp_seg s = { 0 };
	size_t head;

	if (len < 20)
		return -EINVAL;
	head = (size_t)(p[12] >> 4) * 4;
	if (head < 20 || head > len)
		return -EINVAL;
	s.src_port = get_be16(p);
	s.dst_port = get_be16(p + 2);
	s.seq = get_be32(p + 4);
	s.ack = get_be32(p + 8);
	s.flags = p[13] & 0x3f;
	s.wnd = get_be16(p + 14);
	s.data = p + head;
	s.len = len - head;
	if ((s.flags & TCP_SYN) && (s.flags & (TCP_FIN | TCP_RST)))
		return -EINVAL;
	if (!parse_options(rd_init(p + 20, head - 20), &s))
		return -EINVAL;
	*ret = s;
	return 0;
}

void tcp_head_write(uint8_t *p, uint16_t src, uint16_t dst, const struct tcp_head *h, size_t head_len)
{
	put_be16(p, src);
	put_be16(p + 2, dst);
	put_be32(p + 4, h->seq);
	put_be32(p + 8, h->ack);
	p[12] = (uint8_t)(head_len / 4 << 4);
	p[13] = h->flags;
	put_be16(p + 14, h->wnd);
	put_be32(p + 16, 0); /* checksum, urgent pointer */
}

size_t tcp_ts_opt_write(const struct tcp *t, uint8_t *p)
{
	p[0] = p[1] = OPT_NOP;
	p[2] = OPT_TS;
	p[3] = 10;
	put_be32(p + 4, tcp_ts_now(t));
	put_be32(p + 8, t->ts_recent);
	return 12;
}

/* A SYN offers everything; a SYN-ACK only what the peer offered. */
size_t tcp_syn_opts_write(const struct tcp *t, uint8_t *p, bool syn_ack)
{
	size_t n = 0;

	p[n++] = OPT_MSS;
	p[n++] = 4;
	put_be16(p + n, tcp_link_mss(t));
	n += 2;
	if (!syn_ack || t->sack_on) {
		p[n++] = OPT_NOP;
		p[n++] = OPT_NOP;
		p[n++] = OPT_SACK_OK;
		p[n++] = 2;
	}
	if (!syn_ack || t->ts_on)
		n += tcp_ts_opt_write(t, p + n);
	if (!syn_ack || t->wscale_on) {
		p[n++] = OPT_NOP;
		p[n++] = OPT_WSCALE;
		p[n++] = 3;
		p[n++] = t->rcv_scale;
	}
	return n;
}

bool tcp_refuse(const struct tcp_seg *s, struct tcp_out *ret)
{
	struct tcp_head h = { .flags = TCP_RST };

	if (s->flags & TCP_RST)
		return false;
	if (s->flags & TCP_ACK) {
		h.seq = s->ack;
	} else {
		h.flags |= TCP_ACK;
		h.ack = s->seq + (uint32_t)s->len + !!(s->flags & TCP_SYN) + !!(s->flags & TCP_FIN);
	}
	*ret = (struct tcp_out){ .head_len = 20 };
	tcp_head_write(ret->head, s->dst_port, s->src_port, &h, 20);
	return true;
}

unsigned tcp_seg_pieces(const struct tcp_seg *s, size_t skip, size_t n,
			struct iovec ret[TCP_SEG_PIECES])
{
	struct iovec piece = { (void *)(uintptr_t)s->data, s->len - s->tail_len };
	const struct iovec *next = s->tail;
	unsigned used = 0;

	assert(skip <= s->len && n <= s->len - skip);
	while (n) {
		size_t off = MIN(skip, piece.iov_len), take = MIN(piece.iov_len - off, n);

		if (take) {
			assert(used < TCP_SEG_PIECES);
			ret[used++] = (struct iovec){ (uint8_t *)piece.iov_base + off, take };
		}
		skip -= off;
		n -= take;
		if (n)
			piece = *next++;
	}
	return used;
}
