/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which flows may begin, and what all buffers together may hold.
 *
 * Half open: a TCP flow counts as half open until both its sides are
 * established: the far end has answered, and so has the guest. Silent hosts,
 * port scans and SYN floods fill only that share, in which the oldest gives
 * way to the newest; when one remote host has a large part of it, the oldest of
 * that host. So a flow whose two ends answer is through long before its turn
 * to go comes. What is established, and what is in TIME-WAIT, is not touched.
 *
 * Memory: one account for the engine's rings, packets that wait for a
 * decision and fragments. For each connection what it may use under pressure is
 * set aside when it begins, so that the sum stays below the budget whatever the
 * guest does: beyond it windows close (tcp_ring.c) and new flows are refused.
 */
#include "netstack/netstack_internal.h"

#include <malloc.h>

/* While many still come and go what is free is soon used again, and the rings of the last are not free yet. */
static void on_trim(struct loop_timer *t)
{
	struct netstack *ns = container_of(t, struct netstack, trim);
	bool busy = ns->changed >= LIMIT_TRIM_BUSY;

	ns->changed = 0;
	if (busy)
		loop_timer_set(ns->loop, t, ns_now(ns) + LIMIT_TRIM_NS);
	else
		malloc_trim(0);
}

static uint32_t half_open_max(const struct netstack_config *c)
{
	uint32_t n = c->max_half_open ? c->max_half_open
				      : MAX(c->max_tcp / 2, (uint32_t)LIMIT_HALF_OPEN_MIN);

	return MAX(MIN(n, c->max_tcp), 1u);
}

int limit_init(struct netstack *ns)
{
	/* Who asks for many connections gets them, also when none of them holds a byte. */
	if (!ns->cfg.memory)
		ns->cfg.memory = MAX(LIMIT_MEM_DEFAULT,
				     (ns->cfg.max_tcp + UINT64_C(1)) * LIMIT_TCP_FLOW_MEM / 3 * 4);
	ns->trim.cb = on_trim;
	for (unsigned i = 0; i < 2; i++) {
		int r = hmap_init(&ns->half[i].dests, 64);

		if (r < 0)
			return r;
		list_init(&ns->half[i].all);
		ns->half[i].max = half_open_max(&ns->cfg);
	}
	limit_flows_changed(ns);
	return 0;
}

void limit_fini(struct netstack *ns)
{
	loop_timer_del(ns->loop, &ns->trim);
	hmap_fini(&ns->half[0].dests);
	hmap_fini(&ns->half[1].dests);
}

/* ---- memory --------------------------------------------------------------------- */

/* What is left for rings beyond what is set aside. */
static void settle(struct netstack *ns)
{
	uint64_t aside = (uint64_t)ns->live_n[NETSTACK_TCP] * LIMIT_TCP_FLOW_MEM + ns->mem_other;

	ns->tcp.mem_max = ns->cfg.memory > aside ? (size_t)(ns->cfg.memory - aside) : 0;
}

static uint64_t mem_used(const struct netstack *ns)
{
	return ns->tcp.mem_alloc + ns->mem_other;
}

bool limit_mem_take(struct netstack *ns, size_t n)
{
	if (mem_used(ns) + n > ns->cfg.memory)
		return false;
	ns->mem_other += n;
	settle(ns);
	return true;
}

void limit_mem_give(struct netstack *ns, size_t n)
{
	assert(ns->mem_other >= n);
	ns->mem_other -= n;
	settle(ns);
}

static bool memory_for(const struct netstack *ns, const struct netstack_tuple *t)
{
	uint64_t aside = ((uint64_t)ns->live_n[NETSTACK_TCP] + 1) * LIMIT_TCP_FLOW_MEM;

	if (mem_used(ns) >= ns->cfg.memory)
		return false;
	/* A quarter is left for those that are there to use. */
	return t->proto != NETSTACK_TCP || aside <= ns->cfg.memory / 4 * 3;
}

void limit_flows_changed(struct netstack *ns)
{
	settle(ns);
	/* What the rings of idle connections and a flood have left behind in malloc's lists. */
	if (++ns->changed < LIMIT_TRIM_FLOWS || loop_timer_armed(&ns->trim))
		return;
	ns->changed = 0;
	loop_timer_set(ns->loop, &ns->trim, ns_now(ns) + LIMIT_TRIM_NS);
}

/* ---- half open --------------------------------------------------------------------- */

static uint64_t dest_hash(const struct netstack *ns, const struct ip_addr *a)
{
	uint8_t key[17];

	key[0] = a->family;
	memcpy(key + 1, a->b, 16);
	return hash_bytes(&ns->key, key, sizeof(key));
}

static struct half_dest *dest_find(const struct netstack *ns, const struct half_open *h,
				   const struct ip_addr *a)
{
	hmap_for_hash (it, &h->dests, dest_hash(ns, a)) {
		struct half_dest *d = container_of(it, struct half_dest, node);

		if (ip_equal(&d->addr, a))
			return d;
	}
	return NULL;
}

static struct half_dest *dest_get(struct netstack *ns, struct half_open *h, const struct ip_addr *a)
{
	struct half_dest *d = dest_find(ns, h, a);

	if (d)
		return d;
	d = calloc(1, sizeof(*d));
	if (!d)
		return NULL;
	d->addr = *a;
	list_init(&d->flows);
	hmap_insert(&h->dests, &d->node, dest_hash(ns, a));
	return d;
}

bool limit_half_open(struct netstack_flow *f)
{
	struct half_open *h = &f->ns->half[f->t.inbound];
	struct half_dest *d = dest_get(f->ns, h, &f->t.remote.addr);

	if (!d)
		return false;
	f->half = d;
	list_add_tail(&h->all, &f->half_all);
	list_add_tail(&d->flows, &f->half_dest);
	d->n++;
	h->n++;
	if (!h->most || d->n > h->most->n)
		h->most = d;
	return true;
}

void limit_half_open_end(struct netstack_flow *f)
{
	struct half_open *h = &f->ns->half[f->t.inbound];
	struct half_dest *d = f->half;

	if (!d)
		return;
	f->half = NULL;
	list_del(&f->half_all);
	list_del(&f->half_dest);
	h->n--;
	if (--d->n)
		return;
	if (h->most == d)
		h->most = NULL;
	hmap_remove(&h->dests, &d->node);
	free(d);
}

/* The oldest of the host that has too large a part, else the oldest. */
static struct netstack_flow *victim(const struct half_open *h)
{
	if (h->most && h->most->n > h->max / LIMIT_HALF_OPEN_HOG)
		return container_of(h->most->flows.next, struct netstack_flow, half_dest);
	return container_of(h->all.next, struct netstack_flow, half_all);
}

/* Who comes from outside can wait for his turn; only a guest that does not answer is not waited for. */
static bool evict_half_open(struct netstack *ns, struct half_open *h, bool inbound)
{
	struct netstack_flow *f = victim(h);

	if (inbound && ns_now(ns) - f->c.start_ns < LIMIT_HALF_OPEN_ANSWER_NS)
		return false;
	ns->stats.evicted_half_open++;
	relay_tcp_rst(f);
	flow_finish(f, NETSTACK_END_LIMIT);
	return true;
}

/* ---- admission ------------------------------------------------------------------- */

static uint32_t most_of(const struct netstack *ns, enum netstack_proto proto)
{
	if (proto == NETSTACK_TCP)
		return ns->cfg.max_tcp;
	return proto == NETSTACK_UDP ? ns->cfg.max_udp : ns->cfg.max_icmp;
}

/* Not for flows the owner opens: it would be told of an end in the middle of its call. */
static void evict_idle(struct netstack *ns, const struct netstack_tuple *t)
{
	struct list *lists[] = { &ns->unanswered[t->proto], &ns->live[t->proto] };

	if (t->proto == NETSTACK_TCP || t->inbound)
		return;
	for (unsigned i = 0; i < ARRAY_SIZE(lists); i++) {
		struct netstack_flow *f = container_of(lists[i]->next, struct netstack_flow, all);

		if (list_empty(lists[i]) || ns_now(ns) - f->active_ns < LIMIT_EVICT_NS)
			continue;
		flow_finish(f, NETSTACK_END_TIMEOUT);
		return;
	}
}

bool limit_admit(struct netstack *ns, const struct netstack_tuple *t)
{
	struct half_open *h = &ns->half[t->inbound];
	uint32_t most = most_of(ns, t->proto);

	if (ns->live_n[t->proto] >= most)
		evict_idle(ns, t);
	ns->why_full = NETSTACK_LIMIT;
	if (ns->live_n[t->proto] >= most)
		return false;
	ns->why_full = NETSTACK_MEMORY;
	if (!memory_for(ns, t))
		return false;
	if (t->proto != NETSTACK_TCP)
		return true;
	if (h->n >= h->max && !evict_half_open(ns, h, t->inbound)) {
		ns->why_full = NETSTACK_LIMIT;
		return false;
	}
	/* The owner may have done anything when it was told. */
	if (ns->dying)
		return false;
	if (ns->zombie_n && ns->live_n[NETSTACK_TCP] + ns->zombie_n >= most)
		flow_bury(container_of(ns->zombies.next, struct netstack_flow, all));
	return true;
}
