/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the transport and the devices share.
 *
 *   virtio_mmio.c      registers, the life of a device, its queues
 *   virtio_state.c     a device as bytes, and from bytes
 *   virtq.c            one split virtqueue
 *   virtio_rng.c       entropy
 *   virtio_block.c     a disk's requests
 *   virtio_disk.c      the disk's bytes: an image, and a layer over it
 *   virtio_console.c   hvc0 and a named stream
 *   virtio_port.c      the named stream: a queue pair and a socket
 *   virtio_balloon.c   memory that goes back to the host
 *   virtio_net.c       a card that another process serves
 *   vhost_front.c      the messages for that
 *
 * A device is a struct virtio_mmio with its own things behind it, and a struct virtio_kind
 * of functions. While it is active, kick() takes chains off a queue, answers them and
 * ends with virtio_turn(). Whatever the driver does wrong goes to virtio_fail(), after
 * which nothing of the queues may be touched: virtio_pop() then finds nothing.
 *
 * State of the guest's making is flat (struct virtio_regs, the queues' counters): struct virtio_state
 * is the device, and everything else follows from it or is the host's.
 */
#ifndef WEIR_VMM_VIRTIO_INT_H
#define WEIR_VMM_VIRTIO_INT_H

#include "vmm/virtio_state.h"

#include <stdatomic.h>

/* Chains that one turn of a queue serves; then the others have theirs. */
#define VIRTIO_TURN 64

struct virtio_kind {
	const char *name;
	uint32_t id;	    /* virtio 1.2 5 */
	unsigned queue_max; /* places of each queue */
	/* Another process takes chains off the queues: kicks are its. */
	bool foreign;
	/* The driver is ready: a sentence when that cannot be. NULL: nothing to do. */
	const char *(*start)(struct virtio_mmio *d);
	/* Reset, or lost: nothing of the guest's is used after this. Only after start(). */
	void (*stop)(struct virtio_mmio *d);
	void (*kick)(struct virtio_mmio *d, unsigned queue);
	/* d->config has changed at off, which is one of the bytes of config_writable. */
	void (*config_written)(struct virtio_mmio *d);
	uint64_t config_writable; /* a bit for each byte */
	/*
	 * What s does not have yet, of a device that is active; a sentence when that is lost. NULL:
	 * nothing. load() is called behind start(), with the queues where they were.
	 */
	const char *(*save)(struct virtio_mmio *d, struct virtio_state *s);
	const char *(*load)(struct virtio_mmio *d, const struct virtio_state *s);
	void (*fini)(struct virtio_mmio *d); /* what it has of its own; memory is freed later */
};

struct virtio_kick {
	struct loop_io io;
	int fd;
	struct virtio_mmio *dev;
};

struct virtio_mmio {
	const struct virtio_kind *kind;
	struct loop *loop;
	const struct gmem *mem;
	uint64_t offered; /* features */
	uint8_t config[VIRTIO_CONFIG_MAX];
	unsigned config_len, n_queues;

	struct virtio_regs regs;
	_Atomic uint32_t isr;
	_Atomic uint32_t isr_always; /* bits that read as set: calls made by others */
	bool active;		     /* between DRIVER_OK and reset or failure */
	const char *why;	     /* it wants a reset */
	struct virtq vq[VIRTIO_QUEUES_MAX];

	struct virtio_kick kicks[VIRTIO_QUEUES_MAX];
	int call;
	struct virtio_counters count;
};

/*
 * Fills in the transport of a device that was allocated with zeros; kind, n_queues, offered and config are set by
 * the caller before or after. On failure nothing is left to undo.
 */
must_check int virtio_init(struct virtio_mmio *d, const struct virtio_kind *kind, unsigned n_queues,
			   struct loop *loop, const struct gmem *mem);

#define VIRTIO_BIT(n) (UINT64_C(1) << (n))
/* What every device offers: VERSION_1, INDIRECT_DESC, EVENT_IDX. */
extern const uint64_t virtio_features_all;

static inline bool virtio_has(const struct virtio_mmio *d, unsigned bit)
{
	return d->regs.accepted >> bit & 1;
}

/* False: there is none, or the device was lost over it. */
must_check bool virtio_pop(struct virtio_mmio *d, unsigned queue, struct virtq_chain *c);
void virtio_push(struct virtio_mmio *d, unsigned queue, const struct virtq_chain *c,
		 uint32_t written);
/* The end of a turn that served n chains: calls the driver, comes back when there may be more. */
void virtio_turn(struct virtio_mmio *d, unsigned queue, unsigned n);
/* As if the driver had kicked: this queue's turn comes in the next round of the loop. */
void virtio_again(struct virtio_mmio *d, unsigned queue);
static inline bool virtio_runs(const struct virtio_mmio *d, unsigned queue)
{
	return d->active && virtq_started(&d->vq[queue]);
}

/* Takes the queues as the registers have them, and further as s has them; NULL: from their beginning. */
void virtio_start(struct virtio_mmio *d, const struct virtio_state *s);
/* A status that a driver can have come to. */
bool virtio_status_possible(uint32_t status);
bool virtio_features_possible(const struct virtio_mmio *d, uint64_t accepted);
/* Once more for what the driver has not acknowledged. */
void virtio_call_again(struct virtio_mmio *d);
/* The driver has broken a rule. Stops the device. */
void virtio_fail(struct virtio_mmio *d, const char *why);
/* The device has changed its configuration: a new generation, and the driver is told. */
void virtio_config_changed(struct virtio_mmio *d);

#endif
