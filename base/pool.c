/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fixed-size objects from slabs: no malloc per object once warm, and a limit
 * that turns a flood into counted refusals. A slab is aligned to its size, so
 * that an object knows its slab by its address; slabs that become empty go back
 * to the system, all but one.
 */
#include "base/base.h"

#define SLAB_BYTES 65536

struct pool_slab {
	struct pool_slab *next, **link; /* in roomy or full */
	void *free_list;
	size_t used;
	_Alignas(max_align_t) uint8_t mem[];
};

void pool_init(struct pool *p, size_t obj_size, size_t limit)
{
	size_t align = _Alignof(max_align_t);

	assert(obj_size >= sizeof(void *));
	*p = (struct pool){
		.obj_size = (obj_size + align - 1) / align * align,
		.limit = limit,
		.slab_size = SLAB_BYTES,
	};
	while (p->slab_size < sizeof(struct pool_slab) + p->obj_size)
		p->slab_size *= 2;
}

static void free_all(struct pool_slab *s)
{
	for (struct pool_slab *next; s; s = next) {
		next = s->next;
		free(s);
	}
}

void pool_fini(struct pool *p)
{
	free_all(p->roomy);
	free_all(p->full);
	p->roomy = p->full = NULL;
	p->used = p->n_empty = 0;
}

static void slab_move(struct pool_slab *s, struct pool_slab **to)
{
	if (s->link) {
		*s->link = s->next;
		if (s->next)
			s->next->link = s->link;
	}
	s->next = *to;
	s->link = to;
	if (s->next)
		s->next->link = &s->next;
	*to = s;
}

static bool pool_grow(struct pool *p)
{
	size_t n = (p->slab_size - sizeof(struct pool_slab)) / p->obj_size;
	struct pool_slab *s = aligned_alloc(p->slab_size, p->slab_size);

	if (!s)
		return false;
	s->link = NULL;
	s->free_list = NULL;
	s->used = 0;
	while (n--) {
		void **obj = (void **)(void *)(s->mem + n * p->obj_size);

		*obj = s->free_list;
		s->free_list = obj;
	}
	slab_move(s, &p->roomy);
	p->n_empty++;
	return true;
}

void *pool_get(struct pool *p)
{
	struct pool_slab *s;
	void **obj;

	if (p->used >= p->limit || (!p->roomy && !pool_grow(p)))
		return NULL;
	s = p->roomy;
	obj = s->free_list;
	s->free_list = *obj;
	if (s->used++ == 0)
		p->n_empty--;
	if (!s->free_list)
		slab_move(s, &p->full);
	p->used++;
	return memset(obj, 0, p->obj_size);
}

void pool_put(struct pool *p, void *obj)
{
	struct pool_slab *s;

	if (!obj)
		return;
	s = (struct pool_slab *)((uintptr_t)obj & ~(uintptr_t)(p->slab_size - 1));
	if (!s->free_list)
		slab_move(s, &p->roomy);
	*(void **)obj = s->free_list;
	s->free_list = obj;
	p->used--;
	if (--s->used)
		return;
	/* One is kept for the next object. */
	if (p->n_empty) {
		*s->link = s->next;
		if (s->next)
			s->next->link = s->link;
		free(s);
	} else {
		p->n_empty++;
	}
}
