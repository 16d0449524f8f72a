/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The flow table and a flow's life.
 *
 *    NEW ──decided──► OPEN ──end──► DEAD ──loop task──► freed
 *     └──refused, reset──────────────┘▲
 *                      OPEN ──end──► ZOMBIE (TCP: the engine is not done yet)
 *
 * Lookups hash the tuple with a random key (SipHash), so a guest cannot aim
 * collisions; nothing here walks flows per packet. limit.c says whether a new
 * flow has room; without, it is refused, reported and answered.
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
	/* A batch of the link is mostly one flow's. */
	if (ns->found_last && tuple_equal(&ns->found_last->t, t))
		return ns->found_last;
	hmap_for_hash (it, &ns->flows, tuple_hash(ns, t)) {
		struct netstack_flow *f = container_of(it, struct netstack_flow, node);

		if (tuple_equal(&f->t, t)) {
			ns->found_last = f;
			return f;
		}
	}
	return NULL;
}

static struct netstack_flow *no_room(struct netstack *ns, enum netstack_refusal why)
{
	ns->why_full = why;
	if (why == NETSTACK_MEMORY)
		ns->stats.refused_memory++;
	else
		ns->stats.refused_limit++;
	return NULL;
}

struct netstack_flow *flow_create(struct netstack *ns, const struct netstack_tuple *t)
{
	struct netstack_flow *f;

	if (ns->dying || !limit_admit(ns, t))
		return no_room(ns, ns->why_full);
	f = pool_get(&ns->pool);
	if (!f)
		return no_room(ns, NETSTACK_MEMORY);
	f->ns = ns;
	f->t = *t;
	f->fd = -1;
	f->state = FLOW_NEW;
	f->c.start_ns = f->active_ns = ns_now(ns);
	f->pending_tail = &f->pending;
	list_init(&f->all);
	list_init(&f->work);
	list_init(&f->blocked);
	rate_flow_init(f);
	list_init(&f->half_all);
	list_init(&f->half_dest);
	if (t->proto == NETSTACK_TCP && (relay_tcp_open(f) < 0 || !limit_half_open(f))) {
		tcp_free(f->tcp);
		pool_put(&ns->pool, f);
		return no_room(ns, NETSTACK_MEMORY);
	}
	if (t->proto == NETSTACK_TCP)
		list_add_tail(&ns->live[t->proto], &f->all);
	else
		relay_dgram_touch(f);
	ns->live_n[t->proto]++;
	ns->stats.by_proto[t->proto].flows++;
	limit_flows_changed(ns);
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
	if (!limit_mem_take(f->ns, head_len + len))
		return false;
	p = malloc(sizeof(*p) + head_len + len);
	if (!p) {
		limit_mem_give(f->ns, head_len + len);
		return false;
	}
	p->next = NULL;
	p->len = head_len + len;
	p->payload = head_len;
	p->seq = seq;
	if (head_len)
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
	limit_mem_give(f->ns, p->len);
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

	/* Ours alone: what went to somebody else was detached before. */
	loop_io_closing(&f->io);
	/* Means nothing on an AF_UNIX socket, where close alone is all one can say. */
	if (f->fd >= 0 && reset && f->t.proto == NETSTACK_TCP)
		(void)setsockopt(f->fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	fd_close(steal_fd(&f->fd));
}

static void to_dead(struct netstack_flow *f)
{
	struct netstack *ns = f->ns;

	hmap_remove(&ns->flows, &f->node);
	if (ns->found_last == f)
		ns->found_last = NULL;
	loop_timer_del(ns->loop, &f->timer);
	list_del(&f->work);
	list_del(&f->blocked);
	list_del(&f->all);
	f->state = FLOW_DEAD;
	list_add_tail(&ns->dead, &f->all);
	loop_task_queue(ns->loop, &ns->task);
}

static void to_zombie(struct netstack_flow *f)
{
	list_del(&f->all);
	f->state = FLOW_ZOMBIE;
	list_add_tail(&f->ns->zombies, &f->all);
	f->ns->zombie_n++;
}

void flow_bury(struct netstack_flow *f)
{
	assert(f->state == FLOW_ZOMBIE);
	f->ns->zombie_n--;
	to_dead(f);
}

static void count_total(struct netstack_totals *t, const struct netstack_counts *c)
{
	t->bytes_up += c->bytes_up;
	t->bytes_down += c->bytes_down;
	t->packets_up += c->packets_up;
	t->packets_down += c->packets_down;
}

static void count_all(struct netstack_totals *t, const struct list *flows)
{
	list_for_each (it, flows) {
		struct netstack_counts c =
			netstack_flow_counts(container_of(it, struct netstack_flow, all));

		count_total(t, &c);
	}
}

void flow_totals(const struct netstack *ns, struct netstack_totals ret[static 4])
{
	memcpy(ret, ns->stats.by_proto, sizeof(ns->stats.by_proto));
	for (unsigned i = NETSTACK_TCP; i <= NETSTACK_ICMP; i++) {
		count_all(&ret[i], &ns->live[i]);
		count_all(&ret[i], &ns->unanswered[i]);
	}
}

void flow_finish(struct netstack_flow *f, enum netstack_end how)
{
	struct netstack *ns = f->ns;
	struct netstack_counts c;

	if (!flow_live(f))
		return;
	rate_flow_end(f);
	/* What was put aside for its socket still goes out, and counts. */
	dgram_sock_leave(f);
	c = netstack_flow_counts(f);
	relay_source_end(f);
	close_fd(f, how != NETSTACK_END_CLOSED);
	loop_timer_del(ns->loop, &f->aux);
	flow_drop_pending(f);
	limit_half_open_end(f);
	count_total(&ns->stats.by_proto[f->t.proto], &c);
	ns->live_n[f->t.proto]--;
	limit_flows_changed(ns);
	/* A peer that never hears of the reset waits for ever. */
	if (f->tcp && !ns->dying && !list_empty(&f->blocked) && tcp_rst_waits(f->tcp))
		to_zombie(f);
	else if (how == NETSTACK_END_CLOSED && f->tcp && !f->tcp_closed)
		to_zombie(f);
	else
		to_dead(f);
	ns->ops->flow_end(ns->ctx, f, how, &c);
}

void flow_free_dead(struct netstack *ns)
{
	dgram_sock_free_dead(ns);
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

void flow_later(struct netstack_flow *f)
{
	if (f->state == FLOW_DEAD || !list_empty(&f->work))
		return;
	list_add_tail(&f->ns->later, &f->work);
	if (!loop_timer_armed(&f->ns->again))
		loop_timer_set(f->ns->loop, &f->ns->again, ns_now(f->ns));
}

/* A timer and not a task: tasks run until there are none, before descriptors are asked. */
void flow_again_timer(struct loop_timer *t)
{
	struct netstack *ns = container_of(t, struct netstack, again);

	while (!list_empty(&ns->later)) {
		struct netstack_flow *f = container_of(ns->later.next, struct netstack_flow, work);

		list_del(&f->work);
		flow_work(f);
	}
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
		else if (!f->tcp)
			relay_dgram_link_ready(f);
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
		if (f->state == FLOW_ZOMBIE)
			flow_bury(f);
		else
			flow_finish(f, NETSTACK_END_TIMEOUT);
	}
}

void flow_run_work(struct loop_task *t)
{
	struct netstack *ns = container_of(t, struct netstack, task);

	ns_enter(ns);
	if (!ns->link_full && ns->mac_known) {
		wake_blocked(ns);
		relay_dgram_wake_socks(ns);
	}
	while (!list_empty(&ns->work) && !ns->dying) {
		struct netstack_flow *f = container_of(ns->work.next, struct netstack_flow, work);

		list_del(&f->work);
		relay_tcp_run(f);
	}
	flow_free_dead(ns);
	if (ns->link && ns->link->drv->flush)
		ns->link->drv->flush(ns->link);
	ns_leave(ns);
}

void flow_refuse_limit(struct netstack *ns, const struct netstack_tuple *t, const struct ip_pkt *k)
{
	if (t->proto != NETSTACK_TCP)
		icmp_refusal(ns, k->l3, k->l3_len, ns->why_full);
	if (ns->ops->packet_refused)
		ns->ops->packet_refused(ns->ctx, t, k->proto, ns->why_full);
}
