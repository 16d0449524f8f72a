/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guest addresses to ours. A handful of regions that never change while the machine
 * lives: a walk over them is cheaper than anything clever.
 *
 * Pages are given back by a hole in the memory file, not by madvise() alone: the page
 * cache holds them for the gateway's mapping, too.
 */
#include "vmm/gmem.h"

#include <fcntl.h>
#include <sys/mman.h>

#define PAGE UINT64_C(4096)

static bool overlap(const struct gmem_region *a, const struct gmem_region *b)
{
	return a->gpa < b->gpa + b->len && b->gpa < a->gpa + a->len;
}

int gmem_init(struct gmem *m, const struct gmem_region *r, unsigned n)
{
	uint64_t end;

	if (n == 0 || n > GMEM_REGIONS)
		return -EINVAL;
	for (unsigned i = 0; i < n; i++) {
		if (!r[i].host || !r[i].len || (r[i].gpa | r[i].len | r[i].fd_offset) & (PAGE - 1) ||
		    __builtin_add_overflow(r[i].gpa, r[i].len, &end) ||
		    __builtin_add_overflow(r[i].fd_offset, r[i].len, &end))
			return -EINVAL;
		for (unsigned j = 0; j < i; j++)
			if (overlap(&r[i], &r[j]))
				return -EINVAL;
	}
	*m = (struct gmem){ .n = n };
	memcpy(m->r, r, n * sizeof(r[0]));
	return 0;
}

static const struct gmem_region *region_at(const struct gmem *m, uint64_t gpa, uint64_t len)
{
	for (unsigned i = 0; i < m->n; i++) {
		uint64_t off = gpa - m->r[i].gpa;

		if (off < m->r[i].len && len <= m->r[i].len - off)
			return &m->r[i];
	}
	return NULL;
}

uint8_t *gmem_at(const struct gmem *m, uint64_t gpa, uint64_t len)
{
	const struct gmem_region *r = region_at(m, gpa, len);

	return r ? r->host + (gpa - r->gpa) : NULL;
}

int gmem_read(const struct gmem *m, uint64_t gpa, void *dst, size_t len)
{
	const uint8_t *p = gmem_at(m, gpa, len);

	if (!p)
		return -EFAULT;
	memcpy(dst, p, len);
	return 0;
}

int gmem_write(const struct gmem *m, uint64_t gpa, const void *src, size_t len)
{
	uint8_t *p = gmem_at(m, gpa, len);

	if (!p)
		return -EFAULT;
	memcpy(p, src, len);
	return 0;
}

int gmem_zero(const struct gmem *m, uint64_t gpa, uint64_t len)
{
	uint8_t *p = gmem_at(m, gpa, len);

	if (!p)
		return -EFAULT;
	memset(p, 0, len);
	return 0;
}

int gmem_discard(const struct gmem *m, uint64_t gpa, uint64_t len, uint64_t *ret_given)
{
	const struct gmem_region *r = region_at(m, gpa, len);
	uint64_t from, to;

	if (!r)
		return -EFAULT;
	/* Regions begin and end with a page, so neither sum leaves its region. */
	from = (gpa - r->gpa + PAGE - 1) & ~(PAGE - 1);
	to = (gpa - r->gpa + len) & ~(PAGE - 1);
	if (from >= to) {
		*ret_given = 0;
		return 0;
	}
	if (r->fd < 0) {
		if (madvise(r->host + from, to - from, MADV_DONTNEED) < 0)
			return -errno;
	} else if (fallocate(r->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			     (off_t)(r->fd_offset + from), (off_t)(to - from)) < 0) {
		return -errno;
	}
	*ret_given = to - from;
	return 0;
}

int gmem_discard_at(const struct gmem *m, const uint8_t *p, uint64_t len, uint64_t *ret_given)
{
	for (unsigned i = 0; i < m->n; i++) {
		uintptr_t off = (uintptr_t)p - (uintptr_t)m->r[i].host;

		if (off < m->r[i].len)
			return gmem_discard(m, m->r[i].gpa + off, len, ret_given);
	}
	return -EFAULT;
}
