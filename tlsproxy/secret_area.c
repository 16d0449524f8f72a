/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory for values: mapped once, locked against swap, left out of core dumps,
 * not inherited by a fork, overwritten when released. What cannot be locked is
 * not used: a secret on a swap device outlives the run.
 */
#include "tlsproxy/secret_internal.h"

#include <sys/mman.h>
#include <unistd.h>

int secret_area_init(struct secret_area *a, size_t size)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE), whole;
	void *p;
	int r;

	if (add_overflows(size, page - 1, &whole))
		return -EOVERFLOW;
	whole -= whole % page;
	whole = MAX(whole, page);
	p = mmap(NULL, whole, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED)
		return -errno;
	if (mlock(p, whole) < 0 || madvise(p, whole, MADV_DONTDUMP) < 0 ||
	    madvise(p, whole, MADV_DONTFORK) < 0) {
		r = -errno;
		munmap(p, whole);
		return r;
	}
	*a = (struct secret_area){ .base = p, .size = whole };
	return 0;
}

void secret_area_fini(struct secret_area *a)
{
	if (a->base) {
		explicit_bzero(a->base, a->size);
		munmap(a->base, a->size);
	}
	*a = (struct secret_area){ 0 };
}

void *secret_area_take(struct secret_area *a, size_t size)
{
	size_t end;
	void *p;

	if (add_overflows(size, SECRET_AREA_ALIGN - 1, &size))
		return NULL;
	size -= size % SECRET_AREA_ALIGN;
	if (add_overflows(a->used, size, &end) || end > a->size)
		return NULL;
	p = a->base + a->used;
	a->used = end;
	return p;
}
