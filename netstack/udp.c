/* SPDX-License-Identifier: Apache-2.0 */
/*
 * UDP (RFC 768, 8200 8.1) from and to the guest. A frame with segmentation
 * offload stands for several datagrams of gso_size bytes; it is split here and
 * relayed as one batch; towards the guest runs of
 * equal datagrams go out as such frames. Hostile: length field, checksum, gso_size.
 */
#include "netstack/netstack_internal.h"

static bool checksum_ok(const struct ip_pkt *k, size_t len)
{
	if (!k->vouched && get_be16(k->l4 + 6) == 0)
		return k->src.family == 4;
	return ip_checksum_ok(k, len, 6);
}

/* How many datagrams of what size this packet stands for; false: not believable. */
static bool split(const struct ip_pkt *k, size_t payload, size_t *ret_size)
{
	*ret_size = payload;
	if (k->gso != LINK_GSO_UDP || payload == 0)
		return true;
	if (k->gso_size == 0 || payload > (size_t)k->gso_size * LIMIT_USO_SEGMENTS)
		return false;
	*ret_size = k->gso_size;
	return true;
}

static void deliver(struct netstack_flow *f, const struct ip_pkt *k, struct dgram *d, size_t size)
{
	size_t head = (size_t)(k->l4 + UDP_HEAD - k->l3);

	if (f->state == FLOW_OPEN) {
		relay_dgram_up(f, d, size);
		return;
	}
	if (f->state != FLOW_NEW)
		return;
	do {
		size_t one = MIN(size, d->len);

		flow_keep(f, k->l3, head, d->p, one, 0);
		d->p += one;
		d->len -= one;
	} while (d->len);
}

void udp_input(struct netstack *ns, const struct ip_pkt *k)
{
	struct netstack_tuple t = { .proto = NETSTACK_UDP };
	struct netstack_flow *f;
	struct dgram d = { 0 };
	size_t len, size;
	bool fresh, waits;

	if (k->l4_len < UDP_HEAD) {
		ns->stats.dropped_malformed++;
		return;
	}
	len = get_be16(k->l4 + 4);
	t.guest = (struct endpoint){ k->src, get_be16(k->l4) };
	t.remote = (struct endpoint){ k->dst, get_be16(k->l4 + 2) };
	if (len < UDP_HEAD || len > k->l4_len || t.guest.port == 0 || t.remote.port == 0 ||
	    !checksum_ok(k, len) || !split(k, len - UDP_HEAD, &size)) {
		ns->stats.dropped_malformed++;
		return;
	}
	f = flow_find(ns, &t);
	fresh = !f;
	if (!f)
		f = flow_create(ns, &t);
	if (!f) {
		flow_refuse_limit(ns, &t, k);
		return;
	}
	d.p = k->l4 + UDP_HEAD;
	d.len = len - UDP_HEAD;
	d.hops = ip_hop_limit(k->l3);
	d.df = ip_dont_fragment(k->l3, k->gso ? 0 : k->l3_len, ns->cfg.mtu);
	waits = !fresh && f->state == FLOW_NEW;
	deliver(f, k, &d, size);
	if (fresh)
		ns->ops->flow_new(ns->ctx, f);
	else if (waits && ns->ops->flow_waiting)
		ns->ops->flow_waiting(ns->ctx, f);
}

bool udp_fits(const struct netstack_flow *f, size_t len)
{
	size_t ip = f->t.guest.addr.family == 4 ? 20 : IP6_HEAD;

	return ip + UDP_HEAD + len <= f->ns->cfg.mtu;
}

bool udp_send_run(struct netstack_flow *f, const void *p, size_t len, size_t size)
{
	uint8_t h[UDP_HEAD] = { 0 };
	struct ip_out o = {
		.src = &f->t.remote.addr,
		.dst = &f->t.guest.addr,
		.proto = IPPROTO_UDP,
		.head = h,
		.head_len = sizeof(h),
		.csum_off = 6,
		.n_data = 1,
		.data[0] = { (void *)(uintptr_t)p, len },
	};

	if (len > size) {
		o.gso = LINK_GSO_UDP;
		o.gso_size = (uint16_t)size;
	}
	put_be16(h, f->t.remote.port);
	put_be16(h + 2, f->t.guest.port);
	put_be16(h + 4, (uint16_t)(len + UDP_HEAD));
	return ip_send(f->ns, &o);
}

bool udp_send(struct netstack_flow *f, const void *p, size_t len)
{
	return udp_send_run(f, p, len, len);
}
