/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A network card (virtio 1.2 5.1) without a data path: queues, kicks and calls are handed to the
 * gateway, over vhost-user, when the driver is ready, and taken back at its reset. Between those no
 * frame and no kick passes through this process.
 *
 *     new: features agreed ──► DRIVER_OK: memory, rings ──► served elsewhere ──► reset: rings back
 *                                   └──────── the socket ends ────────┘
 *                                            link down, NEEDS_RESET
 *
 * The gateway's calls go straight to the interrupt, so InterruptStatus always reads as if there was
 * one for the queues: a driver that looks finds what there is.
 *
 * Without a back end the card is there and its link is down, for ever: who runs this machine
 * decides what then becomes of it.
 */
#include "vmm/vhost_front.h"
#include "vmm/virtio_int.h"

#include <linux/virtio_ids.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_net.h>
#include <sys/epoll.h>

#define QUEUES 2 /* to the guest, from it */

/* Newer than Debian 12's headers: UDP segments (virtio 1.2 5.1.3). */
#define F_GUEST_USO4 54
#define F_GUEST_USO6 55
#define F_HOST_USO 56

struct net {
	struct virtio_mmio dev; /* first */
	struct vhost_front front;
	struct loop_io io;
	bool link_up; /* the back end is there */
	bool served;  /* and has the rings */
};

static struct net *net(struct virtio_mmio *d)
{
	return container_of(d, struct net, dev);
}

/* Of what a back end may offer; the rest is nothing that a driver is to see. */
static const uint64_t passed_on =
	VIRTIO_BIT(VIRTIO_NET_F_CSUM) | VIRTIO_BIT(VIRTIO_NET_F_GUEST_CSUM) |
	VIRTIO_BIT(VIRTIO_NET_F_GUEST_TSO4) | VIRTIO_BIT(VIRTIO_NET_F_GUEST_TSO6) |
	VIRTIO_BIT(VIRTIO_NET_F_HOST_TSO4) | VIRTIO_BIT(VIRTIO_NET_F_HOST_TSO6) |
	VIRTIO_BIT(VIRTIO_NET_F_HOST_ECN) | VIRTIO_BIT(VIRTIO_NET_F_MRG_RXBUF) |
	VIRTIO_BIT(F_GUEST_USO4) | VIRTIO_BIT(F_GUEST_USO6) | VIRTIO_BIT(F_HOST_USO) |
	VIRTIO_BIT(VIRTIO_RING_F_INDIRECT_DESC) | VIRTIO_BIT(VIRTIO_RING_F_EVENT_IDX) |
	VIRTIO_BIT(VIRTIO_F_VERSION_1);

static const uint64_t our_own = VIRTIO_BIT(VIRTIO_NET_F_MAC) | VIRTIO_BIT(VIRTIO_NET_F_MTU) |
				VIRTIO_BIT(VIRTIO_NET_F_STATUS);

static void set_status(struct net *n, uint16_t status)
{
	memcpy(n->dev.config + offsetof(struct virtio_net_config, status), &status, sizeof(status));
}

/* The back end is gone, or not to be trusted any more. The socket is its caller's to close. */
static void lose_link(struct net *n)
{
	if (!n->link_up)
		return;
	n->link_up = false;
	loop_io_del(&n->io);
	(void)shutdown(n->front.fd, SHUT_RDWR);
	set_status(n, 0);
	n->dev.regs.generation++;
}

/* Nothing is ever said without being asked. */
static void on_socket(struct loop_io *io, uint32_t revents)
{
	struct net *n = container_of(io, struct net, io);
	uint8_t b;
	ssize_t r = recv(io->fd, &b, 1, MSG_DONTWAIT);

	(void)revents;
	if (r < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	lose_link(n);
	if (n->dev.active)
		virtio_fail(&n->dev, r > 0 ? "the back end of the network speaks unasked"
					   : "the back end of the network is gone");
}

/* From where the queues are. What is wrong, or NULL. */
static const char *hand_over(struct net *n)
{
	struct virtio_mmio *d = &n->dev;
	struct vhost_front_ring rings[QUEUES];
	const char *why = NULL;

	for (unsigned i = 0; i < QUEUES; i++)
		rings[i] = (struct vhost_front_ring){ d->regs.q[i].place, d->vq[i].next_avail,
						      d->kicks[i].fd, d->call };
	if (vhost_front_start(&n->front, d->regs.accepted & n->front.features, d->mem, rings,
			      QUEUES, &why) < 0)
		lose_link(n);
	return why;
}

/* The queues are where the back end has got to. */
static const char *take_back(struct net *n)
{
	uint16_t bases[QUEUES] = { 0 };
	const char *why = NULL;

	if (vhost_front_stop(&n->front, QUEUES, bases, &why) < 0)
		lose_link(n);
	for (unsigned i = 0; i < QUEUES && !why; i++)
		n->dev.vq[i].next_avail = bases[i];
	return why;
}

static const char *start(struct virtio_mmio *d)
{
	struct net *n = net(d);

	for (unsigned i = 0; i < QUEUES; i++)
		if (!virtq_started(&d->vq[i]))
			return "a network card with a queue missing";
	atomic_store(&d->isr_always, VIRTIO_MMIO_INT_VRING);
	if (!n->link_up)
		return NULL;
	n->served = true;
	return hand_over(n);
}

static void stop(struct virtio_mmio *d)
{
	struct net *n = net(d);

	if (n->link_up && n->served)
		(void)take_back(n);
	n->served = false;
}

/* Only the back end knows how far it is: the rings are taken back, and handed over again. */
static const char *save(struct virtio_mmio *d, struct virtio_state *s)
{
	struct net *n = net(d);
	const char *why;

	if (!n->link_up || !n->served)
		return NULL;
	why = take_back(n);
	for (unsigned i = 0; i < QUEUES; i++)
		s->q[i].next_avail = d->vq[i].next_avail;
	return why ? why : hand_over(n);
}

static void fini(struct virtio_mmio *d)
{
	loop_io_del(&net(d)->io);
}

static const struct virtio_kind kind = {
	.name = "net",
	.id = VIRTIO_ID_NET,
	.queue_max = 256,
	.foreign = true,
	.start = start,
	.stop = stop,
	.save = save,
	.fini = fini,
};

static void configure(struct net *n, const struct virtio_net_setup *s)
{
	struct virtio_net_config c = {
		.status = VIRTIO_NET_S_LINK_UP,
		.max_virtqueue_pairs = 1,
		.mtu = s->mtu,
	};

	memcpy(c.mac, s->mac, sizeof(c.mac));
	n->dev.config_len = offsetof(struct virtio_net_config, mtu) + sizeof(c.mtu);
	memcpy(n->dev.config, &c, n->dev.config_len);
	n->dev.offered = (n->front.features & passed_on) | our_own;
	n->link_up = true;
}

int virtio_net_new(struct loop *loop, const struct gmem *mem, const struct virtio_net_setup *s,
		   struct virtio_mmio **ret, const char **ret_why)
{
	struct net *n = calloc(1, sizeof(*n));
	int r = n ? virtio_init(&n->dev, &kind, QUEUES, loop, mem) : -ENOMEM;

	*ret_why = "a network card cannot be made";
	if (r < 0) {
		free(n);
		return r;
	}
	r = vhost_front_open(&n->front, s->fd, ret_why);
	if (r == 0 && !(n->front.features & VIRTIO_BIT(VIRTIO_F_VERSION_1))) {
		*ret_why = "the back end of the network is of before virtio 1.0";
		r = -EPROTO;
	}
	if (r == 0)
		r = loop_io_add(loop, &n->io, s->fd, EPOLLIN, on_socket);
	if (r < 0) {
		virtio_free(&n->dev);
		return r;
	}
	configure(n, s);
	*ret = &n->dev;
	return 0;
}

bool virtio_net_link_up(const struct virtio_mmio *d)
{
	return ((const struct net *)(const void *)d)->link_up;
}
