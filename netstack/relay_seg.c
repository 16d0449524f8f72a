/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TCP segments between IP and the engine: which connection one belongs to,
 * new connections, resets for those that belong to none.
 *
 * The engine calls us from inside its functions (relay_tcp_ops); there we only
 * take notes, which relay_tcp_run() works off from the loop's task list, once
 * per batch of frames. So the owner is never called from inside the engine.
 */
#include "netstack/netstack_internal.h"

#include <linux/tcp.h>

/* ---- the engine's side ------------------------------------------------ */

static struct ip_out tcp_packet(const struct netstack_tuple *t, const struct tcp_out *s)
{
	uint8_t gso = t->guest.addr.family == 4 ? LINK_GSO_TCP4 : LINK_GSO_TCP6;

	return (struct ip_out){
		.src = &t->remote.addr,
		.dst = &t->guest.addr,
		.proto = IPPROTO_TCP,
		.head = s->head,
		.head_len = s->head_len,
		.csum_off = 16,
		.gso = s->gso_size ? gso : LINK_GSO_NONE,
		.gso_size = s->gso_size,
	};
}

static bool send_segment(struct netstack *ns, const struct netstack_tuple *t,
			 const struct tcp_out *s, const uint8_t *payload)
{
	struct ip_out o = tcp_packet(t, s);

	for (unsigned i = 0; i < 2 && !s->external; i++)
		if (s->data[i].len)
			o.data[o.n_data++] =
				(struct iovec){ (void *)(uintptr_t)s->data[i].p, s->data[i].len };
	if (s->external) {
		o.n_data = 1;
		o.data[0] = (struct iovec){ (void *)(uintptr_t)payload, s->data_len };
	}
	return ip_send(ns, &o);
}

struct in_place {
	struct netstack_flow *f;
	uint64_t offset;
};

static int fill(void *ctx, struct iovec *iov, unsigned n, size_t len)
{
	const struct in_place *p = ctx;

	return relay_source_fill(p->f, p->offset, iov, n, len);
}

/* From the socket straight into the guest's memory: 0, -EAGAIN, or an error: not that way. */
static int send_in_place(struct netstack_flow *f, const struct tcp_out *s)
{
	struct in_place p = { f, s->offset };
	struct eth_fill how = { fill, &p };
	struct ip_out o;

	if (s->data_len < LIMIT_IN_PLACE || relay_source_at_hand(f, s->offset, s->data_len))
		return -EOPNOTSUPP;
	o = tcp_packet(&f->t, s);
	return ip_send_in_place(f->ns, &o, s->data_len, &how);
}

/* False: the link takes no more, or cannot send it at all. */
static bool send_external(struct netstack_flow *f, const struct tcp_out *s)
{
	const uint8_t *payload;
	int r;

	if (f->ns->link_full)
		return false;
	r = send_in_place(f, s);
	if (r == 0 || r == -EAGAIN)
		return r == 0;
	payload = relay_source_fetch(f, s->offset, s->data_len);
	if (payload)
		return send_segment(f->ns, &f->t, s, payload);
	/* The connection cannot go on; relay_tcp_run() ends it. */
	f->lost = true;
	flow_work(f);
	return true;
}

static bool on_emit(struct tcp *t, const struct tcp_out *s)
{
	struct netstack_flow *f = tcp_owner(t);
	bool sent;

	if (f->state == FLOW_DEAD)
		return true;
	sent = s->external ? send_external(f, s) : send_segment(f->ns, &f->t, s, NULL);
	if (sent) {
		f->c.packets_down++;
		return true;
	}
	if (list_empty(&f->blocked))
		list_add_tail(&f->ns->blocked, &f->blocked);
	return false;
}

static void on_note(struct tcp *t, enum tcp_note n)
{
	struct netstack_flow *f = tcp_owner(t);

	f->notes |= 1u << n;
	flow_work(f);
}

static void on_set_timer(struct tcp *t, uint64_t when)
{
	struct netstack_flow *f = tcp_owner(t);

	if (f->state == FLOW_DEAD || when == 0)
		loop_timer_del(f->ns->loop, &f->timer);
	else
		loop_timer_set(f->ns->loop, &f->timer, when);
}

static size_t on_direct(struct tcp *t, const struct iovec *iov, unsigned n)
{
	return relay_tcp_direct(tcp_owner(t), iov, n);
}

const struct tcp_ops relay_tcp_ops = {
	.emit = on_emit,
	.note = on_note,
	.direct = on_direct,
	.set_timer = on_set_timer,
};

static void on_timer(struct loop_timer *t)
{
	struct netstack_flow *f = container_of(t, struct netstack_flow, timer);
	struct netstack *ns = f->ns;

	ns_enter(ns);
	tcp_timer(f->tcp, ns_now(ns));
	ns_leave(ns);
}

static void on_aux_timer(struct loop_timer *t)
{
	struct netstack_flow *f = container_of(t, struct netstack_flow, aux);

	f->consume = true;
	flow_work(f);
}

int relay_tcp_open(struct netstack_flow *f)
{
	f->timer.cb = on_timer;
	f->aux.cb = on_aux_timer;
	return tcp_new(&f->ns->tcp, &f->t.remote, &f->t.guest, f, &f->tcp);
}

/* ---- segments from the guest ------------------------------------------ */

/* The headers are what a refusal answers to; data on a SYN is not needed for it. */
static void keep_syn(struct netstack_flow *f, const struct ip_pkt *k, const struct tcp_seg *s)
{
	flow_drop_pending(f);
	(void)flow_keep(f, k->l3, (size_t)(k->l4 - k->l3), k->l4,
			k->l4_len - (s->len - s->tail_len), 0);
}

static void open_flow(struct netstack *ns, const struct netstack_tuple *t, const struct ip_pkt *k,
		      const struct tcp_seg *s)
{
	struct netstack_flow *f = flow_create(ns, t);
	struct tcp_out rst;

	if (!f) {
		if (tcp_refuse(s, &rst))
			(void)send_segment(ns, t, &rst, NULL);
		flow_refuse_limit(ns, t, k);
		return;
	}
	f->c.packets_up++;
	keep_syn(f, k, s);
	tcp_syn_received(f->tcp, s, ns_now(ns));
	ns->ops->flow_new(ns->ctx, f);
}

/* The guest asks whether the far end lives; our answer would only speak for ourselves. */
static void mirror_keepalive(struct netstack_flow *f)
{
	int one = 1, idle = LIMIT_TCP_KEEP_S;

	if (f->fd < 0)
		return;
	f->keepalive = true;
	(void)setsockopt(f->fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one));
	/* Means nothing on other than TCP sockets. */
	(void)setsockopt(f->fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof(idle));
}

void relay_tcp_too_big(struct netstack *ns, const uint8_t *q, size_t len, uint32_t mtu)
{
	struct netstack_tuple t = { .proto = NETSTACK_TCP };
	bool four = len && q[0] >> 4 == 4;
	size_t off = four ? 20 : IP6_HEAD;
	struct netstack_flow *f;

	/* Our segments have neither IP options nor extension headers, and are not fragments. */
	if (len < off + 8 || q[0] != (four ? 0x45 : q[0]) || (!four && q[0] >> 4 != 6) ||
	    q[four ? 9 : 6] != IPPROTO_TCP || (four && get_be16(q + 6) & 0x3fff))
		return;
	t.remote = (struct endpoint){ ip_from_be(four ? 4 : 6, four ? q + 12 : q + 8),
				      get_be16(q + off) };
	t.guest = (struct endpoint){ ip_from_be(four ? 4 : 6, four ? q + 16 : q + 24),
				     get_be16(q + off + 2) };
	f = flow_find(ns, &t);
	if (f && f->t.proto == NETSTACK_TCP)
		tcp_too_big(f->tcp, get_be32(q + off + 4), mtu, ns_now(ns));
}

void relay_tcp_input(struct netstack *ns, const struct ip_pkt *k)
{
	struct netstack_tuple t = { .proto = NETSTACK_TCP };
	struct netstack_flow *f;
	struct tcp_seg s;
	struct tcp_out rst;
	bool opening;

	if (!ip_checksum_ok(k, k->l4_len, 16) || tcp_seg_parse(k->l4, k->l4_len, &s) < 0 ||
	    s.src_port == 0 || s.dst_port == 0) {
		ns->stats.dropped_malformed++;
		return;
	}
	s.tail = k->tail;
	s.tail_len = k->tail_len;
	s.len += k->tail_len;
	t.guest = (struct endpoint){ k->src, s.src_port };
	t.remote = (struct endpoint){ k->dst, s.dst_port };
	opening = (s.flags & (TCP_SYN | TCP_ACK | TCP_RST)) == TCP_SYN;
	f = flow_find(ns, &t);
	/*
	 * The guest reuses a port whose last connection is over for it: ours is, too.
	 * In TIME-WAIT the SYN may be an old one that was held up (RFC 6191).
	 */
	if (f && f->state == FLOW_ZOMBIE && opening &&
	    (!tcp_in_time_wait(f->tcp) || tcp_time_wait_reusable(f->tcp, &s))) {
		flow_bury(f);
		f = NULL;
	}
	if (!f) {
		if (opening)
			open_flow(ns, &t, k, &s);
		else if (tcp_refuse(&s, &rst))
			(void)send_segment(ns, &t, &rst, NULL);
		return;
	}
	f->c.packets_up++;
	/* The engine goes by the newest SYN until one is answered; so does a refusal. */
	if (f->state == FLOW_NEW && opening)
		keep_syn(f, k, &s);
	tcp_input(f->tcp, &s, ns_now(ns));
	if (!f->keepalive && tcp_peer_keeps_alive(f->tcp))
		mirror_keepalive(f);
	/* An acknowledgement may be all that a finished direction waits for. */
	if (f->down_done || f->resetting || relay_source_due(f) || relay_source_waits(f))
		flow_work(f);
}

void relay_tcp_rst(struct netstack_flow *f)
{
	struct netstack *ns = f->ns;
	struct tcp_seg s;
	struct tcp_out rst;
	const uint8_t *syn;

	if (f->accepted || !f->pending) {
		tcp_abort(f->tcp, ns_now(ns));
		return;
	}
	/* The SYN was never answered: refuse it as a closed port would. */
	syn = f->pending->bytes + f->pending->payload;
	if (tcp_seg_parse(syn, f->pending->len - f->pending->payload, &s) == 0 && tcp_refuse(&s, &rst))
		(void)send_segment(ns, &f->t, &rst, NULL);
}
