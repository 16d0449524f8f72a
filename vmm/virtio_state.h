/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A device as bytes. What the guest has made of it is in here, without a pointer; descriptors, the
 * other ends of streams and what they have not read yet are the host's, and are not.
 *
 *     r = virtio_save(old, &state);           processors stopped; the device goes on
 *     r = virtio_load(fresh, &state);         the same kind of device, as new, over the same memory
 *
 * A state that comes from elsewhere is as hostile as a guest: what a driver could not have done
 * is refused, and places in memory are checked as at DRIVER_OK.
 */
#ifndef WEIR_VMM_VIRTIO_STATE_H
#define WEIR_VMM_VIRTIO_STATE_H

#include "vmm/virtio.h"
#include "vmm/virtq.h"

#define VIRTIO_QUEUES_MAX 6
#define VIRTIO_CONFIG_MAX 64

/* What the driver has written into the registers. */
struct virtio_queue_regs {
	uint32_t ready;
	struct virtq_place place;
};

struct virtio_regs {
	uint32_t status;
	uint32_t offered_sel, accepted_sel, queue_sel;
	uint64_t accepted; /* features */
	uint32_t generation;
	struct virtio_queue_regs q[VIRTIO_QUEUES_MAX];
};

struct virtio_state {
	uint32_t id, n_queues; /* virtio 1.2 5 */
	struct virtio_regs regs;
	uint32_t isr;
	struct {
		uint16_t next_avail, next_used, called;
	} q[VIRTIO_QUEUES_MAX];
	uint8_t config[VIRTIO_CONFIG_MAX];
	union {
		uint64_t room[4];
		struct {
			uint64_t tx_off; /* bytes of the first chain of the stream's that are out */
			uint8_t news[2], guest_open;
		} console;
	} own;
};

/*
 * On the loop's thread, while no processor runs. A disk is flushed. -EIO: the device is lost over it,
 * and its guest will be told.
 */
must_check int virtio_save(struct virtio_mmio *d, struct virtio_state *ret);
/*
 * Into a device that no driver has touched: else -EBUSY. -EINVAL: it is not a state of such a
 * device; *ret_why says why. A device that was lost, or cannot go on, is one that is to be reset.
 */
must_check int virtio_load(struct virtio_mmio *d, const struct virtio_state *s, const char **ret_why);

#endif
