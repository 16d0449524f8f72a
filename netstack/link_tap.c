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
#include "netstack/netstack_internal.h"

#include <linux/virtio_net.h>
#include <unistd.h>

#define VNET_HEAD sizeof(struct virtio_net_hdr_v1)

static int tap_read(struct ns_link *l, uint8_t *buf, size_t size, struct link_rx *ret)
{
	struct virtio_net_hdr_v1 h;
	ssize_t n;

	do
		n = read(l->fd, buf, size);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return errno == EAGAIN ? 0 : -errno;
	if (n == 0)
		return -EPIPE;
	*ret = (struct link_rx){ .p = buf };
	/* Too short for its header: an empty frame, which is counted as malformed. */
	if ((size_t)n < VNET_HEAD)
		return 1;
	memcpy(&h, buf, VNET_HEAD);
	ret->p = buf + VNET_HEAD;
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
		r = writev(l->fd, iov, (int)n);
	while (r < 0 && errno == EINTR);
	if (r >= 0)
		return 0;
	return -errno;
}

const struct link_driver link_tap = {
	.read = tap_read,
	.write = tap_write,
	.caps = {
		.vnet_hdr = true,
		.csum = true,
		.tso = true,
		.uso = true,
		.frame_max = LIMIT_FRAME,
	},
};
