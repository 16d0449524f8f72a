/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest's memory in ours: up to eight regions, each a piece of a file the
 * VMM handed over, known by three addresses (the guest's, the VMM's, ours).
 *
 * Hostile: every number, and the files. A region must lie inside of its file as
 * the file is now (what happens later is vhost_guard.c's), must not wrap, must
 * not overlap another in either address space. Only memory files are taken
 * (memfd, tmpfs, hugetlbfs: those that know seals): behind any other
 * file a page fault may wait for a disk, a network or a FUSE server of the
 * peer's, and with it our loop.
 */
#include "netstack/vhost_int.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static bool overlap(uint64_t a, uint64_t a_len, uint64_t b, uint64_t b_len)
{
	return a < b + b_len && b < a + a_len;
}

/* The table alone. Ends may not wrap, so that the sums above cannot. */
static const char *table_wrong(const struct vhost_region_in *in, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		uint64_t end;

		if (in[i].size == 0)
			return "a memory region of no size";
		if (__builtin_add_overflow(in[i].gpa, in[i].size, &end) ||
		    __builtin_add_overflow(in[i].uva, in[i].size, &end) ||
		    __builtin_add_overflow(in[i].offset, in[i].size, &end) || end > INT64_MAX)
			return "a memory region beyond the end of its address space";
		for (unsigned j = 0; j < i; j++)
			if (overlap(in[i].gpa, in[i].size, in[j].gpa, in[j].size) ||
			    overlap(in[i].uva, in[i].size, in[j].uva, in[j].size))
				return "memory regions that overlap";
	}
	return NULL;
}

static int map_one(struct vhost_mem *m, const struct vhost_region_in *in, int fd, const char **ret_why)
{
	struct vhost_region *r = &m->r[m->n];
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), from, len;
	struct stat st;
	void *p;
	int slot;

	*ret_why = "memory that is no memfd and no file of a tmpfs or hugetlbfs";
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || fcntl(fd, F_GET_SEALS) < 0)
		return -EPROTO;
	*ret_why = "a memory region that goes beyond the end of its file";
	if (in->offset + in->size > (uint64_t)st.st_size)
		return -EPROTO;
	/* Huge pages are mapped whole. */
	if (st.st_blksize > (blksize_t)page && !(st.st_blksize & (st.st_blksize - 1)))
		page = (uint64_t)st.st_blksize;
	from = in->offset & ~(page - 1);
	len = (in->offset + in->size - from + page - 1) & ~(page - 1);
	*ret_why = "memory that cannot be mapped";
	p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, (off_t)from);
	if (p == MAP_FAILED)
		return -errno;
	slot = vhost_guard_add(p, len, m->broken);
	if (slot < 0) {
		munmap(p, len);
		*ret_why = "too many memory regions in this process";
		return slot;
	}
	*r = (struct vhost_region){
		.gpa = in->gpa,
		.uva = in->uva,
		.size = in->size,
		.host = (uint8_t *)p + (in->offset - from),
		.map = p,
		.map_len = len,
		.guard = (unsigned)slot,
	};
	m->n++;
	return 0;
}

int vhost_mem_map(struct vhost_mem *m, const struct vhost_region_in *in, const int *fds, unsigned n,
		  const char **ret_why)
{
	struct vhost_mem fresh = { .broken = m->broken };
	const char *why = table_wrong(in, n);
	int r = why ? -EPROTO : 0;

	for (unsigned i = 0; r == 0 && i < n; i++)
		r = map_one(&fresh, &in[i], fds[i], &why);
	if (r < 0) {
		vhost_mem_unmap(&fresh);
		*ret_why = why;
		return r;
	}
	vhost_mem_unmap(m);
	*m = fresh;
	return 0;
}

void vhost_mem_unmap(struct vhost_mem *m)
{
	for (unsigned i = 0; i < m->n; i++) {
		vhost_guard_del(m->r[i].guard);
		munmap(m->r[i].map, m->r[i].map_len);
	}
	m->n = m->last = 0;
}

uint8_t *vhost_mem_gpa(struct vhost_mem *m, uint64_t gpa, uint64_t len, uint64_t *ret_len)
{
	uint8_t *p = m->n ? vhost_region_at(&m->r[m->last], gpa, len, ret_len) : NULL;

	for (unsigned i = 0; !p && i < m->n; i++) {
		p = vhost_region_at(&m->r[i], gpa, len, ret_len);
		if (p)
			m->last = i;
	}
	return p;
}

uint8_t *vhost_mem_uva(const struct vhost_mem *m, uint64_t uva, uint64_t len)
{
	for (unsigned i = 0; i < m->n; i++) {
		uint64_t off = uva - m->r[i].uva;

		if (off < m->r[i].size && len <= m->r[i].size - off)
			return m->r[i].host + off;
	}
	return NULL;
}
