/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A stack as a whole: birth, the link's wakes, death, totals.
 *
 * netstack_free() may be called from inside a callback of the stack's own. The
 * flows end at once; the memory goes when the last function of ours has left
 * the call stack, which ns_enter/ns_leave count.
 */
#include "netstack/netstack_internal.h"

#include <sys/epoll.h>
#include <unistd.h>

void ns_enter(struct netstack *ns)
{
	ns->depth++;
}

static void destroy(struct netstack *ns)
{
	loop_task_cancel(ns->loop, &ns->task);
	flow_free_dead(ns);
	loop_timer_del(ns->loop, &ns->resolve);
	frag_fini(ns);
	hmap_fini(&ns->flows);
	pool_fini(&ns->pool);
	free(ns->rx_buf);
	free(ns->scratch);
	free(ns->dgrams);
	free(ns);
}

void ns_leave(struct netstack *ns)
{
	assert(ns->depth);
	if (--ns->depth == 0 && ns->dying)
		destroy(ns);
}

static void link_lost(struct netstack *ns)
{
	loop_io_del(&ns->link_io);
	fd_close(steal_fd(&ns->link.fd));
}

static void on_link(struct loop_io *io, uint32_t revents)
{
	struct netstack *ns = container_of(io, struct netstack, link_io);

	ns_enter(ns);
	if (revents & EPOLLOUT) {
		ns->link_full = false;
		loop_io_set(io, EPOLLIN);
		if (!list_empty(&ns->blocked))
			loop_task_queue(ns->loop, &ns->task);
	}
	ns->tcp.batching = true;
	for (unsigned i = 0; i < LIMIT_LINK_BATCH && !ns->dying; i++) {
		struct link_rx rx;
		int r = ns->link.drv->read(&ns->link, ns->rx_buf, LIMIT_FRAME, &rx);

		if (r < 0)
			link_lost(ns);
		if (r <= 0)
			break;
		ns->stats.frames_in++;
		ns->stats.bytes_in += rx.len;
		if (ns->ops->frame)
			ns->ops->frame(ns->ctx, true, rx.p, rx.len, NULL, 0);
		if (!ns->dying)
			eth_input(ns, &rx);
	}
	ns->tcp.batching = false;
	ns_leave(ns);
}

static bool config_ok(const struct netstack_config *c)
{
	return c->mtu >= 1280 && c->mtu <= 65520 && !(c->gateway_mac[0] & 1) &&
	       (c->guest4.family == 0 || c->guest4.family == 4) &&
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
		.tso_max = ns->link.drv->caps.tso ? LIMIT_TSO : (size_t)ns->cfg.mtu - 60,
		.rx_max = LIMIT_TCP_RX,
		.tx_max = LIMIT_TCP_TX,
		.mem_max = LIMIT_TCP_MEM,
	};
	hash_key_random(&ns->tcp.isn_key);
}

int netstack_new(struct loop *loop, enum netstack_link_kind kind, int fd,
		 const struct netstack_config *cfg, const struct netstack_ops *ops, void *ctx,
		 struct netstack **ret)
{
	struct netstack *ns;
	int r;

	if (kind != NETSTACK_LINK_TAP || !config_ok(cfg))
		return -EINVAL;
	ns = calloc(1, sizeof(*ns));
	if (!ns)
		return -ENOMEM;
	ns->loop = loop;
	ns->cfg = *cfg;
	ns->ops = ops;
	ns->ctx = ctx;
	ns->link = (struct ns_link){ .fd = -1, .drv = &link_tap };
	ns->task.cb = flow_run_work;
	ns->resolve.cb = eth_resolve_timer;
	ns->icmp.tokens = (uint64_t)LIMIT_ICMP_BURST * 1000000;
	ns->icmp.last = loop_now(loop);
	random_bytes(&ns->ip4_id, sizeof(ns->ip4_id));
	random_bytes(&ns->ip6_id, sizeof(ns->ip6_id));
	hash_key_random(&ns->key);
	for (unsigned i = 0; i < ARRAY_SIZE(ns->live); i++)
		list_init(&ns->live[i]);
	list_init(&ns->zombies);
	list_init(&ns->dead);
	list_init(&ns->work);
	list_init(&ns->blocked);
	frag_init(ns);
	init_tcp(ns);
	pool_init(&ns->pool, sizeof(struct netstack_flow),
		  (size_t)cfg->max_tcp + cfg->max_udp + cfg->max_icmp + LIMIT_FLOW_SLACK);
	ns->rx_buf = malloc(LIMIT_FRAME);
	ns->scratch = malloc(LIMIT_FRAME);
	r = ns->rx_buf && ns->scratch ? hmap_init(&ns->flows, 1024) : -ENOMEM;
	if (r == 0)
		r = fd_set_nonblock(fd, true);
	if (r == 0)
		r = loop_io_add(loop, &ns->link_io, fd, EPOLLIN, on_link);
	if (r < 0) {
		destroy(ns);
		return r;
	}
	ns->link.fd = fd;
	*ret = ns;
	return 0;
}

void netstack_free(struct netstack *ns)
{
	if (!ns || ns->dying)
		return;
	ns_enter(ns);
	ns->dying = true;
	for (unsigned i = 0; i < ARRAY_SIZE(ns->live); i++)
		while (!list_empty(&ns->live[i]))
			flow_finish(container_of(ns->live[i].next, struct netstack_flow, all),
				    NETSTACK_END_ABORTED);
	while (!list_empty(&ns->zombies))
		flow_bury(container_of(ns->zombies.next, struct netstack_flow, all));
	link_lost(ns);
	ns_leave(ns);
}

void netstack_stats_get(const struct netstack *ns, struct netstack_stats *ret)
{
	*ret = ns->stats;
	ret->retransmits = ns->tcp.retransmits;
	ret->tcp_flows = ns->live_n[NETSTACK_TCP];
	ret->udp_flows = ns->live_n[NETSTACK_UDP];
	ret->icmp_flows = ns->live_n[NETSTACK_ICMP];
}
