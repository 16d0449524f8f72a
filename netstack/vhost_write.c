/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio-net (virtio 1.2 5.1.6.3): frames to the guest.
 *
 * As many of the driver's buffers as one frame needs are gathered (more than one with
 * MRG_RXBUF only), headers and payload written across them, then all given
 * back. Nothing is visible to the driver before vring_publish(), so a frame
 * that does not fit is taken back by resetting an index: all or nothing. room()
 * is the same in two halves, the payload being written by the caller (recvmsg)
 * straight into guest memory.
 */
#include "netstack/vhost_int.h"

#include <linux/virtio_net.h>

static void ungather(struct link_vhost *v)
{
	v->dev.q[VHOST_RX].next = v->g.from;
	v->gathered = false;
}

static int give_up(struct link_vhost *v, const char *why)
{
	ungather(v);
	link_vhost_fault(v, why);
	return -EPIPE;
}

/* Buffers for need bytes, as many as there are up to that; negative: the link is broken. */
static int gather_some(struct link_vhost *v, size_t need)
{
	struct vring *q = &v->dev.q[VHOST_RX];
	struct vhost_gather *g = &v->g;
	unsigned most = vhost_has(&v->dev, VHOST_F_MRG_RXBUF) ? LIMIT_VHOST_MERGE : 1;
	unsigned n = 0, n_iov = 0;
	size_t len = 0;

	g->from = q->next;
	while (len < need && n < most) {
		struct vring_chain *c = &g->buf[n];
		int r = vring_pop(q, &v->dev.mem, true, g->iov + n_iov, LIMIT_VHOST_CHAIN - n_iov, c);
		size_t more_len;
		unsigned more;

		if (r < 0)
			return give_up(v, q->why);
		if (r == 0)
			break;
		n++;
		n_iov += c->n;
		len += c->len;
		if (len >= need)
			break;
		more = vring_pop_plain(q, &v->dev.mem, need - len, g->iov + n_iov, g->buf + n,
				       MIN(most - n, LIMIT_VHOST_CHAIN - n_iov), &more_len);
		len += more_len;
		n += more;
		n_iov += more;
	}
	g->n = n;
	g->n_iov = n_iov;
	g->len = len;
	if (len < need && n == LIMIT_VHOST_MERGE)
		return give_up(v, "buffers to receive into that hold next to nothing");
	return 0;
}

static bool can_receive(const struct link_vhost *v)
{
	const struct vring *q = &v->dev.q[VHOST_RX];

	return !v->fault && v->link.is_up && q->running && q->enabled;
}

/*
 * All that is needed. -EAGAIN: a kick has been asked for, and
 * nothing had come when it was; writable() is owed. -EMSGSIZE: it never fits.
 */
static int gather(struct link_vhost *v, size_t need)
{
	struct vring *q = &v->dev.q[VHOST_RX];

	if (!can_receive(v)) {
		v->rx_wait = true;
		return -EAGAIN;
	}
	/* Each time round there is one buffer more, and that many are enough or too many. */
	for (unsigned tries = 0; tries <= LIMIT_VHOST_MERGE; tries++) {
		int r = gather_some(v, need);

		if (r < 0)
			return r;
		if (v->g.len >= need) {
			vring_quiet(q);
			return 0;
		}
		ungather(v);
		if (v->g.n && !vhost_has(&v->dev, VHOST_F_MRG_RXBUF))
			return -EMSGSIZE;
		if (!vring_wait(q))
			break;
	}
	v->rx_wait = true;
	return -EAGAIN;
}

static void fill_header(const struct link_vhost *v, const struct link_tx *tx, uint16_t buffers,
			struct virtio_net_hdr_v1 *h)
{
	memset(h, 0, sizeof(*h));
	if (tx->partial_csum) {
		h->flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
		h->csum_start = tx->csum_start;
		h->csum_offset = tx->csum_off;
	}
	if (tx->gso) {
		h->gso_type = tx->gso;
		h->gso_size = tx->gso_size;
		h->hdr_len = (uint16_t)tx->head_len;
	}
	/* 1 without MRG_RXBUF, virtio 1.2 5.1.6.4.1. */
	if (vhost_has(&v->dev, VHOST_F_VERSION_1) || vhost_has(&v->dev, VHOST_F_MRG_RXBUF))
		h->num_buffers = buffers;
}

/* Headers in front of the gathered buffers, used bytes of them given back, the rest kept. */
static void deliver(struct link_vhost *v, const struct link_tx *tx, struct vhost_at *a, size_t used)
{
	struct vring *q = &v->dev.q[VHOST_RX];
	struct virtio_net_hdr_v1 h;
	uint16_t n = (uint16_t)vring_give_run(q, v->g.buf, used);

	fill_header(v, tx, n, &h);
	vhost_at_put(a, &h, vhost_net_head(&v->dev));
	vhost_at_put(a, tx->head, tx->head_len);
	q->next = (uint16_t)(v->g.from + n);
	v->gathered = false;
}

static int put_frame(struct link_vhost *v, const struct link_tx *tx)
{
	size_t need = vhost_net_head(&v->dev) + link_tx_len(tx);
	struct vhost_at head, a;
	int r = gather(v, need);

	if (r < 0)
		return r;
	head = a = (struct vhost_at){ .iov = v->g.iov, .n = v->g.n_iov };
	vhost_at_skip(&a, vhost_net_head(&v->dev) + tx->head_len);
	for (unsigned i = 0; i < tx->n_data; i++)
		vhost_at_put(&a, tx->data[i].iov_base, tx->data[i].iov_len);
	deliver(v, tx, &head, need);
	return 0;
}

static bool guest_takes(const struct link_caps *c, const struct link_tx *tx)
{
	if (tx->partial_csum && !c->csum)
		return false;
	switch (tx->gso) {
	case LINK_GSO_NONE:
		return true;
	case LINK_GSO_TCP4:
		return c->tso4;
	case LINK_GSO_TCP6:
		return c->tso6;
	case LINK_GSO_UDP:
		return c->uso;
	}
	return false;
}

/* Of a frame that is cut up, once a segment did not fit. */
static int put_late(struct link_vhost *v, const struct link_tx *tx)
{
	struct vhost_late *t = &v->late;
	size_t n = link_tx_len(tx);

	if (!t->p)
		t->p = malloc(t->size);
	if (!t->p || t->size - t->len < sizeof(n) + n)
		return -EAGAIN;
	memcpy(t->p + t->len, &n, sizeof(n));
	(void)link_copy(tx, t->p + t->len + sizeof(n));
	t->len += sizeof(n) + n;
	return 0;
}

static int put_segment(void *ctx, const struct link_tx *tx)
{
	struct link_vhost *v = ctx;
	int r;

	if (v->late.len)
		return put_late(v, tx);
	r = put_frame(v, tx);
	v->placed |= r == 0;
	return r == -EAGAIN && v->placed ? put_late(v, tx) : r;
}

void vhost_net_forget_late(struct link_vhost *v)
{
	free(v->late.p);
	v->late = (struct vhost_late){ 0 };
}

bool vhost_net_late(struct link_vhost *v)
{
	struct vhost_late *t = &v->late;

	while (t->off < t->len) {
		struct link_tx tx = { .head = t->p + t->off + sizeof(size_t) };

		memcpy(&tx.head_len, t->p + t->off, sizeof(size_t));
		if (put_frame(v, &tx) == -EAGAIN)
			return false;
		t->off += sizeof(size_t) + tx.head_len;
	}
	vhost_net_forget_late(v);
	return true;
}

static int write_segments(struct link_vhost *v, const struct link_tx *tx)
{
	size_t len = link_tx_len(tx);
	int r;

	v->placed = false;
	if (tx->gso && tx->gso_size)
		v->late.size = len + (len / tx->gso_size + 1) * (sizeof(size_t) + tx->head_len);
	r = link_segment(tx, &v->link.caps, put_segment, v);
	if (!v->late.len)
		vhost_net_forget_late(v);
	return r;
}

int vhost_net_write(struct ns_link *l, const struct link_tx *tx)
{
	struct link_vhost *v = link_vhost(l);
	struct vring *q = &v->dev.q[VHOST_RX];
	uint16_t next = q->next, used = q->used_next;
	int r;

	if (v->late.len) {
		v->rx_wait = true;
		return -EAGAIN;
	}
	if (guest_takes(&l->caps, tx))
		r = put_frame(v, tx);
	else
		r = write_segments(v, tx);
	/* Half of a frame's segments: none of them. */
	if (r < 0 && q->running) {
		vhost_net_forget_late(v);
		q->next = next;
		q->used_next = used;
	}
	if (v->dev.mem_broken)
		link_vhost_fault(v, "guest memory became shorter while it was in use");
	return r;
}

int vhost_net_room(struct ns_link *l, size_t head_len, size_t want, struct iovec iov[LINK_ROOM_MAX],
		   unsigned *ret_n)
{
	struct link_vhost *v = link_vhost(l);
	size_t head = vhost_net_head(&v->dev) + head_len;
	struct vhost_at a;
	int r;

	if (!want)
		return -EINVAL;
	r = v->late.len ? -EAGAIN : gather(v, head + want);
	v->rx_wait |= r == -EAGAIN;
	if (r < 0)
		return r;
	a = (struct vhost_at){ .iov = v->g.iov, .n = v->g.n_iov };
	vhost_at_skip(&a, head);
	/* In more pieces than one system call is given. */
	if (vhost_at_pieces(&a, iov, LINK_ROOM_MAX, want, ret_n) != want) {
		ungather(v);
		return -EMSGSIZE;
	}
	v->gathered = true;
	v->room_head = head_len;
	return 0;
}

int vhost_net_commit(struct ns_link *l, const struct link_tx *tx, size_t len)
{
	struct link_vhost *v = link_vhost(l);
	struct vhost_at a = { .iov = v->g.iov, .n = v->g.n_iov };
	size_t head = vhost_net_head(&v->dev) + v->room_head;

	if (!v->gathered)
		return -EINVAL;
	if (!tx || !len || tx->head_len != v->room_head || len > v->g.len - head) {
		ungather(v);
		return tx && len ? -EINVAL : 0;
	}
	deliver(v, tx, &a, head + len);
	if (v->dev.mem_broken)
		link_vhost_fault(v, "guest memory became shorter while it was in use");
	return 0;
}

void vhost_net_caps(struct link_vhost *v)
{
	bool csum = vhost_has(&v->dev, VHOST_F_GUEST_CSUM);

	/* virtio 1.2 5.1.3.1: segmentation needs the checksum. */
	v->link.caps = (struct link_caps){
		.csum = csum,
		.tso4 = csum && vhost_has(&v->dev, VHOST_F_GUEST_TSO4),
		.tso6 = csum && vhost_has(&v->dev, VHOST_F_GUEST_TSO6),
		.uso = csum && vhost_has(&v->dev, VHOST_F_GUEST_USO4) &&
		       vhost_has(&v->dev, VHOST_F_GUEST_USO6),
	};
}
