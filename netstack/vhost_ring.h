/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest's memory and its virtqueues, for the files of the vhost-user link (vhost_int.h,
 * which says who is hostile).
 */
#ifndef WEIR_NETSTACK_VHOST_RING_H
#define WEIR_NETSTACK_VHOST_RING_H

#include <signal.h>

#include "netstack/link.h"
#include "netstack/netstack_limits.h"

/* ---- guest memory ------------------------------------------------------- */

struct vhost_region {
	uint64_t gpa, uva, size; /* as the guest and as the VMM count */
	uint8_t *host;		 /* where gpa is here */
	void *map;
	size_t map_len;
	unsigned guard;
};

struct vhost_mem {
	unsigned n, last; /* last: the region found last, tried first */
	struct vhost_region r[LIMIT_VHOST_REGIONS];
	sig_atomic_t volatile *broken; /* set when memory of ours was taken away */
};

/* One line of SET_MEM_TABLE. */
struct vhost_region_in {
	uint64_t gpa, size, uva, offset;
};

/*
 * Map what in describes; fds stay the caller's. All or nothing; -errno, and *ret_why says
 * what was wrong.
 */
must_check int vhost_mem_map(struct vhost_mem *m, const struct vhost_region_in *in, const int *fds,
			     unsigned n, const char **ret_why);
void vhost_mem_unmap(struct vhost_mem *m);
static inline uint8_t *vhost_region_at(const struct vhost_region *r, uint64_t gpa, uint64_t len,
				       uint64_t *ret_len)
{
	uint64_t off = gpa - r->gpa;

	/* One comparison: below the region, off is huge. */
	if (off >= r->size)
		return NULL;
	*ret_len = MIN(len, r->size - off);
	return r->host + off;
}

/* Guest-physical: NULL, or where it is and how much of len follows there without a gap. */
uint8_t *vhost_mem_gpa(struct vhost_mem *m, uint64_t gpa, uint64_t len, uint64_t *ret_len);
/* The VMM's address: len bytes in one piece, or NULL. */
uint8_t *vhost_mem_uva(const struct vhost_mem *m, uint64_t uva, uint64_t len);

/*
 * Watch [p, p + len): when an access faults because the file behind it became
 * too short (SIGBUS), zeros take its place and *flag is set. Negative: no slot
 * left. For any thread; the handler of whoever had one before is called for
 * other addresses.
 */
must_check int vhost_guard_add(void *p, size_t len, sig_atomic_t volatile *flag);
void vhost_guard_del(unsigned slot);

/*
 * Shared bytes into private memory, once. The barrier behind the copy keeps the
 * compiler from reading the source again in place of the copy: it may have changed.
 */
static inline void vhost_copy_in(void *dst, const void *src, size_t n)
{
#ifdef __SANITIZE_THREAD__
	/* Races with the guest are what this is for; the rest must have none. */
	for (size_t i = 0; i < n; i++)
		((uint8_t *)dst)[i] = __atomic_load_n((const uint8_t *)src + i, __ATOMIC_RELAXED);
#else
	memcpy(dst, src, n);
#endif
	__asm__ volatile("" ::: "memory");
}

/* The other way. */
static inline void vhost_copy_out(void *dst, const void *src, size_t n)
{
#ifdef __SANITIZE_THREAD__
	for (size_t i = 0; i < n; i++)
		__atomic_store_n((uint8_t *)dst + i, ((const uint8_t *)src)[i], __ATOMIC_RELAXED);
#else
	memcpy(dst, src, n);
#endif
}

/* A place in a list of pieces. */
struct vhost_at {
	const struct iovec *iov;
	unsigned n, i;
	size_t off;
};
void vhost_at_skip(struct vhost_at *a, size_t n);
/* Fewer bytes than n where the pieces end. */
void vhost_at_get(struct vhost_at *a, void *dst, size_t n);
void vhost_at_put(struct vhost_at *a, const void *src, size_t n);
/* What follows, as pieces: at most max of them and len bytes. Returns the bytes. */
size_t vhost_at_pieces(struct vhost_at *a, struct iovec *ret, unsigned max, size_t len,
		       unsigned *ret_n);

/* ---- one virtqueue ------------------------------------------------------ */

struct vring_chain {
	uint16_t head;
	unsigned n;
	size_t len;
};

/* virtio 1.2 2.7; all in the guest's memory. */
struct vring {
	/* What the VMM said. */
	uint32_t num;
	uint64_t uva_desc, uva_avail, uva_used;
	uint16_t base;
	bool has_addr, enabled;
	int kick, call, err; /* eventfds, owned, -1 */
	struct loop_io io;   /* of kick */
	struct vhost_dev *dev;

	/* While it runs. */
	bool running, event_idx, indirect, quiet;
	uint8_t *desc, *avail, *used;
	uint16_t next;	    /* of the available ring: to be taken next */
	uint16_t seen;	    /* its idx as read last */
	uint16_t used_next; /* where the next used element goes */
	uint16_t used_idx;  /* what the driver has been told */
	const char *why;    /* of the last -EPROTO */
};

must_check int vring_start(struct vring *q, const struct vhost_mem *m, bool event_idx,
			   bool indirect, const char **ret_why);
/* The queue's three areas in our memory, for the search for overlaps. */
void vring_areas(const struct vring *q, struct iovec ret[3]);
/* After SET_MEM_TABLE: the same ring elsewhere. */
must_check int vring_remap(struct vring *q, const struct vhost_mem *m);
void vring_stop(struct vring *q);
/*
 * Take the next chain the driver has made available: its descriptors as
 * pieces of our memory, all readable or all writable by the device. 1, 0: none,
 * -EPROTO: the driver broke the rules (q->why).
 */
int vring_pop(struct vring *q, struct vhost_mem *m, bool writable, struct iovec *iov, unsigned max,
	      struct vring_chain *ret);
/*
 * Of those that vring_pop() has seen: up to max writable ones that are one descriptor in one
 * region, until they hold need bytes. Stops at the first that is not, which is for vring_pop().
 */
unsigned vring_pop_plain(struct vring *q, const struct vhost_mem *m, size_t need, struct iovec *iov,
			 struct vring_chain *ret, unsigned max, size_t *ret_len);
/* The first of these, as many as len bytes (of theirs) need, the last in part; returns how many. */
unsigned vring_give_run(struct vring *q, const struct vring_chain *c, size_t len);
/* Give a chain back; told to the driver by vring_publish(). */
void vring_give(struct vring *q, uint16_t head, uint32_t len);
/* True: the driver wants to be called. */
must_check bool vring_publish(struct vring *q);
void vring_call(struct vring *q);
/* No kicks, please. */
void vring_quiet(struct vring *q);
/* A kick for what comes next, please. True: something has come already. */
must_check bool vring_wait(struct vring *q);

#endif
