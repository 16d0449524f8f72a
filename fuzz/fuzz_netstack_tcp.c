/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One connection, driven by the fuzzer: segments near and far from what is
 * expected, the owner's calls, time, a link that is full. The input is a list
 * of operations of a few bytes each, so that mutations stay meaningful.
 *
 * Checked after every operation: the memory account within its bound, nothing
 * new sent beyond the largest edge the peer ever promised, our own right edge
 * never taken back, acknowledged bytes monotonic and not more than written, no
 * note after TCP_CLOSED, every header we emit parsable, a timer armed whenever
 * something waits for the peer, and the internal lists sorted and within caps.
 */
#include "netstack/tcp_int.h"

#define CHECK(cond)                                                                                \
	do {                                                                                       \
		if (!(cond))                                                                       \
			__builtin_trap();                                                          \
	} while (0)

struct fuzz {
	struct tcp_stack stack;
	struct tcp *t;
	uint64_t now, timer, acked, written, taken;
	uint32_t iss, peer_nxt, our_nxt, our_ack;
	uint32_t edge, our_edge;
	bool syn_sent, edge_known, our_edge_known, link_full, closed, greedy, external;
};

static uint8_t payload[65536];

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void note_promise(struct fuzz *f, const struct tcp_seg *g)
{
	unsigned scale = f->t->wscale_on && !(g->flags & TCP_SYN) ? f->t->rcv_scale : 0;
	uint32_t edge = g->ack + ((uint32_t)g->wnd << scale);

	if (!(g->flags & TCP_ACK) || (g->flags & TCP_RST))
		return;
	/* A repeated SYN-ACK cannot say more than 65535. */
	if (f->our_edge_known && !(g->flags & TCP_SYN))
		CHECK((int32_t)(edge + (1u << scale) - f->our_edge) > 0);
	if (!f->our_edge_known || (int32_t)(edge - f->our_edge) > 0)
		f->our_edge = edge;
	f->our_edge_known = true;
}

static bool on_emit(struct tcp *t, const struct tcp_out *o)
{
	struct fuzz *f = tcp_owner(t);
	struct tcp_seg g;
	uint32_t end;

	CHECK(tcp_seg_parse(o->head, o->head_len, &g) == 0 && g.len == 0);
	if (o->external)
		CHECK(f->external && o->data_len && o->offset >= tcp_acked_bytes(t) &&
		      o->offset + o->data_len <= f->written);
	else
		CHECK(o->data_len == o->data[0].len + o->data[1].len);
	CHECK(o->data_len <= MAX(f->stack.tso_max, (size_t)f->stack.mss4));
	CHECK(o->gso_size ? o->gso_size < o->data_len : o->data_len <= f->stack.mss4);
	if (f->link_full)
		return false;
	if (g.flags & TCP_RST)
		return true;
	if (g.flags & TCP_SYN) {
		f->iss = g.seq;
		f->our_nxt = g.seq + 1;
		f->syn_sent = true;
	}
	for (size_t i = 0; i < o->data[0].len; i += 511)
		f->taken += o->data[0].p[i];
	for (size_t i = 0; i < o->data[1].len; i += 511)
		f->taken += o->data[1].p[i];
	end = g.seq + (uint32_t)o->data_len;
	if (o->data_len) {
		CHECK(f->edge_known);
		CHECK((int32_t)(f->edge - end) >= 0);
	}
	if ((int32_t)(end - f->our_nxt) > 0)
		f->our_nxt = end;
	note_promise(f, &g);
	if (g.flags & TCP_ACK)
		f->our_ack = g.ack;
	return true;
}

static void on_note(struct tcp *t, enum tcp_note n)
{
	struct fuzz *f = tcp_owner(t);
	const uint8_t *p[2];
	size_t len[2], k;

	CHECK(!f->closed);
	f->closed = n == TCP_CLOSED;
	if (n == TCP_READABLE && f->greedy) {
		k = tcp_rx_peek(t, p, len);
		tcp_rx_consume(t, k, f->now);
	}
}

static void on_timer(struct tcp *t, uint64_t when)
{
	struct fuzz *f = tcp_owner(t);

	f->timer = when;
}

/* All of it, or a part, as a socket does that is nearly full. */
static size_t on_direct(struct tcp *t, const struct iovec *iov, unsigned n)
{
	struct fuzz *f = tcp_owner(t);
	size_t sum = 0;

	for (unsigned i = 0; i < n; i++)
		sum += iov[i].iov_len;
	return f->greedy ? sum : sum / 3;
}

static const struct tcp_ops ops = { .emit = on_emit, .note = on_note, .set_timer = on_timer };
static const struct tcp_ops ops_direct = {
	.emit = on_emit,
	.note = on_note,
	.set_timer = on_timer,
	.direct = on_direct,
};

/* ---- input ----------------------------------------------------------------- */

static uint8_t u8(struct rd *r)
{
	uint8_t v = 0;

	return rd_u8(r, &v) ? v : 0;
}

static uint32_t u16(struct rd *r)
{
	uint16_t v = 0;

	return rd_be16(r, &v) ? v : 0;
}

/* Mostly small steps around the expected, sometimes anything. */
static uint32_t near(struct rd *r, uint32_t base)
{
	uint8_t how = u8(r);

	if (how < 128)
		return base;
	if (how < 192)
		return base + (uint32_t)(int8_t)u8(r);
	if (how < 240)
		return base + (u16(r) - 32768u);
	return base + (u16(r) << 16 | u16(r));
}

/* What the engine may believe about the peer's window from this segment on. */
static void peer_promises(struct fuzz *f, const struct tcp_seg *s)
{
	unsigned scale = s->flags & TCP_SYN ? 0 : f->t->snd_scale;
	uint32_t edge = s->ack + ((uint32_t)s->wnd << scale);

	if (!(s->flags & TCP_ACK)) {
		edge = f->iss + 1 + s->wnd;
		if (!f->syn_sent)
			return;
	}
	/* Only acknowledgments of something sent can be believed. */
	if ((s->flags & TCP_ACK) && (!f->syn_sent || f->our_nxt + 1 - s->ack > 1u << 30))
		return;
	if (!f->edge_known || (int32_t)(edge - f->edge) > 0)
		f->edge = edge;
	f->edge_known = true;
}

static void segment(struct fuzz *f, struct rd *r)
{
	static const uint8_t usual[] = { TCP_ACK,	    TCP_ACK | TCP_PSH,
					 TCP_ACK | TCP_FIN, TCP_SYN,
					 TCP_SYN | TCP_ACK, TCP_RST,
					 TCP_RST | TCP_ACK, 0 };
	uint8_t how = u8(r), opts = u8(r);
	struct tcp_seg s = { .src_port = 2, .dst_port = 1, .data = payload };

	s.flags = usual[how & 7];
	s.seq = near(r, f->our_ack);
	s.ack = near(r, f->our_nxt);
	s.wnd = (uint16_t)u16(r);
	s.len = how & 8 ? u16(r) : how & 16 ? u8(r) : 0;
	if ((s.flags & TCP_SYN) && (opts & 1)) {
		s.has_wscale = true;
		s.wscale = opts >> 4 & 7;
	}
	s.sack_ok = opts & 2;
	s.has_ts = opts & 4;
	s.ts_val = (uint32_t)(f->now / NS_PER_MS) + (opts & 8 ? near(r, 0) : 0);
	s.ts_ecr = opts & 8 ? near(r, 0) : 0;
	if (opts & 128) {
		s.has_mss = true;
		s.mss = (uint16_t)u16(r);
	}
	if (how & 32)
		for (s.n_sack = 0; s.n_sack < (how >> 6); s.n_sack++) {
			s.sack[s.n_sack].lo = f->our_nxt - u16(r);
			s.sack[s.n_sack].hi = s.sack[s.n_sack].lo + u16(r);
		}
	peer_promises(f, &s);
	if (!strcmp(tcp_state_name(f->t), "NEW")) {
		if (s.flags == TCP_SYN)
			tcp_syn_received(f->t, &s, f->now);
	} else {
		(void)tcp_time_wait_reusable(f->t, &s);
		tcp_input(f->t, &s, f->now);
	}
}

static void pass_time(struct fuzz *f, uint64_t by)
{
	f->now += by;
	if (f->timer && f->timer <= f->now) {
		f->timer = 0;
		tcp_timer(f->t, f->now);
	}
}

static void write_some(struct fuzz *f, size_t n)
{
	uint8_t *p[2];
	size_t len[2], room = tcp_tx_space(f->t, p, len);

	if (f->external && (!room || n & 2)) {
		/* Half of the time as the relay does, else more than can go. */
		if (n & 1)
			n = MIN(n, tcp_tx_wanted(f->t));
		if (!n || tcp_tx_unsent(f->t) > 1u << 20 || f->t->fin_queued ||
		    f->t->state == TCP_S_CLOSED)
			return;
		f->written += n;
		tcp_tx_supply(f->t, n, f->now);
		CHECK(tcp_tx_wait(f->t) == (tcp_tx_unsent(f->t) != 0));
		return;
	}
	CHECK(room == len[0] + len[1]);
	n = MIN(n, room);
	if (n) {
		memset(p[0], 'x', MIN(n, len[0]));
		if (n > len[0])
			memset(p[1], 'y', n - len[0]);
		f->written += n;
		tcp_tx_commit(f->t, n, f->now);
	}
}

static void read_some(struct fuzz *f, size_t n)
{
	const uint8_t *p[2];
	size_t len[2], have = tcp_rx_peek(f->t, p, len);

	n = MIN(n, have);
	for (size_t i = 0; i < n; i++)
		f->taken += i < len[0] ? p[0][i] : p[1][i - len[0]];
	tcp_rx_consume(f->t, n, f->now);
}

static void operation(struct fuzz *f, struct rd *r)
{
	uint8_t op = u8(r);

	switch (op % 16) {
	case 8:
		write_some(f, u16(r));
		break;
	case 9:
		read_some(f, u16(r));
		break;
	case 10:
		pass_time(f, u8(r) * NS_PER_MS);
		break;
	case 11:
		pass_time(f, f->timer > f->now ? f->timer - f->now : 0);
		break;
	case 12:
		f->link_full = op & 16;
		if (!f->link_full)
			tcp_link_ready(f->t, f->now);
		break;
	case 13:
		if (!strcmp(tcp_state_name(f->t), "NEW"))
			tcp_connect(f->t, f->now);
		else
			tcp_accept(f->t, f->now);
		break;
	case 14:
		if (op < 128)
			tcp_shutdown(f->t, f->now);
		else
			tcp_close(f->t, f->now);
		break;
	case 15:
		if (op == 255)
			tcp_abort(f->t, f->now);
		f->greedy = op & 16;
		if (op & 32)
			tcp_too_big(f->t, near(r, f->t->snd_una), u16(r), f->now);
		break;
	default:
		segment(f, r);
		break;
	}
}

static void sorted(const struct tcp_ranges *l, uint32_t max, uint32_t lo, uint32_t hi)
{
	if (!l)
		return;
	CHECK(l->n > 0 && l->n <= max);
	for (uint32_t i = 0; i < l->n; i++) {
		CHECK(seq_lt(lo, l->r[i].lo) && seq_lt(l->r[i].lo, l->r[i].hi));
		lo = l->r[i].hi;
	}
	CHECK(seq_le(lo, hi));
}

static void structure(const struct tcp *t)
{
	uint32_t high = tcp_data_end(t) + t->fin_sent;

	CHECK(t->depth == 0 && t->notes == 0);
	if (t->state <= TCP_S_HELD)
		return;
	sorted(t->ooo, TCP_OOO_MAX, t->rcv_nxt, t->rcv_adv);
	sorted(t->score, TCP_SCORE_MAX, t->snd_una, t->snd_nxt);
	CHECK(seq_le(t->snd_una, t->snd_nxt) && seq_le(t->snd_nxt, high));
	CHECK(t->rx.len <= t->rx.size && t->tx.len <= t->tx.size && (t->external || !t->tx_ext));
	CHECK(t->mss >= TCP_MSS_MIN - 12 && t->mss <= tcp_link_mss(t));
	CHECK(seq_le(t->redo_end, t->snd_nxt) || t->recovery == TCP_R_OPEN);
	CHECK(t->rx.size <= MAX(pow2_floor(t->stack->rx_max), (uint32_t)TCP_RING_FIRST));
	CHECK(t->tx.size <= MAX(pow2_floor(t->stack->tx_max), (uint32_t)TCP_RING_FIRST));
}

static void invariants(struct fuzz *f)
{
	uint64_t acked = tcp_acked_bytes(f->t);
	const char *state = tcp_state_name(f->t);

	structure(f->t);
	CHECK(f->stack.mem_used <= f->stack.mem_max + 65536 + 65536);
	CHECK(acked >= f->acked && acked <= f->written);
	f->acked = acked;
	if (!f->closed && !f->link_full &&
	    (!strcmp(state, "SYN-SENT") || !strcmp(state, "SYN-RECEIVED") ||
	     !strcmp(state, "FIN-WAIT-1") || !strcmp(state, "CLOSING") ||
	     !strcmp(state, "LAST-ACK") || !strcmp(state, "TIME-WAIT") || acked < f->written))
		CHECK(f->timer || !strcmp(state, "NEW") || !strcmp(state, "LISTEN") ||
		      !strcmp(state, "CLOSED"));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct endpoint us = { ip4(192, 0, 2, 1), 1 }, peer = { ip4(10, 0, 0, 2), 2 };
	struct rd r = rd_init(data, size);
	struct fuzz f = { .now = NS_PER_S };
	uint8_t mode = u8(&r);

	f.stack = (struct tcp_stack){
		.ops = mode & 128 ? &ops_direct : &ops,
		.keep_idle = mode & 8 ? 60 * NS_PER_S : 0,
		.isn_key = { { mode, 1 } },
		.mss4 = 1460,
		.mss6 = 1440,
		.tso_max = mode & 1 ? 1460 : 65535,
		.rx_max = mode & 2 ? 1 << 20 : 4096,
		.tx_max = mode & 4 ? 1 << 20 : 4096,
		.mem_max = mode & 8    ? 1 << 24
			   : mode & 16 ? 100000
				       : 0,
	};
	if (tcp_new(&f.stack, &us, &peer, &f, &f.t))
		return 0;
	f.external = mode & 64;
	if (f.external)
		tcp_tx_external(f.t);
	f.our_ack = mode & 32 ? UINT32_C(0xffffff00) : 1;
	for (unsigned n = 0; rd_left(&r) && n < 500 && !f.closed; n++) {
		operation(&f, &r);
		invariants(&f);
	}
	tcp_free(f.t);
	CHECK(f.stack.mem_used == 0 && f.stack.mem_alloc == 0);
	return f.taken == UINT64_MAX;
}
