/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Entropy (virtio 1.2 5.4): one queue of buffers to fill. A buffer may be as large as the
 * guest likes; what one request gets is ours to say, and the driver is told how much that was.
 */
#include "vmm/virtio_int.h"

#include <linux/virtio_ids.h>

/* Of one request. Linux asks for 64 bytes at a time. */
#define RNG_REQUEST_MAX 65536

static void fill(struct virtio_mmio *d, const struct virtq_chain *c)
{
	struct iovec v[VIRTQ_CHAIN_MAX];
	uint32_t len = (uint32_t)MIN(c->in_len, RNG_REQUEST_MAX);
	unsigned n = virtq_slice(virtq_in(c), c->n_in, 0, len, v);

	for (unsigned i = 0; i < n; i++)
		random_bytes(v[i].iov_base, v[i].iov_len);
	virtio_push(d, 0, c, len);
}

static void kick(struct virtio_mmio *d, unsigned queue)
{
	struct virtq_chain c;
	unsigned n = 0;

	while (n < VIRTIO_TURN && virtio_pop(d, queue, &c)) {
		if (c.in_len == 0) {
			virtio_fail(d, "a request for entropy without room for any");
			return;
		}
		fill(d, &c);
		n++;
	}
	virtio_turn(d, queue, n);
}

static const struct virtio_kind rng = {
	.name = "rng",
	.id = VIRTIO_ID_RNG,
	.queue_max = 64,
	.kick = kick,
};

int virtio_rng_new(struct loop *loop, const struct gmem *mem, struct virtio_mmio **ret)
{
	struct virtio_mmio *d = calloc(1, sizeof(*d));
	int r = d ? virtio_init(d, &rng, 1, loop, mem) : -ENOMEM;

	if (r < 0) {
		free(d);
		return r;
	}
	*ret = d;
	return 0;
}
