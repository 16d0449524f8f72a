/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio-net (virtio 1.2 5.1.6.2): frames of the guest.
 *
 * The virtio header and the first HEAD_COPY bytes go into private memory once.
 * When those hold whole headers of a TCP segment whose checksum the driver
 * leaves to us (there is none to verify), the payload stays where it is and is
 * handed up as pieces of guest memory. Everything else is copied whole: it is
 * verified and looked at, and the guest may change it meanwhile. The virtio
 * header is all claims; none becomes an index here.
 *
 * While a turn lasts the driver is asked not to kick. The wish to be kicked again is
 * written at its end (vhost_net_rest), behind the answers and the used buffers.
 */
#include "netstack/vhost_int.h"

#include <linux/if_ether.h>
#include <linux/virtio_net.h>
#include <netinet/in.h>

/* Ethernet, IPv6, TCP with all options; or IPv4 with some of its own. */
#define HEAD_COPY 128
/* Below this a copy is cheaper than one more piece to pass along. */
#define TAIL_MIN 512

/* Where the payload of a TCP segment that fills its frame begins; 0: not one, or not seen whole. */
static size_t tcp_payload(const uint8_t *p, size_t have, size_t total)
{
	size_t l4, end;

	if (have < ETH_HLEN + 40)
		return 0;
	if (get_be16(p + 12) == ETH_P_IP) {
		l4 = ETH_HLEN + (p[ETH_HLEN] & 15u) * 4;
		if (p[ETH_HLEN] >> 4 != 4 || p[ETH_HLEN + 9] != IPPROTO_TCP ||
		    get_be16(p + ETH_HLEN + 2) + (size_t)ETH_HLEN != total)
			return 0;
	} else if (get_be16(p + 12) == ETH_P_IPV6) {
		l4 = ETH_HLEN + 40;
		if (p[ETH_HLEN + 6] != IPPROTO_TCP ||
		    get_be16(p + ETH_HLEN + 4) + (size_t)ETH_HLEN + 40 != total)
			return 0;
	} else {
		return 0;
	}
	if (l4 + 20 > have)
		return 0;
	end = l4 + (p[l4 + 12] >> 4) * 4u;
	return end > have || end < l4 + 20 ? 0 : end;
}

/* The virtio header and the frame's first bytes, which lie in one piece nearly always. */
static size_t copy_heads(struct link_vhost *v, size_t head, size_t total,
			 struct virtio_net_hdr_v1 *h, struct vhost_at *a)
{
	size_t have = MIN(total, (size_t)HEAD_COPY);

	if (v->iov[0].iov_len > head + HEAD_COPY) {
		const uint8_t *p = v->iov[0].iov_base;

		vhost_copy_in(h, p, 10); /* the rest is not for us */
		vhost_copy_in(v->buf, p + head, HEAD_COPY);
		a->off = head + HEAD_COPY;
		return HEAD_COPY;
	}
	vhost_at_get(a, h, head);
	vhost_at_get(a, v->buf, have);
	return have;
}

/* The payload stays where it is. False: in too many pieces for one message. */
static bool lend_tail(struct link_vhost *v, const struct vring_chain *c, size_t from, size_t len,
		      struct link_rx *ret)
{
	struct vhost_at t = { .iov = v->iov, .n = c->n };

	vhost_at_skip(&t, from);
	ret->tail_len = vhost_at_pieces(&t, ret->tail, LINK_TAIL_MAX, len, &ret->n_tail);
	if (ret->tail_len == len)
		return true;
	ret->tail_len = 0;
	ret->n_tail = 0;
	return false;
}

static void fill_rx(struct link_vhost *v, const struct vring_chain *c, struct link_rx *ret)
{
	struct vhost_at a = { .iov = v->iov, .n = c->n };
	struct virtio_net_hdr_v1 h = { 0 };
	size_t head = vhost_net_head(&v->dev), total, have, payload = 0;

	link_rx_set(ret, v->buf, 0);
	/* An empty frame is counted as malformed. */
	if (c->len < head || c->len - head > sizeof(v->buf))
		return;
	total = c->len - head;
	have = copy_heads(v, head, total, &h, &a);
	ret->vouched = h.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM;
	ret->gso = h.gso_type & (uint8_t)~VIRTIO_NET_HDR_GSO_ECN;
	ret->gso_size = h.gso_size;
	if (ret->vouched && total >= HEAD_COPY + TAIL_MIN)
		payload = tcp_payload(v->buf, have, total);
	if (payload && lend_tail(v, c, head + payload, total - payload, ret)) {
		ret->len = payload;
		return;
	}
	vhost_at_get(&a, v->buf + have, total - have);
	ret->len = total;
}

static int next_frame(struct link_vhost *v, struct vring *q, struct vring_chain *c)
{
	int r = vring_pop(q, &v->dev.mem, false, v->iov, LIMIT_VHOST_CHAIN, c);

	v->drained = r == 0;
	if (r < 0)
		link_vhost_fault(v, q->why);
	else if (r)
		vring_quiet(q);
	return r;
}

int vhost_net_read(struct ns_link *l, struct link_rx *ret)
{
	struct link_vhost *v = link_vhost(l);
	struct vring *q = &v->dev.q[VHOST_TX];
	struct vring_chain c;

	if (v->fault || v->msg_waiting || !l->is_up || !q->running || !q->enabled)
		return 0;
	if (next_frame(v, q, &c) != 1)
		return 0;
	fill_rx(v, &c, ret);
	vring_give(q, c.head, 0);
	v->lent = true;
	if (v->dev.mem_broken)
		link_vhost_fault(v, "guest memory became shorter while it was in use");
	return 1;
}

void vhost_net_rest(struct link_vhost *v)
{
	struct vring *q = &v->dev.q[VHOST_TX];

	if (!v->drained || v->fault || !q->running)
		return;
	v->drained = false;
	/* Something has come: the turn that is due already takes it. */
	if (!vring_wait(q))
		loop_timer_del(v->link.loop, &v->again);
}

void vhost_net_discard(struct link_vhost *v)
{
	struct vring *q = &v->dev.q[VHOST_TX];
	struct vring_chain c;

	for (unsigned i = 0; i < LIMIT_LINK_BATCH && next_frame(v, q, &c) == 1; i++)
		vring_give(q, c.head, 0);
	if (vring_publish(q))
		vring_call(q);
	vhost_net_rest(v);
}
