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

void netstack_flow_refuse_icmp(struct netstack_flow *f, const struct netstack_icmp *e)
{
	struct netstack *ns = f->ns;
	struct netstack_icmp told = *e;

	if (!flow_live(f))
		return;
	ns_enter(ns);
	if (f->state == FLOW_NEW && f->pending && icmp_translate(f->t.guest.addr.family, &told))
		icmp_error_from(ns, f->pending->bytes, f->pending->len, &told);
	flow_finish(f, NETSTACK_END_REFUSED);
	ns_leave(ns);
}

uint8_t netstack_flow_hop_limit(const struct netstack_flow *f)
{
	return f->state == FLOW_NEW && f->pending ? ip_hop_limit(f->pending->bytes) : 0;
}

const uint8_t *netstack_flow_waiting(const struct netstack_flow *f, size_t i, size_t *ret_len)
{
	const struct flow_pending *p = f->pending;

	if (f->state != FLOW_NEW || f->t.proto != NETSTACK_UDP)
		return NULL;
	while (p && i--)
		p = p->next;
	if (!p)
		return NULL;
	*ret_len = p->len - p->payload;
	return p->bytes + p->payload;
}

void netstack_flow_watch(struct netstack_flow *f, bool on)
{
	f->watched = on && f->t.proto == NETSTACK_UDP && f->ns->ops->flow_passes;
}

void netstack_flow_attach(struct netstack_flow *f, int fd, bool hold)
{
	struct netstack *ns = f->ns;

	/* Ended while the owner was still dialling: the descriptor has no use. */
	if (!flow_live(f)) {
		fd_close(fd);
		return;
	}
	assert(f->fd < 0 && !f->sock && !f->local);
	ns_enter(ns);
	if (f->t.proto == NETSTACK_TCP)
		relay_tcp_attach(f, fd, hold);
	else
		relay_dgram_attach(f, fd, NULL);
	ns_leave(ns);
}

void netstack_flow_attach_shared(struct netstack_flow *f, int fd, const struct endpoint *to)
{
	struct netstack *ns = f->ns;

	if (!flow_live(f)) {
		fd_close(fd);
		return;
	}
	assert(f->t.proto == NETSTACK_UDP && !f->sock && !f->local);
	ns_enter(ns);
	relay_dgram_attach(f, fd, to);
	ns_leave(ns);
}

void netstack_flow_local(struct netstack_flow *f)
{
	struct netstack *ns = f->ns;

	assert(f->t.proto != NETSTACK_TCP && !f->sock);
	if (!flow_live(f) || f->local)
		return;
	ns_enter(ns);
	relay_dgram_local(f);
	ns_leave(ns);
}

void netstack_flow_send(struct netstack_flow *f, const void *p, size_t len)
{
	if (!flow_live(f) || !f->local)
		return;
	relay_dgram_touch(f);
	if (!rate_admit(f, RATE_DOWN, 1))
		return;
	relay_dgram_down(f, p, len);
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
	relay_source_undo(f);
	return steal_fd(&f->fd);
}

int netstack_flow_push(struct netstack_flow *f, const void *p, size_t len)
{
	uint8_t *room[2];
	size_t n[2];

	assert(f->t.proto == NETSTACK_TCP && !f->read_any && len <= 256);
	if (!flow_live(f) || tcp_tx_space(f->tcp, room, n) < len || n[0] < len)
		return -ENOBUFS;
	memcpy(room[0], p, len);
	ns_enter(f->ns);
	f->committed += len;
	tcp_tx_commit(f->tcp, len, ns_now(f->ns));
	ns_leave(f->ns);
	return 0;
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
	if (t.guest.addr.family == 6)
		t.guest.addr = guest6_target(ns, &t.guest.addr);
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
