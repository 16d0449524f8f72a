/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest's memory, and the only way to it. Every guest address goes through
 * gmem_at() together with its length: what is returned lies in RAM, whole, or there is
 * nothing. A register window is no RAM, so no guest can make one device write to
 * another.
 *
 * What the pointer leads to changes under our eyes: the guest's processors run meanwhile, and
 * the gateway has the same pages. So: copy what is to be looked at once, look at the copy.
 */
#ifndef WEIR_VMM_GMEM_H
#define WEIR_VMM_GMEM_H

#include "base/base.h"

#define GMEM_REGIONS 4

/* One piece of RAM. The mapping and the descriptor stay the caller's and outlive the gmem. */
struct gmem_region {
	uint64_t gpa;	    /* guest-physical, page aligned */
	uint64_t len;	    /* bytes, whole pages */
	uint8_t *host;	    /* where it is mapped here, readable and writable */
	int fd;		    /* the memory file behind it; -1: anonymous memory */
	uint64_t fd_offset; /* where in that file it begins */
};

struct gmem {
	unsigned n;
	struct gmem_region r[GMEM_REGIONS];
};

/*
 * Copies the table. -EINVAL: none or too many, a region without pages or not aligned to them,
 * one that wraps or overlaps another.
 */
must_check int gmem_init(struct gmem *m, const struct gmem_region *r, unsigned n);

/* gpa..gpa+len as our memory; NULL unless all of it lies in one region. len 0 is a place, too. */
uint8_t *gmem_at(const struct gmem *m, uint64_t gpa, uint64_t len);

/* Copies; -EFAULT (and nothing is copied) unless all of it lies in one region. */
must_check int gmem_read(const struct gmem *m, uint64_t gpa, void *dst, size_t len);
must_check int gmem_write(const struct gmem *m, uint64_t gpa, const void *src, size_t len);
must_check int gmem_zero(const struct gmem *m, uint64_t gpa, uint64_t len);

/*
 * The pages that lie wholly in gpa..gpa+len go back to the host, and read as zero from now
 * on. -EFAULT as above; else what the kernel said. *ret_given: bytes that went.
 */
must_check int gmem_discard(const struct gmem *m, uint64_t gpa, uint64_t len, uint64_t *ret_given);
/* The same for memory that gmem_at() led to. */
must_check int gmem_discard_at(const struct gmem *m, const uint8_t *p, uint64_t len,
			       uint64_t *ret_given);

#endif
