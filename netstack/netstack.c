/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A stack as a whole: birth, the link's wakes, death, totals.
 *
 * netstack_free() may be called from inside a callback of the stack's own. The
 * flows end at once; the memory goes when the last function of ours has left
 * the call stack, which ns_enter/ns_leave count.
 */
#include "netstack/netstack_internal.h"

#define DEFAULT_LEASE_S 86400

void ns_enter(struct netstack *ns)
{
	ns->depth++;
}

static void destroy(struct netstack *ns)
{
	loop_task_cancel(ns->loop, &ns->task);
	flow_free_dead(ns);
	loop_timer_del(ns->loop, &ns->resolve);
	router_stop(ns);
	loop_timer_del(ns->loop, &ns->again);
	frag_fini(ns);
	rate_fini(ns);
	limit_fini(ns);
	hmap_fini(&ns->flows);
	hmap_fini(&ns->maps);
	hmap_fini(&ns->remotes);
	pool_fini(&ns->pool);
	pool_fini(&ns->tcps);
	pool_fini(&ns->socks);
	if (ns->link)
		ns->link->drv->free(ns->link);
	free(ns->scratch);
	free(ns->peek_buf);
	free(ns->dgrams);
	free(ns->stages);
	free(ns->up_batch);
	free(ns);
}

void ns_leave(struct netstack *ns)
{
	assert(ns->depth);
	if (--ns->depth == 0 && ns->dying)
		destroy(ns);
}

/* ---- what the link says --------------------------------------------------- */

/* For captures; the bytes of a tail are copied, they may change while they are written out. */
static void capture(struct netstack *ns, const struct link_rx *rx)
{
	size_t n = 0;

	for (unsigned i = 0; i < rx->n_tail; i++) {
		size_t take = MIN(rx->tail[i].iov_len, LIMIT_FRAME - n);

		memcpy(ns->scratch + n, rx->tail[i].iov_base, take);
		n += take;
	}
	ns->ops->frame(ns->ctx, true, rx->p, rx->len, n ? ns->scratch : NULL, n);
}

static void on_readable(struct ns_link *l)
{
	struct netstack *ns = l->ctx;

	ns_enter(ns);
	ns->tcp.batching = true;
	for (unsigned i = 0; i < LIMIT_LINK_BATCH && !ns->dying && ns->link; i++) {
		struct link_rx rx;

		if (l->drv->read(l, &rx) == 0)
			break;
		ns->stats.frames_in++;
		ns->stats.bytes_in += rx.len + rx.tail_len;
		if (ns->ops->frame)
			capture(ns, &rx);
		if (!ns->dying)
			eth_input(ns, &rx);
	}
	ns->tcp.batching = false;
	dgram_up_flush(ns, NULL);
	ns_flush_later(ns);
	ns_leave(ns);
}

static void on_writable(struct ns_link *l)
{
	struct netstack *ns = l->ctx;

	ns->link_full = false;
	if (!list_empty(&ns->blocked) || !list_empty(&ns->blocked_socks))
		loop_task_queue(ns->loop, &ns->task);
}

static void on_up(struct ns_link *l)
{
	struct netstack *ns = l->ctx;

	ns->link_full = false;
	ns->mac_known = false;
	if (!list_empty(&ns->blocked))
		loop_task_queue(ns->loop, &ns->task);
	router_start(ns);
	if (!ns->dying && ns->ops->link_up)
		ns->ops->link_up(ns->ctx);
}

/* Flows are the guest's that is gone: what comes next must not inherit them. */
static void end_flows(struct netstack *ns)
{
	for (unsigned i = 0; i < ARRAY_SIZE(ns->live); i++)
		while (!list_empty(&ns->live[i]))
			flow_finish(container_of(ns->live[i].next, struct netstack_flow, all),
				    NETSTACK_END_ABORTED);
	for (unsigned i = 0; i < ARRAY_SIZE(ns->unanswered); i++)
		while (!list_empty(&ns->unanswered[i]))
			flow_finish(container_of(ns->unanswered[i].next, struct netstack_flow, all),
				    NETSTACK_END_ABORTED);
	while (!list_empty(&ns->zombies))
		flow_bury(container_of(ns->zombies.next, struct netstack_flow, all));
}

static void on_down(struct ns_link *l, bool last)
{
	struct netstack *ns = l->ctx;
	bool was_up = l->is_up;

	ns_enter(ns);
	l->is_up = false;
	ns->mac_known = false;
	guest6_forget(ns);
	router_stop(ns);
	end_flows(ns);
	/* Who only knocked was no guest. */
	if (!ns->dying && ns->ops->link_down && (was_up || last))
		ns->ops->link_down(ns->ctx, l->why ? l->why : "its socket is gone", last);
	ns_leave(ns);
}

/* One task for both: what the flows still want to say goes out with the same flush. */
void ns_flush_later(struct netstack *ns)
{
	if (ns->link && ns->link->drv->flush)
		loop_task_queue(ns->loop, &ns->task);
}

static bool autoconf_ok(const struct netstack_config *c)
{
	const struct netstack_autoconf *a = &c->autoconf;
	bool both4 = c->guest4.family && c->gateway4.family;
	bool both6 = c->guest6.family && c->gateway6.family;

	return (!a->dhcp4 || (both4 && a->prefix4 >= 8 && a->prefix4 <= 30)) &&
	       (!a->dhcp6 || both6) &&
	       (!a->ra || (both6 && memcmp(c->guest6.b, c->gateway6.b, 8) == 0)) &&
	       memchr(a->domain, 0, sizeof(a->domain)) &&
	       memchr(a->hostname, 0, sizeof(a->hostname));
}

static bool config_ok(const struct netstack_config *c)
{
	return autoconf_ok(c) && c->mtu >= 1280 && c->mtu <= 65520 && !(c->gateway_mac[0] & 1) &&
	       !(c->guest_mac[0] & 1) && (c->guest4.family == 0 || c->guest4.family == 4) &&
	       (c->gateway4.family == 0 || c->gateway4.family == 4) &&
	       (c->guest6.family == 0 || c->guest6.family == 6) &&
	       (c->gateway6.family == 0 || c->gateway6.family == 6);
}

static void init_tcp(struct netstack *ns)
{
	ns->tcp = (struct tcp_stack){
		.ops = &relay_tcp_ops,
		.mss4 = (uint16_t)(ns->cfg.mtu - 40),
		.mss6 = (uint16_t)(ns->cfg.mtu - 60),
		.tso_max = LIMIT_TSO,
		.rx_max = LIMIT_TCP_RX,
		.tx_max = LIMIT_TCP_TX,
		.keep_idle = LIMIT_TCP_KEEP_IDLE_NS,
	};
	hash_key_random(&ns->tcp.isn_key);
}

/* RFC 4291 appendix A: the link-local address that a MAC makes. */
static void init_link_local(struct netstack *ns)
{
	const uint8_t *m = ns->cfg.gateway_mac;

	ns->gateway_ll = (struct ip_addr){
		6, { 0xfe, 0x80, [8] = m[0] ^ 2, m[1], m[2], 0xff, 0xfe, m[3], m[4], m[5] }
	};
}

static int vhost_open(struct netstack *ns, int fd, const struct link_events *e)
{
	static const uint8_t none[6];
	const uint8_t *mac = memcmp(ns->cfg.guest_mac, none, 6) ? ns->cfg.guest_mac : NULL;

	return link_vhost_new(ns->loop, fd, ns->cfg.mtu, mac, e, ns, &ns->link);
}

static int link_open(struct netstack *ns, enum netstack_link_kind kind, int fd)
{
	static const struct link_events events = { on_readable, on_writable, on_up, on_down };

	switch (kind) {
	case NETSTACK_LINK_NONE:
		return 0;
	case NETSTACK_LINK_TAP:
		return link_tap_new(ns->loop, fd, &events, ns, &ns->link);
	case NETSTACK_LINK_STREAM:
		return link_stream_new(ns->loop, fd, &events, ns, &ns->link);
	case NETSTACK_LINK_DGRAM:
		return link_dgram_new(ns->loop, fd, &events, ns, &ns->link);
	case NETSTACK_LINK_VHOST_USER:
		return vhost_open(ns, fd, &events);
	}
	return -EINVAL;
}

int netstack_new(struct loop *loop, enum netstack_link_kind kind, int fd,
		 const struct netstack_config *cfg, const struct netstack_ops *ops, void *ctx,
		 struct netstack **ret)
{
	struct netstack *ns;
	int r;
	size_t n_flows;

	if (!config_ok(cfg))
		return -EINVAL;
	ns = calloc(1, sizeof(*ns));
	if (!ns)
		return -ENOMEM;
	ns->loop = loop;
	ns->cfg = *cfg;
	ns->ops = ops;
	ns->ctx = ctx;
	ns->task.cb = flow_run_work;
	ns->resolve.cb = eth_resolve_timer;
	ns->icmp.tokens = (uint64_t)LIMIT_ICMP_BURST * 1000000;
	ns->icmp.last = loop_now(loop);
	random_bytes(&ns->ip4_id, sizeof(ns->ip4_id));
	random_bytes(&ns->ip6_id, sizeof(ns->ip6_id));
	hash_key_random(&ns->key);
	for (unsigned i = 0; i < ARRAY_SIZE(ns->live); i++)
		list_init(&ns->live[i]);
	for (unsigned i = 0; i < ARRAY_SIZE(ns->unanswered); i++)
		list_init(&ns->unanswered[i]);
	list_init(&ns->blocked_socks);
	list_init(&ns->dead_socks);
	list_init(&ns->zombies);
	list_init(&ns->dead);
	list_init(&ns->work);
	list_init(&ns->blocked);
	list_init(&ns->later);
	ns->again.cb = flow_again_timer;
	frag_init(ns);
	rate_init(ns);
	init_tcp(ns);
	init_link_local(ns);
	if (!ns->cfg.autoconf.lease_s)
		ns->cfg.autoconf.lease_s = DEFAULT_LEASE_S;
	n_flows = (size_t)cfg->max_tcp + cfg->max_udp + cfg->max_icmp + LIMIT_FLOW_SLACK;
	pool_init(&ns->pool, sizeof(struct netstack_flow), n_flows);
	pool_init(&ns->tcps, tcp_size(), n_flows);
	ns->tcp.pool = &ns->tcps;
	pool_init(&ns->socks, sizeof(struct dgram_sock),
		  (size_t)cfg->max_udp + cfg->max_icmp + LIMIT_FLOW_SLACK);
	ns->scratch = malloc(LIMIT_FRAME);
	r = ns->scratch ? hmap_init(&ns->flows, 1024) : -ENOMEM;
	if (r == 0)
		r = limit_init(ns);
	if (r == 0)
		r = hmap_init(&ns->maps, 64);
	if (r == 0)
		r = hmap_init(&ns->remotes, 64);
	if (r == 0)
		r = link_open(ns, kind, fd);
	if (r < 0) {
		destroy(ns);
		return r;
	}
	if (ns->link && ns->link->is_up)
		router_start(ns);
	*ret = ns;
	return 0;
}

int netstack_relink(struct netstack *ns, enum netstack_link_kind kind, int fd)
{
	struct ns_link *old = ns->link;
	int r;

	ns_enter(ns);
	if (old && old->is_up) {
		old->why = kind == NETSTACK_LINK_NONE ? "the machine's socket is gone"
						      : "another machine has come";
		on_down(old, false);
	}
	ns->link = NULL;
	ns->link_full = false;
	if (old)
		old->drv->free(old);
	r = ns->dying ? -ECANCELED : link_open(ns, kind, fd);
	if (ns->link && ns->link->is_up)
		on_up(ns->link);
	ns_leave(ns);
	return r;
}

void netstack_free(struct netstack *ns)
{
	if (!ns || ns->dying)
		return;
	ns_enter(ns);
	ns->dying = true;
	end_flows(ns);
	ns_leave(ns);
}

void netstack_stats_get(const struct netstack *ns, struct netstack_stats *ret)
{
	*ret = ns->stats;
	ret->link_faults = ns->link ? ns->link->faults : 0;
	ret->retransmits = ns->tcp.retransmits;
	ret->tcp_flows = ns->live_n[NETSTACK_TCP];
	ret->udp_flows = ns->live_n[NETSTACK_UDP];
	ret->icmp_flows = ns->live_n[NETSTACK_ICMP];
	ret->half_open = ns->half[0].n + ns->half[1].n;
	ret->memory_used = ns->tcp.mem_alloc + ns->mem_other;
	ret->memory_max = ns->cfg.memory;
	flow_totals(ns, ret->by_proto);
}
