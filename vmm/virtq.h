/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The device's side of one split virtqueue (virtio 1.2 2.7), with indirect descriptors and
 * EVENT_IDX when they were agreed on.
 *
 * Everything in it belongs to the guest, who writes while we read. What the queue is, its size and where
 * its three parts lie, is taken once, at virtq_start(). A chain is copied, descriptor by descriptor,
 * each once; it has a bounded number of them, whatever they point at.
 */
#ifndef WEIR_VMM_VIRTQ_H
#define WEIR_VMM_VIRTQ_H

#include "vmm/gmem.h"

#include <linux/virtio_ring.h>
#include <sys/uio.h>

#define VIRTQ_SIZE_MAX 256
/* Of one chain, indirect ones included: a header, 126 segments, a status. */
#define VIRTQ_CHAIN_MAX 128

/* As the driver has set it up, frozen. */
struct virtq_place {
	uint32_t size; /* a power of two, at most VIRTQ_SIZE_MAX */
	uint64_t desc, avail, used;
};

struct virtq {
	const struct gmem *mem; /* NULL: not started */
	struct vring_desc *desc;
	struct vring_avail *avail;
	struct vring_used *used;
	uint16_t size;
	uint16_t next_avail; /* index of the next chain to take */
	uint16_t next_used;  /* and of the next to give back */
	uint16_t called;     /* next_used when the driver was last considered for a call */
	bool event_idx, indirect;
};

/* What the device reads comes first, then what it writes. Zero-length pieces are left out. */
struct virtq_chain {
	uint16_t head;
	uint16_t n_out, n_in;	  /* pieces */
	uint64_t out_len, in_len; /* bytes */
	struct iovec iov[VIRTQ_CHAIN_MAX];
};

/* -EPROTO: it is not a queue that can be; *ret_why says what is wrong, as all of these do. */
must_check int virtq_start(struct virtq *q, const struct gmem *mem, const struct virtq_place *p,
			   bool event_idx, bool indirect, const char **ret_why);
void virtq_stop(struct virtq *q);
static inline bool virtq_started(const struct virtq *q)
{
	return q->mem != NULL;
}

/*
 * The next chain. 1: there it is. 0: none, and the driver will kick when there is one.
 * -EPROTO: the driver has broken the rules; the queue is of no use any more.
 */
must_check int virtq_pop(struct virtq *q, struct virtq_chain *ret, const char **ret_why);
/* The chain's buffers are the driver's again; written: bytes at the beginning of its in part. */
void virtq_push(struct virtq *q, uint16_t head, uint32_t written);
/* Whether the driver wants to be called for what was pushed since the last time it was asked. */
bool virtq_wants_call(struct virtq *q);

/* n bytes at off of the chain's out part; false, and nothing is copied, beyond its end. */
must_check bool virtq_copy_out(const struct virtq_chain *c, uint64_t off, void *dst, size_t n);
/* n bytes to off of its in part. */
must_check bool virtq_copy_in(const struct virtq_chain *c, uint64_t off, const void *src, size_t n);
/* The pieces of v[0..n) that make up len bytes from off on, to out (n of them at most); how many. */
unsigned virtq_slice(const struct iovec *v, unsigned n, uint64_t off, uint64_t len,
		     struct iovec *out);

static inline const struct iovec *virtq_out(const struct virtq_chain *c)
{
	return c->iov;
}

static inline const struct iovec *virtq_in(const struct virtq_chain *c)
{
	return c->iov + c->n_out;
}

#endif
