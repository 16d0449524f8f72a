/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nghttp2's memory. Counted, so that one connection has an upper bound whatever
 * its peer thinks of; overwritten when it is given back, since the fields of
 * requests to upstreams hold values of secrets, and realloc must not leave a
 * copy behind either.
 */
#include "tlsproxy/http2_internal.h"

/* In front of each block; keeps malloc's alignment. */
union header {
	size_t size;
	max_align_t align;
};

static void *mem_malloc(size_t size, void *user)
{
	struct http2_mem *m = user;
	union header *h;

	if (size > m->max || m->used > m->max - size)
		return NULL;
	h = malloc(sizeof(*h) + size);
	if (!h)
		return NULL;
	h->size = size;
	m->used += size;
	return h + 1;
}

static void mem_free(void *p, void *user)
{
	struct http2_mem *m = user;
	union header *h = p;

	if (!p)
		return;
	h--;
	m->used -= h->size;
	explicit_bzero(p, h->size);
	free(h);
}

static void *mem_calloc(size_t n, size_t size, void *user)
{
	size_t total;
	void *p;

	if (__builtin_mul_overflow(n, size, &total))
		return NULL;
	p = mem_malloc(total, user);
	if (p)
		memset(p, 0, total);
	return p;
}

static void *mem_realloc(void *p, size_t size, void *user)
{
	void *bigger;
	size_t old;

	if (!p)
		return mem_malloc(size, user);
	old = ((union header *)p)[-1].size;
	bigger = mem_malloc(size, user);
	if (!bigger)
		return NULL;
	memcpy(bigger, p, MIN(old, size));
	mem_free(p, user);
	return bigger;
}

void http2_mem_init(struct http2_mem *m, size_t max)
{
	*m = (struct http2_mem){
		.table = { m, mem_malloc, mem_free, mem_calloc, mem_realloc },
		.max = max,
	};
}
