/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two TCP engines back to back over a link with fake time: a deterministic
 * simulator. One seed fixes everything: sizes, losses, delays, the order of
 * calls. A run moves bytes_of[] both ways and closes, and checks on the way:
 *
 *   - every byte arrives, in order, equal; end of stream after the last one
 *   - progress within a bound of virtual time
 *   - the memory account stays within its bound and ends at zero
 *   - nothing is sent beyond the window the other end has promised, and no
 *     promise is taken back (but for what a scaled field cannot say)
 *   - on a link that loses nothing, nothing is retransmitted
 */
#ifndef TCP_SIM_H
#define TCP_SIM_H

#include <setjmp.h>
#include <stdio.h>
#include <cmocka.h>

#include "netstack/tcp.h"

struct sim_config {
	uint64_t seed;
	uint32_t bytes_of[2];
	unsigned loss, dup, reorder; /* per thousand segments */
	unsigned burst;		     /* per thousand: lose the next 2..20 */
	unsigned full;		     /* per thousand emits: link full for a while */
	unsigned idle;		     /* per thousand turns: the application is silent for minutes */
	uint64_t delay;		     /* one way, ns */
	bool slow_reader;	     /* reads little and seldom, lets the window close */
	bool gro;		     /* deliver what one emit sent as one segment */
	bool external;		     /* send queues are partly the owner's (tcp_tx_external) */
	bool no_opts;		     /* peer's SYN shows no options but MSS */
	bool simultaneous_open;
	int abort_at; /* event number after which end 0 aborts; -1 never */
	int close_at; /* the same for tcp_close() by end 1 */
	int dead_at;  /* from then on the link carries nothing */
	size_t rx_max, tx_max, mem_max, tso_max;
	uint64_t keep_idle; /* ns, as in struct tcp_stack */
};

struct sim;

struct sim_packet {
	struct sim_packet *next;
	uint64_t at;
	int to;
	size_t len;
	uint8_t bytes[];
};

struct sim_end {
	struct sim *sim;
	int idx;
	struct tcp *t;
	struct endpoint ep;
	uint64_t timer;
	uint64_t next_app, silent_until;
	bool link_full, written_all, shut, closed, established, eof_seen, reset, timed_out;
	uint64_t link_ready_at;
	uint64_t sent, received, acked;
	/* what the other end promised, as far as it went on the wire */
	bool edge_known;
	uint32_t edge, edge_unit;
	unsigned scale;
	unsigned burst_left;
	uint64_t burst_until;
};

struct sim {
	struct sim_config c;
	struct tcp_stack stack;
	struct sim_end e[2];
	struct sim_packet *queue;
	uint64_t now, last_progress;
	uint64_t rng;
	bool trace; /* TCP_SIM_TRACE=seed in the environment */
	unsigned long events, segments;
};

/* Retransmissions back off to a minute and give up after several; silence is longer. */
#define SIM_STALL (900 * NS_PER_S)

static inline uint64_t sim_rand(struct sim *s)
{
	s->rng ^= s->rng << 13;
	s->rng ^= s->rng >> 7;
	s->rng ^= s->rng << 17;
	return s->rng * UINT64_C(0x2545f4914f6cdd1d) >> 16;
}

static inline bool sim_chance(struct sim *s, unsigned per_thousand)
{
	return per_thousand && sim_rand(s) % 1000 < per_thousand;
}

/* The byte at offset `off` of the stream that end `who` sends. */
static inline uint8_t sim_byte(const struct sim *s, int who, uint64_t off)
{
	uint64_t x = (off / 8 + (uint64_t)who * 7777 + s->c.seed) * UINT64_C(0x9e3779b97f4a7c15);

	return (uint8_t)(x >> (8 * (off % 8)));
}

#define SIM_CHECK(s, cond, ...)                                                                    \
	do {                                                                                       \
		if (!(cond)) {                                                                     \
			print_error("seed %llu t=%.6f event %lu: %s: ",                            \
				    (unsigned long long)(s)->c.seed, (double)(s)->now / 1e9,       \
				    (s)->events, #cond);                                           \
			print_error(__VA_ARGS__);                                                  \
			print_error("\n  [0] %s [1] %s\n", tcp_state_name((s)->e[0].t),            \
				    tcp_state_name((s)->e[1].t));                                  \
			fail();                                                                    \
		}                                                                                  \
	} while (0)

/* ---- the link ------------------------------------------------------------- */

static void sim_enqueue(struct sim *s, int to, const uint8_t *head, size_t head_len,
			const uint8_t *data, size_t len)
{
	struct sim_packet *p = malloc(sizeof(*p) + head_len + len), **at = &s->queue;

	p->at = s->now + s->c.delay;
	if (sim_chance(s, s->c.reorder))
		p->at += sim_rand(s) % (4 * s->c.delay + 2 * NS_PER_MS);
	p->to = to;
	p->len = head_len + len;
	memcpy(p->bytes, head, head_len);
	if (len)
		memcpy(p->bytes + head_len, data, len);
	while (*at && (*at)->at <= p->at)
		at = &(*at)->next;
	p->next = *at;
	*at = p;
}

static void sim_wire(struct sim_end *e, const uint8_t *head, size_t head_len, const uint8_t *data,
		     size_t len)
{
	struct sim *s = e->sim;

	s->segments++;
	if (s->c.dead_at >= 0 && s->events >= (unsigned long)s->c.dead_at)
		return;
	if (e->burst_left && s->now < e->burst_until) {
		e->burst_left--;
		return;
	}
	if (sim_chance(s, s->c.burst)) {
		e->burst_left = 1 + (unsigned)(sim_rand(s) % 20);
		e->burst_until = s->now + 100 * NS_PER_MS;
	}
	if (sim_chance(s, s->c.loss))
		return;
	sim_enqueue(s, !e->idx, head, head_len, data, len);
	if (sim_chance(s, s->c.dup))
		sim_enqueue(s, !e->idx, head, head_len, data, len);
}

/* What this segment promises to the other end. */
static void sim_window_seen(struct sim_end *e, const struct tcp_seg *g)
{
	struct sim_end *o = &e->sim->e[!e->idx];
	uint32_t edge;

	if (!(g->flags & TCP_ACK) || (g->flags & TCP_RST))
		return;
	if (g->flags & TCP_SYN) {
		edge = g->ack + g->wnd;
		o->scale = e->sim->c.no_opts ? 0 : g->wscale;
	} else {
		edge = g->ack + ((uint32_t)g->wnd << o->scale);
	}
	if (o->edge_known)
		SIM_CHECK(e->sim, (int32_t)(edge + (1u << o->scale) - o->edge) > 0,
			  "window of end %d shrank by %d", e->idx, (int)(o->edge - edge));
	if (!o->edge_known || (int32_t)(edge - o->edge) > 0)
		o->edge = edge;
	o->edge_known = true;
}

static void sim_check_out(struct sim_end *e, const struct tcp_out *o, struct tcp_seg *g)
{
	struct sim *s = e->sim;
	uint32_t end;

	SIM_CHECK(s, tcp_seg_parse(o->head, o->head_len, g) == 0, "unparsable header");
	end = g->seq + (uint32_t)o->data_len;
	if (o->external)
		SIM_CHECK(s,
			  s->c.external && o->data_len && o->offset >= tcp_acked_bytes(e->t) &&
				  o->offset + o->data_len <= e->sent,
			  "offset %llu + %zu, acked %llu, supplied %llu",
			  (unsigned long long)o->offset, o->data_len,
			  (unsigned long long)tcp_acked_bytes(e->t), (unsigned long long)e->sent);
	else
		SIM_CHECK(s, o->data_len == o->data[0].len + o->data[1].len, "pieces");
	SIM_CHECK(s, o->data_len <= MAX(s->stack.tso_max, (size_t)s->stack.mss4), "%zu too large",
		  o->data_len);
	if (o->data_len)
		SIM_CHECK(s, e->edge_known && (int32_t)(e->edge - end) >= 0,
			  "end %d sent %d beyond the window", e->idx, (int)(end - e->edge));
	sim_window_seen(e, g);
	/* Scales are exchanged on SYNs, with or without ACK. */
	if ((g->flags & TCP_SYN) && !s->c.no_opts)
		s->e[!e->idx].scale = g->wscale;
}

static bool sim_emit(struct tcp *t, const struct tcp_out *o)
{
	struct sim_end *e = tcp_owner(t);
	struct sim *s = e->sim;
	uint8_t head[60], *data;
	struct tcp_seg g;
	size_t mss, off = 0;

	SIM_CHECK(s, !e->link_full, "emit on a full link");
	if (sim_chance(s, s->c.full)) {
		e->link_full = true;
		e->link_ready_at = s->now + 1 + sim_rand(s) % (20 * NS_PER_MS);
		return false;
	}
	if (s->trace)
		print_message("%.6f [%d] %s seq=%u len=%zu ack=%u wnd=%u flags=%02x\n",
			      (double)s->now / 1e9, e->idx, tcp_state_name(t),
			      get_be32(o->head + 4), o->data_len, get_be32(o->head + 8),
			      get_be16(o->head + 14), o->head[13]);
	sim_check_out(e, o, &g);
	data = malloc(o->data_len + 1);
	for (size_t i = 0; o->external && i < o->data_len; i++)
		data[i] = sim_byte(s, e->idx, o->offset + i);
	if (o->data[0].len)
		memcpy(data, o->data[0].p, o->data[0].len);
	if (o->data[1].len)
		memcpy(data + o->data[0].len, o->data[1].p, o->data[1].len);
	memcpy(head, o->head, o->head_len);
	if (s->c.no_opts && (g.flags & TCP_SYN)) { /* keep the MSS option alone */
		head[12] = 6 << 4;
		sim_wire(e, head, 24, NULL, 0);
		free(data);
		return true;
	}
	mss = o->gso_size && !s->c.gro ? o->gso_size : o->data_len;
	do {
		size_t n = MIN(mss, o->data_len - off);
		bool last = off + n == o->data_len;

		put_be32(head + 4, g.seq + (uint32_t)off);
		head[13] = last ? g.flags : g.flags & (uint8_t) ~(TCP_FIN | TCP_PSH);
		sim_wire(e, head, o->head_len, data + off, n);
		off += n;
	} while (off < o->data_len);
	free(data);
	return true;
}

/* ---- the application ------------------------------------------------------ */

static void sim_read(struct sim_end *e, size_t max)
{
	struct sim *s = e->sim;
	const uint8_t *p[2];
	size_t len[2], n = MIN(tcp_rx_peek(e->t, p, len), max);

	for (size_t i = 0; i < n; i++) {
		uint8_t b = i < len[0] ? p[0][i] : p[1][i - len[0]];

		SIM_CHECK(s, b == sim_byte(s, !e->idx, e->received + i), "byte %llu of end %d",
			  (unsigned long long)(e->received + i), !e->idx);
	}
	if (n) {
		e->received += n;
		s->last_progress = s->now;
		tcp_rx_consume(e->t, n, s->now);
	}
	if (tcp_rx_eof(e->t) && tcp_rx_peek(e->t, p, len) == 0 && !e->reset) {
		SIM_CHECK(s, e->received == s->e[!e->idx].sent && s->e[!e->idx].shut,
			  "eof after %llu of %u", (unsigned long long)e->received,
			  s->c.bytes_of[!e->idx]);
		e->eof_seen = true;
	}
}

/* As the relay does: not before the last supply is out, and not much more than can go. */
static void sim_supply(struct sim_end *e, size_t max)
{
	struct sim *s = e->sim;
	size_t n = tcp_tx_wanted(e->t);

	if (tcp_tx_wait(e->t))
		return;
	if (!n)
		n = 1 + sim_rand(s) % 3000;
	n = MIN(MIN(n, max), s->c.bytes_of[e->idx] - e->sent);
	if (n) {
		e->sent += n;
		tcp_tx_supply(e->t, n, s->now);
	}
	if (e->sent == s->c.bytes_of[e->idx]) {
		e->shut = true;
		tcp_shutdown(e->t, s->now);
	}
}

static void sim_write(struct sim_end *e, size_t max)
{
	struct sim *s = e->sim;
	uint8_t *p[2];
	size_t len[2], n;

	if (e->closed || e->shut || s->now < e->silent_until || !strcmp(tcp_state_name(e->t), "NEW"))
		return;
	if (s->c.external && (!tcp_tx_room(e->t) || sim_chance(s, 500))) {
		sim_supply(e, max);
		return;
	}
	n = MIN(tcp_tx_space(e->t, p, len), max);
	n = MIN(n, s->c.bytes_of[e->idx] - e->sent);
	for (size_t i = 0; i < n; i++)
		*(i < len[0] ? p[0] + i : p[1] + i - len[0]) = sim_byte(s, e->idx, e->sent + i);
	if (n) {
		e->sent += n;
		tcp_tx_commit(e->t, n, s->now);
	}
	if (e->sent == s->c.bytes_of[e->idx] && !e->shut) {
		e->shut = true;
		tcp_shutdown(e->t, s->now);
	}
}

static void sim_note(struct tcp *t, enum tcp_note n)
{
	struct sim_end *e = tcp_owner(t);

	SIM_CHECK(e->sim, !e->closed, "note %d after TCP_CLOSED", (int)n);
	switch (n) {
	case TCP_ESTABLISHED:
		e->established = true;
		break;
	case TCP_READABLE:
		if (!e->sim->c.slow_reader)
			sim_read(e, SIZE_MAX);
		break;
	case TCP_WRITABLE:
		sim_write(e, SIZE_MAX);
		break;
	case TCP_RESET_BY_PEER:
		e->reset = true;
		break;
	case TCP_TIMED_OUT:
		e->timed_out = true;
		break;
	case TCP_CLOSED:
		e->closed = true;
		break;
	}
}

static void sim_set_timer(struct tcp *t, uint64_t when)
{
	struct sim_end *e = tcp_owner(t);

	e->timer = when;
}

static const struct tcp_ops sim_ops = { .emit = sim_emit,
					.note = sim_note,
					.set_timer = sim_set_timer };

static void sim_app(struct sim_end *e)
{
	struct sim *s = e->sim;

	if (sim_chance(s, s->c.idle)) {
		e->next_app = e->silent_until = s->now + sim_rand(s) % (600 * NS_PER_S) + 1;
		return;
	}
	sim_write(e, 1 + sim_rand(s) % (s->c.slow_reader ? 5000 : 200000));
	if (s->c.slow_reader)
		sim_read(e, 1 + sim_rand(s) % 20000);
	e->next_app = s->now + 1 + sim_rand(s) % (s->c.slow_reader ? 50 * NS_PER_MS : NS_PER_MS);
}

/* ---- a run ---------------------------------------------------------------- */

static void sim_deliver(struct sim *s)
{
	struct sim_packet *p = s->queue;
	struct sim_end *e = &s->e[p->to];
	struct tcp_seg g;

	s->queue = p->next;
	SIM_CHECK(s, tcp_seg_parse(p->bytes, p->len, &g) == 0, "parse");
	if (s->trace)
		print_message("%.6f          > [%d] %s seq=%u len=%zu ack=%u wnd=%u flags=%02x\n",
			      (double)s->now / 1e9, p->to, tcp_state_name(e->t), g.seq, g.len,
			      g.ack, g.wnd, g.flags);
	if (e->closed) {
		struct tcp_out o;

		if (tcp_refuse(&g, &o))
			sim_wire(e, o.head, o.head_len, NULL, 0);
	} else if (!strcmp(tcp_state_name(e->t), "NEW")) {
		if ((g.flags & (TCP_SYN | TCP_ACK)) == TCP_SYN) {
			tcp_syn_received(e->t, &g, s->now);
			tcp_accept(e->t, s->now);
		}
	} else {
		tcp_input(e->t, &g, s->now);
	}
	free(p);
}

static void sim_invariants(struct sim *s)
{
	size_t floors = 2 * (65536 + 65536);

	SIM_CHECK(s, s->stack.mem_used <= s->stack.mem_max + floors, "%zu", s->stack.mem_used);
	for (int i = 0; i < 2; i++) {
		uint64_t a = tcp_acked_bytes(s->e[i].t);

		SIM_CHECK(s, a >= s->e[i].acked && a <= s->e[i].sent, "acked %llu",
			  (unsigned long long)a);
		if (a > s->e[i].acked)
			s->last_progress = s->now;
		s->e[i].acked = a;
	}
}

static void sim_earlier(uint64_t *when, uint64_t t)
{
	if (t && t < *when)
		*when = t;
}

/* One event. False: nothing will ever happen again. */
static bool sim_step(struct sim *s)
{
	uint64_t when = UINT64_MAX;

	for (int i = 0; i < 2; i++) {
		sim_earlier(&when, s->e[i].timer);
		if (s->e[i].link_full)
			sim_earlier(&when, s->e[i].link_ready_at);
		if (!s->e[i].closed && !(s->e[i].shut && s->e[i].eof_seen))
			sim_earlier(&when, s->e[i].next_app);
	}
	if (s->queue)
		sim_earlier(&when, s->queue->at);
	if (when == UINT64_MAX)
		return false;
	s->now = MAX(s->now, when);
	s->events++;
	if (s->queue && s->queue->at <= s->now) {
		sim_deliver(s);
		return true;
	}
	for (int i = 0; i < 2; i++) {
		struct sim_end *e = &s->e[i];

		if (e->timer && e->timer <= s->now) {
			e->timer = 0;
			tcp_timer(e->t, s->now);
		} else if (e->link_full && e->link_ready_at <= s->now) {
			e->link_full = false;
			tcp_link_ready(e->t, s->now);
		} else if (!e->closed && e->next_app && e->next_app <= s->now) {
			sim_app(e);
		} else {
			continue;
		}
		return true;
	}
	return true;
}

static void sim_init(struct sim *s, const struct sim_config *c)
{
	memset(s, 0, sizeof(*s));
	s->c = *c;
	s->trace = getenv("TCP_SIM_TRACE") && strtoull(getenv("TCP_SIM_TRACE"), NULL, 10) == c->seed;
	s->rng = c->seed * UINT64_C(0x9e3779b97f4a7c15) + 88172645463325252u;
	s->now = s->last_progress = NS_PER_S;
	s->stack = (struct tcp_stack){
		.ops = &sim_ops,
		.isn_key = { { c->seed, 42 } },
		.mss4 = 1460,
		.mss6 = 1440,
		.tso_max = c->tso_max,
		.rx_max = c->rx_max,
		.tx_max = c->tx_max,
		.mem_max = c->mem_max,
		.keep_idle = c->keep_idle,
	};
	for (int i = 0; i < 2; i++) {
		s->e[i].sim = s;
		s->e[i].idx = i;
		s->e[i].ep =
			(struct endpoint){ ip4(10, 0, 0, (uint8_t)(i + 1)), (uint16_t)(1000 + i) };
		s->e[i].next_app = s->now + 1;
	}
	for (int i = 0; i < 2; i++)
		assert_int_equal(tcp_new(&s->stack, &s->e[i].ep, &s->e[!i].ep, &s->e[i], &s->e[i].t),
				 0);
	for (int i = 0; i < 2 && c->external; i++)
		tcp_tx_external(s->e[i].t);
}

static void sim_fini(struct sim *s)
{
	while (s->queue) {
		struct sim_packet *p = s->queue;

		s->queue = p->next;
		free(p);
	}
	for (int i = 0; i < 2; i++)
		tcp_free(s->e[i].t);
	assert_int_equal(s->stack.mem_used, 0);
	assert_int_equal(s->stack.mem_alloc, 0);
}

/* Until both ends are closed or nothing is left to happen. */
static void sim_run(struct sim *s)
{
	tcp_connect(s->e[0].t, s->now);
	if (s->c.simultaneous_open)
		tcp_connect(s->e[1].t, s->now);
	while (!(s->e[0].closed && s->e[1].closed) && sim_step(s)) {
		sim_invariants(s);
		if (s->e[0].closed && !s->queue && !strcmp(tcp_state_name(s->e[1].t), "NEW"))
			break;
		SIM_CHECK(s, s->now - s->last_progress < SIM_STALL * (s->c.idle ? 10 : 1),
			  "stalled: %llu/%u %llu/%u", (unsigned long long)s->e[1].received,
			  s->c.bytes_of[0], (unsigned long long)s->e[0].received, s->c.bytes_of[1]);
		SIM_CHECK(s, s->events < 5000000, "runs for ever");
		if (s->c.abort_at >= 0 && s->events == (unsigned long)s->c.abort_at)
			tcp_abort(s->e[0].t, s->now);
		if (s->c.close_at >= 0 && s->events == (unsigned long)s->c.close_at) {
			s->e[1].shut = s->e[1].eof_seen = true;
			tcp_close(s->e[1].t, s->now);
		}
	}
}

/* Both streams complete and both ends closed in order. */
static void sim_expect_complete(struct sim *s)
{
	for (int i = 0; i < 2; i++) {
		SIM_CHECK(s, s->e[i].closed, "end %d", i);
		SIM_CHECK(s, !s->e[i].reset && !s->e[i].timed_out, "end %d", i);
		SIM_CHECK(s, s->e[i].received == s->c.bytes_of[!i], "end %d: %llu of %u", i,
			  (unsigned long long)s->e[i].received, s->c.bytes_of[!i]);
		SIM_CHECK(s, s->e[i].acked == s->c.bytes_of[i], "end %d", i);
	}
}

#endif
