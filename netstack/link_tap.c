/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tap link: one read or write is one frame behind a 12-byte virtio-net
 * header (IFF_VNET_HDR, TUNSETVNETHDRSZ 12; virtio 1.x, host byte order on the
 * little-endian machines we run on). Any descriptor that keeps message bounds
 * works, which is how the tests run without a kernel tap.
 *
 * Hostile input: every field of the header. flags only decides whether a
 * checksum is verified (a guest that lies fools itself), gso_type and gso_size
 * how a UDP frame is split (bounded there); hdr_len, csum_start, csum_offset
 * are not looked at.
 */
#include "netstack/link.h"
#include "netstack/netstack_limits.h"

#include <linux/virtio_net.h>
#include <sys/epoll.h>
#include <unistd.h>

#define VNET_HEAD sizeof(struct virtio_net_hdr_v1)

struct link_tap {
	struct ns_link link;
	struct loop_io io;
	int fd;
	uint8_t buf[LIMIT_FRAME];
};

static struct link_tap *tap(struct ns_link *l)
{
	return container_of(l, struct link_tap, link);
}

static int tap_read(struct ns_link *l, struct link_rx *ret)
{
	struct link_tap *t = tap(l);
	struct virtio_net_hdr_v1 h;
	ssize_t n;

	if (t->fd < 0)
		return 0;
	do
		n = read(t->fd, t->buf, sizeof(t->buf));
	while (n < 0 && errno == EINTR);
	if (n < 0 && errno == EAGAIN)
		return 0;
	if (n <= 0) {
		loop_io_del(&t->io);
		fd_close(steal_fd(&t->fd));
		l->why = "the interface is gone";
		l->events->down(l, true);
		return 0;
	}
	link_rx_set(ret, t->buf, 0);
	/* Too short for its header: an empty frame, which is counted as malformed. */
	if ((size_t)n < VNET_HEAD)
		return 1;
	memcpy(&h, t->buf, VNET_HEAD);
	ret->p = t->buf + VNET_HEAD;
	ret->len = (size_t)n - VNET_HEAD;
	ret->vouched = h.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM;
	ret->gso = h.gso_type & (uint8_t)~VIRTIO_NET_HDR_GSO_ECN;
	ret->gso_size = h.gso_size;
	return 1;
}

static int tap_write(struct ns_link *l, const struct link_tx *tx)
{
	struct virtio_net_hdr_v1 h = { 0 };
	struct iovec iov[4];
	unsigned n = 0;
	ssize_t r;

	if (tap(l)->fd < 0)
		return -EPIPE;
	if (tx->partial_csum) {
		h.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
		h.csum_start = tx->csum_start;
		h.csum_offset = tx->csum_off;
	}
	if (tx->gso) {
		h.gso_type = tx->gso;
		h.gso_size = tx->gso_size;
		h.hdr_len = (uint16_t)tx->head_len;
	}
	iov[n++] = (struct iovec){ &h, VNET_HEAD };
	iov[n++] = (struct iovec){ (void *)(uintptr_t)tx->head, tx->head_len };
	for (unsigned i = 0; i < tx->n_data; i++)
		iov[n++] = tx->data[i];
	do
		r = writev(tap(l)->fd, iov, (int)n);
	while (r < 0 && errno == EINTR);
	if (r >= 0)
		return 0;
	if (errno == EAGAIN)
		loop_io_set(&tap(l)->io, EPOLLIN | EPOLLOUT);
	return -errno;
}

static void tap_free(struct ns_link *l)
{
	struct link_tap *t = tap(l);

	loop_io_del(&t->io);
	fd_close(t->fd);
	free(t);
}

static void on_io(struct loop_io *io, uint32_t revents)
{
	struct link_tap *t = container_of(io, struct link_tap, io);

	if (revents & EPOLLOUT) {
		loop_io_set(io, EPOLLIN);
		t->link.events->writable(&t->link);
		/* May have lost the link. */
		if (!io->loop)
			return;
	}
	t->link.events->readable(&t->link);
}

static const struct link_driver link_tap = {
	.name = "tap",
	.read = tap_read,
	.write = tap_write,
	.free = tap_free,
};

int link_tap_new(struct loop *loop, int fd, const struct link_events *e, void *ctx,
		 struct ns_link **ret)
{
	struct link_tap *t = calloc(1, sizeof(*t));
	int r;

	if (!t)
		return -ENOMEM;
	t->link = (struct ns_link){
		.drv = &link_tap,
		.events = e,
		.ctx = ctx,
		.is_up = true,
		.loop = loop,
		.caps = { .csum = true, .tso4 = true, .tso6 = true, .uso = true },
	};
	r = fd_set_nonblock(fd, true);
	if (r == 0)
		r = loop_io_add(loop, &t->io, fd, EPOLLIN, on_io);
	if (r < 0) {
		free(t);
		return r;
	}
	t->fd = fd;
	*ret = &t->link;
	return 0;
}
