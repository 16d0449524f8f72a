/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest's devices: virtio 1.2 over MMIO (virtio 1.2 4.2, version 2 registers only).
 *
 *     struct virtio_mmio *rng;
 *     r = virtio_rng_new(loop, mem, &rng);
 *     for (unsigned q = 0; q < virtio_queues(rng); q++)
 *             ... KVM_IOEVENTFD virtio_kick_fd(rng, q) at base + VIRTIO_MMIO_NOTIFY,
 *                 4 bytes, datamatch q ...
 *     ... KVM_IRQFD virtio_call_fd(rng), edge ...
 *     virtio_mmio_read(rng, offset, data, len);     on an exit in base + 0x1000
 *
 * The caller binds the event descriptors to KVM, or to nothing: a write to the notify register
 * kicks as well, and the call descriptor can be read like any other.
 *
 * Threads: all of it belongs to the thread that runs the loop, except virtio_mmio_isr() and
 * virtio_mmio_ack(), which any thread may call at any time.
 *
 * Hostile: the guest, in all its registers, rings and buffers. A driver that breaks its
 * device's rules loses this device (DEVICE_NEEDS_RESET, virtio 1.2 2.1.2) until it resets it;
 * nobody else notices. What a queue points at is taken when the driver says DRIVER_OK; later
 * writes to these registers change nothing.
 *
 * Descriptors in a configuration stay the caller's, who keeps them open until virtio_free().
 * Errors at making a device are negative errno; *ret_why then is a sentence to show.
 */
#ifndef WEIR_VMM_VIRTIO_H
#define WEIR_VMM_VIRTIO_H

#include "vmm/gmem.h"

struct virtio_mmio;

/* ---- transport ---------------------------------------------------------- */

#define VIRTIO_MMIO_SIZE 0x1000 /* bytes of the register window */
#define VIRTIO_MMIO_NOTIFY 0x50
#define VIRTIO_MMIO_ISR 0x60
#define VIRTIO_MMIO_ACK 0x64

/*
 * An access of 1, 2, 4 or 8 bytes. Registers are of 32 bits: what is of another width, unaligned,
 * or no register reads as zero and writes nothing, and is counted.
 */
void virtio_mmio_read(struct virtio_mmio *d, uint64_t offset, void *data, unsigned len);
void virtio_mmio_write(struct virtio_mmio *d, uint64_t offset, const void *data, unsigned len);

/* InterruptStatus and InterruptACK (virtio 1.2 4.2.2), from any thread. */
uint32_t virtio_mmio_isr(const struct virtio_mmio *d);
void virtio_mmio_ack(struct virtio_mmio *d, uint32_t bits);

unsigned virtio_queues(const struct virtio_mmio *d);
/* Event descriptors, not blocking, open as long as the device is. */
int virtio_kick_fd(const struct virtio_mmio *d, unsigned queue); /* guest to device */
int virtio_call_fd(const struct virtio_mmio *d);		 /* device to guest */

/* "rng", "block", "console", "balloon", "net". */
const char *virtio_name(const struct virtio_mmio *d);
/* Why the device wants a reset; NULL: it does not. A sentence about what the driver did. */
const char *virtio_broken(const struct virtio_mmio *d);

struct virtio_counters {
	uint64_t chains;  /* taken from the queues */
	uint64_t calls;	  /* interrupts asked for */
	uint64_t ignored; /* register accesses that no driver should make */
	uint64_t broken;  /* times the device was lost to a rule */
	uint64_t errors;  /* requests answered with an error */
	uint64_t dropped; /* bytes for a console that nobody takes */
};
void virtio_count(const struct virtio_mmio *d, struct virtio_counters *ret);

/* Stops the device and frees it; NULL is fine. What a disk holds is written out first. */
void virtio_free(struct virtio_mmio *d);

/* ---- devices ------------------------------------------------------------ */

/* Entropy (virtio 1.2 5.4) from getrandom(2). */
must_check int virtio_rng_new(struct loop *loop, const struct gmem *mem, struct virtio_mmio **ret);

/* A disk (virtio 1.2 5.2). */
struct virtio_block_setup {
	int fd;		    /* the image, raw; its size rounded up to 512 is the disk's */
	bool read_only;	    /* offered as such, and no write leaves this device */
	int layer_fd;	    /* -1, or a readable and writable file that takes all writes to fd */
	const char *serial; /* NULL, or what GET_ID answers: at most 20 bytes are used */
};
/*
 * With a layer, fd is only read. An empty layer file becomes a new layer (sparse); one
 * with content must be a layer of a base of this size, else -EINVAL.
 */
must_check int virtio_block_new(struct loop *loop, const struct gmem *mem,
				const struct virtio_block_setup *c, struct virtio_mmio **ret,
				const char **ret_why);

/*
 * A console (virtio 1.2 5.3) with ports. Port 0 is hvc0, which only writes; port 1 is the
 * stream that drivers know by its name.
 */
struct virtio_console_setup {
	int out_fd;    /* takes hvc0's bytes; what it does not take in time is dropped. -1: none */
	int stream_fd; /* connected stream socket; nothing is lost either way. -1: no port 1 */
	const char *port_name; /* of port 1, such as "agent"; at most 32 bytes */
};
must_check int virtio_console_new(struct loop *loop, const struct gmem *mem,
				  const struct virtio_console_setup *c, struct virtio_mmio **ret);

/*
 * A balloon (virtio 1.2 5.5): free pages that the guest reports go back to the host at
 * once. It can be inflated as well; the guest may take back what it needs (DEFLATE_ON_OOM).
 */
must_check int virtio_balloon_new(struct loop *loop, const struct gmem *mem,
				  struct virtio_mmio **ret);
/* Bytes the guest is asked to give up; it follows when it can. */
void virtio_balloon_target(struct virtio_mmio *d, uint64_t bytes);
/* Bytes it says it has given up, and those that free-page reports gave back so far. */
void virtio_balloon_state(const struct virtio_mmio *d, uint64_t *ret_inflated,
			  uint64_t *ret_reported);

/*
 * A network card (virtio 1.2 5.1) whose queues another process serves, over vhost-user: this
 * is the front end. Its end of the socket gone, the guest sees a link that is down.
 */
struct virtio_net_setup {
	int fd; /* connected stream socket to the back end */
	uint8_t mac[6];
	uint16_t mtu;
};
/* Agrees on features with the back end, which has a few seconds to answer. */
must_check int virtio_net_new(struct loop *loop, const struct gmem *mem,
			      const struct virtio_net_setup *c, struct virtio_mmio **ret,
			      const char **ret_why);
/* False once the back end is gone. */
bool virtio_net_link_up(const struct virtio_mmio *d);

#endif
