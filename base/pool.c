/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fixed-size objects from slabs, recycled through a free list: no malloc per
 * object once warm, and a limit that turns a flood into counted refusals.
 */
#include "base/base.h"

#define SLAB_BYTES 65536

struct pool_slab {
	struct pool_slab *next;
	_Alignas(max_align_t) uint8_t mem[];
};

void pool_init(struct pool *p, size_t obj_size, size_t limit)
{
	size_t align = _Alignof(max_align_t);

	assert(obj_size >= sizeof(void *));
	*p = (struct pool){
		.obj_size = (obj_size + align - 1) / align * align,
		.limit = limit,
	};
}

void pool_fini(struct pool *p)
{
	struct pool_slab *s = p->slabs, *next;

	for (; s; s = next) {
		next = s->next;
		free(s);
	}
	p->slabs = p->free_list = NULL;
	p->used = p->total = 0;
}

static bool pool_grow(struct pool *p)
{
	size_t n = MAX((size_t)1, SLAB_BYTES / p->obj_size);
	struct pool_slab *s;

	n = MIN(n, p->limit - p->total);
	if (n == 0)
		return false;
	s = malloc(sizeof(*s) + n * p->obj_size);
	if (!s)
		return false;
	s->next = p->slabs;
	p->slabs = s;
	p->total += n;
	while (n--) {
		void **obj = (void **)(void *)(s->mem + n * p->obj_size);

		*obj = p->free_list;
		p->free_list = obj;
	}
	return true;
}

void *pool_get(struct pool *p)
{
	void **obj;

	if (!p->free_list && !pool_grow(p))
		return NULL;
	obj = p->free_list;
	p->free_list = *obj;
	p->used++;
	return memset(obj, 0, p->obj_size);
}

void pool_put(struct pool *p, void *obj)
{
	if (!obj)
		return;
	*(void **)obj = p->free_list;
	p->free_list = obj;
	p->used--;
}
