/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The flow table and a flow's life.
 *
 *    NEW ──decided──► OPEN ──end──► DEAD ──loop task──► freed
 *     └──refused, reset──────────────┘▲
 *                      OPEN ──end──► ZOMBIE (TCP: the engine is not done yet)
 *
 * Lookups hash the tuple with a random key (SipHash), so a guest cannot aim
 * collisions; nothing here walks flows per packet. The limit per protocol
 * counts live flows and TIME-WAIT remains together; at the limit the oldest
 * remains go first, then new flows are refused, reported and answered.
 *
 * A flow ends exactly once (flow_finish). Its memory stays until the loop's
 * next task run, so whoever is on the stack above may still look at its state.
 */
#include "netstack/netstack_internal.h"

#include <unistd.h>

struct key {
	uint8_t proto, family;
	uint8_t guest_port[2], remote_port[2];
	uint8_t guest[16], remote[16];
};

static uint64_t tuple_hash(const struct netstack *ns, const struct netstack_tuple *t)
{
	struct key k = { .proto = (uint8_t)t->proto, .family = t->guest.addr.family };

	put_be16(k.guest_port, t->guest.port);
	put_be16(k.remote_port, t->remote.port);
	memcpy(k.guest, t->guest.addr.b, 16);
	memcpy(k.remote, t->remote.addr.b, 16);
	return hash_bytes(&ns->key, &k, sizeof(k));
}

static bool tuple_equal(const struct netstack_tuple *a, const struct netstack_tuple *b)
{
	return a->proto == b->proto && a->guest.port == b->guest.port &&
	       a->remote.port == b->remote.port && ip_equal(&a->guest.addr, &b->guest.addr) &&
	       ip_equal(&a->remote.addr, &b->remote.addr);
}

struct netstack_flow *flow_find(struct netstack *ns, const struct netstack_tuple *t)
{
	hmap_for_hash (it, &ns->flows, tuple_hash(ns, t)) {
		struct netstack_flow *f = container_of(it, struct netstack_flow, node);

		if (tuple_equal(&f->t, t))
			return f;
	}
	return NULL;
}

static uint32_t limit_of(const struct netstack *ns, enum netstack_proto proto)
{
	if (proto == NETSTACK_TCP)
		return ns->cfg.max_tcp;
	return proto == NETSTACK_UDP ? ns->cfg.max_udp : ns->cfg.max_icmp;
}

static bool make_room(struct netstack *ns, enum netstack_proto proto)
{
	uint32_t limit = limit_of(ns, proto);

	if (ns->live_n[proto] >= limit)
		return false;
	if (proto == NETSTACK_TCP && ns->live_n[proto] + ns->zombie_n >= limit)
		flow_bury(container_of(ns->zombies.next, struct netstack_flow, all));
	return true;
}

struct netstack_flow *flow_create(struct netstack *ns, const struct netstack_tuple *t)
{
	struct netstack_flow *f = NULL;

	if (!ns->dying && make_room(ns, t->proto))
		f = pool_get(&ns->pool);
	if (!f) {
		ns->stats.refused_limit++;
		return NULL;
	}
	f->ns = ns;
	f->t = *t;
	f->fd = -1;
	f->state = FLOW_NEW;
	f->c.start_ns = f->active_ns = ns_now(ns);
	f->pending_tail = &f->pending;
	list_init(&f->work);
	list_init(&f->blocked);
	if (t->proto == NETSTACK_TCP && relay_tcp_open(f) < 0) {
		pool_put(&ns->pool, f);
		ns->stats.refused_limit++;
		return NULL;
	}
	if (t->proto != NETSTACK_TCP)
		relay_dgram_touch(f);
	ns->live_n[t->proto]++;
	list_add_tail(&ns->live, &f->all);
	hmap_insert(&ns->flows, &f->node, tuple_hash(ns, t));
	return f;
}

/* ---- packets that wait for the decision ------------------------------- */

bool flow_keep(struct netstack_flow *f, const uint8_t *head, size_t head_len,
	       const uint8_t *payload, size_t len, uint16_t seq)
{
	struct flow_pending *p;

	if (f->pending_n >= LIMIT_PENDING_PACKETS ||
	    f->pending_bytes + head_len + len > LIMIT_PENDING_BYTES + LIMIT_IP6_CHAIN)
		return false;
	p = malloc(sizeof(*p) + head_len + len);
	if (!p)
		return false;
	p->next = NULL;
	p->len = head_len + len;
	p->payload = head_len;
	p->seq = seq;
	memcpy(p->bytes, head, head_len);
	if (len)
		memcpy(p->bytes + head_len, payload, len);
	*f->pending_tail = p;
	f->pending_tail = &p->next;
	f->pending_n++;
	f->pending_bytes += p->len;
	return true;
}

struct flow_pending *flow_take_pending(struct netstack_flow *f)
{
	struct flow_pending *p = f->pending;

	if (!p)
		return NULL;
	f->pending = p->next;
	if (!f->pending)
		f->pending_tail = &f->pending;
	f->pending_n--;
	f->pending_bytes -= p->len;
	return p;
}

void flow_drop_pending(struct netstack_flow *f)
{
	struct flow_pending *p;

	while ((p = flow_take_pending(f)))
		free(p);
}

/* ---- the end ---------------------------------------------------------- */

static void close_fd(struct netstack_flow *f, bool reset)
{
	struct linger now = { .l_onoff = 1, .l_linger = 0 };

	loop_io_del(&f->io);
	/* Means nothing on an AF_UNIX socket, where close alone is all one can say. */
	if (f->fd >= 0 && reset && f->t.proto == NETSTACK_TCP)
		(void)setsockopt(f->fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	fd_close(steal_fd(&f->fd));
}

static void to_dead(struct netstack_flow *f)
{
	struct netstack *ns = f->ns;

	hmap_remove(&ns->flows, &f->node);
	loop_timer_del(ns->loop, &f->timer);
	list_del(&f->work);
	list_del(&f->blocked);
	list_del(&f->all);
	f->state = FLOW_DEAD;
	list_add_tail(&ns->dead, &f->all);
	loop_task_queue(ns->loop, &ns->task);
}

void flow_bury(struct netstack_flow *f)
{
	assert(f->state == FLOW_ZOMBIE);
	f->ns->zombie_n--;
	to_dead(f);
}

void flow_finish(struct netstack_flow *f, enum netstack_end how)
{
	struct netstack *ns = f->ns;
	struct netstack_counts c;

	if (!flow_live(f))
		return;
	c = netstack_flow_counts(f);
	close_fd(f, how != NETSTACK_END_CLOSED);
	loop_timer_del(ns->loop, &f->aux);
	flow_drop_pending(f);
	ns->live_n[f->t.proto]--;
	if (how == NETSTACK_END_CLOSED && f->tcp && !f->tcp_closed) {
		list_del(&f->all);
		f->state = FLOW_ZOMBIE;
		list_add_tail(&ns->zombies, &f->all);
		ns->zombie_n++;
	} else {
		to_dead(f);
	}
	ns->ops->flow_end(ns->ctx, f, how, &c);
}

void flow_free_dead(struct netstack *ns)
{
	while (!list_empty(&ns->dead)) {
		struct netstack_flow *f = container_of(ns->dead.next, struct netstack_flow, all);

		list_del(&f->all);
		tcp_free(f->tcp);
		pool_put(&ns->pool, f);
	}
}

/* ---- work off the engine's notes -------------------------------------- */

void flow_work(struct netstack_flow *f)
{
	if (f->state == FLOW_DEAD)
		return;
	if (list_empty(&f->work))
		list_add_tail(&f->ns->work, &f->work);
	loop_task_queue(f->ns->loop, &f->ns->task);
}

/* The link takes frames again: those that wait, in the order in which they began to. */
static void wake_blocked(struct netstack *ns)
{
	struct list waiting;

	if (list_empty(&ns->blocked))
		return;
	waiting = ns->blocked;
	waiting.next->prev = waiting.prev->next = &waiting;
	list_init(&ns->blocked);
	while (!list_empty(&waiting)) {
		struct netstack_flow *f = container_of(waiting.next, struct netstack_flow, blocked);

		list_del(&f->blocked);
		if (ns->link_full || !ns->mac_known)
			list_add_tail(&ns->blocked, &f->blocked);
		else
			tcp_link_ready(f->tcp, ns_now(ns));
	}
}

void flow_fail_blocked(struct netstack *ns)
{
	while (!list_empty(&ns->blocked)) {
		struct netstack_flow *f =
			container_of(ns->blocked.next, struct netstack_flow, blocked);

		list_del(&f->blocked);
		flow_finish(f, NETSTACK_END_TIMEOUT);
	}
}

void flow_run_work(struct loop_task *t)
{
	struct netstack *ns = container_of(t, struct netstack, task);

	ns_enter(ns);
	if (!ns->link_full && ns->mac_known)
		wake_blocked(ns);
	while (!list_empty(&ns->work) && !ns->dying) {
		struct netstack_flow *f = container_of(ns->work.next, struct netstack_flow, work);

		list_del(&f->work);
		relay_tcp_run(f);
	}
	flow_free_dead(ns);
	ns_leave(ns);
}

/* ---- the owner's calls ------------------------------------------------ */

const struct netstack_tuple *netstack_flow_tuple(const struct netstack_flow *f)
{
	return &f->t;
}

void netstack_flow_set_user(struct netstack_flow *f, void *user)
{
	f->user = user;
}

void *netstack_flow_user(const struct netstack_flow *f)
{
	return f->user;
}

struct netstack_counts netstack_flow_counts(const struct netstack_flow *f)
{
	struct netstack_counts c = f->c;

	if (f->tcp)
		c.bytes_down = tcp_acked_bytes(f->tcp);
	return c;
}

void flow_refuse_limit(struct netstack *ns, const struct netstack_tuple *t, const struct ip_pkt *k)
{
	if (t->proto != NETSTACK_TCP)
		icmp_refusal(ns, k->l3, k->l3_len, NETSTACK_LIMIT);
	if (ns->ops->packet_refused)
		ns->ops->packet_refused(ns->ctx, t, k->proto, NETSTACK_LIMIT);
}

static bool answered_by_icmp(const struct netstack_flow *f, enum netstack_refusal how)
{
	if (f->state != FLOW_NEW || !f->pending)
		return false;
	return f->t.proto != NETSTACK_TCP || how == NETSTACK_NO_HOST || how == NETSTACK_NO_NET;
}

void netstack_flow_refuse(struct netstack_flow *f, enum netstack_refusal how)
{
	struct netstack *ns = f->ns;

	if (!flow_live(f))
		return;
	ns_enter(ns);
	if (answered_by_icmp(f, how))
		icmp_refusal(ns, f->pending->bytes, f->pending->len, how);
	else if (f->t.proto == NETSTACK_TCP && how != NETSTACK_SILENT)
		relay_tcp_rst(f);
	flow_finish(f, how == NETSTACK_LIMIT ? NETSTACK_END_LIMIT : NETSTACK_END_REFUSED);
	ns_leave(ns);
}

void netstack_flow_attach(struct netstack_flow *f, int fd, bool hold)
{
	struct netstack *ns = f->ns;

	/* Ended while the owner was still dialling: the descriptor has no use. */
	if (!flow_live(f)) {
		fd_close(fd);
		return;
	}
	assert(f->fd < 0 && !f->local);
	ns_enter(ns);
	if (f->t.proto == NETSTACK_TCP)
		relay_tcp_attach(f, fd, hold);
	else
		relay_dgram_attach(f, fd);
	ns_leave(ns);
}

void netstack_flow_local(struct netstack_flow *f)
{
	struct netstack *ns = f->ns;

	assert(f->t.proto != NETSTACK_TCP && f->fd < 0);
	if (!flow_live(f) || f->local)
		return;
	ns_enter(ns);
	relay_dgram_local(f);
	ns_leave(ns);
}

void netstack_flow_send(struct netstack_flow *f, const void *p, size_t len)
{
	bool sent;

	if (!flow_live(f) || !f->local)
		return;
	relay_dgram_touch(f);
	sent = f->t.proto == NETSTACK_UDP ? udp_send(f, p, len)
					  : icmp_echo_reply(f, f->echo_seq, p, len);
	if (!sent) {
		f->ns->stats.dropped_link_full++;
		return;
	}
	f->c.packets_down++;
	f->c.bytes_down += len;
}

void netstack_flow_abort(struct netstack_flow *f)
{
	struct netstack *ns = f->ns;

	if (!flow_live(f))
		return;
	ns_enter(ns);
	if (f->t.proto == NETSTACK_TCP)
		relay_tcp_rst(f);
	flow_finish(f, NETSTACK_END_ABORTED);
	ns_leave(ns);
}
