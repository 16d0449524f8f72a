/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the owner of a stack may do with a flow. Every call is safe from inside
 * any callback but flow_end: a flow that has ended stays in memory until the
 * loop's next task run, and nothing happens to it any more.
 */
#include "netstack/netstack_internal.h"

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
	flow_finish(f, how == NETSTACK_LIMIT || how == NETSTACK_MEMORY ? NETSTACK_END_LIMIT
								       : NETSTACK_END_REFUSED);
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
	if (!rate_admit(f, RATE_DOWN, len))
		return;
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

void netstack_flow_accept(struct netstack_flow *f)
{
	assert(f->t.proto == NETSTACK_TCP);
	if (!flow_live(f) || f->accepted)
		return;
	ns_enter(f->ns);
	f->hold = true;
	relay_tcp_accept(f);
	ns_leave(f->ns);
}

void netstack_flow_release(struct netstack_flow *f)
{
	if (!flow_live(f) || f->fd < 0 || !f->hold)
		return;
	f->hold = false;
	flow_work(f);
}

int netstack_flow_detach(struct netstack_flow *f)
{
	if (!flow_live(f) || f->fd < 0)
		return -EBADF;
	if (!f->hold || f->read_any || f->resetting)
		return -EBUSY;
	loop_io_del(&f->io);
	return steal_fd(&f->fd);
}

int netstack_connect(struct netstack *ns, enum netstack_proto proto, const struct endpoint *from,
		     const struct endpoint *guest, int fd, void *user, struct netstack_flow **ret)
{
	struct netstack_tuple t = {
		.proto = proto,
		.guest = *guest,
		.remote = *from,
		.inbound = true,
	};
	const struct ip_addr *own = guest->addr.family == 4 ? &ns->cfg.guest4 : &ns->cfg.guest6;
	struct netstack_flow *f;

	if (proto != NETSTACK_TCP && proto != NETSTACK_UDP)
		return -EOPNOTSUPP;
	if (!own->family || !ip_equal(own, &guest->addr) ||
	    from->addr.family != guest->addr.family || !from->port || !guest->port)
		return -EINVAL;
	f = flow_find(ns, &t);
	if (f && f->state == FLOW_ZOMBIE) {
		flow_bury(f);
		f = NULL;
	}
	if (f)
		return -EADDRINUSE;
	f = flow_create(ns, &t);
	if (!f)
		return ns->why_full == NETSTACK_MEMORY ? -ENOMEM : -ENOBUFS;
	ns_enter(ns);
	f->user = user;
	f->state = FLOW_OPEN;
	if (proto == NETSTACK_UDP) {
		f->local = true;
	} else {
		f->accepted = true;
		f->fd = fd;
		tcp_connect(f->tcp, ns_now(ns));
		flow_work(f);
	}
	*ret = f;
	ns_leave(ns);
	return 0;
}
