/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory of coders. What a library keeps between calls (windows, hash tables, pending
 * output) is body bytes and may hold values of secrets: everything is overwritten
 * before it is given back. The sum is capped for the process, so that many bodies
 * that each ask for the largest window fail on their own and take nothing else along.
 */
#include "tlsproxy/http_coding_int.h"

/* In front of every block; keeps the alignment of malloc. */
union block {
	size_t size;
	max_align_t align;
};

static size_t in_use;

size_t http_coding_memory(void)
{
	return in_use;
}

void *coding_alloc(size_t n)
{
	union block *b;
	size_t size;

	if (add_overflows(n, sizeof(*b), &size) || size > HTTP_CODING_MEMORY_ALL - in_use)
		return NULL;
	b = calloc(1, size);
	if (!b)
		return NULL;
	b->size = size;
	in_use += size;
	return b + 1;
}

void coding_free(void *p)
{
	union block *b = p;
	size_t size;

	if (!p)
		return;
	b--;
	size = b->size;
	in_use -= size;
	explicit_bzero(b, size);
	free(b);
}

void *coding_zalloc(void *opaque, unsigned items, unsigned size)
{
	size_t n;

	(void)opaque;
	return mul_overflows(items, size, &n) ? NULL : coding_alloc(n);
}

void coding_zfree(void *opaque, void *p)
{
	(void)opaque;
	coding_free(p);
}
