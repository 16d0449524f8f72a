/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A console's port that is a stream: two queues of the guest's on one side, a socket on the
 * other. And the sink that takes what a console without a reader says.
 */
#ifndef WEIR_VMM_VIRTIO_PORT_H
#define WEIR_VMM_VIRTIO_PORT_H

#include "vmm/virtio_int.h"

struct virtio_port {
	struct virtio_mmio *dev;
	unsigned rx, tx; /* queues: to the guest, from it */
	struct loop_io io;
	int fd;		       /* -1: the other end is gone, or there never was one */
	bool hung_up;	       /* it is, and what it sent before is not all read yet */
	bool guest_open;       /* a process in the guest has the port open */
	bool rx_held, tx_held; /* chains that are taken and not finished */
	uint64_t tx_off;       /* bytes of tx_chain that are out */
	struct virtq_chain rx_chain, tx_chain;
	/* The socket's end has come. */
	void (*closed)(struct virtio_port *p);
};

/* fd is a connected stream socket and stays the caller's. */
must_check int virtio_port_init(struct virtio_port *p, struct virtio_mmio *dev, unsigned rx,
				unsigned tx, int fd, void (*closed)(struct virtio_port *p));
void virtio_port_fini(struct virtio_port *p);
/* The driver has kicked one of its queues, or has opened or closed the port. */
void virtio_port_receive(struct virtio_port *p);
void virtio_port_send(struct virtio_port *p);
void virtio_port_set_open(struct virtio_port *p, bool open);
/*
 * As if the chains that are held had not been taken: the queues' counters then, and the bytes of
 * the first that are out. And the other way, into a port that was just opened; false: it cannot be.
 */
void virtio_port_save(const struct virtio_port *p, uint16_t *rx_next, uint16_t *tx_next,
		      uint64_t *ret_tx_off);
must_check bool virtio_port_load(struct virtio_port *p, bool open, uint64_t tx_off);
/* Reset: held chains are forgotten. */
void virtio_port_stop(struct virtio_port *p);

/*
 * Bytes for whoever reads a console. Nobody waits for a reader: what does not fit
 * into what is kept for it is dropped and counted.
 */
struct virtio_sink {
	struct loop *loop;
	struct loop_io io;
	int fd;	   /* a copy of ours; -1: everything is dropped */
	bool file; /* takes whatever it is given, at once */
	struct buf kept;
	uint64_t dropped;
};

/* fd -1 is a sink without a reader. fd is copied. */
must_check int virtio_sink_init(struct virtio_sink *s, struct loop *loop, int fd);
void virtio_sink_fini(struct virtio_sink *s);
void virtio_sink_put(struct virtio_sink *s, const void *p, size_t n);

#endif
